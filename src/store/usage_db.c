// Rows are read when they are first asked for and then kept until the next write. What is written
// is the differences, not the sums: two generations of the role may write for a moment.
#include "store/usage_db.h"

#include <errno.h>

#include "base/map.h"
#include "os/file.h"
#include "os/log.h"
#include "os/random.h"

enum { PATH_ROOM = 4096 };

static const char *const versions[] = {
    "CREATE TABLE usage ("
    " mailbox TEXT PRIMARY KEY,"
    " octets INTEGER NOT NULL,"
    " letters INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
};

enum statement { FIND, CHANGE, SET, CLEAR };

static const char *const statements[] = {
    [FIND] = "SELECT octets, letters FROM usage WHERE mailbox = ?1",
    [CHANGE] = ("UPDATE usage SET octets = max(0, octets + ?2), letters = max(0, letters + ?3)"
                " WHERE mailbox = ?1"),
    [SET] = "INSERT OR REPLACE INTO usage (mailbox, octets, letters) VALUES (?1, ?2, ?3)",
    [CLEAR] = "DELETE FROM usage",
};

static const struct database_schema schema = {
    .file = "usage.db",
    .application_id = 0x50487573, // "PHus"
    .lazy = true,
    .versions = versions,
    .version_count = ARRAY_LEN(versions),
    .statements = statements,
    .statement_count = ARRAY_LEN(statements),
};

// A mailbox that somebody asked for since the last write.
struct entry {
    struct str mailbox; // in the same block
    bool known;
    struct usage now;
    struct usage change; // that is not written
};

struct usage_db {
    struct database *base;
    struct map entries;
    uint64_t key[2];
};

static bool matches(const void *item, const void *key)
{
    return str_eq(((const struct entry *)item)->mailbox, *(const struct str *)key);
}

static void forget_entries(struct usage_db *db)
{
    struct entry *e;
    for (size_t at = 0; (e = map_next(&db->entries, &at)) != NULL;)
        free(e);
    map_finish(&db->entries);
}

// ---- opening

static bool remove_file(struct str state_dir, struct err *err)
{
    static const char *const files[] = {"usage.db", "usage.db-wal", "usage.db-shm"};
    char path[PATH_ROOM];
    int n = snprintf(path, sizeof path, "%.*s", STR_ARG(state_dir));
    int top = n > 0 && n < PATH_ROOM ? os_open_directory(OS_HERE, path) : -ENAMETOOLONG;
    int rc = top < 0 ? top : 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(files); i++) {
        rc = os_unlink(top, files[i]);
        rc = rc == -ENOENT ? 0 : rc;
    }
    os_close(&top);
    return rc == 0 || err_system(err, rc, "%s/usage.db", path);
}

static bool open_or_remake(struct usage_db *db, struct str state_dir, enum database_use use,
                           struct err *err)
{
    if (database_open(&db->base, state_dir, &schema, use, err))
        return true;
    if (use == DATABASE_READ || err->class != ERR_GIVE_UP)
        return false;
    log_line(LOG_ERROR, "%s: it is made anew, and all mailboxes are counted", err->text);
    return remove_file(state_dir, err) && database_open(&db->base, state_dir, &schema, use, err);
}

bool usage_db_open(struct usage_db **db, struct str state_dir, enum database_use use,
                   struct err *err)
{
    struct usage_db *new = *db = calloc(1, sizeof(*new));
    must(new != NULL);
    map_init(&new->entries, matches);
    os_random(new->key, sizeof(new->key));
    if (open_or_remake(new, state_dir, use, err))
        return true;
    usage_db_close(db);
    return false;
}

void usage_db_close(struct usage_db **db)
{
    if (*db) {
        database_close(&(*db)->base);
        forget_entries(*db);
    }
    free(*db);
    *db = NULL;
}

// ---- one mailbox

static struct usage clamp(struct usage u, int64_t least)
{
    int64_t *const values[] = {&u.octets, &u.letters};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        *values[i] = *values[i] < least ? least : *values[i] > USAGE_MOST ? USAGE_MOST : *values[i];
    return u;
}

// `by` is from -USAGE_MOST to USAGE_MOST, as are all sums.
static struct usage add(struct usage to, struct usage by, int64_t least)
{
    return clamp((struct usage){to.octets + by.octets, to.letters + by.letters}, least);
}

static bool read_row(struct usage_db *db, struct entry *e, struct err *err)
{
    struct query *q = query_begin(db->base, FIND);
    query_bind(q, e->mailbox);
    bool ok = query_step(q, &e->known, err);
    if (ok && e->known)
        e->now = clamp((struct usage){query_number(q, 0), query_number(q, 1)}, 0);
    query_end(q);
    return ok;
}

static struct entry *get(struct usage_db *db, struct str mailbox, struct err *err)
{
    uint64_t hash = str_hash(mailbox, db->key);
    struct entry *e = map_find(&db->entries, hash, &mailbox);
    if (e)
        return e;
    e = calloc(1, sizeof(*e) + mailbox.len);
    must(e != NULL);
    memcpy(e + 1, mailbox.ptr, mailbox.len);
    e->mailbox = str_from(e + 1, mailbox.len);
    if (!read_row(db, e, err)) {
        free(e);
        return NULL;
    }
    map_put(&db->entries, hash, e);
    return e;
}

bool usage_db_find(struct usage_db *db, struct str mailbox, bool *known, struct usage *usage,
                   struct err *err)
{
    const struct entry *e = get(db, mailbox, err);
    *known = e && e->known;
    if (*known)
        *usage = e->now;
    return e != NULL;
}

bool usage_db_change(struct usage_db *db, struct str mailbox, struct usage by, struct err *err)
{
    struct entry *e = get(db, mailbox, err);
    if (!e || !e->known)
        return e != NULL;
    by = clamp(by, -USAGE_MOST);
    e->now = add(e->now, by, 0);
    e->change = add(e->change, by, -USAGE_MOST);
    return true;
}

static bool run(struct usage_db *db, enum statement statement, struct str mailbox,
                struct usage usage, struct err *err)
{
    struct query *q = query_begin(db->base, statement);
    query_bind(q, mailbox);
    query_bind_number(q, usage.octets);
    query_bind_number(q, usage.letters);
    return query_run(q, err);
}

bool usage_db_set(struct usage_db *db, struct str mailbox, struct usage usage, struct err *err)
{
    struct entry *e = get(db, mailbox, err);
    if (!e || !run(db, SET, mailbox, usage, err))
        return false;
    e->known = true;
    e->now = clamp(usage, 0);
    e->change = (struct usage){0, 0};
    return true;
}

// ---- all of them

static bool is_changed(const struct entry *e)
{
    return e->change.octets != 0 || e->change.letters != 0;
}

static bool any_changed(struct usage_db *db)
{
    const struct entry *e;
    for (size_t at = 0; (e = map_next(&db->entries, &at)) != NULL;)
        if (is_changed(e))
            return true;
    return false;
}

static bool write_changes(struct usage_db *db, struct err *err)
{
    const struct entry *e;
    bool ok = database_begin(db->base, err);
    for (size_t at = 0; ok && (e = map_next(&db->entries, &at)) != NULL;)
        ok = !is_changed(e) || run(db, CHANGE, e->mailbox, e->change, err);
    ok = ok && database_commit(db->base, err);
    if (!ok)
        database_rollback(db->base);
    return ok;
}

bool usage_db_write(struct usage_db *db, struct err *err)
{
    if (any_changed(db) && !write_changes(db, err))
        return false; // they are written with the next ones
    forget_entries(db);
    return true;
}

bool usage_db_clear(struct usage_db *db, struct err *err)
{
    forget_entries(db);
    return query_run(query_begin(db->base, CLEAR), err);
}
