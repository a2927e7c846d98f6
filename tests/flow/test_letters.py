"""Whole collections of letters, in by DATA and by BDAT, out by POP3: octet for octet what was sent
stands below the trace fields. The project's own stand in tests/letters/, real ones where
POSTHOUSE_CORPUS says. What is printed of a letter is its name, never its text."""

import os
import re
import unittest

from instance import TESTS, Instance
from trace_fields import parts

OWN = os.path.join(TESTS, "letters")
CORPUS = os.environ.get("POSTHOUSE_CORPUS")
BESIDE = ("SOURCE.md", "index.tsv", ".gitattributes")  # in the folders of letters, and none
DATA, BDAT = "data@example.test", "bdat@example.test"


def as_sent(text):
    """A file as a letter: without the mark of an mbox, with CRLF at the end of each line."""
    if text.startswith(b"From "):
        text = text.partition(b"\n")[2]
    text = re.sub(rb"\r\n|\r|\n", b"\r\n", text)
    return text + b"\r\n" if text and not text.endswith(b"\r\n") else text


def collect(folder):
    """{name: letter}"""
    found = {}
    for place, _, names in os.walk(folder):
        for name in sorted(set(names) - set(BESIDE)):
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = as_sent(file.read())
    return found


def header_of(letter):
    """With the empty line behind it."""
    head, empty, _ = letter.partition(b"\r\n\r\n")
    return head + empty


def is_utf8(octets):
    try:
        octets.decode()
        return True
    except UnicodeDecodeError:
        return False


def parameters(letter):
    """What a client that keeps the rules says of a letter of 8 bits (RFC 6152, RFC 6531)."""
    header = header_of(letter)
    return (("" if letter.isascii() else " BODY=8BITMIME") +
            (" SMTPUTF8" if not header.isascii() and is_utf8(header) else ""))


class Letters(unittest.TestCase):
    def carry(self, letters):
        """By DATA with every parameter that fits, by BDAT with none."""
        with Instance(users=(DATA, BDAT)) as instance:
            sent = {DATA: {}, BDAT: {}}
            with instance.smtp() as client:
                for name, letter in letters.items():
                    with self.subTest(name):
                        queue_id = client.letter("a@example.org", [DATA], letter, parameters(letter))
                        sent[DATA][queue_id] = name
                        sent[BDAT][client.chunked_letter("b@example.org", [BDAT], letter)] = name
            instance.settle()
            for user, names in sent.items():
                self.assertEqual(len(names), len(letters))
                self.compare(instance, user, names, letters)
            self.assertEqual(instance.names(DATA) + instance.names(BDAT), [])

    def compare(self, instance, user, names, letters):
        with instance.pop3(user) as client:
            sizes = [int(line.split()[1]) for line in client.lines("LIST")]
            self.assertEqual(len(sizes), len(letters))
            self.assertEqual(client.command("STAT").split()[1:3], [str(len(sizes)), str(sum(sizes))])
            for number, size in enumerate(sizes, 1):
                letter = client.retrieve(number)
                _, received, text = parts(letter)
                name = names.pop(received["id"].decode())
                with self.subTest(name, user=user):
                    same = os.path.commonprefix([text, letters[name]])
                    self.assertTrue(text == letters[name], f"from octet {len(same)} on")
                    self.assertEqual(size, len(letter))
                    top = b"".join(line + b"\r\n" for line in client.lines(f"TOP {number} 0"))
                    self.assertTrue(top == header_of(letter), "TOP is another header")
                client.command(f"DELE {number}")
            client.command("QUIT")
        self.assertEqual(names, {})

    def test_own(self):
        letters = collect(OWN)
        self.assertGreater(len(letters), 25)
        self.carry(letters)

    @unittest.skipUnless(CORPUS, "no corpus")
    def test_corpus(self):
        letters = collect(CORPUS)
        self.assertGreater(len(letters), 0)
        self.carry(letters)


if __name__ == "__main__":
    unittest.main()
