// The input is a segment: its frames are found in order, lie within it, hold records that lie
// within them, and are those that were sealed. A frame that is sealed here from the same octets is
// found whole, wherever it stands, and is nothing under any other epoch.
#include "store/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t epoch[SEGMENT_EPOCH] = {'e', 'p', 'o', 'c', 'h'};

static void walk(struct str bytes)
{
    struct segment_frame frame;
    for (size_t at = 0; at < bytes.len;) {
        if (segment_parse(str_skip(bytes, at), epoch, &frame) != SEGMENT_FRAME) {
            at += SEGMENT_BLOCK;
            continue;
        }
        must(frame.records.ptr == bytes.ptr + at + SEGMENT_FRAME_HEADER);
        must(frame.records.len <= bytes.len - at - SEGMENT_FRAME_HEADER);
        struct segment_record record;
        size_t in_frame = 0, end = 0;
        bool damaged;
        while (segment_next_record(&frame, &in_frame, &record, &damaged)) {
            must(record.offset == end + SEGMENT_RECORD_HEADER);
            must(record.data.ptr == frame.records.ptr + record.offset);
            end = record.offset + record.data.len;
            must(end == in_frame && end <= frame.records.len);
        }
        must(damaged || end == frame.records.len);
        at += (SEGMENT_FRAME_HEADER + frame.records.len + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK *
              SEGMENT_BLOCK;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char room[SEGMENT_FRAME_HEADER];
    struct segment s = {.number = 1};
    struct segment_frame frame;
    struct buf sealed;
    struct str bytes = str_from(data, size);
    walk(bytes);
    memcpy(s.epoch, epoch, SEGMENT_EPOCH);
    buf_init(&sealed, size + 2 * SEGMENT_BLOCK);
    buf_put(&sealed, str_from(room, sizeof room));
    buf_put(&sealed, bytes);
    segment_seal_frame(&sealed, &s, size, 1);
    must(sealed.len % SEGMENT_BLOCK == 0);
    must(segment_parse(buf_str(&sealed), epoch, &frame) == SEGMENT_FRAME);
    must(frame.number == size && str_eq(str_sub(frame.records, 0, size), bytes));
    walk(buf_str(&sealed));
    if (size) { // one octet is another: it is seen
        size_t at = SEGMENT_FRAME_HEADER + data[0] % size;
        sealed.ptr[at] = (char)(sealed.ptr[at] ^ (data[size - 1] | 1));
        must(segment_parse(buf_str(&sealed), epoch, &frame) == SEGMENT_DAMAGED);
    }
    s.epoch[size % SEGMENT_EPOCH] ^= 0x80;
    must(segment_parse(buf_str(&sealed), s.epoch, &frame) == SEGMENT_NOTHING);
    buf_finish(&sealed);
    return 0;
}
