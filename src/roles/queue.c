// The queue: takes letters from receivers into the spool, answers only when they are durable, and
// sees to it that each recipient has a next event until its end.
#include "roles/queue.h"

#include "base/limits.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/random.h"

enum {
    LEASE_NUMBERS = 65536,
    SPACE_EVERY_MS = 1000,
    DRAIN_EVERY_MS = 10,
};

// ---- leases

static void remember_lease(struct queue *q, const uint8_t base[LEASE_BASE])
{
    if (spool_indexed(q->spool))
        return;
    q->leases = realloc(q->leases, (q->lease_count + 1) * sizeof q->leases[0]);
    must(q->leases != NULL);
    memcpy(q->leases[q->lease_count++], base, LEASE_BASE);
}

bool queue_may_be_logged(const struct queue *q, const struct mail_id *id)
{
    bool drawn = false;
    for (size_t i = q->lease_count; i > 0 && !drawn; i--)
        drawn = mail_id_is_of(id, q->leases[i - 1], LEASE_NUMBERS);
    return !drawn && !spool_indexed(q->spool);
}

static void on_lease(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct queue *q = role->state;
    uint8_t base[LEASE_BASE];
    struct msg reply = {.type = MSG_leased, .slot = m->slot};
    (void)owner;
    os_random(base, sizeof base);
    remember_lease(q, base);
    reply.leased.base = str_from(base, sizeof base);
    reply.leased.numbers = LEASE_NUMBERS;
    ipc_send(channel, &reply);
}

// ---- space

static void tell_space(struct role *role, struct ipc_channel *channel)
{
    const struct queue *q = role->state;
    struct msg room = {.type = MSG_room};
    room.room.space = q->has_space;
    ipc_send(channel, &room);
}

static void look_at_space(struct timer *timer)
{
    struct queue *q = CONTAINER_OF(timer, struct queue, space_timer);
    q->taken = 0;
    bool space = spool_has_space(q->spool, q->role->conf->limits.disk_reserve);
    if (space != q->has_space) {
        q->has_space = space;
        log_line(space ? LOG_INFO : LOG_ERROR,
                 space ? "the spool has space again"
                       : "the spool is short of space: MAIL is answered 452");
        role_each_peer(q->role, IPC_RECEIVER, tell_space);
    }
    loop_set_timer(q->role->loop, timer, SPACE_EVERY_MS);
}

// Between two looks at the disk, letters may not eat up much of the reserve.
void queue_count_taken(struct queue *q, uint64_t octets)
{
    q->taken += octets;
    if (q->has_space && q->taken >= q->role->conf->limits.disk_reserve / 16)
        look_at_space(&q->space_timer);
}

// ---- what was there at start

// Those of this process have their owner already.
static void found(void *owner, struct spool_letter *letter)
{
    if (!letter->owner)
        queue_schedule(owner, letter);
}

static void indexed(void *owner)
{
    struct queue *q = owner;
    free(q->leases);
    q->leases = NULL;
    q->lease_count = 0;
    queue_unpark(q);
    queue_ask_again(q);
}

// ---- the role

static void closed(struct ipc_channel *channel, const char *why)
{
    struct role *role = ipc_context(channel);
    (void)why;
    if (ipc_peer(channel) == IPC_RECEIVER)
        queue_receiver_gone(role->state, channel);
}

static void lost(struct ipc_channel *channel, enum ipc_type request, void *owner)
{
    struct role *role = ipc_context(channel);
    queue_request_lost(role->state, request, owner);
    queue_advance(role->state); // at a reload the next one is there already
}

static void peer(struct role *role, struct ipc_channel *channel)
{
    struct queue *q = role->state;
    if (ipc_peer(channel) == IPC_RECEIVER)
        tell_space(role, channel);
    queue_advance(q);
}

static bool prepare(struct role *role, struct err *err)
{
    struct queue *q = calloc(1, sizeof *q);
    must(q != NULL);
    role->state = q;
    q->role = role;
    list_init(&q->arenas);
    list_init(&q->submissions);
    list_init(&q->crowd);
    list_init(&q->parts);
    list_init(&q->parked);
    list_init(&q->questions);
    list_init(&q->due);
    list_init(&q->to_resolve);
    list_init(&q->ready);
    list_init(&q->late);
    queue_begin_telling(q);
    q->clock_ms = os_wall_ms() - os_monotonic_ms();
    q->has_space = true;
    q->next_batch = 1;
    os_random(q->hash_key, sizeof q->hash_key);
    return role_open_directory(role, role->conf->spool_dir, true, &q->spool_dir, err);
}

static bool begin(struct role *role, struct err *err)
{
    struct queue *q = role->state;
    const struct spool_options options = {.segment_size = LIMIT_segment,
                                          .large_body = LIMIT_large_body,
                                          .room = queue_room,
                                          .found = found,
                                          .indexed = indexed,
                                          .owner = q};
    if (!spool_open(&q->spool, q->spool_dir, &options, err) ||
        !spool_begin(q->spool, role->loop, err) ||
        !os_workers_open(&q->readers, role->loop, "readers", 1, err))
        return false;
    q->space_timer.fire = look_at_space;
    look_at_space(&q->space_timer);
    return true;
}

static void drain_step(struct timer *timer)
{
    struct queue *q = CONTAINER_OF(timer, struct queue, drain_timer);
    if (spool_idle(q->spool) && q->flights == 0 && list_empty(&q->submissions))
        role_drained(q->role);
    else
        loop_set_timer(q->role->loop, timer, DRAIN_EVERY_MS);
}

static void drain(struct role *role, uint64_t milliseconds)
{
    struct queue *q = role->state;
    (void)milliseconds; // the supervisor keeps the time
    q->draining = true;
    queue_pace(q); // nobody waits for the backlog any more
    q->drain_timer.fire = drain_step;
    drain_step(&q->drain_timer);
}

static void reloaded(struct role *role)
{
    (void)role; // every option of ours is read where it is used
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_submit] = queue_on_submit,
           [MSG_slice] = queue_on_slice,
           [MSG_discard] = queue_on_discard,
           [MSG_lease] = on_lease,
           [MSG_resolved] = queue_on_resolved,
           [MSG_delivered] = queue_on_delivered},
    .closed = closed,
    .lost = lost,
};

static const struct role_ops ops = {
    .role = IPC_QUEUE,
    .handlers = &handlers,
    .prepare = prepare,
    .begin = begin,
    .peer = peer,
    .arena = queue_on_arena,
    .drain = drain,
    .ask = queue_ask,
    .reloaded = reloaded,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
