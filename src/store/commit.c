// Group commit. All that was added during a turn, and during the sync before it, goes into one
// frame: one write, one fdatasync (spool promise 1). One batch flies, one gathers.
//
//   gathering --(turn ends, nothing flies)--> flying --(synced)--> done, waiters told
//                                               | write or sync failed
//                                               v
//                        the same states behind an abort record, in another segment (promise 4)
//                                               | that failed too
//                                               v
//                                       the process ends without a reply
#include <inttypes.h>

#include "os/file.h"
#include "os/log.h"
#include "os/random.h"
#include "store/spool_private.h"

static void seal(struct spool *s);

void batch_init(struct spool *s, struct batch *b)
{
    *b = (struct batch){.spool = s};
    buf_init(&b->frame,
             SEGMENT_FRAME_HEADER + BATCH_LETTERS_MAX + BATCH_STATES_MAX + 2 * SEGMENT_BLOCK);
    buf_init(&b->states, BATCH_STATES_MAX);
    list_init(&b->letters);
    list_init(&b->waiters);
    must(buf_reserve(&b->frame, SEGMENT_FRAME_HEADER) != NULL);
    memset(b->frame.ptr, 0, SEGMENT_FRAME_HEADER);
    buf_added(&b->frame, SEGMENT_FRAME_HEADER);
}

void batch_finish(struct batch *b)
{
    buf_finish(&b->frame);
    buf_finish(&b->states);
    free(b->ended);
}

static void batch_reset(struct batch *b)
{
    // The memory stays: the next batch is about as large.
    b->frame.len = SEGMENT_FRAME_HEADER;
    buf_clear(&b->states);
    b->letter_records = b->state_records = 0;
    list_init(&b->letters);
    list_init(&b->waiters);
    b->ended_count = 0;
    b->aborting = false;
    b->ok = false;
}

static bool batch_empty(const struct batch *b)
{
    return b->letter_records == 0 && b->state_records == 0 && list_empty(&b->waiters);
}

// ---- segments

// The oldest segment can be used again when all its letters are at their end (their final states
// are durable: `live` falls only then) and nobody reads it. Oldest first, always: a final state
// stands behind its letter in the log, so no letter can come to life again (docs/decisions/0003).
static struct segment *oldest_unused(struct spool *s)
{
    if (s->segment_count <= SEGMENTS_KEPT || list_empty(&s->segments))
        return NULL;
    struct segment *seg = CONTAINER_OF(s->segments.next, struct segment, link);
    bool flies = s->flying && s->flying->segment == seg;
    if (seg == s->current || seg->live || seg->readers || flies || seg->suspect)
        return NULL;
    return seg;
}

static void forget_letters(struct spool *s, struct segment *seg)
{
    LIST_EACH(&seg->letters, at, after)
    {
        struct spool_letter *letter = CONTAINER_OF(at, struct spool_letter, link);
        must(letter->pending == 0);
        spool_forget_letter(s, letter);
    }
}

static struct segment *next_segment(struct spool *s)
{
    struct segment *seg;
    struct link *link = list_pop(&s->free);
    if (link) {
        seg = CONTAINER_OF(link, struct segment, link);
        s->free_count--;
    } else if ((seg = oldest_unused(s)) != NULL) {
        list_remove(&seg->link);
        forget_letters(s, seg);
    } else {
        seg = calloc(1, sizeof *seg);
        must(seg != NULL);
        seg->fd = -1;
        seg->number = s->next_number++;
        seg->size = s->options.segment_size;
        list_init(&seg->letters);
        s->segment_count++;
    }
    seg->use = ++s->last_use;
    seg->end = SEGMENT_BLOCK;
    seg->fresh = true;
    os_random(seg->epoch, sizeof seg->epoch);
    list_append(&s->segments, &seg->link);
    return seg;
}

struct spare_job {
    struct os_job job;
    struct spool *spool;
    struct segment *segment;
    bool ok;
    struct err err;
};

static void spare_work(struct os_job *job)
{
    struct spare_job *spare = CONTAINER_OF(job, struct spare_job, job);
    spare->ok = segment_create(spare->spool->log_dir, spare->segment, &spare->err);
}

static void spare_done(struct os_job *job)
{
    struct spare_job *spare = CONTAINER_OF(job, struct spare_job, job);
    struct spool *s = spare->spool;
    s->making_spare = false;
    if (spare->ok) {
        list_append(&s->free, &spare->segment->link);
        s->free_count++;
        s->segment_count++;
    } else {
        log_line(LOG_WARNING, "no spare segment: %s", spare->err.text);
        free(spare->segment);
    }
    free(spare);
}

// Keeps one segment ready, so that no commit waits for 16 MiB of zeros.
static void want_spare(struct spool *s)
{
    if (s->making_spare || s->free_count > 0 || oldest_unused(s))
        return;
    struct spare_job *spare = calloc(1, sizeof *spare);
    struct segment *seg = calloc(1, sizeof *seg);
    must(spare && seg);
    seg->fd = -1;
    seg->number = s->next_number++;
    seg->size = s->options.segment_size;
    list_init(&seg->letters);
    *spare = (struct spare_job){
        .job = {.work = spare_work, .done = spare_done}, .spool = s, .segment = seg};
    s->making_spare = true;
    os_workers_submit(s->helpers, &spare->job);
}

// ---- the commit thread

static void commit_work(struct os_job *job)
{
    struct batch *b = CONTAINER_OF(job, struct batch, job);
    struct segment *seg = b->segment;
    b->ok = false;
    if (seg->fd < 0 && !segment_create(b->spool->log_dir, seg, &b->err))
        return;
    if (seg->fresh && !segment_begin(seg, &b->err))
        return;
    seg->fresh = false;
    segment_seal_frame(&b->frame, seg, b->number, b->letter_records + b->state_records);
    int rc = os_pwrite_all(seg->fd, buf_str(&b->frame), b->offset);
    if (rc == 0)
        rc = os_fdatasync(seg->fd);
    if (rc < 0)
        err_system(&b->err, rc, "committing to spool/log/%012" PRIu64, seg->number);
    b->ok = rc == 0;
}

static void letters_durable(struct batch *b)
{
    LIST_EACH(&b->letters, at, after)
    {
        struct spool_letter *letter = CONTAINER_OF(at, struct spool_letter, link);
        list_remove(at);
        letter->segment = b->segment;
        letter->offset += (uint32_t)b->offset;
        letter->durable = true;
        list_append(&b->segment->letters, at);
        b->segment->live++;
    }
}

static void letters_gone(struct batch *b)
{
    LIST_EACH(&b->letters, at, after)
    {
        struct spool_letter *letter = CONTAINER_OF(at, struct spool_letter, link);
        b->spool->live_letters--;
        b->spool->live_recipients -= letter->pending;
        letter->pending = 0;
        if (letter->large)
            large_remove(b->spool, &letter->id);
        spool_forget_letter(b->spool, letter);
    }
}

static void tell_waiters(struct batch *b, bool durable, bool states_too)
{
    LIST_EACH(&b->waiters, at, after)
    {
        struct spool_waiter *w = CONTAINER_OF(at, struct spool_waiter, link);
        if (w->for_states && !states_too)
            continue;
        list_remove(at);
        w->done(w, durable);
    }
}

static void put_abort(struct buf *out, const struct segment *seg, uint64_t good_end)
{
    struct buf data;
    buf_init(&data, ABORT_FIXED);
    buf_put_u64(&data, seg->number);
    buf_put_u64(&data, seg->use);
    buf_put_u64(&data, good_end);
    segment_put_record(out, RECORD_ABORT, 0, buf_str(&data));
    buf_finish(&data);
}

// Promise 4: the failed batch is never tried again as it was. Its states, behind an abort record,
// go to another segment; its letters are refused once that is durable.
static void abort_batch(struct spool *s, struct batch *b)
{
    struct buf states = b->states;
    log_line(LOG_ERROR, "%s; the batch is refused and the segment left alone", b->err.text);
    if (b->aborting || b->segment->fresh) {
        // A segment whose header is in doubt must not outlive this process as a half-used one:
        // start again from what is on disk.
        log_line(LOG_ERROR, "the spool cannot be written: ending without a reply");
        log_flush();
        exit(75); // EX_TEMPFAIL
    }
    b->segment->suspect = true;
    b->aborting = true;
    buf_init(&b->states, BATCH_STATES_MAX + SEGMENT_BLOCK);
    put_abort(&b->states, b->segment, b->offset);
    buf_put(&b->states, buf_str(&states));
    buf_finish(&states);
    b->state_records++;
    b->letter_records = 0;
    b->frame.len = SEGMENT_FRAME_HEADER;
    if (s->current == b->segment)
        s->current = NULL;
    seal(s);
}

static void commit_done(struct os_job *job)
{
    struct batch *b = CONTAINER_OF(job, struct batch, job);
    struct spool *s = b->spool;
    if (!b->ok) {
        abort_batch(s, b);
        return;
    }
    s->commits++;
    s->committed_bytes += b->frame.len;
    if (b->aborting)
        letters_gone(b);
    else
        letters_durable(b);
    for (size_t i = 0; i < b->ended_count; i++) {
        struct spool_letter *letter = b->ended[i];
        letter->segment->live--;
        s->live_letters--;
        if (letter->large)
            large_remove(s, &letter->id);
    }
    s->flying = NULL;
    if (b->aborting)
        tell_waiters(b, false, false);
    tell_waiters(b, true, true);
    batch_reset(b);
    want_spare(s);
    if (!batch_empty(s->gathering))
        loop_at_turn_end(s->loop, &s->hook);
}

// Gives s->flying its place in the log and hands it to the commit thread.
static void seal(struct spool *s)
{
    struct batch *b = s->flying;
    buf_put(&b->frame, buf_str(&b->states));
    must(buf_ok(&b->frame));
    size_t need = (b->frame.len + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK * SEGMENT_BLOCK;
    must(need <= s->options.segment_size - SEGMENT_BLOCK);
    if (!s->current || s->current->size - s->current->end < need)
        s->current = next_segment(s);
    b->segment = s->current;
    b->offset = s->current->end;
    b->number = s->next_frame++;
    s->current->end += need;
    b->job = (struct os_job){.work = commit_work, .done = commit_done};
    os_workers_submit(s->committer, &b->job);
}

static void turn_end(struct turn_hook *hook)
{
    struct spool *s = CONTAINER_OF(hook, struct spool, hook);
    struct batch *b = s->gathering;
    if (s->flying || batch_empty(b))
        return;
    if (b->letter_records == 0 && b->state_records == 0) {
        tell_waiters(b, true, true); // nothing new: all before it is durable
        return;
    }
    s->flying = b;
    s->gathering = b == &s->batches[0] ? &s->batches[1] : &s->batches[0];
    seal(s);
}

void batch_added(struct spool *s)
{
    if (!s->flying)
        loop_at_turn_end(s->loop, &s->hook);
}

bool spool_idle(const struct spool *s)
{
    return !s->flying && batch_empty(s->gathering);
}

void spool_wait(struct spool *s, struct spool_waiter *waiter)
{
    list_append(&s->gathering->waiters, &waiter->link);
    batch_added(s);
}

bool spool_begin(struct spool *s, struct loop *loop, struct err *err)
{
    s->loop = loop;
    s->hook.run = turn_end;
    if (!os_workers_open(&s->committer, loop, "commit", 1, err) ||
        !os_workers_open(&s->helpers, loop, "spool", 1, err) ||
        !os_workers_open(&s->writers, loop, "bodies", LARGE_THREADS, err))
        return false;
    want_spare(s);
    return true;
}
