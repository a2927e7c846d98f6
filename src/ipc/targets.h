// The field `targets` of the message `resolved`: the mailboxes and the addresses at other hosts
// that an address stands for.
#ifndef IPC_TARGETS_H
#define IPC_TARGETS_H

#include "base/buf.h"

struct resolved_target {
    struct str address; // the mailbox's own
    struct str mailbox; // below mail_dir; empty: at another host
    struct str token;   // of Delivered-To: the same of all ways to write the address
    bool locked;        // takes no mail now
};

// A buffer that is too short fails, as with all of base/buf.h.
void targets_put(struct buf *out, const struct resolved_target *target);
// The next one, as views. False: there is none, or (with *targets not empty) it is not one.
MUST_USE bool targets_take(struct str *targets, struct resolved_target *target);

#endif
