#include "store/directory_private.h"

// More rows than a way within the limits has: each level of it at most so many addresses.
enum { REACH_MAX = (LIMIT_alias_depth + 2) * LIMIT_alias_targets };

static struct query *begin_reach(struct directory_db *db, enum directory_statement statement,
                                 int64_t domain, struct str folded)
{
    struct query *q = query_begin(db->base, statement);
    query_bind_number(q, domain);
    query_bind(q, folded);
    query_bind_number(q, LIMIT_alias_depth);
    query_bind_number(q, REACH_MAX);
    return q;
}

bool directory_measure(struct directory_db *db, int64_t domain, struct str folded, struct str name,
                       bool *ok, struct err *err)
{
    struct query *q = begin_reach(db, MEASURE, domain, folded);
    bool row = false;
    if (!query_step(q, &row, err)) {
        query_end(q);
        return false;
    }
    must(row);
    bool deep = query_number(q, 0) > LIMIT_alias_depth;
    bool many = query_number(q, 1) >= REACH_MAX || query_number(q, 2) > LIMIT_alias_targets;
    bool none = query_number(q, 2) == 0;
    bool round = query_number(q, 3) != 0;
    query_end(q);
    *ok = !deep && !many && !none;
    if (round)
        err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5), "%.*s would lead back to itself", STR_ARG(name));
    else if (deep)
        err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5), "%.*s would lead through more than %d aliases",
                STR_ARG(name), LIMIT_alias_depth);
    else if (many)
        err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5), "%.*s would have more than %d mailboxes",
                STR_ARG(name), LIMIT_alias_targets);
    else if (none)
        err_set(err, ERR_GIVE_UP, STATUS(4, 3, 5), "%.*s leads to no mailbox", STR_ARG(name));
    return true;
}

// ---- one address

struct search {
    struct directory_db *db;
    const struct directory_question *question;
    struct arena *arena;
    struct directory_found *found;
    struct err *err;
    bool matched;
    enum directory_verdict verdict;
};

static bool match(struct search *s, enum directory_verdict verdict)
{
    s->matched = true;
    s->verdict = verdict;
    return true;
}

// A user of this name, or for the first question an alias.
static bool try_name(struct search *s, struct str folded)
{
    struct directory_found *found = s->found;
    bool is_user;
    enum alias_kind kind;
    int64_t unused;
    found->folded = folded;
    if (!directory_find_user(s->db, found->domain, folded, s->arena, &is_user, &found->user,
                             s->err))
        return false;
    if (is_user && (s->question->final || (!found->user.moved.len && !found->user.aliased)))
        return match(s, DIRECTORY_LOCAL);
    if (is_user)
        return match(s, found->user.aliased     ? DIRECTORY_ALIAS
                        : found->user.forwarded ? DIRECTORY_FORWARDED
                                                : DIRECTORY_MOVED);
    if (s->question->final)
        return true;
    if (!directory_find_alias(s->db, found->domain, folded, &unused, &kind, s->err))
        return false;
    return kind == ALIAS_NONE || match(s, DIRECTORY_ALIAS);
}

// RFC 5321 section 4.5.1: there is always somebody.
static bool find_first_user(struct search *s)
{
    struct directory_found *found = s->found;
    bool is_user;
    struct query *q = query_begin(s->db->base, FIRST_USER_OF_DOMAIN);
    query_bind_number(q, found->domain);
    if (!directory_read_user(q, s->arena, &is_user, &found->user, s->err) ||
        (!is_user && !directory_read_user(query_begin(s->db->base, FIRST_USER), s->arena, &is_user,
                                          &found->user, s->err)))
        return false;
    if (is_user)
        return match(s, DIRECTORY_LOCAL);
    return err_set(s->err, ERR_TRY_LATER, STATUS(4, 2, 1),
                   "mail for the postmaster cannot be kept: there is no user yet");
}

// What stands before the first separator; empty: there is none.
static struct str without_detail(struct str folded, struct str separator)
{
    size_t at = separator.len ? str_find(folded, separator) : folded.len;
    return at < folded.len ? str_sub(folded, 0, at) : STR("");
}

static bool search(struct search *s, struct str folded)
{
    struct str stem = without_detail(folded, s->question->detail_separator);
    bool postmaster = str_eq(folded, STR("postmaster")) || str_eq(stem, STR("postmaster"));
    if (!try_name(s, folded))
        return false;
    if (!s->matched && stem.len && !try_name(s, stem))
        return false;
    if (!s->matched && postmaster)
        return find_first_user(s);
    return s->matched || s->question->final || try_name(s, STR(""));
}

static bool find_domain_of(struct search *s, const struct address *address, bool *hosted)
{
    if (address->kind != ADDRESS_POSTMASTER)
        return directory_find_domain(s->db, address->folded_domain, hosted, &s->found->domain,
                                     s->err);
    *hosted = true; // the bare postmaster's domain is the first
    bool any;
    return directory_read_number(query_begin(s->db->base, FIRST_DOMAIN), &any, &s->found->domain,
                                 s->err);
}

enum directory_verdict directory_db_lookup(struct directory_db *db,
                                           const struct directory_question *question,
                                           struct arena *arena, struct directory_found *found,
                                           struct err *err)
{
    const struct address *address = question->address;
    struct search s = {.db = db,
                       .question = question,
                       .arena = arena,
                       .found = found,
                       .err = err,
                       .verdict = DIRECTORY_NO_SUCH_USER};
    bool hosted, ends = true;
    *found = (struct directory_found){.domain = 0};
    if (!find_domain_of(&s, address, &hosted))
        return DIRECTORY_TROUBLE;
    if (!hosted)
        return DIRECTORY_NOT_HOSTED;
    if (!search(&s, address->folded_local))
        return DIRECTORY_TROUBLE;
    if ((s.verdict == DIRECTORY_ALIAS || s.verdict == DIRECTORY_FORWARDED) &&
        !directory_measure(db, found->domain, found->folded, address->local, &ends, err))
        return DIRECTORY_TROUBLE;
    return ends ? s.verdict : DIRECTORY_LOOP;
}

bool directory_db_expand(struct directory_db *db, const struct directory_found *found,
                         int64_t after,
                         bool (*each)(void *context, const struct directory_user *user),
                         void *context, struct err *err)
{
    struct query *q = begin_reach(db, EXPAND, found->domain, found->folded);
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

bool directory_db_generation(struct directory_db *db, uint64_t *generation, struct err *err)
{
    bool found;
    int64_t number;
    bool ok = directory_read_number(query_begin(db->base, DATA_VERSION), &found, &number, err);
    *generation = (uint64_t)number;
    return ok;
}
