#!/usr/bin/python3
"""What a session that waits costs in memory, SMTP and POP3. See README.md beside it.

    bench/idle.py [--build DIR] [--sessions N...] [--users N]

DIR holds posthouse and libexec/posthouse/.
"""

import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tests/flow"))

from instance import Instance, many_sockets, memory  # noqa: E402
from table import row  # noqa: E402

ALICE = "alice@example.test"
SETTINGS = {"max_sessions": 100000, "smtp_idle": "1h", "pop3_idle": "1h"}


def greeted(instance, _):
    client = instance.smtp(greet=False)
    client.expect(220)
    return client


def after_a_letter(instance, _):
    client = instance.smtp()
    client.letter("a@example.org", [ALICE], b"Subject: x\r\n\r\n" + b"text\r\n" * 1000)
    return client


def with_a_recipient(instance, _):
    client = instance.smtp()
    client.command("MAIL FROM:<a@example.org>", 250)
    client.command(f"RCPT TO:<{ALICE}>", 250)
    return client


def in_a_letter(instance, _):
    client = instance.smtp()
    client.begin("a@example.org", [ALICE])
    client.send(b"Subject: x\r\n\r\n")
    return client


def before_login(instance, _):
    client = instance.pop3()
    client.command("CAPA")
    while client.line() != b".":
        pass
    return client


def logged_in(instance, number):
    client = instance.pop3(f"u{number}@example.test")
    client.command("STAT")
    return client


WAYS = (("receiver", "SMTP, greeted", greeted),
        ("receiver", "SMTP, after a letter", after_a_letter),
        ("receiver", "SMTP, with a recipient", with_a_recipient),
        ("receiver", "SMTP, in a letter", in_a_letter),
        ("porter", "POP3, before the login", before_login),
        ("reader", "POP3, logged in, an empty maildrop", logged_in))


def measure(build, role, what, begin, number):
    """Of the one process of the role. What the first sessions cost is the process's own."""
    users = [ALICE] if role != "reader" else [f"u{n}@example.test" for n in range(number + 10)]
    with Instance(build, users=users, settings=SETTINGS) as instance:
        clients = [begin(instance, n) for n in range(10)]
        pid = instance.child(role)["pid"]
        before = memory(pid)["VmRSS"]
        clients += [begin(instance, n) for n in range(10, number + 10)]
        row(f"{what}: {number:,} sessions, each", (memory(pid)["VmRSS"] - before) / number, "octets")
        for client in clients:
            client.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", default=os.path.join(os.path.dirname(HERE), "build"))
    parser.add_argument("--sessions", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--users", type=int, default=1000,
                        help="at most so many are made to log in, each with a password")
    options = parser.parse_args()
    most = many_sockets()
    for role, what, begin in WAYS:
        for number in sorted({min(number, most, options.users if role == "reader" else most)
                              for number in options.sessions}):
            measure(os.path.abspath(options.build), role, what, begin, number)


if __name__ == "__main__":
    main()
