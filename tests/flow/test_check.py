"""`posthouse spool check`: what it says of the spool of an instance, and that it changes nothing."""

import hashlib
import os
import unittest

from instance import Instance, wait_for

ALICE = "alice@example.test"


def contents(top):
    """{path: (rights, digest)} of all that stands below."""
    found = {}
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[path] = os.stat(path).st_mode, hashlib.sha256(file.read()).hexdigest()
    return found


class Check(unittest.TestCase):
    def test_a_life(self):
        with Instance(users=(ALICE,), start=False) as instance:
            spool = os.path.join(instance.directory, "spool")
            self.assertEqual(instance.spool_check()["segments"], 0)  # never started
            self.assertEqual(os.listdir(spool), [])
            instance.start()
            place = instance.make_maildir(ALICE, folders=())
            os.rmdir(place)
            with open(place, "w", encoding="utf-8"):
                pass  # nothing can be delivered
            with instance.smtp() as client:
                for text in (b"short", b"x" * 70 + b"\r\n", (b"y" * 70 + b"\r\n") * 4000):
                    client.letter("a@example.org", [ALICE], b"Subject: x\r\n\r\n" + text + b"\r\n")
            wait_for(lambda: len(instance.events("deferred")) >= 3, "deferrals")
            self.assertIn("a queue runs on this spool", instance.run("spool", "check", code=75))
            instance.stop()
            before = contents(spool)
            found = instance.spool_check()
            self.assertEqual((found["letters"], found["recipients"]["waiting"]), (3, 3))
            self.assertEqual((found["states"]["10"], found["states"]["7"]), (3, 1))
            self.assertEqual(found["findings"], [])
            text = instance.run("spool", "check")
            self.assertIn("letters: 3\n", text)
            self.assertIn("damaged places: 0\n", text)
            self.assertEqual(contents(spool), before)
            self.struck(instance, spool)
            self.assertIn("usage", instance.run("spool", "check", "now", code=64))

    def struck(self, instance, spool):
        """One octet of a body, in the log and in a file."""
        (body,) = os.listdir(os.path.join(spool, "body"))
        for name in os.listdir(os.path.join(spool, "log")):
            with open(os.path.join(spool, "log", name), "rb") as file:
                octets = file.read()
            if b"short" in octets:
                segment, at = name, octets.index(b"short")
        for path, offset in ((os.path.join(spool, "body", body), 200_000),
                             (os.path.join(spool, "log", segment), at)):
            with open(path, "r+b") as file:
                file.seek(offset)
                octet = file.read(1)
                file.seek(offset)
                file.write(bytes([octet[0] ^ 1]))
        found = instance.spool_check(damage=True)
        self.assertEqual({(f["state"], f["file"], f["damage"]) for f in found["findings"]},
                         {(18, f"body/{body}", True), (14, f"log/{segment}", True)})
        self.assertEqual(found["states"]["14"] + found["states"]["18"], found["damage"])
        _, text, _ = instance.outcome("spool", "check", codes=(1,))
        self.assertIn("DAMAGE, state 14, something between two whole frames", text)
        self.assertIn("damaged places: 2\n", text)


if __name__ == "__main__":
    unittest.main()
