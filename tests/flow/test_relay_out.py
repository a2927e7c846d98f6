"""Letters leave for other hosts: one transaction for many, connections kept, refusals and closed
connections at each stage, dead hosts, and what is left when a process is killed."""

import os
import random
import sys
import time
import unittest

from dns import Nsd, needs_nsd
from instance import TESTS, Instance, Trouble, free_port, own_address, wait_for
from sink import CLOSE, SILENCE, Sink

sys.path.insert(0, TESTS)
import fault  # noqa: E402 (beside this folder)

ALICE = "alice@example.test"
HEAD = b"From: a@example.org\r\nSubject: out\r\n\r\n"


def start(instance, routes):
    """`routes`: {domain: target}. Everybody on loopback may send elsewhere."""
    instance.set("routes", "[%s]" % ", ".join(
        f'{{domain: "{domain}", to: "{target}"}}' for domain, target in routes.items()))
    try:
        instance.set("trusted", '["127.0.0.0/8"]')
    except Trouble as trouble:
        instance.finish(check=False)
        raise unittest.SkipTest("nobody may send elsewhere yet") from trouble
    instance.start()
    return instance


def instance_for(routes, **options):
    return start(Instance(start=False, **options), routes)


def own_part(body):
    """Behind our Received field."""
    assert body.startswith(b"Received: "), body[:100]
    return body[body.index(b"+0000\r\n") + 7:]


class Out(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sink = Sink()
        cls.lmtp = Sink(lmtp=True)
        cls.plain = Sink(offers=("SIZE 0",))
        cls.dead = f"smtp://{own_address()}:{free_port('127.0.0.1')}"
        cls.instance = instance_for({"*": cls.sink.target, "lmtp.example": cls.lmtp.target,
                                     "plain.example": cls.plain.target,
                                     "dead.example": cls.dead,
                                     "error.example": "error:not from here"})

    @classmethod
    def tearDownClass(cls):
        for sink in (cls.sink, cls.lmtp, cls.plain):
            sink.close()
        cls.instance.finish()

    def setUp(self):
        for sink in (self.sink, self.lmtp, self.plain):
            sink.replies, sink.letters, sink.counts, sink.commands = {}, [], {}, []

    def send(self, recipients, body=HEAD + b"hello\r\n", sender="a@example.org", parameters=""):
        """Of what fails, the sender is empty: no report takes the way that is tested."""
        with self.instance.smtp() as client:
            return client.letter(sender, recipients, body, parameters)

    def event(self, name, queue_id, to=None):
        def found():
            return [event for event in self.instance.events(name) if event.get("id") == queue_id
                    and (to is None or event["to"] == to)]
        return wait_for(found, f"{name} of {queue_id}")[0]

    def test_octets(self):
        """RFC 5321 4.5.2: what arrives is what was sent, whatever it is."""
        every_octet = bytes(octet for octet in range(256) if octet not in b"\r\n")
        bodies = [HEAD + b".\r\n..\r\n.dot\r\nend\r\n.", HEAD + every_octet, b"", HEAD,
                  "Subject: 中文\r\n\r\n你好\r\n.电邮".encode(), HEAD + b"x" * 200000,
                  HEAD + b"0123456789abcde\r\n" * 40000]
        for body in bodies:
            with self.subTest(body[:60]):
                self.sink.letters = []
                body += b"\r\n" if body else b""
                queue_id = self.send(["x@far.example"], body)
                self.sink.wait(1)
                letter = self.sink.letters[0]
                self.assertEqual(own_part(letter.body), body)
                self.assertEqual((letter.sender, letter.recipients),
                                 ("a@example.org", ["x@far.example"]))
                event = self.event("sent", queue_id)
                self.assertEqual((event["code"], event["to"], event["from"], event["peer"]),
                                 (250, "x@far.example", "a@example.org", self.sink.address))

    def test_large_body(self):
        body = HEAD + bytes(random.randbytes(60000).hex(), "ascii") * 40 + b"\r\n"
        self.send(["x@far.example", "y@far.example"], body)
        self.sink.wait(1)
        self.assertEqual(own_part(self.sink.letters[0].body), body)

    def test_many_recipients(self):
        """One transaction for those who share a destination, whatever their domains."""
        recipients = [f"user{n}@d{n % 3}.example" for n in range(90)]
        self.send(recipients + [ALICE, "z@lmtp.example"])
        self.sink.wait(1)
        self.lmtp.wait(1)
        wait_for(lambda: sum(b"multipart/report" not in letter
                             for letter in self.instance.letters(ALICE)) == 1, "alice's copy")
        self.assertEqual(len(self.sink.letters), 1)
        self.assertEqual(sorted(self.sink.letters[0].recipients), sorted(recipients))

    def test_more_than_a_transaction_takes(self):
        recipients = [f"user{n}@far.example" for n in range(250)]
        self.send(recipients)
        wait_for(lambda: sum(len(l.recipients) for l in self.sink.letters) == 250, "all of them")
        self.assertEqual(sorted(r for l in self.sink.letters for r in l.recipients),
                         sorted(recipients))
        self.assertEqual(len(self.sink.letters), 3)

    def test_connection_is_kept(self):
        sessions = set()
        for _ in range(10):
            count = len(self.sink.letters)
            self.send(["x@far.example"])
            self.sink.wait(count + 1)
            sessions.add(self.sink.letters[-1].session)
        self.assertLess(len(sessions), 10)

    def test_kept_connection_that_died(self):
        """A kept connection found dead at MAIL is no failure: the next one gets the letter."""
        self.send(["x@far.example"])
        self.sink.wait(1)
        self.sink.replies["MAIL"] = lambda line, n: CLOSE if n == 2 else None
        queue_id = self.send(["x@far.example"])
        self.sink.wait(2)
        self.event("sent", queue_id)

    def test_null_path_and_utf8(self):
        self.send(["收件人@例子.测试"], sender="", parameters=" SMTPUTF8",
                  body="Subject: 你好\r\n\r\n内容\r\n".encode())
        self.sink.wait(1)
        letter = self.sink.letters[0]
        self.assertEqual((letter.sender, letter.recipients), ("", ["收件人@例子.测试"]))
        self.assertIn("SMTPUTF8", letter.parameters)

    def test_utf8_that_the_other_cannot(self):
        """RFC 6531 3.2: a local part has no other form, a domain has."""
        queue_id = self.send(["收件人@plain.example"], sender="", parameters=" SMTPUTF8")
        self.assertIn("UTF-8", self.event("bounced", queue_id)["text"])

    def test_refusals(self):
        """5yz is the end of whom it was said to, at each stage; 4yz defers."""
        for stage in ("BANNER", "EHLO", "MAIL", "RCPT", "DATA", "END"):
            for reply, event in (("550 5.7.1 never", "bounced"), ("450 4.2.1 not now", "deferred")):
                with self.subTest(f"{stage} {reply}"):
                    self.sink.replies = {stage: reply}
                    if stage in ("BANNER", "EHLO"):
                        self.sink.replies["HELO"] = reply
                        wait_for(lambda: self.sink.open == 0, "no kept connection")
                    queue_id = self.send(["x@far.example"], sender="")
                    found = self.event(event, queue_id)
                    self.assertEqual(found["code"], int(reply[:3]))
                    self.assertIn(reply[10:], found["text"])
                    self.assertEqual(self.sink.letters, [])
        self.assertEqual(self.instance.events("died"), [])

    def test_one_of_many_refused(self):
        self.sink.replies["RCPT"] = lambda to, n: {
            "bad@far.example": "550 5.1.1 no such user", "full@far.example": "452 4.2.2 full",
        }.get(to)
        queue_id = self.send(["bad@far.example", "good@far.example", "full@far.example"], sender="")
        self.sink.wait(1)
        self.assertEqual(self.sink.letters[0].recipients, ["good@far.example"])
        self.assertEqual(self.event("bounced", queue_id)["to"], "bad@far.example")
        self.assertEqual(self.event("deferred", queue_id)["to"], "full@far.example")
        self.assertEqual(self.event("sent", queue_id)["to"], "good@far.example")

    def test_closes(self):
        """A connection that ends is a deferral, at each stage, and never a copy more."""
        for stage in ("BANNER", "EHLO", "MAIL", "RCPT", "DATA", "END"):
            with self.subTest(stage):
                sink = Sink()
                sink.replies[stage] = CLOSE
                with instance_for({"*": sink.target}) as instance:
                    with instance.smtp() as client:
                        queue_id = client.letter("a@example.org", ["x@far.example"], HEAD)
                    wait_for(lambda: instance.events("deferred"), "a deferral")
                    event = instance.events("deferred")[0]
                    self.assertEqual((event["id"], event["to"]), (queue_id, "x@far.example"))
                    self.assertIn("clos", event["text"])
                    self.assertEqual(instance.queue_count(), 1)
                sink.close()

    def test_lmtp(self):
        """RFC 2033: each recipient has its own end."""
        self.lmtp.replies["END"] = lambda to, n: "550 5.2.2 full" if to[0] == "b" else None
        queue_id = self.send(["a@lmtp.example", "b@lmtp.example", "c@lmtp.example"], sender="")
        self.lmtp.wait(1)
        self.assertEqual(self.lmtp.letters[0].recipients, ["a@lmtp.example", "c@lmtp.example"])
        self.assertEqual(self.event("bounced", queue_id)["to"], "b@lmtp.example")
        self.assertIn("LHLO", self.lmtp.commands)

    def test_unix_socket(self):
        """LMTP with a program on this host; one that is not there now defers."""
        instance = Instance(start=False)
        path = os.path.join(instance.top, "lmtp")
        with start(instance, {"*": f"lmtp:{path}", "none.example": f"lmtp:{path}.none"}):
            with Sink(lmtp=True, path=path) as sink, instance.smtp() as client:
                client.letter("a@example.org", ["x@far.example", "y@none.example"], HEAD)
                client.letter("a@example.org", ["z@far.example"], HEAD)
                sink.wait(2)
            wait_for(lambda: instance.events("deferred"), "a deferral")
            self.assertEqual({e["to"] for e in instance.events("sent")},
                             {"x@far.example", "z@far.example"})
            self.assertIn(f"{path}.none", instance.events("deferred")[0]["text"] +
                          instance.events("deferred")[0]["host"])

    def test_error_route(self):
        queue_id = self.send(["x@error.example", "y@far.example"], sender="")
        self.assertIn("not from here", self.event("bounced", queue_id)["text"])
        self.sink.wait(1)

    def test_dead_host(self):
        """Nobody else waits for it, and not each letter tries it."""
        first = self.send(["x@dead.example"])
        self.assertIn("onnection", self.event("deferred", first)["text"])
        others = [self.send(["x@dead.example", "y@far.example"]) for _ in range(5)]
        self.sink.wait(5)
        for queue_id in others:
            self.event("deferred", queue_id, "x@dead.example")
            self.event("sent", queue_id, "y@far.example")


class Ways(unittest.TestCase):
    @needs_nsd
    def test_next_address(self):
        """RFC 5321 5.1: an address that takes no connection is passed over, then left alone."""
        with Sink() as sink:
            others = [own_address() for _ in range(3)]
            records = "".join(f"mx A {address}\n" for address in [sink.address, *others])
            with Nsd({"far.example": records}) as nsd:
                instance = Instance(start=False, nowhere=False, settings={"server": nsd.place})
                with start(instance, {"*": f"smtp://mx.far.example:{sink.port}"}):
                    for number in range(5):
                        with instance.smtp() as client:
                            client.letter("a@example.org", ["x@far.example"], HEAD)
                        sink.wait(number + 1)
                    instance.settle()
                    self.assertEqual(instance.events("deferred"), [])
                    self.assertEqual({event["host"] for event in instance.events("sent")},
                                     {"mx.far.example"})

    def test_reload(self):
        """Letters under way reach their end, and the next ones take the new way."""
        with Sink() as first, Sink() as second, instance_for({"*": first.target}) as instance:
            first.replies["END"] = lambda to, n: time.sleep(0.01)
            with instance.smtp() as client:
                for number in range(30):
                    client.letter("a@example.org", [f"user{number}@far.example"], HEAD)
            first.wait(1)
            instance.set("routes", f'[{{domain: "*", to: "{second.target}"}}]')
            instance.run("reload")
            with instance.smtp() as client:
                client.letter("a@example.org", ["last@far.example"], HEAD)
            second.wait(1)
            instance.settle()
            found = [to for sink in (first, second) for l in sink.letters for to in l.recipients]
            self.assertEqual(sorted(found),
                             sorted(["last@far.example", *(f"user{n}@far.example"
                                                           for n in range(30))]))
            self.assertIn("last@far.example", [l.recipients[0] for l in second.letters])


class Kills(unittest.TestCase):
    """Nothing is lost; what has a durable result is not sent again."""

    def balance(self, sink, instance, wanted, twice):
        wait_for(lambda: {l.recipients[0] for l in sink.letters} == wanted, "every letter")
        instance.settle()
        self.assertLessEqual(len(sink.letters), len(wanted) + twice)

    def test_kill(self):
        for role in ("sender", "queue", "resolver", None):
            with self.subTest(role), Sink() as sink, \
                    instance_for({"*": sink.target}) as instance:
                wanted = {f"user{n}@far.example" for n in range(40)}
                sink.replies["END"] = lambda to, n: time.sleep(0.02)
                with instance.smtp() as client:
                    for number, to in enumerate(sorted(wanted)):
                        client.letter("a@example.org", [to], HEAD)
                        if number == 20:
                            sink.wait(5)
                            if role:
                                instance.kill_role(role)
                            else:
                                break
                if not role:
                    instance.kill()
                    wanted = set(sorted(wanted)[:21])
                    instance.start()
                self.balance(sink, instance, wanted, 20)


    def test_letter_that_kills(self):
        """One that took three senders with it is held; the others go on."""
        with Sink() as sink, Sink() as other, \
                instance_for({"*": sink.target, "other.example": other.target}) as instance:
            sink.replies["END"] = SILENCE
            with instance.smtp() as client:
                queue_id = client.letter("a@example.org", ["x@far.example"], HEAD)
                for kill in range(3):
                    wait_for(lambda: sink.counts.get("END", 0) > kill, "the end of the letter")
                    wait_for(lambda: instance.kill_role("sender"), "a sender to kill")
                client.letter("a@example.org", ["y@other.example"], HEAD)
            other.wait(1)
            wait_for(lambda: "held" in instance.ask("queue list"), "a letter that is held")
            self.assertIn(queue_id, instance.said())
            self.assertEqual(instance.queue_count(), 1)


class Retries(unittest.TestCase):
    def test_later(self):
        """What was deferred goes out when its time has come."""
        instance = Instance(start=False)
        page = fault.Page.create(os.path.join(instance.top, "page"))
        instance.environment["POSTHOUSE_FAULT"] = os.path.join(instance.top, "page")
        with Sink() as sink, instance:
            start(instance, {"*": sink.target})
            sink.replies["RCPT"] = lambda to, n: "450 4.2.1 not now" if n == 1 else None
            with instance.smtp() as client:
                client.letter("a@example.org", ["x@far.example"], HEAD)
            wait_for(lambda: instance.events("deferred"), "a deferral")
            self.assertGreaterEqual(instance.events("deferred")[0]["delay_ms"], 60000)
            page.shift_wall(120000)
            page.shift_monotonic(120000)
            sink.wait(1)
            instance.settle()


    def test_silence(self):
        """RFC 5321 4.5.3.2: who is silent for long is not waited for."""
        instance = Instance(start=False)
        page = fault.Page.create(os.path.join(instance.top, "page"))
        instance.environment["POSTHOUSE_FAULT"] = os.path.join(instance.top, "page")
        with Sink() as sink, instance:
            start(instance, {"*": sink.target})
            sink.replies["MAIL"] = SILENCE
            with instance.smtp() as client:
                client.letter("a@example.org", ["x@far.example"], HEAD)
            wait_for(lambda: "MAIL" in sink.commands, "MAIL")
            page.shift_monotonic(301000)
            wait_for(lambda: instance.events("deferred"), "a deferral")
            self.assertIn("silent", instance.events("deferred")[0]["text"])


class BothWays(unittest.TestCase):
    def test_two_instances(self):
        with Instance(start=False) as here, \
                Instance(start=False, domains=("other.test",), users=("carol@other.test",)) as there:
            start(here, {"other.test": f"smtp://{there.address}:{there.smtp_port}"})
            start(there, {"example.test": f"smtp://{here.address}:{here.smtp_port}"})
            with here.smtp() as client:
                client.letter(ALICE, ["carol@other.test"], HEAD + b"there\r\n")
            with there.smtp() as client:
                client.letter("carol@other.test", [ALICE], HEAD + b"back\r\n")
            wait_for(lambda: there.letters("carol@other.test"), "the letter there")
            wait_for(lambda: here.letters(ALICE), "the letter here")
            self.assertTrue(there.letters("carol@other.test")[0].endswith(b"there\n"))
            self.assertTrue(here.letters(ALICE)[0].endswith(b"back\n"))


if __name__ == "__main__":
    unittest.main()
