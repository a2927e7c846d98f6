"""Letters sent one at a time, and the ledger of what became of them, for tests in which the machine
below the instance fails: disks that are full, calls that return errors, files that rot."""

import os
import random

from instance import Smtp, Trouble, stuff
from ledger import Ledger, compose, judge

USERS = ("u0@example.test", "汉字@example.test")


class Post:
    """What was acknowledged and what came of it. A copy that was counted is taken away, so that the
    Maildirs stay small, and must not come again."""

    def __init__(self, instance, seed, users=USERS):
        self.instance = instance
        self.users = users
        self.chance = random.Random(seed)
        self.ledger = Ledger(seed)
        self.client = None
        self.expected = set()  # (number, user): acknowledged, not counted yet
        self.counted = set()
        self.codes = {}  # last reply of a try -> how often; None: no reply

    def close(self):
        if self.client:
            self.client.close()
        self.client = None

    def send(self, size=None, users=None):
        """Sends a letter. The code of the reply that decided: 250, or that of a refusal; None when
        there was none, and the letter may have been taken or not."""
        users = users or [self.chance.choice(self.users)]
        number = self.ledger.draw(users)
        size = self.chance.randint(0, 6000) if size is None else size
        code = None
        try:
            code = self._send(users, compose(number, size, self.chance))
        except OSError:
            self.close()
        if code == 421:
            self.close()
        if code == 250:
            self.ledger.acknowledged.add(number)
            self.expected |= {(number, user) for user in users}
        self.codes[code] = self.codes.get(code, 0) + 1
        if code is not None and code != 250 and not 400 <= code < 500:
            raise Trouble(f"a letter was answered {code}")
        return code

    def _send(self, users, letter):
        if not self.client:
            self.client = Smtp((self.instance.address, self.instance.smtp_port), greet=False)
            code, _ = self.client.reply()
            if code != 220:
                return code
            self.client.command("EHLO sender.example.org")
        for line, wanted in (("MAIL FROM:<sender@example.org> SMTPUTF8", 250),
                             *((f"RCPT TO:<{user}>", 250) for user in users), ("DATA", 354)):
            code, _ = self.client.command(line)
            if code != wanted:
                if code != 421:
                    self.client.command("RSET")
                return code
        self.client.send(stuff(letter))
        return self.client.reply()[0]

    def count(self):
        """Of what is in the Maildirs: everything acknowledged is there, once, whole; and nothing
        comes twice. Takes it away."""
        for user in self.users:
            for path in self.instance.names(user):
                with open(path, "rb") as file:
                    letter = file.read()
                number, whole = judge(letter.replace(b"\n", b"\r\n"))
                copy = number, user
                if not whole or user not in self.ledger.sent.get(number, ()):
                    raise Trouble(f"{path} is torn: {letter[:300]!r}")
                if copy in self.counted:
                    raise Trouble(f"letter {copy} came twice")
                self.counted.add(copy)
                os.unlink(path)
        lost = self.expected - self.counted
        if lost:
            raise Trouble(f"lost: {sorted(lost)[:5]}, {len(lost)} in all")
        self.expected.clear()

    def report(self):
        codes = ", ".join(f"{code or 'no reply'}: {count}" for code, count in
                          sorted(self.codes.items(), key=lambda item: item[0] or 0))
        return f"{self.ledger.next} letters ({codes}), {len(self.counted)} copies counted"


def seed():
    return int(os.environ.get("POSTHOUSE_SEED") or random.SystemRandom().randrange(10 ** 6))
