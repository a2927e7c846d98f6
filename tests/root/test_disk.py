"""Disks in trouble: full, without inodes, read-only, without hard links. Small file systems are made
in files and mounted over the spool and the Maildirs of an instance. What is promised: MAIL is
answered 452 4.3.1 before the disk is full; no 250 is false; no role starts again and again; states
can still be written; and when the space comes back the service does too, by itself, with nothing
lost, torn or twice.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[1:1] = [TESTS, os.path.join(TESTS, "flow")]
import fault  # noqa: E402
from instance import PLAIN, Instance, Trouble, wait_for  # noqa: E402
from post import USERS, Post, seed  # noqa: E402

MIB = 1 << 20
XFS_LEAST = 320 * MIB  # mkfs.xfs makes none smaller than 300
SHORT_OF_SPACE = {"disk_reserve": "8M"}
LARGE = 200_000
HOUR_MS = 3_600_000


class Disk:
    """A file system of its own, mounted over one directory of an instance."""

    def __init__(self, where, kind="ext4", size=128 * MIB, inodes=4096):
        self.where, self.kind = where, kind
        self.image = None
        owner = os.stat(where)
        if kind == "tmpfs":
            command("mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes}", "tmpfs", where)
        else:
            with tempfile.NamedTemporaryFile(prefix="posthouse-disk-", delete=False) as file:
                self.image = file.name
                file.truncate(max(size, XFS_LEAST) if kind == "xfs" else size)
            make = {"ext4": ("-q", "-m", "0", "-N", str(inodes)), "xfs": ("-q",), "vfat": ()}
            options = {"vfat": f"loop,uid={owner.st_uid},gid={owner.st_gid},umask=077",
                       "xfs": "loop,allocsize=64k"}  # sets no more aside for files that grow
            self.options = options.get(kind, "loop")
            try:
                command("mkfs." + kind, *make[kind], self.image)
                self.mount()
            except OSError:
                os.unlink(self.image)
                raise
        if kind != "vfat":
            os.chown(where, owner.st_uid, owner.st_gid)
            os.chmod(where, 0o700)
            shutil.rmtree(os.path.join(where, "lost+found"), ignore_errors=True)

    def mount(self):
        command("mount", "-o", self.options, self.image, self.where)

    def finish(self):
        command("umount", "-l", self.where)
        if self.image:
            os.unlink(self.image)

    def free(self):
        space = os.statvfs(self.where)
        return space.f_bavail * space.f_frsize

    def fill(self, leave=0):
        """Takes space by a ballast file until so much is left."""
        path = os.path.join(self.where, "ballast")
        with open(path, "ab", buffering=0) as file:
            for piece in (MIB, 4096):
                with contextlib.suppress(OSError):
                    while self.free() > leave + piece:
                        file.write(b"\xff" * piece)
                    os.fsync(file.fileno())

    def take_inodes(self):
        directory = os.path.join(self.where, "ballast")
        os.makedirs(directory, exist_ok=True)
        with contextlib.suppress(OSError):
            for number in range(1 << 20):
                with open(os.path.join(directory, str(number)), "xb"):
                    pass

    def empty(self):
        """The ballast goes."""
        path = os.path.join(self.where, "ballast")
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def read_only(self, yes):
        command("mount", "-o", f"remount,{'ro' if yes else 'rw'}", self.where)


def command(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")


def cannot_mount(kind):
    """Why not, or nothing."""
    if os.geteuid() != 0:
        return "mounting needs root"
    directory = tempfile.mkdtemp(prefix="posthouse-disk-")
    try:
        Disk(directory, kind, size=16 * MIB, inodes=64).finish()
    except OSError as error:
        return f"no small {kind} can be mounted here: {error}"
    finally:
        os.rmdir(directory)
    return ""


def needs(kind):
    reason = cannot_mount(kind)
    return unittest.skipIf(reason, reason)


class Scene:
    """An instance on such disks, and its post."""

    def __init__(self, stack, disks, settings=()):
        self.instance = stack.enter_context(Instance(PLAIN, users=USERS, start=False,
                                                     settings={**SHORT_OF_SPACE, **dict(settings)}))
        path = os.path.join(self.instance.top, "page")
        self.page = fault.Page.create(path)
        os.chmod(path, 0o666)
        self.instance.environment["POSTHOUSE_FAULT"] = path
        self.disks = {}
        for name, options in disks.items():
            if name == "disk":
                self.make_shared()
            disk = Disk(os.path.join(self.instance.directory, name), **options)
            stack.callback(disk.finish)
            self.disks[name] = disk
            if name == "disk":
                self.share(disk)
        stack.callback(self.end)
        self.instance.start()
        self.post = Post(self.instance, seed())
        self.shift_ms = 0

    def make_shared(self):
        os.mkdir(os.path.join(self.instance.directory, "disk"))

    def share(self, disk):
        """Spool and Maildirs stand on it; where they stood a link leads there."""
        for name in ("spool", "mail"):
            old, new = os.path.join(self.instance.directory, name), os.path.join(disk.where, name)
            owner = os.stat(old)
            os.mkdir(new, 0o700)
            os.chown(new, owner.st_uid, owner.st_gid)
            os.rmdir(old)
            os.symlink(new, old)
        os.chmod(disk.where, 0o755)

    def end(self):
        """Before the disks go."""
        self.post.close()
        if self.instance.process:
            self.instance.process.terminate()
            self.instance.process.wait(60)
            self.instance.process = None

    def hold_back(self, on=True):
        """No letter leaves the queue."""
        self.page.clear()
        if on:
            self.page.rule("link", role="postman", error="EIO")

    def hour_passes(self):
        """What was deferred is due."""
        self.post.close()
        self.shift_ms += HOUR_MS
        self.page.shift_wall(self.shift_ms)
        self.page.shift_monotonic(self.shift_ms)

    def space(self):
        return json.loads(self.instance.ask("queue status"))["space"]

    def deaths(self):
        return [event["text"] for event in self.instance.events("died")]

    def send_until(self, codes, most=3000, size=None):
        """Sends until a reply is one of these; returns it."""
        for _ in range(most):
            code = self.post.send(size)
            if code in codes:
                return code
        raise Trouble(f"{most} letters were sent and none was answered {codes}")

    def refuse_at_mail(self):
        """452 4.3.1 is said to MAIL."""
        self.post.close()
        with self.instance.smtp() as client:
            code, text = client.command("MAIL FROM:<sender@example.org>")
            if code != 452 or not text.startswith("4.3.1"):
                raise Trouble(f"MAIL on a full disk: {code} {text}")

    def recover(self, seconds=15):
        """By itself, within that time, a letter is taken again; then all are delivered."""
        wait_for(lambda: self.post.send() == 250, "the service to come back", seconds)
        self.hour_passes()
        self.instance.settle()
        self.post.count()


@needs("ext4")
class DiskCase(unittest.TestCase):
    def scene(self, disks, **settings):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        return Scene(stack, disks, settings)

    def finish(self, scene, deaths=0):
        print(f"# {self.id().partition('.')[2]}: {scene.post.report()}", flush=True)
        self.assertEqual(len(scene.deaths()), deaths, scene.deaths())
        self.assertGreater(len(scene.post.counted), 0)


class FullDisk(DiskCase):
    def queue_fills(self, kind):
        """Letters stay in the queue until the disk is short of space; the space comes back because
        they are delivered."""
        scene = self.scene({"spool": {"kind": kind, "size": 160 * MIB}})
        scene.hold_back()
        scene.send_until({452}, size=LARGE)
        disk = scene.disks["spool"]
        self.assertGreater(disk.free(), 0)
        scene.refuse_at_mail()
        # States are written all the same: each attempt is counted, and a restart knows them.
        attempts = self.attempts(scene)
        scene.hour_passes()
        wait_for(lambda: self.attempts(scene) > attempts, "states on a full disk")
        scene.post.close()
        scene.instance.stop()
        scene.instance.start()
        wait_for(lambda: self.attempts(scene) > attempts, "states after a restart")
        scene.refuse_at_mail()
        scene.hold_back(False)
        scene.hour_passes()
        scene.recover()
        self.finish(scene)

    def attempts(self, scene):
        return sum(json.loads(line)["attempts"]
                   for line in scene.instance.ask("queue list").splitlines())

    def test_queue_fills_ext4(self):
        self.queue_fills("ext4")

    def test_queue_fills_tmpfs(self):
        self.queue_fills("tmpfs")

    @needs("xfs")
    def test_queue_fills_xfs(self):
        self.queue_fills("xfs")

    def test_small_letters_fill_the_log(self):
        """The same with letters that stand in the log: its segments are the disk's content."""
        scene = self.scene({"spool": {"size": 128 * MIB}})
        scene.hold_back()
        scene.send_until({452}, size=100_000)
        scene.refuse_at_mail()
        scene.hold_back(False)
        scene.hour_passes()
        scene.recover()
        scene.hold_back()
        scene.send_until({452}, size=100_000)  # and once more: nothing was used up by the first time
        scene.hold_back(False)
        scene.hour_passes()
        scene.recover()
        self.finish(scene)

    def somebody_else_fills(self, fill):
        """The disk is full to its last block through no fault of ours, and empty again."""
        scene = self.scene({"spool": {"size": 128 * MIB, "inodes": 256}})
        self.assertEqual(scene.post.send(), 250)
        scene.hold_back()
        self.assertEqual(scene.send_until({250}), 250)
        fill(scene.disks["spool"])
        scene.send_until({452})
        wait_for(lambda: not scene.space(), "the queue to see it", 10)
        scene.refuse_at_mail()
        scene.hour_passes()
        scene.hold_back(False)
        scene.hour_passes()
        scene.instance.settle()  # the letters leave a full disk
        scene.post.count()
        scene.instance.stop()
        scene.instance.start()
        wait_for(lambda: not scene.space(), "the queue to see it after a start", 10)
        scene.refuse_at_mail()
        scene.disks["spool"].empty()
        scene.recover()
        self.finish(scene)

    def test_ballast(self):
        self.somebody_else_fills(Disk.fill)

    def test_no_inodes(self):
        self.somebody_else_fills(Disk.take_inodes)

    def test_full_between_two_looks(self):
        """The disk fills up in the second in which nobody looks at it, while letters come."""
        scene = self.scene({"spool": {"size": 128 * MIB}})
        disk = scene.disks["spool"]
        for size in (2000, 100_000, LARGE):
            disk.fill(leave=12 * MIB)  # above the reserve
            scene.post.send(size)
            disk.fill()
            for _ in range(5):
                scene.post.send(size)
            disk.empty()
            scene.recover()
        self.finish(scene)

    def test_reserve(self):
        """The log cannot grow by a segment: what became of its letters is written all the same, and
        outlives a kill and a start on the full disk."""
        scene = self.scene({"spool": {"size": 128 * MIB}}, disk_reserve="0")
        wait_for(lambda: self.free_segments(scene) >= 2, "the reserve")
        scene.hold_back()
        for _ in range(20):
            self.assertEqual(scene.post.send(), 250)
        scene.disks["spool"].fill(leave=MIB)
        scene.send_until({452}, size=100_000)
        attempts = self.attempts(scene)
        scene.hour_passes()
        wait_for(lambda: self.attempts(scene) > attempts, "states on a full disk")
        self.assertLess(self.free_segments(scene), 2)
        wait_for(lambda: not scene.space(), "MAIL to be refused")
        scene.refuse_at_mail()
        scene.hold_back(False)
        for _ in range(2):
            scene.instance.kill()
            scene.instance.start()
            scene.hour_passes()
            wait_for(lambda: scene.instance.queue_count() == 0, "the letters to leave")
        scene.post.count()
        scene.disks["spool"].empty()
        scene.recover()
        self.finish(scene)

    def free_segments(self, scene):
        return json.loads(scene.instance.ask("queue status"))["free_segments"]

    def maildirs(self, kind, fill, **options):
        scene = self.scene({"mail": {"kind": kind, "size": 32 * MIB, **options}})
        disk = scene.disks["mail"]
        self.assertEqual(scene.post.send(), 250)
        scene.instance.settle()
        fill(disk)
        for _ in range(20):
            self.assertEqual(scene.post.send(20_000), 250)  # the spool has space
        wait_for(lambda: scene.instance.events("deferred"), "an attempt to fail")
        self.assertGreater(scene.instance.queue_count(), 0)
        disk.empty()
        scene.recover()
        self.assertEqual(os.listdir(os.path.join(scene.instance.maildir(USERS[0]), "tmp")), [])
        self.finish(scene)

    def test_maildirs_full(self):
        self.maildirs("ext4", Disk.fill)

    def test_maildirs_full_tmpfs(self):
        self.maildirs("tmpfs", Disk.fill)

    def test_maildirs_without_inodes(self):
        self.maildirs("ext4", Disk.take_inodes, inodes=64)

    def test_one_disk_for_all(self):
        """Spool and Maildirs share a full disk: the queue leaves it when there is space again, and
        what the queue writes meanwhile does not fill the last block."""
        scene = self.scene({"disk": {"size": 160 * MIB}}, spool_dir="disk/spool",
                           mail_dir="disk/mail")
        disk = scene.disks["disk"]
        for _ in range(20):
            self.assertEqual(scene.post.send(), 250)
        scene.instance.settle()
        disk.fill(leave=MIB)
        scene.send_until({452})
        scene.refuse_at_mail()
        disk.empty()
        wait_for(scene.space, "space", 15)
        self.assertEqual(scene.send_until({452}, size=LARGE), 452)  # by mail alone
        scene.hour_passes()
        scene.instance.settle()
        scene.post.count()  # the users collect their mail
        scene.recover()
        self.finish(scene)


class ReadOnly(DiskCase):
    def test_maildirs(self):
        scene = self.scene({"mail": {"size": 32 * MIB}})
        self.assertEqual(scene.post.send(), 250)
        scene.instance.settle()
        scene.disks["mail"].read_only(True)
        for _ in range(20):
            self.assertEqual(scene.post.send(), 250)
        wait_for(lambda: len(scene.instance.events("deferred")) >= 20, "attempts to fail")
        scene.disks["mail"].read_only(False)
        scene.recover()
        self.finish(scene)

    def test_spool_at_start(self):
        """Nothing can be promised: it does not start, and says why."""
        scene = self.scene({"spool": {"size": 128 * MIB}})
        scene.hold_back()
        for _ in range(5):
            self.assertEqual(scene.post.send(), 250)
        scene.post.close()
        scene.instance.stop()
        scene.disks["spool"].read_only(True)
        scene.instance.launch()
        self.assertNotEqual(scene.instance.process.wait(60), 0)
        scene.instance.process = None
        self.assertIn("Read-only file system", scene.instance.said())
        scene.disks["spool"].read_only(False)
        scene.hold_back(False)
        scene.instance.start()
        scene.recover()
        self.finish(scene, deaths=3)

    def test_spool_while_it_runs(self):
        """As after an error of the file system: nothing can be written any more."""
        scene = self.scene({"spool": {"size": 128 * MIB}})
        scene.hold_back()
        for _ in range(20):
            self.assertEqual(scene.post.send(), 250)
        for call in ("write", "fdatasync", "rename", "unlink", "mkdir"):
            scene.page.rule(call, role="queue", error="EROFS")
        for size in (1000, LARGE):
            self.assertIn(scene.post.send(size), (None, 421, 451, 452))
        scene.hold_back(False)
        scene.recover()
        print(f"# {len(scene.deaths())} starts of the queue", flush=True)
        self.finish(scene, deaths=len(scene.deaths()))


class NoHardLinks(DiskCase):
    """The letter is renamed into its place: exactly once all the same, whoever dies."""

    def deliver(self, scene, rule):
        for kill in (None, ("rename", 3), ("syncfs", 2), ("fsync", 2), ("send", 2), ("open", 9)):
            scene.page.clear()
            rule()
            if kill:
                scene.page.rule(kill[0], role="postman", first=kill[1], count=1, kill=True)
            for _ in range(10):
                self.assertEqual(scene.post.send(), 250)
            scene.hour_passes()
            scene.instance.settle()
            scene.post.count()
        self.finish(scene, deaths=len(scene.deaths()))

    def test_refused(self):
        scene = self.scene({"mail": {"size": 32 * MIB}})
        self.deliver(scene, lambda: scene.page.rule("link", role="postman", error="EPERM"))
        self.assertGreater(len(scene.deaths()), 2)

    @needs("vfat")
    def test_vfat(self):
        scene = self.scene({"mail": {"kind": "vfat", "size": 32 * MIB}})
        self.deliver(scene, lambda: None)


if __name__ == "__main__":
    unittest.main()
