"""Quotas: 452 4.2.2 at RCPT while a mailbox is full; what it holds follows deliveries and removals,
and is counted where it is not known or not true."""

import json
import os
import signal
import sqlite3
import unittest

from instance import Instance, wait_for
from pop3 import Clock

ALICE, BOB, HAN = "alice@example.test", "bob@example.test", "汉字@example.test"
BODY = b"Subject: x\r\n\r\n" + b"0123456789abcdef" * 250 + b"\r\n"


class House(unittest.TestCase):
    def setUp(self):
        self.clock = Clock()
        self.addCleanup(self.clock.__exit__)
        self.instance = Instance(users=(ALICE, BOB, HAN), environment=self.clock.environment)
        self.addCleanup(self.instance.finish)

    def run_ok(self, *words):
        return self.instance.run(*words)

    def rcpt(self, recipient, parameters=""):
        """The reply to RCPT."""
        with self.instance.smtp() as client:
            client.command(f"MAIL FROM:<x@client.example> SMTPUTF8{parameters}", 250)
            return client.command(f"RCPT TO:<{recipient}>")

    def full(self, recipient, parameters=""):
        code, text = self.rcpt(recipient, parameters)
        if code == 452:
            self.assertRegex(text, r"^4\.2\.2 Mailbox is full \[[0-9A-Z]{26}\]$")
        else:
            self.assertEqual(code, 250)
        return code == 452

    def becomes(self, full, recipient):
        wait_for(lambda: self.full(recipient) == full, f"a mailbox that is{' ' if full else ' not '}full")

    def send(self, *recipients):
        with self.instance.smtp() as client:
            id = client.letter("x@client.example", recipients, BODY, " SMTPUTF8")
        self.instance.settle()
        return id

    def listed(self, user):
        lines = self.run_ok("user", "list", "--json").splitlines()
        return next(found for found in map(json.loads, lines) if found["address"] == user)

    def on_disk(self, user):
        """(octets, letters)"""
        sizes = [os.stat(path).st_size for path in self.instance.names(user)]
        return sum(sizes), len(sizes)

    def known(self, user):
        found = self.listed(user)
        return (found["used"], found["letters"]) if "used" in found else None

    def becomes_true(self, user):
        """What is known is what the mailbox holds."""
        wait_for(lambda: self.known(user) == self.on_disk(user), "the truth about a mailbox")

    def limit(self, user, size="8K"):
        self.run_ok("user", "quota", user, size)
        wait_for(lambda: self.known(user) is not None, "a count")

    def remove(self, user, count):
        with self.instance.pop3(user) as client:
            for number in range(count):
                client.command(f"DELE {number + 1}")
            client.command("QUIT")

    def falsify(self, user, octets):
        """As if differences had been lost."""
        path = os.path.join(self.instance.directory, "state/usage.db")
        mailbox = os.path.relpath(self.instance.maildir(user),
                                  os.path.join(self.instance.directory, "mail"))
        db = sqlite3.connect(path, timeout=60)
        with db:
            changed = db.execute("UPDATE usage SET octets = ? WHERE mailbox = ?",
                                 (octets, mailbox)).rowcount
        db.close()
        self.assertEqual(changed, 1)


class Limits(House):
    def test_full_emptied_raised(self):
        for user in (ALICE, HAN):
            with self.subTest(user):
                self.limit(user)
                self.assertFalse(self.full(user))
                self.send(user)
                self.send(user)
                self.becomes(True, user)
                self.assertFalse(self.full(BOB))
                self.remove(user, 1)
                self.becomes(False, user)
                self.becomes_true(user)
                self.send(user)
                self.becomes(True, user)
                self.run_ok("user", "quota", user, "16K")
                self.assertFalse(self.full(user), "at once")
                self.run_ok("user", "quota", user, "4K")
                self.assertTrue(self.full(user), "at once")
                self.run_ok("user", "quota", user, "0")
                self.assertFalse(self.full(user))

    def test_the_declared_size(self):
        self.limit(ALICE)
        self.assertFalse(self.full(ALICE, " SIZE=8192"))
        self.assertTrue(self.full(ALICE, " SIZE=8193"))
        self.send(ALICE)
        wait_for(lambda: self.full(ALICE, " SIZE=5000"), "no room for 5000")
        self.assertFalse(self.full(ALICE, " SIZE=1000"))

    def test_the_default_and_those_who_have_their_own(self):
        self.run_ok("user", "quota", BOB, "0")
        self.run_ok("user", "quota", HAN, "20K")
        self.instance.set("quota", "8K")
        self.run_ok("reload")
        wait_for(lambda: self.known(ALICE) and self.known(HAN), "counts")
        for _ in range(2):
            self.send(ALICE, BOB, HAN)
        self.becomes(True, ALICE)
        self.assertFalse(self.full(BOB))
        self.assertFalse(self.full(HAN))
        self.run_ok("user", "quota", HAN, "none")
        self.assertTrue(self.full(HAN))
        self.assertNotIn("quota", self.listed(BOB))
        self.assertEqual(self.listed(ALICE)["quota"], 8192)
        wanted = f"{ALICE}: 9K of 8K\n{BOB}\n{HAN}: 9K of 8K\n"
        wait_for(lambda: self.run_ok("user", "list") == wanted, "what is in them")

    def test_the_postmaster_is_heard(self):
        self.limit(ALICE, "1K")
        self.send(ALICE)
        self.becomes(True, ALICE)
        self.assertFalse(self.full("postmaster@example.test"))

    def test_what_the_command_says(self):
        self.assertEqual(self.run_ok("user", "quota", ALICE, "25M"), f"{ALICE}: quota 25M\n")
        self.assertEqual(self.run_ok("user", "quota", ALICE, "0"), f"{ALICE}: no limit\n")
        self.assertEqual(self.run_ok("user", "quota", ALICE, "none"),
                         f"{ALICE}: no quota of its own\n")
        for word in ("much", "-1", "25MB", "2000G"):
            self.instance.run("user", "quota", ALICE, word, code=64)
        self.assertIn("is not a user here",
                      self.instance.run("user", "quota", "nobody@example.test", "1M", code=1))
        self.assertIn("no user has a quota", self.instance.run("user", "recount", code=1))


class Aliases(House):
    def test_full_when_all_are(self):
        self.run_ok("alias", "add", "one@example.test", ALICE)
        self.run_ok("alias", "add", "two@example.test", ALICE, BOB)
        self.run_ok("user", "moved", HAN, ALICE, "--forward")
        self.limit(ALICE, "4K")
        self.limit(BOB, "4K")
        self.send(ALICE)
        self.becomes(True, "one@example.test")
        self.assertTrue(self.full(HAN))
        self.assertFalse(self.full("two@example.test"))
        self.send("two@example.test")  # what was taken is delivered: above the quota
        self.assertEqual(self.on_disk(ALICE)[1], 2)
        self.assertEqual(self.on_disk(BOB)[1], 1)
        self.becomes(True, "two@example.test")
        self.becomes_true(ALICE)


class Counts(House):
    def test_what_was_there_before(self):
        """Letters of other programs too, with and without sizes in their names."""
        self.send(ALICE)
        self.instance.plant(ALICE, "1700000000.foreign", b"x" * 5000, "cur")
        self.instance.plant(ALICE, "1700000001.sized,S=3000:2,S", b"x" * 3000, "cur")
        self.limit(ALICE, "10K")
        self.becomes_true(ALICE)
        self.assertTrue(self.full(ALICE))
        os.unlink(os.path.join(self.instance.maildir(ALICE), "cur/1700000000.foreign"))
        self.assertTrue(self.full(ALICE), "nobody said so")
        self.run_ok("user", "recount")
        self.becomes(False, ALICE)
        self.becomes_true(ALICE)

    def test_the_night_puts_it_right(self):
        self.instance.set("quota_count", '"03:30"')
        self.limit(ALICE)
        self.run_ok("reload")
        self.send(ALICE)
        self.becomes_true(ALICE)
        self.falsify(ALICE, 1 << 20)
        self.becomes(True, ALICE)
        self.clock.page.shift_wall(24 * 3600 * 1000)
        self.becomes(False, ALICE)
        self.becomes_true(ALICE)

    def test_a_store_that_is_lost_or_damaged(self):
        self.limit(ALICE, "4K")
        self.send(ALICE)
        self.becomes(True, ALICE)
        path = os.path.join(self.instance.directory, "state/usage.db")
        for damage in (None, b"neither a database nor long enough to be one" * 100, b""):
            with self.subTest(damage):
                self.instance.stop()
                for name in ("", "-wal", "-shm"):
                    if os.path.exists(path + name):
                        os.unlink(path + name)
                if damage is not None:
                    with open(path, "wb") as file:
                        file.write(damage)
                    self.own_state(path)
                self.assertIn("not counted yet, of 4K", self.run_ok("user", "list"))
                self.instance.start()
                self.becomes(True, ALICE)
                self.becomes_true(ALICE)

    def own_state(self, path):
        owner = os.stat(os.path.dirname(path))
        os.chown(path, owner.st_uid, owner.st_gid)

    def test_a_stop_loses_nothing(self):
        self.limit(ALICE, "64K")
        for _ in range(3):
            self.send(ALICE)
            self.instance.stop()
            self.assertEqual(self.known(ALICE), self.on_disk(ALICE))
            self.instance.start()

    def test_differences_while_it_is_counted(self):
        """Letters come and go while the mailbox is counted again and again."""
        self.limit(ALICE, "100M")
        for number in range(2000):
            self.instance.plant(ALICE, f"{1600000000 + number}.old{number}", b"x" * 100, "cur")
        for _ in range(6):
            self.run_ok("user", "recount")
            self.send(ALICE)
            self.run_ok("user", "recount")
            with self.instance.smtp() as client:
                client.letter("x@client.example", [ALICE], BODY)
            self.remove(ALICE, 5)
        self.instance.settle()
        self.becomes_true(ALICE)


class Deaths(House):
    def test_roles_are_killed(self):
        """Differences may be lost; a count finds them."""
        self.limit(ALICE, "64K")
        for role in ("directory", "postman", "reader"):
            with self.subTest(role):
                self.send(ALICE)
                wait_for(lambda: self.instance.kill_role(role), "a role to kill")
                wait_for(self.instance.all_ready, "all roles")
                self.send(ALICE)
                self.remove(ALICE, 1)
                self.run_ok("user", "recount")
                self.becomes_true(ALICE)
        self.limit(ALICE, "4K")
        self.becomes(True, ALICE)

    def test_all_are_killed(self):
        self.limit(ALICE, "4K")
        self.send(ALICE)
        self.instance.kill()
        self.instance.start()
        self.run_ok("user", "recount")
        self.becomes(True, ALICE)
        self.becomes_true(ALICE)

    def test_a_postman_that_stands_still_holds_up_no_answer(self):
        self.limit(ALICE, "4K")
        self.send(ALICE)
        self.becomes(True, ALICE)
        pid = self.instance.child("postman")["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            self.run_ok("user", "recount")
            self.assertTrue(self.full(ALICE))
            self.assertFalse(self.full(BOB))
        finally:
            os.kill(pid, signal.SIGCONT)
        self.becomes_true(ALICE)


if __name__ == "__main__":
    unittest.main()
