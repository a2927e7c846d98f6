// The receiver: SMTP with clients. It sees its own sessions, its arena, and nothing of the disk.
#include "roles/receiver.h"

#include <errno.h>

#include "os/clock.h"
#include "os/file.h"

enum {
    ACCEPTS_A_TURN = 64,
    ACCEPT_PAUSE_MS = 100, // after EMFILE and its like
    LEASE_LOW = 4096,
    DRAIN_EVERY_MS = 20,
};

struct listener {
    struct link link;
    struct watch watch;
    struct timer pause;
    struct receiver *receiver;
};

void receiver_session_over(struct receiver *r, struct session *s)
{
    list_remove(&s->link);
    if (s->admitted)
        admission_leave(&r->admission, &s->peer);
}

// ---- listeners

static void accept_some(struct watch *watch, unsigned events)
{
    struct listener *l = CONTAINER_OF(watch, struct listener, watch);
    struct receiver *r = l->receiver;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct net_address peer;
        int fd = net_accept(watch->fd, &peer);
        if (fd == -EAGAIN)
            return;
        if (fd == -ECONNABORTED)
            continue;
        if (fd < 0) {
            log_line(LOG_WARNING, "connections wait: %s", strerror(-fd));
            loop_change(r->role->loop, watch, 0);
            loop_set_timer(r->role->loop, &l->pause, ACCEPT_PAUSE_MS);
            return;
        }
        session_start(r, fd, &peer, admission_enter(&r->admission, &peer));
    }
}

static void accept_again(struct timer *timer)
{
    struct listener *l = CONTAINER_OF(timer, struct listener, pause);
    loop_change(l->receiver->role->loop, &l->watch, LOOP_READ);
}

static void on_listener(struct role *role, int fd, enum conf_protocol protocol)
{
    struct receiver *r = role->state;
    struct listener *l = calloc(1, sizeof *l);
    struct err err;
    must(l != NULL && protocol == CONF_SMTP);
    l->receiver = r;
    l->watch = (struct watch){.fd = fd, .ready = accept_some};
    l->pause.fire = accept_again;
    if (!loop_add(role->loop, &l->watch, LOOP_READ, &err))
        role_fail(&err);
    list_append(&r->listeners, &l->link);
}

static void close_listeners(struct receiver *r)
{
    LIST_EACH(&r->listeners, at, after)
    {
        struct listener *l = CONTAINER_OF(at, struct listener, link);
        list_remove(at);
        loop_remove(r->role->loop, &l->watch);
        loop_cancel_timer(r->role->loop, &l->pause);
        os_close(&l->watch.fd);
        free(l);
    }
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
    } else if (request == MSG_lookup) {
        struct session *s = owner;
        s->asking = false;
        list_append(&r->want_lookup, &s->waiting);
    }
}

static void peer(struct role *role, struct ipc_channel *channel)
{
    struct receiver *r = role->state;
    if (ipc_peer(channel) == IPC_QUEUE) {
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

static bool prepare(struct role *role, struct err *err)
{
    struct receiver *r = calloc(1, sizeof *r);
    (void)err;
    must(r != NULL);
    role->state = r;
    r->role = role;
    r->has_space = true;
    r->smtp = (struct smtp_server_config){
        .hostname = role->conf->hostname,
        .max_message = role->conf->limits.max_message,
        .max_recipients = (uint32_t)role->conf->limits.max_recipients,
        .refuse_bare_newline = role->conf->bare_newline == CONF_BARE_REFUSE};
    list_init(&r->sessions);
    list_init(&r->listeners);
    list_init(&r->want_id);
    list_init(&r->want_lookup);
    list_init(&r->want_data);
    list_init(&r->stalled);
    list_init(&r->letters);
    list_init(&r->resubmit);
    r->hook.run = receiver_turn_end;
    admission_init(&r->admission, role->conf->limits.max_sessions,
                   role->conf->limits.sessions_per_address);
    return true;
}

static void drain_step(struct timer *timer)
{
    struct receiver *r = CONTAINER_OF(timer, struct receiver, drain_timer);
    LIST_EACH(&r->sessions, at, after)
    {
        session_shut_down(CONTAINER_OF(at, struct session, link));
    }
    if (list_empty(&r->sessions))
        role_drained(r->role);
    else
        loop_set_timer(r->role->loop, timer, DRAIN_EVERY_MS);
}

static void drain(struct role *role, uint64_t milliseconds)
{
    struct receiver *r = role->state;
    (void)milliseconds; // the supervisor keeps the time
    close_listeners(r);
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
