// Answers to `posthouse queue ...`: JSON lines, rendered by the command.
#include "roles/queue.h"

#include "base/json.h"
#include "base/limits.h"
#include "mail/date.h"

static const char *state_name(const struct spool_recipient *r)
{
    if (r->state == SPOOL_HELD)
        return "held";
    return r->attempts ? "deferred" : "queued";
}

static void put_text(struct json *j, const char *name, struct str value)
{
    json_name(j, name);
    json_put_string(j, value);
}

static void put_time(struct json *j, const char *name, uint64_t ms)
{
    struct buf text;
    buf_init(&text, 64);
    date_put_iso(&text, ms);
    put_text(j, name, buf_str(&text));
    buf_finish(&text);
}

static void put_recipient(struct queue *q, struct buf *out, const struct spool_letter *letter,
                          uint32_t i, const struct envelope *envelope)
{
    const struct spool_recipient *r = &letter->recipients[i];
    struct json j;
    struct buf text;
    char id[MAIL_ID_TEXT + 1];
    buf_init(&text, 4 * LIMIT_address);
    mail_id_text(&letter->id, id);
    json_begin(&j, out);
    json_open_object(&j);
    put_text(&j, "id", str_of(id));
    put_time(&j, "arrived", mail_id_ms(&letter->id));
    json_name(&j, "size");
    json_put_int(&j, (int64_t)letter->body_size);
    address_put(&text, &envelope->reverse_path);
    put_text(&j, "from", buf_str(&text));
    buf_clear(&text);
    address_put(&text, &envelope->recipients[i]);
    put_text(&j, "to", buf_str(&text));
    put_text(&j, "domain", envelope->recipients[i].domain);
    put_text(&j, "state", str_of(state_name(r)));
    json_name(&j, "attempts");
    json_put_int(&j, r->attempts);
    if (r->state == SPOOL_WAITING)
        put_time(&j, "next", (uint64_t)r->next_s * 1000);
    put_text(&j, "reason", spool_reason(q->spool, r));
    json_close_object(&j);
    buf_put_byte(out, '\n');
    buf_finish(&text);
}

// Reads envelopes in the loop: an administrator's question may cost a little time.
static void list_letters(struct queue *q, struct buf *out)
{
    size_t at = 0;
    for (struct spool_letter *l = spool_next(q->spool, &at); l; l = spool_next(q->spool, &at)) {
        struct arena arena;
        struct buf bytes;
        struct envelope envelope;
        struct err err;
        if (!l->pending || !l->durable)
            continue;
        arena_init(&arena, 4 * (size_t)LIMIT_envelope);
        buf_init(&bytes, LIMIT_envelope);
        if (!spool_read_envelope(q->spool, l, &bytes, &err) ||
            !envelope_read(buf_str(&bytes), &arena, &envelope, &err) ||
            envelope.recipient_count != l->recipient_count)
            envelope = (struct envelope){.recipient_count = 0};
        for (uint32_t i = 0; i < envelope.recipient_count; i++)
            if (l->recipients[i].state < SPOOL_DELIVERED)
                put_recipient(q, out, l, i, &envelope);
        buf_finish(&bytes);
        arena_finish(&arena);
    }
}

static void put_status(struct queue *q, struct buf *out)
{
    struct spool_counts c;
    struct json j;
    uint64_t parked = 0;
    LIST_EACH(&q->parked, at, after)
    {
        parked++;
    }
    spool_count(q->spool, &c);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"letters", c.letters},
        {"recipients", c.recipients},
        {"attempts", q->attempts},
        {"delivered", q->delivered},
        {"deferred", q->deferred},
        {"segments", c.segments},
        {"free_segments", c.free_segments},
        {"commits", c.commits},
        {"committed_bytes", c.committed_bytes},
        {"parked", parked},
        {"segments_read", c.read},
        {"segments_to_read", c.to_read},
    };
    json_begin(&j, out);
    json_open_object(&j);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_name(&j, rows[i].name);
        json_put_int(&j, (int64_t)rows[i].value);
    }
    json_name(&j, "space");
    json_put_bool(&j, q->has_space);
    json_close_object(&j);
    buf_put_byte(out, '\n');
}

// Before the whole log is known a count would be of no use: letters are missing, others are at
// their end already. Such a question waits; `status` says how far it is.
enum role_answer queue_ask(struct role *role, struct str what, struct str argument, struct buf *out)
{
    struct queue *q = role->state;
    bool known = spool_indexed(q->spool);
    (void)argument;
    if (str_eq(what, STR("list"))) {
        if (!known)
            return ROLE_LATER;
        list_letters(q, out);
    } else if (str_eq(what, STR("count"))) {
        struct spool_counts c;
        if (!known)
            return ROLE_LATER;
        spool_count(q->spool, &c);
        buf_putf(out, "%llu\n", (unsigned long long)c.letters);
    } else if (str_eq(what, STR("status"))) {
        put_status(q, out);
    } else {
        buf_put(out, STR("the queue does not know this question"));
        return ROLE_NO;
    }
    return ROLE_YES;
}
