#include "mail/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/limits.h"

#define REPEAT10(s) s s s s s s s s s s
#define LOCAL60     REPEAT10("abcdef")
#define LABEL50     REPEAT10("abcde")

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
