#include "store/directory_db.h"

#include "base/limits.h"
#include "os/clock.h"

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
};

enum statement {
    FIND_DOMAIN,
    FIRST_DOMAIN,
    FIND_USER,
    FIRST_USER_OF_DOMAIN,
    FIRST_USER,
    COUNT_USERS,
    LIST_DOMAINS,
    LIST_USERS,
    ADD_DOMAIN,
    REMOVE_DOMAIN,
    ADD_USER,
    REMOVE_USER,
};

#define USER_COLUMNS "SELECT address, domain_name, user_name, created FROM user "

// clang-format off
static const char *const statements[] = {
    [FIND_DOMAIN]          = "SELECT id FROM domain WHERE folded = ?1",
    [FIRST_DOMAIN]         = "SELECT id FROM domain ORDER BY id LIMIT 1",
    [FIND_USER]            = USER_COLUMNS "WHERE domain = ?1 AND folded = ?2",
    [FIRST_USER_OF_DOMAIN] = USER_COLUMNS "WHERE domain = ?1 ORDER BY id LIMIT 1",
    [FIRST_USER]           = USER_COLUMNS "ORDER BY id LIMIT 1",
    [COUNT_USERS]          = "SELECT count(*) FROM user WHERE domain = ?1",
    [LIST_DOMAINS]         = ("SELECT name, folded, created,"
                              " (SELECT count(*) FROM user WHERE user.domain = domain.id)"
                              " FROM domain ORDER BY id"),
    [LIST_USERS]           = USER_COLUMNS "ORDER BY id",
    [ADD_DOMAIN]           = "INSERT INTO domain (folded, name, created) VALUES (?1, ?2, ?3)",
    [REMOVE_DOMAIN]        = "DELETE FROM domain WHERE id = ?1",
    [ADD_USER]             = ("INSERT INTO user"
                              " (domain, folded, address, domain_name, user_name, created)"
                              " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
    [REMOVE_USER]          = "DELETE FROM user WHERE domain = ?1 AND folded = ?2",
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

enum { FILE_NAME_MAX = 255 };

struct directory_db {
    struct database *base;
};

bool directory_db_open(struct directory_db **db, struct str state_dir, enum database_use use,
                       struct err *err)
{
    *db = calloc(1, sizeof(**db));
    must(*db);
    if (database_open(&(*db)->base, state_dir, &schema, use, err))
        return true;
    directory_db_close(db);
    return false;
}

void directory_db_close(struct directory_db **db)
{
    if (*db)
        database_close(&(*db)->base);
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

// ---- reading

// Runs a query whose row, if there is one, is a number.
static bool read_number(struct query *q, bool *found, int64_t *number, struct err *err)
{
    *number = 0;
    bool ok = query_step(q, found, err);
    if (ok && *found)
        *number = query_number(q, 0);
    query_end(q);
    return ok;
}

static bool find_domain(struct directory_db *db, struct str folded, bool *found, int64_t *id,
                        struct err *err)
{
    struct query *q = query_begin(db->base, FIND_DOMAIN);
    query_bind(q, folded);
    return read_number(q, found, id, err);
}

// A view of the row of USER_COLUMNS.
static struct directory_user user_of_row(struct query *q)
{
    return (struct directory_user){.address = query_text(q, 0),
                                   .domain_name = query_text(q, 1),
                                   .user_name = query_text(q, 2),
                                   .created_ms = (uint64_t)query_number(q, 3)};
}

static bool copy_user(struct arena *arena, const struct directory_user *from,
                      struct directory_user *to, struct err *err)
{
    *to = *from;
    return (arena_copy(arena, from->address, &to->address) &&
            arena_copy(arena, from->domain_name, &to->domain_name) &&
            arena_copy(arena, from->user_name, &to->user_name)) ||
           err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for a look-up");
}

// Runs a query whose row, if there is one, is of USER_COLUMNS.
static bool read_user(struct query *q, struct arena *arena, bool *found,
                      struct directory_user *user, struct err *err)
{
    bool ok = query_step(q, found, err);
    if (ok && *found) {
        struct directory_user row = user_of_row(q);
        ok = copy_user(arena, &row, user, err);
    }
    query_end(q);
    return ok;
}

static bool find_user(struct directory_db *db, int64_t domain, struct str folded,
                      struct arena *arena, bool *found, struct directory_user *user,
                      struct err *err)
{
    struct query *q = query_begin(db->base, FIND_USER);
    query_bind_number(q, domain);
    query_bind(q, folded);
    return read_user(q, arena, found, user, err);
}

static bool find_first_user(struct directory_db *db, int64_t domain, struct arena *arena,
                            bool *found, struct directory_user *user, struct err *err)
{
    struct query *q = query_begin(db->base, FIRST_USER_OF_DOMAIN);
    query_bind_number(q, domain);
    if (!read_user(q, arena, found, user, err))
        return false;
    return *found || read_user(query_begin(db->base, FIRST_USER), arena, found, user, err);
}

static enum directory_verdict lookup_postmaster(struct directory_db *db, int64_t domain,
                                                struct arena *arena, struct directory_user *user,
                                                struct err *err)
{
    bool found;
    if (!find_user(db, domain, STR("postmaster"), arena, &found, user, err) ||
        (!found && !find_first_user(db, domain, arena, &found, user, err)))
        return DIRECTORY_TROUBLE;
    if (found)
        return DIRECTORY_LOCAL;
    err_set(err, ERR_TRY_LATER, STATUS(4, 2, 1),
            "mail for the postmaster cannot be kept: there is no user yet");
    return DIRECTORY_TROUBLE;
}

enum directory_verdict directory_db_lookup(struct directory_db *db, const struct address *address,
                                           struct arena *arena, struct directory_user *user,
                                           struct err *err)
{
    bool found;
    int64_t domain = 0; // no domain's id
    if (address->kind == ADDRESS_POSTMASTER) {
        if (!read_number(query_begin(db->base, FIRST_DOMAIN), &found, &domain, err))
            return DIRECTORY_TROUBLE;
        return lookup_postmaster(db, domain, arena, user, err);
    }
    if (!find_domain(db, address->folded_domain, &found, &domain, err))
        return DIRECTORY_TROUBLE;
    if (!found)
        return DIRECTORY_NOT_HOSTED;
    if (str_eq(address->folded_local, STR("postmaster")))
        return lookup_postmaster(db, domain, arena, user, err);
    if (!find_user(db, domain, address->folded_local, arena, &found, user, err))
        return DIRECTORY_TROUBLE;
    return found ? DIRECTORY_LOCAL : DIRECTORY_NO_SUCH_USER;
}

bool directory_db_find(struct directory_db *db, const struct address *address, struct arena *arena,
                       bool *found, struct directory_user *user, struct err *err)
{
    int64_t domain;
    if (!find_domain(db, address->folded_domain, found, &domain, err))
        return false;
    return !*found || find_user(db, domain, address->folded_local, arena, found, user, err);
}

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

bool directory_db_each_user(struct directory_db *db,
                            bool (*each)(void *context, const struct directory_user *user),
                            void *context, struct err *err)
{
    struct query *q = query_begin(db->base, LIST_USERS);
    bool ok, row;
    while ((ok = query_step(q, &row, err)) && row) {
        struct directory_user user = user_of_row(q);
        if (!each(context, &user))
            break;
    }
    query_end(q);
    return ok;
}

// ---- writing: the constraints of the schema hold even where two commands run at once

// The id of a hosted domain.
static bool need_domain(struct directory_db *db, const struct address *address, int64_t *id,
                        struct err *err)
{
    bool found;
    struct str name = address->domain;
    if (!find_domain(db, address->folded_domain, &found, id, err))
        return false;
    return found || err_set(err, ERR_GIVE_UP, STATUS(5, 1, 2),
                            "%.*s is not hosted here: `posthouse domain add %.*s` makes it so",
                            STR_ARG(name), STR_ARG(name));
}

bool directory_db_add_domain(struct directory_db *db, struct str name, struct str folded,
                             struct err *err)
{
    bool found;
    int64_t id;
    if (!find_domain(db, folded, &found, &id, err))
        return false;
    if (found)
        return err_set(err, ERR_GIVE_UP, STATUS(5, 0, 0), "%.*s is hosted already", STR_ARG(name));
    struct query *q = query_begin(db->base, ADD_DOMAIN);
    query_bind(q, folded);
    query_bind(q, name);
    query_bind_number(q, (int64_t)os_wall_ms());
    return query_run(q, err);
}

bool directory_db_remove_domain(struct directory_db *db, struct str name, struct str folded,
                                struct err *err)
{
    bool found;
    int64_t id, users = 0;
    if (!find_domain(db, folded, &found, &id, err))
        return false;
    if (!found)
        return err_set(err, ERR_GIVE_UP, STATUS(5, 1, 2), "%.*s is not hosted here", STR_ARG(name));
    struct query *q = query_begin(db->base, COUNT_USERS);
    query_bind_number(q, id);
    if (!read_number(q, &found, &users, err))
        return false;
    if (users)
        return err_set(err, ERR_GIVE_UP, STATUS(5, 0, 0),
                       "%.*s has %lld user%s: `posthouse user remove` them first", STR_ARG(name),
                       (long long)users, users == 1 ? "" : "s");
    q = query_begin(db->base, REMOVE_DOMAIN);
    query_bind_number(q, id);
    return query_run(q, err);
}

static bool insert_user(struct directory_db *db, int64_t domain, const struct address *address,
                        struct err *err)
{
    struct buf written, domain_name, user_name;
    buf_init(&written, 2 * LIMIT_address); // quoting doubles at most
    buf_init(&domain_name, FILE_NAME_MAX);
    buf_init(&user_name, FILE_NAME_MAX);
    address_put(&written, address);
    address_put_file_name(&domain_name, address->folded_domain);
    address_put_file_name(&user_name, address->folded_local);
    must(buf_ok(&written) && buf_ok(&domain_name) && buf_ok(&user_name));

    struct query *q = query_begin(db->base, ADD_USER);
    query_bind_number(q, domain);
    query_bind(q, address->folded_local);
    query_bind(q, buf_str(&written));
    query_bind(q, buf_str(&domain_name));
    query_bind(q, buf_str(&user_name));
    query_bind_number(q, (int64_t)os_wall_ms());
    bool ok = query_run(q, err);
    buf_finish(&written);
    buf_finish(&domain_name);
    buf_finish(&user_name);
    return ok;
}

// Does the domain have a user of this name? For messages, and so that a change names its reason.
static bool has_user(struct directory_db *db, int64_t domain, struct str folded, bool *found,
                     struct err *err)
{
    struct query *q = query_begin(db->base, FIND_USER);
    query_bind_number(q, domain);
    query_bind(q, folded);
    bool ok = query_step(q, found, err);
    query_end(q);
    return ok;
}

static bool refuse_user(const struct address *address, const char *why, struct err *err)
{
    struct buf written;
    buf_init(&written, 2 * LIMIT_address);
    address_put(&written, address);
    err_set(err, ERR_GIVE_UP, STATUS(5, 1, 1), "%.*s %s", STR_ARG(buf_str(&written)), why);
    buf_finish(&written);
    return false;
}

bool directory_db_add_user(struct directory_db *db, const struct address *address, struct err *err)
{
    bool found;
    int64_t domain;
    if (!need_domain(db, address, &domain, err) ||
        !has_user(db, domain, address->folded_local, &found, err))
        return false;
    return found ? refuse_user(address, "is there already", err)
                 : insert_user(db, domain, address, err);
}

bool directory_db_remove_user(struct directory_db *db, const struct address *address,
                              struct err *err)
{
    bool found;
    int64_t domain;
    if (!need_domain(db, address, &domain, err) ||
        !has_user(db, domain, address->folded_local, &found, err))
        return false;
    if (!found)
        return refuse_user(address, "is not a user here", err);
    struct query *q = query_begin(db->base, REMOVE_USER);
    query_bind_number(q, domain);
    query_bind(q, address->folded_local);
    return query_run(q, err);
}
