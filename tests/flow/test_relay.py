"""Closed to relaying: the battery of tests/vectors/smtp, each case over a socket."""

import json
import os
import unittest

from instance import TESTS, Instance

BATTERY = os.path.join(TESTS, "vectors/smtp/relay-battery.json")


class Relay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Others may relay; the client of these tests is none of them.
        cls.instance = Instance(users=("bob@example.test",),
                                settings={"trusted": '["192.0.2.0/24", "127.0.0.128/25"]'})
        with open(BATTERY, encoding="utf-8") as file:
            cls.cases = json.load(file)["tests"]

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def fill_in(self, text):
        return (text.replace("LOCAL", "example.test").replace("HOST", "mail.example.test")
                .replace("ADDRESS", self.instance.address).encode("latin-1"))

    def test_battery(self):
        self.assertGreater(len(self.cases), 30)
        played = 0
        with self.instance.smtp() as client:
            for case in self.cases:
                with self.subTest(case["id"], why=case["why"]):
                    for line in case["before"]:
                        client.command(self.fill_in(line))
                    code, text = client.command(b"MAIL FROM:" + self.fill_in(case["mail_from"]))
                    if code in (250, 503):  # 503: the transaction of `before` is open still
                        code, text = client.command(b"RCPT TO:" + self.fill_in(case["rcpt_to"]))
                    self.assertEqual("accept" if code == 250 else "refuse", case["expect"],
                                     (case, code, text))
                    self.assertIn(code, (250, 501, 550, 553, 555), (case, code, text))
                    played += 1
                code, _ = client.command("RSET")
                if code == 421:
                    client.close()
                    client = self.instance.smtp()
        self.assertEqual(played, len(self.cases))

    def test_nothing_left_for_elsewhere(self):
        """A refused recipient stays refused though others of the same letter were taken."""
        with self.instance.smtp() as client:
            client.command("MAIL FROM:<bob@example.test>", 250)
            for _ in range(2):
                code, text = client.command("RCPT TO:<y@victim.invalid>")
                self.assertEqual((code, text[:5]), (550, "5.7.1"))
            client.command("RCPT TO:<bob@example.test>", 250)
            client.command("DATA", 354)
            client.send(b"Subject: one\r\n\r\n.\r\n")
            queue_id = client.expect(250).rpartition(" ")[2]
        self.instance.settle()
        events = [event for event in self.instance.events() if event.get("id") == queue_id]
        self.assertEqual([event.get("to") for event in events if event["event"] == "delivered"],
                         ["bob@example.test"])
        refused = [event for event in events if event["event"] == "refused"]
        self.assertTrue(refused)
        self.assertEqual({(event["to"], event["code"], event["rule"]) for event in refused},
                         {("y@victim.invalid", 550, "relay")})


if __name__ == "__main__":
    unittest.main()
