// The postman: delivers what the queue hands it into Maildirs, a batch at a time (design: batch
// delivery). For each letter tmp/NAME is written; one sync for all; link into new; one sync for
// all; then the queue is told. When the queue has committed "done" it says forget, and tmp/NAME
// goes: until then its link count is the witness that the letter was delivered, wherever its owner
// has moved it.
//
// It works in its loop's thread: it serves nobody but the queue, and the queue expects it to wait
// for the disk.
#include "roles/role.h"

#include "base/limits.h"
#include "ipc/verdicts.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/random.h"
#include "store/large.h"
#include "store/maildir.h"
#include "store/window.h"

enum { SWEPT_BITS = 1 << 20, SWEPT_WORD = 64 };
enum { MAILDIRS_OPEN_MAX = 512, RESULT_TEXT_MAX = 100, RESULT_TEXTS = 16384 };

// One delivery of a batch.
struct delivery {
    const struct window_item *item;
    struct open_maildir *maildir;
    struct str name; // of the file, ends with a NUL
    bool written, delivered, failed;
    struct err err;
};

// A Maildir that stays open between batches: opening one costs five calls.
struct open_maildir {
    struct link link; // most recently used first
    struct str path;  // in the same block
    struct maildir md;
    bool touched; // by this batch: its directories are synced where syncfs is not to be trusted
    bool stale;   // something failed in it: closed after the batch
};

// What a batch leaves behind until the queue says forget.
struct batch {
    struct link link;
    uint64_t number;
    struct arena arena;
    struct str *names;
    struct str *mailboxes;
    size_t count;
};

// Which mailboxes were swept today: a bit for each, found by the hash of its path. Of two that
// share one, the other waits for a day on which the key parts them.
struct swept {
    uint64_t since_ms; // monotonic
    uint64_t key[2];
    uint64_t bits[SWEPT_BITS / SWEPT_WORD];
};

struct postman {
    struct role *role;
    uint64_t started_ms; // monotonic
    struct swept swept;
    int mail_dir;
    bool syncfs;
    struct link maildirs;
    size_t open_count;
    struct link batches;
};

// ---- Maildirs kept open

static void close_oldest(struct postman *p)
{
    struct open_maildir *o = CONTAINER_OF(p->maildirs.prev, struct open_maildir, link);
    list_remove(&o->link);
    maildir_close(&o->md);
    free(o);
    p->open_count--;
}

static struct open_maildir *find_maildir(struct postman *p, struct str path)
{
    LIST_EACH(&p->maildirs, at, after)
    {
        struct open_maildir *o = CONTAINER_OF(at, struct open_maildir, link);
        if (str_eq(o->path, path)) {
            list_remove(at);
            list_prepend(&p->maildirs, at);
            return o;
        }
    }
    return NULL;
}

static struct open_maildir *get_maildir(struct postman *p, struct str path, struct err *err)
{
    struct open_maildir *o = find_maildir(p, path);
    if (o)
        return o;
    o = calloc(1, sizeof *o + path.len);
    must(o != NULL);
    memcpy(o + 1, path.ptr, path.len);
    o->path = str_from(o + 1, path.len);
    if (!maildir_open(p->mail_dir, path, true, &o->md, err)) {
        free(o);
        return NULL;
    }
    list_prepend(&p->maildirs, &o->link);
    p->open_count++;
    return o;
}

// Between batches only: a batch may use more at once than are kept.
static void close_surplus(struct postman *p)
{
    while (p->open_count > MAILDIRS_OPEN_MAX)
        close_oldest(p);
}

// A mailbox that was removed and made again behind our back: its descriptors lead nowhere.
static void close_maildir(struct postman *p, struct open_maildir *o)
{
    list_remove(&o->link);
    maildir_close(&o->md);
    free(o);
    p->open_count--;
}

// ---- one batch

static void fail(struct delivery *d, const struct err *err)
{
    d->failed = true;
    d->err = *err;
}

// What a batch is read from.
struct letters {
    struct window_view view;
    struct large_reader body; // of a large letter, whose body is no part of the view
    bool large;
};

// One letter as it is delivered: its header, then its body.
struct text {
    struct maildir_source source;
    struct str header;
    struct str body;             // in the window
    struct large_reader *reader; // or in a file: NULL = in the window
    unsigned at;
};

static bool next_piece(struct maildir_source *source, struct str *piece, struct err *err)
{
    struct text *t = CONTAINER_OF(source, struct text, source);
    *piece = STR("");
    if (t->at == 0)
        *piece = t->header;
    else if (t->reader)
        return large_reader_next(t->reader, piece, err);
    else if (t->at == 1)
        *piece = t->body;
    t->at++;
    return true;
}

static void from_the_start(struct maildir_source *source)
{
    struct text *t = CONTAINER_OF(source, struct text, source);
    t->at = t->header.len == 0; // an empty piece would be the end
    if (t->reader)
        large_reader_again(t->reader);
}

static struct text text_of(struct letters *letters, const struct window_item *item)
{
    struct text t = {.source = {.next = next_piece, .again = from_the_start},
                     .header = item->header};
    if (letters->large)
        t.reader = &letters->body;
    else
        t.body = window_body(&letters->view, item);
    return t;
}

static bool name_it(struct arena *arena, const struct window_item *item, struct text *letter,
                    struct str *copy, struct err *err)
{
    struct maildir_name name = {.id = item->id, .recipient = item->recipient};
    struct buf text;
    if (!maildir_measure(&name, &letter->source, err))
        return false;
    buf_init(&text, 256);
    maildir_name_put(&text, &name);
    bool ok = buf_ok(&text) && arena_copy(arena, buf_str(&text), copy);
    buf_finish(&text);
    return ok || err_set(err, ERR_TRY_LATER, STATUS(4, 3, 1), "no memory for a delivery");
}

// Step 1 for one letter: tmp/NAME is written, not synced.
static void write_one(struct postman *p, struct batch *batch, struct letters *letters, size_t i,
                      struct delivery *d)
{
    const struct window_item *item = d->item = &letters->view.items[i];
    struct text text = text_of(letters, item);
    struct err err;
    int fd = -1;
    if (!letters->large && !letters->view.intact[i]) {
        err_set(&err, ERR_TRY_LATER, STATUS(4, 3, 0), "the letter was damaged on its way");
        fail(d, &err);
        return;
    }
    if (!name_it(&batch->arena, item, &text, &d->name, &err)) {
        fail(d, &err);
        return;
    }
    if (!arena_copy(&batch->arena, item->mailbox, &batch->mailboxes[i])) {
        err_set(&err, ERR_TRY_LATER, STATUS(4, 3, 1), "no memory for a delivery");
        fail(d, &err);
        return;
    }
    batch->names[i] = d->name;
    d->maildir = get_maildir(p, item->mailbox, &err);
    if (!d->maildir) {
        fail(d, &err);
        return;
    }
    d->maildir->touched = true;
    if (!maildir_write(&d->maildir->md, d->name.ptr, &text.source, &fd, &d->delivered, &err)) {
        fail(d, &err);
        d->maildir->stale = true;
        return;
    }
    d->written = !d->delivered;
    int rc = p->syncfs || d->delivered ? 0 : os_fsync(fd);
    os_close(&fd);
    if (rc < 0) { // nothing is known of the file: the next attempt begins with a fresh one
        err_system(&err, rc, "a letter could not be synced");
        fail(d, &err);
        if (!maildir_forget(&d->maildir->md, d->name.ptr, &err))
            log_line(LOG_WARNING, "%s", err.text);
    }
}

enum which_directory { OF_TMP, OF_NEW };

// What was made in tmp, or in new, is on disk after this. (The files themselves: by the same
// syncfs, or each by its own fsync when it was written.)
static int sync_all(struct postman *p, enum which_directory which)
{
    int rc = 0;
    if (p->syncfs)
        return os_syncfs(p->mail_dir);
    LIST_EACH(&p->maildirs, at, after)
    {
        struct open_maildir *o = CONTAINER_OF(at, struct open_maildir, link);
        if (rc == 0 && o->touched)
            rc = os_fsync(which == OF_TMP ? o->md.tmp : o->md.new);
    }
    return rc;
}

// After a failed sync nothing is known of what it covered: every letter of the batch is done again
// from a fresh file.
static void start_over(struct delivery *deliveries, size_t count, int rc)
{
    struct err err, ignored;
    err_system(&err, rc, "the Maildirs could not be synced");
    log_line(LOG_ERROR, "%s; the batch is done again", err.text);
    for (size_t i = 0; i < count; i++) {
        struct delivery *d = &deliveries[i];
        if (d->failed)
            continue;
        int gone = os_unlink(d->maildir->md.new, d->name.ptr);
        (void)gone; // its owner may have moved it already
        if (!maildir_forget(&d->maildir->md, d->name.ptr, &ignored))
            log_line(LOG_WARNING, "%s", ignored.text);
        fail(d, &err);
    }
}

static void link_all(struct delivery *deliveries, size_t count)
{
    struct err err;
    for (size_t i = 0; i < count; i++) {
        struct delivery *d = &deliveries[i];
        if (d->written && !d->failed && !maildir_link(&d->maildir->md, d->name.ptr, &err)) {
            fail(d, &err);
            d->maildir->stale = true;
        }
    }
}

static void deliver_all(struct postman *p, struct batch *batch, struct letters *letters,
                        struct delivery *deliveries)
{
    size_t count = letters->view.count;
    for (size_t i = 0; i < count; i++)
        write_one(p, batch, letters, i, &deliveries[i]);
    int rc = sync_all(p, OF_TMP);
    if (rc == 0) {
        link_all(deliveries, count);
        rc = sync_all(p, OF_NEW);
    }
    if (rc < 0)
        start_over(deliveries, count, rc);
    LIST_EACH(&p->maildirs, at, after)
    {
        struct open_maildir *o = CONTAINER_OF(at, struct open_maildir, link);
        o->touched = false;
        if (o->stale) // made anew behind our back, perhaps: opened again next time
            close_maildir(p, o);
    }
    close_surplus(p);
}

static enum delivery_outcome outcome_of(const struct delivery *d)
{
    if (!d->failed)
        return DELIVERY_DONE;
    return d->err.class == ERR_OUR_BUG ? DELIVERY_DAMAGED : DELIVERY_LATER;
}

static void put_results(struct buf *out, const struct delivery *deliveries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct str text = deliveries[i].failed ? err_text(&deliveries[i].err) : STR("");
        // Where a whole large batch fails, the first reasons stand for all.
        text = str_sub(text, 0, out->len < RESULT_TEXTS ? RESULT_TEXT_MAX : 0);
        buf_put_byte(out, (char)outcome_of(&deliveries[i]));
        buf_put_u16(out, (uint16_t)text.len);
        buf_put(out, text);
    }
}

static void free_batch(struct batch *batch)
{
    list_remove(&batch->link);
    arena_finish(&batch->arena);
    free(batch);
}

static struct batch *new_batch(struct postman *p, uint64_t number)
{
    struct batch *batch = calloc(1, sizeof *batch);
    must(batch != NULL);
    batch->number = number;
    arena_init(&batch->arena, (size_t)LIMIT_delivery_batch * 4096);
    list_append(&p->batches, &batch->link);
    return batch;
}

static bool read_letters(const struct msg_deliver *m, struct arena *arena, struct letters *letters,
                         struct err *err)
{
    *letters = (struct letters){.large = m->items.len > 0};
    if (!letters->large)
        return window_map(m->window, m->size, m->manifest, arena, &letters->view, err);
    return window_read_items(m->items, m->size, arena, &letters->view, err);
}

static void on_deliver(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct postman *p = role->state;
    struct batch *batch = new_batch(p, m->deliver.batch);
    struct letters letters;
    struct buf results;
    struct msg reply = {.type = MSG_delivered, .slot = m->slot};
    struct err err;
    (void)owner;
    if (!read_letters(&m->deliver, &batch->arena, &letters, &err)) {
        log_line(LOG_ERROR, "%s", err.text);
        free_batch(batch);
        if (err.class == ERR_TRY_LATER)
            ipc_send(channel, &reply); // without results: all of it is deferred
        else
            ipc_break(channel, "it handed over a window that cannot be read");
        return;
    }
    size_t count = letters.view.count;
    struct delivery *deliveries = calloc(count + 1, sizeof *deliveries);
    batch->names = arena_alloc_array(&batch->arena, count + 1, sizeof *batch->names);
    batch->mailboxes = arena_alloc_array(&batch->arena, count + 1, sizeof *batch->mailboxes);
    must(deliveries && batch->names && batch->mailboxes);
    batch->count = count;
    if (letters.large && !large_reader_init(&letters.body, m->deliver.window, m->deliver.size,
                                            letters.view.items[0].crc, &err))
        for (size_t i = 0; i < count; i++)
            fail(&deliveries[i], &err);
    else
        deliver_all(p, batch, &letters, deliveries);
    buf_init(&results, LIMIT_message / 2);
    put_results(&results, deliveries, count);
    must(buf_ok(&results));
    reply.delivered.results = buf_str(&results);
    ipc_send(channel, &reply);
    buf_finish(&results);
    free(deliveries);
    large_reader_finish(&letters.body);
    window_unmap(&letters.view);
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
        const struct batch *batch = CONTAINER_OF(at, struct batch, link);
        for (size_t i = 0; i < batch->count; i++)
            if (str_eq(batch->names[i], name))
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

static void sweep(struct postman *p, const struct open_maildir *o)
{
    const struct witnesses w = {.witnesses = {.needed = needed}, .postman = p};
    uint64_t now_s = os_wall_ms() / 1000;
    size_t removed;
    struct err err;
    bool ok = maildir_sweep(&o->md, now_s - LIMIT_witness_age, &w.witnesses, &removed, &err);
    if (removed)
        log_line(LOG_INFO, "mailbox %.*s: %zu old files were left in tmp/", STR_ARG(o->path),
                 removed);
    if (!ok)
        log_line(LOG_WARNING, "mailbox %.*s: %s", STR_ARG(o->path), err.text);
}

// The queue's "done" is durable: the witnesses may go.
static void on_forget(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct postman *p = role->state;
    struct err err;
    (void)owner;
    LIST_EACH(&p->batches, at, after)
    {
        struct batch *batch = CONTAINER_OF(at, struct batch, link);
        if (batch->number != m->forget.batch)
            continue;
        for (size_t i = 0; i < batch->count; i++) {
            struct open_maildir *o =
                batch->names[i].len ? get_maildir(p, batch->mailboxes[i], &err) : NULL;
            if (o && !maildir_forget(&o->md, batch->names[i].ptr, &err))
                log_line(LOG_WARNING, "%s", err.text);
            if (o && sweep_is_due(p, o->path))
                sweep(p, o);
        }
        free_batch(batch);
    }
    close_surplus(p);
}

// ---- the role

static void closed(struct ipc_channel *channel, const char *why)
{
    struct role *role = ipc_context(channel);
    struct postman *p = role->state;
    (void)why;
    LIST_EACH(&p->batches, at, after)
    {
        free_batch(CONTAINER_OF(at, struct batch, link)); // a new queue knows nothing of them
    }
}

static bool prepare(struct role *role, struct err *err)
{
    struct postman *p = calloc(1, sizeof *p);
    must(p != NULL);
    role->state = p;
    p->role = role;
    p->started_ms = os_monotonic_ms();
    list_init(&p->maildirs);
    list_init(&p->batches);
    if (!role_open_directory(role, role->conf->mail_dir, true, &p->mail_dir, err))
        return false;
    p->syncfs = os_syncfs_trusted(p->mail_dir);
    return true;
}

static const struct ipc_handlers handlers = {
    .on = {[MSG_deliver] = on_deliver, [MSG_forget] = on_forget},
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
