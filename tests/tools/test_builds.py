"""Where the programs of a build go, and what is told of a failed one."""

import json
import os

from tree import TreeTest

from checks import builds


class Stage(TreeTest):
    def setUp(self):
        super().setUp()
        self.made = self.root / "build/meson"
        for path in ("src/ctl/posthouse", "src/roles/queue", "tests/unit/base/test_str"):
            self.write(f"build/meson/{path}", path)

    def target(self, path, kind="executable"):
        return {"name": os.path.basename(path), "type": kind,
                "defined_in": str(self.root / os.path.dirname(path) / "meson.build"),
                "filename": [str(self.made / path)]}

    def stage(self):
        self.write("build/meson/meson-info/intro-targets.json", json.dumps(
            [self.target("src/ctl/posthouse"), self.target("src/roles/queue"),
             self.target("tests/unit/base/test_str"),
             self.target("src/ctl/libctl.a", "static library")]))
        builds.stage(self.root, self.made, self.root / "build")

    def files(self):
        return {str(path.relative_to(self.root / "build")): path.read_text()
                for path in (self.root / "build").rglob("*")
                if path.is_file() and self.made not in path.parents}

    def test_command_and_roles(self):
        self.stage()
        self.assertEqual({"posthouse": "src/ctl/posthouse",
                          "libexec/posthouse/queue": "src/roles/queue"}, self.files())
        self.assertFalse((self.root / "build/posthouse").is_symlink())

    def test_again_without_a_change_and_after_a_new_link(self):
        self.stage()
        self.stage()
        os.unlink(self.made / "src/roles/queue")
        self.write("build/meson/src/roles/queue", "new")
        self.stage()
        self.assertEqual({"posthouse": "src/ctl/posthouse", "libexec/posthouse/queue": "new"},
                         self.files())


class Telling(TreeTest):
    def test_from_the_first_failure_on(self):
        text = ("[1/3] Compiling C object a.o\n    werror: true\nFAILED: b.o\ngcc b.c\nb.c:1: error: no\n"
                "[2/3] Linking target x\nninja: build stopped\n")
        self.assertEqual(["FAILED: b.o", "gcc b.c", "b.c:1: error: no", "ninja: build stopped"],
                         builds._telling(text))
