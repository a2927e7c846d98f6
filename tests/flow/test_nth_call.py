"""The n-th call of the system fails. One by one, calls that a role makes for a letter end in an
error, or move only one octet; while that happens no 250 is false and no other code than 4xx is
given, and after it every acknowledged letter is there once and the service goes on as before.

POSTHOUSE_LONG=1 takes every call and every error; else a sample, chosen by the printed seed.
"""

import os
import random
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import fault  # noqa: E402
from instance import LONG, PLAIN, Instance, Pop3, Trouble, wait_for
from post import USERS, Post, seed

COLLECTOR = "collector@example.test"
ERRORS = ("EIO", "ENOSPC", "EINTR", "EMFILE", "ENOMEM")
SHORT = "short"  # one octet is moved
MOVES = ("read", "write", "send", "receive")
VITAL = ("getrandom", "clock")  # the kernel's promise: a role without them stops at once
SAMPLE = 140
LARGE = 140_000  # above limits.def's large_body
HOUR_MS = 3_600_000

# The role's calls for one round: what it does for letters, and what the loop does around it.
WAYS = ("receiver", "queue", "postman", "directory", "porter", "reader")


class Way:
    """A running instance, and rounds of letters through it."""

    def __init__(self, instance, page, chance):
        self.instance, self.page = instance, page
        self.post = Post(instance, chance.randrange(10 ** 6), (*USERS, COLLECTOR))
        self.shift_ms = 0

    def round(self):
        """Letters in, and POP3: what fails may fail, with an answer that allows it."""
        self.post.send()
        self.post.send(LARGE)
        self.post.send(users=list(USERS))
        self.post.send(users=[COLLECTOR])
        self.collect()

    def collect(self):
        try:
            with Pop3((self.instance.address, self.instance.pop3_port), COLLECTOR) as client:
                count = int(client.command("STAT").split()[1])
                for number in range(1, count + 1):
                    if not client.retrieve(number):
                        raise Trouble("an empty letter from POP3")
                client.command("RSET")
                client.command("QUIT")
        except OSError:
            pass
        except Trouble as trouble:  # -ERR is an honest answer
            if "-ERR" not in str(trouble):
                raise

    def heal(self):
        """Without the fault: deferred letters become due, and everything is as it should be."""
        self.page.clear()
        self.post.close()
        wait_for(self.all_ready, "all roles after the fault")
        self.shift_ms += HOUR_MS
        self.page.shift_wall(self.shift_ms)
        self.page.shift_monotonic(self.shift_ms)
        if wait_for(self.post.send, "a reply after the fault") != 250:
            raise Trouble("no service after the fault is gone")
        self.instance.settle()
        self.post.count()
        self.post.close()

    def all_ready(self):
        try:
            return self.instance.all_ready()
        except (Trouble, OSError):
            return False

    def deaths(self):
        return [event["text"] for event in self.instance.events("died")]


def cases_of(counts, chance):
    """(role, call, n, error): all of them, or a sample in which each call of each role is."""
    every = {}
    for role, calls in counts.items():
        for call, made in calls.items():
            errors = ERRORS + ((SHORT,) if call in MOVES else ())
            every[role, call] = [(role, call, n, error) for n in range(1, made + 1)
                                 for error in errors]
    if LONG:
        return [case for cases in every.values() for case in cases]
    chosen = [chance.choice(cases) for cases in every.values()]
    rest = [case for cases in every.values() for case in cases]
    return chosen + chance.sample(rest, max(0, min(len(rest), SAMPLE) - len(chosen)))


class NthCall(unittest.TestCase):
    def test_every_role(self):
        number = seed()
        chance = random.Random(number)
        with Instance(PLAIN, users=(*USERS, COLLECTOR), start=False) as instance:
            path = os.path.join(instance.top, "page")
            page = fault.Page.create(path)
            os.chmod(path, 0o666)
            instance.environment["POSTHOUSE_FAULT"] = path
            instance.start()
            way = Way(instance, page, chance)
            try:
                way.round()  # what is made once is made
                way.heal()
                cases = cases_of(self.clean_round(way), chance)
                struck = sum(self.one(way, case) for case in cases)
            finally:
                page.clear()
            deaths = way.deaths()
            print(f"# seed {number}: {len(cases)} cases, {struck} struck, {len(deaths)} roles ended "
                  f"by them; {way.post.report()}", flush=True)
            self.assertGreater(struck, len(cases) // 3)
            self.assertGreater(len(way.post.counted), len(cases))

    def clean_round(self, way):
        before = way.page.roles()
        way.round()
        way.instance.settle()
        counts = {}
        for role, calls in way.page.roles().items():
            if role in WAYS:
                more = {call: made - before.get(role, {}).get(call, 0)
                        for call, made in calls.items()}
                counts[role] = {call: made for call, made in more.items() if made}
        self.assertEqual(sorted(counts), sorted(WAYS))
        way.heal()
        return counts

    def one(self, way, case):
        role, call, n, error = case
        what = {"limit": 1} if error == SHORT else {"error": error}
        before = len(way.deaths())
        rule = way.page.rule(call, role=role, first=n, count=1, **what)
        try:
            way.round()
            if not way.page.acted(rule):
                wait_for(lambda: way.page.acted(rule) or way.instance.queue_count() == 0,
                         "the queue to empty or the fault to strike")
            struck = way.page.acted(rule) > 0
            way.heal()
            # Signal 9 is the supervisor's, for a role that closed its control channel.
            if call not in VITAL and re.search(r"signal (?!9$)", "\n".join(way.deaths()[before:]),
                                               re.M):
                raise Trouble("a role was ended by a signal: it may end, not crash")
        except (Trouble, OSError) as trouble:
            raise Trouble(f"{role} {call} {n} {error}: {trouble}\n"
                          + way.instance.said()[-3000:]) from trouble
        return struck


if __name__ == "__main__":
    unittest.main()
