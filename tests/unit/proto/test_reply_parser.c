#include "proto/reply_parser.h"

#include "../check.h"
#include "base/limits.h"

struct reply_case {
    const char *name;
    const char *in;
    const char *want; // each reply as [CODE STATUS TEXT], its earlier lines as -, W: wrong
};

// clang-format off
static const struct reply_case cases[] = {
    {"nothing",               "",                                 ""},
    {"a line",                "250 ok\r\n",                       "[250 2.0.0 ok]"},
    {"two replies",           "250 a\r\n354 b\r\n",               "[250 2.0.0 a][354 3.0.0 b]"},
    {"unfinished",            "250 a\r\n25",                      "[250 2.0.0 a]"},
    {"a code alone",          "250\r\n",                          "[250 2.0.0 ]"},
    {"of several lines",      "250-a\r\n250-\r\n250 b\r\n",       "--[250 2.0.0 a b]"},
    {"the last a code alone", "250-a\r\n250\r\n",                 "-[250 2.0.0 a]"},
    {"bare LF",               "250-a\n250 b\n",                   "-[250 2.0.0 a b]"},
    {"two CRs",               "250 a\r\r\n",                      "[250 2.0.0 a\\x0d]"},
    {"the lowest",            "200 a\r\n",                        "[200 2.0.0 a]"},
    {"the highest",           "599 a\r\n",                        "[599 5.0.0 a]"},
    // RFC 2034
    {"status",                "550 5.1.1 no\r\n",                 "[550 5.1.1 no]"},
    {"status in each line",   "550-5.1.1 no\r\n550 5.1.1 one\r\n", "-[550 5.1.1 no one]"},
    {"status, two kinds",     "550-5.1.1 no\r\n550 5.7.1 one\r\n", "-[550 5.1.1 no one]"},
    {"status later",          "550-no\r\n550 5.1.1 one\r\n",      "-[550 5.1.1 no one]"},
    {"status of 4 in 5",      "550 4.1.1 no\r\n",                 "[550 5.0.0 4.1.1 no]"},
    {"status, 421 has one",   "421 bye\r\n",                      "[421 4.3.2 bye]"},
    {"status, 556 has one",   "556 null MX\r\n",                  "[556 5.1.10 null MX]"},
    {"status, each its own",  "550 5.1.1 a\r\n550 b\r\n",         "[550 5.1.1 a][550 5.0.0 b]"},
    // what is none
    {"empty line",            "\r\n",                             "W"},
    {"two digits",            "25\r\n",                           "W"},
    {"too low",               "199 a\r\n",                        "W"},
    {"too high",              "600 a\r\n",                        "W"},
    {"a letter",              "25O a\r\n",                        "W"},
    {"other separator",       "250:a\r\n",                        "W"},
    {"four digits",           "2500\r\n",                         "W"},
    {"two codes",             "250-a\r\n251 b\r\n",               "-W"},
    {"no reply in the middle", "250-a\r\nb\r\n",                  "-W"},
};
// clang-format on

// False once it was wrong.
static bool feed(struct reply_parser *p, struct str in, struct buf *got)
{
    while (in.len > 0) {
        enum reply_parser_result result;
        size_t n = reply_parser_feed(p, in, &result);
        assert_in_range(n, 1, in.len);
        in = str_skip(in, n);
        if (result == REPLY_PARSER_LINE)
            buf_put_byte(got, '-');
        else if (result == REPLY_PARSER_DONE)
            buf_putf(got, "[%u %u.%u.%u %.*s]", p->code, p->status.class, p->status.subject,
                     p->status.detail, STR_ARG(reply_parser_text(p)));
        else if (result == REPLY_PARSER_MORE)
            assert_int_equal(in.len, 0);
        else
            buf_put_byte(got, 'W');
        if (result == REPLY_PARSER_WRONG)
            return false;
    }
    return true;
}

static void every_case_and_every_cut(void **state)
{
    (void)state;
    struct buf got;
    buf_init(&got, LIMIT_peer_reply);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str in = str_of(cases[i].in);
        for (size_t cut = 0; cut <= in.len; cut++) {
            struct reply_parser p;
            reply_parser_init(&p);
            if (feed(&p, str_sub(in, 0, cut), &got))
                feed(&p, str_skip(in, cut), &got);
            check_put(&got, cases[i].want);
            reply_parser_finish(&p);
        }
    }
    buf_finish(&got);
}

// `count` times the line, then the last one, in pieces of `step`.
static void check_many(const char *line, unsigned count, const char *last, size_t step, bool taken)
{
    struct reply_parser p;
    struct buf in, got;
    buf_init(&in, (size_t)2 * LIMIT_peer_reply);
    buf_init(&got, LIMIT_peer_reply);
    reply_parser_init(&p);
    while (count-- > 0)
        buf_put(&in, str_of(line));
    buf_put(&in, str_of(last));
    assert_true(buf_ok(&in));
    bool right = true;
    for (struct str rest = buf_str(&in); right && rest.len > 0; rest = str_skip(rest, step))
        right = feed(&p, str_sub(rest, 0, step), &got);
    assert_int_equal(right, taken);
    assert_int_equal(str_ends(buf_str(&got), STR("]")), taken);
    reply_parser_finish(&p);
    buf_finish(&got);
    buf_finish(&in);
}

static void as_many_lines_as_the_limit(void **state)
{
    (void)state;
    for (size_t step = 1; step < 5000; step = step * 7 + 1) {
        check_many("250-a\r\n", LIMIT_peer_lines - 1, "250 b\r\n", step, true);
        check_many("250-a\r\n", LIMIT_peer_lines, "250 b\r\n", step, false);
    }
}

static void as_many_octets_as_the_limit(void **state)
{
    (void)state;
    static char line[LIMIT_peer_reply / 64 + 1];
    memset(line, 'x', sizeof line - 1);
    memcpy(line, "250-", 4);
    line[sizeof line - 2] = '\n';
    static char last[sizeof line];
    memcpy(last, line, sizeof last);
    last[3] = ' ';
    for (size_t step = 1; step < 5000; step = step * 7 + 1) {
        check_many(line, 63, last, step, true);
        check_many(line, 63, last + 1, step, false); // "50 x": no code
        check_many(line, 64, "250 b\r\n", step, false);
        check_many("x", LIMIT_peer_reply + 1, "", step, false);
    }
}

static void limits_of_line_and_text(void **state)
{
    (void)state;
    enum reply_parser_result result;
    struct reply_parser p;
    struct buf in;
    buf_init(&in, LIMIT_peer_reply);
    buf_put(&in, STR("550-5.1.1 "));
    while (in.len < LIMIT_peer_line + 100)
        buf_put_byte(&in, '\x01');
    buf_put(&in, STR("\r\n550 5.1.1 end\r\n"));
    reply_parser_init(&p);
    struct str rest = buf_str(&in);
    rest = str_skip(rest, reply_parser_feed(&p, rest, &result));
    assert_int_equal(result, REPLY_PARSER_LINE);
    assert_int_equal(p.line.len, LIMIT_peer_line - 4); // cut, then without "550-"
    reply_parser_feed(&p, rest, &result);
    assert_int_equal(result, REPLY_PARSER_DONE);
    struct str text = reply_parser_text(&p);
    assert_int_equal(text.len, 4 * LIMIT_peer_text); // each an \x01
    assert_true(str_ends(text, STR("\\x01")));
    reply_parser_drop(&p);
    assert_null(p.kept.ptr);
    assert_null(p.raw.ptr);
    assert_null(p.cleaned.ptr);
    reply_parser_finish(&p);
    buf_finish(&in);
}

static void a_reply_that_is_coming_is_not_dropped(void **state)
{
    (void)state;
    enum reply_parser_result result;
    struct reply_parser p;
    reply_parser_init(&p);
    reply_parser_feed(&p, STR("250-a\r\n25"), &result);
    reply_parser_feed(&p, STR("25"), &result);
    reply_parser_drop(&p);
    reply_parser_feed(&p, STR("0 b\r\n"), &result);
    assert_int_equal(result, REPLY_PARSER_DONE);
    assert_int_equal(p.lines, 2);
    assert_true(str_eq(reply_parser_text(&p), STR("a b")));
    reply_parser_finish(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_and_every_cut),
        cmocka_unit_test(as_many_lines_as_the_limit),
        cmocka_unit_test(as_many_octets_as_the_limit),
        cmocka_unit_test(limits_of_line_and_text),
        cmocka_unit_test(a_reply_that_is_coming_is_not_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
