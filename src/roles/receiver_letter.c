// A letter on its way in: header and body gather in the arena, then the queue is told where they
// are. Nothing is acknowledged here: only the queue's answer makes a 250.
#include "roles/receiver.h"

#include "base/limits.h"
#include "mail/envelope.h"
#include "mail/received.h"
#include "os/clock.h"

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

// At DATA: a letter with our Received field on top (RFC 5321 section 4.4).
bool letter_begin(struct session *s)
{
    struct receiver *r = s->receiver;
    struct buf ip, field;
    struct letter *letter = calloc(1, sizeof *letter);
    must(letter != NULL);
    letter->session = s;
    letter->id = s->smtp.id;
    scan_begin(&letter->scan);
    buf_init(&ip, 64);
    buf_init(&field, 8192);
    struct received received = {.helo = buf_str(&s->smtp.helo),
                                .ip = peer_ip(s, &ip),
                                .ipv6 = s->peer.family == 6,
                                .by = r->smtp.hostname,
                                .esmtp = s->smtp.esmtp,
                                .utf8 = s->smtp.utf8,
                                .id = letter->id,
                                .wall_ms = os_wall_ms()};
    received.zone_minutes = os_zone_minutes(received.wall_ms);
    received.only_recipient = only_recipient(&s->smtp);
    received_put(&field, &received);
    must(buf_ok(&field));
    bool ok = chain_append(&r->arena, &letter->body, buf_str(&field));
    buf_finish(&ip);
    buf_finish(&field);
    if (ok)
        s->letter = letter;
    else
        letter_drop(r, letter);
    return ok;
}

void letter_append(struct session *s, struct str bytes)
{
    struct letter *letter = s->letter;
    if (!letter || letter->failed)
        return;
    if (letter->scan.size == letter->scan.header_size) // still in the header: count the hops
        scan_feed(&letter->scan, bytes);
    if (!chain_append(&s->receiver->arena, &letter->body, bytes)) {
        letter->failed = true;
        chain_release(&s->receiver->arena, &letter->body);
    }
}

void letter_drop(struct receiver *r, struct letter *letter)
{
    list_remove(&letter->link);
    chain_release(&r->arena, &letter->envelope);
    chain_release(&r->arena, &letter->body);
    free(letter);
}

static bool put_envelope(struct session *s, struct letter *letter)
{
    const struct smtp_server *smtp = &s->smtp;
    struct buf ip, bytes;
    struct address *recipients = calloc(smtp->recipient_count, sizeof *recipients);
    uint32_t count = 0;
    must(recipients != NULL);
    LIST_EACH(&smtp->recipients, at, after)
    {
        recipients[count++] = CONTAINER_OF(at, struct smtp_recipient, link)->address;
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
                                      .recipients = recipients,
                                      .recipient_count = count};
    envelope_put(&bytes, &envelope);
    bool ok =
        buf_ok(&bytes) && chain_append(&s->receiver->arena, &letter->envelope, buf_str(&bytes));
    free(recipients);
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
    m.submit.letter = letter->id;
    m.submit.envelope = (uint32_t)letter->envelope.size;
    m.submit.extents = buf_str(&extents);
    bool ok = buf_ok(&extents) && ipc_request(queue, &m, letter);
    buf_finish(&extents);
    return ok;
}

static bool fits(const struct letter *letter)
{
    size_t extent = 2 * sizeof(uint32_t);
    return (letter->envelope.count + letter->body.count) * extent <= LIMIT_message / 2;
}

bool letter_submit(struct session *s)
{
    struct letter *letter = s->letter;
    if (!put_envelope(s, letter) || !fits(letter))
        return false;
    if (!send(s->receiver, letter)) // a queue that is being started again is soon back
        list_append(&s->receiver->resubmit, &letter->link);
    return true;
}

// The queue died before it answered: what it committed it knows by the id, the rest it takes now.
void letter_lost(struct receiver *r, struct letter *letter)
{
    if (letter->session)
        list_append(&r->resubmit, &letter->link);
    else
        letter_drop(r, letter);
}

void letter_resubmit(struct receiver *r)
{
    LIST_EACH(&r->resubmit, at, after)
    {
        struct letter *letter = CONTAINER_OF(at, struct letter, link);
        if (!send(r, letter))
            return;
        list_remove(at);
    }
}

static enum smtp_reply reply_of(const struct msg_committed *m)
{
    if (m->ok)
        return SMTP_REPLY_queued;
    return m->status == 452 ? SMTP_REPLY_no_space : SMTP_REPLY_local_trouble;
}

void letter_on_committed(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct letter *letter = owner;
    struct session *s = letter->session;
    if (s)
        session_committed(s, reply_of(&m->committed));
    letter_drop(role->state, letter);
    letter_resubmit(role->state);
}
