"""A queue that is long: all of it is listed, and new letters are slowed instead of piling up."""

import json
import os
import unittest

import fault
from instance import Instance, stuff, wait_for

ALICE = "alice@example.test"
MARK = 20000  # LIMIT_attempts


class List(unittest.TestCase):
    def test_a_long_list(self):
        """More recipients than one answer holds, some of them of letters longer than a page."""
        with Instance(users=(ALICE,), start=False) as instance:
            instance.fill("letters=30", "recipients=2500", "body=64", ALICE)
            instance.fill("letters=40000", "body=64", ALICE)
            instance.start()
            rows = [json.loads(line)
                    for line in instance.run("queue", "list", "--json").splitlines()]
            self.assertEqual(len(rows), 30 * 2500 + 40000)
            count = {}
            for row in rows:
                count[row["id"]] = count.get(row["id"], 0) + 1
                self.assertEqual((row["to"], row["state"], row["attempts"], row["reason"]),
                                 (ALICE, "deferred", 1, "deferred by spool_fill"))
            self.assertEqual(sorted(count.values()), [1] * 40000 + [2500] * 30)
            table = instance.run("queue", "list").splitlines()
            self.assertEqual(sum(ALICE in line for line in table), len(rows))
            self.assertIn("no such place", instance.ask("queue list 1", wanted=False))
            self.assertIn("no such place", instance.ask("queue list 1 x", wanted=False))
            self.assertEqual(instance.ask("queue list 999999 0"), "")


class Pace(unittest.TestCase):
    def queue(self):
        return json.loads(self.instance.ask("queue status"))

    def send(self, client):
        """A whole letter, whose answer is not waited for."""
        subject = b"Subject: new %d" % len(self.sent)
        self.sent.append(subject)
        client.begin("a@example.org", [ALICE])
        client.send(stuff(subject + b"\r\n\r\nx\r\n"))

    def send_all(self, clients):
        """One letter each, whose answers are kept back."""
        before = self.queue()["kept_back"]
        for client in clients:
            self.send(client)
        wait_for(lambda: self.queue()["kept_back"] == before + len(clients),
                 "answers that are kept back")

    def subjects(self):
        return [letter[letter.index(b"Subject:"):].splitlines()[0]
                for letter in self.instance.letters(ALICE)]

    def test_answers_are_kept_back_and_given(self):
        """More is due than the queue works on at one time, and delivery stands still."""
        with Instance(users=(ALICE,), start=False) as self.instance:
            page = fault.Page.create(os.path.join(self.instance.top, "page"))
            self.addCleanup(page.close)
            self.instance.environment["POSTHOUSE_FAULT"] = os.path.join(self.instance.top, "page")
            self.instance.fill(f"letters={MARK + 200}", "body=64", "due=1", ALICE)
            self.sent = [b"Subject: %d" % n for n in range(MARK + 200)]
            page.rule("link", role="postman", delay_ms=500)
            self.instance.start()
            wait_for(lambda: self.queue()["attempts"] >= MARK, "a backlog")
            clients = [self.instance.smtp() for _ in range(5)]
            self.send_all(clients)
            for client in clients:  # late, and still said
                client.expect(250)
            backlog = self.instance.run("status").splitlines()[-1].split()
            self.assertGreater(int(backlog[2]), MARK)
            self.assertIn(backlog[3], ("yes", "no"))
            self.lose_the_receiver(clients)
            self.drain(page)
            self.deliver()

    def lose_the_receiver(self, clients):
        """Nobody is there to be answered: the queue lives, and forgets the answers."""
        queue = self.instance.child("queue")["pid"]
        self.send_all(clients)
        self.assertTrue(self.instance.kill_role("receiver"))
        for client in clients:
            client.closed()
            client.close()
        wait_for(lambda: not self.queue()["paced"], "no answer that is kept back")
        wait_for(self.instance.all_ready, "the next receiver")
        self.assertEqual(self.instance.child("queue")["pid"], queue)

    def drain(self, page):
        """A stop waits for no backlog: what is durable is acknowledged."""
        with self.instance.smtp() as client:
            self.send_all([client])
            self.instance.process.terminate()
            client.expect(250)
        page.clear()
        self.instance.wait()

    def deliver(self):
        """Each letter arrives, once; without a backlog no answer is kept back."""
        self.instance.start()
        self.instance.settle(240)
        self.assertEqual(sorted(self.subjects()), sorted(self.sent))
        before = self.queue()
        self.assertEqual(before["backlog"], 0)
        with self.instance.smtp() as client:
            client.letter("a@example.org", [ALICE], b"Subject: last\r\n\r\n")
        self.assertEqual(self.queue()["kept_back"], before["kept_back"])


if __name__ == "__main__":
    unittest.main()
