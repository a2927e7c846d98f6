"""What becomes of a test program's output: no failure may get lost."""

import sys
import unittest

from tree import ROOT, TreeTest

from checks import cases, tap

CMOCKA = """1..4
ok 1 - reads
not ok 2 - writes
# 0x1 != 0x2
# t.c:7: error: Failure!
not ok 3 # SKIP needs a kernel
not ok 4 - d Could not run test: Test setup failed
# not ok - t
"""


def judge(out, err="", status=0):
    return tap.judge("unit", "t", out, err, status)


class Judge(unittest.TestCase):
    def test_cmocka(self):
        found = judge(CMOCKA, status=2)
        self.assertEqual([cases.PASSED, cases.FAILED, cases.SKIPPED, cases.FAILED],
                         [case.status for case in found])
        self.assertEqual("t: writes", found[1].name)
        self.assertEqual("0x1 != 0x2\nt.c:7: error: Failure!", found[1].detail)
        self.assertEqual("t: needs a kernel", found[2].name)

    def test_a_group_whose_setup_fails(self):
        found = judge("1..2\nnot ok 0 - two [  FAILED  ] GROUP SETUP\n# ok - two\n", status=1)
        self.assertIn(cases.FAILED, [case.status for case in found])

    def test_two_groups(self):
        found = judge("1..1\nok 1 - a\n# ok - one\n1..1\nok 1 - b\n# ok - two\n")
        self.assertEqual(["t: a", "t: b"], [case.name for case in found])

    def test_what_must_not_pass(self):
        good = "1..1\nok 1 - a\n"
        for why, out, err, status in (
                ("exit status 1", good, "", 1),
                ("ended by signal 6", good, "", -6),
                ("2 cases", "1..2\nok 1 - a\n", "", 0),
                ("no plan", "ok 1 - a\n", "", 0),
                ("no case", "1..0\n", "", 0),
                ("no case", "", "", 0),
                ("sanitizer", good, "x.c:3:1: runtime error: signed integer overflow", 0),
                ("sanitizer", good, "==1==ERROR: LeakSanitizer: detected memory leaks", 0)):
            found = judge(out, err, status)
            self.assertEqual(cases.FAILED, found[-1].status, why)
            self.assertIn(why, found[-1].detail)

    def test_what_passes(self):
        self.assertEqual([cases.PASSED], [case.status for case in judge("1..1\nok 1 - a\n")])


class Run(TreeTest):
    def run_python(self, text, seconds=20):
        return tap.run("unit", "t", [sys.executable, "-c", text], str(self.root), {"A": "b"},
                       seconds)

    def test_output_and_environment(self):
        found = self.run_python("import os; print('1..1\\nok 1 -', os.environ['A'])")
        self.assertEqual([cases.Case("unit", "t: b", cases.PASSED)], found)

    def test_a_program_that_hangs(self):
        found = self.run_python("import time; print('1..1\\nok 1 - a', flush=True);"
                                "time.sleep(60)", 1)
        self.assertIn("not done after 1 s", found[-1].detail)


class Unittest(TreeTest):
    """tests/run: files of unittest cases as TAP."""

    def run_file(self, text):
        self.write("test_made_up.py", "import unittest\n" + text)
        return tap.run("flow", "f", ["/usr/bin/python3", str(ROOT / "tests/run"),
                                     str(self.root / "test_made_up.py")], str(self.root), {}, 60)

    def statuses(self, text):
        return [(case.name, case.status) for case in self.run_file(text)]

    def test_each_outcome(self):
        self.assertEqual(
            [("f: T.test_fails", "failed"), ("f: T.test_passes", "passed"),
             ("f: T.test_skips", "skipped"), ("f: T.test_subs", "failed"),
             ("f: T.test_throws", "failed")],
            self.statuses("""
class T(unittest.TestCase):
    def test_passes(self): pass
    def test_fails(self): self.assertEqual(1, 2)
    def test_throws(self): raise ValueError("信")
    def test_skips(self): self.skipTest("no root")
    def test_subs(self):
        for n in range(3):
            with self.subTest(n=n): self.assertNotEqual(1, n)
"""))

    def test_the_reason_is_told(self):
        found = self.run_file("class T(unittest.TestCase):\n"
                              "    def test_a(self): self.assertEqual('信', 'x')\n")
        self.assertIn("'信' != 'x'", found[0].detail)

    def test_a_class_that_cannot_start(self):
        found = self.run_file("class T(unittest.TestCase):\n"
                              "    @classmethod\n"
                              "    def setUpClass(cls): raise OSError('no port')\n"
                              "    def test_a(self): pass\n")
        self.assertEqual(["failed"], [case.status for case in found])
        self.assertIn("no port", found[0].detail)

    def test_a_class_that_skips(self):
        found = self.run_file("class T(unittest.TestCase):\n"
                              "    @classmethod\n"
                              "    def setUpClass(cls): raise unittest.SkipTest('no root')\n"
                              "    def test_a(self): pass\n")
        self.assertEqual(["skipped"], [case.status for case in found])

    def test_a_file_that_does_not_load(self):
        self.assertEqual([("f: runs to its end", "failed")], self.statuses("import gone\n"))

    def test_a_file_without_tests(self):
        self.assertEqual([("f: runs to its end", "failed")], self.statuses(""))

    def test_a_file_that_exits(self):
        self.assertEqual([("f: runs to its end", "failed")], self.statuses(
            "class T(unittest.TestCase):\n    def test_a(self):\n        import os; os._exit(0)\n"))
