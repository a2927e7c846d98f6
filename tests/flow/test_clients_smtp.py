"""The clients that people send with: each is believed its letter, octet for octet or, where it writes
the letter itself, word for word, in Chinese too; and each tells its user of a refusal."""

import email
import email.policy
import smtplib
import unittest

from clients import Home, needs
from instance import Instance
from trace_fields import parts

ALICE, BOB, CHINESE = "alice@example.test", "bob@example.test", "测试@example.test"
SENDER, CHINESE_SENDER = "sender@example.org", "发件人@例子.测试"
BY_CURL = "发件人@xn--fsqu00a.xn--0zwm56d"
NOBODY = "nobody@example.test"
REFUSAL = b"550 5.1.1"
SUBJECT = "圣诞快乐，测试"
TEXT = ".\n..\n.dot\n。你好，世界\n\nfrom here to the end\n.\nend\n"
LETTER = f"""From: Sender <{SENDER}>
To: {ALICE}
Date: Sat, 21 Nov 2026 12:00:00 +0000
Message-ID: <1@example.org>
Subject: =?utf-8?B?5Zyj6K+e?=
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

{TEXT}""".encode()
CHINESE_LETTER = LETTER.replace(b"Sender <sender@example.org>", f"发件人 <{CHINESE_SENDER}>".encode())


def as_sent(letter):
    return letter.replace(b"\n", b"\r\n")


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(users=(ALICE, BOB, CHINESE))
        cls.home = Home(cls.instance)
        cls.host, cls.port = cls.instance.address, str(cls.instance.smtp_port)

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def sends(self, name, *words, **options):
        """What it says, when it succeeds."""
        code, out, err = self.home.run(name, *words, **options)
        self.assertEqual(code, 0, (out, err))
        return out + err

    def is_told(self, name, *words, **options):
        """The client fails, and says why: its user reads the server's words."""
        code, out, err = self.home.run(name, *words, **options)
        self.assertNotEqual(code, 0, (out, err))
        self.assertIn(REFUSAL, out + err)

    def octets_came(self, letter, users, sender=SENDER, word=b"ESMTP"):
        for user in users:
            (found,) = self.instance.fetch(user)
            path, received, text = parts(found)
            self.assertEqual((path, received["with"]), (sender, word))
            self.assertEqual(text, as_sent(letter))

    def words_came(self, users, subject=SUBJECT, text=TEXT):
        """A letter that the client wrote."""
        for user in users:
            (found,) = self.instance.fetch(user)
            letter = email.message_from_bytes(parts(found)[2], policy=email.policy.default)
            self.assertEqual(letter["subject"], subject)
            self.assertEqual(letter.get_content().replace("\r\n", "\n").rstrip("\n"),
                             text.rstrip("\n"))

    def test_smtplib(self):
        with smtplib.SMTP(self.host, self.port) as client:
            self.assertEqual(client.sendmail(SENDER, [ALICE, BOB], as_sent(LETTER)), {})
            self.octets_came(LETTER, (ALICE, BOB))
            self.assertEqual(client.sendmail(CHINESE_SENDER, [CHINESE], as_sent(CHINESE_LETTER),
                                             ["SMTPUTF8", "BODY=8BITMIME"]), {})
            self.octets_came(CHINESE_LETTER, [CHINESE], CHINESE_SENDER, b"UTF8SMTP")
            self.assertEqual(client.verify(ALICE)[0], 252)
            self.assertEqual(client.sendmail(SENDER, [NOBODY, BOB], as_sent(LETTER))[NOBODY][0], 550)
            self.octets_came(LETTER, [BOB])
            with self.assertRaises(smtplib.SMTPRecipientsRefused):
                client.sendmail(SENDER, [NOBODY], LETTER)

    def test_smtplib_send_message(self):
        message = email.message.EmailMessage()
        message["From"], message["To"], message["Subject"] = CHINESE_SENDER, CHINESE, SUBJECT
        message.set_content(TEXT)
        message.add_attachment("附件".encode("gb18030"), "text", "plain", filename="附件.txt")
        with smtplib.SMTP(self.host, self.port) as client:
            self.assertEqual(client.send_message(message), {})
        (found,) = self.instance.fetch(CHINESE)
        came = email.message_from_bytes(parts(found)[2], policy=email.policy.SMTPUTF8)
        self.assertEqual((came["from"], came["to"], came["subject"]), (CHINESE_SENDER, CHINESE, SUBJECT))
        body, attachment = came.iter_parts()
        self.assertEqual(body.get_content().replace("\r\n", "\n"), TEXT)
        self.assertEqual((attachment.get_filename(), attachment.get_payload(decode=True)),
                         ("附件.txt", "附件".encode("gb18030")))

    @needs("curl")
    def test_curl(self):
        def words(sender, *users):
            return ("-sSv", "--noproxy", "*", f"smtp://{self.host}:{self.port}/client.example.org",
                    "--mail-from", sender, "-T", "-",
                    *(word for user in users for word in ("--mail-rcpt", user)))
        self.sends("curl", *words(SENDER, ALICE, BOB), "--crlf", stdin=LETTER)
        self.octets_came(LETTER, (ALICE, BOB))
        self.sends("curl", *words(CHINESE_SENDER, CHINESE), stdin=as_sent(CHINESE_LETTER))
        self.octets_came(CHINESE_LETTER, [CHINESE], BY_CURL, b"UTF8SMTP")
        self.is_told("curl", *words(SENDER, NOBODY), stdin=LETTER)
        self.assertIn(b"252", self.sends("curl", "-sSv", "--noproxy", "*",
                                         f"smtp://{self.host}:{self.port}/", "-X", f"VRFY {ALICE}"))

    @needs("swaks")
    def test_swaks(self):
        common = ("--server", self.host, "--port", self.port, "--ehlo", "swaks.example.org")
        said = self.sends("swaks", *common, "--from", SENDER, "--to", f"{ALICE},{BOB}", "--data", "-",
                          stdin=LETTER.rstrip())  # swaks ends the last line
        self.assertIn(b"250 2.0.0 Ok: queued as ", said)
        self.octets_came(LETTER, (ALICE, BOB))
        self.sends("swaks", *common, "--from", SENDER, "--to", ALICE, "--pipeline", "--data", "-",
                   stdin=LETTER.rstrip())
        self.octets_came(LETTER, [ALICE])
        self.is_told("swaks", *common, "--from", SENDER, "--to", NOBODY)

    @needs("perl")
    def test_net_smtp(self):
        script = """
            use Net::SMTP;
            my ($host, $port, $sender, @users) = @ARGV;
            my $smtp = Net::SMTP->new($host, Port => $port, Hello => "perl.example.org") or die;
            local $/;
            my $letter = <STDIN>;
            defined $smtp->supports("CHUNKING") or die;
            my $mail = $sender =~ /[^ -~]/ # of SMTPUTF8 mail() knows nothing
                ? $smtp->command("MAIL FROM:<$sender>", "SMTPUTF8 BODY=8BITMIME")->response == 2
                : $smtp->mail($sender, Bits => 8);
            $mail && $smtp->to(@users) && $smtp->data($letter) or die $smtp->code, " ", $smtp->message;
            $smtp->reset && $smtp->verify($users[0]) && $smtp->help && $smtp->quit or die;
        """
        common = ("-e", script, self.host, self.port)
        self.sends("perl", *common, SENDER, ALICE, BOB, stdin=LETTER)
        self.octets_came(LETTER, (ALICE, BOB))
        self.sends("perl", *common, CHINESE_SENDER, CHINESE, stdin=CHINESE_LETTER)
        self.octets_came(CHINESE_LETTER, [CHINESE], CHINESE_SENDER, b"UTF8SMTP")
        self.is_told("perl", *common, SENDER, NOBODY, stdin=LETTER)

    @needs("msmtp")
    def test_msmtp(self):
        common = ("-C", "CONF", f"--host={self.host}", f"--port={self.port}", f"--from={SENDER}")
        self.sends("msmtp", *common, ALICE, BOB, stdin=LETTER)
        self.octets_came(LETTER, (ALICE, BOB))
        self.sends("msmtp", *common, "-t", stdin=LETTER)
        self.octets_came(LETTER, [ALICE])
        self.assertIn(b"SIZE", self.sends("msmtp", *common, "--serverinfo"))
        self.is_told("msmtp", *common, NOBODY, stdin=LETTER)

    @needs("s-nail")
    def test_s_nail(self):
        common = ("-:/", "-r", SENDER, "-S", "v15-compat", "-S", "sendwait", "-S", "smtp-auth=none",
                  "-S", f"mta=smtp://{self.host}:{self.port}", "-S", "sendcharsets=utf-8",
                  "-S", "hostname=client.example.org")
        self.sends("s-nail", *common, "-s", SUBJECT, ALICE, BOB, stdin=TEXT.encode())
        self.words_came((ALICE, BOB))
        self.sends("s-nail", *common, "-S", "sendcharsets=gb18030", "-s", SUBJECT, ALICE, stdin=TEXT.encode())
        self.words_came([ALICE])
        self.is_told("s-nail", *common, "-s", "x", NOBODY, stdin=b"x\n")

    @needs("mutt")
    def test_mutt(self):
        conf = f"""
            set smtp_url="smtp://{self.host}:{self.port}" ssl_starttls=no ssl_force_tls=no copy=no
            set from="{SENDER}" envelope_from=yes hostname=client.example.org charset=utf-8
            set realname="发件人" use_envelope_from=yes
        """
        common = ("-n", "-F", "CONF", "-s", SUBJECT, "--")
        self.sends("mutt", *common, ALICE, BOB, conf=conf, stdin=TEXT.encode())
        self.words_came((ALICE, BOB))
        self.is_told("mutt", *common, NOBODY, conf=conf, stdin=b"x\n")


if __name__ == "__main__":
    unittest.main()
