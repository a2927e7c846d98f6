#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/networks.h"

// What the complaint says of a network on a host with these gateways; NULL: there is none.
static const struct {
    const char *network, *says;
} cases[] = {
    {"127.0.0.0/8", NULL},
    {"::1", NULL},
    {"192.0.2.0/24", NULL},
    {"192.0.2.1", NULL},
    {"10.0.0.0/9", NULL},
    {"10.128.0.0/9", NULL},
    {"172.17.0.0/25", NULL},
    {"172.17.0.1", "172.17.0.1 is a default gateway of this host"},
    {"172.17.0.2", NULL},
    {"192.168.1.0/24", NULL},
    {"fd00::/8", NULL},
    {"fe80::/64", NULL},
    {"fe80::1", "fe80::1 is a default gateway of this host"},
    {"2001:db8::/32", NULL},
    {"10.0.0.0/8", "the whole private range 10.0.0.0/8"},
    {"172.16.0.0/12", "the whole private range 172.16.0.0/12"},
    {"192.168.0.0/16", "the whole private range 192.168.0.0/16"},
    {"192.0.0.0/8", "the whole private range 192.168.0.0/16"},
    {"100.64.0.0/10", "the whole private range 100.64.0.0/10"},
    {"fc00::/7", "the whole private range fc00::/7"},
    {"0.0.0.0/0", "the whole private range 10.0.0.0/8"},
    {"::ffff:0.0.0.0/96", "the whole private range 10.0.0.0/8"},
    {"32.0.0.0/3", "nobody's network"},
    {"::/0", "the whole private range fc00::/7"},
    {"2000::/3", "nobody's network"},
};

static void wide_networks(void **state)
{
    struct net_address gateways[2];
    (void)state;
    assert_true(net_ip_read(STR("172.17.0.1"), &gateways[0]));
    assert_true(net_ip_read(STR("fe80::1"), &gateways[1]));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena;
        struct net_range range;
        struct complaint complaint = {.text = STR("")};
        struct str says = str_of(cases[i].says);
        arena_init(&arena, 65536);
        assert_true(net_range_read(str_of(cases[i].network), &range));
        bool wide = network_is_wide(&range, gateways, ARRAY_LEN(gateways), &arena, &complaint);
        if (wide != (says.len > 0) ||
            (wide && str_find(complaint.text, says) == complaint.text.len))
            fail_msg("%s: %.*s", cases[i].network, STR_ARG(complaint.text));
        arena_finish(&arena);
    }
}

// The number of the network that lets this client relay, -1: none does.
static int trusted_by(const struct conf *conf, const char *client)
{
    struct net_address gateway, address;
    assert_true(net_ip_read(STR("192.0.2.1"), &gateway));
    assert_true(net_ip_read(str_of(client), &address));
    const struct conf_network *found = conf_find_trusted(conf, &gateway, 1, &address);
    return found ? (int)(found - conf->trusted.items) : -1;
}

static void the_first_that_fits(void **state)
{
    static const char *const texts[] = {"192.0.2.0/28", "192.0.2.0/24", "2001:db8::/32"};
    struct conf_network items[ARRAY_LEN(texts)] = {{.place = {.line = 0}}};
    struct conf conf = {.trusted = {items, ARRAY_LEN(texts)}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_true(net_range_read(str_of(texts[i]), &items[i].range));
    assert_int_equal(trusted_by(&conf, "192.0.2.15"), 0);
    assert_int_equal(trusted_by(&conf, "::ffff:192.0.2.16"), 1);
    assert_int_equal(trusted_by(&conf, "2001:db8::1"), 2);
    assert_int_equal(trusted_by(&conf, "192.0.3.0"), -1);
    assert_int_equal(trusted_by(&(struct conf){.trust_wide = true}, "192.0.2.15"), -1);
}

static void a_gateway_is_not_trusted_for_its_network(void **state)
{
    struct conf_network network = {.place = {.line = 0}};
    struct conf conf = {.trusted = {&network, 1}};
    (void)state;
    assert_true(net_range_read(STR("192.0.2.0/24"), &network.range));
    assert_int_equal(trusted_by(&conf, "192.0.2.1"), -1);
    assert_int_equal(trusted_by(&conf, "::ffff:192.0.2.1"), -1);
    assert_int_equal(trusted_by(&conf, "192.0.2.2"), 0);
    conf.trust_wide = true;
    assert_int_equal(trusted_by(&conf, "192.0.2.1"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wide_networks),
        cmocka_unit_test(the_first_that_fits),
        cmocka_unit_test(a_gateway_is_not_trusted_for_its_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
