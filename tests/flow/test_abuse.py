"""Abuse costs the server nothing: each attack is answered, and a good client is served meanwhile."""

import os
import select
import signal
import socket
import unittest

from instance import BUILD, PLAIN, Client, Instance, many_sockets, memory, wait_for

ALICE, BOB = "alice@example.test", "bob@example.test"
TOO_LONG = "552 5.3.4 The header is too long, or has too many fields"
HEADER_LIMIT = 256 * 1024  # LIMIT_header
BOUND = 16 << 20  # octets that no attack makes a role go beyond


class Abuse(unittest.TestCase):
    """One server, its limits as they come."""

    build, bounded = BUILD, False

    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(cls.build, users=(ALICE, BOB, "carol@example.test", "dan@example.test"))
        cls.receiver = cls.instance.child("receiver")["pid"]

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def good_client(self):
        with self.instance.smtp() as client:
            client.letter("c@example.org", [ALICE], b"Subject: good\r\n\r\ntext\r\n")
            client.command("QUIT", 221)

    def refused_letter(self, client, text):
        """What a letter hears at its end; the same session then sends a good one."""
        client.begin("a@example.org", [BOB])
        client.send(text + b"\r\n.\r\n")
        code, said = client.reply()
        client.letter("a@example.org", [BOB], b"Subject: after it\r\n\r\ntext\r\n")
        return f"{code} {said}".partition(" [")[0]

    def test_a_header_without_end(self):
        line = b"X-Padding: " + b"x" * 900 + b"\r\n"
        with self.instance.smtp() as client:
            self.assertEqual(self.refused_letter(client, line * (2 * HEADER_LIMIT // len(line))),
                             TOO_LONG)
            one_line = b"Subject: " + b"x" * HEADER_LIMIT + b"\r\n\r\ntext"
            self.assertEqual(self.refused_letter(client, one_line), TOO_LONG)
        wait_for(lambda: any(event["rule"] == "header" for event in self.instance.events("refused")),
                 "its event")

    def test_a_thousand_fields_and_one_more(self):
        with self.instance.smtp() as client:
            client.letter("a@example.org", [BOB], b"A: b\r\n" * 1000 + b"\r\ntext\r\n")
            self.assertEqual(self.refused_letter(client, b"A: b\r\n" * 1001 + b"\r\ntext"), TOO_LONG)

    def test_a_long_text_is_no_header(self):
        """A line of text has no limit, nor has a letter that never had a header."""
        with self.instance.smtp() as client:
            client.letter("a@example.org", [BOB], b"x" * (2 * HEADER_LIMIT) + b"\r\n")
            client.letter("a@example.org", [BOB], b"A: b\r\n\r\n" + b"C: d\r\n" * 100000)

    def test_clause_4_thousands_of_recipients(self):
        with self.instance.smtp() as client:
            client.command("MAIL FROM:<a@example.org>", 250)
            client.send(b"RCPT TO:<%s>\r\n" % ALICE.encode() * 3000)
            codes = [client.reply()[0] for _ in range(3000)]
            self.assertEqual((codes.count(250), codes.count(452)), (1000, 2000))
            self.assertEqual(set(codes[:1000]), {250})
            client.command("DATA", 354)
            client.send(b"Subject: many\r\n\r\n.\r\n")
            client.expect(250)
            client.command("QUIT", 221)

    def test_clause_3_a_line_of_a_letter_without_end(self):
        with self.instance.smtp() as client:
            client.begin("a@example.org", [BOB])
            for _ in range(30):
                client.send(b"x" * 1024 * 1024)
            client.send(b"\r\n.\r\n")
            self.assertEqual(client.reply()[0], 552)
            client.command("NOOP", 250)

    def test_a_chunk_of_any_size_is_counted(self):
        """The declared size of a chunk costs nothing; its octets are swallowed as they come."""
        with self.instance.smtp() as client:
            client.command("MAIL FROM:<a@example.org>", 250)
            client.command(f"RCPT TO:<{BOB}>", 250)
            client.send(b"BDAT 18446744073709551615 LAST\r\n" + b"QUIT\r\n" * 10000)
            self.good_client()
            self.assertEqual(select.select([client.socket], [], [], 0)[0], [], "it said something")

    def test_large_chunks(self):
        """A letter of several slices by BDAT is the letter that DATA would have made."""
        text = b"Subject: chunks\r\n\r\n" + b"0123456789abcdef.\r\n" * 60000
        with self.instance.smtp() as client:
            for way in ("data", "bdat"):
                if way == "data":
                    client.letter("a@example.org", ["carol@example.test"], text)
                    continue
                client.command("MAIL FROM:<a@example.org>", 250)
                client.command("RCPT TO:<carol@example.test>", 250)
                at = 0
                for size in (1, 70000, 0, 131072, 333333):
                    client.send(b"BDAT %d\r\n" % size + text[at:at + size])
                    self.assertIn(f"{size} octets", client.expect(250))
                    at += size
                client.send(b"BDAT %d LAST\r\n" % (len(text) - at) + text[at:])
                client.expect(250)
        self.instance.settle()
        letters = [letter.partition(b"Subject: chunks")[2]
                   for letter in self.instance.letters("carol@example.test")]
        self.assertEqual(len(letters), 2)
        self.assertEqual(letters[0], letters[1])
        self.assertEqual(letters[0], text.partition(b"Subject: chunks")[2].replace(b"\r\n", b"\n"))

    def test_clause_9_speaking_before_the_greeting(self):
        """The receiver stands still until the client has spoken: nothing depends on who is
        quicker."""
        receiver = self.instance.child("receiver")["pid"]
        os.kill(receiver, signal.SIGSTOP)
        try:
            client = self.instance.smtp(greet=False)
            client.send(b"EHLO early.example\r\nMAIL FROM:<a@example.org>\r\n")
        finally:
            os.kill(receiver, signal.SIGCONT)
        with client:
            code, said = client.reply()
            self.assertEqual((code, said[:5]), (421, "4.7.0"))
            self.assertTrue(client.closed())
        self.good_client()
        wait_for(lambda: [event["code"] for event in self.instance.events("refused")
                          if event["rule"] == "early"] == [421], "its event")

    def test_clause_9_text_before_the_354(self):
        """A client that sends DATA and its letter in one has not waited: what it sent is no letter, and no
        command either."""
        with self.instance.smtp() as client:
            client.command("MAIL FROM:<a@example.org>", 250)
            client.command(f"RCPT TO:<{BOB}>", 250)
            os.kill(self.receiver, signal.SIGSTOP)
            try:
                client.send(b"DATA\r\nSubject: early\r\n\r\n.\r\nRSET\r\n")
            finally:
                os.kill(self.receiver, signal.SIGCONT)
            code, said = client.reply()
            self.assertEqual((code, said[:5]), (421, "4.7.0"))
            self.assertTrue(client.closed())
        self.good_client()

    def talks_and_never_reads(self, client, talk):
        """Until the server takes no more from it, which it does not for ever: its replies wait."""
        client.socket.settimeout(2)
        with self.assertRaises(TimeoutError):
            for _ in range(100000):
                client.send(talk)
        self.good_client()
        self.assertEqual(self.instance.child("receiver")["pid"], self.receiver)

    def test_a_client_that_never_reads(self):
        with self.instance.smtp() as client:
            self.talks_and_never_reads(client, b"HELP\r\n" * 10000)
        with self.instance.smtp() as client:
            client.command("MAIL FROM:<a@example.org>", 250)
            self.talks_and_never_reads(client, b"RCPT TO:<bob@example.test>\r\n" * 10000)

    def test_a_client_that_never_reads_its_letters(self):
        letter = b"Subject: large\r\n\r\n" + b"text\r\n" * 1000000
        with self.instance.smtp() as client:
            client.letter("a@example.org", ["dan@example.test"], letter)
        self.instance.settle()
        reader = self.instance.child("reader")["pid"]
        with self.instance.pop3("dan@example.test") as client:
            self.talks_and_never_reads(client, b"RETR 1\r\n" * 10000)
        self.assertEqual(self.instance.child("reader")["pid"], reader)
        if self.bounded:
            self.assertLess(memory(reader)["VmHWM"], BOUND)

    def test_slow_senders(self):
        """Each has begun a command or a letter and goes on octet by octet."""
        clients = []
        try:
            for number in range(300):
                client = self.instance.smtp()
                clients.append(client)
                if number % 2:
                    client.begin("a@example.org", [BOB])
            for octet in b"Subject: slow":
                for client in clients:
                    client.send(bytes([octet]))
                self.good_client()
        finally:
            for client in clients:
                client.close()


class Bounded(Abuse):
    """The same, of a build whose memory is its own: the sanitizers take some for themselves."""

    build, bounded = PLAIN, True

    def tearDown(self):
        self.assertLess(memory(self.receiver)["VmHWM"], BOUND)


class Floods(unittest.TestCase):
    def settings(self, **more):
        return {"loopback_exempt": "no", **more}

    def refused(self, instance, rule):
        """The codes of those that the rule turned away, once there are some."""
        return wait_for(lambda: [event.get("code") for event in instance.events("refused")
                                 if event["rule"] == rule], f"refused by {rule}")

    def test_sessions_of_one_address(self):
        with Instance(settings=self.settings(sessions_per_address=3)) as instance:
            clients = [instance.smtp() for _ in range(3)]
            for _ in range(5):
                with instance.smtp(greet=False) as client:
                    code, said = client.reply()
                    self.assertEqual((code, said[:5]), (421, "4.7.0"))
                    self.assertTrue(client.closed())
            clients.pop().command("QUIT", 221)
            wait_for(lambda: instance.smtp(greet=False).reply()[0] == 220, "a free place")
            self.assertIn(421, self.refused(instance, "sessions_per_address"))
            for client in clients:
                client.close()

    def test_new_sessions_in_a_minute(self):
        with Instance(settings=self.settings(sessions_per_minute=5)) as instance:
            codes = []
            for _ in range(8):
                with instance.smtp(greet=False) as client:
                    codes.append(client.reply()[0])
            self.assertEqual(codes, [220] * 5 + [421] * 3)
            self.assertEqual(set(self.refused(instance, "sessions_per_minute")), {421})

    def test_a_flood_from_many_addresses(self):
        """What is remembered of addresses has a bound."""
        with Instance(build=PLAIN, settings=self.settings()) as instance:
            receiver = instance.child("receiver")["pid"]
            for number in range(20000):
                with socket.socket() as client:
                    client.bind((f"127.{number % 50 + 1}.{number // 50 % 250}.{number % 250 + 1}", 0))
                    client.connect((instance.address, instance.smtp_port))
                    self.assertEqual(client.recv(3), b"220")
            with instance.smtp() as client:
                client.letter("a@example.org", [ALICE], b"Subject: served\r\n\r\n")
            self.assertLess(memory(receiver)["VmHWM"], BOUND)

    def test_floods_of_pop3(self):
        with Instance(settings=self.settings(sessions_per_address=2)) as instance:
            clients = [Client((instance.address, instance.pop3_port)) for _ in range(4)]
            self.assertEqual([client.line().partition(b" ")[0] for client in clients],
                             [b"+OK", b"+OK", b"-ERR", b"-ERR"])
            self.assertTrue(clients[3].closed())
            self.refused(instance, "sessions_per_address")
            for client in clients:
                client.close()

    def test_fewer_descriptors_than_sessions(self):
        """Who is one too many hears it: nobody waits unheard for a descriptor."""
        with Instance(start=False, settings={"receivers": 1}) as instance:
            few = os.path.join(instance.top, "few")
            with open(few, "w", encoding="utf-8") as file:
                file.write(f'#!/bin/sh\nulimit -n 600 && exec {instance.command} "$@"\n')
            os.chmod(few, 0o700)
            instance.command = few
            instance.start()
            self.assertIn("the system allows 600", instance.said())
            codes = []
            clients = [instance.smtp(greet=False) for _ in range(100)]
            for client in clients:
                codes.append(client.reply()[0])
            self.assertEqual(codes, [220] * 88 + [421] * 12)
            for client in clients:
                client.close()

    def test_sessions_in_all(self):
        with Instance(settings={"max_sessions": 4}) as instance:
            clients = [instance.smtp() for _ in range(4)]
            with instance.smtp(greet=False) as client:
                self.assertEqual(client.reply()[0], 421)
            clients[0].letter("a@example.org", [ALICE], b"Subject: still served\r\n\r\n")
            self.assertEqual(self.refused(instance, "max_sessions"), [421])
            for client in clients:
                client.close()

    def test_clause_5_a_client_that_falls_silent(self):
        """Between commands and in the middle of a letter, of which nothing is left."""
        with Instance(settings={"smtp_idle": "1s"}) as instance:
            with instance.smtp() as idle, instance.smtp() as sending:
                sending.begin("a@example.org", [ALICE])
                sending.send(b"Subject: half\r\n\r\nte")
                for client in (idle, sending):
                    code, text = client.reply()
                    self.assertEqual((code, text[:5]), (421, "4.4.2"))
                    self.assertTrue(client.closed())
            instance.settle()
            self.assertEqual(instance.letters(ALICE), [])

    def many(self, number):
        return {"max_sessions": number + 100, "smtp_idle": "1h", "receivers": 1}

    def test_ten_thousand_slow_letters(self):
        """Each has said DATA, and then nothing, or an octet: the arena is not theirs, and a good client's
        letter is taken."""
        number = min(10000, many_sockets())
        with Instance(build=PLAIN, settings=self.many(number)) as instance:
            clients = []
            try:
                for _ in range(number):
                    client = instance.smtp(greet=False)
                    clients.append(client)
                    client.expect(220)
                    client.send(b"HELO localhost\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<%s>\r\nDATA\r\n"
                                % BOB.encode())
                for client in clients:
                    for code in (250, 250, 250, 354):
                        client.expect(code)
                for octet in (b"", b"S"):
                    for client in clients:
                        client.send(octet)
                    with instance.smtp() as client:
                        client.letter("a@example.org", [ALICE], b"Subject: served\r\n\r\n" + b"text\r\n" * 20000)
            finally:
                for client in clients:
                    client.close()

    def test_ten_thousand_slow_senders(self):
        """Each has begun a command; a good client's letters are taken meanwhile, and what the slow
        ones cost is some hundred octets each."""
        number = min(10000, many_sockets())
        with Instance(build=PLAIN, settings=self.many(number)) as instance:
            receiver = instance.child("receiver")["pid"]
            before = memory(receiver)["VmRSS"]
            clients = []
            try:
                for _ in range(number):
                    client = instance.smtp(greet=False)
                    clients.append(client)
                    client.expect(220)
                    client.send(b"EHLO slow")
                for _ in range(20):
                    for client in clients:
                        client.send(b"x")
                    with instance.smtp() as client:
                        client.letter("a@example.org", [ALICE], b"Subject: served\r\n\r\n")
                each = (memory(receiver)["VmRSS"] - before) // number
                self.assertLess(each, 2048, "octets of memory a session")
            finally:
                for client in clients:
                    client.close()


if __name__ == "__main__":
    unittest.main()
