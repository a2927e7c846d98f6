#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "conf/pattern.h"

static void host_names(void **state)
{
    static const struct {
        const char *name;
        bool good;
    } cases[] = {
        {"mail.example.com", true},
        {"a.b", true},
        {"邮件.例子.测试", true},
        {"x-1.example", true},
        {"1.example", true},
        {"xn--fsq.xn--0zwm56d", true},
        {"", false},
        {"localhost", false},
        {"a..b", false},
        {".a.b", false},
        {"a.b.", false},
        {"-a.b", false},
        {"a-.b", false},
        {"a_b.c", false},
        {"a b.c", false},
        {"192.0.2.1", false},
        {"[192.0.2.1]", false},
        {"a.b:25", false},
        {"a@b.c", false},
        {"a.b\n", false},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b", true},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b", false},
    };
    struct complaint complaint;
    struct arena arena;
    char name[257];
    (void)state;
    arena_init(&arena, LIMIT_config_memory);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(pattern_check_host(str_of(cases[i].name), &arena, &complaint),
                         cases[i].good);
    for (size_t i = 0; i < sizeof(name); i++)
        name[i] = i % 2 ? '.' : 'a';
    assert_true(pattern_check_host(str_from(name, 255), &arena, &complaint));
    assert_false(pattern_check_host(str_from(name, 257), &arena, &complaint));
    arena_finish(&arena);
}

static void mailboxes(void **state)
{
    // mailbox: what becomes of domain d.example and user u; NULL: refused
    static const struct {
        const char *pattern, *mailbox;
    } cases[] = {
        {"%d/%u", "d.example/u"},
        {"%u", "u"},
        {"%u/%d", "u/d.example"},
        {"home/%d/%u/Maildir", "home/d.example/u/Maildir"},
        {"%u@%d", "u@d.example"},
        {"100%%/%u", "100%/u"},
        {"用户/%u", "用户/u"},
        {"..%u", "..u"},
        {"%d/%u/%u", "d.example/u/u"},
        {"", NULL},
        {"%d", NULL},
        {"%%u", NULL},
        {"%", NULL},
        {"%u%", NULL},
        {"%x/%u", NULL},
        {"%d%u", NULL},
        {"%d-%u", NULL},
        {"%d.%u", NULL},
        {"%d%%%u", NULL},
        {"%d用%u", NULL},
        {"/%u", NULL},
        {"%u/", NULL},
        {"a//%u", NULL},
        {"../%u", NULL},
        {"%d/../%u", NULL},
        {"%u/..", NULL},
        {"./%u", NULL},
    };
    struct arena arena;
    (void)state;
    arena_init(&arena, LIMIT_config_memory);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conf conf = {.mailbox = str_of(cases[i].pattern)};
        struct complaint complaint = {.text = STR("")};
        struct buf out;
        assert_int_equal(pattern_check_mailbox(conf.mailbox, &arena, &complaint),
                         cases[i].mailbox != NULL);
        if (!cases[i].mailbox) {
            assert_true(complaint.text.len > 0 && complaint.hint.len > 0);
            continue;
        }
        buf_init(&out, 1000);
        conf_put_mailbox(&out, &conf, STR("d.example"), STR("u"));
        assert_true(str_eq(buf_str(&out), str_of(cases[i].mailbox)));
        buf_finish(&out);
    }
    arena_finish(&arena);
}

static void file_patterns(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool matches;
    } cases[] = {
        {"*.yaml", "a.yaml", true},
        {"*.yaml", ".yaml", false},
        {".*", ".hidden", true},
        {"*", ".hidden", false},
        {"*", "x", true},
        {"?", "x", true},
        {"?", "", false},
        {"*", "", true},
        {"", "", true},
        {"", "x", false},
        {"a*b*c", "aXbYbZc", true},
        {"a*b*c", "aXbYbZ", false},
        {"**a", "bba", true},
        {"*.yaml", "a.yaml~", false},
        {"10-*.yaml", "10-x.yaml", true},
        {"邮?件", "邮x件", true},
        {"*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(pattern_matches(str_of(cases[i].pattern), str_of(cases[i].name)),
                         cases[i].matches);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_names),
        cmocka_unit_test(mailboxes),
        cmocka_unit_test(file_patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
