#include "proto/smtp_line.h"

#include "../check.h"
#include "base/limits.h"

enum { LIMIT = 16 };

struct line_case {
    const char *name;
    const char *in;
    const char *want; // each line in brackets, L too long, B bare LF, F flood
};

// clang-format off
static const struct line_case cases[] = {
    {"nothing",                 "",                                        ""},
    {"a line",                  "NOOP\r\n",                                "[NOOP]"},
    {"an empty line",           "\r\n",                                    "[]"},
    {"two",                     "a\r\nb\r\n",                              "[a][b]"},
    {"unfinished",              "a\r\nb",                                  "[a]"},
    {"unfinished CR",           "a\r",                                     ""},
    {"CR in a line",            "a\rb\r\n",                                "[a\rb]"},
    {"CRCRLF",                  "a\r\r\n",                                 "[a\r]"},
    {"Chinese",                 "你好\r\n",                                "[你好]"},
    // RFC 5321 section 2.3.8
    {"LF",                      "\n",                                      "B"},
    {"LF, dropped to CRLF",     "a\nb\nc\r\nd\r\n",                        "B[d]"},
    {"LF CR LF",                "a\n\r\nb\r\n",                            "B[b]"},
    {"LF, CR, CRLF",            "a\nb\rc\r\r\nd\r\n",                      "B[d]"},
    {"CRLF LF",                 "a\r\n\nb\r\nc\r\n",                       "[a]B[c]"},
    // section 4.5.3.1.4: 16 octets with CRLF are read
    {"as long as may be",       "12345678901234\r\n",                      "[12345678901234]"},
    {"longer",                  "123456789012345\r\nb\r\n",                "L[b]"},
    {"longer by CR",            "1234567890123456\r\nb\r\n",               "L[b]"},
    {"much longer",             "12345678901234567890\nx\r\r\nb\r\n",      "L[b]"},
    {"longer, LF behind",       "1234567890123456\nb\r\nc\r\n",            "L[c]"},
    {"LF as the last that may", "123456789012345\nb\r\nc\r\n",             "B[c]"},
    {"longer and longer",       "12345678901234567\r\n12345678901234567\r\nc\r\n", "LL[c]"},
};
// clang-format on

static void run(struct smtp_line *l, struct str in, size_t first, size_t step, struct buf *got)
{
    size_t used = 0, cut = first;
    while (used < in.len) {
        enum smtp_line_result result;
        struct str line;
        struct str input = str_sub(in, used, cut - used);
        if (input.len == 0) {
            cut += step;
            continue;
        }
        size_t n = smtp_line_feed(l, input, &result, &line);
        assert_in_range(n, 1, input.len);
        used += n;
        switch (result) {
        case SMTP_LINE_MORE:
            assert_int_equal(n, input.len);
            break;
        case SMTP_LINE_DONE:
            buf_putf(got, "[%.*s]", STR_ARG(line));
            break;
        case SMTP_LINE_TOO_LONG:
            buf_put_byte(got, 'L');
            break;
        case SMTP_LINE_BARE_LF:
            buf_put_byte(got, 'B');
            break;
        case SMTP_LINE_FLOOD:
            buf_put_byte(got, 'F');
            return;
        }
        smtp_line_drop(l);
    }
}

static void check_lines(const char *name, struct str in, size_t limit, size_t first, size_t step,
                        const char *want)
{
    struct smtp_line l;
    struct buf got;
    buf_init(&got, LIMIT_command_junk);
    smtp_line_init(&l, limit);
    run(&l, in, first, step, &got);
    if (!str_eq(buf_str(&got), str_of(want)))
        print_message("# %s, cut at %zu by %zu\n", name, first, step);
    check_put(&got, want);
    smtp_line_finish(&l);
    buf_finish(&got);
}

static void every_case_and_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str in = str_of(cases[i].in);
        check_lines(cases[i].name, in, LIMIT, 0, 1, cases[i].want);
        for (size_t cut = 0; cut <= in.len; cut++)
            check_lines(cases[i].name, in, LIMIT, cut, in.len + 1, cases[i].want);
    }
}

// The limit counts the octets since the last CRLF, the line's own CRLF included.
static void flood_at_its_limit(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, (size_t)2 * LIMIT_command_junk);
    for (size_t i = 0; i < LIMIT_command_junk - 2; i++)
        buf_put_byte(&text, i % 100 == 99 ? '\n' : 'x');
    text.ptr[99] = 'x'; // too long comes before the first LF
    buf_put(&text, STR("\r\na\r\n"));
    size_t steps[] = {1, 7, 4096, text.len};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        check_lines("at the limit", buf_str(&text), LIMIT, 0, steps[i], "L[a]");
    text.ptr[LIMIT_command_junk - 2] = 'x';
    text.ptr[LIMIT_command_junk - 1] = '\r';
    text.ptr[LIMIT_command_junk] = '\n';
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        check_lines("above it", buf_str(&text), LIMIT, 0, steps[i], "LF");
    buf_finish(&text);
}

static void memory_is_held_for_unfinished_lines_only(void **state)
{
    (void)state;
    struct smtp_line l;
    enum smtp_line_result result;
    struct str line;
    struct str in = STR("NOOP\r\nNO");
    smtp_line_init(&l, LIMIT_command_line);
    assert_true(smtp_line_empty(&l));
    assert_int_equal(smtp_line_feed(&l, in, &result, &line), 6);
    assert_ptr_equal(line.ptr, in.ptr); // a view, no copy
    assert_null(l.kept.ptr);
    assert_int_equal(smtp_line_feed(&l, str_skip(in, 6), &result, &line), 2);
    assert_int_equal(result, SMTP_LINE_MORE);
    assert_non_null(l.kept.ptr);
    assert_false(smtp_line_empty(&l));
    assert_int_equal(smtp_line_feed(&l, STR("OP\r\n"), &result, &line), 4);
    assert_int_equal(result, SMTP_LINE_DONE);
    assert_true(str_eq(line, STR("NOOP")));
    assert_true(smtp_line_empty(&l));
    smtp_line_drop(&l);
    assert_null(l.kept.ptr);
    assert_int_equal(smtp_line_feed(&l, STR("x\n"), &result, &line), 2);
    assert_null(l.kept.ptr);
    assert_false(smtp_line_empty(&l)); // the rest of a discarded line is awaited
    smtp_line_finish(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_and_every_cut),
        cmocka_unit_test(flood_at_its_limit),
        cmocka_unit_test(memory_is_held_for_unfinished_lines_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
