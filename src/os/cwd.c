#define _GNU_SOURCE
#include "os/cwd.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

int os_current_directory(struct buf *out)
{
    char path[PATH_MAX];
    if (!getcwd(path, sizeof(path)))
        return -errno;
    buf_put(out, str_of(path));
    return buf_ok(out) ? 0 : -ENAMETOOLONG;
}
