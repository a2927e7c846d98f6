"""What the checks read out of compiled objects."""

from tree import ROOT, TreeTest

from checks import objects


class Symbols(TreeTest):
    def problems(self, path, text, *options):
        obj = objects.Object(path, self.compile(path, text, *options))
        return "\n".join(objects._problems(obj, self.table(), objects.banned(ROOT)))

    def test_a_system_call_outside_os(self):
        text = "#include <unistd.h>\nint f(char *p);\nint f(char *p) { return (int)read(0, p, 1); }\n"
        self.assertIn("calls read", self.problems("src/conf/a.c", text))
        self.assertEqual("", self.problems("src/os/a.c", text))

    def test_a_fortified_system_call(self):
        text = ("#include <unistd.h>\nint f(int n);\nint f(int n) { char b[8];"
                " return (int)read(0, b, (size_t)n) + b[0]; }\n")
        self.assertIn("calls read", self.problems("src/conf/a.c", text, "-O2",
                                                  "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"))

    def test_a_large_file_call(self):
        text = ("#include <fcntl.h>\nint f(void);\nint f(void) { return openat(3, \"x\", 0); }\n")
        self.assertIn("calls openat", self.problems("src/store/a.c", text,
                                                    "-D_FILE_OFFSET_BITS=64"))

    def test_memory_is_allowed(self):
        text = "#include <stdlib.h>\nvoid *f(void);\nvoid *f(void) { return malloc(1); }\n"
        self.assertEqual("", self.problems("src/base/a.c", text))

    def test_a_banned_function_even_in_os(self):
        text = ("#include <stdlib.h>\nint f(const char *p);\n"
                "int f(const char *p) { return system(p); }\n")
        self.assertIn("system is banned: no shell is run", self.problems("src/os/a.c", text))

    def test_a_banned_function_in_its_old_coat(self):
        text = ("#include <stdio.h>\nint f(const char *p);\n"
                "int f(const char *p) { int n; return sscanf(p, \"%d\", &n) + n; }\n")
        self.assertIn("sscanf is banned", self.problems("src/os/a.c", text))

    def test_printing_is_for_the_command(self):
        text = "#include <stdio.h>\nvoid f(void);\nvoid f(void) { printf(\"%d\", 1); }\n"
        self.assertIn("uses printf", self.problems("src/conf/a.c", text))
        self.assertEqual("", self.problems("src/ctl/a.c", text))

    def test_mutable_data(self):
        for text in ("int count = 3;", "static int count; int *f(void); int *f(void)"
                     " { return &count; }", "int *f(void); int *f(void) { static int count = 1;"
                     " return &count; }", "_Thread_local int count;",
                     "const char *count = \"x\";"):
            self.assertRegex(self.problems("src/base/a.c", text), r"count\S* is mutable", text)
            self.assertEqual("", self.problems("src/os/a.c", text), text)

    def test_constant_data(self):
        text = ("extern const int limit;\nextern const char *const names[];\n"
                "const int limit = 3;\nconst char *const names[] = {\"a\", \"b\"};\n")
        self.assertEqual("", self.problems("src/base/a.c", text))


class Names(TreeTest):
    def test_plain_names(self):
        for symbol, name in (("read@GLIBC_2.2.5", "read"), ("__read_chk", "read"),
                             ("__isoc99_sscanf", "sscanf"), ("__isoc23_strtol", "strtol"),
                             ("open64", "open"), ("base64", "base64"), ("_exit", "_exit")):
            self.assertEqual(name, objects.plain_name(symbol))

    def test_the_list_of_banned_functions_is_read(self):
        bans = objects.banned(ROOT)
        self.assertGreater(len(bans), 20)
        self.assertEqual("use buf put", bans["strcpy"])
