#include "mail/route_table.h"

#include "../check.h"

static void patterns(void **state)
{
    static const struct {
        const char *text, *want; // NULL: refused
    } cases[] = {
        {"*", "*"},
        {"Example.COM", "example.com"},
        {".Example.COM", ".example.com"},
        {".例子.测试", ".xn--fsqu00a.xn--0zwm56d"},
        {"com", "com"},
        {"", NULL},
        {".", NULL},
        {"..com", NULL},
        {"*.com", NULL},
        {"a b", NULL},
        {"[192.0.2.1]", NULL},
    };
    struct arena arena;
    (void)state;
    arena_init(&arena, 65536);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str pattern;
        struct err err;
        bool ok = route_pattern_read(str_of(cases[i].text), &arena, &pattern, &err);
        assert_int_equal(ok, cases[i].want != NULL);
        if (ok)
            assert_true(str_eq(pattern, str_of(cases[i].want)));
        else
            assert_int_equal(err.class, ERR_PEER_WRONG);
    }
    arena_finish(&arena);
}

// The closer domain wins, then the closer sender; the order of the table means nothing.
static void the_closest_wins(void **state)
{
    static const char *const rules[][3] = {
        {"*", "", "all"},
        {".example.com", "", "below"},
        {".a.example.com", "", "below a"},
        {"example.com", "", "itself"},
        {"*", "a.test", "all from a"},
        {"*", ".a.test", "all from below a"},
        {"*", "*", "all from somebody"},
        {"example.com", "a.test", "itself from a"},
    };
    static const struct {
        const char *domain, *sender, *want;
    } cases[] = {
        {"other.org", "", "all"},
        {"other.org", "b.test", "all from somebody"},
        {"other.org", "a.test", "all from a"},
        {"other.org", "x.a.test", "all from below a"},
        {"example.com", "", "itself"},
        {"example.com", "b.test", "itself"},
        {"example.com", "a.test", "itself from a"},
        {"x.example.com", "a.test", "below"},
        {"a.example.com", "", "below"},
        {"x.a.example.com", "", "below a"},
        {"notexample.com", "", "all"},
        {"[192.0.2.1]", "", "all"},
    };
    struct route_rule table[ARRAY_LEN(rules)];
    (void)state;
    for (size_t turn = 0; turn < ARRAY_LEN(rules); turn++) {
        for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
            const char *const *rule = rules[(i + turn) % ARRAY_LEN(rules)];
            table[i] = (struct route_rule){str_of(rule[0]), str_of(rule[1]), str_of(rule[2])};
        }
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            const struct route_rule *found = route_table_find(
                table, ARRAY_LEN(table), str_of(cases[i].domain), str_of(cases[i].sender));
            assert_non_null(found);
            assert_true(str_eq(found->to, str_of(cases[i].want)));
        }
    }
    table[0] = (struct route_rule){STR(".example.com"), STR(""), STR("below")};
    assert_null(route_table_find(table, 1, STR("example.com"), STR("")));
    assert_null(route_table_find(table, 0, STR("example.com"), STR("")));
}

static void targets(void **state)
{
    static const struct {
        const char *text;
        enum route_kind kind;
        const char *host;
        unsigned port;
        const char *more;
    } cases[] = {
        {"smtp://192.0.2.1:26", ROUTE_TO_SMTP, "192.0.2.1", 26, ""},
        {"smtp://[2001:db8::1]:26", ROUTE_TO_SMTP, "2001:db8::1", 26, ""},
        {"smtp://[::1]", ROUTE_TO_SMTP, "::1", 25, ""},
        {"smtp://MX.Example.com", ROUTE_TO_SMTP, "mx.example.com", 25, ""},
        {"smtp://例子.example:587", ROUTE_TO_SMTP, "xn--fsqu00a.example", 587, ""},
        {"smtp://localhost:26", ROUTE_TO_SMTP, "localhost", 26, ""},
        {"lmtp://127.0.0.1:24", ROUTE_TO_LMTP, "127.0.0.1", 24, ""},
        {"lmtp:/run/lmtp", ROUTE_TO_LMTP_PATH, "", 0, "/run/lmtp"},
        {"error: no mail goes there", ROUTE_TO_ERROR, "", 0, "no mail goes there"},
    };
    static const char *const wrong[] = {
        "",
        "smtp",
        "smtp:",
        "smtp://",
        "smtp://:25",
        "smtp://a:",
        "smtp://a:0",
        "smtp://a:65536",
        "smtp://a:25x",
        "smtp://a b",
        "smtp://[::1",
        "smtp://[192.0.2.1]:25",
        "smtp://[x]:25",
        "smtp://1.2.3:25",
        "smtp://300.1.1.1:25",
        "smtp://::1:25",
        "smtp://[::1]25",
        "lmtp://a",
        "lmtp:run",
        "error:",
        "error:  ",
        "SMTP://a",
        "http://a",
    };
    struct arena arena;
    struct route_target target;
    struct err err;
    (void)state;
    arena_init(&arena, 65536);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(route_target_read(str_of(cases[i].text), &arena, &target, &err));
        assert_int_equal(target.kind, cases[i].kind);
        assert_true(str_eq(target.host, str_of(cases[i].host)));
        assert_int_equal(target.port, cases[i].port);
        assert_true(str_eq(target.text, str_of(cases[i].more)));
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        if (route_target_read(str_of(wrong[i]), &arena, &target, &err))
            fail_msg("taken: %s", wrong[i]);
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns),
        cmocka_unit_test(the_closest_wins),
        cmocka_unit_test(targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
