#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "os/log.h"
#include "state_dir.h"
#include "store/usage_db.h"

#define ALICE STR("example.test/alice")
#define HAN STR("xn--fsqu00a.xn--0zwm56d/汉字")

static struct usage_db *open_ok(struct state_dir *dir)
{
    struct usage_db *db = NULL;
    struct err err;
    if (!usage_db_open(&db, state_dir_path(dir), DATABASE_WRITE, &err))
        fail_msg("%s", err.text);
    return db;
}

static void change(struct usage_db *db, struct str mailbox, int64_t octets, int64_t letters)
{
    struct err err;
    assert_true(usage_db_change(db, mailbox, (struct usage){octets, letters}, &err));
}

static void set(struct usage_db *db, struct str mailbox, int64_t octets, int64_t letters)
{
    struct err err;
    assert_true(usage_db_set(db, mailbox, (struct usage){octets, letters}, &err));
}

static void write_all(struct usage_db *db)
{
    struct err err;
    if (!usage_db_write(db, &err))
        fail_msg("%s", err.text);
}

static void holds(struct usage_db *db, struct str mailbox, int64_t octets, int64_t letters)
{
    struct usage usage;
    struct err err;
    bool known;
    assert_true(usage_db_find(db, mailbox, &known, &usage, &err));
    assert_true(known);
    assert_int_equal(usage.octets, octets);
    assert_int_equal(usage.letters, letters);
}

static void is_unknown(struct usage_db *db, struct str mailbox)
{
    struct usage usage;
    struct err err;
    bool known = true;
    assert_true(usage_db_find(db, mailbox, &known, &usage, &err));
    assert_false(known);
}

static void a_mailbox_is_known_from_its_count_on(void **state)
{
    struct usage_db *db = open_ok(*state);
    is_unknown(db, ALICE);
    change(db, ALICE, 1000, 1);
    is_unknown(db, ALICE);
    set(db, ALICE, 500, 2);
    holds(db, ALICE, 500, 2); // the difference of before is in the count
    change(db, ALICE, 70, 1);
    change(db, ALICE, -30, -1);
    holds(db, ALICE, 540, 2);
    is_unknown(db, HAN);
    set(db, HAN, 0, 0);
    holds(db, HAN, 0, 0);
    usage_db_close(&db);
    assert_null(db);
    usage_db_close(&db); // NULL is taken
}

static void nothing_is_below_zero_or_beyond_all_measure(void **state)
{
    struct usage_db *db = open_ok(*state);
    set(db, ALICE, 10, 1);
    change(db, ALICE, -11, -2);
    holds(db, ALICE, 0, 0);
    write_all(db);
    holds(db, ALICE, 0, 0);
    set(db, ALICE, INT64_MAX, INT64_MAX);
    holds(db, ALICE, USAGE_MOST, USAGE_MOST);
    change(db, ALICE, INT64_MAX, INT64_MAX);
    holds(db, ALICE, USAGE_MOST, USAGE_MOST);
    change(db, ALICE, INT64_MIN, INT64_MIN);
    holds(db, ALICE, 0, 0);
    usage_db_close(&db);
}

static void what_was_written_stays(void **state)
{
    struct usage_db *db = open_ok(*state);
    set(db, ALICE, 100, 1);
    set(db, HAN, 7, 1);
    change(db, ALICE, 50, 1);
    write_all(db);
    holds(db, ALICE, 150, 2);
    change(db, HAN, 1000, 1); // not written: a crash
    usage_db_close(&db);
    db = open_ok(*state);
    holds(db, ALICE, 150, 2);
    holds(db, HAN, 7, 1);
    usage_db_close(&db);
}

// At a reload the old generation still writes what it heard.
static void two_writers_add_up(void **state)
{
    struct usage_db *old = open_ok(*state), *new = open_ok(*state);
    set(old, ALICE, 100, 1);
    change(old, ALICE, 20, 1);
    holds(new, ALICE, 100, 1);
    change(new, ALICE, 3, 1);
    write_all(new);
    write_all(old);
    write_all(new); // it reads anew
    holds(new, ALICE, 123, 3);
    usage_db_close(&old);
    usage_db_close(&new);
}

static void cleared_all_are_unknown(void **state)
{
    struct usage_db *db = open_ok(*state);
    struct err err;
    set(db, ALICE, 100, 1);
    change(db, ALICE, 5, 1);
    assert_true(usage_db_clear(db, &err));
    is_unknown(db, ALICE);
    write_all(db);
    is_unknown(db, ALICE);
    usage_db_close(&db);
}

static void a_file_that_is_none_of_ours_is_made_anew(void **state)
{
    static const char *const damage[] = {
        "",
        "neither a database nor long enough to be one",
        "SQLite format 3\0and then nothing that could be read by anybody",
    };
    struct state_dir *dir = *state;
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        struct usage_db *db = open_ok(dir);
        set(db, ALICE, 1, 1);
        usage_db_close(&db);
        state_dir_write(dir, "usage.db", str_of(damage[i]));
        db = open_ok(dir);
        is_unknown(db, ALICE);
        set(db, ALICE, 2, 1);
        holds(db, ALICE, 2, 1);
        usage_db_close(&db);
    }
}

static void a_reader_makes_and_removes_nothing(void **state)
{
    struct state_dir *dir = *state;
    struct usage_db *db = NULL;
    struct err err = {.class = ERR_NONE};
    struct stat st;
    assert_false(usage_db_open(&db, state_dir_path(dir), DATABASE_READ, &err));
    assert_int_equal(err.code, ENOENT);
    assert_int_equal(os_stat(dir->fd, "usage.db", &st), -ENOENT);
    state_dir_write(dir, "usage.db", STR("no database, but somebody's"));
    assert_false(usage_db_open(&db, state_dir_path(dir), DATABASE_READ, &err));
    assert_int_equal(os_stat(dir->fd, "usage.db", &st), 0);
    assert_null(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, state_dir_setup, state_dir_teardown)
        CASE(a_mailbox_is_known_from_its_count_on),
        CASE(nothing_is_below_zero_or_beyond_all_measure),
        CASE(what_was_written_stays),
        CASE(two_writers_add_up),
        CASE(cleared_all_are_unknown),
        CASE(a_file_that_is_none_of_ours_is_made_anew),
        CASE(a_reader_makes_and_removes_nothing),
    };
    log_start("test", NULL, -1);
    return cmocka_run_group_tests_name("usage_db", tests, NULL, NULL);
}
