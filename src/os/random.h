// Random bytes from the kernel. Ends the process when the kernel has none to give.
#ifndef OS_RANDOM_H
#define OS_RANDOM_H

#include "base/attr.h"

void os_random(void *to, size_t len);
uint64_t os_random_u64(void);

#endif
