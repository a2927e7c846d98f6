"""LMTP (RFC 2033): a listener of its own, with a reply for each recipient at the end of the data."""

import re
import smtplib
import unittest

from instance import Instance, Smtp

ALICE, BOB, CHINESE = "alice@example.test", "bob@example.test", "用户@example.test"
BODY = b"Subject: x\r\n\r\ntext\r\n"
MEMBER = "127.33.0.9"


class Lmtp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(users=(ALICE, BOB, CHINESE), lmtp=True,
                                settings={"trusted": '["127.33.0.0/24"]'})

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def client(self, source=None):
        client = Smtp((self.instance.address, self.instance.lmtp_port), False, source)
        self.addCleanup(client.close)
        client.expect(220)
        client.command("LHLO client.example.org", 250)
        return client

    def received(self, queue_id):
        """The uppermost Received fields of the copies of a letter."""
        self.instance.settle()
        copies = [letter for user in (ALICE, BOB, CHINESE) for letter in self.instance.letters(user)
                  if queue_id.encode() in letter]
        return [re.search(rb"(?ms)^Received: (.*?)\r?\n(?=\S)", letter)[1].decode()
                for letter in copies]

    def test_smtplib(self):
        """Python's own client, which takes the first of the replies for all."""
        with smtplib.LMTP(self.instance.address, self.instance.lmtp_port,
                          local_hostname="client.example.org") as client:
            self.assertEqual(client.sendmail("x@client.example", [ALICE, "nobody@example.test"],
                                             BODY).keys(), {"nobody@example.test"})

    def test_a_reply_for_each(self):
        client = self.client()
        client.command("MAIL FROM:<x@client.example>", 250)
        for recipient, code in ((ALICE, 250), ("nobody@example.test", 550), (BOB, 250),
                                ("x@elsewhere.example", 550)):
            self.assertEqual(client.command(f"RCPT TO:<{recipient}>")[0], code)
        client.command("DATA", 354)
        client.send(BODY + b".\r\n")
        replies = [client.expect(250) for _ in range(2)]
        self.assertEqual(replies[0], replies[1])
        queue_id = replies[0].rpartition(" ")[2]
        client.command("NOOP", 250)  # no third reply stood before this one's
        received = self.received(queue_id)
        self.assertEqual(len(received), 2)
        for field in received:
            self.assertRegex(field, rf"\swith LMTP\s+id {queue_id}")

    def test_chunks_and_utf8(self):
        client = self.client()
        client.command("MAIL FROM:<x@client.example> SMTPUTF8", 250)
        client.command(f"RCPT TO:<{CHINESE}>".encode(), 250)
        client.command(f"RCPT TO:<{BOB}>", 250)
        client.send(b"BDAT %d LAST\r\n%s" % (len(BODY), BODY))
        replies = [client.expect(250) for _ in range(2)]
        received = self.received(replies[1].rpartition(" ")[2])
        self.assertEqual(len(received), 2)
        for field in received:
            self.assertRegex(field, r"\swith UTF8LMTP\s")

    def test_hundreds_of_recipients(self):
        """The same mailbox under many names: each is told, the mailbox has one copy."""
        client = self.client()
        client.send(b"MAIL FROM:<x@client.example>\r\n" +
                    b"".join(b"RCPT TO:<alice+%d@example.test>\r\n" % n for n in range(900)) +
                    b"DATA\r\n")
        for _ in range(901):
            client.expect(250)
        client.expect(354)
        client.send(b"Subject: many\r\n\r\n.\r\nQUIT\r\n")
        replies = {client.expect(250) for _ in range(900)}
        client.expect(221)
        self.assertEqual(len(replies), 1)
        self.assertEqual(len(self.received(replies.pop().rpartition(" ")[2])), 1)

    def test_trusted_clients_relay(self):
        client = self.client(source=MEMBER)
        client.command("MAIL FROM:<x@client.example>", 250)
        client.command("RCPT TO:<x@elsewhere.example>", 250)

    def test_smtp_is_not_spoken(self):
        client = self.client()
        for command in ("EHLO", "HELO"):
            code, text = client.command(f"{command} client.example.org")
            self.assertEqual((code, text[:5]), (500, "5.5.1"))
        with self.instance.smtp() as other:
            self.assertEqual(other.command("LHLO client.example.org")[0], 500)

    def test_stop_with_idle_clients(self):
        with Instance(users=(ALICE,), lmtp=True) as instance:
            client = Smtp((instance.address, instance.lmtp_port), False)
            client.expect(220)
            instance.stop()
            client.expect(421)
            self.assertTrue(client.closed())
            client.close()
            instance.start()


class Setting(unittest.TestCase):
    def test_not_on_port_25(self):
        with Instance(users=(), start=False, lmtp=True) as instance:
            instance.write_conf(instance.read_conf().replace(f":{instance.lmtp_port}\"", ":25\""))
            self.assertIn("LMTP is not spoken on port 25",
                          instance.run("config", "check", code=1))


if __name__ == "__main__":
    unittest.main()
