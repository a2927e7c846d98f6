#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/file.h"
#include "session/pump.h"

enum { LIMIT = 65536, IDLE_MS = 60000 };

// An engine that takes lines, and does with each what its first letter says.
struct box {
    struct pump pump;
    struct loop *loop;
    struct buf out, taken;
    int peer;
    int ends, drained;
    enum pump_end how;
    bool finish_on_timeout, whole_lines;
};

static size_t one_line(struct box *b, struct str line)
{
    switch (line.ptr[0]) {
    case 'p': // waits for an answer
        pump_pause(&b->pump);
        break;
    case 'r': // has its answer at once
        pump_pause(&b->pump);
        pump_resume(&b->pump);
        break;
    case 'e':
        buf_put(&b->out, line);
        break;
    case 'q':
        buf_put(&b->out, STR("bye\n"));
        pump_finish_output(&b->pump);
        break;
    default:
        break;
    }
    buf_put(&b->taken, line);
    assert_true(buf_ok(&b->out) && buf_ok(&b->taken));
    return line.len;
}

static size_t input(struct pump *pump, struct str bytes)
{
    struct box *b = CONTAINER_OF(pump, struct box, pump);
    size_t taken = 0;
    while (taken < bytes.len && !pump->paused) {
        struct str rest = str_skip(bytes, taken);
        size_t len = str_index(rest, '\n');
        if (len == rest.len)
            break;
        taken += one_line(b, str_sub(rest, 0, len + 1));
    }
    return taken;
}

static void drained(struct pump *pump)
{
    CONTAINER_OF(pump, struct box, pump)->drained++;
}

static void ended(struct pump *pump, enum pump_end how)
{
    struct box *b = CONTAINER_OF(pump, struct box, pump);
    b->ends++;
    b->how = how;
    if (how == PUMP_TIMED_OUT && b->finish_on_timeout) {
        buf_put(&b->out, STR("too late\n"));
        pump_finish_output(pump);
        return;
    }
    pump_close(pump);
}

static const struct pump_ops ops = {.input = input, .drained = drained, .ended = ended};

static int set_up(void **state)
{
    static struct box box;
    struct err err;
    int pair[2];
    box = (struct box){.peer = -1};
    buf_init(&box.out, 1 << 22);
    buf_init(&box.taken, 1 << 22);
    if (!loop_open(&box.loop, &err) || net_pair(pair) < 0)
        return -1;
    box.peer = pair[1];
    *state = &box;
    return pump_start(&box.pump, box.loop, pair[0], &ops, &box.out, LIMIT, IDLE_MS, &err) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct box *b = *state;
    pump_close(&b->pump);
    os_close(&b->peer);
    loop_close(&b->loop);
    buf_finish(&b->out);
    buf_finish(&b->taken);
    return 0;
}

static void turn(struct box *b)
{
    struct err err;
    assert_true(loop_turn(b->loop, 0, &err));
}

static void say(struct box *b, const char *text)
{
    assert_int_equal(os_write_all(b->peer, str_of(text)), 0);
}

static void check_taken(struct box *b, const char *want)
{
    buf_put_byte(&b->taken, '\0');
    assert_string_equal(b->taken.ptr, want);
    buf_clear(&b->taken);
}

static void check_heard(struct box *b, const char *want)
{
    char got[256];
    ssize_t n = net_receive(b->peer, got, sizeof(got) - 1);
    if (n == -EAGAIN)
        n = 0;
    assert_true(n >= 0);
    got[n] = '\0';
    assert_string_equal(got, want);
}

static void lines_are_answered_in_one_piece(void **state)
{
    struct box *b = *state;
    say(b, "e1\ne2\n");
    turn(b);
    check_taken(b, "e1\ne2\n");
    check_heard(b, "e1\ne2\n");
    assert_int_equal(b->drained, 1);
    assert_null(b->out.ptr); // idle: no buffer
    assert_null(b->pump.kept.ptr);
}

static void a_part_is_kept_until_the_rest_comes(void **state)
{
    struct box *b = *state;
    say(b, "\xe4\xbd");
    turn(b);
    assert_int_equal(b->pump.kept.len, 2);
    say(b, "\xa0\n\xe5");
    turn(b);
    check_taken(b, "\xe4\xbd\xa0\n");
    assert_int_equal(b->pump.kept.len, 1);
    say(b, "\xa5\xbd\n");
    turn(b);
    check_taken(b, "\xe5\xa5\xbd\n");
    assert_null(b->pump.kept.ptr);
}

static void nothing_is_given_while_it_waits(void **state)
{
    struct box *b = *state;
    say(b, "p1\ne2\np3\ne4\n");
    turn(b);
    check_taken(b, "p1\n");
    say(b, "e5\n");
    turn(b);
    turn(b);
    check_taken(b, "");
    pump_resume(&b->pump);
    check_taken(b, "e2\np3\n");
    pump_resume(&b->pump);
    check_taken(b, "e4\n");
    turn(b);
    turn(b);
    check_taken(b, "e5\n");
    check_heard(b, "e2\ne4\ne5\n");
}

// As an engine does that was answered by another role.
static void an_answer_asks_the_kernel_for_nothing(void **state)
{
    struct box *b = *state;
    say(b, "p1\n");
    turn(b);
    buf_put(&b->out, STR("1\n"));
    pump_resume(&b->pump);
    pump_flush(&b->pump);
    assert_int_equal(b->pump.watch.events, LOOP_READ);
    turn(b);
    check_heard(b, "1\n");
    assert_int_equal(b->pump.watch.events, LOOP_READ);
}

static void an_answer_at_once_is_no_wait(void **state)
{
    struct box *b = *state;
    say(b, "r1\nr2\ne3\n");
    turn(b);
    check_taken(b, "r1\nr2\ne3\n");
}

static void last_words_are_written_before_the_end(void **state)
{
    struct box *b = *state;
    say(b, "q\ne2\n");
    turn(b);
    check_taken(b, "q\ne2\n"); // the engine's to ignore; no more is read
    assert_int_equal(b->ends, 1);
    assert_int_equal(b->how, PUMP_DONE);
    check_heard(b, "bye\ne2\n");
    check_heard(b, "");
}

static void the_peer_may_close_or_break(void **state)
{
    struct box *b = *state;
    say(b, "e1\n");
    os_close(&b->peer);
    turn(b);
    turn(b);
    turn(b);
    check_taken(b, "e1\n");
    assert_int_equal(b->ends, 1);
    assert_true(b->how == PUMP_PEER_CLOSED || b->how == PUMP_FAILED);
}

static void a_peer_that_ended_its_side_hears_the_rest(void **state)
{
    struct box *b = *state;
    say(b, "e1\ne2\n");
    assert_int_equal(shutdown(b->peer, SHUT_WR), 0);
    for (int i = 0; i < 4; i++)
        turn(b);
    check_heard(b, "e1\ne2\n");
    assert_int_equal(b->ends, 1);
}

static void a_peer_that_closes_while_we_wait_is_noticed(void **state)
{
    struct box *b = *state;
    say(b, "p1\n");
    turn(b);
    os_close(&b->peer);
    for (int i = 0; i < 4; i++)
        turn(b);
    assert_int_equal(b->ends, 1);
    assert_int_equal(b->how, PUMP_FAILED);
}

// Fills the socket, so that nothing more can be written.
static size_t stuff(struct box *b)
{
    buf_reserve(&b->out, 1 << 21);
    memset(b->out.ptr, 'x', 1 << 21);
    buf_added(&b->out, 1 << 21);
    pump_flush(&b->pump);
    turn(b);
    assert_true(b->out.len > 0);
    return b->out.len;
}

static size_t read_all(struct box *b)
{
    char got[65536];
    size_t sum = 0;
    for (int quiet = 0; quiet < 3;) {
        ssize_t n = net_receive(b->peer, got, sizeof(got));
        quiet = n > 0 ? 0 : quiet + 1;
        sum += n > 0 ? (size_t)n : 0;
        turn(b);
    }
    return sum;
}

static void a_slow_reader_gets_all(void **state)
{
    struct box *b = *state;
    (void)stuff(b);
    assert_int_equal(b->drained, 0);
    assert_int_equal(read_all(b), 1 << 21);
    assert_int_equal(b->drained, 1);
    assert_int_equal(b->out.len, 0);
}

static void silence_ends_it(void **state)
{
    struct box *b = *state;
    pump_set_timeout(&b->pump, 0);
    turn(b);
    turn(b);
    assert_int_equal(b->ends, 1);
    assert_int_equal(b->how, PUMP_TIMED_OUT);
}

static void last_words_after_a_timeout(void **state)
{
    struct box *b = *state;
    b->finish_on_timeout = true;
    pump_set_timeout(&b->pump, 0);
    turn(b);
    turn(b);
    check_heard(b, "too late\n");
    assert_int_equal(b->ends, 2);
    assert_int_equal(b->how, PUMP_DONE);
}

static void a_peer_that_takes_no_last_words_is_let_go(void **state)
{
    struct box *b = *state;
    (void)stuff(b);
    b->finish_on_timeout = true;
    pump_set_timeout(&b->pump, 0);
    for (int i = 0; i < 8 && b->ends < 2; i++)
        turn(b);
    assert_int_equal(b->ends, 2);
    assert_int_equal(b->how, PUMP_FAILED);
}

static void a_socket_is_handed_over_with_its_rest(void **state)
{
    struct box *b = *state;
    struct str rest;
    say(b, "p1\ne2\npart");
    turn(b);
    int fd = pump_hand_over(&b->pump, &rest);
    assert_true(fd >= 0);
    assert_true(str_eq(rest, STR("e2\npart")));
    pump_flush(&b->pump); // nothing happens any more
    pump_resume(&b->pump);
    turn(b);
    check_taken(b, "p1\n");
    pump_close(&b->pump);
    struct err err; // and into another pump
    assert_true(pump_start(&b->pump, b->loop, fd, &ops, &b->out, LIMIT, IDLE_MS, &err));
    pump_give(&b->pump, STR("e2\npart"));
    check_taken(b, "e2\n");
    say(b, "ly\n");
    turn(b);
    check_taken(b, "partly\n");
}

static void much_input_comes_through_in_order(void **state)
{
    struct box *b = *state;
    uint32_t sent = 0, seen = 0;
    for (int round = 0; round < 400; round++) {
        char line[16];
        for (;;) {
            int n = snprintf(line, sizeof(line), "%s%07u\n", sent % 97 ? "-" : "p", sent);
            if (net_send(b->peer, str_from(line, (size_t)n)) != n)
                break;
            sent++;
            if (sent % 5000 == 0)
                break;
        }
        turn(b);
        if (b->pump.paused)
            pump_resume(&b->pump);
    }
    for (int i = 0; i < 4000 && b->ends == 0; i++) {
        turn(b);
        pump_resume(&b->pump);
    }
    for (size_t at = 0; at < b->taken.len; at += 9, seen++) {
        uint64_t number;
        assert_true(str_to_u64(str_from(b->taken.ptr + at + 1, 7), &number));
        assert_int_equal(number, seen);
    }
    assert_int_equal(seen, sent);
    assert_true(sent > 5000);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(lines_are_answered_in_one_piece),
        CASE(a_part_is_kept_until_the_rest_comes),
        CASE(nothing_is_given_while_it_waits),
        CASE(an_answer_asks_the_kernel_for_nothing),
        CASE(an_answer_at_once_is_no_wait),
        CASE(last_words_are_written_before_the_end),
        CASE(the_peer_may_close_or_break),
        CASE(a_peer_that_ended_its_side_hears_the_rest),
        CASE(a_peer_that_closes_while_we_wait_is_noticed),
        CASE(a_slow_reader_gets_all),
        CASE(silence_ends_it),
        CASE(last_words_after_a_timeout),
        CASE(a_peer_that_takes_no_last_words_is_let_go),
        CASE(a_socket_is_handed_over_with_its_rest),
        CASE(much_input_comes_through_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
