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
//
// A batch whose states are more than one frame takes goes in several, one after the other; letters
// are all in the first. A report stands among the states, before those that belong to it, and no
// frame ends between them (promise 10).
//
// When no segment can be made (the disk is full) nothing was written anywhere: the letters are
// refused, and the spool is `full`. Until it can make segments again it takes no letter, and writes
// states and moved copies into the reserve: segments that were made while there was space (promise
// 13). When that is used up too, what flies waits.
#include <errno.h>
#include <inttypes.h>

#include "os/fault.h"
#include "os/file.h"
#include "os/log.h"
#include "os/random.h"
#include "store/spool_private.h"

enum { AGAIN_MS = 1000 };

static void seal(struct spool *s);
static void fly(struct spool *s);
static void put_states(struct batch *b);
static void want_spare(struct spool *s);
static void try_again(struct timer *timer);

void batch_init(struct spool *s, struct batch *b)
{
    *b = (struct batch){.spool = s};
    buf_init(&b->frame, FRAME_MAX + SEGMENT_BLOCK);
    buf_init(&b->states, STATES_GATHERED_MAX);
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
    free(b->moves);
    free(b->reports);
}

static void batch_reset(struct batch *b)
{
    // The memory stays: the next batch is about as large.
    b->frame.len = SEGMENT_FRAME_HEADER;
    buf_clear(&b->states);
    b->letter_records = b->state_records = 0;
    b->states_done = b->states_framed = 0;
    b->report_count = b->reports_done = b->reports_framed = 0;
    b->ended_count = 0;
    b->aborting = b->refused = false;
    b->ok = false;
}

static bool batch_empty(const struct batch *b)
{
    return b->letter_records == 0 && b->state_records == 0 && list_empty(&b->waiters);
}

// ---- segments

// All letters of the segment are at their end (their final states are durable: `live` falls only
// then), and nobody reads it.
bool segment_unused(const struct spool *s, const struct segment *seg)
{
    bool flies = s->flying && s->flying->segment == seg;
    return seg != s->current && !seg->live && !seg->readers && !flies;
}

// Segments are used again oldest first, always: a final state stands behind its letter in the log,
// so no letter can come to life again (docs/decisions/0003).
static struct segment *oldest_unused(const struct spool *s)
{
    bool few = s->segment_count <= SEGMENTS_KEPT && !s->short_of_space && !s->full;
    if (few || s->recovery || list_empty(&s->segments))
        return NULL;
    struct segment *seg = CONTAINER_OF(s->segments.next, struct segment, link);
    return seg->suspect || !segment_unused(s, seg) ? NULL : seg;
}

static void leave_segment(struct spool *s, struct segment *seg)
{
    LIST_EACH(&seg->letters, at, after)
    {
        spool_leave_segment(s, CONTAINER_OF(at, struct spool_letter, link));
    }
}

static struct segment *new_segment(struct spool *s)
{
    struct segment *seg = calloc(1, sizeof *seg);
    must(seg != NULL);
    seg->fd = -1;
    seg->number = s->next_number++;
    seg->size = s->options.segment_size;
    list_init(&seg->letters);
    return seg;
}

static struct segment *take_free(struct spool *s)
{
    must(s->free_count > 0);
    s->free_count--;
    return CONTAINER_OF(list_pop(&s->free), struct segment, link);
}

static void begin_use(struct spool *s, struct segment *seg)
{
    seg->use = ++s->last_use;
    seg->end = SEGMENT_BLOCK;
    seg->index_size = 0;
    seg->fresh = true;
    os_random(seg->epoch, sizeof seg->epoch);
    list_append(&s->segments, &seg->link);
    s->current = seg;
}

static void begin_next(struct spool *s)
{
    struct segment *seg;
    if (s->free_count > SEGMENTS_RESERVE) {
        seg = take_free(s);
    } else if ((seg = oldest_unused(s)) != NULL) {
        list_remove(&seg->link);
        leave_segment(s, seg);
    } else {
        seg = new_segment(s);
        s->segment_count++;
    }
    begin_use(s, seg);
}

// There is neither a segment for what comes after the current one, nor much time to get one: before
// the current one is half full, what was under way when the last one ended should end by itself.
bool segment_is_due(const struct spool *s)
{
    bool soon = !s->current || s->current->end > s->current->size / 2;
    return soon && s->free_count <= SEGMENTS_RESERVE && !oldest_unused(s);
}

struct spare_job {
    struct os_job job;
    struct spool *spool;
    struct segment *segment;
    uint64_t leave; // octets of the disk, before it is made
    bool ok;
    struct err err;
};

static void spare_work(struct os_job *job)
{
    struct spare_job *spare = CONTAINER_OF(job, struct spare_job, job);
    if (spool_disk_has(spare->spool, spare->leave))
        spare->ok = segment_create(spare->spool->log_dir, spare->segment, &spare->err);
    else
        err_set(&spare->err, ERR_TRY_LATER, STATUS(4, 3, 1), "the disk is nearly full");
}

static void wait_for_space(struct spool *s)
{
    s->again.fire = try_again;
    loop_set_timer(s->loop, &s->again, AGAIN_MS);
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
        s->no_spare = false;
        want_spare(s);
    } else {
        if (!s->no_spare)
            log_line(LOG_WARNING, "no spare segment: %s", spare->err.text);
        s->no_spare = true;
        free(spare->segment);
        if (!timer_is_set(&s->again) && !s->closing)
            wait_for_space(s);
    }
    free(spare);
}

// Keeps the reserve, and one segment more by the time that it is needed, so that no commit waits
// for 16 MiB of zeros. Not of the last space of the disk: the first of the reserve comes before the
// Maildirs, each one more leaves them as much again.
static void want_spare(struct spool *s)
{
    if (s->full && (s->free_count > SEGMENTS_RESERVE ||
                    (s->free_count == SEGMENTS_RESERVE && oldest_unused(s)))) {
        log_line(LOG_INFO, "the spool takes letters again");
        s->full = false;
    }
    bool one_more = s->full || (segment_is_due(s) && !beyond_bound(s));
    size_t wanted = SEGMENTS_RESERVE + one_more;
    if (s->making_spare || s->closing || timer_is_set(&s->again) || s->free_count >= wanted)
        return;
    struct spare_job *spare = calloc(1, sizeof *spare);
    must(spare != NULL);
    *spare = (struct spare_job){.job = {.work = spare_work, .done = spare_done},
                                .spool = s,
                                .segment = new_segment(s),
                                .leave = (s->free_count + 1) * s->options.segment_size};
    s->making_spare = true;
    os_workers_submit(s->helpers, &spare->job);
}

struct retire_job {
    struct os_job job;
    struct spool *spool;
    struct segment *segment;
    int rc;
};

static void retire_work(struct os_job *job)
{
    struct retire_job *r = CONTAINER_OF(job, struct retire_job, job);
    char name[24];
    segment_name(name, r->segment->number);
    r->rc = os_unlink(r->spool->log_dir, name);
    if (r->rc == 0 || r->rc == -ENOENT)
        r->rc = os_fsync(r->spool->log_dir);
}

static void retire_done(struct os_job *job)
{
    struct retire_job *r = CONTAINER_OF(job, struct retire_job, job);
    struct spool *s = r->spool;
    struct segment *seg = r->segment;
    s->retiring = false;
    if (r->rc < 0) {
        log_line(LOG_WARNING, "spool/log/%012" PRIu64 " cannot be removed: %s", seg->number,
                 strerror(-r->rc));
    } else {
        list_remove(&seg->link);
        leave_segment(s, seg);
        os_close(&seg->fd);
        free(seg);
        s->segment_count--;
        compact(s); // perhaps another one
    }
    free(r);
}

// Until that is durable it stays the oldest, so that the states behind it last as long as it does.
void segment_retire(struct spool *s, struct segment *seg)
{
    struct retire_job *r = calloc(1, sizeof *r);
    must(r != NULL && !s->retiring);
    *r = (struct retire_job){
        .job = {.work = retire_work, .done = retire_done}, .spool = s, .segment = seg};
    s->retiring = seg->suspect = true; // not to be used again meanwhile
    os_workers_submit(s->helpers, &r->job);
}

// ---- the commit thread

static void commit_work(struct os_job *job)
{
    struct batch *b = CONTAINER_OF(job, struct batch, job);
    struct segment *seg = b->segment;
    b->ok = b->unmade = false;
    if (seg->fd < 0 && !segment_create(b->spool->log_dir, seg, &b->err)) {
        b->unmade = true;
        return;
    }
    if (seg->fresh && !segment_begin(seg, &b->err))
        return;
    seg->fresh = false;
    segment_seal_frame(&b->frame, seg, b->number, b->frame_records);
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
        spool_place_letter(letter, b->segment, letter->offset + (uint32_t)b->offset);
        letter->durable = true;
        spool_count_live(b->spool, letter, true);
    }
}

static void reports_durable(struct batch *b)
{
    for (; b->reports_done < b->reports_framed; b->reports_done++) {
        const struct report_place *report = &b->reports[b->reports_done];
        size_t at = b->states_at + report->at - b->states_done + SEGMENT_RECORD_HEADER;
        spool_place_letter(report->letter, b->segment, (uint32_t)(b->offset + at));
        report->letter->durable = true;
        spool_count_live(b->spool, report->letter, true);
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

// The waiters are taken out of the batch first: one that is told may add to a batch and wait for
// that, which is another wait.
static void tell_waiters(struct batch *b, bool durable, bool states_too)
{
    struct link now;
    list_init(&now);
    LIST_EACH(&b->waiters, at, after)
    {
        if (states_too || !CONTAINER_OF(at, struct spool_waiter, link)->for_states) {
            list_remove(at);
            list_append(&now, at);
        }
    }
    for (struct link *at; (at = list_pop(&now));) {
        struct spool_waiter *w = CONTAINER_OF(at, struct spool_waiter, link);
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

static void finish_batch(struct spool *s, struct batch *b)
{
    s->flying = NULL;
    compact_done(s, b);
    for (size_t i = 0; i < b->ended_count; i++) {
        struct spool_letter *letter = b->ended[i];
        spool_count_live(s, letter, false);
        s->live_letters--;
        if (letter->large)
            large_remove(s, &letter->id);
    }
    if (b->refused)
        tell_waiters(b, false, false);
    tell_waiters(b, true, true);
    batch_reset(b);
    want_spare(s);
    compact(s);
    if (!batch_empty(s->gathering))
        loop_at_turn_end(s->loop, &s->hook);
}

static NORETURN void end_without_a_reply(void)
{
    log_line(LOG_ERROR, "the spool cannot be written: ending without a reply");
    log_flush();
    exit(75); // EX_TEMPFAIL
}

// What is in the frame but states goes out of it: nothing of that stands anywhere.
static void empty_frame(struct spool *s, struct batch *b)
{
    compact_done(s, b); // the copies are not there: their letters stay where they are
    b->letter_records = 0;
    b->frame.len = SEGMENT_FRAME_HEADER;
}

// Promise 4: the failed frame is never tried again as it was. Its states, behind an abort record,
// go to another segment; its letters are refused once that is durable.
static void abort_batch(struct spool *s, struct batch *b)
{
    log_line(LOG_ERROR, "%s; the batch is refused and the segment left alone", b->err.text);
    if (b->aborting || b->segment->fresh) // its header is in doubt: start again from what is there
        end_without_a_reply();
    b->segment->suspect = true;
    b->aborting = true;
    b->refused = !list_empty(&b->letters);
    empty_frame(s, b);
    if (!fault_bites(BITE_no_abort))
        put_abort(&b->frame, b->segment, b->offset);
    s->current = NULL;
    seal(s);
}

static void refuse_letters(struct spool *s, struct batch *b)
{
    letters_gone(b);
    tell_waiters(b, false, false);
    empty_frame(s, b);
}

static void try_again(struct timer *timer)
{
    struct spool *s = CONTAINER_OF(timer, struct spool, again);
    if (s->stuck) {
        s->stuck = false;
        fly(s);
    } else {
        want_spare(s);
    }
}

// New letters are refused: nothing of them stands anywhere. All else goes into the reserve.
static void no_segment(struct spool *s, struct batch *b)
{
    if (!s->full)
        log_line(LOG_ERROR, "%s; no letter is taken until there is space", b->err.text);
    s->full = true;
    list_remove(&b->segment->link);
    free(b->segment);
    s->segment_count--;
    s->next_frame--; // the number was not written: none is to be missed
    b->segment = s->current = NULL;
    if (!b->aborting && !list_empty(&b->letters)) {
        refuse_letters(s, b);
        if (b->states.len == b->states_done) {
            finish_batch(s, b);
            return;
        }
        put_states(b);
    }
    if (s->free_count) {
        begin_use(s, take_free(s));
        fly(s);
        return;
    }
    if (b->aborting)
        end_without_a_reply();
    s->stuck = true;
    wait_for_space(s);
}

static void commit_done(struct os_job *job)
{
    struct batch *b = CONTAINER_OF(job, struct batch, job);
    struct spool *s = b->spool;
    if (s->closing)
        return;
    if (b->unmade) {
        no_segment(s, b);
        return;
    }
    if (!b->ok) {
        abort_batch(s, b);
        return;
    }
    s->commits++;
    s->committed_bytes += b->frame.len;
    if (b->aborting) {
        letters_gone(b);
    } else {
        letters_durable(b);
        compact_arrived(s, b);
    }
    reports_durable(b);
    b->aborting = false;
    b->letter_records = 0;
    b->states_done = b->states_framed;
    if (b->states_done < b->states.len) {
        b->frame.len = SEGMENT_FRAME_HEADER;
        seal(s);
        return;
    }
    finish_batch(s, b);
}

size_t batch_room(const struct spool *s)
{
    size_t most = (size_t)s->options.segment_size / 2;
    return most < FRAME_MAX ? most : FRAME_MAX;
}

bool batch_takes(const struct spool *s, uint64_t data_size)
{
    size_t most = batch_room(s) / 2;
    if (most > SEGMENT_FRAME_HEADER + BATCH_LETTERS_MAX)
        most = SEGMENT_FRAME_HEADER + BATCH_LETTERS_MAX;
    return s->gathering->frame.len + SEGMENT_RECORD_HEADER + data_size <= most;
}

// Puts as many of the states into the frame as it takes, reports whole.
static void put_states(struct batch *b)
{
    size_t room = batch_room(b->spool) - b->frame.len;
    struct str rest = str_skip(buf_str(&b->states), b->states_done);
    const struct segment_frame states = {.records = rest};
    struct segment_record record;
    size_t at = 0, fits = 0, next = b->reports_done;
    uint32_t count = 0, fitting = 0;
    bool damaged;
    while (segment_next_record(&states, &at, &record, &damaged) && at <= room) {
        count++;
        while (next < b->report_count && b->reports[next].end <= b->states_done + at)
            next++;
        if (next < b->report_count && b->reports[next].at < b->states_done + at)
            continue; // in the middle of one
        fits = at;
        fitting = count;
        b->reports_framed = next;
    }
    must(!damaged && (fits || !rest.len));
    b->states_at = b->frame.len;
    buf_put(&b->frame, str_sub(rest, 0, fits));
    b->states_framed = b->states_done + fits;
    b->frame_records = b->letter_records + b->aborting + fitting;
}

// What the index of its segment grows by with this frame.
static uint64_t index_growth(const struct batch *b)
{
    uint64_t letters = b->letter_records + b->reports_framed - b->reports_done;
    uint64_t places = letters * (SEGMENT_RECORD_HEADER + PLACE_FIXED);
    for (size_t i = b->reports_done; i < b->reports_framed; i++)
        places -= b->reports[i].record;
    uint64_t abort = b->aborting ? SEGMENT_RECORD_HEADER + ABORT_FIXED : 0;
    return places + abort + b->states_framed - b->states_done;
}

static bool segment_takes(const struct segment *seg, uint64_t frame, uint64_t growth)
{
    return seg->size - seg->end >= frame + index_room(seg, seg->index_size + growth);
}

// Gives s->flying its place in the log and hands it to the commit thread.
static void fly(struct spool *s)
{
    struct batch *b = s->flying;
    must(buf_ok(&b->frame));
    size_t need = (b->frame.len + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK * SEGMENT_BLOCK;
    uint64_t growth = index_growth(b);
    if (s->current && !segment_takes(s->current, need, growth)) {
        index_leave(s, s->current);
        s->current = NULL;
    }
    if (!s->current)
        begin_next(s);
    must(segment_takes(s->current, need, growth));
    b->segment = s->current;
    b->offset = s->current->end;
    b->number = s->next_frame++;
    s->current->end += need;
    s->current->index_size += growth;
    if (fault_bites(BITE_early_reuse)) {
        compact_arrived(s, b);
        compact_done(s, b);
        compact(s);
    }
    b->job = (struct os_job){.work = commit_work, .done = commit_done};
    os_workers_submit(s->committer, &b->job);
}

static void seal(struct spool *s)
{
    put_states(s->flying);
    fly(s);
}

static void take_off(struct spool *s, struct batch *b)
{
    if (s->full && !list_empty(&b->letters)) // gathered before it was
        refuse_letters(s, b);
    if (b->letter_records == 0 && b->state_records == 0) {
        tell_waiters(b, true, true); // nothing new: all before it is durable
        return;
    }
    s->flying = b;
    s->gathering = b == &s->batches[0] ? &s->batches[1] : &s->batches[0];
    seal(s);
}

static void turn_end(struct turn_hook *hook)
{
    struct spool *s = CONTAINER_OF(hook, struct spool, hook);
    if (s->flying || batch_empty(s->gathering))
        return;
    take_off(s, s->gathering);
    bool room = s->turned_away;
    s->turned_away = false;
    if (room && s->options.room)
        s->options.room(s->options.owner);
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
    if (fault_bites(waiter->for_states ? BITE_early_done : BITE_early_ack)) {
        waiter->done(waiter, true);
        return;
    }
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
    spool_begin_remembering(s);
    recover_begin(s);
    want_spare(s);
    return true;
}
