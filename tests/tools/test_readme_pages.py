"""What the pages say twice is the same: README and its Chinese sister, the map and the tables."""

import re
import unittest

from tree import ROOT

from checks import pages, rooms


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def rows(page, heading):
    """The cells of the first Markdown table below a heading."""
    below = page[page.index(f"\n## {heading}\n"):]
    table = re.search(r"\n((?:\|.*\|\n)+)", below)[1].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


class Parser(unittest.TestCase):
    PAGE = "# A\n\n```sh\n# no heading\nls\n```\n\n## B c\n\n    indented\n\n```text\nx\n```\n"

    def test_blocks(self):
        self.assertEqual([("sh", "# no heading\nls\n", 3), ("text", "x\n", 12)],
                         pages.blocks(self.PAGE))

    def test_headings(self):
        self.assertEqual([(1, "A"), (2, "B c")], pages.headings(self.PAGE))

    def test_a_block_without_an_end(self):
        with self.assertRaisesRegex(ValueError, "line 2"):
            pages.blocks("a\n```sh\nls\n")


class Sisters(unittest.TestCase):
    """README.zh-CN.md says in Chinese what README.md says."""

    def setUp(self):
        self.english, self.chinese = read("README.md"), read("README.zh-CN.md")

    def test_code_blocks_are_identical(self):
        self.assertEqual([block[:2] for block in pages.blocks(self.english)],
                         [block[:2] for block in pages.blocks(self.chinese)])

    def test_headings_are_as_many_and_as_deep(self):
        self.assertEqual([level for level, _ in pages.headings(self.english)],
                         [level for level, _ in pages.headings(self.chinese)])

    def test_links_lead_to_the_same_places(self):
        def links(page):
            return {target for target in re.findall(r"\]\(([^)]+)\)", page)
                    if not target.startswith("README")}
        self.assertEqual(links(self.english), links(self.chinese))

    def test_tables_and_lists_are_as_long(self):
        def shape(page):
            return [line[0] for line in page.splitlines() if line.startswith(("| ", "- "))]
        self.assertEqual(shape(self.english), shape(self.chinese))


class Commands(unittest.TestCase):
    """The README's table of commands is what the engines know."""

    def known(self, path, without="command_of_old"):
        table = re.search(r"(?:commands|rows)\[\] = \{\n(.*?)\n\};", read(path), re.S)[1]
        # Those of old are there to be answered 502.
        return re.findall(r"^ +\{ ?(?:WORD|POP3_VERB)\(\"([A-Z0-9]+)\"\)"
                          rf"(?!.*(?:command_of_old|{without}))", table, re.M)

    def test_the_table(self):
        table = {row[0]: row[1:] for row in rows(read("README.md"),
                                                 "Commands that have an answer today")}
        smtp, extensions = table["SMTP"]
        self.assertEqual(self.known("src/proto/smtp_server.c", "ONLY_LMTP"), smtp.split())
        lmtp, the_same = table["LMTP"]
        self.assertEqual(self.known("src/proto/smtp_server.c", "ONLY_SMTP"), lmtp.split())
        self.assertEqual(the_same, extensions)
        pop3 = {verb for half in ("authorization", "transaction")
                for verb in self.known(f"src/proto/pop3_{half}.c")}
        self.assertEqual(sorted(pop3), sorted(table["POP3"][0].split()))
        hello = next(block.text for block in pages.blocks(read("README.md"))
                     if block.language == "chat")
        offered = re.findall(r"^S: 250[- ]([A-Z0-9]+)", hello, re.M)
        self.assertEqual(extensions.split(), offered[:len(extensions.split())])


class Map(unittest.TestCase):
    """docs/architecture.md against the tables it speaks of."""

    def setUp(self):
        self.page = read("docs/architecture.md")

    def test_the_rooms(self):
        allowed = rooms.read_table(ROOT).allowed
        table = re.search(r"    # room .*\n((?:    .+\n)+)", self.page)[1]
        described = {}
        for line in table.splitlines():
            room, may, _ = re.split(r"  +", line.strip(), maxsplit=2)
            above = set(described)
            words = {"-": set(), "all of the above, never another role": above,
                     "all but roles": above - {"roles"}}
            described[room] = words[may] if may in words else set(may.split())
        self.assertEqual(allowed, described)

    def test_the_roles(self):
        names = re.findall(r"^ROLE\((\w+)", read("src/ipc/roles.def"), re.M)
        self.assertEqual(names, [row[0] for row in rows(self.page, "The roles")])
        mortal = [name for row in rows(self.page, "A role's life") for name in row[0].split(", ")]
        self.assertEqual(sorted(names), sorted(mortal))

    def test_every_table_of_the_source_is_listed(self):
        listed = set(re.findall(r"`(\w+/\w+\.def)`", "".join(
            row[0] for row in rows(self.page, "Tables: each fact in one place"))))
        there = {path.relative_to(ROOT / "src").as_posix()
                 for path in (ROOT / "src").glob("*/*.def")}
        self.assertEqual(there, listed)


if __name__ == "__main__":
    unittest.main()
