// The role directory: says where mail for an address goes. It asks its database anew in each turn
// of its loop, so what `posthouse user add` wrote is true from the next question on; the questions
// that came together share one snapshot, and one locking of the database.
//
// It never makes up an answer: what cannot be known is LOOKUP_TROUBLE, which becomes 4yz or another
// attempt, never a refusal. Where the database is of no use any more the process ends (no file can
// be opened inside the jail): its peers then hear of each open question that it is lost, and the
// supervisor starts the role again.
#include "roles/role.h"

#include "base/limits.h"
#include "ipc/verdicts.h"
#include "store/directory_db.h"

enum { TURN_MEMORY = 16384 };

struct directory {
    struct directory_db *db;
    struct arena turn; // one look-up
    struct buf mailbox;
    struct turn_hook turn_end;
    bool reading;  // the turn's snapshot is open
    bool troubled; // the trouble was logged; once is enough until it is over
};

static const uint8_t verdicts[] = {
    [DIRECTORY_LOCAL] = LOOKUP_LOCAL,
    [DIRECTORY_NO_SUCH_USER] = LOOKUP_NO_SUCH_USER,
    [DIRECTORY_NOT_HOSTED] = LOOKUP_NOT_HOSTED,
    [DIRECTORY_TROUBLE] = LOOKUP_TROUBLE,
};

static bool read_recipient(struct str text, struct arena *turn, struct address *address,
                           struct err *err)
{
    if (str_eq_nocase(text, STR("postmaster"))) {
        *address = (struct address){.kind = ADDRESS_POSTMASTER};
        return true;
    }
    return address_read(text, turn, address, err);
}

static void tell_trouble(struct directory *d, const struct err *err)
{
    if (err->class != ERR_TRY_LATER)
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

static enum directory_verdict ask_database(struct role *role, const struct address *address,
                                           struct directory_user *user, struct err *err)
{
    struct directory *d = role->state;
    if (!d->reading) {
        if (!directory_db_begin_reading(d->db, err))
            return DIRECTORY_TROUBLE;
        d->reading = true;
        loop_at_turn_end(role->loop, &d->turn_end);
    }
    return directory_db_lookup(d->db, address, &d->turn, user, err);
}

// The verdict; the mailbox, when it is LOOKUP_LOCAL, is in d->mailbox.
static uint8_t look_up(struct role *role, struct str recipient)
{
    struct directory *d = role->state;
    struct address address;
    struct directory_user user;
    struct err err;
    arena_reset(&d->turn);
    buf_clear(&d->mailbox);
    if (!read_recipient(recipient, &d->turn, &address, &err)) {
        // Its asker has read it before: not an answer about an address.
        log_line(LOG_ERROR, "asked for \"%.*s\", which is no address: %s", STR_ARG(recipient),
                 err.text);
        return LOOKUP_TROUBLE;
    }
    enum directory_verdict verdict = ask_database(role, &address, &user, &err);
    if (verdict == DIRECTORY_TROUBLE)
        tell_trouble(d, &err);
    else
        d->troubled = false;
    if (verdict == DIRECTORY_LOCAL) {
        conf_put_mailbox(&d->mailbox, role->conf, user.domain_name, user.user_name);
        must(buf_ok(&d->mailbox));
    }
    return verdicts[verdict];
}

static void on_lookup(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct directory *d = role->state;
    struct msg reply = {.type = MSG_found, .slot = m->slot};
    (void)owner;
    reply.found.verdict = look_up(role, m->lookup.recipient);
    reply.found.mailbox = buf_str(&d->mailbox);
    ipc_send(channel, &reply);
}

static void on_resolve(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct directory *d = role->state;
    struct msg reply = {.type = MSG_resolved, .slot = m->slot};
    (void)owner;
    reply.resolved.verdict = look_up(role, m->resolve.recipient);
    reply.resolved.mailbox = buf_str(&d->mailbox);
    ipc_send(channel, &reply);
}

static bool prepare(struct role *role, struct err *err)
{
    struct directory *d = calloc(1, sizeof(*d));
    must(d);
    role->state = d;
    arena_init(&d->turn, TURN_MEMORY);
    buf_init(&d->mailbox, LIMIT_message / 2);
    d->turn_end.run = end_of_turn;
    return directory_db_open(&d->db, role->conf->state_dir, DATABASE_READ, err);
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_lookup] = on_lookup, [MSG_resolve] = on_resolve},
};

static const struct role_ops ops = {
    .role = IPC_DIRECTORY,
    .handlers = &handlers,
    .prepare = prepare,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
