// A letter on its way in: header and body gather in the arena, then the queue is told where they
// are. Nothing is acknowledged here: only the queue's answer makes a 250.
//
// What stands in the arena moves on in slices (promise 6) when the body is a large one, and, of all
// letters, when the arena is tight. A client is read only while its letter may grow: the queue's
// pace, which is the disk's, becomes TCP's.
#include "roles/receiver.h"

#include "base/limits.h"
#include "ipc/verdicts.h"
#include "mail/envelope.h"
#include "mail/received.h"
#include "os/clock.h"

enum { GROWTH = 4 * BLOCK_LARGE }; // free in the arena before more is read: a read and an envelope

struct slice {
    struct letter *letter;
    struct chain octets;
};

static size_t chain_memory(const struct chain *c)
{
    size_t octets = 0;
    for (size_t i = 0; i < c->count; i++)
        octets += c->blocks[i].size;
    return octets;
}

static struct str peer_ip(const struct session *s, struct buf *text)
{
    buf_clear(text);
    net_put_ip(text, &s->peer);
    return buf_str(text);
}

// The recipient when there is one only: more would tell blind ones of each other.
static const struct address *only_recipient(const struct smtp_server *smtp)
{
    if (smtp->recipient_count != 1)
        return NULL;
    return &CONTAINER_OF(smtp->recipients.next, struct smtp_recipient, link)->address;
}

// It has nothing of the arena yet: who says DATA and then nothing takes no room from others.
void letter_begin(struct session *s)
{
    struct letter *letter = calloc(1, sizeof *letter);
    must(letter != NULL);
    letter->session = s;
    letter->id = s->smtp.id;
    letter->trouble = SMTP_REPLY_COUNT;
    list_append(&s->receiver->letters, &letter->link);
    scan_begin(&letter->scan);
    delivered_begin(&letter->delivered);
    s->letter = letter;
}

// Our Received field stands on top (RFC 5321 section 4.4). False: the arena is full.
static bool put_received(struct session *s, struct letter *letter)
{
    struct buf ip, field;
    buf_init(&ip, 64);
    buf_init(&field, 8192);
    struct received received = {.helo = buf_str(&s->smtp.helo),
                                .helo_mark = s->helo_mark,
                                .ip = peer_ip(s, &ip),
                                .ipv6 = s->peer.family == 6,
                                .by = s->smtp.config->hostname,
                                .esmtp = s->smtp.esmtp,
                                .lmtp = s->smtp.config->lmtp,
                                .utf8 = s->smtp.utf8,
                                .id = letter->id,
                                .wall_ms = os_wall_ms()};
    received.zone_minutes = os_zone_minutes(received.wall_ms);
    received.only_recipient = only_recipient(&s->smtp);
    received_put(&field, &received);
    must(buf_ok(&field));
    bool ok = chain_append(&s->receiver->arena, &letter->body, buf_str(&field));
    buf_finish(&ip);
    buf_finish(&field);
    return ok;
}

// Appends octets of the message, the first ones behind our field.
static bool put_body(struct session *s, struct letter *letter, struct str bytes)
{
    return (letter_size(letter) > 0 || put_received(s, letter)) &&
           chain_append(&s->receiver->arena, &letter->body, bytes);
}

uint64_t letter_size(const struct letter *letter)
{
    return letter->written + letter->body.size;
}

// ---- the end of a letter

static void say_discard(struct receiver *r, const struct letter *letter)
{
    struct ipc_channel *queue = role_peer(r->role, IPC_QUEUE);
    struct msg m = {.type = MSG_discard};
    m.discard.letter = letter->id;
    if (queue)
        ipc_send(queue, &m);
}

static void discard(struct receiver *r, const struct letter *letter)
{
    if (letter->written && !letter->submitted)
        say_discard(r, letter);
}

static void free_letter(struct letter *letter)
{
    delivered_finish(&letter->delivered);
    free(letter);
}

static void drop(struct receiver *r, struct letter *letter)
{
    if (letter->trouble == SMTP_REPLY_COUNT) // else it was said before
        discard(r, letter);
    list_remove(&letter->link);
    chain_release(&r->arena, &letter->envelope);
    chain_release(&r->arena, &letter->body);
    receiver_go_on(r);
    letter->session = NULL;
    letter->over = true;
    if (letter->slices == 0)
        free_letter(letter);
}

void letter_leave(struct receiver *r, struct letter *letter)
{
    if (letter->submitted) {
        letter->session = NULL;
        say_discard(r, letter); // the client will send it again: once is enough
    } else {
        drop(r, letter);
    }
}

static void fail(struct receiver *r, struct letter *letter, enum smtp_reply reply)
{
    if (letter->trouble != SMTP_REPLY_COUNT || letter->submitted || letter->over)
        return;
    letter->trouble = reply;
    discard(r, letter);
    chain_release(&r->arena, &letter->body);
    receiver_go_on(r);
}

// ---- slices

// The first one shows that the letter is a large one.
static bool wants_slice(const struct letter *letter)
{
    return letter->written ? letter->body.size >= LIMIT_slice
                           : letter->body.size > LIMIT_large_body;
}

// Hands the front of what is there to the queue. False: not now, or never (letter->trouble).
static bool send_slice(struct receiver *r, struct letter *letter)
{
    struct ipc_channel *queue = role_peer(r->role, IPC_QUEUE);
    struct msg m = {.type = MSG_slice};
    struct buf extents;
    if (!queue || letter->slices == LIMIT_slices || ipc_credits(queue, MSG_slice) == 0)
        return false;
    struct slice *slice = calloc(1, sizeof *slice);
    must(slice != NULL);
    slice->letter = letter;
    chain_cut(&letter->body, &slice->octets, LIMIT_slice, LIMIT_slice_extents);
    letter->body.long_one = true;
    buf_init(&extents, LIMIT_slice_extents * 8);
    chain_put_extents(&slice->octets, &extents);
    must(buf_ok(&extents));
    m.slice.letter = letter->id;
    m.slice.offset = letter->written;
    m.slice.extents = buf_str(&extents);
    bool ok = ipc_request(queue, &m, slice);
    buf_finish(&extents);
    if (!ok) { // it has just died
        chain_release(&r->arena, &slice->octets);
        free(slice);
        fail(r, letter, SMTP_REPLY_local_trouble);
        return false;
    }
    letter->slices++;
    letter->written += slice->octets.size;
    r->leaving += chain_memory(&slice->octets);
    return true;
}

static void send_what_is_due(struct receiver *r, struct letter *letter)
{
    while (wants_slice(letter) && send_slice(r, letter))
        continue;
}

static void end_slice(struct receiver *r, struct slice *slice)
{
    struct letter *letter = slice->letter;
    r->leaving -= chain_memory(&slice->octets);
    chain_release(&r->arena, &slice->octets);
    free(slice);
    if (--letter->slices == 0 && letter->over)
        free_letter(letter);
    else if (letter->trouble == SMTP_REPLY_COUNT && !letter->over && !letter->ended)
        send_what_is_due(r, letter);
    receiver_go_on(r);
}

static enum smtp_reply refusal_of(uint32_t status)
{
    return status == SUBMIT_NO_SPACE   ? SMTP_REPLY_no_space
           : status == SUBMIT_TOO_MANY ? SMTP_REPLY_too_many_recipients
           : status == SUBMIT_LOOP     ? SMTP_REPLY_too_many_hops
                                       : SMTP_REPLY_local_trouble;
}

void letter_on_sliced(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct slice *slice = owner;
    if (!m->sliced.ok)
        fail(role->state, slice->letter, refusal_of(m->sliced.status));
    end_slice(role->state, slice);
}

void letter_slice_lost(struct receiver *r, void *owner)
{
    struct slice *slice = owner;
    fail(r, slice->letter, SMTP_REPLY_local_trouble);
    end_slice(r, slice);
}

void letters_queue_gone(struct receiver *r)
{
    LIST_EACH(&r->letters, at, after)
    {
        struct letter *letter = CONTAINER_OF(at, struct letter, link);
        if (letter->written)
            fail(r, letter, SMTP_REPLY_local_trouble);
    }
}

// ---- growing

static void read_header(struct receiver *r, struct letter *letter, struct str bytes)
{
    struct scan *scan = &letter->scan;
    scan_feed(scan, bytes);
    delivered_feed(&letter->delivered, bytes);
    if (scan->fields > LIMIT_header_fields || scan->fields_size > LIMIT_header)
        fail(r, letter, SMTP_REPLY_header_too_large);
    else if (scan->received >= LIMIT_hops)
        fail(r, letter, SMTP_REPLY_too_many_hops);
}

void letter_append(struct session *s, struct str bytes)
{
    struct receiver *r = s->receiver;
    struct letter *letter = s->letter;
    if (!letter || letter->trouble != SMTP_REPLY_COUNT)
        return;
    if (letter->scan.size == letter->scan.header_size) // still in the header
        read_header(r, letter, bytes);
    if (letter->trouble != SMTP_REPLY_COUNT)
        return;
    if (!put_body(s, letter, bytes)) {
        fail(r, letter, SMTP_REPLY_no_space);
        return;
    }
    send_what_is_due(r, letter);
    if (letters_are_tight(r))
        receiver_go_on(r);
}

bool letter_may_grow(const struct receiver *r, const struct letter *letter)
{
    if (letter->trouble != SMTP_REPLY_COUNT || letter->ended)
        return true;
    return !wants_slice(letter) && r->arena.size - r->arena.used >= GROWTH;
}

bool letters_are_tight(const struct receiver *r)
{
    return r->arena.used > r->arena.size / 100 * ARENA_TIGHT;
}

// Moves on what the oldest letters have, as much as brings the arena below its mark.
static void spill(struct receiver *r)
{
    size_t mark = r->arena.size / 100 * ARENA_TIGHT;
    LIST_EACH(&r->letters, at, after)
    {
        struct letter *letter = CONTAINER_OF(at, struct letter, link);
        while (r->arena.used - r->leaving > mark && letter->body.size && send_slice(r, letter))
            continue;
    }
}

void receiver_turn_end(struct turn_hook *hook)
{
    struct receiver *r = CONTAINER_OF(hook, struct receiver, hook);
    if (letters_are_tight(r))
        spill(r);
    LIST_EACH(&r->stalled, at, after)
    {
        struct session *s = CONTAINER_OF(at, struct session, waiting);
        send_what_is_due(r, s->letter);
        if (!letter_may_grow(r, s->letter))
            continue;
        list_remove(at);
        pump_resume(&s->pump);
    }
    while (!list_empty(&r->want_data) && !letters_are_tight(r))
        session_begin_data(CONTAINER_OF(r->want_data.next, struct session, waiting));
}

void receiver_go_on(struct receiver *r)
{
    loop_at_turn_end(r->role->loop, &r->hook);
}

// ---- to the queue

static bool put_envelope(struct session *s, struct letter *letter)
{
    const struct smtp_server *smtp = &s->smtp;
    struct buf ip, bytes;
    struct address *recipients = calloc(smtp->recipient_count, sizeof *recipients);
    struct envelope_wish *wishes = calloc(smtp->recipient_count, sizeof *wishes);
    uint32_t count = 0;
    bool wished = false;
    must(recipients != NULL && wishes != NULL);
    LIST_EACH(&smtp->recipients, at, after)
    {
        const struct smtp_recipient *to = CONTAINER_OF(at, struct smtp_recipient, link);
        recipients[count] = to->address;
        wishes[count++] = to->wish;
        wished |= to->wish.notify || to->wish.original.len;
    }
    buf_init(&ip, 64);
    buf_init(&bytes, LIMIT_envelope);
    const struct envelope envelope = {.id = letter->id,
                                      .arrived_ms = mail_id_ms(&letter->id),
                                      .flags = (smtp->utf8 ? ENVELOPE_UTF8 : 0) |
                                               (smtp->body_8bit ? ENVELOPE_8BITMIME : 0),
                                      .reverse_path = smtp->reverse_path,
                                      .client = peer_ip(s, &ip),
                                      .helo = buf_str(&smtp->helo),
                                      .session = str_of(s->id),
                                      .delivered = buf_str(&letter->delivered.tokens),
                                      .envid = smtp->envid,
                                      .returns = smtp->returns,
                                      .wishes = wished ? wishes : NULL,
                                      .recipients = recipients,
                                      .recipient_count = count};
    envelope_put(&bytes, &envelope);
    bool ok =
        buf_ok(&bytes) && chain_append(&s->receiver->arena, &letter->envelope, buf_str(&bytes));
    free(recipients);
    free(wishes);
    buf_finish(&ip);
    buf_finish(&bytes);
    return ok;
}

static bool send(struct receiver *r, struct letter *letter)
{
    struct ipc_channel *queue = role_peer(r->role, IPC_QUEUE);
    struct msg m = {.type = MSG_submit};
    struct buf extents;
    if (!queue)
        return false;
    buf_init(&extents, LIMIT_message / 2);
    chain_put_extents(&letter->envelope, &extents);
    chain_put_extents(&letter->body, &extents);
    must(buf_ok(&extents)); // an envelope of 1 MiB and what is not in slices
    m.submit.letter = letter->id;
    m.submit.written = letter->written;
    m.submit.envelope = (uint32_t)letter->envelope.size;
    m.submit.extents = buf_str(&extents);
    letter->submitted = ipc_request(queue, &m, letter);
    buf_finish(&extents);
    return letter->submitted;
}

bool letter_submit(struct session *s)
{
    struct receiver *r = s->receiver;
    struct letter *letter = s->letter;
    if (!put_body(s, letter, STR("")) || !put_envelope(s, letter)) {
        fail(r, letter, SMTP_REPLY_no_space);
        return false;
    }
    letter->ended = true;
    list_remove(&letter->link);
    if (!send(r, letter)) // a queue that is being started again is soon back
        list_append(&r->resubmit, &letter->link);
    return true;
}

// The queue died before it answered: what it committed it knows by the id, the rest it takes now.
void letter_lost(struct receiver *r, struct letter *letter)
{
    letter->submitted = false;
    if (letter->session)
        list_append(&r->resubmit, &letter->link);
    else
        drop(r, letter);
}

void letter_resubmit(struct receiver *r)
{
    LIST_EACH(&r->resubmit, at, after)
    {
        struct letter *letter = CONTAINER_OF(at, struct letter, link);
        if (!send(r, letter))
            return;
        list_remove(at);
        if (letter->session)
            session_submitted(letter->session);
    }
}

void letter_on_committed(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct letter *letter = owner;
    const struct msg_committed *said = &m->committed;
    if (letter->session)
        session_committed(letter->session, said->ok ? SMTP_REPLY_queued : refusal_of(said->status));
    drop(role->state, letter);
    letter_resubmit(role->state);
}
