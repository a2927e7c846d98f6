// The directory: which domains are hosted here, and which users they have. Written by the command,
// read by the roles directory and login. (state/directory.db)
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
    struct str address;     // as written by the administrator
    struct str domain_name; // file names: see above
    struct str user_name;
    uint64_t created_ms; // wall clock
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
    DIRECTORY_LOCAL,        // *user says to whom
    DIRECTORY_NO_SUCH_USER, // the domain is hosted, the user is not there
    DIRECTORY_NOT_HOSTED,
    DIRECTORY_TROUBLE, // *err says what; ERR_GIVE_UP: the database is of no use any more
};

// Where mail for this address goes. The postmaster, bare or of a hosted domain, is always there
// (RFC 5321 4.5.1): the user of that name in the domain, else the domain's first user, else the
// first user of all; the bare one's domain is the first. While there is no user at all that is
// DIRECTORY_TROUBLE.
MUST_USE enum directory_verdict directory_db_lookup(struct directory_db *db,
                                                    const struct address *address,
                                                    struct arena *arena,
                                                    struct directory_user *user, struct err *err);
// The user of exactly this address: for logins and the command.
MUST_USE bool directory_db_find(struct directory_db *db, const struct address *address,
                                struct arena *arena, bool *found, struct directory_user *user,
                                struct err *err);

// In the order of their making, until `each` returns false. Texts are valid during the call.
MUST_USE bool directory_db_each_domain(struct directory_db *db,
                                       bool (*each)(void *context,
                                                    const struct directory_domain *domain),
                                       void *context, struct err *err);
MUST_USE bool directory_db_each_user(struct directory_db *db,
                                     bool (*each)(void *context, const struct directory_user *user),
                                     void *context, struct err *err);

// ---- writing: ERR_GIVE_UP and a sentence for the administrator where it cannot be

// Without begin each change below is durable when it returns.
MUST_USE bool directory_db_begin(struct directory_db *db, struct err *err);
MUST_USE bool directory_db_commit(struct directory_db *db, struct err *err);
void directory_db_rollback(struct directory_db *db);

MUST_USE bool directory_db_add_domain(struct directory_db *db, struct str name, struct str folded,
                                      struct err *err);
// Refused while the domain has users. The name is for messages.
MUST_USE bool directory_db_remove_domain(struct directory_db *db, struct str name,
                                         struct str folded, struct err *err);
MUST_USE bool directory_db_add_user(struct directory_db *db, const struct address *address,
                                    struct err *err);
MUST_USE bool directory_db_remove_user(struct directory_db *db, const struct address *address,
                                       struct err *err);

#endif
