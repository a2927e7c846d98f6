"""The posthouse command as one calls it: exit codes, messages, the control socket, manual pages.

Run by tests/run; POSTHOUSE_COMMAND is the program.
"""

import json
import os
import socket
import stat
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

POSTHOUSE = os.environ["POSTHOUSE_COMMAND"]
ROOT = Path(__file__).resolve().parents[3]


def run(*args, **env):
    clean = {k: v for k, v in os.environ.items() if k not in ("POSTHOUSE_CONF", "NO_COLOR")}
    done = subprocess.run([POSTHOUSE, *args], capture_output=True, env={**clean, **env},
                          stdin=subprocess.DEVNULL, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Instance(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.TemporaryDirectory()
        self.addCleanup(self.home.cleanup)
        os.chmod(self.home.name, 0o755)
        self.dir = Path(self.home.name) / "实例"
        self.conf = str(self.dir / "posthouse.yaml")

    def init(self, *more):
        return run("init", str(self.dir), "--hostname", "mail.example.test",
                   "--domain", "example.test", *more)

    def on(self, *args):
        return run("-c", self.conf, *args)


class Words(unittest.TestCase):
    def test_help_everywhere(self):
        for args in (["--help"], ["-h"], ["help"]):
            code, out, err = run(*args)
            self.assertEqual((code, err), (0, ""))
            self.assertIn("queue list", out)
        for args in (["init", "--help"], ["help", "init"]):
            code, out, err = run(*args)
            self.assertEqual((code, err), (0, ""))
            self.assertTrue(out.startswith("usage: posthouse init DIR --hostname NAME"))
        code, out, err = run("queue", "--help")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("posthouse queue count", out)
        self.assertEqual(run("help", "queue")[1], out)

    def test_version(self):
        code, out, err = run("--version")
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"\Aposthouse \d+\.\d+\.\d+\n\Z")

    def test_wrong_usage_is_64(self):
        for args, said in (([], "no command"),
                           (["queu"], 'did you mean "queue"?'),
                           (["queue", "lst"], 'did you mean "queue list"?'),
                           (["zebra"], "posthouse help lists them"),
                           (["queue"], "usage: posthouse queue list"),
                           (["-c"], "-c needs a value"),
                           (["--verbose"], "unknown option --verbose"),
                           (["status", "now"], '"now" is one argument too many'),
                           (["stop", "--json"], "unknown option --json"),
                           (["help", "zebra"], "no command"),
                           (["help", "--man", "zebra.1"], "no page"),
                           (["explain", "x"], "no command"),
                           (["init", "x"], "--hostname is missing")):
            code, out, err = run(*args)
            self.assertEqual((code, out), (64, ""), args)
            self.assertIn(said, err)

    def test_hostile_words_are_shown_escaped(self):
        code, _, err = run("\x1b[2J")
        self.assertEqual(code, 64)
        self.assertNotIn("\x1b", err)
        self.assertIn("\\x1b[2J", err)

    def test_manual_pages_are_current(self):
        for page in ("posthouse.8", "posthouse.yaml.5"):
            code, out, err = run("help", "--man", page)
            self.assertEqual((code, err), (0, ""))
            self.assertEqual((ROOT / "man" / page).read_text(), out, "run tools/man")

    def test_schema_is_json(self):
        schema = json.loads(run("config", "schema")[1])
        self.assertFalse(schema["additionalProperties"])
        self.assertEqual(schema["properties"]["bare_newline"]["enum"], ["convert", "refuse"])
        self.assertIn("max_message", schema["properties"]["limits"]["properties"])
        self.assertEqual(schema["properties"]["listen"]["items"]["required"],
                         ["protocol", "address"])


class Init(Instance):
    def test_makes_an_instance(self):
        code, out, _ = self.init("--domain", "例子.测试")
        self.assertEqual((code, out), (0, f"{self.conf}: made\n"
                                       f"next: posthouse -c {self.conf} user add NAME@example.test\n"
                                       f"      posthouse -c {self.conf} serve\n"))
        for name in ("spool", "state", "log", "mail"):
            self.assertEqual(stat.S_IMODE((self.dir / name).stat().st_mode), 0o700)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()),
                         ["log", "mail", "posthouse.yaml", "spool", "state"])
        self.assertEqual(self.on("config", "check")[0], 0)
        code, out, _ = self.on("config", "show")
        self.assertEqual(code, 0)
        self.assertIn("hostname: mail.example.test", out)
        self.assertIn('{protocol: smtp, address: "127.0.0.1:2525"}', out)
        self.assertIn('{protocol: pop3, address: "127.0.0.1:2110"}', out)
        self.assertEqual(self.on("domain", "list")[1].split("\n")[:2], ["example.test", "例子.测试"])

    def test_named_listeners_only(self):
        self.assertEqual(self.init("--smtp", "[::1]:2526")[0], 0)
        out = self.on("config", "show")[1]
        self.assertIn('{protocol: smtp, address: "[::1]:2526"}', out)
        self.assertNotIn("pop3,", out)

    def test_refuses_a_directory_that_has_one(self):
        self.assertEqual(self.init()[0], 0)
        before = Path(self.conf).read_bytes()
        code, _, err = self.init("--pop3", "127.0.0.1:1")
        self.assertEqual(code, 1)
        self.assertIn("is there already", err)
        self.assertEqual(Path(self.conf).read_bytes(), before)

    def test_wrong_values_make_nothing(self):
        for more in (["--smtp", "localhost:25"], ["--pop3", "127.0.0.1"], ["--domain", "a b"],
                     ["--submission", "127.0.0.1:1"], ["--domain", ""]):
            self.assertEqual(self.init(*more)[0], 64, more)
        self.assertEqual(run("init", str(self.dir), "--hostname", "localhost", "--domain", "a.b")[0],
                         64)
        self.assertFalse(self.dir.exists())

    def test_a_failure_leaves_no_configuration(self):
        code, _, err = self.init("--smtp", "127.0.0.1:9", "--pop3", "127.0.0.1:9")
        self.assertEqual(code, 1)
        self.assertIn("taken by the listener", err)
        code, _, err = self.init("--domain", "EXAMPLE.test")
        self.assertEqual(code, 1)
        self.assertEqual([p.name for p in self.dir.iterdir() if p.is_file()], [])
        self.assertEqual(self.init()[0], 0)

    def test_where_no_directory_can_be(self):
        code, _, err = run("init", self.home.name + "/a/b", "--hostname", "a.b", "--domain", "a.b")
        self.assertEqual(code, 75)
        self.assertIn("No such file", err)


class ByHand(Instance):
    def test_domains_come_before_the_first_start(self):
        """A configuration that no `init` wrote: the first domain makes the state directory."""
        self.assertEqual(self.init()[0], 0)
        state = self.dir / "other"
        text = Path(self.conf).read_text().replace("state_dir: state", "state_dir: other")
        Path(self.conf).write_text(text)
        self.assertEqual(self.on("domain", "add", "example.test")[:2],
                         (0, "example.test: added\n"))
        self.assertEqual(stat.S_IMODE(state.stat().st_mode), 0o700)
        self.assertEqual(self.on("domain", "list")[1], "example.test\n")
        Path(self.conf).write_text(text.replace("state_dir: other", "state_dir: no/where"))
        code, _, err = self.on("domain", "list")
        self.assertEqual(code, 75)
        self.assertIn("no/where: No such file or directory", err)


class Config(Instance):
    def test_all_mistakes_at_once(self):
        self.dir.mkdir()
        Path(self.conf).write_text("hostnam: x\nlimits: {max_message: 1}\n")
        code, out, err = self.on("config", "check")
        self.assertEqual((code, out), (1, ""))
        self.assertIn(self.conf + ":1:1: ", err)
        self.assertIn(self.conf + ":2:23: ", err)
        for command in (["serve"], ["status"], ["user", "list"]):
            code, _, again = self.on(*command)
            self.assertEqual((code, again), (1, err))

    def test_named_by_the_environment(self):
        self.assertEqual(self.init()[0], 0)
        code, out, _ = run("config", "check", POSTHOUSE_CONF=self.conf)
        self.assertEqual((code, out), (0, self.conf + ": good\n"))

    def test_the_sample_and_the_example_are_good(self):
        self.dir.mkdir()
        Path(self.conf).write_text(run("config", "sample")[1])
        self.assertEqual(self.on("config", "check")[0], 0)
        code, _, err = run("-c", str(ROOT / "dist" / "posthouse.yaml"), "config", "check")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual((ROOT / "dist" / "posthouse.yaml").read_text(),
                         run("config", "sample")[1], "run tools/man")


class Control(Instance):
    """A stand-in for the supervisor: answers questions with the bytes it was given."""

    def answer(self, *pieces):
        return self.answers(pieces)

    def answers(self, *all_pieces):
        path = self.dir / "state" / "control"
        listener = socket.socket(socket.AF_UNIX)
        old = os.getcwd()
        os.chdir(path.parent)
        listener.bind("control")
        os.chdir(old)
        listener.listen()
        asked = []

        def serve():
            for pieces in all_pieces:
                client, _ = listener.accept()
                line = b""
                while not line.endswith(b"\n"):
                    line += client.recv(1000)
                asked.append(line.decode())
                if pieces is all_pieces[-1]:
                    path.unlink()
                    listener.close()
                for piece in pieces:
                    client.sendall(piece)
                client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        return asked

    def setUp(self):
        super().setUp()
        self.assertEqual(self.init()[0], 0)

    def test_not_running(self):
        for command in (["status"], ["stop"], ["reload"]):
            code, out, err = self.on(*command)
            self.assertEqual((code, out), (1, ""))
            self.assertIn(f"not running (no answer at {self.dir}/state/control)", err)

    def test_status(self):
        line = (b'{"role":"queue","instance":0,"pid":12,"state":"ready",'
                b'"since":"2026-11-22T00:00:00.000Z","restarts":3,"more":[]}\n')
        asked = self.answer(b"ok\n" + line[:10], line[10:])
        code, out, _ = self.on("status")
        self.assertEqual((code, asked), (0, ["status\n"]))
        self.assertEqual(out.splitlines()[1].split(),
                         ["queue", "0", "12", "ready", "2026-11-22T00:00:00.000Z", "3"])
        self.answer(b"ok\n" + line)
        self.assertEqual(self.on("status", "--json")[1], line.decode())
        queue = b'{"letters":7,"recipients":8,"backlog":9,"paced":true,"more":1}\n'
        asked = self.answers([b"ok\n" + line], [b"ok\n" + queue])
        code, out, _ = self.on("status")
        self.assertEqual((code, asked), (0, ["status\n", "queue status\n"]))
        self.assertEqual(out.splitlines()[2:], ["", "LETTERS  RECIPIENTS  BACKLOG  PACED",
                                                "      7           8        9  yes"])

    def test_queue_list_of_several_pages(self):
        line = b'{"id":"%d","to":"a@example.test"}\n'
        pages = ([b"ok\n" + line % 1 + line % 2 + b"more 5 4096\n"], [b"ok\nmore 6 7\n"],
                 [b"ok\n" + line % 3])
        questions = ["queue list\n", "queue list 5 4096\n", "queue list 6 7\n"]
        asked = self.answers(*pages)
        code, out, _ = self.on("queue", "list", "--json")
        self.assertEqual((code, asked), (0, questions))
        self.assertEqual(out.encode(), line % 1 + line % 2 + line % 3)
        asked = self.answers(*pages)
        code, out, _ = self.on("queue", "list")
        self.assertEqual((code, asked), (0, questions))
        self.assertEqual([row.split()[0] for row in out.splitlines()], ["ID", "1", "2", "ID", "3"])
        self.answers(pages[0], [b"no the queue is not running now\n"])
        code, out, err = self.on("queue", "list", "--json")
        self.assertEqual((code, out.encode()), (1, line % 1 + line % 2))
        self.assertIn("the queue is not running now", err)

    def test_queue_list(self):
        line = ('{"id":"X","arrived":1795305600000,"size":5,"from":"","to":"用户@例子.测试","state":'
                '"deferred","attempts":1,"next":1795305601000,"reason":"a\\u001b[2Jb"}\n')
        asked = self.answer(("ok\n" + line).encode())
        code, out, _ = self.on("queue", "list")
        self.assertEqual((code, asked), (0, ["queue list\n"]))
        self.assertEqual(out.splitlines()[1].split(),
                         ["X", "2026-11-22T00:00:00.000Z", "5", "<>", "用户@例子.测试", "deferred",
                          "1", "2026-11-22T00:00:01.000Z", "a\\x1b[2Jb"])
        self.answer(b"ok\n")
        self.assertEqual(self.on("queue", "list")[1], "")

    def test_mailq_is_queue_list(self):
        mailq = Path(self.dir).parent / "mailq"
        mailq.symlink_to(Path(POSTHOUSE).resolve())
        line = b'{"id":"X"}\n'
        for words in (["-c", self.conf, "--json"], ["-c", self.conf, "--json", "--from", "<>"]):
            asked = self.answer(b"ok\n" + line)
            done = subprocess.run([mailq, *words], capture_output=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (0, line), done.stderr)
            self.assertEqual(asked, ["queue list \tfrom=\n" if "--from" in words
                                     else "queue list\n"])

    def test_queue_orders(self):
        counts = b'{"letters":%d,"recipients":%d,"under_way":%d}\n'
        asked = self.answers([b"ok\n" + counts % (2, 3, 0) + b"more 1 2\n"],
                             [b"ok\n" + counts % (1, 1, 1)])
        code, out, _ = self.on("queue", "drop", "--domain", "Example.TEST", "--reason", "a b")
        rest = f"\tdomain=example.test\treason=a b\tby=uid {os.getuid()}\n"
        self.assertEqual((code, asked), (0, ["queue drop " + rest, "queue drop 1 2" + rest]))
        self.assertEqual(out, "dropped: 3 letters, 4 recipients\nof these 1 under way: dropped when "
                              "this attempt does not deliver\n")
        ident = "01M80Y2SSZ3Z5PG6VW37S3B754"
        self.answer(b"ok\n" + counts % (1, 1, 0))
        self.assertEqual(self.on("queue", "hold", ident)[1], "held: 1 letter, 1 recipient\n")
        self.answer(b"no no letter waits\n")
        self.assertEqual(self.on("queue", "retry", ident), (1, "", "posthouse: no letter waits\n"))
        self.answer(b"ok\nnot json\n")
        self.assertEqual(self.on("queue", "release", "--all")[0], 1)
        for words in ([], ["--all", ident], ["--from", "x y"], ["--older", "soon"], ["abc"]):
            self.assertEqual(self.on("queue", "hold", *words)[0], 64, words)

    def test_the_beginning_of_an_id(self):
        one, two = (b'{"id":"01M80Y2SSZ3Z5PG6VW37S3B75%d"}\n' % n for n in range(2))
        asked = self.answers([b"ok\n" + one + one], [b'ok\n{"letters":1,"recipients":2}\n'])
        self.assertEqual(self.on("queue", "hold", "01m80y")[:2],
                         (0, "held: 1 letter, 2 recipients\n"))
        self.assertEqual(asked[0], "queue list \tid=01m80y\n")
        self.assertIn("\tid=01M80Y2SSZ3Z5PG6VW37S3B750\t", asked[1])
        self.answer(b"ok\n" + one + one + two)
        self.assertIn("2 letters begin with 01M80Y", self.on("queue", "hold", "01M80Y")[2])
        self.answer(b"ok\n")
        self.assertEqual(self.on("queue", "show", "01M80Y")[0], 1)

    def test_queue_count(self):
        self.answer(b"ok\n", b"1234567\n")
        self.assertEqual(self.on("queue", "count"), (0, "1234567\n", ""))

    def test_refusals(self):
        self.answer(b"later the queue is not running now\n")
        self.assertEqual(self.on("queue", "count"),
                         (75, "", "posthouse: the queue is not running now\n"))
        self.answer(b"no such thing\n")
        self.assertEqual(self.on("queue", "count"), (1, "", "posthouse: such thing\n"))
        self.answer(b"no x.yaml:1:1: unknown key\n    x\n    ^\n")
        self.assertEqual(self.on("reload"), (1, "", "x.yaml:1:1: unknown key\n    x\n    ^\n"))

    def test_answers_that_are_none(self):
        for command, said in (("status", b""), ("status", b"ok"), ("status", b"yes\n"),
                              ("status", b"ok\nnot json\n"), ("status", b"ok\n[]\n"),
                              ("reload", b"\xff\n")):
            self.answer(said)
            code, out, err = self.on(command)
            self.assertEqual((code, out), (1, ""), said)
            self.assertIn("the running instance", err)
        self.answer(b"ok\nmany\n")
        self.assertEqual(self.on("queue", "count")[0], 1)

    def test_stop_waits_until_it_is_gone(self):
        asked = self.answer(b"ok\n")
        self.assertEqual(self.on("stop"), (0, "", ""))
        self.assertEqual(asked, ["stop\n"])

    def test_serve_says_where_the_supervisor_is_missing(self):
        with tempfile.TemporaryDirectory() as there:
            copy = Path(there) / "posthouse"
            copy.write_bytes(Path(POSTHOUSE).read_bytes())
            copy.chmod(0o755)
            done = subprocess.run([copy, "-c", self.conf, "serve"], capture_output=True, timeout=60)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"libexec/posthouse/supervisor", done.stderr)

