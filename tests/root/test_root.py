"""An instance that root starts: users, rights, the low port."""

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "flow"))
from instance import BUILD, PLAIN, ROLES, Instance, Smtp, own_address, wait_for  # noqa: E402

ALICE = "alice@example.test"
RUN_AS, MAIL_USER = "posthouse-test", "posthouse-mail"


def make_user(name):
    """A system user for the tests, or the reason why there can be none."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        pass
    if not shutil.which("useradd"):
        raise unittest.SkipTest("there is no useradd")
    subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
                   check=True, capture_output=True, timeout=60)
    return pwd.getpwnam(name)


def run_as_other(instance, run_as=RUN_AS, mail_user=None):
    """Changes the users of an instance that was never started, as its administrator would."""
    owners = {name: make_user(run_as) for name in ("spool", "state", "log")}
    instance.set("run_as", run_as)
    owners["mail"] = make_user(mail_user or run_as)
    if mail_user:
        instance.set("mail_user", mail_user)
    for name, who in owners.items():
        for folder, _, files in os.walk(os.path.join(instance.directory, name)):
            for path in (folder, *(os.path.join(folder, file) for file in files)):
                os.chown(path, who.pw_uid, who.pw_gid)


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)


class Root(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.getuid() != 0:
            raise unittest.SkipTest("only root can try this")

    def send_and_fetch(self, instance, port=None):
        with Smtp((instance.address, port or instance.smtp_port)) as client:
            client.letter("a@example.org", [ALICE], b"Subject: root\r\n\r\nhello\r\n")
        instance.settle()
        with instance.pop3(ALICE) as client:
            letter = client.retrieve(1)
            client.command("DELE 1")
            client.command("QUIT")
        self.assertIn(b"Subject: root\r\n\r\nhello\r\n", letter)

    def test_freshly_installed(self):
        """`init`, `user add`, `serve` by root, as someone types them who has just installed it."""
        for build in (PLAIN, BUILD):
            with self.subTest(build), Instance(build, users=(ALICE,)) as instance:
                run_as = next(line.split()[1] for line in instance.read_conf().splitlines()
                              if line.startswith("run_as:"))
                uid = pwd.getpwnam(run_as).pw_uid
                self.assertNotEqual(uid, 0)
                self.send_and_fetch(instance)
                for child in instance.status():
                    status = status_of(child["pid"])
                    self.assertEqual(status["Uid"].split(), [str(uid)] * 4, child)
                    self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"), child)
                    for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                        self.assertEqual(int(status[name], 16), 0, (child, name))
                    self.assertLessEqual(set(status["Groups"].split()),
                                         {str(pwd.getpwnam(run_as).pw_gid)}, child)
                instance.stop()
                instance.start()
                self.send_and_fetch(instance)

    def test_two_users(self):
        """run_as for the spool, mail_user for the Maildirs: files and processes are whose they
        should be, also after each role was killed."""
        run_as, mail_user = make_user(RUN_AS), make_user(MAIL_USER)
        with Instance(PLAIN, users=(), start=False) as instance:
            run_as_other(instance, RUN_AS, MAIL_USER)
            instance.start()
            instance.add_user(ALICE)
            self.send_and_fetch(instance)
            with Smtp((instance.address, instance.smtp_port)) as client:
                client.letter("a@example.org", [ALICE], b"Subject: stays\r\n")
            instance.settle()
            self.judge_processes(instance, run_as, mail_user)
            self.judge_files(instance, run_as, mail_user)
            for role in ROLES:
                old = instance.child(role)["pid"]
                os.kill(old, 9)
                wait_for(lambda role=role, old=old: (instance.child(role) or {}).get("pid", old)
                         != old, f"a new {role}")
            self.judge_processes(instance, run_as, mail_user)
            instance.run("reload")
            wait_for(lambda: len(instance.status()) == len(ROLES) and instance.all_ready(),
                     "one of each role")
            self.judge_processes(instance, run_as, mail_user)
            instance.stop()
            instance.start()
            with instance.pop3(ALICE) as client:
                self.assertEqual(client.command("STAT").split()[1], "1")

    def judge_processes(self, instance, run_as, mail_user):
        for child in instance.status():
            who = mail_user if child["role"] in ("postman", "reader") else run_as
            status = status_of(child["pid"])
            self.assertEqual(status["Uid"].split(), [str(who.pw_uid)] * 4, child)
            self.assertEqual(status["Gid"].split(), [str(who.pw_gid)] * 4, child)
            self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"), child)
            self.assertEqual(int(status["CapEff"], 16) | int(status["CapPrm"], 16), 0, child)

    def judge_files(self, instance, run_as, mail_user):
        """Nobody else's; others can read no letter and no secret."""
        for name, who in (("spool", run_as), ("state", run_as), ("mail", mail_user)):
            top = os.path.join(instance.directory, name)
            for folder, folders, files in os.walk(top):
                for path in (folder, *(os.path.join(folder, one) for one in files)):
                    st = os.lstat(path)
                    if name != "state" or not path.endswith(("/lock", "/control")):
                        self.assertEqual((path, st.st_uid), (path, who.pw_uid))
            self.assertEqual(stat.S_IMODE(os.stat(top).st_mode) & 0o077, 0, top)
        login = os.stat(os.path.join(instance.directory, "state/login.db"))
        self.assertEqual(stat.S_IMODE(login.st_mode) & 0o077, 0)

    def test_others_may_not_ask(self):
        """The control socket answers root and the owner, nobody else."""
        nobody = pwd.getpwnam("nobody")
        with Instance(PLAIN, users=(), start=False) as instance:
            run_as_other(instance)
            instance.start()
            path = os.path.join(instance.directory, "state/control")
            os.chmod(instance.top, 0o755)
            done = subprocess.run([sys.executable, "-c", "import os, socket, sys\n"
                                   f"os.setgroups([]); os.setgid({nobody.pw_gid})\n"
                                   f"os.setuid({nobody.pw_uid})\n"
                                   "socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n", path],
                                  capture_output=True, timeout=60)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(b"PermissionError", done.stderr)

    def test_no_such_user(self):
        """A user that is not there is told, and nothing runs as root instead."""
        with Instance(PLAIN, users=(), start=False) as instance:
            instance.set("run_as", "posthouse-nobody-has-this-name")
            instance.launch()
            instance.wait(1)
            self.assertIn("posthouse-nobody-has-this-name", instance.said())

    def test_root_is_no_user_for_it(self):
        """run_as: root would take down every wall."""
        with Instance(PLAIN, users=(), start=False) as instance:
            instance.set("run_as", "root")
            instance.launch()
            instance.wait(1)

    def test_low_port(self):
        """Port 25, which the roles could not open themselves."""
        address = own_address()
        if address == "127.0.0.1":
            self.skipTest("port 25 of 127.0.0.1 may be somebody's")
        with Instance(PLAIN, users=(ALICE,), start=False) as instance:
            conf = instance.read_conf()
            instance.write_conf(conf.replace(f"{instance.address}:{instance.smtp_port}",
                                             f"{instance.address}:25"))
            instance.start()
            self.send_and_fetch(instance, 25)
            instance.run("reload")  # the socket lives on in the supervisor
            self.send_and_fetch(instance, 25)
            for role in ("receiver", "supervisor"):
                if role == "receiver":
                    old = instance.child(role)["pid"]
                    os.kill(old, 9)
                    wait_for(lambda old=old: (instance.child("receiver") or {}).get("pid", old)
                             != old, "a new receiver")
                else:
                    instance.kill()
                    instance.start()
                self.send_and_fetch(instance, 25)

    def test_commands_of_root_leave_no_roots_files(self):
        """`user add`, `spool check` by root where the server runs as somebody else: all stays usable."""
        with Instance(PLAIN, users=(), start=False) as instance:
            run_as_other(instance)
            instance.start()
            for number in range(3):
                instance.add_user(f"u{number}@example.test")
            instance.add_user(ALICE)
            instance.stop()
            instance.run("user", "remove", "u0@example.test")
            instance.spool_check()
            who = pwd.getpwnam(RUN_AS)
            for folder, folders, files in os.walk(os.path.join(instance.directory, "spool")):
                for name in folders + files:
                    self.assertEqual(os.lstat(os.path.join(folder, name)).st_uid, who.pw_uid, name)
            instance.start()
            self.send_and_fetch(instance)
            self.assertEqual(len([json.loads(line) for line in
                                  instance.run("user", "list", "--json").splitlines()]), 3)


if __name__ == "__main__":
    unittest.main()
