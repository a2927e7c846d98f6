"""The pages' checks and the generator's reading of tables."""

import importlib.machinery
import importlib.util

from tree import ROOT, TreeTest

from checks import docs


def generator():
    """tools/docs as a module (its name has no .py)."""
    loader = importlib.machinery.SourceFileLoader("made_docs", str(ROOT / "tools/docs"))
    spec = importlib.util.spec_from_loader("made_docs", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class NamedFiles(TreeTest):
    def page(self, text):
        self.write("src/base/str.h", "")
        self.write("docs/page.md", text)
        return list(docs.named_files(self.root))

    def test_what_exists_or_is_no_file_of_ours(self):
        self.assertClean(self.page("`src/base/str.h`, `base/str.h`, `src/*/str.h`, `build/check`, "
                                   "`src/ROOM/X.c`, `text/plain`, `new/`, `a/b`, [map](page.md), "
                                   "[rfc](https://example.org/x)\n"))

    def test_what_is_gone(self):
        self.assertEqual("docs/page.md:2: there is no base/gone.h\n"
                         "docs/page.md:3: there is no gone.md",
                         self.details(self.page("\n`base/gone.h`\n[x](gone.md#there)\n")))


class Tables(TreeTest):
    def test_arguments(self):
        split = generator().split
        self.assertEqual(["a", "b, c", "(d, e)"], split('a, "b, c", (d, e)'))
        self.assertEqual(["one two", 'say "no"'], split('"one " "two", "say \\"no\\""'))

    def test_rows_and_their_comments(self):
        made = generator()
        made.ROOT = self.root
        self.write("src/x.def", "// ROW(a, b): what this is.\n\n// First.\nROW(a, 1)\n\n"
                                "// Second,\n// longer.\nROW(b,\n    FIELD(c))\nROW(d, 2)\n")
        self.assertEqual([("First.", ["a", "1"]), ("Second, longer.", ["b", "FIELD(c)"]),
                          ("", ["d", "2"])], list(made.rows("src/x.def", "ROW")))

    def test_every_row_of_the_real_tables_is_found(self):
        made = generator()
        for path, macro in (("src/os/events.def", "EVENT"), ("src/ipc/messages.def", "MESSAGE"),
                            ("src/base/limits.def", "LIMIT"), ("src/proto/replies.def", "REPLY"),
                            ("src/store/spool_states.def", "SPOOL_STATE")):
            count = sum(line.startswith(macro + "(")
                        for line in (ROOT / path).read_text().splitlines())
            self.assertEqual(count, len(list(made.rows(path, macro))), path)
            self.assertGreater(count, 5)

    def test_a_made_part_of_a_page(self):
        page = "By hand.\n<!-- part: made -->\nold\n<!-- end -->\n<!-- other: made -->\n<!-- end -->\n"
        made = generator().with_parts(page, {"part": lambda: "new \\1\n"})
        self.assertEqual(page.replace("old\n", "\nnew \\1\n\n"), made)
        self.assertEqual(made, generator().with_parts(made, {"part": lambda: "new \\1\n"}))

    def test_a_bar_does_not_end_a_cell(self):
        self.assertIn("| a\\|b |", generator().table(("x",), [("a|b",)]))
