// The commit thread and a disk that fails: promise 4. Trouble comes from the fault seam.
#define _GNU_SOURCE
#include "fault_box.h"
#include "store/index.h"

static uint64_t calls(enum fault_call call)
{
    return page->roles[0].calls[call];
}

// A letter that lives, one whose states change, and both settled.
static void two_letters(struct box *b)
{
    (void)commit(b, 1, 1, 900);
    (void)commit(b, 2, 3, 900);
}

// What a failed batch with one letter and some states must leave, now and after a restart.
static void check_refused(struct box *b)
{
    for (int run = 0; run < 2; run++) {
        assert_null(find(b, 3));
        check_letter(b, 1, 1, 900);
        check_letter(b, 2, 3, 900);
        assert_int_equal(find(b, 2)->recipients[0].state, SPOOL_DELIVERED);
        assert_int_equal(find(b, 2)->recipients[1].attempts, 5);
        assert_int_equal(counts(b).recipients, 3);
        check_books(b);
        reopen(b);
    }
}

static void add_batch(struct box *b, struct wait *letter, struct wait *states)
{
    (void)add(b, 3, 1, 4000);
    spool_set_state(b->spool, find(b, 2), 0, SPOOL_DELIVERED, 1, STR(""));
    find(b, 2)->recipients[1].attempts = 5;
    spool_set_state(b->spool, find(b, 2), 1, SPOOL_WAITING, 1, STR("\xe5\xbf\x99"));
    wait_for(b, letter, false);
    wait_for(b, states, true);
}

static void a_failed_commit_refuses_letters_and_keeps_states(void **state)
{
    static const struct {
        enum fault_call call;
        int error;
    } ways[] = {{FAULT_fdatasync, EIO}, {FAULT_write, EIO}, {FAULT_write, ENOSPC}};
    struct box *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct wait letter = {.told = 0}, states = {.told = 0};
        two_letters(b);
        settle(b);
        add_batch(b, &letter, &states);
        arm(0, ways[i].call, 1, 1, ways[i].error);
        settle(b);
        disarm();
        assert_int_equal(letter.told, 1);
        assert_false(letter.durable);
        assert_int_equal(states.told, 1);
        assert_true(states.durable);
        check_refused(b);
        (void)commit(b, 3, 1, 200); // the same id later is another try
        reopen(b);
        check_letter(b, 3, 1, 200);
        b = start_over(state);
    }
}

static void a_whole_frame_that_was_refused_stays_refused(void **state)
{
    struct box *b = *state;
    struct wait letter = {.told = 0}, states = {.told = 0};
    two_letters(b);
    settle(b);
    add_batch(b, &letter, &states);
    arm(0, FAULT_fdatasync, 1, 1, EIO); // the frame is written, its sync fails
    settle(b);
    disarm();
    uint64_t used = counts(b).segments;
    check_refused(b); // although recovery finds the frame whole
    assert_true(counts(b).segments <= used + 1);
}

// Report n: of a letter's recipients the first `count` have failed.
static struct spool_letter *report(struct box *b, uint64_t n, struct spool_letter *about,
                                   uint32_t count, size_t size)
{
    struct spool_change changes[8];
    struct text t;
    make(b, &t, n, 1, size);
    for (uint32_t i = 0; i < count; i++)
        changes[i] = (struct spool_change){
            .recipient = i, .state = SPOOL_FAILED, .reason = STR("no such user")};
    const struct spool_own_letter own = {.id = id_of(n),
                                         .recipient_count = 1,
                                         .envelope = buf_str(&t.envelope),
                                         .body = buf_str(&t.body)};
    struct spool_letter *letter = spool_add_report(b->spool, &own, about, changes, count);
    free_text(&t);
    arena_reset(&b->arena);
    return letter;
}

// Promise 10, in one frame and in many, whether the first write succeeds or not.
static void a_report_and_what_it_tells_of_are_one(void **state)
{
    struct box *b = *state;
    enum { LETTERS = 30 };
    for (int fails = 0; fails < 3; fails++) {
        for (uint64_t n = 0; n < LETTERS; n++)
            (void)commit(b, 100 + n, 3, 900);
        struct wait w = {.told = 0}, lost = {.told = 0};
        (void)add(b, 1, 1, 500);
        wait_for(b, &lost, false);
        for (uint64_t n = 0; n < LETTERS; n++)
            (void)report(b, 200 + n, find(b, 100 + n), 2, 6000);
        wait_for(b, &w, true);
        if (fails)
            arm(0, FAULT_fdatasync, (uint64_t)fails, 1, EIO);
        settle(b);
        disarm();
        assert_true(w.told == 1 && w.durable);
        assert_int_equal(lost.durable, fails != 1);
        for (int run = 0; run < 2; run++) {
            settle(b); // letters are moved meanwhile
            for (uint64_t n = 0; n < LETTERS; n++) {
                check_letter(b, 200 + n, 1, 6000);
                check_letter(b, 100 + n, 3, 900);
                assert_int_equal(find(b, 100 + n)->pending, 1);
                assert_int_equal(find(b, 100 + n)->recipients[1].state, SPOOL_FAILED);
            }
            check_books(b);
            reopen(b);
        }
        b = start_over(state);
    }
}

// A cut anywhere leaves a report with all that it tells of, or nothing of either.
static void a_cut_parts_no_report(void **state)
{
    struct box *b = *state;
    char name[24];
    (void)commit(b, 1, 2, 900);
    struct spool_letter *letter = report(b, 2, find(b, 1), 2, 6000);
    settle(b);
    struct segment *seg = letter->segment;
    uint64_t frame = letter->offset / SEGMENT_BLOCK * SEGMENT_BLOCK, end = seg->end;
    segment_name(name, seg->number);
    close_spool(b);
    int log = os_open_directory(b->dir, "log"), fd = os_open(log, name, O_RDWR, 0);
    char *kept = malloc(end - frame), zeros[SEGMENT_BLOCK] = {0};
    assert_non_null(kept);
    assert_int_equal(os_pread_all(fd, kept, end - frame, frame), end - frame);
    for (uint64_t cut = frame; cut <= end; cut += SEGMENT_BLOCK) {
        for (uint64_t at = frame; at < end; at += SEGMENT_BLOCK) {
            struct str block = str_from(at < cut ? kept + (at - frame) : zeros, SEGMENT_BLOCK);
            assert_int_equal(os_pwrite_all(fd, block, at), 0);
        }
        open_spool(b);
        bool there = find(b, 2) != NULL;
        assert_int_equal(there, cut == end);
        assert_int_equal(find(b, 1)->pending, there ? 0 : 2);
        check_books(b);
        close_spool(b);
    }
    free(kept);
    os_close(&fd);
    os_close(&log);
    open_spool(b);
}

static void a_short_write_is_continued(void **state)
{
    struct box *b = *state;
    arm(0, FAULT_write, 1, 40, 0);
    page->rules[0].limit = 100;
    (void)commit(b, 1, 1, 3000);
    disarm();
    reopen(b);
    check_letter(b, 1, 1, 3000);
}

static void a_suspect_segment_is_copied_out_and_goes(void **state)
{
    struct box *b = *state;
    struct wait w = {.told = 0};
    struct spool_letter *keeps = commit(b, 1, 1, 900);
    uint64_t number = keeps->segment->number;
    char name[24];
    segment_name(name, number);
    (void)add(b, 2, 1, 900);
    wait_for(b, &w, false);
    arm(0, FAULT_fdatasync, 1, 1, EIO);
    settle(b);
    disarm();
    assert_false(w.durable);
    for (uint64_t n = 10; n < 60; n++)
        end(b, commit(b, n, 1, LARGE));
    // Nothing more went there; what lived in it was copied out, and its file went.
    assert_int_not_equal(keeps->segment->number, number);
    assert_false(has_file(b, "log", name));
    check_letter(b, 1, 1, 900);
    reopen(b);
    check_letter(b, 1, 1, 900);
    end(b, find(b, 1));
    settle(b);
    for (uint64_t n = 100; n < 250; n++)
        end(b, commit(b, n, 1, LARGE));
    assert_in_range(counts(b).segments, 2, 16); // all others are used again
    reopen(b);
    assert_int_equal(counts(b).letters, 0);
    check_books(b);
}

static void a_refused_large_letter_leaves_no_file(void **state)
{
    struct box *b = *state;
    struct big l;
    struct spool_letter *letter;
    struct err err;
    struct wait w = {.told = 0};
    (void)commit(b, 9, 1, 10);
    write_large(b, &l, 1, 40000);
    assert_int_equal(add_large(b, &l, &letter, &err), SPOOL_ADDED);
    wait_for(b, &w, false);
    arm(0, FAULT_fdatasync, 1, 1, EIO);
    settle(b);
    disarm();
    settle(b);
    assert_int_equal(w.told, 1);
    assert_false(w.durable);
    assert_int_equal(count_files(b, "body"), 0);
}

static void a_large_body_that_cannot_be_written_is_refused(void **state)
{
    static const enum fault_call ways[] = {FAULT_open, FAULT_write, FAULT_fdatasync, FAULT_rename,
                                           FAULT_fsync};
    struct box *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct big l;
        struct spool_letter *letter;
        struct err err;
        settle(b);
        arm(0, ways[i], 1, 1, ENOSPC);
        write_large(b, &l, i, 40000);
        disarm();
        assert_int_equal(add_large(b, &l, &letter, &err), SPOOL_BAD);
        assert_int_equal(err.class, ERR_TRY_LATER); // 452, never 5yz
        assert_int_equal(err.status.subject, 3);
        settle(b);
        settle(b);
        assert_int_equal(count_files(b, "body"), 0);
        assert_true(spool_idle(b->spool));
    }
}

static void states_of_several_frames_survive_a_failure_in_each(void **state)
{
    struct box *b = *state;
    // The second frame begins a segment: the sync between the two is that of its header.
    for (uint64_t nth = 1; nth <= 3; nth += 2) {
        struct wait letter = {.told = 0}, states = {.told = 0};
        struct spool_letter *many = commit(b, 1, 500, 100);
        settle(b);
        (void)add(b, 2, 1, 4000);
        for (uint16_t round = 1; round <= 8; round++) {
            for (uint32_t i = 0; i < 500; i++) {
                many->recipients[i].attempts = round;
                spool_set_state(b->spool, many, i, round == 8 ? SPOOL_DELIVERED : SPOOL_WAITING, i,
                                STR(""));
            }
        }
        wait_for(b, &letter, false);
        wait_for(b, &states, true);
        arm(0, FAULT_fdatasync, nth, 1, EIO);
        settle(b);
        assert_int_equal(page->rules[0].acted, 1);
        disarm();
        assert_int_equal(letter.told + states.told, 2);
        assert_true(states.durable);
        assert_int_equal(letter.durable, nth > 1); // letters are in the first frame
        check_books(b);
        reopen(b);
        assert_int_equal(counts(b).letters, nth > 1);
        assert_true(!find(b, 1) || !find(b, 1)->pending); // its segment may have gone
        assert_int_equal(find(b, 2) != NULL, nth > 1);
        check_books(b);
        b = start_over(state);
    }
}

// ---- no space

// A letter of two blocks, and its place in the index.
static bool takes_another(const struct segment *seg)
{
    uint64_t index = index_room(seg, seg->index_size + SEGMENT_RECORD_HEADER + PLACE_FIXED);
    return seg->size - seg->end >= 2 * (uint64_t)SEGMENT_BLOCK + index;
}

// No segment can be made from now on, and the next batch needs one.
static void fill_the_log(struct box *b, size_t body)
{
    const struct spool *s = b->spool;
    arm(0, FAULT_open, 1, UINT64_MAX, ENOSPC);
    for (uint64_t n = 100; s->free_count > SEGMENTS_RESERVE || takes_another(s->current); n++)
        (void)commit(b, n, 1, body);
    assert_int_equal(s->free_count, SEGMENTS_RESERVE);
    assert_false(s->full);
}

// Turns until letters are taken again, by itself.
static void wait_for_space(struct box *b)
{
    for (int i = 0; i < 1000 && b->spool->full; i++)
        turn(b);
    assert_false(b->spool->full);
    assert_true(b->spool->free_count >= SEGMENTS_RESERVE);
}

static void without_a_segment_letters_are_refused_and_states_use_the_reserve(void **state)
{
    struct box *b = *state;
    struct wait letter = {.told = 0}, states = {.told = 0};
    struct spool_letter *refused;
    two_letters(b);
    fill_the_log(b, 4000);
    add_batch(b, &letter, &states);
    settle(b);
    assert_int_equal(letter.told + states.told, 2);
    assert_false(letter.durable);
    assert_true(states.durable);
    assert_int_equal(b->spool->free_count, SEGMENTS_RESERVE - 1);
    assert_int_equal(try_add(b, 400, 1, 100, &refused), SPOOL_NO_SPACE); // although there is room
    assert_false(spool_has_space(b->spool, 0));
    disarm();
    wait_for_space(b);
    assert_true(spool_has_space(b->spool, 0));
    (void)commit(b, 401, 1, 100);
    for (int run = 0; run < 2; run++) {
        assert_null(find(b, 3));
        assert_int_equal(find(b, 2)->recipients[0].state, SPOOL_DELIVERED);
        assert_int_equal(find(b, 2)->recipients[1].attempts, 5);
        check_letter(b, 1, 1, 900);
        check_letter(b, 401, 1, 100);
        check_books(b);
        reopen(b);
    }
    assert_int_equal(count_files(b, "corrupt"), 0);
}

static void a_report_uses_the_reserve(void **state)
{
    struct box *b = *state;
    struct wait w = {.told = 0};
    two_letters(b);
    fill_the_log(b, 4000);
    (void)report(b, 3, find(b, 2), 3, 4000);
    wait_for(b, &w, true);
    settle(b);
    assert_int_equal(w.told, 1);
    assert_int_equal(b->spool->free_count, SEGMENTS_RESERVE - 1);
    disarm();
    wait_for_space(b);
    for (int run = 0; run < 2; run++) {
        settle(b);
        check_letter(b, 3, 1, 4000);
        assert_int_equal(find(b, 2)->pending, 0);
        check_books(b);
        reopen(b);
    }
}

static void letters_that_gathered_meanwhile_stay_out_of_the_reserve(void **state)
{
    struct box *b = *state;
    struct wait letter = {.told = 0}, states = {.told = 0}, late = {.told = 0};
    two_letters(b);
    fill_the_log(b, 4000);
    add_batch(b, &letter, &states);
    turn(b); // it flies
    assert_false(b->spool->full);
    (void)add(b, 4, 1, 100);
    wait_for(b, &late, false);
    settle(b);
    assert_int_equal(late.told, 1);
    assert_false(late.durable);
    assert_null(find(b, 4));
    assert_true(states.durable);
    disarm();
    wait_for_space(b);
    reopen(b);
    settle(b);
    assert_null(find(b, 4));
    check_books(b);
}

static void when_the_reserve_is_used_up_states_wait(void **state)
{
    struct box *b = *state;
    struct wait w = {.told = 0};
    two_letters(b);
    fill_the_log(b, 7500); // nothing is to be won by compaction
    for (uint16_t n = 1; !b->spool->stuck; n++) {
        assert_true(n < 200);
        find(b, 2)->recipients[1].attempts = n;
        spool_set_state(b->spool, find(b, 2), 1, SPOOL_WAITING, n, STR("busy"));
        w.told = 0;
        wait_for(b, &w, true);
        for (int i = 0; i < 1000 && !w.told && !b->spool->stuck; i++)
            turn(b);
    }
    assert_int_equal(b->spool->free_count, 0);
    assert_int_equal(w.told, 0);
    uint16_t attempts = find(b, 2)->recipients[1].attempts;
    assert_true(attempts > 50); // two segments of one block each, but for their indexes
    disarm();
    wait_for_space(b);
    assert_int_equal(w.told, 1);
    assert_true(w.durable);
    reopen(b);
    settle(b);
    assert_int_equal(find(b, 2)->recipients[1].attempts, attempts);
    assert_int_equal(count_files(b, "corrupt"), 0);
    check_books(b);
}

// The disk is full, and a few letters live in each segment: they move through the reserve, and
// segments come free although none can be made.
static void the_reserve_lets_a_full_log_be_compacted(void **state)
{
    struct box *b = *state;
    struct wait letter = {.told = 0}, states = {.told = 0};
    two_letters(b);
    for (uint64_t n = 1000; n < 1150; n++)
        (void)commit(b, n, 1, 7500);
    fill_the_log(b, 4000);
    add_batch(b, &letter, &states);
    settle(b);
    assert_true(b->spool->full);
    uint64_t segments = counts(b).segments, moved = counts(b).moved;
    for (uint64_t n = 1000; n < 1150; n++)
        if (n % 10)
            end(b, find(b, n));
    for (int i = 0; i < 50; i++)
        settle(b);
    assert_true(counts(b).moved > moved);
    assert_true(counts(b).segments < segments);
    assert_false(b->spool->stuck);
    disarm();
    wait_for_space(b);
    for (int run = 0; run < 2; run++) {
        check_letter(b, 1, 1, 900);
        for (uint64_t n = 1000; n < 1150; n += 10)
            check_letter(b, n, 1, 7500);
        check_books(b);
        reopen(b);
        settle(b);
    }
}

// A letter's copy is in the first frame of its batch; the further ones are not its place.
static void letters_move_in_a_batch_of_several_frames(void **state)
{
    struct box *b = *state;
    (void)commit(b, 1, 1, 900);
    (void)commit(b, 2, 500, 900);
    for (uint64_t n = 100; counts(b).moved < 20; n++) {
        assert_true(n < 400);
        struct spool_letter *letter = add(b, n, 1, LARGE);
        for (uint32_t i = 0; i < 8 * 500; i++)
            spool_set_state(b->spool, find(b, 2), i % 500, SPOOL_WAITING, i, STR(""));
        settle(b);
        end(b, letter);
        check_letter(b, 1, 1, 900);
        check_letter(b, 2, 500, 900);
    }
    reopen(b);
    check_letter(b, 1, 1, 900);
    check_letter(b, 2, 500, 900);
    check_books(b);
}

static void the_spare_segment_leaves_the_last_space(void **state)
{
    struct box *b = *state;
    settle(b);
    (void)commit(b, 1, 1, 100);
    reopen(b);
    size_t files = count_files(b, "log");
    assert_int_equal(b->spool->free_count, SEGMENTS_RESERVE);
    arm(0, FAULT_statvfs, 1, UINT64_MAX, EIO);
    for (uint64_t n = 10; !segment_is_due(b->spool); n++)
        (void)commit(b, n, 1, LARGE);
    settle(b);
    assert_int_equal(count_files(b, "log"), files);
    disarm();
    for (int i = 0; i < 500 && b->spool->free_count == SEGMENTS_RESERVE; i++)
        turn(b);
    settle(b);
    assert_int_equal(count_files(b, "log"), files + 1);
}

// ---- what is remembered after a start (promise 5)

static void turn_the_log_over(struct box *b, uint64_t from)
{
    for (uint64_t n = from; n < from + 120; n++)
        end(b, commit(b, n, 1, LARGE));
}

static void an_id_of_the_log_is_known_for_an_hour_after_a_start(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter;
    (void)commit(b, 1, 1, 100);
    end(b, commit(b, 2, 1, 100));
    reopen(b);
    end(b, find(b, 1));
    end(b, commit(b, 3, 1, 100)); // came after the start
    page->monotonic_shift_ms += 3590 * 1000;
    turn_the_log_over(b, 100);
    assert_null(find(b, 3)); // its segment was used again
    for (uint64_t n = 1; n <= 2; n++) {
        struct wait w = {.told = 0};
        assert_int_equal(try_add(b, n, 1, 100, &letter), SPOOL_KNOWN);
        assert_null(letter->segment);
        wait_for(b, &w, false);
        settle(b);
        assert_true(w.told == 1 && w.durable);
    }
    check_books(b);
    page->monotonic_shift_ms += 11 * 1000;
    settle(b);
    assert_null(find(b, 1));
    assert_null(find(b, 2));
    turn_the_log_over(b, 300);
    (void)commit(b, 1, 1, 100); // another letter by now
    reopen(b);
    check_letter(b, 1, 1, 100);
    turn_the_log_over(b, 500); // closed in the middle of the hour
    reopen(b);
    check_books(b);
}

static void what_was_refused_is_not_remembered(void **state)
{
    struct box *b = *state;
    struct wait letter = {.told = 0}, states = {.told = 0};
    two_letters(b);
    reopen(b);
    add_batch(b, &letter, &states);
    arm(0, FAULT_fdatasync, 1, 1, EIO); // the frame is written, its sync fails
    settle(b);
    disarm();
    assert_null(find(b, 3));
    reopen(b); // finds the frame, and its abort
    assert_null(find(b, 3));
    (void)commit(b, 3, 1, 200);
    check_letter(b, 3, 1, 200);
}

// ---- the end without a reply

// In a process of its own: both the commit and its abort fail.
static int fail_twice(struct box *b, uint32_t second_call)
{
    struct wait w = {.told = 0};
    log_set_level(LOG_ERROR);
    open_spool(b);
    settle(b);
    (void)add(b, 5, 1, 900);
    wait_for(b, &w, false);
    arm(0, FAULT_fdatasync, 1, 1, EIO);
    arm(1, second_call, 2, UINT64_MAX, EIO);
    for (int i = 0; i < 500; i++)
        turn(b);
    return w.told ? 1 : 2; // not reached
}

static void when_the_abort_fails_too_the_process_ends_without_a_reply(void **state)
{
    static const enum fault_call ways[] = {FAULT_fdatasync, FAULT_write};
    struct box *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        int status;
        struct spool_letter *again;
        (void)commit(b, 1, 1, 900);
        close_spool(b);
        pid_t pid = fork();
        if (pid == 0)
            _exit(fail_twice(b, ways[i]));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 75);
        disarm();
        uint64_t syncs = calls(FAULT_fdatasync);
        open_spool(b);
        check_letter(b, 1, 1, 900);
        // The receiver submits it again: whether known or new, 250 is said of what is on disk.
        assert_true(calls(FAULT_fdatasync) > syncs);
        enum spool_added how = try_add(b, 5, 1, 900, &again);
        assert_true(how == SPOOL_KNOWN || how == SPOOL_ADDED);
        settle(b);
        reopen(b);
        check_letter(b, 5, 1, 900);
        assert_int_equal(counts(b).letters, 2);
        assert_int_equal(count_files(b, "corrupt"), 0);
        check_books(b);
        b = start_over(state);
    }
}

static void a_start_that_cannot_make_its_last_batch_durable_fails(void **state)
{
    struct box *b = *state;
    struct err err;
    (void)commit(b, 1, 1, 900);
    close_spool(b);
    for (int way = 0; way < 2; way++) {
        arm(0, way ? FAULT_fdatasync : FAULT_write, 1, 1, EIO);
        assert_false(try_open(b, &err));
        assert_int_equal(err.class, ERR_TRY_LATER);
        assert_null(b->spool);
    }
    disarm();
    open_spool(b);
    check_letter(b, 1, 1, 900);
}

static void every_failing_call_of_a_start_is_told(void **state)
{
    static const enum fault_call ways[] = {FAULT_open,      FAULT_read,  FAULT_write,
                                           FAULT_fdatasync, FAULT_fsync, FAULT_mkdir,
                                           FAULT_stat,      FAULT_list,  FAULT_lock};
    struct box *b = *state;
    struct err err;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        (void)commit(b, i, 1, 900);
        bool acted = true, failed = false;
        for (uint64_t n = 1; acted; n++) {
            assert_true(n < 100);
            close_spool(b);
            arm(0, ways[i], n, 1, EIO);
            bool ok = try_open(b, &err);
            acted = page->rules[0].acted > 0;
            disarm();
            if (!ok) {
                failed = true;
                assert_int_equal(err.class, ERR_TRY_LATER);
                open_spool(b);
            }
            for (uint64_t k = 0; k <= i; k++)
                check_letter(b, k, 1, 900);
        }
        assert_true(failed);
    }
}

// What was on its way when the process is told to go is nobody's any more.
static void closing_waits_for_the_disk_and_tells_nobody(void **state)
{
    struct box *b = *state;
    struct wait w = {.told = 0};
    settle(b);
    for (int fails = 0; fails < 2; fails++) {
        (void)add(b, 1 + (uint64_t)fails, 1, 900);
        wait_for(b, &w, false);
        arm(0, FAULT_fdatasync, 1, 1, fails ? EIO : 0);
        page->rules[0].delay_ms = 50;
        turn(b); // it flies
        assert_false(spool_idle(b->spool));
        while (os_workers_waiting(b->spool->committer))
            continue; // until the thread has taken it
        spool_close(&b->spool);
        loop_close(&b->loop);
        assert_int_equal(w.told, 0);
        disarm();
        open_spool(b);
    }
    check_letter(b, 1, 1, 900);
}

// Compaction, killed or told EIO at one call after another. What stays is there afterwards, with
// its state, whatever was under way (promises 4 and 7).
enum { STAY = 40, TURNOVER = 40 };

static void turn_over(struct box *b, uint64_t from)
{
    for (uint64_t n = from; n < from + TURNOVER; n++) {
        struct spool_letter *letter = NULL;
        if (try_add(b, n, 1, LARGE, &letter) != SPOOL_ADDED)
            continue;
        settle(b);
        letter = find(b, n);
        if (letter)
            end(b, letter);
    }
    settle(b);
}

static void check_those_that_stay(struct box *b)
{
    for (uint64_t n = 1; n <= STAY; n++) {
        check_letter(b, n, 2, 700);
        assert_int_equal(find(b, n)->pending, 1);
        assert_int_equal(find(b, n)->recipients[0].state, SPOOL_DELIVERED);
        assert_int_equal(find(b, n)->recipients[1].next_s, 77);
    }
}

// 0, or how the process ended: 75 by itself, SIGKILL by the rule.
static void move_in_a_child(struct box *b, enum fault_call call, uint64_t at, bool kill,
                            uint64_t next, uint64_t *moved)
{
    int status;
    close_spool(b);
    pid_t pid = fork();
    if (pid == 0) {
        log_set_level(LOG_ERROR);
        open_spool(b);
        arm(0, call, at, 1, EIO);
        page->rules[0].kill = kill;
        turn_over(b, next);
        disarm();
        settle(b);
        check_those_that_stay(b);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    disarm();
    bool by_rule = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && kill;
    if (!by_rule)
        assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 75));
    open_spool(b);
    check_those_that_stay(b);
    turn_over(b, next + TURNOVER); // and it goes on
    check_those_that_stay(b);
    check_books(b);
    *moved += counts(b).moved;
}

static void letters_move_whatever_fails(void **state)
{
    static const enum fault_call ways[] = {FAULT_write, FAULT_fdatasync, FAULT_unlink, FAULT_read,
                                           FAULT_open};
    struct box *b = *state;
    uint64_t next = 1000, moved = 0;
    for (uint64_t n = 1; n <= STAY; n++) {
        struct spool_letter *letter = commit(b, n, 2, 700);
        spool_set_state(b->spool, letter, 0, SPOOL_DELIVERED, 0, STR(""));
        spool_set_state(b->spool, letter, 1, SPOOL_WAITING, 77, STR("later"));
    }
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        for (uint64_t at = 1; at <= 41; at += 20) {
            move_in_a_child(b, ways[i], at, i % 2 == 0, next, &moved);
            next += 2 * TURNOVER;
        }
    }
    assert_true(moved > STAY);
    print_message("# %llu moves in the way of trouble\n", (unsigned long long)moved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULT_CASE(a_failed_commit_refuses_letters_and_keeps_states),
        FAULT_CASE(a_whole_frame_that_was_refused_stays_refused),
        FAULT_CASE(a_report_and_what_it_tells_of_are_one),
        FAULT_CASE(a_cut_parts_no_report),
        FAULT_CASE(a_report_uses_the_reserve),
        FAULT_CASE(a_short_write_is_continued),
        FAULT_CASE(a_suspect_segment_is_copied_out_and_goes),
        FAULT_CASE(letters_move_whatever_fails),
        FAULT_CASE(a_refused_large_letter_leaves_no_file),
        FAULT_CASE(a_large_body_that_cannot_be_written_is_refused),
        FAULT_CASE(states_of_several_frames_survive_a_failure_in_each),
        FAULT_CASE(without_a_segment_letters_are_refused_and_states_use_the_reserve),
        FAULT_CASE(letters_that_gathered_meanwhile_stay_out_of_the_reserve),
        FAULT_CASE(when_the_reserve_is_used_up_states_wait),
        FAULT_CASE(the_reserve_lets_a_full_log_be_compacted),
        FAULT_CASE(letters_move_in_a_batch_of_several_frames),
        FAULT_CASE(the_spare_segment_leaves_the_last_space),
        FAULT_CASE(an_id_of_the_log_is_known_for_an_hour_after_a_start),
        FAULT_CASE(what_was_refused_is_not_remembered),
        FAULT_CASE(when_the_abort_fails_too_the_process_ends_without_a_reply),
        FAULT_CASE(a_start_that_cannot_make_its_last_batch_durable_fails),
        FAULT_CASE(every_failing_call_of_a_start_is_told),
        FAULT_CASE(closing_waits_for_the_disk_and_tells_nobody),
    };
    log_start("test", NULL, -1);
    return cmocka_run_group_tests(tests, make_page, NULL);
}
