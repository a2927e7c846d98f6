// Who has a letter, before it is in the log (promise 9): each recipient of a submission is asked of
// the directory, and where one stands for others, their mailboxes, and addresses at other hosts,
// take its place in the envelope that is committed. So the end of an alias and what came of it are
// one frame, because the alias never stands in the log, and nothing is expanded twice. The answers
// serve the first attempt too.
//
// A mailbox or address that is reached in two ways has one copy. What was delivered once with our
// own token on it (Delivered-To) and would be sent to the same address by an alias goes in a
// circle.
#include "roles/queue.h"

#include "base/limits.h"
#include "ipc/targets.h"
#include "ipc/verdicts.h"
#include "mail/received.h"

enum { EXPAND_MS = 4000 }; // the receiver gives up after 5 s

// One recipient of the envelope, and what the directory says of it.
struct recipient {
    struct lookup lookup;
    struct expansion *expansion;
    struct link destinations;
    struct envelope_wish wish;
    uint64_t generation;
    bool expanded;
};

struct expansion {
    struct queue *queue;
    const struct envelope *envelope;
    struct arena *arena; // the submission's
    void (*done)(void *owner, enum submit_status status);
    void *owner; // NULL: it has no use for the answers any more
    struct timer timer;
    struct recipient *recipients;
    uint32_t count;           // of them
    uint32_t unanswered;      // of them
    struct link destinations; // when all is answered
    uint32_t destination_count;
    bool over;    // done was called
    bool changed; // the envelope is not what was submitted
};

static void free_at_end(struct expansion *x)
{
    bool waits = x->owner != NULL;
    for (uint32_t i = 0; i < x->count && !waits; i++)
        waits = x->recipients[i].lookup.asked;
    if (waits)
        return;
    free(x->recipients);
    free(x);
}

static void finish(struct expansion *x, enum submit_status status)
{
    if (x->over)
        return;
    x->over = true;
    loop_cancel_timer(x->queue->role->loop, &x->timer);
    x->done(x->owner, status);
}

static void out_of_time(struct timer *timer)
{
    finish(CONTAINER_OF(timer, struct expansion, timer), SUBMIT_TROUBLE);
}

// ---- one recipient

// Did a letter with this token on it come back?
static bool was_delivered(const struct envelope *envelope, struct str token)
{
    for (struct str rest = envelope->delivered; rest.len >= DELIVERED_TOKEN;
         rest = str_skip(rest, DELIVERED_TOKEN))
        if (str_eq(str_sub(rest, 0, DELIVERED_TOKEN), token))
            return true;
    return false;
}

static bool add(struct recipient *r, const struct resolved_target *target, bool loops)
{
    struct arena *arena = r->expansion->arena;
    struct destination *d = ARENA_NEW(arena, struct destination);
    if (!d || !arena_copy(arena, target->address, &d->address) ||
        !arena_copy(arena, target->mailbox, &d->mailbox) ||
        !arena_copy(arena, target->token, &d->token))
        return false;
    d->wish = r->wish;
    d->locked = target->locked;
    d->loops = loops;
    list_append(&r->destinations, &d->link);
    return true;
}

static enum submit_status take_page(struct recipient *r, const struct msg_resolved *said)
{
    const struct envelope *envelope = r->expansion->envelope;
    struct str targets = said->targets;
    struct resolved_target target;
    r->expanded = true;
    if (was_delivered(envelope, said->token)) {
        list_init(&r->destinations);
        target = (struct resolved_target){.address = r->lookup.recipient};
        return add(r, &target, true) ? SUBMIT_OK : SUBMIT_TOO_MANY;
    }
    while (targets_take(&targets, &target))
        if (!add(r, &target, was_delivered(envelope, target.token)))
            return SUBMIT_TOO_MANY;
    return targets.len ? SUBMIT_TROUBLE : SUBMIT_OK;
}

static enum submit_status take_answer(struct recipient *r, const struct msg_resolved *said)
{
    struct resolved_target itself = {.address = r->lookup.recipient,
                                     .mailbox = said->mailbox,
                                     .token = said->token,
                                     .locked = said->verdict == LOOKUP_LOCKED};
    switch (said->verdict) {
    case LOOKUP_EXPANDED:
        return take_page(r, said);
    case LOOKUP_LOCAL:
    // Not any more, or not now: the first attempt says so.
    case LOOKUP_NO_SUCH_USER:
    case LOOKUP_NOT_HOSTED:
    case LOOKUP_MOVED:
    case LOOKUP_LOCKED:
        return add(r, &itself, false) ? SUBMIT_OK : SUBMIT_TOO_MANY;
    default:
        return SUBMIT_TROUBLE;
    }
}

static void merge(struct expansion *x);

static void answered(struct queue *q, struct lookup *lookup, const struct msg_resolved *said)
{
    struct recipient *r = CONTAINER_OF(lookup, struct recipient, lookup);
    struct expansion *x = r->expansion;
    if (x->over) {
        free_at_end(x);
        return;
    }
    if (lookup->after && said->generation != r->generation) { // changed between two pages
        list_init(&r->destinations);
        lookup->after = 0;
        queue_put_lookup(q, lookup);
        return;
    }
    enum submit_status status = take_answer(r, said);
    r->generation = said->generation;
    lookup->after = said->verdict == LOOKUP_EXPANDED ? said->next : 0;
    if (status != SUBMIT_OK)
        finish(x, status);
    else if (lookup->after)
        queue_put_lookup(q, lookup);
    else if (--x->unanswered == 0)
        merge(x);
}

// The directory is gone: all of this recipient is asked anew, unless nobody waits for it.
static void lost(struct queue *q, struct lookup *lookup)
{
    struct recipient *r = CONTAINER_OF(lookup, struct recipient, lookup);
    if (r->expansion->over) {
        free_at_end(r->expansion);
        return;
    }
    list_init(&r->destinations);
    lookup->after = 0;
    queue_put_lookup(q, lookup);
}

// ---- all of them

// What two of one place have in common: the mailbox; at another host the token, which is made of
// the folded address. Empty: of this one nothing is known.
static struct str place_of(const struct destination *d)
{
    return d->mailbox.len ? d->mailbox : d->token;
}

static bool same_place(const void *item, const void *key)
{
    const struct str *place = key;
    return str_eq(place_of(item), *place);
}

// True when it is the first of its place. One that loops gives way to one that does not.
static bool first_of_place(struct queue *q, struct map *seen, struct destination *d)
{
    struct str place = place_of(d);
    uint64_t hash = str_hash(place, q->hash_key);
    struct destination *before = place.len ? map_find(seen, hash, &place) : NULL;
    if (!before && place.len)
        map_put(seen, hash, d);
    if (before)
        before->loops &= d->loops;
    return !before;
}

static void merge(struct expansion *x)
{
    struct map seen;
    bool loops = true;
    map_init(&seen, same_place);
    for (uint32_t i = 0; i < x->count; i++) {
        struct recipient *r = &x->recipients[i];
        x->changed |= r->expanded;
        LIST_EACH(&r->destinations, at, after)
        {
            list_remove(at);
            if (first_of_place(x->queue, &seen, CONTAINER_OF(at, struct destination, link))) {
                list_append(&x->destinations, at);
                x->destination_count++;
            } else {
                x->changed = true;
            }
        }
    }
    map_finish(&seen);
    LIST_EACH(&x->destinations, at, after)
    {
        loops &= CONTAINER_OF(at, struct destination, link)->loops;
    }
    finish(x, loops ? SUBMIT_LOOP : SUBMIT_OK);
}

// ---- for the submission

struct expansion *queue_expand(struct queue *q, const struct envelope *envelope,
                               struct arena *arena,
                               void (*done)(void *owner, enum submit_status status), void *owner)
{
    struct expansion *x = calloc(1, sizeof *x);
    struct buf text;
    must(x != NULL);
    *x = (struct expansion){.queue = q,
                            .envelope = envelope,
                            .arena = arena,
                            .done = done,
                            .owner = owner,
                            .count = envelope->recipient_count,
                            .unanswered = envelope->recipient_count};
    x->recipients = calloc(x->count, sizeof *x->recipients);
    must(x->recipients != NULL);
    x->timer.fire = out_of_time;
    list_init(&x->destinations);
    buf_init(&text, LIMIT_address * 2);
    for (uint32_t i = 0; i < x->count; i++) {
        struct recipient *r = &x->recipients[i];
        r->expansion = x;
        list_init(&r->destinations);
        if (envelope->wishes)
            r->wish = envelope->wishes[i];
        r->lookup = (struct lookup){.answered = answered, .lost = lost};
        buf_clear(&text);
        address_put(&text, &envelope->recipients[i]);
        must(arena_copy(arena, buf_str(&text), &r->lookup.recipient)); // less than was read
        queue_put_lookup(q, &r->lookup);
    }
    buf_finish(&text);
    loop_set_timer(q->role->loop, &x->timer, EXPAND_MS);
    return x;
}

void queue_expansion_close(struct expansion **expansion)
{
    struct expansion *x = *expansion;
    *expansion = NULL;
    if (!x)
        return;
    loop_cancel_timer(x->queue->role->loop, &x->timer);
    for (uint32_t i = 0; i < x->count; i++)
        list_remove(&x->recipients[i].lookup.link);
    x->over = true;
    x->owner = NULL;
    free_at_end(x);
}

const struct link *queue_destinations(const struct expansion *x)
{
    return &x->destinations;
}

bool queue_put_expanded(const struct expansion *x, struct buf *out, struct err *err)
{
    struct envelope envelope = *x->envelope;
    uint32_t count = 0;
    if (!x->changed)
        return true;
    struct address *recipients =
        arena_alloc_array(x->arena, x->destination_count, sizeof *recipients);
    struct envelope_wish *wishes =
        arena_alloc_array(x->arena, x->destination_count, sizeof *wishes);
    bool ok = recipients && wishes;
    LIST_EACH(&x->destinations, at, after)
    {
        const struct destination *d = CONTAINER_OF(at, struct destination, link);
        ok = ok && address_read_stored(d->address, PATH_FORWARD, x->arena, &recipients[count], err);
        if (ok)
            wishes[count++] = d->wish;
    }
    envelope.recipients = recipients;
    envelope.wishes = envelope.wishes ? wishes : NULL;
    envelope.recipient_count = x->destination_count;
    buf_clear(out);
    if (ok)
        envelope_put(out, &envelope);
    return (ok && buf_ok(out)) ||
           err_set(err, ERR_TRY_LATER, STATUS(4, 5, 3), "an alias stands for too many mailboxes");
}

void queue_log_expanded(const struct expansion *x)
{
    char id[MAIL_ID_TEXT + 1];
    mail_id_text(&x->envelope->id, id);
    for (uint32_t i = 0; i < x->count; i++)
        if (x->recipients[i].expanded)
            log_event(&(struct log_event){
                .name = EVENT_expanded, .id = str_of(id), .to = x->recipients[i].lookup.recipient});
}
