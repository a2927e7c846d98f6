// Reading the log at start, in two steps (promise 12).
//
//   spool_open   the last segments only: where the log goes on, and that its last frames are on
//   disk.
//                Then letters can be taken.
//   spool_begin  all segments, in the order of their use, by their index blocks where they have
//   one:
//
//     read (helper) ──► obeyed, some records a turn ──► the next segment ... ──► bodies without a
//     letter are removed (helper) ──► the owner is told of the letters, some a turn ──► indexed
//
// While that goes on nothing is used again and nothing moves: a letter's final state may stand in a
// segment that was not read yet.
//
// Frames stand back to back and carry numbers without a gap. So whatever lies between two frames is
// damage, and a number that is missing where a segment follows another is damage at the end of the
// first, unless the next frame aborts it (it was never acknowledged). Damage is set aside under
// spool/corrupt and reported, and all else goes on (promise 8). What stands behind the last frame
// of the log is the one batch that was under way when the machine stopped, or nothing. In a segment
// with an index block, damage to a letter is found when the letter is due.
//
// A whole frame need not be on disk: when only the process died it may be in the system's memory,
// or its sync may have failed. The frames that can be in doubt are written and synced again before
// anybody is told that a letter is known (promise 1).
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "os/clock.h"
#include "os/fault.h"
#include "os/file.h"
#include "os/log.h"
#include "store/spool_private.h"

enum {
    RECORDS_A_TURN = 2000, // a few milliseconds
    LETTERS_A_TURN = 5000,
    AGAIN_MS = 1000,
};

// ---- damage

static struct str without_zeros(struct str bytes)
{
    while (bytes.len && bytes.ptr[bytes.len - 1] == '\0')
        bytes.len--;
    return bytes;
}

static void aside_name(char name[80], const struct aside *a)
{
    snprintf(name, 80, "%012" PRIu64 "-%" PRIu64 "-%" PRIu64, a->segment->number, a->segment->use,
             a->damage.from);
}

// In the helper thread.
static void set_aside(const struct spool *s, struct aside *a)
{
    char name[80];
    struct buf bytes;
    struct err err;
    aside_name(name, a);
    buf_init(&bytes, a->segment->size);
    bool read = index_load(a->segment, a->damage.from, a->damage.to, &bytes, &err);
    struct str kept = without_zeros(buf_str(&bytes));
    int fd = os_open(s->corrupt_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? fd : os_write_all(fd, kept);
    if (rc == 0)
        rc = os_fsync(fd);
    os_close(&fd);
    a->octets = kept.len;
    a->written = read && rc == 0;
    buf_finish(&bytes);
}

static void report(struct recovery *r, const char *name, uint64_t octets)
{
    r->damaged_places++;
    log_event(&(struct log_event){.name = EVENT_corrupt, .text = str_of(name), .size = octets});
}

static void tell_aside(struct recovery *r, const struct aside *a)
{
    char name[80];
    aside_name(name, a);
    log_line(LOG_ERROR,
             "spool/log/%012" PRIu64 ": damage from %" PRIu64 " to %" PRIu64 ", set aside as "
             "spool/corrupt/%s%s",
             a->segment->number, a->damage.from, a->damage.to, name,
             a->written ? "" : " (which could not be written)");
    report(r, name, a->octets);
}

static void tell_segment(struct recovery *r, const struct segment *seg, const char *what)
{
    char name[24];
    segment_name(name, seg->number);
    log_line(LOG_ERROR, "spool/log/%s: damage: %s", name, what);
    report(r, name, 0);
}

// ---- the files

// A blank segment is free; one that was never filled to its size goes; one with a damaged header is
// set aside whole.
static bool place_unused(struct recovery *r, struct segment *seg, const char *name)
{
    struct spool *s = r->spool;
    if (seg->blank && seg->size == s->options.segment_size) {
        list_append(&s->free, &seg->link);
        s->free_count++;
        s->segment_count++;
        return true;
    }
    int rc = seg->blank ? os_unlink(s->log_dir, name)
                        : os_rename(s->log_dir, name, s->corrupt_dir, name);
    if (!seg->blank) {
        tell_segment(r, seg, "its header; set aside under spool/corrupt");
    }
    os_close(&seg->fd);
    free(seg);
    if (rc < 0) {
        r->failed = true;
        err_system(&r->err, rc, "spool/log/%s: cannot be taken away", name);
    }
    return rc >= 0;
}

static bool each_name(void *context, const char *name)
{
    struct recovery *r = context;
    struct spool *s = r->spool;
    uint64_t number;
    if (!str_to_u64(str_of(name), &number) || strlen(name) != 12)
        return true; // not ours: left alone
    struct segment *seg = calloc(1, sizeof *seg);
    must(seg != NULL);
    if (!segment_open(s->log_dir, number, seg, &r->err)) {
        free(seg);
        r->failed = true;
        return false;
    }
    list_init(&seg->letters); // the struct has moved
    if (number >= s->next_number)
        s->next_number = number + 1;
    if (seg->use > s->last_use)
        s->last_use = seg->use;
    if (seg->use == 0)
        return place_unused(r, seg, name);
    s->segment_count++;
    if (seg->cut)
        tell_segment(r, seg, "the end of the file is missing");
    seg->suspect = seg->size != s->options.segment_size; // of another release: read, not written
    // In the order of use; the list is short and mostly sorted.
    struct link *at = s->segments.prev;
    while (at != &s->segments && CONTAINER_OF(at, struct segment, link)->use > seg->use)
        at = at->prev;
    list_prepend(at, &seg->link);
    return true;
}

// From any thread.
static void remove_body(const struct recovery *r, const struct mail_id *id, bool part)
{
    char name[LARGE_NAME];
    large_name(name, id, part);
    int rc = os_unlink(r->spool->body_dir, name);
    if (rc < 0 && rc != -ENOENT)
        log_line(LOG_WARNING, "spool/body/%s: cannot be removed: %s", name, strerror(-rc));
}

// ---- records

static struct mail_id take_id(struct str *in)
{
    struct mail_id id;
    memcpy(id.bytes, in->ptr, sizeof id.bytes);
    *in = str_skip(*in, sizeof id.bytes);
    return id;
}

static bool recover_place(struct recovery *r, struct segment *seg,
                          const struct segment_record *record)
{
    struct spool *s = r->spool;
    struct str data = record->data;
    if (data.len != PLACE_FIXED)
        return false;
    struct mail_id id = take_id(&data);
    if (spool_find(s, &id)) // moved or submitted twice: the first stands, the states are the same
        return true;
    struct spool_letter head = {.large = (record->flags & RECORD_LARGE) != 0};
    head.envelope_size = (uint32_t)str_take_le(&data, 4);
    head.envelope_crc = (uint32_t)str_take_le(&data, 4);
    head.body_size = str_take_le(&data, 8);
    head.body_crc = (uint32_t)str_take_le(&data, 4);
    head.scan_flags = (uint8_t)str_take_le(&data, 4);
    uint32_t recipients = (uint32_t)str_take_le(&data, 4);
    head.offset = (uint32_t)str_take_le(&data, 4);
    uint64_t envelope_at = (uint64_t)head.offset + LETTER_FIXED;
    uint64_t body_here = head.large ? 0 : head.body_size;
    if (envelope_at > seg->size || head.envelope_size > seg->size - envelope_at ||
        body_here > seg->size - envelope_at - head.envelope_size || recipients == 0 ||
        recipients > head.envelope_size)
        return false;
    struct spool_letter *letter = spool_new_letter(&id, recipients);
    letter->envelope_size = head.envelope_size;
    letter->envelope_crc = head.envelope_crc;
    letter->body_size = head.body_size;
    letter->body_crc = head.body_crc;
    letter->scan_flags = head.scan_flags;
    letter->large = head.large;
    letter->durable = letter->from_start = true;
    spool_place_letter(letter, seg, head.offset);
    for (uint32_t i = 0; i < recipients; i++)
        letter->recipients[i].next_s = r->now_s; // not the time in the id: clocks are set back
    spool_count_live(s, letter, true);
    s->live_letters++;
    s->live_recipients += recipients;
    map_put(&s->letters, spool_hash(s, &id), letter);
    return true;
}

static bool recover_state(struct recovery *r, const struct segment_record *record)
{
    struct spool *s = r->spool;
    struct str data = record->data;
    if (data.len < STATE_FIXED)
        return false;
    struct mail_id id = take_id(&data);
    uint32_t recipient = (uint32_t)str_take_le(&data, 4);
    uint8_t state = (uint8_t)str_take_le(&data, 1);
    uint16_t attempts = (uint16_t)str_take_le(&data, 2);
    uint32_t next_s = (uint32_t)str_take_le(&data, 4);
    struct spool_letter *letter = spool_find(s, &id);
    if (!letter) // its segment was used again: it ended long ago
        return true;
    if (recipient >= letter->recipient_count || state > SPOOL_FAILED)
        return false;
    struct spool_recipient *to = &letter->recipients[recipient];
    if (to->state >= SPOOL_DELIVERED)
        return true;
    *to = (struct spool_recipient){.state = state,
                                   .told = (record->flags & RECORD_TOLD) != 0,
                                   .attempts = attempts,
                                   .reason = spool_keep_reason(s, data),
                                   .next_s = next_s};
    if (state < SPOOL_DELIVERED)
        return true;
    s->live_recipients--;
    if (--letter->pending == 0) {
        spool_count_live(s, letter, false);
        s->live_letters--;
    }
    return true;
}

// What stands behind the last good offset of that segment was never acknowledged (promise 4).
static bool recover_abort(struct recovery *r, const struct segment_record *record)
{
    struct str data = record->data;
    if (data.len != ABORT_FIXED)
        return false;
    uint64_t number = str_take_le(&data, 8), use = str_take_le(&data, 8),
             good_end = str_take_le(&data, 8);
    LIST_EACH(&r->spool->segments, at, after)
    {
        struct segment *seg = CONTAINER_OF(at, struct segment, link);
        if (seg->number != number || seg->use != use)
            continue;
        LIST_EACH(&seg->letters, l, next)
        {
            struct spool_letter *letter = CONTAINER_OF(l, struct spool_letter, link);
            if (letter->offset < good_end)
                continue;
            if (letter->pending) {
                spool_count_live(r->spool, letter, false);
                r->spool->live_letters--;
                r->spool->live_recipients -= letter->pending;
            }
            spool_forget_letter(r->spool, letter);
        }
    }
    return true;
}

bool recover_obey(struct recovery *r, struct segment *seg, const struct segment_index *x,
                  size_t *at, size_t most)
{
    const struct segment_frame all = {.records = buf_str(&x->payload)};
    struct segment_record record;
    bool damaged = false;
    while (most-- > 0) {
        bool ok = true;
        if (!segment_next_record(&all, at, &record, &damaged)) {
            r->misfits += damaged;
            return false;
        }
        if (record.kind == RECORD_PLACE)
            ok = recover_place(r, seg, &record);
        else if (record.kind == RECORD_STATE)
            ok = recover_state(r, &record);
        else if (record.kind == RECORD_ABORT)
            ok = recover_abort(r, &record);
        r->misfits += !ok;
    }
    return true;
}

// ---- step one: where the log goes on

// The same octets at the same place: a cut in the middle of this changes nothing.
static bool make_durable(const struct segment *seg, const struct segment_index *x, struct str bytes,
                         struct err *err)
{
    int rc = 0;
    if (fault_bites(BITE_no_second_sync))
        return true;
    if (x->last_frame)
        rc = os_pwrite_all(
            seg->fd, str_sub(bytes, (size_t)x->last_at, (size_t)(x->end - x->last_at)), x->last_at);
    if (rc == 0)
        rc = os_fdatasync(seg->fd);
    return rc == 0 || err_system(err, rc, "the last batch of spool/log/%012" PRIu64, seg->number);
}

// An index block says that nothing stands behind the frames: nothing may.
static bool was_left(const struct segment *seg, struct str bytes)
{
    struct segment_index x;
    struct index_payload payload;
    if (bytes.len < seg->size)
        return true;
    index_init(&x);
    struct str block = str_skip(bytes, bytes.len - SEGMENT_BLOCK);
    enum index_found found = index_read_trailer(&x, seg, block, &payload);
    index_finish(&x);
    return found != INDEX_NONE;
}

// The log goes on behind its last frame: a restart costs no segment.
static void go_on_in(struct recovery *r, struct segment *seg, const struct segment_index *x,
                     struct str bytes)
{
    if (x->torn)
        log_line(LOG_INFO, "spool/log/%012" PRIu64 ": the last batch was not finished",
                 seg->number);
    else if (!seg->suspect && !was_left(seg, bytes))
        r->spool->current = seg;
    seg->end = x->end;
    seg->index_size = x->damage_count ? seg->size : x->payload.len; // damaged: it gets none
    r->last = seg;
    r->last_end = r->spool->current ? seg->end : seg->size;
}

// The last batch, or the one that failed before it and the abort that failed too, may not be on
// disk. When both segments are empty the number of the last frame stands further back.
static bool find_end(struct recovery *r, struct err *err)
{
    struct spool *s = r->spool;
    struct segment_index x;
    struct buf bytes;
    size_t looked_at = 0;
    bool ok = true;
    index_init(&x);
    buf_init(&bytes, 2UL * 1024 * 1024 * 1024);
    for (struct link *at = s->segments.prev; ok && at != &s->segments; at = at->prev) {
        struct segment *seg = CONTAINER_OF(at, struct segment, link);
        if (looked_at >= 2 && s->next_frame > 1)
            break;
        index_finish(&x);
        ok = index_load(seg, 0, seg->size, &bytes, err);
        if (!ok)
            break;
        index_of_frames(&x, seg, buf_str(&bytes));
        if (x.last_frame >= s->next_frame)
            s->next_frame = x.last_frame + 1;
        if (looked_at == 0)
            go_on_in(r, seg, &x, buf_str(&bytes));
        if (looked_at++ < 2)
            ok = make_durable(seg, &x, buf_str(&bytes), err);
    }
    index_finish(&x);
    buf_finish(&bytes);
    return ok;
}

// What was being written goes; what may belong to a letter is remembered until all letters are
// known.
static bool each_body(void *context, const char *name)
{
    struct recovery *r = context;
    struct mail_id id;
    struct str text = str_of(name);
    if (text.len < MAIL_ID_TEXT || !mail_id_read(str_sub(text, 0, MAIL_ID_TEXT), &id))
        return true; // not ours
    if (text.len == MAIL_ID_TEXT) {
        if (r->body_count == r->body_cap) {
            r->body_cap = r->body_cap ? r->body_cap * 2 : 64;
            r->bodies = realloc(r->bodies, r->body_cap * sizeof r->bodies[0]);
            must(r->bodies != NULL);
        }
        r->bodies[r->body_count++] = id;
    } else if (str_eq(str_skip(text, MAIL_ID_TEXT), STR(".part"))) {
        remove_body(r, &id, true);
    }
    return true;
}

bool recover_end(struct spool *s, struct err *err)
{
    struct recovery *r = s->recovery = calloc(1, sizeof *r);
    must(r != NULL);
    r->spool = s;
    r->now_s = (uint32_t)(os_wall_ms() / 1000);
    r->next_frame = 1;
    index_init(&r->reading.index);
    int rc = os_list(s->log_dir, each_name, r);
    if (r->failed) {
        *err = r->err;
        return false;
    }
    // A process that was killed while it made a segment left a name that may not be on disk.
    if (rc == 0)
        rc = os_fsync(s->log_dir);
    if (rc < 0)
        return err_system(err, rc, "listing spool/log");
    r->last_use = s->last_use;
    if (!find_end(r, err))
        return false;
    rc = os_list(s->body_dir, each_body, r);
    return rc == 0 || err_system(err, rc, "listing spool/body");
}

// ---- step two: all segments

static void add_aside(struct reading *reading, const struct segment *seg,
                      struct index_damage damage)
{
    size_t count = reading->aside_count + 1;
    reading->asides = realloc(reading->asides, count * sizeof reading->asides[0]);
    must(reading->asides != NULL);
    reading->asides[reading->aside_count++] = (struct aside){.segment = seg, .damage = damage};
}

// The first frame's number says whether one is missing at the end of the segment before. Not where
// that is the oldest of the log and has no whole frame: what its number was nobody knows, and a
// batch that was under way at a stop looks the same.
static bool tail_is_lost(const struct recovery *r)
{
    const struct segment_index *x = &r->reading.index;
    const struct segment *before = r->reading.before;
    return before && (r->next_frame > 1 || before->use == 1) && before->end < before->size &&
           x->first_frame > r->next_frame && !index_begins_with_abort(x);
}

static void read_work(struct os_job *job)
{
    struct reading *reading = CONTAINER_OF(job, struct reading, job);
    struct recovery *r = CONTAINER_OF(reading, struct recovery, reading);
    struct segment_index *x = &reading->index;
    const struct segment *seg = reading->segment, *before = reading->before;
    uint64_t limit = seg == r->last ? r->last_end : seg->size;
    reading->ok = index_read(x, seg, limit, &reading->block, &reading->err);
    if (!reading->ok)
        return;
    if (tail_is_lost(r))
        add_aside(reading, before, (struct index_damage){before->end, before->size});
    for (size_t i = 0; i < x->damage_count; i++)
        add_aside(reading, seg, x->damage[i]);
    for (size_t i = 0; i < reading->aside_count; i++)
        set_aside(r->spool, &reading->asides[i]);
}

static void read_next(struct recovery *r);

static void obey_some(struct timer *timer)
{
    struct recovery *r = CONTAINER_OF(timer, struct recovery, step);
    struct reading *reading = &r->reading;
    struct segment *seg = reading->segment;
    if (recover_obey(r, seg, &reading->index, &reading->at, RECORDS_A_TURN)) {
        loop_set_timer(r->spool->loop, timer, 0);
        return;
    }
    if (r->misfits)
        tell_segment(r, seg, "records that fit no letter");
    if (reading->index.last_frame >= r->next_frame)
        r->next_frame = reading->index.last_frame + 1;
    r->misfits = 0;
    r->segments_read++;
    read_next(r);
}

static void read_again(struct timer *timer)
{
    struct recovery *r = CONTAINER_OF(timer, struct recovery, step);
    os_workers_submit(r->spool->helpers, &r->reading.job);
}

static void read_done(struct os_job *job)
{
    struct reading *reading = CONTAINER_OF(job, struct reading, job);
    struct recovery *r = CONTAINER_OF(reading, struct recovery, reading);
    struct spool *s = r->spool;
    if (s->closing)
        return;
    if (!reading->ok) { // new letters are taken meanwhile; those of the log wait
        log_line(LOG_ERROR, "%s; it is tried again", reading->err.text);
        r->step.fire = read_again;
        loop_set_timer(s->loop, &r->step, AGAIN_MS);
        return;
    }
    if (reading->block == INDEX_DAMAGED)
        tell_segment(r, reading->segment, "its index block; the segment was read whole");
    for (size_t i = 0; i < reading->aside_count; i++)
        tell_aside(r, &reading->asides[i]);
    if (reading->segment != r->last)
        reading->segment->end = reading->index.end;
    r->step.fire = obey_some;
    loop_set_timer(s->loop, &r->step, 0);
}

static struct segment *segment_behind(const struct recovery *r, const struct link *at)
{
    struct segment *seg = CONTAINER_OF(at->next, struct segment, link);
    return at->next != &r->spool->segments && seg->use <= r->last_use ? seg : NULL;
}

static void remove_bodies(struct recovery *r);

static void read_next(struct recovery *r)
{
    struct spool *s = r->spool;
    struct reading *reading = &r->reading;
    struct segment *before = reading->segment;
    struct segment *seg = segment_behind(r, before ? &before->link : &s->segments);
    index_finish(&reading->index);
    free(reading->asides);
    // A use between the two that is not there any more was reported as it was set aside.
    *reading =
        (struct reading){.job = {.work = read_work, .done = read_done},
                         .segment = seg,
                         .before = before && seg && seg->use == before->use + 1 ? before : NULL};
    index_init(&reading->index);
    if (seg)
        os_workers_submit(s->helpers, &reading->job);
    else
        remove_bodies(r);
}

// ---- then: bodies without a letter, and the owner

static void remove_work(struct os_job *job)
{
    struct recovery *r = CONTAINER_OF(job, struct recovery, removal);
    for (size_t i = 0; i < r->body_count; i++)
        remove_body(r, &r->bodies[i], false);
}

static void finish(struct recovery *r)
{
    struct spool *s = r->spool;
    if (s->live_letters || r->damaged_places)
        log_line(LOG_INFO,
                 "%" PRIu64 " letters wait in the queue; %" PRIu64 " damaged places found",
                 s->live_letters, r->damaged_places);
    recover_free(&s->recovery);
    if (s->options.indexed)
        s->options.indexed(s->options.owner);
    compact(s);
}

// New letters that came meanwhile are among them, at the end of a list: they are told too.
static void tell_some(struct timer *timer)
{
    struct recovery *r = CONTAINER_OF(timer, struct recovery, step);
    struct spool *s = r->spool;
    for (size_t i = 0; i < LETTERS_A_TURN && r->told_segment; i++) {
        if (r->told->next == &r->told_segment->letters) {
            r->told_segment = segment_behind(r, &r->told_segment->link);
            r->told = r->told_segment ? &r->told_segment->letters : NULL;
            continue;
        }
        r->told = r->told->next;
        struct spool_letter *letter = CONTAINER_OF(r->told, struct spool_letter, link);
        if (letter->pending && s->options.found)
            s->options.found(s->options.owner, letter);
    }
    if (r->told_segment)
        loop_set_timer(s->loop, timer, 0);
    else
        finish(r);
}

static void remove_done(struct os_job *job)
{
    struct recovery *r = CONTAINER_OF(job, struct recovery, removal);
    if (r->spool->closing)
        return;
    r->told_segment = segment_behind(r, &r->spool->segments);
    r->told = r->told_segment ? &r->told_segment->letters : NULL;
    r->step.fire = tell_some;
    loop_set_timer(r->spool->loop, &r->step, 0);
}

// No acknowledged record refers to them.
static void remove_bodies(struct recovery *r)
{
    size_t count = 0;
    for (size_t i = 0; i < r->body_count; i++) {
        const struct spool_letter *letter = spool_find(r->spool, &r->bodies[i]);
        if (!letter || !letter->pending)
            r->bodies[count++] = r->bodies[i];
    }
    r->body_count = count;
    r->removal = (struct os_job){.work = remove_work, .done = remove_done};
    os_workers_submit(r->spool->helpers, &r->removal);
}

void recover_begin(struct spool *s)
{
    LIST_EACH(&s->segments, at, after)
    {
        s->recovery->segments++;
    }
    read_next(s->recovery);
}

void recover_free(struct recovery **recovery)
{
    struct recovery *r = *recovery;
    *recovery = NULL;
    if (!r)
        return;
    if (r->spool->loop)
        loop_cancel_timer(r->spool->loop, &r->step);
    index_finish(&r->reading.index);
    free(r->reading.asides);
    free(r->bodies);
    free(r);
}
