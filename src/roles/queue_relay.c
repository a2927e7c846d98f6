// A recipient elsewhere, from "not hosted here" to its result:
//
//   round ──find the way──► parcel (one letter, one next hop) ──waits at its hop──► read, made
//   (worker) ──send──► the sender ──sent──► state of each recipient
//
// A hop that cannot be reached is dead for a while (queue_hops.h): what would go there is deferred
// without being tried. When a sender dies, what it had is tried again at once, one by one, so that
// the letter at fault is found.
#include "roles/queue_relay.h"

#include "base/limits.h"
#include "ipc/targets.h"
#include "os/file.h"
#include "os/random.h"

enum {
    GATHER_MS = 1000,
    PUT_OFF_S = 30,
    READERS_MAX = 64, // parcels that wait to be made
    FROM_ROOM = 2 * LIMIT_address,
    REASON_ROOM = 8192,
};

struct parcel {
    struct link link; // at its hop, among the suspects, or none
    struct os_job job;
    struct queue *queue;
    struct spool_letter *letter; // held while it is out
    struct hop *hop;             // of a suspect that waits: none
    bool suspect;
    size_t count;
    struct link attempts; // in the order in which they are in the envelope that goes
    // Made by the worker.
    uint32_t recipients[LIMIT_relay_recipients];
    struct window window;
    uint64_t manifest;
    struct buf envelope, from;
    bool ok;
    struct err err;
    size_t octets; // of the message, while the sender has it
};

static struct attempt *attempt_at(struct link *link)
{
    return CONTAINER_OF(link, struct attempt, link);
}

static struct attempt *first_of(const struct parcel *p)
{
    return attempt_at(p->attempts.next);
}

static bool is_fresh(const struct attempt *a)
{
    return a->letter->recipients[a->recipient].attempts == 0;
}

static void set_limits(struct queue *q)
{
    q->relay->hops.most = (unsigned)q->role->conf->limits.outgoing;
    q->relay->hops.most_each = (unsigned)q->role->conf->limits.per_destination;
}

void queue_begin_relay(struct queue *q)
{
    q->relay = calloc(1, sizeof *q->relay);
    must(q->relay != NULL);
    list_init(&q->relay->suspects);
    queue_begin_routes(q->relay);
    hops_init(&q->relay->hops, LIMIT_hops_known, q->hash_key);
    set_limits(q);
}

bool queue_relay_idle(const struct queue *q)
{
    return q->relay->out == 0;
}

// ---- rounds

struct round *queue_begin_round(struct queue *q, const struct address *reverse_path)
{
    struct str sender = reverse_path->folded_domain;
    struct round *round = calloc(1, sizeof *round + sender.len);
    must(round != NULL);
    round->queue = q;
    round->open = true;
    list_init(&round->found);
    if (sender.len)
        memcpy(round + 1, sender.ptr, sender.len);
    round->sender = str_from(round + 1, sender.len);
    return round;
}

void queue_join_round(struct round *round, struct attempt *a)
{
    a->round = round;
    round->attempts++;
    round->finding++;
}

static void end_if_over(struct round *round)
{
    if (round->open || round->attempts > 0)
        return;
    loop_cancel_timer(round->queue->role->loop, &round->timer);
    free(round);
}

// ---- parcels

static struct parcel *new_parcel(struct queue *q, struct spool_letter *letter, struct hop *hop)
{
    struct parcel *p = calloc(1, sizeof *p);
    must(p != NULL);
    p->queue = q;
    p->letter = letter;
    p->hop = hop;
    p->window.fd = -1;
    list_init(&p->attempts);
    buf_init(&p->envelope, LIMIT_relay_envelope);
    buf_init(&p->from, FROM_ROOM);
    return p;
}

static void free_parcel(struct parcel *p)
{
    must(list_empty(&p->attempts));
    window_close(&p->window);
    buf_finish(&p->envelope);
    buf_finish(&p->from);
    free(p);
}

// The last one that waits there, when it is of this letter and has room.
static struct parcel *parcel_for(const struct hop *hop, const struct spool_letter *letter,
                                 bool fresh)
{
    if (list_empty(&hop->waiting[fresh]))
        return NULL;
    struct parcel *last = CONTAINER_OF(hop->waiting[fresh].prev, struct parcel, link);
    return last->letter == letter && last->count < LIMIT_relay_recipients ? last : NULL;
}

static void defer_dead(struct queue *q, struct attempt *a, const struct hop *hop)
{
    uint64_t now = loop_now(q->role->loop);
    uint64_t rest_ms = hop->dead_until_ms > now ? hop->dead_until_ms - now : 0;
    queue_try_later(q, a, err_text(&hop->why),
                    (uint32_t)(rest_ms / 1000 + 1 + os_random_u64() % PUT_OFF_S));
}

static void put_at_hop(struct queue *q, struct attempt *a)
{
    struct hops *hops = &q->relay->hops;
    struct hop *hop = hops_find(hops, buf_str(&a->road->key));
    bool fresh = is_fresh(a);
    struct parcel *p = parcel_for(hop, a->letter, fresh);
    if (hop_is_dead(hop, loop_now(q->role->loop))) {
        defer_dead(q, a, hop);
    } else if (!p && hop->waits >= LIMIT_hop_waits && q->attempts > LIMIT_attempts / 2) {
        queue_put_off(q, a, PUT_OFF_S + (uint32_t)(os_random_u64() % PUT_OFF_S));
    } else {
        if (!p) {
            p = new_parcel(q, a->letter, hop);
            hop_add(hops, hop, &p->link, fresh);
        }
        list_append(&p->attempts, &a->link);
        p->count++;
    }
}

static void scatter(struct round *round)
{
    struct link *found;
    bool was_open = round->open;
    round->open = true; // stays, whatever ends
    while ((found = list_pop(&round->found))) {
        struct attempt *a = attempt_at(found);
        round->attempts--;
        a->round = NULL;
        put_at_hop(round->queue, a);
    }
    round->open = was_open;
    end_if_over(round);
}

static void time_passed(struct timer *timer)
{
    struct round *round = CONTAINER_OF(timer, struct round, timer);
    struct queue *q = round->queue;
    round->late = true;
    scatter(round);
    queue_advance(q);
}

// One of them has found its way, or left.
static void gather(struct round *round)
{
    if (round->open)
        return;
    if (round->late || round->finding == 0) {
        scatter(round);
    } else if (!timer_is_set(&round->timer)) {
        round->timer.fire = time_passed;
        loop_set_timer(round->queue->role->loop, &round->timer, GATHER_MS);
    }
}

void queue_end_round(struct queue *q, struct round *round)
{
    (void)q;
    round->open = false;
    end_if_over(round);
}

void queue_relay(struct queue *q, struct attempt *a)
{
    a->elsewhere = true;
    queue_find_way(q, a);
}

void queue_way_found(struct queue *q, struct attempt *a)
{
    (void)q;
    a->round->finding--;
    list_append(&a->round->found, &a->link);
    gather(a->round);
}

void queue_leave_relay(struct queue *q, struct attempt *a)
{
    struct round *round = a->round;
    if (a->road)
        queue_let_go_road(q, a->road);
    a->road = NULL;
    a->round = NULL;
    if (!round)
        return;
    must(!link_used(&a->link)); // those that are found leave by scatter
    round->attempts--;
    round->finding--;
    gather(round);
}

// ---- results

// "mx.example.org[192.0.2.1]:25 said: 450 4.2.1 not now"; in our own words without "said" and code.
static void put_reason(struct buf *out, const struct msg_sent *sent,
                       const struct sent_result *result)
{
    if (sent->host.len || sent->address.len)
        buf_putf(out, "%.*s%s%.*s%s", STR_ARG(sent->host), sent->host.len ? " " : "",
                 STR_ARG(sent->address), result->code ? " said: " : ": ");
    if (result->code)
        buf_putf(out, "%u %u.%u.%u ", result->code, result->status.class, result->status.subject,
                 result->status.detail);
    buf_put(out, result->text);
}

static void end_one(struct queue *q, struct attempt *a, const struct sent_result *result,
                    struct str reason)
{
    switch (result->outcome) {
    case SENT_TAKEN:
        // What its sender asked for does not go along yet: so the report is ours to make.
        if (a->notify & NOTIFY_SUCCESS)
            queue_tell(q, a, REPORT_RELAYED, STATUS(2, 1, 9), reason);
        else
            queue_done(q, a, EVENT_sent);
        break;
    case SENT_LATER:
        queue_try_later(q, a, reason, 0);
        break;
    case SENT_FAILED:
        queue_give_up(q, a, result->status, reason);
        break;
    case SENT_DAMAGED:
        queue_hold(q, a, STR("the letter is damaged in the spool"));
        break;
    case SENT_UNTRIED:
        queue_put_off(q, a, 0);
        break;
    }
}

static struct str address_without_port(struct str address)
{
    return str_sub(address, 0, str_rindex(address, ':'));
}

static void take_results(struct parcel *p, const struct msg_sent *sent)
{
    struct queue *q = p->queue;
    struct str results = sent->results;
    struct link *link;
    struct buf reason;
    buf_init(&reason, REASON_ROOM);
    while ((link = list_pop(&p->attempts))) {
        struct attempt *a = attempt_at(link);
        struct sent_result result;
        if (!results_take(&results, &result))
            result = (struct sent_result){.outcome = SENT_LATER,
                                          .text = STR("the sender gave no clear answer")};
        const struct heard heard = {.host = sent->host,
                                    .peer = address_without_port(sent->address),
                                    .from = buf_str(&p->from),
                                    .text = result.text,
                                    .code = result.code};
        buf_clear(&reason);
        put_reason(&reason, sent, &result);
        a->heard = &heard;
        end_one(q, a, &result, buf_str(&reason));
    }
    buf_finish(&reason);
}

// What waits at a hop that has died is not tried.
static void bury(struct queue *q, struct hop *hop)
{
    struct link *parcel;
    while ((parcel = hop_take(&q->relay->hops, hop))) {
        struct parcel *p = CONTAINER_OF(parcel, struct parcel, link);
        struct link *link;
        while ((link = list_pop(&p->attempts)))
            defer_dead(q, attempt_at(link), hop);
        free_parcel(p);
    }
}

static void come_back(struct parcel *p)
{
    struct relay *relay = p->queue->relay;
    spool_let_go(p->queue->spool, p->letter);
    relay->out--;
    relay->octets -= p->octets;
    p->octets = 0;
    if (p->suspect)
        relay->suspect_out = false;
}

static bool ended(struct parcel *p, enum hop_fate fate)
{
    return hop_ended(&p->queue->relay->hops, p->hop, fate, loop_now(p->queue->role->loop));
}

void queue_on_sent(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct queue *q = role->state;
    struct parcel *p = owner;
    enum hop_fate fate = m->sent.fate <= HOP_UNTRIED ? m->sent.fate : HOP_UNTRIED;
    struct str results = m->sent.results;
    struct sent_result first;
    come_back(p);
    bool died = ended(p, fate);
    if (died && results_take(&results, &first)) {
        struct buf why;
        buf_init(&why, REASON_ROOM);
        put_reason(&why, &m->sent, &first);
        err_set(&p->hop->why, ERR_TRY_LATER, first.status, "%.*s", STR_ARG(buf_str(&why)));
        buf_finish(&why);
    }
    take_results(p, &m->sent);
    if (died)
        bury(q, p->hop);
    free_parcel(p);
    queue_advance(q);
}

// ---- on its way

static bool make(struct parcel *p, struct arena *arena, struct buf *bytes)
{
    struct queue *q = p->queue;
    struct envelope envelope;
    struct window_item item = {.recipient = 0};
    if (!spool_read_envelope(q->spool, p->letter, bytes, &p->err) ||
        !envelope_read(buf_str(bytes), arena, &envelope, &p->err))
        return false;
    struct address *recipients = arena_alloc_array(arena, p->count, sizeof *recipients);
    must(recipients != NULL); // the arena is larger than what was read
    for (size_t i = 0; i < p->count; i++)
        recipients[i] = envelope.recipients[p->recipients[i]];
    address_put(&p->from, &envelope.reverse_path);
    const struct envelope outward = {.id = envelope.id,
                                     .arrived_ms = envelope.arrived_ms,
                                     .flags = envelope.flags,
                                     .reverse_path = envelope.reverse_path,
                                     .recipients = recipients,
                                     .recipient_count = (uint32_t)p->count};
    envelope_put(&p->envelope, &outward);
    must(buf_ok(&p->envelope) && buf_ok(&p->from));
    if (!p->letter->large && !window_open(&p->window, &p->err))
        return false;
    if (!queue_put_body(q, p->letter, &p->window, &item, &p->err))
        return false;
    window_put_item(&p->window, &item);
    return p->letter->large || window_seal(&p->window, &p->manifest, &p->err);
}

static void make_work(struct os_job *job)
{
    struct parcel *p = CONTAINER_OF(job, struct parcel, job);
    struct arena arena;
    struct buf bytes;
    arena_init(&arena, 5 * (size_t)LIMIT_envelope);
    buf_init(&bytes, LIMIT_envelope);
    p->ok = make(p, &arena, &bytes);
    buf_finish(&bytes);
    arena_finish(&arena);
}

static void cannot_make(struct parcel *p)
{
    struct queue *q = p->queue;
    struct link *link;
    log_line(LOG_ERROR, "%s", p->err.text);
    while ((link = list_pop(&p->attempts))) {
        if (p->err.class == ERR_TRY_LATER)
            queue_defer(q, attempt_at(link), STR("the spool cannot be read"), 0);
        else
            queue_hold(q, attempt_at(link), STR("the letter is damaged in the spool"));
    }
}

// It waits again: nobody is there who could send it.
static void put_back(struct parcel *p)
{
    struct relay *relay = p->queue->relay;
    window_close(&p->window);
    p->window.fd = -1;
    buf_clear(&p->envelope);
    buf_clear(&p->from);
    if (p->suspect)
        list_append(&relay->suspects, &p->link);
    else
        hop_add(&relay->hops, p->hop, &p->link, is_fresh(first_of(p)));
}

static bool send(struct parcel *p)
{
    struct relay *relay = p->queue->relay;
    struct ipc_channel *sender = role_peer(p->queue->role, IPC_SENDER);
    const struct road *road = first_of(p)->road;
    struct msg m = {.type = MSG_send};
    m.send.window = p->window.fd;
    m.send.size = p->window.size;
    m.send.manifest = p->manifest;
    m.send.items = p->letter->large ? buf_str(&p->window.manifest) : STR("");
    m.send.envelope = buf_str(&p->envelope);
    m.send.lmtp = road->lmtp;
    m.send.ways = buf_str(&road->ways);
    if (!sender || p->queue->draining || !ipc_request(sender, &m, p))
        return false;
    p->octets = m.send.items.len + m.send.envelope.len + m.send.ways.len;
    relay->octets += p->octets;
    os_close(&p->window.fd); // the message has its own
    return true;
}

static void make_done(struct os_job *job)
{
    struct parcel *p = CONTAINER_OF(job, struct parcel, job);
    struct queue *q = p->queue;
    if (p->ok && send(p))
        return;
    come_back(p);
    bool died = ended(p, HOP_UNTRIED);
    must(!died);
    if (p->ok) {
        put_back(p);
    } else {
        cannot_make(p);
        free_parcel(p);
        queue_advance(q);
    }
}

static void launch(struct queue *q, struct parcel *p)
{
    size_t i = 0;
    LIST_EACH(&p->attempts, held, next)
    {
        p->count -= queue_withdrawn(q, attempt_at(held));
    }
    if (p->count == 0) {
        (void)ended(p, HOP_UNTRIED);
        free_parcel(p);
        return;
    }
    LIST_EACH(&p->attempts, at, after)
    {
        p->recipients[i++] = attempt_at(at)->recipient;
    }
    p->job = (struct os_job){.work = make_work, .done = make_done};
    q->relay->out++;
    if (p->suspect)
        q->relay->suspect_out = true;
    spool_hold(p->letter);
    os_workers_submit(q->readers, &p->job);
}

static struct parcel *next_parcel(struct queue *q)
{
    struct relay *relay = q->relay;
    struct hop *hop;
    struct link *link = relay->suspect_out ? NULL : list_pop(&relay->suspects);
    if (link) {
        struct parcel *p = CONTAINER_OF(link, struct parcel, link);
        p->hop = hops_find(&relay->hops, buf_str(&first_of(p)->road->key));
        hop_begin(&relay->hops, p->hop);
        return p;
    }
    link = hops_next(&relay->hops, &hop);
    return link ? CONTAINER_OF(link, struct parcel, link) : NULL;
}

void queue_relay_advance(struct queue *q)
{
    struct relay *relay = q->relay;
    struct parcel *p;
    set_limits(q);
    queue_ask_routes(q);
    while (!q->draining && role_peer(q->role, IPC_SENDER) && relay->octets < LIMIT_relay_output &&
           os_workers_waiting(q->readers) < READERS_MAX && (p = next_parcel(q)))
        launch(q, p);
}

// ---- peers that die

// The sender is gone with it. Whether the letter had arrived is not known: it may come twice.
static void take_back(struct parcel *p)
{
    struct queue *q = p->queue;
    bool hold = p->suspect && first_of(p)->kills + 1 >= KILLS_MAX;
    come_back(p);
    bool died = ended(p, HOP_UNTRIED);
    must(!died);
    LIST_EACH(&p->attempts, at, after)
    {
        struct attempt *a = attempt_at(at);
        a->kills++;
        if (!hold)
            continue;
        list_remove(at);
        queue_hold(q, a, STR("the sender ended three times while it sent this"));
    }
    p->suspect = true;
    if (hold)
        free_parcel(p);
    else
        put_back(p);
}

void queue_relay_lost(struct queue *q, enum ipc_type request, void *owner)
{
    if (request == MSG_route)
        queue_route_lost(q, owner);
    else if (request == MSG_send)
        take_back(owner);
}
