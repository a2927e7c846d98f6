#include "store/directory_private.h"

#include "os/clock.h"

enum { FILE_NAME_MAX = 255 };

struct directory_user directory_user_of_row(struct query *q)
{
    int64_t kind = query_number(q, 6);
    return (struct directory_user){.number = query_number(q, 8),
                                   .quota = query_number(q, 7),
                                   .address = query_text(q, 0),
                                   .domain_name = query_text(q, 1),
                                   .user_name = query_text(q, 2),
                                   .created_ms = (uint64_t)query_number(q, 3),
                                   .locked = query_number(q, 4) != 0,
                                   .moved = query_text(q, 5),
                                   .forwarded = kind == ALIAS_FORWARDING,
                                   .aliased = kind == ALIAS_AND_MAILBOX};
}

static bool copy_user(struct arena *arena, const struct directory_user *from,
                      struct directory_user *to, struct err *err)
{
    *to = *from;
    return (arena_copy(arena, from->address, &to->address) &&
            arena_copy(arena, from->domain_name, &to->domain_name) &&
            arena_copy(arena, from->user_name, &to->user_name) &&
            arena_copy(arena, from->moved, &to->moved)) ||
           err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no memory for a look-up");
}

bool directory_read_user(struct query *q, struct arena *arena, bool *found,
                         struct directory_user *user, struct err *err)
{
    bool ok = query_step(q, found, err);
    if (ok && *found) {
        struct directory_user row = directory_user_of_row(q);
        ok = copy_user(arena, &row, user, err);
    }
    query_end(q);
    return ok;
}

bool directory_find_user(struct directory_db *db, int64_t domain, struct str folded,
                         struct arena *arena, bool *found, struct directory_user *user,
                         struct err *err)
{
    struct query *q = query_begin(db->base, FIND_USER);
    query_bind_number(q, domain);
    query_bind(q, folded);
    return directory_read_user(q, arena, found, user, err);
}

bool directory_db_find(struct directory_db *db, const struct address *address, struct arena *arena,
                       bool *found, struct directory_user *user, struct err *err)
{
    int64_t domain;
    if (!directory_find_domain(db, address->folded_domain, found, &domain, err))
        return false;
    return !*found ||
           directory_find_user(db, domain, address->folded_local, arena, found, user, err);
}

bool directory_db_each_user(struct directory_db *db, int64_t after,
                            bool (*each)(void *context, const struct directory_user *user),
                            void *context, struct err *err)
{
    struct query *q = query_begin(db->base, LIST_USERS);
    query_bind_number(q, after);
    bool ok, row;
    while ((ok = query_step(q, &row, err)) && row) {
        struct directory_user user = directory_user_of_row(q);
        if (!each(context, &user))
            break;
    }
    query_end(q);
    return ok;
}

bool directory_db_has_quotas(struct directory_db *db, bool *any, struct err *err)
{
    bool found;
    int64_t number;
    bool ok = directory_read_number(query_begin(db->base, HAS_QUOTAS), &found, &number, err);
    *any = number != 0;
    return ok;
}

// ---- writing

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

bool directory_db_add_user(struct directory_db *db, const struct address *address, struct err *err)
{
    struct directory_user user;
    enum alias_kind kind;
    bool found;
    int64_t domain, alias;
    arena_reset(&db->memory);
    if (!directory_need_domain(db, address, &domain, err) ||
        !directory_find_user(db, domain, address->folded_local, &db->memory, &found, &user, err))
        return false;
    if (!address->folded_local.len)
        return directory_refuse(address, "has no name before the @", err);
    if (found)
        return directory_refuse(address, "is there already", err);
    if (!directory_find_alias(db, domain, address->folded_local, &alias, &kind, err))
        return false;
    if (kind != ALIAS_NONE)
        return directory_refuse(address, "is an alias: `posthouse alias remove` it first", err);
    return insert_user(db, domain, address, err);
}

// The user whom a change is about.
static bool need_user(struct directory_db *db, const struct address *address, int64_t *domain,
                      struct directory_user *user, struct err *err)
{
    bool found;
    arena_reset(&db->memory);
    if (!directory_need_domain(db, address, domain, err) ||
        !directory_find_user(db, *domain, address->folded_local, &db->memory, &found, user, err))
        return false;
    return found || directory_refuse(address, "is not a user here", err);
}

static bool need_no_alias(const struct address *address, const struct directory_user *user,
                          struct err *err)
{
    return !user->aliased ||
           directory_refuse(address, "is an alias too: `posthouse alias remove` it first", err);
}

static bool remove_user(struct directory_db *db, const struct address *address, struct err *err)
{
    struct directory_user user;
    int64_t domain;
    if (!need_user(db, address, &domain, &user, err) || !need_no_alias(address, &user, err) ||
        !directory_need_unnamed(db, domain, address, err) ||
        !directory_forward(db, domain, address, NULL, err))
        return false;
    struct query *q = query_begin(db->base, REMOVE_USER);
    query_bind_number(q, domain);
    query_bind(q, address->folded_local);
    return query_run(q, err);
}

bool directory_db_remove_user(struct directory_db *db, const struct address *address,
                              struct err *err)
{
    bool ok = directory_db_begin(db, err) && remove_user(db, address, err) &&
              directory_db_commit(db, err);
    if (!ok)
        directory_db_rollback(db);
    return ok;
}

static bool set_number(struct directory_db *db, enum directory_statement statement,
                       const struct address *address, int64_t number, struct err *err)
{
    struct directory_user user;
    int64_t domain;
    if (!need_user(db, address, &domain, &user, err))
        return false;
    struct query *q = query_begin(db->base, statement);
    query_bind_number(q, domain);
    query_bind(q, address->folded_local);
    query_bind_number(q, number);
    return query_run(q, err);
}

bool directory_db_lock_user(struct directory_db *db, const struct address *address, bool locked,
                            struct err *err)
{
    return set_number(db, LOCK_USER, address, locked, err);
}

bool directory_db_set_quota(struct directory_db *db, const struct address *address, int64_t quota,
                            struct err *err)
{
    return set_number(db, SET_QUOTA, address, quota, err);
}

static bool move_user(struct directory_db *db, const struct address *address,
                      const struct address *to, bool forward, struct err *err)
{
    struct directory_user user;
    struct buf written;
    int64_t domain;
    if (!need_user(db, address, &domain, &user, err) || !need_no_alias(address, &user, err))
        return false;
    if (to && address_equal(address, to))
        return directory_refuse(address, "cannot move to itself", err);
    // Mail that an alias sends to somebody who is gone would have no place.
    if (to && !forward && !directory_need_unnamed(db, domain, address, err))
        return false;
    if (!directory_forward(db, domain, address, forward ? to : NULL, err))
        return false;
    buf_init(&written, 2 * LIMIT_address);
    if (to)
        address_put(&written, to);
    struct query *q = query_begin(db->base, MOVE_USER);
    query_bind_number(q, domain);
    query_bind(q, address->folded_local);
    query_bind(q, buf_str(&written));
    bool ok = query_run(q, err);
    buf_finish(&written);
    return ok;
}

bool directory_db_move_user(struct directory_db *db, const struct address *address,
                            const struct address *to, bool forward, struct err *err)
{
    bool ok = directory_db_begin(db, err) && move_user(db, address, to, forward, err) &&
              directory_db_commit(db, err);
    if (!ok)
        directory_db_rollback(db);
    return ok;
}
