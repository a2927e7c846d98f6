"""The POP3 clients that people have: each lists, retrieves, deletes, and gets UTF-8 whole."""

import os
import poplib
import unittest

from clients import Home, needs, program
from instance import PASSWORD, Instance

ALICE, CHINESE = "alice@example.test", "测试@example.test"
HEADER = "From: Bob <bob@example.org>\nTo: alice@example.test\nMessage-ID: <%d@example.org>\n" \
         "Date: Sat, 21 Nov 2026 12:00:00 +0000\nMIME-Version: 1.0\n" \
         "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\nSubject: "
LETTERS = [HEADER % 1 + "lunch\n\nAt noon?\n",
           HEADER % 2 + "dots\n\n.\n..\n.end without a line end",
           HEADER % 3 + "=?utf-8?B?5L2g5aW9?=\n\n。你好，世界\n"]


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(users=(ALICE, CHINESE))
        cls.home = Home(cls.instance)

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def setUp(self):
        for user in (ALICE, CHINESE):
            for path in self.instance.names(user):
                os.unlink(path)
            for number, text in enumerate(LETTERS):
                self.instance.plant(user, f"170000000{number}.C.host", text.encode())

    def run_it(self, name, *words, status=0, **options):
        """What the client says, whose exit status must be this."""
        code, out, err = self.home.run(name, *words, **options)
        self.assertEqual(code, status, (out, err))
        return out

    def bodies(self, text):
        """All letters are in it, each whole."""
        text = text.replace(b"\r\n", b"\n")
        for letter in LETTERS:
            self.assertIn(letter.split("\n\n", 1)[1].encode(), text)

    def left(self, user=ALICE):
        return len(self.instance.names(user))

    def test_poplib(self):
        for user in (ALICE, CHINESE):
            client = poplib.POP3(self.instance.address, self.instance.pop3_port)
            client.encoding = "utf-8"
            self.assertIn("UTF8", client.capa())
            client.utf8()
            client.user(user)
            client.pass_(PASSWORD)
            sizes = [int(line.split()[1]) for line in client.list()[1]]
            self.assertEqual(client.stat(), (3, sum(sizes)))
            found = [b"".join(line + b"\r\n" for line in client.retr(n)[1]) for n in (1, 2, 3)]
            self.assertEqual([len(letter) for letter in found], sizes)
            self.bodies(b"".join(found))
            self.assertEqual(client.top(1, 0)[1][-2:], [b"Subject: lunch", b""])
            self.assertEqual(len({line.split()[1] for line in client.uidl()[1]}), 3)
            client.dele(2)
            client.rset()
            client.dele(1)
            client.quit()
            self.assertEqual(self.left(user), 2)

    @needs("curl")
    def test_curl(self):
        url = f"pop3://{self.instance.address}:{self.instance.pop3_port}/"
        common = ("-sS", "--noproxy", "*", "-u", f"{ALICE}:{PASSWORD}")
        listed = self.run_it("curl", *common, url).split()
        self.assertEqual(listed[::2], [b"1", b"2", b"3"])
        self.bodies(b"".join(self.run_it("curl", *common, url + str(n)) for n in (1, 2, 3)))
        self.assertIn(b"LANG", self.run_it("curl", *common, "-X", "CAPA", url))
        self.assertIn(b"Subject: dots", self.run_it("curl", *common, "-X", "TOP 2 0", url))
        self.run_it("curl", *common, "-I", "-X", "DELE 3", url)
        self.assertEqual(self.left(), 2)

    @needs("perl")
    def test_net_pop3(self):
        script = """
            use Net::POP3;
            my $pop = Net::POP3->new($ARGV[0], Port => $ARGV[1]) or die;
            $pop->login($ARGV[2], $ARGV[3]) == 3 or die;
            my $sizes = $pop->list or die;
            keys %$sizes == 3 && keys %{$pop->uidl} == 3 or die;
            $pop->capabilities->{UTF8} eq "USER" or die;
            for my $n (1 .. 3) { print @{$pop->get($n)}; @{$pop->top($n)} or die; }
            $pop->delete(1) or die;
            $pop->reset;
            $pop->delete(2) && $pop->delete(3) && $pop->quit or die;
        """
        self.bodies(self.run_it("perl", "-e", script, self.instance.address,
                                str(self.instance.pop3_port), ALICE, PASSWORD))
        self.assertEqual(self.left(), 1)

    @needs("mpop")
    def test_mpop(self):
        box = os.path.join(self.home.path, "mpop.mbox")
        conf = f"""
            account default
            host {self.instance.address}
            port {self.instance.pop3_port}
            user {ALICE}
            password {PASSWORD}
            auth user
            delivery mbox {box}
            uidls_file {self.home.path}/mpop-uidls
            received_header off
        """
        self.assertIn(b"EXPIRE NEVER", self.run_it("mpop", "-C", "CONF", "-S", conf=conf))
        self.run_it("mpop", "-C", "CONF", "--keep=on", conf=conf)
        self.assertEqual(self.left(), 3)
        self.run_it("mpop", "-C", "CONF", "--keep=off", conf=conf)  # the same UIDLs: none comes again
        with open(box, "rb") as file:
            text = file.read()
        self.bodies(text)
        self.assertEqual(text.count(b"Message-ID:"), 3)
        self.assertEqual(self.left(), 0)

    @needs("fetchmail")
    def test_fetchmail(self):
        box = os.path.join(self.home.path, "fetchmail.mbox")
        conf = f"""
            set no bouncemail
            poll {self.instance.address} protocol pop3 port {self.instance.pop3_port} uidl
            no envelope no dns
            user "{ALICE}" password "{PASSWORD}" keep sslproto "" mda "cat >>{box}"
        """
        common = ("-f", "CONF", "--nosyslog", "-i", os.path.join(self.home.path, "fetchids"),
                  "--pidfile", os.path.join(self.home.path, "fetchmail.pid"), "--auth", "password")
        self.assertIn(b"3 messages", self.run_it("fetchmail", *common, "-c", "-v", conf=conf))
        self.run_it("fetchmail", *common, conf=conf)
        with open(box, "rb") as file:
            self.bodies(file.read())
        self.assertEqual(self.left(), 3)
        self.run_it("fetchmail", *common, conf=conf, status=1)  # nothing new: by UIDL
        self.run_it("fetchmail", *common, "--all", conf=conf.replace("keep", "nokeep"))
        self.assertEqual(self.left(), 0)

    @needs("mutt")
    def test_mutt(self):
        box = os.path.join(self.home.path, "mutt.mbox")
        url = f"pop://{self.instance.address}:{self.instance.pop3_port}/"
        conf = f"""
            set pop_user="{ALICE}" pop_pass="{PASSWORD}" pop_authenticators="user"
            set ssl_force_tls=no ssl_starttls=no pop_checkinterval=0 delete=yes quit=yes charset=utf-8
            set confirmappend=no confirmcreate=no mbox_type=mbox wait_key=no pop_delete=yes
            push "T.\\n;C{box}\\nD~s lunch\\n<quit>"
        """
        self.run_it("script", "-qec", f"{program('mutt')[0]} -n -F {self.home.path}/scriptrc -f {url}",
                    "/dev/null", conf=conf, stdin=b"")
        with open(box, "rb") as file:
            self.bodies(file.read())
        self.assertEqual(self.left(), 2)


if __name__ == "__main__":
    unittest.main()
