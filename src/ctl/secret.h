// Where a command gets a password from.
#ifndef CTL_SECRET_H
#define CTL_SECRET_H

#include "ctl/command.h"

struct secret {
    struct buf text; // wiped by secret_finish
    bool made;       // by us: to be shown to the administrator
};

// --password-stdin: the first line of standard input without its line end. On a terminal: asked for
// twice. Otherwise one is made. EXIT_DONE, or the exit code of the message that was said;
// secret_finish in any case.
MUST_USE int secret_get(struct secret *secret, const struct command *c);
void secret_finish(struct secret *secret);

#endif
