#include "store/directory_private.h"

#include "os/clock.h"

// One entry of a domain that a change is about.
struct entry {
    const struct address *address;
    int64_t domain;
    bool is_user;
    int64_t alias; // its row, where `kind` is not ALIAS_NONE
    enum alias_kind kind;
};

bool directory_find_alias(struct directory_db *db, int64_t domain, struct str folded, int64_t *id,
                          enum alias_kind *kind, struct err *err)
{
    bool found;
    struct query *q = query_begin(db->base, FIND_ALIAS);
    query_bind_number(q, domain);
    query_bind(q, folded);
    bool ok = query_step(q, &found, err);
    *id = ok && found ? query_number(q, 0) : 0;
    *kind = ok && found ? (enum alias_kind)query_number(q, 1) : ALIAS_NONE;
    query_end(q);
    return ok;
}

static bool find_entry(struct directory_db *db, const struct address *address, int64_t domain,
                       struct entry *entry, struct err *err)
{
    struct directory_user user;
    *entry = (struct entry){.address = address, .domain = domain};
    arena_reset(&db->memory);
    return directory_find_user(db, domain, address->folded_local, &db->memory, &entry->is_user,
                               &user, err) &&
           directory_find_alias(db, domain, address->folded_local, &entry->alias, &entry->kind,
                                err);
}

// The aliases are a domain's own.
static bool need_alias_entry(struct directory_db *db, const struct address *address,
                             struct entry *entry, struct err *err)
{
    int64_t domain;
    if (!directory_need_domain(db, address, &domain, err) ||
        !find_entry(db, address, domain, entry, err))
        return false;
    return entry->kind != ALIAS_FORWARDING ||
           directory_refuse(address, "has moved: `posthouse user moved --none` first", err);
}

// Can mail for this address of a domain of this host go anywhere?
static bool need_target(struct directory_db *db, const struct address *address, int64_t domain,
                        struct err *err)
{
    struct directory_user user = {.locked = false};
    struct entry target;
    bool found;
    if (!find_entry(db, address, domain, &target, err))
        return false;
    if (!target.is_user && target.kind == ALIAS_NONE)
        return directory_refuse(address, "is neither a user nor an alias here", err);
    if (!target.is_user || target.kind == ALIAS_FORWARDING)
        return true;
    if (!directory_find_user(db, domain, address->folded_local, &db->memory, &found, &user, err))
        return false;
    return !user.moved.len || directory_refuse(address, "has moved", err);
}

bool directory_need_unnamed(struct directory_db *db, int64_t domain, const struct address *address,
                            struct err *err)
{
    bool row;
    struct buf text;
    struct query *q = query_begin(db->base, POINTING_AT);
    query_bind_number(q, domain);
    query_bind(q, address->folded_local);
    bool ok = query_step(q, &row, err);
    if (ok && row) {
        struct str by = query_text(q, 0);
        bool forwarding = query_number(q, 1) == ALIAS_FORWARDING;
        buf_init(&text, 4 * LIMIT_address);
        buf_putf(&text,
                 forwarding ? "is where %.*s moved to: `posthouse user moved %.*s --none` first"
                            : "is a target of the alias %.*s: `posthouse alias remove %.*s` it "
                              "there first",
                 STR_ARG(by), STR_ARG(by));
        buf_put_byte(&text, '\0');
        ok = directory_refuse(address, text.ptr, err);
        buf_finish(&text);
    }
    query_end(q);
    return ok;
}

static bool run_on_alias(struct directory_db *db, enum directory_statement statement, int64_t alias,
                         struct err *err)
{
    struct query *q = query_begin(db->base, statement);
    query_bind_number(q, alias);
    return query_run(q, err);
}

static bool remove_alias(struct directory_db *db, int64_t alias, struct err *err)
{
    return run_on_alias(db, REMOVE_TARGETS, alias, err) &&
           run_on_alias(db, REMOVE_REMOTES, alias, err) &&
           run_on_alias(db, REMOVE_ALIAS, alias, err);
}

static bool set_kind(struct directory_db *db, struct entry *entry, enum alias_kind kind,
                     struct err *err)
{
    struct query *q = query_begin(db->base, SET_ALIAS_KIND);
    query_bind_number(q, entry->alias);
    query_bind_number(q, kind);
    entry->kind = kind;
    return query_run(q, err);
}

static bool add_row(struct directory_db *db, struct entry *entry, enum alias_kind kind,
                    struct err *err)
{
    struct buf written;
    buf_init(&written, 2 * LIMIT_address);
    directory_put_address(&written, entry->address);
    struct query *q = query_begin(db->base, ADD_ALIAS);
    query_bind_number(q, entry->domain);
    query_bind(q, entry->address->folded_local);
    query_bind(q, buf_str(&written));
    query_bind_number(q, kind);
    query_bind_number(q, (int64_t)os_wall_ms());
    bool ok = query_run(q, err);
    buf_finish(&written);
    return ok && directory_find_alias(db, entry->domain, entry->address->folded_local,
                                      &entry->alias, &entry->kind, err);
}

// A statement about one target of an alias: of this host, or of another.
static struct query *begin_on_target(struct directory_db *db, enum directory_statement here,
                                     enum directory_statement elsewhere, int64_t alias,
                                     const struct address *target, bool hosted, int64_t domain)
{
    struct query *q = query_begin(db->base, hosted ? here : elsewhere);
    query_bind_number(q, alias);
    if (hosted)
        query_bind_number(q, domain);
    else
        query_bind(q, target->folded_domain);
    query_bind(q, target->folded_local);
    return q;
}

static bool add_target(struct directory_db *db, struct entry *entry, const struct address *address,
                       struct err *err)
{
    struct buf written;
    bool hosted;
    int64_t domain;
    if (address_equal(address, entry->address)) {
        if (!entry->is_user)
            return directory_refuse(address, "names itself, and is not a user", err);
        return set_kind(db, entry, ALIAS_AND_MAILBOX, err);
    }
    if (!directory_find_domain(db, address->folded_domain, &hosted, &domain, err) ||
        (hosted && !need_target(db, address, domain, err)))
        return false;
    buf_init(&written, 2 * LIMIT_address);
    address_put(&written, address);
    struct query *q =
        begin_on_target(db, ADD_TARGET, ADD_REMOTE, entry->alias, address, hosted, domain);
    query_bind(q, buf_str(&written));
    bool ok = query_run(q, err);
    buf_finish(&written);
    return ok;
}

// Every alias on whose way this entry lies must end somewhere.
static bool check_above(struct directory_db *db, const struct entry *entry, struct err *err)
{
    struct query *q = query_begin(db->base, ABOVE);
    query_bind_number(q, entry->domain);
    query_bind(q, entry->address->folded_local);
    bool ok, row, ends = true;
    while ((ok = query_step(q, &row, err)) && row && ends)
        ok = directory_measure(db, query_number(q, 0), query_text(q, 1), query_text(q, 2), &ends,
                               err);
    query_end(q);
    return ok && ends;
}

bool directory_forward(struct directory_db *db, int64_t domain, const struct address *address,
                       const struct address *to, struct err *err)
{
    struct entry entry;
    if (!find_entry(db, address, domain, &entry, err))
        return false;
    if (entry.kind == ALIAS_FORWARDING && !remove_alias(db, entry.alias, err))
        return false;
    return !to || (add_row(db, &entry, ALIAS_FORWARDING, err) && add_target(db, &entry, to, err) &&
                   check_above(db, &entry, err));
}

// ---- the administrator's changes

static bool add_alias(struct directory_db *db, const struct address *address,
                      const struct address *targets, size_t count, struct err *err)
{
    struct entry entry;
    if (!need_alias_entry(db, address, &entry, err))
        return false;
    if (entry.kind == ALIAS_NONE && !add_row(db, &entry, ALIAS_OTHERS, err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!add_target(db, &entry, &targets[i], err))
            return false;
    if (entry.is_user && entry.kind != ALIAS_AND_MAILBOX)
        return directory_refuse(address,
                                "is a user: the alias must name this address as a target too, so "
                                "that the mailbox has its copy",
                                err);
    return check_above(db, &entry, err);
}

bool directory_db_add_alias(struct directory_db *db, const struct address *address,
                            const struct address *targets, size_t count, struct err *err)
{
    bool ok = directory_db_begin(db, err) && add_alias(db, address, targets, count, err) &&
              directory_db_commit(db, err);
    if (!ok)
        directory_db_rollback(db);
    return ok;
}

static bool remove_target(struct directory_db *db, struct entry *entry,
                          const struct address *target, struct err *err)
{
    bool hosted, found = false;
    int64_t domain;
    if (address_equal(target, entry->address) && entry->kind == ALIAS_AND_MAILBOX)
        return set_kind(db, entry, ALIAS_OTHERS, err);
    if (!directory_find_domain(db, target->folded_domain, &hosted, &domain, err))
        return false;
    struct query *q =
        begin_on_target(db, REMOVE_TARGET, REMOVE_REMOTE, entry->alias, target, hosted, domain);
    bool ok = query_step(q, &found, err);
    query_end(q);
    return ok && (found || directory_refuse(target, "is not a target of this alias", err));
}

// *gone: the alias has no target any more, and is removed itself.
static bool remove_targets(struct directory_db *db, const struct address *address,
                           const struct address *targets, size_t count, bool *gone, struct err *err)
{
    struct entry entry;
    bool found;
    int64_t left = 0;
    if (!need_alias_entry(db, address, &entry, err))
        return false;
    if (entry.kind == ALIAS_NONE)
        return directory_refuse(address, "is not an alias", err);
    for (size_t i = 0; i < count; i++)
        if (!remove_target(db, &entry, &targets[i], err))
            return false;
    struct query *q = query_begin(db->base, COUNT_TARGETS);
    query_bind_number(q, entry.alias);
    if (!directory_read_number(q, &found, &left, err))
        return false;
    *gone = count == 0 || left == 0; // one that names only itself is a user
    if (*gone)
        return (entry.is_user || directory_need_unnamed(db, entry.domain, address, err)) &&
               remove_alias(db, entry.alias, err);
    return !entry.is_user || entry.kind == ALIAS_AND_MAILBOX ||
           directory_refuse(address,
                            "is a user: while the alias has other targets, it must name "
                            "this one too",
                            err);
}

bool directory_db_remove_alias(struct directory_db *db, const struct address *address,
                               const struct address *targets, size_t count, bool *gone,
                               struct err *err)
{
    bool ok = directory_db_begin(db, err) &&
              remove_targets(db, address, targets, count, gone, err) &&
              directory_db_commit(db, err);
    if (!ok)
        directory_db_rollback(db);
    return ok;
}

bool directory_db_each_target(struct directory_db *db,
                              bool (*each)(void *context, const struct directory_target *target),
                              void *context, struct err *err)
{
    struct query *q = query_begin(db->base, LIST_ALIASES);
    bool ok, row;
    while ((ok = query_step(q, &row, err)) && row) {
        struct directory_target target = {.alias_number = query_number(q, 0),
                                          .alias = query_text(q, 2),
                                          .target = query_text(q, 3),
                                          .created_ms = (uint64_t)query_number(q, 4)};
        if (!each(context, &target))
            break;
    }
    query_end(q);
    return ok;
}
