// os/loop_epoll.c: descriptors, timers, hooks and signals of one loop.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <unistd.h>

#include "os/file.h"
#include "os/loop.h"
#include "os/net.h"

struct side {
    struct watch watch;
    struct loop *loop;
    struct side *remove; // taken out by the callback
    unsigned got, calls;
    bool stop;
};

static void on_ready(struct watch *watch, unsigned events)
{
    struct side *side = CONTAINER_OF(watch, struct side, watch);
    side->got |= events;
    side->calls++;
    if (side->remove)
        loop_remove(side->loop, &side->remove->watch);
    if (side->stop)
        loop_stop(side->loop);
}

struct pair {
    struct loop *loop;
    struct err err;
    struct side a, b;
};

static int set_up(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));
    int fds[2];
    *state = p;
    if (!loop_open(&p->loop, &p->err) || net_pair(fds) < 0)
        return -1;
    p->a = (struct side){.watch = {.fd = fds[0], .ready = on_ready}, .loop = p->loop};
    p->b = (struct side){.watch = {.fd = fds[1], .ready = on_ready}, .loop = p->loop};
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    os_close(&p->a.watch.fd);
    os_close(&p->b.watch.fd);
    loop_close(&p->loop);
    loop_close(&p->loop); // takes NULL
    free(p);
    return 0;
}

static void turn(struct pair *p)
{
    assert_true(loop_turn(p->loop, 0, &p->err));
}

static void readable_and_writable(void **state)
{
    struct pair *p = *state;
    assert_true(loop_add(p->loop, &p->a.watch, LOOP_READ, &p->err));
    turn(p);
    assert_int_equal(p->a.calls, 0);
    assert_int_equal(net_send(p->b.watch.fd, STR("x")), 1);
    turn(p);
    assert_int_equal(p->a.got, LOOP_READ);
    turn(p); // level-triggered: still there
    assert_int_equal(p->a.calls, 2);
    p->a.got = 0;
    loop_change(p->loop, &p->a.watch, LOOP_WRITE);
    turn(p);
    assert_int_equal(p->a.got, LOOP_WRITE);
    loop_change(p->loop, &p->a.watch, 0);
    turn(p);
    assert_int_equal(p->a.calls, 3);
    loop_remove(p->loop, &p->a.watch);
}

static void end_and_hangup(void **state)
{
    struct pair *p = *state;
    char byte;
    assert_true(loop_add(p->loop, &p->a.watch, LOOP_READ, &p->err));
    net_end_output(p->b.watch.fd);
    turn(p);
    assert_int_equal(p->a.got, LOOP_READ);
    assert_int_equal(net_receive(p->a.watch.fd, &byte, 1), 0);
    p->a.got = 0;
    loop_change(p->loop, &p->a.watch, 0);
    os_close(&p->b.watch.fd);
    turn(p);
    assert_int_equal(p->a.got, LOOP_HANGUP); // though not asked for
    loop_remove(p->loop, &p->a.watch);
}

// Two watches are ready; the first called takes the other out: it hears nothing more.
static void removed_in_the_same_turn(void **state)
{
    struct pair *p = *state;
    assert_true(loop_add(p->loop, &p->a.watch, LOOP_WRITE, &p->err));
    assert_true(loop_add(p->loop, &p->b.watch, LOOP_WRITE, &p->err));
    p->a.remove = &p->b;
    p->b.remove = &p->a;
    turn(p);
    assert_int_equal(p->a.calls + p->b.calls, 1);
    loop_remove(p->loop, p->a.calls ? &p->a.watch : &p->b.watch);
}

static void bad_descriptor(void **state)
{
    struct pair *p = *state;
    struct side none = {.watch = {.fd = 999999, .ready = on_ready}};
    assert_false(loop_add(p->loop, &none.watch, LOOP_READ, &p->err));
    assert_int_equal(p->err.class, ERR_TRY_LATER);
}

static void run_until_stopped(void **state)
{
    struct pair *p = *state;
    p->a.stop = true;
    assert_true(loop_add(p->loop, &p->a.watch, LOOP_WRITE, &p->err));
    assert_true(loop_run(p->loop, &p->err));
    assert_int_equal(p->a.calls, 1);
    loop_stop(p->loop); // before the run: it does not begin
    assert_true(loop_run(p->loop, &p->err));
    assert_int_equal(p->a.calls, 1);
    loop_remove(p->loop, &p->a.watch);
}

struct alarm {
    struct timer timer;
    struct loop *loop;
    struct alarm *cancel;
    unsigned fired, again;
    uint64_t at;
};

static void on_fire(struct timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    assert_false(timer_is_set(timer));
    alarm->fired++;
    alarm->at = loop_now(alarm->loop);
    if (alarm->cancel)
        loop_cancel_timer(alarm->loop, &alarm->cancel->timer);
    if (alarm->again) {
        alarm->again--;
        loop_set_timer(alarm->loop, timer, 0);
    }
}

static void timers(void **state)
{
    struct pair *p = *state;
    struct alarm soon = {.timer.fire = on_fire, .loop = p->loop};
    struct alarm late = {.timer.fire = on_fire, .loop = p->loop};
    uint64_t begin = loop_now(p->loop);
    loop_set_timer(p->loop, &soon.timer, 15);
    loop_set_timer(p->loop, &late.timer, UINT64_MAX); // saturates
    assert_true(timer_is_set(&soon.timer));
    while (!soon.fired)
        assert_true(loop_turn(p->loop, UINT64_MAX, &p->err));
    assert_true(soon.at >= begin + 15);
    assert_int_equal(late.fired, 0);
    loop_cancel_timer(p->loop, &late.timer);
    loop_cancel_timer(p->loop, &late.timer);
    assert_false(timer_is_set(&late.timer));
}

static void timer_set_again_by_itself(void **state)
{
    struct pair *p = *state;
    struct alarm alarm = {.timer.fire = on_fire, .loop = p->loop, .again = 2};
    loop_set_timer(p->loop, &alarm.timer, 0);
    turn(p);
    assert_int_equal(alarm.fired, 1); // not for ever in one turn
    turn(p);
    turn(p);
    turn(p);
    assert_int_equal(alarm.fired, 3);
}

static void timer_cancels_one_due_with_it(void **state)
{
    struct pair *p = *state;
    struct alarm first = {.timer.fire = on_fire, .loop = p->loop};
    struct alarm second = {.timer.fire = on_fire, .loop = p->loop};
    first.cancel = &second;
    loop_set_timer(p->loop, &first.timer, 0);
    loop_set_timer(p->loop, &second.timer, 0);
    turn(p);
    assert_int_equal(first.fired, 1);
    assert_int_equal(second.fired, 0);
}

struct chore {
    struct turn_hook hook;
    struct loop *loop;
    struct chore *then;
    unsigned runs;
};

static void on_turn_end(struct turn_hook *hook)
{
    struct chore *chore = CONTAINER_OF(hook, struct chore, hook);
    chore->runs++;
    if (chore->then)
        loop_at_turn_end(chore->loop, &chore->then->hook);
}

static void hooks(void **state)
{
    struct pair *p = *state;
    struct chore last = {.hook.run = on_turn_end, .loop = p->loop};
    struct chore first = {.hook.run = on_turn_end, .loop = p->loop, .then = &last};
    struct chore never = {.hook.run = on_turn_end, .loop = p->loop};
    loop_at_turn_end(p->loop, &first.hook);
    loop_at_turn_end(p->loop, &first.hook);
    loop_at_turn_end(p->loop, &never.hook);
    loop_cancel_hook(&never.hook);
    loop_cancel_hook(&never.hook);
    assert_true(loop_turn(p->loop, UINT64_MAX, &p->err)); // does not sleep on work
    assert_int_equal(first.runs, 1);
    assert_int_equal(last.runs, 1);
    assert_int_equal(never.runs, 0);
    turn(p);
    assert_int_equal(first.runs, 1);
}

struct bell {
    struct loop_signal signal;
    struct loop *loop;
    unsigned rung;
};

static void on_woken(struct loop_signal *signal)
{
    struct bell *bell = CONTAINER_OF(signal, struct bell, signal);
    bell->rung++;
    loop_stop(bell->loop);
}

static void *ring(void *context)
{
    struct bell *bell = context;
    loop_wake(&bell->signal);
    loop_wake(&bell->signal);
    return NULL;
}

static void signals(void **state)
{
    struct pair *p = *state;
    struct bell bell = {.signal.woken = on_woken, .loop = p->loop};
    pthread_t thread;
    assert_true(loop_signal_open(p->loop, &bell.signal, &p->err));
    for (int i = 0; i < 5; i++)
        loop_wake(&bell.signal);
    turn(p);
    turn(p);
    assert_int_equal(bell.rung, 1);          // many wakes, one call
    assert_true(loop_run(p->loop, &p->err)); // on_woken asked it to stop
    assert_int_equal(pthread_create(&thread, NULL, ring, &bell), 0);
    assert_true(loop_run(p->loop, &p->err));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(bell.rung >= 2);
    loop_signal_close(p->loop, &bell.signal);
    assert_int_equal(bell.signal.watch.fd, -1);
    loop_signal_close(p->loop, &bell.signal);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(readable_and_writable),
        CASE(end_and_hangup),
        CASE(removed_in_the_same_turn),
        CASE(bad_descriptor),
        CASE(run_until_stopped),
        CASE(timers),
        CASE(timer_set_again_by_itself),
        CASE(timer_cancels_one_due_with_it),
        CASE(hooks),
        CASE(signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
