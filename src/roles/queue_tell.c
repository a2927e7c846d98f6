// Telling senders: a recipient whose delivery came to an end that somebody wants to hear of, or
// waits for long, ends in the frame that has the report (promise 10).
//
//   told of ──gather 1 s──► its letter is read, the report written (worker) ──expand──► one frame:
//   the report, and the states of all recipients that it tells of ──► a letter like any other
//
// Those of one letter that come together share a report. Where nobody is to be told (the sender is
// null, or said NOTIFY=NEVER, or hears too much), the states are written alone. A report of a
// letter without a sender goes to the postmaster, and of that one nobody is told (ENVELOPE_LAST).
// What cannot be told now is no end: the delivery is tried again later, and so is this.
#include "roles/queue.h"

#include <errno.h>

#include "base/limits.h"
#include "mail/report.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/random.h"
#include "store/large.h"

enum {
    GATHER_MS = 1000,
    TELLING_MAX = 16, // at one time: each may hold LIMIT_report octets
    HOUR_MS = 3600 * 1000,
};

struct item {
    struct attempt *attempt;
    enum report_kind kind;
    struct status status;
    unsigned code;     // what another host said, 0: none did
    struct str reason; // in the arena
};

struct tell {
    struct link link; // in queue.to_tell, once it has gathered
    struct timer timer;
    struct os_job job;
    struct spool_waiter waiter;
    struct queue *queue;
    struct spool_letter *letter; // held
    struct arena arena;
    struct item items[LIMIT_report_recipients];
    size_t count;
    // For the worker: the options as they are when it begins.
    struct str hostname;
    bool tell_of_delay;
    uint64_t until_ms; // wall clock: when it expires
    struct mail_id id;
    // What it made.
    bool ok, wanted;
    struct err err;
    struct address to;
    struct envelope envelope; // of the report
    struct buf envelope_bytes, body;
    struct expansion *expansion;
    struct spool_letter *report;
};

static void free_tell(struct tell *t)
{
    queue_expansion_close(&t->expansion);
    buf_finish(&t->envelope_bytes);
    buf_finish(&t->body);
    arena_finish(&t->arena);
    free(t);
}

// ---- not too many to one sender

static bool may_hear(struct queue *q, const struct address *to)
{
    uint64_t now = loop_now(q->role->loop);
    struct buf text;
    buf_init(&text, 4 * LIMIT_address);
    address_put_folded(&text, to);
    uint64_t hash = str_hash(buf_str(&text), q->hash_key);
    struct listener *l = &q->listeners[hash % LISTENERS];
    buf_finish(&text);
    if (l->hash != hash || now - l->since_ms >= HOUR_MS)
        *l = (struct listener){.hash = hash, .since_ms = now};
    return l->count++ < q->role->conf->limits.reports_per_hour;
}

// ---- the report, in a worker

static bool wants(const struct tell *t, const struct envelope *about, const struct item *item)
{
    unsigned notify = about->wishes ? about->wishes[item->attempt->recipient].notify : 0;
    bool nobody = about->reverse_path.kind == ADDRESS_NULL && item->kind != REPORT_FAILED;
    switch (item->kind) {
    case REPORT_FAILED:
        return !(about->flags & ENVELOPE_LAST) && (!notify || notify & NOTIFY_FAILURE);
    case REPORT_DELAYED:
        return !nobody && (notify ? (notify & NOTIFY_DELAY) != 0 : t->tell_of_delay);
    case REPORT_DELIVERED:
    case REPORT_RELAYED:
    case REPORT_EXPANDED:
        return !nobody && notify & NOTIFY_SUCCESS;
    case REPORT_KINDS:
        break;
    }
    return false;
}

// The beginning of a body that is a file.
static bool read_large(struct tell *t, struct buf *message)
{
    const struct spool_letter *letter = t->letter;
    struct large_reader reader;
    struct str piece;
    int fd;
    if (!spool_open_body(t->queue->spool, letter, &fd, &t->err))
        return false;
    bool ok = large_reader_init(&reader, fd, letter->body_size, letter->body_crc, &t->err);
    if (ok) {
        ok = large_reader_next(&reader, &piece, &t->err);
        if (ok)
            buf_put(message, piece);
        large_reader_finish(&reader);
    }
    os_close(&fd);
    return ok;
}

static size_t put_recipients(const struct tell *t, const struct envelope *about,
                             struct report_recipient *to, bool *failed)
{
    uint64_t now = os_wall_ms();
    size_t count = 0;
    *failed = false;
    for (size_t i = 0; i < t->count; i++) {
        const struct item *item = &t->items[i];
        if (!wants(t, about, item))
            continue;
        uint32_t number = item->attempt->recipient;
        *failed |= item->kind == REPORT_FAILED;
        to[count++] = (struct report_recipient){
            .kind = item->kind,
            .status = item->status,
            .address = &about->recipients[number],
            .original = about->wishes ? about->wishes[number].original : STR(""),
            .reason = item->reason,
            .attempt_ms = now,
            .until_ms = item->kind == REPORT_DELAYED ? t->until_ms : 0};
    }
    return count;
}

static void write_envelope(struct tell *t, const struct report *report, bool eight_bit)
{
    t->envelope = (struct envelope){.id = t->id,
                                    .arrived_ms = report->wall_ms,
                                    .flags = (report_needs_utf8(report) ? ENVELOPE_UTF8 : 0U) |
                                             (eight_bit ? ENVELOPE_8BITMIME : 0U) |
                                             (report->to_postmaster ? ENVELOPE_LAST : 0U),
                                    .reverse_path = {.kind = ADDRESS_NULL},
                                    .recipients = &t->to,
                                    .recipient_count = 1};
    envelope_put(&t->envelope_bytes, &t->envelope);
}

static bool write_report(struct tell *t, const struct envelope *about)
{
    const struct spool_letter *letter = t->letter;
    struct report_recipient recipients[LIMIT_report_recipients];
    struct buf message;
    bool failed, to_postmaster = about->reverse_path.kind == ADDRESS_NULL;
    size_t count = put_recipients(t, about, recipients, &failed);
    t->wanted = count > 0;
    if (!count)
        return true;
    t->to = about->reverse_path;
    if (to_postmaster &&
        !address_read_stored(STR("postmaster"), PATH_FORWARD, &t->arena, &t->to, &t->err))
        return false;
    buf_init(&message, LIMIT_large_body);
    bool ok = letter->large ? read_large(t, &message)
                            : spool_read_body(t->queue->spool, letter, &message, &t->err);
    uint64_t now = os_wall_ms();
    const struct report report = {.id = t->id,
                                  .hostname = t->hostname,
                                  .wall_ms = now,
                                  .zone_minutes = os_zone_minutes(now),
                                  .to = &t->to,
                                  .to_postmaster = to_postmaster,
                                  .letter = letter->id,
                                  .arrived_ms = about->arrived_ms,
                                  .envid = about->envid,
                                  .utf8 = about->flags & ENVELOPE_UTF8,
                                  .message = buf_str(&message),
                                  .whole =
                                      !letter->large && failed && about->returns != RETURN_HEADERS,
                                  .recipients = recipients,
                                  .recipient_count = count};
    if (ok)
        write_envelope(t, &report, report_put(&t->body, &report));
    buf_finish(&message);
    return ok;
}

static void work(struct os_job *job)
{
    struct tell *t = CONTAINER_OF(job, struct tell, job);
    struct envelope about;
    struct buf bytes;
    buf_init(&bytes, LIMIT_envelope);
    t->ok = spool_read_envelope(t->queue->spool, t->letter, &bytes, &t->err) &&
            envelope_read(buf_str(&bytes), &t->arena, &about, &t->err) && write_report(t, &about);
    buf_finish(&bytes);
}

// ---- the end

static void log_item(const struct tell *t, const struct item *item, bool told)
{
    char id[MAIL_ID_TEXT + 1];
    mail_id_text(&t->letter->id, id);
    struct log_event event = {
        .id = str_of(id), .to = item->attempt->address, .text = item->reason, .code = item->code};
    switch (item->kind) {
    case REPORT_FAILED:
        event.name = told ? EVENT_bounced : EVENT_failed;
        break;
    case REPORT_DELAYED:
        event.name = EVENT_delayed;
        break;
    case REPORT_RELAYED:
        event.name = EVENT_sent;
        event.size = t->letter->body_size;
        break;
    case REPORT_DELIVERED:
    case REPORT_EXPANDED:
    case REPORT_KINDS:
        event.name = EVENT_delivered;
        event.size = t->letter->body_size;
        break;
    }
    if (told || item->kind != REPORT_DELAYED)
        log_event(&event);
}

static struct spool_change change_of(struct tell *t, const struct item *item)
{
    struct spool_recipient *r = &t->letter->recipients[item->attempt->recipient];
    struct spool_change change = {.recipient = item->attempt->recipient,
                                  .next_s = queue_now_s(t->queue)};
    switch (item->kind) {
    case REPORT_FAILED:
        change.state = SPOOL_FAILED;
        change.reason = item->reason;
        break;
    case REPORT_DELAYED:
        r->told = 1;
        change.state = r->state; // or held, meanwhile
        change.next_s = r->next_s;
        change.reason = item->reason;
        break;
    case REPORT_DELIVERED:
    case REPORT_RELAYED:
    case REPORT_EXPANDED:
    case REPORT_KINDS:
        change.state = SPOOL_DELIVERED;
        break;
    }
    return change;
}

static void next_ones(struct queue *q);

// No attempt is touched after this.
static void end_items(struct tell *t, bool told)
{
    struct queue *q = t->queue;
    for (size_t i = 0; i < t->count; i++) {
        log_item(t, &t->items[i], told);
        queue_end_attempt(q, t->items[i].attempt);
    }
    queue_schedule(q, t->letter);
    spool_let_go(q->spool, t->letter);
    q->telling--;
    next_ones(q);
}

static void end_without_report(struct tell *t, const char *why)
{
    char id[MAIL_ID_TEXT + 1];
    mail_id_text(&t->letter->id, id);
    if (why)
        log_line(LOG_WARNING, "nobody is told of %s: %s", id, why);
    for (size_t i = 0; i < t->count; i++) {
        struct spool_change change = change_of(t, &t->items[i]);
        spool_set_state(t->queue->spool, t->letter, change.recipient, change.state, change.next_s,
                        change.reason);
    }
    end_items(t, false);
    free_tell(t);
}

// What failed is tried again, to be told of then. All else stands, whoever hears of it: a copy that
// is in its mailbox, and the waiting of one that is late.
static void try_later(struct tell *t, struct str why, bool damaged)
{
    struct queue *q = t->queue;
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++) {
        struct item *item = &t->items[i];
        if (item->kind != REPORT_FAILED)
            t->items[kept++] = *item;
        else if (damaged)
            queue_hold(q, item->attempt, why);
        else
            queue_defer(q, item->attempt, why, 0);
    }
    t->count = kept;
    end_without_report(t, NULL);
}

static void durable(struct spool_waiter *waiter, bool durable)
{
    struct tell *t = CONTAINER_OF(waiter, struct tell, waiter);
    (void)durable; // as states are
    queue_letter_durable(t->queue, t->report, &t->envelope.reverse_path,
                         queue_destinations(t->expansion));
    free_tell(t);
}

static void expanded(void *owner, enum submit_status status)
{
    struct tell *t = owner;
    struct spool_change changes[LIMIT_report_recipients];
    struct err err;
    if (status != SUBMIT_OK || !queue_put_expanded(t->expansion, &t->envelope_bytes, &err)) {
        try_later(t, STR("its sender cannot be told now"), false);
        return;
    }
    struct spool_own_letter report = {
        .id = t->id, .envelope = buf_str(&t->envelope_bytes), .body = buf_str(&t->body)};
    LIST_EACH(queue_destinations(t->expansion), at, after)
    {
        report.recipient_count++;
    }
    for (size_t i = 0; i < t->count; i++)
        changes[i] = change_of(t, &t->items[i]);
    t->report = spool_add_report(t->queue->spool, &report, t->letter, changes, t->count);
    queue_log_expanded(t->expansion);
    end_items(t, true);
    t->waiter = (struct spool_waiter){.for_states = true, .done = durable};
    spool_wait(t->queue->spool, &t->waiter);
}

static void written(struct os_job *job)
{
    struct tell *t = CONTAINER_OF(job, struct tell, job);
    struct queue *q = t->queue;
    if (!t->ok) {
        log_line(LOG_ERROR, "%s", t->err.text);
        try_later(t, err_text(&t->err), t->err.class != ERR_TRY_LATER);
    } else if (!t->wanted) {
        end_without_report(t, NULL);
    } else if (!may_hear(q, &t->to)) {
        end_without_report(t, "its sender was sent too many reports in this hour");
    } else {
        t->expansion = queue_expand(q, &t->envelope, &t->arena, expanded, t);
    }
    queue_advance(q);
}

// ---- the beginning

static void begin(struct tell *t)
{
    struct queue *q = t->queue;
    uint8_t base[LEASE_BASE];
    uint64_t now = os_wall_ms();
    q->telling++;
    os_random(base, sizeof base);
    t->id = mail_id_make(now, base, 0);
    t->until_ms = now + queue_expires_in_ms(q, t->letter);
    t->tell_of_delay = q->role->conf->tell_of_delay;
    must(arena_copy(&t->arena, q->role->conf->hostname, &t->hostname));
    t->job = (struct os_job){.work = work, .done = written};
    os_workers_submit(q->readers, &t->job);
}

static void next_ones(struct queue *q)
{
    while (q->telling < TELLING_MAX && !list_empty(&q->to_tell))
        begin(CONTAINER_OF(list_pop(&q->to_tell), struct tell, link));
}

static bool is_of_letter(const void *item, const void *key)
{
    return ((const struct tell *)item)->letter == key;
}

void queue_begin_telling(struct queue *q)
{
    list_init(&q->to_tell);
    map_init(&q->gathering, is_of_letter);
}

static uint64_t hash_of(const struct queue *q, const struct spool_letter *letter)
{
    return str_hash(str_from(letter->id.bytes, sizeof letter->id.bytes), q->hash_key);
}

static void gathered(struct timer *timer)
{
    struct tell *t = CONTAINER_OF(timer, struct tell, timer);
    struct queue *q = t->queue;
    map_remove(&q->gathering, hash_of(q, t->letter), t->letter);
    list_append(&q->to_tell, &t->link);
    next_ones(q);
}

static struct tell *find_tell(struct queue *q, struct spool_letter *letter)
{
    uint64_t hash = hash_of(q, letter);
    struct tell *t = map_find(&q->gathering, hash, letter);
    if (t && t->count == LIMIT_report_recipients) {
        loop_cancel_timer(q->role->loop, &t->timer);
        gathered(&t->timer);
        t = NULL;
    }
    if (t)
        return t;
    t = calloc(1, sizeof *t);
    must(t != NULL);
    t->queue = q;
    t->letter = letter;
    t->timer.fire = gathered;
    arena_init(&t->arena, 4 * (size_t)LIMIT_envelope);
    buf_init(&t->envelope_bytes, LIMIT_envelope);
    buf_init(&t->body, LIMIT_report);
    spool_hold(letter);
    map_put(&q->gathering, hash, t);
    loop_set_timer(q->role->loop, &t->timer, GATHER_MS);
    return t;
}

void queue_tell(struct queue *q, struct attempt *a, enum report_kind kind, struct status status,
                struct str reason)
{
    struct tell *t = find_tell(q, a->letter);
    struct item *item = &t->items[t->count++];
    *item = (struct item){.attempt = a, .kind = kind, .status = status};
    item->code = a->heard ? a->heard->code : 0;
    a->heard = NULL; // lives no longer than this call
    must(arena_copy(&t->arena, reason, &item->reason));
}
