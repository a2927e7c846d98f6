// Questions to the running instance, over the control socket STATE_DIR/control. One line asks:
// "status", "stop", "reload", "role directory recount", "queue status", "queue ..." (store/desk.h).
// The answer's first line is "ok", or "no" and the reason; the body follows until the end of the
// stream. Where its last line is "more PLACE" it is one page, and the same question with PLACE in
// it gets the next.
#ifndef CTL_CONTROL_H
#define CTL_CONTROL_H

#include "ctl/command.h"

// Appends the body to *body (limit: LIMIT_control_reply). EXIT_DONE, or the exit code of the
// message that was said.
MUST_USE int control_ask(struct command *c, struct str request, struct buf *body);

// As control_ask, but without a word where no instance runs: *running says so.
MUST_USE int control_try(struct command *c, struct str request, struct buf *body, bool *running);

// A question whose answer may have several pages.
struct control_question {
    int (*ask)(struct command *c, struct str request, struct buf *body); // as control_ask
    const char *request;
    struct str rest; // behind the PLACE of each page, or ""
};
// Hands each page to `page`, in their order and without "more", and writes what it left in c->out.
// Ends at the first code that is not EXIT_DONE.
MUST_USE int control_pages(struct command *c, const struct control_question *question,
                           int (*page)(struct command *c, struct str body, void *owner),
                           void *owner);

// Waits until nobody listens any more, at most `limit_ms`. False when someone still does.
MUST_USE bool control_wait_gone(struct command *c, uint64_t limit_ms);

// Lines one by one without their line ends; false at the end.
bool control_line(struct str *body, struct str *line);

#endif
