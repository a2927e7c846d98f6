#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "os/file.h"
#include "store/segment.h"

static const uint8_t epoch[SEGMENT_EPOCH] = {0xa5, 1, 2,  3,  4,  5,  6,  7,
                                             8,    9, 10, 11, 12, 13, 14, 15};

static struct segment of_epoch(const uint8_t bytes[SEGMENT_EPOCH])
{
    struct segment s = {.number = 1};
    memcpy(s.epoch, bytes, SEGMENT_EPOCH);
    return s;
}

static void begin(struct buf *frame)
{
    static const char room[SEGMENT_FRAME_HEADER];
    buf_init(frame, 1 << 20);
    buf_put(frame, str_from(room, sizeof(room)));
}

// ---- frames

static void a_frame_reads_as_it_was_put(void **state)
{
    static const size_t sizes[] = {0, 1, 4048, 4049, 4096, 70000};
    struct segment s = of_epoch(epoch);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct buf frame;
        struct segment_frame found;
        struct segment_record record;
        size_t at = 0;
        bool damaged;
        char *data = malloc(sizes[i] + 1);
        assert_non_null(data);
        memset(data, 0x5a, sizes[i] + 1);
        begin(&frame);
        segment_put_record(&frame, 7, 3, str_from(data, sizes[i]));
        segment_put_record(&frame, 8, 0, STR("\xe5\xb0\xbe"));
        size_t used = frame.len;
        segment_seal_frame(&frame, &s, 0x1122334455667788, 2);
        assert_int_equal(frame.len % SEGMENT_BLOCK, 0);
        assert_true(frame.len - used < SEGMENT_BLOCK);
        assert_int_equal(segment_parse(buf_str(&frame), epoch, &found), SEGMENT_FRAME);
        assert_int_equal(found.number, 0x1122334455667788);
        assert_int_equal(found.record_count, 2);
        assert_true(segment_next_record(&found, &at, &record, &damaged));
        assert_int_equal(record.kind, 7);
        assert_int_equal(record.flags, 3);
        assert_int_equal(record.offset, SEGMENT_RECORD_HEADER);
        assert_true(str_eq(record.data, str_from(data, sizes[i])));
        assert_true(segment_next_record(&found, &at, &record, &damaged));
        assert_true(str_eq(record.data, STR("\xe5\xb0\xbe")));
        assert_false(segment_next_record(&found, &at, &record, &damaged));
        assert_false(damaged);
        buf_finish(&frame);
        free(data);
    }
}

static void another_epoch_is_nothing(void **state)
{
    struct segment s = of_epoch(epoch);
    struct buf frame;
    struct segment_frame found;
    (void)state;
    begin(&frame);
    segment_put_record(&frame, 1, 0, STR("letter"));
    segment_seal_frame(&frame, &s, 1, 1);
    for (size_t i = 0; i < SEGMENT_EPOCH; i++) {
        uint8_t other[SEGMENT_EPOCH];
        memcpy(other, epoch, sizeof(other));
        other[i] ^= 1;
        assert_int_equal(segment_parse(buf_str(&frame), other, &found), SEGMENT_NOTHING);
    }
    buf_finish(&frame);
}

static void every_flipped_bit_is_seen(void **state)
{
    struct segment s = of_epoch(epoch);
    struct buf frame;
    struct segment_frame found;
    (void)state;
    begin(&frame);
    segment_put_record(&frame, 1, 0, STR("\xe4\xbf\xa1"));
    size_t used = frame.len;
    segment_seal_frame(&frame, &s, 1, 1);
    for (size_t bit = 0; bit < used * 8; bit++) {
        size_t at = bit / 8;
        frame.ptr[at] = (char)(frame.ptr[at] ^ (1 << bit % 8));
        bool hidden = at >= 4 && at < 24; // magic and epoch: it does not look like a frame
        assert_int_equal(segment_parse(buf_str(&frame), epoch, &found),
                         hidden ? SEGMENT_NOTHING : SEGMENT_DAMAGED);
        frame.ptr[at] = (char)(frame.ptr[at] ^ (1 << bit % 8));
    }
    for (size_t cut = 0; cut < used; cut++)
        assert_int_equal(segment_parse(str_sub(buf_str(&frame), 0, cut), epoch, &found),
                         cut < SEGMENT_FRAME_HEADER ? SEGMENT_NOTHING : SEGMENT_DAMAGED);
    buf_finish(&frame);
}

static void records_that_do_not_fit_are_damage(void **state)
{
    static const struct {
        const char *bytes;
        size_t len, whole; // records before the damage
        bool damaged;
    } rows[] = {
        {"", 0, 0, false},
        {"\1\0\0\0\0\0\0", 7, 0, true},
        {"\1\0\0\0\0\0\0\0", 8, 1, false},
        {"\1\0\0\0\1\0\0\0", 8, 0, true},
        {"\1\0\0\0\1\0\0\0x", 9, 1, false},
        {"\1\0\0\0\1\0\0\0xy", 10, 1, true},
        {"\1\0\0\0\xff\xff\xff\xffx", 9, 0, true},
        {"\1\0\0\0\0\0\0\0\2\0\0\0\2\0\0\0x", 17, 1, true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct segment_frame frame = {.records = str_from(rows[i].bytes, rows[i].len)};
        struct segment_record record;
        size_t at = 0, n = 0;
        bool damaged;
        while (segment_next_record(&frame, &at, &record, &damaged))
            n++;
        assert_int_equal(n, rows[i].whole);
        assert_int_equal(damaged, rows[i].damaged);
    }
}

// ---- files

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

static void a_file_keeps_its_header(void **state)
{
    char path[] = "/tmp/posthouse-segment-XXXXXX", byte;
    struct err err;
    struct segment s = of_epoch(epoch), again;
    (void)state;
    assert_non_null(mkdtemp(path));
    int dir = os_open_directory(OS_HERE, path);
    s.number = 123456789012;
    s.size = 3 * 1024 * 1024 + 8192;
    assert_true(segment_create(dir, &s, &err));
    assert_false(segment_create(dir, &s, &err)); // nothing is replaced
    assert_int_equal(err.code, EEXIST);
    assert_true(segment_open(dir, s.number, &again, &err));
    assert_true(again.blank);
    assert_int_equal(again.use, 0);
    assert_int_equal(again.size, s.size);
    os_close(&again.fd);
    s.use = 42;
    assert_true(segment_begin(&s, &err));
    assert_true(segment_open(dir, s.number, &again, &err));
    assert_false(again.blank);
    assert_int_equal(again.use, 42);
    assert_int_equal(again.end, SEGMENT_BLOCK);
    assert_memory_equal(again.epoch, epoch, sizeof(epoch));
    for (uint64_t at = 0; at < 48; at++) { // every octet of the header counts
        assert_int_equal(os_pread_all(s.fd, &byte, 1, at), 1);
        char other = (char)(byte ^ 4);
        assert_int_equal(os_pwrite_all(s.fd, str_from(&other, 1), at), 0);
        os_close(&again.fd);
        assert_true(segment_open(dir, s.number, &again, &err));
        assert_int_equal(again.use, 0);
        assert_false(again.blank);
        assert_int_equal(os_pwrite_all(s.fd, str_from(&byte, 1), at), 0);
    }
    os_close(&again.fd);
    assert_true(segment_open(dir, s.number, &again, &err));
    assert_false(again.cut);
    assert_int_equal(os_truncate(s.fd, s.size - 4096), 0); // what is left of it is read
    os_close(&again.fd);
    assert_true(segment_open(dir, s.number, &again, &err));
    assert_true(again.cut);
    assert_int_equal(again.use, 42);
    assert_int_equal(again.size, s.size - 4096);
    os_close(&again.fd);
    assert_false(segment_open(dir, 7, &again, &err));
    assert_int_equal(err.code, ENOENT);
    os_close(&s.fd);
    os_close(&dir);
    assert_int_equal(nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void names_sort_as_numbers(void **state)
{
    char name[24];
    (void)state;
    segment_name(name, 1);
    assert_string_equal(name, "000000000001");
    segment_name(name, 999999999999);
    assert_string_equal(name, "999999999999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_reads_as_it_was_put),
        cmocka_unit_test(another_epoch_is_nothing),
        cmocka_unit_test(every_flipped_bit_is_seen),
        cmocka_unit_test(records_that_do_not_fit_are_damage),
        cmocka_unit_test(a_file_keeps_its_header),
        cmocka_unit_test(names_sort_as_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
