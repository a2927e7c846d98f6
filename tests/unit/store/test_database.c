#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include "store/database.h"
#include "state_dir.h"

enum statement { ADD, COUNT, FIND };

static const char *const statements[] = {
    [ADD] = "INSERT INTO thing (name) VALUES (?1)",
    [COUNT] = "SELECT count(*) FROM thing",
    [FIND] = "SELECT id, name FROM thing WHERE name = ?1",
};
static const char *const versions[] = {
    "CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;",
    "ALTER TABLE thing ADD COLUMN colour TEXT; UPDATE thing SET colour = 'red';",
};
static const char *const broken_versions[] = {
    "CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;",
    "DELETE FROM thing; ALTER TABLE orchard ADD COLUMN colour TEXT;",
};

static struct database_schema schema_of(const char *const *texts, size_t count)
{
    return (struct database_schema){.file = "thing.db",
                                    .application_id = 0x1234,
                                    .versions = texts,
                                    .version_count = count,
                                    .statements = statements,
                                    .statement_count = ARRAY_LEN(statements)};
}

static struct database *open_ok(struct state_dir *dir, const struct database_schema *schema,
                                enum database_use use)
{
    struct database *db = NULL;
    struct err err = {.class = ERR_NONE};
    if (!database_open(&db, state_dir_path(dir), schema, use, &err))
        fail_msg("%s", err.text);
    return db;
}

static void open_fails(struct state_dir *dir, const struct database_schema *schema,
                       enum database_use use, enum err_class class, const char *text)
{
    struct database *db = NULL;
    struct err err = {.class = ERR_NONE};
    assert_false(database_open(&db, state_dir_path(dir), schema, use, &err));
    assert_null(db);
    assert_int_equal(err.class, class);
    assert_true(str_starts(err_text(&err), state_dir_path(dir)));
    if (str_find(err_text(&err), str_of(text)) == err_text(&err).len)
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static bool add(struct database *db, struct str name, struct err *err)
{
    struct query *q = query_begin(db, ADD);
    query_bind(q, name);
    return query_run(q, err);
}

static void add_ok(struct database *db, const char *name)
{
    struct err err = {.class = ERR_NONE};
    if (!add(db, str_of(name), &err))
        fail_msg("%s", err.text);
}

static int64_t count(struct database *db)
{
    struct query *q = query_begin(db, COUNT);
    struct err err;
    bool row;
    assert_true(query_step(q, &row, &err));
    assert_true(row);
    int64_t n = query_number(q, 0);
    assert_true(query_step(q, &row, &err));
    assert_false(row);
    query_end(q);
    return n;
}

static void new_files_are_private(void **state)
{
    struct state_dir *dir = *state;
    struct database_schema schema = schema_of(versions, 1);
    struct database *db = open_ok(dir, &schema, DATABASE_WRITE);
    add_ok(db, "pear");
    assert_int_equal(state_dir_mode(dir, "thing.db"), 0600);
    assert_int_equal(state_dir_mode(dir, "thing.db-wal"), 0600);
    assert_int_equal(state_dir_mode(dir, "thing.db-shm"), 0600);
    database_close(&db);
    assert_null(db);
    database_close(&db); // NULL is taken
    db = open_ok(dir, &schema, DATABASE_WRITE);
    assert_int_equal(count(db), 1);
    database_close(&db);
}

static void values_come_back_as_they_were(void **state)
{
    const struct str values[] = {
        STR(""), STR("'; DROP TABLE thing; --"), STR("邮件系统"), STR("a\0b"), STR("\xff\xfe"),
    };
    struct state_dir *dir = *state;
    struct database_schema schema = schema_of(versions, 1);
    struct database *db = open_ok(dir, &schema, DATABASE_WRITE);
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        bool row;
        assert_true(add(db, values[i], &err));
        struct query *q = query_begin(db, FIND);
        query_bind(q, values[i]);
        assert_true(query_step(q, &row, &err));
        assert_true(row);
        assert_int_equal(query_number(q, 0), i + 1);
        assert_true(str_eq(query_text(q, 1), values[i]));
        query_end(q);
    }
    assert_true(add(db, (struct str){NULL, 0}, &err) == false); // the empty text is there already
    assert_int_equal(err.class, ERR_GIVE_UP);
    database_close(&db);
}

static void a_missing_file_is_made_by_a_writer_only(void **state)
{
    struct state_dir *dir = *state;
    struct database_schema schema = schema_of(versions, 1);
    struct database *db = NULL;
    struct err err;
    open_fails(dir, &schema, DATABASE_READ, ERR_GIVE_UP, "is missing");
    assert_false(database_open(&db, STR("no/such/directory"), &schema, DATABASE_WRITE, &err));
    assert_null(db);
    // The command was cut right after it made the file.
    state_dir_write(dir, "thing.db", STR(""));
    open_fails(dir, &schema, DATABASE_READ, ERR_GIVE_UP, "brings it up to date");
    db = open_ok(dir, &schema, DATABASE_WRITE);
    assert_int_equal(count(db), 0);
    database_close(&db);
}

static void a_directory_name_too_long_is_refused(void **state)
{
    struct state_dir *dir = *state;
    struct database_schema schema = schema_of(versions, 1);
    struct database *db = NULL;
    struct err err;
    char *name = malloc(100000);
    (void)dir;
    assert_non_null(name);
    memset(name, 'x', 100000);
    assert_false(database_open(&db, str_from(name, 100000), &schema, DATABASE_READ, &err));
    assert_int_equal(err.class, ERR_GIVE_UP);
    assert_false(database_open(&db, str_from(name, 40000), &schema, DATABASE_WRITE, &err));
    assert_int_equal(err.class, ERR_GIVE_UP);
    free(name);
}

static void an_older_file_is_brought_up_to_date(void **state)
{
    struct state_dir *dir = *state;
    struct database_schema old = schema_of(versions, 1), new = schema_of(versions, 2);
    struct database *db = open_ok(dir, &old, DATABASE_WRITE);
    add_ok(db, "pear");
    database_close(&db);
    open_fails(dir, &new, DATABASE_READ, ERR_GIVE_UP, "of an older release");
    db = open_ok(dir, &new, DATABASE_WRITE);
    assert_int_equal(count(db), 1);
    database_close(&db);
    db = open_ok(dir, &new, DATABASE_READ);
    assert_int_equal(count(db), 1);
    database_close(&db);
    open_fails(dir, &old, DATABASE_READ, ERR_GIVE_UP, "made by a newer release (version 2)");
    open_fails(dir, &old, DATABASE_WRITE, ERR_GIVE_UP, "made by a newer release (version 2)");
}

static void a_failed_upgrade_changes_nothing(void **state)
{
    struct state_dir *dir = *state;
    struct database_schema old = schema_of(versions, 1), broken = schema_of(broken_versions, 2);
    struct database *db = open_ok(dir, &old, DATABASE_WRITE);
    add_ok(db, "pear");
    database_close(&db);
    open_fails(dir, &broken, DATABASE_WRITE, ERR_GIVE_UP, "no such table: orchard");
    db = open_ok(dir, &old, DATABASE_WRITE);
    assert_int_equal(count(db), 1);
    database_close(&db);
}

static void what_is_not_ours_is_refused(void **state)
{
    struct state_dir *dir = *state;
    struct database_schema schema = schema_of(versions, 1), other = schema_of(versions, 1);
    struct database *db = open_ok(dir, &schema, DATABASE_WRITE);
    database_close(&db);
    other.application_id = 0x4321;
    open_fails(dir, &other, DATABASE_READ, ERR_GIVE_UP, "not the database of that name");
    open_fails(dir, &other, DATABASE_WRITE, ERR_GIVE_UP, "not the database of that name");
    state_dir_write(dir, "thing.db",
                    STR("SQLite format 2, or a letter to somebody, at any rate "
                        "not what stands at the head of a database"));
    open_fails(dir, &schema, DATABASE_READ, ERR_GIVE_UP, "not a database");
    open_fails(dir, &schema, DATABASE_WRITE, ERR_GIVE_UP, "not a database");
}

// The open itself, or the first query, must tell; never an empty answer.
static void damage_is_told(void **state)
{
    struct state_dir *dir = *state;
    struct database_schema schema = schema_of(versions, 1);
    struct database *db = open_ok(dir, &schema, DATABASE_WRITE);
    struct err err = {.class = ERR_NONE};
    char zeros[4096] = {0};
    add_ok(db, "pear");
    database_close(&db);
    int fd = os_open(dir->fd, "thing.db", O_RDWR, 0);
    assert_true(fd >= 0);
    assert_int_equal(os_pwrite_all(fd, str_from(zeros, sizeof(zeros)), 4096), 0);
    os_close(&fd);
    db = open_ok(dir, &schema, DATABASE_READ);
    bool row;
    struct query *q = query_begin(db, FIND);
    query_bind(q, STR("pear"));
    bool ok = query_step(q, &row, &err);
    query_end(q);
    if (ok) { // the index told the row, the table must tell the damage
        q = query_begin(db, COUNT);
        ok = query_step(q, &row, &err);
        query_end(q);
    }
    assert_false(ok);
    assert_int_equal(err.class, ERR_GIVE_UP);
    database_close(&db);
}

static void a_file_that_another_holds_is_tried_later(void **state)
{
    struct state_dir *dir = *state;
    struct database_schema schema = schema_of(versions, 1);
    struct database *db = open_ok(dir, &schema, DATABASE_WRITE);
    char path[80];
    sqlite3 *other;
    database_close(&db);
    snprintf(path, sizeof(path), "%s/thing.db", dir->path);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other,
                                  "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;"
                                  "INSERT INTO thing (name) VALUES ('fig'); COMMIT",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    open_fails(dir, &schema, DATABASE_READ, ERR_TRY_LATER, "locked");
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    db = open_ok(dir, &schema, DATABASE_READ);
    assert_int_equal(count(db), 1);
    database_close(&db);
}

static void a_file_out_of_wal_mode_is_refused_to_readers(void **state)
{
    struct state_dir *dir = *state;
    struct database_schema schema = schema_of(versions, 1);
    struct database *db = open_ok(dir, &schema, DATABASE_WRITE);
    char path[80];
    sqlite3 *other;
    database_close(&db);
    snprintf(path, sizeof(path), "%s/thing.db", dir->path);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    open_fails(dir, &schema, DATABASE_READ, ERR_GIVE_UP, "journal mode delete");
    db = open_ok(dir, &schema, DATABASE_WRITE); // repairs it
    database_close(&db);
    db = open_ok(dir, &schema, DATABASE_READ);
    database_close(&db);
}

static void a_reader_sees_commits_at_once_and_nothing_else(void **state)
{
    struct state_dir *dir = *state;
    struct database_schema schema = schema_of(versions, 1);
    struct database *writer = open_ok(dir, &schema, DATABASE_WRITE);
    struct database *reader = open_ok(dir, &schema, DATABASE_READ);
    struct err err;
    assert_int_equal(count(reader), 0);
    assert_true(database_begin(writer, &err));
    add_ok(writer, "pear");
    assert_int_equal(count(reader), 0);
    assert_true(database_commit(writer, &err));
    assert_int_equal(count(reader), 1);
    assert_true(database_begin(writer, &err));
    add_ok(writer, "fig");
    database_rollback(writer);
    database_rollback(writer); // nothing is open: nothing happens
    assert_int_equal(count(writer), 1);
    assert_false(add(reader, STR("plum"), &err));
    assert_int_equal(err.class, ERR_GIVE_UP);
    assert_int_equal(count(writer), 1);
    database_close(&reader);
    database_close(&writer);
}

// As behind the walls of a role, here by a limit on descriptors that makes every open fail. The
// writer commits enough for a checkpoint, and closes.
static void a_reader_opens_no_file_after_its_open(void **state)
{
    struct state_dir *dir = *state;
    struct database_schema schema = schema_of(versions, 1);
    struct database *writer = open_ok(dir, &schema, DATABASE_WRITE);
    add_ok(writer, "pear");
    struct database *reader = open_ok(dir, &schema, DATABASE_READ);
    struct rlimit usual, none;
    struct err err;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    none = usual;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int fd = os_open_directory(OS_HERE, dir->path);
    bool ok = fd < 0;
    for (int round = 0; round < 3; round++) {
        ok = ok && database_begin(writer, &err);
        for (int i = 0; i < 2000; i++) {
            char name[600];
            snprintf(name, sizeof(name), "%d-%d-%0500d", round, i, 0);
            ok = ok && add(writer, str_of(name), &err);
        }
        ok = ok && database_commit(writer, &err);
        ok = ok && count(reader) == 1 + (round + 1) * 2000;
    }
    database_close(&writer);
    ok = ok && count(reader) == 6001;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_true(ok);
    database_close(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, state_dir_setup, state_dir_teardown)
        CASE(new_files_are_private),
        CASE(values_come_back_as_they_were),
        CASE(a_missing_file_is_made_by_a_writer_only),
        CASE(a_directory_name_too_long_is_refused),
        CASE(an_older_file_is_brought_up_to_date),
        CASE(a_failed_upgrade_changes_nothing),
        CASE(what_is_not_ours_is_refused),
        CASE(damage_is_told),
        CASE(a_file_that_another_holds_is_tried_later),
        CASE(a_file_out_of_wal_mode_is_refused_to_readers),
        CASE(a_reader_sees_commits_at_once_and_nothing_else),
        CASE(a_reader_opens_no_file_after_its_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
