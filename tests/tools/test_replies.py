"""Every reply of the SMTP server is provoked by a test that knows its whole text."""

import re
import unittest

from tree import ROOT

TABLE = "src/proto/replies.def"


def rows():
    """(name, the reply as far as it is always the same) of each row."""
    pattern = r'(?m)^REPLY\((\w+), (\d+), (\d), (\d), (\d+), "(.*)"\)$'
    for name, code, *status, text in re.findall(pattern, (ROOT / TABLE).read_text()):
        enhanced = "" if status[0] == "0" else ".".join(status) + " "
        yield name, f"{code} {enhanced}{text.partition('%s')[0]}"


def expectations():
    """What session scripts, unit tests and flow tests expect the server to say."""
    for path in sorted((ROOT / "tests/chat").glob("[sl]mtp/*.chat")):
        yield from re.findall(r"(?m)^S(?:: |\* \d+ )(.*)$", path.read_text(encoding="utf-8"))
    for path in [*(ROOT / "tests/unit/proto").glob("*.c"), *(ROOT / "tests/flow").glob("*.py")]:
        yield from re.findall(r'"(\d{3} .*)"', path.read_text(encoding="utf-8"))


class Replies(unittest.TestCase):
    def test_each_row_is_expected_by_some_test(self):
        expected = list(expectations())
        found = list(rows())
        self.assertGreater(len(found), 40)
        self.assertEqual([name for name, reply in found
                          if not any(text.startswith(reply) for text in expected)], [])


if __name__ == "__main__":
    unittest.main()
