"""The ledger: what clients were promised against what is in the mailboxes. Lost: acknowledged and not
there. Torn: not octet for octet what was sent. Twice: more copies than one.

Mail leaves a mailbox by its owner's hand as well: those who take it away say so, and say whether the
letter's witness (tmp/NAME, the second link of a letter that is not "done" yet) was there just before.
Only then may the letter come once more: nothing can tell whether it had been delivered already.
"""

import hashlib
import os
import threading

FOLDERS = ("new", "cur", ".Archive/cur")


class Ledger:
    """A letter is a sequence number; a copy is (number, user)."""

    def __init__(self, seed):
        self.seed = seed
        self.lock = threading.Lock()
        self.next = 0
        self.sent = {}  # number -> users
        self.acknowledged = set()
        self.handed_over = 0  # letters sent to the last octet, and no reply yet
        self.large = 0
        self.refused = 0
        self.broken = 0
        self.removed = {}  # copy -> of each removal, whether the witness stood
        self.perhaps = set()  # copies that were read whole and perhaps removed: no reply came
        self.excused = 0  # copies that came once more, and might
        self.wrong = []

    def draw(self, users):
        with self.lock:
            self.next += 1
            self.sent[self.next] = users
            return self.next

    def remove(self, copy, witness):
        with self.lock:
            self.removed.setdefault(copy, []).append(witness)

    def count(self, instance, users):
        """(lost, torn, twice)"""
        present, torn = {}, list(self.wrong)
        self.excused = 0
        for user in users:
            for path in instance.names(user, *FOLDERS):
                with open(path, "rb") as file:
                    letter = file.read()
                number, whole = judge(letter.replace(b"\n", b"\r\n"))
                if not whole:
                    torn.append((path, letter[:300]))
                present[number, user] = present.get((number, user), 0) + 1
        promised = {(number, user) for number in self.acknowledged for user in self.sent[number]}
        lost = promised - present.keys() - self.removed.keys() - self.perhaps
        twice = []
        for copy in present.keys() | self.removed.keys():
            removals = self.removed.get(copy, [])
            more = present.get(copy, 0) + len(removals) - 1
            if more > sum(removals) or copy[1] not in self.sent.get(copy[0], ()):
                twice.append(copy)
            else:
                self.excused += more
        return sorted(lost), torn, twice


def compose(number, size, chance):
    filler = chance.randbytes(48).hex().encode()
    lines, left = [], size
    while left > 0:
        line = b"." * chance.randint(0, 2) + filler[:chance.randint(0, 96)]
        lines.append(line)
        left -= len(line) + 2
    text = b"".join(line + b"\r\n" for line in lines)
    return (b"X-Seq: %d\r\nX-Digest: %s\r\nSubject: ledger \xe5\xb8\x90\r\n\r\n" % (
        number, hashlib.sha256(text).hexdigest().encode()) + text)


def judge(letter):
    """(number, whole) of a letter with CRLF; number None when not even that can be read."""
    head, _, text = letter.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n") if b": " in line)
    try:
        number = int(fields[b"X-Seq"])
        return number, fields[b"X-Digest"] == hashlib.sha256(text).hexdigest().encode()
    except (KeyError, ValueError):
        return None, False


def witness(maildir, name):
    """Whether the letter of this file may not be "done" yet. To be asked before it is removed."""
    unique = name.partition(":")[0]
    return os.path.exists(os.path.join(maildir, "tmp", unique))
