// Help texts, made of the table.
#ifndef CTL_HELP_H
#define CTL_HELP_H

#include "ctl/command.h"

void help_put_list(struct buf *out);
// One command: usage and help.
void help_put_command(struct buf *out, const struct command_row *row);
// The commands of a group, a usage a line; false when there is no such group.
bool help_put_group(struct buf *out, struct str group);
void help_put_manual(struct buf *out); // posthouse(8), in mdoc(7)

#endif
