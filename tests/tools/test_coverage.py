"""The check of coverage fails below its limit, also when nothing was counted."""

import unittest
from unittest import mock

from tree import ROOT

from checks import cases, coverage


class Coverage(unittest.TestCase):
    def statuses(self, lines, problems=()):
        with mock.patch.object(coverage, "_lines", lambda _: lines), \
                mock.patch.object(coverage, "_run_tests", lambda _: problems):
            return [case.status for case in coverage.run(ROOT)]

    def test_at_the_limit(self):
        self.assertEqual(self.statuses({"smtp_a.c": (70, 100), "smtp_b.c": (100, 100),
                                        "smtp_client_a.c": (84, 100), "reply_parser.c": (86, 100),
                                        "pop3_a.c": (84, 100), "other.c": (0, 1000)}),
                         [cases.PASSED, cases.PASSED, cases.FAILED])

    def test_nothing_counted(self):
        self.assertEqual(self.statuses({}), [cases.FAILED] * 3)

    def test_a_test_that_fails(self):
        self.assertEqual(self.statuses({"smtp_a.c": (1, 1), "smtp_client.c": (1, 1),
                                        "pop3_a.c": (1, 1)}, ["it failed"]),
                         [cases.FAILED] * 3)


if __name__ == "__main__":
    unittest.main()
