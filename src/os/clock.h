// Time. Two clocks: the monotonic one counts for timers and ages within a boot, the wall clock is
// for dates that people read. Tests shift both through the fault page (os/fault.h).
#ifndef OS_CLOCK_H
#define OS_CLOCK_H

#include "base/attr.h"

// Milliseconds since an arbitrary start; never goes back.
uint64_t os_monotonic_ms(void);
uint64_t os_monotonic_us(void);
void os_sleep_ms(uint64_t ms); // where there is no loop yet
// Milliseconds since 1970-01-01 UTC.
uint64_t os_wall_ms(void);
// The local zone's offset from UTC at that time, in minutes east. Read once per process from
// TZ or /etc/localtime by os_clock_start, before the jail.
int os_zone_minutes(uint64_t wall_ms);
void os_clock_start(void);

#endif
