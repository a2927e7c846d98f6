// The directory: which domains are hosted here, which users they have, and which addresses stand
// for others. Written by the command, read by the roles directory and login. (state/directory.db)
//
// An address is a user or an alias. The one exception is an alias that names itself among its
// targets: then it is a user too, and the mailbox has its copy. A target is a user or an alias of
// this host, or an address at another; so a way that begins at an alias always ends in mailboxes
// and in addresses elsewhere: what would break that (a loop, more than LIMIT_alias_depth aliases or
// LIMIT_alias_targets of both, a target that goes away, a domain that becomes ours while mail is
// sent to it elsewhere) is refused. An alias whose address has an empty local part is a catch-all:
// it has what no other entry of its domain has.
//
// All comparisons are of folded forms (mail/address.h); what was written is kept for people to
// read. A user's mailbox is kept as two file names, of domain and user: where they stand below
// mail_dir is the configuration's (conf_put_mailbox).
#ifndef STORE_DIRECTORY_DB_H
#define STORE_DIRECTORY_DB_H

#include "base/arena.h"
#include "mail/address.h"
#include "store/database.h"

struct directory_db;

struct directory_user {
    int64_t number;         // users have theirs in the order of their making
    struct str address;     // as written by the administrator
    struct str domain_name; // file names: see above; empty: the address is at another host
    struct str user_name;
    uint64_t created_ms; // wall clock
    struct str moved;    // as written: where the user has gone; empty: nowhere
    bool forwarded;      // and mail follows
    bool locked;         // takes no mail now
    bool aliased;        // is an alias too, see above
    int64_t quota;       // octets, 0: no limit; DIRECTORY_NO_QUOTA: it has none of its own
};

#define DIRECTORY_NO_QUOTA (-1)

// Octets that the user's mailbox may hold, 0: no limit. `preset` is for those without a quota of
// their own.
static inline uint64_t directory_quota(const struct directory_user *user, uint64_t preset)
{
    return user->quota == DIRECTORY_NO_QUOTA ? preset : (uint64_t)user->quota;
}

struct directory_target { // of an alias
    int64_t alias_number; // targets of one alias follow each other
    struct str alias;     // as written
    struct str target;
    uint64_t created_ms; // the alias
};

struct directory_domain {
    struct str name;   // as written by the administrator
    struct str folded; // lower-case A-labels
    uint64_t users;
    uint64_t created_ms;
};

MUST_USE bool directory_db_open(struct directory_db **db, struct str state_dir,
                                enum database_use use, struct err *err);
void directory_db_close(struct directory_db **db);

// ---- reading: texts are copied into the arena

// Look-ups between begin and end see one snapshot and lock the database once.
MUST_USE bool directory_db_begin_reading(struct directory_db *db, struct err *err);
void directory_db_end_reading(struct directory_db *db);

enum directory_verdict {
    DIRECTORY_LOCAL,        // found->user says to whom
    DIRECTORY_ALIAS,        // directory_db_expand says to whom
    DIRECTORY_FORWARDED,    // likewise; found->user.moved says where to
    DIRECTORY_MOVED,        // found->user.moved says where to; mail does not follow
    DIRECTORY_NO_SUCH_USER, // the domain is hosted, the user is not there
    DIRECTORY_NOT_HOSTED,
    DIRECTORY_LOOP,    // *err names the alias whose way does not end (4.3.5)
    DIRECTORY_TROUBLE, // *err says what; ERR_GIVE_UP: the database is of no use any more
};

struct directory_question {
    const struct address *address;
    // Stands between user and detail, as in user+detail; empty: there are no details.
    struct str detail_separator;
    // The address came out of an expansion, or was found to be a mailbox before: users only,
    // wherever they moved, so that nothing is expanded twice.
    bool final;
};

struct directory_found {
    struct directory_user user;
    int64_t domain; // of the entry that matched, and its name there
    struct str folded;
};

// Where mail for this address goes: the entry of exactly this name, else of the name without the
// detail, else the catch-all. The postmaster, bare or of a hosted domain, is always there (RFC 5321
// 4.5.1): the entry of that name in the domain, else the domain's first user, else the first user
// of all; the bare one's domain is the first. While there is no user at all that is
// DIRECTORY_TROUBLE.
MUST_USE enum directory_verdict directory_db_lookup(struct directory_db *db,
                                                    const struct directory_question *question,
                                                    struct arena *arena,
                                                    struct directory_found *found, struct err *err);
// The mailboxes and addresses elsewhere that an alias stands for, each once, by their numbers, from
// the one behind `after` (0: the first) until `each` returns false. Texts are valid during the
// call.
MUST_USE bool directory_db_expand(struct directory_db *db, const struct directory_found *found,
                                  int64_t after,
                                  bool (*each)(void *context, const struct directory_user *user),
                                  void *context, struct err *err);
// Changes when something in the database does. Of this opening only.
MUST_USE bool directory_db_generation(struct directory_db *db, uint64_t *generation,
                                      struct err *err);
// Has any user a quota that is a limit?
MUST_USE bool directory_db_has_quotas(struct directory_db *db, bool *any, struct err *err);
// The key of Delivered-To's tokens (mail/received.h): made with the database, never shown.
MUST_USE bool directory_db_secret(struct directory_db *db, struct arena *arena, struct str *secret,
                                  struct err *err);
// The user of exactly this address: for logins and the command.
MUST_USE bool directory_db_find(struct directory_db *db, const struct address *address,
                                struct arena *arena, bool *found, struct directory_user *user,
                                struct err *err);

// In the order of their making, until `each` returns false. Texts are valid during the call.
MUST_USE bool directory_db_each_domain(struct directory_db *db,
                                       bool (*each)(void *context,
                                                    const struct directory_domain *domain),
                                       void *context, struct err *err);
// Users: from the one behind the number `after` (0: the first).
MUST_USE bool directory_db_each_user(struct directory_db *db, int64_t after,
                                     bool (*each)(void *context, const struct directory_user *user),
                                     void *context, struct err *err);
// Aliases and their targets; forwardings are no aliases.
MUST_USE bool directory_db_each_target(struct directory_db *db,
                                       bool (*each)(void *context,
                                                    const struct directory_target *target),
                                       void *context, struct err *err);

// ---- writing: ERR_GIVE_UP and a sentence for the administrator where it cannot be

// For adding domains and users together; without begin each change is durable when it returns. What
// changes a user or an alias that is there is a transaction of its own.
MUST_USE bool directory_db_begin(struct directory_db *db, struct err *err);
MUST_USE bool directory_db_commit(struct directory_db *db, struct err *err);
void directory_db_rollback(struct directory_db *db);

MUST_USE bool directory_db_add_domain(struct directory_db *db, struct str name, struct str folded,
                                      struct err *err);
// Refused while the domain has users or aliases. The name is for messages.
MUST_USE bool directory_db_remove_domain(struct directory_db *db, struct str name,
                                         struct str folded, struct err *err);
MUST_USE bool directory_db_add_user(struct directory_db *db, const struct address *address,
                                    struct err *err);
// Refused while an alias names the user, or somebody moved there.
MUST_USE bool directory_db_remove_user(struct directory_db *db, const struct address *address,
                                       struct err *err);
MUST_USE bool directory_db_lock_user(struct directory_db *db, const struct address *address,
                                     bool locked, struct err *err);
MUST_USE bool directory_db_set_quota(struct directory_db *db, const struct address *address,
                                     int64_t quota, struct err *err);
// `to` NULL: the user is back. With `forward` mail follows.
MUST_USE bool directory_db_move_user(struct directory_db *db, const struct address *address,
                                     const struct address *to, bool forward, struct err *err);
// Adds targets, and the alias where it is not there yet. A target that it has is no error.
MUST_USE bool directory_db_add_alias(struct directory_db *db, const struct address *address,
                                     const struct address *targets, size_t count, struct err *err);
// Takes targets away; count 0: all. *gone: that was the last one, and the alias is no more.
MUST_USE bool directory_db_remove_alias(struct directory_db *db, const struct address *address,
                                        const struct address *targets, size_t count, bool *gone,
                                        struct err *err);

#endif
