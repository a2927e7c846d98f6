"""Disks that fail, descriptors that run out, clocks that jump, power that goes: through the fault
seam (tests/fault.py) of a whole running instance."""

import os
import pwd
import random
import shutil
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor

from instance import LONG, PLAIN, TESTS, Instance, Trouble, stuff, wait_for

sys.path.insert(0, TESTS)
import fault  # noqa: E402 (beside this folder)

ALICE, CHINESE = "alice@example.test", "测试@example.test"
REPLIES = (451, 452, 421)


class Faulty(Instance):
    """An instance with a fault page, and a trace where one is asked for."""

    def __init__(self, trace=False, **options):
        super().__init__(PLAIN, users=(ALICE, CHINESE), start=False, **options)
        self.page = fault.Page.create(os.path.join(self.top, "page"))
        self.environment["POSTHOUSE_FAULT"] = os.path.join(self.top, "page")
        self.trace = None
        if trace:
            self.before = fault.Snapshot(self.directory)
            self.trace = fault.Trace.create(os.path.join(self.top, "trace"), 256 << 20)
            self.environment["POSTHOUSE_TRACE"] = os.path.join(self.top, "trace")
        self.start()

    def attempt(self, body, recipients=(ALICE,)):
        """The code of the reply that decides over a letter; 0 when the connection broke."""
        try:
            with self.smtp(greet=False) as client:
                client.expect(220)
                for line in ("EHLO client.example.org", "MAIL FROM:<a@example.org> SMTPUTF8",
                             *(f"RCPT TO:<{recipient}>" for recipient in recipients), "DATA"):
                    code, _ = client.command(line)
                    if code not in (250, 354):
                        return code
                client.send(stuff(body))
                return client.reply()[0]
        except (OSError, Trouble):
            return 0

    def works_again(self):
        """A letter gets through, sooner or later, and all that was accepted arrives."""
        wait_for(lambda: self.attempt(b"Subject: again\r\n") == 250, "a letter to be accepted")
        self.settle()

    def count(self, mark, user=ALICE):
        return sum(mark in letter for letter in self.letters(user))


class Witnesses(unittest.TestCase):
    def test_what_a_killed_postman_left_goes_after_days(self):
        """Killed between the link and "forget": the second link goes, when it is surely nobody's
        witness any more, and only then."""
        with Faulty() as instance:
            tmp = os.path.join(instance.maildir(ALICE), "tmp")
            rule = instance.page.rule("unlink", role="postman", first=1, count=1, kill=True)
            self.assertEqual(instance.attempt(b"Subject: first\r\n"), 250)
            wait_for(lambda: instance.page.acted(rule), "the postman to be killed")
            instance.page.clear()
            instance.works_again()
            left = os.listdir(tmp)
            self.assertEqual(len(left), 1)
            with open(os.path.join(tmp, "1.foreign"), "wb"):
                pass
            instance.page.shift_monotonic(2 * 3_600_000)
            instance.works_again()
            self.assertIn(left[0], os.listdir(tmp))  # too young
            instance.page.shift_wall(4 * 86_400_000)
            instance.works_again()
            self.assertIn(left[0], os.listdir(tmp))  # once a day
            instance.page.shift_monotonic(30 * 3_600_000)
            instance.works_again()
            wait_for(lambda: os.listdir(tmp) == ["1.foreign"], "the witness to go")
            self.assertEqual(instance.count(b"Subject: first"), 1)


class Faults(unittest.TestCase):
    def test_a_commit_that_fails(self):
        """Spool promise 4: no false 250, no second try of the sync, and service goes on."""
        for call in ("fdatasync", "write"):
            for error in ("EIO", "ENOSPC", "EDQUOT"):
                with self.subTest(call=call, error=error), Faulty() as instance:
                    self.assertEqual(instance.attempt(b"Subject: good\r\n"), 250)
                    instance.settle()
                    wait_for(lambda: self.spare_is_there(instance), "a spare segment")
                    rule = instance.page.rule(call, role="queue", count=1, error=error)
                    code = instance.attempt(b"Subject: bad\r\n")
                    self.assertEqual(instance.page.acted(rule), 1)
                    self.assertIn(code, REPLIES)
                    instance.works_again()
                    self.assertEqual(instance.count(b"Subject: bad"), 0)
                    instance.stop()
                    instance.spool_check()
                    instance.start()
                    instance.works_again()
                    self.assertEqual(instance.count(b"Subject: bad"), 0)
                    self.assertEqual(instance.count(b"Subject: good"), 1)

    def spare_is_there(self, instance):
        """Nothing but the letter to come is on its way to the disk."""
        folder = os.path.join(instance.directory, "spool/log")
        sizes = {os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)}
        return len(os.listdir(folder)) > 1 and len(sizes) == 1

    def test_a_disk_that_stays_broken(self):
        for call in ("fdatasync", "write", "open"):
            with self.subTest(call), Faulty() as instance:
                self.assertEqual(instance.attempt(b"Subject: good\r\n"), 250)
                instance.settle()
                instance.page.rule(call, role="queue", error="EIO")
                with ThreadPoolExecutor(3) as pool:
                    codes = list(pool.map(instance.attempt, (b"Subject: bad %d\r\n" % number
                                                             for number in range(3))))
                if call != "open":  # a segment that is open needs no other
                    self.assertNotIn(250, codes)
                instance.page.clear()
                instance.works_again()
                # A 451 leaves open what became of the letter: it came after five silent seconds.
                for number, code in enumerate(codes):
                    found = instance.count(b"Subject: bad %d" % number)
                    self.assertIn(found, (1,) if code == 250 else (0, 1))
                self.assertEqual(instance.count(b"Subject: good"), 1)

    def test_large_bodies(self):
        """A body that becomes a file of its own: any of its calls may fail."""
        body = b"Subject: large\r\n\r\n" + b"0123456789abcde\r\n" * 20000
        for call in ("open", "write", "fdatasync", "fsync", "rename"):
            with self.subTest(call), Faulty() as instance:
                self.assertEqual(instance.attempt(b"Subject: good\r\n"), 250)
                instance.settle()
                rule = instance.page.rule(call, role="queue", count=1, error="EIO")
                code = instance.attempt(body)
                instance.page.remove(rule)
                instance.works_again()
                self.assertEqual(instance.count(b"Subject: large"), int(code == 250))
                if instance.page.acted(rule) and call in ("write", "fdatasync"):
                    self.assertIn(code, REPLIES)
                self.assertEqual(instance.attempt(body), 250)
                instance.settle()
                bodies = os.path.join(instance.directory, "spool/body")
                wait_for(lambda bodies=bodies: not os.listdir(bodies), "the bodies to go")

    def test_short_writes(self):
        """A write that takes a few octets only is gone on with."""
        with Faulty() as instance:
            instance.page.rule("write", role="queue", limit=1000)
            instance.page.rule("write", role="postman", limit=100)
            body = b"Subject: short\r\n\r\n" + b"x" * 900 + b"\r\n"
            for _ in range(3):
                self.assertEqual(instance.attempt(body, (ALICE, CHINESE)), 250)
            instance.settle()
            for user in (ALICE, CHINESE):
                letters = instance.letters(user)
                self.assertEqual(len(letters), 3)
                for letter in letters:
                    self.assertTrue(letter.endswith(b"Subject: short\n\n" + b"x" * 900 + b"\n"))

    def test_events_on_a_full_disk(self):
        """A line of the event log that the disk took a part of is ended when there is room again;
        what comes while it is full is missing. No line is anything but an event."""
        with Faulty() as instance:
            before = len(instance.events("login_failed"))

            def fail_to_log_in():
                with self.assertRaises(Trouble):
                    instance.pop3(ALICE, "wrong")

            instance.page.rule("write", role="login", count=1, limit=50)
            full = instance.page.rule("write", role="login", first=2, count=2, error="ENOSPC")
            for _ in range(2):
                fail_to_log_in()
            wait_for(lambda: instance.page.acted(full) == 2, "the disk to be full")
            fail_to_log_in()
            wait_for(lambda: len(instance.events("login_failed")) == before + 2, "two events of three")

    def test_events_of_a_life_that_was_cut_off(self):
        """The part of a line that it left at the end goes at the next start, however long it is."""
        with Faulty() as instance:
            path = os.path.join(instance.directory, "log/events.jsonl")
            for whole in (True, False):
                instance.stop()
                count = len(instance.events())
                with open(path, "a" if whole else "w", encoding="utf-8") as log:
                    log.write('{"time":"2026')
                instance.start()
                self.assertGreater(len(instance.events()), count if whole else 0)

    def test_no_descriptors(self):
        """EMFILE at accept: who comes waits, and is served when there is room."""
        for role, port in (("receiver", "smtp"), ("porter", "pop3")):
            for error in ("EMFILE", "ENFILE", "ENOBUFS", "ECONNABORTED"):
                with self.subTest(role, error=error):
                    self.no_descriptors(role, port, error)

    def no_descriptors(self, role, port, error):
        with Faulty() as instance:
            rule = instance.page.rule("accept", role=role, count=3, error=error)
            with getattr(instance, port)() as client:  # its greeting has come
                self.assertEqual(instance.page.acted(rule), 3)
                client.command("QUIT")
            self.assertEqual(instance.child(role)["restarts"], 0)

    def test_delivery_that_fails(self):
        """Any call of the postman may fail: the letter is deferred, then delivered, once."""
        marks = []
        with Faulty() as instance:
            self.assertEqual(instance.attempt(b"Subject: first\r\n", (ALICE, CHINESE)), 250)
            instance.settle()
            for call in ("open", "write", "link", "fsync", "syncfs"):
                for error in ("EIO", "ENOSPC"):
                    rule = instance.page.rule(call, role="postman", count=1, error=error)
                    mark = b"Subject: %s after %s" % (call.encode(), error.encode())
                    self.assertEqual(instance.attempt(mark + b"\r\n", (ALICE, CHINESE)), 250)

                    def over(rule=rule):
                        return instance.queue_count() == 0 or instance.page.acted(rule)
                    wait_for(over, "the attempt")
                    instance.page.remove(rule)
                    marks.append(mark)
            instance.page.shift_monotonic(11000)  # an attempt comes after 10 s
            instance.page.shift_wall(11000)
            instance.settle()
            for mark in marks:
                for user in (ALICE, CHINESE):
                    self.assertEqual(instance.count(mark + b"\n", user), 1, mark)
            self.assertGreater(len(instance.events("deferred")), 4)

    def test_clocks_that_jump(self):
        """Ids stay unique and letters flow, whatever the clocks do."""
        day = 86400 * 1000
        with Faulty() as instance, instance.smtp() as client:
            ids = []
            for shift in (0, day, -day, 400 * day, -30 * 365 * day, 0):
                instance.page.shift_wall(shift)
                for _ in range(3):
                    ids.append(client.letter("a@example.org", [ALICE], b"Subject: tick\r\n"))
                instance.settle()
            self.assertEqual(len(set(ids)), len(ids))
            self.assertEqual(len(instance.letters(ALICE)), len(ids))
            instance.page.shift_monotonic(30 * 1000)
            client.letter("a@example.org", [ALICE], b"Subject: tock\r\n")
            instance.settle()
            with instance.pop3(ALICE) as reader:
                self.assertEqual(reader.command("STAT").split()[1], str(len(ids) + 1))


class PowerCut(unittest.TestCase):
    """A run is recorded; then the power fails at its moments, and what the disk may hold then is
    given to a fresh instance."""

    def run_some(self, instance):
        """{mark: (users, the moment when its 250 had come)}. The configuration is read again in
        the middle: the second half goes through roles of a new generation."""
        acknowledged = {}
        self.send_some(instance, range(4), acknowledged)
        instance.settle()
        wait_for(lambda: not instance.names(ALICE, "tmp") + instance.names(CHINESE, "tmp"),
                 "the witnesses to go")
        self.send_some(instance, range(4, 6), acknowledged)
        instance.run("reload")
        self.send_some(instance, range(6, 8), acknowledged)
        instance.settle()
        return acknowledged

    def send_some(self, instance, numbers, acknowledged):
        with instance.smtp() as client, instance.smtp() as other:
            for number in numbers:
                users = [[ALICE], [CHINESE], [ALICE, CHINESE]][number % 3]
                size = 150000 if number == 5 else 300 * number
                mark = "Subject: cut 第%d号\r\n" % number
                text = b"".join(b"%03d of %d\r\n" % (i, number) for i in range(size // 10))
                text = mark.encode() + b"\r\n" + text
                one = (client, other)[number % 2]
                one.letter("a@example.org", users, text, " SMTPUTF8")
                acknowledged[text.replace(b"\r\n", b"\n")] = (users, instance.page.sequence())

    def test_every_acknowledged_letter_is_there_once(self):
        """Few cuts, each a whole instance: thousands are made of smaller lives in test_cuts.py."""
        seed = int(os.environ.get("POSTHOUSE_SEED") or random.SystemRandom().randrange(10 ** 6))
        chance = random.Random(seed)
        with Faulty(trace=True, settings={"drain": "1s"}) as instance:
            acknowledged = self.run_some(instance)
            instance.stop()
            cuts, records = instance.trace.cuts(), instance.trace.records()
            last = max(moment for _, moment in acknowledged.values())
            self.assertGreater(len(cuts), 50)
            chosen = cuts if LONG else sorted(chance.sample(cuts, 24))
            promised = 0
            for number, cut in enumerate(chosen):
                keep = ("random", "none", "random", "all")[number % 4]
                tree = fault.replay(instance.before, records, cut, seed=seed + cut, keep=keep)
                with self.subTest(cut=cut, keep=keep, seed=seed):
                    promised += self.recover(instance, tree, acknowledged, cut)
            print(f"# seed {seed}: {len(chosen)} of {len(cuts)} cuts (the last 250 came at {last}), "
                  f"{promised} letters were promised in them", flush=True)
            self.assertGreater(promised, 0)

    def recover(self, instance, tree, acknowledged, cut):
        """Starts an instance on what is left, and judges it."""
        shutil.rmtree(instance.directory)
        tree.write(instance.directory)
        for name in ("spool", "state", "log", "mail"):
            os.makedirs(os.path.join(instance.directory, name), mode=0o700, exist_ok=True)
        if os.getuid() == 0:
            self.give_away(instance)
        environment = instance.environment
        instance.environment = dict(os.environ)
        promised = 0
        try:
            instance.spool_check()
            instance.start()
            instance.settle()
            for text, (users, moment) in acknowledged.items():
                for user in (ALICE, CHINESE):
                    found = sum(letter.endswith(b"\n" + text) for letter in instance.letters(user))
                    if user in users and moment <= cut:
                        promised += 1
                        self.assertEqual(found, 1, (user, text[:30]))
                    else:
                        self.assertLessEqual(found, int(user in users), (user, text[:30]))
            for user in (ALICE, CHINESE):
                for letter in instance.letters(user):
                    self.assertTrue(any(letter.endswith(b"\n" + text) for text in acknowledged),
                                    letter[:300])
            self.assertEqual(instance.attempt(b"Subject: after\r\n"), 250)
            instance.settle()
            self.assertEqual(instance.events("corrupt"), [])
        finally:
            if instance.process:
                instance.stop()
            instance.environment = environment
        return promised

    def give_away(self, instance):
        name = next(line.split()[1] for line in instance.read_conf().splitlines()
                    if line.startswith("run_as:"))
        who = pwd.getpwnam(name)
        for top in ("spool", "state", "log", "mail"):
            for folder, _, files in os.walk(os.path.join(instance.directory, top)):
                for path in (folder, *(os.path.join(folder, file) for file in files)):
                    os.chown(path, who.pw_uid, who.pw_gid)


if __name__ == "__main__":
    unittest.main()
