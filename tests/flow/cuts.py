"""Lives of a queue and a postman in one process (tests/cuts/house.c), recorded call by call, and what
is left of them when the power goes: for each cut a tree that the disk may hold then is made, a new
house opens it, delivers what waits, and the ledger judges.

  lost: acknowledged, and not there.   twice: there more than once.
  torn: there, and not as it was sent. refused: answered 451, and there all the same.
  damage: set aside, held or called damaged, and nothing was.   broken: the house did not stand.
"""

import bisect
import contextlib
import functools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import NamedTuple

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TESTS)
import fault  # noqa: E402 (beside this folder)
from instance import SANITIZER  # noqa: E402

BOXES = 4
HEADER = b"Return-Path: <a@example.org>\n"
LETTERS_PER_SESSION = (12, 40)
AFTER = 9_000_000  # the letter that is sent when all is recovered
FIRST_WORDS = 3
KEEP = bool(os.environ.get("POSTHOUSE_KEEP"))
TROUBLES = ("none", "a call fails", "killed at a call", "killed at a sync")
KEEPS = ("random", "none", "random", "all")
SHARED_MEMORY = "/dev/shm"  # where no sync waits
EX_TEMPFAIL = 75


@contextlib.contextmanager
def workplace():
    parent = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    top = tempfile.mkdtemp(prefix="posthouse-cuts-", dir=parent)
    try:
        yield top
    finally:
        if not (KEEP and any(name.endswith(".disk") for name in os.listdir(top))):
            shutil.rmtree(top)


@functools.lru_cache(maxsize=4096)
def text_of(number, size):
    return HEADER + b"".join(b"%08d %08d\n" % (number, line) for line in range(size))


class Letter(NamedTuple):
    boxes: int  # a bit for each
    size: int  # lines

    def box_names(self):
        return [f"u{box}" for box in range(BOXES) if self.boxes >> box & 1]


class Found(NamedTuple):
    """What a judgement found wrong."""
    kind: str
    text: str


class House:
    """The program, led line by line."""

    def __init__(self, program, top, bite="", recorded=False):
        environment = dict(os.environ, POSTHOUSE_BITE=bite)
        environment.pop("POSTHOUSE_FAULT", None)
        if recorded:
            environment["POSTHOUSE_FAULT"] = os.path.join(top, "page")
            environment["POSTHOUSE_TRACE"] = os.path.join(top, "trace")
        self.error_path = os.path.join(top, "stderr")
        ledger = os.path.join(top, "ledger") if recorded else os.devnull
        with open(self.error_path, "wb") as errors:
            self.process = subprocess.Popen([program, ledger], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=errors, env=environment)

    def said(self):
        with open(self.error_path, encoding="utf-8", errors="replace") as errors:
            return errors.read()

    def broken(self, status, excused=()):
        """What an exit status and standard error say against it."""
        said = self.said()
        if status not in (0, *excused) or SANITIZER.search(said):
            return [Found("broken", f"the house ended with {status}: {said[-3000:]}")]
        return []

    def live(self, script):
        """All of it, to its end. The exit status."""
        try:
            self.process.communicate(script.encode())
        except BrokenPipeError:
            self.process.wait()
        return self.process.returncode

    def ask(self, script, answers):
        """The lines that the script prints; fewer when the house fell."""
        try:
            self.process.stdin.write(script.encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return []
        return [line for line in (self.process.stdout.readline().decode().strip()
                                  for _ in range(answers)) if line]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait()


class Life:
    """A recorded life: sessions one after the other on one disk, each with a trouble of its own, or
    all with the one that is given."""

    def __init__(self, program, top, chance, bite="", trouble=None):
        self.program, self.top, self.chance, self.bite = program, top, chance, bite
        self.trouble = trouble
        self.directory = os.path.join(top, "d")
        self.letters = {}
        os.mkdir(self.directory)
        self.before = fault.Snapshot(self.directory)
        self.page = fault.Page.create(os.path.join(top, "page"))
        self.trace = fault.Trace.create(os.path.join(top, "trace"), 64 << 20)
        self.found = []
        self.begins = []  # of the sessions
        syncfs = chance.randrange(2)
        for _ in range(chance.randint(2, 5)):
            self._session(syncfs)
        self.records = self.trace.records()
        self.accepted, self.refused = self._ledger()
        moments = {record.begin for record in self.records}
        moments |= {record.end for record in self.records if record.end != fault.NEVER}
        self.cuts = sorted(moments)

    def close(self):
        self.page.close()
        self.trace.close()

    def _ledger(self):
        """{number: the moment when it was said}, for "accepted" and for "refused"."""
        said = {"accepted": {}, "refused": {}}
        for record in self.trace.records():
            if record.call == "write" and record.data.startswith((b"accepted ", b"refused ")):
                word, number = record.data.decode().split()
                said[word].setdefault(int(number), record.begin)
        return said["accepted"], said["refused"]

    def sample(self, count):
        """Moments to cut at: shares of them just after one of the first things that a session said,
        after anything that was said, after a segment began to go; the others anywhere."""
        said = sorted([*self.accepted.values(), *self.refused.values()])
        first = [moment for begin in self.begins
                 for moment in said[bisect.bisect(said, begin):][:FIRST_WORDS]]
        gone = [record.begin for record in self.records
                if record.call == "unlink" and re.fullmatch("[0-9]{12}", record.path)]
        chosen = set()
        for moments in (first, said, gone):
            after = {self.cuts[place] for moment in moments
                     for place in range(self.cuts.index(moment), len(self.cuts))[:4]}
            chosen |= set(self.chance.sample(sorted(after), min(count // 5, len(after))))
        rest = sorted(set(self.cuts) - chosen)
        chosen |= set(self.chance.sample(rest, min(count - len(chosen), len(rest))))
        return self.chance.sample(sorted(chosen), len(chosen))

    def _session(self, syncfs):
        chance = self.chance
        self.begins.append(self.page.sequence())
        accepted, refused = self._ledger()
        doubtful = sorted(set(self.letters) - set(accepted) - set(refused))
        lines = [f"open {self.directory}", f"syncfs {syncfs}"]
        for _ in range(chance.randint(0, 3)):
            lines += [self._submit(self._new_letter()), "turns 1"]
        lines.append("indexed")  # until then nothing is known of an id that may be in the log
        for number in doubtful:
            lines += [self._submit(number), "turns 2"]
        for _ in range(chance.randint(*LETTERS_PER_SESSION)):
            lines.append(self._submit(self._new_letter()))
            lines += [step for step, often in (
                (f"turns {chance.randint(1, 3)}", 0.6), (f"deliver {chance.randint(1, 12)}", 0.35),
                (f"defer {chance.randint(1, 3)}", 0.08), ("collect", 0.08), ("settle", 0.05),
            ) if chance.random() < often]
        if chance.randrange(2):
            lines.append("settle")
        if chance.randrange(3) == 0:
            lines.append("drain")
        self.live(lines, self._make_trouble())

    def live(self, lines, rule=None):
        """One session, in which the rule may strike."""
        house = House(self.program, self.top, self.bite, recorded=True)
        status = house.live("\n".join([*lines, "close", ""]))
        struck = rule is not None and self.page.acted(rule)
        house.process.stdout.close()
        self.page.clear()
        excused = (1, EX_TEMPFAIL, -signal.SIGKILL) if struck else ()
        self.found += house.broken(status, excused)

    def _new_letter(self):
        number, chance = len(self.letters) + 1, self.chance
        size = chance.randint(1, chance.choice((3, 40, 150, 400, 700)))
        self.letters[number] = Letter(chance.choice((1, 2, 4, 8, 3, 13)), size)
        return number

    def _submit(self, number):
        letter = self.letters[number]
        return f"letter {number} {letter.boxes} {letter.size}"

    def _make_trouble(self):
        """Perhaps one call fails, or is the last one: a rule, or None."""
        chance, rule = self.chance, self.page.rule
        first = chance.randint(1, 50)
        match self.trouble or chance.choice(TROUBLES):
            case "a call fails":
                return rule(chance.choice(("fdatasync", "write")), first=first, count=1,
                            error=chance.choice(("EIO", "ENOSPC")))
            case "killed at a call":
                call = chance.choice(("write", "fsync", "link", "unlink", "open", "rename"))
                return rule(call, first=first, count=1, kill=True)
            case "killed at a sync":
                return rule("fdatasync", first=first, count=1, kill=True)
        return None


class Judge:
    """Judges one tree after the other with one house."""

    def __init__(self, program, top, bite=""):
        self.program, self.top, self.bite = program, top, bite
        self.house = None
        self.number = 0

    def close(self):
        """What the house says at its end."""
        if not self.house:
            return []
        house, self.house = self.house, None
        return house.broken(house.close())

    def judge(self, life, cut, keep, seed):
        """What is wrong after this cut: a list of Found."""
        tree = fault.replay(life.before, life.records, cut, seed=seed, keep=keep)
        self.number += 1
        directory = os.path.join(self.top, f"cut{self.number}")
        tree.write(directory)
        try:
            found = self._recover(directory)
            if not found:
                found = list(self._compare(life, cut, directory))
            if found and KEEP:
                print(f"# kept {tree.write(directory + '.disk')}", flush=True)
            return found
        finally:
            shutil.rmtree(directory)

    def _recover(self, directory):
        if not self.house:
            self.house = House(self.program, self.top, self.bite)
        answers = self.house.ask(
            f"check {directory}\nopen {directory}\ndrain\nreport\nletter {AFTER} 1 3\nsettle\n"
            f"drain\nclose\nopen {directory}\nindexed\nreport\nclose\ncheck {directory}\n", 4)
        if len(answers) < 4:
            return self.close() or [Found("broken", "the house fell silent")]
        if answers != ["legal", "waiting 0 held 0", "waiting 0 held 0", "legal"]:
            return [Found("damage", f"{answers}: {self.house.said()[-1000:]}")]
        corrupt = os.listdir(os.path.join(directory, "spool/corrupt"))
        return [Found("damage", name) for name in corrupt]

    def _compare(self, life, cut, directory):
        copies = {}
        letters = {**life.letters, AFTER: Letter(1, 3)}
        for box in range(BOXES):
            for folder in ("new", "cur"):
                yield from self._count(letters, os.path.join(directory, f"mail/u{box}", folder),
                                       f"u{box}", copies)
        for number, letter in letters.items():
            promised = number == AFTER or life.accepted.get(number, fault.NEVER) <= cut
            refused = life.refused.get(number, fault.NEVER) <= cut
            for box in letter.box_names():
                count = len(copies.get((number, box), ()))
                if count > 1:
                    yield Found("twice", f"letter {number} for {box}: {count} times")
                if promised and not count:
                    yield Found("lost", f"letter {number} for {box}")
                if refused and count:
                    yield Found("refused", f"letter {number} for {box}")

    def _count(self, letters, folder, box, copies):
        if not os.path.isdir(folder):
            return
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "rb") as file:
                text, inode = file.read(), os.fstat(file.fileno()).st_ino
            number = text[len(HEADER):len(HEADER) + 8]
            number = int(number) if number.isdigit() else 0
            letter = letters.get(number)
            if not letter or box not in letter.box_names() or text != text_of(number, letter.size):
                yield Found("torn", f"{folder}/{name}: {text[:100]!r}")
            else:
                # A rename may leave both names: that is one copy still.
                copies.setdefault((number, box), set()).add(inode)


class Tally(NamedTuple):
    lives: int = 0
    cuts: int = 0
    calls: int = 0  # in the lives' traces
    promised: int = 0  # letters, over all cuts
    found: tuple = ()  # of texts, each beginning with its kind

    def __add__(self, other):
        return Tally(*(mine + theirs for mine, theirs in zip(self, other)))

    def kinds(self):
        counts = {}
        for text in self.found:
            kind = text.partition(":")[0]
            counts[kind] = counts.get(kind, 0) + 1
        return ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "nothing wrong"

    def __str__(self):
        return (f"{self.cuts} cuts in {self.lives} lives of {self.calls} calls, {self.promised} "
                f"promised letters in them: {self.kinds()}")


def cut_down(program, seed, count, bite="", trouble=None):
    """One life and so many cuts of it; of one that is bitten, until something wrong is found."""
    chance = random.Random(seed)
    with workplace() as top:
        life = Life(program, top, chance, bite, trouble)
        judge = Judge(program, top, bite)
        tally = Tally(lives=1, calls=len(life.records),
                      found=tuple(f"{found.kind}: life {seed}: {found.text}" for found in life.found))
        for number, cut in enumerate(life.sample(count)):
            if bite and tally.found:
                break
            keep = KEEPS[number % len(KEEPS)]
            found = judge.judge(life, cut, keep, seed + cut)
            tally += Tally(cuts=1, promised=sum(said <= cut for said in life.accepted.values()),
                           found=tuple(f"{one.kind}: life {seed}, cut {cut}, keep {keep}: {one.text}"
                                       for one in found))
        tally += Tally(found=tuple(f"{one.kind}: life {seed}: {one.text}" for one in judge.close()))
        life.close()
    return tally
