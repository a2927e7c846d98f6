// Reading the log at start. Segments are taken in the order of their use; frames of the right epoch
// and CRC are obeyed in turn.
//
// Frames stand back to back and carry numbers without a gap. So whatever lies between two frames is
// damage, and a number that is missing where a segment follows another is damage at the end of the
// first, unless the next frame aborts it (it was never acknowledged). Damage is set aside under
// spool/corrupt and reported, and all else goes on (promise 8). What stands behind the last frame
// of the log is the one batch that was under way when the machine stopped, or nothing.
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
        log_line(LOG_ERROR, "spool/log/%s: the header is damaged; set aside as spool/corrupt/%s",
                 name, name);
        log_event(&(struct log_event){.name = EVENT_corrupt, .text = str_of(name)});
        r->damaged_places++;
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
    if (seg->cut) {
        log_line(LOG_ERROR, "spool/log/%s: damage: the end of the file is missing", name);
        log_event(&(struct log_event){.name = EVENT_corrupt, .text = str_of(name)});
        r->damaged_places++;
    }
    seg->suspect = seg->size != s->options.segment_size; // of another release: read, not written
    // In the order of use; the list is short and mostly sorted.
    struct link *at = s->segments.prev;
    while (at != &s->segments && CONTAINER_OF(at, struct segment, link)->use > seg->use)
        at = at->prev;
    list_prepend(at, &seg->link);
    return true;
}

// ---- damage

static struct str without_zeros(struct str bytes)
{
    while (bytes.len && bytes.ptr[bytes.len - 1] == '\0')
        bytes.len--;
    return bytes;
}

static void set_aside(struct recovery *r, const struct segment *seg, uint64_t from, uint64_t to)
{
    char name[80];
    struct str bytes = without_zeros(str_sub(r->bytes, (size_t)from, (size_t)(to - from)));
    snprintf(name, sizeof name, "%012" PRIu64 "-%" PRIu64 "-%" PRIu64, seg->number, seg->use, from);
    int fd = os_open(r->spool->corrupt_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? fd : os_write_all(fd, bytes);
    if (rc == 0)
        rc = os_fsync(fd);
    os_close(&fd);
    log_line(LOG_ERROR,
             "spool/log/%012" PRIu64 ": damage from %" PRIu64 " to %" PRIu64 ", set aside as "
             "spool/corrupt/%s%s",
             seg->number, from, to, name, rc < 0 ? " (which could not be written)" : "");
    log_event(&(struct log_event){.name = EVENT_corrupt, .text = str_of(name), .size = bytes.len});
}

// ---- records

static struct mail_id take_id(struct str *in)
{
    struct mail_id id;
    memcpy(id.bytes, in->ptr, sizeof id.bytes);
    *in = str_skip(*in, sizeof id.bytes);
    return id;
}

static bool recover_letter(struct recovery *r, const struct segment_frame *frame,
                           const struct segment_record *record)
{
    struct spool *s = r->spool;
    struct str data = record->data;
    if (data.len < LETTER_FIXED)
        return false;
    struct mail_id id = take_id(&data);
    if (spool_find(s, &id)) // moved or submitted twice: the first stands, the states are the same
        return true;
    struct spool_letter head = {.id = id};
    head.envelope_size = (uint32_t)str_take_le(&data, 4);
    head.envelope_crc = (uint32_t)str_take_le(&data, 4);
    head.body_size = str_take_le(&data, 8);
    head.body_crc = (uint32_t)str_take_le(&data, 4);
    head.scan_flags = (uint32_t)str_take_le(&data, 4);
    uint32_t recipients = (uint32_t)str_take_le(&data, 4);
    head.large = (record->flags & RECORD_LARGE) != 0;
    uint64_t body_here = head.large ? 0 : head.body_size;
    if (head.envelope_size > data.len || body_here != data.len - head.envelope_size ||
        recipients == 0 || recipients > head.envelope_size)
        return false;
    struct spool_letter *letter = spool_new_letter(&id, recipients);
    letter->envelope_size = head.envelope_size;
    letter->envelope_crc = head.envelope_crc;
    letter->body_size = head.body_size;
    letter->body_crc = head.body_crc;
    letter->scan_flags = head.scan_flags;
    letter->large = head.large;
    letter->durable = true;
    letter->segment = r->segment;
    letter->offset = (uint32_t)(frame->offset + SEGMENT_FRAME_HEADER + record->offset);
    for (uint32_t i = 0; i < recipients; i++)
        letter->recipients[i].next_s = r->now_s; // not the time in the id: clocks are set back
    list_append(&r->segment->letters, &letter->link);
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

static bool obey(struct recovery *r, const struct segment_frame *frame)
{
    struct segment_record record;
    size_t at = 0;
    bool damaged, ok = true;
    while (segment_next_record(frame, &at, &record, &damaged)) {
        if (record.kind == RECORD_LETTER)
            ok = recover_letter(r, frame, &record) && ok;
        else if (record.kind == RECORD_STATE)
            ok = recover_state(r, &record) && ok;
        else if (record.kind == RECORD_ABORT)
            ok = recover_abort(r, &record) && ok;
        else
            ok = false;
    }
    return ok && !damaged;
}

// ---- segments

static bool load(struct recovery *r, const struct segment *seg, struct err *err)
{
    buf_clear(&r->memory);
    char *to = buf_reserve(&r->memory, (size_t)seg->size);
    if (!to)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0),
                       "spool/log/%012" PRIu64 " is larger than any segment", seg->number);
    ssize_t n = os_pread_all(seg->fd, to, (size_t)seg->size, 0);
    if (n < 0)
        return err_system(err, (int)n, "reading spool/log/%012" PRIu64, seg->number);
    buf_added(&r->memory, (size_t)n);
    r->bytes = buf_str(&r->memory);
    return true;
}

static bool is_abort(const struct segment_frame *frame)
{
    struct segment_record first;
    size_t at = 0;
    bool damaged;
    return segment_next_record(frame, &at, &first, &damaged) && first.kind == RECORD_ABORT;
}

static void damage(struct recovery *r, const struct segment *seg, uint64_t from, uint64_t to)
{
    r->damaged_places++;
    r->set_aside(r, seg, from, to);
}

// The frame's number says whether one is missing at the end of the segment before.
static void look_for_lost_tail(struct recovery *r, const struct segment_frame *frame)
{
    struct segment *before = r->before;
    r->before = NULL;
    if (!before || before->end >= before->size || frame->number <= r->spool->next_frame ||
        is_abort(frame))
        return;
    struct err err;
    struct str here = r->bytes;
    struct buf kept = r->memory;
    buf_init(&r->memory, kept.limit);
    r->bytes = STR("");
    if (before->fd >= 0 && !load(r, before, &err))
        log_line(LOG_ERROR, "%s", err.text);
    damage(r, before, before->end, before->size);
    buf_finish(&r->memory);
    r->memory = kept;
    r->bytes = here;
}

static void take_frame(struct recovery *r, struct segment_frame *frame, uint64_t at, uint64_t end)
{
    struct spool *s = r->spool;
    struct segment *seg = r->segment;
    if (at > seg->end)
        damage(r, seg, seg->end, at);
    if (frame->number < s->next_frame) { // a copy of one that was read already: what stood here?
        damage(r, seg, at, end);
        seg->end = end;
        return;
    }
    look_for_lost_tail(r, frame);
    frame->offset = at;
    s->next_frame = frame->number + 1;
    if (!obey(r, frame)) // the CRC fits and the content does not: written by a wrong hand
        damage(r, seg, at, end);
    r->last_frame = at;
    seg->end = end;
}

void recover_frames(struct recovery *r, struct segment *seg, struct str bytes)
{
    struct segment_frame frame;
    r->segment = seg;
    r->bytes = bytes;
    r->last_frame = 0;
    r->torn = false;
    seg->end = SEGMENT_BLOCK;
    for (uint64_t at = SEGMENT_BLOCK; at < bytes.len;) {
        enum segment_found found = segment_parse(str_skip(bytes, (size_t)at), seg->epoch, &frame);
        if (found != SEGMENT_FRAME) {
            r->torn = r->torn || found == SEGMENT_DAMAGED;
            at += SEGMENT_BLOCK;
            continue;
        }
        uint64_t size = SEGMENT_FRAME_HEADER + frame.records.len;
        uint64_t end = at + (size + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK * SEGMENT_BLOCK;
        if (end > bytes.len) // we write whole blocks; a file that was cut is damage
            end = bytes.len;
        take_frame(r, &frame, at, end);
        r->torn = false;
        at = end;
    }
    // A use between the two that is not there any more was reported as it was set aside.
    r->before = seg;
}

// The same octets at the same place: a cut in the middle of this changes nothing.
static bool make_durable(struct recovery *r, struct err *err)
{
    struct segment *seg = r->segment;
    int rc = 0;
    if (fault_bites(BITE_no_second_sync))
        return true;
    if (r->last_frame)
        rc = os_pwrite_all(
            seg->fd, str_sub(r->bytes, (size_t)r->last_frame, (size_t)(seg->end - r->last_frame)),
            r->last_frame);
    if (rc == 0)
        rc = os_fdatasync(seg->fd);
    return rc == 0 || err_system(err, rc, "the last batch of spool/log/%012" PRIu64, seg->number);
}

// The log goes on behind its last frame: a restart costs no segment.
static void go_on_in(struct recovery *r, struct segment *seg)
{
    if (r->torn)
        log_line(LOG_INFO, "spool/log/%012" PRIu64 ": the last batch was not finished",
                 seg->number);
    else if (!seg->suspect)
        r->spool->current = seg;
}

static bool recover_segments(struct recovery *r, struct err *err)
{
    struct spool *s = r->spool;
    uint64_t use = 0;
    LIST_EACH(&s->segments, at, after)
    {
        struct segment *seg = CONTAINER_OF(at, struct segment, link);
        bool last = after == &s->segments, last_but_one = !last && after->next == &s->segments;
        if (seg->use != use + 1)
            r->before = NULL;
        use = seg->use;
        if (!load(r, seg, err))
            return false;
        recover_frames(r, seg, r->bytes);
        // The last batch, or the one that failed before it and the abort that failed too.
        if ((last || last_but_one) && !make_durable(r, err))
            return false;
        if (last)
            go_on_in(r, seg);
    }
    return true;
}

// ---- bodies

static bool each_body(void *context, const char *name)
{
    struct recovery *r = context;
    struct mail_id id;
    struct str text = str_of(name);
    struct spool_letter *letter = NULL;
    if (text.len < MAIL_ID_TEXT || !mail_id_read(str_sub(text, 0, MAIL_ID_TEXT), &id))
        return true; // not ours
    letter = spool_find(r->spool, &id);
    if (text.len > MAIL_ID_TEXT && !str_eq(str_skip(text, MAIL_ID_TEXT), STR(".part")))
        return true;
    if (letter && letter->pending && text.len == MAIL_ID_TEXT)
        return true;
    int rc = os_unlink(r->spool->body_dir, name); // no acknowledged record refers to it
    if (rc < 0)
        log_line(LOG_WARNING, "spool/body/%s: cannot be removed: %s", name, strerror(-rc));
    return true;
}

bool spool_recover(struct spool *s, struct err *err)
{
    struct recovery r = {
        .spool = s, .set_aside = set_aside, .now_s = (uint32_t)(os_wall_ms() / 1000)};
    int rc = os_list(s->log_dir, each_name, &r);
    if (r.failed) {
        *err = r.err;
        return false;
    }
    // A process that was killed while it made a segment left a name that may not be on disk.
    if (rc == 0)
        rc = os_fsync(s->log_dir);
    if (rc < 0)
        return err_system(err, rc, "listing spool/log");
    buf_init(&r.memory, 2UL * 1024 * 1024 * 1024);
    bool ok = recover_segments(&r, err);
    buf_finish(&r.memory);
    if (!ok)
        return false;
    rc = os_list(s->body_dir, each_body, &r);
    if (rc < 0)
        return err_system(err, rc, "listing spool/body");
    if (s->live_letters || r.damaged_places)
        log_line(LOG_INFO,
                 "%" PRIu64 " letters wait in the queue; %" PRIu64 " damaged places set aside",
                 s->live_letters, r.damaged_places);
    return true;
}
