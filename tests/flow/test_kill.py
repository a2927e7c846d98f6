"""The kill storm: under load, processes are killed at random moments, one after the other and all at
once, each time with hundreds of letters unacknowledged or undelivered, while the mailboxes' owners
flag, file and delete letters. Every letter whose 250 came is in its Maildir, exactly once, whole:
lost = torn = twice = 0.

A letter whose 250 did not come may be there or not, but never twice and never torn. The seed is
printed; POSTHOUSE_SEED=N chooses the same moments again (as far as a scheduler can be told to).
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import fault  # noqa: E402
from instance import (BUILD, LONG, PLAIN, ROLES, Instance, Loop, Pop3, Smtp, Trouble, stuff,
                      wait_for)
from ledger import Ledger, compose, judge

CLIENTS = 40
READERS = ["u0@example.test", "u1@example.test", "汉字@example.test"]  # an owner works in these
COLLECTOR = "collector@example.test"  # fetches and deletes by POP3 all the time
USERS = (*READERS, COLLECTOR)
LARGE = 128 * 1024  # from here on a body is a file of its own in the spool
OUTSTANDING = 200  # letters in the queue, at least, at each kill
BACKLOG = 600  # from here on the clients wait, save shortly before a kill
BOLD = 0.1  # how often the collector deletes a letter that may come once more for it

# What holds a role up, so that letters wait at every step of their way: role, call, longest delay of
# each call in milliseconds.
DELAYS = (("postman", "syncfs", 150), ("postman", "link", 3), ("postman", "open", 2),
          ("queue", "fdatasync", 40))


class Sender:
    """Sends letters on one connection until it breaks, then on the next."""

    def __init__(self, ledger, where, number):
        self.ledger, self.where = ledger, where
        self.chance = random.Random(ledger.seed * 1000 + number)
        self.client = None

    def connect(self):
        self.client = Smtp(self.where, greet=False)
        self.client.expect(220)
        self.client.command("EHLO sender.example.org", 250)

    def one_letter(self):
        chance, ledger = self.chance, self.ledger
        users = chance.sample(USERS, chance.choice((1, 1, 1, 2)))
        large = chance.random() < 0.04
        size = chance.randint(LARGE, 3 * LARGE) if large else chance.randint(0, 6000)
        number = ledger.draw(users)
        body = stuff(compose(number, size, chance))
        commands = ["MAIL FROM:<sender@example.org> SMTPUTF8",
                    *(f"RCPT TO:<{user}>" for user in users), "DATA"]
        self.client.send("".join(line + "\r\n" for line in commands).encode())
        replies = [self.client.reply()[0] for _ in commands]
        if replies[-1] != 354:
            ledger.refused += 1
            self.client.command("RSET")
            return
        accepted = [user for user, code in zip(users, replies[1:]) if code == 250]
        cut = chance.randint(0, len(body))
        self.client.send(body[:cut])
        self.client.send(body[cut:])
        with ledger.lock:
            ledger.handed_over += 1
        try:
            code = self.client.reply()[0]
        finally:
            with ledger.lock:
                ledger.handed_over -= 1
        with ledger.lock:
            if code == 250:
                ledger.sent[number] = accepted
                ledger.acknowledged.add(number)
                ledger.large += large
            else:
                ledger.refused += 1

    def work(self):
        try:
            if not self.client:
                self.connect()
            self.one_letter()
        except (OSError, Trouble) as trouble:
            if isinstance(trouble, Trouble) and "421" not in str(trouble):
                raise
            self.ledger.broken += 1
            self.close()
            time.sleep(0.02)

    def close(self):
        if self.client:
            self.client.close()
        self.client = None


class Collector:
    """Takes its mail away by POP3, as fast as it can."""

    def __init__(self, ledger, instance):
        self.ledger = ledger
        self.where = (instance.address, instance.pop3_port)
        self.maildir = instance.maildir(COLLECTOR)
        self.chance = random.Random(ledger.seed)
        self.sessions = 0

    def standing(self):
        """The unique-ids of the letters whose witness stands."""
        place = os.path.join(self.maildir, "tmp")
        names = os.listdir(place) if os.path.isdir(place) else []
        return {name.partition(",")[0] for name in names}

    def session(self, client):
        taken = {}  # copy -> whether its witness stood
        count = int(client.command("STAT").split()[1])
        for number in range(1, min(count, 50) + 1):
            unique = client.command(f"UIDL {number}").split()[2]
            letter = client.retrieve(number)
            seq, whole = judge(letter)
            if not whole:
                self.ledger.wrong.append(("torn by POP3", letter[:300]))
            stood = unique in self.standing()
            if not stood or self.chance.random() < BOLD:
                client.command(f"DELE {number}")
                taken[seq, COLLECTOR] = stood
        try:
            client.command("QUIT")
        except (OSError, Trouble):  # some are gone, some are not
            self.ledger.perhaps |= taken.keys()
            raise
        for copy, stood in taken.items():
            self.ledger.remove(copy, stood)
        self.sessions += 1

    def work(self):
        try:
            with Pop3(self.where, COLLECTOR) as client:
                self.session(client)
            time.sleep(0.05)
        except (OSError, Trouble):  # the porter, the login or the reader was away
            time.sleep(0.02)


class Owner:
    """The process that works in the readers' Maildirs, and its journal."""

    def __init__(self, instance, seed):
        for user in READERS:
            instance.make_maildir(user, ("cur", "tmp", "new", ".Archive", ".Archive/cur",
                                         ".Archive/new", ".Archive/tmp"))
        self.journal = tempfile.TemporaryFile("w+")
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "owner.py")
        self.process = subprocess.Popen(
            [sys.executable, program, str(seed), *map(instance.maildir, READERS)],
            stdin=subprocess.PIPE, stdout=self.journal)

    def finish(self, ledger):
        """Ends it and takes what it did into the ledger: how often it did what."""
        self.process.stdin.close()
        if self.process.wait(60):
            raise Trouble("the mailboxes' owner failed")
        counts = {"flag": 0, "file": 0, "delete": 0}
        self.journal.seek(0)
        for line in self.journal:
            entry = json.loads(line)
            counts[entry["did"]] += 1
            if not entry["whole"]:
                ledger.wrong.append(("torn for its owner", line))
            if entry["did"] == "delete":
                ledger.remove((entry["letter"], READERS[entry["maildir"]]), entry["witness"])
        self.journal.close()
        return counts

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.journal.close()


class Storm:
    def __init__(self, instance, page, seed):
        self.instance = instance
        self.page = page
        self.chance = random.Random(seed)
        self.ledger = Ledger(seed)
        self.kills = dict.fromkeys((*ROLES, "supervisor", "all"), 0)
        self.queued, self.unacknowledged = [], []  # at each kill
        self.away = []  # seconds that each took to come back
        self.flow = threading.Event()
        self.near = False  # a kill is
        where = (instance.address, instance.smtp_port)
        self.owner = Owner(instance, seed)
        self.senders = [Sender(self.ledger, where, i) for i in range(CLIENTS)]
        self.loops = [Loop(self.when_it_flows(sender)) for sender in self.senders]
        self.collector = Collector(self.ledger, instance)
        self.loops.append(Loop(self.collector.work))
        self.loops.append(Loop(self.gauge))

    def when_it_flows(self, sender):
        def work():
            if self.flow.wait(0.1):
                sender.work()
        return work

    def gauge(self):
        """Enough letters, and not more and more."""
        queued = self.instance.queue_count()
        if queued is not None and queued >= BACKLOG and not self.near:
            self.flow.clear()
        else:
            self.flow.set()
        time.sleep(0.02)

    def hold_up(self):
        """Chooses what is slow until the next kill."""
        self.page.clear()
        enough = (self.instance.queue_count() or 0) >= BACKLOG
        for role, call, longest in DELAYS:
            if self.chance.random() < 0.6 and not (enough and role == "postman"):
                self.page.rule(call, role=role, delay_ms=self.chance.randint(1, longest))

    def let_it_run(self):
        """To a random moment at which enough letters are on their way, some of them new."""
        self.hold_up()
        self.near = False
        wait_for(lambda: (self.instance.queue_count() or 0) >= OUTSTANDING, "a backlog")
        self.near = True
        self.flow.set()
        before = len(self.ledger.acknowledged)
        slowed = []

        def enough():
            if len(self.ledger.acknowledged) < before + 10:
                return False
            time.sleep(self.chance.uniform(0, 0.2))
            unacknowledged, queued = self.ledger.handed_over, self.instance.queue_count()
            if queued is None or queued < OUTSTANDING:
                if not slowed:  # delivery is faster than the clients just now
                    slowed.append(self.page.rule("syncfs", role="postman", delay_ms=400))
                return False
            self.queued.append(queued)
            self.unacknowledged.append(unacknowledged)
            return True
        wait_for(enough, f"{OUTSTANDING} letters to be on their way")

    def kill_role(self, role):
        before = {child["role"]: child for child in wait_for(self.whole_status, "all roles")}
        self.let_it_run()
        os.kill(before[role]["pid"], signal.SIGKILL)
        self.kills[role] += 1
        killed = time.monotonic()

        def back():
            child = self.instance.child(role)
            return child and child["pid"] != before[role]["pid"] and child
        after = wait_for(back, f"a new {role}")
        self.away.append(time.monotonic() - killed)
        if after["restarts"] <= before[role]["restarts"]:
            raise Trouble(f"{role} came back and its restarts did not grow: {after}")
        others = {child["role"]: child["pid"] for child in self.instance.status()}
        for name, child in before.items():
            if name != role and others.get(name) != child["pid"]:
                raise Trouble(f"the {name} went when the {role} was killed")

    def whole_status(self):
        found = self.instance.status()
        ready = [child for child in found if child["state"] == "ready"]
        return found if {child["role"] for child in ready} == set(ROLES) else None

    def kill_supervisor(self):
        self.let_it_run()
        pids = [child["pid"] for child in self.instance.status()]
        self.instance.process.kill()
        self.instance.wait(-signal.SIGKILL)
        self.kills["supervisor"] += 1
        wait_for(lambda: not any(alive(pid) for pid in pids), "the roles to end by themselves")
        self.instance.start()

    def kill_all(self):
        self.let_it_run()
        self.instance.kill()
        self.kills["all"] += 1
        self.instance.start()

    def round(self):
        """Each role, the supervisor, and all at once, in any order."""
        order = list(self.kills)
        self.chance.shuffle(order)
        for name in order:
            if name == "supervisor":
                self.kill_supervisor()
            elif name == "all":
                self.kill_all()
            else:
                self.kill_role(name)

    def finish(self):
        """Lets the clients end their letters, empties the queue, and counts: (what the owner did,
        (lost, torn, twice))"""
        self.page.clear()
        self.flow.set()
        for loop in self.loops:
            loop.stop()
        for sender in self.senders:
            sender.close()
        self.instance.settle(120)
        done = self.owner.finish(self.ledger)
        return done, self.ledger.count(self.instance, USERS)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Kill(unittest.TestCase):
    def storm(self, build, rounds):
        seed = int(os.environ.get("POSTHOUSE_SEED") or random.SystemRandom().randrange(10 ** 6))
        print(f"# seed {seed}", flush=True)
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as room:
            page = fault.Page.create(os.path.join(room, "page"))
            with Instance(build, users=USERS,
                          environment={"POSTHOUSE_FAULT": os.path.join(room, "page")}) as instance:
                storm = Storm(instance, page, seed)
                try:
                    for _ in range(rounds):
                        storm.round()
                    done, counts = storm.finish()
                finally:
                    storm.owner.kill()
                self.judge(storm, done, counts, instance)
        print(f"# {time.monotonic() - begin:.0f} s", flush=True)

    def judge(self, storm, done, counts, instance):
        ledger, (lost, torn, twice) = storm.ledger, counts
        print(f"# {sum(storm.kills.values())} kills: {storm.kills}\n"
              f"# at a kill: letters in the queue least {min(storm.queued)}, median "
              f"{statistics.median(storm.queued):.0f}; handed over and not acknowledged median "
              f"{statistics.median(storm.unacknowledged):.0f}, most {max(storm.unacknowledged)}\n"
              f"# {len(ledger.acknowledged)} letters acknowledged, {ledger.large} of them large, "
              f"{ledger.refused} refused, {ledger.broken} connections broken\n"
              f"# {storm.collector.sessions} POP3 sessions; the owner: {done}; "
              f"{len(ledger.perhaps)} perhaps removed by POP3\n"
              f"# a role was away for a median of {statistics.median(storm.away) * 1000:.0f} ms, "
              f"{max(storm.away) * 1000:.0f} at most\n"
              f"# lost {len(lost)}, torn {len(torn)}, twice {len(twice)}, once more for a letter "
              f"that was deleted before it was done {ledger.excused}", flush=True)
        self.assertEqual((lost[:5], torn[:5], twice[:5]), ([], [], []))
        self.assertEqual(os.listdir(os.path.join(instance.directory, "spool/body")), [])
        # Zeros mean something only where there was something to lose.
        self.assertGreaterEqual(min(storm.queued), OUTSTANDING)
        for count in (*storm.kills.values(), *done.values(), max(storm.unacknowledged),
                      len(ledger.acknowledged), ledger.large, storm.collector.sessions):
            self.assertGreater(count, 0)

    def test_storm(self):
        self.storm(PLAIN, 223 if LONG else 10)

    def test_storm_with_sanitizers(self):
        self.storm(BUILD, 10 if LONG else 2)


class LedgerBites(unittest.TestCase):
    """Nothing lost, torn or twice means something only if each of them is noticed."""

    def test_the_ledger_sees(self):
        ledger = Ledger(1)
        with Instance(PLAIN, users=USERS) as instance:
            sender = Sender(ledger, (instance.address, instance.smtp_port), 1)
            while len(ledger.acknowledged) < 12:
                sender.work()
            sender.close()
            instance.settle()
            self.assertEqual(ledger.count(instance, USERS), ([], [], []))
            user = max(READERS, key=lambda user: len(instance.names(user)))
            name, other, third = instance.names(user)[:3]
            os.unlink(name)
            with open(other, "rb") as file:
                instance.plant(user, "again", file.read())
            with open(third, "ab") as file:
                file.write(b"x")
            self.assert_counts(ledger, instance, 1, 1, 1)

    def assert_counts(self, ledger, instance, *wanted):
        self.assertEqual(tuple(map(len, ledger.count(instance, USERS))), wanted)

    def test_the_ledger_sees_folders(self):
        user = READERS[2]
        ledger = Ledger(1)
        with Instance(PLAIN, users=USERS, start=False) as instance:
            Owner(instance, 1).kill()  # it has made the folders

            def put(number, folder, text=None):
                name = f"{number}.{folder.replace('/', '')}"
                text = text or compose(number, 100, random.Random(number)).replace(b"\r\n", b"\n")
                return instance.plant(user, name, text, folder)
            for number in range(1, 7):
                ledger.draw([user])
                ledger.acknowledged.add(number)
            put(1, "new")
            put(2, "cur")
            archived = [put(number, ".Archive/cur") for number in (3, 4)]
            for number, stood in (5, False), (6, True):
                ledger.remove((number, user), stood)
            self.assert_counts(ledger, instance, 0, 0, 0)
            put(6, "new")  # it may come once more: its witness stood
            self.assert_counts(ledger, instance, 0, 0, 0)
            self.assertEqual(ledger.excused, 1)
            put(6, "cur")  # and not twice more
            put(5, "new")  # nor this one, which was done
            put(4, "cur")
            self.assert_counts(ledger, instance, 0, 0, 3)
            with open(archived[1], "ab") as file:
                file.write(b"x")
            os.unlink(archived[0])
            self.assert_counts(ledger, instance, 1, 1, 3)


if __name__ == "__main__":
    unittest.main()
