// How the log is read here: one frame is always held back. Whether its letters count is known only
// when the next one was seen, which may abort it; so nothing is ever forgotten again, unlike in
// recovery. What stands at the end of a use is judged by the next whole frame too, wherever that
// is:
//
//   block by block ──► frame: its place and its number ──► held ──► its records ──► letters
//                                  │ the first of its use
//                                  ▼
//                      the ends of the uses before it
#include "store/check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "os/file.h"
#include "os/random.h"
#include "store/spool_private.h"

enum {
    FILE_NAME = 80,
    DETAIL = 160,
    INDEX_USED = 88, // octets of the trailer; its CRC covers all of them behind itself
    INDEX_COVERED = 12,
    ENVELOPE_MEMORY = 8 * LIMIT_envelope,
};

// One use of a segment.
struct use {
    struct segment segment; // its number, use, size, epoch, end
    char file[FILE_NAME];
    uint64_t torn; // where a frame begins that is not whole, behind the last whole one; 0 = nowhere
    bool frames;   // it has a whole one
    bool aborted;  // its end is told by an abort
};

struct state_seen {
    uint8_t state;
    bool stands_again; // said by an aborted frame: the same states come behind the abort
};

struct letter {
    struct link link; // in the order of the log
    struct mail_id id;
    char head[LETTER_FIXED];
    uint8_t flags;
    const struct use *use;
    uint64_t offset; // of the record's data
    uint64_t record_size;
    uint64_t body_size;
    uint32_t body_crc;
    uint32_t recipient_count, pending;
    struct state_seen recipients[];
};

struct check {
    struct check_report *report;
    const struct spool_options *options;
    int log_dir, body_dir, corrupt_dir, lock;
    struct use *uses; // in the order of the log, once they are all known
    size_t use_count, use_cap;
    size_t unjudged;     // the first whose end the next whole frame judges
    uint64_t next_frame; // 0 = not known: what came before the log is gone
    struct buf bytes;    // the segment that is read
    struct segment_frame held;
    struct use *held_use; // NULL = nothing is held
    bool held_first;      // of its use
    struct buf held_bytes;
    bool index_wanted; // a whole index is there to be compared
    struct buf index;  // what it should hold
    uint32_t index_records;
    uint64_t index_first, index_last;
    struct map letters;
    struct link order;
    uint64_t hash_key[2];
    struct arena envelopes;
    struct err err;
    bool failed; // `err` says why: for what is called back
};

static const struct check_fact facts[CHECK_STATES] = {
#define SPOOL_STATE(number, kind, name, on_disk, acknowledged, start)                              \
    [number] = {CHECK_##kind, on_disk, start},
#include "store/spool_states.def"
#undef SPOOL_STATE
};

const struct check_fact *check_fact(enum check_state state)
{
    return &facts[state];
}

uint64_t check_damage(const struct check_report *report)
{
    uint64_t places = 0;
    for (size_t i = 1; i < CHECK_STATES; i++)
        places += facts[i].kind == CHECK_DAMAGE ? report->states[i] : 0;
    return places;
}

// ---- telling

PRINTF_LIKE(5, 6)
static void found(struct check *c, enum check_state state, const char *file, uint64_t offset,
                  const char *fmt, ...)
{
    char detail[DETAIL];
    va_list args;
    c->report->states[state]++;
    if (facts[state].kind == CHECK_LIFE || !c->report->found)
        return;
    va_start(args, fmt);
    vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);
    c->report->found(
        c->report,
        &(struct check_finding){.state = state, .file = file, .offset = offset, .detail = detail});
}

static bool fail(struct check *c, int rc, const char *file)
{
    c->failed = true;
    return err_system(&c->err, rc, "spool/%s", file);
}

// A name that may be anything, as part of a path to be shown.
static void show_name(char file[FILE_NAME], const char *folder, const char *name)
{
    struct buf out;
    buf_init(&out, 4 * FILE_NAME);
    buf_put_escaped(&out, str_sub(str_of(name), 0, (FILE_NAME - 16) / 4));
    snprintf(file, FILE_NAME, "%s/%.*s", folder, STR_ARG(buf_str(&out)));
    buf_finish(&out);
}

// ---- letters

static bool letter_matches(const void *item, const void *key)
{
    const struct letter *letter = item;
    return mail_id_equal(&letter->id, key);
}

static uint64_t hash(const struct check *c, const struct mail_id *id)
{
    return str_hash(str_from(id->bytes, sizeof id->bytes), c->hash_key);
}

static struct mail_id take_id(struct str *in)
{
    struct mail_id id;
    memcpy(id.bytes, in->ptr, sizeof id.bytes);
    *in = str_skip(*in, sizeof id.bytes);
    return id;
}

static void judge_envelope(struct check *c, const struct letter *letter, struct str bytes,
                           uint32_t crc)
{
    struct envelope envelope;
    struct err err;
    arena_reset(&c->envelopes);
    if (crc32c(0, bytes) != crc)
        found(c, CHECK_BAD_LETTER, letter->use->file, letter->offset, "the envelope's CRC");
    else if (!envelope_read(bytes, &c->envelopes, &envelope, &err))
        found(c, CHECK_BAD_LETTER, letter->use->file, letter->offset, "%s", err.text);
    else if (!mail_id_equal(&envelope.id, &letter->id) ||
             envelope.recipient_count != letter->recipient_count)
        found(c, CHECK_BAD_LETTER, letter->use->file, letter->offset,
              "the envelope is another letter's");
}

static void judge_copy(struct check *c, const struct letter *first, const struct letter *again)
{
    if (memcmp(first->head, again->head, sizeof first->head) != 0 || first->flags != again->flags)
        found(c, CHECK_OTHER_LETTER, again->use->file, again->offset,
              "the first is in %s at %" PRIu64, first->use->file, first->offset);
    else if (first->pending == 0)
        found(c, CHECK_COPY_AFTER_END, again->use->file, again->offset,
              "the first is in %s at %" PRIu64, first->use->file, first->offset);
    else
        found(c, CHECK_COPY, again->use->file, again->offset, "a copy");
}

// False when the record cannot be one.
static bool take_letter(struct check *c, const struct segment_record *record, uint64_t offset)
{
    struct str data = record->data;
    struct letter head = {.flags = record->flags, .use = c->held_use, .offset = offset};
    if (data.len < LETTER_FIXED || record->flags & ~RECORD_LARGE)
        return false;
    memcpy(head.head, data.ptr, sizeof head.head);
    head.record_size = SEGMENT_RECORD_HEADER + data.len;
    head.id = take_id(&data);
    uint64_t envelope_size = str_take_le(&data, 4);
    uint32_t envelope_crc = (uint32_t)str_take_le(&data, 4);
    head.body_size = str_take_le(&data, 8);
    head.body_crc = (uint32_t)str_take_le(&data, 4);
    data = str_skip(data, 4); // the flags of the scan
    head.recipient_count = head.pending = (uint32_t)str_take_le(&data, 4);
    uint64_t body_here = head.flags & RECORD_LARGE ? 0 : head.body_size;
    if (envelope_size > data.len || data.len - envelope_size != body_here ||
        head.recipient_count == 0 || head.recipient_count > envelope_size)
        return false;
    judge_envelope(c, &head, str_sub(data, 0, (size_t)envelope_size), envelope_crc);
    if (!(head.flags & RECORD_LARGE) &&
        crc32c(0, str_skip(data, (size_t)envelope_size)) != head.body_crc)
        found(c, CHECK_BAD_LETTER, head.use->file, offset, "the body's CRC");
    const struct letter *known = map_find(&c->letters, hash(c, &head.id), &head.id);
    if (known) {
        judge_copy(c, known, &head);
        return true;
    }
    struct letter *letter =
        calloc(1, sizeof *letter + head.recipient_count * sizeof letter->recipients[0]);
    must(letter != NULL);
    *letter = head;
    list_append(&c->order, &letter->link);
    map_put(&c->letters, hash(c, &letter->id), letter);
    return true;
}

static bool take_state(struct check *c, const struct segment_record *record, uint64_t offset,
                       bool aborted)
{
    struct str data = record->data;
    if (data.len < STATE_FIXED || data.len > STATE_FIXED + REASON_MAX ||
        record->flags & ~RECORD_TOLD)
        return false;
    struct mail_id id = take_id(&data);
    uint32_t recipient = (uint32_t)str_take_le(&data, 4);
    uint8_t state = (uint8_t)str_take_le(&data, 1);
    if (state > SPOOL_FAILED)
        return false;
    struct letter *letter = map_find(&c->letters, hash(c, &id), &id);
    if (!letter) {
        found(c, CHECK_STATE_ALONE, c->held_use->file, offset, "alone");
        return true;
    }
    if (recipient >= letter->recipient_count) {
        found(c, CHECK_NO_SUCH_RECIPIENT, c->held_use->file, offset,
              "number %" PRIu32 " of %" PRIu32, recipient, letter->recipient_count);
        return true;
    }
    struct state_seen *seen = &letter->recipients[recipient];
    if (seen->state < SPOOL_DELIVERED) {
        *seen = (struct state_seen){.state = state, .stands_again = aborted};
        letter->pending -= state >= SPOOL_DELIVERED;
        return true;
    }
    if (state != seen->state && !seen->stands_again)
        found(c, CHECK_STATE_AFTER_END, c->held_use->file, offset, "state %u after %u", state,
              seen->state);
    if (state == seen->state && !aborted)
        seen->stands_again = false;
    return true;
}

// ---- frames

static void take_records(struct check *c, bool aborted)
{
    const struct segment_frame *frame = &c->held;
    const char *file = c->held_use->file;
    struct segment_record record;
    size_t at = 0;
    uint32_t count = 0;
    bool damaged;
    while (segment_next_record(frame, &at, &record, &damaged)) {
        uint64_t offset = frame->offset + SEGMENT_FRAME_HEADER + record.offset;
        bool ok = false;
        if (record.kind == RECORD_LETTER)
            ok = aborted || take_letter(c, &record, offset);
        else if (record.kind == RECORD_STATE)
            ok = take_state(c, &record, offset, aborted);
        else if (record.kind == RECORD_ABORT)
            ok = record.data.len == ABORT_FIXED;
        if (!ok)
            found(c, CHECK_BAD_RECORD, file, offset, "of kind %u with %zu octets", record.kind,
                  record.data.len);
        else if (record.kind == RECORD_ABORT && !(c->held_first && count == 0))
            found(c, CHECK_BAD_ABORT, file, offset, "not the first record of its use");
        count++;
    }
    if (damaged || count != frame->record_count)
        found(c, CHECK_BAD_RECORD, file, frame->offset,
              "%" PRIu32 " records, %" PRIu32 " announced", count, frame->record_count);
}

static void release_held(struct check *c, bool aborted)
{
    if (c->held_use)
        take_records(c, aborted);
    c->held_use = NULL;
}

// The segment's memory is wanted for the next one.
static void keep_held(struct check *c)
{
    if (!c->held_use)
        return;
    buf_clear(&c->held_bytes);
    buf_put(&c->held_bytes, c->held.records);
    must(buf_ok(&c->held_bytes));
    c->held.records = buf_str(&c->held_bytes);
}

// ---- the ends of uses

struct abort {
    uint64_t number, use, good_end;
};

static bool begins_with_abort(const struct segment_frame *frame, struct abort *abort)
{
    struct segment_record record;
    size_t at = 0;
    bool damaged;
    if (!segment_next_record(frame, &at, &record, &damaged) || record.kind != RECORD_ABORT ||
        record.data.len != ABORT_FIXED)
        return false;
    abort->number = str_take_le(&record.data, 8);
    abort->use = str_take_le(&record.data, 8);
    abort->good_end = str_take_le(&record.data, 8);
    return true;
}

// What the abort in the first frame of `use` says of the use before. True: of the frame held.
static bool judge_abort(struct check *c, struct use *use, const struct segment_frame *frame,
                        const struct abort *abort, uint64_t *missing)
{
    struct use *before = use == c->uses ? NULL : use - 1;
    if (abort->use + 1 != use->segment.use || abort->good_end < SEGMENT_BLOCK) {
        found(c, CHECK_BAD_ABORT, use->file, frame->offset, "of use %" PRIu64, abort->use);
        return false;
    }
    if (!before || before->segment.use != abort->use) {
        found(c, CHECK_ABORT_ALONE, use->file, frame->offset, "of use %" PRIu64, abort->use);
        return false;
    }
    if (before->segment.number != abort->number) {
        found(c, CHECK_BAD_ABORT, use->file, frame->offset, "of segment %" PRIu64, abort->number);
        return false;
    }
    before->aborted = true;
    if (c->held_use == before && abort->good_end == c->held.offset && *missing == 0) {
        found(c, CHECK_ABORTED_FRAME, before->file, c->held.offset, "frame %" PRIu64,
              c->held.number);
        return true;
    }
    if (abort->good_end == before->segment.end && (*missing > 0 || !c->next_frame)) {
        found(c, CHECK_ABORTED_NOTHING, before->file, abort->good_end, "frame %" PRIu64,
              frame->number - 1);
        *missing -= *missing > 0;
    } else if (abort->good_end > before->segment.end) {
        found(c, CHECK_LOST_END, before->file, before->segment.end, "up to the abort at %" PRIu64,
              abort->good_end);
        *missing = 0;
    } else {
        found(c, CHECK_BAD_ABORT, use->file, frame->offset,
              "of offset %" PRIu64 ", where no batch failed", abort->good_end);
    }
    return false;
}

// The ends of all uses up to `use`, between which so many frame numbers are missing.
static void judge_ends(struct check *c, const struct use *use, uint64_t missing)
{
    struct use *lost = &c->uses[c->unjudged], *at = lost;
    for (; at < use; at++) {
        const struct use *next = at + 1;
        if (next < c->uses + c->use_count && next->segment.use > at->segment.use + 1) {
            found(c, missing ? CHECK_LOST_USE : CHECK_USE_GAP, next->file, 0,
                  "%" PRIu64 " follows %" PRIu64 "; %" PRIu64 " frames are missing",
                  next->segment.use, at->segment.use, missing);
            missing = 0;
            lost = NULL;
        }
        bool is_lost = missing && at == lost;
        if (is_lost)
            found(c, CHECK_LOST_END, at->file, at->segment.end, "%" PRIu64 " frames are missing",
                  missing);
        else if (at->torn && !at->aborted)
            found(c, CHECK_TORN_END, at->file, at->torn, "a frame that is not whole");
        else if (!at->frames && !at->aborted)
            found(c, CHECK_EMPTY_USE, at->file, SEGMENT_BLOCK, "use %" PRIu64, at->segment.use);
    }
    c->unjudged = (size_t)(use - c->uses);
}

// ---- one segment

static void add_to_index(struct check *c, const struct segment_frame *frame)
{
    struct segment_record record;
    size_t at = 0;
    bool damaged;
    while (segment_next_record(frame, &at, &record, &damaged)) {
        if (record.kind == RECORD_LETTER && record.data.len >= LETTER_FIXED) {
            struct buf place;
            buf_init(&place, LETTER_FIXED + 4);
            buf_put(&place, str_sub(record.data, 0, LETTER_FIXED));
            buf_put_u32(&place, (uint32_t)(frame->offset + SEGMENT_FRAME_HEADER + record.offset));
            segment_put_record(&c->index, RECORD_PLACE, record.flags, buf_str(&place));
            buf_finish(&place);
        } else {
            segment_put_record(&c->index, record.kind, record.flags, record.data);
        }
        c->index_records++;
    }
    if (!c->index_first)
        c->index_first = frame->number;
    c->index_last = frame->number;
}

static void take_frame(struct check *c, struct use *use, struct segment_frame *frame, uint64_t end)
{
    bool first = !use->frames, hole = frame->offset > use->segment.end, aborted = false;
    struct abort abort;
    if (hole)
        found(c, CHECK_HOLE, use->file, use->segment.end, "up to %" PRIu64, frame->offset);
    use->segment.end = end;
    use->torn = 0;
    if (frame->number < c->next_frame) {
        found(c, CHECK_BAD_NUMBER, use->file, frame->offset, "number %" PRIu64 " again",
              frame->number);
        return;
    }
    uint64_t missing = c->next_frame && !(hole && first) ? frame->number - c->next_frame : 0;
    if (first && begins_with_abort(frame, &abort))
        aborted = judge_abort(c, use, frame, &abort, &missing);
    if (first)
        judge_ends(c, use, missing);
    if (missing && !hole && (!first || use == c->uses))
        found(c, CHECK_BAD_NUMBER, use->file, frame->offset, "%" PRIu64 " instead of %" PRIu64,
              frame->number, c->next_frame);
    release_held(c, aborted);
    c->held = *frame;
    c->held_use = use;
    c->held_first = first;
    c->next_frame = frame->number + 1;
    use->frames = true;
    if (c->index_wanted)
        add_to_index(c, frame);
}

static void take_frames(struct check *c, struct use *use)
{
    struct str bytes = buf_str(&c->bytes);
    struct segment_frame frame;
    for (uint64_t at = SEGMENT_BLOCK; at < bytes.len;) {
        enum segment_found what =
            segment_parse(str_skip(bytes, (size_t)at), use->segment.epoch, &frame);
        if (what != SEGMENT_FRAME) {
            if (what == SEGMENT_DAMAGED && !use->torn)
                use->torn = at;
            at += SEGMENT_BLOCK;
            continue;
        }
        uint64_t size = SEGMENT_FRAME_HEADER + frame.records.len;
        uint64_t end = at + (size + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK * SEGMENT_BLOCK;
        frame.offset = at;
        take_frame(c, use, &frame, end);
        at = end;
    }
    keep_held(c);
}

// ---- the index at the end of a segment

struct trailer {
    uint64_t offset, length;
    uint32_t crc, records;
    uint64_t first, last, end;
};

// The trailer of an index that is whole and of this use.
static bool read_trailer(const struct check *c, const struct use *use, struct trailer *t, bool *is)
{
    struct str bytes = buf_str(&c->bytes);
    *is = false;
    if (bytes.len < 2 * SEGMENT_BLOCK)
        return false;
    struct str in = str_sub(bytes, bytes.len - SEGMENT_BLOCK, INDEX_USED);
    struct str covered = str_skip(in, INDEX_COVERED);
    if (!str_starts(in, STR("PHIDX001")))
        return false;
    *is = true;
    in = str_skip(in, 8);
    uint32_t crc = (uint32_t)str_take_le(&in, 4), version = (uint32_t)str_take_le(&in, 4);
    uint64_t of_use = str_take_le(&in, 8);
    bool ours = version == 1 && of_use == use->segment.use &&
                memcmp(in.ptr, use->segment.epoch, SEGMENT_EPOCH) == 0;
    in = str_skip(in, SEGMENT_EPOCH);
    t->offset = str_take_le(&in, 8);
    t->length = str_take_le(&in, 8);
    t->crc = (uint32_t)str_take_le(&in, 4);
    t->records = (uint32_t)str_take_le(&in, 4);
    t->first = str_take_le(&in, 8);
    t->last = str_take_le(&in, 8);
    t->end = str_take_le(&in, 8);
    return ours && crc32c(0, covered) == crc && t->offset <= bytes.len &&
           t->length <= bytes.len - t->offset &&
           crc32c(0, str_sub(bytes, (size_t)t->offset, (size_t)t->length)) == t->crc;
}

static void judge_index(struct check *c, const struct use *use, const struct trailer *t)
{
    uint64_t padded = (t->length + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK * SEGMENT_BLOCK;
    struct str payload = str_sub(buf_str(&c->bytes), (size_t)t->offset, (size_t)t->length);
    const char *what = NULL;
    if (t->offset % SEGMENT_BLOCK || t->offset + padded + SEGMENT_BLOCK != c->bytes.len)
        what = "the place of its records";
    else if (t->end != use->segment.end)
        what = "the end of the frames";
    else if (t->first != c->index_first || t->last != c->index_last)
        what = "the numbers of the frames";
    else if (t->records != c->index_records || !str_eq(payload, buf_str(&c->index)))
        what = "the records";
    found(c, what ? CHECK_FALSE_INDEX : CHECK_INDEX, use->file, c->bytes.len - SEGMENT_BLOCK, "%s",
          what ? what : "true");
}

static void take_segment(struct check *c, struct use *use)
{
    struct trailer trailer = {0};
    bool is_index;
    c->index_wanted = read_trailer(c, use, &trailer, &is_index);
    buf_clear(&c->index);
    c->index_records = 0;
    c->index_first = c->index_last = 0;
    use->segment.end = SEGMENT_BLOCK;
    take_frames(c, use);
    if (c->index_wanted)
        judge_index(c, use, &trailer);
    else if (is_index)
        found(c, CHECK_OLD_INDEX, use->file, c->bytes.len - SEGMENT_BLOCK, "an old index");
}

// ---- the files of the log

// A folder that is missing is empty: no queue ran here yet.
static bool each_file(struct check *c, int dir, const char *folder,
                      bool (*each)(void *context, const char *name))
{
    int rc = dir < 0 ? 0 : os_list(dir, each, c);
    return c->failed ? false : rc >= 0 || fail(c, rc, folder);
}

static bool all_zeros(struct str bytes)
{
    return bytes.len == 0 ||
           (bytes.ptr[0] == '\0' && memcmp(bytes.ptr, bytes.ptr + 1, bytes.len - 1) == 0);
}

// The descriptor of a file of the log and its size, or -errno.
static int open_segment(const struct check *c, const char *name, uint64_t *size)
{
    struct stat st;
    int fd = os_open(c->log_dir, name, O_RDONLY | O_NOFOLLOW, 0);
    int rc = fd < 0 ? fd : os_fstat(fd, &st);
    if (rc < 0) {
        os_close(&fd);
        return rc;
    }
    *size = (uint64_t)st.st_size;
    return fd;
}

// The whole file into c->bytes.
static bool load(struct check *c, const char *name, const char *file)
{
    uint64_t size;
    int fd = open_segment(c, name, &size);
    buf_clear(&c->bytes);
    char *to = fd < 0 ? NULL : buf_reserve(&c->bytes, (size_t)size);
    ssize_t n = to ? os_pread_all(fd, to, (size_t)size, 0) : fd < 0 ? fd : -EFBIG;
    os_close(&fd);
    if (n < 0)
        return fail(c, (int)n, file);
    buf_added(&c->bytes, (size_t)n);
    return true;
}

// A segment of zeros, or one whose header is damaged.
static bool take_unused(struct check *c, const struct segment *seg, const char *name,
                        const char *file, uint64_t file_size)
{
    if (!load(c, name, file))
        return false;
    bool zeros = all_zeros(buf_str(&c->bytes));
    if (!zeros) {
        found(c, CHECK_BAD_HEADER, file, 0, "%s",
              seg->blank ? "zeros, and something behind them" : "the header's CRC");
    } else if (file_size == c->options->segment_size) {
        found(c, CHECK_FREE_SEGMENT, file, 0, "free");
        c->report->free_segments++;
    } else {
        found(c, CHECK_UNFILLED_SEGMENT, file, 0, "%" PRIu64 " octets", file_size);
    }
    return true;
}

static void add_use(struct check *c, const struct segment *seg, const char *file)
{
    if (c->use_count == c->use_cap) {
        c->use_cap = c->use_cap ? 2 * c->use_cap : 16;
        c->uses = realloc(c->uses, c->use_cap * sizeof c->uses[0]);
        must(c->uses != NULL);
    }
    struct use *use = &c->uses[c->use_count++];
    *use = (struct use){.segment = *seg};
    snprintf(use->file, sizeof use->file, "%s", file);
}

static bool each_segment(void *context, const char *name)
{
    struct check *c = context;
    struct segment seg = {.fd = -1};
    char file[FILE_NAME], block[SEGMENT_BLOCK] = {0};
    uint64_t file_size;
    show_name(file, "log", name);
    if (strlen(name) != 12 || !str_to_u64(str_of(name), &seg.number)) {
        found(c, CHECK_STRANGER, file, 0, "not a segment");
        return true;
    }
    c->report->segments++;
    int fd = open_segment(c, name, &file_size);
    ssize_t n = fd < 0 ? fd : os_pread_all(fd, block, sizeof block, 0);
    os_close(&fd);
    if (n < 0)
        return fail(c, (int)n, file);
    seg.size = file_size & ~(uint64_t)(SEGMENT_BLOCK - 1);
    segment_read_header(block, &seg);
    if (seg.use == 0)
        return take_unused(c, &seg, name, file, file_size);
    add_use(c, &seg, file);
    if (seg.cut)
        found(c, CHECK_BAD_LENGTH, file, file_size, "it ends here");
    else if (file_size != c->options->segment_size)
        found(c, CHECK_OTHER_SIZE, file, 0, "%" PRIu64 " octets", file_size);
    return true;
}

static int by_use(const void *left, const void *right)
{
    const struct segment *a = &((const struct use *)left)->segment;
    const struct segment *b = &((const struct use *)right)->segment;
    if (a->use != b->use)
        return a->use < b->use ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

static bool take_log(struct check *c)
{
    if (!each_file(c, c->log_dir, "log", each_segment))
        return false;
    if (c->use_count)
        qsort(c->uses, c->use_count, sizeof c->uses[0], by_use);
    c->next_frame = c->use_count && c->uses[0].segment.use == 1; // both count from 1
    for (size_t i = 0; i < c->use_count; i++) {
        struct use *use = &c->uses[i];
        char name[24];
        if (i && use->segment.use == use[-1].segment.use)
            found(c, CHECK_SAME_USE, use->file, 0, "%s has use %" PRIu64 " too", use[-1].file,
                  use->segment.use);
        segment_name(name, use->segment.number);
        if (!load(c, name, use->file))
            return false;
        must(c->bytes.len >= use->segment.size); // nobody else writes: the lock is ours
        c->bytes.len = (size_t)use->segment.size;
        take_segment(c, use);
    }
    if (c->held_use)
        found(c, CHECK_LAST_FRAME, c->held_use->file, c->held.offset, "the last one");
    release_held(c, false);
    if (c->use_count)
        judge_ends(c, c->uses + c->use_count, 0);
    return true;
}

// ---- bodies, and what was set aside

static const struct letter *pending_large(const struct check *c, const struct mail_id *id)
{
    const struct letter *letter = map_find(&c->letters, hash(c, id), id);
    return letter && letter->pending && letter->flags & RECORD_LARGE ? letter : NULL;
}

static bool each_body(void *context, const char *name)
{
    struct check *c = context;
    struct str text = str_of(name), rest = str_skip(text, MAIL_ID_TEXT);
    struct mail_id id;
    char file[FILE_NAME];
    show_name(file, "body", name);
    bool is_id = text.len >= MAIL_ID_TEXT && mail_id_read(str_sub(text, 0, MAIL_ID_TEXT), &id);
    if (!is_id || (rest.len && !str_eq(rest, STR(".part"))))
        found(c, CHECK_STRANGER, file, 0, "not a body");
    else if (rest.len)
        found(c, CHECK_PART, file, 0, "a body that was coming in");
    else if (!pending_large(c, &id))
        found(c, CHECK_UNWANTED_BODY, file, 0, "no letter wants it");
    return true;
}

static bool each_corrupt(void *context, const char *name)
{
    struct check *c = context;
    char file[FILE_NAME];
    show_name(file, "corrupt", name);
    found(c, CHECK_SET_ASIDE, file, 0, "set aside by an earlier start");
    return true;
}

static bool read_body(const struct letter *letter, int fd, struct err *err)
{
    struct large_reader reader;
    struct str piece;
    struct stat st;
    int rc = os_fstat(fd, &st);
    uint64_t pieces = (letter->body_size + LARGE_PIECE - 1) / LARGE_PIECE;
    if (rc < 0)
        return err_system(err, rc, "spool/body");
    if ((uint64_t)st.st_size != letter->body_size + pieces * sizeof(uint32_t))
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "%llu octets long",
                       (unsigned long long)st.st_size);
    if (!large_reader_init(&reader, fd, letter->body_size, letter->body_crc, err))
        return false;
    bool ok;
    do
        ok = large_reader_next(&reader, &piece, err);
    while (ok && piece.len);
    large_reader_finish(&reader);
    return ok;
}

static bool take_body(struct check *c, const struct letter *letter)
{
    char name[LARGE_NAME], file[FILE_NAME];
    struct err err;
    large_name(name, &letter->id, false);
    snprintf(file, sizeof file, "body/%s", name);
    int fd = c->body_dir < 0 ? -ENOENT : os_open(c->body_dir, name, O_RDONLY | O_NOFOLLOW, 0);
    if (fd < 0 && fd != -ENOENT)
        return fail(c, fd, file);
    bool ok = fd >= 0 ? read_body(letter, fd, &err)
                      : err_set(&err, ERR_OUR_BUG, STATUS(4, 3, 0), "it is gone");
    os_close(&fd);
    if (!ok && err.class == ERR_OUR_BUG)
        found(c, CHECK_BAD_LETTER, file, 0, "%s", err.text);
    else if (!ok)
        c->err = err;
    return ok || err.class == ERR_OUR_BUG;
}

static void count_letter(struct check *c, const struct letter *letter)
{
    c->report->states[letter->pending ? CHECK_LETTER : CHECK_ENDED_LETTER]++;
    for (uint32_t i = 0; i < letter->recipient_count; i++)
        c->report->recipients[letter->recipients[i].state]++;
    if (letter->pending) {
        c->report->letters++;
        c->report->live_bytes += letter->record_size;
    }
}

static bool take_bodies(struct check *c)
{
    LIST_EACH(&c->order, at, after)
    {
        const struct letter *letter = CONTAINER_OF(at, struct letter, link);
        count_letter(c, letter);
        if (pending_large(c, &letter->id) && !take_body(c, letter))
            return false;
    }
    return each_file(c, c->body_dir, "body", each_body) &&
           each_file(c, c->corrupt_dir, "corrupt", each_corrupt);
}

// ---- all of it

static bool open_folder(struct check *c, int dir, const char *name, int *fd)
{
    *fd = os_open_directory(dir, name);
    return *fd >= 0 || *fd == -ENOENT || fail(c, *fd, name);
}

static bool take_lock(struct check *c, int dir)
{
    c->lock = os_open(dir, "lock", O_RDWR | O_NOFOLLOW, 0);
    if (c->lock == -ENOENT)
        return true;
    int rc = c->lock < 0 ? c->lock : os_lock(c->lock);
    if (rc == -EWOULDBLOCK) {
        c->failed = true;
        return err_set(&c->err, ERR_TRY_LATER, STATUS(4, 3, 0), "a queue runs on this spool");
    }
    return rc >= 0 || fail(c, rc, "lock");
}

bool spool_check(int dir, const struct spool_options *options, struct check_report *report,
                 struct err *err)
{
    struct check c = {.report = report,
                      .options = options,
                      .log_dir = -1,
                      .body_dir = -1,
                      .corrupt_dir = -1,
                      .lock = -1};
    buf_init(&c.bytes, 2UL * 1024 * 1024 * 1024);
    buf_init(&c.held_bytes, 2UL * 1024 * 1024 * 1024);
    buf_init(&c.index, 2UL * 1024 * 1024 * 1024);
    map_init(&c.letters, letter_matches);
    list_init(&c.order);
    os_random(c.hash_key, sizeof c.hash_key);
    arena_init(&c.envelopes, ENVELOPE_MEMORY);
    bool ok = take_lock(&c, dir) && open_folder(&c, dir, "log", &c.log_dir) &&
              open_folder(&c, dir, "body", &c.body_dir) &&
              open_folder(&c, dir, "corrupt", &c.corrupt_dir) && take_log(&c) && take_bodies(&c);
    if (!ok)
        *err = c.err;
    for (struct link *at; (at = list_pop(&c.order));)
        free(CONTAINER_OF(at, struct letter, link));
    map_finish(&c.letters);
    arena_finish(&c.envelopes);
    buf_finish(&c.bytes);
    buf_finish(&c.held_bytes);
    buf_finish(&c.index);
    free(c.uses);
    os_close(&c.log_dir);
    os_close(&c.body_dir);
    os_close(&c.corrupt_dir);
    os_close(&c.lock);
    return ok;
}
