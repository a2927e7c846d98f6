"""Large letters: they pass through the receiver's arena in slices, so that the memory of every role
stays bounded; and whatever breaks in the middle of one, nothing is promised that is not there.
"""

import hashlib
import os
import random
import signal
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import fault
from instance import BUILD, PLAIN, Instance, Smtp, Trouble, memory, stuff, wait_for

ALICE, BOB = "alice@example.test", "bob@example.test"
KIB, MIB = 1024, 1024 * 1024
LARGE = 128 * KIB  # from here on a body is a file of its own
MAX = 25 * MIB     # the default of max_message
PIECE = 64 * KIB


def compose(size, seed=0):
    """A letter of exactly `size` octets with CRLF: lines of Chinese, of dots and of noise."""
    chance = random.Random(seed)
    head = b"Subject: \xe5\xa4\xa7\xe4\xbf\xa1 %d\r\n\r\n" % seed
    filler = ("汉字" * 20).encode() + b"\r\n" + b".\r\n..x\r\n" + chance.randbytes(36).hex().encode()
    line = filler + b"\r\n"
    left = size - len(head)
    text = line * (left // len(line))
    rest = left - len(text)
    while rest == 1:  # no room for a line end: one line less
        text = text[:-len(line)]
        rest += len(line)
    if rest:
        text += b"e" * (rest - 2) + b"\r\n"
    assert len(head + text) == size
    return head + text


def digest(octets):
    return hashlib.sha256(octets).hexdigest()


def body_of(stored):
    """What the client sent, of a letter in a Maildir: without our header, with CRLF."""
    at = stored.index(b"Subject: ")
    return stored[at:].replace(b"\n", b"\r\n")


def spool_bodies(instance):
    return sorted(os.listdir(os.path.join(instance.directory, "spool/body")))


class Case(unittest.TestCase):
    def assert_letter(self, stored, sent):
        got = body_of(stored)
        self.assertEqual((len(got), digest(got)), (len(sent), digest(sent)))

    def assert_nothing_left(self, instance):
        wait_for(lambda: not spool_bodies(instance), "an empty spool/body")


class Sizes(Case):
    def test_sizes(self):
        """Every size comes out as it went in, and no body stays."""
        with Instance() as instance:
            for number, size in enumerate((127 * KIB, LARGE - 1, LARGE, LARGE + 1, 129 * KIB, MIB,
                                           MIB + PIECE // 2, 5 * MIB)):
                with self.subTest(size=size), instance.smtp() as client:
                    sent = compose(size, number)
                    client.letter("a@example.org", [ALICE], sent)
                    instance.settle()
                    path = instance.names(ALICE)[0]
                    with open(path, "rb") as file:
                        self.assert_letter(file.read(), sent)
                    os.unlink(path)
            self.assert_nothing_left(instance)

    def test_largest(self):
        """25 MiB are taken; one octet more is refused, and the session lives."""
        with Instance(PLAIN) as instance, instance.smtp() as client:
            sent = compose(MAX, 7)
            client.letter("a@example.org", [ALICE], sent)
            client.begin("a@example.org", [ALICE])
            client.send(stuff(compose(MAX + 1, 8)))
            client.expect(552)
            client.letter("a@example.org", [ALICE], compose(200 * KIB, 9))
            instance.settle()
            letters = instance.letters(ALICE)
            self.assertEqual(len(letters), 2)
            self.assert_letter(letters[0], sent)
            self.assert_nothing_left(instance)

    def test_one_octet_at_a_time(self):
        """However the letter is cut on its way, around the point where slices begin."""
        with Instance(PLAIN) as instance, instance.smtp() as client:
            sent = compose(LARGE + 3 * PIECE + 17, 3)
            octets = stuff(sent)
            client.begin("a@example.org", [ALICE])
            client.send(octets[:LARGE - 1000])
            for i in range(LARGE - 1000, LARGE + 1000):
                client.send(octets[i:i + 1])
            client.send(octets[LARGE + 1000:])
            client.expect(250)
            instance.settle()
            self.assert_letter(instance.letters(ALICE)[0], sent)

    def test_recipients_share_the_body(self):
        """Fifty recipients of one large letter; and, of a small one, more than a message holds."""
        users = [f"u{i}@example.test" for i in range(50)]
        with Instance(PLAIN, users=users) as instance, instance.smtp() as client:
            large, small = compose(MIB, 1), compose(100 * KIB, 2)
            client.letter("a@example.org", users, large)
            client.letter("a@example.org", users, small)
            instance.settle()
            for user in users:
                letters = sorted(instance.letters(user), key=len)
                self.assertEqual(len(letters), 2)
                self.assert_letter(letters[0], small)
                self.assert_letter(letters[1], large)
            self.assert_nothing_left(instance)

    def test_pop3(self):
        with Instance() as instance, instance.smtp() as client:
            sent = compose(3 * MIB, 5)
            client.letter("a@example.org", [ALICE], sent)
            instance.settle()
            with instance.pop3(ALICE) as pop3:
                got = pop3.retrieve(1)
                self.assertEqual(digest(got[got.index(b"Subject: "):]), digest(sent))


class Crowd(Case):
    def senders(self, instance, count, size):
        """`count` senders at one time: [(code, digest)] of their letters."""
        results, trouble = [], []

        def work(number):
            try:
                sent = compose(size, number)
                with Smtp((instance.address, instance.smtp_port)) as client:
                    client.begin("a@example.org", [(ALICE, BOB)[number % 2]])
                    client.send(stuff(sent))
                    results.append((client.reply()[0], digest(sent)))
            except Exception as error:  # told below
                trouble.append(error)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(trouble, [])
        return results

    def assert_delivered(self, instance, results):
        instance.settle()
        stored = [digest(body_of(letter))
                  for user in (ALICE, BOB) for letter in instance.letters(user)]
        self.assertEqual(sorted(stored), sorted(sent for code, sent in results if code == 250))
        self.assert_nothing_left(instance)

    def test_fifty_senders(self):
        """50 letters of 5 MiB through an arena of 8 MiB; and the memory of each role."""
        with Instance(PLAIN, settings={"arena": "8M"}) as instance:
            results = self.senders(instance, 50, 5 * MIB)
            self.assertEqual([code for code, _ in results], [250] * 50)
            used = {role: memory(instance.child(role)["pid"])
                    for role in ("receiver", "queue", "postman")}
            print("# " + str({role: used[role]["VmHWM"] // KIB for role in used}) + " KiB")
            # Of which the arena is 8 MiB in the receiver and in the queue.
            self.assertLess(used["receiver"]["VmHWM"], 8 * MIB + 24 * MIB)
            self.assertLess(used["queue"]["VmHWM"], 8 * MIB + 16 * MIB)
            self.assertLess(used["postman"]["VmHWM"], 12 * MIB)
            self.assert_delivered(instance, results)

    def test_slow_clients_do_not_hold_the_arena(self):
        """Small bodies in progress go to files when they fill the arena: a letter more is taken."""
        with Instance(PLAIN, settings={"arena": "4M"}) as instance:
            # 60 clients stop in the middle of their letters: 6 MB in an arena of 4 MiB.
            slow = []
            for number in range(60):
                client = instance.smtp()
                sent = compose(120 * KIB, number)
                octets = stuff(sent)
                client.begin("a@example.org", [ALICE])
                client.send(octets[:100 * KIB])
                slow.append((client, octets[100 * KIB:], sent))
            wait_for(lambda: len(spool_bodies(instance)) > 10, "bodies that were moved to files")
            with instance.smtp() as client:
                client.letter("a@example.org", [BOB], compose(100 * KIB, 99))
            for client, rest, _ in slow:
                client.send(rest)
            for client, _, _ in slow:
                client.expect(250)
                client.close()
            self.assert_delivered(instance, [(250, digest(sent)) for _, _, sent in slow] +
                                  [(250, digest(compose(100 * KIB, 99)))])


class Broken(Case):
    def half_a_letter(self, instance, size=4 * MIB, part=2 * MIB):
        """A session in the middle of its data, some of it on disk: (client, the rest)."""
        octets = stuff(compose(size, 1))
        client = instance.smtp()
        client.begin("a@example.org", [ALICE])
        client.send(octets[:part])
        wait_for(lambda: spool_bodies(instance), "a part in spool/body")
        return client, octets[part:]

    def test_disconnect(self):
        """A client that goes away in the middle leaves nothing."""
        with Instance() as instance:
            client, _ = self.half_a_letter(instance)
            client.close()
            self.assert_nothing_left(instance)
            self.assertEqual(instance.queue_count(), 0)

    def test_receiver_killed(self):
        with Instance(PLAIN) as instance:
            client, _ = self.half_a_letter(instance)
            instance.kill_role("receiver")
            self.assertTrue(client.closed())
            self.assert_nothing_left(instance)
            wait_for(instance.all_ready, "a new receiver")
            with instance.smtp() as other:
                other.letter("a@example.org", [ALICE], compose(MIB, 2))
            self.assert_delivered_one(instance, compose(MIB, 2))

    def assert_delivered_one(self, instance, sent):
        instance.settle()
        letters = instance.letters(ALICE)
        self.assertEqual(len(letters), 1)
        self.assert_letter(letters[0], sent)
        self.assert_nothing_left(instance)

    def test_queue_killed(self):
        """451 at the end of the data, then the same session succeeds."""
        with Instance(PLAIN) as instance:
            client, rest = self.half_a_letter(instance)
            before = instance.child("queue")["pid"]
            instance.kill_role("queue")
            wait_for(lambda: (instance.child("queue") or {"pid": before})["pid"] != before,
                     "a new queue")
            client.send(rest)
            client.expect(451)
            client.letter("a@example.org", [ALICE], compose(MIB, 3))
            self.assert_delivered_one(instance, compose(MIB, 3))

    def test_full_disk(self):
        """No space for a slice: 452 when all is sent, nothing stays, and the session lives."""
        with tempfile.TemporaryDirectory() as top:
            page = fault.Page.create(os.path.join(top, "page"))
            with Instance(PLAIN, environment={"POSTHOUSE_FAULT": page.path}) as instance:
                with instance.smtp() as client:
                    for call in ("write", "fdatasync"):
                        client.begin("a@example.org", [ALICE])
                        rule = page.rule(call, role="queue", error="ENOSPC")
                        client.send(stuff(compose(6 * MIB, 1)))
                        client.expect(452)
                        self.assertGreater(page.acted(rule), 0)
                        page.remove(rule)
                        self.assert_nothing_left(instance)
                    rule = page.rule("fdatasync", role="queue", error="EIO", count=1)
                    client.begin("a@example.org", [ALICE])
                    client.send(stuff(compose(6 * MIB, 1)))
                    client.expect(451)
                    page.remove(rule)
                    self.assert_nothing_left(instance)
                    client.letter("a@example.org", [ALICE], compose(6 * MIB, 2))
                self.assert_delivered_one(instance, compose(6 * MIB, 2))

    def test_more_than_a_batch(self):
        """More letters at once than one batch takes: those that do not fit wait for the next."""
        with tempfile.TemporaryDirectory() as top:
            page = fault.Page.create(os.path.join(top, "page"))
            with Instance(PLAIN, environment={"POSTHOUSE_FAULT": page.path}) as instance:
                rule = page.rule("fdatasync", role="queue", delay_ms=2000, count=1)
                clients = [instance.smtp() for _ in range(100)]
                for number, client in enumerate(clients):
                    client.begin("a@example.org", [ALICE])
                    client.send(stuff(compose(MIB if number == 99 else LARGE - KIB, number)))
                    if number == 0:
                        wait_for(lambda: page.acted(rule), "a batch on its way to the disk")
                for client in clients:
                    client.expect(250)
                    client.close()
                instance.settle()
                self.assertEqual(len(instance.names(ALICE)), len(clients))

    def test_rot(self):
        """A body that rotted on the disk is not delivered: the letter is held, the next is not."""
        with Instance(PLAIN) as instance, instance.smtp() as client:
            first = instance.child("postman")["pid"]
            os.kill(first, signal.SIGSTOP)  # so that nothing is read before it rots
            ids = [client.letter("a@example.org", [ALICE], compose(MIB, i)) for i in range(2)]
            with open(os.path.join(instance.directory, "spool/body", ids[0]), "r+b") as file:
                file.seek(3 * PIECE + 5)
                octet = file.read(1)
                file.seek(3 * PIECE + 5)
                file.write(bytes([octet[0] ^ 1]))
            os.kill(first, signal.SIGCONT)
            wait_for(lambda: instance.names(ALICE), "the letter that is whole")
            wait_for(lambda: "is held" in instance.said(), "the word on the other one")
            self.assertEqual(len(instance.names(ALICE)), 1)
            self.assertFalse([name for name in instance.names(ALICE, "tmp") if ids[0] in name])
            self.assert_letter(instance.letters(ALICE)[0], compose(MIB, 1))
            self.assertEqual(spool_bodies(instance), [ids[0]])

    def test_queue_killed_at_any_time(self):
        """Many letters while the queue dies again and again: whoever has a 250 has a letter."""
        with Instance(PLAIN) as instance:
            promised, codes, over = [], [], threading.Event()

            def work(number):
                chance = random.Random(number)
                while not over.is_set():
                    sent = compose(chance.randint(LARGE, MIB), number)
                    try:
                        with Smtp((instance.address, instance.smtp_port)) as client:
                            client.command("MAIL FROM:<a@example.org>", 250)
                            client.command(f"RCPT TO:<{ALICE}>", 250)
                            client.command("DATA", 354)
                            client.send(stuff(sent))
                            code = client.reply()[0]
                    except (Trouble, OSError):
                        continue
                    codes.append(code)
                    if code == 250:
                        promised.append(digest(sent))
            threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
            for thread in threads:
                thread.start()
            for _ in range(8):
                seen = len(promised)
                wait_for(lambda: len(promised) > seen + 2, "letters between two kills")
                instance.kill_role("queue")
            over.set()
            for thread in threads:
                thread.join()
            self.assertLessEqual(set(codes), {250, 451})
            instance.settle()
            stored = [digest(body_of(letter)) for letter in instance.letters(ALICE)]
            for sent in set(promised):
                self.assertGreaterEqual(stored.count(sent), promised.count(sent))
            self.assert_nothing_left(instance)


if __name__ == "__main__":
    unittest.main()
