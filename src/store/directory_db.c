#include "store/directory_private.h"

#include "os/clock.h"

enum { CHANGE_MEMORY = 65536 };

// clang-format off
static const char *const versions[] = {
    // user_of_domain finds a domain's first user without reading the others.
    "CREATE TABLE domain ("
    " id INTEGER PRIMARY KEY,"
    " folded TEXT NOT NULL UNIQUE,"
    " name TEXT NOT NULL,"
    " created INTEGER NOT NULL) STRICT;"
    "CREATE TABLE user ("
    " id INTEGER PRIMARY KEY,"
    " domain INTEGER NOT NULL REFERENCES domain (id),"
    " folded TEXT NOT NULL,"
    " address TEXT NOT NULL,"
    " domain_name TEXT NOT NULL,"
    " user_name TEXT NOT NULL,"
    " created INTEGER NOT NULL,"
    " UNIQUE (domain, folded)) STRICT;"
    "CREATE INDEX user_of_domain ON user (domain);",
    // user.moved: empty: not. target_of finds who points at an address. The secret is never shown.
    "ALTER TABLE user ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE user ADD COLUMN moved TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE alias ("
    " id INTEGER PRIMARY KEY,"
    " domain INTEGER NOT NULL REFERENCES domain (id),"
    " folded TEXT NOT NULL,"
    " address TEXT NOT NULL,"
    " kind INTEGER NOT NULL,"
    " created INTEGER NOT NULL,"
    " UNIQUE (domain, folded)) STRICT;"
    "CREATE TABLE target ("
    " id INTEGER PRIMARY KEY,"
    " alias INTEGER NOT NULL REFERENCES alias (id),"
    " domain INTEGER NOT NULL REFERENCES domain (id),"
    " folded TEXT NOT NULL,"
    " address TEXT NOT NULL,"
    " UNIQUE (alias, domain, folded)) STRICT;"
    "CREATE INDEX target_of ON target (domain, folded);"
    "CREATE TABLE house ("
    " id INTEGER PRIMARY KEY CHECK (id = 1),"
    " secret TEXT NOT NULL) STRICT;"
    "INSERT INTO house VALUES (1, hex(randomblob(32)));",
    // user.quota: -1: none of its own. user_quota tells whether there is any.
    ("ALTER TABLE user ADD COLUMN quota INTEGER NOT NULL DEFAULT -1;"
     "CREATE INDEX user_quota ON user (quota) WHERE quota > 0;"),
    // Targets at other hosts: domain and folded are texts.
    "CREATE TABLE remote ("
    " id INTEGER PRIMARY KEY,"
    " alias INTEGER NOT NULL REFERENCES alias (id),"
    " domain TEXT NOT NULL,"
    " folded TEXT NOT NULL,"
    " address TEXT NOT NULL,"
    " UNIQUE (alias, domain, folded)) STRICT;"
    "CREATE INDEX remote_of ON remote (domain);",
};

// All entries on the way from one, each with the number of aliases before it. A way that is longer
// than allowed, or goes round, shows by its depth; ?4 rows are more than any that is allowed has.
#define REACH "WITH RECURSIVE reach (domain, folded, depth) AS (" \
    " VALUES (?1, ?2, 0) UNION" \
    " SELECT target.domain, target.folded, reach.depth + 1 FROM reach" \
    " JOIN alias ON alias.domain = reach.domain AND alias.folded = reach.folded" \
    " JOIN target ON target.alias = alias.id" \
    " WHERE reach.depth <= ?3 LIMIT ?4) "
// The mailboxes where the way ends.
#define REACHED " FROM reach JOIN user USING (domain, folded)" \
    " LEFT JOIN alias USING (domain, folded) WHERE (alias.id IS NULL OR alias.kind = 1)"
// The addresses at other hosts where it ends, each once.
#define REACHED_REMOTE " FROM reach JOIN alias USING (domain, folded)" \
    " JOIN remote ON remote.alias = alias.id GROUP BY remote.domain, remote.folded"

static const char *const statements[] = {
    [FIND_DOMAIN]          = "SELECT id FROM domain WHERE folded = ?1",
    [FIRST_DOMAIN]         = "SELECT id FROM domain ORDER BY id LIMIT 1",
    [COUNT_USERS]          = "SELECT count(*) FROM user WHERE domain = ?1",
    [COUNT_ALIASES]        = "SELECT count(*) FROM alias WHERE domain = ?1",
    [LIST_DOMAINS]         = ("SELECT name, folded, created,"
                              " (SELECT count(*) FROM user WHERE user.domain = domain.id)"
                              " FROM domain ORDER BY id"),
    [ADD_DOMAIN]           = "INSERT INTO domain (folded, name, created) VALUES (?1, ?2, ?3)",
    [REMOVE_DOMAIN]        = "DELETE FROM domain WHERE id = ?1",
    [FIND_USER]            = (SELECT_USER FROM_USER
                              "WHERE user.domain = ?1 AND user.folded = ?2"),
    [FIRST_USER_OF_DOMAIN] = (SELECT_USER FROM_USER
                              "WHERE user.domain = ?1 ORDER BY user.id LIMIT 1"),
    [FIRST_USER]           = SELECT_USER FROM_USER "ORDER BY user.id LIMIT 1",
    [LIST_USERS]           = SELECT_USER FROM_USER "WHERE user.id > ?1 ORDER BY user.id",
    [ADD_USER]             = ("INSERT INTO user"
                              " (domain, folded, address, domain_name, user_name, created)"
                              " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
    [REMOVE_USER]          = "DELETE FROM user WHERE domain = ?1 AND folded = ?2",
    [LOCK_USER]            = "UPDATE user SET locked = ?3 WHERE domain = ?1 AND folded = ?2",
    [SET_QUOTA]            = "UPDATE user SET quota = ?3 WHERE domain = ?1 AND folded = ?2",
    [HAS_QUOTAS]           = "SELECT EXISTS (SELECT 1 FROM user WHERE quota > 0)",
    [MOVE_USER]            = "UPDATE user SET moved = ?3 WHERE domain = ?1 AND folded = ?2",
    [FIND_ALIAS]           = "SELECT id, kind FROM alias WHERE domain = ?1 AND folded = ?2",
    [LIST_ALIASES]         = ("SELECT alias.id, target.id, alias.address, target.address,"
                              " alias.created"
                              " FROM alias JOIN target ON target.alias = alias.id"
                              " WHERE alias.kind <> 2"
                              " UNION ALL SELECT id, 0, address, address, created FROM alias"
                              " WHERE kind = 1"
                              // Those at other hosts stand last.
                              " UNION ALL SELECT alias.id, remote.id + (1 << 62), alias.address,"
                              " remote.address, alias.created"
                              " FROM alias JOIN remote ON remote.alias = alias.id"
                              " WHERE alias.kind <> 2 ORDER BY 1, 2"),
    [ADD_ALIAS]            = ("INSERT INTO alias (domain, folded, address, kind, created)"
                              " VALUES (?1, ?2, ?3, ?4, ?5)"),
    [SET_ALIAS_KIND]       = "UPDATE alias SET kind = ?2 WHERE id = ?1",
    [REMOVE_ALIAS]         = "DELETE FROM alias WHERE id = ?1",
    [COUNT_TARGETS]        = ("SELECT (SELECT count(*) FROM target WHERE alias = ?1)"
                              " + (SELECT count(*) FROM remote WHERE alias = ?1)"),
    [ADD_TARGET]           = ("INSERT OR IGNORE INTO target (alias, domain, folded, address)"
                              " VALUES (?1, ?2, ?3, ?4)"),
    [REMOVE_TARGET]        = ("DELETE FROM target WHERE alias = ?1 AND domain = ?2 AND folded = ?3"
                              " RETURNING 1"),
    [REMOVE_TARGETS]       = "DELETE FROM target WHERE alias = ?1",
    [ADD_REMOTE]           = ("INSERT OR IGNORE INTO remote (alias, domain, folded, address)"
                              " VALUES (?1, ?2, ?3, ?4)"),
    [REMOVE_REMOTE]        = ("DELETE FROM remote WHERE alias = ?1 AND domain = ?2 AND folded = ?3"
                              " RETURNING 1"),
    [REMOVE_REMOTES]       = "DELETE FROM remote WHERE alias = ?1",
    [POINTING_TO_DOMAIN]   = ("SELECT alias.address FROM remote"
                              " JOIN alias ON alias.id = remote.alias"
                              " WHERE remote.domain = ?1 ORDER BY alias.id LIMIT 1"),
    [POINTING_AT]          = ("SELECT alias.address, alias.kind FROM target"
                              " JOIN alias ON alias.id = target.alias"
                              " WHERE target.domain = ?1 AND target.folded = ?2"
                              " ORDER BY alias.id LIMIT 1"),
    // The aliases whose way leads through this entry, itself the first.
    [ABOVE]                = ("WITH RECURSIVE above (domain, folded) AS ("
                              " VALUES (?1, ?2) UNION"
                              " SELECT alias.domain, alias.folded FROM above"
                              " JOIN target ON target.domain = above.domain"
                              " AND target.folded = above.folded"
                              " JOIN alias ON alias.id = target.alias)"
                              " SELECT above.domain, above.folded, alias.address"
                              " FROM above JOIN alias USING (domain, folded)"),
    [MEASURE]              = (REACH "SELECT (SELECT max(depth) FROM reach),"
                              " (SELECT count(*) FROM reach),"
                              " (SELECT count(DISTINCT user.id)" REACHED ")"
                              " + (SELECT count(*) FROM (SELECT 1" REACHED_REMOTE ")),"
                              " EXISTS (SELECT 1 FROM reach"
                              " WHERE depth > 0 AND domain = ?1 AND folded = ?2)"),
    // Addresses at other hosts come behind the users.
    [EXPAND]               = (REACH SELECT_USER REACHED
                              " AND user.id > ?5 GROUP BY user.id"
                              " UNION ALL SELECT remote.address, '', '', 0, 0, '', -1, -1,"
                              " min(remote.id) + (1 << 62)" REACHED_REMOTE
                              " HAVING min(remote.id) + (1 << 62) > ?5 ORDER BY 9"),
    [SECRET]               = "SELECT secret FROM house",
    [DATA_VERSION]         = "PRAGMA data_version",
};
// clang-format on

static const struct database_schema schema = {
    .file = "directory.db",
    .application_id = 0x50486472, // "PHdr"
    .versions = versions,
    .version_count = ARRAY_LEN(versions),
    .statements = statements,
    .statement_count = ARRAY_LEN(statements),
};

bool directory_db_open(struct directory_db **db, struct str state_dir, enum database_use use,
                       struct err *err)
{
    *db = calloc(1, sizeof(**db));
    must(*db);
    arena_init(&(*db)->memory, CHANGE_MEMORY);
    if (database_open(&(*db)->base, state_dir, &schema, use, err))
        return true;
    directory_db_close(db);
    return false;
}

void directory_db_close(struct directory_db **db)
{
    if (*db) {
        database_close(&(*db)->base);
        arena_finish(&(*db)->memory);
    }
    free(*db);
    *db = NULL;
}

bool directory_db_begin(struct directory_db *db, struct err *err)
{
    return database_begin(db->base, err);
}

bool directory_db_begin_reading(struct directory_db *db, struct err *err)
{
    return database_begin_reading(db->base, err);
}

void directory_db_end_reading(struct directory_db *db)
{
    database_rollback(db->base);
}

bool directory_db_commit(struct directory_db *db, struct err *err)
{
    return database_commit(db->base, err);
}

void directory_db_rollback(struct directory_db *db)
{
    database_rollback(db->base);
}

bool directory_db_secret(struct directory_db *db, struct arena *arena, struct str *secret,
                         struct err *err)
{
    bool found;
    struct query *q = query_begin(db->base, SECRET);
    bool ok = query_step(q, &found, err);
    if (ok && found)
        ok = arena_copy(arena, query_text(q, 0), secret) ||
             err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for the house's secret");
    else if (ok)
        ok = err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5), "directory.db: the secret is gone");
    query_end(q);
    return ok;
}

// ---- for all files

bool directory_read_number(struct query *q, bool *found, int64_t *number, struct err *err)
{
    *number = 0;
    bool ok = query_step(q, found, err);
    if (ok && *found)
        *number = query_number(q, 0);
    query_end(q);
    return ok;
}

bool directory_find_domain(struct directory_db *db, struct str folded, bool *found, int64_t *id,
                           struct err *err)
{
    struct query *q = query_begin(db->base, FIND_DOMAIN);
    query_bind(q, folded);
    return directory_read_number(q, found, id, err);
}

bool directory_need_domain(struct directory_db *db, const struct address *address, int64_t *id,
                           struct err *err)
{
    bool found;
    struct str name = address->domain;
    if (!directory_find_domain(db, address->folded_domain, &found, id, err))
        return false;
    return found || err_set(err, ERR_GIVE_UP, STATUS(5, 1, 2),
                            "%.*s is not hosted here: `posthouse domain add %.*s` makes it so",
                            STR_ARG(name), STR_ARG(name));
}

void directory_put_address(struct buf *out, const struct address *address)
{
    if (address->local.len) {
        address_put(out, address);
    } else {
        buf_put_byte(out, '@');
        buf_put(out, address->domain);
    }
}

bool directory_refuse(const struct address *address, const char *why, struct err *err)
{
    struct buf written;
    buf_init(&written, 2 * LIMIT_address);
    directory_put_address(&written, address);
    err_set(err, ERR_GIVE_UP, STATUS(5, 1, 1), "%.*s %s", STR_ARG(buf_str(&written)), why);
    buf_finish(&written);
    return false;
}

// ---- domains

bool directory_db_each_domain(struct directory_db *db,
                              bool (*each)(void *context, const struct directory_domain *domain),
                              void *context, struct err *err)
{
    struct query *q = query_begin(db->base, LIST_DOMAINS);
    bool ok, row;
    while ((ok = query_step(q, &row, err)) && row) {
        struct directory_domain domain = {.name = query_text(q, 0),
                                          .folded = query_text(q, 1),
                                          .created_ms = (uint64_t)query_number(q, 2),
                                          .users = (uint64_t)query_number(q, 3)};
        if (!each(context, &domain))
            break;
    }
    query_end(q);
    return ok;
}

// What is sent to another host now would be looked for among the users here.
static bool need_no_remote(struct directory_db *db, struct str name, struct str folded,
                           struct err *err)
{
    bool row;
    struct query *q = query_begin(db->base, POINTING_TO_DOMAIN);
    query_bind(q, folded);
    bool ok = query_step(q, &row, err);
    if (ok && row)
        ok = err_set(err, ERR_GIVE_UP, STATUS(5, 0, 0),
                     "mail for %.*s goes to an address at %.*s: take that away first, and add it "
                     "again then",
                     STR_ARG(query_text(q, 0)), STR_ARG(name));
    query_end(q);
    return ok;
}

bool directory_db_add_domain(struct directory_db *db, struct str name, struct str folded,
                             struct err *err)
{
    bool found;
    int64_t id;
    if (!directory_find_domain(db, folded, &found, &id, err))
        return false;
    if (found)
        return err_set(err, ERR_GIVE_UP, STATUS(5, 0, 0), "%.*s is hosted already", STR_ARG(name));
    if (!need_no_remote(db, name, folded, err))
        return false;
    struct query *q = query_begin(db->base, ADD_DOMAIN);
    query_bind(q, folded);
    query_bind(q, name);
    query_bind_number(q, (int64_t)os_wall_ms());
    return query_run(q, err);
}

// Refused while the domain has what `count` counts.
static bool need_none(struct directory_db *db, int64_t id, struct str name,
                      enum directory_statement count, const char *one, const char *many,
                      const char *how, struct err *err)
{
    bool found;
    int64_t n;
    struct query *q = query_begin(db->base, count);
    query_bind_number(q, id);
    if (!directory_read_number(q, &found, &n, err))
        return false;
    return n == 0 || err_set(err, ERR_GIVE_UP, STATUS(5, 0, 0),
                             "%.*s has %lld %s: `posthouse %s remove` them first", STR_ARG(name),
                             (long long)n, n == 1 ? one : many, how);
}

bool directory_db_remove_domain(struct directory_db *db, struct str name, struct str folded,
                                struct err *err)
{
    bool found;
    int64_t id;
    if (!directory_find_domain(db, folded, &found, &id, err))
        return false;
    if (!found)
        return err_set(err, ERR_GIVE_UP, STATUS(5, 1, 2), "%.*s is not hosted here", STR_ARG(name));
    // What aliases elsewhere name is a user or an alias of the domain.
    if (!need_none(db, id, name, COUNT_USERS, "user", "users", "user", err) ||
        !need_none(db, id, name, COUNT_ALIASES, "alias", "aliases", "alias", err))
        return false;
    struct query *q = query_begin(db->base, REMOVE_DOMAIN);
    query_bind_number(q, id);
    return query_run(q, err);
}
