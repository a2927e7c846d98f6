#include "store/index.h"

#include <inttypes.h>

#include "base/crc32c.h"
#include "os/file.h"
#include "os/log.h"
#include "store/spool_private.h"

static const char index_magic[8] = {'P', 'H', 'I', 'D', 'X', '0', '0', '1'};

enum {
    INDEX_VERSION = 1,
    TRAILER_CRC = 8,
    TRAILER_CRC_FROM = 12,
    TRAILER_USED = 88,
};

static const uint64_t segment_most = 2UL * 1024 * 1024 * 1024;

static uint64_t whole_blocks(uint64_t octets)
{
    return (octets + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK * SEGMENT_BLOCK;
}

void index_init(struct segment_index *x)
{
    *x = (struct segment_index){.end = SEGMENT_BLOCK};
    buf_init(&x->payload, segment_most);
}

void index_finish(struct segment_index *x)
{
    buf_finish(&x->payload);
    free(x->damage);
    index_init(x);
}

// ---- frames

static void note_damage(struct segment_index *x, uint64_t from, uint64_t to)
{
    x->damage = realloc(x->damage, (x->damage_count + 1) * sizeof x->damage[0]);
    must(x->damage != NULL);
    x->damage[x->damage_count++] = (struct index_damage){from, to};
}

// Its place, when the record can be a letter's.
static bool put_place(struct segment_index *x, const struct segment_frame *frame,
                      const struct segment_record *record)
{
    if (record->data.len < LETTER_FIXED)
        return false;
    struct str fields = str_skip(record->data, sizeof(struct mail_id));
    uint64_t envelope = str_take_le(&fields, 4);
    (void)str_take_le(&fields, 4); // its CRC
    uint64_t body = str_take_le(&fields, 8);
    if (record->flags & RECORD_LARGE) // a file
        body = 0;
    uint64_t rest = record->data.len - LETTER_FIXED;
    if (envelope > rest || body != rest - envelope)
        return false;
    struct buf data;
    buf_init(&data, PLACE_FIXED);
    buf_put(&data, str_sub(record->data, 0, LETTER_FIXED));
    buf_put_u32(&data, (uint32_t)(frame->offset + SEGMENT_FRAME_HEADER + record->offset));
    segment_put_record(&x->payload, RECORD_PLACE, record->flags, buf_str(&data));
    buf_finish(&data);
    return true;
}

static bool put_record(struct segment_index *x, const struct segment_frame *frame,
                       const struct segment_record *record)
{
    bool fits = false;
    if (record->kind == RECORD_LETTER) {
        fits = put_place(x, frame, record);
    } else if (record->kind == RECORD_STATE || record->kind == RECORD_ABORT) {
        fits = record->kind == RECORD_STATE ? record->data.len >= STATE_FIXED
                                            : record->data.len == ABORT_FIXED;
        if (fits)
            segment_put_record(&x->payload, record->kind, record->flags, record->data);
    }
    x->records += fits;
    return fits;
}

static uint64_t frame_size(const struct segment_frame *frame)
{
    return SEGMENT_FRAME_HEADER + frame->records.len;
}

static void take_frame(struct segment_index *x, const struct segment_frame *frame)
{
    struct segment_record record;
    size_t at = 0;
    bool damaged, ok = true;
    if (!x->first_frame)
        x->first_frame = frame->number;
    x->last_frame = frame->number;
    while (segment_next_record(frame, &at, &record, &damaged))
        ok = put_record(x, frame, &record) && ok;
    if (!ok || damaged) // the CRC fits and the content does not: written by a wrong hand
        note_damage(x, frame->offset, frame->offset + frame_size(frame));
}

// All whole frames in the order of their places.
static struct segment_frame *find_frames(struct segment_index *x, const struct segment *seg,
                                         struct str bytes, size_t *count)
{
    struct segment_frame *frames = NULL, frame;
    size_t cap = 0;
    *count = 0;
    for (uint64_t at = SEGMENT_BLOCK; at < bytes.len;) {
        enum segment_found found = segment_parse(str_skip(bytes, (size_t)at), seg->epoch, &frame);
        if (found != SEGMENT_FRAME) {
            x->torn = x->torn || found == SEGMENT_DAMAGED;
            at += SEGMENT_BLOCK;
            continue;
        }
        if (at > x->end)
            note_damage(x, x->end, at);
        frame.offset = x->last_at = at;
        at += whole_blocks(frame_size(&frame));
        if (at > bytes.len) // we write whole blocks; a file that was cut is damage
            at = bytes.len;
        x->end = at;
        x->torn = false;
        if (*count == cap) {
            cap = cap ? cap * 2 : 64;
            frames = realloc(frames, cap * sizeof frames[0]);
            must(frames != NULL);
        }
        frames[(*count)++] = frame;
    }
    return frames;
}

static int by_number(const void *a, const void *b)
{
    const struct segment_frame *one = a, *other = b;
    if (one->number != other->number)
        return one->number < other->number ? -1 : 1;
    return one->offset < other->offset ? -1 : 1;
}

// Blocks that a disk or a person copied to a wrong place are whole frames too. So frames are taken
// in the order of their numbers, each number once.
void index_of_frames(struct segment_index *x, const struct segment *seg, struct str bytes)
{
    size_t count;
    struct segment_frame *frames = find_frames(x, seg, bytes, &count);
    if (count)
        qsort(frames, count, sizeof frames[0], by_number);
    for (size_t i = 0; i < count; i++) {
        if (frames[i].number > x->last_frame)
            take_frame(x, &frames[i]);
        else // what stood here?
            note_damage(x, frames[i].offset, frames[i].offset + frame_size(&frames[i]));
    }
    free(frames);
    must(buf_ok(&x->payload));
}

bool index_begins_with_abort(const struct segment_index *x)
{
    const struct segment_frame all = {.records = buf_str(&x->payload)};
    struct segment_record first;
    size_t at = 0;
    bool damaged;
    return segment_next_record(&all, &at, &first, &damaged) && first.kind == RECORD_ABORT;
}

// ---- the block

void index_put(struct buf *out, const struct segment_index *x, const struct segment *seg)
{
    static const char zeros[SEGMENT_BLOCK];
    struct str payload = buf_str(&x->payload);
    uint64_t padded = whole_blocks(payload.len);
    struct buf fields;
    buf_init(&fields, TRAILER_USED);
    buf_put_u32(&fields, INDEX_VERSION);
    buf_put_u64(&fields, seg->use);
    buf_put(&fields, str_from(seg->epoch, SEGMENT_EPOCH));
    buf_put_u64(&fields, seg->size - SEGMENT_BLOCK - padded);
    buf_put_u64(&fields, payload.len);
    buf_put_u32(&fields, crc32c(0, payload));
    buf_put_u32(&fields, x->records);
    buf_put_u64(&fields, x->first_frame);
    buf_put_u64(&fields, x->last_frame);
    buf_put_u64(&fields, x->end);
    must(fields.len == TRAILER_USED - TRAILER_CRC_FROM);
    buf_put(out, payload);
    buf_put(out, str_from(zeros, (size_t)padded - payload.len));
    buf_put(out, str_from(index_magic, sizeof index_magic));
    buf_put_u32(out, crc32c(0, buf_str(&fields)));
    buf_put(out, buf_str(&fields));
    buf_put(out, str_from(zeros, SEGMENT_BLOCK - TRAILER_USED));
    buf_finish(&fields);
}

enum index_found index_read_trailer(struct segment_index *x, const struct segment *seg,
                                    struct str block, struct index_payload *payload)
{
    must(block.len == SEGMENT_BLOCK);
    struct str in = str_skip(block, TRAILER_CRC);
    struct str checked = str_sub(block, TRAILER_CRC_FROM, TRAILER_USED - TRAILER_CRC_FROM);
    uint32_t crc = (uint32_t)str_take_le(&in, 4);
    uint64_t version = str_take_le(&in, 4), use = str_take_le(&in, 8);
    bool ours = memcmp(in.ptr, seg->epoch, SEGMENT_EPOCH) == 0;
    in = str_skip(in, SEGMENT_EPOCH);
    if (memcmp(block.ptr, index_magic, sizeof index_magic) != 0 || !ours)
        return INDEX_NONE;
    if (crc32c(0, checked) != crc)
        return INDEX_DAMAGED;
    if (version != INDEX_VERSION || use != seg->use)
        return INDEX_NONE;
    payload->offset = str_take_le(&in, 8);
    payload->length = str_take_le(&in, 8);
    payload->crc = (uint32_t)str_take_le(&in, 4);
    x->records = (uint32_t)str_take_le(&in, 4);
    x->first_frame = str_take_le(&in, 8);
    x->last_frame = str_take_le(&in, 8);
    x->end = str_take_le(&in, 8);
    uint64_t most = seg->size - SEGMENT_BLOCK;
    bool possible = payload->offset <= most && payload->length <= most - payload->offset &&
                    x->end >= SEGMENT_BLOCK && x->end <= payload->offset &&
                    x->first_frame <= x->last_frame;
    return possible ? INDEX_GOOD : INDEX_DAMAGED;
}

enum index_found index_check_payload(const struct segment_index *x,
                                     const struct index_payload *payload)
{
    bool whole =
        x->payload.len == payload->length && crc32c(0, buf_str(&x->payload)) == payload->crc;
    return whole ? INDEX_GOOD : INDEX_DAMAGED;
}

uint64_t index_room(const struct segment *seg, uint64_t payload)
{
    return payload > seg->size / 4 ? 0 : whole_blocks(payload) + SEGMENT_BLOCK;
}

// ---- files

bool index_load(const struct segment *seg, uint64_t from, uint64_t to, struct buf *out,
                struct err *err)
{
    buf_clear(out);
    char *room = buf_reserve(out, (size_t)(to - from));
    if (!room)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0),
                       "spool/log/%012" PRIu64 " is larger than any segment", seg->number);
    ssize_t n = os_pread_all(seg->fd, room, (size_t)(to - from), from);
    if (n < 0)
        return err_system(err, (int)n, "reading spool/log/%012" PRIu64, seg->number);
    buf_added(out, (size_t)n);
    return true;
}

static bool read_block(struct segment_index *x, const struct segment *seg, enum index_found *block,
                       struct err *err)
{
    struct index_payload payload;
    struct buf trailer;
    buf_init(&trailer, SEGMENT_BLOCK);
    *block = INDEX_NONE;
    bool ok = index_load(seg, seg->size - SEGMENT_BLOCK, seg->size, &trailer, err);
    if (ok && trailer.len == SEGMENT_BLOCK)
        *block = index_read_trailer(x, seg, buf_str(&trailer), &payload);
    buf_finish(&trailer);
    if (!ok || *block != INDEX_GOOD)
        return ok;
    if (!index_load(seg, payload.offset, payload.offset + payload.length, &x->payload, err))
        return false;
    *block = index_check_payload(x, &payload);
    return true;
}

bool index_read(struct segment_index *x, const struct segment *seg, uint64_t limit,
                enum index_found *block, struct err *err)
{
    struct buf bytes;
    *block = INDEX_NONE;
    if (limit == seg->size && seg->size > SEGMENT_BLOCK && !read_block(x, seg, block, err))
        return false;
    if (*block == INDEX_GOOD)
        return true;
    index_finish(x);
    buf_init(&bytes, segment_most);
    bool ok = index_load(seg, 0, limit, &bytes, err);
    if (ok)
        index_of_frames(x, seg, buf_str(&bytes));
    buf_finish(&bytes);
    return ok;
}

// ---- writing it

struct leave_job {
    struct os_job job;
    struct spool *spool;
    struct segment *segment;
    bool ok;
    struct err err;
};

static bool write_block(const struct segment *seg, const struct segment_index *x, struct err *err)
{
    struct buf block;
    if (x->end != seg->end || x->damage_count)
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0),
                       "spool/log/%012" PRIu64 " does not read as it was written", seg->number);
    buf_init(&block, seg->size);
    index_put(&block, x, seg);
    must(buf_ok(&block) && block.len <= seg->size - seg->end); // room was kept: seal
    int rc = os_pwrite_all(seg->fd, buf_str(&block), seg->size - block.len);
    if (rc == 0)
        rc = os_fdatasync(seg->fd);
    buf_finish(&block);
    return rc == 0 || err_system(err, rc, "the index of spool/log/%012" PRIu64, seg->number);
}

static void leave_work(struct os_job *job)
{
    struct leave_job *leave = CONTAINER_OF(job, struct leave_job, job);
    const struct segment *seg = leave->segment;
    struct segment_index x;
    struct buf bytes;
    index_init(&x);
    buf_init(&bytes, segment_most);
    leave->ok = index_load(seg, 0, seg->end, &bytes, &leave->err);
    if (leave->ok) {
        index_of_frames(&x, seg, buf_str(&bytes));
        leave->ok = write_block(seg, &x, &leave->err);
    }
    buf_finish(&bytes);
    index_finish(&x);
}

static void leave_done(struct os_job *job)
{
    struct leave_job *leave = CONTAINER_OF(job, struct leave_job, job);
    struct spool *s = leave->spool;
    if (!leave->ok)
        log_line(LOG_WARNING, "%s: the next start reads the segment whole", leave->err.text);
    leave->segment->readers--;
    s->leaving--;
    free(leave);
    compact(s); // that segment may be the one that goes next
}

void index_leave(struct spool *s, struct segment *seg)
{
    uint64_t room = index_room(seg, seg->index_size);
    if (seg->suspect || room == 0 || room > seg->size - seg->end) // filled before indexes were kept
        return;
    struct leave_job *leave = calloc(1, sizeof *leave);
    must(leave != NULL);
    *leave = (struct leave_job){
        .job = {.work = leave_work, .done = leave_done}, .spool = s, .segment = seg};
    seg->readers++; // not used again meanwhile
    s->leaving++;
    os_workers_submit(s->helpers, &leave->job);
}
