// As whom a command works on the instance's files.
#ifndef CTL_IDENTITY_H
#define CTL_IDENTITY_H

#include "ctl/command.h"

// As root: becomes the user `run_as` for good, before any of the roles' files is opened, so that
// what is made belongs to that user. As anybody else: nothing. EXIT_DONE, or the exit code of the
// message that was said.
MUST_USE int identity_take(const struct command *c);

#endif
