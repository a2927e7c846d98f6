"""Rot: what stands in spool/log and spool/body is changed behind the server's back while it stands
still. After a start, damaged records are set aside under spool/corrupt and reported; every letter
whose own frame is whole is delivered, once; the service goes on. And spools that are not the one
that was left: wiped, or of an older day.
"""

import contextlib
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import fault  # noqa: E402
from instance import LONG, PATIENCE, PLAIN, Instance, Trouble, wait_for
from ledger import judge
from post import USERS, Post, seed

BLOCK = 4096
FRAME = struct.Struct("<II16sQII")  # crc, magic, epoch, number, octets, records: src/store/segment.c
LARGE = 140_000
ROUNDS = 120 if LONG else 14
HOUR_MS = 3_600_000


class Frame:
    def __init__(self, path, start, octets):
        self.path, self.start, self.octets = path, start, octets
        self.end = start + len(octets)
        self.numbers = numbers_in(octets)


def numbers_in(octets):
    """The letters (X-Seq) that begin in these octets."""
    return {int(part.split(b"\r", 1)[0]) for part in octets.split(b"X-Seq: ")[1:]}


def id_octets(text):
    """A queue id as records hold it: 26 digits of Crockford's base 32 are 128 bits."""
    number = 0
    for digit in text:
        number = number * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(digit)
    return number.to_bytes(17, "big")[-16:]


def frames_of(path):
    """The frames of a segment, in their order."""
    with open(path, "rb") as file:
        octets = file.read()
    epoch, at, found = octets[32:48], BLOCK, []
    while at + FRAME.size <= len(octets):
        _, _, frame_epoch, _, size, _ = FRAME.unpack_from(octets, at)
        if frame_epoch != epoch or not any(epoch):
            break
        end = at + FRAME.size + size
        found.append(Frame(path, at, octets[at:end]))
        at = (end + BLOCK - 1) // BLOCK * BLOCK
    return found


class Box:
    """An instance whose letters wait in the queue until they are let go."""

    def __init__(self, stack):
        self.instance = stack.enter_context(Instance(PLAIN, users=USERS, start=False))
        path = os.path.join(self.instance.top, "page")
        self.page = fault.Page.create(path)
        os.chmod(path, 0o666)
        self.instance.environment["POSTHOUSE_FAULT"] = path
        self.shift_ms = 0
        self.hold_back()
        self.instance.start()
        self.spool = os.path.join(self.instance.directory, "spool")
        self.copy = os.path.join(self.instance.top, "copy")

    def hold_back(self):
        self.page.rule("link", role="postman", error="EIO")

    def let_go(self):
        """Delivers all that can be: what is left afterwards is held."""
        self.page.clear()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:  # an attempt that failed just now is put off from then on
            self.shift_ms += HOUR_MS
            self.page.shift_wall(self.shift_ms)
            self.page.shift_monotonic(self.shift_ms)
            with contextlib.suppress(Trouble):
                return wait_for(self.only_held, "everything to be delivered or held", 1)
        raise Trouble("letters are neither delivered nor held: " + self.instance.ask("queue list"))

    def only_held(self):
        try:
            lines = [json.loads(line) for line in self.instance.ask("queue list").splitlines()]
            if self.instance.queue_count() != len({line["id"] for line in lines}):
                return None
        except (OSError, Trouble):
            return None
        return [lines] if all(line["state"] == "held" for line in lines) else None

    def keep(self):
        shutil.rmtree(self.copy, ignore_errors=True)
        subprocess.run(["cp", "-a", "--sparse=always", self.spool, self.copy], check=True)

    def restore(self):
        shutil.rmtree(self.spool)
        subprocess.run(["cp", "-a", "--sparse=always", self.copy, self.spool], check=True)

    def files(self, folder):
        path = os.path.join(self.spool, folder)
        return [os.path.join(path, name) for name in sorted(os.listdir(path))]

    def delivered(self):
        """{(number, user): how often}; the Maildirs are empty afterwards."""
        found = {}
        for user in USERS:
            for path in self.instance.names(user):
                with open(path, "rb") as file:
                    number, whole = judge(file.read().replace(b"\n", b"\r\n"))
                if not whole:
                    raise Trouble(f"{path} is torn")
                found[number, user] = found.get((number, user), 0) + 1
                os.unlink(path)
        return found

    def corrupt(self):
        return len(os.listdir(os.path.join(self.spool, "corrupt")))

    def works(self):
        with self.instance.smtp() as client:
            return client.letter("a@example.org", [USERS[0]], b"Subject: x\r\n\r\nx\r\n")


class Damage:
    """One way to spoil a file; knows which letters may suffer."""

    def __init__(self, box, chance):
        self.chance = chance
        self.frames = [frame for path in box.files("log") for frame in frames_of(path)]
        self.bodies = box.files("body")
        for path in self.bodies:
            with open(path, "rb") as file:
                numbers = numbers_in(file.read())
            for frame in self.frames:
                if id_octets(os.path.basename(path)) in frame.octets:
                    frame.numbers |= numbers
        self.letters = set()
        self.silent = False  # it may go unnoticed: nothing whole stands behind it
        kind = chance.choice(("flip", "flip", "zero", "double", "cut", "header", "body"))
        self.what = kind
        getattr(self, kind)()

    def overwrite(self, path, at, octets):
        with open(path, "r+b") as file:
            file.seek(at)
            before = file.read(len(octets))
            file.seek(at)
            file.write(octets)
        self.what += f" {os.path.basename(path)} at {at}, {len(octets)}"
        self.hit(path, at, [i for i in range(len(octets)) if before[i:i + 1] != octets[i:i + 1]])

    def hit(self, path, at, places):
        struck = [frame for frame in self.frames if frame.path == path and any(
            frame.start <= at + place < frame.end for place in places)]
        for frame in struck:
            self.letters |= frame.numbers
        self.silent = not struck or self.frames[-len(struck):] == struck

    def block(self):
        frame = self.chance.choice(self.frames)
        return frame.path, self.chance.randrange(frame.start // BLOCK, -(-frame.end // BLOCK)) * BLOCK

    def flip(self):
        path, at = self.block()
        size = self.chance.choice((1, 7, 512, BLOCK))
        at += self.chance.randrange(0, BLOCK - size + 1)
        self.overwrite(path, at, self.chance.randbytes(size))

    def zero(self):
        path, at = self.block()
        self.overwrite(path, at, bytes(BLOCK))

    def double(self):
        """A block stands in the place of another too."""
        (source, at), (path, to) = self.block(), self.block()
        with open(source, "rb") as file:
            file.seek(at)
            octets = file.read(BLOCK)
        self.overwrite(path, to, octets)

    def cut(self):
        path, at = self.block()
        at += self.chance.choice((0, 0, 1, 100))
        os.truncate(path, at)
        self.what += f" {os.path.basename(path)} at {at}"
        self.hit(path, at, range(0, 1 << 24, 16))

    def header(self):
        path = self.chance.choice(self.frames).path
        self.overwrite(path, self.chance.choice((0, 8, 12, 16, 32, 47)), self.chance.randbytes(4))
        self.letters = {n for frame in self.frames if frame.path == path for n in frame.numbers}
        self.silent = False

    def body(self):
        """A large letter: its text is a file."""
        path = self.chance.choice(self.bodies)
        with open(path, "rb") as file:
            octets = file.read()
        self.letters = numbers_in(octets)
        self.what += f" of {sorted(self.letters)}"
        if self.chance.random() < 0.5:
            os.truncate(path, self.chance.randrange(len(octets)))
        else:
            with open(path, "r+b") as file:
                file.seek(len(octets) // 2)
                file.write(b"\0\1\2\3")


class Rot(unittest.TestCase):
    def box(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        return Box(stack)

    def test_damage(self):
        number = seed()
        chance = random.Random(number)
        box = self.box()
        post = Post(box.instance, number)
        for size in [None] * 25 + [60_000] * 4 + [LARGE] * 5 + [None] * 6:
            users = list(USERS) if chance.random() < 0.2 else None
            self.assertEqual(post.send(size, users), 250)
        post.close()
        wait_for(lambda: len(box.instance.events("deferred")) >= len(post.expected), "deferrals")
        box.instance.stop()
        self.assertEqual(box.instance.spool_check()["recipients"]["waiting"], len(post.expected))
        box.keep()
        suffered = 0
        for turn in range(ROUNDS):
            damage = Damage(box, chance)
            with self.subTest(seed=number, turn=turn, damage=damage.what):
                suffered += self.after(box, post, damage)
            box.instance.stop()
            box.restore()
            box.page.clear()
            box.hold_back()
        box.instance.start()
        self.assertEqual(self.after_start(box, post, set()), 0)
        print(f"# seed {number}: {ROUNDS} damages to {len(post.expected)} queued copies; "
              f"{suffered} copies not delivered", flush=True)
        self.assertGreater(suffered, 0)

    def after(self, box, post, damage):
        corrupt = len(box.instance.events("corrupt"))
        found = box.instance.spool_check(damage=True)
        box.instance.start()
        missing = self.after_start(box, post, damage.letters)
        reported = len(box.instance.events("corrupt")) - corrupt
        self.assertGreaterEqual(reported, box.corrupt())
        if missing and not damage.silent:
            self.assertGreater(found["damage"], 0)
            self.assertIn("damage", box.instance.said())
            if not damage.what.startswith("body"):
                self.assertGreater(reported, 0)
        return missing

    def after_start(self, box, post, excused):
        """How many copies are missing, all of them excused; and letters go through."""
        box.let_go()
        found = box.delivered()
        self.assertEqual([copy for copy, times in found.items() if times > 1], [])
        missing = post.expected - set(found)
        self.assertEqual(sorted(copy for copy in missing if copy[0] not in excused), [])
        self.assertEqual(set(found) - post.expected, set())
        box.works()
        wait_for(lambda: box.instance.names(USERS[0]), "a letter after the damage")
        for path in box.instance.names(USERS[0]):
            os.unlink(path)
        return len(missing)

    def test_letter_of_frames(self):
        """A letter that is a copy of the running spool's own frames, at every offset of a block."""
        box = self.box()
        ids = [box.works() for _ in range(3)]
        frames = b"".join(frame.octets + bytes(-len(frame.octets) % BLOCK)
                          for path in box.files("log") for frame in frames_of(path))
        self.assertIn(b"Subject: x", frames)
        safe = frames.replace(b"\r", b" ").replace(b"\n", b" ")
        bodies = [b"Subject: frames\r\n\r\n" + b"x" * pad + safe + b"\r\n"
                  for pad in (*range(0, 300, 37), 4096 - 700, 4096 - 40)]
        # As it is, line ends and all, too.
        bodies.append(b"Subject: frames\r\n\r\n" + frames.replace(b"\r\n", b"\n").replace(
            b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n")
        with box.instance.smtp() as client:
            for body in bodies:
                ids.append(client.letter("a@example.org", [USERS[0]], body))
        for _ in range(2):
            box.instance.kill()
            box.instance.start()
        self.assertEqual(box.corrupt(), 0)
        self.assertEqual(box.instance.queue_count(), len(ids))
        box.let_go()
        letters = box.instance.letters(USERS[0])
        self.assertEqual(len(letters), len(ids))
        self.assertEqual(sum(b"Subject: frames" in letter for letter in letters), len(bodies))
        self.assertEqual(box.instance.events("corrupt"), [])

    def test_wiped(self):
        """Nothing is known any more; ids do not come again."""
        box = self.box()
        ids = [box.works() for _ in range(20)]
        for _ in range(3):
            box.instance.stop()
            shutil.rmtree(os.path.join(box.spool, "log"))
            shutil.rmtree(os.path.join(box.spool, "body"))
            box.instance.start()
            self.assertEqual(box.instance.queue_count(), 0)
            ids += [box.works() for _ in range(20)]
        self.assertEqual(len(set(ids)), len(ids))
        box.let_go()
        self.assertEqual(len(box.instance.names(USERS[0])), 20)

    def test_older_copy(self):
        """A copy knows of letters that were delivered since. They are delivered again, under the
        same names: what still lies in new is met there and stays one letter; what its owner moved
        or deleted meanwhile comes once more. Nothing else comes twice, and letters that came after
        the copy was made are delivered already or known only to their senders."""
        box = self.box()
        post = Post(box.instance, seed())
        for _ in range(20):
            self.assertEqual(post.send(), 250)
        post.close()
        box.instance.stop()
        box.keep()
        box.instance.start()
        self.assertEqual(post.send(), 250)  # is not in the copy
        post.close()
        box.let_go()
        names = box.instance.names(USERS[0])
        moved = names[:3]
        for path in moved:
            folder, name = os.path.split(path)
            os.rename(path, os.path.join(os.path.dirname(folder), "cur", name + ":2,S"))
        box.instance.stop()
        box.restore()
        box.instance.start()
        box.let_go()
        found = box.delivered()
        self.assertEqual(set(found), post.expected)
        self.assertEqual(sorted(found.values()), [1] * (len(found) - 3) + [2] * 3)
        box.works()
        wait_for(lambda: box.instance.names(USERS[0]), "a new letter")


if __name__ == "__main__":
    unittest.main()
