"""Addresses that stand for others, users who moved, mailboxes that are locked: who gets a letter."""

import json
import os
import re
import signal
import time
import unittest

from instance import Instance, Loop, Trouble, stuff, wait_for

ALICE, BOB, CAROL = "alice@example.test", "bob@example.test", "carol@example.test"
CHINESE, OTHER = "用户@例子.测试", "dora@other.test"
USERS = (ALICE, BOB, CAROL, CHINESE, OTHER)
BODY = b"Subject: x\r\n\r\ntext\r\n"
DELIVERED = re.compile(rb"(?m)^Delivered-To: (\S+) \(([0-9A-HJKMNP-TV-Z]{16})\)\r?$")


def make(**more):
    return Instance(users=USERS, domains=("example.test", "例子.测试", "other.test"), **more)


class House(unittest.TestCase):
    """Each test has an instance of its own."""

    def setUp(self):
        self.instance = make()
        self.addCleanup(self.instance.finish)

    def run_ok(self, *words):
        return self.instance.run(*words)

    def refused(self, *words, code=1):
        return self.instance.run(*words, code=code)

    def send(self, *recipients, body=BODY, parameters=" SMTPUTF8"):
        with self.instance.smtp() as client:
            return client.letter("x@client.example", recipients, body, parameters)

    def reply(self, recipient):
        with self.instance.smtp() as client:
            client.command("MAIL FROM:<x@client.example> SMTPUTF8", 250)
            return client.command(f"RCPT TO:<{recipient}>")

    def got(self):
        """How many letters each user has, those who have any."""
        self.instance.settle()
        counts = {user: len(self.letters(user)) for user in USERS}
        return {user: count for user, count in counts.items() if count}

    def letters(self, user):
        local, _, domain = user.partition("@")
        folder = {"例子.测试": "xn--fsqu00a.xn--0zwm56d"}.get(domain, domain)
        path = os.path.join(self.instance.directory, "mail", folder, local, "new")
        found = []
        for name in sorted(os.listdir(path)) if os.path.isdir(path) else ():
            with open(os.path.join(path, name), "rb") as file:
                found.append(file.read())
        return found

    def delivered_to(self, user):
        """(address, token) of our field on top of each letter."""
        return [tuple(part.decode() for part in DELIVERED.search(letter).groups())
                for letter in self.letters(user)]


class Aliases(House):
    def test_one_many_nested_and_two_ways(self):
        self.run_ok("alias", "add", "info@example.test", ALICE)
        self.run_ok("alias", "add", "团队@例子.测试", "info@example.test", CHINESE, BOB)
        self.run_ok("alias", "add", "all@other.test", "团队@例子.测试", OTHER, ALICE)
        self.send("all@other.test")
        self.assertEqual(self.got(), {ALICE: 1, BOB: 1, CHINESE: 1, OTHER: 1})
        self.send("all@other.test", ALICE, "INFO@example.test", "Alice+detail@example.test")
        self.assertEqual(self.got(), {ALICE: 2, BOB: 2, CHINESE: 2, OTHER: 2})
        self.assertEqual({to for to, _ in self.delivered_to(ALICE)}, {ALICE})
        self.assertEqual({to for to, _ in self.delivered_to(CHINESE)}, {CHINESE})
        expanded = [event["to"] for event in self.instance.events("expanded")]
        self.assertEqual(sorted(expanded), ["INFO@example.test"] + 2 * ["all@other.test"])

    def test_with_the_mailbox(self):
        self.run_ok("alias", "add", ALICE, ALICE, BOB)
        self.send(ALICE)
        self.send("alice+x@example.test")
        self.assertEqual(self.got(), {ALICE: 2, BOB: 2})

    def test_details_and_catch_all(self):
        self.run_ok("alias", "add", "@other.test", CAROL)
        self.send("anybody@other.test")
        self.send("bob+lists@example.test")
        self.assertEqual(self.got(), {BOB: 1, CAROL: 1})
        self.assertEqual(self.delivered_to(BOB)[0][0], "bob+lists@example.test")
        self.assertEqual(self.delivered_to(CAROL)[0][0], CAROL)
        self.assertEqual(self.reply("nobody@example.test")[0], 550)

    def test_another_separator_or_none(self):
        for value, hyphen, plus in (('"-"', 250, 550), ('""', 550, 550)):
            self.instance.set("detail_separator", value)
            self.instance.run("reload")
            self.assertEqual(self.reply("bob-x@example.test")[0], hyphen)
            self.assertEqual(self.reply("bob+x@example.test")[0], plus)

    def test_blind_recipients_leave_no_trace(self):
        self.run_ok("alias", "add", "secret@example.test", BOB, CAROL)
        self.send(ALICE, "secret@example.test")
        self.assertEqual(self.got(), {ALICE: 1, BOB: 1, CAROL: 1})
        names = {ALICE: b"alice", BOB: b"bob", CAROL: b"carol"}
        for user in names:
            (letter,) = self.letters(user)
            self.assertNotIn(b"secret", letter)
            for other, name in names.items():
                self.assertEqual(name in letter, other == user)

    def test_what_the_command_says(self):
        self.assertEqual(self.run_ok("alias", "add", "info@example.test", ALICE, BOB),
                         "info@example.test: added\n")
        self.assertIn("is an alias", self.refused("user", "add", "info@example.test"))
        self.assertIn("is a user", self.refused("alias", "add", CAROL, ALICE))
        self.assertIn("lead back to itself", self.chain())
        self.assertIn("is a target of the alias info@example.test",
                      self.refused("user", "remove", ALICE))
        self.refused("alias", "add", "x@example.test", code=64)
        self.refused("alias", "add", "@", ALICE, code=64)
        listed = self.run_ok("alias", "list")
        self.assertEqual(listed, f"info@example.test: {ALICE}, {BOB}\n"
                                 "a@example.test: info@example.test\n"
                                 "b@example.test: a@example.test\n")
        first = json.loads(self.run_ok("alias", "list", "--json").splitlines()[0])
        self.assertEqual((first["alias"], first["targets"]), ("info@example.test", [ALICE, BOB]))
        self.assertEqual(self.run_ok("alias", "remove", "info@example.test", BOB),
                         "info@example.test: targets removed\n")
        self.assertIn("is a target of the alias", self.refused("alias", "remove",
                                                               "info@example.test"))
        self.assertEqual(self.run_ok("alias", "remove", "b@example.test"),
                         "b@example.test: removed\n")
        self.assertEqual(self.reply("b@example.test")[0], 550)

    def chain(self):
        self.run_ok("alias", "add", "a@example.test", "info@example.test")
        self.run_ok("alias", "add", "b@example.test", "a@example.test")
        return self.refused("alias", "add", "info@example.test", "b@example.test")


class Elsewhere(House):
    """Targets at other hosts: they take the alias's place in the envelope, and wait there for their
    way out."""

    def waiting(self, queue_id, count):
        def tried():
            found = [json.loads(line) for line in self.instance.ask("queue list").splitlines()]
            return [(item["to"], item["from"]) for item in found
                    if item["id"] == queue_id and item["state"] in ("held", "deferred")]
        wait_for(lambda: len(tried()) == count, "an attempt for each")
        return sorted(tried())

    def test_alias(self):
        """Anybody may write to an alias of this host; the reverse-path stays, each address elsewhere
        stands once, as the alias has it."""
        self.run_ok("alias", "add", "info@example.test", ALICE, "Bob@elsewhere.example")
        self.run_ok("alias", "add", "all@example.test", "info@example.test",
                    "bob@ELSEWHERE.example", "鲍勃@别处.example")
        queue_id = self.send("all@example.test", "info@example.test")
        self.assertEqual(self.waiting(queue_id, 2),
                         [("Bob@elsewhere.example", "x@client.example"),
                          ("鲍勃@别处.example", "x@client.example")])
        wait_for(lambda: self.letters(ALICE), "the copy of the mailbox here")
        self.assertEqual(self.run_ok("alias", "list", "--json").count("elsewhere.example"), 1)
        self.assertEqual(self.reply("bob@elsewhere.example")[0], 550)

    def test_forwarding(self):
        self.run_ok("user", "moved", ALICE, "alice@elsewhere.example", "--forward")
        self.assertEqual(self.reply(ALICE), (251, "2.1.5 User is not here; the message will go to "
                                                  "alice@elsewhere.example"))
        with self.instance.smtp() as client:
            client.command("MAIL FROM:<x@client.example>", 250)
            client.command(f"RCPT TO:<{ALICE}>", 251)
            client.command("DATA", 354)
            client.send(stuff(BODY))
            queue_id = client.expect(250).rpartition(" ")[2]
        self.assertEqual(self.waiting(queue_id, 1),
                         [("alice@elsewhere.example", "x@client.example")])

    def test_hosting_what_mail_is_sent_to(self):
        self.run_ok("alias", "add", "info@example.test", "bob@elsewhere.example")
        self.assertIn("mail for info@example.test goes to an address at elsewhere.example",
                      self.refused("domain", "add", "elsewhere.example"))


class Users(House):
    def test_moved(self):
        self.run_ok("user", "moved", ALICE, "alice@elsewhere.example")
        code, text = self.reply(ALICE)
        self.assertEqual(code, 551)
        self.assertTrue(text.startswith("5.1.6 User has moved; please try alice@elsewhere.example"))
        self.run_ok("user", "moved", ALICE, OTHER, "--forward")
        code, text = self.reply("alice+x@example.test")
        self.assertEqual((code, text), (251, "2.1.5 User is not here; the message will go to "
                                             + OTHER))
        with self.instance.smtp() as client:
            client.command("MAIL FROM:<x@client.example>", 250)
            client.command(f"RCPT TO:<{ALICE}>", 251)
            client.command("DATA", 354)
            client.send(stuff(BODY))
            client.expect(250)
        self.assertEqual(self.got(), {OTHER: 1})
        self.run_ok("user", "moved", ALICE, "--none")
        self.send(ALICE)
        self.assertEqual(self.got(), {ALICE: 1, OTHER: 1})

    def test_moved_to_an_address_beyond_ascii(self):
        """RFC 6531 3.7.4.1; the log tells what the client heard."""
        self.run_ok("user", "moved", ALICE, "爱丽丝@elsewhere.example")
        code, text = self.reply(ALICE)
        self.assertEqual((code, text.partition(" [")[0]),
                         (551, "5.1.6 User has moved; please try 爱丽丝@elsewhere.example"))
        with self.instance.smtp() as client:
            client.command("MAIL FROM:<x@client.example>", 250)
            client.command(f"RCPT TO:<{ALICE}>", 550)
        wait_for(lambda: [event["code"] for event in self.instance.events("refused")] == [551, 550],
                 "their events")

    def test_what_moved_wants(self):
        self.refused("user", "moved", ALICE, code=64)
        self.refused("user", "moved", ALICE, OTHER, "--none", code=64)

    def test_locked(self):
        self.run_ok("alias", "add", "info@example.test", ALICE, BOB)
        self.run_ok("user", "lock", ALICE)
        code, text = self.reply(ALICE)
        self.assertEqual(code, 450)
        self.assertTrue(text.startswith("4.2.1 Mailbox is locked; try again later"))
        self.send("info@example.test")
        wait_for(lambda: len(self.letters(BOB)) == 1, "the copy of the other")
        wait_for(lambda: [event for event in self.instance.events("deferred")
                          if event["text"] == "the mailbox is locked"], "a letter that waits")
        users = [json.loads(line) for line in self.run_ok("user", "list", "--json").splitlines()]
        self.assertEqual([user["address"] for user in users if user["locked"]], [ALICE])
        self.run_ok("user", "unlock", ALICE)
        self.assertEqual(self.got(), {ALICE: 1, BOB: 1})


class Loops(House):
    """A letter that comes back with our token on it is not expanded to the same address again."""

    def token(self, user):
        self.send(user)
        self.instance.settle()
        ((to, token),) = self.delivered_to(user)
        return b"Delivered-To: %s (%s)\r\n" % (to.encode(), token.encode())

    def end_of_data(self, recipients, body):
        with self.instance.smtp() as client:
            client.begin("x@client.example", recipients)
            client.send(stuff(body))
            return client.reply()

    def test_all_go_round(self):
        field = self.token(ALICE)
        self.run_ok("alias", "add", ALICE, ALICE, BOB)
        code, text = self.end_of_data([ALICE], b"X: y\r\n" + field + BODY)
        self.assertEqual(code, 554)
        self.assertTrue(text.startswith("5.4.6 Too many hops: a mail loop"))
        self.assertEqual(self.got(), {ALICE: 1})

    def test_some_go_round(self):
        field = self.token(BOB)
        self.run_ok("alias", "add", "list@example.test", ALICE, BOB)
        self.assertEqual(self.end_of_data(["list@example.test"], field + BODY)[0], 250)
        wait_for(lambda: len(self.letters(ALICE)) == 1, "the copy of the other")
        listed = self.run_ok("queue", "list", "--json").splitlines()
        (held,) = [json.loads(line) for line in listed]
        self.assertEqual((held["to"], held["state"], held["reason"]), (BOB, "held", "a mail loop"))
        self.assertEqual(len(self.letters(BOB)), 1)

    def test_a_false_token_and_a_plain_delivery(self):
        field = self.token(BOB)
        self.run_ok("alias", "add", "list@example.test", ALICE, BOB)
        self.assertEqual(self.end_of_data([BOB], field + BODY)[0], 250)
        false = re.sub(rb"\(.{16}\)", b"(0123456789ABCDEF)", field)
        self.assertEqual(self.end_of_data(["list@example.test"], false + BODY)[0], 250)
        self.assertEqual(self.got(), {ALICE: 1, BOB: 3})


class Troubles(House):
    def test_a_silent_directory_is_451(self):
        """The letter waits for its recipients, and nothing of it is kept."""
        self.run_ok("alias", "add", "info@example.test", ALICE, BOB)
        with self.instance.smtp() as client:
            client.begin("x@client.example", ["info@example.test"])
            pid = self.instance.child("directory")["pid"]
            os.kill(pid, signal.SIGSTOP)
            try:
                client.send(stuff(BODY))
                self.assertEqual(client.reply()[0], 451)
                self.assertEqual(self.instance.queue_count(), 0)
            finally:
                os.kill(pid, signal.SIGCONT)
        self.send("info@example.test")
        self.assertEqual(self.got(), {ALICE: 1, BOB: 1})

    def test_a_directory_that_dies_is_asked_again(self):
        self.run_ok("alias", "add", "info@example.test", ALICE, BOB)
        with self.instance.smtp() as client:
            client.begin("x@client.example", ["info@example.test"])
            pid = self.instance.child("directory")["pid"]
            os.kill(pid, signal.SIGSTOP)
            client.send(stuff(BODY))
            os.kill(pid, signal.SIGKILL)
            client.expect(250)
        self.assertEqual(self.got(), {ALICE: 1, BOB: 1})

    def test_a_queue_that_is_killed(self):
        """Each letter that was acknowledged is with each of its people once, whatever was cut."""
        self.run_ok("alias", "add", "info@example.test", ALICE, BOB)
        self.run_ok("alias", "add", "all@example.test", "info@example.test", CAROL, BOB)
        taken = []

        def load():
            try:
                taken.append(self.send("all@example.test", ALICE))
            except (Trouble, OSError):
                pass  # not acknowledged
        loop = Loop(load)
        for _ in range(10):
            rounds = len(taken)
            wait_for(lambda: len(taken) > rounds, "a letter")
            wait_for(lambda: self.instance.kill_role("queue"), "a queue")
        loop.stop()
        wait_for(self.instance.all_ready, "all roles")
        self.instance.settle()
        for user in (ALICE, BOB, CAROL):
            found = [re.search(rb"\bid ([0-9A-Z]{26})", letter).group(1).decode()
                     for letter in self.letters(user)]
            self.assertEqual(len(found), len(set(found)), "one came twice")
            self.assertLessEqual(set(taken), set(found))


class Large(House):
    def test_a_long_list_and_a_large_body(self):
        """More targets than a page has, in batches; bodies that come in slices."""
        body = BODY + b"0123456789abcdef" * 4 * 4096 + b"\r\n"
        members = [f"member{number}-{'x' * 40}@example.test" for number in range(60)]
        for member in members:
            self.instance.run("user", "add", member, "--password-stdin", stdin="a password\n")
        self.run_ok("alias", "add", "members@example.test", *members)
        self.send("members@example.test", body=body)
        self.instance.settle()
        for member in members:
            (letter,) = self.letters(member)
            self.assertTrue(letter.endswith(body[-100:].replace(b"\r\n", b"\n")), member)


if __name__ == "__main__":
    unittest.main()
