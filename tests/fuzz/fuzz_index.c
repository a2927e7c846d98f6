// Index blocks. The input says what is in a trailer and in the payload; the trailer's CRCs are made
// to fit, or not. What is read of it is obeyed as at a start: the books must agree, no letter may
// lie outside its segment. And an index that is put reads as it was.
#include "base/crc32c.h"
#include "store/spool_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEGMENT = 64 * 1024, TRAILER_USED = 88, CRC_AT = 8, CRC_FROM = 12, PAYLOAD_CRC_AT = 56 };

static void set_le32(char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (char)(unsigned char)(v >> (8 * i));
}

static uint64_t get_le64(const char *p)
{
    struct str in = str_from(p, 8);
    return str_take_le(&in, 8);
}

static void obey(struct segment *seg, const struct segment_index *x)
{
    struct spool *s = spool_new(-1);
    struct recovery r = {.spool = s};
    size_t at = 0, all = 0;
    uint64_t live = 0;
    list_append(&s->segments, &seg->link);
    while (recover_obey(&r, seg, x, &at, 7))
        continue;
    LIST_EACH(&seg->letters, l, after)
    {
        const struct spool_letter *letter = CONTAINER_OF(l, struct spool_letter, link);
        uint64_t end = (uint64_t)letter->offset + LETTER_FIXED + letter->envelope_size;
        must((letter->large ? end : end + letter->body_size) <= SEGMENT);
        must(letter->recipient_count > 0 && letter->pending <= letter->recipient_count);
        live += letter->pending > 0;
        all++;
    }
    must(live == s->live_letters && live == seg->live && all == s->letters.count);
    list_remove(&seg->link);
    spool_close(&s);
}

// What was read, put and read again.
static void put_again(const struct segment *seg, const struct segment_index *x)
{
    struct segment_index again;
    struct index_payload payload;
    struct buf block;
    buf_init(&block, 2 * SEGMENT);
    index_init(&again);
    index_put(&block, x, seg);
    must(buf_ok(&block) && block.len % SEGMENT_BLOCK == 0);
    struct str trailer = str_skip(buf_str(&block), block.len - SEGMENT_BLOCK);
    if (block.len + x->end <= seg->size) {
        must(index_read_trailer(&again, seg, trailer, &payload) == INDEX_GOOD);
        must(payload.offset == seg->size - block.len && payload.length == x->payload.len);
        buf_put(&again.payload, str_sub(buf_str(&block), 0, payload.length));
        must(index_check_payload(&again, &payload) == INDEX_GOOD);
        must(again.records == x->records && again.first_frame == x->first_frame &&
             again.last_frame == x->last_frame && again.end == x->end);
    }
    index_finish(&again);
    buf_finish(&block);
}

// Input: a byte of flags, the trailer's first 88 octets, then the payload.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct segment seg = {.number = 1, .use = 1, .size = SEGMENT, .fd = -1};
    struct segment_index x;
    struct index_payload payload = {.length = 0};
    char block[SEGMENT_BLOCK] = {0};
    if (size < 1 + TRAILER_USED)
        return 0;
    struct str bytes = str_from(data + 1 + TRAILER_USED, size - 1 - TRAILER_USED);
    memcpy(block, data + 1, TRAILER_USED);
    list_init(&seg.letters);
    index_init(&x);
    if (data[0] & 1)
        set_le32(block + PAYLOAD_CRC_AT, crc32c(0, str_sub(bytes, 0, get_le64(block + 48))));
    if (data[0] & 2)
        set_le32(block + CRC_AT, crc32c(0, str_from(block + CRC_FROM, TRAILER_USED - CRC_FROM)));
    enum index_found found = index_read_trailer(&x, &seg, str_from(block, sizeof block), &payload);
    if (found == INDEX_GOOD) {
        must(payload.offset + payload.length <= SEGMENT - SEGMENT_BLOCK);
        must(x.end >= SEGMENT_BLOCK && x.end <= payload.offset);
        buf_put(&x.payload, str_sub(bytes, 0, payload.length));
        found = index_check_payload(&x, &payload);
    }
    if (found == INDEX_GOOD) {
        (void)index_begins_with_abort(&x);
        obey(&seg, &x);
        put_again(&seg, &x);
    }
    index_finish(&x);
    return 0;
}
