// Whether what a parser handed out lies within what it was given.
#ifndef FUZZ_WITHIN_H
#define FUZZ_WITHIN_H

#include "base/str.h"

static inline bool within(struct str all, struct str part)
{
    return part.ptr >= all.ptr && part.len <= all.len &&
           (size_t)(part.ptr - all.ptr) <= all.len - part.len;
}

#endif
