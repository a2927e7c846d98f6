// A letter's way through the queue:
//
//   durable ──► attempts (one a recipient) ──resolve──► ready ──batch──► flight ──► state ──► end
//      ▲                                      │ no such user, trouble        │ failed
//   timer ──► due ──fetch the envelope        ▼                              ▼
//      ▲                               state "waiting", next time ───────────┘
//      └──────────────────────────────────────┘
//
// One whose time is over (limits.expire) or whose sender is to hear of the delay goes to
// queue_tell.c from "due"; so does who is not there any more.
//
// A letter just accepted has its recipients and their mailboxes at hand (queue_expand.c); one that
// waited has the recipients on disk.
#include "roles/queue.h"

#include "base/limits.h"
#include "ipc/verdicts.h"
#include "mail/received.h"
#include "os/clock.h"
#include "os/file.h"
#include "store/desk.h"

enum { LARGE_COPIES = 24 }; // deliveries of a large letter: their manifest is part of a message

// Local delivery is tried again after so many seconds (design.md: 10 s, 1 min, 5 min, then 30 min).
static const uint32_t retry_s[] = {10, 60, 300, 1800};

uint32_t queue_now_s(const struct queue *q)
{
    return (uint32_t)((os_monotonic_ms() + q->clock_ms) / 1000);
}

static void id_text(const struct attempt *a, char text[MAIL_ID_TEXT + 1])
{
    mail_id_text(&a->letter->id, text);
}

// ---- timers

static void letter_due(struct timer *timer)
{
    struct spool_letter *letter = CONTAINER_OF(timer, struct spool_letter, timer);
    struct queue *q = letter->owner;
    if (!link_used(&letter->due)) {
        list_append(&q->due, &letter->due);
        q->due_count++;
    }
    queue_advance(q);
}

// ---- age

// A time that is further away than any wait was written by the word of another clock.
static void bound_waits(const struct queue *q, struct spool_letter *letter)
{
    uint32_t now = queue_now_s(q);
    for (uint32_t i = 0; i < letter->recipient_count; i++)
        if (letter->recipients[i].next_s > now + retry_s[ARRAY_LEN(retry_s) - 1])
            letter->recipients[i].next_s = now;
}

// A letter from before the start is as old as the wall clock says, one of this process counts from
// now.
static void own(struct queue *q, struct spool_letter *letter)
{
    uint32_t now = queue_now_s(q), id_s = (uint32_t)(mail_id_ms(&letter->id) / 1000);
    if (letter->owner)
        return;
    letter->owner = q;
    letter->since_s = letter->from_start && id_s < now ? id_s : now;
    bound_waits(q, letter);
}

static uint32_t expires_s(const struct queue *q, const struct spool_letter *letter)
{
    return letter->since_s + (uint32_t)(q->role->conf->limits.expire / 1000);
}

static uint32_t late_s(const struct queue *q, const struct spool_letter *letter)
{
    return letter->since_s + (uint32_t)(q->role->conf->limits.delay_notice / 1000);
}

uint64_t queue_expires_in_ms(const struct queue *q, const struct spool_letter *letter)
{
    uint32_t now = queue_now_s(q), end = expires_s(q, letter);
    return end > now ? (uint64_t)(end - now) * 1000 : 0;
}

// Nothing expires that was not tried since the start (promise 11).
static bool is_over(const struct queue *q, const struct spool_letter *letter,
                    const struct spool_recipient *r)
{
    return r->tried && queue_now_s(q) >= expires_s(q, letter);
}

static bool is_late(const struct queue *q, const struct spool_letter *letter,
                    const struct spool_recipient *r)
{
    return r->attempts && !r->told && queue_now_s(q) >= late_s(q, letter);
}

// The next attempt; or, when that comes first, the end of its time, or of the sender's patience.
static uint32_t next_event_s(const struct queue *q, const struct spool_letter *letter,
                             const struct spool_recipient *r)
{
    uint32_t at = r->next_s, now = queue_now_s(q);
    uint32_t over = expires_s(q, letter), late = late_s(q, letter);
    if (r->tried && now < over && over < at)
        at = over;
    if (r->attempts && !r->told && now < late && late < at)
        at = late;
    return at;
}

// Promise 11: a pending recipient that is not held and not under way has a time, and the letter's
// timer stands at the earliest.
void queue_schedule(struct queue *q, struct spool_letter *letter)
{
    uint32_t earliest = UINT32_MAX, now = queue_now_s(q);
    own(q, letter);
    for (uint32_t i = 0; i < letter->recipient_count; i++) {
        const struct spool_recipient *r = &letter->recipients[i];
        if (r->state != SPOOL_WAITING || r->busy)
            continue;
        uint32_t at = next_event_s(q, letter, r);
        if (at < earliest)
            earliest = at;
    }
    if (earliest == UINT32_MAX)
        return;
    letter->timer.fire = letter_due;
    uint64_t wait_s = earliest > now ? earliest - now : 0;
    loop_set_timer(q->role->loop, &letter->timer, wait_s * 1000);
}

// ---- attempts

static void keep_mailbox(struct attempt *a, struct str mailbox, struct str token)
{
    char *copy = malloc(mailbox.len + token.len + 1);
    must(copy != NULL);
    memcpy(copy, mailbox.ptr, mailbox.len);
    memcpy(copy + mailbox.len, token.ptr, token.len);
    a->mailbox = str_from(copy, mailbox.len);
    a->token = str_from(copy + mailbox.len, token.len);
}

static void resolved(struct queue *q, struct lookup *lookup, const struct msg_resolved *said);
static void told_of_delivery(struct flight *f);

static struct attempt *new_attempt(struct queue *q, struct spool_letter *letter, uint32_t recipient,
                                   const struct destination *to)
{
    struct attempt *a = calloc(1, sizeof *a + to->address.len);
    must(a != NULL);
    a->letter = letter;
    a->recipient = recipient;
    a->notify = to->wish.notify;
    memcpy(a + 1, to->address.ptr, to->address.len);
    a->address = str_from(a + 1, to->address.len);
    letter->recipients[recipient].busy = DESK_BUSY;
    q->attempts++;
    return a;
}

static void try(struct queue *q, struct attempt *a, const struct destination *to)
{
    if (to->mailbox.len && !to->locked) {
        keep_mailbox(a, to->mailbox, to->token);
        list_append(&q->ready, &a->link);
        return;
    }
    // What could be expanded was, before it was committed.
    a->lookup = (struct lookup){
        .recipient = a->address, .final = true, .answered = resolved, .lost = queue_put_lookup};
    queue_put_lookup(q, &a->lookup);
}

void queue_reschedule(struct queue *q, struct spool_letter *letter)
{
    if (letter->pending) {
        bound_waits(q, letter);
        queue_schedule(q, letter);
        return;
    }
    // Its memory goes with its segment: nothing may point to it.
    loop_cancel_timer(q->role->loop, &letter->timer);
    q->due_count -= link_used(&letter->due);
    list_remove(&letter->due);
}

void queue_end_attempt(struct queue *q, struct attempt *a)
{
    struct spool_recipient *r = &a->letter->recipients[a->recipient];
    if (r->busy == DESK_DROPPING && r->state == SPOOL_HELD)
        desk_drop(q->spool, a->letter, a->recipient, a->address);
    r->busy = DESK_IDLE;
    if (a->letter->pending == 0)
        queue_reschedule(q, a->letter);
    list_remove(&a->link);
    list_remove(&a->lookup.link);
    if (a->flight)
        told_of_delivery(a->flight);
    q->attempts--;
    q->ended++;
    free((void *)(uintptr_t)a->mailbox.ptr);
    free(a);
}

// True: an administrator held the recipient meanwhile, or dropped it, and the attempt is over.
static bool withdrawn(struct queue *q, struct attempt *a)
{
    if (a->letter->recipients[a->recipient].state != SPOOL_HELD)
        return false;
    queue_end_attempt(q, a);
    return true;
}

uint64_t queue_withdraw(struct queue *q)
{
    uint64_t ended = 0;
    LIST_EACH(&q->ready, at, after)
    {
        ended += withdrawn(q, CONTAINER_OF(at, struct attempt, link));
    }
    LIST_EACH(&q->to_resolve, at, after)
    {
        struct lookup *lookup = CONTAINER_OF(at, struct lookup, link);
        if (lookup->answered == resolved) // the others are of letters that come in
            ended += withdrawn(q, CONTAINER_OF(lookup, struct attempt, lookup));
    }
    return ended;
}

// The attempt failed for now: a later one is written down.
void queue_defer(struct queue *q, struct attempt *a, struct str reason)
{
    if (withdrawn(q, a))
        return;
    struct spool_letter *letter = a->letter;
    struct spool_recipient *r = &letter->recipients[a->recipient];
    char id[MAIL_ID_TEXT + 1];
    size_t step = r->attempts < ARRAY_LEN(retry_s) ? r->attempts : ARRAY_LEN(retry_s) - 1;
    id_text(a, id);
    if (r->attempts < UINT16_MAX)
        r->attempts++;
    r->tried = 1;
    spool_set_state(q->spool, letter, a->recipient, SPOOL_WAITING, queue_now_s(q) + retry_s[step],
                    reason);
    log_event(&(struct log_event){.name = EVENT_deferred,
                                  .id = str_of(id),
                                  .to = a->address,
                                  .text = reason,
                                  .attempts = r->attempts,
                                  .delay_ms = (uint64_t)retry_s[step] * 1000});
    q->deferred++;
    queue_end_attempt(q, a);
    queue_schedule(q, letter);
}

// The attempt failed, and there is no use in another one.
static void give_up(struct queue *q, struct attempt *a, struct status status, struct str reason)
{
    if (!withdrawn(q, a))
        queue_tell(q, a, REPORT_FAILED, status, reason);
}

// The attempt failed for now: a later one comes, unless its time is over.
static void put_off(struct queue *q, struct attempt *a, struct str reason)
{
    struct spool_recipient *r = &a->letter->recipients[a->recipient];
    r->tried = 1;
    if (is_over(q, a->letter, r))
        give_up(q, a, STATUS(4, 4, 7), reason);
    else
        queue_defer(q, a, reason);
}

// Not to be tried until an administrator looked at it.
void queue_hold(struct queue *q, struct attempt *a, struct str reason)
{
    char id[MAIL_ID_TEXT + 1];
    id_text(a, id);
    log_line(LOG_ERROR, "%s for %.*s is held: %.*s", id, STR_ARG(a->address), STR_ARG(reason));
    if (withdrawn(q, a))
        return;
    spool_set_state(q->spool, a->letter, a->recipient, SPOOL_HELD, queue_now_s(q), reason);
    queue_end_attempt(q, a);
}

void queue_letter_durable(struct queue *q, struct spool_letter *letter,
                          const struct link *destinations)
{
    uint32_t i = 0;
    own(q, letter);
    if (q->attempts + letter->recipient_count > LIMIT_attempts) {
        queue_schedule(q, letter); // found again on disk when there is room
        return;
    }
    LIST_EACH(destinations, at, after)
    {
        const struct destination *to = CONTAINER_OF(at, struct destination, link);
        if (letter->recipients[i].state == SPOOL_WAITING)
            try(q, new_attempt(q, letter, i, to), to);
        i++;
    }
    queue_advance(q);
}

// ---- letters that waited: their recipients are read from disk

struct fetch {
    struct os_job job;
    struct queue *queue;
    struct spool_letter *letter;
    struct arena arena;
    struct envelope envelope;
    bool ok;
    struct err err;
};

static void fetch_work(struct os_job *job)
{
    struct fetch *f = CONTAINER_OF(job, struct fetch, job);
    struct buf bytes;
    buf_init(&bytes, LIMIT_envelope);
    f->ok = spool_read_envelope(f->queue->spool, f->letter, &bytes, &f->err) &&
            envelope_read(buf_str(&bytes), &f->arena, &f->envelope, &f->err);
    buf_finish(&bytes);
}

// A letter whose envelope cannot be read: on a damaged record it waits for the administrator, on
// trouble with the disk for its next time.
static void fetch_failed(struct queue *q, struct fetch *f)
{
    bool damaged = f->err.class == ERR_OUR_BUG || f->err.class == ERR_PEER_WRONG;
    log_line(LOG_ERROR, "%s", f->err.text);
    for (uint32_t i = 0; i < f->letter->recipient_count; i++) {
        struct spool_recipient *r = &f->letter->recipients[i];
        if (r->state != SPOOL_WAITING || r->busy)
            continue;
        spool_set_state(q->spool, f->letter, i, damaged ? SPOOL_HELD : SPOOL_WAITING,
                        queue_now_s(q) + retry_s[1], err_text(&f->err));
    }
    queue_schedule(q, f->letter);
}

// What is due of a letter's recipient.
static void fetched(struct queue *q, struct spool_letter *letter, uint32_t recipient,
                    const struct destination *to)
{
    const struct spool_recipient *r = &letter->recipients[recipient];
    struct str reason = spool_reason(q->spool, r);
    if (is_over(q, letter, r))
        give_up(q, new_attempt(q, letter, recipient, to), STATUS(4, 4, 7), reason);
    else if (is_late(q, letter, r))
        queue_tell(q, new_attempt(q, letter, recipient, to), REPORT_DELAYED, STATUS(4, 4, 7),
                   reason);
    else if (r->next_s <= queue_now_s(q))
        try(q, new_attempt(q, letter, recipient, to), to);
}

static void fetch_done(struct os_job *job)
{
    struct fetch *f = CONTAINER_OF(job, struct fetch, job);
    struct queue *q = f->queue;
    struct spool_letter *letter = f->letter;
    struct buf address;
    buf_init(&address, LIMIT_address * 2);
    if (f->ok && f->envelope.recipient_count != letter->recipient_count) {
        f->ok = err_set(&f->err, ERR_OUR_BUG, STATUS(4, 3, 0), "an envelope of another letter");
    }
    for (uint32_t i = 0; f->ok && i < letter->recipient_count; i++) {
        const struct spool_recipient *r = &letter->recipients[i];
        if (r->state != SPOOL_WAITING || r->busy)
            continue;
        buf_clear(&address);
        address_put(&address, &f->envelope.recipients[i]);
        struct destination to = {.address = buf_str(&address)};
        if (f->envelope.wishes)
            to.wish = f->envelope.wishes[i];
        fetched(q, letter, i, &to);
    }
    if (!f->ok)
        fetch_failed(q, f);
    else
        queue_schedule(q, letter);
    q->due_count--;
    spool_let_go(q->spool, letter);
    buf_finish(&address);
    arena_finish(&f->arena);
    free(f);
    queue_advance(q);
}

static void fetch(struct queue *q, struct spool_letter *letter)
{
    struct fetch *f = calloc(1, sizeof *f);
    must(f != NULL);
    *f = (struct fetch){
        .job = {.work = fetch_work, .done = fetch_done}, .queue = q, .letter = letter};
    arena_init(&f->arena, 4 * (size_t)LIMIT_envelope);
    spool_hold(letter);
    os_workers_submit(q->readers, &f->job);
}

// ---- resolve

static void resolve(struct queue *q, struct ipc_channel *directory)
{
    while (!list_empty(&q->to_resolve)) {
        struct lookup *lookup = CONTAINER_OF(q->to_resolve.next, struct lookup, link);
        struct msg m = {.type = MSG_resolve};
        m.resolve.recipient = lookup->recipient;
        m.resolve.final = lookup->final;
        m.resolve.after = lookup->after;
        if (!ipc_request(directory, &m, lookup))
            return;
        lookup->asked = true;
        list_remove(&lookup->link);
    }
}

// It is asked in the next queue_advance.
void queue_put_lookup(struct queue *q, struct lookup *lookup)
{
    lookup->asked = false;
    list_append(&q->to_resolve, &lookup->link);
}

void queue_on_resolved(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct lookup *lookup = owner;
    lookup->asked = false;
    lookup->answered(role->state, lookup, &m->resolved);
    queue_advance(role->state);
}

static void resolved(struct queue *q, struct lookup *lookup, const struct msg_resolved *said)
{
    struct attempt *a = CONTAINER_OF(lookup, struct attempt, lookup);
    if (withdrawn(q, a))
        return;
    switch (said->verdict) {
    case LOOKUP_LOCAL:
        keep_mailbox(a, said->mailbox, said->token);
        list_append(&q->ready, &a->link);
        break;
    case LOOKUP_LOCKED:
        put_off(q, a, STR("the mailbox is locked"));
        break;
    case LOOKUP_NO_SUCH_USER:
        give_up(q, a, STATUS(5, 1, 1), STR("the user is not there any more"));
        break;
    case LOOKUP_NOT_HOSTED:
        queue_hold(q, a, STR("the domain is not hosted here, and nothing is sent elsewhere yet"));
        break;
    default:
        put_off(q, a, STR("the directory cannot answer"));
    }
}

// ---- batches

struct flight {
    struct os_job job;
    struct queue *queue;
    uint64_t number;
    struct window window;
    uint64_t manifest;
    bool ok;
    struct err err;
    struct spool_waiter waiter; // for the states of a batch that came back
    size_t untold;              // deliveries that came back, and whose senders want to hear of them
    struct ipc_channel *postman;
    size_t count;
    struct attempt *attempts[LIMIT_delivery_batch];
    // ERR_NONE: it is in the window. ERR_TRY_LATER: the disk would not give it now. Else: damaged.
    enum err_class read[LIMIT_delivery_batch];
};

// What the deliveries of one letter have in common: recipients of the same letter follow each other
// in a batch, and share its header and its body.
struct builder {
    struct flight *flight;
    const struct spool_letter *letter; // whose `item` and `header` are
    struct window_item item;
    struct buf envelope, return_path, header;
};

static bool put_body(struct flight *f, const struct spool_letter *letter, struct window_item *item)
{
    item->offset = f->window.bodies.len;
    item->size = letter->body_size;
    item->crc = letter->body_crc;
    item->scan_flags = letter->scan_flags;
    if (!letter->large) // straight into the window: the body is not copied on the way
        return spool_read_body(f->queue->spool, letter, &f->window.bodies, &f->err);
    int fd;
    if (!spool_open_body(f->queue->spool, letter, &fd, &f->err))
        return false;
    window_open_file(&f->window, fd, letter->body_size);
    return true;
}

static bool put_letter(struct builder *b, const struct spool_letter *letter)
{
    struct flight *f = b->flight;
    struct envelope envelope;
    struct arena arena;
    b->letter = NULL;
    buf_clear(&b->envelope);
    buf_clear(&b->return_path);
    arena_init(&arena, 4 * (size_t)LIMIT_envelope);
    bool ok = spool_read_envelope(f->queue->spool, letter, &b->envelope, &f->err) &&
              envelope_read(buf_str(&b->envelope), &arena, &envelope, &f->err);
    if (ok)
        return_path_put(&b->return_path, &envelope.reverse_path);
    arena_finish(&arena);
    if (!ok || !put_body(f, letter, &b->item))
        return false;
    b->letter = letter;
    b->item.id = letter->id;
    return true;
}

static void put_item(struct builder *b, const struct attempt *a)
{
    buf_clear(&b->header);
    buf_put(&b->header, buf_str(&b->return_path));
    delivered_to_put(&b->header, a->address, a->token);
    must(buf_ok(&b->header));
    b->item.recipient = a->recipient;
    b->item.mailbox = a->mailbox;
    b->item.header = buf_str(&b->header);
    window_put_item(&b->flight->window, &b->item);
}

// One that cannot be read, now or ever, must not hold up those it happens to be with.
static void put_all(struct flight *f)
{
    struct builder b = {.flight = f};
    buf_init(&b.envelope, LIMIT_envelope);
    buf_init(&b.return_path, LIMIT_address * 2);
    buf_init(&b.header, LIMIT_address * 4);
    for (size_t i = 0; i < f->count; i++) {
        const struct attempt *a = f->attempts[i];
        bool ok = b.letter == a->letter || put_letter(&b, a->letter);
        f->read[i] = ok ? ERR_NONE : f->err.class;
        if (ok)
            put_item(&b, a);
        else
            log_line(LOG_ERROR, "%s", f->err.text);
    }
    buf_finish(&b.envelope);
    buf_finish(&b.return_path);
    buf_finish(&b.header);
}

static void build_work(struct os_job *job)
{
    struct flight *f = CONTAINER_OF(job, struct flight, job);
    bool large = f->attempts[0]->letter->large;
    f->ok = large || window_open(&f->window, &f->err);
    if (f->ok)
        put_all(f);
    if (f->ok && !large)
        f->ok = window_seal(&f->window, &f->manifest, &f->err);
    else if (f->ok && !buf_ok(&f->window.manifest))
        f->ok = err_set(&f->err, ERR_OUR_BUG, STATUS(4, 3, 0), "a manifest that is too long");
}

static void free_flight(struct flight *f)
{
    f->queue->flights--;
    window_close(&f->window);
    free(f);
}

// All of the batch go back to be tried again at once (the postman went away), at the front.
static void take_back(struct flight *f, bool killed)
{
    struct queue *q = f->queue;
    for (size_t i = f->count; i > 0; i--) {
        struct attempt *a = f->attempts[i - 1];
        spool_let_go(q->spool, a->letter);
        if (withdrawn(q, a))
            continue;
        if (killed && ++a->kills >= KILLS_MAX && f->count == 1)
            queue_hold(q, a, STR("the postman ended three times while it delivered this"));
        else
            list_prepend(&q->ready, &a->link);
    }
    free_flight(f);
}

// Those that could not be read leave the batch. The log has said which and why.
static void drop_unreadable(struct flight *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->count; i++) {
        struct attempt *a = f->attempts[i];
        if (f->read[i] == ERR_NONE) {
            f->attempts[kept++] = a;
            continue;
        }
        spool_let_go(f->queue->spool, a->letter);
        if (f->read[i] == ERR_TRY_LATER)
            queue_defer(f->queue, a, STR("the spool cannot be read"));
        else
            queue_hold(f->queue, a, STR("the letter is damaged in the spool"));
    }
    f->count = kept;
}

static void build_done(struct os_job *job)
{
    struct flight *f = CONTAINER_OF(job, struct flight, job);
    struct queue *q = f->queue;
    struct ipc_channel *postman = role_peer(q->role, IPC_POSTMAN);
    struct msg m = {.type = MSG_deliver};
    if (!f->ok) {
        log_line(LOG_WARNING, "a batch cannot be made: %s", f->err.text);
        for (size_t i = 0; i < f->count; i++) {
            spool_let_go(q->spool, f->attempts[i]->letter);
            queue_defer(q, f->attempts[i], err_text(&f->err));
        }
        free_flight(f);
        return;
    }
    drop_unreadable(f);
    if (f->count == 0) {
        free_flight(f);
        queue_advance(q);
        return;
    }
    m.deliver.window = f->window.fd;
    m.deliver.size = f->window.size;
    m.deliver.manifest = f->manifest;
    m.deliver.items = f->attempts[0]->letter->large ? buf_str(&f->window.manifest) : STR("");
    m.deliver.batch = f->number;
    f->postman = postman;
    if (!postman || !ipc_request(postman, &m, f))
        take_back(f, false);
}

// May this one go with what the flight has already? A letter that was under way when a postman died
// goes alone, so that the one at fault is found. A large letter is a batch of its own, with others
// of its recipients: its body goes to the postman as the file that it is.
static bool joins(const struct flight *f, uint64_t bytes, const struct attempt *a)
{
    const struct attempt *first = f->attempts[0], *last = f->attempts[f->count - 1];
    if (a->kills || first->kills)
        return false;
    if (a->letter->large || first->letter->large)
        return a->letter == first->letter && f->count < LARGE_COPIES;
    return a->letter == last->letter || bytes + a->letter->body_size <= LIMIT_delivery_bytes;
}

// A batch is what is ready now, up to its limits: no waiting for more.
static void launch(struct queue *q)
{
    struct flight *f = calloc(1, sizeof *f);
    uint64_t bytes = 0;
    must(f != NULL);
    f->queue = q;
    f->number = q->next_batch++;
    f->window.fd = -1;
    f->job = (struct os_job){.work = build_work, .done = build_done};
    while (f->count < LIMIT_delivery_batch && !list_empty(&q->ready)) {
        struct attempt *a = CONTAINER_OF(q->ready.next, struct attempt, link);
        if (f->count && !joins(f, bytes, a))
            break;
        if (!f->count || f->attempts[f->count - 1]->letter != a->letter)
            bytes += a->letter->body_size;
        list_remove(&a->link);
        spool_hold(a->letter);
        f->attempts[f->count++] = a;
    }
    q->flights++;
    os_workers_submit(q->readers, &f->job);
}

// ---- results

static void delivered_durable(struct spool_waiter *waiter, bool durable)
{
    struct flight *f = CONTAINER_OF(waiter, struct flight, waiter);
    struct queue *q = f->queue;
    struct msg m = {.type = MSG_forget};
    (void)durable; // states are always durable in the end
    m.forget.batch = f->number;
    if (f->postman && f->postman == role_peer(q->role, IPC_POSTMAN))
        ipc_send(f->postman, &m);
    free(f);
}

// All that became of the batch is in the spool.
static void end_flight(struct flight *f)
{
    f->waiter = (struct spool_waiter){.for_states = true, .done = delivered_durable};
    spool_wait(f->queue->spool, &f->waiter);
}

static void told_of_delivery(struct flight *f)
{
    if (--f->untold == 0)
        end_flight(f);
}

static void log_delivered(const struct attempt *a)
{
    char id[MAIL_ID_TEXT + 1];
    id_text(a, id);
    log_event(&(struct log_event){
        .name = EVENT_delivered, .id = str_of(id), .to = a->address, .size = a->letter->body_size});
}

// results: for each delivery u8 outcome (enum delivery_outcome), u16 length, text.
static bool next_result(struct str *results, unsigned *outcome, struct str *text)
{
    if (results->len < 3)
        return false;
    const unsigned char *p = (const unsigned char *)results->ptr;
    size_t len = (size_t)p[1] | (size_t)p[2] << 8;
    if (p[0] > DELIVERY_DAMAGED || len > results->len - 3)
        return false;
    *outcome = p[0];
    *text = str_sub(*results, 3, len);
    *results = str_skip(*results, 3 + len);
    return true;
}

void queue_on_delivered(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct queue *q = role->state;
    struct flight *f = owner;
    struct str results = m->delivered.results, text;
    unsigned outcome;
    f->untold = 1; // until all were looked at
    for (size_t i = 0; i < f->count; i++) {
        struct attempt *a = f->attempts[i];
        spool_let_go(q->spool, a->letter);
        if (!next_result(&results, &outcome, &text)) {
            put_off(q, a, STR("the postman gave no clear answer"));
        } else if (outcome == DELIVERY_DONE && a->notify & NOTIFY_SUCCESS) {
            a->flight = f;
            f->untold++;
            queue_tell(q, a, REPORT_DELIVERED, STATUS(2, 1, 5), STR(""));
        } else if (outcome == DELIVERY_DONE) {
            spool_set_state(q->spool, a->letter, a->recipient, SPOOL_DELIVERED, queue_now_s(q),
                            STR(""));
            log_delivered(a);
            q->delivered++;
            queue_end_attempt(q, a);
        } else if (outcome == DELIVERY_DAMAGED) {
            queue_hold(q, a, text);
        } else {
            put_off(q, a, text);
        }
    }
    q->flights--;
    window_close(&f->window);
    told_of_delivery(f);
    queue_advance(q);
}

void queue_request_lost(struct queue *q, enum ipc_type request, void *owner)
{
    if (request == MSG_resolve) {
        struct lookup *lookup = owner;
        lookup->asked = false;
        lookup->lost(q, lookup);
    } else if (request == MSG_deliver) {
        take_back(owner, true);
    }
}

// ---- everything that can be done now

void queue_advance(struct queue *q)
{
    struct ipc_channel *directory = role_peer(q->role, IPC_DIRECTORY);
    struct ipc_channel *postman = role_peer(q->role, IPC_POSTMAN);
    while (q->attempts < LIMIT_attempts && os_workers_waiting(q->readers) < 64) {
        struct link *link = list_pop(&q->due);
        if (!link)
            break;
        fetch(q, CONTAINER_OF(link, struct spool_letter, due));
    }
    if (directory)
        resolve(q, directory);
    while (postman && !q->draining && q->flights < FLIGHTS_MAX && !list_empty(&q->ready))
        launch(q);
    queue_pace(q);
}
