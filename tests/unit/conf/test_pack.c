#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "conf/conf.h"

// Two networks, with their places.
static struct conf_networks networks(struct conf_network items[2])
{
    items[0].place = (struct conf_place){STR("/etc/posthouse.yaml"), 12, 11};
    assert_true(net_range_read(STR("192.0.2.0/24"), &items[0].range));
    items[1].place = (struct conf_place){STR("/etc/conf.d/more.yaml"), 1, 13};
    assert_true(net_range_read(STR("2001:db8::7"), &items[1].range));
    return (struct conf_networks){items, 2};
}

static struct conf good(struct conf_listen *listen)
{
    struct conf conf = {
        .hostname = STR("邮件.example"),
        .spool_dir = STR("/spool"),
        .state_dir = STR("/state"),
        .log_dir = STR("/log"),
        .mail_dir = STR("/mail"),
        .mailbox = STR("%d/%u"),
        .run_as = STR("posthouse"),
        .mail_user = STR(""),
        .bare_newline = CONF_BARE_REFUSE,
        .listen = listen,
        .listen_count = 2,
    };
    // clang-format off
    conf.limits.max_message = 65536;        conf.limits.max_recipients = 100;
    conf.limits.max_sessions = 1;           conf.limits.sessions_per_address = 1;
    conf.limits.sessions_per_minute = 1;    conf.limits.loopback_exempt = true;
    conf.limits.smtp_idle = 1000;           conf.limits.pop3_idle = 1000;
    conf.limits.drain = 3600000;            conf.limits.arena = 4194304;
    conf.limits.disk_reserve = 0;           conf.limits.receivers = 64;
    conf.dns.server = STR("127.0.0.1@5353"); conf.dns.timeout = 100;
    conf.dns.trust_anchor = STR("/root.key");
    conf.limits.expire = 60000;             conf.limits.delay_notice = 60000;
    conf.limits.reports_per_hour = 1;       conf.limits.per_destination = 1;
    conf.limits.outgoing = 1;
    // clang-format on
    listen[0] = (struct conf_listen){.protocol = CONF_SMTP};
    assert_true(net_address_read(STR("127.0.0.1:25"), &listen[0].address));
    listen[1] = (struct conf_listen){.protocol = CONF_POP3};
    assert_true(net_address_read(STR("[2001:db8::1]:110"), &listen[1].address));
    static struct route_rule routes[1];
    routes[0] = (struct route_rule){STR(".example"), STR("*"), STR("smtp://[::1]:26")};
    conf.routes = routes;
    conf.route_count = 1;
    return conf;
}

struct packed {
    struct buf bytes;
    struct arena arena;
    struct conf conf;
    struct err err;
};

static void pack(struct packed *p, const struct conf *conf)
{
    buf_init(&p->bytes, LIMIT_config_packed + 1);
    arena_init(&p->arena, LIMIT_config_memory);
    conf_pack(&p->bytes, conf);
    assert_true(buf_ok(&p->bytes));
}

static void finish(struct packed *p)
{
    buf_finish(&p->bytes);
    arena_finish(&p->arena);
}

static void there_and_back(void **state)
{
    struct conf_listen listen[2];
    struct conf_network trusted[2];
    struct conf conf = good(listen);
    struct packed p;
    struct buf again;
    (void)state;
    conf.trusted = networks(trusted);
    pack(&p, &conf);
    assert_true(conf_unpack(buf_str(&p.bytes), &p.arena, &p.conf, &p.err));
    assert_true(str_eq(p.conf.hostname, conf.hostname));
    assert_int_equal(p.conf.hostname.ptr[p.conf.hostname.len], '\0');
    assert_int_equal(p.conf.limits.receivers, 64);
    assert_int_equal(p.conf.bare_newline, CONF_BARE_REFUSE);
    assert_int_equal(p.conf.trusted.count, 2);
    assert_int_equal(p.conf.trusted.items[1].range.bits, 128);
    assert_true(str_eq(p.conf.trusted.items[0].place.file, STR("/etc/posthouse.yaml")));
    assert_int_equal(p.conf.trusted.items[0].place.line, 12);
    assert_int_equal(p.conf.listen_count, 2);
    assert_int_equal(p.conf.listen[1].address.port, 110);
    assert_int_equal(p.conf.route_count, 1);
    assert_true(str_eq(p.conf.routes[0].to, STR("smtp://[::1]:26")));
    buf_init(&again, LIMIT_config_packed);
    conf_pack(&again, &p.conf);
    assert_true(str_eq(buf_str(&again), buf_str(&p.bytes)));
    buf_finish(&again);
    finish(&p);
}

// Cut at every byte, and with a byte more: never a configuration.
static void cut_short(void **state)
{
    struct conf_listen listen[2];
    struct conf_network trusted[2];
    struct conf conf = good(listen);
    struct packed p;
    (void)state;
    conf.trusted = networks(trusted);
    pack(&p, &conf);
    for (size_t n = 0; n < p.bytes.len; n++)
        assert_false(conf_unpack(str_sub(buf_str(&p.bytes), 0, n), &p.arena, &p.conf, &p.err));
    buf_put_byte(&p.bytes, '\0');
    assert_false(conf_unpack(buf_str(&p.bytes), &p.arena, &p.conf, &p.err));
    assert_true(str_find(err_text(&p.err), STR("tail")) < err_text(&p.err).len);
    finish(&p);
}

// What conf_load would refuse, the door refuses.
static void every_value_is_checked(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 21; i++) {
        struct conf_listen listen[2];
        struct conf_network trusted[2];
        struct conf conf = good(listen);
        struct packed p;
        conf.trusted = networks(trusted);
        switch (i) {
        case 0:
            conf.hostname = STR("localhost");
            break;
        case 1:
            conf.spool_dir = STR("spool");
            break;
        case 2:
            conf.state_dir = STR("");
            break;
        case 3:
            conf.mail_dir = STR("/a\nb");
            break;
        case 4:
            conf.mailbox = STR("../%u");
            break;
        case 5:
            conf.run_as = STR("a\0b");
            break;
        case 6:
            conf.mail_user = STR("\xff");
            break;
        case 7:
            conf.bare_newline = 2;
            break;
        case 8:
            conf.limits.max_message = 65535;
            break;
        case 9:
            conf.limits.receivers = 65;
            break;
        case 10:
            listen[0].address.family = 5;
            break;
        case 11:
            listen[0].address.bytes[7] = 1;
            break;
        case 12:
            listen[0].address.scope = 1;
            break;
        case 13:
            listen[1].protocol = CONF_PROTOCOLS;
            break;
        case 14:
            conf.dns.server = STR("localhost");
            break;
        case 15:
            conf.routes->domain = STR("");
            break;
        case 16:
            conf.routes->domain = STR("Not.Folded");
            break;
        case 17:
            conf.routes->to = STR("somewhere");
            break;
        case 18:
            trusted[0].range.bits = 33;
            break;
        case 19:
            trusted[0].range.base.bytes[3] = 1;
            break;
        case 20:
            trusted[1].range.base.port = 25;
            break;
        }
        pack(&p, &conf);
        assert_false(conf_unpack(buf_str(&p.bytes), &p.arena, &p.conf, &p.err));
        assert_int_equal(p.err.class, ERR_OUR_BUG);
        finish(&p);
    }
}

static void too_large_or_no_room(void **state)
{
    struct conf_listen listen[2];
    struct conf conf = good(listen);
    struct packed p;
    struct arena small;
    (void)state;
    pack(&p, &conf);
    for (size_t limit = 1; limit < 600; limit += 7) {
        arena_init(&small, limit);
        assert_false(conf_unpack(buf_str(&p.bytes), &small, &p.conf, &p.err));
        assert_int_equal(p.err.class, ERR_TRY_LATER);
        arena_finish(&small);
    }
    while (p.bytes.len <= LIMIT_config_packed)
        buf_put_byte(&p.bytes, 'x');
    assert_false(conf_unpack(buf_str(&p.bytes), &p.arena, &p.conf, &p.err));
    finish(&p);
}

// A reload takes in what is live, and names what is not.
static void what_a_reload_cannot_change(void **state)
{
    (void)state;
    struct conf_listen listen[2], others[2];
    struct conf old = good(listen), new = good(others);
    struct buf said;
    buf_init(&said, 4096);
    new.hostname = STR("other.example");
    new.limits.max_message = 99999;
    new.bare_newline = CONF_BARE_CONVERT;
    conf_put_fixed(&said, &old, &new);
    assert_int_equal(said.len, 0);
    new.mailbox = STR("%u");
    new.limits.arena *= 2;
    conf_put_fixed(&said, &old, &new);
    assert_true(str_eq(buf_str(&said),
                       STR("mailbox has changed: that needs a stop and a new start\n"
                           "limits.arena has changed: that needs a stop and a new start\n")));
    buf_finish(&said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(cut_short),
        cmocka_unit_test(every_value_is_checked),
        cmocka_unit_test(too_large_or_no_room),
        cmocka_unit_test(what_a_reload_cannot_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
