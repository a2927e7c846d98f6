// os/net_address.c: addresses and networks as text.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "os/net.h"

// clang-format off
static const struct {
    const char *text, *again; // NULL: refused; else what is written back
} address_cases[] = {
    {"127.0.0.1:25", "127.0.0.1:25"},
    {"0.0.0.0:0", "0.0.0.0:0"},
    {"255.255.255.255:65535", "255.255.255.255:65535"},
    {"[::1]:2525", "[::1]:2525"},
    {"*:25", "[::]:25"},
    {"[2001:DB8:0:0::1]:110", "[2001:db8::1]:110"},
    {"[::ffff:192.0.2.1]:25", "192.0.2.1:25"},
    {"[fe80::1%3]:25", "[fe80::1%3]:25"},
    {"127.0.0.1:000", "127.0.0.1:0"},
    {"", NULL}, {":", NULL}, {":25", NULL}, {"*", NULL}, {"*:", NULL}, {"127.0.0.1", NULL},
    {"127.0.0.1:", NULL}, {"127.0.0.1:65536", NULL}, {"127.0.0.1:-1", NULL},
    {"127.0.0.1:2 5", NULL}, {"127.0.0.1:99999999999999999999", NULL},
    {"::1:25", NULL}, {"[::1]", NULL}, {"[::1:25", NULL}, {"::1]:25", NULL}, {"[]:25", NULL},
    {"[127.0.0.1]:25", NULL}, {"[*]:25", NULL}, {"1.2.3:25", NULL}, {"01.2.3.4:25", NULL},
    {"1.2.3.256:25", NULL}, {"localhost:25", NULL}, {"[::1%]:25", NULL}, {"[::1%eth0]:25", NULL},
    {"[fe80::1%4294967296]:25", NULL}, {"1.2.3.4%1:25", NULL}, {" 1.2.3.4:25", NULL},
    {"[1111:2222:3333:4444:5555:6666:7777:8888:9999:0000:1111:2222]:1", NULL},
    {"邮件:25", NULL},
};
// clang-format on

static void addresses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(address_cases); i++) {
        struct net_address a = {.family = 9};
        struct buf out;
        bool ok = net_address_read(str_of(address_cases[i].text), &a);
        if (ok != (address_cases[i].again != NULL))
            fail_msg("%s: %s", address_cases[i].text, ok ? "accepted" : "refused");
        if (!ok) {
            assert_int_equal(a.family, 9);
            continue;
        }
        buf_init(&out, 100);
        net_put_address(&out, &a);
        buf_put_byte(&out, '\0');
        assert_string_equal(out.ptr, address_cases[i].again);
        buf_finish(&out);
    }
}

static void bare_addresses(void **state)
{
    struct net_address a;
    struct buf out;
    (void)state;
    assert_false(net_ip_read(STR("127.0.0.1:25"), &a));
    assert_false(net_ip_read(STR("127.0.0.1\0"), &a));
    assert_false(net_ip_read(STR("[::1]"), &a));
    assert_true(net_ip_read(STR("fe80::1%2"), &a));
    assert_int_equal(a.scope, 2);
    assert_int_equal(a.port, 0);
    buf_init(&out, 100);
    net_put_ip(&out, &a);
    assert_true(str_eq(buf_str(&out), STR("fe80::1")));
    buf_finish(&out);
}

static void loopback(void **state)
{
    // clang-format off
    static const struct { const char *ip; bool want; } cases[] = {
        {"127.0.0.1", true}, {"127.255.3.4", true}, {"::1", true}, {"::ffff:127.0.0.1", true},
        {"128.0.0.1", false}, {"10.0.0.1", false}, {"::", false}, {"::2", false}, {"0.0.0.0", false},
        {"1::1", false},
    };
    // clang-format on
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct net_address a;
        assert_true(net_ip_read(str_of(cases[i].ip), &a));
        if (net_is_loopback(&a) != cases[i].want)
            fail_msg("%s", cases[i].ip);
    }
    assert_false(net_is_loopback(&(struct net_address){0}));
}

// clang-format off
static const struct {
    const char *range, *inside, *outside; // NULL inside: the range is refused
} range_cases[] = {
    {"192.0.2.0/24", "192.0.2.255", "192.0.3.0"},
    {"192.0.2.7", "192.0.2.7", "192.0.2.6"},
    {"192.0.2.7/32", "192.0.2.7", "192.0.2.8"},
    {"0.0.0.0/0", "255.1.2.3", "::1"},
    {"10.0.0.0/9", "10.127.255.255", "10.128.0.0"},
    {"172.16.0.0/12", "172.31.255.255", "172.32.0.0"},
    {"2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"},
    {"2001:db8::/29", "2001:dbf::1", "2001:dc0::"},
    {"::/0", "2001::1", "192.0.2.1"},
    {"::1", "::1", "::2"},
    {"::1/128", "::1", "127.0.0.1"},
    {"::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"},
    {"192.0.2.1/24", NULL, NULL}, {"10.64.0.0/9", NULL, NULL}, {"2001:db8::1/32", NULL, NULL},
    {"::ffff:192.0.2.0/95", NULL, NULL},
    {"192.0.2.0/33", NULL, NULL}, {"::/129", NULL, NULL}, {"192.0.2.0/", NULL, NULL},
    {"192.0.2.0/-1", NULL, NULL}, {"192.0.2.0/0024", NULL, NULL}, {"/8", NULL, NULL}, {"", NULL, NULL},
    {"192.0.2/24", NULL, NULL}, {"10.0.0.0/8/8", NULL, NULL}, {"fe80::%1/64", NULL, NULL},
    {"192.0.2.0/24 ", NULL, NULL}, {"*", NULL, NULL},
};
// clang-format on

static void ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(range_cases); i++) {
        struct net_range range;
        struct net_address inside, outside;
        bool ok = net_range_read(str_of(range_cases[i].range), &range);
        if (ok != (range_cases[i].inside != NULL))
            fail_msg("%s: %s", range_cases[i].range, ok ? "accepted" : "refused");
        if (!ok)
            continue;
        assert_true(net_ip_read(str_of(range_cases[i].inside), &inside));
        assert_true(net_ip_read(str_of(range_cases[i].outside), &outside));
        if (!net_range_has(&range, &inside) || net_range_has(&range, &outside))
            fail_msg("%s", range_cases[i].range);
    }
}

// What is read is written again, in one form.
static void range_texts(void **state)
{
    static const char *const cases[][2] = {
        {"192.0.2.0/24", "192.0.2.0/24"},
        {"192.0.2.7/32", "192.0.2.7"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"2001:DB8:0::/32", "2001:db8::/32"},
        {"::1/128", "::1"},
        {"::ffff:192.0.2.0/120", "192.0.2.0/24"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct net_range range;
        struct buf text;
        buf_init(&text, 64);
        assert_true(net_range_read(str_of(cases[i][0]), &range));
        net_put_range(&text, &range);
        if (!str_eq(buf_str(&text), str_of(cases[i][1])))
            fail_msg("%s: %.*s", cases[i][0], STR_ARG(buf_str(&text)));
        buf_finish(&text);
    }
}

// The tables of a host with two default routes; a network of its own; and lines that are none.
static void gateways(void **state)
{
    static const char routes4[] =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        "eth1\t0002A8C0\t0102A8C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t00000000\tGATEWAY!\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
    static const char routes6[] =
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
        "fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
        "20010db8000000000000000000000000 20 00000000000000000000000000000000 00 "
        "20010db8000000000000000000000009 00000400 00000001 00000000 00000003     eth0\n"
        "00000000000000000000000000000000 00 short\n";
    struct net_address found[4];
    struct buf text;
    (void)state;
    buf_init(&text, 200);
    if (*(const uint8_t *)&(uint16_t){1} == 0)
        skip(); // the first table is of a machine that begins with the low octet
    size_t count = net_gateways_read(str_of(routes4), str_of(routes6), found, ARRAY_LEN(found));
    for (size_t i = 0; i < count; i++) {
        net_put_ip(&text, &found[i]);
        buf_put_byte(&text, ' ');
    }
    assert_true(str_eq(buf_str(&text), STR("172.17.0.1 fe80::1 ")));
    assert_int_equal(net_gateways_read(str_of(routes4), str_of(routes6), found, 1), 1);
    buf_finish(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses), cmocka_unit_test(bare_addresses), cmocka_unit_test(loopback),
        cmocka_unit_test(ranges),    cmocka_unit_test(range_texts),    cmocka_unit_test(gateways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
