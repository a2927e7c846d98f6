// As whom a command works on the instance's databases.
#ifndef CTL_IDENTITY_H
#define CTL_IDENTITY_H

#include "ctl/command.h"

// Makes state_dir where it is missing (0700; the user run_as owns it when root makes it). Then, as
// root: becomes the user `run_as` for good, before any of the roles' files is opened. Only where
// that user cannot reach state_dir (an instance below root's own directories) it stays root; what
// it makes there belongs to the directory's owner all the same (store/database.h). As anybody else:
// nothing. EXIT_DONE, or the exit code of the message that was said.
MUST_USE int identity_take(const struct command *c);

#endif
