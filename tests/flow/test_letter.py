"""A letter's whole way: in by SMTP, out by POP3, octet for octet."""

import os
import poplib
import re
import signal
import smtplib
import unittest

from instance import PASSWORD, Instance, stuff
from trace_fields import parts

ALICE, BOB, CHINESE = "alice@example.test", "bob@example.test", "测试@example.test"


class Letter(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(users=(ALICE, BOB, CHINESE))

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def fetch(self, user=ALICE):
        return self.instance.fetch(user)

    def test_octets(self):
        """RFC 5321 4.5.2 and 2.3.8: what stands below our fields is what was sent."""
        head = b"From: a@example.org\r\nSubject: octets\r\n\r\n"
        every_octet = bytes(octet for octet in range(256) if octet not in b"\r\n")
        bodies = {
            "nothing at all": b"",
            "a header alone": b"Subject: no body\r\n",
            "an empty body": head,
            "empty lines": head + b"\r\n\r\n\r\n",
            "dots": head + b".\r\n..\r\n...\r\n.dot\r\nend.\r\n. \r\n",
            "a dot at the end": head + b"text\r\n.\r\n",
            "no header": b".\r\n",
            "every octet": head + every_octet + b"\r\n",
            "NUL": head + b"\0\r\n\0\0.\0\r\n.\0\r\n",
            "a line of a mebibyte": head + b"x" * (1 << 20) + b"\r\n",
            "a long line of dots": head + b"." * 70000 + b"\r\n",
            "Chinese": head + "你好，世界。\r\n。\r\n.电邮\r\n".encode(),
            "GB18030": head + "标题：你好".encode("gb18030") + b"\r\n",
            "header lines of 8 bits": "Subject: 中文\r\n\r\n".encode(),
            "128 KiB and a bit": head + b"0123456789abcde\r\n" * 7800,
            "a forged frame": head + b"PHSEG001" + b"FRAM" * 3000 + b"\r\n",
        }
        for name, body in bodies.items():
            with self.subTest(name), self.instance.smtp() as client:
                queue_id = client.letter("a@example.org", [ALICE], body)
                found = self.fetch()
                self.assertEqual(len(found), 1)
                sender, received, rest = parts(found[0])
                self.assertEqual(sender, "a@example.org")
                self.assertEqual(received["id"].decode(), queue_id)
                self.assertEqual(received["with"], b"ESMTP")
                self.assertEqual(received["for"], ALICE.encode())
                self.assertEqual(rest, body)

    def test_cut_anywhere(self):
        """The end of data is found wherever the network cuts."""
        body = b"Subject: cut\r\n\r\n.\r\n..x\r\n"
        text = stuff(body)
        with self.instance.smtp() as client:
            for cut in range(1, len(text)):
                client.begin("a@example.org", [ALICE])
                client.send(text[:cut])
                client.send(text[cut:])
                client.expect(250)
            client.begin("a@example.org", [ALICE])
            for octet in text:
                client.send(bytes([octet]))
            client.expect(250)
        found = self.fetch()
        self.assertEqual(len(found), len(text))
        for letter in found:
            self.assertEqual(parts(letter)[2], body)

    def test_bare_newlines_become_whole(self):
        """A bare LF becomes CRLF and a bare CR a space, after the end was found."""
        with self.instance.smtp() as client:
            client.begin("a@example.org", [ALICE])
            client.send(b"Subject: smuggled\r\n\r\none\n.\nMAIL FROM:<x@y.z>\n.\r\ntwo\rthree\r\n.\r\n")
            client.expect(250)
        (letter,) = self.fetch()
        self.assertEqual(parts(letter)[2],
                         b"Subject: smuggled\r\n\r\none\r\n.\r\nMAIL FROM:<x@y.z>\r\n.\r\n"
                         b"two three\r\n")

    def test_five_megabytes(self):
        line = bytes(range(32, 127)) * 10 + b"\r\n"
        body = b"Subject: large\r\n\r\n" + line * (5 * 1024 * 1024 // len(line))
        with self.instance.smtp() as client:
            client.letter("a@example.org", [ALICE, BOB], body)
        for user in (ALICE, BOB):
            (letter,) = self.fetch(user)
            self.assertEqual(parts(letter)[2], body)

    def test_several_recipients_learn_nothing_of_each_other(self):
        body = b"From: a@example.org\r\nTo: undisclosed-recipients:;\r\nSubject: blind\r\n\r\nx\r\n"
        with self.instance.smtp() as client:
            client.letter("a@example.org", [ALICE, BOB, CHINESE], body, " SMTPUTF8")
        self.instance.settle()
        unique_ids = {os.path.basename(path).partition(",")[0] for user in (ALICE, BOB, CHINESE)
                      for path in self.instance.names(user)}
        self.assertEqual(len(unique_ids), 1, "they count the recipients")
        letters = [self.fetch(user) for user in (ALICE, BOB, CHINESE)]
        self.assertEqual([len(found) for found in letters], [1, 1, 1])
        users = [user.partition("@")[0].encode() for user in (ALICE, BOB, CHINESE)]
        for (letter,), own in zip(letters, users):
            self.assertIsNone(parts(letter)[1]["for"])
            for name in users:
                self.assertEqual(name in letter, name == own)
        self.assertEqual(len({re.sub(rb"(?m)^Delivered-To: .*\r\n", b"", found[0], count=1)
                              for found in letters}), 1, "they differ")

    def test_one_recipient_named_twice(self):
        """Each accepted recipient gets what was accepted for it."""
        with self.instance.smtp() as client:
            client.letter("a@example.org", [ALICE, "ALICE@Example.TEST"], b"Subject: twice\r\n")
        self.assertIn(len(self.fetch()), (1, 2))

    def test_smtputf8(self):
        """RFC 6531: addresses and header fields in UTF-8, marked in Received (RFC 6531 4.3)."""
        body = "From: 发件人@例子.测试\r\nTo: 测试@example.test\r\nSubject: 你好\r\n\r\n世界\r\n".encode()
        with self.instance.smtp() as client:
            client.letter("发件人@例子.测试", [CHINESE], body, " SMTPUTF8 BODY=8BITMIME")
        (letter,) = self.fetch(CHINESE)
        sender, received, rest = parts(letter)
        self.assertEqual(sender, "发件人@例子.测试")
        self.assertEqual(received["with"], b"UTF8SMTP")
        self.assertEqual(received["for"], CHINESE.encode())
        self.assertEqual(rest, body)

    def test_null_sender_and_postmaster(self):
        with self.instance.smtp() as client:
            client.letter("", [ALICE], b"Subject: a bounce\r\n")
            self.assertEqual(client.command("RSET")[0], 250)
        (letter,) = self.fetch()
        self.assertEqual(parts(letter)[0], "")

    def test_fields_that_came_stay(self):
        """An existing Return-Path is kept below ours; RFC 5321 4.4 lets the final delivery add one."""
        body = (b"Return-Path: <old@example.net>\r\nReceived: from x by y; Mon, 1 Jan 2024 00:00:00"
                b" +0000\r\nBcc: secret@example.net\r\nSubject: kept\r\n\r\n")
        with self.instance.smtp() as client:
            client.letter("a@example.org", [ALICE], body)
        (letter,) = self.fetch()
        self.assertEqual(parts(letter)[2], body)

    def test_helo_and_its_word(self):
        with self.instance.smtp(greet=False) as client:
            client.expect(220)
            client.command("HELO [192.0.2.7]", 250)
            client.letter("a@example.org", [ALICE], b"Subject: HELO\r\n")
        (letter,) = self.fetch()
        received = parts(letter)[1]
        self.assertEqual((received["helo"], received["with"]), (b"[192.0.2.7]", b"SMTP"))

    def test_clause_10_a_false_helo_is_marked_and_not_refused(self):
        """RFC 5321 4.1.4; the mark is a comment behind `with`."""
        client = self.instance.smtp(greet=False)
        address = client.socket.getsockname()[0].encode()
        helos = [(b"client.example.org", None), (b"mail.example.test", b"own-name"),
                 (b"MAIL.Example.Test.", b"own-name"), (b"localhost", b"localhost"),
                 (b"LocalHost.LocalDomain", b"localhost"), (b"example.test", b"hosted"),
                 (b"Example.TEST.", b"hosted"), (b"[" + address + b"]", None),
                 (b"[192.0.2.7]", b"literal"), (b"[IPv6:2001:db8::1]", b"literal"),
                 (b"sub.example.test", None), (b"under_score.example", None),
                 (b"long." * 49 + b"example", None)]
        with client:
            client.expect(220)
            for helo, _ in helos:
                client.command(b"EHLO " + helo, 250)
                client.letter("a@example.org", [ALICE], b"Subject: " + helo + b"\r\n")
        found = {}
        for letter in self.fetch():
            _, received, rest = parts(letter)
            found[rest.split()[1]] = (received["helo"], received["mark"])
        self.assertEqual(found, {helo: (helo.rstrip(b"."), mark) for helo, mark in helos}, found)
        self.assertNotIn("no address", self.instance.said())

    def test_clause_21_keywords(self):
        """RFC 3848, RFC 6531 4.3: the word behind `with` says what was spoken."""
        for greeting, parameters, word in (("HELO c.example", "", b"SMTP"),
                                           ("EHLO c.example", "", b"ESMTP"),
                                           ("EHLO c.example", " SMTPUTF8", b"UTF8SMTP")):
            with self.instance.smtp(greet=False) as client:
                client.expect(220)
                client.command(greeting, 250)
                client.letter("a@example.org", [ALICE], b"Subject: word\r\n", parameters)
            (letter,) = self.fetch()
            received = parts(letter)[1]
            self.assertEqual((received["with"], received["for"]), (word, ALICE.encode()))

    def test_header_and_envelope_are_two_things(self):
        """A header names whom it likes: recipients come from RCPT alone, and the null sender stays
        null whatever From says."""
        body = (b"From: bob@example.test\r\nTo: bob@example.test, x@elsewhere.example\r\n"
                b"Cc: bob@example.test\r\nBcc: bob@example.test\r\nSender: bob@example.test\r\n"
                b"Apparently-To: bob@example.test\r\nResent-To: bob@example.test\r\n"
                b"Delivered-To: bob@example.test\r\nReturn-Path: <bob@example.test>\r\n"
                b"\r\nRCPT TO:<bob@example.test>\r\n")
        with self.instance.smtp() as client:
            client.letter("", [ALICE], body)
        (letter,) = self.fetch()
        sender, received, rest = parts(letter)
        self.assertEqual((sender, received["for"], rest), ("", ALICE.encode(), body))
        self.assertEqual(self.fetch(BOB), [])

    def test_clause_13_a_silent_directory_is_451(self):
        """It stands still for longer than anybody waits; then all is as before."""
        pid = self.instance.child("directory")["pid"]
        with self.instance.smtp() as client:
            client.command("MAIL FROM:<a@example.org>", 250)
            os.kill(pid, signal.SIGSTOP)
            try:
                code, text = client.command(f"RCPT TO:<{ALICE}>")
            finally:
                os.kill(pid, signal.SIGCONT)
            self.assertEqual((code, text[:5]), (451, "4.3.0"))
            client.command(f"RCPT TO:<{ALICE}>", 250)

    def test_smtplib_and_poplib(self):
        body = "Subject: 圣诞\r\n\r\n.dots\r\n..\r\n汉字\r\n".encode()
        with smtplib.SMTP(self.instance.address, self.instance.smtp_port) as client:
            self.assertEqual(client.sendmail("发件人@example.org", [CHINESE, ALICE], body,
                                             ["SMTPUTF8", "BODY=8BITMIME"]), {})
            with self.assertRaises(smtplib.SMTPRecipientsRefused) as refused:
                client.sendmail("a@example.org", ["nobody@example.test"], body)
            self.assertEqual(refused.exception.recipients["nobody@example.test"][0], 550)
        self.instance.settle()
        client = poplib.POP3(self.instance.address, self.instance.pop3_port)
        client.utf8()
        client.user(ALICE)
        client.pass_(PASSWORD)
        _, lines, size = client.retr(1)
        letter = b"".join(line + b"\r\n" for line in lines)
        self.assertEqual(parts(letter)[2], body)
        self.assertEqual(client.stat(), (1, len(letter)))
        self.assertEqual(client.list(1).split()[-1], str(len(letter)).encode())
        client.dele(1)
        client.quit()
        self.assertEqual(self.fetch(), [])
        self.assertEqual(len(self.fetch(CHINESE)), 1)

    def test_maildir(self):
        """The file has LF on disk, its name tells both sizes, and it stands alone in new/."""
        with self.instance.smtp() as client:
            client.letter("a@example.org", [BOB], b"Subject: x\r\n\r\none\r\ntwo\r\n")
        self.instance.settle()
        (name,) = self.instance.names(BOB)
        (text,) = self.instance.letters(BOB)
        self.assertNotIn(b"\r", text)
        self.assertIn("/new/", name)
        self.assertIn(f",S={len(text)},W={len(text) + text.count(10)}", name)
        (letter,) = self.fetch(BOB)
        self.assertEqual(letter, text.replace(b"\n", b"\r\n"))
        self.assertEqual(self.instance.names(BOB), [])

    def test_events_tell_the_story(self):
        with self.instance.smtp() as client:
            queue_id = client.letter("a@example.org", [ALICE, BOB], b"Subject: told\r\n")
        self.fetch(ALICE)
        self.fetch(BOB)
        story = [event for event in self.instance.events() if event.get("id") == queue_id]
        self.assertEqual([event["event"] for event in story],
                         ["accepted", "delivered", "delivered"])
        self.assertEqual(story[0]["text"], f"Ok: queued as {queue_id}")
        self.assertEqual(story[0]["from"], "a@example.org")
        self.assertGreater(story[0]["size"], 0)
        self.assertEqual({event["to"] for event in story[1:]}, {ALICE, BOB})


class NotKept(unittest.TestCase):
    """What was not acknowledged, and what was refused, is not delivered."""

    def test_no_250_no_letter(self):
        with Instance() as instance:
            with instance.smtp() as client:
                client.begin("a@example.org", [ALICE])
                client.send(b"Subject: half\r\n\r\nnever ended\r\n")
            with instance.smtp() as client:
                client.begin("a@example.org", [ALICE])
                client.send(b"Subject: reset\r\n\r\n.")
            with instance.smtp() as client:
                self.assertEqual(client.command("MAIL FROM:<a@example.org> SIZE=99999999999")[0],
                                 552)
                client.command("MAIL FROM:<a@example.org>", 250)
                self.assertEqual(client.command("RCPT TO:<nobody@example.test>")[0], 550)
                self.assertEqual(client.command("DATA")[0], 554)
                client.command("RSET", 250)
                client.letter("a@example.org", [BOB], b"Subject: kept\r\n")
            instance.settle()
            self.assertEqual(instance.letters(ALICE), [])
            self.assertEqual(len(instance.letters(BOB)), 1)

    def test_too_large_after_the_data(self):
        """A limit is met while the text comes: 552 after it, and the session goes on."""
        with Instance(settings={"max_message": "64K"}) as instance, instance.smtp() as client:
            client.begin("a@example.org", [ALICE])
            client.send(stuff(b"x" * 998 + b"\r\n" + b"y\r\n" * 30000))
            self.assertEqual(client.reply()[0], 552)
            client.letter("a@example.org", [ALICE], b"z" * 65000 + b"\r\n")
            instance.settle()
            self.assertEqual(len(instance.letters(ALICE)), 1)

    def test_clause_22_hundred_hops(self):
        """RFC 5321 6.3: a hundred Received fields and more are a loop."""
        field = b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        with Instance() as instance, instance.smtp() as client:
            client.letter("a@example.org", [ALICE], field * 99 + b"\r\n")
            client.begin("a@example.org", [ALICE])
            client.send(stuff(field * 100 + b"\r\n"))
            code, text = client.reply()
            self.assertEqual(f"{code} {text}".partition(" [")[0],
                             "554 5.4.6 Too many hops: a mail loop")
            instance.settle()
            self.assertEqual(len(instance.letters(ALICE)), 1)


if __name__ == "__main__":
    unittest.main()
