"""Cuts: lives of the spool and the Maildirs are recorded, and the power fails in them at a thousand
moments (POSTHOUSE_LONG=1: a hundred thousand). See cuts.py. And the tests bite: with any of the
promises of src/os/bites.def broken on purpose, the cuts find something wrong.

It prints its seed; POSTHOUSE_SEED=N makes the same plans again. (Threads race in the recorded lives,
so the calls are not the same to the last.)
"""

import os
import random
import re
import unittest
from concurrent.futures import ProcessPoolExecutor

import cuts
from instance import BUILD, LONG, PLAIN, TESTS
from post import seed

HOUSE = os.path.join(PLAIN, "tests/cuts/house")
SANITIZED = os.path.join(BUILD, "tests/cuts/house")
CUTS = 100_000 if LONG else 1000
CUTS_OF_A_LIFE = 200 if LONG else 50
WORKERS = os.cpu_count() if LONG else 1
# Where a bite shows in one trouble only, the lives have that one.
TROUBLE = {"no_abort": "a call fails", "no_second_sync": "killed at a sync"}
BITTEN_CUTS = 3000  # at most, until a bite is found
ROT = ("letter_crc", "large_crc")  # no cut damages what was once whole


def bites():
    """{name: what is broken}"""
    with open(os.path.join(TESTS, "../src/os/bites.def"), encoding="ascii") as table:
        return dict(re.findall(r'^BITE\((\w+), "(.*)"\)', table.read(), re.M))


class Cuts(unittest.TestCase):
    def cut(self, house, count, of_a_life):
        number = seed()
        chance = random.Random(number)
        seeds = [chance.randrange(1 << 32) for _ in range(-(-count // of_a_life))]
        with ProcessPoolExecutor(WORKERS) as pool:
            tally = sum(pool.map(cuts.cut_down, [house] * len(seeds), seeds,
                                 [of_a_life] * len(seeds)), cuts.Tally())
        print(f"# seed {number}: {tally}", flush=True)
        self.assertEqual(tally.found[:10], ())
        self.assertGreaterEqual(tally.cuts, count)
        self.assertGreater(tally.promised, count)

    def test_everything_promised_is_there_once(self):
        self.cut(HOUSE, CUTS, CUTS_OF_A_LIFE)

    def test_under_sanitizers(self):
        self.cut(SANITIZED, CUTS // 20, CUTS_OF_A_LIFE // 2)


class Begun(cuts.Life):
    """The first session is killed at the n-th fsync, perhaps while a mailbox is made; the second
    delivers into what stands there, and its owner files the letters."""

    def __init__(self, top, number):
        self.number = number
        super().__init__(HOUSE, top, random.Random(2))

    def _session(self, syncfs):
        if len(self.letters) == 4:
            return
        first = len(self.letters) + 1
        self.begins.append(self.page.sequence())
        rule = self.page.rule("fsync", first=self.number, count=1, kill=True) if first == 1 else None
        lines = [f"open {self.directory}", "syncfs 0", "indexed"]
        for number in (first, first + 1):
            self.letters[number] = cuts.Letter(1, 3)
            lines += [f"letter {number} 1 3", "settle", "deliver 1", "settle", "collect"]
        self.live(lines, rule)


class Mailboxes(unittest.TestCase):
    def test_a_mailbox_half_made_is_made_durable(self):
        made = 0
        for number in range(1, 30):
            with cuts.workplace() as top:
                life = Begun(top, number)
                self.assertEqual(life.found, [])
                names = [record.path for record in life.records if record.call == "mkdir"]
                made += names.count("u0") == 1
                judge = cuts.Judge(HOUSE, top)
                self.assertEqual(judge.judge(life, life.cuts[-1], "none", number), [], number)
                self.assertEqual(judge.close(), [])
                life.close()
        self.assertGreater(made, 20)


class Bites(unittest.TestCase):
    def test_cuts_find_each(self):
        number = seed()
        chance = random.Random(number)
        for bite, what in bites().items():
            if bite in ROT:
                continue
            with self.subTest(bite, seed=number):
                tally = cuts.Tally()
                while not tally.found and tally.cuts < BITTEN_CUTS:
                    tally += cuts.cut_down(HOUSE, chance.randrange(1 << 32), 40, bite,
                                           TROUBLE.get(bite))
                print(f"# {bite}: {what}: {tally}", flush=True)
                self.assertTrue(tally.found, f"{what}, and the cuts do not find it (seed {number})")

    def test_rot_is_held(self):
        """Letters that rot while they wait are held, never delivered; with a CRC that is not checked
        that is not so."""
        self.assertTrue(self.rot_is_held(""))
        for bite in ROT:
            found = not self.rot_is_held(bite)
            print(f"# {bite}: {bites()[bite]}: {'found' if found else 'not found'} by rot", flush=True)
            self.assertTrue(found, bite)

    def rot_is_held(self, bite):
        letters = {number: cuts.Letter(1 + number % 3, number * number) for number in range(1, 31)}
        with cuts.workplace() as top:
            house = cuts.House(HOUSE, top, bite)
            script = [f"open {top}", *(f"letter {number} {letter.boxes} {letter.size}\nsettle"
                                       for number, letter in letters.items()), "rot"]
            script += ["deliver 64\nsettle"] * len(letters) + ["report", "close", ""]
            answers = house.ask("\n".join(script), 1)
            status = house.close()
            copies = sum(len(names) for _, _, names in os.walk(os.path.join(top, "mail")))
        recipients = sum(len(letter.box_names()) for letter in letters.values())
        return status == 0 and answers == [f"waiting 0 held {recipients}"] and copies == 0


if __name__ == "__main__":
    unittest.main()
