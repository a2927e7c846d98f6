// The receiver: SMTP with clients. It sees its own sessions, its arena, and nothing of the disk.
#include "roles/receiver.h"

#include "os/clock.h"
#include "os/file.h"

enum {
    LEASE_LOW = 4096,
    DRAIN_EVERY_MS = 20,
};

void receiver_session_over(struct session *s)
{
    list_remove(&s->link);
    if (s->admitted)
        admission_leave(&s->service->admission, &s->peer);
}

// ---- listeners

static void welcome(struct doors *doors, int fd, const struct net_address *peer)
{
    struct service *service = CONTAINER_OF(doors, struct service, doors);
    session_start(service, fd, peer,
                  admission_enter(&service->admission, peer, loop_now(doors->loop)));
}

static void on_listener(struct role *role, int fd, enum conf_protocol protocol)
{
    struct receiver *r = role->state;
    struct err err;
    must(protocol == CONF_SMTP || protocol == CONF_LMTP);
    if (!doors_open(protocol == CONF_LMTP ? &r->lmtp.doors : &r->smtp.doors, fd, &err))
        role_fail(&err);
}

// ---- leases of ids (promise 5)

void receiver_want_lease(struct receiver *r)
{
    struct ipc_channel *queue = role_peer(r->role, IPC_QUEUE);
    struct msg m = {.type = MSG_lease};
    if (!r->leasing && queue)
        r->leasing = ipc_request(queue, &m, r);
}

bool receiver_take_id(struct receiver *r, struct mail_id *id)
{
    if (r->lease_left == 0)
        return false;
    *id = mail_id_make(os_wall_ms(), r->lease_base, r->lease_next++);
    if (--r->lease_left < LEASE_LOW)
        receiver_want_lease(r);
    return true;
}

static void on_leased(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct receiver *r = role->state;
    (void)owner;
    r->leasing = false;
    if (m->leased.base.len != sizeof r->lease_base) {
        ipc_break(channel, "it leased what is no base");
        return;
    }
    memcpy(r->lease_base, m->leased.base.ptr, sizeof r->lease_base);
    r->lease_next = 0;
    r->lease_left = m->leased.numbers;
    while (!list_empty(&r->want_id) && r->lease_left)
        session_give_id(CONTAINER_OF(r->want_id.next, struct session, waiting));
}

static void on_room(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct receiver *r = role->state;
    (void)owner;
    r->has_space = m->room.space;
}

// ---- the role

static void closed(struct ipc_channel *channel, const char *why)
{
    struct role *role = ipc_context(channel);
    (void)why;
    if (ipc_peer(channel) == IPC_QUEUE)
        letters_queue_gone(role->state);
}

static void lost(struct ipc_channel *channel, enum ipc_type request, void *owner)
{
    struct role *role = ipc_context(channel);
    struct receiver *r = role->state;
    if (request == MSG_submit) {
        letter_lost(r, owner);
    } else if (request == MSG_slice) {
        letter_slice_lost(r, owner);
    } else if (request == MSG_lease) {
        r->leasing = false;
        receiver_want_lease(r); // the next queue may be there already
    } else if (request == MSG_lookup) {
        struct session *s = owner;
        s->asking = false;
        session_look_up(s); // at a reload the next directory is there already
    }
}

static void peer(struct role *role, struct ipc_channel *channel)
{
    struct receiver *r = role->state;
    if (ipc_peer(channel) == IPC_QUEUE) {
        // An id of another queue's lease waits until this one has read its log: new letters do not.
        r->lease_left = 0;
        receiver_want_lease(r);
        letter_resubmit(r);
        receiver_go_on(r);
    } else if (ipc_peer(channel) == IPC_DIRECTORY) {
        while (!list_empty(&r->want_lookup) && ipc_credits(channel, MSG_lookup))
            session_look_up(CONTAINER_OF(r->want_lookup.next, struct session, waiting));
    }
}

static void on_arena(struct role *role, int fd, uint32_t instance)
{
    struct receiver *r = role->state;
    struct err err;
    must(instance == role->instance);
    if (!body_arena_open(&r->arena, fd, &err))
        role_fail(&err);
    r->has_arena = true;
    os_close(&fd);
}

static void init_service(struct receiver *r, struct service *service, bool lmtp)
{
    const struct conf *conf = r->role->conf;
    service->receiver = r;
    service->config =
        (struct smtp_server_config){.hostname = conf->hostname,
                                    .max_message = conf->limits.max_message,
                                    .max_recipients = (uint32_t)conf->limits.max_recipients,
                                    .refuse_bare_newline = conf->bare_newline == CONF_BARE_REFUSE,
                                    .lmtp = lmtp};
    doors_init(&service->doors, r->role->loop, welcome);
    admission_init(&service->admission,
                   &(struct admission_limits){.sessions = r->role->max_sessions,
                                              .per_address = conf->limits.sessions_per_address,
                                              .per_minute = conf->limits.sessions_per_minute,
                                              .loopback_exempt = conf->limits.loopback_exempt});
}

static bool prepare(struct role *role, struct err *err)
{
    struct receiver *r = calloc(1, sizeof *r);
    (void)err;
    must(r != NULL);
    role->state = r;
    r->role = role;
    r->has_space = true;
    r->gateway_count = net_gateways(r->gateways, LIMIT_gateways); // not to be read in the jail
    init_service(r, &r->smtp, false);
    init_service(r, &r->lmtp, true);
    list_init(&r->sessions);
    list_init(&r->want_id);
    list_init(&r->want_lookup);
    list_init(&r->want_data);
    list_init(&r->stalled);
    list_init(&r->letters);
    list_init(&r->resubmit);
    r->hook.run = receiver_turn_end;
    return true;
}

static void drain_step(struct timer *timer)
{
    struct receiver *r = CONTAINER_OF(timer, struct receiver, drain_timer);
    bool last_call = loop_now(r->role->loop) >= r->drain_by;
    LIST_EACH(&r->sessions, at, after)
    {
        session_shut_down(CONTAINER_OF(at, struct session, link), last_call);
    }
    if (list_empty(&r->sessions))
        role_drained(r->role);
    else
        loop_set_timer(r->role->loop, timer, DRAIN_EVERY_MS);
}

static void drain(struct role *role, uint64_t milliseconds)
{
    struct receiver *r = role->state;
    // The supervisor ends us when the time is up: the 421 must be out before.
    r->drain_by = loop_now(role->loop) + milliseconds / 10 * 9;
    doors_close(&r->smtp.doors);
    doors_close(&r->lmtp.doors);
    r->drain_hurry_ms = loop_now(role->loop) + milliseconds / 2; // the supervisor keeps the time
    r->drain_timer.fire = drain_step;
    drain_step(&r->drain_timer);
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_found] = session_on_found,
           [MSG_leased] = on_leased,
           [MSG_committed] = letter_on_committed,
           [MSG_sliced] = letter_on_sliced,
           [MSG_room] = on_room},
    .closed = closed,
    .lost = lost,
};

static const struct role_ops ops = {
    .role = IPC_RECEIVER,
    .handlers = &handlers,
    .session_files = 1,
    .also = CONF_LMTP,
    .prepare = prepare,
    .peer = peer,
    .listener = on_listener,
    .arena = on_arena,
    .drain = drain,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
