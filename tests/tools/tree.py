"""Small made-up trees for the tests of the checks."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from checks import cases, rooms, source  # noqa: E402  (after the path is set)

ROOMS = """
room base
room os    base
room conf  base os
room roles base os conf
room ctl   base os conf
library yaml.h      src/conf/
library openssl/*   src/base/digest.c
prints src/ctl/ src/base/must.c
"""


class TreeTest(unittest.TestCase):
    """A test with a tree of its own below self.root."""

    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="posthouse-tools-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.write("tools/rooms", ROOMS)
        self.write("src/ipc/roles.def", "")

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def sources(self):
        return [s for s in source.read(self.root) if s.room != "ipc"]

    def table(self, text=ROOMS):
        return rooms.Table(text, ("queue", "reader"))

    def compile(self, path, text, *options):
        """An object of a made-up source."""
        self.write(path, text)
        obj = self.root / (path.replace("/", "_") + ".o")
        subprocess.run(["gcc", "-c", "-O1", "-fPIE", *options, "-o", obj, self.root / path],
                       check=True, capture_output=True)
        return os.fspath(obj)

    def details(self, found):
        """What the failed cases say."""
        return "\n".join(case.detail for case in found if case.status == cases.FAILED)

    def assertClean(self, found):
        found = list(found)
        self.assertEqual("", self.details(found))
        self.assertTrue(found)

    def assertSays(self, found, *texts):
        said = self.details(found)
        for text in texts:
            self.assertIn(text, said)
