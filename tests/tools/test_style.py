"""Sizes, guards, conditional compilation, headers, format."""

import unittest

from tree import TreeTest

from checks import style

GUARDED = "#ifndef BASE_A_H\n#define BASE_A_H\n{}\n#endif\n"


def function(name, lines, before="static int"):
    """A function of so many lines, signature and braces included."""
    return f"{before} {name}(int n)\n{{\n" + "    n++;\n" * (lines - 4) + "    return n;\n}\n"


class Sizes(TreeTest):
    def check(self, exceptions=None):
        return list(style.sizes(self.sources(), exceptions or {}))

    def test_functions_at_the_limit(self):
        self.write("src/base/a.c", function("short", 5) + "\n" + function("long", 100))
        self.assertClean(self.check())

    def test_a_function_over_the_limit(self):
        self.write("src/base/a.c", function("fine", 100) + function("huge", 101))
        self.assertEqual("src/base/a.c:huge has 101 lines; the limit is 100",
                         self.details(self.check()))

    def test_a_signature_over_several_lines_counts(self):
        self.write("src/base/a.c", function("huge", 100, "// why\nstruct str"
                                            ).replace("(int n)", "(int n,\n    int m)"))
        self.assertSays(self.check(), "src/base/a.c:huge has 101 lines")

    def test_a_table_is_no_function(self):
        self.write("src/base/a.c", "static const int a[] = {\n" + "    1,\n" * 300 + "};\n")
        self.assertClean(self.check())

    def test_a_file_over_the_limit(self):
        self.write("src/base/a.c", "//\n" * 1001)
        self.assertSays(self.check(), "src/base/a.c has 1001 lines")

    def test_an_exception_needs_a_reason_and_a_cause(self):
        self.write("src/base/a.c", function("huge", 101))
        self.assertClean(self.check({"src/base/a.c:huge": "a table would be longer"}))
        self.assertSays(self.check({"src/base/a.c:huge": ""}), "no reason")
        self.assertSays(self.check({"src/base/a.c:huge": "so", "src/base/a.c": "so"}),
                        "src/base/a.c: not needed")

    def test_exceptions_are_few(self):
        self.write("src/base/a.c", "\n".join(function(f"f{n}", 101) for n in range(6)))
        self.assertSays(self.check({f"src/base/a.c:f{n}": "so" for n in range(6)}),
                        "6 exceptions; at most 5")

    def test_the_distribution(self):
        self.write("src/base/a.c", function("one", 10) + "\n" + function("two", 30))
        lines = "\n".join(style.distribution(self.sources()))
        self.assertIn("functions: 2, lines median 10 / p90 30 / max 30", lines)
        self.assertIn("30 src/base/a.c:two", lines)


class Style(TreeTest):
    def test_conditionals(self):
        self.write("src/os/a.c", "#ifdef __linux__\n#endif\n")
        self.write("src/conf/a.c", "int a;\n#  if X\n#elif Y\n#endif\n")
        self.write("src/conf/a.h", "#ifndef CONF_A_H\n#define CONF_A_H\n#endif\n")
        self.assertEqual("src/conf/a.c:2: #  if X\nsrc/conf/a.c:3: #elif Y",
                         self.details(style.conditionals(self.sources())))

    def test_guards(self):
        self.write("src/base/a.h", GUARDED.format("int x;"))
        self.assertClean(style.guards(self.sources()))
        self.write("src/os/a.h", GUARDED.format("int x;"))
        self.assertSays(style.guards(self.sources()), "src/os/a.h: no include guard OS_A_H")

    def test_gnu_source(self):
        self.write("src/os/a.c", "#define _GNU_SOURCE\n")
        self.write("meson.build", "project('x', 'c')\n")
        build = [self.root / "meson.build"]
        self.assertClean(style.macros(self.sources(), build))
        self.write("src/conf/a.c", "# define _GNU_SOURCE 1\n")
        self.write("src/os/a.h", "#define _GNU_SOURCE\n")
        self.write("meson.build", "add_project_arguments('-D_GNU_SOURCE', language: 'c')\n")
        self.assertSays(style.macros(self.sources(), build), "src/conf/a.c", "src/os/a.h",
                        "meson.build")

    def test_headers_compile_alone(self):
        self.write("src/base/a.h", GUARDED.format("#include <stddef.h>\nsize_t f(void);"))
        self.assertClean(style.headers(self.root, self.sources(), 2))
        self.write("src/base/a.h", GUARDED.format("size_t f(void);"))
        found = list(style.headers(self.root, self.sources(), 2))
        self.assertEqual(["failed", "failed"], [case.status for case in found])
        self.assertSays(found, "size_t")

    @unittest.skipUnless(style.formatter(), "no clang-format 14")
    def test_format(self):
        self.write(".clang-format", "BasedOnStyle: LLVM\nIndentWidth: 4\n")
        self.write("src/base/a.c", "int a;\n")
        self.write("src/base/a.def", "X( 1,2 )\n")
        self.assertClean(style.formatting(self.root, self.sources()))
        self.write("src/base/b.c", "int  b;\nint  c;\n")
        self.assertSays(style.formatting(self.root, self.sources()), "src/base/b.c: 2 places")
