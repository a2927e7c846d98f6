#include "mail/domain.h"

#include "../check.h"

#define LABEL50 "a2345678901234567890123456789012345678901234567890"
#define LABEL63 LABEL50 "1234567890123"
#define THREE_63 LABEL63 "." LABEL63 "." LABEL63

static void domains(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *folded; // NULL: refused
    } cases[] = {
        {"example.org", "example.org"},
        {"Example.ORG.", "example.org"},
        {"localhost", "localhost"},
        {"a", "a"},
        {"1", "1"},
        {"3com.example", "3com.example"},
        {"my_host.example", "my_host.example"},
        {"_x.example", "_x.example"},
        {"a-b--c.example", "a-b--c.example"},
        {"XN--0ZWM56D", "xn--0zwm56d"},
        {"例子.测试", "xn--fsqu00a.xn--0zwm56d"},
        {"例子。测试", "xn--fsqu00a.xn--0zwm56d"},
        {"例子.测试.", "xn--fsqu00a.xn--0zwm56d"},
        {"my_host.例子.测试", "my_host.xn--fsqu00a.xn--0zwm56d"},
        {"BÜCHER.example", "xn--bcher-kva.example"},
        {"bu\xcc\x88"
         "cher.example",
         "xn--bcher-kva.example"},
        {"faß.de", "xn--fa-hia.de"}, // non-transitional: not fass.de
        {LABEL63 ".org", LABEL63 ".org"},
        {THREE_63 "." LABEL63, THREE_63 "." LABEL63}, // 255 octets
        {THREE_63 "." LABEL63 ".", THREE_63 "." LABEL63},
        {"", NULL},
        {".", NULL},
        {"..", NULL},
        {".org", NULL},
        {"a..b", NULL},
        {"a.b..", NULL},
        {"-a.org", NULL},
        {"a-.org", NULL},
        {"a b.org", NULL},
        {"a/b.org", NULL},
        {"a\tb", NULL},
        {"a@b", NULL},
        {"[192.0.2.1]", NULL},
        {LABEL63 "4.org", NULL},
        {THREE_63 "." LABEL63 ".a", NULL},  // 257 octets
        {"例." THREE_63 "." LABEL63, NULL}, // 259 octets
        {"\xff.org", NULL},
        {"\xe4\xbe.org", NULL},
        {"\xc2\x85.org", NULL},
        {"a\r\n例.org", NULL},
        {"a 例.org", NULL},
        {"\xef\xbc\xa0.org", NULL}, // FULLWIDTH COMMERCIAL AT maps to @
        {"a\xe2\x80\xae"
         "b.org",
         NULL},             // RIGHT-TO-LEFT OVERRIDE
        {"\xc2\xad", NULL}, // SOFT HYPHEN maps to nothing
        {"测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测测"
         "测测测"
         "测试例子用户邮件服务器中文域名标签太长了吧.org",
         NULL}, // below 255 octets, the A-label above 63
    };
    struct arena arena;
    arena_init(&arena, 65536);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str folded = STR("untouched");
        struct err err = {.class = ERR_NONE};
        bool ok = domain_read(str_of(cases[i].text), &arena, &folded, &err);
        if (ok != (cases[i].folded != NULL))
            fail_msg("%s: %s", cases[i].text, ok ? folded.ptr : err.text);
        if (ok) {
            assert_string_equal(folded.ptr, cases[i].folded);
        } else {
            assert_int_equal(err.class, ERR_PEER_WRONG);
            assert_true(err.text[0] != '\0');
            assert_string_equal(folded.ptr, "untouched");
        }
    }
    arena_finish(&arena);
}

static void nul_octets_are_refused(void **state)
{
    (void)state;
    const struct str texts[] = {STR("a\0b.org"), STR("a.org\0"), STR("测\0试.org"), STR("\0")};
    struct arena arena;
    struct str folded;
    struct err err;
    arena_init(&arena, 4096);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(domain_read(texts[i], &arena, &folded, &err));
    arena_finish(&arena);
}

static void literals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum literal_kind kind;
    } cases[] = {
        {"[192.0.2.1]", LITERAL_IPV4},
        {"[0.0.0.0]", LITERAL_IPV4},
        {"[255.255.255.255]", LITERAL_IPV4},
        {"[001.02.3.004]", LITERAL_IPV4},
        {"[256.0.0.1]", LITERAL_BAD},
        {"[1.2.3]", LITERAL_BAD},
        {"[1.2.3.]", LITERAL_BAD},
        {"[1.2.3.4.5]", LITERAL_BAD},
        {"[1.2..4]", LITERAL_BAD},
        {"[0001.2.3.4]", LITERAL_BAD},
        {"[1.2.3.-4]", LITERAL_BAD},
        {"[]", LITERAL_BAD},
        {"[", LITERAL_BAD},
        {"]", LITERAL_BAD},
        {"", LITERAL_BAD},
        {"192.0.2.1", LITERAL_BAD},
        {"[192.0.2.1", LITERAL_BAD},
        {"[IPv6:::]", LITERAL_IPV6},
        {"[IPv6:::1]", LITERAL_IPV6},
        {"[IPV6:1::]", LITERAL_IPV6},
        {"[ipv6:2001:db8::1]", LITERAL_IPV6},
        {"[IPv6:1:2:3:4:5:6:7:8]", LITERAL_IPV6},
        {"[IPv6:2001:0DB8:0000:0000:0000:0000:0000:0001]", LITERAL_IPV6},
        {"[IPv6:1:2:3::4:5:6]", LITERAL_IPV6},
        {"[IPv6:1:2:3:4:5:6::]", LITERAL_IPV6},
        {"[IPv6:::ffff:192.0.2.1]", LITERAL_IPV6},
        {"[IPv6:1:2:3:4:5:6:192.0.2.1]", LITERAL_IPV6},
        {"[IPv6:1:2::3:4:192.0.2.1]", LITERAL_IPV6},
        {"[IPv6:1:2:3:4:5:6:7]", LITERAL_BAD},
        {"[IPv6:1:2:3:4:5:6:7:8:9]", LITERAL_BAD},
        {"[IPv6:1:2:3:4:5:6:7::]", LITERAL_BAD}, // "::" is two groups at least
        {"[IPv6:1:2:3::4:5:6:7]", LITERAL_BAD},
        {"[IPv6:1::2::3]", LITERAL_BAD},
        {"[IPv6:1:::2]", LITERAL_BAD},
        {"[IPv6::1]", LITERAL_BAD},
        {"[IPv6:1:]", LITERAL_BAD},
        {"[IPv6:::1:]", LITERAL_BAD},
        {"[IPv6::]", LITERAL_BAD},
        {"[IPv6:]", LITERAL_BAD},
        {"[IPv6:12345::]", LITERAL_BAD},
        {"[IPv6:g::]", LITERAL_BAD},
        {"[IPv6:fe80::1%eth0]", LITERAL_BAD},
        {"[IPv6:192.0.2.1]", LITERAL_BAD},
        {"[IPv6:1:2:3:4:5:6:7:192.0.2.1]", LITERAL_BAD},
        {"[IPv6:::1:2:3:4:5:192.0.2.1]", LITERAL_BAD},
        {"[IPv6:::192.0.2.1:1]", LITERAL_BAD},
        {"[IPv6:::192.0.2.256]", LITERAL_BAD},
        {"[2001:db8::1]", LITERAL_GENERAL}, // grammatically the tag 2001
        {"[x400:c=de;a=x]", LITERAL_GENERAL},
        {"[tag-1:x]", LITERAL_GENERAL},
        {"[tag-:x]", LITERAL_BAD},
        {"[tag:]", LITERAL_BAD},
        {"[:x]", LITERAL_BAD},
        {"[tag:a b]", LITERAL_BAD},
        {"[tag:a[b]", LITERAL_BAD},
        {"[tag:a\\b]", LITERAL_BAD},
        {"[tag:\xe6\xb5\x8b]", LITERAL_BAD},
        {"[t\xc3\xa4g:x]", LITERAL_BAD},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (domain_literal_kind(str_of(cases[i].text)) != cases[i].kind)
            fail_msg("%s is not of kind %d", cases[i].text, (int)cases[i].kind);
}

static void hosts_of_helo(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *folded;
        int code; // of the error
    } cases[] = {
        {"Client.Example.org", "client.example.org", 0},
        {"[192.0.2.1]", "[192.0.2.1]", 0},
        {"[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]", 0},
        {"[x400:y]", NULL, 553},
        {"[nonsense]", NULL, 0},
        {"", NULL, 0},
    };
    struct arena arena;
    arena_init(&arena, 4096);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str folded;
        struct err err = {.class = ERR_NONE};
        bool ok = domain_read_host(str_of(cases[i].text), &arena, &folded, &err);
        assert_int_equal(ok, cases[i].folded != NULL);
        if (ok)
            assert_string_equal(folded.ptr, cases[i].folded);
        assert_int_equal(err.class, ok ? ERR_NONE : ERR_PEER_WRONG);
        assert_int_equal(err.code, cases[i].code);
    }
    arena_finish(&arena);
}

static void a_full_arena_is_passing_trouble(void **state)
{
    (void)state;
    struct arena arena;
    struct str folded;
    struct err err;
    arena_init(&arena, 16);
    assert_false(domain_read(STR("example.org"), &arena, &folded, &err));
    assert_int_equal(err.class, ERR_TRY_LATER);
    assert_false(domain_read_host(STR("[192.0.2.1]"), &arena, &folded, &err));
    assert_int_equal(err.class, ERR_TRY_LATER);
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(domains),
        cmocka_unit_test(nul_octets_are_refused),
        cmocka_unit_test(literals),
        cmocka_unit_test(hosts_of_helo),
        cmocka_unit_test(a_full_arena_is_passing_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
