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
    // RFC 1939 section 7: readable, since the digest is made of the secret itself.
    "CREATE TABLE apop ("
    " address TEXT PRIMARY KEY,"
    " secret TEXT NOT NULL,"
    " changed INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
};

enum statement { FIND, SET, REMOVE, FIND_APOP, SET_APOP, REMOVE_APOP };

static const char *const statements[] = {
    [FIND] = "SELECT hash FROM login WHERE address = ?1",
    // Keys of an older password may not outlive it.
    [SET] = "INSERT OR REPLACE INTO login (address, hash, changed) VALUES (?1, ?2, ?3)",
    [REMOVE] = "DELETE FROM login WHERE address = ?1",
    [FIND_APOP] = "SELECT secret FROM apop WHERE address = ?1",
    [SET_APOP] = "INSERT OR REPLACE INTO apop (address, secret, changed) VALUES (?1, ?2, ?3)",
    [REMOVE_APOP] = "DELETE FROM apop WHERE address = ?1",
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

static bool set(struct login_db *db, enum statement statement, const struct address *address,
                struct str text, struct err *err)
{
    struct query *q = begin_for(db, statement, address);
    query_bind(q, text);
    query_bind_number(q, (int64_t)os_wall_ms());
    return query_run(q, err);
}

static bool find(struct login_db *db, enum statement statement, const struct address *address,
                 bool *found, struct buf *text, struct err *err)
{
    struct query *q = begin_for(db, statement, address);
    bool ok = query_step(q, found, err);
    if (ok && *found)
        buf_put(text, query_text(q, 0));
    query_end(q);
    return ok;
}

bool login_db_set(struct login_db *db, const struct address *address, struct str hash,
                  struct err *err)
{
    return set(db, SET, address, hash, err);
}

bool login_db_find(struct login_db *db, const struct address *address, bool *found,
                   struct buf *hash, struct err *err)
{
    return find(db, FIND, address, found, hash, err);
}

bool login_db_set_apop(struct login_db *db, const struct address *address, struct str secret,
                       struct err *err)
{
    return set(db, SET_APOP, address, secret, err);
}

bool login_db_find_apop(struct login_db *db, const struct address *address, bool *found,
                        struct buf *secret, struct err *err)
{
    return find(db, FIND_APOP, address, found, secret, err);
}

bool login_db_remove(struct login_db *db, const struct address *address, struct err *err)
{
    bool ok = database_begin(db->base, err) && query_run(begin_for(db, REMOVE, address), err) &&
              query_run(begin_for(db, REMOVE_APOP, address), err) && database_commit(db->base, err);
    if (!ok)
        database_rollback(db->base);
    return ok;
}
