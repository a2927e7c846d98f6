"""The command: exit codes, help, configuration, and the life of an instance: reload, stop, restart."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

from instance import PLAIN, ROLES, ROOT, TESTS, Instance, Loop, Smtp, free_port, stuff, wait_for

sys.path.insert(0, TESTS)
import fault  # noqa: E402 (beside this folder)

ALICE = "alice@example.test"


def commands():
    """[(words, usage)] of src/ctl/commands.def"""
    with open(os.path.join(ROOT, "src/ctl/commands.def"), encoding="utf-8") as table:
        rows = re.findall(r'^COMMAND\("(\w+)", "(\w*)", "([^"]*)"', table.read(), re.M)
    return [([group, name] if name else [group], usage) for group, name, usage in rows]


class Words(unittest.TestCase):
    """What needs no running instance."""

    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(start=False)

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def test_every_command_explains_itself(self):
        self.assertGreater(len(commands()), 15)
        whole = self.instance.run("--help", conf=False)
        for words, _ in commands():
            with self.subTest(words):
                text = self.instance.run(*words, "--help", conf=False)
                self.assertIn(f"posthouse {' '.join(words)}", text)
                self.assertEqual(text, self.instance.run("help", *words, conf=False))
                self.assertIn(" ".join(words), whole)

    def test_wrong_usage_is_64(self):
        for words in ([], ["-x"], ["-c"], ["--no-such-option"], ["serv"], ["queue"], ["queue", "lst"],
                      ["queue", "list", "x"], ["queue", "list", "--no-such"], ["serve", "now"],
                      ["status", "--jsn"], ["stop", "--force"], ["reload", "x"], ["user"],
                      ["config"], ["config", "chek"], ["init"], ["queue", "count", "--json"],
                      ["help", "nothing"]):
            with self.subTest(words):
                conf = words != ["-c"]
                text = self.instance.run(*words, conf=conf, code=64)
                self.assertTrue(text.strip())

    def test_what_is_not_there_yet_is_unknown(self):
        for words in (["explain", ALICE], ["trace", "-"], ["dns", "example.test"],
                      ["relaytest", "127.0.0.1"]):
            with self.subTest(words):
                self.instance.run(*words, code=64)
                self.assertNotIn(" ".join(words[:2]), self.instance.run("help", conf=False))
        for option in ("--submission", "--submissions", "--pop3s"):
            with self.subTest(option):
                directory = os.path.join(self.instance.top, "later")
                self.instance.run("init", directory, "--hostname", "mail.example.test", "--domain",
                                  "example.test", option, "127.0.0.1:2587", conf=False, code=64)
                self.assertFalse(os.path.exists(directory))

    def test_not_running_is_1(self):
        for words in (["stop"], ["reload"], ["status"]):
            with self.subTest(words):
                self.assertIn("not running", self.instance.run(*words, code=1))

    def test_no_configuration_is_1(self):
        for words in (["config", "check"], ["serve"], ["status"], ["user", "list"]):
            with self.subTest(words):
                text = self.instance.run("-c", "/nonexistent/posthouse.yaml", *words, conf=False,
                                         code=1)
                self.assertIn("/nonexistent/posthouse.yaml", text)

    def test_configuration_by_environment(self):
        environment = dict(os.environ, POSTHOUSE_CONF=self.instance.conf)
        done = subprocess.run([self.instance.command, "config", "show"], env=environment,
                              capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"mail.example.test", done.stdout)

    def test_init_refuses_what_is_there(self):
        before = self.instance.read_conf()
        text = self.instance.run("init", self.instance.directory, "--hostname", "other.test",
                                 "--domain", "other.test", conf=False, code=1)
        self.assertIn(self.instance.directory, text)
        self.assertEqual(self.instance.read_conf(), before)

    def test_init_wants_names(self):
        directory = os.path.join(self.instance.top, "new")
        for options in ([], ["--hostname", "mail.example.test"], ["--domain", "example.test"],
                        ["--hostname", "mail", "--domain", "example.test"],
                        ["--hostname", "mail.example.test", "--domain", "a b"],
                        ["--hostname", "mail.example.test", "--domain", "example.test",
                         "--smtp", "localhost:25"],
                        ["--hostname", "mail.example.test", "--domain", "example.test",
                         "--smtp", "127.0.0.1:70000"]):
            with self.subTest(options):
                self.instance.run("init", directory, *options, conf=False, code=64)
                self.assertFalse(os.path.exists(directory))

    def test_init_with_named_listeners_only(self):
        directory = os.path.join(self.instance.top, "pop3")
        self.instance.run("init", directory, "--hostname", "mail.example.test", "--domain",
                          "example.test", "--domain", "例子.测试", "--pop3", "[::1]:2110", conf=False)
        conf = os.path.join(directory, "posthouse.yaml")
        shown = self.instance.run("-c", conf, "config", "show", conf=False)
        self.assertIn("pop3", shown)
        self.assertNotIn("smtp,", shown)
        self.assertEqual(self.instance.run("-c", conf, "domain", "list", conf=False),
                         "example.test\n例子.测试\n")

    def test_all_mistakes_in_one_run(self):
        instance = Instance(start=False)
        with instance:
            good = instance.read_conf()
            instance.run("config", "check")
            instance.write_conf(good.replace("hostname: mail.example.test", "hostname: a b")
                                + "no_such_key: 1\nbare_newline: perhaps\n运行: 是\n")
            instance.set("max_message", "12 parsecs")
            instance.set("max_recipients", "7")
            text = instance.run("config", "check", code=1)
            places = re.findall(r"(?m)^(\S+?):(\d+):(\d+): ", text)
            self.assertEqual({place[0] for place in places}, {instance.conf})
            self.assertEqual(len(places), len(set(places)))
            wrong = instance.read_conf().splitlines()
            lines = [wrong[int(line) - 1] for _, line, _ in places]
            for word in ("hostname:", "no_such_key", "bare_newline", "运行", "max_message",
                         "max_recipients"):
                self.assertEqual(sum(word in line for line in lines), 1, (word, text))
            instance.launch()
            instance.wait(1)
            self.assertIn(f"{instance.conf}:", instance.said())
            instance.write_conf("hostname: [\n")
            self.assertRegex(instance.run("config", "check", code=1),
                             rf"(?m)^{re.escape(instance.conf)}:\d+:\d+: ")

    def test_json(self):
        schema = json.loads(self.instance.run("config", "schema", conf=False))
        self.assertIn("hostname", schema["properties"])
        for words in (["user", "list", "--json"], ["domain", "list", "--json"]):
            for line in self.instance.run(*words).splitlines():
                self.assertIsInstance(json.loads(line), dict)


class Life(unittest.TestCase):
    def test_status_and_queue(self):
        with Instance(users=(ALICE,)) as instance:
            found = [json.loads(line) for line in instance.run("status", "--json").splitlines()]
            self.assertEqual({child["role"] for child in found}, set(ROLES))
            for child in found:
                self.assertEqual((child["state"], child["restarts"]), ("ready", 0))
                self.assertGreater(child["pid"], 1)
            table = instance.run("status")
            for role in ROLES:
                self.assertIn(role, table)
            self.assertEqual(instance.run("queue", "count"), "0\n")
            self.assertEqual(instance.run("queue", "list", "--json"), "")
            self.assertIn("runs already", self.second_serve(instance))
            instance.run("stop")
            instance.wait()
            self.assertIn("not running", instance.run("status", code=1))

    def second_serve(self, instance):
        """Another `serve` of the same directory, on other ports."""
        conf = os.path.join(instance.directory, "second.yaml")
        text = instance.read_conf()
        for port in (instance.smtp_port, instance.pop3_port):
            text = text.replace(f":{port}", f":{free_port(instance.address)}")
        with open(conf, "w", encoding="utf-8") as file:
            file.write(text)
        answer = instance.run("-c", conf, "serve", conf=False, code=1)
        self.assertTrue(instance.all_ready())
        return answer

    def test_a_queue_that_waits(self):
        """A mailbox that cannot be written: deferred, listed, tried again, delivered."""
        chinese = "测试@example.test"
        with Instance(users=(ALICE, chinese)) as instance:
            place = instance.make_maildir(ALICE, folders=())
            os.rmdir(place)
            with open(place, "w", encoding="utf-8"):
                pass
            with instance.smtp() as client:
                queue_id = client.letter("发件人@例子.测试", [ALICE, chinese], b"Subject: x\r\n",
                                         " SMTPUTF8")
            wait_for(lambda: instance.events("deferred"), "a deferral")
            wait_for(lambda: instance.letters(chinese), "the other recipient's letter")
            (row,) = [json.loads(line)
                      for line in instance.run("queue", "list", "--json").splitlines()]
            self.assertEqual((row["id"], row["from"], row["to"], row["domain"], row["state"],
                              row["attempts"]),
                             (queue_id, "发件人@例子.测试", ALICE, "example.test", "deferred", 1))
            for name in ("arrived", "next", "reason", "size"):
                self.assertTrue(row[name])
            self.assertIn(queue_id, instance.run("queue", "list"))
            self.assertEqual(instance.run("queue", "count"), "1\n")
            os.unlink(place)
            instance.stop()
            instance.start()  # the state outlives the process
            instance.settle()
            self.assertEqual(len(instance.letters(ALICE)), 1)
            self.assertEqual(len(instance.letters(chinese)), 1)

    def test_users_while_it_runs(self):
        """What the command writes is true for the server at once; no password reaches a log."""
        chinese = "用户@example.test"
        with Instance(users=()) as instance, instance.smtp() as client:
            client.command("MAIL FROM:<a@example.org> SMTPUTF8", 250)
            self.assertEqual(client.command(f"RCPT TO:<{chinese}>")[0], 550)
            instance.add_user(chinese, "秘密一二三")
            client.command(f"RCPT TO:<{chinese}>", 250)
            client.command("RSET", 250)
            with instance.pop3() as reader:
                reader.command(f"USER {chinese}")
                reader.send("PASS wrong-秘密\r\n".encode())
                self.assertTrue(reader.line().startswith(b"-ERR [AUTH]"))
            instance.run("user", "password", chinese, "--password-stdin", stdin="新的密码\n")
            with instance.pop3(chinese, "新的密码") as reader:
                reader.command("QUIT")
            instance.run("domain", "add", "例子.测试")
            instance.add_user("我@例子.测试", "x1")
            client.letter("", ["我@例子.测试"], b"Subject: x\r\n", " SMTPUTF8")
            instance.settle()
            self.assertEqual(len(instance.letters("我@例子.测试")), 1)
            instance.run("user", "remove", chinese)
            client.command("MAIL FROM:<a@example.org> SMTPUTF8", 250)
            self.assertEqual(client.command(f"RCPT TO:<{chinese}>")[0], 550)
            logged = instance.said()
            with open(os.path.join(instance.directory, "log/events.jsonl"),
                      encoding="utf-8") as file:
                logged += file.read()
            self.assertTrue(instance.events("login") and instance.events("login_failed"))
            for secret in ("秘密一二三", "wrong-秘密", "新的密码", "x1\""):
                self.assertNotIn(secret, logged)
                self.assertNotIn(json.dumps(secret)[1:-1], logged)

    def test_stop_lets_a_letter_end(self):
        """Stop drains: idle sessions get 421, a letter that is coming is taken."""
        with Instance(users=(ALICE,)) as instance:
            busy, idle, quiet = instance.smtp(), instance.smtp(), instance.pop3()
            busy.begin("a@example.org", [ALICE])
            busy.send(b"Subject: late\r\n\r\nhalf of it, ")
            instance.process.send_signal(signal.SIGTERM)
            self.assertEqual(idle.reply()[0], 421)
            self.assertTrue(idle.closed())
            wait_for(lambda: refused((instance.address, instance.smtp_port)), "no new connections")
            busy.send(b"and the rest.\r\n.\r\n")
            busy.expect(250)
            self.assertEqual(busy.reply()[0], 421)
            self.assertTrue(busy.closed())
            self.assertTrue(quiet.line().startswith(b"-ERR [SYS/TEMP]"))
            self.assertTrue(quiet.closed())
            instance.wait()
            instance.start()
            instance.settle()
            self.assertIn(b"half of it, and the rest.\n", instance.letters(ALICE)[0])

    def test_stop_is_bounded(self):
        with Instance(users=(ALICE,), settings={"drain": "1s"}) as instance:
            with instance.smtp() as client:
                client.begin("a@example.org", [ALICE])
                client.send(b"Subject: never ends\r\n")
                instance.stop()
                instance.start()
                instance.settle()
                self.assertEqual(instance.letters(ALICE), [])

    def test_a_port_that_is_taken(self):
        with Instance(start=False) as instance, socket.socket() as other:
            other.bind((instance.address, instance.smtp_port))
            other.listen()
            instance.launch()
            instance.wait(1)
            self.assertRegex(instance.said(), rf"{re.escape(instance.conf)}:\d+: cannot listen on "
                             rf"{re.escape(instance.address)}:{instance.smtp_port}: .*in use")

    def test_a_start_right_after_a_kill(self):
        """What processes of another life hold until the last of them has ended is waited for."""
        with Instance(start=False) as instance, socket.socket() as other:
            other.bind((instance.address, instance.smtp_port))
            other.listen()
            with open(os.path.join(instance.directory, "spool/lock"), "w") as lock:
                instance.own(lock.name)
                fcntl.lockf(lock, fcntl.LOCK_EX)
                instance.launch()
                time.sleep(0.3)
                other.close()
                time.sleep(0.3)
            instance.wait_ready()

    def test_broken_directories(self):
        """What cannot be used is named, and nothing runs half."""
        with Instance(start=False) as instance:
            spool = os.path.join(instance.directory, "spool")
            os.rename(spool, spool + ".aside")
            with open(spool, "w", encoding="utf-8"):
                pass
            instance.launch()
            instance.wait(1)
            self.assertIn("spool", instance.said())


def refused(where):
    try:
        socket.create_connection(where, timeout=10).close()
        return False
    except ConnectionRefusedError:
        return True


class Reload(unittest.TestCase):
    def callers(self, instance, count=3):
        """Clients that connect, send a letter and go, again and again: the port always answers.
        One that is slow may find its session closed by 421 before it began; never in a letter."""
        accepted = []

        def call():
            with Smtp((instance.address, instance.smtp_port), greet=False) as client:
                client.expect(220)
                for line in ("EHLO client.example.org", "MAIL FROM:<a@example.org>"):
                    code, text = client.command(line)
                    if code == 421:
                        return
                    self.assertEqual(code, 250, text)
                client.command(f"RCPT TO:<{ALICE}>", 250)
                client.command("DATA", 354)
                client.send(b"Subject: during\r\n.\r\n")
                accepted.append(client.expect(250))
        return accepted, [Loop(call) for _ in range(count)]

    def banner(self, instance):
        with instance.smtp(greet=False) as client:
            return client.expect(220)

    def test_nobody_is_refused(self):
        for how in ("command", "signal"):
            with self.subTest(how), Instance(PLAIN, users=(ALICE,)) as instance:
                accepted, callers = self.callers(instance)
                old = instance.smtp()
                for number in range(5):
                    name = f"mail{number}.example.test"
                    instance.set("hostname", name)
                    if how == "command":
                        instance.run("reload")
                    else:
                        instance.process.send_signal(signal.SIGHUP)
                    wait_for(lambda name=name: self.banner(instance).startswith(name), name)
                self.assertEqual(old.reply()[0], 421)
                for loop in callers:
                    loop.stop()
                self.assertGreater(len(accepted), 5)
                instance.settle()
                self.assertEqual(len(instance.letters(ALICE)), len(accepted))
                wait_for(lambda: len(instance.status()) == len(ROLES), "the old ones to go")
                self.assertEqual(instance.events("died"), [])

    def test_a_session_goes_on(self):
        """The old generation finishes a letter under way, under the configuration it began with."""
        with Instance(users=(ALICE,)) as instance, instance.smtp() as client:
            client.begin("a@example.org", [ALICE])
            client.send(b"Subject: old\r\n")
            instance.set("hostname", "new.example.test")
            instance.set("max_message", "64K")
            instance.run("reload")
            wait_for(lambda: self.banner(instance).startswith("new"), "the new banner")
            client.send(b"x" * 70000 + b"\r\n.\r\n")
            client.expect(250)
            with instance.smtp() as other:
                other.begin("a@example.org", [ALICE])
                other.send(stuff(b"x" * 70000 + b"\r\n"))
                self.assertEqual(other.reply()[0], 552)
            instance.settle()
            (letter,) = instance.letters(ALICE)
            self.assertIn(b"by mail.example.test with", letter)

    def test_a_bad_one_changes_nothing(self):
        with Instance(users=(ALICE,)) as instance:
            good = instance.read_conf()
            before = sorted(child["pid"] for child in instance.status())
            instance.write_conf(good.replace("hostname: mail", "hostname: ..") + "nonsense: 1\n")
            text = instance.run("reload", code=1)
            self.assertEqual(len(re.findall(rf"{re.escape(instance.conf)}:\d+:\d+: ", text)), 2, text)
            instance.process.send_signal(signal.SIGHUP)
            wait_for(lambda: "nonsense" in instance.said(), "the complaint on standard error")
            instance.write_conf(good)
            instance.set("run_as", "somebody-else")
            self.assertIn("run_as", instance.run("reload", code=1))
            instance.write_conf(good)
            with socket.socket() as other:
                other.bind((instance.address, 0))
                other.listen()
                taken = f"{instance.address}:{other.getsockname()[1]}"
                instance.write_conf(good.replace("listen:\n", "listen:\n  - {protocol: smtp, "
                                                 f'address: "{taken}"}}\n'))
                self.assertIn(taken, instance.run("reload", code=1))
            self.assertEqual(sorted(child["pid"] for child in instance.status()), before)
            self.assertTrue(self.banner(instance).startswith("mail.example.test"))

    def test_listeners_come_and_go(self):
        with Instance(users=(ALICE,)) as instance:
            good, port = instance.read_conf(), free_port(instance.address)
            instance.write_conf(good.replace(f":{instance.smtp_port}", f":{port}"))
            instance.run("reload")
            with Smtp((instance.address, port)) as client:
                client.letter("a@example.org", [ALICE], b"Subject: moved\r\n")
            wait_for(lambda: refused((instance.address, instance.smtp_port)), "the old port closed")
            instance.settle()

    def pids(self, instance):
        """Of the roles that are in charge: those that drain are left out."""
        return {child["role"]: child["pid"] for child in instance.status()
                if child["state"] == "ready"}

    def test_the_answer_comes_when_all_is_renewed(self):
        with Instance(PLAIN, users=(ALICE,)) as instance:
            page = fault.Page.create(os.path.join(instance.top, "page"))
            instance.stop()
            instance.environment["POSTHOUSE_FAULT"] = page.path
            instance.start()
            for number in range(3):
                before = self.pids(instance)
                slow = page.rule("open", role="postman", count=1, delay_ms=300)
                instance.set("hostname", f"mail{number}.example.test")
                instance.run("reload")
                self.assertEqual(page.acted(slow), 1)
                after = self.pids(instance)
                self.assertEqual({role for role in ROLES if before[role] == after[role]}, {"queue"})
                self.assertTrue(self.banner(instance).startswith(f"mail{number}"))

    def test_a_new_role_that_fails(self):
        """It is named, the old one goes on, and another reload may go well."""
        with Instance(PLAIN, users=(ALICE,), start=False) as instance:
            page = fault.Page.create(os.path.join(instance.top, "page"))
            instance.environment["POSTHOUSE_FAULT"] = page.path
            instance.start()
            before = self.pids(instance)
            page.rule("open", role="postman", count=1, kill=True)
            said = instance.run("reload", code=1)
            self.assertRegex(said, r"postman \(pid \d+\) was ended by signal 9: the old one goes on")
            after = self.pids(instance)
            self.assertEqual({role for role in ROLES if before[role] == after[role]},
                             {"queue", "postman"})
            with instance.smtp() as client:
                client.letter("a@example.org", [ALICE], b"Subject: old postman\r\n")
            instance.settle()
            instance.run("reload")
            self.assertNotEqual(self.pids(instance)["postman"], before["postman"])

    def test_try_again(self):
        """75 where it may go well another time: while a role is away, and before all are there."""
        with Instance(PLAIN, users=(ALICE,), start=False) as instance:
            page = fault.Page.create(os.path.join(instance.top, "page"))
            instance.environment["POSTHOUSE_FAULT"] = page.path
            slow = page.rule("open", role="queue", count=1, delay_ms=3000)
            instance.launch()
            wait_for(lambda: page.acted(slow), "a slow start of the queue")
            self.assertIn("starting", instance.run("reload", code=75))
            self.assertIn("queue", instance.run("queue", "count", code=75))
            instance.wait_ready()

    def test_reloads_without_a_pause(self):
        """Ten at once end in the last one, with one of each role."""
        with Instance(PLAIN, users=(ALICE,)) as instance:
            for number in range(10):
                instance.set("hostname", f"h{number}.example.test")
                instance.run("reload")
            wait_for(lambda: self.banner(instance).startswith("h9."), "the last name")
            wait_for(lambda: len(instance.status()) == len(ROLES) and instance.all_ready(),
                     "one of each role")
            self.assertEqual(instance.events("died"), [])
            with instance.smtp() as client:
                client.letter("a@example.org", [ALICE], b"Subject: after\r\n")
            instance.settle()


if __name__ == "__main__":
    unittest.main()
