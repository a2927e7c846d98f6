// Lists in messages. `targets` of `resolved`: the mailboxes and the addresses at other hosts that
// an address stands for. `ways` of `routed`: where to connect, in the order in which to try it.
// `results` of `sent`.
#ifndef IPC_TARGETS_H
#define IPC_TARGETS_H

#include "base/err.h"
#include "ipc/verdicts.h"
#include "os/net.h"

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

struct routed_way {
    struct str host;            // its name; empty: an address literal. Of LMTP perhaps a path
    struct net_address address; // family 0: `host` is the path of a unix socket
    uint16_t preference;        // of the MX
    bool secure;                // found by signed answers only
};

void ways_put(struct buf *out, const struct routed_way *way);
MUST_USE bool ways_take(struct str *ways, struct routed_way *way);

struct sent_result {
    enum sent_outcome outcome;
    unsigned code;        // of the reply; 0: the words are ours
    struct status status; // RFC 3463
    struct str text;
};

void results_put(struct buf *out, const struct sent_result *result);
MUST_USE bool results_take(struct str *results, struct sent_result *result);

#endif
