// What mailboxes hold. Postman and reader tell differences; a count begins what is not known, and
// at night puts right what went past us: a user's own programs, a crash. The postman counts, one
// mailbox at a time, and the differences that come meanwhile are neither lost nor added twice:
//
// 1. What the postman told before its answer is in the answer (ipc/messages.def), and its channel
//    keeps their order: the answer takes the place of all that was known, what comes behind it is
//    added.
// 2. Of a removal that the reader tells between our question to the postman and the end, nobody
//    knows whether the postman still saw the letter: the mailbox is counted again.
// 3. A removal may have happened before the postman looked, and its word still be on the way. So
// the
//    count ends only when the reader has answered `settle`: then all such words have been heard.
#include "roles/directory.h"

#include "os/clock.h"

enum {
    TICK_MS = 2000,
    STEP_MS = 10,    // between two mailboxes
    LATER_MS = 1000, // while the postman is away
    STEP_USERS = 64,
    MINUTE_MS = 60000,
    DAY_MS = 86400000,
};

// Says once what is wrong, until all is well again (tick).
static bool noted(struct directory *d, bool ok, const struct err *err)
{
    if (!ok && !d->accounts.troubled)
        log_line(LOG_ERROR, "%s; mail is taken without regard to quotas meanwhile", err->text);
    d->accounts.troubled |= !ok;
    return ok;
}

// ---- room

bool accounts_full(struct directory *d, const struct directory_user *user, uint64_t size)
{
    uint64_t quota = directory_quota(user, d->role->conf->limits.quota);
    struct usage usage;
    struct err err;
    bool known;
    if (quota == 0)
        return false;
    directory_put_mailbox(d, user);
    if (!noted(d, usage_db_find(d->accounts.db, buf_str(&d->mailbox), &known, &usage, &err), &err))
        return false;
    return known && ((uint64_t)usage.octets >= quota || size > quota - (uint64_t)usage.octets);
}

// ---- differences

static bool is_under_way(const struct accounts *a, struct str mailbox)
{
    return a->asked && str_eq(mailbox, buf_str(&a->mailbox));
}

static struct usage usage_of(uint64_t octets, uint64_t letters)
{
    return (struct usage){(int64_t)(octets < USAGE_MOST ? octets : USAGE_MOST),
                          (int64_t)(letters < USAGE_MOST ? letters : USAGE_MOST)};
}

void accounts_on_used(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct directory *d = role->state;
    struct accounts *a = &d->accounts;
    struct usage by = usage_of(m->used.octets, m->used.letters);
    struct err err;
    (void)owner;
    (void)noted(d, usage_db_change(a->db, m->used.mailbox, by, &err), &err);
    if (a->counted && is_under_way(a, m->used.mailbox)) {
        a->result.octets += by.octets;
        a->result.letters += by.letters;
    }
}

void accounts_on_freed(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct directory *d = role->state;
    struct usage by = usage_of(m->freed.octets, m->freed.letters);
    struct err err;
    (void)owner;
    by = (struct usage){-by.octets, -by.letters};
    (void)noted(d, usage_db_change(d->accounts.db, m->freed.mailbox, by, &err), &err);
    d->accounts.spoiled |= is_under_way(&d->accounts, m->freed.mailbox);
}

// ---- a count

static void go_on(struct directory *d, uint64_t ms)
{
    if (!d->accounts.asked)
        loop_set_timer(d->role->loop, &d->accounts.step, ms);
}

static void ask_postman(struct directory *d, struct ipc_channel *postman)
{
    struct accounts *a = &d->accounts;
    struct msg m = {.type = MSG_count};
    m.count.mailbox = buf_str(&a->mailbox);
    a->counted = a->spoiled = false;
    a->asked = ipc_request(postman, &m, d);
    go_on(d, LATER_MS); // unless it was asked
}

static void end_count(struct directory *d)
{
    struct accounts *a = &d->accounts;
    struct err err;
    a->asked = false;
    if (!a->spoiled) {
        (void)noted(d, usage_db_set(a->db, buf_str(&a->mailbox), a->result, &err), &err);
        buf_clear(&a->mailbox);
    }
    go_on(d, STEP_MS);
}

void accounts_on_counted(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct directory *d = role->state;
    struct accounts *a = &d->accounts;
    struct ipc_channel *reader = role_peer(role, IPC_READER);
    struct msg settle = {.type = MSG_settle};
    (void)owner;
    a->counted = m->counted.ok;
    if (!m->counted.ok) { // the postman has said why; the next night it is tried again
        a->asked = false;
        buf_clear(&a->mailbox);
        go_on(d, STEP_MS);
        return;
    }
    a->result = usage_of(m->counted.octets, m->counted.letters);
    if (!reader || !ipc_request(reader, &settle, d))
        end_count(d);
}

void accounts_on_settled(struct ipc_channel *channel, struct msg *m, void *owner)
{
    (void)channel;
    (void)m;
    end_count(owner);
}

void accounts_lost(struct directory *d, enum ipc_type request)
{
    if (request == MSG_settle) {
        end_count(d);
        return;
    }
    d->accounts.asked = false;
    go_on(d, LATER_MS);
}

// ---- which mailboxes

struct search {
    struct directory *d;
    unsigned seen; // users
    bool found;    // its mailbox is in accounts.mailbox
};

static bool consider(void *context, const struct directory_user *user)
{
    struct search *search = context;
    struct directory *d = search->d;
    struct accounts *a = &d->accounts;
    struct usage unused;
    struct err err;
    bool known = false;
    a->after = user->number;
    search->seen++;
    if (directory_quota(user, d->role->conf->limits.quota) > 0) {
        directory_put_mailbox(d, user);
        struct str mailbox = buf_str(&d->mailbox);
        search->found =
            a->walking_all ||
            (noted(d, usage_db_find(a->db, mailbox, &known, &unused, &err), &err) && !known);
        if (search->found)
            buf_put(&a->mailbox, mailbox);
    }
    return !search->found && search->seen < STEP_USERS;
}

static bool begin_walk(struct accounts *a)
{
    if (!a->walking && (a->want_all || a->want_unknown)) {
        a->walking = true;
        a->walking_all = a->want_all;
        a->after = 0;
        a->want_unknown = a->want_all = false;
    }
    a->walking = a->walking && a->in_force;
    return a->walking;
}

static void take_step(struct timer *timer)
{
    struct directory *d = CONTAINER_OF(timer, struct directory, accounts.step);
    struct accounts *a = &d->accounts;
    struct ipc_channel *postman = role_peer(d->role, IPC_POSTMAN);
    struct search search = {.d = d, .found = a->mailbox.len > 0};
    struct err err;
    if (!search.found && !begin_walk(a))
        return;
    if (!search.found &&
        !noted(d, directory_db_each_user(d->db, a->after, consider, &search, &err), &err)) {
        go_on(d, LATER_MS);
    } else if (!search.found) {
        a->walking = search.seen == STEP_USERS;
        go_on(d, STEP_MS);
    } else if (!postman) {
        go_on(d, LATER_MS);
    } else {
        ask_postman(d, postman);
    }
}

void accounts_recount(struct directory *d)
{
    d->accounts.want_all = true;
    d->accounts.walking = false;
    go_on(d, 0);
}

// ---- now and then

static void tell_postman(struct role *role, struct ipc_channel *channel)
{
    const struct directory *d = role->state;
    struct msg m = {.type = MSG_account};
    m.account.wanted = d->accounts.in_force;
    ipc_send(channel, &m);
}

void accounts_peer(struct role *role, struct ipc_channel *channel)
{
    if (ipc_peer(channel) == IPC_POSTMAN)
        tell_postman(role, channel);
}

// A change in the directory may be a new quota, or a new user who has one.
static bool look_for_quotas(struct directory *d, struct err *err)
{
    struct accounts *a = &d->accounts;
    uint64_t generation;
    bool any;
    if (!directory_db_generation(d->db, &generation, err))
        return false;
    if (generation == a->generation)
        return true;
    if (!directory_db_has_quotas(d->db, &any, err))
        return false;
    bool in_force = any || d->role->conf->limits.quota > 0;
    // While nobody has a quota nothing is told: what was known is not true any more.
    if (!in_force && !usage_db_clear(a->db, err))
        return false;
    if (in_force != a->in_force) {
        a->in_force = in_force;
        role_each_peer(d->role, IPC_POSTMAN, tell_postman);
    }
    a->generation = generation;
    a->want_unknown = in_force;
    go_on(d, 0);
    return true;
}

static uint64_t next_night(uint64_t minutes)
{
    uint64_t now = os_wall_ms();
    uint64_t local = now + (uint64_t)((int64_t)os_zone_minutes(now) * MINUTE_MS);
    uint64_t at = local - local % DAY_MS + minutes * MINUTE_MS;
    return now + (at > local ? at - local : at + DAY_MS - local);
}

static void tick(struct timer *timer)
{
    struct directory *d = CONTAINER_OF(timer, struct directory, accounts.tick);
    struct accounts *a = &d->accounts;
    struct err err;
    if (noted(d, usage_db_write(a->db, &err) && look_for_quotas(d, &err), &err))
        a->troubled = false;
    if (a->draining) {
        role_drained(d->role);
        return;
    }
    if (os_wall_ms() >= a->night_ms) {
        a->night_ms = next_night(d->role->conf->quota_count);
        accounts_recount(d);
    }
    loop_set_timer(d->role->loop, timer, TICK_MS);
}

// ---- the role

bool accounts_open(struct directory *d, struct err *err)
{
    struct accounts *a = &d->accounts;
    a->generation = UINT64_MAX;
    a->tick.fire = tick;
    a->step.fire = take_step;
    buf_init(&a->mailbox, d->mailbox.limit);
    return usage_db_open(&a->db, d->role->conf->state_dir, DATABASE_WRITE, err);
}

void accounts_begin(struct directory *d)
{
    d->accounts.night_ms = next_night(d->role->conf->quota_count);
    tick(&d->accounts.tick);
}

// What is on its way from postman and reader now is read in this turn, before the timer.
void accounts_drain(struct directory *d)
{
    d->accounts.draining = true;
    loop_set_timer(d->role->loop, &d->accounts.tick, 0);
}
