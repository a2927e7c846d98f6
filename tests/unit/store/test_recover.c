// Damage is written into the files between two runs.
#define _GNU_SOURCE
#include "spool_box.h"

// ---- damage

// Four batches in the first segment, one letter each: where they stand.
static void four_batches(struct box *b, uint64_t at[5], uint64_t *number)
{
    for (uint64_t n = 0; n < 4; n++) {
        struct spool_letter *letter = commit(b, n, 1, 5000);
        at[n] = (letter->offset - SEGMENT_FRAME_HEADER) & ~(uint64_t)(SEGMENT_BLOCK - 1);
        at[n + 1] = letter->segment->end;
        *number = letter->segment->number;
    }
}

static void damage_takes_one_frame_and_no_other(void **state)
{
    // Each field of the frame's header, the record's header, the id, envelope and body.
    static const uint64_t places[] = {0,  5,  10, 23, 25,  33,   37,  41,
                                      46, 50, 70, 90, 130, 4096, 5000};
    struct box *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        for (uint64_t hit = 0; hit < 4; hit++) {
            uint64_t at[5], number;
            four_batches(b, at, &number);
            close_spool(b);
            size_t aside = count_files(b, "corrupt");
            flip(b, number, at[hit] + places[i]);
            open_spool(b);
            for (uint64_t n = 0; n < 4; n++) {
                if (n != hit)
                    check_letter(b, n, 1, 5000);
                else
                    assert_null(find(b, n));
            }
            assert_int_equal(count_files(b, "corrupt") - aside, hit < 3);
            check_books(b);
            (void)commit(b, 50, 1, 100);
            reopen(b);
            check_letter(b, 50, 1, 100);
            b = start_over(state);
        }
    }
}

static void a_frame_lost_at_the_end_of_a_segment_is_missed(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter = NULL;
    uint64_t n = 0, number = 0, at = 0;
    do { // until one goes into the second segment
        if (letter) {
            number = letter->segment->number;
            at = (letter->offset - SEGMENT_FRAME_HEADER) & ~(uint64_t)(SEGMENT_BLOCK - 1);
        }
        letter = commit(b, n++, 1, LARGE);
    } while (number == 0 || letter->segment->number == number);
    close_spool(b);
    flip(b, number, at + 8); // the epoch: it does not even look like a frame any more
    wipe_indexes(b);
    open_spool(b);
    assert_null(find(b, n - 2));
    check_letter(b, n - 1, 1, LARGE);
    check_letter(b, n - 3, 1, LARGE);
    assert_int_equal(count_files(b, "corrupt"), 1);
}

// A block of a later batch in the place of an earlier one's, or the other way round.
static void a_frame_in_two_places_hides_no_other(void **state)
{
    static const struct {
        uint64_t from, to;
    } ways[] = {{3, 0}, {0, 3}, {2, 1}, {0, 2}};
    struct box *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        uint64_t at[4];
        char block[SEGMENT_BLOCK];
        struct spool_letter *letter = NULL;
        for (uint64_t n = 0; n < 4; n++) {
            letter = commit(b, n, 1, 500);
            at[n] = (letter->offset - SEGMENT_FRAME_HEADER) & ~(uint64_t)(SEGMENT_BLOCK - 1);
        }
        uint64_t number = letter->segment->number;
        assert_int_equal(os_pread_all(letter->segment->fd, block, sizeof(block), at[ways[i].from]),
                         sizeof(block));
        close_spool(b);
        write_at(b, number, at[ways[i].to], str_from(block, sizeof(block)));
        open_spool(b);
        for (uint64_t n = 0; n < 4; n++) {
            if (n != ways[i].to)
                check_letter(b, n, 1, 500);
            else
                assert_null(find(b, n));
        }
        assert_int_equal(count_files(b, "corrupt"), 1);
        check_books(b);
        b = start_over(state);
    }
}

static void a_torn_last_batch_is_no_damage(void **state)
{
    struct box *b = *state;
    static const char zeros[SEGMENT_BLOCK];
    for (int block = 0; block < 2; block++) {
        uint64_t at[5], number;
        four_batches(b, at, &number);
        close_spool(b);
        write_at(b, number, at[3] + (uint64_t)block * SEGMENT_BLOCK,
                 str_from(zeros, sizeof(zeros)));
        open_spool(b);
        assert_null(find(b, 3));
        assert_int_equal(count_files(b, "corrupt"), 0);
        (void)commit(b, 60, 1, 9 * 800);
        reopen(b);
        check_letter(b, 2, 1, 5000);
        check_letter(b, 60, 1, 9 * 800);
        assert_int_equal(count_files(b, "corrupt"), 0); // its number was given again: none misses
        b = start_over(state);
    }
}

static void a_last_segment_that_was_cut_stays_the_last(void **state)
{
    struct box *b = *state;
    for (uint64_t n = 0; n < 30; n++)
        (void)commit(b, n, 1, LARGE);
    uint64_t number = b->spool->current->number, before = counts(b).segments;
    assert_true(before >= 3);
    char name[24], path[160];
    segment_name(name, number);
    file_path(b, path, "log", name);
    close_spool(b);
    assert_int_equal(truncate(path, SEGMENT_BLOCK), 0); // its header is left
    open_spool(b);
    const struct segment *last = CONTAINER_OF(b->spool->segments.prev, struct segment, link);
    assert_int_equal(last->number, number);
    (void)commit(b, 100, 1, 100); // begins another one: uses and frames have one order
    assert_true(find(b, 100)->segment->use > last->use);
    reopen(b);
    check_letter(b, 0, 1, LARGE);
    check_letter(b, 100, 1, 100);
    check_books(b);
}

static void a_damaged_header_sets_the_segment_aside(void **state)
{
    struct box *b = *state;
    uint64_t at[5], number;
    four_batches(b, at, &number);
    for (uint64_t n = 10; n < 40; n++)
        (void)commit(b, n, 1, LARGE);
    struct spool_letter *elsewhere = find(b, 39);
    assert_true(elsewhere->segment->number != number);
    close_spool(b);
    flip(b, number, 20);
    open_spool(b);
    char name[24];
    segment_name(name, number);
    assert_true(has_file(b, "corrupt", name));
    assert_false(has_file(b, "log", name));
    assert_null(find(b, 0));
    check_letter(b, 39, 1, LARGE);
    check_books(b);
}

static void a_body_of_fake_frames_is_a_body(void **state)
{
    struct box *b = *state;
    struct text t;
    struct envelope envelope;
    struct spool_letter *letter;
    struct err err;
    struct buf frame;
    struct segment fake = {.epoch = {1, 2, 3}};
    (void)commit(b, 1, 1, 100);
    // Whole frames with a letter in each, at every octet where a block may begin.
    buf_init(&frame, 1 << 20);
    (void)buf_reserve(&frame, SEGMENT_FRAME_HEADER);
    memset(frame.ptr, 0, SEGMENT_FRAME_HEADER);
    buf_added(&frame, SEGMENT_FRAME_HEADER);
    struct mail_id ghost = id_of(666);
    struct buf data;
    buf_init(&data, 4096);
    buf_put(&data, str_from(ghost.bytes, sizeof(ghost.bytes)));
    for (int i = 0; i < 7; i++)
        buf_put_u32(&data, 1);
    buf_put(&data, STR("xy"));
    segment_put_record(&frame, RECORD_LETTER, 0, buf_str(&data));
    segment_seal_frame(&frame, &fake, 1000, 1);
    make(b, &t, 2, 1, 10);
    size_t used = SEGMENT_FRAME_HEADER + SEGMENT_RECORD_HEADER + LETTER_FIXED + t.envelope.len;
    buf_clear(&t.body);
    while (used % SEGMENT_BLOCK) {
        buf_put_byte(&t.body, ' ');
        used++;
    }
    buf_put(&t.body, str_sub(buf_str(&frame), 0, SEGMENT_BLOCK));
    t.pieces[1] = buf_str(&t.body);
    t.pieces[2] = STR("");
    assert_int_equal(spool_add(b->spool, &t.submission, &b->arena, &envelope, &letter, &err),
                     SPOOL_ADDED);
    settle(b);
    uint64_t number = letter->segment->number;
    uint64_t at = (letter->offset - SEGMENT_FRAME_HEADER) & ~(uint64_t)(SEGMENT_BLOCK - 1);
    (void)commit(b, 3, 1, 100);
    for (int damaged = 0; damaged < 2; damaged++) {
        close_spool(b);
        if (damaged) // then recovery walks through the body block by block
            flip(b, number, at);
        open_spool(b);
        assert_null(spool_find(b->spool, &ghost));
        assert_int_equal(find(b, 2) != NULL, !damaged);
        check_letter(b, 1, 1, 100);
        check_letter(b, 3, 1, 100);
        assert_int_equal(count_files(b, "corrupt"), damaged);
    }
    free_text(&t);
    buf_finish(&data);
    buf_finish(&frame);
}

static void files_that_were_never_used_are_no_trouble(void **state)
{
    struct box *b = *state;
    (void)commit(b, 1, 1, 100);
    close_spool(b);
    make_file(b, "log", "notes.txt");
    make_file(b, "log", "000000000077"); // not zeros, no header
    int fd = os_open(b->dir, "log/000000000078", O_WRONLY | O_CREAT, 0600);
    assert_int_equal(os_truncate(fd, 8192), 0); // its making was cut short
    os_close(&fd);
    open_spool(b);
    assert_true(has_file(b, "log", "notes.txt"));
    assert_true(has_file(b, "corrupt", "000000000077"));
    assert_false(has_file(b, "log", "000000000078"));
    check_letter(b, 1, 1, 100);
    assert_int_equal(counts(b).segments, 1 + SEGMENTS_RESERVE);
}

static void segments_of_another_size_are_read_and_then_left(void **state)
{
    struct box *b = *state;
    for (uint64_t n = 0; n < 30; n++)
        (void)commit(b, n, 1, LARGE);
    close_spool(b);
    b->segment_size = 2 * SEGMENT;
    open_spool(b);
    for (uint64_t n = 0; n < 30; n++)
        check_letter(b, n, 1, LARGE);
    for (uint64_t n = 0; n < 30; n++)
        end(b, find(b, n));
    for (uint64_t n = 100; n < 120; n++) {
        (void)commit(b, n, 1, 100);
        settle(b);
    }
    LIST_EACH(&b->spool->segments, at, after)
    {
        assert_int_equal(CONTAINER_OF(at, struct segment, link)->size, 2 * SEGMENT);
    }
    reopen(b);
    assert_int_equal(counts(b).letters, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(damage_takes_one_frame_and_no_other),
        CASE(a_frame_lost_at_the_end_of_a_segment_is_missed),
        CASE(a_frame_in_two_places_hides_no_other),
        CASE(a_torn_last_batch_is_no_damage),
        CASE(a_last_segment_that_was_cut_stays_the_last),
        CASE(a_damaged_header_sets_the_segment_aside),
        CASE(a_body_of_fake_frames_is_a_body),
        CASE(files_that_were_never_used_are_no_trouble),
        CASE(segments_of_another_size_are_read_and_then_left),
    };
    log_start("test", NULL, -1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
