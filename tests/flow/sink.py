"""A server that takes letters and does what it is told: the other end for tests of sending.

    with Sink() as sink:                       # SMTP on 127.x.y.z, a free port
        sink.replies["RCPT"] = lambda argument, n: "450 4.2.1 not now" if n == 1 else None
        ...
        sink.letters[0].recipients, .body, .session

`replies`: {what: reply}, what is BANNER, a verb, END (of the letter; of LMTP for each recipient).
A reply is a text, CLOSE, SILENCE, or a function of (argument, how often it was asked) that gives
one; None is the usual reply. """

import re
import socket
import threading

from instance import PATIENCE, free_port, own_address, wait_for

CLOSE, SILENCE = "close", "silence"
OFFERS = ("PIPELINING", "8BITMIME", "SIZE 100000000", "ENHANCEDSTATUSCODES", "SMTPUTF8")


class Letter:
    def __init__(self, session, sender):
        self.session, self.sender, self.parameters = session, *sender
        self.recipients = []
        self.body = b""


class Sink:
    def __init__(self, lmtp=False, offers=OFFERS, address=None, path=None):
        self.lmtp, self.offers, self.replies = lmtp, list(offers), {}
        self.letters, self.commands, self.sessions, self.open = [], [], 0, 0
        self.most_open = 0
        self.counts = {}
        self.lock = threading.Lock()
        self.over = False
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.target = f"lmtp:{path}"
        else:
            self.address = address or own_address()
            self.listener = socket.create_server((self.address, 0), backlog=200)
            self.port = self.listener.getsockname()[1]
            self.target = f"{'lmtp' if lmtp else 'smtp'}://{self.address}:{self.port}"
        self.listener.listen(200)
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.over = True
        self.listener.close()

    def wait(self, count):
        wait_for(lambda: len(self.letters) >= count, f"{count} letters, not {len(self.letters)}")

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def reply(self, what, argument=""):
        with self.lock:
            self.counts[what] = count = self.counts.get(what, 0) + 1
            self.commands.append(what)
        found = self.replies.get(what)
        return found(argument, count) if callable(found) else found

    def serve(self, client):
        with self.lock:
            self.sessions += 1
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            number = self.sessions
        try:
            client.settimeout(PATIENCE)
            Session(self, client, number).run()
        except (OSError, EOFError):
            pass
        finally:
            client.close()
            with self.lock:
                self.open -= 1


class Session:
    def __init__(self, sink, client, number):
        self.sink, self.client, self.number, self.input = sink, client, number, client.makefile("rb")
        self.letter = None

    def say(self, what, usual, argument=""):
        """Sends the reply; true when it is a yes."""
        reply = self.sink.reply(what, argument) or usual
        if reply == CLOSE:
            raise EOFError
        if reply == SILENCE:
            self.client.recv(1 << 20)
            raise EOFError
        self.client.sendall(reply.encode() + b"\r\n")
        return reply[0] in "23"

    def line(self):
        line = self.input.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        return line[:-2]

    def run(self):
        self.say("BANNER", "220 sink.example ready")
        while True:
            line = self.line().decode()
            verb = re.match(r"(?i)MAIL FROM|RCPT TO|\w+", line).group(0).upper().split()[0]
            getattr(self, "on_" + verb.lower())(line)
            if verb == "QUIT":
                return

    def hello(self, line):
        lines = ["sink.example", *self.sink.offers]
        self.say(line.split()[0].upper(), "\r\n".join(
            f"250{'-' if n + 1 < len(lines) else ' '}{text}" for n, text in enumerate(lines)), line)

    on_ehlo = on_lhlo = hello

    def on_helo(self, line):
        self.say("HELO", "250 sink.example", line)

    def on_mail(self, line):
        sender, parameters = re.fullmatch(r"(?i)MAIL FROM:<(.*?)>(.*)", line).groups()
        if self.say("MAIL", "250 2.1.0 ok", line):
            self.letter = Letter(self.number, (sender, parameters.split()))

    def on_rcpt(self, line):
        recipient = re.fullmatch(r"(?i)RCPT TO:<(.*?)>(.*)", line).group(1)
        if self.say("RCPT", "250 2.1.5 ok", recipient) and self.letter:
            self.letter.recipients.append(recipient)

    def on_data(self, line):
        usual = "354 go on" if self.letter and self.letter.recipients else "554 5.5.1 no recipients"
        if not self.say("DATA", usual, line):
            return
        body = []
        while (text := self.line()) != b".":
            body.append(text[1:] if text.startswith(b".") else text)
        self.letter.body = b"".join(text + b"\r\n" for text in body)
        self.end()

    def end(self):
        letter, self.letter = self.letter, None
        if self.sink.lmtp:
            good = [to for to in letter.recipients if self.say("END", "250 2.0.0 taken", to)]
            letter.recipients = good
        elif not self.say("END", "250 2.0.0 taken"):
            return
        if letter.recipients:
            with self.sink.lock:
                self.sink.letters.append(letter)

    def on_rset(self, line):
        self.letter = None
        self.say("RSET", "250 2.0.0 ok", line)

    def on_quit(self, line):
        self.say("QUIT", "221 2.0.0 bye", line)
