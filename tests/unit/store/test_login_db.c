#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/login_db.h"
#include "state_dir.h"

struct fixture {
    struct state_dir *dir;
    struct login_db *db;
    struct arena arena;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err;
    assert_non_null(f);
    state_dir_setup((void **)&f->dir);
    arena_init(&f->arena, 1 << 16);
    if (!login_db_open(&f->db, state_dir_path(f->dir), DATABASE_WRITE, &err))
        fail_msg("%s", err.text);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    login_db_close(&f->db);
    assert_null(f->db);
    arena_finish(&f->arena);
    state_dir_teardown((void **)&f->dir);
    free(f);
    return 0;
}

static struct address read_address(struct fixture *f, const char *text)
{
    struct address address;
    struct err err;
    if (!address_read(str_of(text), &f->arena, &address, &err))
        fail_msg("%s: %s", text, err.text);
    return address;
}

static void set(struct fixture *f, const char *user, const char *hash)
{
    struct address address = read_address(f, user);
    struct err err;
    if (!login_db_set(f->db, &address, str_of(hash), &err))
        fail_msg("%s", err.text);
}

// hash NULL: there must be none.
static void holds(struct fixture *f, const char *user, const char *hash)
{
    struct address address = read_address(f, user);
    struct buf got;
    struct err err;
    bool found;
    buf_init(&got, 1024);
    assert_true(login_db_find(f->db, &address, &found, &got, &err));
    if (found != (hash != NULL) || !str_eq(buf_str(&got), str_of(hash)))
        fail_msg("%s: \"%.*s\"", user, STR_ARG(buf_str(&got)));
    buf_finish(&got);
}

static void hashes_are_kept_by_folded_address(void **state)
{
    struct fixture *f = *state;
    holds(f, "alice@example.com", NULL);
    set(f, "Alice@Example.com", "$y$one");
    set(f, "用户@例子.测试", "$y$two");
    set(f, "\"a@b\"@example.com", "$y$three");
    holds(f, "ALICE@EXAMPLE.COM", "$y$one");
    holds(f, "用户@xn--fsqu00a.xn--0zwm56d", "$y$two");
    holds(f, "\"A@b\"@example.com", "$y$three");
    holds(f, "a@example.com", NULL);
    holds(f, "alic@example.com", NULL);
    holds(f, "alice@example.org", NULL);
}

static void a_hash_is_replaced_and_removed(void **state)
{
    struct fixture *f = *state;
    struct address address = read_address(f, "ALICE@example.com");
    struct err err;
    set(f, "alice@example.com", "$y$one");
    set(f, "bob@example.com", "$y$bob");
    set(f, "Alice@example.com", "$y$two");
    holds(f, "alice@example.com", "$y$two");
    assert_true(login_db_remove(f->db, &address, &err));
    holds(f, "alice@example.com", NULL);
    assert_true(login_db_remove(f->db, &address, &err)); // none is there: no error
    holds(f, "bob@example.com", "$y$bob");
}

// Apart from the hash, and gone with it.
static void a_secret_of_apop_goes_with_the_hash(void **state)
{
    struct fixture *f = *state;
    struct address address = read_address(f, "ALICE@example.com");
    struct buf got;
    struct err err;
    bool found = true;
    buf_init(&got, 1024);
    assert_true(login_db_find_apop(f->db, &address, &found, &got, &err));
    assert_false(found);
    assert_true(login_db_set_apop(f->db, &address, STR("one"), &err));
    assert_true(login_db_set_apop(f->db, &address, STR("two words"), &err));
    holds(f, "alice@example.com", NULL);
    set(f, "alice@example.com", "$y$one");
    assert_true(login_db_find_apop(f->db, &address, &found, &got, &err));
    assert_true(found && str_eq(buf_str(&got), STR("two words")));
    assert_true(login_db_remove(f->db, &address, &err));
    assert_true(login_db_find_apop(f->db, &address, &found, &got, &err));
    assert_false(found);
    holds(f, "alice@example.com", NULL);
    buf_finish(&got);
}

static void the_file_is_private_and_durable(void **state)
{
    struct fixture *f = *state;
    struct err err;
    set(f, "alice@example.com", "$y$one");
    assert_int_equal(state_dir_mode(f->dir, "login.db"), 0600);
    assert_int_equal(state_dir_mode(f->dir, "login.db-wal"), 0600);
    assert_int_equal(state_dir_mode(f->dir, "login.db-shm"), 0600);
    login_db_close(&f->db);
    assert_int_equal(state_dir_mode(f->dir, "login.db"), 0600);
    assert_true(login_db_open(&f->db, state_dir_path(f->dir), DATABASE_READ, &err));
    holds(f, "alice@example.com", "$y$one");
}

static void a_reader_sees_changes_and_makes_none(void **state)
{
    struct fixture *f = *state;
    struct fixture role = {.dir = f->dir};
    struct address address = read_address(f, "alice@example.com");
    struct err err;
    arena_init(&role.arena, 1 << 16);
    assert_true(login_db_open(&role.db, state_dir_path(f->dir), DATABASE_READ, &err));
    holds(&role, "alice@example.com", NULL);
    set(f, "alice@example.com", "$y$one");
    holds(&role, "alice@example.com", "$y$one");
    assert_false(login_db_set(role.db, &address, STR("$y$evil"), &err));
    assert_false(login_db_remove(role.db, &address, &err));
    holds(f, "alice@example.com", "$y$one");
    login_db_close(&role.db);
    arena_finish(&role.arena);
}

static void the_directory_is_not_taken_for_it(void **state)
{
    struct fixture *f = *state;
    struct login_db *db = NULL;
    struct err err;
    login_db_close(&f->db);
    assert_int_equal(os_unlink(f->dir->fd, "login.db"), 0);
    assert_false(login_db_open(&db, state_dir_path(f->dir), DATABASE_READ, &err));
    assert_null(db);
    assert_int_equal(err.class, ERR_GIVE_UP);
    state_dir_write(f->dir, "login.db",
                    STR("no database at all, and long enough to have a head "
                        "of a hundred octets, which is what SQLite reads"));
    assert_false(login_db_open(&db, state_dir_path(f->dir), DATABASE_WRITE, &err));
    assert_null(db);
    assert_int_equal(err.class, ERR_GIVE_UP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(hashes_are_kept_by_folded_address),    CASE(a_hash_is_replaced_and_removed),
        CASE(a_secret_of_apop_goes_with_the_hash),  CASE(the_file_is_private_and_durable),
        CASE(a_reader_sees_changes_and_makes_none), CASE(the_directory_is_not_taken_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
