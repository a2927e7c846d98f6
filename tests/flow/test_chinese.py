"""Chinese letters: addresses, names, subjects and texts, as RFC 6531 to 6533 have them and as they
come: in UTF-8, in GB18030, by DATA and by BDAT, read by UTF8 and without."""

import unittest

from instance import PASSWORD, Instance, Trouble
from trace_fields import parts

WANG, LI, PLAIN = "王小明@例子.测试", "李雷@example.test", "wang@example.test"
WANG_ASCII_DOMAIN = "王小明@xn--fsqu00a.xn--0zwm56d"
SENDER = "发件人@信.公司"
SMTPUTF8 = " SMTPUTF8 BODY=8BITMIME"
TEXT = "您好：\r\n\r\n。\r\n.\r\n明天下午三点开会。㐀𠀀\r\n"
LETTER = (f"From: 发件人 <{SENDER}>\r\nTo: 王小明 <{WANG}>\r\nSubject: 会议：明天\r\n"
          "Content-Type: text/plain; charset=utf-8\r\n\r\n" + TEXT).encode()
GB18030 = ("From: 发件人 <fa@example.org>\r\nSubject: 会议：㐀𠀀\r\n"
           "Content-Type: text/plain; charset=gb18030\r\n\r\n" + TEXT).encode("gb18030")


class Chinese(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(users=(WANG, LI, PLAIN), domains=("example.test", "例子.测试"))

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def came(self, user):
        (letter,) = self.instance.fetch(user)
        sender, received, text = parts(letter)
        return sender, received["with"], received["for"], text

    def test_addresses_names_subjects_and_texts(self):
        with self.instance.smtp() as client:
            for send in (client.letter, client.chunked_letter):
                send(SENDER, [WANG], LETTER, SMTPUTF8)
                self.assertEqual(self.came(WANG), (SENDER, b"UTF8SMTP", WANG.encode(), LETTER))
                send(SENDER, [WANG, LI], LETTER, SMTPUTF8)
                for user in (WANG, LI):
                    self.assertEqual(self.came(user), (SENDER, b"UTF8SMTP", None, LETTER))

    def test_gb18030_as_it_comes(self):
        """Its octets are nobody's business on the way, whatever was said of them."""
        with self.instance.smtp() as client:
            for send in (client.letter, client.chunked_letter):
                for said in ("", " BODY=7BIT", " BODY=8BITMIME", SMTPUTF8):
                    with self.subTest(said, send=send.__name__):
                        send("fa@example.org", [PLAIN], GB18030, said)
                        self.assertEqual(self.came(PLAIN)[3], GB18030)

    def test_one_mailbox_however_it_is_spelled(self):
        """The domain in U-labels or A-labels, or with a full stop of its own."""
        spelled = (WANG, WANG_ASCII_DOMAIN, WANG_ASCII_DOMAIN.upper(), "王小明@例子。测试")
        with self.instance.smtp() as client:
            for address in spelled:
                client.letter(SENDER, [address], LETTER, SMTPUTF8)
        self.assertEqual(len(self.instance.fetch(WANG)), len(spelled))
        for address in spelled:
            with self.instance.pop3(address) as client:
                client.command("STAT")

    def test_chinese_needs_its_word(self):
        """Without SMTPUTF8 no such address; octets that are no UTF-8 are no address at all. The session goes
        on."""
        with self.instance.smtp() as client:
            for line, code in ((f"MAIL FROM:<{SENDER}>".encode(), (501, "5.1.7")),
                               (f"MAIL FROM:<{SENDER}> SMTPUTF8".encode("gb18030"), (501, "5.1.7")),
                               (b"MAIL FROM:<a@example.org>", (250, "2.1.0")),
                               (f"RCPT TO:<{WANG}>".encode(), (501, "5.1.3")),
                               (b"RSET", (250, "2.0.0")),
                               (b"MAIL FROM:<a@example.org> SMTPUTF8", (250, "2.1.0")),
                               (f"RCPT TO:<{WANG}>".encode("gb18030"), (501, "5.1.3")),
                               (f"RCPT TO:<李四@例子.测试>".encode(), (550, "5.1.1")),
                               (f"RCPT TO:<{WANG}>".encode(), (250, "2.1.5"))):
                got, text = client.command(line)
                self.assertEqual((got, text[:5]), code, line)

    def test_reading_without_utf8(self):
        """A header of Chinese that was announced is kept from who has not said UTF8 (RFC 6856 section
        2.1); one that came as raw octets is not, nor a text of Chinese."""
        text_only = b"Subject: text\r\n\r\n" + TEXT.encode()
        with self.instance.smtp() as client:
            client.letter(SENDER, [WANG], LETTER, SMTPUTF8)
            client.letter("fa@example.org", [PLAIN], GB18030)
            client.letter("fa@example.org", [PLAIN], text_only, " BODY=8BITMIME")
        self.instance.settle()
        with self.instance.pop3() as client:
            client.command(f"USER {WANG}")
            client.command(f"PASS {PASSWORD}")
            with self.assertRaises(Trouble) as refused:
                client.retrieve(1)
            self.assertIn("-ERR [UTF8]", str(refused.exception))
            client.command("QUIT")
        with self.instance.pop3() as client:
            client.command(f"USER {PLAIN}")
            client.command(f"PASS {PASSWORD}")
            self.assertEqual([parts(client.retrieve(number))[2] for number in (1, 2)],
                             [GB18030, text_only])
            client.command("QUIT")
        self.assertEqual((len(self.instance.fetch(WANG)), len(self.instance.fetch(PLAIN))), (1, 2))


if __name__ == "__main__":
    unittest.main()
