// From words to a row of the table.
#ifndef CTL_FIND_H
#define CTL_FIND_H

#include "ctl/command.h"

// The row of a command of two words, or of one word (then `name` does not count); NULL when there
// is none such.
const struct command_row *find_row(struct str group, struct str name);
// Says that there is no such command and which one may have been meant: exit 64.
int find_fail(const struct command *c, struct str group, struct str name);

#endif
