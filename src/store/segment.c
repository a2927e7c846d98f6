#include "store/segment.h"

#include <fcntl.h>

#include "base/crc32c.h"
#include "os/fault.h"
#include "os/file.h"

static const char segment_magic[8] = {'P', 'H', 'S', 'E', 'G', '0', '0', '1'};

enum {
    SEGMENT_VERSION = 1,
    FRAME_MAGIC = 0x4d415246, // "FRAM"
    HEADER_USED = 48,
    ZERO_PIECE = 1024 * 1024,
};

static uint64_t get_le(const char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = n; i > 0; i--)
        v = v << 8 | (unsigned char)p[i - 1];
    return v;
}

static void set_le(char *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(unsigned char)(v >> (8 * i));
}

void segment_name(char name[24], uint64_t number)
{
    snprintf(name, 24, "%012llu", (unsigned long long)number);
}

void segment_read_header(const char block[SEGMENT_BLOCK], struct segment *s)
{
    static const char zeros[HEADER_USED];
    s->use = 0;
    s->blank = memcmp(block, zeros, sizeof zeros) == 0;
    if (memcmp(block, segment_magic, sizeof segment_magic) != 0 ||
        crc32c(0, str_from(block + 12, HEADER_USED - 12)) != get_le(block + 8, 4) ||
        get_le(block + 12, 4) != SEGMENT_VERSION)
        return;
    s->cut = get_le(block + 24, 8) > s->size; // what is left of it is read all the same
    s->use = get_le(block + 16, 8);
    memcpy(s->epoch, block + 32, SEGMENT_EPOCH);
}

bool segment_open(int log_dir, uint64_t number, struct segment *s, struct err *err)
{
    char name[24], block[SEGMENT_BLOCK] = {0};
    struct stat st;
    segment_name(name, number);
    *s = (struct segment){.number = number, .fd = os_open(log_dir, name, O_RDWR | O_NOFOLLOW, 0)};
    list_init(&s->letters);
    if (s->fd < 0)
        return err_system(err, s->fd, "spool/log/%s", name);
    int rc = os_fstat(s->fd, &st);
    ssize_t n = rc < 0 ? rc : os_pread_all(s->fd, block, sizeof block, 0);
    if (n < 0) {
        os_close(&s->fd);
        return err_system(err, (int)n, "spool/log/%s", name);
    }
    s->size = (uint64_t)st.st_size & ~(uint64_t)(SEGMENT_BLOCK - 1);
    s->end = SEGMENT_BLOCK;
    segment_read_header(block, s);
    return true;
}

bool segment_create(int log_dir, struct segment *s, struct err *err)
{
    char name[24];
    segment_name(name, s->number);
    int fd = os_open(log_dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_system(err, fd, "spool/log/%s", name);
    char *zeros = calloc(1, ZERO_PIECE);
    must(zeros != NULL);
    int rc = 0;
    for (uint64_t at = 0; at < s->size && rc == 0; at += ZERO_PIECE) {
        uint64_t piece = s->size - at < ZERO_PIECE ? s->size - at : ZERO_PIECE;
        rc = os_pwrite_all(fd, str_from(zeros, (size_t)piece), at);
    }
    free(zeros);
    if (rc == 0)
        rc = os_fsync(fd);
    if (rc == 0 && !fault_bites(BITE_log_directory))
        rc = os_fsync(log_dir);
    if (rc < 0) {
        os_close(&fd);
        int ignored = os_unlink(log_dir, name); // best effort: an unused file does no harm
        (void)ignored;
        return err_system(err, rc, "making spool/log/%s", name);
    }
    s->fd = fd;
    return true;
}

void segment_put_header(char block[SEGMENT_BLOCK], const struct segment *s)
{
    memset(block, 0, SEGMENT_BLOCK);
    memcpy(block, segment_magic, sizeof segment_magic);
    set_le(block + 12, SEGMENT_VERSION, 4);
    set_le(block + 16, s->use, 8);
    set_le(block + 24, s->size, 8);
    memcpy(block + 32, s->epoch, SEGMENT_EPOCH);
    set_le(block + 8, crc32c(0, str_from(block + 12, HEADER_USED - 12)), 4);
}

bool segment_begin(struct segment *s, struct err *err)
{
    char block[SEGMENT_BLOCK];
    segment_put_header(block, s);
    int rc = os_pwrite_all(s->fd, str_from(block, sizeof block), 0);
    if (rc == 0)
        rc = os_fdatasync(s->fd);
    if (rc < 0)
        return err_system(err, rc, "the header of spool/log/%012llu",
                          (unsigned long long)s->number);
    return true;
}

void segment_seal_frame(struct buf *frame, const struct segment *s, uint64_t number,
                        uint32_t records)
{
    must(frame->len >= SEGMENT_FRAME_HEADER && buf_ok(frame));
    char *h = frame->ptr;
    set_le(h + 4, FRAME_MAGIC, 4);
    memcpy(h + 8, s->epoch, SEGMENT_EPOCH);
    set_le(h + 24, number, 8);
    set_le(h + 32, frame->len - SEGMENT_FRAME_HEADER, 4);
    set_le(h + 36, records, 4);
    set_le(h, crc32c(0, str_from(h + 4, frame->len - 4)), 4);
    size_t pad = (SEGMENT_BLOCK - frame->len % SEGMENT_BLOCK) % SEGMENT_BLOCK;
    char *to = buf_reserve(frame, pad);
    must(to != NULL);
    memset(to, 0, pad);
    buf_added(frame, pad);
}

void segment_put_record(struct buf *out, uint8_t kind, uint8_t flags, struct str data)
{
    must(data.len <= UINT32_MAX);
    buf_put_byte(out, (char)kind);
    buf_put_byte(out, (char)flags);
    buf_put_u16(out, 0);
    buf_put_u32(out, (uint32_t)data.len);
    buf_put(out, data);
}

enum segment_found segment_parse(struct str bytes, const uint8_t epoch[SEGMENT_EPOCH],
                                 struct segment_frame *frame)
{
    const char *h = bytes.ptr;
    if (bytes.len < SEGMENT_FRAME_HEADER || get_le(h + 4, 4) != FRAME_MAGIC ||
        memcmp(h + 8, epoch, SEGMENT_EPOCH) != 0)
        return SEGMENT_NOTHING;
    uint64_t len = get_le(h + 32, 4);
    if (len > bytes.len - SEGMENT_FRAME_HEADER)
        return SEGMENT_DAMAGED;
    if (crc32c(0, str_sub(bytes, 4, SEGMENT_FRAME_HEADER - 4 + (size_t)len)) != get_le(h, 4) &&
        !fault_bites(BITE_frame_crc))
        return SEGMENT_DAMAGED;
    frame->number = get_le(h + 24, 8);
    frame->records = str_sub(bytes, SEGMENT_FRAME_HEADER, (size_t)len);
    frame->record_count = (uint32_t)get_le(h + 36, 4);
    return SEGMENT_FRAME;
}

bool segment_next_record(const struct segment_frame *frame, size_t *at,
                         struct segment_record *record, bool *damaged)
{
    struct str rest = str_skip(frame->records, *at);
    *damaged = false;
    if (rest.len == 0)
        return false;
    if (rest.len < SEGMENT_RECORD_HEADER) {
        *damaged = true;
        return false;
    }
    uint64_t len = get_le(rest.ptr + 4, 4);
    if (len > rest.len - SEGMENT_RECORD_HEADER) {
        *damaged = true;
        return false;
    }
    record->kind = (uint8_t)rest.ptr[0];
    record->flags = (uint8_t)rest.ptr[1];
    record->offset = *at + SEGMENT_RECORD_HEADER;
    record->data = str_sub(rest, SEGMENT_RECORD_HEADER, (size_t)len);
    *at = record->offset + (size_t)len;
    return true;
}
