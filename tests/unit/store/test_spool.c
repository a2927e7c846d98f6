// Letters and states in and out of the spool, over restarts.
#define _GNU_SOURCE
#include "spool_box.h"

// ---- adding

static void a_letter_is_durable_and_reads_as_it_came(void **state)
{
    struct box *b = *state;
    struct wait w = {.told = 0};
    struct spool_letter *letter = add(b, 1, 3, 3000);
    assert_false(letter->durable);
    assert_int_equal(counts(b).letters, 1);
    wait_for(b, &w, false);
    assert_int_equal(w.told, 0);
    settle(b);
    assert_int_equal(w.told, 1);
    assert_true(w.durable && letter->durable);
    assert_int_equal(letter->pending, 3);
    assert_int_equal(counts(b).recipients, 3);
    check_letter(b, 1, 3, 3000);
    reopen(b);
    check_letter(b, 1, 3, 3000);
    check_books(b);
}

static void letters_of_one_turn_share_one_commit(void **state)
{
    struct box *b = *state;
    struct wait w[20] = {{.told = 0}};
    int order = 0;
    settle(b);
    uint64_t before = counts(b).commits;
    for (uint64_t i = 0; i < ARRAY_LEN(w); i++) {
        (void)add(b, i, 1, 200 + i);
        w[i].next_order = &order;
        wait_for(b, &w[i], false);
    }
    settle(b);
    assert_int_equal(counts(b).commits, before + 1);
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        assert_int_equal(w[i].told, 1);
        assert_int_equal(w[i].order, i + 1);
        check_letter(b, i, 1, 200 + i);
    }
}

static void a_known_id_is_told_and_not_written_again(void **state)
{
    struct box *b = *state;
    struct spool_letter *first = add(b, 1, 1, 100), *again;
    assert_int_equal(try_add(b, 1, 1, 100, &again), SPOOL_KNOWN);
    assert_ptr_equal(first, again);
    settle(b);
    uint64_t commits = counts(b).commits;
    struct wait w = {.told = 0};
    assert_int_equal(try_add(b, 1, 1, 100, &again), SPOOL_KNOWN);
    wait_for(b, &w, false);
    settle(b);
    assert_int_equal(w.told, 1);
    assert_true(w.durable);
    assert_int_equal(counts(b).commits, commits); // nothing was there to be written
    end(b, first);
    reopen(b);
    assert_int_equal(try_add(b, 1, 1, 100, &again), SPOOL_KNOWN); // promise 5
    assert_int_equal(again->pending, 0);
}

// One that is told may add at once; who waits for that is not told with the rest.
struct adder {
    struct wait w, second;
    struct box *b;
};

static void add_more(struct spool_waiter *waiter, bool durable)
{
    struct adder *a = CONTAINER_OF(waiter, struct adder, w.waiter);
    told(waiter, durable);
    (void)add(a->b, 77, 1, 500);
    wait_for(a->b, &a->second, false);
    assert_int_equal(a->second.told, 0);
}

static void a_waiter_that_adds_waits_anew(void **state)
{
    struct adder a = {.b = *state};
    struct wait other = {.told = 0};
    settle(a.b);
    a.w.waiter = (struct spool_waiter){.done = add_more};
    spool_wait(a.b->spool, &a.w.waiter);
    wait_for(a.b, &other, false);
    uint64_t commits = counts(a.b).commits;
    settle(a.b);
    assert_int_equal(a.w.told + other.told + a.second.told, 3);
    assert_int_equal(counts(a.b).commits, commits + 1);
    check_letter(a.b, 77, 1, 500);
}

static void a_bad_submission_leaves_nothing(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter;
    struct envelope envelope;
    struct err err;
    for (int way = 0; way < 4; way++) {
        struct text t;
        make(b, &t, 5, 2, 400);
        if (way == 0)
            t.submission.id = id_of(6);
        else if (way == 1)
            t.submission.envelope_size--;
        else if (way == 2)
            t.submission.envelope_size = (uint32_t)(t.envelope.len + t.body.len + 1);
        else
            t.envelope.ptr[0] ^= 0x40;
        assert_int_equal(spool_add(b->spool, &t.submission, &b->arena, &envelope, &letter, &err),
                         SPOOL_BAD);
        assert_int_equal(err.class, ERR_PEER_WRONG);
        assert_true(spool_idle(b->spool));
        free_text(&t);
        arena_reset(&b->arena);
    }
    assert_int_equal(counts(b).letters, 0);
    check_letter(b, (commit(b, 7, 1, 100), 7), 1, 100);
}

static void a_full_batch_says_so_and_the_next_one_takes_it(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter;
    enum spool_added how;
    uint64_t n = 0;
    while ((how = try_add(b, n, 1, LARGE, &letter)) == SPOOL_ADDED)
        n++;
    assert_int_equal(how, SPOOL_FULL);
    assert_in_range(n, 2, 4); // half a frame
    assert_null(find(b, n));
    settle(b);
    (void)commit(b, n, 1, LARGE);
    reopen(b);
    for (uint64_t i = 0; i <= n; i++)
        check_letter(b, i, 1, LARGE);
}

// ---- states

static void states_and_reasons_outlive_a_restart(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter = commit(b, 1, 4, 100);
    struct wait w = {.told = 0};
    letter->recipients[0].attempts = 3;
    spool_set_state(b->spool, letter, 0, SPOOL_WAITING, 4000000000U,
                    STR("\xe7\xa3\x81\xe7\x9b\x98\xe6\xbb\xa1"));
    spool_set_state(b->spool, letter, 1, SPOOL_HELD, 7, STR("held"));
    spool_set_state(b->spool, letter, 1, SPOOL_WAITING, 8, STR("held"));
    spool_set_state(b->spool, letter, 2, SPOOL_DELIVERED, 9, STR(""));
    spool_set_state(b->spool, letter, 3, SPOOL_FAILED, 9, STR("no"));
    wait_for(b, &w, true);
    assert_int_equal(letter->pending, 2);
    for (int run = 0; run < 2; run++) {
        settle(b);
        assert_int_equal(w.told, 1);
        letter = find(b, 1);
        const struct spool_recipient *r = letter->recipients;
        assert_int_equal(r[0].state, SPOOL_WAITING);
        assert_int_equal(r[0].attempts, 3);
        assert_int_equal(r[0].next_s, 4000000000U);
        assert_true(
            str_eq(spool_reason(b->spool, &r[0]), STR("\xe7\xa3\x81\xe7\x9b\x98\xe6\xbb\xa1")));
        assert_int_equal(r[1].state, SPOOL_WAITING);
        assert_true(str_eq(spool_reason(b->spool, &r[1]), STR("held")));
        assert_int_equal(r[2].state, SPOOL_DELIVERED);
        assert_int_equal(spool_reason(b->spool, &r[2]).len, 0);
        assert_int_equal(r[3].state, SPOOL_FAILED);
        assert_int_equal(counts(b).recipients, 2);
        check_books(b);
        reopen(b);
    }
}

// A mail loop is held by the frame that has the letter: no start may find it without.
static void a_letter_may_begin_held(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter = add(b, 1, 2, 100);
    assert_false(letter->durable);
    spool_set_state(b->spool, letter, 1, SPOOL_HELD, 7, STR("a mail loop"));
    uint64_t before = counts(b).commits;
    for (int run = 0; run < 2; run++) {
        settle(b);
        letter = find(b, 1);
        assert_true(letter->durable);
        assert_int_equal(letter->recipients[0].state, SPOOL_WAITING);
        assert_int_equal(letter->recipients[1].state, SPOOL_HELD);
        assert_true(str_eq(spool_reason(b->spool, &letter->recipients[1]), STR("a mail loop")));
        if (run == 0)
            assert_int_equal(counts(b).commits, before + 1);
        reopen(b);
    }
}

static void a_letter_that_waited_is_due_whatever_the_clock_did(void **state)
{
    struct box *b = *state;
    struct text t;
    struct envelope envelope;
    struct spool_letter *letter;
    struct err err;
    static const uint8_t base[10] = {1};
    make(b, &t, 1, 1, 50);
    t.submission.id = mail_id_make(32503680000000, base, 1); // the year 3000
    memcpy(t.envelope.ptr + 1, t.submission.id.bytes, MAIL_ID_SIZE);
    assert_int_equal(spool_add(b->spool, &t.submission, &b->arena, &envelope, &letter, &err),
                     SPOOL_ADDED);
    reopen(b);
    letter = spool_find(b->spool, &t.submission.id);
    assert_non_null(letter);
    assert_true(letter->recipients[0].next_s <= os_wall_ms() / 1000);
    free_text(&t);
}

static void more_states_than_a_frame_holds_go_in_several(void **state)
{
    struct box *b = *state;
    struct wait w = {.told = 0}, letters = {.told = 0};
    struct spool_letter *letter = commit(b, 1, 500, 100);
    uint64_t commits = counts(b).commits;
    for (uint16_t round = 1; round <= 20; round++) {
        for (uint32_t i = 0; i < 500; i++) {
            letter->recipients[i].attempts = round;
            spool_set_state(b->spool, letter, i, SPOOL_WAITING, round * 1000U + i, STR("busy"));
        }
    }
    (void)add(b, 2, 1, 100);
    wait_for(b, &letters, false);
    wait_for(b, &w, true);
    settle(b);
    assert_true(counts(b).commits > commits + 3);
    assert_int_equal(w.told + letters.told, 2);
    assert_true(letters.durable);
    reopen(b);
    letter = find(b, 1);
    for (uint32_t i = 0; i < 500; i++) {
        assert_int_equal(letter->recipients[i].attempts, 20);
        assert_int_equal(letter->recipients[i].next_s, 20000 + i);
    }
    check_letter(b, 2, 1, 100);
    check_books(b);
}

// ---- segments are used again

static void segments_are_used_again_when_their_letters_ended(void **state)
{
    struct box *b = *state;
    for (uint64_t n = 0; n < 120; n++)
        end(b, commit(b, n, 1, LARGE));
    settle(b);
    assert_in_range(counts(b).segments, 2, SEGMENTS_KEPT + 2);
    assert_null(find(b, 0)); // its segment was used again
    check_books(b);
    reopen(b);
    assert_int_equal(counts(b).letters, 0);
    check_books(b);
}

// Promise 7: a letter that stays does not keep what was written after it.
static void a_live_letter_is_copied_forward(void **state)
{
    struct box *b = *state;
    (void)commit(b, 1000, 2, 300);
    spool_set_state(b->spool, find(b, 1000), 0, SPOOL_DELIVERED, 0, STR(""));
    spool_set_state(b->spool, find(b, 1000), 1, SPOOL_WAITING, 77, STR("later"));
    for (uint64_t n = 0; n < 200; n++)
        end(b, commit(b, n, 1, LARGE));
    settle(b);
    assert_true(counts(b).moved >= 2); // again and again: it is always the oldest
    assert_in_range(counts(b).segments, 2, SEGMENTS_SURPLUS + 2);
    for (int start = 0; start < 3; start++) {
        check_letter(b, 1000, 2, 300);
        const struct spool_letter *letter = find(b, 1000);
        assert_int_equal(letter->pending, 1);
        assert_int_equal(letter->recipients[0].state, SPOOL_DELIVERED);
        assert_int_equal(letter->recipients[1].next_s, 77);
        assert_true(str_eq(spool_reason(b->spool, &letter->recipients[1]), STR("later")));
        assert_int_equal(counts(b).letters, 1);
        reopen(b);
    }
    spool_set_state(b->spool, find(b, 1000), 1, SPOOL_DROPPED, 0, STR(""));
    for (uint64_t n = 300; n < 450; n++)
        end(b, commit(b, n, 1, LARGE));
    settle(b);
    assert_null(find(b, 1000)->segment); // only its id is known
    assert_int_equal(counts(b).live_bytes, 0);
    reopen(b);
    assert_int_equal(counts(b).letters, 0); // none came to life again
    assert_int_equal(counts(b).live_bytes, 0);
}

// Tenfold turnover with a tenth deferred: the log is at most twice what lives, and four segments.
static void the_log_stays_within_its_bound(void **state)
{
    struct box *b = *state;
    uint64_t stay = 0, size = b->spool->options.segment_size;
    for (uint64_t n = 0; n < 400; n++) {
        struct spool_letter *letter = commit(b, n, 1, LARGE);
        if (n % 10) {
            end(b, letter);
            continue;
        }
        letter->recipients[0].attempts = 1;
        spool_set_state(b->spool, letter, 0, SPOOL_WAITING, 4000000000U, STR("later"));
        stay++;
    }
    for (int i = 0; i < 20; i++)
        settle(b);
    struct spool_counts c = counts(b);
    assert_int_equal(c.letters, stay);
    assert_true(c.segments * size <= 2 * c.live_bytes + SEGMENTS_SURPLUS * size);
    print_message("# %llu letters moved; %.2f octets written for each of a letter\n",
                  (unsigned long long)c.moved, (double)c.committed_bytes / (400.0 * LARGE));
    reopen(b);
    for (uint64_t n = 0; n < 400; n += 10)
        check_letter(b, n, 1, LARGE);
    assert_int_equal(counts(b).letters, stay);
    assert_int_equal(counts(b).live_bytes, c.live_bytes);
}

// Who walks through the log while it changes meets all that stay, each place once.
static void a_walk_misses_nobody_who_stays(void **state)
{
    enum { STAY = 60, ALL = 400 };
    struct box *b = *state;
    struct spool_place place = {.use = 0};
    unsigned met[STAY] = {0}, pages = 0;
    uint64_t n = 1000;
    for (uint64_t i = 0; i < STAY; i++) {
        (void)commit(b, i, 1, LARGE);
        end(b, commit(b, n++, 1, LARGE));
    }
    for (bool more = true; more; pages++) {
        struct spool_letter *letter = spool_from(b->spool, place);
        for (int i = 0; i < 7 && letter; i++, letter = spool_after(b->spool, letter)) {
            for (uint64_t stays = 0; stays < STAY; stays++)
                met[stays] += find(b, stays) == letter;
            assert_true(letter->durable && letter->pending);
        }
        more = letter != NULL;
        if (!more)
            break;
        struct spool_place next = spool_place_of(letter);
        assert_true(next.use > place.use || (next.use == place.use && next.offset > place.offset));
        place = next;
        for (int i = 0; i < 20 && n < 1000 + ALL; i++) // two segments go by, and old ones move
            end(b, commit(b, n++, 1, LARGE));
        settle(b);
    }
    assert_true(pages > 3 && counts(b).moved > 0);
    for (uint64_t stays = 0; stays < STAY; stays++)
        assert_true(met[stays] >= 1);
    assert_null(spool_from(b->spool, (struct spool_place){.use = UINT64_MAX}));
}

// A letter that is being read is not moved under its reader.
static void a_held_letter_stays(void **state)
{
    struct box *b = *state;
    struct spool_letter *letter = commit(b, 1000, 1, 300);
    const struct segment *there = letter->segment;
    spool_hold(letter);
    for (uint64_t n = 0; n < 120; n++)
        end(b, commit(b, n, 1, LARGE));
    settle(b);
    assert_ptr_equal(letter->segment, there);
    spool_let_go(b->spool, letter);
    for (uint64_t n = 200; n < 300; n++)
        end(b, commit(b, n, 1, LARGE));
    settle(b);
    assert_ptr_not_equal(letter->segment, there);
    check_letter(b, 1000, 1, 300);
}

static void a_reader_keeps_its_segment(void **state)
{
    struct box *b = *state;
    struct text t;
    struct spool_letter *letter = commit(b, 1000, 1, 300);
    spool_hold(letter);
    end(b, letter);
    for (uint64_t n = 0; n < 90; n++)
        end(b, commit(b, n, 1, LARGE));
    assert_ptr_equal(find(b, 1000), letter);
    make(b, &t, 1000, 1, 300);
    assert_true(reads_as(b, letter, &t));
    free_text(&t);
    spool_let_go(b->spool, letter);
    for (uint64_t n = 100; n < 250; n++)
        end(b, commit(b, n, 1, LARGE));
    assert_null(find(b, 1000));
}

static void what_the_owner_set_ends_with_the_letter(void **state)
{
    struct box *b = *state;
    struct link due;
    struct spool_letter *letter = commit(b, 1000, 1, 300);
    list_init(&due);
    list_append(&due, &letter->due);
    letter->timer.fire = NULL; // would crash
    loop_set_timer(b->loop, &letter->timer, 3600 * 1000);
    end(b, letter);
    for (uint64_t n = 0; n < 90; n++)
        end(b, commit(b, n, 1, LARGE));
    assert_null(find(b, 1000));
    assert_true(list_empty(&due));
}

static void a_restart_costs_no_segment(void **state)
{
    struct box *b = *state;
    for (uint64_t n = 0; n < 12; n++) {
        (void)commit(b, n, 1, 100);
        reopen(b);
    }
    assert_int_equal(counts(b).segments, 1 + SEGMENTS_RESERVE);
    for (uint64_t n = 0; n < 12; n++)
        check_letter(b, n, 1, 100);
}

// ---- large bodies

static void a_large_body_is_a_file_of_its_own(void **state)
{
    struct box *b = *state;
    struct big l;
    struct spool_letter *letter, *again;
    struct err err;
    write_large(b, &l, 1, 700001);
    assert_int_equal(count_files(b, "body"), 1);
    assert_int_equal(add_large(b, &l, &letter, &err), SPOOL_ADDED);
    assert_int_equal(try_add(b, 1, 2, 700001, &again), SPOOL_KNOWN);
    settle(b);
    check_letter(b, 1, 2, 700001);
    reopen(b);
    check_letter(b, 1, 2, 700001);
    end(b, find(b, 1));
    settle(b);
    settle(b);
    assert_int_equal(count_files(b, "body"), 0);
    reopen(b);
    assert_int_equal(counts(b).letters, 0);
}

static void a_large_body_that_is_gone_is_damage(void **state)
{
    struct box *b = *state;
    struct big l;
    struct spool_letter *letter;
    struct err err;
    char name[MAIL_ID_TEXT + 1], path[160];
    int fd;
    write_large(b, &l, 1, 20000);
    assert_int_equal(add_large(b, &l, &letter, &err), SPOOL_ADDED);
    settle(b);
    mail_id_text(&letter->id, name);
    file_path(b, path, "body", name);
    assert_int_equal(unlink(path), 0);
    assert_false(spool_open_body(b->spool, letter, &fd, &err));
    assert_int_equal(err.class, ERR_OUR_BUG);
    assert_non_null(strstr(err.text, "damaged"));
}

static void leftovers_of_bodies_go_at_the_start(void **state)
{
    struct box *b = *state;
    struct big l;
    struct spool_letter *letter;
    struct err err;
    char name[MAIL_ID_TEXT + 6];
    write_large(b, &l, 1, 20000);
    assert_int_equal(add_large(b, &l, &letter, &err), SPOOL_ADDED);
    settle(b);
    struct mail_id other = id_of(99);
    mail_id_text(&other, name);
    make_file(b, "body", name);
    memcpy(name + MAIL_ID_TEXT, ".part", 6);
    make_file(b, "body", name);
    mail_id_text(&letter->id, name);
    memcpy(name + MAIL_ID_TEXT, ".part", 6);
    make_file(b, "body", name);
    make_file(b, "body", "README");
    reopen(b);
    assert_int_equal(count_files(b, "body"), 2);
    assert_true(has_file(b, "body", "README")); // not ours
    check_letter(b, 1, 2, 20000);
}

static void two_queues_do_not_share_a_spool(void **state)
{
    struct box *b = *state;
    const struct spool_options options = {.segment_size = SEGMENT, .large_body = LARGE};
    struct spool *second;
    struct err err;
    assert_false(spool_open(&second, b->dir, &options, &err));
    assert_int_equal(err.class, ERR_TRY_LATER);
    assert_null(second);
    spool_close(&second); // takes NULL
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_letter_is_durable_and_reads_as_it_came),
        CASE(letters_of_one_turn_share_one_commit),
        CASE(a_known_id_is_told_and_not_written_again),
        CASE(a_waiter_that_adds_waits_anew),
        CASE(a_bad_submission_leaves_nothing),
        CASE(a_full_batch_says_so_and_the_next_one_takes_it),
        CASE(states_and_reasons_outlive_a_restart),
        CASE(a_letter_may_begin_held),
        CASE(a_letter_that_waited_is_due_whatever_the_clock_did),
        CASE(more_states_than_a_frame_holds_go_in_several),
        CASE(segments_are_used_again_when_their_letters_ended),
        CASE(a_live_letter_is_copied_forward),
        CASE(the_log_stays_within_its_bound),
        CASE(a_walk_misses_nobody_who_stays),
        CASE(a_held_letter_stays),
        CASE(a_reader_keeps_its_segment),
        CASE(what_the_owner_set_ends_with_the_letter),
        CASE(a_restart_costs_no_segment),
        CASE(a_large_body_is_a_file_of_its_own),
        CASE(a_large_body_that_is_gone_is_damage),
        CASE(leftovers_of_bodies_go_at_the_start),
        CASE(two_queues_do_not_share_a_spool),
    };
    log_start("test", NULL, -1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
