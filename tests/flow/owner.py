"""The owner of some Maildirs, a process of its own: flags letters, files them in a folder and deletes
them, directly in the directories and while they are being delivered, until its standard input ends.

    owner.py SEED MAILDIR...

The Maildirs are there, with a folder .Archive. Says on standard output what it did, a JSON object a line: {"did": "flag", "file" or "delete",
"maildir": its number, "letter": the sequence number, "whole": ..., "witness": ...}.
"""

import json
import os
import random
import select
import sys

from ledger import judge, witness

HAND = 40  # letters at most that are touched in one mailbox before the next one's turn
BOLD = 0.1  # how often a letter is deleted that may come once more for it


class Owner:
    def __init__(self, chance, number, maildir):
        self.chance = chance
        self.number = number
        self.maildir = maildir

    def path(self, folder, name):
        return os.path.join(self.maildir, folder, name)

    def tell(self, did, letter, stood=False):
        number, whole = judge(letter.replace(b"\n", b"\r\n"))
        print(json.dumps({"did": did, "maildir": self.number, "letter": number, "whole": whole,
                          "witness": stood}))

    def rename(self, path, to):
        """Never over a second copy, which the ledger is to find."""
        if not os.path.exists(to):
            os.rename(path, to)

    def touch(self, folder, name):
        """One letter. Nobody else renames or removes anything here, so it stands where it was seen."""
        path = self.path(folder, name)
        with open(path, "rb") as file:
            letter = file.read()
        unique = name.partition(":")[0]
        what = self.chance.random()
        stood = witness(self.maildir, name)
        if what < (0.4 * BOLD if stood else 0.4):
            os.unlink(path)
            self.tell("delete", letter, stood)
        elif what < 0.7:
            self.rename(path, self.path(".Archive/cur", unique + ":2,S"))
            self.tell("file", letter)
        else:
            flags = "".join(sorted(self.chance.sample("FRS", self.chance.randint(1, 3))))
            self.rename(path, self.path("cur", f"{unique}:2,{flags}"))
            self.tell("flag", letter)

    def walk(self):
        for folder in ("new", "cur"):
            place = os.path.join(self.maildir, folder)
            names = os.listdir(place) if os.path.isdir(place) else []
            for name in self.chance.sample(names, min(HAND, len(names))):
                self.touch(folder, name)


def main():
    chance = random.Random(int(sys.argv[1]))
    owners = [Owner(chance, number, path) for number, path in enumerate(sys.argv[2:])]
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        for owner in owners:
            owner.walk()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
