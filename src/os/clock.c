#define _GNU_SOURCE
#include "os/clock.h"

#include <errno.h>

#include "os/fault.h"

// The seam can delay and kill here, not fail: a clock that is there does not fail.
static struct timespec read_clock(clockid_t which)
{
    struct timespec ts;
    (void)fault_before(FAULT_clock, NULL);
    must(clock_gettime(which, &ts) == 0);
    return ts;
}

static uint64_t shifted(uint64_t value, int64_t shift)
{
    return value + (uint64_t)shift; // modular: a negative shift subtracts
}

uint64_t os_monotonic_us(void)
{
    struct timespec ts = read_clock(CLOCK_MONOTONIC);
    uint64_t us = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
    return shifted(us, fault_monotonic_shift_ms() * 1000);
}

uint64_t os_monotonic_ms(void)
{
    return os_monotonic_us() / 1000;
}

void os_sleep_ms(uint64_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        continue;
}

uint64_t os_wall_ms(void)
{
    struct timespec ts = read_clock(CLOCK_REALTIME);
    uint64_t ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
    return shifted(ms, fault_wall_shift_ms());
}

void os_clock_start(void)
{
    tzset(); // reads the zone's file; localtime_r does not read it again
}

int os_zone_minutes(uint64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    if (!localtime_r(&seconds, &tm))
        return 0;
    return (int)(tm.tm_gmtoff / 60);
}
