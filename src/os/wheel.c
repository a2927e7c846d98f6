// A due time is read as digits of six bits. A timer lies at the level of the highest digit in which
// its due time differs from `now`, in the slot of that digit. So:
//
//  1. At every level the slots in use are ahead of now's digit, none is behind or at it.
//  2. Every slot in use of a lower level comes before every one of a higher level.
//  3. Moving `now` forward to just before the next slot in use changes no timer's place.
//
// Hence the next thing to do is the first slot of the lowest level in use; when its time has come
// its timers are due (level 0) or fall to lower levels. A timer falls at most ten times, whatever
// its distance; in the usual life of an idle timeout (set, moved, moved, cancelled) it never does.
#include "os/wheel.h"

void wheel_init(struct wheel *wheel, uint64_t now)
{
    *wheel = (struct wheel){.now = now};
    list_init(&wheel->ready);
    for (size_t level = 0; level < WHEEL_LEVELS; level++) {
        for (size_t slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
    }
}

static unsigned digit(uint64_t time, unsigned level)
{
    return (unsigned)(time >> (level * WHEEL_BITS)) & (WHEEL_SLOTS - 1);
}

static void place(struct wheel *wheel, struct timer *timer)
{
    if (timer->due_ms <= wheel->now) {
        list_append(&wheel->ready, &timer->link);
        return;
    }
    unsigned top_bit = 63 - (unsigned)__builtin_clzll(timer->due_ms ^ wheel->now);
    unsigned level = top_bit / WHEEL_BITS;
    unsigned slot = digit(timer->due_ms, level);
    wheel->used[level] |= UINT64_C(1) << slot;
    list_append(&wheel->slots[level][slot], &timer->link);
}

void wheel_set(struct wheel *wheel, struct timer *timer, uint64_t due)
{
    list_remove(&timer->link);
    timer->due_ms = due;
    place(wheel, timer);
}

// The slot's bit in `used` stays set: clearing it here would cost more than finding it empty later.
void wheel_cancel(struct timer *timer)
{
    list_remove(&timer->link);
}

// The lowest level in use, or WHEEL_LEVELS.
static unsigned first_level(const struct wheel *wheel)
{
    unsigned level = 0;
    while (level < WHEEL_LEVELS && !wheel->used[level])
        level++;
    return level;
}

// When the first slot of that level begins: now's digits above it, the slot's, then zeros.
static uint64_t slot_time(const struct wheel *wheel, unsigned level)
{
    unsigned shift = level * WHEEL_BITS;
    uint64_t slot = (uint64_t)__builtin_ctzll(wheel->used[level]);
    uint64_t above = shift + WHEEL_BITS < 64 ? ~UINT64_C(0) << (shift + WHEEL_BITS) : 0;
    return (wheel->now & above) | slot << shift;
}

uint64_t wheel_next(const struct wheel *wheel)
{
    if (!list_empty(&wheel->ready))
        return wheel->now;
    unsigned level = first_level(wheel);
    return level < WHEEL_LEVELS ? slot_time(wheel, level) : UINT64_MAX;
}

static void move_all(struct link *from, struct link *to)
{
    struct link *l;
    while ((l = list_pop(from)))
        list_append(to, l);
}

void wheel_advance(struct wheel *wheel, uint64_t now, struct link *due)
{
    move_all(&wheel->ready, due);
    unsigned level;
    while ((level = first_level(wheel)) < WHEEL_LEVELS) {
        uint64_t time = slot_time(wheel, level);
        if (time > now)
            break;
        unsigned slot = digit(time, level);
        must(slot > digit(wheel->now, level)); // 1 above
        wheel->now = time;
        wheel->used[level] &= ~(UINT64_C(1) << slot);
        struct link falling;
        list_init(&falling);
        move_all(&wheel->slots[level][slot], &falling);
        struct link *l;
        while ((l = list_pop(&falling)))
            place(wheel, CONTAINER_OF(l, struct timer, link));
        move_all(&wheel->ready, due); // place put there what is due at this very time
    }
    if (now > wheel->now)
        wheel->now = now;
}
