#include "session/doors.h"

#include <sys/resource.h>

#include "../check.h"
#include "os/file.h"

struct house {
    struct doors doors;
    unsigned guests;
    struct net_address last;
};

static void welcome(struct doors *doors, int fd, const struct net_address *peer)
{
    struct house *h = CONTAINER_OF(doors, struct house, doors);
    h->guests++;
    h->last = *peer;
    os_close(&fd);
}

static void turns(struct loop *loop)
{
    struct err err;
    for (int i = 0; i < 5; i++)
        assert_true(loop_turn(loop, 20, &err));
}

static void guests_come_until_the_doors_close(void **state)
{
    (void)state;
    struct house h = {.guests = 0};
    struct loop *loop;
    struct err err;
    struct net_address any, here;
    assert_true(loop_open(&loop, &err));
    doors_init(&h.doors, loop, welcome);
    assert_true(net_address_read(STR("127.0.0.1:0"), &any));
    int fd = net_listen(&any, 16);
    assert_true(fd >= 0 && net_local_address(fd, &here) == 0);
    assert_true(doors_open(&h.doors, fd, &err));
    int clients[3];
    for (size_t i = 0; i < 3; i++)
        assert_true((clients[i] = net_connect(&here)) >= 0);
    turns(loop);
    assert_int_equal(h.guests, 3);
    assert_true(net_is_loopback(&h.last));
    for (size_t i = 0; i < 3; i++)
        os_close(&clients[i]);
    doors_close(&h.doors);
    int late = net_connect(&here); // refused, at once or soon
    turns(loop);
    assert_int_equal(h.guests, 3);
    if (late >= 0)
        os_close(&late);
    loop_close(&loop);
}

// Where no descriptor is left they are neither lost nor refused.
static void guests_wait_outside_while_there_is_no_room(void **state)
{
    (void)state;
    struct house h = {.guests = 0};
    struct loop *loop;
    struct err err;
    struct net_address any, here;
    struct rlimit before, none;
    assert_true(loop_open(&loop, &err));
    doors_init(&h.doors, loop, welcome);
    assert_true(net_address_read(STR("127.0.0.1:0"), &any));
    int fd = net_listen(&any, 16);
    assert_true(fd >= 0 && net_local_address(fd, &here) == 0);
    assert_true(doors_open(&h.doors, fd, &err));
    int client = net_connect(&here);
    assert_true(client >= 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    turns(loop);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(h.guests, 0);
    assert_int_not_equal(h.doors.told_ms, 0);
    for (int i = 0; i < 1000 && h.guests == 0; i++)
        turns(loop);
    assert_int_equal(h.guests, 1);
    os_close(&client);
    doors_close(&h.doors);
    loop_close(&loop);
}

static void session_ids_differ(void **state)
{
    (void)state;
    char a[SESSION_ID_TEXT + 1], b[SESSION_ID_TEXT + 1];
    session_id(a);
    session_id(b);
    assert_int_equal(strlen(a), SESSION_ID_TEXT);
    assert_int_not_equal(memcmp(a, b, sizeof a), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guests_come_until_the_doors_close),
        cmocka_unit_test(guests_wait_outside_while_there_is_no_room),
        cmocka_unit_test(session_ids_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
