"""posthouse user and domain: what they answer, print and leave behind."""

import contextlib
import json
import os
import pty
import select
import shutil
import sqlite3
import stat
import subprocess
import tempfile
import unittest

BUILD = os.environ.get("POSTHOUSE_BUILD", "build/check")
POSTHOUSE = os.environ.get("POSTHOUSE_COMMAND") or os.path.abspath(os.path.join(BUILD, "posthouse"))


class Users(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="posthouse-users-")  # mode 0700
        self.dir = os.path.join(self.top, "instance")
        done = subprocess.run([POSTHOUSE, "init", self.dir, "--hostname", "mail.example.test",
                               "--domain", "example.test"], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)

    def tearDown(self):
        shutil.rmtree(self.top)

    def command(self, *words):
        return [POSTHOUSE, "-c", os.path.join(self.dir, "posthouse.yaml"), *words]

    def run_it(self, *words, code=0, stdin=b""):
        done = subprocess.run(self.command(*words), input=stdin, capture_output=True, timeout=60)
        self.assertEqual(done.returncode, code, (words, done.stdout, done.stderr))
        self.assertEqual(bool(done.stderr), code != 0, done.stderr)
        return (done.stderr if code else done.stdout).decode()

    def add(self, address, password=b"secret\n"):
        self.run_it("user", "add", address, "--password-stdin", stdin=password)

    def test_domains(self):
        self.assertEqual(self.run_it("domain", "list"), "example.test\n")
        self.assertEqual(self.run_it("domain", "add", "例子.测试."), "例子.测试: added\n")
        self.assertIn("hosted already", self.run_it("domain", "add", "Example.TEST", code=1))
        self.assertIn("hosted already",
                      self.run_it("domain", "add", "xn--fsqu00a.xn--0zwm56d", code=1))
        self.add("用户@例子.测试")
        listed = [json.loads(line) for line in self.run_it("domain", "list", "--json").splitlines()]
        self.assertEqual([(d["domain"], d["ascii"], d["users"]) for d in listed],
                         [("example.test", "example.test", 0),
                          ("例子.测试", "xn--fsqu00a.xn--0zwm56d", 1)])
        self.assertIn("has 1 user", self.run_it("domain", "remove", "例子.测试", code=1))
        self.run_it("domain", "remove", "example.test")
        self.assertIn("not hosted", self.run_it("domain", "remove", "example.test", code=1))
        self.assertEqual(self.run_it("domain", "list"), "例子.测试\n")

    def test_users(self):
        self.assertEqual(self.run_it("user", "list"), "")
        self.add("Alice@example.test")
        self.assertIn("is there already",
                      self.run_it("user", "add", "aLICE@example.test", code=1))
        self.assertIn("posthouse domain add elsewhere.test",
                      self.run_it("user", "add", "alice@elsewhere.test", code=1))
        self.assertEqual(self.run_it("user", "list"), "Alice@example.test\n")
        user = json.loads(self.run_it("user", "list", "--json"))
        self.assertEqual(user["address"], "Alice@example.test")
        self.assertEqual(os.path.realpath(user["mailbox"]),
                         os.path.realpath(os.path.join(self.dir, "mail/example.test/alice")))
        self.assertIn("its mail stays in", self.run_it("user", "remove", "ALICE@example.test"))
        self.assertIn("not a user", self.run_it("user", "remove", "alice@example.test", code=1))
        self.assertIn("not a user", self.run_it("user", "password", "alice@example.test", code=1))
        self.assertEqual(self.run_it("user", "list"), "")

    def test_wrong_usage(self):
        for words in (["user"], ["user", "add"], ["user", "add", "alice"], ["user", "add", "a@b@c"],
                      ["user", "add", "a@example.test", "b@example.test"],
                      ["user", "list", "x"], ["user", "list", "--password-stdin"],
                      ["domain", "add", "a b"], ["domain", "add", "[127.0.0.1]"],
                      ["domain", "add", ""], ["domain", "list", "--no-such-option"]):
            self.run_it(*words, code=64)

    def test_a_made_password_is_printed_once(self):
        printed = []
        for words in (["add"], ["password"], ["password"]):
            lines = self.run_it("user", *words, "alice@example.test").splitlines()
            self.assertEqual(len(lines), 2)
            self.assertRegex(lines[1], r"^password: [0-9a-z]{4}(-[0-9a-z]{4}){3}$")
            printed.append(lines[1])
        self.assertEqual(len(set(printed)), 3)

    def test_passwords_from_standard_input(self):
        self.run_it("user", "add", "alice@example.test", "--password-stdin", code=1)  # none
        self.run_it("user", "add", "alice@example.test", "--password-stdin", code=1, stdin=b"\r\nx")
        self.assertEqual(self.run_it("user", "list"), "")
        for line in (b"x", b"x\n", "密码\r\nmore\n".encode(), b"y" * 255, b"y" * 255 + b"\r\n"):
            self.run_it("user", "password" if "alice" in self.run_it("user", "list") else "add",
                        "alice@example.test", "--password-stdin", stdin=line)
        for line in (b"y" * 256, b"y" * 5000 + b"\n", b"a\0b\n", "密码\n".encode("gbk")):
            self.run_it("user", "password", "alice@example.test", "--password-stdin", code=1,
                        stdin=line)

    def check_files(self):
        state = os.path.join(self.dir, "state")
        owner = os.stat(state).st_uid
        names = os.listdir(state)
        self.assertLessEqual({"directory.db", "login.db"}, set(names))
        for name in names:
            found = os.stat(os.path.join(state, name))
            self.assertEqual((stat.S_IMODE(found.st_mode), found.st_uid), (0o600, owner), name)

    def test_the_databases_are_private_and_belong_to_the_owner_of_the_directory(self):
        self.add("alice@example.test")
        self.check_files()
        for mode in (0o700, 0o755):  # as root: out of reach of run_as, and within
            os.chmod(self.top, mode)
            for name in os.listdir(os.path.join(self.dir, "state")):
                os.unlink(os.path.join(self.dir, "state", name))
            self.run_it("domain", "add", "example.test")
            self.add("alice@example.test")
            self.check_files()

    def test_damage_is_told_and_not_repaired_over(self):
        path = os.path.join(self.dir, "state", "directory.db")
        with open(path, "r+b") as file:
            file.write(b"no head of a database")
        before = open(path, "rb").read()
        said = self.run_it("user", "add", "alice@example.test", code=1)
        self.assertIn("directory.db", said)
        self.assertIn("not a database", said)
        self.assertEqual(open(path, "rb").read(), before)

    def test_user_list_brings_an_older_database_up_to_date(self):
        self.add("alice@example.test")
        path = os.path.join(self.dir, "state", "login.db")
        with contextlib.closing(sqlite3.connect(path)) as db:  # as release 0.1.0 left it
            db.executescript("DROP TABLE apop; PRAGMA user_version = 1")
        self.assertIn("of an older release", self.run_it("serve", code=1))
        self.assertEqual(self.run_it("user", "list"), "alice@example.test\n")
        with contextlib.closing(sqlite3.connect(path)) as db:
            self.assertEqual(db.execute("SELECT count(*) FROM apop").fetchall(), [(0,)])
            self.assertEqual(db.execute("SELECT count(*) FROM login").fetchall(), [(1,)])

    # ---- on a terminal

    def talk(self, *words, answers):
        """Runs the command on a terminal, each answer at its prompt: (exit code, what it showed)."""
        pid, terminal = pty.fork()
        if pid == 0:
            try:
                os.execv(POSTHOUSE, self.command(*words))
            finally:
                os._exit(127)
        shown = b""
        for prompt, answer in answers:
            while not shown.endswith(prompt):
                self.assertTrue(select.select([terminal], [], [], 30)[0], shown)
                shown += os.read(terminal, 1000)
            os.write(terminal, answer)
        try:
            while True:
                piece = os.read(terminal, 1000)
                if not piece:
                    break
                shown += piece
        except OSError:  # the other end is closed
            pass
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(terminal)
        return code, shown

    def test_a_terminal_is_asked_twice_and_shows_nothing(self):
        twice = [(b"Password: ", b"\xe5\xaf\x86x\n"), (b"Again: ", b"\xe5\xaf\x86x\n")]
        code, shown = self.talk("user", "add", "alice@example.test", answers=twice)
        self.assertEqual(code, 0, shown)
        self.assertNotIn(b"\xe5\xaf\x86", shown)
        self.assertIn(b"alice@example.test: added", shown)
        self.assertNotIn(b"password:", shown)

    def test_a_terminal_that_says_no(self):
        for answers, why in (
                ([(b"Password: ", b"a\n"), (b"Again: ", b"b\n")], b"differ"),
                ([(b"Password: ", b"\n")], b"empty"),
                ([(b"Password: ", b"\x04")], b"no password was given"),
                ([(b"Password: ", b"abc\x03")], b"no password was given"),
                ([(b"Password: ", b"a\n"), (b"Again: ", b"\x03")], b"no password was given"),
                ([(b"Password: ", b"z" * 300 + b"\n")], b"")):
            code, shown = self.talk("user", "add", "alice@example.test", answers=answers)
            self.assertEqual(code, 1, shown)
            self.assertIn(why, shown)
        self.assertEqual(self.run_it("user", "list"), "")

    def test_nobody_is_asked_for_the_password_of_what_cannot_be_added(self):
        code, shown = self.talk("user", "add", "alice@elsewhere.test", answers=[])
        self.assertEqual(code, 1)
        self.assertNotIn(b"Password", shown)


if __name__ == "__main__":
    unittest.main()
