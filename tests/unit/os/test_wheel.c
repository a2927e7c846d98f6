// os/wheel.c: a timer comes out at its very millisecond, however far away it was set.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "os/wheel.h"

static size_t take(struct wheel *wheel, uint64_t now, struct timer **out, size_t room)
{
    struct link due, *l;
    size_t n = 0;
    list_init(&due);
    wheel_advance(wheel, now, &due);
    while ((l = list_pop(&due))) {
        assert_true(n < room);
        out[n++] = CONTAINER_OF(l, struct timer, link);
    }
    return n;
}

static void due_at_its_millisecond(void **state)
{
    static const uint64_t starts[] = {0, 1, 63, 64, 4095, 1000000, 0xffffffff, (1ull << 42) - 1};
    static const uint64_t waits[] = {
        1,      2,      62,     63,     64,      65,       127,       4095,       4096,      4097,
        262143, 262144, 300000, 600000, 3600000, 86400000, 432000000, 1ull << 40, 1ull << 60};
    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(starts); s++) {
        for (size_t w = 0; w < ARRAY_LEN(waits); w++) {
            struct wheel wheel;
            struct timer timer = {0}, *out[1];
            uint64_t due = starts[s] + waits[w];
            wheel_init(&wheel, starts[s]);
            wheel_set(&wheel, &timer, due);
            assert_true(timer_is_set(&timer));
            assert_true(wheel_next(&wheel) <= due);
            assert_int_equal(take(&wheel, due - 1, out, 1), 0);
            assert_true(wheel_next(&wheel) <= due);
            assert_int_equal(take(&wheel, due, out, 1), 1);
            assert_ptr_equal(out[0], &timer);
            assert_false(timer_is_set(&timer));
            assert_int_equal(wheel_next(&wheel), UINT64_MAX);
        }
    }
}

// Sleeping as wheel_next says reaches a far timer in few steps, the last of them exactly.
static void few_wakes(void **state)
{
    struct wheel wheel;
    struct timer timer = {0}, *out[1];
    uint64_t due = 987654321, now = 12345, taken = 0;
    unsigned wakes = 0;
    (void)state;
    wheel_init(&wheel, now);
    wheel_set(&wheel, &timer, due);
    while (!taken) {
        now = wheel_next(&wheel);
        assert_true(now <= due);
        taken = take(&wheel, now, out, 1);
        wakes++;
    }
    assert_int_equal(now, due);
    assert_true(wakes <= WHEEL_LEVELS);
}

static void past_is_ready(void **state)
{
    struct wheel wheel;
    struct timer past = {0}, present = {0}, *out[2];
    (void)state;
    wheel_init(&wheel, 1000);
    wheel_set(&wheel, &present, 1000);
    wheel_set(&wheel, &past, 5);
    assert_int_equal(wheel_next(&wheel), 1000);
    assert_int_equal(take(&wheel, 1000, out, 2), 2);
    assert_ptr_equal(out[0], &present);
    assert_ptr_equal(out[1], &past);
}

static void moved_and_cancelled(void **state)
{
    struct wheel wheel;
    struct timer timer = {0}, other = {0}, *out[2];
    (void)state;
    wheel_init(&wheel, 0);
    wheel_cancel(&timer); // not set: nothing
    wheel_set(&wheel, &timer, 100);
    wheel_set(&wheel, &timer, 300000); // later
    wheel_set(&wheel, &other, 100);
    wheel_cancel(&other);
    assert_false(timer_is_set(&other));
    assert_int_equal(take(&wheel, 299999, out, 2), 0);
    wheel_set(&wheel, &timer, 300001);
    wheel_set(&wheel, &timer, 300000); // earlier again
    assert_int_equal(take(&wheel, 300000, out, 2), 1);
    // The slot that it left may still cause a wake, an empty one.
    assert_true(wheel_next(&wheel) >= 300001);
    assert_int_equal(take(&wheel, 300001, out, 2), 0);
    assert_int_equal(wheel_next(&wheel), UINT64_MAX);
}

static void time_never_goes_back(void **state)
{
    struct wheel wheel;
    struct timer timer = {0}, *out[1];
    (void)state;
    wheel_init(&wheel, 5000);
    wheel_set(&wheel, &timer, 5010);
    assert_int_equal(take(&wheel, 4000, out, 1), 0);
    assert_int_equal(take(&wheel, 5009, out, 1), 0);
    assert_int_equal(take(&wheel, 5010, out, 1), 1);
}

static void the_end_of_time(void **state)
{
    struct wheel wheel;
    struct timer timer = {0}, *out[1];
    (void)state;
    wheel_init(&wheel, 1);
    wheel_set(&wheel, &timer, UINT64_MAX);
    assert_int_equal(take(&wheel, UINT64_MAX - 1, out, 1), 0);
    assert_int_equal(take(&wheel, UINT64_MAX, out, 1), 1);
}

static uint64_t next_number(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

// A few thousand timers moved about, against the plain truth: due times in an array.
static void against_a_plain_list(void **state)
{
    enum { COUNT = 500, STEPS = 4000 };
    static struct timer timers[COUNT];
    struct timer *out[COUNT];
    struct wheel wheel;
    uint64_t seed = 7, now = 0;
    (void)state;
    wheel_init(&wheel, now);
    for (int step = 0; step < STEPS; step++) {
        struct timer *timer = &timers[next_number(&seed) % COUNT];
        uint64_t far = next_number(&seed) % 3 ? 50 : 1000000;
        if (next_number(&seed) % 5 == 0)
            wheel_cancel(timer);
        else
            wheel_set(&wheel, timer, now + next_number(&seed) % far);
        bool was_set[COUNT];
        for (size_t i = 0; i < COUNT; i++)
            was_set[i] = timer_is_set(&timers[i]);
        now += next_number(&seed) % (step % 10 ? 4 : 5000);
        size_t n = take(&wheel, now, out, COUNT);
        for (size_t i = 0; i < n; i++)
            assert_true(out[i]->due_ms <= now);
        for (size_t i = 0; i < COUNT; i++) {
            bool want = was_set[i] && timers[i].due_ms > now;
            assert_int_equal(timer_is_set(&timers[i]), want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(due_at_its_millisecond), cmocka_unit_test(few_wakes),
        cmocka_unit_test(past_is_ready),          cmocka_unit_test(moved_and_cancelled),
        cmocka_unit_test(time_never_goes_back),   cmocka_unit_test(the_end_of_time),
        cmocka_unit_test(against_a_plain_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
