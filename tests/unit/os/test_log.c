// os/log.c: lines on standard error, events in a file.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "base/limits.h"
#include "os/file.h"
#include "os/log.h"
#include "os/net.h"

static int set_up(void **state)
{
    struct err err;
    static struct loop *loop;
    *state = &loop;
    log_set_level(LOG_INFO);
    return loop_open(&loop, &err) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct loop **loop = *state;
    log_start(NULL, NULL, -1);
    loop_close(loop);
    return 0;
}

// What is in the file, from its beginning.
static struct str contents(int fd, struct buf *out)
{
    static char room[300000];
    ssize_t n = os_pread_all(fd, room, sizeof(room), 0);
    assert_true(n >= 0);
    buf_clear(out);
    buf_put(out, str_from(room, (size_t)n));
    return buf_str(out);
}

// The line after its time, whose form is checked.
static struct str after_time(struct str line)
{
    static const char form[] = "{\"time\":\"dddd-dd-ddTdd:dd:dd.dddZ\",";
    size_t len = sizeof(form) - 1;
    assert_true(line.len > len);
    for (size_t i = 0; i < len; i++) {
        if (form[i] == 'd')
            assert_true(line.ptr[i] >= '0' && line.ptr[i] <= '9');
        else if (form[i] != line.ptr[i])
            fail_msg("%.*s", STR_ARG(line));
    }
    return str_skip(line, len);
}

static void gathered_over_a_turn(void **state)
{
    struct loop **loop = *state;
    struct err err;
    struct buf got;
    struct str rest, line;
    int fd = os_memfd("events");
    buf_init(&got, 1 << 20);
    log_start("queue", *loop, fd);
    log_event(&(struct log_event){.name = EVENT_accepted,
                                  .id = STR("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
                                  .from = STR("张三@例子.测试"),
                                  .to = STR("\"a\\b\"@example.test"),
                                  .text = STR("line\nbreak\xff"),
                                  .code = 250,
                                  .size = UINT64_MAX});
    log_event(&(struct log_event){.name = EVENT_deferred, .attempts = 2, .delay_ms = 60000});
    log_event(&(struct log_event){.name = EVENT_connected}); // DEBUG: below the level
    assert_int_equal(contents(fd, &got).len, 0);
    assert_true(loop_turn(*loop, 0, &err));
    rest = contents(fd, &got);
    assert_true(str_cut(&rest, '\n', &line));
    assert_true(str_eq(
        after_time(line),
        STR("\"event\":\"accepted\",\"role\":\"queue\",\"id\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\","
            "\"from\":\"张三@例子.测试\",\"to\":\"\\\"a\\\\b\\\"@example.test\","
            "\"text\":\"line\\u000abreak\\ufffd\",\"code\":250,\"size\":9223372036854775807}")));
    assert_true(str_cut(&rest, '\n', &line));
    assert_true(str_eq(after_time(line), STR("\"event\":\"deferred\",\"role\":\"queue\","
                                             "\"attempts\":2,\"delay_ms\":60000}")));
    assert_int_equal(rest.len, 0);
    log_set_level(LOG_DEBUG);
    log_event(&(struct log_event){.name = EVENT_connected});
    log_flush();
    assert_true(str_find(contents(fd, &got), STR("connected")) < got.len);
    log_set_events(-1); // closes fd
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    log_event(&(struct log_event){.name = EVENT_accepted}); // nowhere to go
    buf_finish(&got);
}

static void at_once_without_a_loop(void **state)
{
    struct buf got;
    int fd = os_memfd("events"), other = os_memfd("rotated");
    (void)state;
    buf_init(&got, 1 << 20);
    log_start("ctl", NULL, fd);
    log_event(&(struct log_event){.name = EVENT_dropped, .user = STR("alice")});
    assert_true(str_ends(contents(fd, &got), STR("\"role\":\"ctl\",\"user\":\"alice\"}\n")));
    log_set_events(other);
    log_event(&(struct log_event){.name = EVENT_login, .user = STR("bob")});
    assert_true(str_ends(contents(other, &got), STR("\"user\":\"bob\"}\n")));
    log_set_events(-1);
    buf_finish(&got);
}

// A line has its limit: the texts are cut, never the object.
static void far_too_long(void **state)
{
    static char hostile[20000];
    struct buf got;
    struct str rest, line;
    int fd = os_memfd("events");
    (void)state;
    buf_init(&got, 1 << 20);
    memset(hostile, 1, sizeof(hostile)); // six octets each in JSON
    struct str bad = str_from(hostile, sizeof(hostile));
    log_start("receiver", NULL, fd);
    log_event(&(struct log_event){.name = EVENT_refused,
                                  .id = bad,
                                  .session = bad,
                                  .peer = bad,
                                  .helo = bad,
                                  .from = bad,
                                  .to = bad,
                                  .message_id = bad,
                                  .user = bad,
                                  .text = bad,
                                  .rule = bad,
                                  .code = 550});
    rest = contents(fd, &got);
    assert_true(rest.len > 0 && rest.len <= LIMIT_event_line);
    assert_true(str_cut(&rest, '\n', &line) && rest.len == 0);
    assert_true(str_ends(after_time(line), STR("\\u0001\",\"code\":550,\"clipped\":true}")));
    log_set_events(-1);
    buf_finish(&got);
}

static int begin_capture(int pipe_ends[2], int *kept)
{
    if (pipe(pipe_ends) < 0)
        return -1;
    *kept = dup(2);
    return dup2(pipe_ends[1], 2);
}

static struct str end_capture(int pipe_ends[2], int kept, char *room, size_t size)
{
    assert_int_equal(dup2(kept, 2), 2);
    close(kept);
    close(pipe_ends[1]);
    ssize_t n = read(pipe_ends[0], room, size);
    close(pipe_ends[0]);
    return str_from(room, n > 0 ? (size_t)n : 0);
}

static void lines_for_people(void **state)
{
    static char room[32768], long_text[5000];
    int ends[2], kept = -1;
    (void)state;
    memset(long_text, 'x', sizeof(long_text) - 1);
    assert_true(begin_capture(ends, &kept) >= 0);
    log_start(NULL, NULL, -1);
    log_line(LOG_INFO, "ready");
    log_line(LOG_DEBUG, "not told");
    log_start("porter", NULL, -1);
    log_line(LOG_ERROR, "%.*s says 你好", STR_ARG(STR("a\r\nb\x1b[2J")));
    log_line(LOG_ERROR, "%s", long_text);
    struct str got = end_capture(ends, kept, room, sizeof(room));
    assert_true(str_eq(got, STR("posthouse: ready\n"
                                "posthouse: porter: a\\x0d\\x0ab\\x1b[2J says 你好\n"
                                "posthouse: porter: (a message too long to be told)\n")));
}

static void unwritable_events(void **state)
{
    static char room[4096];
    int ends[2], kept = -1, full = open("/dev/full", O_WRONLY);
    (void)state;
    assert_true(full >= 0);
    assert_true(begin_capture(ends, &kept) >= 0);
    log_start("queue", NULL, full);
    log_event(&(struct log_event){.name = EVENT_accepted});
    log_event(&(struct log_event){.name = EVENT_accepted});
    log_set_events(-1);
    struct str got = end_capture(ends, kept, room, sizeof(room));
    // Told once, and life goes on.
    assert_true(str_eq(got, STR("posthouse: queue: events are lost: writing the event log: "
                                "No space left on device\n")));
}

// More than one turn's room: written in between, nothing is lost.
static void a_flood(void **state)
{
    struct loop **loop = *state;
    int fd = os_memfd("events");
    struct stat st;
    static char text[1000];
    memset(text, 't', sizeof(text));
    log_start("receiver", *loop, fd);
    for (int i = 0; i < 3000; i++)
        log_event(&(struct log_event){.name = EVENT_refused, .text = str_from(text, 1000)});
    log_flush();
    assert_int_equal(os_fstat(fd, &st), 0);
    assert_true(st.st_size > 3000 * 1000);
    log_set_events(-1);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(gathered_over_a_turn), CASE(at_once_without_a_loop), CASE(far_too_long),
        CASE(lines_for_people),     CASE(unwritable_events),      CASE(a_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
