#include "store/delivery.h"

#include "base/limits.h"
#include "os/fault.h"
#include "os/file.h"
#include "os/log.h"
#include "store/maildir.h"

enum { MAILDIRS_OPEN_MAX = 512 };

// ---- Maildirs kept open

struct open_maildir {
    struct link link; // most recently used first
    struct str path;  // in the same block
    struct maildir md;
    bool touched; // by this batch: its directories are synced where syncfs is not to be trusted
    bool stale;   // something failed in it: closed after the batch
};

static void close_maildir(struct delivery *d, struct open_maildir *o)
{
    list_remove(&o->link);
    maildir_close(&o->md);
    free(o);
    d->open_count--;
}

static struct open_maildir *find_maildir(struct delivery *d, struct str path)
{
    LIST_EACH(&d->maildirs, at, after)
    {
        struct open_maildir *o = CONTAINER_OF(at, struct open_maildir, link);
        if (str_eq(o->path, path)) {
            list_remove(at);
            list_prepend(&d->maildirs, at);
            return o;
        }
    }
    return NULL;
}

// One that was there: its `cur`, made last, may be of a life that ended before it was synced, and
// what its owner moves there would go with it.
static bool open_durably(struct delivery *d, struct open_maildir *o, struct err *err)
{
    if (!maildir_open(d->mail_dir, o->path, true, &o->md, err))
        return false;
    int rc = d->syncfs ? 0 : os_fsync(o->md.top); // else the batch's syncfs covers it
    if (rc < 0)
        maildir_close(&o->md);
    return rc == 0 || err_system(err, rc, "mailbox %.*s", STR_ARG(o->path));
}

static struct open_maildir *get_maildir(struct delivery *d, struct str path, struct err *err)
{
    struct open_maildir *o = find_maildir(d, path);
    if (o)
        return o;
    o = calloc(1, sizeof *o + path.len);
    must(o != NULL);
    memcpy(o + 1, path.ptr, path.len);
    o->path = str_from(o + 1, path.len);
    if (!open_durably(d, o, err)) {
        free(o);
        return NULL;
    }
    list_prepend(&d->maildirs, &o->link);
    d->open_count++;
    return o;
}

// Between batches only: a batch may use more at once than are kept.
static void close_surplus(struct delivery *d, size_t most)
{
    while (d->open_count > most)
        close_maildir(d, CONTAINER_OF(d->maildirs.prev, struct open_maildir, link));
}

void delivery_init(struct delivery *d, int mail_dir)
{
    *d = (struct delivery){.mail_dir = mail_dir, .syncfs = os_syncfs_trusted(mail_dir)};
    list_init(&d->maildirs);
}

void delivery_finish(struct delivery *d)
{
    close_surplus(d, 0);
}

// ---- the text of a letter: its header, then its body

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

static struct text text_of(struct delivery_batch *batch, const struct window_item *item)
{
    struct text t = {.source = {.next = next_piece, .again = from_the_start},
                     .header = item->header};
    if (batch->large)
        t.reader = &batch->body;
    else
        t.body = window_body(&batch->view, item);
    return t;
}

// ---- one batch

static void fail(struct delivery_letter *l, const struct err *err)
{
    l->failed = true;
    l->err = *err;
}

static bool name_it(struct arena *arena, struct delivery_letter *l, struct text *text,
                    struct err *err)
{
    struct maildir_name name = {.id = l->item->id};
    struct buf bytes;
    if (!maildir_measure(&name, &text->source, err))
        return false;
    buf_init(&bytes, 256);
    l->size = name.size;
    maildir_name_put(&bytes, &name);
    bool ok = buf_ok(&bytes) && arena_copy(arena, buf_str(&bytes), &l->name) &&
              arena_copy(arena, l->item->mailbox, &l->mailbox);
    buf_finish(&bytes);
    return ok || err_set(err, ERR_TRY_LATER, STATUS(4, 3, 1), "no memory for a delivery");
}

// Step 1 for one letter: tmp/NAME is written, and synced where no syncfs follows.
static void write_one(struct delivery *d, struct delivery_batch *batch, size_t i)
{
    struct delivery_letter *l = &batch->letters[i];
    const struct window_item *item = l->item = &batch->view.items[i];
    struct text text = text_of(batch, item);
    struct err err;
    int fd = -1;
    if (!batch->large && !batch->view.intact[i]) {
        err_set(&err, ERR_TRY_LATER, STATUS(4, 3, 0), "the letter was damaged on its way");
        fail(l, &err);
        return;
    }
    if (!name_it(&batch->arena, l, &text, &err) ||
        !(l->maildir = get_maildir(d, item->mailbox, &err))) {
        fail(l, &err);
        return;
    }
    l->maildir->touched = true;
    if (!maildir_write(&l->maildir->md, l->name.ptr, &text.source, &fd, &l->delivered, &err)) {
        fail(l, &err);
        l->maildir->stale = true;
        return;
    }
    l->written = !l->delivered;
    bool covered = d->syncfs || l->delivered || fault_bites(BITE_tmp_sync);
    int rc = covered ? 0 : os_fsync(fd);
    os_close(&fd);
    if (rc < 0) { // nothing is known of the file: the next attempt begins with a fresh one
        err_system(&err, rc, "a letter could not be synced");
        fail(l, &err);
        if (!maildir_forget(&l->maildir->md, l->name.ptr, &err))
            log_line(LOG_WARNING, "%s", err.text);
    }
}

enum which_directory { OF_TMP, OF_NEW };

// What was made in tmp, or in new, is on disk after this. (The files themselves: by the same
// syncfs, or each by its own fsync when it was written.)
static int sync_all(struct delivery *d, enum which_directory which)
{
    int rc = 0;
    if (fault_bites(which == OF_TMP ? BITE_tmp_sync : BITE_new_sync))
        return 0;
    if (d->syncfs)
        return os_syncfs(d->mail_dir);
    LIST_EACH(&d->maildirs, at, after)
    {
        struct open_maildir *o = CONTAINER_OF(at, struct open_maildir, link);
        if (rc == 0 && o->touched)
            rc = os_fsync(which == OF_TMP ? o->md.tmp : o->md.new);
    }
    return rc;
}

// After a failed sync nothing is known of what it covered: every letter of the batch is done again
// from a fresh file.
static void start_over(struct delivery_batch *batch, int rc)
{
    struct err err, ignored;
    err_system(&err, rc, "the Maildirs could not be synced");
    log_line(LOG_ERROR, "%s; the batch is done again", err.text);
    for (size_t i = 0; i < batch->count; i++) {
        struct delivery_letter *l = &batch->letters[i];
        if (l->failed)
            continue;
        int gone = os_unlink(l->maildir->md.new, l->name.ptr);
        (void)gone; // its owner may have moved it already
        if (!maildir_forget(&l->maildir->md, l->name.ptr, &ignored))
            log_line(LOG_WARNING, "%s", ignored.text);
        fail(l, &err);
    }
}

static void link_all(struct delivery_batch *batch)
{
    struct err err;
    for (size_t i = 0; i < batch->count; i++) {
        struct delivery_letter *l = &batch->letters[i];
        if (l->written && !l->failed && !maildir_link(&l->maildir->md, l->name.ptr, &err)) {
            fail(l, &err);
            l->maildir->stale = true;
        }
    }
}

static void deliver_all(struct delivery *d, struct delivery_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        write_one(d, batch, i);
    int rc = sync_all(d, OF_TMP);
    if (rc == 0) {
        link_all(batch);
        rc = sync_all(d, OF_NEW);
    }
    if (rc < 0)
        start_over(batch, rc);
    LIST_EACH(&d->maildirs, at, after)
    {
        struct open_maildir *o = CONTAINER_OF(at, struct open_maildir, link);
        o->touched = false;
        if (o->stale) // made anew behind our back, perhaps: its descriptors lead nowhere
            close_maildir(d, o);
    }
    close_surplus(d, MAILDIRS_OPEN_MAX);
}

// ---- a batch's life

static bool read_window(struct delivery_batch *b, int window, uint64_t size, uint64_t manifest,
                        struct str items, struct err *err)
{
    b->large = items.len > 0;
    bool ok = b->large ? window_read_items(items, size, &b->arena, &b->view, err)
                       : window_map(window, size, manifest, &b->arena, &b->view, err);
    if (!ok)
        return false;
    b->count = b->view.count;
    b->letters = calloc(b->count + 1, sizeof *b->letters);
    must(b->letters != NULL);
    struct err damaged;
    if (b->large && !large_reader_init(&b->body, window, size, b->view.items[0].crc, &damaged))
        for (size_t i = 0; i < b->count; i++)
            fail(&b->letters[i], &damaged);
    return true;
}

bool delivery_read(struct delivery_batch **batch, int window, uint64_t size, uint64_t manifest,
                   struct str items, struct err *err)
{
    struct delivery_batch *b = *batch = calloc(1, sizeof *b);
    must(b != NULL);
    arena_init(&b->arena, (size_t)LIMIT_delivery_batch * 4096);
    bool ok = read_window(b, window, size, manifest, items, err);
    if (!ok)
        delivery_free(batch);
    return ok;
}

void delivery_run(struct delivery *d, struct delivery_batch *batch)
{
    bool unreadable = batch->large && !batch->body.piece;
    if (!unreadable) // else all of it has failed already
        deliver_all(d, batch);
    large_reader_finish(&batch->body);
    window_unmap(&batch->view);
}

void delivery_forget(struct delivery *d, const struct delivery_batch *batch)
{
    struct err err;
    for (size_t i = 0; i < batch->count; i++) {
        const struct delivery_letter *l = &batch->letters[i];
        struct open_maildir *o = l->name.len ? get_maildir(d, l->mailbox, &err) : NULL;
        if (o && !maildir_forget(&o->md, l->name.ptr, &err))
            log_line(LOG_WARNING, "%s", err.text);
    }
    close_surplus(d, MAILDIRS_OPEN_MAX);
}

void delivery_sweep(struct delivery *d, struct str mailbox, uint64_t before_s,
                    const struct maildir_witnesses *witnesses)
{
    size_t removed = 0;
    struct err err;
    struct open_maildir *o = get_maildir(d, mailbox, &err);
    bool ok = o && maildir_sweep(&o->md, before_s, witnesses, &removed, &err);
    if (removed)
        log_line(LOG_INFO, "mailbox %.*s: %zu old files were left in tmp/", STR_ARG(mailbox),
                 removed);
    if (!ok)
        log_line(LOG_WARNING, "mailbox %.*s: %s", STR_ARG(mailbox), err.text);
    close_surplus(d, MAILDIRS_OPEN_MAX);
}

void delivery_free(struct delivery_batch **batch)
{
    struct delivery_batch *b = *batch;
    *batch = NULL;
    if (!b)
        return;
    list_remove(&b->link);
    large_reader_finish(&b->body);
    window_unmap(&b->view);
    arena_finish(&b->arena);
    free(b->letters);
    free(b);
}
