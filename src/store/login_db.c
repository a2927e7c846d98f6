#include "store/login_db.h"

#include "base/limits.h"
#include "os/clock.h"

static const char *const versions[] = {
    // RFC 5802: the SCRAM keys are of another kind than the hash, made from the same password.
    "CREATE TABLE login ("
    " address TEXT PRIMARY KEY,"
    " hash TEXT NOT NULL,"
    " changed INTEGER NOT NULL,"
    " scram_salt BLOB,"
    " scram_iterations INTEGER,"
    " scram_stored_key BLOB,"
    " scram_server_key BLOB) STRICT, WITHOUT ROWID;",
};

enum statement { FIND, SET, REMOVE };

static const char *const statements[] = {
    [FIND] = "SELECT hash FROM login WHERE address = ?1",
    // Keys of an older password may not outlive it.
    [SET] = "INSERT OR REPLACE INTO login (address, hash, changed) VALUES (?1, ?2, ?3)",
    [REMOVE] = "DELETE FROM login WHERE address = ?1",
};

static const struct database_schema schema = {
    .file = "login.db",
    .application_id = 0x50486c67, // "PHlg"
    .versions = versions,
    .version_count = ARRAY_LEN(versions),
    .statements = statements,
    .statement_count = ARRAY_LEN(statements),
};

struct login_db {
    struct database *base;
    struct buf key; // of the query under way
};

bool login_db_open(struct login_db **db, struct str state_dir, enum database_use use,
                   struct err *err)
{
    *db = calloc(1, sizeof(**db));
    must(*db);
    buf_init(&(*db)->key, 2 * LIMIT_address); // quoting doubles at most
    if (database_open(&(*db)->base, state_dir, &schema, use, err))
        return true;
    login_db_close(db);
    return false;
}

void login_db_close(struct login_db **db)
{
    if (*db) {
        database_close(&(*db)->base);
        buf_finish(&(*db)->key);
    }
    free(*db);
    *db = NULL;
}

// A query with the address bound as ?1.
static struct query *begin_for(struct login_db *db, enum statement statement,
                               const struct address *address)
{
    buf_clear(&db->key);
    address_put_folded(&db->key, address);
    must(buf_ok(&db->key) && db->key.len);
    struct query *q = query_begin(db->base, statement);
    query_bind(q, buf_str(&db->key));
    return q;
}

bool login_db_set(struct login_db *db, const struct address *address, struct str hash,
                  struct err *err)
{
    struct query *q = begin_for(db, SET, address);
    query_bind(q, hash);
    query_bind_number(q, (int64_t)os_wall_ms());
    return query_run(q, err);
}

bool login_db_remove(struct login_db *db, const struct address *address, struct err *err)
{
    return query_run(begin_for(db, REMOVE, address), err);
}

bool login_db_find(struct login_db *db, const struct address *address, bool *found,
                   struct buf *hash, struct err *err)
{
    struct query *q = begin_for(db, FIND, address);
    bool ok = query_step(q, found, err);
    if (ok && *found)
        buf_put(hash, query_text(q, 0));
    query_end(q);
    return ok;
}
