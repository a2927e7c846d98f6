// The terminal of the command's user.
#ifndef OS_TERMINAL_H
#define OS_TERMINAL_H

#include "base/buf.h"

bool os_is_terminal(int fd);
// Its columns; 0 when it is no terminal, or does not know.
size_t os_terminal_width(int fd);

// Asks on standard error and reads one line from standard input, both a terminal, without showing
// it; the line end is not part of it. 0, -EINTR when the user gave up by ^C, -ENODATA at the end of
// input (^D), -EMSGSIZE past secret's limit, or another -errno. What is in `secret` is the caller's
// to wipe.
MUST_USE int os_ask_secret(struct str question, struct buf *secret);

#endif
