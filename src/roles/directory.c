// The role directory: says where mail for an address goes. It asks its database anew in each turn
// of its loop, so what `posthouse user add` wrote is true from the next question on; the questions
// that came together share one snapshot, and one locking of the database.
//
// It never makes up an answer: what cannot be known is LOOKUP_TROUBLE, which becomes 4yz or another
// attempt, never a refusal. Where the database is of no use any more the process ends (no file can
// be opened inside the jail): its peers then hear of each open question that it is lost, and the
// supervisor starts the role again.
#include "roles/directory.h"

#include "base/limits.h"
#include "ipc/targets.h"
#include "ipc/verdicts.h"
#include "mail/received.h"

enum { TURN_MEMORY = 16384, TARGETS_PAGE = LIMIT_message / 3 };

// For the receiver an alias is an address like another.
static const uint8_t found_verdicts[] = {
    [DIRECTORY_LOCAL] = LOOKUP_LOCAL,
    [DIRECTORY_ALIAS] = LOOKUP_LOCAL,
    [DIRECTORY_FORWARDED] = LOOKUP_FORWARDED,
    [DIRECTORY_MOVED] = LOOKUP_MOVED,
    [DIRECTORY_NO_SUCH_USER] = LOOKUP_NO_SUCH_USER,
    [DIRECTORY_NOT_HOSTED] = LOOKUP_NOT_HOSTED,
    [DIRECTORY_LOOP] = LOOKUP_LOOP,
    [DIRECTORY_TROUBLE] = LOOKUP_TROUBLE,
};

static void tell_trouble(struct directory *d, enum directory_verdict verdict, const struct err *err)
{
    if (verdict == DIRECTORY_TROUBLE && err->class != ERR_TRY_LATER)
        role_fail(err);
    if (!d->troubled)
        log_line(LOG_ERROR, "%s", err->text);
    d->troubled = true;
}

static void end_of_turn(struct turn_hook *hook)
{
    struct directory *d = CONTAINER_OF(hook, struct directory, turn_end);
    directory_db_end_reading(d->db);
    d->reading = false;
}

static bool begin_reading(struct role *role, struct err *err)
{
    struct directory *d = role->state;
    if (d->reading)
        return true;
    if (!directory_db_begin_reading(d->db, err))
        return false;
    d->reading = true;
    loop_at_turn_end(role->loop, &d->turn_end);
    return true;
}

// What is found, and `address` for a question of the role's own, live in d->turn.
static enum directory_verdict look_up(struct role *role, struct str recipient, bool final,
                                      struct address *address, struct directory_found *found)
{
    struct directory *d = role->state;
    struct err err;
    arena_reset(&d->turn);
    if (!address_read_stored(recipient, PATH_FORWARD, &d->turn, address, &err)) {
        // Its asker has read it before: not an answer about an address.
        log_line(LOG_ERROR, "asked for \"%.*s\", which is no address: %s", STR_ARG(recipient),
                 err.text);
        return DIRECTORY_TROUBLE;
    }
    const struct directory_question question = {
        .address = address, .detail_separator = role->conf->detail_separator, .final = final};
    enum directory_verdict verdict = DIRECTORY_TROUBLE;
    if (begin_reading(role, &err))
        verdict = directory_db_lookup(d->db, &question, &d->turn, found, &err);
    if (verdict == DIRECTORY_TROUBLE || verdict == DIRECTORY_LOOP)
        tell_trouble(d, verdict, &err);
    else
        d->troubled = false;
    return verdict;
}

// ---- is there room?

struct room {
    struct directory *d;
    uint64_t size; // octets of the letter, as declared
    bool none;     // in any mailbox so far
};

static bool look_for_room(void *context, const struct directory_user *user)
{
    struct room *room = context;
    room->none = accounts_full(room->d, user, room->size);
    return room->none;
}

// An alias is full when all its mailboxes are. The postmaster's mail is taken, whatever it holds
// (RFC 5321 section 4.5.1).
static bool is_full(struct directory *d, enum directory_verdict verdict,
                    const struct address *address, const struct directory_found *found,
                    uint64_t size)
{
    struct room room = {.d = d, .size = size};
    struct err err;
    if (!d->accounts.in_force || str_eq(address->folded_local, STR("postmaster")))
        return false;
    if (verdict == DIRECTORY_LOCAL)
        return accounts_full(d, &found->user, size);
    if (verdict != DIRECTORY_ALIAS && verdict != DIRECTORY_FORWARDED)
        return false;
    if (directory_db_expand(d->db, found, 0, look_for_room, &room, &err))
        return room.none;
    tell_trouble(d, DIRECTORY_TROUBLE, &err);
    return false;
}

static void on_lookup(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct directory *d = role->state;
    struct msg reply = {.type = MSG_found, .slot = m->slot};
    struct directory_found found;
    struct address address;
    (void)owner;
    enum directory_verdict verdict = look_up(role, m->lookup.recipient, false, &address, &found);
    reply.found.verdict = found_verdicts[verdict];
    if (verdict == DIRECTORY_LOCAL && found.user.locked)
        reply.found.verdict = LOOKUP_LOCKED;
    else if (is_full(d, verdict, &address, &found, m->lookup.size))
        reply.found.verdict = LOOKUP_FULL;
    if (verdict == DIRECTORY_MOVED || verdict == DIRECTORY_FORWARDED)
        reply.found.address = found.user.moved;
    ipc_send(channel, &reply);
}

// ---- where to deliver

// Empty for an address at another host.
void directory_put_mailbox(struct directory *d, const struct directory_user *user)
{
    buf_clear(&d->mailbox);
    if (!user->user_name.len)
        return;
    conf_put_mailbox(&d->mailbox, d->role->conf, user->domain_name, user->user_name);
    must(buf_ok(&d->mailbox));
}

static void put_token(struct directory *d, const struct address *address)
{
    buf_clear(&d->token);
    delivered_token_put(&d->token, address, d->secret);
    must(buf_ok(&d->token));
}

struct page {
    struct directory *d;
    int64_t last; // number of the last one that is in it
    bool full, failed;
};

static bool put_target(void *context, const struct directory_user *user)
{
    struct page *page = context;
    struct directory *d = page->d;
    struct address address;
    struct err err;
    if (d->targets.len > TARGETS_PAGE) {
        page->full = true;
        return false;
    }
    arena_reset(&d->item);
    if (!address_read(user->address, &d->item, &address, &err)) {
        log_line(LOG_ERROR, "the directory has a user \"%.*s\": %s", STR_ARG(user->address),
                 err.text);
        page->failed = true;
        return false;
    }
    directory_put_mailbox(d, user);
    put_token(d, &address);
    targets_put(&d->targets, &(struct resolved_target){.address = user->address,
                                                       .mailbox = buf_str(&d->mailbox),
                                                       .token = buf_str(&d->token),
                                                       .locked = user->locked});
    must(buf_ok(&d->targets));
    page->last = user->number;
    return true;
}

// One page of what the address stands for. The token is that of the entry that is expanded.
static void expand(struct directory *d, const struct directory_found *found,
                   struct address *address, uint64_t after, struct msg_resolved *answer)
{
    struct page page = {.d = d};
    struct err err;
    buf_clear(&d->targets);
    if (after > INT64_MAX || !directory_db_generation(d->db, &answer->generation, &err) ||
        !directory_db_expand(d->db, found, (int64_t)after, put_target, &page, &err)) {
        answer->verdict = LOOKUP_TROUBLE;
        if (after <= INT64_MAX)
            tell_trouble(d, DIRECTORY_TROUBLE, &err);
        return;
    }
    address->folded_local = found->folded;
    put_token(d, address);
    answer->verdict = page.failed ? LOOKUP_TROUBLE : LOOKUP_EXPANDED;
    answer->token = buf_str(&d->token);
    answer->targets = buf_str(&d->targets);
    answer->next = page.full ? (uint64_t)page.last : 0;
}

static void on_resolve(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct directory *d = role->state;
    struct msg reply = {.type = MSG_resolved, .slot = m->slot};
    struct directory_found found;
    struct address address;
    (void)owner;
    enum directory_verdict verdict =
        look_up(role, m->resolve.recipient, m->resolve.final, &address, &found);
    reply.resolved.verdict = found_verdicts[verdict];
    if (verdict == DIRECTORY_ALIAS || verdict == DIRECTORY_FORWARDED) {
        expand(d, &found, &address, m->resolve.after, &reply.resolved);
    } else if (verdict == DIRECTORY_LOCAL) {
        if (found.user.locked)
            reply.resolved.verdict = LOOKUP_LOCKED;
        directory_put_mailbox(d, &found.user);
        put_token(d, &address);
        reply.resolved.mailbox = buf_str(&d->mailbox);
        reply.resolved.token = buf_str(&d->token);
    } else if (verdict == DIRECTORY_NOT_HOSTED) {
        put_token(d, &address);
        reply.resolved.token = buf_str(&d->token);
    }
    ipc_send(channel, &reply);
}

static bool prepare(struct role *role, struct err *err)
{
    struct directory *d = calloc(1, sizeof(*d));
    must(d);
    role->state = d;
    d->role = role;
    arena_init(&d->process, TURN_MEMORY);
    arena_init(&d->turn, TURN_MEMORY);
    arena_init(&d->item, TURN_MEMORY);
    buf_init(&d->mailbox, LIMIT_message / 3);
    buf_init(&d->token, DELIVERED_TOKEN);
    buf_init(&d->targets, LIMIT_message);
    d->turn_end.run = end_of_turn;
    return directory_db_open(&d->db, role->conf->state_dir, DATABASE_READ, err) &&
           directory_db_secret(d->db, &d->process, &d->secret, err) && accounts_open(d, err);
}

static bool begin(struct role *role, struct err *err)
{
    (void)err;
    accounts_begin(role->state);
    return true;
}

static void drain(struct role *role, uint64_t milliseconds)
{
    (void)milliseconds; // it takes one turn
    accounts_drain(role->state);
}

static void lost(struct ipc_channel *channel, enum ipc_type request, void *owner)
{
    (void)channel;
    accounts_lost(owner, request);
}

// `posthouse user recount`
static void ask(struct role *role, struct str what, struct str argument, struct question *question)
{
    struct directory *d = role->state;
    struct buf body;
    (void)argument;
    bool known = str_eq(what, STR("recount"));
    bool ok = known && d->accounts.in_force;
    buf_init(&body, LIMIT_control_reply);
    if (ok)
        accounts_recount(d);
    else
        buf_put(&body, known ? STR("no user has a quota\n") : STR("there is no such question\n"));
    role_answer(question, ok, &body);
    buf_finish(&body);
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_lookup] = on_lookup,
           [MSG_resolve] = on_resolve,
           [MSG_used] = accounts_on_used,
           [MSG_freed] = accounts_on_freed,
           [MSG_counted] = accounts_on_counted,
           [MSG_settled] = accounts_on_settled},
    .lost = lost,
};

static const struct role_ops ops = {
    .role = IPC_DIRECTORY,
    .handlers = &handlers,
    .prepare = prepare,
    .begin = begin,
    .peer = accounts_peer,
    .drain = drain,
    .ask = ask,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
