// Compiler attributes, always-on assertions, and the list of banned functions.
// Every header of the project includes this one first, directly or by way of another.
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// The result says whether the call worked; a caller that ignores it does not compile.
#define MUST_USE __attribute__((warn_unused_result))

// fmt and args are 1-based argument positions.
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

#define NORETURN __attribute__((noreturn))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

// The struct that holds `member` at address `ptr`.
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

// A condition that our own code guarantees. Always on. When it does not hold, the process says
// where and ends: the supervisor starts the role again, and what was acknowledged is on disk.
#define must(cond)                                                                                 \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            must_failed(#cond, __FILE__, __LINE__);                                                \
    } while (0)

NORETURN void must_failed(const char *cond, const char *file, int line);

#include "base/banned.h"

#endif
