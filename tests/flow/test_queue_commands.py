"""posthouse queue list, show, retry, hold, release, drop, count, and mailq."""

import errno
import json
import os
import pty
import subprocess
import unittest

import fault
from instance import Instance, wait_for

ALICE, BOB, CHINESE = "alice@example.test", "bob@example.test", "用户@例子.测试"
LETTER = b"From: a@example.org\r\nSubject: \x1b[2Jred\r\n\r\nbody\r\n.\r\n"
ORDERED = {"letters", "recipients", "under_way"}


class Queue(unittest.TestCase):
    """Letters that wait: where a Maildir should stand there is a file."""

    def instance(self, **options):
        options.setdefault("users", (ALICE, BOB, CHINESE))
        options.setdefault("domains", ("example.test", "例子.测试"))
        made = Instance(**options)
        self.addCleanup(made.finish, check=False)
        self.house = made
        return made

    def block(self, user):
        place = self.house.maildir(user)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        self.house.own(os.path.dirname(place))
        with open(place, "w", encoding="ascii"):
            pass

    def unblock(self, user):
        os.unlink(self.house.maildir(user))

    def rows(self, *filters):
        return [json.loads(line)
                for line in self.house.run("queue", "list", "--json", *filters).splitlines()]

    def order(self, *words):
        """(letters, recipients, under way) that an order touched."""
        said = json.loads(self.house.run("queue", *words, "--json"))
        self.assertEqual(set(said), ORDERED)
        return said["letters"], said["recipients"], said["under_way"]

    def states(self):
        return {(row["id"], row["to"]): row["state"] for row in self.rows()}

    def wait_deferred(self, count):
        wait_for(lambda: [row["state"] for row in self.rows()] == ["deferred"] * count,
                 f"{count} deferred recipients")

    def three_letters(self):
        """Ids of a letter for bob, one for bob and the Chinese user, one bounce for the latter."""
        self.instance()
        for user in (BOB, CHINESE):
            self.block(user)
        with self.house.smtp() as client:
            self.one = client.letter("a@example.org", [BOB], LETTER)
            self.two = client.letter("发件@例子.测试", [BOB, CHINESE, ALICE], LETTER, " SMTPUTF8")
            self.three = client.letter("", [CHINESE], LETTER, " SMTPUTF8")
        self.wait_deferred(4)


class Letters(Queue):
    def test_list_and_its_filters(self):
        self.three_letters()
        rows = self.rows()
        self.assertEqual([row["id"] for row in rows], [self.one, self.two, self.two, self.three])
        row = rows[0]
        self.assertEqual(set(row), {"id", "arrived", "size", "from", "to", "domain", "state",
                                    "attempts", "next", "reason"})
        self.assertEqual((row["from"], row["to"], row["domain"], row["state"]),
                         ("a@example.org", BOB, "example.test", "deferred"))
        self.assertGreater(row["size"], len(LETTER))
        self.assertGreaterEqual(row["attempts"], 1)
        self.assertGreater(row["next"], row["arrived"])
        self.assertIn("/bob: Not a directory", row["reason"])
        self.assertEqual([row["domain"] for row in rows[2:]], ["例子.测试"] * 2)
        for filters, wanted in (
                (("--from", "A@Example.org"), [self.one]), (("--from", "<>"), [self.three]),
                (("--from", "发件@例子.测试"), [self.two, self.two]),
                (("--to", "BOB@example.test"), [self.one, self.two]),
                (("--domain", "xn--fsqu00a.xn--0zwm56d"), [self.two, self.three]),
                (("--domain", "例子.测试", "--from", "<>"), [self.three]),
                (("--older", "1h"), []), (("--older", "0"), [row["id"] for row in rows]),
                (("--reason", "not A directory"), [row["id"] for row in rows]),
                (("--reason", "/BOB:"), [self.one, self.two]), (("--reason", "nothing of the sort"), [])):
            self.assertEqual([row["id"] for row in self.rows(*filters)], wanted, filters)
            self.assertEqual(self.house.run("queue", "count", *filters),
                             f"{len(set(wanted))}\n", filters)
        for filters in (("--from", "nobody"), ("--to", "<>"), ("--domain", "-"),
                        ("--older", "4"), ("--reason", "a\tb")):
            self.house.run("queue", "list", *filters, code=64)

    def test_show(self):
        self.three_letters()
        letter = json.loads(self.house.run("queue", "show", self.two, "--json"))
        self.assertEqual((letter["id"], letter["from"], letter["helo"], letter["client"]),
                         (self.two, "发件@例子.测试", "client.example.org", "127.0.0.1"))
        self.assertTrue(letter["smtputf8"])
        self.assertEqual({to["to"]: (to["state"], to["next"] is None)
                          for to in letter["recipients"]},
                         {ALICE: ("delivered", True), BOB: ("deferred", False),
                          CHINESE: ("deferred", False)})
        self.assertTrue(letter["header"].startswith("Received: "))
        self.assertTrue(letter["header"].endswith("Subject: \x1b[2Jred\r\n"))
        text = self.house.run("queue", "show", self.two.lower())
        for part in (self.two, CHINESE, "delivered", "Subject: \\x1b[2Jred", "log/0000"):
            self.assertIn(part, text)
        self.assertNotIn("\x1b", text)
        message = self.house.run("queue", "show", self.two, "--message")
        self.assertTrue(message.startswith("Received: "))
        self.assertTrue(message.endswith("red\r\n\r\nbody\r\n.\r\n"))
        self.assertEqual(len(message.encode()), letter["size"])

    def test_ids(self):
        self.three_letters()
        for words, code in ((("show", self.one[:5]), 64), (("show", "U" * 26), 64),
                            (("show", "0" * 26), 1), (("show", "ZZZZZZ"), 1),
                            (("show", self.one + "0"), 64), (("hold", self.one, "--all"), 64),
                            (("hold",), 64), (("drop", "0" * 26), 1)):
            self.house.run("queue", *words, code=code)
        self.assertIn("letters begin with", self.house.run("queue", "show", self.one[:6], code=1))
        first = next(n for n in range(6, 27) if not self.two.startswith(self.one[:n])
                     and not self.three.startswith(self.one[:n]))
        shown = json.loads(self.house.run("queue", "show", self.one[:first].lower(), "--json"))
        self.assertEqual(shown["id"], self.one)
        self.assertIn("no such offset", self.house.ask(f"queue body \tid={self.one}\toffset=5",
                                                       wanted=False))
        self.assertIn("no such id", self.house.ask("queue show", wanted=False))
        self.assertIn("no such field", self.house.ask("queue list \tsize=5", wanted=False))

    def test_a_large_letter(self):
        """Its body is a file, and more than one answer holds."""
        self.instance()
        self.block(BOB)
        body = b"Subject: large\r\n\r\n" + b"0123456789abcde\r\n" * 200000
        with self.house.smtp() as client:
            ident = client.letter("a@example.org", [BOB], body)
        self.wait_deferred(1)
        shown = json.loads(self.house.run("queue", "show", ident, "--json"))
        self.assertTrue(shown["file"])
        message = self.house.run("queue", "show", ident, "--message").encode()
        self.assertEqual(len(message), shown["size"])
        self.assertTrue(message.endswith(body))
        self.assertEqual(self.order("drop", ident), (1, 1, 0))
        wait_for(lambda: not os.listdir(os.path.join(self.house.directory, "spool/body")),
                 "the file of the body to go")

    def test_orders(self):
        self.three_letters()
        self.assertEqual(self.order("hold", "--to", BOB), (2, 2, 0))
        self.assertEqual(self.order("hold", self.two), (1, 1, 0))  # bob's was held before
        self.assertEqual(self.states(), {
            (self.one, BOB): "held", (self.two, BOB): "held", (self.two, CHINESE): "held",
            (self.three, CHINESE): "deferred"})
        self.assertIsNone(self.rows("--from", "a@example.org")[0]["next"])
        for user in (BOB, CHINESE):
            self.unblock(user)
        self.assertEqual(self.order("retry", "--all"), (1, 1, 0))  # not the held ones
        wait_for(lambda: len(self.house.letters(CHINESE)) == 1, "the letter that was tried again")
        self.assertEqual(self.order("release", "--domain", "例子.测试"), (1, 1, 0))
        wait_for(lambda: len(self.house.letters(CHINESE)) == 2, "the letter that was released")
        self.assertEqual(self.house.run("queue", "drop", "--all", "--yes"),
                         "dropped: 2 letters, 2 recipients\n")
        self.assertEqual((self.house.queue_count(), self.rows()), (0, []))
        self.assertEqual(self.order("release", "--all"), (0, 0, 0))
        self.assertEqual(self.house.letters(BOB), [])
        who = f"uid {os.getuid()}"
        self.assertEqual([(event["id"], event["to"], event["user"])
                          for event in self.house.events("dropped")],
                         [(self.one, BOB, who), (self.two, BOB, who)])
        self.assertEqual(self.house.events("dropped")[0]["from"], "a@example.org")
        self.assertTrue(self.house.events("dropped")[0]["text"])
        self.assertEqual((len(self.house.events("held")), len(self.house.events("released")),
                          len(self.house.events("retried"))), (3, 1, 1))
        self.house.stop()
        self.assertEqual(self.house.spool_check()["letters"], 0)

    def test_what_was_ordered_outlives_a_crash(self):
        self.three_letters()
        self.order("hold", self.one)
        self.order("drop", self.three)
        self.house.kill()
        for user in (BOB, CHINESE):
            self.unblock(user)
        self.house.start()
        self.order("retry", "--all")
        wait_for(lambda: [(row["id"], row["state"]) for row in self.rows()]
                 == [(self.one, "held")], "all but the held one to be delivered")
        self.assertEqual(len(self.house.letters(CHINESE)), 1)
        self.assertEqual(self.order("release", self.one), (1, 1, 0))
        self.house.settle()
        self.assertEqual(len(self.house.letters(BOB)), 2)


class UnderWay(Queue):
    """Orders for what is being delivered."""

    def slow(self, **rule):
        """A letter whose delivery takes its time; its id."""
        top = self.instance(start=False).top
        page = fault.Page.create(os.path.join(top, "page"))
        self.addCleanup(page.close)
        self.house.environment["POSTHOUSE_FAULT"] = os.path.join(top, "page")
        page.rule("link", role="postman", count=1, delay_ms=4000, **rule)
        self.house.start()
        with self.house.smtp() as client:
            ident = client.letter("a@example.org", [ALICE], LETTER)
        wait_for(lambda: page.calls("postman", "link"), "the delivery to begin")
        return ident

    def test_a_hold_is_too_late(self):
        ident = self.slow()
        self.assertEqual(self.order("hold", ident), (1, 1, 1))
        self.house.settle()
        self.assertEqual(len(self.house.letters(ALICE)), 1)

    def test_held_when_it_fails(self):
        ident = self.slow(error=errno.EIO)
        self.assertEqual(self.order("hold", ident), (1, 1, 1))
        wait_for(lambda: not json.loads(self.house.run("queue", "show", ident, "--json"))
                 ["recipients"][0]["under_way"], "the attempt to end")
        self.assertEqual(self.states(), {(ident, ALICE): "held"})
        self.assertEqual(self.order("release", ident), (1, 1, 0))
        self.house.settle()
        self.assertEqual(len(self.house.letters(ALICE)), 1)

    def test_dropped_when_it_fails(self):
        ident = self.slow(error=errno.EIO)
        text = self.house.run("queue", "drop", ident)
        self.assertEqual(text.splitlines()[0], "dropped: 1 letter, 1 recipient")
        self.assertIn("of these 1 under way", text)
        self.assertEqual(self.order("drop", ident), (0, 0, 0))  # it was said before
        self.house.settle()
        self.assertEqual(self.house.letters(ALICE), [])
        self.assertEqual(self.house.events("dropped")[0]["id"], ident)

    def test_a_release_takes_it_back(self):
        ident = self.slow(error=errno.EIO)
        self.order("drop", ident)
        self.assertEqual(self.order("release", ident), (1, 1, 1))
        wait_for(lambda: self.states() == {(ident, ALICE): "deferred"}, "the attempt to fail")
        self.assertEqual(self.order("retry", ident), (1, 1, 0))
        self.house.settle()
        self.assertEqual(len(self.house.letters(ALICE)), 1)

    def test_what_no_postman_has_yet(self):
        """The postman is stopped and is not asked: the order is obeyed at once."""
        self.instance()
        self.house.stop()
        self.house.fill("letters=3000", "body=64", "due=1", ALICE)
        page = fault.Page.create(os.path.join(self.house.top, "page"))
        self.addCleanup(page.close)
        self.house.environment["POSTHOUSE_FAULT"] = os.path.join(self.house.top, "page")
        page.rule("link", role="postman", delay_ms=3000)
        self.house.start()
        wait_for(lambda: page.calls("postman", "link"), "a delivery to begin")
        letters, recipients, under_way = self.order("drop", "--all")
        self.assertEqual(letters, recipients)
        self.assertLess(under_way, letters)
        self.assertLessEqual(self.house.queue_count(), under_way)
        page.clear()
        self.house.settle()
        dropped = len(self.house.events("dropped"))
        self.assertEqual(dropped + len(self.house.letters(ALICE)), 3000)
        self.assertGreaterEqual(dropped, letters - under_way)


class Long(Queue):
    def test_orders_go_page_by_page(self):
        self.instance(start=False)
        self.house.fill("letters=3", "recipients=2500", "body=64", ALICE)
        self.house.fill("letters=20000", "body=64", BOB)
        self.house.start()
        self.assertEqual(self.order("hold", "--all"), (20003, 27500, 0))
        self.assertEqual(self.order("hold", "--all"), (0, 0, 0))
        self.assertEqual(self.order("drop", "--to", ALICE), (3, 7500, 0))
        self.assertEqual(self.house.run("queue", "count", "--reason", "spool_fill"), "20000\n")
        self.house.kill()
        self.house.start()
        rows = self.rows("--domain", "example.test")
        self.assertEqual({(row["state"], row["to"]) for row in rows}, {("held", BOB)})
        self.assertEqual(len(rows), 20000)
        self.assertEqual(self.order("release", rows[-1]["id"]), (1, 1, 0))
        wait_for(lambda: len(self.house.letters(BOB)) == 1, "the one that was released")


class Offline(Queue):
    def test_without_a_running_instance(self):
        self.three_letters()
        running = self.rows()
        self.house.stop()
        self.assertEqual([(row["id"], row["to"], row["reason"]) for row in self.rows()],
                         [(row["id"], row["to"], row["reason"]) for row in running])
        self.assertEqual(self.house.run("queue", "count"), "3\n")
        self.assertEqual(json.loads(self.house.run("queue", "show", self.two, "--json"))["from"],
                         "发件@例子.测试")
        self.assertTrue(self.house.run("queue", "show", self.one, "--message")
                        .endswith("body\r\n.\r\n"))
        self.assertEqual(self.order("hold", self.one), (1, 1, 0))
        self.assertEqual(self.order("drop", "--from", "<>"), (1, 1, 0))
        self.assertEqual(self.order("release", self.one), (1, 1, 0))
        self.assertEqual(self.order("hold", self.one), (1, 1, 0))
        self.assertEqual(self.order("retry", "--all"), (1, 2, 0))
        self.house.run("queue", "show", self.three, code=1)
        self.assertEqual([event["id"] for event in self.house.events("dropped")], [self.three])
        self.house.spool_check()
        for user in (BOB, CHINESE):
            self.unblock(user)
        self.house.start()
        wait_for(lambda: [(row["id"], row["state"]) for row in self.rows()]
                 == [(self.one, "held")], "all but the held one to be delivered")
        self.assertEqual((len(self.house.letters(BOB)), len(self.house.letters(CHINESE))), (1, 1))

    def test_another_process_works_on_the_spool(self):
        self.instance()
        os.unlink(os.path.join(self.house.directory, "state/control"))
        self.assertIn("spool/lock is held", self.house.run("queue", "list", code=75))


class Terminal(Queue):
    def on_terminal(self, *words, said=b"", columns=None, program=None):
        """Exit status and what a terminal shows."""
        environment = dict(os.environ, POSTHOUSE_CONF=self.house.conf)
        environment.pop("NO_COLOR", None)
        if columns:
            environment["COLUMNS"] = str(columns)
        master, slave = pty.openpty()
        with subprocess.Popen([program or self.house.command, *words], stdin=slave, stdout=slave,
                              stderr=slave, env=environment) as process:
            os.close(slave)
            os.write(master, said)
            shown = b""
            try:
                while piece := os.read(master, 65536):
                    shown += piece
            except OSError:  # the last one has closed it
                pass
            status = process.wait()
        os.close(master)
        return status, shown.decode()

    def test_the_table_fits(self):
        self.three_letters()
        wide = self.house.run("queue", "list").splitlines()
        self.assertIn("发件@例子.测试", wide[2])
        self.assertIn("<>", wide[4])
        self.assertIn("ARRIVED", wide[0])
        _, shown = self.on_terminal("queue", "list", columns=80)
        lines = shown.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
        self.assertIn("\x1b[1m", shown)
        self.assertIn(self.two, lines[2])
        self.assertIn("…", lines[2])
        for line in lines:
            width = sum(2 if "\u2e80" < c < "\uff61" else 1 for c in line)
            self.assertLessEqual(width, 80, line)

    def test_mailq(self):
        self.three_letters()
        mailq = os.path.join(self.house.top, "mailq")
        os.symlink(self.house.command, mailq)
        want = self.house.run("queue", "list", "--json")
        for words in (["-c", self.house.conf, "--json"], ["--json"]):
            done = subprocess.run([mailq, *words], stdout=subprocess.PIPE, check=True,
                                  env=dict(os.environ, POSTHOUSE_CONF=self.house.conf))
            self.assertEqual(done.stdout.decode(), want)
        self.assertIn(self.one, self.on_terminal(program=mailq)[1])

    def test_drop_asks(self):
        self.three_letters()
        code, shown = self.on_terminal("queue", "drop", "--all", said=b"n\n")
        self.assertEqual(code, 1)
        self.assertIn("for good? [y/N]", shown)
        self.assertEqual(self.house.queue_count(), 3)
        code, shown = self.on_terminal("queue", "drop", self.one)
        self.assertEqual((code, "[y/N]" in shown), (0, False))
        code, shown = self.on_terminal("queue", "drop", "--all", said=b"y\n")
        self.assertEqual(code, 0)
        self.assertIn("dropped: 2 letters, 3 recipients", shown)
        self.assertEqual(self.house.queue_count(), 0)


if __name__ == "__main__":
    unittest.main()
