// Reading the log at start. Segments are taken in the order of their use; frames of the right epoch
// and CRC are obeyed in turn. What ends a segment is either nothing (zeros, an earlier use), the
// one batch that was under way when the machine stopped (never acknowledged), or damage: damage has
// whole frames behind it, or stands in a segment that is not the last; it is set aside under
// spool/corrupt and reported, and all else goes on (promise 8).
//
// What can be read need not be on the disk: the process before us may have ended between a write
// and its sync, or because the sync failed, after which the system's copy looks clean. One batch
// flies at a time, so this concerns the last frame only: it is written again and synced before
// anything in it is acknowledged (promises 1 and 4).
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "os/file.h"
#include "os/log.h"
#include "store/spool_private.h"

struct recovery {
    struct spool *spool;
    struct segment *segment;           // being read
    struct buf bytes;                  // all of it
    uint64_t damage_start, damage_end; // blocks that may be damage; equal = none
    uint64_t set_aside;
    struct segment *last; // holds the frame with the highest number, NULL = none
    uint64_t last_number, last_start, last_end;
    struct err err;
    bool failed;
};

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
        r->set_aside++;
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
    // In the order of use; the list is short and mostly sorted.
    struct link *at = s->segments.prev;
    while (at != &s->segments && CONTAINER_OF(at, struct segment, link)->use > seg->use)
        at = at->prev;
    list_prepend(at, &seg->link);
    return true;
}

// ---- damage

static void set_aside(struct recovery *r)
{
    char name[64];
    struct segment *seg = r->segment;
    struct str bytes = str_sub(buf_str(&r->bytes), (size_t)r->damage_start,
                               (size_t)(r->damage_end - r->damage_start));
    snprintf(name, sizeof name, "%012" PRIu64 "-%" PRIu64 "-%" PRIu64, seg->number, seg->use,
             r->damage_start);
    int fd = os_open(r->spool->corrupt_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? fd : os_write_all(fd, bytes);
    if (rc == 0)
        rc = os_fsync(fd);
    os_close(&fd);
    log_line(LOG_ERROR,
             "spool/log/%012" PRIu64 ": damage from %" PRIu64 " to %" PRIu64 ", set aside as "
             "spool/corrupt/%s%s",
             seg->number, r->damage_start, r->damage_end, name,
             rc < 0 ? " (which could not be written)" : "");
    log_event(&(struct log_event){.name = EVENT_corrupt, .text = str_of(name), .size = bytes.len});
    r->set_aside++;
    r->damage_start = r->damage_end = 0;
}

// ---- records

static uint64_t take_le(struct str *in, size_t n)
{
    uint64_t v = 0;
    for (size_t i = n; i > 0; i--)
        v = v << 8 | (unsigned char)in->ptr[i - 1];
    *in = str_skip(*in, n);
    return v;
}

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
    head.envelope_size = (uint32_t)take_le(&data, 4);
    head.envelope_crc = (uint32_t)take_le(&data, 4);
    head.body_size = take_le(&data, 8);
    head.body_crc = (uint32_t)take_le(&data, 4);
    head.scan_flags = (uint32_t)take_le(&data, 4);
    uint32_t recipients = (uint32_t)take_le(&data, 4);
    head.large = (record->flags & RECORD_LARGE) != 0;
    uint64_t inline_size = head.envelope_size + (head.large ? 0 : head.body_size);
    if (inline_size != data.len || recipients == 0 || recipients > head.envelope_size)
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
    uint32_t arrived_s = (uint32_t)(mail_id_ms(&id) / 1000);
    for (uint32_t i = 0; i < recipients; i++)
        letter->recipients[i].next_s = arrived_s;
    list_append(&r->segment->letters, &letter->link);
    r->segment->live++;
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
    uint32_t recipient = (uint32_t)take_le(&data, 4);
    uint8_t state = (uint8_t)take_le(&data, 1);
    uint16_t attempts = (uint16_t)take_le(&data, 2);
    uint32_t next_s = (uint32_t)take_le(&data, 4);
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
        letter->segment->live--;
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
    uint64_t number = take_le(&data, 8), use = take_le(&data, 8), good_end = take_le(&data, 8);
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
                seg->live--;
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

static bool load(struct recovery *r, struct err *err)
{
    struct segment *seg = r->segment;
    buf_clear(&r->bytes);
    char *to = buf_reserve(&r->bytes, (size_t)seg->size);
    if (!to)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0),
                       "spool/log/%012" PRIu64 " is larger than any segment", seg->number);
    ssize_t n = os_pread_all(seg->fd, to, (size_t)seg->size, 0);
    if (n < 0)
        return err_system(err, (int)n, "reading spool/log/%012" PRIu64, seg->number);
    buf_added(&r->bytes, (size_t)n);
    return true;
}

static bool recover_segment(struct recovery *r, bool last, struct err *err)
{
    struct segment *seg = r->segment;
    struct segment_frame frame;
    r->damage_start = r->damage_end = 0;
    if (!load(r, err))
        return false;
    for (uint64_t at = SEGMENT_BLOCK; at < r->bytes.len;) {
        struct str rest = str_skip(buf_str(&r->bytes), (size_t)at);
        enum segment_found found = segment_parse(rest, seg->epoch, &frame);
        if (found != SEGMENT_FRAME) {
            if (found == SEGMENT_DAMAGED && r->damage_start == r->damage_end)
                r->damage_start = at;
            at += SEGMENT_BLOCK;
            if (r->damage_start)
                r->damage_end = at;
            continue;
        }
        if (r->damage_start != r->damage_end)
            set_aside(r); // whole frames behind it: it was not the last batch
        frame.offset = at;
        if (frame.number >= r->spool->next_frame)
            r->spool->next_frame = frame.number + 1;
        uint64_t size = SEGMENT_FRAME_HEADER + frame.records.len;
        uint64_t end = at + (size + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK * SEGMENT_BLOCK;
        if (!r->last || frame.number >= r->last_number) {
            r->last = seg;
            r->last_number = frame.number;
            r->last_start = at;
            r->last_end = end;
        }
        if (!obey(r, &frame)) { // the CRC fits and the content does not: written by a wrong hand
            r->damage_start = at;
            r->damage_end = end < r->bytes.len ? end : r->bytes.len;
            set_aside(r);
        }
        at = seg->end = end;
    }
    if (r->damage_start != r->damage_end) {
        if (last)
            log_line(LOG_INFO, "spool/log/%012" PRIu64 ": the last batch was not finished",
                     seg->number);
        else
            set_aside(r);
    }
    return true;
}

static bool write_last_again(struct recovery *r, struct err *err)
{
    if (!r->last)
        return true;
    r->segment = r->last;
    if (!load(r, err))
        return false;
    struct str frame = str_skip(buf_str(&r->bytes), (size_t)r->last_start);
    frame = str_sub(frame, 0, (size_t)(r->last_end - r->last_start));
    int rc = os_pwrite_all(r->last->fd, frame, r->last_start);
    if (rc == 0)
        rc = os_fdatasync(r->last->fd);
    return rc == 0 ||
           err_system(err, rc, "writing the last batch of spool/log/%012" PRIu64 " again",
                      r->last->number);
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
    struct recovery r = {.spool = s};
    int rc = os_list(s->log_dir, each_name, &r);
    if (r.failed) {
        *err = r.err;
        return false;
    }
    if (rc < 0)
        return err_system(err, rc, "listing spool/log");
    buf_init(&r.bytes, 2UL * 1024 * 1024 * 1024);
    bool ok = true;
    LIST_EACH(&s->segments, at, after)
    {
        r.segment = CONTAINER_OF(at, struct segment, link);
        ok = recover_segment(&r, after == &s->segments, err);
        if (!ok)
            break;
    }
    ok = ok && write_last_again(&r, err);
    buf_finish(&r.bytes);
    if (!ok)
        return false;
    rc = os_fsync(s->log_dir); // the names of segments that were just made
    if (rc < 0)
        return err_system(err, rc, "spool/log");
    rc = os_list(s->body_dir, each_body, &r);
    if (rc < 0)
        return err_system(err, rc, "listing spool/body");
    if (s->live_letters || r.set_aside)
        log_line(LOG_INFO,
                 "%" PRIu64 " letters wait in the queue; %" PRIu64 " damaged places set aside",
                 s->live_letters, r.set_aside);
    return true;
}
