// Questions about the queue, whether an instance runs or not: where none does, the command works on
// the spool itself, under its lock, with the code of the queue role (store/desk.h).
#ifndef CTL_OFFLINE_H
#define CTL_OFFLINE_H

#include "ctl/command.h"

// As control_ask, for "queue ...". Without an instance the spool is opened with the first question
// and kept in c->offline: a start of the queue waits or fails meanwhile. What was ordered is
// durable when this returns. EXIT_LATER when another process works on the spool.
MUST_USE int offline_ask(struct command *c, struct str request, struct buf *body);
void offline_close(struct offline **offline);

#endif
