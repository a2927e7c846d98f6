"""POP3 of a running instance: what one session must not see of another, of strangers, of failures."""

import errno
import os
import poplib
import re
import subprocess
import sys
import unittest

from instance import PASSWORD, Instance, Loop, Pop3, Trouble, wait_for
from pop3 import Clock

ALICE, CHINESE = "alice@example.test", "测试@example.test"
LETTERS = [("1700000001.A_0.posthouse,S=15,W=19", b"Subject: a\n\na\n\n"),
           ("1700000002.B.foreign", "Subject: b\n\n信".encode())]
OPEN_NETWORK = "192.0.2.1"


class Pop3Instance(Instance):
    def __init__(self, clock, **options):
        super().__init__(environment=clock.environment, users=(ALICE, CHINESE), **options)

    def fill(self):
        for name, text in LETTERS:
            self.plant(ALICE, name, text)

    def refused(self, *lines):
        """The last answer to these lines, which is a refusal."""
        with self.pop3() as client:
            for line in lines[:-1]:
                client.command(line)
            client.send(lines[-1].encode() + b"\r\n")
            return client.line().decode()

    def wait_until_free(self):
        def free():
            try:
                self.pop3(ALICE).close()
                return True
            except Trouble as busy:
                if "[IN-USE]" not in str(busy):
                    raise
                return False
        wait_for(free, "the maildrop")


class Sessions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.clock = Clock()
        cls.instance = Pop3Instance(cls.clock)

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()
        cls.clock.__exit__()

    def setUp(self):
        for path in self.instance.names(ALICE):
            os.unlink(path)
        self.instance.fill()

    def test_one_session_at_a_time(self):
        """RFC 1939 section 4, RFC 2449 section 8.1.2; a connection that is lost unlocks, and removes
        nothing."""
        with self.instance.pop3(ALICE) as client:
            client.command("DELE 1")
            client.command("DELE 2")
            answer = self.instance.refused(f"USER {ALICE}", f"PASS {PASSWORD}")
            self.assertTrue(answer.startswith("-ERR [IN-USE] "), answer)
            with self.instance.pop3(CHINESE) as other:  # another maildrop is free
                other.command("QUIT")
        self.instance.wait_until_free()
        self.assertEqual(len(self.instance.names(ALICE)), 2)

    def test_silence_ends_a_session_and_removes_nothing(self):
        """RFC 1939 section 3: after 10 minutes, not before."""
        with self.instance.pop3(ALICE) as client:
            client.command("DELE 1")
            self.clock.on(9 * 60)
            client.command("NOOP")
            self.clock.on(9 * 60)
            client.command("NOOP")
            self.clock.on(11 * 60)
            self.assertEqual(client.socket.recv(100), b"")  # closed, without a word
        self.assertEqual(len(self.instance.names(ALICE)), 2)
        with self.instance.pop3(ALICE) as client:
            client.command("QUIT")

    def test_numbers_stay_when_mail_comes(self):
        with self.instance.pop3(ALICE) as client:
            self.instance.plant(ALICE, "1600000000.EARLIER.foreign", b"Subject: new\n\n")
            self.assertEqual(client.command("STAT").split()[1], "2")
            self.assertEqual(client.retrieve(1), b"Subject: a\r\n\r\na\r\n\r\n")
            client.command("DELE 1")
            client.command("QUIT")
        left = [os.path.basename(path) for path in self.instance.names(ALICE)]
        self.assertEqual(left, ["1600000000.EARLIER.foreign", LETTERS[1][0]])

    def test_sizes_are_what_is_sent(self):
        """Clause 31: of a letter whose name tells them and of one that has to be counted."""
        with self.instance.pop3(ALICE) as client:
            sizes = [int(line.split()[1]) for line in client.lines("LIST")]
            self.assertEqual(sizes, [len(client.retrieve(n)) for n in (1, 2)])
            self.assertEqual(client.command("STAT").split()[1:], ["2", str(sum(sizes))])
        self.assertEqual(sorted(name for name, _ in LETTERS),
                         sorted(os.path.basename(path) for path in self.instance.names(ALICE)))

    def test_letters_that_cannot_be_removed(self):
        """RFC 1939 section 6: an honest -ERR; the letters come again under their unique-ids."""
        with self.instance.pop3(ALICE) as client:
            before = client.lines("UIDL")
            client.command("DELE 1")
            client.command("DELE 2")
            rule = self.clock.page.rule("unlink", role="reader", count=1, error=errno.EIO)
            client.send(b"QUIT\r\n")
            self.assertTrue(client.line().startswith(b"-ERR [SYS/TEMP] "))
            self.clock.page.remove(rule)
        self.instance.wait_until_free()
        with self.instance.pop3(ALICE) as client:
            after = client.lines("UIDL")
            self.assertEqual(after, [before[0]])

    def test_wrong_passwords(self):
        """Five of them end the session. No password is in any log, and no answer tells users apart."""
        secret = "Xyzzy 一二三 plugh"
        time = Loop(self.clock.second)
        answers = []
        for user in (ALICE, "nobody@example.test"):
            with self.instance.pop3() as client:
                for _ in range(5):
                    client.command(f"USER {user}")
                    client.send(f"PASS {secret}\r\n".encode())
                    answers.append(client.line())
                self.assertEqual(client.socket.recv(100), b"")
        time.stop()
        self.assertEqual(answers[:5], answers[5:])
        self.assertEqual(len([a for a in answers if a.startswith(b"-ERR [AUTH] ")]), 10)
        failed = self.instance.events("login_failed")
        self.assertLessEqual({ALICE, "nobody@example.test"}, {event["user"] for event in failed})
        with open(os.path.join(self.instance.directory, "log/events.jsonl"), encoding="utf-8") as log:
            logged = log.read() + self.instance.said()
        with self.instance.pop3(ALICE) as client:  # who knows it does not wait
            client.command("QUIT")
        with open(os.path.join(self.instance.directory, "log/events.jsonl"), encoding="utf-8") as log:
            logged += log.read()
        for part in secret.split() + [PASSWORD]:
            self.assertNotIn(part, logged)

    def test_a_login_touches_no_letter(self):
        """Clause 38: of 3,000 letters none is opened, read or asked about, at the login or by STAT,
        LIST and UIDL: the names tell it all."""
        count = 3000
        for number in range(count):
            self.instance.plant(CHINESE, f"{1700000000 + number}.M{number}P1.host,S=9,W=10", b"x" * 9)
        with self.instance.pop3(CHINESE) as client:  # the reader has begun all it will begin
            client.command("QUIT")
        before = self.clock.page.roles()["reader"]
        with self.instance.pop3(CHINESE) as client:
            self.assertEqual(client.command("STAT"), f"+OK {count} {10 * count}")
            self.assertEqual(len(client.lines("LIST")), count)
            self.assertEqual(len(client.lines("UIDL")), count)
            after = self.clock.page.roles()["reader"]
            client.command("QUIT")
        spent = {call: after[call] - before.get(call, 0) for call in after}
        self.assertEqual(spent["list"], 2, spent)
        for call in ("open", "read", "stat", "rename"):
            self.assertLess(spent.get(call, 0), 20, spent)


class Apop(unittest.TestCase):
    def test_apop(self):
        with Clock() as clock, Pop3Instance(clock, start=False) as instance:
            said = instance.run("user", "apop", ALICE, "--password-stdin", stdin="tanstaaf\n", code=1)
            self.assertIn("apop: yes", said)
            instance.set("apop", "yes")
            instance.run("user", "apop", "nobody@example.test", stdin="x\n", code=1)
            instance.run("user", "apop", ALICE, "--password-stdin", stdin="共享的 secret\n")
            instance.start()
            stamps = []
            for _ in range(3):
                with instance.pop3() as client:
                    stamps += re.findall(r"<[0-9A-Z]{26}@mail\.example\.test>$", client.greeting)
            self.assertEqual(len(set(stamps)), 3)
            self.log_in(instance, ALICE, "共享的 secret")
            time = Loop(clock.second)
            for user, secret in ((ALICE, PASSWORD), (CHINESE, PASSWORD), (ALICE, "tanstaaf"),
                                 ("nobody@example.test", "共享的 secret")):
                with self.assertRaises(poplib.error_proto) as refused:
                    self.log_in(instance, user, secret)
                self.assertIn(b"[AUTH]", refused.exception.args[0])
            time.stop()
            with instance.pop3(ALICE) as client:  # loopback: the password opens too
                client.command("QUIT")
            # Who comes after a user that was removed does not inherit its secret.
            instance.run("user", "remove", ALICE)
            instance.add_user(ALICE)
            time = Loop(clock.second)
            with self.assertRaises(poplib.error_proto):
                self.log_in(instance, ALICE, "共享的 secret")
            time.stop()

    def log_in(self, instance, user, secret):
        client = poplib.POP3(instance.address, instance.pop3_port)
        client.encoding = "utf-8"
        try:
            return client.apop(user, secret)
        finally:
            client.close()

    def test_init_switches_it_on(self):
        with Clock() as clock, Pop3Instance(clock, start=False) as instance:
            directory = os.path.join(instance.top, "apop")
            instance.run("init", directory, "--hostname", "mail.example.test", "--domain",
                         "example.test", "--apop", conf=False)
            with open(os.path.join(directory, "posthouse.yaml"), encoding="utf-8") as conf:
                self.assertRegex(conf.read(), r"(?m)^apop: yes$")
            self.assertRegex(instance.read_conf(), r"(?m)^apop: no$")


class OpenNetwork(unittest.TestCase):
    def test_passwords_are_for_loopback(self):
        """A network of its own, with an address that is not loopback; see inside()."""
        alone = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-c", "--keep-caps", "-n"]
        network = [*alone, "sh", "-c", f"ip link set lo up && ip addr add {OPEN_NETWORK}/32 dev lo && "
                   'exec "$@"', "sh"]
        if subprocess.run([*network, "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("no network of its own can be made here")
        done = subprocess.run([*network, sys.executable, os.path.abspath(__file__), "inside"],
                              capture_output=True, timeout=300, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, b"done\n"), done.stderr.decode())


def inside():
    with Clock() as clock, Pop3Instance(clock, start=False) as instance:
        old, instance.address = instance.address, OPEN_NETWORK
        instance.write_conf(instance.read_conf().replace(f"{old}:{instance.pop3_port}",
                                                         f"{OPEN_NETWORK}:{instance.pop3_port}"))
        instance.set("apop", "yes")
        instance.run("user", "apop", ALICE, "--password-stdin", stdin="shared\n")
        instance.start()
        for line in (f"USER {ALICE}", f"user {CHINESE}"):
            answer = instance.refused(line)
            if not answer.startswith("-ERR [AUTH] No passwords over an open network"):
                raise Trouble(answer)
        client = poplib.POP3(OPEN_NETWORK, instance.pop3_port)
        before = client.capa()
        client.apop(ALICE, "shared")
        if "USER" in before or client.capa() != before:
            raise Trouble(f"CAPA: {before}, {client.capa()}")
        client.quit()
    print("done")


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        inside()
    else:
        unittest.main()
