"""The files that `make install` brings along agree with the program's tables."""

import re
import unittest

from tree import ROOT


class Example(unittest.TestCase):
    def test_every_key_is_an_option(self):
        rows = re.findall(r"^OPTION\((\w+), (\w+),",
                          (ROOT / "src/conf/options.def").read_text(), re.M)
        records = {"include", *re.findall(r"^RECORD\((\w+),",
                                          (ROOT / "src/conf/records.def").read_text(), re.M)}
        known = {name for group, name in rows if group == "top"} | {group for group, _ in rows}
        known |= records
        keys = re.findall(r"^(\w+):", (ROOT / "dist/posthouse.yaml").read_text(), re.M)
        self.assertGreater(len(keys), 5)
        self.assertEqual(set(), set(keys) - known)


class Unit(unittest.TestCase):
    def test_it_runs_the_command_on_the_default_configuration(self):
        text = (ROOT / "dist/posthouse.service").read_text()
        self.assertIn("ExecStart=@BINDIR@/posthouse -c /etc/posthouse/posthouse.yaml serve\n", text)
        self.assertEqual({"@BINDIR@"}, set(re.findall(r"@[A-Z]+@", text)))

    def test_every_line_is_a_section_a_setting_or_a_comment(self):
        for line in (ROOT / "dist/posthouse.service").read_text().splitlines():
            self.assertRegex(line, r"^(|#.*|\[\w+\]|[A-Z]\w+=.+)$")
