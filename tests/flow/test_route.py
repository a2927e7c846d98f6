"""Where mail for a domain goes, with a real DNS server: the rules of RFC 5321 section 5.1 and RFC 7505
(conformance clause 24), by what `posthouse route` says of a running instance."""

import json
import unittest

from dns import Nsd, needs_nsd
from instance import Instance, own_address, wait_for

ABC = """
sh CNAME shmail
shmail MX 5 shmail
shmail MX 10 shmail2
shmail A 192.0.2.5
shmail2 A 192.0.2.6
shmail2 AAAA 2001:db8::6
null MX 0 .
implicit A 192.0.2.8
alias CNAME implicit
far CNAME nowhere
empty TXT "here, and nowhere"
literal MX 5 192.0.2.9.
half MX 5 192.0.2.9.
half MX 9 implicit
mxalias MX 5 alias
dangling MX 5 nowhere
loop MX 5 mail.example.test.
loop MX 9 implicit
worse MX 5 implicit
worse MX 9 mail.example.test.
worse MX 9 shmail
worse MX 20 shmail2
mine MX 5 me
xn--fsqu00a MX 5 implicit
self1 CNAME self2
self2 CNAME self1
lame NS ns.elsewhere
"""
MANY = "many " + "\nmany ".join(f"MX 10 m{n}" for n in range(4)) + "".join(
    f"\nm{n} A 192.0.2.{100 + n}" for n in range(4)) + "\n"


def route(instance, address, *words, code=0):
    _, out, _ = instance.outcome("route", address, *words, "--json", codes=(code,))
    return json.loads(out)


def hosts(answer):
    return [(host["name"], host["addresses"]) for host in answer["hosts"]]


@needs_nsd
class ByDns(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(start=False, nowhere=False)
        cls.nsd = Nsd({"abc.com": ABC + f"me A {cls.instance.address}\n" + MANY,
                       "zone.test": "@ MX 5 mx\nmx A 192.0.2.30\n"})
        cls.addClassCleanup(cls.nsd.__exit__)
        cls.instance.set("server", f'"{cls.nsd.place}"')
        cls.instance.set("timeout", "5s")
        cls.instance.start()

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def refused(self, domain):
        answer = route(self.instance, f"somebody@{domain}", code=1)
        return answer["verdict"], answer["code"], answer["status"]

    def ways(self, domain):
        return hosts(route(self.instance, f"somebody@{domain}"))

    def test_textbook(self):
        """sh is an alias of shmail, whose MX are shmail itself, then shmail2."""
        answer = route(self.instance, "shuser@sh.abc.com")
        self.assertEqual(answer["address"], "shuser@sh.abc.com")  # not rewritten
        self.assertEqual([(host["name"], host["preference"], host["addresses"])
                          for host in answer["hosts"]],
                         [("shmail.abc.com", 5, ["192.0.2.5:25"]),
                          ("shmail2.abc.com", 10, ["[2001:db8::6]:25", "192.0.2.6:25"])])
        first = answer["answers"][0]
        self.assertEqual((first["name"], first["type"], first["aliases"]),
                         ("sh.abc.com", "MX", ["shmail.abc.com"]))
        self.assertEqual(sorted(first["records"]), ["10 shmail2.abc.com.", "5 shmail.abc.com."])
        self.assertEqual({(one["name"], one["type"]) for one in answer["answers"][1:]},
                         {(f"{name}.abc.com", kind) for name in ("shmail", "shmail2")
                          for kind in ("A", "AAAA")})
        said = self.instance.run("route", "shuser@sh.abc.com")
        for text in ("1. shmail.abc.com 192.0.2.5:25", "alias of shmail.abc.com"):
            self.assertIn(text, said)

    def test_no_mx_means_the_name_itself(self):
        self.assertEqual(self.ways("implicit.abc.com"), [("implicit.abc.com", ["192.0.2.8:25"])])
        self.assertEqual(self.ways("alias.abc.com"), [("implicit.abc.com", ["192.0.2.8:25"])])

    def test_null_mx(self):
        self.assertEqual(self.refused("null.abc.com"), ("refused", 556, "5.1.10"))

    def test_what_is_not_there(self):
        for domain in ("nowhere.abc.com", "far.abc.com", "empty.abc.com"):
            with self.subTest(domain):
                self.assertEqual(self.refused(domain), ("refused", 550, "5.1.2"))

    def test_mx_of_no_use(self):
        self.assertEqual(self.refused("literal.abc.com"), ("refused", 550, "5.4.4"))
        self.assertEqual(self.refused("dangling.abc.com"), ("refused", 550, "5.4.4"))
        self.assertEqual(self.ways("half.abc.com"), [("implicit.abc.com", ["192.0.2.8:25"])])

    def test_mx_that_is_an_alias_is_tolerated(self):
        self.assertEqual(self.ways("mxalias.abc.com"), [("alias.abc.com", ["192.0.2.8:25"])])

    def test_ourselves(self):
        """By name or by address: dropped, with all of equal or worse preference."""
        for domain in ("loop.abc.com", "mine.abc.com"):
            with self.subTest(domain):
                self.assertEqual(self.refused(domain), ("refused", 554, "5.4.6"))
        self.assertEqual(self.ways("worse.abc.com"), [("implicit.abc.com", ["192.0.2.8:25"])])

    def test_trouble_is_never_a_refusal(self):
        """A zone that this server does not have; aliases that go round."""
        for domain in ("example.org", "self1.abc.com"):
            with self.subTest(domain):
                self.assertEqual(self.refused(domain), ("later", 451, "4.4.3"))

    def test_chance_among_equals(self):
        first = set()
        for _ in range(60):
            found = self.ways("many.abc.com")
            self.assertEqual({name for name, _ in found}, {f"m{n}.abc.com" for n in range(4)})
            first.add(found[0][0])
        self.assertGreater(len(first), 1)

    def test_names_in_unicode(self):
        self.assertEqual(self.ways("例子.abc.com"), [("implicit.abc.com", ["192.0.2.8:25"])])

    def test_address_literals(self):
        self.assertEqual(self.ways("[192.0.2.77]"), [("", ["192.0.2.77:25"])])
        self.assertEqual(self.ways("[IPv6:2001:db8::77]"), [("", ["[2001:db8::77]:25"])])
        self.assertEqual(self.refused(f"[{self.instance.address}]"), ("refused", 554, "5.4.6"))

    def test_a_zone_below_test(self):
        """libunbound would answer `test.` itself; where a server is configured, that one does."""
        self.assertEqual(self.ways("zone.test"), [("mx.zone.test", ["192.0.2.30:25"])])

    def test_local(self):
        self.instance.run("alias", "add", "both@example.test", "alice@example.test",
                          "bob@example.test")
        self.assertEqual(route(self.instance, "alice@example.test"),
                         {"address": "alice@example.test", "verdict": "local", "text": "mailbox",
                          "mailboxes": ["alice@example.test"]})
        answer = route(self.instance, "both@example.test")
        self.assertEqual((answer["text"], sorted(answer["mailboxes"])),
                         ("alias of", ["alice@example.test", "bob@example.test"]))
        self.assertEqual(route(self.instance, "nobody@example.test", code=1)["verdict"], "refused")

    def test_no_address_is_wrong_usage(self):
        for words in (["a"], ["a@b c"], ["a@example.org", "--from", "x"]):
            with self.subTest(words):
                self.instance.run("route", *words, code=64)


@needs_nsd
class Cache(unittest.TestCase):
    def test_answers_are_kept_as_long_as_they_say(self):
        """Positive and negative ones: the name server is gone, and what is not over yet stands."""
        with Instance(start=False, nowhere=False) as instance:
            with Nsd({"abc.com": ABC}) as nsd:
                instance.set("server", f'"{nsd.place}"')
                instance.set("timeout", "300ms")
                instance.start()
                before = route(instance, "a@sh.abc.com")
                route(instance, "a@nowhere.abc.com", code=1)
            after = route(instance, "a@sh.abc.com")
            self.assertEqual(hosts(after), hosts(before))
            self.assertEqual(route(instance, "a@nowhere.abc.com", code=1)["status"], "5.1.2")
            self.assertEqual(route(instance, "a@shmail3.abc.com", code=1)["status"], "4.4.3")
            with Nsd({"abc.com": ABC}, nsd.address, nsd.port):  # it is back
                wait_for(lambda: instance.outcome("route", "a@half.abc.com", codes=(0, 1))[0] == 0,
                         "an answer of the new one")


@needs_nsd
class Keys(unittest.TestCase):
    """Keys by which nothing can be checked: the mail goes, and the log says what is not done."""

    def found_with(self, keys):
        with Nsd({"abc.com": ABC}) as nsd, Instance(start=False, nowhere=False) as instance:
            path = instance.top + "/keys"
            with open(path, "w", encoding="ascii") as file:
                file.write(keys)
            instance.set("server", f'"{nsd.place}"')
            instance.set("trust_anchor", path)
            instance.start()
            answer = route(instance, "a@implicit.abc.com")
            self.assertEqual(hosts(answer), [("implicit.abc.com", ["192.0.2.8:25"])])
            self.assertEqual({one["security"] for one in answer["answers"]}, {"insecure"})
            route(instance, "a@half.abc.com")
            self.assertEqual(instance.said().count("no signature checked"), 1)
            return instance.said()

    def test_a_zone_that_is_not_signed(self):
        """Its answers would be wrong by these keys, all of them."""
        self.found_with("; a key\nabc.com. IN DS 12345 13 2 " + 64 * "a" + "\n")

    def test_a_file_that_holds_no_keys(self):
        self.assertIn("/keys: libunbound", self.found_with("this is no key\n"))


class ByTable(unittest.TestCase):
    """No DNS server is there: none is needed."""

    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(start=False, nowhere=False)
        text = cls.instance.read_conf().replace("\nroutes:\n", f"""
routes:
  - {{domain: "*", to: "smtp://192.0.2.1:2626"}}
  - {{domain: "*", sender: .a.test, to: "smtp://[2001:db8::1]:25"}}
  - {{domain: .example.com, to: "lmtp:/run/lmtp"}}
  - {{domain: a.example.com, to: "lmtp://192.0.2.2:24"}}
  - {{domain: 例子.测试, to: "error: no mail goes there"}}
  - {{domain: back.org, to: "smtp://{cls.instance.address}:{cls.instance.smtp_port}"}}
  - {{domain: beside.org, to: "smtp://{cls.instance.address}:1"}}
""")
        cls.instance.write_conf(text)
        cls.instance.set("server", f'"{own_address()}@1"')
        cls.instance.set("timeout", "200ms")
        cls.instance.start()

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def test_the_closest_rule(self):
        for address, words, protocol, want in (
                ("x@example.org", (), "smtp", [("", ["192.0.2.1:2626"])]),
                ("x@[192.0.2.9]", (), "smtp", [("", ["192.0.2.1:2626"])]),
                ("x@example.org", ("--from", "b@c.a.test"), "smtp", [("", ["[2001:db8::1]:25"])]),
                ("x@b.example.com", ("--from", "b@c.a.test"), "lmtp", [("/run/lmtp", [])]),
                ("x@a.example.com", (), "lmtp", [("", ["192.0.2.2:24"])]),
                ("x@beside.org", (), "smtp", [("", [f"{self.instance.address}:1"])])):
            with self.subTest(address, words=words):
                answer = route(self.instance, address, *words)
                self.assertEqual((answer["protocol"], hosts(answer)), (protocol, want))

    def test_refused_by_a_rule(self):
        answer = route(self.instance, "x@例子.测试", code=1)
        self.assertEqual((answer["verdict"], answer["code"], answer["status"], answer["text"]),
                         ("refused", 550, "5.7.1", "no mail goes there"))

    def test_a_rule_that_leads_back_waits_for_who_wrote_it(self):
        answer = route(self.instance, "x@back.org", code=1)
        self.assertEqual((answer["verdict"], answer["status"]), ("later", "4.4.6"))

    def test_local_mail_takes_no_rule(self):
        self.assertEqual(route(self.instance, "alice@example.test")["verdict"], "local")

    def test_a_reload_takes_in_new_rules(self):
        with Instance(nowhere=False) as instance:
            text = instance.read_conf()
            instance.write_conf(text.replace("\nroutes:\n",
                                             "\nroutes:\n  - {domain: '*', to: 'smtp://192.0.2.3'}\n"))
            instance.run("reload")
            self.assertEqual(hosts(route(instance, "x@example.org")), [("", ["192.0.2.3:25"])])


class NotRunning(unittest.TestCase):
    def test_it_cannot_be_said(self):
        with Instance(start=False, nowhere=False) as instance:
            self.assertIn("not running", instance.run("route", "x@example.org", code=75))
            self.assertEqual(route(instance, "alice@example.test")["verdict"], "local")


class Init(unittest.TestCase):
    def test_dns_and_routes(self):
        with Instance(start=False, nowhere=False) as instance:
            directory = instance.top + "/j"
            names = ["--hostname", "mail.example.test", "--domain", "example.test"]
            instance.run("init", directory, *names, "--dns", "127.0.0.1@5353", "--route",
                         "*=127.0.0.1:2526", "--route", ".Example.com=[::1]:26", conf=False)
            shown = instance.run("-c", directory + "/posthouse.yaml", "config", "show", conf=False)
            for text in ('server: "127.0.0.1@5353"',
                         '{domain: "*", to: "smtp://127.0.0.1:2526"}',
                         '{domain: ".example.com", to: "smtp://[::1]:26"}'):
                self.assertIn(text, shown)
            for words in (["--dns", "127.0.0.1:5353"], ["--dns", "localhost"], ["--route", "x"],
                          ["--route", "x=a:0"], ["--route", "*.x=a:1"]):
                with self.subTest(words):
                    instance.run("init", instance.top + "/k", *names, *words, conf=False, code=64)


if __name__ == "__main__":
    unittest.main()
