// How a role can read a database from inside its jail, where no file can be opened:
//
// 1. In WAL mode a reader needs three files: the database, -wal and -shm. SQLite opens the latter
//    two at the first read, which database_open makes (the version). They stay as long as any
//    process has the database open, and the last one to close it removes them: so never while the
//    role lives.
// 2. Sorting goes to memory, not to temporary files.
// 3. A read transaction is as short as one query (or one turn of a role's loop), so the next query
// sees what was committed since,
//    and the writer's checkpoints are not held up.
//
// The reader opens the database read-only: a role that was broken into cannot change it.
//
// A writer in a jail (the role directory, of usage.db) needs no more: the files are there, and no
// other is made. It finds that the directory of the -wal cannot be opened to be synced, and SQLite
// goes on without.
//
// synchronous=FULL: a commit syncs the WAL; NORMAL: a checkpoint does, about every thousand pages.
// The name of a new file is synced by database_open; the directory entry of a new -wal by SQLite
// with its first sync.
#include "store/database.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>

#include "base/arena.h"
#include "os/file.h"
#include "os/process.h"

enum {
    WRITER_WAITS_MS = 5000, // for another command
    READER_WAITS_MS = 100,  // a reader waits only while a crashed writer's WAL is being repaired
    MEMORY_LIMIT = 65536,
};

struct query {
    struct database *db;
    sqlite3_stmt *statement;
    int bound;
};

struct database {
    sqlite3 *handle;
    const struct database_schema *schema;
    const char *path;
    struct query *queries; // one for each statement of the schema
    struct arena memory;
};

static enum err_class class_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
    case SQLITE_FULL:
        return ERR_TRY_LATER;
    default: // SQLite's own numbers, which grow
        return ERR_GIVE_UP;
    }
}

static bool failed(const struct database *db, int code, struct err *err)
{
    const char *why = db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(code);
    bool full = (code & 0xff) == SQLITE_FULL;
    return err_set(err, class_of(code), STATUS(4, 3, full ? 1 : 0), "%s: %s", db->path, why);
}

static bool run(struct database *db, const char *sql, struct err *err)
{
    int code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return code == SQLITE_OK || failed(db, code, err);
}

// A PRAGMA takes no parameters.
static bool set_number(struct database *db, const char *pragma, int64_t number, struct err *err)
{
    char sql[80];
    int n = snprintf(sql, sizeof(sql), "PRAGMA %s = %lld", pragma, (long long)number);
    must(n > 0 && (size_t)n < sizeof(sql));
    return run(db, sql, err);
}

// The value of a PRAGMA: *number, and *word where it is text of at most `size` - 1 octets.
static bool ask(struct database *db, const char *sql, int64_t *number, char *word, size_t size,
                struct err *err)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db->handle, sql, -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        *number = sqlite3_column_int64(statement, 0);
        if (word)
            snprintf(word, size, "%s", (const char *)sqlite3_column_text(statement, 0));
    }
    bool ok = code == SQLITE_ROW || failed(db, code, err);
    sqlite3_finalize(statement);
    return ok;
}

static bool is_ours(struct database *db, int64_t version, struct err *err)
{
    int64_t id = 0;
    if (!ask(db, "PRAGMA application_id", &id, NULL, 0, err))
        return false;
    if (id != db->schema->application_id && (version || id))
        return err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5), "%s: not the database of that name",
                       db->path);
    if (version < 0 || version > (int64_t)db->schema->version_count)
        return err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5),
                       "%s: made by a newer release (version %lld)", db->path, (long long)version);
    return true;
}

// Inside a transaction: two commands may both find an old version.
static bool upgrade(struct database *db, struct err *err)
{
    int64_t version;
    if (!ask(db, "PRAGMA user_version", &version, NULL, 0, err) || !is_ours(db, version, err))
        return false;
    for (size_t i = (size_t)version; i < db->schema->version_count; i++) {
        if (!run(db, db->schema->versions[i], err))
            return false;
    }
    return set_number(db, "application_id", db->schema->application_id, err) &&
           set_number(db, "user_version", (int64_t)db->schema->version_count, err);
}

static bool check_mode(struct database *db, const char *sql, struct err *err)
{
    int64_t unused;
    char mode[8];
    if (!ask(db, sql, &unused, mode, sizeof(mode), err))
        return false;
    return str_eq(str_of(mode), STR("wal")) ||
           err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5),
                   "%s: cannot be shared (journal mode %s, not wal)", db->path, mode);
}

static bool begin_writing(struct database *db, struct err *err)
{
    int64_t version;
    sqlite3_busy_timeout(db->handle, WRITER_WAITS_MS);
    if (!ask(db, "PRAGMA user_version", &version, NULL, 0, err) || !is_ours(db, version, err) ||
        !check_mode(db, "PRAGMA journal_mode = WAL", err) ||
        !run(db, db->schema->lazy ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL",
             err) ||
        !run(db, "PRAGMA foreign_keys = ON", err))
        return false;
    if (version == (int64_t)db->schema->version_count)
        return true;
    if (!database_begin(db, err))
        return false;
    if (upgrade(db, err) && database_commit(db, err))
        return true;
    database_rollback(db);
    return false;
}

static bool begin_reading(struct database *db, struct err *err)
{
    int64_t version;
    sqlite3_busy_timeout(db->handle, READER_WAITS_MS);
    if (!ask(db, "PRAGMA user_version", &version, NULL, 0, err) || !is_ours(db, version, err))
        return false;
    if (version < (int64_t)db->schema->version_count)
        return err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5),
                       "%s: of an older release; `posthouse user list` brings it up to date",
                       db->path);
    return check_mode(db, "PRAGMA journal_mode", err);
}

// Made by root, it belongs to whom the state directory belongs to; -wal and -shm follow by SQLite.
static int hand_over(int top, const char *file)
{
    struct stat st;
    int code = os_fstat(top, &st);
    return code < 0 || !os_is_root() ? code : os_chown(top, file, st.st_uid, st.st_gid);
}

// SQLite would give a new file the mode that the umask leaves; -wal and -shm take that of the file.
static bool make_file(struct database *db, struct str state_dir, struct err *err)
{
    struct str dir;
    if (!arena_copy(&db->memory, state_dir, &dir))
        return err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5), "the state directory's name is too long");
    int top = os_open_directory(OS_HERE, dir.ptr);
    if (top < 0)
        return err_system(err, top, "%s", dir.ptr);
    int fd = os_open(top, db->schema->file, O_RDWR | O_CREAT | O_EXCL, 0600);
    int code = fd;
    if (fd >= 0)
        code = hand_over(top, db->schema->file);
    if (code >= 0)
        code = os_fsync(top);
    os_close(&fd);
    os_close(&top);
    return code >= 0 || code == -EEXIST || err_system(err, code, "%s", db->path);
}

static bool must_exist(struct database *db, struct err *err)
{
    struct stat st;
    int code = os_stat(OS_HERE, db->path, &st);
    if (code == -ENOENT) {
        err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5),
                "%s: is missing; `posthouse user list` makes an empty one", db->path);
        err->code = ENOENT;
        return false;
    }
    return code >= 0 || err_system(err, code, "%s", db->path);
}

static bool prepare(struct database *db, struct err *err)
{
    const struct database_schema *schema = db->schema;
    db->queries = arena_alloc_array(&db->memory, schema->statement_count, sizeof(struct query));
    must(db->queries);
    for (size_t i = 0; i < schema->statement_count; i++) {
        struct query *q = &db->queries[i];
        q->db = db;
        int code = sqlite3_prepare_v3(db->handle, schema->statements[i], -1,
                                      SQLITE_PREPARE_PERSISTENT, &q->statement, NULL);
        if (code != SQLITE_OK)
            return failed(db, code, err);
    }
    return true;
}

static bool begin_use(struct database *db, struct str state_dir, enum database_use use,
                      struct err *err)
{
    if (!(use == DATABASE_WRITE ? make_file(db, state_dir, err) : must_exist(db, err)))
        return false;
    // NOMUTEX: a handle is used by one thread at a time.
    int flags = use == DATABASE_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    int code = sqlite3_open_v2(db->path, &db->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK)
        return failed(db, code, err);
    return run(db, "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF", err) &&
           (use == DATABASE_WRITE ? begin_writing(db, err) : begin_reading(db, err)) &&
           prepare(db, err);
}

static const char *join_path(struct arena *memory, struct str dir, const char *file)
{
    struct str copy = {0};
    struct buf path;
    buf_init(&path, MEMORY_LIMIT / 2);
    buf_put(&path, dir);
    buf_put_byte(&path, '/');
    buf_put(&path, str_of(file));
    bool ok = buf_ok(&path) && arena_copy(memory, buf_str(&path), &copy);
    buf_finish(&path);
    return ok ? copy.ptr : NULL;
}

bool database_open(struct database **db, struct str state_dir, const struct database_schema *schema,
                   enum database_use use, struct err *err)
{
    struct database *new = calloc(1, sizeof(*new));
    must(new);
    *db = new;
    new->schema = schema;
    arena_init(&new->memory, MEMORY_LIMIT);
    new->path = join_path(&new->memory, state_dir, schema->file);
    if (!new->path)
        err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5), "the state directory's name is too long");
    else if (begin_use(new, state_dir, use, err))
        return true;
    database_close(db);
    return false;
}

void database_close(struct database **db)
{
    struct database *old = *db;
    *db = NULL;
    if (!old)
        return;
    for (size_t i = 0; old->queries && i < old->schema->statement_count; i++)
        sqlite3_finalize(old->queries[i].statement);
    int code = sqlite3_close(old->handle);
    must(code == SQLITE_OK); // nothing of ours is unfinished
    arena_finish(&old->memory);
    free(old);
}

bool database_begin(struct database *db, struct err *err)
{
    return run(db, "BEGIN IMMEDIATE", err);
}

bool database_begin_reading(struct database *db, struct err *err)
{
    return run(db, "BEGIN DEFERRED", err);
}

bool database_commit(struct database *db, struct err *err)
{
    if (run(db, "COMMIT", err))
        return true;
    database_rollback(db);
    return false;
}

void database_rollback(struct database *db)
{
    struct err ignored;
    // It fails only where SQLite has rolled back already.
    if (!sqlite3_get_autocommit(db->handle) && !run(db, "ROLLBACK", &ignored))
        must(sqlite3_get_autocommit(db->handle));
}

struct query *query_begin(struct database *db, unsigned statement)
{
    must(statement < db->schema->statement_count);
    struct query *q = &db->queries[statement];
    must(q->bound == 0 && !sqlite3_stmt_busy(q->statement));
    return q;
}

void query_bind(struct query *q, struct str text)
{
    // A NULL pointer would bind NULL.
    int code = sqlite3_bind_text64(q->statement, ++q->bound, text.len ? text.ptr : "", text.len,
                                   SQLITE_STATIC, SQLITE_UTF8);
    must(code == SQLITE_OK);
}

void query_bind_number(struct query *q, int64_t number)
{
    int code = sqlite3_bind_int64(q->statement, ++q->bound, number);
    must(code == SQLITE_OK);
}

bool query_step(struct query *q, bool *row, struct err *err)
{
    must(q->bound == sqlite3_bind_parameter_count(q->statement));
    int code = sqlite3_step(q->statement);
    *row = code == SQLITE_ROW;
    return *row || code == SQLITE_DONE || failed(q->db, code, err);
}

struct str query_text(struct query *q, int column)
{
    const unsigned char *text = sqlite3_column_text(q->statement, column);
    return str_from(text, (size_t)sqlite3_column_bytes(q->statement, column));
}

int64_t query_number(struct query *q, int column)
{
    return sqlite3_column_int64(q->statement, column);
}

void query_end(struct query *q)
{
    sqlite3_reset(q->statement);
    sqlite3_clear_bindings(q->statement);
    q->bound = 0;
}

bool query_run(struct query *q, struct err *err)
{
    bool row;
    bool ok = query_step(q, &row, err);
    must(!ok || !row);
    query_end(q);
    return ok;
}
