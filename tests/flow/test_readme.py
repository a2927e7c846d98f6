"""The README's blocks, run as a reader would: `sh` by a shell, `chat` over a socket, top to bottom,
against what `make run` starts. A `text` block right after an `sh` block is what the reader sees;
numbers, dates and queue ids may differ. What a block shows may take a moment: it is tried again.

The reader's 127.0.0.1 is an address of our own, so that the ports are free.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from checks import pages  # noqa: E402  (after the path is set)
from instance import BUILD, PATIENCE, own_address, wait_for

BETWEEN = 0.1

# A block runs in the reader's one terminal: what it sets is there in the next one.
SHELL = """
set -aeuo pipefail
[ ! -e {state} ] || . {state}
{text}
{{ export -p; declare -f; }} >{state}
"""


def without_ids(text):
    return re.sub(r"[0-9A-HJKMNP-TV-Z]{26}", "ID", text)


def form(text):
    """What stays the same from run to run, as lines. A number alone on its line counts as it is."""
    text = without_ids(text)
    text = re.sub(r"\([0-9A-HJKMNP-TV-Z]{16}\)", "(TOKEN)", text)
    text = re.sub(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d+ [A-Z][a-z][a-z] \d+", "DATE", text)
    text = re.sub(r"[+-]\d{4}\b", "ZONE", text)
    text = re.sub(r"(?m)\d+(?!\d|$)|(?<=[^\d\n])\d+", "0", text)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    # Said where root runs the test and there is no such user.
    lines = [line for line in lines if "there is no user posthouse" not in line]
    return [line for line, before in zip(lines, [None, *lines])
            if line != before or not line]  # one receiver a processor, or more


class Readme(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        home = tempfile.TemporaryDirectory(prefix="posthouse-")
        self.addCleanup(home.cleanup)
        self.home = Path(home.name)
        self.address = own_address()
        self.state = self.home / "state.sh"
        (self.home / "build").symlink_to(BUILD)
        (self.home / "tools").mkdir()
        run = self.home / "tools/run"
        run.write_text(self.ours((ROOT / "tools/run").read_text()))
        shutil.copymode(ROOT / "tools/run", run)
        self.environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8",
                            "HOME": home.name, "NO_COLOR": "1"}
        self.environment.update((name, value) for name, value in os.environ.items()
                                if name.endswith("SAN_OPTIONS"))

    def ours(self, text):
        return text.replace("127.0.0.1", self.address)

    def start(self, *command):
        """A server in the foreground of a terminal of its own, until it is ready."""
        output = self.home / "output"
        with open(output, "wb") as file:
            server = subprocess.Popen(command, cwd=self.home, env=self.environment, stdout=file,
                                      stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                      start_new_session=True)
        self.addCleanup(self.end, server)

        def ready():
            if server.poll() is not None:
                self.fail(f"it ended:\n{output.read_text()}")
            return "posthouse: ready\n" in output.read_text()
        wait_for(ready, "posthouse: ready")
        return server

    def end(self, server):
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()

    def again(self, attempt):
        """Tries until it works; in the end, what was wrong the first time and the last time."""
        end, first = time.monotonic() + PATIENCE, None
        while True:
            try:
                return attempt()
            except (AssertionError, OSError) as trouble:
                first = first or trouble
                if time.monotonic() > end:
                    raise AssertionError(f"at first: {first}\nin the end: {trouble}") from trouble
            time.sleep(BETWEEN)

    def shell(self, text):
        done = subprocess.run(["bash", "-c", SHELL.format(state=self.state, text=self.ours(text))],
                              cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE,
                              check=False)
        said = done.stdout.decode()
        self.assertEqual(0, done.returncode, f"{text}{said}")
        return said

    def shows(self, text, wanted):
        self.assertEqual("\n".join(form(self.ours(wanted))), "\n".join(form(self.shell(text))))

    def chat(self, text):
        with socket.create_connection((self.address, 2525), timeout=PATIENCE) as client, \
                client.makefile("rb") as replies:
            for line in text.splitlines():
                if line.startswith("S: "):
                    said = replies.readline().decode().rstrip("\r\n")
                    self.assertEqual(without_ids(line[3:]), without_ids(said))
                else:
                    self.assertRegex(line, "^C:( |$)")
                    client.sendall(line[3:].encode() + b"\r\n")

    def play(self, block, after):
        if block.language == "chat" and "C: DATA" in block.text:
            self.chat(block.text)
        elif block.language == "chat":
            self.again(lambda: self.chat(block.text))
        elif block.language == "sh" and after and after.language == "text":
            self.again(lambda: self.shows(block.text, after.text))
        elif block.language == "sh":
            self.shell(block.text)

    def test_every_block(self):
        found = pages.blocks((ROOT / "README.md").read_text(encoding="utf-8"))
        self.assertGreater(sum(block.language == "sh" for block in found), 10)
        server = self.start("tools/run")
        for block, after in zip(found, [*found[1:], None]):
            try:
                self.play(block, after)
            except Exception as trouble:
                said = (self.home / "output").read_text()
                raise AssertionError(f"README.md:{block.line}: {trouble}\n{said}") from trouble
        self.assertEqual(0, server.wait(timeout=PATIENCE))  # the reader stopped it
        self.serve_the_other_one()

    def serve_the_other_one(self):
        """The instance that the reader made last can be served."""
        conf = self.home / "mypost/posthouse.yaml"
        conf.write_text(self.ours(conf.read_text()))
        server = self.start("build/posthouse", "-c", str(conf), "serve")
        server.terminate()
        self.assertEqual(0, server.wait(timeout=PATIENCE))


if __name__ == "__main__":
    unittest.main()
