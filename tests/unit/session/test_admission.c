// session/admission.c: who is let in, counted in all and by address.
#include "session/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct net_address address(const char *text)
{
    struct net_address a;
    assert_true(net_ip_read(str_of(text), &a));
    return a;
}

static const struct admission_limits wide = {
    .sessions = 1000, .per_address = 1000, .per_minute = 1000, .loopback_exempt = true};

static void begin(struct admission *a, uint64_t sessions, uint64_t per_address, uint64_t per_minute)
{
    struct admission_limits limits = wide;
    limits.sessions = sessions;
    limits.per_address = per_address;
    limits.per_minute = per_minute;
    admission_init(a, &limits);
}

static void enter_at(struct admission *a, const char *peer, uint64_t now_ms, const char *refused_by)
{
    struct net_address at = address(peer);
    const char *rule = admission_enter(a, &at, now_ms);
    if (refused_by) {
        assert_non_null(rule);
        assert_string_equal(rule, refused_by);
    } else {
        assert_null(rule);
    }
}

static void enter(struct admission *a, const char *peer, const char *refused_by)
{
    enter_at(a, peer, 0, refused_by);
}

static void leave(struct admission *a, const char *peer)
{
    struct net_address at = address(peer);
    admission_leave(a, &at);
}

static void test_in_all(void **state)
{
    struct admission a;
    (void)state;
    begin(&a, 2, 10, 10);
    enter(&a, "192.0.2.1", NULL);
    enter(&a, "127.0.0.1", NULL);
    enter(&a, "192.0.2.2", "max_sessions");
    enter(&a, "127.0.0.1", "max_sessions"); // loopback counts here
    leave(&a, "127.0.0.1");
    enter(&a, "192.0.2.2", NULL);
    admission_finish(&a);
}

static void test_by_address(void **state)
{
    struct admission a;
    (void)state;
    begin(&a, 100, 2, 100);
    for (int i = 0; i < 2; i++) {
        enter(&a, "192.0.2.1", NULL);
        enter(&a, "2001:db8::1", NULL);
        enter(&a, "2001:db8:0:1::1", NULL);
    }
    enter(&a, "192.0.2.1", "sessions_per_address");
    enter(&a, "2001:db8::1", "sessions_per_address");
    enter(&a, "2001:db8::ffff:2", "sessions_per_address"); // the same network
    enter(&a, "192.0.2.2", NULL);
    leave(&a, "192.0.2.1");
    enter(&a, "192.0.2.1", NULL);
    enter(&a, "192.0.2.1", "sessions_per_address");
    admission_finish(&a);
}

// A minute begins with its first session; who was turned away is not counted.
static void test_by_minute(void **state)
{
    struct admission a;
    (void)state;
    begin(&a, 100, 100, 3);
    for (uint64_t minute = 1; minute < 4; minute++) {
        uint64_t now = minute * 70000;
        for (int i = 0; i < 3; i++) {
            enter_at(&a, "192.0.2.1", now, NULL);
            leave(&a, "192.0.2.1");
        }
        enter_at(&a, "192.0.2.1", now + 59999, "sessions_per_minute");
        enter_at(&a, "192.0.2.2", now + 59999, NULL);
    }
    admission_finish(&a);
}

static void test_loopback_is_exempt(void **state)
{
    struct admission a;
    struct admission_limits limits = wide;
    (void)state;
    limits.per_address = limits.per_minute = 1;
    admission_init(&a, &limits);
    for (int i = 0; i < 10; i++) {
        enter(&a, "127.0.0.1", NULL);
        enter(&a, "::1", NULL);
    }
    assert_int_equal(a.sessions, 20);
    assert_int_equal(a.addresses.count, 0);
    admission_finish(&a);

    limits.loopback_exempt = false;
    admission_init(&a, &limits);
    enter(&a, "127.0.0.1", NULL);
    enter(&a, "127.0.0.1", "sessions_per_address");
    enter(&a, "127.0.0.2", NULL);
    leave(&a, "127.0.0.1");
    enter(&a, "127.0.0.1", "sessions_per_minute");
    admission_finish(&a);
}

// The port is not part of a client; who has gone is forgotten after its minute, and not before.
static void test_entries_go(void **state)
{
    struct admission a;
    (void)state;
    admission_init(&a, &wide);
    for (uint16_t port = 1; port <= 500; port++) {
        struct net_address at = address("192.0.2.1");
        at.port = port;
        assert_null(admission_enter(&a, &at, 100000));
    }
    assert_int_equal(a.addresses.count, 1);
    for (int i = 0; i < 500; i++)
        leave(&a, "192.0.2.1");
    enter_at(&a, "192.0.2.2", 159999, NULL);
    assert_int_equal(a.addresses.count, 2);
    enter_at(&a, "192.0.2.3", 160000, NULL);
    assert_int_equal(a.addresses.count, 2);
    leave(&a, "192.0.2.3");
    enter_at(&a, "192.0.2.4", 220000, NULL);
    assert_int_equal(a.addresses.count, 2); // .2 is here still
    assert_int_equal(a.sessions, 2);
    admission_finish(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_all),     cmocka_unit_test(test_by_address),
        cmocka_unit_test(test_by_minute),  cmocka_unit_test(test_loopback_is_exempt),
        cmocka_unit_test(test_entries_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
