// What several test programs of the pure rooms share.
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

// Compares what was written with `want` and empties the buffer.
static inline void check_put(struct buf *b, const char *want)
{
    assert_true(buf_ok(b));
    buf_put_byte(b, '\0');
    assert_true(buf_ok(b));
    assert_string_equal(b->ptr, want);
    buf_clear(b);
}

// Numbers that look random and are the same in every run.
static inline uint32_t check_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*seed >> 33);
}

#endif
