// Forgets a secret: the bytes are overwritten, and the compiler may not leave that out.
#ifndef BASE_WIPE_H
#define BASE_WIPE_H

#include "base/attr.h"

static inline void wipe(void *at, size_t len)
{
    volatile unsigned char *byte = at;
    while (len--)
        *byte++ = 0;
}

#endif
