// A log that is written by a script, which is a fuzzer's input: it puts records into frames, ends
// frames, begins segments, and at last strikes octets.
#ifndef TESTS_FUZZ_LOG_SCRIPT_H
#define TESTS_FUZZ_LOG_SCRIPT_H

#include "base/crc32c.h"
#include "store/spool_private.h"

enum { SEGMENTS = 4, SEGMENT = 64 * 1024, RECORD_MOST = 2000 };

struct log {
    struct segment segments[SEGMENTS];
    char *bytes[SEGMENTS];
    size_t count;
    uint64_t frames;
    uint32_t records;
    struct buf frame;
};

static inline unsigned take_byte(struct str *in)
{
    unsigned byte = in->len ? (unsigned char)in->ptr[0] : 0;
    *in = str_skip(*in, 1);
    return byte;
}

static inline struct str take(struct str *in, size_t len)
{
    struct str part = str_sub(*in, 0, len);
    *in = str_skip(*in, part.len);
    return part;
}

static inline void begin_segment(struct log *log)
{
    struct segment *seg = &log->segments[log->count];
    *seg = (struct segment){.number = log->count + 1, .use = log->count + 1, .size = SEGMENT};
    seg->epoch[0] = (uint8_t)log->count;
    seg->end = SEGMENT_BLOCK;
    seg->fd = -1;
    list_init(&seg->letters);
    log->bytes[log->count] = calloc(1, SEGMENT);
    must(log->bytes[log->count] != NULL);
    segment_put_header(log->bytes[log->count], seg);
    log->count++;
}

static inline void begin_frame(struct log *log)
{
    static const char room[SEGMENT_FRAME_HEADER];
    buf_clear(&log->frame);
    buf_put(&log->frame, str_from(room, sizeof room));
    log->records = 0;
}

static inline void end_frame(struct log *log)
{
    struct segment *seg = &log->segments[log->count - 1];
    if (log->records == 0)
        return;
    segment_seal_frame(&log->frame, seg, log->frames + 1, log->records);
    if (log->frame.len <= seg->size - seg->end) {
        memcpy(log->bytes[log->count - 1] + seg->end, log->frame.ptr, log->frame.len);
        seg->end += log->frame.len;
        log->frames++;
    }
    begin_frame(log);
}

// A letter that is well made, if it has recipients: few ids, so that states and aborts find them.
static inline void put_letter(struct log *log, struct str *script)
{
    static const struct address to[4] = {{.kind = ADDRESS_POSTMASTER},
                                         {.kind = ADDRESS_POSTMASTER},
                                         {.kind = ADDRESS_POSTMASTER},
                                         {.kind = ADDRESS_POSTMASTER}};
    struct envelope e = {.id = {.bytes = {(uint8_t)(take_byte(script) % 8)}},
                         .recipients = to,
                         .recipient_count = take_byte(script) % 5};
    struct buf data, envelope, body;
    buf_init(&data, 4096);
    buf_init(&envelope, 1024);
    buf_init(&body, 1024);
    e.flags = take_byte(script) % 2;
    if (e.recipient_count)
        envelope_put(&envelope, &e);
    for (unsigned size = take_byte(script); body.len < size;)
        buf_put_byte(&body, 'x');
    buf_put(&data, str_from(e.id.bytes, sizeof e.id.bytes));
    buf_put_u32(&data, (uint32_t)envelope.len);
    buf_put_u32(&data, crc32c(0, buf_str(&envelope)));
    buf_put_u64(&data, body.len);
    buf_put_u32(&data, crc32c(0, buf_str(&body)));
    buf_put_u32(&data, 0);
    buf_put_u32(&data, e.recipient_count);
    buf_put(&data, buf_str(&envelope));
    buf_put(&data, buf_str(&body));
    segment_put_record(&log->frame, RECORD_LETTER, 0, buf_str(&data));
    buf_finish(&data);
    buf_finish(&envelope);
    buf_finish(&body);
}

static inline void put_state(struct log *log, struct str *script)
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

static inline void put_abort(struct log *log, struct str *script)
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

static inline void write_log(struct log *log, struct str *script)
{
    begin_segment(log);
    begin_frame(log);
    while (script->len) {
        unsigned what = take_byte(script);
        if (what == 0xff)
            break;
        log->records += what % 8 < 6;
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

static inline void log_write(struct log *log, struct str *script)
{
    *log = (struct log){.count = 0};
    buf_init(&log->frame, 4 * SEGMENT);
    write_log(log, script);
}

static inline void strike(struct log *log, struct str script)
{
    while (script.len >= 4) {
        size_t segment = take_byte(&script) % log->count;
        size_t at = (take_byte(&script) << 8 | take_byte(&script)) % SEGMENT;
        log->bytes[segment][at] = (char)(log->bytes[segment][at] ^ (int)take_byte(&script));
    }
}

static inline void log_free(struct log *log)
{
    for (size_t i = 0; i < log->count; i++)
        free(log->bytes[i]);
    buf_finish(&log->frame);
}

static inline void log_link(struct log *log, struct spool *s)
{
    for (size_t i = 0; i < log->count; i++)
        list_append(&s->segments, &log->segments[i].link);
}

// The segments are not the spool's to free.
static inline void log_close(struct spool **s)
{
    while (!list_empty(&(*s)->segments))
        list_remove((*s)->segments.next);
    spool_close(s);
}

#endif
