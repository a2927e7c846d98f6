// Index blocks, and the start that uses them.
#define _GNU_SOURCE
#include "fault_box.h"

// ---- a spool of some segments, and what is known of it

static void put_letters(struct buf *out, struct box *b)
{
    struct spool *s = b->spool;
    LIST_EACH(&s->segments, at, after)
    {
        struct segment *seg = CONTAINER_OF(at, struct segment, link);
        buf_putf(out, "segment %llu:\n", (unsigned long long)seg->number);
        LIST_EACH(&seg->letters, l, next)
        {
            const struct spool_letter *letter = CONTAINER_OF(l, struct spool_letter, link);
            char id[MAIL_ID_TEXT + 1];
            mail_id_text(&letter->id, id);
            buf_putf(out, "%s at %u: %u %08x %llu %08x %x large %d\n", id, letter->offset,
                     letter->envelope_size, letter->envelope_crc,
                     (unsigned long long)letter->body_size, letter->body_crc, letter->scan_flags,
                     letter->large);
            for (uint32_t i = 0; i < letter->recipient_count; i++) {
                const struct spool_recipient *r = &letter->recipients[i];
                bool said = r->attempts || r->reason || r->state;
                struct str reason = spool_reason(s, r);
                buf_putf(out, "  %d %d %u %.*s\n", r->state, r->attempts, said ? r->next_s : 0,
                         STR_ARG(reason));
            }
        }
    }
    struct spool_counts c = counts(b);
    buf_putf(out, "%llu letters %llu recipients %llu octets\n", (unsigned long long)c.letters,
             (unsigned long long)c.recipients, (unsigned long long)c.live_bytes);
}

static struct buf known(struct box *b)
{
    struct buf out;
    buf_init(&out, 1 << 24);
    put_letters(&out, b);
    assert_true(buf_ok(&out));
    return out;
}

static void assert_known(struct box *b, const struct buf *want)
{
    struct buf got = known(b);
    if (!str_eq(buf_str(&got), buf_str(want)))
        fail_msg("known:\n%.*s\nwanted:\n%.*s", STR_ARG(buf_str(&got)), STR_ARG(buf_str(want)));
    buf_finish(&got);
}

// Some letters in each of several segments; states that stand behind them.
static void fill(struct box *b, uint64_t from, uint64_t letters)
{
    for (uint64_t n = from; n < from + letters; n++) {
        struct spool_letter *letter = commit(b, n, 1 + (uint32_t)(n % 3), 3000);
        if (n % 2)
            continue;
        struct spool_letter *old = n >= 5 ? find(b, n - 5) : NULL;
        if (old && old->pending && old->recipients[0].state == SPOOL_WAITING) {
            old->recipients[0].attempts = 7;
            spool_set_state(b->spool, old, 0, SPOOL_WAITING, 4000000000U, STR("busy"));
        }
        if (n % 4 == 0)
            spool_set_state(b->spool, letter, 0, SPOOL_DELIVERED, 1, STR(""));
    }
    settle(b);
}

static size_t count_indexes(struct box *b)
{
    size_t good = 0;
    LIST_EACH(&b->spool->segments, at, after)
    {
        struct segment *seg = CONTAINER_OF(at, struct segment, link);
        struct segment_index x;
        struct err err;
        enum index_found block;
        index_init(&x);
        assert_true(index_read(&x, seg, seg->size, &block, &err));
        good += block == INDEX_GOOD;
        index_finish(&x);
    }
    return good;
}

// ---- cases

static void a_segment_that_is_left_has_its_index(void **state)
{
    struct box *b = *state;
    fill(b, 0, 60);
    size_t segments = counts(b).segments - counts(b).free_segments;
    assert_true(segments >= 3);
    assert_int_equal(count_indexes(b), segments - 1); // all but the one in use
    LIST_EACH(&b->spool->segments, at, after)
    {
        struct segment *seg = CONTAINER_OF(at, struct segment, link);
        struct segment_index by_block, by_frames;
        struct buf bytes;
        struct err err;
        enum index_found block;
        if (seg == b->spool->current)
            continue;
        index_init(&by_block);
        index_init(&by_frames);
        buf_init(&bytes, SEGMENT);
        assert_true(index_read(&by_block, seg, seg->size, &block, &err));
        assert_true(index_load(seg, 0, seg->size, &bytes, &err));
        index_of_frames(&by_frames, seg, buf_str(&bytes));
        assert_true(str_eq(buf_str(&by_block.payload), buf_str(&by_frames.payload)));
        assert_int_equal(by_block.payload.len, seg->index_size); // what room was kept for
        assert_int_equal(by_block.records, by_frames.records);
        assert_int_equal(by_block.first_frame, by_frames.first_frame);
        assert_int_equal(by_block.last_frame, by_frames.last_frame);
        assert_int_equal(by_block.end, by_frames.end);
        assert_int_equal(by_block.end, seg->end);
        assert_int_equal(by_frames.damage_count, 0);
        buf_finish(&bytes);
        index_finish(&by_block);
        index_finish(&by_frames);
    }
}

static void an_index_says_what_the_frames_say(void **state)
{
    struct box *b = *state;
    fill(b, 0, 60);
    struct buf before = known(b);
    reopen(b);
    assert_known(b, &before);
    close_spool(b);
    wipe_indexes(b);
    open_spool(b);
    assert_known(b, &before);
    assert_int_equal(count_files(b, "corrupt"), 0);
    for (uint64_t n = 0; n < 60; n++)
        check_letter(b, n, 1 + (uint32_t)(n % 3), 3000);
    buf_finish(&before);
}

// No frame of such a segment is looked at: its letters are found damaged when they are due.
static void a_start_does_not_read_letters(void **state)
{
    struct box *b = *state;
    fill(b, 0, 60);
    const struct spool_letter *letter = find(b, 0);
    uint64_t number = letter->segment->number, at = letter->offset;
    struct buf before = known(b), bytes;
    struct err err;
    close_spool(b);
    flip(b, number, at + LETTER_FIXED);
    open_spool(b);
    assert_known(b, &before);
    buf_init(&bytes, 1 << 20);
    assert_false(spool_read_envelope(b->spool, find(b, 0), &bytes, &err));
    assert_int_equal(err.class, ERR_OUR_BUG);
    check_letter(b, 1, 2, 3000);
    buf_finish(&bytes);
    buf_finish(&before);
}

// Each octet of the trailer's fields, and some of the payload: the segment is read whole, and
// nothing else is different.
static void a_damaged_index_costs_only_time(void **state)
{
    struct box *b = *state;
    fill(b, 0, 40);
    struct segment *first = CONTAINER_OF(b->spool->segments.next, struct segment, link);
    uint64_t number = first->number, trailer = first->size - SEGMENT_BLOCK;
    uint64_t payload =
        trailer - (first->index_size + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK * SEGMENT_BLOCK;
    const uint64_t octets = first->index_size;
    assert_true(first != b->spool->current);
    struct buf before = known(b);
    for (uint64_t i = 0; i < 88 + 20; i++) {
        uint64_t at = i < 88 ? trailer + i : payload + (i - 88) * octets / 20;
        close_spool(b);
        flip(b, number, at);
        open_spool(b);
        assert_known(b, &before);
        assert_int_equal(count_files(b, "corrupt"), 0);
        close_spool(b);
        flip(b, number, at);
        open_spool(b);
    }
    buf_finish(&before);
}

// Nothing is moved by this one.
static void open_still(struct box *b)
{
    const struct spool_options options = {.segment_size = SEGMENT, .large_body = LARGE};
    struct err err;
    assert_true(spool_open(&b->spool, b->dir, &options, &err));
    assert_true(loop_open(&b->loop, &err));
    b->spool->stuck = true;
    assert_true(spool_begin(b->spool, b->loop, &err));
    while (!spool_indexed(b->spool))
        turn(b);
}

// By index blocks, and by the frames alone.
static void assert_both_ways_the_same(struct box *b)
{
    close_spool(b);
    open_still(b);
    check_books(b);
    struct buf by_blocks = known(b);
    close_spool(b);
    wipe_indexes(b);
    open_still(b);
    assert_known(b, &by_blocks);
    assert_int_equal(count_files(b, "corrupt"), 0);
    buf_finish(&by_blocks);
    reopen(b);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    return *seed >> 20;
}

// Letters, states, compaction, starts. An index for which no room was kept would end the process.
static void whatever_happened_the_index_knows(void **state)
{
    struct box *b = *state;
    uint64_t n = 0, moved = 0, seed = 20;
    size_t indexes = 0;
    for (int round = 0; round < 200; round++) {
        struct spool_letter *letter;
        for (uint64_t i = next_random(&seed) % 10; i < 10; i++)
            if (try_add(b, n, 1 + (uint32_t)(n % 4), next_random(&seed) % (LARGE / 2), &letter) ==
                SPOOL_ADDED)
                n++;
        for (uint64_t i = next_random(&seed) % 100; i < 100; i++) {
            letter = find(b, next_random(&seed) % (n + 1));
            uint32_t to = letter ? (uint32_t)(i % letter->recipient_count) : 0;
            if (letter && letter->durable && letter->recipients[to].state < SPOOL_DELIVERED)
                spool_set_state(b->spool, letter, to, i % 3 ? SPOOL_DELIVERED : SPOOL_WAITING, 5,
                                STR("somebody sat down on the disk"));
        }
        settle(b);
        if (round % 40 == 39) {
            indexes += count_indexes(b);
            moved += counts(b).moved;
            assert_both_ways_the_same(b);
        }
    }
    assert_true(indexes > 10);
    assert_true(moved > 10);
    print_message("# %llu letters, %llu moved, %zu indexes\n", (unsigned long long)n,
                  (unsigned long long)moved, indexes);
}

static void a_refused_batch_stays_refused(void **state)
{
    struct box *b = *state;
    struct wait w = {.told = 0};
    fill(b, 0, 20);
    (void)add(b, 77, 1, 1000);
    spool_set_state(b->spool, find(b, 3), 0, SPOOL_WAITING, 12345, STR("behind the abort again"));
    wait_for(b, &w, false);
    arm(0, FAULT_fdatasync, 1, 1, EIO);
    settle(b);
    disarm();
    assert_int_equal(w.told, 1);
    assert_false(w.durable);
    fill(b, 100, 60); // the abort stands in a segment that was left
    assert_true(count_indexes(b) >= 2);
    assert_both_ways_the_same(b);
    assert_null(find(b, 77));
    assert_int_equal(find(b, 3)->recipients[0].next_s, 12345);
}

static void a_segment_of_states_has_no_index(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter = commit(b, 1, 400, 100);
    for (uint16_t round = 1; round <= 30; round++) {
        for (uint32_t i = 0; i < 400; i++)
            spool_set_state(b->spool, letter, i, SPOOL_WAITING, round * 1000U + i, STR("busy"));
        settle(b);
    }
    size_t used = counts(b).segments - counts(b).free_segments;
    assert_true(used >= 2);
    assert_int_equal(count_indexes(b), 0);
    reopen(b);
    for (uint32_t i = 0; i < 400; i++)
        assert_int_equal(find(b, 1)->recipients[i].next_s, 30000 + i);
}

// The process may end between the first frame of a segment and the index of the one before, or
// right behind that index.
static void a_left_segment_is_not_gone_on_in(void **state)
{
    struct box *b = *state;
    fill(b, 0, 10);
    struct segment *seg = b->spool->current;
    uint64_t left = seg->number;
    index_leave(b->spool, seg);
    b->spool->current = NULL;
    uint64_t number = commit(b, 50, 1, 10)->segment->number;
    assert_int_not_equal(number, left);
    assert_int_equal(count_indexes(b), 1);
    close_spool(b);
    // As if the new segment's header had never been written.
    static const char zeros[SEGMENT];
    write_at(b, number, 0, str_from(zeros, sizeof(zeros)));
    open_spool(b);
    const struct spool_letter *letter = commit(b, 100, 1, 10);
    assert_int_not_equal(letter->segment->number, left);
    reopen(b);
    check_letter(b, 100, 1, 10);
    assert_int_equal(count_files(b, "corrupt"), 0);
    // Without the index it is the last segment as any other.
    number = find(b, 100)->segment->number;
    close_spool(b);
    write_at(b, number, 0, str_from(zeros, sizeof(zeros)));
    wipe_indexes(b);
    open_spool(b);
    letter = commit(b, 101, 1, 10);
    assert_int_equal(letter->segment->number, left);
    reopen(b);
    check_letter(b, 101, 1, 10);
}

static void an_index_that_cannot_be_written_is_only_missing(void **state)
{
    struct box *b = *state;
    static const enum fault_call ways[] = {FAULT_write, FAULT_fdatasync, FAULT_read};
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct segment_index none;
        struct err err;
        enum index_found block;
        fill(b, 0, 10);
        struct segment *seg = b->spool->current;
        arm(0, ways[i], 1, 1, EIO);
        index_leave(b->spool, seg);
        b->spool->current = NULL;
        settle(b);
        assert_int_equal(page->rules[0].acted, 1);
        disarm();
        assert_int_equal(seg->readers, 0);
        fill(b, 100, 20);
        index_init(&none);
        assert_true(index_read(&none, seg, seg->size, &block, &err));
        assert_true(block == INDEX_NONE || ways[i] == FAULT_fdatasync);
        index_finish(&none);
        assert_both_ways_the_same(b);
        check_letter(b, 0, 1, 3000);
        b = start_over(state);
    }
}

// ---- a start that is under way

struct owner {
    size_t found, indexed;
    const struct spool *spool;
};

static void count_found(void *context, struct spool_letter *letter)
{
    struct owner *owner = context;
    assert_true(letter->pending > 0 && letter->durable);
    assert_false(spool_indexed(owner->spool)); // nothing is used again while letters are told
    assert_int_equal(owner->indexed, 0);
    owner->found++;
}

static void count_indexed(void *context)
{
    struct owner *owner = context;
    assert_true(spool_indexed(owner->spool));
    owner->indexed++;
}

// Of the log nothing is read but its end.
static void open_unread(struct box *b, struct owner *owner)
{
    const struct spool_options options = {.segment_size = SEGMENT,
                                          .large_body = LARGE,
                                          .found = count_found,
                                          .indexed = count_indexed,
                                          .owner = owner};
    struct err err;
    assert_true(spool_open(&b->spool, b->dir, &options, &err));
    assert_true(loop_open(&b->loop, &err));
    arm(0, FAULT_read, 1, UINT64_MAX, EIO); // and cannot be, for now
    assert_true(spool_begin(b->spool, b->loop, &err));
    *owner = (struct owner){.spool = b->spool};
}

static void commit_early(struct box *b, uint64_t n)
{
    struct wait w = {.told = 0};
    (void)add(b, n, 1, 3000);
    wait_for(b, &w, false);
    for (int turns = 0; !w.told; turns++) {
        assert_true(turns < 2000);
        turn(b);
    }
    assert_true(w.durable);
}

static void new_letters_do_not_wait_for_the_log(void **state)
{
    struct box *b = *state;
    struct owner owner;
    fill(b, 0, 60);
    for (uint64_t n = 0; n < 25; n++)
        for (uint32_t i = 0; i < find(b, n)->recipient_count; i++)
            if (find(b, n)->recipients[i].state < SPOOL_DELIVERED)
                spool_set_state(b->spool, find(b, n), i, SPOOL_DELIVERED, 0, STR(""));
    settle(b);
    close_spool(b);
    open_unread(b, &owner);
    for (uint64_t n = 500; n < 580; n++) { // more than a segment
        commit_early(b, n);
        if (n % 2)
            end(b, find(b, n));
    }
    assert_false(spool_indexed(b->spool));
    assert_null(find(b, 30));
    assert_true(counts(b).to_read >= 3);
    assert_int_equal(counts(b).read, 0);
    assert_int_equal(owner.found, 0);
    disarm();
    while (!spool_indexed(b->spool))
        turn(b);
    settle(b);
    assert_int_equal(owner.indexed, 1);
    assert_true(owner.found >= 33); // 36 and 48 had ended before
    assert_int_equal(counts(b).to_read, 0);
    for (int start = 0; start < 2; start++) {
        for (uint64_t n = 25; n < 60; n++)
            check_letter(b, n, 1 + (uint32_t)(n % 3), 3000);
        for (uint64_t n = 500; n < 580; n += 2)
            check_letter(b, n, 1, 3000);
        for (uint64_t n = 0; n < 25; n++) // at their end, and perhaps gone with their segment
            assert_true(!find(b, n) || find(b, n)->pending == 0);
        assert_int_equal(counts(b).letters, 33 + 40);
        check_books(b);
        assert_both_ways_the_same(b);
    }
}

// A body without a letter goes when all letters are known, not before.
static void bodies_stay_until_the_log_was_read(void **state)
{
    struct box *b = *state;
    struct big l;
    struct owner owner;
    struct spool_letter *letter;
    struct err err;
    char kept[MAIL_ID_TEXT + 1], left[MAIL_ID_TEXT + 1];
    write_large(b, &l, 1, 20000);
    assert_int_equal(add_large(b, &l, &letter, &err), SPOOL_ADDED);
    fill(b, 10, 50);
    struct mail_id other = id_of(99);
    mail_id_text(&letter->id, kept);
    mail_id_text(&other, left);
    make_file(b, "body", left);
    close_spool(b);
    open_unread(b, &owner);
    for (int i = 0; i < 10; i++)
        turn(b);
    assert_true(has_file(b, "body", kept) && has_file(b, "body", left));
    disarm();
    while (!spool_indexed(b->spool))
        turn(b);
    assert_true(has_file(b, "body", kept));
    assert_false(has_file(b, "body", left));
    check_letter(b, 1, 2, 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULT_CASE(a_segment_that_is_left_has_its_index),
        FAULT_CASE(an_index_says_what_the_frames_say),
        FAULT_CASE(a_start_does_not_read_letters),
        FAULT_CASE(a_damaged_index_costs_only_time),
        FAULT_CASE(whatever_happened_the_index_knows),
        FAULT_CASE(a_refused_batch_stays_refused),
        FAULT_CASE(a_segment_of_states_has_no_index),
        FAULT_CASE(a_left_segment_is_not_gone_on_in),
        FAULT_CASE(an_index_that_cannot_be_written_is_only_missing),
        FAULT_CASE(new_letters_do_not_wait_for_the_log),
        FAULT_CASE(bodies_stay_until_the_log_was_read),
    };
    log_start("test", NULL, -1);
    return cmocka_run_group_tests(tests, make_page, NULL);
}
