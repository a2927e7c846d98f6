// Directory and login read their databases inside their jails, while the administrator's command
// writes to them from outside; the directory writes what mailboxes hold. No file can be opened
// there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/jail.h"
#include "state_dir.h"
#include "store/directory_db.h"
#include "store/login_db.h"
#include "store/usage_db.h"

enum { ROUNDS = 20 };

static const struct row {
    const char *role;
    unsigned calls;
    uint64_t max_files;
    uint64_t max_memory;
} rows[] = {
#define JAIL(role, calls, max_files, max_memory) {#role, calls, max_files, max_memory},
#include "roles/jails.def"
#undef JAIL
};

static const struct row *row_of(const char *role)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(str_of(rows[i].role), str_of(role)))
            return &rows[i];
    fail_msg("no row of %s", role);
    return NULL;
}

static bool enter(const char *role)
{
    const struct row *row = row_of(role);
    const struct jail jail = {.role = row->role,
                              .calls = row->calls,
                              .max_files = row->max_files,
                              .max_memory = row->max_memory};
    struct jail_report report;
    struct err err;
    return jail_enter(&jail, &report, &err);
}

// The i-th user.
static struct address user(struct arena *arena, unsigned i)
{
    char text[64];
    struct address address = {.kind = ADDRESS_POSTMASTER};
    struct err err;
    snprintf(text, sizeof(text), "用户%u@example.test", i);
    if (!address_read(str_of(text), arena, &address, &err))
        _exit(90);
    return address;
}

// What the child and its parent tell each other: a byte a turn.
struct turns {
    int to_child[2], to_parent[2];
};

static bool tell(int fd)
{
    return write(fd, "x", 1) == 1;
}

static bool heard(int fd)
{
    char byte;
    return read(fd, &byte, 1) == 1;
}

// ---- the children: 0, or the step that failed

static int read_directory(struct str state_dir, struct turns *turns)
{
    struct directory_db *db;
    struct directory_found found;
    struct arena arena;
    struct err err;
    arena_init(&arena, 1 << 24);
    if (!directory_db_open(&db, state_dir, DATABASE_READ, &err) || !enter("DIRECTORY"))
        return 1;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct address address = user(&arena, i);
        const struct directory_question question = {.address = &address};
        if (directory_db_lookup(db, &question, &arena, &found, &err) != DIRECTORY_NO_SUCH_USER)
            return 2;
        if (!tell(turns->to_parent[1]) || !heard(turns->to_child[0]))
            return 3;
        if (directory_db_lookup(db, &question, &arena, &found, &err) != DIRECTORY_LOCAL)
            return 4;
    }
    directory_db_close(&db);
    arena_finish(&arena);
    return 0;
}

static int read_login(struct str state_dir, struct turns *turns)
{
    struct login_db *db;
    struct arena arena;
    struct buf hash;
    struct err err;
    bool found;
    arena_init(&arena, 1 << 24);
    buf_init(&hash, 4096);
    if (!login_db_open(&db, state_dir, DATABASE_READ, &err) || !enter("LOGIN"))
        return 1;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct address address = user(&arena, i);
        buf_clear(&hash);
        if (!tell(turns->to_parent[1]) || !heard(turns->to_child[0]))
            return 3;
        if (!login_db_find(db, &address, &found, &hash, &err) || !found || hash.len != 1000)
            return 4;
    }
    login_db_close(&db);
    buf_finish(&hash);
    arena_finish(&arena);
    return 0;
}

// So much that the log is copied into the database now and then, and begun anew.
static int write_usage(struct str state_dir, struct turns *turns)
{
    enum { MAILBOXES = 400, WRITES = 100 };
    struct usage_db *db;
    struct err err;
    if (!usage_db_open(&db, state_dir, DATABASE_WRITE, &err) || !enter("DIRECTORY"))
        return 1;
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (unsigned j = 0; j < MAILBOXES; j++) {
            char name[64];
            snprintf(name, sizeof(name), "example.test/用户%u", j);
            bool ok = i == 0 ? usage_db_set(db, str_of(name), (struct usage){1, 1}, &err)
                             : usage_db_change(db, str_of(name), (struct usage){1, 0}, &err);
            if (!ok || (j % WRITES == 0 && !usage_db_write(db, &err)))
                return 2;
        }
        if (!usage_db_write(db, &err))
            return 3;
        if (!tell(turns->to_parent[1]) || !heard(turns->to_child[0]))
            return 4;
    }
    usage_db_close(&db);
    return 0;
}

// ---- the command, outside

static void write_user(struct str state_dir, struct arena *arena, unsigned i)
{
    struct directory_db *directory;
    struct login_db *login;
    struct err err;
    char hash[1000];
    struct address address = user(arena, i);
    memset(hash, 'h', sizeof(hash));
    assert_true(directory_db_open(&directory, state_dir, DATABASE_WRITE, &err));
    assert_true(login_db_open(&login, state_dir, DATABASE_WRITE, &err));
    assert_true(directory_db_add_user(directory, &address, &err));
    assert_true(login_db_set(login, &address, str_from(hash, sizeof(hash)), &err));
    directory_db_close(&directory);
    login_db_close(&login);
}

static void make_databases(struct str state_dir)
{
    struct directory_db *directory;
    struct login_db *login;
    struct err err;
    assert_true(directory_db_open(&directory, state_dir, DATABASE_WRITE, &err));
    assert_true(login_db_open(&login, state_dir, DATABASE_WRITE, &err));
    assert_true(directory_db_add_domain(directory, STR("example.test"), STR("example.test"), &err));
    directory_db_close(&directory);
    login_db_close(&login);
}

static void runs(void **state, int (*child)(struct str, struct turns *),
                 void (*command)(struct str state_dir, struct arena *arena, unsigned i))
{
    struct str state_dir = state_dir_path(*state);
    struct turns turns;
    struct arena arena;
    int status;
    make_databases(state_dir);
    assert_int_equal(pipe(turns.to_child) | pipe(turns.to_parent), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(child(state_dir, &turns));
    close(turns.to_child[0]);
    close(turns.to_parent[1]);
    arena_init(&arena, 1 << 24);
    for (unsigned i = 0; i < ROUNDS && heard(turns.to_parent[0]); i++) {
        command(state_dir, &arena, i);
        assert_true(tell(turns.to_child[1]));
    }
    arena_finish(&arena);
    close(turns.to_child[1]);
    close(turns.to_parent[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void read_usage(struct str state_dir, struct arena *arena, unsigned i)
{
    struct usage_db *db = NULL;
    struct usage usage = {0, 0};
    struct err err;
    bool known = false;
    (void)arena;
    assert_true(usage_db_open(&db, state_dir, DATABASE_READ, &err));
    assert_true(usage_db_find(db, STR("example.test/用户399"), &known, &usage, &err));
    assert_true(known);
    assert_int_equal(usage.octets, i + 1);
    usage_db_close(&db);
}

static void the_command_reads_what_directory_writes(void **state)
{
    runs(state, write_usage, read_usage);
}

static void directory_reads_what_the_command_writes(void **state)
{
    runs(state, read_directory, write_user);
}

static void login_reads_what_the_command_writes(void **state)
{
    runs(state, read_login, write_user);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(directory_reads_what_the_command_writes, state_dir_setup,
                                        state_dir_teardown),
        cmocka_unit_test_setup_teardown(login_reads_what_the_command_writes, state_dir_setup,
                                        state_dir_teardown),
        cmocka_unit_test_setup_teardown(the_command_reads_what_directory_writes, state_dir_setup,
                                        state_dir_teardown),
    };
    return cmocka_run_group_tests_name("jailed_databases", tests, NULL, NULL);
}
