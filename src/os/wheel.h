// The timers of a loop: a hierarchical wheel, exact to the millisecond, every operation O(1). Pure:
// time is an argument.
#ifndef OS_WHEEL_H
#define OS_WHEEL_H

#include "os/loop.h"

enum {
    WHEEL_BITS = 6, // of the due time that one level looks at
    WHEEL_SLOTS = 1 << WHEEL_BITS,
    WHEEL_LEVELS = 11, // 66 bits: any time there is
};

struct wheel {
    uint64_t now;                // all that was due by then has been taken out
    uint64_t used[WHEEL_LEVELS]; // a bit a slot; may be set for a slot that was emptied since
    struct link ready;           // set for a time that was past already
    struct link slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, uint64_t now);
// A timer that is set moves.
void wheel_set(struct wheel *wheel, struct timer *timer, uint64_t due);
void wheel_cancel(struct timer *timer);
// No timer is due before this time (some may be due later); UINT64_MAX when none is set.
uint64_t wheel_next(const struct wheel *wheel);
// Moves on to `now` and appends what is due to the list `due`, earlier ones first. A time that has
// been passed already changes nothing but still takes out what is ready.
void wheel_advance(struct wheel *wheel, uint64_t now, struct link *due);

#endif
