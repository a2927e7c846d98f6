// Aliases, details, catch-alls, users who moved: what may be, and where mail goes then.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/limits.h"
#include "store/directory_db.h"
#include "state_dir.h"

enum { TARGETS = 16 };

struct fixture {
    struct state_dir *dir;
    struct directory_db *db;
    struct arena arena;
    struct err err;
};

static struct address read_address(struct fixture *f, struct str text)
{
    struct address address;
    if (str_starts(text, STR("@"))) {
        address = (struct address){.kind = ADDRESS_DOMAIN, .domain = str_skip(text, 1)};
        assert_true(domain_read(address.domain, &f->arena, &address.folded_domain, &f->err));
    } else if (!address_read(text, &f->arena, &address, &f->err)) {
        fail_msg("%.*s: %s", STR_ARG(text), f->err.text);
    }
    return address;
}

static struct address one(struct fixture *f, const char *text)
{
    return read_address(f, str_of(text));
}

// Texts with blanks between them.
static size_t several(struct fixture *f, const char *text, struct address targets[TARGETS])
{
    struct str rest = str_of(text), word;
    size_t count = 0;
    while (rest.len) {
        if (!str_cut(&rest, ' ', &word)) {
            word = rest;
            rest = STR("");
        }
        assert_true(count < TARGETS);
        targets[count++] = read_address(f, word);
    }
    return count;
}

static bool add(struct fixture *f, const char *alias, const char *text)
{
    struct address targets[TARGETS], address = one(f, alias);
    size_t count = several(f, text, targets);
    return directory_db_add_alias(f->db, &address, targets, count, &f->err);
}

static bool take(struct fixture *f, const char *alias, const char *text, bool *gone)
{
    struct address targets[TARGETS], address = one(f, alias);
    size_t count = several(f, text, targets);
    return directory_db_remove_alias(f->db, &address, targets, count, gone, &f->err);
}

static bool move(struct fixture *f, const char *user, const char *to, bool forward)
{
    struct address address = one(f, user), new = to ? one(f, to) : address;
    return directory_db_move_user(f->db, &address, to ? &new : NULL, forward, &f->err);
}

static bool remove_user(struct fixture *f, const char *user)
{
    struct address address = one(f, user);
    return directory_db_remove_user(f->db, &address, &f->err);
}

static void add_user(struct fixture *f, const char *user)
{
    struct address address = one(f, user);
    if (!directory_db_add_user(f->db, &address, &f->err))
        fail_msg("%s", f->err.text);
}

static void done(struct fixture *f, bool ok)
{
    if (!ok)
        fail_msg("%s", f->err.text);
}

static void refused(struct fixture *f, bool ok, const char *text)
{
    assert_false(ok);
    assert_string_equal(f->err.text, text);
}

static bool put_user(void *context, const struct directory_user *user)
{
    struct buf *out = context;
    assert_true(user->number > 0);
    buf_putf(out, "%s%.*s", out->len ? " " : "", STR_ARG(user->address));
    return true;
}

static enum directory_verdict ask(struct fixture *f, const char *text, bool final,
                                  struct directory_found *found)
{
    struct address address = one(f, text);
    const struct directory_question question = {
        .address = &address, .detail_separator = STR("+"), .final = final};
    return directory_db_lookup(f->db, &question, &f->arena, found, &f->err);
}

// `text`: the mailboxes, in their order.
static void leads(struct fixture *f, const char *asked, enum directory_verdict wanted,
                  const char *text)
{
    struct directory_found found;
    struct buf out;
    enum directory_verdict verdict = ask(f, asked, false, &found);
    buf_init(&out, 1 << 20);
    if (verdict != wanted)
        fail_msg("%s: verdict %d", asked, verdict);
    if (verdict == DIRECTORY_ALIAS || verdict == DIRECTORY_FORWARDED)
        assert_true(directory_db_expand(f->db, &found, 0, put_user, &out, &f->err));
    else if (verdict == DIRECTORY_LOCAL)
        buf_put(&out, found.user.address);
    buf_put_byte(&out, '\0');
    assert_string_equal(out.ptr, text);
    buf_finish(&out);
}

static int setup(void **state)
{
    static const char *const users[] = {"alice@example.com", "bob@example.com", "carol@example.com",
                                        "用户@例子.测试", "a+b@example.com"};
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    state_dir_setup((void **)&f->dir);
    arena_init(&f->arena, 1 << 24);
    if (!directory_db_open(&f->db, state_dir_path(f->dir), DATABASE_WRITE, &f->err))
        fail_msg("%s", f->err.text);
    done(f, directory_db_add_domain(f->db, STR("example.com"), STR("example.com"), &f->err));
    done(f,
         directory_db_add_domain(f->db, STR("例子.测试"), STR("xn--fsqu00a.xn--0zwm56d"), &f->err));
    for (size_t i = 0; i < ARRAY_LEN(users); i++)
        add_user(f, users[i]);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    directory_db_close(&f->db);
    arena_finish(&f->arena);
    state_dir_teardown((void **)&f->dir);
    free(f);
    return 0;
}

static void one_and_many_and_nested(void **state)
{
    struct fixture *f = *state;
    done(f, add(f, "Info@Example.com", "ALICE@example.com"));
    leads(f, "INFO@example.com", DIRECTORY_ALIAS, "alice@example.com");
    done(f, add(f, "info@example.com", "bob@example.com alice@example.com"));
    done(f, add(f, "团队@例子.测试", "用户@例子.测试 info@example.com bob@example.com"));
    leads(f, "团队@xn--fsqu00a.xn--0zwm56d", DIRECTORY_ALIAS,
          "alice@example.com bob@example.com 用户@例子.测试");
    leads(f, "alice@example.com", DIRECTORY_LOCAL, "alice@example.com");
}

static void an_alias_with_a_mailbox_names_itself(void **state)
{
    struct fixture *f = *state;
    bool gone;
    refused(f, add(f, "alice@example.com", "bob@example.com"),
            "alice@example.com is a user: the alias must name this address as a target too, so "
            "that the mailbox has its copy");
    leads(f, "alice@example.com", DIRECTORY_LOCAL, "alice@example.com");
    done(f, add(f, "alice@example.com", "bob@example.com Alice@example.com"));
    leads(f, "alice@example.com", DIRECTORY_ALIAS, "alice@example.com bob@example.com");
    leads(f, "alice+work@example.com", DIRECTORY_ALIAS, "alice@example.com bob@example.com");
    refused(f, take(f, "alice@example.com", "alice@example.com", &gone),
            "alice@example.com is a user: while the alias has other targets, it must name this "
            "one too");
    refused(f, remove_user(f, "alice@example.com"),
            "alice@example.com is an alias too: `posthouse alias remove` it first");
    refused(f, move(f, "alice@example.com", "x@elsewhere.example", false),
            "alice@example.com is an alias too: `posthouse alias remove` it first");
    done(f, take(f, "alice@example.com", "bob@example.com", &gone));
    assert_true(gone);
    leads(f, "alice@example.com", DIRECTORY_LOCAL, "alice@example.com");
    refused(f, add(f, "info@example.com", "info@example.com"),
            "info@example.com names itself, and is not a user");
}

static void an_address_is_a_user_or_an_alias(void **state)
{
    struct fixture *f = *state;
    struct address info = one(f, "info@example.com");
    done(f, add(f, "info@example.com", "alice@example.com"));
    refused(f, directory_db_add_user(f->db, &info, &f->err),
            "info@example.com is an alias: `posthouse alias remove` it first");
}

static void details(void **state)
{
    struct fixture *f = *state;
    done(f, add(f, "info@example.com", "carol@example.com"));
    done(f, add(f, "bob+sales@example.com", "alice@example.com"));
    leads(f, "alice+x+y@example.com", DIRECTORY_LOCAL, "alice@example.com");
    leads(f, "info+x@example.com", DIRECTORY_ALIAS, "carol@example.com");
    leads(f, "bob+SALES@example.com", DIRECTORY_ALIAS, "alice@example.com");
    leads(f, "bob+other@example.com", DIRECTORY_LOCAL, "bob@example.com");
    leads(f, "a+b@example.com", DIRECTORY_LOCAL, "a+b@example.com");
    leads(f, "a+c@example.com", DIRECTORY_NO_SUCH_USER, "");
    leads(f, "+alice@example.com", DIRECTORY_NO_SUCH_USER, "");
    leads(f, "nobody+alice@example.com", DIRECTORY_NO_SUCH_USER, "");
    leads(f, "用户+新闻@例子.测试", DIRECTORY_LOCAL, "用户@例子.测试");
    leads(f, "postmaster+x@example.com", DIRECTORY_LOCAL, "alice@example.com");
}

static void a_catch_all_has_the_rest_of_its_domain(void **state)
{
    struct fixture *f = *state;
    done(f, add(f, "@Example.com", "bob@example.com"));
    leads(f, "anybody@example.com", DIRECTORY_ALIAS, "bob@example.com");
    leads(f, "any+body@example.com", DIRECTORY_ALIAS, "bob@example.com");
    leads(f, "alice@example.com", DIRECTORY_LOCAL, "alice@example.com");
    leads(f, "alice+x@example.com", DIRECTORY_LOCAL, "alice@example.com");
    leads(f, "postmaster@example.com", DIRECTORY_LOCAL, "alice@example.com");
    leads(f, "anybody@例子.测试", DIRECTORY_NO_SUCH_USER, "");
    refused(f,
            directory_db_remove_domain(f->db, STR("例子.测试"), STR("xn--fsqu00a.xn--0zwm56d"),
                                       &f->err),
            "例子.测试 has 1 user: `posthouse user remove` them first");
    done(f, remove_user(f, "用户@例子.测试"));
    done(f, add(f, "@例子.测试", "bob@example.com"));
    refused(f,
            directory_db_remove_domain(f->db, STR("例子.测试"), STR("xn--fsqu00a.xn--0zwm56d"),
                                       &f->err),
            "例子.测试 has 1 alias: `posthouse alias remove` them first");
}

static void the_postmaster_may_be_an_alias(void **state)
{
    struct fixture *f = *state;
    done(f, add(f, "Postmaster@example.com", "bob@example.com carol@example.com"));
    leads(f, "POSTMASTER@example.com", DIRECTORY_ALIAS, "bob@example.com carol@example.com");
}

static void targets_that_cannot_be(void **state)
{
    struct fixture *f = *state;
    bool gone;
    refused(f, add(f, "x@example.com", "alice@example.com nobody@example.com"),
            "nobody@example.com is neither a user nor an alias here");
    refused(f, add(f, "x@example.com", "alice+detail@example.com"),
            "alice+detail@example.com is neither a user nor an alias here");
    refused(f, add(f, "x@elsewhere.example", "alice@example.com"),
            "elsewhere.example is not hosted here: `posthouse domain add elsewhere.example` makes "
            "it so");
    leads(f, "x@example.com", DIRECTORY_NO_SUCH_USER, ""); // nothing stays of what was refused
    refused(f, take(f, "x@example.com", "", &gone), "x@example.com is not an alias");
    done(f, add(f, "x@example.com", "alice@example.com"));
    refused(f, take(f, "x@example.com", "bob@example.com", &gone),
            "bob@example.com is not a target of this alias");
    done(f, add(f, "y@example.com", "x@example.com"));
    refused(f, take(f, "x@example.com", "", &gone),
            "x@example.com is a target of the alias y@example.com: `posthouse alias remove "
            "y@example.com` it there first");
    refused(f, remove_user(f, "alice@example.com"),
            "alice@example.com is a target of the alias x@example.com: `posthouse alias remove "
            "x@example.com` it there first");
    refused(f, move(f, "alice@example.com", "a@elsewhere.example", false),
            "alice@example.com is a target of the alias x@example.com: `posthouse alias remove "
            "x@example.com` it there first");
}

// Addresses of other hosts stand behind the mailboxes, each once, as it was written first.
static void targets_at_other_hosts(void **state)
{
    struct fixture *f = *state;
    bool gone;
    done(f, add(f, "x@example.com", "Bob@Elsewhere.example alice@example.com"));
    leads(f, "x@example.com", DIRECTORY_ALIAS, "alice@example.com Bob@Elsewhere.example");
    done(f, add(f, "x@example.com", "bob@elsewhere.example")); // is there already
    done(f, add(f, "y@example.com", "x@example.com BOB@elsewhere.EXAMPLE 鲍勃@别处.example"));
    leads(f, "y@example.com", DIRECTORY_ALIAS,
          "alice@example.com Bob@Elsewhere.example 鲍勃@别处.example");
    done(f, take(f, "x@example.com", "alice@example.com", &gone));
    assert_false(gone); // it has one that is elsewhere
    refused(f, take(f, "x@example.com", "carol@elsewhere.example", &gone),
            "carol@elsewhere.example is not a target of this alias");
    done(f, take(f, "y@example.com", "x@example.com", &gone));
    done(f, take(f, "x@example.com", "BOB@elsewhere.example", &gone));
    assert_true(gone);
    leads(f, "x@example.com", DIRECTORY_NO_SUCH_USER, "");
    leads(f, "y@example.com", DIRECTORY_ALIAS, "BOB@elsewhere.EXAMPLE 鲍勃@别处.example");
    done(f, take(f, "y@example.com", "", &gone));
    assert_true(gone);
    done(f, add(f, "y@example.com", "alice@example.com")); // with nothing of what it was
    leads(f, "y@example.com", DIRECTORY_ALIAS, "alice@example.com");
}

// Mail that is sent to a domain elsewhere would end among the users here.
static void a_domain_that_mail_is_sent_to_is_not_hosted(void **state)
{
    struct fixture *f = *state;
    bool gone;
    done(f, add(f, "x@example.com", "bob@elsewhere.example"));
    refused(
        f,
        directory_db_add_domain(f->db, STR("Elsewhere.example"), STR("elsewhere.example"), &f->err),
        "mail for x@example.com goes to an address at Elsewhere.example: take that away first, "
        "and add it again then");
    done(f, take(f, "x@example.com", "", &gone));
    done(f, directory_db_add_domain(f->db, STR("Elsewhere.example"), STR("elsewhere.example"),
                                    &f->err));
}

static void loops_are_refused(void **state)
{
    struct fixture *f = *state;
    done(f, add(f, "a@example.com", "alice@example.com"));
    done(f, add(f, "b@example.com", "a@example.com"));
    done(f, add(f, "c@example.com", "b@example.com"));
    refused(f, add(f, "a@example.com", "c@example.com"), "a@example.com would lead back to itself");
    leads(f, "c@example.com", DIRECTORY_ALIAS, "alice@example.com");
    done(f, move(f, "bob@example.com", "c@example.com", true));
    refused(f, add(f, "a@example.com", "bob@example.com"),
            "a@example.com would lead back to itself");
}

// Ten aliases are allowed; the eleventh is refused wherever it would stand.
static void depth(void **state)
{
    struct fixture *f = *state;
    char alias[32], before[32] = "alice@example.com";
    for (int i = 0; i < LIMIT_alias_depth; i++) {
        snprintf(alias, sizeof alias, "d%d@example.com", i);
        done(f, add(f, alias, before));
        memcpy(before, alias, sizeof before);
    }
    leads(f, before, DIRECTORY_ALIAS, "alice@example.com");
    refused(f, add(f, "top@example.com", before),
            "top@example.com would lead through more than 10 aliases");
    done(f, add(f, "below@example.com", "bob@example.com"));
    refused(f, add(f, "d0@example.com", "below@example.com"),
            "d9@example.com would lead through more than 10 aliases");
}

static void breadth(void **state)
{
    struct fixture *f = *state;
    struct arena many;
    struct address list = one(f, "all@example.com"), half = one(f, "half@example.com");
    struct address *targets = calloc(LIMIT_alias_targets, sizeof *targets);
    assert_non_null(targets);
    arena_init(&many, 1 << 24);
    done(f, directory_db_begin(f->db, &f->err));
    for (int i = 0; i < LIMIT_alias_targets; i++) {
        char text[32];
        snprintf(text, sizeof text, "u%d@example.com", i);
        assert_true(address_read(str_of(text), &many, &targets[i], &f->err));
        done(f, directory_db_add_user(f->db, &targets[i], &f->err));
    }
    done(f, directory_db_commit(f->db, &f->err));
    done(f, directory_db_add_alias(f->db, &half, targets, LIMIT_alias_targets / 2, &f->err));
    done(f, directory_db_add_alias(f->db, &list, targets, LIMIT_alias_targets, &f->err));
    // The same mailboxes once more are no more mailboxes.
    done(f, add(f, "all@example.com", "half@example.com"));
    refused(f, add(f, "half@example.com", "alice@example.com"),
            "all@example.com would have more than 10000 mailboxes");
    arena_finish(&many);
    free(targets);
}

static void users_who_moved(void **state)
{
    struct fixture *f = *state;
    struct directory_found found;
    done(f, move(f, "alice@example.com", "Alice@Elsewhere.example", false));
    assert_int_equal(ask(f, "alice+x@example.com", false, &found), DIRECTORY_MOVED);
    assert_true(str_eq(found.user.moved, STR("Alice@Elsewhere.example")));
    // What was taken before is delivered.
    assert_int_equal(ask(f, "alice@example.com", true, &found), DIRECTORY_LOCAL);
    refused(f, add(f, "x@example.com", "alice@example.com"), "alice@example.com has moved");
    done(f, move(f, "alice@example.com", "a@elsewhere.example", true));
    leads(f, "alice@example.com", DIRECTORY_FORWARDED, "a@elsewhere.example");
    refused(f, move(f, "alice@example.com", "ALICE@example.com", true),
            "alice@example.com cannot move to itself");
    done(f, move(f, "alice@example.com", "bob@example.com", true));
    leads(f, "alice@example.com", DIRECTORY_FORWARDED, "bob@example.com");
    refused(f, remove_user(f, "bob@example.com"),
            "bob@example.com is where alice@example.com moved to: `posthouse user moved "
            "alice@example.com --none` first");
    refused(f, move(f, "bob@example.com", "alice@example.com", true),
            "bob@example.com would lead back to itself");
    refused(f, add(f, "alice@example.com", "alice@example.com carol@example.com"),
            "alice@example.com has moved: `posthouse user moved --none` first");
    done(f, move(f, "alice@example.com", "用户@例子.测试", true));
    leads(f, "alice@example.com", DIRECTORY_FORWARDED, "用户@例子.测试");
    done(f, add(f, "x@example.com", "alice@example.com"));
    leads(f, "x@example.com", DIRECTORY_ALIAS, "用户@例子.测试");
    done(f, move(f, "alice@example.com", NULL, false));
    leads(f, "alice@example.com", DIRECTORY_LOCAL, "alice@example.com");
    done(f, remove_user(f, "用户@例子.测试"));
}

static void a_lock_is_seen(void **state)
{
    struct fixture *f = *state;
    struct directory_found found;
    struct address alice = one(f, "alice@example.com"), nobody = one(f, "nobody@example.com");
    done(f, directory_db_lock_user(f->db, &alice, true, &f->err));
    assert_int_equal(ask(f, "alice@example.com", false, &found), DIRECTORY_LOCAL);
    assert_true(found.user.locked);
    done(f, directory_db_lock_user(f->db, &alice, false, &f->err));
    assert_int_equal(ask(f, "alice@example.com", false, &found), DIRECTORY_LOCAL);
    assert_false(found.user.locked);
    refused(f, directory_db_lock_user(f->db, &nobody, true, &f->err),
            "nobody@example.com is not a user here");
}

// A mailbox that an expansion found is not expanded again.
static void final_questions_are_of_users(void **state)
{
    struct fixture *f = *state;
    struct directory_found found;
    done(f, add(f, "alice@example.com", "alice@example.com bob@example.com"));
    done(f, add(f, "info@example.com", "bob@example.com"));
    done(f, add(f, "@example.com", "bob@example.com"));
    assert_int_equal(ask(f, "alice+x@example.com", true, &found), DIRECTORY_LOCAL);
    assert_true(str_eq(found.user.address, STR("alice@example.com")));
    assert_int_equal(ask(f, "info@example.com", true, &found), DIRECTORY_NO_SUCH_USER);
    assert_int_equal(ask(f, "any@example.com", true, &found), DIRECTORY_NO_SUCH_USER);
    assert_int_equal(ask(f, "postmaster@example.com", true, &found), DIRECTORY_LOCAL);
}

struct pages {
    struct buf out;
    int64_t last;
};

static bool one_a_page(void *context, const struct directory_user *user)
{
    struct pages *pages = context;
    assert_true(user->number > pages->last);
    pages->last = user->number;
    put_user(&pages->out, user);
    return false;
}

static void pages_go_on_and_changes_show(void **state)
{
    struct fixture *f = *state;
    struct directory_db *reader = NULL;
    struct directory_found found;
    struct pages pages = {.last = 0};
    uint64_t before, after;
    buf_init(&pages.out, 1000);
    done(f, add(f, "all@example.com", "carol@example.com alice@example.com bob@example.com"));
    assert_int_equal(ask(f, "all@example.com", false, &found), DIRECTORY_ALIAS);
    assert_true(directory_db_open(&reader, state_dir_path(f->dir), DATABASE_READ, &f->err));
    done(f, directory_db_generation(reader, &before, &f->err));
    for (int i = 0; i < 4; i++)
        done(f, directory_db_expand(reader, &found, pages.last, one_a_page, &pages, &f->err));
    buf_put_byte(&pages.out, '\0');
    assert_string_equal(pages.out.ptr, "alice@example.com bob@example.com carol@example.com");
    done(f, directory_db_generation(reader, &after, &f->err));
    assert_int_equal(before, after);
    done(f, add(f, "all@example.com", "a+b@example.com"));
    done(f, directory_db_generation(reader, &after, &f->err));
    assert_int_not_equal(before, after);
    directory_db_close(&reader);
    buf_finish(&pages.out);
}

static bool list(void *context, const struct directory_target *target)
{
    buf_putf(context, "%.*s>%.*s ", STR_ARG(target->alias), STR_ARG(target->target));
    return true;
}

static void the_list_has_aliases_only(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    buf_init(&out, 1000);
    done(f, add(f, "Info@example.com", "carol@example.com alice@example.com"));
    done(f, move(f, "bob@example.com", "info@example.com", true));
    done(f, add(f, "alice@example.com", "用户@例子.测试 alice@example.com"));
    done(f, directory_db_each_target(f->db, list, &out, &f->err));
    buf_put_byte(&out, '\0');
    assert_string_equal(out.ptr,
                        "Info@example.com>carol@example.com Info@example.com>alice@example.com "
                        "alice@example.com>alice@example.com alice@example.com>用户@例子.测试 ");
    buf_finish(&out);
}

static void the_secret_stays(void **state)
{
    struct fixture *f = *state;
    struct str secret, again;
    done(f, directory_db_secret(f->db, &f->arena, &secret, &f->err));
    assert_int_equal(secret.len, 64);
    directory_db_close(&f->db);
    done(f, directory_db_open(&f->db, state_dir_path(f->dir), DATABASE_WRITE, &f->err));
    done(f, directory_db_secret(f->db, &f->arena, &again, &f->err));
    assert_true(str_eq(secret, again));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(one_and_many_and_nested),
        CASE(an_alias_with_a_mailbox_names_itself),
        CASE(an_address_is_a_user_or_an_alias),
        CASE(details),
        CASE(a_catch_all_has_the_rest_of_its_domain),
        CASE(the_postmaster_may_be_an_alias),
        CASE(targets_that_cannot_be),
        CASE(targets_at_other_hosts),
        CASE(a_domain_that_mail_is_sent_to_is_not_hosted),
        CASE(loops_are_refused),
        CASE(depth),
        CASE(breadth),
        CASE(users_who_moved),
        CASE(a_lock_is_seen),
        CASE(final_questions_are_of_users),
        CASE(pages_go_on_and_changes_show),
        CASE(the_list_has_aliases_only),
        CASE(the_secret_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
