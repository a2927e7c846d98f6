#include "mail/address.h"

#include "../check.h"
#include "base/limits.h"

#define REPEAT10(s) s s s s s s s s s s
#define LOCAL60 REPEAT10("abcdef")
#define LABEL50 REPEAT10("abcde")

struct path_case {
    const char *text;
    enum path_role role;
    bool utf8;
    const char *put;    // what address_put writes; NULL: refused
    const char *folded; // or, where refused, a part of the error's text
    const char *rest;
};

// clang-format off
static const struct path_case path_cases[] = {
    // RFC 5321 section 4.1.2
    {"<a@b>", PATH_REVERSE, false, "a@b", "a@b", ""},
    {"<Alice@Example.ORG> SIZE=1", PATH_REVERSE, false, "Alice@Example.ORG", "alice@example.org", " SIZE=1"},
    {"<!#$%&'*+-/=?^_`{|}~@x>", PATH_FORWARD, false, "!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~@x", ""},
    {"<a.b.c@d.e.f>", PATH_FORWARD, false, "a.b.c@d.e.f", "a.b.c@d.e.f", ""},
    {"<user%other@x>", PATH_FORWARD, false, "user%other@x", "user%other@x", ""},
    {"<host!user@x>", PATH_FORWARD, false, "host!user@x", "host!user@x", ""},
    {"<a@_dmarc.x_y.example>", PATH_FORWARD, false, "a@_dmarc.x_y.example", "a@_dmarc.x_y.example", ""},
    {"<a@1.2.3.4>", PATH_FORWARD, false, "a@1.2.3.4", "a@1.2.3.4", ""},
    {"<a@XN--FIQ228C.example>", PATH_FORWARD, false, "a@XN--FIQ228C.example", "a@xn--fiq228c.example", ""},
    // the null path and the postmaster
    {"<>", PATH_REVERSE, false, "", "", ""},
    {"<> BODY=7BIT", PATH_REVERSE, false, "", "", " BODY=7BIT"},
    {"<>", PATH_FORWARD, false, NULL, "empty", ""},
    {"<postmaster>", PATH_FORWARD, false, "postmaster", "postmaster", ""},
    {"<PostMaster> X", PATH_FORWARD, false, "postmaster", "postmaster", " X"},
    {"postmaster", PATH_FORWARD, false, "postmaster", "postmaster", ""},
    {"<postmaster>", PATH_REVERSE, false, NULL, "domain is missing", ""},
    {"<\"postmaster\">", PATH_FORWARD, false, NULL, "domain is missing", ""},
    {"<webmaster>", PATH_FORWARD, false, NULL, "domain is missing", ""},
    // bare addresses
    {"nobody@yahoo.com", PATH_REVERSE, false, "nobody@yahoo.com", "nobody@yahoo.com", ""},
    {"nobody@yahoo.com SIZE=5", PATH_REVERSE, false, "nobody@yahoo.com", "nobody@yahoo.com", " SIZE=5"},
    {"\"a b\"@x Y", PATH_REVERSE, false, "\"a b\"@x", "\"a b\"@x", " Y"},
    {"nobody@yahoo.com>", PATH_REVERSE, false, NULL, "> may not stand in the domain", ""},
    {"", PATH_REVERSE, false, NULL, "empty", ""},
    {" ", PATH_FORWARD, false, NULL, "empty", ""},
    // quoted local parts
    {"<\"a b\"@d>", PATH_FORWARD, false, "\"a b\"@d", "\"a b\"@d", ""},
    {"<\"a\\\"b\"@d>", PATH_FORWARD, false, "\"a\\\"b\"@d", "\"a\\\"b\"@d", ""},
    {"<\"a\\\\b\"@d>", PATH_FORWARD, false, "\"a\\\\b\"@d", "\"a\\\\b\"@d", ""},
    {"<\"\\a\\b\"@d>", PATH_FORWARD, false, "ab@d", "ab@d", ""},
    {"<\"Plain\"@d>", PATH_FORWARD, false, "Plain@d", "plain@d", ""},
    {"<\"\"@d>", PATH_FORWARD, false, "\"\"@d", "\"\"@d", ""},
    {"<\"a@b>c\"@d>", PATH_FORWARD, false, "\"a@b>c\"@d", "\"a@b>c\"@d", ""},
    {"<\".a\"@d>", PATH_FORWARD, false, "\".a\"@d", "\".a\"@d", ""},
    {"<\"a..b\"@d>", PATH_FORWARD, false, "\"a..b\"@d", "\"a..b\"@d", ""},
    {"<\"a@d>", PATH_FORWARD, false, NULL, "closing quote", ""},
    {"<\"a\\", PATH_FORWARD, false, NULL, "closing quote", ""},
    {"<\"a\tb\"@d>", PATH_FORWARD, false, NULL, "control", ""},
    {"<\"a\\\x01\"@d>", PATH_FORWARD, false, NULL, "control", ""},
    {"<\"a\"b@d>", PATH_FORWARD, false, NULL, "b may not stand in the local part", ""},
    {"<\"a\"测@d>", PATH_FORWARD, true, NULL, "character that may not stand", ""},
    {"<a\"b\"@d>", PATH_FORWARD, false, NULL, "\" may not stand in the local part", ""},
    // source routes are dropped, RFC 5321 appendix C
    {"<@a,@b:c@d>", PATH_REVERSE, false, "c@d", "c@d", ""},
    {"<@relay.example:\"x y\"@d> S", PATH_FORWARD, false, "\"x y\"@d", "\"x y\"@d", " S"},
    {"<@[IPv6:2001:db8::1],@[192.0.2.1]:c@d>", PATH_FORWARD, false, "c@d", "c@d", ""},
    {"<@a:postmaster>", PATH_FORWARD, false, "postmaster", "postmaster", ""},
    {"<@测试.example:c@d>", PATH_FORWARD, true, "c@d", "c@d", ""},
    {"<@测试.example:c@d>", PATH_FORWARD, false, NULL, "SMTPUTF8", ""},
    {"<@a,b:c@d>", PATH_FORWARD, false, NULL, "b may not stand in the source route", ""},
    {"<@a,:c@d>", PATH_FORWARD, false, NULL, ": may not stand in the source route", ""},
    {"<@:c@d>", PATH_FORWARD, false, NULL, ": may not stand in the source route", ""},
    {"<@a@b>", PATH_FORWARD, false, NULL, "@ may not stand in the source route", ""},
    {"<@a>", PATH_FORWARD, false, NULL, "too early", ""},
    {"<@a:>", PATH_FORWARD, false, NULL, "empty", ""},
    {"<@-a:c@d>", PATH_FORWARD, false, NULL, "hyphen", ""},
    {"<@[x]:c@d>", PATH_FORWARD, false, NULL, "not an address literal", ""},
    // domains
    {"<a@example.org.>", PATH_FORWARD, false, "a@example.org", "a@example.org", ""},
    {"<a@example.org..>", PATH_FORWARD, false, NULL, "label of the domain is empty", ""},
    {"<a@.>", PATH_FORWARD, false, NULL, "label of the domain is empty", ""},
    {"<a@.org>", PATH_FORWARD, false, NULL, "label of the domain is empty", ""},
    {"<a@b..c>", PATH_FORWARD, false, NULL, "label of the domain is empty", ""},
    {"<a@>", PATH_FORWARD, false, NULL, "domain is empty", ""},
    {"<a@-b>", PATH_FORWARD, false, NULL, "hyphen", ""},
    {"<a@b->", PATH_FORWARD, false, NULL, "hyphen", ""},
    {"<a@b@c>", PATH_FORWARD, false, NULL, "@ may not stand in the domain", ""},
    {"<a@b,c>", PATH_FORWARD, false, NULL, ", may not stand in the domain", ""},
    {"<a@b", PATH_FORWARD, false, NULL, "closing >", ""},
    {"<a", PATH_FORWARD, false, NULL, "closing >", ""},
    {"<", PATH_FORWARD, false, NULL, "closing >", ""},
    // no space inside the brackets, nothing behind them
    {"< a@b>", PATH_FORWARD, false, NULL, "space", ""},
    {"<a@b >", PATH_FORWARD, false, NULL, "space", ""},
    {"<a @b>", PATH_FORWARD, false, NULL, "space", ""},
    {"<a@b>SIZE=1", PATH_FORWARD, false, NULL, "behind the closing >", ""},
    {"<a@b>>", PATH_FORWARD, false, NULL, "behind the closing >", ""},
    {"<a@b\t>", PATH_FORWARD, false, NULL, "control", ""},
    {"<<a@b>>", PATH_FORWARD, false, NULL, "< may not stand in the local part", ""},
    {"Alice <a@b>", PATH_FORWARD, false, NULL, "domain is missing", ""},
    // dots in local parts
    {"<.a@b>", PATH_FORWARD, false, NULL, "dot", ""},
    {"<a.@b>", PATH_FORWARD, false, NULL, "dot", ""},
    {"<a..b@c>", PATH_FORWARD, false, NULL, "dot", ""},
    {"<@b>", PATH_FORWARD, false, NULL, "too early", ""},
    {"<a(c)@b>", PATH_FORWARD, false, NULL, "( may not stand in the local part", ""},
    // literals, RFC 5321 section 4.1.3
    {"<a@[192.0.2.1]>", PATH_FORWARD, false, "a@[192.0.2.1]", "a@[192.0.2.1]", ""},
    {"<a@[IPv6:2001:DB8::1]>", PATH_FORWARD, false, "a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]", ""},
    {"<a@[ipv6:::]>", PATH_REVERSE, false, "a@[ipv6:::]", "a@[ipv6:::]", ""},
    {"<a@[192.0.2.256]>", PATH_FORWARD, false, NULL, "not an address literal", ""},
    {"<a@[192.0.2.1>", PATH_FORWARD, false, NULL, "closing >", ""},
    {"<a@[192.0.2.1].org>", PATH_FORWARD, false, NULL, ". may not stand in the domain", ""},
    {"<a@[]>", PATH_FORWARD, false, NULL, "not an address literal", ""},
    {"<a@[1.2.3.4 ]>", PATH_FORWARD, false, NULL, "not an address literal", ""},
    // RFC 6531
    {"<用户@例子.测试>", PATH_FORWARD, true, "用户@例子.测试", "用户@xn--fsqu00a.xn--0zwm56d", ""},
    {"<用户@例子。测试> SMTPUTF8", PATH_REVERSE, true, "用户@例子。测试", "用户@xn--fsqu00a.xn--0zwm56d", " SMTPUTF8"},
    {"<\"用 户\"@x>", PATH_FORWARD, true, "\"用 户\"@x", "\"用 户\"@x", ""},
    {"<Ünïcode@Bücher.example>", PATH_FORWARD, true, "Ünïcode@Bücher.example", "ünïcode@xn--bcher-kva.example", ""},
    {"<U\xcc\x88n@faß.de.>", PATH_FORWARD, true, "U\xcc\x88n@faß.de", "ün@xn--fa-hia.de", ""},
    {"<\xe2\x84\xaa@x>", PATH_FORWARD, true, "\xe2\x84\xaa@x", "k@x", ""}, // KELVIN SIGN
    {"<a\xcd\xbe@x>", PATH_FORWARD, true, "a\xcd\xbe@x", "\"a;\"@x", ""}, // U+037E is ';' in NFC
    {"<测试@example.org>", PATH_FORWARD, false, NULL, "SMTPUTF8", ""},
    {"<a@例子.测试>", PATH_REVERSE, false, NULL, "SMTPUTF8", ""},
    {"<\xff@x>", PATH_FORWARD, true, NULL, "not valid UTF-8", ""},
    {"<a@\xe4\xbe.x>", PATH_FORWARD, true, NULL, "not valid UTF-8", ""},
    {"<\xc0\xafx@x>", PATH_FORWARD, true, NULL, "not valid UTF-8", ""},
    {"<\xc2\x85@x>", PATH_FORWARD, true, NULL, "control", ""},
    {"<\"\xc2\x85\"@x>", PATH_FORWARD, true, NULL, "control", ""},
    {"<a@x\xe2\x84\x80y.example>", PATH_FORWARD, true, NULL, "domain", ""}, // U+2100 maps to a/c
    {"<a@\xc2\xad>", PATH_FORWARD, true, NULL, "domain", ""}, // maps to nothing
    // limits, RFC 5321 section 4.5.3.1
    {"<" LOCAL60 "1234@x>", PATH_FORWARD, false, LOCAL60 "1234@x", LOCAL60 "1234@x", ""},
    {"<" LOCAL60 "12345@x>", PATH_FORWARD, false, NULL, "longer than 64", ""},
    {"<\"" LOCAL60 "1 34\"@x>", PATH_FORWARD, false, "\"" LOCAL60 "1 34\"@x", "\"" LOCAL60 "1 34\"@x", ""},
    {"<\"" LOCAL60 "1 345\"@x>", PATH_FORWARD, false, NULL, "longer than 64", ""},
    {"<a@" LABEL50 "1234567890123>", PATH_FORWARD, false, "a@" LABEL50 "1234567890123", "a@" LABEL50 "1234567890123", ""},
    {"<a@" LABEL50 "12345678901234>", PATH_FORWARD, false, NULL, "longer than 63", ""},
    {"<a@" LABEL50 "." LABEL50 "." LABEL50 "." LABEL50 "." LABEL50 ".>", PATH_FORWARD, false, NULL, "longer than 256", ""},
    {"<@" LABEL50 "." LABEL50 "." LABEL50 "." LABEL50 ":a@" LABEL50 ">", PATH_FORWARD, false, NULL, "longer than 256", ""},
};
// clang-format on

static void check_path(const struct path_case *c)
{
    struct arena arena;
    struct buf put, folded;
    struct address address = {.kind = ADDRESS_NULL};
    struct err err = {.class = ERR_NONE};
    struct str text = str_of(c->text);
    arena_init(&arena, 4096);
    buf_init(&put, 4096);
    buf_init(&folded, 4096);
    bool ok = address_read_path(&text, c->role, c->utf8, &arena, &address, &err);
    if (ok != (c->put != NULL))
        fail_msg("%s: %s", c->text, ok ? "taken" : err.text);
    if (ok) {
        address_put(&put, &address);
        address_put_folded(&folded, &address);
        buf_put_byte(&put, '\0');
        buf_put_byte(&folded, '\0');
        assert_string_equal(put.ptr, c->put);
        assert_string_equal(folded.ptr, c->folded);
        assert_true(str_eq(text, str_of(c->rest)));
        assert_int_equal(address.utf8, !str_is_ascii(str_of(c->put)));
        assert_int_equal(err.class, ERR_NONE);
    } else {
        if (str_find(err_text(&err), str_of(c->folded)) == strlen(err.text))
            fail_msg("%s: %s, not: %s", c->text, err.text, c->folded);
        assert_int_equal(err.class, ERR_PEER_WRONG);
        assert_int_equal(err.code, 501);
        assert_int_equal(err.status.class, 5);
        assert_int_equal(err.status.subject, 1);
        assert_int_equal(err.status.detail, c->role == PATH_REVERSE ? 7 : 3);
        assert_true(str_eq(text, str_of(c->text)));
        assert_int_equal(address.kind, ADDRESS_NULL);
    }
    buf_finish(&put);
    buf_finish(&folded);
    arena_finish(&arena);
}

static void paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(path_cases); i++)
        check_path(&path_cases[i]);
}

static void general_literals_are_553(void **state)
{
    (void)state;
    struct arena arena;
    struct address address;
    arena_init(&arena, 4096);
    const enum path_role roles[] = {PATH_REVERSE, PATH_FORWARD};
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        struct str text = STR("<a@[x400:content]>");
        struct err err = {.class = ERR_NONE};
        assert_false(address_read_path(&text, roles[i], false, &arena, &address, &err));
        assert_int_equal(err.class, ERR_PEER_WRONG);
        assert_int_equal(err.code, 553);
        assert_int_equal(err.status.subject, 1);
        assert_int_equal(err.status.detail, 3);
    }
    arena_finish(&arena);
}

static void a_full_arena_is_no_fault_of_the_client(void **state)
{
    (void)state;
    // 32 octets are one piece of memory, with the arena's own margin; each address needs more.
    const char *const texts[] = {"<alice@example.org>", "<Alice@Example.org>", "<测试@例子.测试>",
                                 "<a@[IPv6:2001:DB8::1]>"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        bool ok = false;
        for (size_t limit = 0; !ok; limit += 16) {
            struct arena arena;
            struct address address;
            struct err err = {.class = ERR_NONE};
            struct str text = str_of(texts[i]);
            arena_init(&arena, limit);
            ok = address_read_path(&text, PATH_FORWARD, true, &arena, &address, &err);
            assert_true(ok == (limit >= arena.used && err.class == ERR_NONE));
            if (!ok) {
                assert_int_equal(err.class, ERR_TRY_LATER);
                assert_int_equal(err.status.class, 4);
                assert_int_equal(err.status.subject, 3);
            }
            arena_finish(&arena);
            assert_true(limit < 1024);
        }
    }
}

struct whole_case {
    const char *text;
    bool ok;
};

static void whole_addresses(void **state)
{
    (void)state;
    static const struct whole_case cases[] = {
        {"alice@example.org", true},
        {"用户@例子.测试", true},
        {"\"a b\"@[192.0.2.1]", true},
        {"alice@example.org.", true},
        {LOCAL60 "@" LABEL50 "." LABEL50 "." LABEL50 ".1234567890123456789012345678901234567890",
         true}, // 254 octets
        {LOCAL60 "@" LABEL50 "." LABEL50 "." LABEL50 ".12345678901234567890123456789012345678901",
         false},
        {"", false},
        {"alice", false},
        {"postmaster", false},
        {"<alice@example.org>", false},
        {"alice@example.org ", false},
        {" alice@example.org", false},
        {"alice@example.org>", false},
        {"alice@[192.0.2.1]x", false},
        {"@a:b@c", false},
        {"a b@c", false},
        {"a@b\n", false},
        {"a@[x400:y]", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena;
        struct address address;
        struct err err = {.class = ERR_NONE};
        arena_init(&arena, 4096);
        if (address_read(str_of(cases[i].text), &arena, &address, &err) != cases[i].ok)
            fail_msg("%s: %s", cases[i].text, err.text);
        if (!cases[i].ok) {
            assert_int_equal(err.class, ERR_PEER_WRONG);
            assert_true(err.code == 501 || err.code == 553);
        }
        arena_finish(&arena);
    }
}

static void nul_octets_are_refused(void **state)
{
    (void)state;
    const struct str texts[] = {STR("a\0b@c"),   STR("\"a\0b\"@c"), STR("a@b\0c"),
                                STR("a@测\0试"), STR("a@b\0"),      STR("a@[1.2.3.4\0]")};
    struct arena arena;
    struct address address;
    struct err err;
    arena_init(&arena, 4096);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_false(address_read(texts[i], &arena, &address, &err));
    arena_finish(&arena);
}

static struct address read_or_fail(const char *text, struct arena *arena)
{
    struct address address = {.kind = ADDRESS_NULL};
    struct err err = {.class = ERR_NONE};
    if (!address_read_stored(str_of(text), PATH_FORWARD, arena, &address, &err))
        fail_msg("%s: %s", text, err.text);
    return address;
}

static void equality_is_of_the_folded_form(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool equal;
    } cases[] = {
        {"Alice@Example.ORG", "alice@example.org.", true},
        {"\"alice\"@example.org", "alice@example.org", true},
        {"\"a b\"@x", "\"a\\ B\"@X", true},
        {"测试@例子.测试", "测试@xn--fsqu00a.XN--0zwm56d", true},
        {"Ünïcode@x",
         "u\xcc\x88ni\xcc\x88"
         "code@x",
         true},
        {"straße@x", "STRASSE@x", true},
        {"测试@x", "测式@x", false},
        {"alice@example.org", "alice@example.net", false},
        {"alice@example.org", "bob@example.org", false},
        {"a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]", true},
        {"a@[192.0.2.1]", "a@192.0.2.1", false},
        {"postmaster", "POSTMASTER", true},
        {"postmaster", "postmaster@x", false},
    };
    struct arena arena;
    arena_init(&arena, 65536);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct address a = read_or_fail(cases[i].a, &arena);
        struct address b = read_or_fail(cases[i].b, &arena);
        assert_int_equal(address_equal(&a, &b), cases[i].equal);
        assert_int_equal(address_equal(&b, &a), cases[i].equal);
    }
    arena_finish(&arena);
}

static void postmaster_with_and_without_domain(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    struct address bare = read_or_fail("PostMaster", &arena);
    struct address full = read_or_fail("POSTMASTER@example.org", &arena);
    struct address other = read_or_fail("postmaster1@example.org", &arena);
    struct address null = {.kind = ADDRESS_NULL};
    assert_int_equal(bare.kind, ADDRESS_POSTMASTER);
    assert_true(address_is_postmaster(&bare));
    assert_true(address_is_postmaster(&full));
    assert_false(address_is_postmaster(&other));
    assert_false(address_is_postmaster(&null));
    arena_finish(&arena);
}

static void stored_addresses_have_the_null_path(void **state)
{
    (void)state;
    struct arena arena;
    struct address address = {.kind = ADDRESS_DOMAIN};
    struct err err;
    arena_init(&arena, 4096);
    assert_true(address_read_stored(STR(""), PATH_REVERSE, &arena, &address, &err));
    assert_int_equal(address.kind, ADDRESS_NULL);
    assert_false(address_read_stored(STR(""), PATH_FORWARD, &arena, &address, &err));
    assert_false(address_read_stored(STR("postmaster"), PATH_REVERSE, &arena, &address, &err));
    arena_finish(&arena);
}

// Any content of a local part comes back from its written form, and the writer's form is short
// enough for the reader.
static void any_local_part_survives_writing_and_reading(void **state)
{
    (void)state;
    static const char letters[] = "ab.\\\" @<>Z0-,:;()[]";
    uint64_t seed = 1;
    struct buf text;
    buf_init(&text, 4096);
    for (int round = 0; round < 2000; round++) {
        char local[LIMIT_local_part];
        size_t len = check_random(&seed) % (sizeof local + 1);
        for (size_t i = 0; i < len; i++)
            local[i] = letters[check_random(&seed) % (sizeof letters - 1)];
        struct address written = {.kind = ADDRESS_DOMAIN,
                                  .local = str_from(local, len),
                                  .folded_local = STR("x"),
                                  .domain = STR("example.org"),
                                  .folded_domain = STR("example.org")};
        struct arena arena;
        struct address read;
        struct err err;
        arena_init(&arena, 4096);
        address_put(&text, &written);
        assert_true(address_read(buf_str(&text), &arena, &read, &err));
        assert_true(str_eq(read.local, written.local));
        assert_true(str_eq(read.domain, written.domain));
        buf_clear(&text);
        arena_finish(&arena);
    }
    buf_finish(&text);
}

static void file_names(void **state)
{
    (void)state;
    const struct {
        struct str part;
        const char *name;
    } cases[] = {
        {STR("alice"), "alice"},
        {STR("a-b_c.d+e=f9Z"), "a-b_c.d+e=f9Z"},
        {STR("测试.ünïcode"), "测试.ünïcode"},
        {STR("."), "%2e"},
        {STR(".."), "%2e."},
        {STR(".profile"), "%2eprofile"},
        {STR("a/b"), "a%2fb"},
        {STR("../../etc/passwd"), "%2e.%2f..%2fetc%2fpasswd"},
        {STR("%2e"), "%252e"},
        {STR("a\0b"), "a%00b"},
        {STR("a:b,c d\n"), "a%3ab%2cc%20d%0a"},
        {STR("\xff\xc3"), "%ff%c3"},
        {STR("\xc2\x85"), "%c2%85"},
        {STR("\xc0\xaf"), "%c0%af"},
        {STR("\xed\xa0\x80"), "%ed%a0%80"},
        {STR("𠮷"), "𠮷"},
        {STR("[ipv6:2001:db8::1]"), "%5bipv6%3a2001%3adb8%3a%3a1%5d"},
        {STR(""), "%empty"},
        {STR("%empty"), "%25empty"},
    };
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        address_put_file_name(&out, cases[i].part);
        check_put(&out, cases[i].name);
    }
    buf_finish(&out);
}

static void long_file_names_become_digests(void **state)
{
    (void)state;
    char part[300];
    struct buf a, b;
    buf_init(&a, 4096);
    buf_init(&b, 4096);
    memset(part, 'x', sizeof part);
    address_put_file_name(&a, str_from(part, 255));
    assert_true(str_eq(buf_str(&a), str_from(part, 255)));
    buf_clear(&a);
    address_put_file_name(&a, str_from(part, 256));
    address_put_file_name(&b, str_from(part, 257));
    assert_int_equal(a.len, sizeof "%sha256-" - 1 + 52);
    assert_true(str_starts(buf_str(&a), STR("%sha256-")));
    assert_false(str_eq(buf_str(&a), buf_str(&b)));
    buf_clear(&a);
    // 86 octets of three characters each are 258.
    memset(part, '/', sizeof part);
    address_put_file_name(&a, str_from(part, 85));
    assert_int_equal(a.len, 255);
    buf_clear(&a);
    address_put_file_name(&a, str_from(part, 86));
    assert_true(str_starts(buf_str(&a), STR("%sha256-")));
    buf_finish(&a);
    buf_finish(&b);
}

// Every input of up to two octets: 65,793 names, none twice, none empty, none with a slash or a
// leading dot.
static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void file_names_are_never_shared(void **state)
{
    (void)state;
    enum { COUNT = 1 + 256 + 65536, SIZE = 8 };
    char(*names)[SIZE] = calloc(COUNT, SIZE);
    struct buf out;
    assert_non_null(names);
    buf_init(&out, SIZE - 1);
    for (size_t i = 0; i < COUNT; i++) {
        const char part[2] = {(char)((i - 1) & 0xff), (char)((i - 257) >> 8 & 0xff)};
        const char pair[2] = {(char)((i - 257) & 0xff), part[1]};
        buf_clear(&out);
        address_put_file_name(&out, i == 0    ? str_from("", 0)
                                    : i < 257 ? str_from(part, 1)
                                              : str_from(pair, 2));
        assert_true(buf_ok(&out));
        assert_true(out.len > 0 && out.ptr[0] != '.');
        assert_int_equal(str_index(buf_str(&out), '/'), out.len);
        memcpy(names[i], out.ptr, out.len);
    }
    qsort(names, COUNT, SIZE, by_name);
    for (size_t i = 1; i < COUNT; i++)
        assert_int_not_equal(strcmp(names[i - 1], names[i]), 0);
    buf_finish(&out);
    free(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
        cmocka_unit_test(general_literals_are_553),
        cmocka_unit_test(a_full_arena_is_no_fault_of_the_client),
        cmocka_unit_test(whole_addresses),
        cmocka_unit_test(nul_octets_are_refused),
        cmocka_unit_test(equality_is_of_the_folded_form),
        cmocka_unit_test(postmaster_with_and_without_domain),
        cmocka_unit_test(stored_addresses_have_the_null_path),
        cmocka_unit_test(any_local_part_survives_writing_and_reading),
        cmocka_unit_test(file_names),
        cmocka_unit_test(long_file_names_become_digests),
        cmocka_unit_test(file_names_are_never_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
