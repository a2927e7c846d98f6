#include "roles/postman_count.h"

#include <errno.h>

#include "base/limits.h"
#include "os/log.h"
#include "store/maildir.h"

// A letter that was delivered while its mailbox was listed.
struct came {
    struct link link;
    struct str name;
    uint64_t octets;
};

struct count {
    struct link link;
    struct os_job job;
    int mail_dir;
    struct ipc_channel *directory; // NULL: it is gone
    uint32_t slot;
    struct link came;     // of struct came, in the loop's thread
    struct arena arrived; // they live here
    // The thread's, until the job is done.
    struct arena arena; // of all below
    struct str mailbox;
    struct maildir_letter *letters; // seen
    size_t seen;
    uint64_t octets; // of them
    bool ok;
    struct err err;
};

// ---- in the thread

static bool measure(const struct maildir *md, struct count *count)
{
    uint64_t octets;
    if (!maildir_list(md, &count->arena, &count->letters, &count->seen, &count->err))
        return false;
    for (size_t i = 0; i < count->seen; i++) {
        if (!maildir_stored_size(md, &count->letters[i], &octets, &count->err))
            return false;
        count->octets += octets;
    }
    return true;
}

static void count_work(struct os_job *job)
{
    struct count *count = CONTAINER_OF(job, struct count, job);
    struct maildir md;
    if (maildir_open(count->mail_dir, count->mailbox, false, &md, &count->err)) {
        count->ok = measure(&md, count);
        maildir_close(&md);
    } else {
        count->ok = count->err.code == ENOENT; // no letter has come yet
    }
}

// ---- in the loop

static void answer(struct count *count)
{
    struct msg reply = {.type = MSG_counted, .slot = count->slot};
    reply.counted.ok = count->ok;
    reply.counted.octets = count->octets;
    reply.counted.letters = count->seen;
    LIST_EACH(&count->came, at, after)
    {
        const struct came *came = CONTAINER_OF(at, struct came, link);
        if (maildir_listed(count->letters, count->seen, came->name))
            continue;
        reply.counted.octets += came->octets;
        reply.counted.letters++;
    }
    ipc_send(count->directory, &reply);
}

static void count_done(struct os_job *job)
{
    struct count *count = CONTAINER_OF(job, struct count, job);
    if (!count->ok)
        log_line(LOG_WARNING, "mailbox %.*s cannot be counted: %s", STR_ARG(count->mailbox),
                 count->err.text);
    if (count->directory)
        answer(count);
    list_remove(&count->link);
    arena_finish(&count->arrived);
    arena_finish(&count->arena);
    free(count);
}

void counter_init(struct counter *c, struct loop *loop, int mail_dir)
{
    *c = (struct counter){.loop = loop, .mail_dir = mail_dir};
    list_init(&c->counts);
}

void counter_begin(struct counter *c, struct ipc_channel *directory, const struct msg *m)
{
    struct count *count = calloc(1, sizeof *count);
    must(count != NULL);
    *count = (struct count){.job = {.work = count_work, .done = count_done},
                            .mail_dir = c->mail_dir,
                            .directory = directory,
                            .slot = m->slot};
    list_init(&count->came);
    arena_init(&count->arrived, LIMIT_maildrop);
    arena_init(&count->arena, LIMIT_maildrop);
    bool fits = arena_copy(&count->arena, m->count.mailbox, &count->mailbox);
    must(fits); // it came in one message
    list_append(&c->counts, &count->link);
    if (c->workers || os_workers_open(&c->workers, c->loop, "count", 1, &count->err))
        os_workers_submit(c->workers, &count->job);
    else
        count_done(&count->job);
}

void counter_came(struct counter *c, struct str mailbox, struct str name, uint64_t octets)
{
    LIST_EACH(&c->counts, at, after)
    {
        struct count *count = CONTAINER_OF(at, struct count, link);
        if (!str_eq(count->mailbox, mailbox))
            continue;
        struct came *came = ARENA_NEW(&count->arrived, struct came);
        if (!came || !arena_copy(&count->arrived, name, &came->name))
            continue; // hundreds of thousands in one count: the next one will be right
        came->octets = octets;
        list_append(&count->came, &came->link);
    }
}

void counter_forget(struct counter *c, struct ipc_channel *directory)
{
    LIST_EACH(&c->counts, at, after)
    {
        struct count *count = CONTAINER_OF(at, struct count, link);
        if (count->directory == directory)
            count->directory = NULL;
    }
}
