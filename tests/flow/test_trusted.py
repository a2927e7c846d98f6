"""Who may relay: the clients of `trusted` networks, and nobody else."""

import json
import os
import re
import shutil
import socket
import tempfile
import unittest

from instance import Instance, wait_for

ALICE, ELSEWHERE = "alice@example.test", "bob@elsewhere.example"
BODY = b"Subject: x\r\n\r\ntext\r\n"
NETWORK, MEMBER, STRANGER = "127.33.0.0/24", "127.33.0.9", "127.33.1.9"


def default_gateway():
    """Of IPv4, or None."""
    with open("/proc/net/route", encoding="ascii") as file:
        for line in file.read().splitlines()[1:]:
            words = line.split()
            if words[1] == "00000000" and int(words[3], 16) & 2:
                return socket.inet_ntoa(int(words[2], 16).to_bytes(4, "little"))
    return None


class Trusted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(users=(ALICE,), settings={"trusted": f'["{NETWORK}"]'})

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def event(self, name, queue_id):
        return wait_for(lambda: [event for event in self.instance.events(name)
                                 if event.get("id") == queue_id], f"{name} {queue_id}")[0]

    def waiting(self, queue_id):
        """Recipients that were tried, and what the queue says of each is a reason."""
        def tried():
            found = [json.loads(line) for line in self.instance.ask("queue list").splitlines()]
            return [item["to"] for item in found if item["id"] == queue_id and item["reason"]
                    and item["state"] in ("held", "deferred")]
        return wait_for(tried, "an attempt")

    def test_a_member_may(self):
        """The letter waits for its way, with a reason; nothing of it is lost, and what is for here is
        delivered meanwhile. The log names the rule and the line of the configuration."""
        with self.instance.smtp(source=MEMBER) as client:
            queue_id = client.letter("x@client.example", [ELSEWHERE, ALICE], BODY)
        rule = self.event("accepted", queue_id)["rule"]
        line = next(number for number, text in enumerate(self.instance.read_conf().splitlines(), 1)
                    if text.startswith("trusted:"))
        self.assertEqual(rule, f"trusted {NETWORK} ({self.instance.conf}:{line})")
        self.assertEqual(self.event("delivered", queue_id)["to"], ALICE)
        self.assertEqual(self.waiting(queue_id), [ELSEWHERE])
        self.instance.stop()
        self.instance.start()
        self.assertEqual(self.waiting(queue_id), [ELSEWHERE])

    def test_a_letter_for_here_names_no_rule(self):
        """What RCPT accepted in an earlier transaction of the session counts for that one only."""
        with self.instance.smtp(source=MEMBER) as client:
            client.command("MAIL FROM:<x@client.example>", 250)
            client.command(f"RCPT TO:<{ELSEWHERE}>", 250)
            client.command("RSET", 250)
            queue_id = client.letter("x@client.example", [ALICE], BODY)
        self.assertNotIn("rule", self.event("accepted", queue_id))

    def test_a_stranger_may_not(self):
        with self.instance.smtp(source=STRANGER) as client:
            client.command("MAIL FROM:<x@client.example>", 250)
            for _ in range(2):
                self.assertEqual(client.command(f"RCPT TO:<{ELSEWHERE}>")[1][:23],
                                 "5.7.1 Relaying denied [")
            client.command(f"RCPT TO:<{ALICE}>", 250)

    def test_a_member_is_told_who_is_not_here(self):
        """Trust is about other hosts: an unknown user of ours is unknown to all."""
        with self.instance.smtp(source=MEMBER) as client:
            client.command("MAIL FROM:<x@client.example>", 250)
            self.assertEqual(client.command("RCPT TO:<nobody@example.test>")[0], 550)

    def test_reload_takes_it_back(self):
        with Instance(users=(ALICE,)) as instance:
            for network, code in (("[]", 550), (f'["{NETWORK}"]', 250), ("[]", 550)):
                instance.set("trusted", network)
                instance.run("reload")
                with instance.smtp(source=MEMBER) as client:
                    client.command("MAIL FROM:<x@client.example>", 250)
                    self.assertEqual(client.command(f"RCPT TO:<{ELSEWHERE}>")[0], code, network)


class Mapped(unittest.TestCase):
    def test_ipv4_in_ipv6(self):
        """Whoever comes by IPv4 to a listener of IPv6 has an IPv4 address."""
        with Instance(users=(ALICE,), start=False,
                      settings={"trusted": f'["{NETWORK}"]'}) as instance:
            try:
                with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True):
                    pass
            except (OSError, ValueError) as error:
                self.skipTest(f"no IPv6: {error}")
            instance.write_conf(instance.read_conf().replace(
                f"{instance.address}:{instance.smtp_port}", f"*:{instance.smtp_port}"))
            instance.start()
            for source, code in ((MEMBER, 250), (STRANGER, 550)):
                with instance.smtp(source=source) as client:
                    client.command("MAIL FROM:<x@client.example>", 250)
                    self.assertEqual(client.command(f"RCPT TO:<{ELSEWHERE}>")[0], code)


class Setting(unittest.TestCase):
    """init and config check; nothing is started."""

    def setUp(self):
        self.instance = Instance(users=(), start=False)
        self.addCleanup(self.instance.finish)
        self.top = tempfile.mkdtemp(prefix="posthouse-")
        self.addCleanup(shutil.rmtree, self.top)

    def check(self, value, wide="no"):
        """The complaints of config check, with their lines."""
        self.instance.set("trusted", value)
        self.instance.set("trust_wide", wide)
        code, _, err = self.instance.outcome("config", "check", codes=(0, 1))
        self.assertEqual(code == 0, err == "", err)
        line = next(number for number, text in enumerate(self.instance.read_conf().splitlines(), 1)
                    if text.startswith("trusted:"))
        return re.findall(rf"(?m)^{re.escape(self.instance.conf)}:{line}:\d+: (.*)$", err)

    def init(self, *words, code=0):
        place = os.path.join(self.top, "new")
        said = self.instance.run("init", place, "--hostname", "mail.example.test", "--domain",
                                 "example.test", *words, code=code, conf=False)
        conf = os.path.join(place, "posthouse.yaml")
        if code:
            self.assertFalse(os.path.exists(conf))
            return said
        with open(conf, encoding="utf-8") as file:
            return file.read()

    def test_wide_networks(self):
        for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
                        "fc00::/7", "0.0.0.0/0", "::/0", "8.0.0.0/5"):
            self.assertEqual(len(self.check(f'["192.0.2.0/24", "{network}"]')), 1, network)
            self.assertEqual(self.check(f'["192.0.2.0/24", "{network}"]', wide="yes"), [])
        self.assertEqual(self.check('["192.0.2.0/24", "127.0.0.0/8", "::1", "10.1.0.0/16"]'), [])

    def test_the_gateway_of_this_host(self):
        gateway = default_gateway()
        if gateway is None:
            self.assertEqual(self.check('["172.17.0.1"]'), [])
            return
        found = self.check(f'["{gateway}"]')
        self.assertEqual(found, [f"{gateway} is a default gateway of this host"])
        self.assertEqual(self.check(f'["{gateway}"]', wide="yes"), [])

    def test_init(self):
        text = self.init("--trusted", "192.0.2.0/24", "--trusted=2001:db8::7/128")
        self.assertIn('\ntrusted: ["192.0.2.0/24", "2001:db8::7"]\n', text)
        self.assertIn("\n#trust_wide: no\n", text)

    def test_init_wide(self):
        text = self.init("--trusted", "10.0.0.0/8", "--trust-wide")
        self.assertIn('\ntrusted: ["10.0.0.0/8"]\n', text)
        self.assertIn("\ntrust_wide: yes\n", text)

    def test_init_without(self):
        text = self.init()
        self.assertIn("\n#trusted: []\n", text)

    def test_init_refuses(self):
        self.assertIn("10.0.0.0/8 holds the whole private range 10.0.0.0/8",
                      self.init("--trusted", "10.0.0.0/8", code=1))
        self.assertIn("--trusted 192.0.2.1/24: write a network",
                      self.init("--trusted", "192.0.2.1/24", code=64))


if __name__ == "__main__":
    unittest.main()
