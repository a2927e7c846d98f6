"""The closing line, and which skips continuous integration excuses."""

import subprocess
import sys

from tree import ROOT, TreeTest

from checks import cases


class Tally(TreeTest):
    def setUp(self):
        super().setUp()
        self.skips("")

    def skips(self, text):
        self.write("skips.txt", text)

    def save(self, name, *found):
        cases.save(found, self.root / name)

    def tally(self, *names):
        done = subprocess.run([sys.executable, ROOT / "tools/tally", "--skips", "skips.txt", *names],
                              cwd=self.root, capture_output=True, text=True, check=False)
        self.assertEqual("", done.stderr)
        return done.returncode, done.stdout.splitlines()

    def test_two_runs_are_one_line(self):
        self.save("a", cases.Case("unit", "x", cases.PASSED))
        self.save("b", cases.Case("root", "y", cases.PASSED))
        self.assertEqual((0, ["3 passed, 0 failed"]), self.tally("a", "b"))

    def test_a_failure_is_told_again(self):
        self.save("a", cases.Case("unit", "x", cases.FAILED, "1 != 2\nhere"),
                  cases.Case("unit", "y", cases.PASSED))
        self.assertEqual((1, ["FAILED: unit: x", "    1 != 2", "    here", "2 passed, 1 failed"]),
                         self.tally("a"))

    def test_a_skip_fails(self):
        self.save("a", cases.Case("flow", "f: T.test_a", cases.SKIPPED, "no peer"))
        status, lines = self.tally("a")
        self.assertEqual((1, "1 passed, 1 failed"), (status, lines[-1]))

    def test_an_excused_skip(self):
        self.skips("# why\nflow: f: T.*: this machine has no peer\n")
        self.save("a", cases.Case("flow", "f: T.test_a", cases.SKIPPED, "no peer"))
        status, lines = self.tally("a")
        self.assertEqual((0, "1 passed, 0 failed, 1 skipped"), (status, lines[-1]))

    def test_an_excuse_needs_a_reason(self):
        self.skips("flow: f\n")
        self.save("a", cases.Case("unit", "x", cases.PASSED))
        self.assertEqual("1 passed, 1 failed", self.tally("a")[1][-1])

    def test_a_run_that_did_not_end(self):
        self.save("a", cases.Case("unit", "x", cases.PASSED))
        whole = (self.root / "a").read_text()
        for text in ("", whole.splitlines()[0] + "\n", whole[:10]):
            self.write("a", text)
            status, lines = self.tally("a")
            self.assertEqual(1, status)
            self.assertIn("FAILED: run: a", lines)

    def test_a_run_that_left_nothing(self):
        self.assertEqual(1, self.tally("gone")[0])
