"""The walls, tried from inside a running role: what it may not do, and what it holds."""

import errno
import os
import re
import unittest

from instance import BUILD, PLAIN, ROLES, Instance, Trouble, wait_for

ALICE = "alice@example.test"

# What a role may hold, below the instance's directory (`i/`) or as the kernel calls it. Descriptors
# 0, 1 and 2 are the terminal's; each role may append to the events and holds channels, and, in test
# builds, what the report itself is read from.
COMMON = [r"socket:\[\d+\]", r"anon_inode:\[eventpoll\]", r"i/log/events\.jsonl",
          r"/proc/\d+/(fd|maps)"]
EVENT = r"anon_inode:\[eventfd\]"  # threads tell the loop
DATABASE = r"i/state/{}\.db(-wal|-shm)?"
MAILDIRS = r"i/mail(/example\.test(/[^/]+(/(new|cur|tmp))?)?)?"
HOLDS = {
    "directory": [DATABASE.format("directory"), DATABASE.format("usage")],
    "login": [DATABASE.format("login"), DATABASE.format("directory"), EVENT],
    "queue": [r"i/spool(/lock|/log(/\d+)?|/body|/corrupt)?", EVENT],
    "postman": [MAILDIRS, EVENT],  # kept open between batches
    "reader": [r"i/mail"],
    "receiver": [],
    "porter": [],
}

# Memory that is shared with another process.
SHARES = {"queue": {"arena": "r--s"}, "receiver": {"arena": "rw-s"}}


class Jail(unittest.TestCase):
    build = PLAIN

    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(cls.build, users=(ALICE, "汉字@example.test"))
        with cls.instance.smtp() as client:  # each role has worked once
            client.letter("a@example.org", [ALICE], b"Subject: x\r\n\r\n" + b"y" * 300000 + b"\r\n")
        cls.instance.settle()
        with cls.instance.pop3(ALICE) as client:
            client.retrieve(1)
            client.command("QUIT")

    @classmethod
    def tearDownClass(cls):
        cls.instance.finish()

    def report(self, role):
        """([what its descriptors are], [(rights, what is mapped)])"""
        text = self.instance.ask(f"role {role} report")
        found = re.findall(r"(?m)^fd (\d+) (.*)$", text)
        place = os.path.realpath(self.instance.top) + "/"
        files = [what.replace(place, "") for number, what in found if int(number) > 2]
        maps = re.findall(r"(?m)^map \S+ (\S+) \S+ \S+ \d+ *(.*)$", text)
        self.assertTrue(files and maps)
        return files, maps

    def test_files_cannot_be_opened(self):
        for role in ROLES:
            with self.subTest(role):
                self.assertIn(int(self.instance.ask(f"role {role} try open")),
                              (-errno.EACCES, -errno.EPERM))

    def test_no_descriptor_too_many(self):
        for role in ROLES:
            with self.subTest(role):
                allowed = re.compile("|".join(f"(?:{one})" for one in COMMON + HOLDS[role]))
                files, _ = self.report(role)
                self.assertEqual([what for what in files if not allowed.fullmatch(what)], [])

    def test_no_memory_too_much(self):
        """Shared memory: the queue reads what the receiver writes; nothing is both writable and
        executable."""
        for role in ROLES:
            with self.subTest(role):
                _, maps = self.report(role)
                for rights, what in maps:
                    self.assertFalse("w" in rights and "x" in rights, (rights, what))
                    if rights.endswith("s"):
                        database = re.search(r"/state/(\w+)\.db-shm$", what)
                        memory = re.match(r"/memfd:(\w+) ", what)
                        self.assertTrue(database or memory, (rights, what))
                        if memory:
                            self.assertEqual(SHARES.get(role, {}).get(memory[1]), rights, what)

    def test_each_listener_at_its_own_role(self):
        """Of the descriptors that are sockets, those that listen on the network stand in receiver
        and porter only."""
        ports = {self.instance.smtp_port: "receiver", self.instance.pop3_port: "porter"}
        inodes = {}
        with open("/proc/net/tcp", encoding="ascii") as table:
            for row in table.read().splitlines()[1:]:
                words = row.split()
                if words[3] == "0A":
                    inodes[words[9]] = int(words[1].partition(":")[2], 16)
        seen = {}
        for role in ROLES:
            for what in self.report(role)[0]:
                inode = re.match(r"socket:\[(\d+)\]", what)
                port = inode and inodes.get(inode[1])
                if port:
                    seen.setdefault(port, []).append(role)
        self.assertEqual(seen, {port: [role] for port, role in ports.items()})

    def test_nothing_left_of_a_session(self):
        """A session that ended leaves no descriptor behind."""
        before = {role: len(self.report(role)[0]) for role in ROLES}
        for _ in range(5):
            with self.instance.smtp() as client:
                client.letter("a@example.org", [ALICE], b"Subject: again\r\n")
            self.instance.settle()
            with self.instance.pop3(ALICE) as client:
                client.command("QUIT")
        for role in ROLES:
            with self.subTest(role):
                most = before[role] + (2 if role == "queue" else 0)  # segments come and go
                wait_for(lambda role=role, most=most: len(self.report(role)[0]) <= most,
                         f"no more descriptors in the {role} than before")

    def test_status_of_the_kernel(self):
        """No new privileges, a seccomp filter; nobody of the same user may look into its memory."""
        for child in self.instance.status():
            with self.subTest(child["role"]):
                with open(f"/proc/{child['pid']}/status", encoding="ascii",
                          errors="replace") as file:
                    status = dict(line.split(":\t", 1) for line in file.read().splitlines()
                                  if ":\t" in line)
                self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
                if os.getuid() != 0:
                    self.assertRaises(PermissionError, os.listdir, f"/proc/{child['pid']}/fd")


class JailWithSanitizers(Jail):
    build = BUILD


class Deadly(unittest.TestCase):
    """What only an intruder asks for ends the process; the rest of the house goes on."""

    def test_it_ends_and_comes_back(self):
        with Instance(PLAIN, users=(ALICE,)) as instance:
            for role in ROLES:
                for what in ("connect", "exec"):
                    with self.subTest(role, what=what):
                        wait_for(instance.all_ready, "all roles")
                        before = {child["role"]: child for child in instance.status()}
                        try:
                            answer = instance.ask(f"role {role} try {what}")
                        except (Trouble, OSError):
                            answer = ""  # it ended before it could answer
                        self.assertEqual(answer, "")

                        def back(role=role, before=before):
                            child = instance.child(role)
                            return child and child["pid"] != before[role]["pid"]
                        wait_for(back, f"a new {role}")
                        others = {child["role"]: child["pid"] for child in instance.status()}
                        for name, child in before.items():
                            self.assertEqual(name == role, others[name] != child["pid"], name)
            died = [event["text"] for event in instance.events("died")]
            self.assertEqual(len(died), 2 * len(ROLES))
            self.assertTrue(all("was ended by signal 31" in text for text in died), died)
            with instance.smtp() as client:
                client.letter("a@example.org", [ALICE], b"Subject: alive\r\n")
            instance.settle()
            self.assertEqual(len(instance.letters(ALICE)), 1)


if __name__ == "__main__":
    unittest.main()
