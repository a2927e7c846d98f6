"""An instance to test against: made by `posthouse init` in a directory of its own, on a loopback
address of its own, with users and a running server; and clients that say exactly what they are told.

    with Instance() as instance:
        with instance.smtp() as client:
            client.letter("a@example.org", ["alice@example.test"], b"Subject: x\\r\\n\\r\\nhello\\r\\n")
        instance.settle()
        instance.letters("alice@example.test")
"""

import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
ROOT = os.path.dirname(TESTS)
BUILD = os.path.abspath(os.environ.get("POSTHOUSE_BUILD") or os.path.join(ROOT, "build/check"))
PLAIN = os.path.abspath(os.environ.get("POSTHOUSE_PLAIN") or os.path.join(ROOT, "build/plain"))
LONG = os.environ.get("POSTHOUSE_LONG") == "1"
ROLES = ("directory", "login", "queue", "postman", "reader", "receiver", "porter", "resolver",
         "sender")
PASSWORD = "correct horse 电池"

SANITIZER = re.compile(r"ERROR: \w+Sanitizer|runtime error:|SUMMARY: \w+Sanitizer")
PATIENCE = 60  # seconds: nothing that a healthy instance does takes so long on the slowest machine


class Trouble(AssertionError):
    """The instance did not do what every test needs of it."""


def wait_for(condition, what, seconds=PATIENCE):
    """What `condition` says as soon as it says something true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise Trouble(f"waited {seconds} s in vain: {what}")


def own_address():
    """A loopback address that nobody else uses, so that ports need no luck. Where the system knows
    127.0.0.1 only, that one."""
    address = "127.%d.%d.%d" % (random.randint(64, 126), random.randint(0, 255),
                                random.randint(1, 254))
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
            return address
        except OSError:
            return "127.0.0.1"


def free_port(address):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def memory(pid):
    """Octets of memory of a process: {VmRSS, VmHWM, RssAnon, RssFile, RssShmem}."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        fields = dict(line.split(":", 1) for line in file)
    return {name: int(fields[name].split()[0]) * 1024
            for name in ("VmRSS", "VmHWM", "RssAnon", "RssFile", "RssShmem")}


def many_sockets():
    """Takes what the system allows, and tells how many more clients this process can be."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - 1000


def spool_fill(build, spool, *words):
    """Runs bench/spool_fill; what it says the spool holds now."""
    found = [path for path in (os.path.join(build, folder, "spool_fill")
                               for folder in ("bench", "meson/bench")) if os.path.exists(path)]
    if not found:
        raise Trouble(f"{build} has no spool_fill")
    done = subprocess.run([found[0], spool, *words], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


class Instance:
    """`settings`: {option: value} of posthouse.yaml; `environment` is the server's."""

    def __init__(self, build=BUILD, users=("alice@example.test", "bob@example.test"),
                 domains=("example.test",), settings=(), environment=None, start=True,
                 parent=None, lmtp=False, nowhere=True):
        self.top = tempfile.mkdtemp(prefix="posthouse-", dir=parent)
        self.directory = os.path.join(self.top, "i")
        self.conf = os.path.join(self.directory, "posthouse.yaml")
        self.build = build
        self.command = os.path.join(build, "posthouse")
        self.environment = dict(os.environ, **(environment or {}))
        self.address = own_address()
        self.smtp_port, self.pop3_port = free_port(self.address), free_port(self.address)
        self.lmtp_port = free_port(self.address) if lmtp else None
        self.process = None
        self.error_path = os.path.join(self.top, "stderr")
        try:
            self.run("init", self.directory, "--hostname", "mail.example.test",
                     *(word for domain in domains for word in ("--domain", domain)),
                     "--smtp", f"{self.address}:{self.smtp_port}",
                     "--pop3", f"{self.address}:{self.pop3_port}",
                     *(("--lmtp", f"{self.address}:{self.lmtp_port}") if lmtp else ()), conf=False)
            for user in users:
                self.add_user(user)
            if nowhere:
                self.go_nowhere()
            for name, value in dict(settings).items():
                self.set(name, value)
            if start:
                self.start()
        except BaseException:
            self.finish(check=False)
            raise

    def go_nowhere(self):
        """Where a test says nothing else, letters for other hosts wait, and no DNS is asked."""
        self.set("routes", f'[{{domain: "*", to: "smtp://{self.address}:1"}}]')

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self.finish(check=kind is None)

    # ---- the command

    def outcome(self, *words, codes, stdin=b"", conf=True, timeout=PATIENCE):
        """Exit status, standard output and standard error of a command."""
        if isinstance(stdin, str):
            stdin = stdin.encode()
        done = subprocess.run([self.command, *(["-c", self.conf] if conf else []), *words],
                              input=stdin, capture_output=True, timeout=timeout,
                              env=self.environment)
        out, err = done.stdout.decode(), done.stderr.decode()
        if done.returncode not in codes or SANITIZER.search(err):
            raise Trouble(f"{' '.join(words)}: status {done.returncode}, wanted {codes}\n{out}{err}")
        return done.returncode, out, err

    def run(self, *words, code=0, **options):
        """The standard output of a command, or its standard error where it has to fail."""
        _, out, err = self.outcome(*words, codes=(code,), **options)
        return err if code else out

    def spool_check(self, damage=False):
        """What `spool check` says of the spool of an instance that does not run. Damage is Trouble
        unless it may be there."""
        code, out, _ = self.outcome("spool", "check", "--json", codes=(0, 1) if damage else (0,))
        found = json.loads(out)
        if code != (found["damage"] > 0):
            raise Trouble(f"spool check ended with {code}: {out}")
        return found

    def add_user(self, address, password=PASSWORD):
        self.run("user", "add", address, "--password-stdin", stdin=password + "\n")

    def read_conf(self):
        with open(self.conf, encoding="utf-8") as file:
            return file.read()

    def set(self, name, value):
        """Changes an option in posthouse.yaml, where each one stands, set or as a comment."""
        text, count = re.subn(rf"(?m)^( *)#?{name}:.*$", rf"\g<1>{name}: {value}",
                              self.read_conf(), count=1)
        if not count:
            raise Trouble(f"no {name} in {self.conf}")
        self.write_conf(text)

    def write_conf(self, text):
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(text)

    # ---- the server's life

    def launch(self):
        """Starts `serve` and does not wait for it."""
        before = os.path.getsize(self.error_path) if os.path.exists(self.error_path) else 0
        self.said_before = before
        with open(self.error_path, "ab") as errors:
            self.process = subprocess.Popen([self.command, "-c", self.conf, "serve"],
                                            stdin=subprocess.DEVNULL, stdout=errors,
                                            stderr=errors, env=self.environment)

    def start(self):
        self.launch()
        self.wait_ready()

    def wait_ready(self):
        def ready():
            if "posthouse: ready\n" in self.said():
                return True
            if self.process.poll() is not None:
                raise Trouble(f"serve ended with {self.process.returncode}:\n{self.said()}")
            return False
        wait_for(ready, "posthouse: ready")

    def said(self):
        """Standard error since the last start."""
        with open(self.error_path, encoding="utf-8", errors="replace") as errors:
            errors.seek(self.said_before)
            return errors.read()

    def wait(self, code=0):
        """Until `serve` has ended."""
        status = self.process.wait(timeout=PATIENCE)
        self.process = None
        if status != code:
            raise Trouble(f"serve ended with {status}, wanted {code}:\n{self.said()[-4000:]}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.wait()

    def kill(self):
        """As a power cut does to processes, all at once, the supervisor first."""
        pids = [self.process.pid] + [child["pid"] for child in self.status()]
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.wait(-signal.SIGKILL)

    def finish(self, check=True):
        try:
            if self.process:
                if check:
                    self.stop()
                else:
                    self.process.kill()
                    self.process.wait()
            if os.path.exists(self.error_path):
                self.check_sanitizers()
        finally:
            if os.environ.get("POSTHOUSE_KEEP"):
                print(f"# kept {self.top}", flush=True)
            else:
                shutil.rmtree(self.top, ignore_errors=True)

    def check_sanitizers(self):
        with open(self.error_path, encoding="utf-8", errors="replace") as errors:
            text = errors.read()
        found = SANITIZER.search(text)
        if found:
            raise Trouble("a sanitizer spoke:\n" + text[max(0, found.start() - 500):][:6000])

    def fill(self, *words):
        """Puts letters into the spool while no server runs: words of bench/spool_fill."""
        spool = os.path.join(self.directory, "spool")
        owner = os.stat(spool)
        said = spool_fill(self.build, spool, *words)
        for folder, _, names in os.walk(spool):  # as root the queue is somebody else
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                os.chown(path, owner.st_uid, owner.st_gid)
        return said

    # ---- the control socket

    def ask(self, question, wanted=True):
        """The body of the answer; what follows "no " where a no is wanted."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(os.path.join(self.directory, "state/control"))
            client.sendall(question.encode() + b"\n")
            answer = b""
            while True:
                piece = client.recv(65536)
                if not piece:
                    break
                answer += piece
        text = answer.decode()
        if wanted and text.startswith("ok\n"):
            return text[3:]
        if not wanted and text.startswith("no "):
            return text[3:]
        raise Trouble(f"asked {question!r}, answered {text[:200]!r}")

    def status(self):
        return [json.loads(line) for line in self.ask("status").splitlines()]

    def child(self, role):
        """The one process of a role that is ready, or None."""
        found = [child for child in self.status()
                 if child["role"] == role and child["state"] == "ready"]
        return found[0] if found else None

    def all_ready(self):
        return {child["role"] for child in self.status() if child["state"] == "ready"} == set(ROLES)

    def kill_role(self, role):
        """SIGKILL; false when the role was away at that moment."""
        child = self.child(role)
        if not child:
            return False
        try:
            os.kill(child["pid"], signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def queue_count(self):
        try:
            return int(self.ask("queue count"))
        except (Trouble, OSError):
            return None  # being started again

    def settle(self, seconds=PATIENCE):
        """Until nothing waits in the queue."""
        wait_for(lambda: self.queue_count() == 0, "an empty queue", seconds)

    # ---- what it leaves on disk

    def maildir(self, user):
        local, _, domain = user.partition("@")
        return os.path.join(self.directory, "mail", domain.encode("idna").decode(), local)

    def names(self, user, *folders):
        found = []
        for folder in folders or ("new", "cur"):
            path = os.path.join(self.maildir(user), folder)
            if os.path.isdir(path):
                found += [os.path.join(path, name) for name in sorted(os.listdir(path))]
        return found

    def own(self, path):
        """Makes the Maildirs' owner the owner of this: as root the tests are somebody else."""
        owner = os.stat(os.path.join(self.directory, "mail"))
        os.chown(path, owner.st_uid, owner.st_gid)
        return path

    def make_maildir(self, user, folders=("cur", "tmp", "new")):
        place = self.maildir(user)
        for path in (os.path.dirname(place), place, *(os.path.join(place, f) for f in folders)):
            if not os.path.isdir(path):
                os.mkdir(path, 0o700)
                self.own(path)
        return place

    def plant(self, user, name, text, folder="new"):
        """Puts a file into a Maildir, as another program of the mailbox's owner does."""
        path = os.path.join(self.make_maildir(user), folder, name)
        with open(path, "wb") as file:
            file.write(text)
        return self.own(path)

    def letters(self, user):
        """The letters of a Maildir in the order in which they came, as they stand on disk."""
        found = []
        for path in self.names(user):
            with open(path, "rb") as file:
                found.append(file.read())
        return found

    def events(self, name=None):
        found = []
        path = os.path.join(self.directory, "log/events.jsonl")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                found = [json.loads(line) for line in file]
        return [event for event in found if name is None or event["event"] == name]

    # ---- clients

    def smtp(self, greet=True, source=None):
        """`source`: the client's address."""
        return Smtp((self.address, self.smtp_port), greet, source)

    def pop3(self, user=None, password=PASSWORD):
        return Pop3((self.address, self.pop3_port), user, password)

    def fetch(self, user):
        """All letters of a user by POP3, which are removed then, once the queue is empty."""
        self.settle()
        with self.pop3(user) as client:
            count = int(client.command("STAT").split()[1])
            found = [client.retrieve(number + 1) for number in range(count)]
            for number in range(count):
                client.command(f"DELE {number + 1}")
            client.command("QUIT")
        return found


class Client:
    """A connection, spoken to in octets."""

    def __init__(self, where, source=None):
        self.socket = socket.create_connection(where, timeout=PATIENCE,
                                               source_address=source and (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bytes = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, octets):
        self.socket.sendall(octets)

    def line(self):
        while b"\r\n" not in self.bytes:
            piece = self.socket.recv(65536)
            if not piece:
                raise ConnectionError(f"closed after {self.bytes!r}")
            self.bytes += piece
        line, _, self.bytes = self.bytes.partition(b"\r\n")
        return line

    def closed(self):
        """True once the server has closed and nothing is left to read."""
        try:
            return not self.bytes and not self.socket.recv(65536)
        except ConnectionError:
            return True


def stuff(body):
    """The octets after DATA: dots doubled, the end added. The body ends with CRLF or is empty."""
    return re.sub(rb"(?m)^\.", b"..", body) + b".\r\n"


class Smtp(Client):
    def __init__(self, where, greet=True, source=None):
        super().__init__(where, source)
        if greet:
            self.expect(220)
            self.command("EHLO client.example.org", 250)

    def reply(self):
        """(code, text of all lines)"""
        lines = []
        while True:
            line = self.line()
            lines.append(line[4:].decode("utf-8", "replace"))
            if line[3:4] != b"-":
                return int(line[:3]), "\n".join(lines)

    def expect(self, code):
        got, text = self.reply()
        if got != code:
            raise Trouble(f"wanted {code}, got {got} {text}")
        return text

    def command(self, line, code=None):
        """One command and its reply: the text when the code is given, else (code, text)."""
        self.send((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        return self.reply() if code is None else self.expect(code)

    def begin(self, sender, recipients, parameters=""):
        """Up to the 354."""
        self.command(f"MAIL FROM:<{sender}>{parameters}", 250)
        for recipient in recipients:
            self.command(f"RCPT TO:<{recipient}>", 250)
        self.command("DATA", 354)

    def letter(self, sender, recipients, body, parameters=""):
        """Sends a letter and returns its queue id."""
        self.begin(sender, recipients, parameters)
        self.send(stuff(body))
        return self.expect(250).rpartition(" ")[2]

    def chunked_letter(self, sender, recipients, body, parameters="", size=4093):
        """The same by BDAT (RFC 3030), in chunks of so many octets, pipelined."""
        chunks = [body[at:at + size] for at in range(0, len(body), size)] or [b""]
        self.send(f"MAIL FROM:<{sender}>{parameters}\r\n".encode() +
                  b"".join(f"RCPT TO:<{recipient}>\r\n".encode() for recipient in recipients) +
                  b"".join(b"BDAT %d\r\n%s" % (len(chunk), chunk) for chunk in chunks[:-1]) +
                  b"BDAT %d LAST\r\n%s" % (len(chunks[-1]), chunks[-1]))
        for _ in range(len(recipients) + len(chunks)):
            self.expect(250)
        return self.expect(250).rpartition(" ")[2]


class Pop3(Client):
    """A session; with a user it is logged in, and takes every letter (RFC 6856)."""

    def __init__(self, where, user=None, password=PASSWORD):
        super().__init__(where)
        self.greeting = self.ok()
        if user:
            self.command("UTF8")
            self.command(f"USER {user}")
            self.command(f"PASS {password}")

    def ok(self):
        line = self.line()
        if not line.startswith(b"+OK"):
            raise Trouble(f"wanted +OK, got {line!r}")
        return line.decode()

    def command(self, line):
        self.send(line.encode() + b"\r\n")
        return self.ok()

    def lines(self, line):
        """The lines of a multi-line answer, as they were before the dots were doubled."""
        self.command(line)
        found = []
        while (got := self.line()) != b".":
            found.append(got[1:] if got.startswith(b".") else got)
        return found

    def retrieve(self, number):
        return b"".join(line + b"\r\n" for line in self.lines(f"RETR {number}"))


class Loop(threading.Thread):
    """Runs `work` again and again until stop(), which raises what `work` raised."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work = work
        self.over = threading.Event()
        self.trouble = None
        self.rounds = 0
        self.start()

    def run(self):
        try:
            while not self.over.is_set():
                self.work()
                self.rounds += 1
        except BaseException as trouble:  # told by stop()
            self.trouble = trouble

    def stop(self):
        self.over.set()
        self.join(PATIENCE)
        if self.trouble:
            raise self.trouble
        return self.rounds
