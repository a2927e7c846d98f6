"""The ledger: under load, processes are killed at random moments, one after the other and all at
once. Every letter whose 250 came is in its Maildir, exactly once, whole: lost = torn = twice = 0.

A letter whose 250 did not come may be there or not, but never twice and never torn. The seed is
printed; POSTHOUSE_SEED=N chooses the same moments again (as far as a scheduler can be told to).
"""

import hashlib
import os
import random
import signal
import threading
import time
import unittest

from instance import (BUILD, LONG, PLAIN, ROLES, Instance, Loop, Pop3, Smtp, Trouble, stuff,
                      wait_for)

CLIENTS = 20
READERS = ["u0@example.test", "u1@example.test", "汉字@example.test"]  # keep what they get
COLLECTOR = "collector@example.test"  # fetches and deletes all the time
LARGE = 128 * 1024  # from here on a body is a file of its own in the spool


class Ledger:
    """What clients were promised. A letter is a sequence number; a copy is (number, user)."""

    def __init__(self, seed):
        self.seed = seed
        self.lock = threading.Lock()
        self.next = 0
        self.sent = {}  # number -> users
        self.acknowledged = set()
        self.large = 0
        self.refused = 0
        self.broken = 0
        self.collected = set()  # numbers that the collector read whole
        self.wrong = []

    def draw(self, users):
        with self.lock:
            self.next += 1
            self.sent[self.next] = users
            return self.next

    def count(self, instance):
        """(lost, torn, twice)"""
        copies, torn = {}, list(self.wrong)
        for user in (*READERS, COLLECTOR):
            for letter in instance.letters(user):
                number, whole = judge(letter.replace(b"\n", b"\r\n"))
                if not whole:
                    torn.append((user, letter[:300]))
                copies[number, user] = copies.get((number, user), 0) + 1
        lost = [(number, user) for number in self.acknowledged for user in self.sent[number]
                if (number, user) not in copies
                and not (user == COLLECTOR and number in self.collected)]
        # A letter that its owner removed between its link and its "done" may come once more.
        twice = [copy for copy, count in copies.items() if count > 1]
        twice += [copy for copy in copies if copy[1] not in self.sent.get(copy[0], ())]
        return lost, torn, twice


def compose(number, size, chance):
    filler = chance.randbytes(48).hex().encode()
    lines, left = [], size
    while left > 0:
        line = b"." * chance.randint(0, 2) + filler[:chance.randint(0, 96)]
        lines.append(line)
        left -= len(line) + 2
    text = b"".join(line + b"\r\n" for line in lines)
    return (b"X-Seq: %d\r\nX-Digest: %s\r\nSubject: ledger \xe5\xb8\x90\r\n\r\n" % (
        number, hashlib.sha256(text).hexdigest().encode()) + text)


def judge(letter):
    """(number, whole) of a letter with CRLF; number None when not even that can be read."""
    head, _, text = letter.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n") if b": " in line)
    try:
        number = int(fields[b"X-Seq"])
        return number, fields[b"X-Digest"] == hashlib.sha256(text).hexdigest().encode()
    except (KeyError, ValueError):
        return None, False


class Sender:
    """Sends letters on one connection until it breaks, then on the next."""

    def __init__(self, ledger, where, number):
        self.ledger, self.where = ledger, where
        self.chance = random.Random(ledger.seed * 1000 + number)
        self.client = None

    def connect(self):
        self.client = Smtp(self.where, greet=False)
        self.client.expect(220)
        self.client.command("EHLO sender.example.org", 250)

    def one_letter(self):
        chance, ledger = self.chance, self.ledger
        users = chance.sample(READERS + [COLLECTOR], chance.choice((1, 1, 1, 2)))
        large = chance.random() < 0.04
        size = chance.randint(LARGE, 3 * LARGE) if large else chance.randint(0, 6000)
        number = ledger.draw(users)
        body = stuff(compose(number, size, chance))
        commands = ["MAIL FROM:<sender@example.org> SMTPUTF8",
                    *(f"RCPT TO:<{user}>" for user in users), "DATA"]
        self.client.send("".join(line + "\r\n" for line in commands).encode())
        replies = [self.client.reply()[0] for _ in commands]
        if replies[-1] != 354:
            ledger.refused += 1
            self.client.command("RSET")
            return
        accepted = [user for user, code in zip(users, replies[1:]) if code == 250]
        cut = chance.randint(0, len(body))
        self.client.send(body[:cut])
        self.client.send(body[cut:])
        code = self.client.reply()[0]
        with ledger.lock:
            if code == 250:
                ledger.sent[number] = accepted
                ledger.acknowledged.add(number)
                ledger.large += large
            else:
                ledger.refused += 1

    def work(self):
        try:
            if not self.client:
                self.connect()
            self.one_letter()
        except (OSError, Trouble) as trouble:
            if isinstance(trouble, Trouble) and "421" not in str(trouble):
                raise
            self.ledger.broken += 1
            if self.client:
                self.client.close()
            self.client = None
            time.sleep(0.02)


class Collector:
    """Takes its mail away by POP3, as fast as it can."""

    def __init__(self, ledger, where):
        self.ledger, self.where = ledger, where
        self.sessions = 0

    def work(self):
        try:
            with Pop3(self.where, COLLECTOR) as client:
                count = int(client.command("STAT").split()[1])
                for number in range(1, min(count, 50) + 1):
                    letter = client.retrieve(number)
                    seq, whole = judge(letter)
                    if not whole:
                        self.ledger.wrong.append(("torn by POP3", letter[:300]))
                    self.ledger.collected.add(seq)
                    client.command(f"DELE {number}")
                client.command("QUIT")
                self.sessions += 1
            time.sleep(0.05)
        except (OSError, Trouble):  # the porter, the login or the reader was away
            time.sleep(0.02)


class Storm:
    def __init__(self, instance, seed):
        self.instance = instance
        self.chance = random.Random(seed)
        self.ledger = Ledger(seed)
        self.kills = dict.fromkeys((*ROLES, "supervisor", "all"), 0)
        where = (instance.address, instance.smtp_port)
        self.senders = [Loop(Sender(self.ledger, where, i).work) for i in range(CLIENTS)]
        self.collector = Collector(self.ledger, (instance.address, instance.pop3_port))
        self.collecting = Loop(self.collector.work)

    def let_it_run(self):
        """Until letters flow, then to a random moment."""
        before = len(self.ledger.acknowledged)
        wait_for(lambda: len(self.ledger.acknowledged) > before + 20, "letters to be acknowledged")
        time.sleep(self.chance.uniform(0, 0.25))

    def kill_role(self, role):
        self.let_it_run()
        before = {child["role"]: child for child in wait_for(self.whole_status, "all roles")}
        os.kill(before[role]["pid"], signal.SIGKILL)
        self.kills[role] += 1

        def back():
            child = self.instance.child(role)
            return child and child["pid"] != before[role]["pid"] and child
        after = wait_for(back, f"a new {role}")
        if after["restarts"] <= before[role]["restarts"]:
            raise Trouble(f"{role} came back and its restarts did not grow: {after}")
        others = {child["role"]: child["pid"] for child in self.instance.status()}
        for name, child in before.items():
            if name != role and others.get(name) != child["pid"]:
                raise Trouble(f"the {name} went when the {role} was killed")

    def whole_status(self):
        found = self.instance.status()
        ready = [child for child in found if child["state"] == "ready"]
        return found if {child["role"] for child in ready} == set(ROLES) else None

    def kill_supervisor(self):
        self.let_it_run()
        pids = [child["pid"] for child in self.instance.status()]
        self.instance.process.kill()
        self.instance.wait(-signal.SIGKILL)
        self.kills["supervisor"] += 1
        wait_for(lambda: not any(alive(pid) for pid in pids), "the roles to end by themselves")
        self.instance.start()

    def kill_all(self):
        self.let_it_run()
        self.instance.kill()
        self.kills["all"] += 1
        self.instance.start()

    def finish(self):
        """Lets the senders end their letters, empties the queue, and counts."""
        for loop in self.senders:
            loop.stop()
        self.collecting.stop()
        self.instance.settle(120)
        return self.ledger.count(self.instance)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Kill(unittest.TestCase):
    def storm(self, build, rounds, seed):
        """`rounds` kills of each role, a third as many of the supervisor and of all at once."""
        users = (*READERS, COLLECTOR)
        with Instance(build, users=users) as instance:
            storm = Storm(instance, seed)
            for number in range(rounds):
                order = list(ROLES)
                storm.chance.shuffle(order)
                for role in order:
                    storm.kill_role(role)
                if number % 3 == 0:
                    storm.kill_supervisor()
                    storm.kill_all()
            lost, torn, twice = storm.finish()
            ledger = storm.ledger
            self.assertEqual(os.listdir(os.path.join(instance.directory, "spool/body")), [])
            print(f"# seed {seed}: {len(ledger.acknowledged)} letters acknowledged, "
                  f"{ledger.large} of them large, {ledger.refused} refused, {ledger.broken} "
                  f"connections broken; {storm.collector.sessions} POP3 sessions; kills "
                  f"{storm.kills}; lost {len(lost)}, torn {len(torn)}, twice {len(twice)}",
                  flush=True)
            self.assertEqual((lost[:5], torn[:5], twice[:5]), ([], [], []))
            self.assertGreater(len(ledger.acknowledged), 100)
            self.assertGreater(ledger.large, 0)
            self.assertGreater(storm.collector.sessions, 0)
            self.assertGreater(min(storm.kills.values()), 0)

    def seed(self):
        return int(os.environ.get("POSTHOUSE_SEED") or random.SystemRandom().randrange(10 ** 6))

    def test_storm(self):
        self.storm(PLAIN, 100 if LONG else 8, self.seed())

    def test_the_ledger_sees(self):
        """Nothing lost, torn or twice means something only if each of them is noticed."""
        ledger = Ledger(1)
        with Instance(PLAIN, users=(*READERS, COLLECTOR)) as instance:
            sender = Sender(ledger, (instance.address, instance.smtp_port), 1)
            while len(ledger.acknowledged) < 12:
                sender.work()
            instance.settle()
            self.assertEqual(ledger.count(instance), ([], [], []))
            user = max(READERS, key=lambda user: len(instance.names(user)))
            name, other, third = instance.names(user)[:3]
            os.unlink(name)
            with open(other, "rb") as file:
                instance.plant(user, "again", file.read())
            with open(third, "ab") as file:
                file.write(b"x")
            lost, torn, twice = ledger.count(instance)
            self.assertEqual((len(lost), len(torn), len(twice)), (1, 1, 1))

    def test_storm_with_sanitizers(self):
        self.storm(BUILD, 10 if LONG else 1, self.seed())


if __name__ == "__main__":
    unittest.main()
