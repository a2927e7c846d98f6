// Recovery of segments in memory. The input is a script that puts records into frames, ends frames,
// and begins segments; then it strikes octets. All is obeyed as at a start, and the books must
// agree: each counter says what the letters say. The same log once more changes nothing.
#include "store/spool_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEGMENTS = 4, SEGMENT = 64 * 1024, RECORD_MOST = 2000 };

struct log {
    struct segment segments[SEGMENTS];
    char *bytes[SEGMENTS];
    size_t count;
    uint64_t frames;
    uint32_t records;
    struct buf frame;
};

static unsigned take_byte(struct str *in)
{
    unsigned byte = in->len ? (unsigned char)in->ptr[0] : 0;
    *in = str_skip(*in, 1);
    return byte;
}

static struct str take(struct str *in, size_t len)
{
    struct str part = str_sub(*in, 0, len);
    *in = str_skip(*in, part.len);
    return part;
}

static void begin_segment(struct log *log)
{
    struct segment *seg = &log->segments[log->count];
    *seg = (struct segment){.number = log->count + 1, .use = log->count + 1, .size = SEGMENT};
    seg->epoch[0] = (uint8_t)log->count;
    seg->end = SEGMENT_BLOCK;
    seg->fd = -1;
    list_init(&seg->letters);
    log->bytes[log->count] = calloc(1, SEGMENT);
    must(log->bytes[log->count] != NULL);
    log->count++;
}

static void begin_frame(struct log *log)
{
    static const char room[SEGMENT_FRAME_HEADER];
    buf_clear(&log->frame);
    buf_put(&log->frame, str_from(room, sizeof room));
    log->records = 0;
}

static void end_frame(struct log *log)
{
    struct segment *seg = &log->segments[log->count - 1];
    segment_seal_frame(&log->frame, seg, log->frames + 1, log->records);
    if (log->frame.len <= seg->size - seg->end) {
        memcpy(log->bytes[log->count - 1] + seg->end, log->frame.ptr, log->frame.len);
        seg->end += log->frame.len;
        log->frames++;
    }
    begin_frame(log);
}

// A letter that is well made: few ids, so that states and aborts find them.
static void put_letter(struct log *log, struct str *script)
{
    struct buf data;
    unsigned id = take_byte(script) % 8, recipients = take_byte(script) % 5;
    unsigned envelope = recipients + take_byte(script) % 16, body = take_byte(script);
    static const char zeros[512];
    char bytes[16] = {(char)id};
    buf_init(&data, 4096);
    buf_put(&data, str_from(bytes, sizeof bytes));
    buf_put_u32(&data, envelope);
    buf_put_u32(&data, 0);
    buf_put_u64(&data, body);
    buf_put_u32(&data, 0);
    buf_put_u32(&data, 0);
    buf_put_u32(&data, recipients);
    buf_put(&data, str_from(zeros, envelope + body));
    segment_put_record(&log->frame, RECORD_LETTER, 0, buf_str(&data));
    buf_finish(&data);
}

static void put_state(struct log *log, struct str *script)
{
    struct buf data;
    char bytes[16] = {(char)(take_byte(script) % 8)};
    buf_init(&data, 256);
    buf_put(&data, str_from(bytes, sizeof bytes));
    buf_put_u32(&data, take_byte(script) % 6);
    buf_put_byte(&data, (char)(take_byte(script) % 6));
    buf_put_u16(&data, 1);
    buf_put_u32(&data, 7);
    buf_put(&data, take(script, take_byte(script) % 4));
    segment_put_record(&log->frame, RECORD_STATE, 0, buf_str(&data));
    buf_finish(&data);
}

static void put_abort(struct log *log, struct str *script)
{
    struct buf data;
    unsigned number = take_byte(script) % (SEGMENTS + 1);
    buf_init(&data, 64);
    buf_put_u64(&data, number);
    buf_put_u64(&data, number + (take_byte(script) > 250));
    buf_put_u64(&data, (uint64_t)take_byte(script) * 1024);
    segment_put_record(&log->frame, RECORD_ABORT, 0, buf_str(&data));
    buf_finish(&data);
}

static void write_log(struct log *log, struct str *script)
{
    begin_segment(log);
    begin_frame(log);
    while (script->len) {
        unsigned what = take_byte(script);
        if (what == 0xff)
            break;
        log->records++;
        switch (what % 8) {
        case 0:
        case 1:
            put_letter(log, script);
            break;
        case 2:
        case 3:
            put_state(log, script);
            break;
        case 4:
            put_abort(log, script);
            break;
        case 5: // whatever it is
            segment_put_record(&log->frame, (uint8_t)(take_byte(script) % 5),
                               (uint8_t)take_byte(script), take(script, take_byte(script)));
            break;
        case 6:
            end_frame(log);
            break;
        default:
            end_frame(log);
            if (log->count < SEGMENTS)
                begin_segment(log);
        }
        if (log->frame.len > SEGMENT / 2)
            end_frame(log);
    }
    end_frame(log);
}

static void strike(struct log *log, struct str script)
{
    while (script.len >= 4) {
        size_t segment = take_byte(&script) % log->count;
        size_t at = (take_byte(&script) << 8 | take_byte(&script)) % SEGMENT;
        log->bytes[segment][at] = (char)(log->bytes[segment][at] ^ (int)take_byte(&script));
    }
}

static void check_damage(const struct segment_index *x)
{
    for (size_t i = 0; i < x->damage_count; i++) {
        must(x->damage[i].from >= SEGMENT_BLOCK && x->damage[i].from < x->damage[i].to);
        must(x->damage[i].to <= SEGMENT);
    }
    must(x->end >= SEGMENT_BLOCK && x->end <= SEGMENT);
}

static void check_books(struct spool *s, const struct log *log)
{
    uint64_t letters = 0, recipients = 0;
    size_t all = 0;
    for (size_t i = 0; i < log->count; i++) {
        const struct segment *seg = &log->segments[i];
        uint32_t live = 0;
        LIST_EACH(&seg->letters, at, after)
        {
            const struct spool_letter *l = CONTAINER_OF(at, struct spool_letter, link);
            uint32_t pending = 0;
            for (uint32_t k = 0; k < l->recipient_count; k++)
                pending += l->recipients[k].state < SPOOL_DELIVERED;
            must(pending == l->pending && l->segment == seg && l->recipient_count > 0);
            must(spool_find(s, &l->id) == l);
            must((uint64_t)l->offset + l->envelope_size <= SEGMENT);
            live += pending > 0;
            recipients += pending;
            all++;
        }
        must(seg->live == live);
        letters += live;
    }
    must(letters == s->live_letters && recipients == s->live_recipients);
    must(all == s->letters.count);
}

static void recover(struct spool *s, struct log *log)
{
    struct recovery r = {.spool = s};
    for (size_t i = 0; i < log->count; i++) {
        struct segment *seg = &log->segments[i];
        struct segment_index x;
        size_t at = 0;
        index_init(&x);
        index_of_frames(&x, seg, str_from(log->bytes[i], SEGMENT));
        check_damage(&x);
        while (recover_obey(&r, seg, &x, &at, 3))
            check_books(s, log);
        check_books(s, log);
        index_finish(&x);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct log log = {.count = 0};
    struct spool *s = spool_new(-1);
    struct str script = str_from(data, size);
    buf_init(&log.frame, 4 * SEGMENT);
    write_log(&log, &script);
    strike(&log, script);
    for (size_t i = 0; i < log.count; i++)
        list_append(&s->segments, &log.segments[i].link);
    recover(s, &log);
    while (!list_empty(&s->segments)) // they are not the spool's to free
        list_remove(s->segments.next);
    spool_close(&s);
    for (size_t i = 0; i < log.count; i++)
        free(log.bytes[i]);
    buf_finish(&log.frame);
    return 0;
}
