// Letters on their way in:
//
//   submit ──expand──────────────────────► spool_add ──► batch ──► committed
//   slice, slice, ... ──► part ──┐               │ too large
//                 submit ─expand─┴──► the last slice ──► spool_add_large ──► batch ──► committed
//
// The envelope is copied first, and its recipients are looked up (queue_expand.c): what is
// committed is this copy, or the one that was made of it.
//
// A body of many slices is a part: it belongs to the channel that its slices came from, and goes
// when the letter is discarded, when the channel ends, or when the letter is in the log.
//
// Memory of the queue for a part: its descriptor, its table of CRCs (4 octets each 64 KiB), and
// what ipc/messages.def gives credits for. The octets stay in the receiver's arena until a worker
// has written them.
#include "roles/queue.h"

#include <errno.h>

#include "base/limits.h"
#include "os/file.h"
#include "store/large.h"

// ---- arenas of the receivers, mapped read only

struct arena_map {
    struct link link;
    uint32_t instance;
    const char *memory;
    size_t size;
    uint32_t users; // slices being read from it
    bool gone;      // its receiver is gone: unmap with the last user
};

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

void queue_on_arena(struct role *role, int fd, uint32_t instance)
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

// Where a receiver says that octets lie in its arena, checked here once.
struct octets {
    struct arena_map *map;
    struct str *all; // owned: room for the envelope's copy, then the pieces
    struct str *pieces;
    size_t count;
    uint64_t size;
};

// False: not in the arena.
static bool take_extents(struct queue *q, const struct ipc_channel *channel, struct str extents,
                         struct octets *o)
{
    *o = (struct octets){.map = find_arena(q, ipc_instance(channel)), .count = extents.len / 8};
    if (!o->map || extents.len % 8 || o->count == 0)
        return false;
    o->all = calloc(o->count + 1, sizeof *o->all);
    must(o->all != NULL);
    o->pieces = o->all + 1;
    for (size_t i = 0; i < o->count; i++) {
        uint64_t offset = str_take_le(&extents, 4), len = str_take_le(&extents, 4);
        if (offset > o->map->size || len > o->map->size - offset) {
            free(o->all);
            return false;
        }
        o->pieces[i] = str_from(o->map->memory + offset, len);
        o->size += len;
    }
    return true;
}

static enum submit_status status_of(const struct err *err)
{
    return err->status.subject == 3 && err->status.detail == 1 ? SUBMIT_NO_SPACE : SUBMIT_TROUBLE;
}

// ---- parts

struct part {
    struct link link; // in queue.parts
    struct queue *queue;
    struct ipc_channel *channel; // NULL when the receiver is gone
    struct mail_id id;
    struct large *large;
    uint64_t size;   // octets in slices so far
    unsigned slices; // under way
    bool submitted;
    bool over; // no more is asked of it: it goes with the last slice
};

struct slice {
    struct large_slice step;
    struct part *part;
    struct octets octets;
    uint32_t slot;
};

// The busy ones stand in front.
static struct part *find_part(struct queue *q, const struct mail_id *id)
{
    LIST_EACH(&q->parts, at, after)
    {
        struct part *part = CONTAINER_OF(at, struct part, link);
        if (part->over || !mail_id_equal(&part->id, id))
            continue;
        list_remove(at);
        list_prepend(&q->parts, at);
        return part;
    }
    return NULL;
}

static struct part *new_part(struct queue *q, struct ipc_channel *channel, const struct mail_id *id)
{
    struct part *part = calloc(1, sizeof *part);
    must(part != NULL);
    part->queue = q;
    part->channel = channel;
    part->id = *id;
    large_open(&part->large, q->spool, id);
    list_prepend(&q->parts, &part->link);
    q->part_count++;
    return part;
}

static void free_part_at_end(struct part *part)
{
    if (!part->over || part->slices)
        return;
    part->queue->part_count--;
    list_remove(&part->link);
    free(part);
}

static void end_part(struct part *part)
{
    part->over = true;
    large_close(&part->large);
    free_part_at_end(part);
}

static bool fits(const struct queue *q, uint64_t written, uint64_t more)
{
    uint64_t most = q->role->conf->limits.max_message + LIMIT_large_body; // and our own header
    return written <= most && more <= most - written;
}

static void answer_slice(struct ipc_channel *channel, uint32_t slot, bool ok, unsigned status)
{
    struct msg reply = {.type = MSG_sliced, .slot = slot};
    reply.sliced.ok = ok;
    reply.sliced.status = status;
    ipc_send(channel, &reply);
}

static void slice_written(struct large_slice *step)
{
    struct slice *slice = CONTAINER_OF(step, struct slice, step);
    struct part *part = slice->part;
    if (part->channel)
        answer_slice(part->channel, slice->slot, step->ok, step->ok ? 250 : status_of(&step->err));
    if (!step->ok && !part->over)
        log_line(LOG_ERROR, "a large body cannot be taken: %s", step->err.text);
    slice->octets.map->users--;
    let_go_of_arena(slice->octets.map);
    part->slices--;
    free_part_at_end(part);
    free(slice->octets.all);
    free(slice);
}

static void take_slice(struct queue *q, struct ipc_channel *channel, uint32_t slot,
                       const struct msg_slice *said, struct octets octets)
{
    struct part *part = find_part(q, &said->letter);
    bool in_place = part
                        ? part->channel == channel && !part->submitted && part->size == said->offset
                        : said->offset == 0;
    bool full = (!part && q->part_count >= LIMIT_bodies) || !fits(q, said->offset, octets.size);
    if (!in_place || full || spool_find(q->spool, &said->letter)) {
        answer_slice(channel, slot, false, in_place && full ? 452 : 451);
        free(octets.all);
        return;
    }
    if (!part)
        part = new_part(q, channel, &said->letter);
    struct slice *slice = calloc(1, sizeof *slice);
    must(slice != NULL);
    *slice = (struct slice){.part = part, .octets = octets, .slot = slot};
    slice->step = (struct large_slice){
        .pieces = octets.pieces, .piece_count = octets.count, .done = slice_written};
    queue_count_taken(q, octets.size);
    octets.map->users++;
    part->size += octets.size;
    part->slices++;
    large_append(part->large, &slice->step);
}

// ---- submissions

struct submission {
    struct spool_waiter waiter;
    struct queue *queue;
    struct ipc_channel *channel; // NULL when the receiver is gone
    struct link link;            // in queue.submissions
    struct link crowd;           // in queue.crowd, or none
    uint32_t slot;
    uint64_t came_ms; // loop time
    struct spool_letter *letter;
    struct mail_id id;
    uint64_t written; // octets of the body that came in slices before
    struct arena transaction;
    struct octets octets; // of the body, once the envelope is cut off
    struct buf bytes;     // our copy of the envelope
    struct envelope envelope;
    struct expansion *expansion;
    bool known; // the id was in the log already
    // A letter with a large body:
    struct part *part;
    struct large_slice last;
};

static void free_submission(struct submission *sub)
{
    list_remove(&sub->link);
    if (sub->part)
        end_part(sub->part);
    queue_expansion_close(&sub->expansion);
    buf_finish(&sub->bytes);
    arena_finish(&sub->transaction);
    free(sub->octets.all);
    free(sub);
}

static void answer_submission(struct ipc_channel *channel, uint32_t slot, bool ok,
                              enum submit_status status)
{
    struct msg reply = {.type = MSG_committed, .slot = slot};
    reply.committed.ok = ok;
    reply.committed.status = status;
    ipc_send(channel, &reply);
}

static void answer(struct submission *sub, bool ok, enum submit_status status)
{
    if (sub->channel)
        answer_submission(sub->channel, sub->slot, ok, status);
}

static void refuse(struct submission *sub, enum submit_status status)
{
    answer(sub, false, status);
    free_submission(sub);
}

static void committed(struct spool_waiter *waiter, bool durable)
{
    struct submission *sub = CONTAINER_OF(waiter, struct submission, waiter);
    struct queue *q = sub->queue;
    if (!durable && !sub->known) {
        answer(sub, false, SUBMIT_TROUBLE);
    } else if (!sub->known) {
        queue_letter_durable(q, sub->letter, queue_destinations(sub->expansion));
        if (sub->channel)
            queue_accept(q, sub->channel, sub->slot, sub->letter->recipient_count, sub->came_ms);
    } else { // a known id: acknowledged when what is known of it is durable
        struct spool_letter *known = spool_find(q->spool, &sub->id);
        bool safe = known && known->durable;
        answer(sub, safe, safe ? SUBMIT_OK : SUBMIT_TROUBLE);
        if (safe && !known->owner) // ours, without its addresses
            queue_schedule(q, known);
    }
    free_submission(sub);
}

// What goes in a circle is held, by the frame that has the letter.
static void hold_loops(struct submission *sub)
{
    uint32_t i = 0;
    LIST_EACH(queue_destinations(sub->expansion), at, after)
    {
        const struct destination *d = CONTAINER_OF(at, struct destination, link);
        if (d->loops) {
            char id[MAIL_ID_TEXT + 1];
            mail_id_text(&sub->id, id);
            log_line(LOG_WARNING, "%s for %.*s is held: a mail loop", id, STR_ARG(d->address));
            spool_set_state(sub->queue->spool, sub->letter, i, SPOOL_HELD,
                            sub->letter->recipients[i].next_s, STR("a mail loop"));
        }
        i++;
    }
}

// With a large body once that is written.
static enum spool_added put(struct submission *sub, struct err *err)
{
    struct spool *spool = sub->queue->spool;
    struct envelope unused;
    if (sub->part)
        return spool_add_large(spool, sub->part->large, &sub->id, buf_str(&sub->bytes),
                               &sub->transaction, &unused, &sub->letter, err);
    if (sub->written)
        return SPOOL_TOO_LARGE;
    sub->octets.all[0] = buf_str(&sub->bytes);
    const struct spool_submission submission = {.id = sub->id,
                                                .pieces = sub->octets.all,
                                                .piece_count = sub->octets.count + 1,
                                                .envelope_size = (uint32_t)sub->bytes.len};
    return spool_add(spool, &submission, &sub->transaction, &unused, &sub->letter, err);
}

// Behind those that wait: else one of them might be overtaken for ever.
static enum spool_added put_in_turn(struct submission *sub, struct err *err)
{
    return list_empty(&sub->queue->crowd) ? put(sub, err) : SPOOL_FULL;
}

// What the spool said of an addition.
static void added(struct submission *sub, enum spool_added how, const struct err *err)
{
    char id[MAIL_ID_TEXT + 1];
    mail_id_text(&sub->id, id);
    switch (how) {
    case SPOOL_ADDED:
        queue_log_expanded(sub->expansion);
        hold_loops(sub);
        spool_wait(sub->queue->spool, &sub->waiter);
        return;
    case SPOOL_KNOWN:
        sub->known = true;
        spool_wait(sub->queue->spool, &sub->waiter);
        return;
    case SPOOL_NO_SPACE:
        refuse(sub, SUBMIT_NO_SPACE);
        return;
    case SPOOL_FULL: // its octets stay where they are meanwhile
        list_append(&sub->queue->crowd, &sub->crowd);
        sub->octets.map->users++;
        return;
    case SPOOL_BAD:
        log_line(LOG_ERROR, "a letter cannot be taken into the spool: %s: %s", id, err->text);
        refuse(sub, status_of(err));
        return;
    case SPOOL_TOO_LARGE:
        must(how != SPOOL_TOO_LARGE); // such a letter went the other way
    }
}

static void large_written(struct large_slice *last)
{
    struct submission *sub = CONTAINER_OF(last, struct submission, last);
    struct err err;
    sub->octets.map->users--;
    let_go_of_arena(sub->octets.map);
    if (!last->ok)
        added(sub, SPOOL_BAD, &last->err);
    else if (!sub->channel)
        free_submission(sub); // nobody waits for it any more
    else
        added(sub, put_in_turn(sub, &err), &err);
}

static void submit_large(struct submission *sub)
{
    struct queue *q = sub->queue;
    struct part *part = find_part(q, &sub->id);
    bool ours = part && part->channel == sub->channel && !part->submitted;
    bool fitting = fits(q, sub->written, sub->octets.size);
    // What was written in slices before this queue began is gone.
    if (!fitting || (part ? !ours || part->size != sub->written : sub->written != 0)) {
        refuse(sub, SUBMIT_TROUBLE);
        return;
    }
    if (!part && q->part_count >= LIMIT_bodies) {
        refuse(sub, SUBMIT_NO_SPACE);
        return;
    }
    sub->part = part ? part : new_part(q, sub->channel, &sub->id);
    sub->part->submitted = true;
    sub->last = (struct large_slice){.pieces = sub->octets.pieces,
                                     .piece_count = sub->octets.count,
                                     .last = true,
                                     .done = large_written};
    sub->octets.map->users++;
    large_append(sub->part->large, &sub->last);
}

static void settle(struct submission *sub, enum spool_added how, const struct err *err)
{
    if (how == SPOOL_TOO_LARGE)
        submit_large(sub);
    else
        added(sub, how, err);
}

void queue_room(void *queue)
{
    struct queue *q = queue;
    while (!list_empty(&q->crowd)) {
        struct submission *sub = CONTAINER_OF(q->crowd.next, struct submission, crowd);
        struct arena_map *map = sub->octets.map;
        struct err err;
        enum spool_added how = sub->channel ? put(sub, &err) : SPOOL_NO_SPACE;
        if (how == SPOOL_FULL)
            return;
        list_remove(&sub->crowd);
        settle(sub, how, &err);
        map->users--;
        let_go_of_arena(map);
    }
}

// The directory has said who has the letter.
static void expanded(void *owner, enum submit_status status)
{
    struct submission *sub = owner;
    struct arena_map *map = sub->octets.map;
    struct err err;
    if (!sub->channel)
        free_submission(sub);
    else if (status != SUBMIT_OK)
        refuse(sub, status);
    else if (!queue_put_expanded(sub->expansion, &sub->bytes, &err))
        refuse(sub, SUBMIT_TOO_MANY);
    else
        settle(sub, put_in_turn(sub, &err), &err);
    map->users--;
    let_go_of_arena(map);
}

// The envelope stands in front: it is copied and cut off.
static void cut_envelope(struct submission *sub, uint32_t size)
{
    struct octets *o = &sub->octets;
    for (size_t i = 0; i < o->count && sub->bytes.len < size; i++) {
        struct str head = str_sub(o->pieces[i], 0, size - sub->bytes.len);
        buf_put(&sub->bytes, head);
        o->pieces[i] = str_skip(o->pieces[i], head.len);
    }
    o->size -= size;
    must(buf_ok(&sub->bytes));
}

static void look_up(struct submission *sub, uint32_t envelope_size)
{
    struct err err;
    if (envelope_size > sub->octets.size || envelope_size > LIMIT_envelope) {
        err_set(&err, ERR_PEER_WRONG, STATUS(5, 3, 0), "the envelope is larger than the letter");
        added(sub, SPOOL_BAD, &err);
        return;
    }
    cut_envelope(sub, envelope_size);
    if (!envelope_read(buf_str(&sub->bytes), &sub->transaction, &sub->envelope, &err)) {
        added(sub, SPOOL_BAD, &err);
        return;
    }
    sub->octets.map->users++; // while it is asked
    sub->expansion = queue_expand(sub->queue, &sub->envelope, &sub->transaction, expanded, sub);
    queue_advance(sub->queue);
}

static void take_submission(struct queue *q, struct ipc_channel *channel, uint32_t slot,
                            const struct msg_submit *said, struct octets octets)
{
    queue_count_taken(q, octets.size);
    struct submission *sub = calloc(1, sizeof *sub);
    must(sub != NULL);
    *sub = (struct submission){.queue = q,
                               .channel = channel,
                               .slot = slot,
                               .came_ms = loop_now(q->role->loop),
                               .id = said->letter,
                               .written = said->written,
                               .octets = octets,
                               .waiter.done = committed};
    list_append(&q->submissions, &sub->link);
    arena_init(&sub->transaction, 8 * (size_t)LIMIT_envelope);
    buf_init(&sub->bytes, LIMIT_envelope);
    if (spool_find(q->spool, &sub->id))
        added(sub, SPOOL_KNOWN, NULL);
    else
        look_up(sub, said->envelope);
}

// ---- what a receiver says

// Of a letter that may stand in a part of the log that was not read yet: it came with an earlier
// queue's lease. As many as there are credits for, and the octets are in the receiver's arena.
struct parked {
    struct link link; // in queue.parked
    struct ipc_channel *channel;
    struct msg said; // without its extents
    struct octets octets;
};

static void take(struct queue *q, struct ipc_channel *channel, const struct msg *m,
                 struct octets octets)
{
    if (m->type == MSG_slice)
        take_slice(q, channel, m->slot, &m->slice, octets);
    else
        take_submission(q, channel, m->slot, &m->submit, octets);
}

static const struct mail_id *letter_of(const struct msg *m)
{
    return m->type == MSG_slice ? &m->slice.letter : &m->submit.letter;
}

static void park(struct queue *q, struct ipc_channel *channel, const struct msg *m,
                 struct octets octets)
{
    struct parked *parked = calloc(1, sizeof *parked);
    must(parked != NULL);
    *parked = (struct parked){.channel = channel, .said = *m, .octets = octets};
    list_append(&q->parked, &parked->link);
}

static void free_parked(struct parked *parked)
{
    list_remove(&parked->link);
    free(parked->octets.all);
    free(parked);
}

// In the order in which they came.
void queue_unpark(struct queue *q)
{
    for (struct link *at; (at = list_pop(&q->parked));) {
        struct parked *parked = CONTAINER_OF(at, struct parked, link);
        take(q, parked->channel, &parked->said, parked->octets);
        free(parked);
    }
}

static void arrived(struct ipc_channel *channel, const struct msg *m, struct str extents)
{
    struct role *role = ipc_context(channel);
    struct queue *q = role->state;
    struct octets octets;
    if (!take_extents(q, channel, extents, &octets))
        ipc_break(channel, "what it submits is not in its arena");
    else if (queue_may_be_logged(q, letter_of(m)))
        park(q, channel, m, octets);
    else
        take(q, channel, m, octets);
}

void queue_on_slice(struct ipc_channel *channel, struct msg *m, void *owner)
{
    (void)owner;
    arrived(channel, m, m->slice.extents);
}

void queue_on_submit(struct ipc_channel *channel, struct msg *m, void *owner)
{
    (void)owner;
    arrived(channel, m, m->submit.extents);
}

void queue_on_discard(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct queue *q = role->state;
    struct part *part = find_part(q, &m->discard.letter);
    (void)owner;
    if (part && part->channel == channel && !part->submitted)
        end_part(part);
    LIST_EACH(&q->parked, at, after)
    {
        struct parked *parked = CONTAINER_OF(at, struct parked, link);
        if (parked->channel != channel ||
            !mail_id_equal(letter_of(&parked->said), &m->discard.letter))
            continue;
        if (parked->said.type == MSG_slice)
            answer_slice(channel, parked->said.slot, false, 451);
        else
            answer_submission(channel, parked->said.slot, false, SUBMIT_TROUBLE);
        free_parked(parked);
    }
}

// ---- the end of a receiver

void queue_receiver_gone(struct queue *q, struct ipc_channel *channel)
{
    queue_pace_forget(q, channel);
    LIST_EACH(&q->submissions, at, after)
    {
        struct submission *sub = CONTAINER_OF(at, struct submission, link);
        if (sub->channel == channel)
            sub->channel = NULL;
    }
    LIST_EACH(&q->parts, at, after)
    {
        struct part *part = CONTAINER_OF(at, struct part, link);
        if (part->channel != channel)
            continue;
        part->channel = NULL;
        if (!part->submitted && !part->over)
            end_part(part);
    }
    LIST_EACH(&q->parked, at, after)
    {
        struct parked *parked = CONTAINER_OF(at, struct parked, link);
        if (parked->channel == channel)
            free_parked(parked);
    }
    struct arena_map *map = find_arena(q, ipc_instance(channel));
    if (map) {
        map->gone = true;
        let_go_of_arena(map);
    }
}
