"""Power cuts of a real kernel: file systems in files, with the spool and the Maildirs on one and on
two of them, go down under load (the GOINGDOWN ioctl: from that moment nothing reaches the disk any
more), and are mounted again. Then the ledger: everything acknowledged is there, once, whole.
"""

import contextlib
import errno
import fcntl
import os
import random
import struct
import tempfile
import time
import unittest
from unittest import mock

from test_disk import MIB, Disk, Scene, cannot_mount
from instance import LONG, Loop, Trouble, wait_for
from ledger import Ledger
from post import USERS, seed
from test_kill import CLIENTS, Sender
from test_kill import USERS as BOXES

SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN: _IOR('X', 125, __u32)
# What still reaches the disk: all that the system has, the journal, or nothing.
FLAGS = {"default": 0, "logflush": 1, "nologflush": 2}
ROUNDS = 20 if LONG else 1  # of each flag
SIZE = 320 * MIB  # what mkfs.xfs wants at least
GONE = (errno.EIO, errno.EUCLEAN)


def go_down(disk, flag):
    descriptor = os.open(disk.where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("<I", FLAGS[flag]))
    finally:
        os.close(descriptor)


def is_down(disk):
    try:
        with open(os.path.join(disk.where, "witness"), "wb") as file:
            file.write(b"x")
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in GONE
    return False


def mount_again(disk):
    def unmounted():
        return os.system(f"umount {disk.where} 2>/dev/null") == 0
    wait_for(unmounted, "the processes on the disk to be gone", 20)
    disk.mount()  # replays the journal


def cannot_go_down(kind):
    """Why not, or nothing."""
    reason = cannot_mount(kind)
    if reason:
        return reason
    directory = tempfile.mkdtemp(prefix="posthouse-power-")
    try:
        disk = Disk(directory, kind, SIZE)
        try:
            go_down(disk, "nologflush")
            return "" if is_down(disk) else f"{kind} takes the ioctl and goes on"
        finally:
            disk.finish()
    except OSError as error:
        return f"{kind} does not go down on request here: {error}"
    finally:
        os.rmdir(directory)


class Load:
    """Clients that send, and what they were promised. Nobody takes letters away: what an owner does
    to a Maildir may be lost with the power."""

    def __init__(self, instance, number):
        self.instance = instance
        self.chance = random.Random(number)
        self.ledger = Ledger(number)
        where = (instance.address, instance.smtp_port)
        self.senders = [Sender(self.ledger, where, i) for i in range(CLIENTS)]
        self.loops = [Loop(sender.work) for sender in self.senders]

    def let_it_run(self):
        before = len(self.ledger.acknowledged)
        wait_for(lambda: len(self.ledger.acknowledged) > before + 20, "letters to be acknowledged")
        time.sleep(self.chance.uniform(0, 0.25))

    def finish(self, bite):
        """(lost, torn, twice). What a broken promise has damaged stays in the queue, held."""
        for loop in self.loops:
            loop.stop()
        for sender in self.senders:
            sender.close()
        with contextlib.suppress(Trouble) if bite else contextlib.nullcontext():
            self.instance.settle(10 if bite else 120)
        return self.ledger.count(self.instance, BOXES)


class Power(unittest.TestCase):
    def cut(self, kind, names, bite=""):
        """(lost, torn, twice) of a storm with power cuts."""
        reason = cannot_go_down(kind)
        if reason:
            self.skipTest(reason)
        number = seed()
        settings = {"spool_dir": "disk/spool", "mail_dir": "disk/mail"} if names == ["disk"] else {}
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, POSTHOUSE_BITE=bite))
            scene = Scene(stack, {name: {"kind": kind, "size": SIZE} for name in names}, settings)
            instance = scene.instance
            for user in set(BOXES) - set(USERS):
                instance.add_user(user)
            load = Load(instance, number)
            order = [flag for flag in FLAGS for _ in range(ROUNDS)]
            load.chance.shuffle(order)
            for flag in order:
                self.power_fails(load, [scene.disks[name] for name in names], flag)
            lost, torn, twice = load.finish(bite)
            ledger = load.ledger
            print(f"# {kind}, {' and '.join(names)}: seed {number}: {len(order)} power cuts, "
                  f"{len(ledger.acknowledged)} letters acknowledged, {ledger.large} of them large; "
                  f"lost {len(lost)}, torn {len(torn)}, twice {len(twice)}{bite and '; broken: '}"
                  f"{bite}", flush=True)
            self.assertGreater(len(ledger.acknowledged), 20 * len(order))
            if not bite:
                self.assertEqual(instance.events("corrupt"), [])
            return lost, torn, twice

    def power_fails(self, load, disks, flag):
        load.let_it_run()
        load.chance.shuffle(disks)
        for disk in disks:
            go_down(disk, flag)
            time.sleep(load.chance.uniform(0, 0.01))
        load.instance.kill()
        for disk in disks:
            mount_again(disk)
        load.instance.start()

    def nothing_lost(self, kind, names):
        self.assertEqual(self.cut(kind, names), ([], [], []))

    def test_ext4_one(self):
        self.nothing_lost("ext4", ["disk"])

    def test_ext4_two(self):
        self.nothing_lost("ext4", ["spool", "mail"])

    def test_xfs_one(self):
        self.nothing_lost("xfs", ["disk"])

    def test_xfs_two(self):
        self.nothing_lost("xfs", ["spool", "mail"])

    def test_a_sync_that_does_nothing_is_found(self):
        """These power cuts are real: src/os/bites.def."""
        for kind in ("ext4", "xfs"):
            with self.subTest(kind):
                self.assertNotEqual(self.cut(kind, ["spool", "mail"], "fdatasync"), ([], [], []))


if __name__ == "__main__":
    unittest.main()
