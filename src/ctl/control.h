// Questions to the running instance, over the control socket STATE_DIR/control. One line asks:
// "status", "stop", "reload", "queue list [PLACE]", "queue count", "queue status", "route DOMAIN
// [SENDER'S DOMAIN]". The answer's
// first line is "ok", or "no" and the reason; the body follows until the end of the stream. Where
// its last line is "more PLACE" it is one page, and the same question with PLACE behind it gets the
// next.
#ifndef CTL_CONTROL_H
#define CTL_CONTROL_H

#include "ctl/command.h"

// Appends the body to *body (limit: LIMIT_control_reply). EXIT_DONE, or the exit code of the
// message that was said.
MUST_USE int control_ask(struct command *c, struct str request, struct buf *body);

// Waits until nobody listens any more, at most `limit_ms`. False when someone still does.
MUST_USE bool control_wait_gone(struct command *c, uint64_t limit_ms);

// Lines one by one without their line ends; false at the end.
bool control_line(struct str *body, struct str *line);

#endif
