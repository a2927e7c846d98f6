// What our SQLite databases have in common: the file, its version, its statements. The one includer
// of SQLite is database.c.
//
// A database is one file in the state directory, in WAL mode: one process writes (the command; of
// usage.db the directory role), others read and see each change as soon as it is committed. A
// commit that returned true is on disk, unless the schema is lazy.
//
// Errors: ERR_TRY_LATER when another process holds the file or there is no room; ERR_GIVE_UP when
// the file is missing (err->code is ENOENT), damaged or not ours. The text begins with the path.
#ifndef STORE_DATABASE_H
#define STORE_DATABASE_H

#include "base/err.h"

// After the open no other file is opened, whatever the use.
enum database_use {
    DATABASE_READ,  // the file must be there
    DATABASE_WRITE, // made where it is missing (mode 0600, the owner of the directory when root
                    // makes it), and brought to the newest version
};

// All that is known about one kind of database, as constant tables.
struct database_schema {
    const char *file;       // its name in the state directory
    int32_t application_id; // in the file's header: one of ours is not taken for another
    bool lazy; // a commit waits for no disk: a power cut may undo it, and tears nothing
    // versions[i] holds the statements that take the schema from version i to i + 1. A row that was
    // released is never changed: a change is a new row.
    const char *const *versions;
    size_t version_count;
    // The statements that will be run, prepared at the open; a query names one by its index.
    // Parameters are ?1, ?2, ...
    const char *const *statements;
    size_t statement_count;
};

struct database;

MUST_USE bool database_open(struct database **db, struct str state_dir,
                            const struct database_schema *schema, enum database_use use,
                            struct err *err);
void database_close(struct database **db);

// A transaction that writes. Without one each statement is its own.
MUST_USE bool database_begin(struct database *db, struct err *err);
// The same for readers: one snapshot, and one locking, for many queries. Ended by
// database_rollback.
MUST_USE bool database_begin_reading(struct database *db, struct err *err);
MUST_USE bool database_commit(struct database *db, struct err *err);
// Undoes what came since database_begin; without an open transaction it does nothing.
void database_rollback(struct database *db);

// One run of a statement: bind all parameters in their order, step until there is no row, end. What
// is bound must live until query_end. Between the first step and the end the database as it was at
// the first step is seen: end soon.
struct query;
struct query *query_begin(struct database *db, unsigned statement);
void query_bind(struct query *q, struct str text);
void query_bind_number(struct query *q, int64_t number);
MUST_USE bool query_step(struct query *q, bool *row, struct err *err);
// Columns of the row, from 0. The text is valid until the next step or the end.
struct str query_text(struct query *q, int column);
int64_t query_number(struct query *q, int column);
void query_end(struct query *q);

// For a statement without rows: one step and the end.
MUST_USE bool query_run(struct query *q, struct err *err);

#endif
