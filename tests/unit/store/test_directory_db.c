#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store/directory_db.h"
#include "state_dir.h"

struct fixture {
    struct state_dir *dir;
    struct directory_db *db; // for writing
    struct arena arena;
};

static struct address read_address(struct fixture *f, const char *text)
{
    struct address address = {
        .kind = ADDRESS_POSTMASTER, .local = STR("Postmaster"), .folded_local = STR("postmaster")};
    struct err err;
    if (!str_eq_nocase(str_of(text), STR("postmaster")) &&
        !address_read(str_of(text), &f->arena, &address, &err))
        fail_msg("%s: %s", text, err.text);
    return address;
}

static bool add_domain(struct fixture *f, const char *name, struct err *err)
{
    struct str folded;
    assert_true(domain_read(str_of(name), &f->arena, &folded, err));
    return directory_db_add_domain(f->db, str_of(name), folded, err);
}

static bool remove_domain(struct fixture *f, const char *name, struct err *err)
{
    struct str folded;
    assert_true(domain_read(str_of(name), &f->arena, &folded, err));
    return directory_db_remove_domain(f->db, str_of(name), folded, err);
}

static bool add_user(struct fixture *f, const char *text, struct err *err)
{
    struct address address = read_address(f, text);
    return directory_db_add_user(f->db, &address, err);
}

static bool remove_user(struct fixture *f, const char *text, struct err *err)
{
    struct address address = read_address(f, text);
    return directory_db_remove_user(f->db, &address, err);
}

static enum directory_verdict lookup(struct fixture *f, const char *text,
                                     struct directory_user *user, struct err *err)
{
    struct address address = read_address(f, text);
    struct directory_found found;
    enum directory_verdict verdict = directory_db_lookup(
        f->db, &(struct directory_question){.address = &address}, &f->arena, &found, err);
    *user = found.user;
    return verdict;
}

static void refused(bool ok, const struct err *err, const char *text)
{
    assert_false(ok);
    assert_int_equal(err->class, ERR_GIVE_UP);
    assert_string_equal(err->text, text);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err;
    assert_non_null(f);
    state_dir_setup((void **)&f->dir);
    arena_init(&f->arena, 1 << 20);
    if (!directory_db_open(&f->db, state_dir_path(f->dir), DATABASE_WRITE, &err))
        fail_msg("%s", err.text);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    directory_db_close(&f->db);
    assert_null(f->db);
    arena_finish(&f->arena);
    state_dir_teardown((void **)&f->dir);
    free(f);
    return 0;
}

static void fill(struct fixture *f)
{
    static const char *const domains[] = {"Example.com", "例子.测试", "empty.example", "b.example"};
    static const char *const users[] = {
        "Alice@Example.COM",    "bob@example.com",        "用户@例子.测试",
        "postmaster@b.example", "\"a b\\\"c\"@b.example", "\"x'; DROP\"@b.example",
        "straße@b.example",
    };
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(domains); i++)
        assert_true(add_domain(f, domains[i], &err));
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        if (!add_user(f, users[i], &err))
            fail_msg("%s: %s", users[i], err.text);
    }
}

static void lookups(void **state)
{
    static const struct {
        const char *asked;
        enum directory_verdict verdict;
        const char *address, *domain_name, *user_name;
    } cases[] = {
        {"alice@example.com", DIRECTORY_LOCAL, "Alice@Example.COM", "example.com", "alice"},
        {"ALICE@EXAMPLE.COM", DIRECTORY_LOCAL, "Alice@Example.COM", "example.com", "alice"},
        {"bob@example.com", DIRECTORY_LOCAL, "bob@example.com", "example.com", "bob"},
        {"bobb@example.com", DIRECTORY_NO_SUCH_USER, NULL, NULL, NULL},
        {"bo@example.com", DIRECTORY_NO_SUCH_USER, NULL, NULL, NULL},
        {"bob@b.example", DIRECTORY_NO_SUCH_USER, NULL, NULL, NULL},
        {"bob@empty.example", DIRECTORY_NO_SUCH_USER, NULL, NULL, NULL},
        {"bob@sub.example.com", DIRECTORY_NOT_HOSTED, NULL, NULL, NULL},
        {"bob@xample.com", DIRECTORY_NOT_HOSTED, NULL, NULL, NULL},
        {"bob@[127.0.0.1]", DIRECTORY_NOT_HOSTED, NULL, NULL, NULL},
        {"postmaster@elsewhere.example", DIRECTORY_NOT_HOSTED, NULL, NULL, NULL},
        {"用户@例子.测试", DIRECTORY_LOCAL, "用户@例子.测试", "xn--fsqu00a.xn--0zwm56d", "用户"},
        {"用户@xn--fsqu00a.xn--0zwm56d", DIRECTORY_LOCAL, "用户@例子.测试",
         "xn--fsqu00a.xn--0zwm56d", "用户"},
        {"用@例子.测试", DIRECTORY_NO_SUCH_USER, NULL, NULL, NULL},
        {"\"A b\\\"c\"@b.example", DIRECTORY_LOCAL, "\"a b\\\"c\"@b.example", "b.example",
         "a%20b%22c"},
        {"\"x'; drop\"@b.example", DIRECTORY_LOCAL, "\"x'; DROP\"@b.example", "b.example",
         "x%27%3B%20drop"},
        {"STRASSE@b.example", DIRECTORY_LOCAL, "straße@b.example", "b.example", "strasse"},
        {"%@example.com", DIRECTORY_NO_SUCH_USER, NULL, NULL, NULL},
        // RFC 5321 4.5.1
        {"postmaster", DIRECTORY_LOCAL, "Alice@Example.COM", "example.com", "alice"},
        {"PostMaster", DIRECTORY_LOCAL, "Alice@Example.COM", "example.com", "alice"},
        {"POSTMASTER@example.com", DIRECTORY_LOCAL, "Alice@Example.COM", "example.com", "alice"},
        {"postmaster@例子.测试", DIRECTORY_LOCAL, "用户@例子.测试", "xn--fsqu00a.xn--0zwm56d",
         "用户"},
        {"Postmaster@b.example", DIRECTORY_LOCAL, "postmaster@b.example", "b.example",
         "postmaster"},
        {"postmaster@empty.example", DIRECTORY_LOCAL, "Alice@Example.COM", "example.com", "alice"},
    };
    struct fixture *f = *state;
    fill(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct directory_user user;
        struct err err = {.class = ERR_NONE};
        enum directory_verdict verdict = lookup(f, cases[i].asked, &user, &err);
        if (verdict != cases[i].verdict)
            fail_msg("%s: verdict %d (%s)", cases[i].asked, verdict, err.text);
        if (verdict != DIRECTORY_LOCAL)
            continue;
        if (!str_eq(user.address, str_of(cases[i].address)) ||
            !str_eq(user.domain_name, str_of(cases[i].domain_name)) ||
            !str_eq_nocase(user.user_name, str_of(cases[i].user_name)))
            fail_msg("%s: %.*s in %.*s/%.*s", cases[i].asked, STR_ARG(user.address),
                     STR_ARG(user.domain_name), STR_ARG(user.user_name));
        assert_true(user.created_ms > 0);
    }
}

// A login names one user: the postmaster's rule is for mail only.
static void finding_a_user_is_exact(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *asked;
        bool found;
    } cases[] = {
        {"ALICE@example.com", true},        {"postmaster@example.com", false},
        {"postmaster@b.example", true},     {"nobody@example.com", false},
        {"alice@elsewhere.example", false}, {"postmaster", false},
    };
    fill(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct address address = read_address(f, cases[i].asked);
        struct directory_user user;
        struct err err;
        bool found;
        assert_true(directory_db_find(f->db, &address, &f->arena, &found, &user, &err));
        if (found != cases[i].found)
            fail_msg("%s", cases[i].asked);
    }
}

static void the_postmaster_of_an_empty_house_is_trouble(void **state)
{
    struct fixture *f = *state;
    struct directory_user user;
    struct err err;
    assert_int_equal(lookup(f, "postmaster", &user, &err), DIRECTORY_TROUBLE);
    assert_int_equal(err.class, ERR_TRY_LATER);
    assert_true(add_domain(f, "example.com", &err));
    assert_int_equal(lookup(f, "postmaster", &user, &err), DIRECTORY_TROUBLE);
    assert_int_equal(lookup(f, "postmaster@example.com", &user, &err), DIRECTORY_TROUBLE);
    assert_int_equal(err.class, ERR_TRY_LATER);
    assert_int_equal(lookup(f, "alice@example.com", &user, &err), DIRECTORY_NO_SUCH_USER);
    assert_true(add_user(f, "alice@example.com", &err));
    assert_int_equal(lookup(f, "postmaster", &user, &err), DIRECTORY_LOCAL);
}

static void changes_that_cannot_be(void **state)
{
    struct fixture *f = *state;
    struct err err;
    fill(f);
    refused(add_domain(f, "EXAMPLE.com", &err), &err, "EXAMPLE.com is hosted already");
    refused(add_domain(f, "xn--fsqu00a.xn--0zwm56d", &err), &err,
            "xn--fsqu00a.xn--0zwm56d is hosted already");
    refused(add_user(f, "aLICE@example.com", &err), &err, "aLICE@example.com is there already");
    refused(add_user(f, "eve@Elsewhere.example", &err), &err,
            "Elsewhere.example is not hosted here: `posthouse domain add Elsewhere.example` makes "
            "it so");
    refused(remove_user(f, "eve@elsewhere.example", &err), &err,
            "elsewhere.example is not hosted here: `posthouse domain add elsewhere.example` makes "
            "it so");
    refused(remove_user(f, "eve@example.com", &err), &err, "eve@example.com is not a user here");
    refused(remove_domain(f, "elsewhere.example", &err), &err,
            "elsewhere.example is not hosted here");
    refused(remove_domain(f, "example.com", &err), &err,
            "example.com has 2 users: `posthouse user remove` them first");
    refused(remove_domain(f, "例子.测试", &err), &err,
            "例子.测试 has 1 user: `posthouse user remove` them first");
}

static void what_was_removed_is_gone(void **state)
{
    struct fixture *f = *state;
    struct directory_user user;
    struct err err;
    fill(f);
    assert_true(remove_user(f, "ALICE@example.com", &err));
    assert_int_equal(lookup(f, "alice@example.com", &user, &err), DIRECTORY_NO_SUCH_USER);
    assert_int_equal(lookup(f, "postmaster", &user, &err), DIRECTORY_LOCAL);
    assert_true(str_eq(user.address, STR("bob@example.com")));
    assert_true(remove_user(f, "bob@example.com", &err));
    assert_true(remove_domain(f, "example.com", &err));
    assert_int_equal(lookup(f, "bob@example.com", &user, &err), DIRECTORY_NOT_HOSTED);
    assert_true(add_domain(f, "example.com", &err));
    assert_true(add_user(f, "alice@example.com", &err));
    assert_int_equal(lookup(f, "alice@example.com", &user, &err), DIRECTORY_LOCAL);
}

struct listing {
    struct buf text;
    unsigned left; // names until it stops
};

static bool list_user(void *context, const struct directory_user *user)
{
    struct listing *listing = context;
    buf_putf(&listing->text, "%.*s %.*s/%.*s\n", STR_ARG(user->address), STR_ARG(user->domain_name),
             STR_ARG(user->user_name));
    return --listing->left > 0;
}

static bool list_domain(void *context, const struct directory_domain *domain)
{
    struct listing *listing = context;
    assert_true(domain->created_ms > 0);
    buf_putf(&listing->text, "%.*s %.*s %u\n", STR_ARG(domain->name), STR_ARG(domain->folded),
             (unsigned)domain->users);
    return --listing->left > 0;
}

static void listed(struct listing *listing, const char *text)
{
    buf_put_byte(&listing->text, '\0');
    assert_string_equal(listing->text.ptr, text);
    buf_clear(&listing->text);
}

static void quotas(void **state)
{
    struct fixture *f = *state;
    struct directory_user user;
    struct address bob, nobody = read_address(f, "nobody@example.com");
    struct err err;
    bool any;
    fill(f);
    bob = read_address(f, "BOB@example.com");
    assert_int_equal(lookup(f, "bob@example.com", &user, &err), DIRECTORY_LOCAL);
    assert_int_equal(user.quota, DIRECTORY_NO_QUOTA);
    assert_int_equal(directory_quota(&user, 7), 7);
    assert_true(directory_db_set_quota(f->db, &bob, 0, &err)); // no limit is no quota
    assert_true(directory_db_has_quotas(f->db, &any, &err));
    assert_false(any);
    assert_int_equal(lookup(f, "bob@example.com", &user, &err), DIRECTORY_LOCAL);
    assert_int_equal(directory_quota(&user, 7), 0);
    assert_true(directory_db_set_quota(f->db, &bob, INT64_C(1) << 40, &err));
    assert_true(directory_db_has_quotas(f->db, &any, &err));
    assert_true(any);
    assert_int_equal(lookup(f, "bob@example.com", &user, &err), DIRECTORY_LOCAL);
    assert_int_equal(directory_quota(&user, 7), INT64_C(1) << 40);
    assert_int_equal(lookup(f, "alice@example.com", &user, &err), DIRECTORY_LOCAL);
    assert_int_equal(user.quota, DIRECTORY_NO_QUOTA);
    assert_true(directory_db_set_quota(f->db, &bob, DIRECTORY_NO_QUOTA, &err));
    assert_true(directory_db_has_quotas(f->db, &any, &err));
    assert_false(any);
    refused(directory_db_set_quota(f->db, &nobody, 1, &err), &err,
            "nobody@example.com is not a user here");
}

static bool note_number(void *context, const struct directory_user *user)
{
    *(int64_t *)context = user->number;
    return false;
}

static void users_are_walked_by_their_numbers(void **state)
{
    struct fixture *f = *state;
    struct err err;
    int64_t last = 0, number = 0;
    unsigned users = 0;
    fill(f);
    for (;; users++) {
        number = 0;
        assert_true(directory_db_each_user(f->db, last, note_number, &number, &err));
        if (number == 0)
            break;
        assert_true(number > last);
        last = number;
    }
    assert_int_equal(users, 7);
}

static void lists(void **state)
{
    struct fixture *f = *state;
    struct listing listing = {.left = 3};
    struct err err;
    buf_init(&listing.text, 4096);
    assert_true(directory_db_each_user(f->db, 0, list_user, &listing, &err));
    assert_true(directory_db_each_domain(f->db, list_domain, &listing, &err));
    listed(&listing, "");
    fill(f);
    assert_true(directory_db_each_user(f->db, 0, list_user, &listing, &err));
    listed(&listing, "Alice@Example.COM example.com/alice\n"
                     "bob@example.com example.com/bob\n"
                     "用户@例子.测试 xn--fsqu00a.xn--0zwm56d/用户\n");
    listing.left = 100;
    assert_true(directory_db_each_domain(f->db, list_domain, &listing, &err));
    listed(&listing, "Example.com example.com 2\n"
                     "例子.测试 xn--fsqu00a.xn--0zwm56d 1\n"
                     "empty.example empty.example 0\n"
                     "b.example b.example 4\n");
    buf_finish(&listing.text);
}

static void a_transaction_is_whole(void **state)
{
    struct fixture *f = *state;
    struct directory_user user;
    struct err err;
    fill(f);
    assert_true(directory_db_begin(f->db, &err));
    assert_true(add_user(f, "eve@example.com", &err));
    directory_db_rollback(f->db);
    assert_int_equal(lookup(f, "eve@example.com", &user, &err), DIRECTORY_NO_SUCH_USER);
    assert_true(directory_db_begin(f->db, &err));
    assert_true(add_user(f, "eve@example.com", &err));
    assert_true(directory_db_commit(f->db, &err));
    assert_int_equal(lookup(f, "eve@example.com", &user, &err), DIRECTORY_LOCAL);
}

// The role has its own handle, read-only and open all the time.
static void a_role_sees_changes_at_once(void **state)
{
    struct fixture *f = *state;
    struct fixture role = {.dir = f->dir};
    struct directory_user user;
    struct err err;
    fill(f);
    arena_init(&role.arena, 1 << 20);
    assert_true(directory_db_open(&role.db, state_dir_path(f->dir), DATABASE_READ, &err));
    assert_int_equal(lookup(&role, "eve@example.com", &user, &err), DIRECTORY_NO_SUCH_USER);
    assert_true(add_user(f, "eve@example.com", &err));
    assert_int_equal(lookup(&role, "eve@example.com", &user, &err), DIRECTORY_LOCAL);
    assert_true(remove_user(f, "eve@example.com", &err));
    assert_int_equal(lookup(&role, "eve@example.com", &user, &err), DIRECTORY_NO_SUCH_USER);
    assert_false(add_user(&role, "mallory@example.com", &err));
    directory_db_close(&role.db);
    arena_finish(&role.arena);
}

static void no_memory_is_trouble_not_an_answer(void **state)
{
    struct fixture *f = *state;
    struct address address;
    struct directory_user user;
    struct arena tiny;
    struct err err;
    bool found;
    fill(f);
    address = read_address(f, "alice@example.com");
    arena_init(&tiny, 8);
    assert_int_equal(directory_db_lookup(f->db, &(struct directory_question){.address = &address},
                                         &tiny, &(struct directory_found){.domain = 0}, &err),
                     DIRECTORY_TROUBLE);
    assert_int_equal(err.class, ERR_TRY_LATER);
    assert_false(directory_db_find(f->db, &address, &tiny, &found, &user, &err));
    assert_int_equal(err.class, ERR_TRY_LATER);
    // The query has ended all the same.
    assert_int_equal(lookup(f, "alice@example.com", &user, &err), DIRECTORY_LOCAL);
    arena_finish(&tiny);
}

// The longest address there is, with a local part whose file name is longer than a name may be.
static void the_longest_address(void **state)
{
    struct fixture *f = *state;
    struct directory_user user;
    struct err err;
    struct buf text, domain;
    buf_init(&text, 1024);
    buf_init(&domain, 1024);
    for (int i = 0; i < 3; i++)
        buf_putf(&domain, "%s%059d", i ? "." : "", i);
    buf_putf(&domain, ".example");
    buf_put_byte(&domain, '\0');
    buf_put_byte(&text, '"');
    for (int i = 0; i < 62; i++)
        buf_put_byte(&text, '*');
    buf_putf(&text, "\"@%s", domain.ptr);
    buf_put_byte(&text, '\0');
    assert_true(add_domain(f, domain.ptr, &err));
    if (!add_user(f, text.ptr, &err))
        fail_msg("%s", err.text);
    assert_int_equal(lookup(f, text.ptr, &user, &err), DIRECTORY_LOCAL);
    assert_true(user.user_name.len > 62 && user.user_name.len <= 255);
    buf_finish(&text);
    buf_finish(&domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(lookups),
        CASE(finding_a_user_is_exact),
        CASE(the_postmaster_of_an_empty_house_is_trouble),
        CASE(changes_that_cannot_be),
        CASE(what_was_removed_is_gone),
        CASE(quotas),
        CASE(users_are_walked_by_their_numbers),
        CASE(lists),
        CASE(a_transaction_is_whole),
        CASE(a_role_sees_changes_at_once),
        CASE(no_memory_is_trouble_not_an_answer),
        CASE(the_longest_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
