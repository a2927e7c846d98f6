// The event loop of a role: descriptors (epoll), timers (a wheel), work at the end of a turn.
// Watches, timers and hooks are embedded in the structs that own them; the loop allocates nothing
// for them. One thread runs a loop; other threads speak to it through a loop_signal.
#ifndef OS_LOOP_H
#define OS_LOOP_H

#include "base/err.h"
#include "base/list.h"

struct loop;

enum loop_events {
    LOOP_READ = 1,   // readable, or the peer closed its side
    LOOP_WRITE = 2,  // writable
    LOOP_HANGUP = 4, // error or both sides closed: always told, need not be asked for
};

struct watch {
    int fd;
    unsigned events; // what is asked for now
    void (*ready)(struct watch *watch, unsigned events);
};

struct timer {
    struct link link;
    uint64_t due_ms; // of os_monotonic_ms
    void (*fire)(struct timer *timer);
};

struct turn_hook {
    struct link link;
    void (*run)(struct turn_hook *hook);
};

MUST_USE bool loop_open(struct loop **loop, struct err *err);
void loop_close(struct loop **loop);

// The watch stays the caller's and must be removed before its descriptor is closed. A watch removed
// inside a callback gets no further event of the same turn.
MUST_USE bool loop_add(struct loop *loop, struct watch *watch, unsigned events, struct err *err);
void loop_change(struct loop *loop, struct watch *watch, unsigned events);
void loop_remove(struct loop *loop, struct watch *watch);

// Fires once, when loop_now() has grown by at least `ms`; 0 is the next turn, or later in this one.
// Setting a timer that is set moves it. A zeroed timer is not set. Cancelling one that is not set
// does nothing.
void loop_set_timer(struct loop *loop, struct timer *timer, uint64_t ms);
void loop_cancel_timer(struct loop *loop, struct timer *timer);
bool timer_is_set(const struct timer *timer);

// Runs once at the end of this turn, after all ready descriptors and due timers, before the loop
// sleeps. Adding a hook twice in a turn runs it once. A hook added by a hook runs in the same turn.
void loop_at_turn_end(struct loop *loop, struct turn_hook *hook);
void loop_cancel_hook(struct turn_hook *hook);

// The monotonic clock as of the beginning of this turn, in milliseconds.
uint64_t loop_now(const struct loop *loop);

// Runs until loop_stop. False on an error of epoll itself.
MUST_USE bool loop_run(struct loop *loop, struct err *err);
void loop_stop(struct loop *loop);
// One turn that waits at most `wait_ms`: for tests and tools.
MUST_USE bool loop_turn(struct loop *loop, uint64_t wait_ms, struct err *err);

// Wakes the loop from another thread (an eventfd). Many wakes before the loop comes round are one
// call of `woken`.
struct loop_signal {
    struct watch watch;
    void (*woken)(struct loop_signal *signal);
};
MUST_USE bool loop_signal_open(struct loop *loop, struct loop_signal *signal, struct err *err);
void loop_signal_close(struct loop *loop, struct loop_signal *signal);
void loop_wake(struct loop_signal *signal); // from any thread

#endif
