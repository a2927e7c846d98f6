// What each mailbox holds: octets on disk and letters, by its path below mail_dir. Kept by the role
// directory alone, read by the command. (state/usage.db)
//
// It is a memory of counts and of the differences since, so it can be lost: then all is counted
// again. A mailbox is known from its first count on; differences of one that is not known are
// dropped, since its count will have them. They stay in memory until usage_db_write, so a crash
// loses some: the next count puts that right.
#ifndef STORE_USAGE_DB_H
#define STORE_USAGE_DB_H

#include "store/database.h"

struct usage_db;

#define USAGE_MOST (INT64_C(1) << 50) // of either: what is more is taken for this

struct usage {
    int64_t octets; // as on disk, with LF line ends
    int64_t letters;
};

// For writing: a file that is damaged or not ours is removed, and an empty one made.
MUST_USE bool usage_db_open(struct usage_db **db, struct str state_dir, enum database_use use,
                            struct err *err);
// Without writing.
void usage_db_close(struct usage_db **db);

MUST_USE bool usage_db_find(struct usage_db *db, struct str mailbox, bool *known,
                            struct usage *usage, struct err *err);
// By a difference, which may be below zero; what a mailbox holds is not.
MUST_USE bool usage_db_change(struct usage_db *db, struct str mailbox, struct usage by,
                              struct err *err);
// Writes the differences. Those of another process (the next generation's, at a reload) stand.
MUST_USE bool usage_db_write(struct usage_db *db, struct err *err);
// A count: from now on the mailbox holds this. Written at once.
MUST_USE bool usage_db_set(struct usage_db *db, struct str mailbox, struct usage usage,
                           struct err *err);
// No mailbox is known any more.
MUST_USE bool usage_db_clear(struct usage_db *db, struct err *err);

#endif
