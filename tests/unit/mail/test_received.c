#include "mail/received.h"

#include "../check.h"
#include "base/arena.h"

#define ID "01M805SGS80000000000000001"

static const uint64_t now = 1795302409000; // 2026-11-21T23:06:49Z

static struct received plain(void)
{
    const uint8_t zeros[10] = {0};
    return (struct received){.helo = STR("client.example.org"),
                             .reverse_name = STR("client.example.org"),
                             .ip = STR("192.0.2.1"),
                             .by = STR("mail.example.test"),
                             .esmtp = true,
                             .id = mail_id_make(now, zeros, 1),
                             .wall_ms = now};
}

static void check_received(const struct received *r, const char *want)
{
    struct buf out;
    buf_init(&out, 4096);
    received_put(&out, r);
    check_put(&out, want);
    buf_finish(&out);
}

static struct address read_address(const char *text, struct arena *arena)
{
    struct address address;
    struct err err;
    assert_true(address_read_stored(str_of(text), PATH_FORWARD, arena, &address, &err));
    return address;
}

static void the_usual_field(void **state)
{
    (void)state;
    struct received r = plain();
    check_received(&r, "Received: from client.example.org (client.example.org [192.0.2.1])\r\n"
                       "\tby mail.example.test with ESMTP id " ID ";\r\n"
                       "\tSat, 21 Nov 2026 23:06:49 +0000\r\n");
    r.zone_minutes = 480;
    r.reverse_name = STR("");
    r.helo_mark = STR("own-name");
    check_received(&r, "Received: from client.example.org ([192.0.2.1])\r\n"
                       "\tby mail.example.test with ESMTP (helo=own-name)\r\n"
                       "\tid " ID ";\r\n"
                       "\tSun, 22 Nov 2026 07:06:49 +0800\r\n");
}

static void for_one_recipient_only(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 65536);
    struct address bob = read_address("bob@example.test", &arena);
    struct address odd = read_address("\"b \\\"b\"@example.test", &arena);
    struct address postmaster = read_address("postmaster", &arena);
    struct received r = plain();
    r.only_recipient = &bob;
    check_received(&r, "Received: from client.example.org (client.example.org [192.0.2.1])\r\n"
                       "\tby mail.example.test with ESMTP id " ID "\r\n"
                       "\tfor <bob@example.test>;\r\n"
                       "\tSat, 21 Nov 2026 23:06:49 +0000\r\n");
    r.only_recipient = &odd;
    check_received(&r, "Received: from client.example.org (client.example.org [192.0.2.1])\r\n"
                       "\tby mail.example.test with ESMTP id " ID "\r\n"
                       "\tfor <\"b \\\"b\"@example.test>;\r\n"
                       "\tSat, 21 Nov 2026 23:06:49 +0000\r\n");
    r.by = STR("a.test");
    r.only_recipient = &postmaster;
    check_received(&r, "Received: from client.example.org (client.example.org [192.0.2.1])\r\n"
                       "\tby a.test with ESMTP id " ID " for <postmaster>;\r\n"
                       "\tSat, 21 Nov 2026 23:06:49 +0000\r\n");
    arena_finish(&arena);
}

// RFC 3848 and RFC 6531 section 4.3.
static void with_keywords(void **state)
{
    (void)state;
    static const struct {
        bool esmtp, tls, auth, utf8, lmtp;
        const char *with;
    } cases[] = {
        {false, false, false, false, false, " with SMTP id "},
        {true, false, false, false, false, " with ESMTP id "},
        {true, true, false, false, false, " with ESMTPS id "},
        {true, false, true, false, false, " with ESMTPA id "},
        {true, true, true, false, false, " with ESMTPSA id "},
        {false, true, false, false, false, " with ESMTPS id "}, // no SMTPS is registered
        {true, false, false, false, true, " with LMTP id "},
        {true, true, true, false, true, " with LMTPSA id "},
        {true, false, false, true, false, " with UTF8SMTP id "},
        {true, true, false, true, false, " with UTF8SMTPS id "},
        {true, true, true, true, false, " with UTF8SMTPSA id "},
        {true, false, true, true, true, " with UTF8LMTPA id "},
    };
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct received r = plain();
        r.by = STR("a.test");
        r.esmtp = cases[i].esmtp;
        r.tls = cases[i].tls;
        r.auth = cases[i].auth;
        r.utf8 = cases[i].utf8;
        r.lmtp = cases[i].lmtp;
        received_put(&out, &r);
        if (str_find(buf_str(&out), str_of(cases[i].with)) == out.len)
            fail_msg("no%sin %.*s", cases[i].with, STR_ARG(buf_str(&out)));
        buf_clear(&out);
    }
    buf_finish(&out);
}

static void literals_of_both_families(void **state)
{
    (void)state;
    struct received r = plain();
    r.helo = STR("[IPv6:2001:db8::1]");
    r.reverse_name = STR("");
    r.ip = STR("2001:db8::1");
    r.ipv6 = true;
    check_received(&r, "Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n"
                       "\tby mail.example.test with ESMTP id " ID ";\r\n"
                       "\tSat, 21 Nov 2026 23:06:49 +0000\r\n");
    // A session that came over no network.
    r.helo = STR("");
    r.ip = STR("");
    check_received(&r, "Received: from unknown\r\n"
                       "\tby mail.example.test with ESMTP id " ID ";\r\n"
                       "\tSat, 21 Nov 2026 23:06:49 +0000\r\n");
}

static void u_labels_stand_in_utf8_letters_only(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 65536);
    struct address to = read_address("用户@例子.测试", &arena);
    struct received r = plain();
    r.helo = STR("邮件.测试");
    r.reverse_name = STR("");
    r.only_recipient = &to;
    check_received(&r, "Received: from xn--5nq051n.xn--0zwm56d ([192.0.2.1])\r\n"
                       "\tby mail.example.test with ESMTP id " ID ";\r\n"
                       "\tSat, 21 Nov 2026 23:06:49 +0000\r\n");
    r.utf8 = true;
    check_received(&r, "Received: from 邮件.测试 ([192.0.2.1])\r\n"
                       "\tby mail.example.test with UTF8SMTP id " ID "\r\n"
                       "\tfor <用户@例子.测试>;\r\n"
                       "\tSat, 21 Nov 2026 23:06:49 +0000\r\n");
    arena_finish(&arena);
}

static void hostile_words_never_reach_the_header(void **state)
{
    (void)state;
    const struct str hostile[] = {
        STR("a\r\nX-Evil: 1"),
        STR("a b"),
        STR("a)(b"),
        STR("a\0b"),
        STR("\xff\xfe"),
        STR("测\r\n试"),
        STR("[1.2.3.4"),
        STR("[x:\r\n]"),
        STR("-"),
        STR("a;b"),
        STR("a\tb"),
        STR("[IPv6:::1]\n"),
        STR("\xc2\x85.org"),
        STR("a@b"),
        STR(".."),
        STR("\\"),
    };
    for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
        struct received r = plain();
        r.utf8 = true;
        r.helo = hostile[i];
        r.reverse_name = hostile[i];
        r.ip = hostile[i];
        r.helo_mark = hostile[i];
        if (str_eq(hostile[i], STR("-")))
            r.helo_mark = STR("");
        check_received(&r, "Received: from unknown\r\n"
                           "\tby mail.example.test with UTF8SMTP id " ID ";\r\n"
                           "\tSat, 21 Nov 2026 23:06:49 +0000\r\n");
    }
}

static void a_bad_name_of_our_own_leaves_the_field_well_formed(void **state)
{
    (void)state;
    struct received r = plain();
    r.by = STR("not a host");
    check_received(&r, "Received: from client.example.org (client.example.org [192.0.2.1])\r\n"
                       "\tby localhost with ESMTP id " ID ";\r\n"
                       "\tSat, 21 Nov 2026 23:06:49 +0000\r\n");
}

// A clause never begins beyond column 77 while it could stand in a line of its own, and no line
// passes the 998 octets of RFC 5322.
static void long_names_are_folded(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 65536);
#define LABEL "abcdefghijklmnopqrstuvwxyz0123456789."
    struct address to = read_address("someone@" LABEL LABEL LABEL "example", &arena);
    struct received r = plain();
    r.helo = STR(LABEL LABEL LABEL LABEL LABEL LABEL "example");
    r.reverse_name = STR(LABEL "example");
    r.by = STR(LABEL LABEL "example");
    r.only_recipient = &to;
    r.helo_mark = STR("mismatch");
    check_received(&r, "Received:\r\n\tfrom " LABEL LABEL LABEL LABEL LABEL LABEL "example\r\n"
                       "\t(" LABEL "example [192.0.2.1])\r\n"
                       "\tby " LABEL LABEL "example\r\n"
                       "\twith ESMTP (helo=mismatch) id " ID "\r\n"
                       "\tfor <someone@" LABEL LABEL LABEL "example>;\r\n"
                       "\tSat, 21 Nov 2026 23:06:49 +0000\r\n");
    arena_finish(&arena);
}

static void return_paths(void **state)
{
    (void)state;
    struct arena arena;
    struct buf out;
    arena_init(&arena, 65536);
    buf_init(&out, 4096);
    struct address null = {.kind = ADDRESS_NULL};
    struct address odd = read_address("\"a>b\"@example.test", &arena);
    struct address plain_address = read_address("Alice@Example.test", &arena);
    return_path_put(&out, &null);
    check_put(&out, "Return-Path: <>\r\n");
    return_path_put(&out, &odd);
    check_put(&out, "Return-Path: <\"a>b\"@example.test>\r\n");
    return_path_put(&out, &plain_address);
    check_put(&out, "Return-Path: <Alice@Example.test>\r\n");
    buf_finish(&out);
    arena_finish(&arena);
}

static void put_delivered_to(struct buf *out, const struct address *recipient, const char *secret)
{
    struct buf address, token;
    buf_init(&address, 1024);
    buf_init(&token, DELIVERED_TOKEN);
    address_put(&address, recipient);
    delivered_token_put(&token, recipient, str_of(secret));
    assert_int_equal(token.len, DELIVERED_TOKEN);
    delivered_to_put(out, buf_str(&address), buf_str(&token));
    buf_finish(&address);
    buf_finish(&token);
}

static void delivered_to_is_keyed_and_folded(void **state)
{
    (void)state;
    struct arena arena;
    struct buf a, b;
    arena_init(&arena, 65536);
    buf_init(&a, 4096);
    buf_init(&b, 4096);
    struct address bob = read_address("bob@example.test", &arena);
    struct address loud = read_address("BOB@EXAMPLE.test", &arena);
    put_delivered_to(&a, &bob, "secret");
    // The first 80 bits of HMAC-SHA-256("secret", "bob@example.test").
    check_put(&a, "Delivered-To: bob@example.test (2AGC254QZXTTRSQS)\r\n");
    put_delivered_to(&a, &loud, "secret");
    check_put(&a, "Delivered-To: BOB@EXAMPLE.test (2AGC254QZXTTRSQS)\r\n");
    put_delivered_to(&a, &bob, "secret");
    put_delivered_to(&b, &bob, "another");
    assert_false(str_eq(buf_str(&a), buf_str(&b)));
    buf_finish(&a);
    buf_finish(&b);
    arena_finish(&arena);
}

// RFC 6531 section 4.3: what the field says that was written here, and nothing that stands below
// it.
static void needs_utf8(void **state)
{
    static const struct {
        const char *header;
        bool needs;
    } cases[] = {
        {"Return-Path: <a@例子.test>\nReceived: from x\n\tby y with UTF8SMTP id z;\n\tdate\nA: b\n",
         true},
        {"Received: from 例子 by y with UTF8SMTPSA id z\n", true},
        {"Received: from x by y\n with UTF8LMTP\nA: 你", true},
        {"Received: from x by y with UTF8SMTP id z\nA: b\n", false}, // plain all the same
        {"Received: from x by y with ESMTP\nA: 你\n", false},
        {"Received: from x by y with ESMTP\nReceived: with UTF8SMTP\nA: 你\n", false},
        {"A: 你 with UTF8SMTP\nReceived: from x by y with ESMTP\n", false},
        {"A: 你\n", false},
        {"", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (received_needs_utf8(str_of(cases[i].header)) != cases[i].needs)
            fail_msg("%s", cases[i].header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(needs_utf8),
        cmocka_unit_test(the_usual_field),
        cmocka_unit_test(for_one_recipient_only),
        cmocka_unit_test(with_keywords),
        cmocka_unit_test(literals_of_both_families),
        cmocka_unit_test(u_labels_stand_in_utf8_letters_only),
        cmocka_unit_test(hostile_words_never_reach_the_header),
        cmocka_unit_test(a_bad_name_of_our_own_leaves_the_field_well_formed),
        cmocka_unit_test(long_names_are_folded),
        cmocka_unit_test(return_paths),
        cmocka_unit_test(delivered_to_is_keyed_and_folded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
