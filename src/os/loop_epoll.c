#define _GNU_SOURCE
#include "os/loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/file.h"
#include "os/seam.h"
#include "os/wheel.h"

enum { BATCH = 256 };

struct loop {
    int epoll;
    bool stopping;
    uint64_t now;
    struct link hooks;
    // The events of this turn. A watch that is removed is struck out of those still to come.
    int next, count;
    struct epoll_event events[BATCH];
    struct wheel wheel;
};

bool loop_open(struct loop **loop, struct err *err)
{
    struct loop *l = calloc(1, sizeof(*l));
    must(l != NULL);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0) {
        err_system(err, errno, "epoll");
        free(l);
        return false;
    }
    l->now = os_monotonic_ms();
    list_init(&l->hooks);
    wheel_init(&l->wheel, l->now);
    *loop = l;
    return true;
}

void loop_close(struct loop **loop)
{
    if (!*loop)
        return;
    os_close(&(*loop)->epoll);
    free(*loop);
    *loop = NULL;
}

static uint32_t to_epoll(unsigned events)
{
    return (events & LOOP_READ ? EPOLLIN : 0u) | (events & LOOP_WRITE ? EPOLLOUT : 0u);
}

static unsigned from_epoll(uint32_t events)
{
    unsigned got = 0;
    if (events & (EPOLLIN | EPOLLRDHUP))
        got |= LOOP_READ;
    if (events & EPOLLOUT)
        got |= LOOP_WRITE;
    if (events & (EPOLLERR | EPOLLHUP))
        got |= LOOP_HANGUP;
    return got;
}

static int control(struct loop *loop, int operation, struct watch *watch)
{
    struct epoll_event event = {.events = to_epoll(watch->events), .data.ptr = watch};
    return epoll_ctl(loop->epoll, operation, watch->fd, &event) < 0 ? -errno : 0;
}

bool loop_add(struct loop *loop, struct watch *watch, unsigned events, struct err *err)
{
    watch->events = events;
    int r = control(loop, EPOLL_CTL_ADD, watch);
    return r == 0 || err_system(err, r, "watching descriptor %d", watch->fd);
}

void loop_change(struct loop *loop, struct watch *watch, unsigned events)
{
    if (watch->events == events)
        return;
    watch->events = events;
    must(control(loop, EPOLL_CTL_MOD, watch) == 0); // fails only for a watch that was never added
}

void loop_remove(struct loop *loop, struct watch *watch)
{
    must(control(loop, EPOLL_CTL_DEL, watch) == 0);
    for (int i = loop->next; i < loop->count; i++) {
        if (loop->events[i].data.ptr == watch)
            loop->events[i].data.ptr = NULL;
    }
}

void loop_set_timer(struct loop *loop, struct timer *timer, uint64_t ms)
{
    uint64_t due = ms < UINT64_MAX - loop->now ? loop->now + ms : UINT64_MAX;
    wheel_set(&loop->wheel, timer, due);
}

void loop_cancel_timer(struct loop *loop, struct timer *timer)
{
    (void)loop;
    wheel_cancel(timer);
}

bool timer_is_set(const struct timer *timer)
{
    return link_used(&timer->link);
}

void loop_at_turn_end(struct loop *loop, struct turn_hook *hook)
{
    if (!link_used(&hook->link))
        list_append(&loop->hooks, &hook->link);
}

void loop_cancel_hook(struct turn_hook *hook)
{
    list_remove(&hook->link);
}

uint64_t loop_now(const struct loop *loop)
{
    return loop->now;
}

// How long the system may sleep, in milliseconds; -1: until something happens.
static int sleep_time(const struct loop *loop, uint64_t wait_ms)
{
    uint64_t next = wheel_next(&loop->wheel);
    if (!list_empty(&loop->hooks))
        return 0;
    if (next != UINT64_MAX) {
        uint64_t now = os_monotonic_ms();
        uint64_t left = next > now ? next - now : 0;
        if (left < wait_ms)
            wait_ms = left;
    }
    wait_ms = fault_shorten_wait_ms(wait_ms);
    if (wait_ms == UINT64_MAX)
        return -1;
    return wait_ms < INT32_MAX ? (int)wait_ms : INT32_MAX;
}

static void dispatch(struct loop *loop, int count)
{
    loop->count = count;
    for (loop->next = 0; loop->next < loop->count;) {
        struct epoll_event *event = &loop->events[loop->next++];
        struct watch *watch = event->data.ptr;
        if (watch)
            watch->ready(watch, from_epoll(event->events));
    }
    loop->count = loop->next = 0;
}

static void fire_timers(struct loop *loop)
{
    struct link due, *l;
    list_init(&due);
    wheel_advance(&loop->wheel, loop->now, &due);
    // One by one from the list: a callback may cancel or move those that are still in it.
    while ((l = list_pop(&due))) {
        struct timer *timer = CONTAINER_OF(l, struct timer, link);
        timer->fire(timer);
    }
}

bool loop_turn(struct loop *loop, uint64_t wait_ms, struct err *err)
{
    int sleep_ms = sleep_time(loop, wait_ms);
    struct fault_verdict verdict = fault_before(FAULT_poll, NULL);
    int n = verdict.error;
    if (n == 0) {
        n = epoll_wait(loop->epoll, loop->events, BATCH, sleep_ms);
        if (n < 0)
            n = -errno;
    }
    if (n < 0 && n != -EINTR)
        return err_system(err, n, "waiting for events");
    loop->now = os_monotonic_ms();
    dispatch(loop, n > 0 ? n : 0);
    fire_timers(loop);
    struct link *l;
    while ((l = list_pop(&loop->hooks))) {
        struct turn_hook *hook = CONTAINER_OF(l, struct turn_hook, link);
        hook->run(hook);
    }
    return true;
}

bool loop_run(struct loop *loop, struct err *err)
{
    bool ok = true;
    while (ok && !loop->stopping)
        ok = loop_turn(loop, UINT64_MAX, err);
    loop->stopping = false;
    return ok;
}

void loop_stop(struct loop *loop)
{
    loop->stopping = true;
}

static void signal_ready(struct watch *watch, unsigned events)
{
    struct loop_signal *signal = CONTAINER_OF(watch, struct loop_signal, watch);
    uint64_t count;
    (void)events;
    // EAGAIN cannot be: only this thread reads, and only when there is something.
    must(read(watch->fd, &count, sizeof(count)) == sizeof(count));
    signal->woken(signal);
}

bool loop_signal_open(struct loop *loop, struct loop_signal *signal, struct err *err)
{
    signal->watch.ready = signal_ready;
    signal->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (signal->watch.fd < 0)
        return err_system(err, errno, "eventfd");
    if (!loop_add(loop, &signal->watch, LOOP_READ, err)) {
        os_close(&signal->watch.fd);
        return false;
    }
    return true;
}

void loop_signal_close(struct loop *loop, struct loop_signal *signal)
{
    if (signal->watch.fd < 0)
        return;
    loop_remove(loop, &signal->watch);
    os_close(&signal->watch.fd);
}

void loop_wake(struct loop_signal *signal)
{
    uint64_t one = 1;
    ssize_t n = write(signal->watch.fd, &one, sizeof(one));
    // EAGAIN: the counter is full, so the loop has been woken.
    must(n == sizeof(one) || errno == EAGAIN);
}
