// The queue: takes letters from receivers into the spool, answers only when they are durable, and
// sees to it that each recipient has a next event until its end.
#include "roles/queue.h"

#include <errno.h>

#include "base/limits.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/random.h"

enum {
    LEASE_NUMBERS = 65536,
    LEASE_BASE = 10,
    SPACE_EVERY_MS = 1000,
    DRAIN_EVERY_MS = 10,
};

// ---- arenas of the receivers

static struct arena_map *find_arena(struct queue *q, uint32_t instance)
{
    LIST_EACH(&q->arenas, at, after)
    {
        struct arena_map *map = CONTAINER_OF(at, struct arena_map, link);
        if (map->instance == instance && !map->gone)
            return map;
    }
    return NULL;
}

static void let_go_of_arena(struct arena_map *map)
{
    if (!map->gone || map->users)
        return;
    list_remove(&map->link);
    os_unmap((void *)(uintptr_t)map->memory, map->size);
    free(map);
}

static void on_arena(struct role *role, int fd, uint32_t instance)
{
    struct queue *q = role->state;
    struct arena_map *map = calloc(1, sizeof *map);
    void *memory = NULL;
    struct stat st;
    must(map != NULL);
    // Sealed against shrinking: a receiver cannot pull the memory away under us (promise 2).
    int rc = os_sealed(fd, OS_SEAL_SHRINK) ? os_fstat(fd, &st) : -EPERM;
    if (rc == 0)
        rc = os_map(fd, (size_t)st.st_size, false, &memory);
    if (rc < 0) {
        log_line(LOG_ERROR, "the arena of receiver %u cannot be used: %s", instance, strerror(-rc));
        free(map);
    } else {
        *map =
            (struct arena_map){.instance = instance, .memory = memory, .size = (size_t)st.st_size};
        list_append(&q->arenas, &map->link);
    }
    os_close(&fd);
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

// ---- submissions

struct submission {
    struct spool_waiter waiter;
    struct queue *queue;
    struct ipc_channel *channel; // NULL when the receiver is gone
    struct link link;            // in the channel's list of those that wait
    uint32_t slot;
    struct spool_letter *letter;
    struct mail_id id;
    struct str *addresses; // of the recipients, in one block with the struct's arena
    struct arena transaction;
    // A letter with a large body:
    struct spool_large large;
    struct str *pieces;
    struct arena_map *arena;
    bool is_large;
};

static void free_submission(struct submission *sub)
{
    list_remove(&sub->link);
    if (sub->is_large)
        spool_large_finish(&sub->large);
    arena_finish(&sub->transaction);
    free(sub->pieces);
    free(sub);
}

static void answer(struct submission *sub, bool ok, unsigned status)
{
    if (sub->channel) {
        struct msg reply = {.type = MSG_committed, .slot = sub->slot};
        reply.committed.ok = ok;
        reply.committed.status = status;
        ipc_send(sub->channel, &reply);
    }
}

static void committed(struct spool_waiter *waiter, bool durable)
{
    struct submission *sub = CONTAINER_OF(waiter, struct submission, waiter);
    struct queue *q = sub->queue;
    if (!durable && sub->addresses) {
        answer(sub, false, 451);
    } else if (sub->addresses) {
        answer(sub, true, 250);
        queue_letter_durable(q, sub->letter, sub->addresses);
    } else { // a known id: acknowledged when what is known of it is durable
        struct spool_letter *known = spool_find(q->spool, &sub->id);
        bool safe = known && known->durable;
        answer(sub, safe, safe ? 250 : 451);
        if (safe && !known->owner) // ours, without its addresses
            queue_schedule(q, known);
    }
    free_submission(sub);
}

static bool keep_addresses(struct submission *sub, const struct envelope *envelope)
{
    struct buf text;
    bool ok = true;
    sub->addresses =
        arena_alloc_array(&sub->transaction, envelope->recipient_count, sizeof *sub->addresses);
    if (!sub->addresses)
        return false;
    buf_init(&text, LIMIT_address * 2);
    for (uint32_t i = 0; i < envelope->recipient_count && ok; i++) {
        buf_clear(&text);
        address_put(&text, &envelope->recipients[i]);
        ok = arena_copy(&sub->transaction, buf_str(&text), &sub->addresses[i]);
    }
    buf_finish(&text);
    return ok;
}

// What the spool said of an addition.
static void added(struct submission *sub, enum spool_added how, const struct envelope *envelope,
                  const struct err *err)
{
    char id[MAIL_ID_TEXT + 1];
    mail_id_text(&sub->id, id);
    switch (how) {
    case SPOOL_ADDED:
        if (!keep_addresses(sub, envelope))
            sub->addresses = NULL; // found again on disk when the letter is due
        spool_wait(sub->queue->spool, &sub->waiter);
        return;
    case SPOOL_KNOWN:
        spool_wait(sub->queue->spool, &sub->waiter);
        return;
    case SPOOL_FULL:
        if (sub->is_large)
            spool_remove_body(sub->queue->spool, &sub->id);
        answer(sub, false, 452);
        break;
    case SPOOL_BAD:
        log_line(LOG_ERROR, "a letter cannot be taken into the spool: %s: %s", id, err->text);
        answer(sub, false, err->class == ERR_TRY_LATER ? 452 : 451);
        break;
    case SPOOL_TOO_LARGE:
        must(how != SPOOL_TOO_LARGE); // such a letter went the other way
    }
    free_submission(sub);
}

static void large_written(struct spool_large *large)
{
    struct submission *sub = CONTAINER_OF(large, struct submission, large);
    struct envelope envelope;
    struct err err;
    sub->arena->users--;
    let_go_of_arena(sub->arena);
    if (!sub->channel) { // nobody waits for it any more
        spool_remove_body(sub->queue->spool, &sub->id);
        free_submission(sub);
        return;
    }
    enum spool_added how =
        spool_add_large(sub->queue->spool, large, &sub->transaction, &envelope, &sub->letter, &err);
    added(sub, how, &envelope, &err);
}

static uint32_t get_u32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

// The extents of the letter in the receiver's arena: pairs of offset and length, checked here once.
static size_t take_extents(const struct arena_map *map, struct str extents, struct str *pieces)
{
    size_t count = extents.len / 8;
    for (size_t i = 0; i < count; i++) {
        uint32_t offset = get_u32(extents.ptr + 8 * i), len = get_u32(extents.ptr + 8 * i + 4);
        if (offset > map->size || len > map->size - offset)
            return 0;
        pieces[i] = str_from(map->memory + offset, len);
    }
    return count;
}

// Between two looks at the disk, letters may not eat up much of the reserve.
static void count_taken(struct queue *q, uint64_t octets)
{
    q->taken += octets;
    if (q->has_space && q->taken >= q->role->conf->limits.disk_reserve / 16)
        look_at_space(&q->space_timer);
}

static void on_submit(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct queue *q = role->state;
    struct arena_map *map = find_arena(q, ipc_instance(channel));
    struct submission *sub = calloc(1, sizeof *sub);
    struct envelope envelope;
    struct err err;
    (void)owner;
    must(sub != NULL);
    struct str extents = m->submit.extents;
    size_t count = 0;
    uint64_t octets = 0;
    sub->pieces = calloc(extents.len / 8 + 1, sizeof *sub->pieces);
    must(sub->pieces != NULL);
    if (map && extents.len % 8 == 0)
        count = take_extents(map, extents, sub->pieces);
    sub->queue = q;
    sub->channel = channel;
    sub->slot = m->slot;
    sub->id = m->submit.letter;
    sub->waiter.done = committed;
    list_append(&q->submissions, &sub->link);
    arena_init(&sub->transaction, 4 * (size_t)LIMIT_envelope);
    if (count == 0) {
        free_submission(sub);
        ipc_break(channel, "it submitted what is not in its arena");
        return;
    }
    struct spool_submission submission = {.id = sub->id,
                                          .pieces = sub->pieces,
                                          .piece_count = count,
                                          .envelope_size = m->submit.envelope};
    enum spool_added how =
        spool_add(q->spool, &submission, &sub->transaction, &envelope, &sub->letter, &err);
    for (size_t i = 0; i < count; i++)
        octets += sub->pieces[i].len;
    count_taken(q, octets);
    if (how != SPOOL_TOO_LARGE) {
        added(sub, how, &envelope, &err);
        return;
    }
    sub->is_large = true;
    sub->arena = map;
    map->users++;
    spool_write_large(q->spool, &sub->large, &submission, large_written);
}

static void on_lease(struct ipc_channel *channel, struct msg *m, void *owner)
{
    uint8_t base[LEASE_BASE];
    struct msg reply = {.type = MSG_leased, .slot = m->slot};
    (void)owner;
    os_random(base, sizeof base);
    reply.leased.base = str_from(base, sizeof base);
    reply.leased.numbers = LEASE_NUMBERS;
    ipc_send(channel, &reply);
}

// ---- the role

static void closed(struct ipc_channel *channel, const char *why)
{
    struct role *role = ipc_context(channel);
    struct queue *q = role->state;
    (void)why;
    if (ipc_peer(channel) != IPC_RECEIVER)
        return;
    LIST_EACH(&q->submissions, at, after)
    {
        struct submission *sub = CONTAINER_OF(at, struct submission, link);
        if (sub->channel == channel)
            sub->channel = NULL;
    }
    struct arena_map *map = find_arena(q, ipc_instance(channel));
    if (map) {
        map->gone = true;
        let_go_of_arena(map);
    }
}

static void lost(struct ipc_channel *channel, enum ipc_type request, void *owner)
{
    struct role *role = ipc_context(channel);
    queue_attempt_lost(role->state, request, owner);
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
    list_init(&q->due);
    list_init(&q->to_resolve);
    list_init(&q->ready);
    q->has_space = true;
    q->next_batch = 1;
    return role_open_directory(role, role->conf->spool_dir, true, &q->spool_dir, err);
}

static bool begin(struct role *role, struct err *err)
{
    struct queue *q = role->state;
    const struct spool_options options = {.segment_size = LIMIT_segment,
                                          .large_body = LIMIT_large_body};
    if (!spool_open(&q->spool, q->spool_dir, &options, err) ||
        !spool_begin(q->spool, role->loop, err) ||
        !os_workers_open(&q->readers, role->loop, "readers", 1, err))
        return false;
    size_t at = 0;
    for (struct spool_letter *l = spool_next(q->spool, &at); l; l = spool_next(q->spool, &at))
        if (l->pending)
            queue_schedule(q, l);
    q->space_timer.fire = look_at_space;
    look_at_space(&q->space_timer);
    return true;
}

static void drain_step(struct timer *timer)
{
    struct queue *q = CONTAINER_OF(timer, struct queue, drain_timer);
    if (spool_idle(q->spool) && q->flights == 0)
        role_drained(q->role);
    else
        loop_set_timer(q->role->loop, timer, DRAIN_EVERY_MS);
}

static void drain(struct role *role, uint64_t milliseconds)
{
    struct queue *q = role->state;
    (void)milliseconds; // the supervisor keeps the time
    q->draining = true;
    q->drain_timer.fire = drain_step;
    drain_step(&q->drain_timer);
}

static void reloaded(struct role *role)
{
    (void)role; // every option of ours is read where it is used
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_submit] = on_submit,
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
    .arena = on_arena,
    .drain = drain,
    .ask = queue_ask,
    .reloaded = reloaded,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
