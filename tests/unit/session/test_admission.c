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

static void enter(struct admission *a, const char *peer, const char *refused_by)
{
    struct net_address at = address(peer);
    const char *rule = admission_enter(a, &at);
    if (refused_by) {
        assert_non_null(rule);
        assert_string_equal(rule, refused_by);
    } else {
        assert_null(rule);
    }
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
    admission_init(&a, 2, 10);
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
    admission_init(&a, 100, 2);
    for (int i = 0; i < 2; i++) {
        enter(&a, "192.0.2.1", NULL);
        enter(&a, "2001:db8::1", NULL);
        enter(&a, "2001:db8::2", NULL);
    }
    enter(&a, "192.0.2.1", "sessions_per_address");
    enter(&a, "2001:db8::1", "sessions_per_address");
    enter(&a, "192.0.2.2", NULL);
    leave(&a, "192.0.2.1");
    enter(&a, "192.0.2.1", NULL);
    enter(&a, "192.0.2.1", "sessions_per_address");
    admission_finish(&a);
}

static void test_loopback_is_exempt(void **state)
{
    struct admission a;
    (void)state;
    admission_init(&a, 100, 1);
    for (int i = 0; i < 10; i++) {
        enter(&a, "127.0.0.1", NULL);
        enter(&a, "::1", NULL);
    }
    assert_int_equal(a.sessions, 20);
    assert_int_equal(a.addresses.count, 0);
    admission_finish(&a);
}

// The port is not part of a client, and the last one to leave takes the entry along.
static void test_entries_go(void **state)
{
    struct admission a;
    (void)state;
    admission_init(&a, 1000, 1000);
    for (uint16_t port = 1; port <= 500; port++) {
        struct net_address at = address("192.0.2.1");
        at.port = port;
        assert_null(admission_enter(&a, &at));
    }
    assert_int_equal(a.addresses.count, 1);
    for (int i = 0; i < 500; i++)
        leave(&a, "192.0.2.1");
    assert_int_equal(a.addresses.count, 0);
    assert_int_equal(a.sessions, 0);
    admission_finish(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_all),
        cmocka_unit_test(test_by_address),
        cmocka_unit_test(test_loopback_is_exempt),
        cmocka_unit_test(test_entries_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
