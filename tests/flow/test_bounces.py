"""What a sender hears: that his letter failed, waits, or arrived. Reports are read by Python's email."""

import email
import email.policy
import email.utils
import os
import sys
import unittest

from instance import Instance, TESTS, stuff, wait_for

sys.path.insert(0, TESTS)
import fault  # noqa: E402

ALICE, BOB, CAROL = "alice@example.test", "bob@example.test", "carol@example.test"
CHINESE = "用户@例子.测试"
USERS = (ALICE, BOB, CAROL, CHINESE)
BODY = b"Subject: lunch\r\nMessage-ID: <1@client.example>\r\n\r\nAt noon?\r\n"
HOUR = 3600 * 1000
DAY = 24 * HOUR


class House(unittest.TestCase):
    """An instance whose time the test makes, with mailboxes that can be blocked."""

    def setUp(self):
        self.instance = Instance(users=USERS, domains=("example.test", "例子.测试"), start=False)
        self.addCleanup(self.instance.finish)
        self.page = fault.Page.create(os.path.join(self.instance.top, "page"))
        self.instance.environment["POSTHOUSE_FAULT"] = self.page.path
        self.passed = 0
        self.settings()
        self.instance.start()

    def settings(self):
        self.instance.set("reports_per_hour", 100000)

    def pass_time(self, ms):
        self.passed += ms
        self.page.shift_monotonic(self.passed)

    def block(self, user):
        """Deliveries fail for now."""
        path = self.instance.maildir(user)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.instance.own(os.path.dirname(path))
        with open(path, "x", encoding="ascii"):
            pass

    def unblock(self, user):
        os.unlink(self.instance.maildir(user))

    def send(self, sender, recipients, body=BODY, mail="", rcpt=""):
        with self.instance.smtp() as client:
            utf8 = " SMTPUTF8" if not (sender + "".join(recipients)).isascii() else ""
            client.command(f"MAIL FROM:<{sender}>{utf8}{mail}", 250)
            for recipient in recipients:
                client.command(f"RCPT TO:<{recipient}>{rcpt}", 250)
            client.command("DATA", 354)
            client.send(stuff(body))
            client.expect(250)

    def send_and_defer(self, sender, recipients, **more):
        for recipient in recipients:
            self.block(recipient)
        self.send(sender, recipients, **more)
        self.wait_events("deferred", len(recipients))

    def make_fail(self, sender, recipients=(BOB,), **more):
        """A letter whose recipients go after they were accepted."""
        self.send_and_defer(sender, recipients, **more)
        for recipient in recipients:
            self.instance.run("user", "remove", recipient)
        self.pass_time(10_000)

    def wait_events(self, name, count):
        wait_for(lambda: len(self.instance.events(name)) >= count, f"{count} {name}")

    def settle(self):
        self.instance.settle()

    def reports(self, user):
        return [email.message_from_bytes(letter, policy=email.policy.default)
                for letter in self.instance.letters(user)]

    def report(self, user):
        self.settle()
        found = self.reports(user)
        self.assertEqual(len(found), 1)
        return found[0]

    def parts(self, report):
        """Text for people, [fields of the letter, of a recipient...], what goes back."""
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        self.assertEqual([part.defects for part in report.walk()],
                         [[] for _ in report.walk()])
        text, status, back = report.get_payload()
        if status.get_content_type() == "message/global-delivery-status":  # which Python does not know
            fields = status.get_payload(0)
            blocks = [fields] + [email.message_from_string(block, policy=email.policy.default)
                                 for block in fields.get_payload().strip().split("\n\n")]
        else:
            blocks = status.get_payload()
        return text.get_content(), blocks, back


class Failures(House):
    def test_user_removed_after_the_250(self):
        self.make_fail(ALICE, mail=" ENVID=QQ+2B314", rcpt=" ORCPT=rfc822;Robert@example.test")
        report = self.report(ALICE)
        self.assertEqual(report["Return-Path"], "<>")
        self.assertEqual(report["To"], ALICE)
        self.assertIn("postmaster@mail.example.test", report["From"])
        self.assertEqual(report["Auto-Submitted"], "auto-replied")
        self.assertEqual(report["In-Reply-To"], "<1@client.example>")
        text, (letter, recipient), back = self.parts(report)
        self.assertIn(f"<{BOB}>", text)
        self.assertIn("There is no such user. (5.1.1)", text)
        self.assertEqual(letter["Original-Envelope-Id"], "QQ+314")
        self.assertEqual(letter["Reporting-MTA"], "dns; mail.example.test")
        arrived = email.utils.parsedate_to_datetime(letter["Arrival-Date"])
        self.assertLessEqual(arrived, report["Date"].datetime)
        self.assertEqual(recipient["Original-Recipient"], "rfc822; Robert@example.test")
        self.assertEqual(recipient["Final-Recipient"], f"rfc822; {BOB}")
        self.assertEqual(recipient["Action"], "failed")
        self.assertEqual(recipient["Status"], "5.1.1")
        self.assertIn("not there any more", recipient["Diagnostic-Code"])
        self.assertTrue(recipient["Last-Attempt-Date"])
        self.assertEqual(back.get_content_type(), "message/rfc822")
        self.assertEqual(back.get_payload(0)["Subject"], "lunch")
        self.assertEqual(back.get_payload(0).get_payload(), "At noon?\n")
        self.assertEqual(len(self.instance.events("bounced")), 1)
        self.instance.stop()
        self.instance.spool_check()

    def test_headers_only(self):
        self.make_fail(ALICE, mail=" RET=HDRS")
        back = self.parts(self.report(ALICE))[2]
        self.assertEqual(back.get_content_type(), "text/rfc822-headers")
        self.assertNotIn("noon", back.get_content())

    def test_large_letter(self):
        self.make_fail(ALICE, body=BODY + b"x" * 70 * 4000 + b"\r\n")
        back = self.parts(self.report(ALICE))[2]
        self.assertEqual(back.get_content_type(), "text/rfc822-headers")
        self.assertIn("Subject: lunch", back.get_content())

    def test_never(self):
        self.make_fail(ALICE, rcpt=" NOTIFY=NEVER")
        self.wait_events("failed", 1)
        self.settle()
        self.assertEqual(self.instance.letters(ALICE), [])

    def test_success_only(self):
        self.make_fail(ALICE, rcpt=" NOTIFY=SUCCESS")
        self.wait_events("failed", 1)
        self.settle()
        self.assertEqual(self.instance.letters(ALICE), [])

    def test_several_share_a_report(self):
        self.make_fail(ALICE, (BOB, CAROL))
        fields = self.parts(self.report(ALICE))[1]
        self.assertEqual([block["Final-Recipient"] for block in fields[1:]],
                         [f"rfc822; {BOB}", f"rfc822; {CAROL}"])

    def test_null_sender(self):
        """The postmaster hears of it, and of his letter nobody does."""
        self.make_fail("", (BOB,))
        report = self.report(ALICE)  # the first user is the postmaster
        self.assertEqual(report["To"], "postmaster@mail.example.test")
        self.assertIn("A message without a sender", self.parts(report)[0])

    def test_sender_elsewhere(self):
        """The report goes there as any letter does."""
        self.make_fail("x@client.example")
        wait_for(lambda: '"to":"x@client.example"' in self.instance.ask("queue list"),
                 "a report that waits")

    def test_alias_as_sender(self):
        self.instance.run("alias", "add", "team@example.test", ALICE, CAROL)
        self.make_fail("team@example.test")
        self.settle()
        self.assertEqual([len(self.reports(user)) for user in (ALICE, CAROL)], [1, 1])

    def test_chinese_sender(self):
        self.make_fail(CHINESE, (BOB,),
                  body="Subject: 午饭\r\n\r\n中午？\r\n".encode())
        report = self.report(CHINESE)
        self.assertEqual(report["Subject"], "您的邮件未能送达")
        text, (_, recipient), back = self.parts(report)
        self.assertIn("没有此用户。", text)
        self.assertEqual(recipient["Final-Recipient"], f"rfc822; {BOB}")
        self.assertEqual(back.get_content_type(), "message/global")

    def test_utf8_recipient(self):
        self.make_fail(ALICE, (CHINESE,))
        report = self.report(ALICE)
        self.assertEqual(report["Subject"], "Your message was not delivered")
        status = report.get_payload(1)
        self.assertEqual(status.get_content_type(), "message/global-delivery-status")
        self.assertIn(f"Final-Recipient: utf-8; {CHINESE}\n".encode(),
                      self.instance.letters(ALICE)[0])

    def test_queue_killed_at_any_time(self):
        """The report and the end of what it tells of are in one frame: exactly one report."""
        for number in range(4):
            with self.subTest(number):
                self.send_and_defer(ALICE, (BOB,))
                self.instance.run("user", "remove", BOB)
                self.pass_time(10_000)
                if number:
                    wait_for(lambda: self.instance.kill_role("queue"), "a queue")
                    wait_for(self.instance.all_ready, "a queue again")
                    self.pass_time(10_000 * number)
                self.settle()
                self.assertEqual(len(self.reports(ALICE)), number + 1)
                self.unblock(BOB)
                self.instance.add_user(BOB)


class Limited(House):
    def settings(self):
        self.instance.set("reports_per_hour", 1)

    def test_reports_to_one_sender(self):
        self.make_fail(ALICE, (BOB,))
        self.wait_events("bounced", 1)
        self.make_fail(ALICE, (CAROL,))
        self.wait_events("failed", 1)
        self.settle()
        self.assertEqual(len(self.reports(ALICE)), 1)
        self.assertIn("too many reports in this hour", self.instance.said())


class Successes(House):
    def test_delivered(self):
        self.send(ALICE, (BOB, CAROL), rcpt=" NOTIFY=SUCCESS,FAILURE")
        report = self.report(ALICE)
        text, fields, back = self.parts(report)
        self.assertIn("It was delivered", text)
        self.assertEqual([(block["Action"], block["Status"]) for block in fields[1:]],
                         [("delivered", "2.1.5")] * 2)
        self.assertEqual(back.get_content_type(), "text/rfc822-headers")
        self.assertEqual(len(self.instance.letters(BOB)), 1)
        self.assertEqual(len(self.instance.letters(CAROL)), 1)

    def test_nobody_asked(self):
        self.send(ALICE, (BOB,))
        self.send(ALICE, (BOB,), rcpt=" NOTIFY=FAILURE,DELAY")
        self.send("", (BOB,), rcpt=" NOTIFY=SUCCESS")
        self.settle()
        self.assertEqual(len(self.instance.letters(BOB)), 3)
        self.assertEqual(self.instance.letters(ALICE), [])

    def test_queue_killed(self):
        """Delivered once, told once, whenever the queue ends."""
        for number in range(1, 4):
            self.send(ALICE, (BOB,), rcpt=" NOTIFY=SUCCESS")
            wait_for(lambda: self.instance.kill_role("queue"), "a queue")
            wait_for(self.instance.all_ready, "a queue again")
            self.settle()
            self.assertEqual(len(self.instance.letters(BOB)), number)
            self.assertEqual(len(self.reports(ALICE)), number)


class Time(House):
    def test_five_days_of_hundreds(self):
        """Every recipient has a next event until its end, which comes in its time and once."""
        letters = 100
        for user in (BOB, CAROL, CHINESE):
            self.block(user)
        for _ in range(letters):
            self.send(ALICE, (BOB, CAROL, CHINESE), rcpt=" NOTIFY=FAILURE,DELAY")
        all_of_them = 3 * letters
        for hours in range(0, 120, 6):
            self.wait_events("deferred", all_of_them * (hours // 6 + 1))
            self.assertEqual(self.instance.events("bounced"), [])
            self.pass_time(6 * HOUR)
        self.wait_events("bounced", all_of_them)
        self.settle()
        for name in ("bounced", "delayed"):
            ends = [(event["id"], event["to"]) for event in self.instance.events(name)]
            self.assertEqual((len(ends), len(set(ends))), (all_of_them, all_of_them))
        told = [block["Action"] for report in self.reports(ALICE)
                for block in self.parts(report)[1][1:]]
        self.assertEqual((told.count("failed"), told.count("delayed")), (all_of_them, all_of_them))
        self.instance.stop()
        self.instance.spool_check()

    def test_delay_then_expiry(self):
        self.send_and_defer(ALICE, (BOB,), rcpt=" NOTIFY=DELAY,FAILURE")
        self.pass_time(4 * HOUR - 60_000)
        self.wait_events("deferred", 2)
        self.assertEqual(self.instance.letters(ALICE), [])
        self.pass_time(60_000)
        self.wait_events("delayed", 1)
        wait_for(lambda: self.reports(ALICE), "a report")
        text, (_, recipient), back = self.parts(self.reports(ALICE)[0])
        self.assertIn("It was not delivered yet", text)
        self.assertEqual(recipient["Action"], "delayed")
        self.assertTrue(recipient["Will-Retry-Until"])
        self.assertEqual(back.get_content_type(), "text/rfc822-headers")
        self.instance.kill_role("queue")
        wait_for(self.instance.all_ready, "a queue again")
        self.pass_time(5 * HOUR)  # told once, though the queue was another one
        self.wait_events("deferred", 4)
        self.assertEqual(len(self.instance.events("delayed")), 1)
        self.pass_time(5 * DAY)
        self.wait_events("bounced", 1)
        self.settle()
        recipient = self.parts(self.reports(ALICE)[1])[1][1]
        self.assertEqual((recipient["Action"], recipient["Status"]), ("failed", "4.4.7"))
        self.assertEqual(len(self.instance.events("delayed")), 1)

    def test_no_delay_unasked(self):
        self.send_and_defer(ALICE, (BOB,))
        self.pass_time(5 * HOUR)
        self.wait_events("deferred", 2)
        self.unblock(BOB)
        self.pass_time(HOUR)
        self.settle()
        self.assertEqual(self.instance.letters(ALICE), [])
        self.assertEqual(len(self.instance.letters(BOB)), 1)

    def test_one_attempt_after_a_start(self):
        """A letter that is over when the queue starts is tried once more, and may arrive."""
        self.send_and_defer(ALICE, (BOB, CAROL))
        self.instance.stop()
        self.unblock(BOB)
        self.page.shift_wall(10 * DAY)
        self.instance.start()
        self.wait_events("bounced", 1)
        self.settle()
        self.assertEqual(len(self.instance.letters(BOB)), 1)
        recipient = self.parts(self.reports(ALICE)[0])[1][1]
        self.assertEqual(recipient["Final-Recipient"], f"rfc822; {CAROL}")

    def test_a_clock_that_jumps(self):
        """Neither ahead nor back does it make a letter older, or stop it."""
        self.send_and_defer(ALICE, (BOB,))
        for days in (100, -100):
            self.page.shift_wall(days * DAY)
            before = len(self.instance.events("deferred"))
            self.pass_time(HOUR)
            self.wait_events("deferred", before + 1)
        self.unblock(BOB)
        self.pass_time(HOUR)
        self.settle()
        self.assertEqual(len(self.instance.letters(BOB)), 1)
        self.assertEqual(self.instance.letters(ALICE), [])


if __name__ == "__main__":
    unittest.main()
