// The present directory, for relative paths on the command line.
#ifndef OS_CWD_H
#define OS_CWD_H

#include "base/buf.h"

// Appends its absolute path: 0, or -errno.
MUST_USE int os_current_directory(struct buf *out);

#endif
