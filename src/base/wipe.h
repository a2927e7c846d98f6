// Forgetting a secret: the compiler may not leave these writes out.
#ifndef BASE_WIPE_H
#define BASE_WIPE_H

#include "base/attr.h"

static inline void wipe(void *at, size_t len)
{
    for (volatile unsigned char *p = at; len; len--)
        *p++ = 0;
}

#endif
