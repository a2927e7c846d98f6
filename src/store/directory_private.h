// Shared by the files of the directory: directory_db.c (the schema, domains), directory_users.c,
// directory_aliases.c (what stands for others), directory_lookup.c (where mail goes). Nobody else
// includes this.
//
// An entry of a domain is found by its folded local part: a user, an alias, or both (an alias that
// lists itself: mail goes to the mailbox of that name too). Two more things are rows of aliases,
// so that one walk (REACH) goes through all: a catch-all, with an empty local part, and the
// forwarding of a user who moved.
#ifndef STORE_DIRECTORY_PRIVATE_H
#define STORE_DIRECTORY_PRIVATE_H

#include "base/limits.h"
#include "store/directory_db.h"

enum alias_kind {
    ALIAS_NONE = -1, // there is no row
    ALIAS_OTHERS = 0,
    ALIAS_AND_MAILBOX = 1, // the user of the same address has a copy too
    ALIAS_FORWARDING = 2,  // of the user of the same address, who moved
};

enum directory_statement {
    FIND_DOMAIN,
    FIRST_DOMAIN,
    COUNT_USERS,
    COUNT_ALIASES,
    LIST_DOMAINS,
    ADD_DOMAIN,
    REMOVE_DOMAIN,
    FIND_USER,
    FIRST_USER_OF_DOMAIN,
    FIRST_USER,
    LIST_USERS,
    ADD_USER,
    REMOVE_USER,
    LOCK_USER,
    SET_QUOTA,
    HAS_QUOTAS,
    MOVE_USER,
    FIND_ALIAS,
    LIST_ALIASES,
    ADD_ALIAS,
    SET_ALIAS_KIND,
    REMOVE_ALIAS,
    COUNT_TARGETS,
    ADD_TARGET,
    REMOVE_TARGET,
    REMOVE_TARGETS,
    ADD_REMOTE,
    REMOVE_REMOTE,
    REMOVE_REMOTES,
    POINTING_TO_DOMAIN,
    POINTING_AT,
    ABOVE,
    MEASURE,
    EXPAND,
    SECRET,
    DATA_VERSION,
};

struct directory_db {
    struct database *base;
    struct arena memory; // of one change
};

// ---- directory_db.c

// Runs a query whose row, if there is one, is a number.
MUST_USE bool directory_read_number(struct query *q, bool *found, int64_t *number, struct err *err);
MUST_USE bool directory_find_domain(struct directory_db *db, struct str folded, bool *found,
                                    int64_t *id, struct err *err);
// The id of a hosted domain; else the administrator is told how to make it one.
MUST_USE bool directory_need_domain(struct directory_db *db, const struct address *address,
                                    int64_t *id, struct err *err);
// Says "ADDRESS why" and returns false.
bool directory_refuse(const struct address *address, const char *why, struct err *err);
// As written: "@domain" for a catch-all.
void directory_put_address(struct buf *out, const struct address *address);

// ---- directory_users.c

#define SELECT_USER                                                                                \
    "SELECT user.address, user.domain_name, user.user_name, user.created, user.locked,"            \
    " user.moved, coalesce(alias.kind, -1), user.quota, user.id"
#define FROM_USER " FROM user LEFT JOIN alias USING (domain, folded) "

// A view of the row of SELECT_USER.
struct directory_user directory_user_of_row(struct query *q);
// Runs a query whose row, if there is one, is of SELECT_USER.
MUST_USE bool directory_read_user(struct query *q, struct arena *arena, bool *found,
                                  struct directory_user *user, struct err *err);
MUST_USE bool directory_find_user(struct directory_db *db, int64_t domain, struct str folded,
                                  struct arena *arena, bool *found, struct directory_user *user,
                                  struct err *err);

// ---- directory_aliases.c

// *kind ALIAS_NONE: there is none.
MUST_USE bool directory_find_alias(struct directory_db *db, int64_t domain, struct str folded,
                                   int64_t *id, enum alias_kind *kind, struct err *err);
// Refused when an alias or a forwarding names this entry: "ADDRESS is where mail for X goes".
MUST_USE bool directory_need_unnamed(struct directory_db *db, int64_t domain,
                                     const struct address *address, struct err *err);
// The forwarding of a user: the one that was there goes; to NULL: only that.
MUST_USE bool directory_forward(struct directory_db *db, int64_t domain,
                                const struct address *address, const struct address *to,
                                struct err *err);

// ---- directory_lookup.c

// Does the way from this entry end, within LIMIT_alias_depth and LIMIT_alias_targets? *ok says so;
// else the sentence is in *err. False: the database failed.
MUST_USE bool directory_measure(struct directory_db *db, int64_t domain, struct str folded,
                                struct str name, bool *ok, struct err *err);

#endif
