// A Maildir below a temporary directory for one case of a test.
#ifndef TESTS_UNIT_STORE_MAILDIR_HOUSE_H
#define TESTS_UNIT_STORE_MAILDIR_HOUSE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "os/file.h"
#include "store/maildir.h"

struct house {
    char path[64];
    int mail_dir;
    struct maildir md;
    struct arena arena;
};

struct house *house_of(void **state);
int house_set_up(void **state);
int house_tear_down(void **state);

int remove_tree(const char *path); // a directory with all that is in it
// Writes a file anew.
void put_file(int dir, const char *name, struct str bytes);
size_t count_files(int dir);

// A str in a table.
#define PIECE(text)                                                                                \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }

#define CASE(name) cmocka_unit_test_setup_teardown(name, house_set_up, house_tear_down)

#endif
