// The postman: delivers what the queue hands it into Maildirs, a batch at a time
// (store/delivery.h), and tells the queue. When the queue has committed "done" it says forget. The
// directory is told what came into which mailbox, where it asks for that (`account`).
//
// It works in its loop's thread: it serves nobody but the queue, and the queue expects it to wait
// for the disk.
#include "roles/role.h"

#include "base/limits.h"
#include "ipc/verdicts.h"
#include "os/clock.h"
#include "os/random.h"
#include "roles/postman_count.h"
#include "store/delivery.h"
#include "store/maildir.h"

enum { SWEPT_BITS = 1 << 20, SWEPT_WORD = 64 };
enum { RESULT_TEXT_MAX = 100, RESULT_TEXTS = 16384 };

// Which mailboxes were swept today: a bit for each, found by the hash of its path. Of two that
// share one, the other waits for a day on which the key parts them.
struct swept {
    uint64_t since_ms; // monotonic
    uint64_t key[2];
    uint64_t bits[SWEPT_BITS / SWEPT_WORD];
};

struct postman {
    uint64_t started_ms; // monotonic
    struct swept swept;
    int mail_dir;
    struct delivery delivery;
    struct link batches; // what each leaves behind until the queue says forget
    struct counter counter;
    bool accounts; // the directory wants to know what comes in
};

static enum delivery_outcome outcome_of(const struct delivery_letter *l)
{
    if (!l->failed)
        return DELIVERY_DONE;
    return l->err.class == ERR_OUR_BUG ? DELIVERY_DAMAGED : DELIVERY_LATER;
}

static void put_results(struct buf *out, const struct delivery_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct delivery_letter *l = &batch->letters[i];
        struct str text = l->failed ? err_text(&l->err) : STR("");
        // Where a whole large batch fails, the first reasons stand for all.
        text = str_sub(text, 0, out->len < RESULT_TEXTS ? RESULT_TEXT_MAX : 0);
        buf_put_byte(out, (char)outcome_of(l));
        buf_put_u16(out, (uint16_t)text.len);
        buf_put(out, text);
    }
}

// What the batch brought, mailbox by mailbox as they follow each other.
static void tell_used(struct role *role, const struct delivery_batch *batch)
{
    struct postman *p = role->state;
    struct ipc_channel *directory = role_peer(role, IPC_DIRECTORY);
    struct msg m = {.type = MSG_used};
    for (size_t i = 0; i < batch->count; i++) {
        const struct delivery_letter *l = &batch->letters[i];
        if (!l->written || l->failed)
            continue;
        counter_came(&p->counter, l->mailbox, l->name, l->size);
        if (m.used.letters && !str_eq(m.used.mailbox, l->mailbox)) {
            ipc_send(directory, &m);
            m.used.octets = m.used.letters = 0;
        }
        m.used.mailbox = l->mailbox;
        m.used.octets += l->size;
        m.used.letters++;
    }
    if (m.used.letters)
        ipc_send(directory, &m);
}

static void on_deliver(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct postman *p = role->state;
    const struct msg_deliver *d = &m->deliver;
    struct delivery_batch *batch;
    struct buf results;
    struct msg reply = {.type = MSG_delivered, .slot = m->slot};
    struct err err;
    (void)owner;
    if (!delivery_read(&batch, d->window, d->size, d->manifest, d->items, &err)) {
        log_line(LOG_ERROR, "%s", err.text);
        if (err.class == ERR_TRY_LATER)
            ipc_send(channel, &reply); // without results: all of it is deferred
        else
            ipc_break(channel, "it handed over a window that cannot be read");
        return;
    }
    batch->number = d->batch;
    list_append(&p->batches, &batch->link);
    delivery_run(&p->delivery, batch);
    if (p->accounts && role_peer(role, IPC_DIRECTORY))
        tell_used(role, batch);
    buf_init(&results, LIMIT_message / 2);
    put_results(&results, batch);
    must(buf_ok(&results));
    reply.delivered.results = buf_str(&results);
    ipc_send(channel, &reply);
    buf_finish(&results);
}

// ---- witnesses that nobody needs any more

struct witnesses {
    struct maildir_witnesses witnesses;
    const struct postman *postman;
};

// Of a batch whose "done" the queue has not told yet, whatever the clock says.
static bool needed(const struct maildir_witnesses *witnesses, struct str name)
{
    const struct postman *p = CONTAINER_OF(witnesses, struct witnesses, witnesses)->postman;
    LIST_EACH(&p->batches, at, after)
    {
        const struct delivery_batch *batch = CONTAINER_OF(at, struct delivery_batch, link);
        for (size_t i = 0; i < batch->count; i++)
            if (str_eq(batch->letters[i].name, name))
                return true;
    }
    return false;
}

// Not soon after the start: a letter whose "done" was lost with the last queue may be older than
// any limit when the server was down, and is handed out again first.
static bool sweep_is_due(struct postman *p, struct str path)
{
    uint64_t now = os_monotonic_ms();
    struct swept *s = &p->swept;
    if (now - p->started_ms < LIMIT_witness_rest * 1000ULL)
        return false;
    if (s->since_ms == 0 || now - s->since_ms >= LIMIT_witness_every * 1000ULL) {
        *s = (struct swept){.since_ms = now};
        os_random(s->key, sizeof s->key);
    }
    uint64_t bit = str_hash(path, s->key) % SWEPT_BITS, mask = 1ULL << bit % SWEPT_WORD;
    bool due = !(s->bits[bit / SWEPT_WORD] & mask);
    s->bits[bit / SWEPT_WORD] |= mask;
    return due;
}

static void sweep_some(struct postman *p, const struct delivery_batch *batch)
{
    const struct witnesses w = {.witnesses = {.needed = needed}, .postman = p};
    uint64_t before_s = os_wall_ms() / 1000 - LIMIT_witness_age;
    for (size_t i = 0; i < batch->count; i++)
        if (sweep_is_due(p, batch->letters[i].mailbox))
            delivery_sweep(&p->delivery, batch->letters[i].mailbox, before_s, &w.witnesses);
}

// The queue's "done" is durable.
static void on_forget(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct postman *p = role->state;
    (void)owner;
    LIST_EACH(&p->batches, at, after)
    {
        struct delivery_batch *batch = CONTAINER_OF(at, struct delivery_batch, link);
        if (batch->number != m->forget.batch)
            continue;
        delivery_forget(&p->delivery, batch);
        sweep_some(p, batch);
        delivery_free(&batch);
    }
}

// ---- the directory

static void on_account(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct postman *p = role->state;
    (void)owner;
    p->accounts = m->account.wanted;
}

static void on_count(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct postman *p = role->state;
    (void)owner;
    counter_begin(&p->counter, channel, m);
}

// ---- the role

static void closed(struct ipc_channel *channel, const char *why)
{
    struct role *role = ipc_context(channel);
    struct postman *p = role->state;
    (void)why;
    if (ipc_peer(channel) == IPC_DIRECTORY) {
        counter_forget(&p->counter, channel);
        return;
    }
    LIST_EACH(&p->batches, at, after)
    {
        struct delivery_batch *batch = CONTAINER_OF(at, struct delivery_batch, link);
        delivery_free(&batch); // a new queue knows nothing of them
    }
}

static bool prepare(struct role *role, struct err *err)
{
    struct postman *p = calloc(1, sizeof *p);
    must(p != NULL);
    role->state = p;
    p->started_ms = os_monotonic_ms();
    list_init(&p->batches);
    if (!role_open_directory(role, role->conf->mail_dir, true, &p->mail_dir, err))
        return false;
    delivery_init(&p->delivery, p->mail_dir);
    counter_init(&p->counter, role->loop, p->mail_dir);
    return true;
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_deliver] = on_deliver,
           [MSG_forget] = on_forget,
           [MSG_account] = on_account,
           [MSG_count] = on_count},
    .closed = closed,
};

static const struct role_ops ops = {
    .role = IPC_POSTMAN,
    .handlers = &handlers,
    .prepare = prepare,
};

int main(int argc, char **argv)
{
    return role_main(&ops, argc, argv);
}
