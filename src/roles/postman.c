// The postman: delivers what the queue hands it into Maildirs, a batch at a time (design: batch
// delivery). For each letter tmp/NAME is written; one sync for all; link into new; one sync for all;
// then the queue is told. When the queue has committed "done" it says forget, and tmp/NAME goes: until
// then its link count is the witness that the letter was delivered, wherever its owner has moved it.
//
// It works in its loop's thread: it serves nobody but the queue, and the queue expects it to wait for
// the disk.
#include "roles/role.h"

#include "base/limits.h"
#include "os/file.h"
#include "store/maildir.h"
#include "store/window.h"

enum { MAILDIRS_OPEN_MAX = 64 };

// One delivery of a batch.
struct delivery {
    const struct window_item *item;
    struct open_maildir *maildir;
    struct str name; // of the file, ends with a NUL
    int fd;
    bool written, delivered, failed;
    struct err err;
};

// A Maildir that stays open between batches: opening one costs five calls.
struct open_maildir {
    struct link link; // most recently used first
    struct str path;  // in the same block
    struct maildir md;
    bool touched; // by this batch: its directories are synced where syncfs is not to be trusted
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

struct postman {
    struct role *role;
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

static void count_lines(struct str body, struct maildir_name *name)
{
    uint64_t feeds = 0;
    for (struct str rest = body; rest.len;) {
        size_t at = str_index(rest, '\n');
        if (at == rest.len)
            break;
        feeds++;
        rest = str_skip(rest, at + 1);
    }
    name->no_final_newline = body.len == 0 || body.ptr[body.len - 1] != '\n';
    name->size += body.len - feeds; // every line end is CRLF here and LF there
    name->wire_size += body.len;
}
