// Large bodies: written in slices of any cut, read in pieces, broken at each system call.
#define _GNU_SOURCE
#include "fault_box.h"

enum { SLICES_MAX = 64, BODY_MAX = 5 * 1024 * 1024 };

// Slices that are on their way, and what became of them.
struct run {
    struct large *large;
    struct large_slice slices[SLICES_MAX];
    struct str pieces[SLICES_MAX];
    size_t given, done, failed;
    bool close_in_done;
};

static struct run *current;

static void count_slice(struct large_slice *slice)
{
    struct run *r = current;
    assert_ptr_equal(slice, &r->slices[r->done]); // in order
    r->done++;
    r->failed += !slice->ok;
    if (r->close_in_done)
        large_close(&r->large);
}

static void begin(struct box *b, struct run *r, uint64_t n)
{
    struct mail_id id = id_of(n);
    *r = (struct run){.given = 0};
    current = r;
    large_open(&r->large, b->spool, &id);
}

static void give(struct run *r, struct str piece, bool last)
{
    assert_true(r->given < SLICES_MAX);
    struct large_slice *slice = &r->slices[r->given];
    r->pieces[r->given] = piece;
    *slice = (struct large_slice){
        .pieces = &r->pieces[r->given], .piece_count = 1, .last = last, .done = count_slice};
    r->given++;
    large_append(r->large, slice);
}

static void finish(struct box *b, struct run *r)
{
    while (r->done < r->given)
        turn(b);
}

static void fill(struct buf *body, size_t size, unsigned seed)
{
    buf_init(body, BODY_MAX);
    char *to = buf_reserve(body, size);
    assert_non_null(to);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525 + 1013904223;
        to[i] = (char)(seed >> 24);
    }
    buf_added(body, size);
}

// Until the last removal has been done too.
static void settle_files(struct box *b, size_t files)
{
    for (int i = 0; i < 200 && count_files(b, "body") != files; i++)
        turn(b);
    assert_int_equal(count_files(b, "body"), files);
    settle(b);
}

static int open_body(struct box *b, uint64_t n)
{
    struct mail_id id = id_of(n);
    char name[LARGE_NAME], path[160];
    large_name(name, &id, false);
    file_path(b, path, "body", name);
    int fd = os_open(OS_HERE, path, O_RDWR, 0);
    assert_true(fd >= 0);
    return fd;
}

static void every_size_and_cut_reads_as_it_was_written(void **state)
{
    static const struct {
        size_t size, cut;
    } cases[] = {
        {0, 1},
        {1, 1},
        {63, 1},
        {LARGE_PIECE - 1, 30000},
        {LARGE_PIECE, LARGE_PIECE},
        {LARGE_PIECE, 5000},
        {LARGE_PIECE + 1, LARGE_PIECE},
        {2 * LARGE_PIECE, 2 * LARGE_PIECE},
        {3 * LARGE_PIECE + 17, 81920},
        {LARGE_SYNC + 3, 131072},
    };
    struct box *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run r;
        struct buf body, got;
        struct large_reader reader;
        struct scan scan;
        struct str piece, rest;
        struct err err;
        fill(&body, cases[i].size, (unsigned)i);
        begin(b, &r, i);
        rest = buf_str(&body);
        while (rest.len > cases[i].cut) {
            give(&r, str_sub(rest, 0, cases[i].cut), false);
            rest = str_skip(rest, cases[i].cut);
        }
        assert_null(large_body(r.large));
        give(&r, rest, true);
        finish(b, &r);
        assert_int_equal(r.failed, 0);
        scan_begin(&scan);
        scan_feed(&scan, buf_str(&body));
        scan_end(&scan);
        const struct large_body *known = large_body(r.large);
        assert_non_null(known);
        assert_int_equal(known->scan.size, body.len);
        assert_int_equal(known->scan.flags, scan.flags);
        buf_init(&got, BODY_MAX);
        int fd = open_body(b, i);
        assert_true(large_reader_init(&reader, fd, body.len, known->crc, &err));
        for (int again = 0; again < 2; again++) {
            buf_clear(&got);
            while (large_reader_next(&reader, &piece, &err) && piece.len)
                buf_put(&got, piece);
            assert_true(str_eq(buf_str(&got), buf_str(&body)));
            large_reader_again(&reader);
        }
        large_reader_finish(&reader);
        os_close(&fd);
        large_close(&r.large); // no record refers to it
        settle_files(b, 0);
        buf_finish(&got);
        buf_finish(&body);
    }
}

// Whatever octet of the file changes, or is cut off, what was read up to there was right.
static void rot_is_found_by_the_piece(void **state)
{
    enum { SIZE = 3 * LARGE_PIECE + 1000 };
    static const struct {
        uint64_t flip;
        size_t good; // pieces that are read before; SIZE_MAX: not even the table
    } cases[] = {
        {0, 0},
        {LARGE_PIECE - 1, 0},
        {LARGE_PIECE, 1},
        {3 * LARGE_PIECE, 3},
        {SIZE - 1, 3},
        {SIZE, SIZE_MAX}, // the table
        {SIZE + 15, SIZE_MAX},
    };
    struct box *b = *state;
    struct run r;
    struct buf body;
    struct err err;
    fill(&body, SIZE, 4);
    begin(b, &r, 1);
    give(&r, buf_str(&body), true);
    finish(b, &r);
    uint32_t crc = large_body(r.large)->crc;
    int fd = open_body(b, 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct large_reader reader;
        struct str piece;
        char byte;
        size_t good = 0;
        assert_int_equal(os_pread_all(fd, &byte, 1, cases[i].flip), 1);
        byte = (char)(byte ^ 1);
        assert_int_equal(os_pwrite_all(fd, str_from(&byte, 1), cases[i].flip), 0);
        err.class = ERR_NONE;
        if (large_reader_init(&reader, fd, SIZE, crc, &err)) {
            while (large_reader_next(&reader, &piece, &err) && piece.len)
                good++;
            large_reader_finish(&reader);
            assert_int_equal(good, cases[i].good);
        } else {
            assert_int_equal(cases[i].good, SIZE_MAX);
        }
        assert_int_equal(err.class, ERR_OUR_BUG);
        assert_non_null(strstr(err.text, "damaged"));
        byte = (char)(byte ^ 1);
        assert_int_equal(os_pwrite_all(fd, str_from(&byte, 1), cases[i].flip), 0);
    }
    struct large_reader reader;
    assert_false(large_reader_init(&reader, fd, SIZE - 1, crc, &err)); // another size
    assert_false(large_reader_init(&reader, fd, SIZE, crc + 1, &err));
    assert_false(large_reader_init(&reader, fd, UINT64_MAX, crc, &err));
    assert_int_equal(err.class, ERR_OUR_BUG);
    assert_int_equal(os_truncate(fd, SIZE), 0);
    assert_false(large_reader_init(&reader, fd, SIZE, crc, &err));
    assert_int_equal(err.class, ERR_OUR_BUG);
    os_close(&fd);
    large_close(&r.large);
    settle_files(b, 0);
    buf_finish(&body);
}

static void an_abandoned_body_leaves_no_file(void **state)
{
    struct box *b = *state;
    struct run r;
    begin(b, &r, 1);
    large_close(&r.large); // nothing was written
    assert_null(r.large);
    begin(b, &r, 2);
    give(&r, STR("first"), false);
    give(&r, STR("second"), false);
    give(&r, STR("third"), false);
    large_close(&r.large); // with slices under way: each is told
    finish(b, &r);
    assert_int_equal(r.done, 3);
    settle_files(b, 0);
    begin(b, &r, 3);
    r.close_in_done = true;
    give(&r, STR("\xe4\xbf\xa1"), false);
    finish(b, &r);
    assert_null(r.large);
    settle_files(b, 0);
    large_close(&r.large); // NULL is no trouble
}

// When any call fails all later slices fail, and no file stays.
static void any_call_may_fail(void **state)
{
    static const struct {
        enum fault_call call;
        uint64_t times; // in the life of the body below
    } calls[] = {
        {FAULT_open, 1},   {FAULT_write, 4}, {FAULT_fdatasync, 1},
        {FAULT_rename, 1}, {FAULT_fsync, 1},
    };
    static const int errors[] = {ENOSPC, EIO};
    struct box *b = *state;
    struct buf body;
    fill(&body, 3 * LARGE_PIECE, 1);
    for (size_t i = 0; i < ARRAY_LEN(calls) * ARRAY_LEN(errors); i++) {
        int error = errors[i % ARRAY_LEN(errors)];
        size_t c = i / ARRAY_LEN(errors);
        for (uint64_t n = 1; n <= calls[c].times; n++) {
            struct run r;
            settle(b);
            begin(b, &r, i * 10 + n);
            arm(0, calls[c].call, n, 1, error);
            give(&r, str_sub(buf_str(&body), 0, LARGE_PIECE), false);
            give(&r, str_skip(buf_str(&body), LARGE_PIECE), true);
            finish(b, &r);
            assert_int_equal(page->rules[0].acted, 1);
            disarm();
            const struct large_slice *last = &r.slices[r.given - 1];
            assert_true(r.failed && !last->ok);
            assert_int_equal(last->err.class, ERR_TRY_LATER);
            assert_int_equal(last->err.status.detail, error == ENOSPC);
            assert_null(large_body(r.large));
            large_close(&r.large);
            settle_files(b, 0);
        }
    }
    buf_finish(&body);
}

// What a record refers to stays until the letter is at its end.
static void a_kept_body_stays(void **state)
{
    struct box *b = *state;
    struct big l;
    struct spool_letter *letter;
    struct err err;
    write_large(b, &l, 1, 300000);
    assert_int_equal(add_large(b, &l, &letter, &err), SPOOL_ADDED);
    settle(b);
    assert_int_equal(count_files(b, "body"), 1);
    // A second one of that id, as a receiver that is beside itself may send it.
    struct run r;
    begin(b, &r, 1);
    give(&r, STR("part of another body"), false);
    finish(b, &r);
    large_close(&r.large);
    settle_files(b, 1);
    check_letter(b, 1, 2, 300000);
    end(b, find(b, 1));
    settle_files(b, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_size_and_cut_reads_as_it_was_written),
        CASE(rot_is_found_by_the_piece),
        CASE(an_abandoned_body_leaves_no_file),
        CASE(a_kept_body_stays),
        FAULT_CASE(any_call_may_fail),
    };
    return cmocka_run_group_tests_name("large", tests, make_page, NULL);
}
