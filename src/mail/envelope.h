// The envelope of a letter, and its encoding. It travels from the receiver's arena into the log,
// and from there to postman and sender, always in this one form. Reader and writer stand together;
// the reader is a door: it checks everything, whoever wrote it. Version byte first; unknown
// versions are refused.
#ifndef MAIL_ENVELOPE_H
#define MAIL_ENVELOPE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "mail/address.h"
#include "mail/id.h"

enum envelope_flags {
    ENVELOPE_UTF8 = 1,      // MAIL said SMTPUTF8
    ENVELOPE_8BITMIME = 2,  // MAIL said BODY=8BITMIME
    ENVELOPE_SUBMITTED = 4, // came from a user who logged in (may be completed)
    ENVELOPE_LAST = 8, // tells the postmaster of a report that failed: nobody is told of this one
};

// What the sender wants to be told of a delivery, RFC 3461: NOTIFY; 0 is "nothing was said".
enum envelope_notify {
    NOTIFY_NEVER = 1,
    NOTIFY_SUCCESS = 2,
    NOTIFY_FAILURE = 4,
    NOTIFY_DELAY = 8,
};

// RET: what goes back with a report.
enum envelope_return { RETURN_UNSAID, RETURN_FULL, RETURN_HEADERS };

struct envelope_wish {
    unsigned notify;     // of enum envelope_notify
    struct str original; // ORCPT, decoded: "rfc822;ADDR"; empty: none
};

struct envelope {
    struct mail_id id;
    uint64_t arrived_ms; // wall clock
    uint32_t flags;
    struct address reverse_path;
    struct str client; // address of the client as text
    struct str helo;
    struct str session; // session id, for the events
    struct str login;   // who logged in, or empty
    // Tokens of the Delivered-To fields in its header, DELIVERED_TOKEN octets each, one behind the
    // other: what a loop is known by.
    struct str delivered;
    struct str envid; // ENVID, decoded; empty: none
    enum envelope_return returns;
    const struct envelope_wish *wishes; // one for each recipient; NULL: no sender said anything
    const struct address *recipients;
    uint32_t recipient_count; // 1 and more
};

void envelope_put(struct buf *out, const struct envelope *e);
// Reads exactly all of `bytes`. Views point into the arena's copies, not into `bytes`.
// Damage: ERR_PEER_WRONG. Addresses are checked again; the texts must be UTF-8 without
// control characters.
MUST_USE bool envelope_read(struct str bytes, struct arena *arena, struct envelope *e,
                            struct err *err);

#endif
