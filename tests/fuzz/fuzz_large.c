// The input is the file of a large body; its first two octets say how long the record calls the
// body, the third whether the record's CRC is that of the table that stands there. What is read is
// the body, piece by piece, each with its CRC, or an error that says damage.
#include "store/large.h"

#include "base/crc32c.h"
#include "os/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t crc_of_table(struct str file, uint64_t size)
{
    size_t pieces = (size_t)(size / LARGE_PIECE + (size % LARGE_PIECE != 0));
    return crc32c(0, str_sub(file, (size_t)size, 4 * pieces));
}

static void read_twice(struct large_reader *r, struct str file)
{
    for (int round = 0; round < 2; round++) {
        struct err err = {.class = ERR_NONE};
        struct str piece;
        uint64_t at = 0;
        bool ok;
        while ((ok = large_reader_next(r, &piece, &err)) && piece.len) {
            must(piece.len <= LARGE_PIECE && at + piece.len <= r->size);
            must(str_eq(piece, str_sub(file, (size_t)at, piece.len)));
            struct str entry = str_skip(file, (size_t)(r->size + at / LARGE_PIECE * 4));
            must(crc32c(0, piece) == str_take_le(&entry, 4));
            must(piece.len == LARGE_PIECE || at + piece.len == r->size);
            at += piece.len;
        }
        must(ok ? at == r->size : err.class == ERR_OUR_BUG);
        large_reader_again(r);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct large_reader r;
    struct err err = {.class = ERR_NONE};
    if (size < 3)
        return 0;
    // Up to 8 MiB: more pieces than one, from a small input.
    uint64_t claimed = ((uint64_t)data[0] << 8 | data[1]) * (data[2] & 2 ? 128 : 1);
    struct str file = str_from(data + 3, size - 3);
    bool honest = (data[2] & 1) == 0;
    int fd = os_memfd("body");
    must(fd >= 0 && os_write_all(fd, file) == 0);
    uint32_t crc = honest ? crc_of_table(file, claimed) : 0x12345678;
    if (large_reader_init(&r, fd, claimed, crc, &err)) {
        read_twice(&r, file);
        large_reader_finish(&r);
    } else {
        must(err.class == ERR_OUR_BUG);
    }
    must(!large_reader_init(&r, fd, UINT64_MAX - claimed, crc, &err));
    os_close(&fd);
    return 0;
}
