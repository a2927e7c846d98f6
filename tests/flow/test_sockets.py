"""The session scripts of tests/chat once more, over sockets to a running server.

A script's settings speak of the engine in memory; where a server can be brought into the same state
(users, a maildrop, options), it is. The rest runs in memory only.
"""

import contextlib
import os
import re
import signal
import subprocess
import unittest

from instance import BUILD, PLAIN, TESTS, Instance, Loop
from pop3 import Clock

CHAT = next((path for path in (os.path.join(build, "tests/chat/chat") for build in (BUILD, PLAIN))
             if os.path.exists(path)), None)

# What a healthy server does not do, and what needs settings that these servers do not have.
MEMORY_ONLY = {
    "apop.chat", "open_network.chat", "sizes_when_needed.chat", "utf8.chat", "utf8_on.chat",
    "gone_letter.chat", "refused_logins.chat", "update_fails.chat",
}

# The letters of tests/chat/engine_pop3.c, as they stand on disk; of the last the server counts the
# octets itself.
STORED = [
    ("1700000001.ONE_1.posthouse,S=48,W=52",
     b"From: bob@example.test\nSubject: lunch\n\nAt noon?\n"),
    ("1700000002.TWO_1.posthouse,S=24,W=28,N", b"Subject: dots\n\n.\n..\nend."),
    ("1700000003.THREE_1.posthouse", "Subject: 你好\n\n。中文\n".encode()),
]
ALICE, CHINESE = "alice@example.test", "测试@example.test"

# What RCPT answers to: the words of `posthouse` that make a user so. A directory that stands still
# has no word (silence).
RECIPIENTS = {"ok": (), "moved": ("moved", "{address}", "{detail}"),
              "forwarded": ("moved", "{address}", "{detail}", "--forward"),
              "mailbox_busy": ("lock", "{address}"), "local_trouble": ()}


class Script:
    def __init__(self, engine, path):
        self.engine, self.path = engine, path
        self.name = os.path.basename(path)
        with open(path, encoding="utf-8") as file:
            self.text = file.read()
        self.settings = re.findall(r"(?m)^@(\w+) (.*)$", self.text)

    def values(self, setting):
        return [value for name, value in self.settings if name == setting]

    def recipients(self):
        """(address, what RCPT answers, what it tells) of those that the script speaks of."""
        return [(*value.split(" ", 2), "")[:3] for value in self.values("rcpt")]

    def in_memory_only(self):
        """It says so, or it wants a healthy server to answer as a sick one."""
        return (self.name in MEMORY_ONLY or any("memory" in ways.split() for ways in self.values("only"))
                or any(self.values(name) for name in ("mail", "data", "end"))
                or any(answer not in RECIPIENTS for _, answer, _ in self.recipients()))

    def options(self):
        """What stands in posthouse.yaml for it."""
        return tuple(sorted(tuple(value.split("=")) for value in self.values("config")))

    def plain_text(self):
        """Without the settings, which the server has by now, and with whole addresses: a server of
        several domains knows no plain `alice`."""
        text = re.sub(r"(?m)^@.*$", "#", self.text)
        return re.sub(r"(?mi)^(C: USER )alice$", rf"\g<1>{ALICE}", text)


def scripts(engine):
    folder = os.path.join(TESTS, "chat", engine)
    found = [Script(engine, os.path.join(folder, name)) for name in sorted(os.listdir(folder))
             if name.endswith(".chat")]
    return [script for script in found if not script.in_memory_only()]


# Of RFC 821 section 4.2.2, and 252 of RFC 5321.
CODES = {"211", "214", "220", "221", "250", "251", "252", "354", "421", "450", "451", "452", "500",
         "501", "502", "503", "504", "550", "551", "552", "553", "554"}


@contextlib.contextmanager
def silence(instance, script):
    """The directory says nothing where the script wants it so."""
    silent = [child["pid"] for child in instance.status() if child["role"] == "directory"
              and "local_trouble" in (answer for _, answer, _ in script.recipients())]
    for pid in silent:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in silent:
            os.kill(pid, signal.SIGCONT)


class Sockets(unittest.TestCase):
    def play(self, instance, script):
        port = {"smtp": instance.smtp_port, "pop3": instance.pop3_port}[script.engine]
        path = os.path.join(instance.top, script.name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(script.plain_text())
        done = subprocess.run([CHAT, "--engine", script.engine, "--connect",
                               f"{instance.address}:{port}", path],
                              capture_output=True, timeout=120)
        out = done.stdout.decode("utf-8", "replace")
        self.assertEqual((out[:3], done.returncode, done.stderr), ("ok ", 0, b""), out)

    def test_the_list_is_current(self):
        there = {name for engine in ("smtp", "pop3")
                 for name in os.listdir(os.path.join(TESTS, "chat", engine))}
        self.assertLessEqual(MEMORY_ONLY, there)

    def test_the_codes_of_rfc_821_are_among_them(self):
        expected = {code for script in scripts("smtp")
                    for code in re.findall(r"(?m)^S(?:: |\* \d+ )(\d{3})", script.text)}
        self.assertEqual(CODES - expected, set())

    def test_smtp(self):
        found = scripts("smtp")
        self.assertGreater(len(found), 20)
        users = {ALICE, "bob@example.test", "postmaster@example.test", CHINESE}
        recipients = [recipient for script in found for recipient in script.recipients()]
        users |= {address for address, *_ in recipients}
        for options in sorted({script.options() for script in found}):
            with Instance(users=sorted(users), settings=options,
                          domains=sorted({user.rpartition("@")[2] for user in users})) as instance:
                for address, answer, detail in recipients:
                    if RECIPIENTS[answer]:
                        instance.run("user", *(word.format(address=address, detail=detail)
                                               for word in RECIPIENTS[answer]))
                for script in found:
                    if script.options() == options:
                        with self.subTest(script.name), silence(instance, script):
                            self.play(instance, script)
                instance.settle()

    def test_pop3(self):
        found = scripts("pop3")
        self.assertGreater(len(found), 8)
        with Clock() as clock, Instance(users=(), environment=clock.environment) as instance:
            instance.add_user(ALICE, "secret")
            instance.add_user(CHINESE, "密码 一二三")
            for script in found:
                with self.subTest(script.name):
                    count = int(dict(script.settings).get("letters", len(STORED)))
                    for user in (ALICE, CHINESE):
                        self.fill(instance, user, STORED[:count])
                    if script.name == "spaces_in_password.chat":
                        self.change_password(instance, "two  words ")
                    time = Loop(clock.second)  # a wrong password is answered later and later
                    self.play(instance, script)
                    time.stop()
                    self.change_password(instance, "secret")

    def change_password(self, instance, password):
        instance.run("user", "password", ALICE, "--password-stdin", stdin=password + "\n")

    def fill(self, instance, user, letters):
        for path in instance.names(user):
            os.unlink(path)
        for name, text in letters:
            instance.plant(user, name, text)


if __name__ == "__main__":
    unittest.main()
