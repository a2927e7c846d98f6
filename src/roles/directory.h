// The role directory's own header.
//   directory.c        look-ups: where mail for an address goes
//   directory_usage.c  what mailboxes hold, and whether there is room
#ifndef ROLES_DIRECTORY_H
#define ROLES_DIRECTORY_H

#include "roles/role.h"
#include "store/directory_db.h"
#include "store/usage_db.h"

// What mailboxes hold, and the one count that may be under way.
struct accounts {
    struct usage_db *db;
    bool in_force;       // somebody has a quota: else nothing is counted and nothing is told
    bool troubled;       // the trouble was logged; once is enough until it is over
    struct timer tick;   // writes what changed, looks for new quotas and at the clock
    struct timer step;   // the next mailbox
    uint64_t generation; // of the directory's database, when it was looked at last
    uint64_t night_ms;   // wall clock: all are counted again then
    bool draining;
    // Which mailboxes are to be counted: all that have a quota, or those of them that are not
    // known.
    bool want_all, want_unknown;
    bool walking, walking_all;
    int64_t after; // the user whom the walk came to
    // Of the mailbox under way.
    struct buf mailbox; // empty: none
    bool asked;         // the postman, or behind it the reader
    bool counted;       // the postman has answered with:
    struct usage result;
    bool spoiled; // letters were removed meanwhile: seen or not, nobody knows
};

struct directory {
    struct role *role;
    struct directory_db *db;
    struct str secret; // of the tokens of Delivered-To
    struct arena process;
    struct arena turn; // one look-up
    struct arena item; // one target
    struct buf mailbox, token, targets;
    struct turn_hook turn_end;
    bool reading;  // the turn's snapshot is open
    bool troubled; // the trouble was logged; once is enough until it is over
    struct accounts accounts;
};

// directory.c: d->mailbox is the user's.
void directory_put_mailbox(struct directory *d, const struct directory_user *user);

// directory_usage.c
MUST_USE bool accounts_open(struct directory *d, struct err *err);
void accounts_begin(struct directory *d);
// A postman came: it is told whether it shall tell.
void accounts_peer(struct role *role, struct ipc_channel *channel);
// Would a letter of that size take the mailbox above its quota? 0: any letter. Never, while what it
// holds is not known.
bool accounts_full(struct directory *d, const struct directory_user *user, uint64_t size);
void accounts_drain(struct directory *d);
// All that have a quota are counted, from now on.
void accounts_recount(struct directory *d);
void accounts_on_used(struct ipc_channel *channel, struct msg *m, void *owner);
void accounts_on_freed(struct ipc_channel *channel, struct msg *m, void *owner);
void accounts_on_counted(struct ipc_channel *channel, struct msg *m, void *owner);
void accounts_on_settled(struct ipc_channel *channel, struct msg *m, void *owner);
// Postman or reader is gone, and its answer with it.
void accounts_lost(struct directory *d, enum ipc_type request);

#endif
