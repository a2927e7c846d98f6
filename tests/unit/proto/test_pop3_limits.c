// What one client may cost: long lines, many errors, commands whose replies nobody reads.
#include "base/limits.h"
#include "pop3_talk.h"

// A line of exactly `octets` with its end, from `head` filled up with x.
static void put_line(struct buf *out, const char *head, size_t octets, const char *end)
{
    size_t len = out->len;
    buf_put(out, str_of(head));
    while (out->len - len + str_of(end).len < octets)
        buf_put_byte(out, 'x');
    buf_put(out, str_of(end));
}

static void test_line_limits(void **state)
{
    (void)state;
    static const struct {
        size_t octets;
        const char *end;
        const char *reply;
        bool closed;
    } cases[] = {
        {LIMIT_pop3_line, "\r\n", "+OK Send PASS\r\n+OK Bye\r\n", true},
        {LIMIT_pop3_line + 1, "\r\n", "-ERR Line too long\r\n+OK Bye\r\n", true},
        {LIMIT_pop3_line, "\n-\r\n",
         "-ERR Bare LF in a command; end lines with CRLF\r\n+OK Bye\r\n", true},
        {LIMIT_pop3_line + 8, "\nQUIT\r\n", "-ERR Line too long\r\n+OK Bye\r\n", true},
        {LIMIT_pop3_line + 13, "\nNOOP\nNOOP\r\n", "-ERR Line too long\r\n+OK Bye\r\n", true},
        {4000, "\r\n", "-ERR Line too long\r\n+OK Bye\r\n", true},
        {LIMIT_command_junk, "\r\n", "-ERR Line too long\r\n+OK Bye\r\n", true},
        {LIMIT_command_junk + 1, "\r\n",
         "-ERR Line too long\r\n-ERR Too much text without a command; closing\r\n", true},
        {LIMIT_command_junk + 9, "\n\n\n",
         "-ERR Line too long\r\n-ERR Too much text without a command; closing\r\n", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf input, output;
        buf_init(&input, ALL);
        buf_init(&output, ALL);
        put_line(&input, "USER ", cases[i].octets, cases[i].end);
        buf_put(&input, STR(LAST));
        buf_putf(&output, "%s%s", GREETING, cases[i].reply);
        struct dialogue d = {"a long line", buf_str(&input), buf_str(&output), "", cases[i].closed};
        check_dialogue(&d);
        buf_finish(&input);
        buf_finish(&output);
    }
}

// A stranger who guesses commands is shown out; a user may err for ever.
static void test_command_errors(void **state)
{
    (void)state;
    struct buf input, output;
    buf_init(&input, ALL);
    buf_init(&output, ALL);
    buf_put(&output, STR(GREETING));
    for (int i = 0; i < LIMIT_command_errors; i++) {
        buf_put(&input, STR("HELO x\r\n"));
        buf_put(&output, STR("-ERR Unknown command\r\n"));
    }
    buf_put(&input, STR(LAST));
    buf_put(&output, STR("-ERR Too many errors; closing\r\n"));
    check_dialogue(&(struct dialogue){"stranger", buf_str(&input), buf_str(&output), "", true});

    buf_clear(&input);
    buf_clear(&output);
    buf_put(&input, STR(LOGIN));
    buf_put(&output, STR(WELCOME));
    for (int i = 0; i < 3 * LIMIT_command_errors; i++) {
        buf_put(&input, STR("RETR 9\r\nHELO x\r\n"));
        buf_put(&output, STR("-ERR No such letter\r\n-ERR Unknown command\r\n"));
    }
    check_dialogue(&(struct dialogue){"user", buf_str(&input), buf_str(&output), NULL, false});
    buf_finish(&input);
    buf_finish(&output);
}

// However large the maildrop and however many commands wait: the output stays within its limit.
static void test_output_is_bounded(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct pop3_letter *letters = calloc(COUNT, sizeof(*letters));
    assert_non_null(letters);
    struct buf all, want;
    buf_init(&all, 64 * ALL);
    buf_init(&want, 64 * ALL);
    buf_putf(&want, "+OK %d letters\r\n", COUNT);
    buf_put(&want, buf_str(&want));
    for (size_t i = 0; i < COUNT; i++) {
        letters[i] = (struct pop3_letter){.size = 7, .uidl = X40, .uidl_length = sizeof(X40) - 1};
        buf_putf(&want, "%zu " X40 "\r\n", i + 1);
    }
    buf_put(&want, STR(".\r\n+OK\r\n"));
    struct pop3_server s;
    struct pop3_event event = {.type = POP3_FULL};
    struct str input = STR("UIDL\r\nNOOP\r\n");
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    pop3_server_begin(&s, letters, COUNT);
    int rounds = 0;
    while (event.type == POP3_FULL) {
        input = str_skip(input, pop3_server_feed(&s, input, &event));
        assert_true(s.out.len <= LIMIT_pop3_output);
        assert_true(buf_ok(&s.out));
        if (event.type == POP3_FULL) {
            struct pop3_event again; // nothing moves until something was sent
            assert_int_equal(pop3_server_feed(&s, input, &again), 0);
            assert_int_equal(again.type, POP3_FULL);
        }
        buf_put(&all, buf_str(&s.out));
        buf_clear(&s.out);
        rounds++;
    }
    assert_int_equal(event.type, POP3_MORE);
    assert_true(rounds > 10);
    assert_str(buf_str(&all), buf_str(&want));

    // A client that sends and does not read.
    event.type = POP3_MORE;
    size_t sent = 0;
    while (event.type == POP3_MORE && sent < 2 * LIMIT_pop3_output)
        sent += pop3_server_feed(&s, STR("STAT\r\n"), &event);
    assert_int_equal(event.type, POP3_FULL);
    assert_true(s.out.len <= LIMIT_pop3_output);
    pop3_server_finish(&s);
    buf_finish(&all);
    buf_finish(&want);
    free(letters);
}

static void test_abort_with_full_output(void **state)
{
    (void)state;
    struct pop3_letter letter = {.size = 10, .uidl = "x", .uidl_length = sizeof("x") - 1};
    struct pop3_event event = {.type = POP3_MORE};
    struct pop3_server s;
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    pop3_server_begin(&s, &letter, 1);
    while (event.type == POP3_MORE)
        (void)pop3_server_feed(&s, STR("LIST\r\n"), &event);
    size_t len = s.out.len;
    pop3_server_abort(&s, POP3_REPLY_shutting_down);
    assert_int_equal(s.out.len, len);
    assert_true(buf_ok(&s.out));
    pop3_server_finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_limits),
        cmocka_unit_test(test_command_errors),
        cmocka_unit_test(test_output_is_bounded),
        cmocka_unit_test(test_abort_with_full_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
