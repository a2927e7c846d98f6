#define _GNU_SOURCE
#include "os/random.h"

#include <sys/random.h>

#include "os/log.h"
#include "os/seam.h"

void os_random(void *to, size_t len)
{
    char *at = to;
    while (len) {
        size_t n;
        int64_t r = SEAM_MOVE(getrandom, n, len, getrandom(at, n, 0));
        if (r <= 0) {
            log_line(LOG_ERROR, "the kernel gives no random bytes: %s; ending", strerror((int)-r));
            log_flush();
            exit(71); // EX_OSERR
        }
        at += r;
        len -= (size_t)r;
    }
}

uint64_t os_random_u64(void)
{
    uint64_t value;
    os_random(&value, sizeof(value));
    return value;
}
