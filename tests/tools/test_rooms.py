"""tools/rooms: seeded violations are caught, what is allowed is not."""

import unittest

from tree import ROOMS, TreeTest

from checks import rooms


class Includes(TreeTest):
    def check(self):
        return list(rooms.run(self.table(), self.sources()))

    def test_what_the_table_allows(self):
        self.write("src/base/a.h", "")
        self.write("src/os/b.h", '#include "base/a.h"\n#include "os/calls.def"\n')
        self.write("src/os/calls.def", "")
        self.write("src/conf/c.c", '#include <yaml.h>\n#include "base/a.h"\n#include "os/b.h"\n')
        self.assertClean(self.check())

    def test_a_room_may_not_look_up(self):
        self.write("src/os/b.h", "")
        self.write("src/base/a.c", '\n#include "os/b.h"\n')
        self.assertSays(self.check(), 'src/base/a.c:2: base may not include os ("os/b.h")')

    def test_nobody_includes_the_command(self):
        self.write("src/ctl/b.h", "")
        self.write("src/roles/a.c", '#include "ctl/b.h"\n')
        self.assertSays(self.check(), "roles may not include ctl")

    def test_an_include_spells_its_room(self):
        self.write("src/base/a.h", "")
        self.write("src/base/a.c", '#include "a.h"\n#  include "../base/a.h"\n')
        self.assertSays(self.check(), 'a.c:1: "a.h" does not spell its room',
                        'a.c:2: "../base/a.h" does not spell its room')

    def test_an_include_names_a_file(self):
        self.write("src/base/a.c", '#include "base/gone.h"\n')
        self.assertSays(self.check(), "there is no src/base/gone.h")

    def test_no_role_includes_another(self):
        self.write("src/roles/role.h", "")
        self.write("src/roles/queue.h", "")
        self.write("src/roles/queue_index.h", '#include "roles/role.h"\n')
        self.write("src/roles/queue/plan.h", '#include "roles/queue_index.h"\n')
        self.write("src/roles/reader.c", '#include "roles/role.h"\n#include "roles/queue.h"\n')
        self.write("src/roles/reader_box.c", '#include "roles/queue/plan.h"\n')
        self.write("src/roles/role.c", '#include "roles/queue_index.h"\n')
        said = self.check()
        self.assertSays(said, "reader.c:2: a role may not include another (queue)",
                        "reader_box.c:1: a role may not include another (queue)",
                        "role.c:1: a role may not include another (queue)")
        self.assertEqual(3, len(self.details(said).splitlines()))

    def test_a_library_has_one_room(self):
        self.write("src/os/a.c", "#include <yaml.h>\n")
        self.write("src/base/digest.c", "#include <openssl/evp.h>\n")
        self.write("src/base/map.c", "# include <openssl/evp.h>\n")
        said = self.check()
        self.assertSays(said, "src/os/a.c:1: <yaml.h> belongs in src/conf/ only",
                        "src/base/map.c:1: <openssl/evp.h> belongs in src/base/digest.c only")
        self.assertNotIn("digest.c:1", self.details(said))

    def test_headers_in_a_ring(self):
        self.write("src/base/a.h", '#include "base/b.h"\n')
        self.write("src/base/b.h", '#include "base/c.h"\n')
        self.write("src/base/c.h", '#include "base/a.h"\n')
        self.assertSays(self.check(), "base/a.h -> base/b.h -> base/c.h -> base/a.h")

    def test_a_folder_without_a_line(self):
        self.write("src/attic/a.c", "")
        self.write("src/loose.c", "")
        self.assertSays(self.check(), "src/attic/a.c: no room", "src/loose.c: no room")


class TheTable(TreeTest):
    def test_a_room_stands_below_what_it_may_include(self):
        table = self.table("room os base\nroom base\n")
        self.assertEqual(["tools/rooms:1: base must stand above os: no ring"], table.problems)

    def test_a_room_stands_once(self):
        self.assertIn("twice", self.table(ROOMS + "room os base\n").problems[0])

    def test_a_line_of_another_kind(self):
        self.assertIn("unknown line", self.table("rom base\n").problems[0])

    def test_comments(self):
        self.assertEqual([], self.table("# room\nroom base # the lowest\n").problems)


class Places(unittest.TestCase):
    def test_folder_file_and_start_of_a_name(self):
        places = ["src/conf/", "src/os/log.c", "src/roles/login"]
        for path, there in (("src/conf/a.c", True), ("src/os/log.c", True),
                            ("src/os/log.c.h", False), ("src/os/log_file.c", False),
                            ("src/roles/login.c", True), ("src/roles/login_hash.c", True),
                            ("src/roles/queue.c", False)):
            self.assertEqual(there, rooms.at(path, places), path)
