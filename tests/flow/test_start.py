"""A start with letters in the queue: new ones are taken while the log is not read yet; what may be
known in it waits; nothing is lost, nothing comes twice.

The queue's reads fail from the first one on that reads the log in the background: it tries that
again until they do not.
"""

import json
import os
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import fault  # noqa: E402
from instance import PLAIN, Instance, wait_for
from post import USERS

OLD = 3


class Start(unittest.TestCase):
    def setUp(self):
        self.instance = Instance(PLAIN, users=USERS, start=False)
        self.addCleanup(self.instance.finish)
        path = os.path.join(self.instance.top, "page")
        self.page = fault.Page.create(path)
        os.chmod(path, 0o666)
        self.instance.environment["POSTHOUSE_FAULT"] = path
        self.page.rule("link", role="postman", error="EIO")
        self.instance.start()
        for number in range(OLD):
            self.send(number)
        wait_for(lambda: len(self.instance.events("deferred")) == OLD, "letters that wait")
        # The same files at each start, so that each makes the same reads.
        wait_for(lambda: self.status()["free_segments"] >= 2, "the reserve")

    def send(self, number):
        with self.instance.smtp() as client:
            return client.letter("a@example.org", [USERS[0]],
                                 b"Subject: %d\r\n\r\n%d\r\n" % (number, number))

    def status(self):
        return json.loads(self.instance.ask("queue status"))

    def unread(self):
        """Segments that are still to be read."""
        status = self.status()
        return status["segments_to_read"] - status["segments_read"]

    def reads_of_a_start(self):
        """How many reads the queue has made when its log is read; the last one is of the log."""
        rule = self.page.rule("read", role="queue", first=1 << 40)
        self.instance.kill_role("queue")
        wait_for(lambda: len(self.restarts()) == 1 and self.instance.queue_count() == OLD, "a start")
        seen = self.page.seen(rule)
        self.page.remove(rule)
        return seen

    def restarts(self):
        return [event for event in self.instance.events("died") if "queue" in json.dumps(event)]

    def in_background(self, work):
        """A thread that works, and what came of it."""
        result = []
        thread = threading.Thread(target=lambda: result.append(work()), daemon=True)
        thread.start()
        return thread, result

    def test_letters_flow_before_the_log_is_read(self):
        reads = self.reads_of_a_start()
        unreadable = self.page.rule("read", role="queue", first=reads, error="EIO")
        dies = self.page.rule("fdatasync", role="queue", kill=True, count=1)
        # Submitted, perhaps committed, not acknowledged: its id may be in the log.
        waiting, waited = self.in_background(lambda: self.send(OLD))
        wait_for(lambda: self.page.acted(dies) and self.page.acted(unreadable), "the next queue")
        for number in range(OLD + 1, OLD + 4):
            self.assertTrue(self.send(number))
        counting, counted = self.in_background(lambda: self.instance.ask("queue count"))
        self.assertGreater(self.unread(), 0)
        self.assertEqual((waited, counted), ([], []))
        self.page.clear()
        waiting.join()
        counting.join()
        self.assertEqual(self.unread(), 0)
        self.assertTrue(waited[0])
        self.assertGreaterEqual(int(counted[0]), 0)
        hour_ms = 3_600_000
        self.page.shift_wall(hour_ms)
        self.page.shift_monotonic(hour_ms)
        self.instance.settle()
        subjects = sorted(letter.split(b"Subject: ")[1].split(b"\n")[0].strip()
                          for letter in self.instance.letters(USERS[0]))
        self.assertEqual(subjects, [b"%d" % number for number in range(OLD + 4)])

    def test_a_client_that_leaves_while_its_letter_waits(self):
        """It will send the letter again: that it comes once is the queue's part."""
        reads = self.reads_of_a_start()
        client = self.instance.smtp()
        client.begin("a@example.org", [USERS[0]])
        unreadable = self.page.rule("read", role="queue", first=reads, error="EIO")
        dies = self.page.rule("write", role="queue", kill=True, count=1)
        client.send(b"Subject: gone\r\n\r\nx\r\n.\r\n")
        wait_for(lambda: self.page.acted(dies) and self.page.acted(unreadable), "the next queue")
        wait_for(lambda: self.status()["parked"] == 1, "a letter that waits")
        client.close()
        wait_for(lambda: self.status()["parked"] == 0, "it to be dropped")
        self.assertGreater(self.unread(), 0)
        self.page.clear()
        wait_for(lambda: self.instance.queue_count() == OLD, "the log to be read")

    def test_discarded_while_it_waits(self):
        """A large letter under an id of the queue that died: its client goes away."""
        reads = self.reads_of_a_start()
        client = self.instance.smtp()
        client.begin("a@example.org", [USERS[0]])  # has its id
        unreadable = self.page.rule("read", role="queue", first=reads, error="EIO")
        self.instance.kill_role("queue")
        wait_for(lambda: self.page.acted(unreadable), "the next queue")
        client.send(b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n" * 150_000)
        client.close()
        self.assertTrue(self.send(OLD))
        self.assertGreater(self.unread(), 0)
        self.page.clear()
        wait_for(lambda: self.unread() == 0, "the log to be read")
        self.assertTrue(self.send(OLD + 1))
        wait_for(lambda: not os.listdir(os.path.join(self.instance.directory, "spool/body")),
                 "an empty spool/body")


if __name__ == "__main__":
    unittest.main()
