// os/clock.c and os/random.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "os/clock.h"
#include "os/random.h"

static void monotonic(void **state)
{
    uint64_t last = os_monotonic_us();
    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = os_monotonic_us();
        assert_true(now >= last);
        last = now;
    }
    assert_true(os_monotonic_ms() >= last / 1000);
    assert_true(os_wall_ms() > 1700000000000u); // 2023
}

// Where summer time is: the offset is the one of that moment. Without a zone: UTC.
static void zones(void **state)
{
    static const uint64_t january = 1704067200000, july = 1719792000000; // of 2024
    (void)state;
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    os_clock_start();
    assert_int_equal(os_zone_minutes(january), 60);
    assert_int_equal(os_zone_minutes(july), 120);
    setenv("TZ", "NST3:30", 1);
    os_clock_start();
    assert_int_equal(os_zone_minutes(january), -210);
    setenv("TZ", "UTC", 1);
    os_clock_start();
    assert_int_equal(os_zone_minutes(july), 0);
    assert_int_equal(os_zone_minutes(UINT64_MAX), 0);
}

static void randomness(void **state)
{
    unsigned char bytes[65536], zeros = 0;
    (void)state;
    os_random(bytes, 0);
    os_random(bytes, sizeof(bytes)); // more than one getrandom gives at a time
    for (size_t i = 0; i < 64; i++)
        zeros |= bytes[sizeof(bytes) - 64 + i];
    assert_true(zeros != 0);
    assert_true(os_random_u64() != os_random_u64());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic),
        cmocka_unit_test(zones),
        cmocka_unit_test(randomness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
