#include "proto/smtp_data.h"

#include "../check.h"

enum { TEXT_MAX = 1024 * 1024 };

struct data_case {
    const char *name;
    struct str in;
    const char *out; // NULL: the end does not come
    bool bare;
    const char *rest; // what stands behind the end
};

#define IN(s)                                                                                      \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

// clang-format off
static const struct data_case cases[] = {
    // RFC 5321 section 4.5.2
    {"empty",               IN(".\r\n"),                      "",                   false, ""},
    {"one line",            IN("a\r\n.\r\n"),                 "a\r\n",              false, ""},
    {"empty line",          IN("\r\n.\r\n"),                  "\r\n",               false, ""},
    {"stuffed dot",         IN("..\r\n.\r\n"),                ".\r\n",              false, ""},
    {"stuffed later",       IN("a\r\n..b\r\n.\r\n"),          "a\r\n.b\r\n",        false, ""},
    {"unstuffed dot",       IN("a\r\n.b\r\n.\r\n"),           "a\r\nb\r\n",         false, ""},
    {"dot in a line",       IN("a.\r\nb.c\r\n.\r\n"),         "a.\r\nb.c\r\n",      false, ""},
    {"dot and blank",       IN(". \r\n.\r\n"),                " \r\n",              false, ""},
    {"commands behind",     IN("a\r\n.\r\nQUIT\r\n"),         "a\r\n",              false, "QUIT\r\n"},
    {"two ends",            IN(".\r\n.\r\n"),                 "",                   false, ".\r\n"},
    {"Chinese",             IN("你好\r\n..世界\r\n.\r\n"),        "你好\r\n.世界\r\n",      false, ""},
    // section 2.3.8: what is no end
    {"LF.LF",               IN("a\n.\nb\r\n.\r\n"),           "a\r\n.\r\nb\r\n",    true,  ""},
    {"LF.CRLF",             IN("a\n.\r\nb\r\n.\r\n"),         "a\r\n.\r\nb\r\n",    true,  ""},
    {"CRLF.LF",             IN("a\r\n.\nb\r\n.\r\n"),         "a\r\n\r\nb\r\n",     true,  ""},
    {"CR.CR",               IN("a\r.\rb\r\n.\r\n"),           "a . b\r\n",          true,  ""},
    {"CRLF.CR",             IN("a\r\n.\rb\r\n.\r\n"),         "a\r\n b\r\n",        true,  ""},
    {"CR.CRLF",             IN("a\r.\r\nb\r\n.\r\n"),         "a .\r\nb\r\n",       true,  ""},
    {"CRLF.CRCRLF",         IN("a\r\n.\r\r\nb\r\n.\r\n"),     "a\r\n \r\nb\r\n",    true,  ""},
    {"CRCRLF.CRLF",         IN("a\r\r\n.\r\nb"),              "a \r\n",             true,  "b"},
    {".LF at once",         IN(".\n.\r\n"),                   NULL,                 true,  ""},
    {".CR at once",         IN(".\r.\r\n"),                   NULL,                 true,  ""},
    {"LFs",                 IN("\n\n\r\n.\r\n"),              "\r\n\r\n\r\n",       true,  ""},
    {"CRs",                 IN("\r\r\r\n.\r\n"),              "  \r\n",             true,  ""},
    {"LFCR",                IN("a\n\r\n.\r\n"),               "a\r\n\r\n",          true,  ""},
    // the end that does not come
    {"nothing",             IN(""),                           NULL,                 false, ""},
    {"dot",                 IN("a\r\n."),                     NULL,                 false, ""},
    {"dot CR",              IN("a\r\n.\r"),                   NULL,                 false, ""},
    {"no CRLF before",      IN("a.\r\n"),                     NULL,                 false, ""},
};
// clang-format on

// Feeds in pieces of `step` after a first one of `first`; *used: octets up to the end.
static bool decode(struct smtp_data *d, struct str in, size_t first, size_t step, struct buf *out,
                   size_t *used)
{
    size_t cut = first;
    bool end = false;
    *used = 0;
    smtp_data_begin(d);
    while (!end && *used < in.len) {
        struct str piece;
        struct str input = str_sub(in, *used, cut - *used);
        if (input.len == 0) {
            cut += step;
            continue;
        }
        size_t n = smtp_data_feed(d, input, &piece, &end);
        assert_true(n <= input.len);
        assert_true(n > 0 || piece.len > 0);
        buf_put(out, piece);
        *used += n;
    }
    assert_true(buf_ok(out));
    return end;
}

static void check_case(const struct data_case *c, size_t first, size_t step)
{
    struct smtp_data d;
    struct buf out;
    size_t used;
    buf_init(&out, TEXT_MAX);
    bool end = decode(&d, c->in, first, step, &out, &used);
    if (end != (c->out != NULL) || d.bare_newline != c->bare)
        fail_msg("%s, cut at %zu by %zu: wrong end or wrong flag", c->name, first, step);
    if (end) {
        assert_true(str_eq(str_skip(c->in, used), str_of(c->rest)));
        check_put(&out, c->out);
    }
    buf_finish(&out);
}

static void every_case_and_every_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_case(&cases[i], 0, 1);
        for (size_t cut = 0; cut <= cases[i].in.len; cut++)
            check_case(&cases[i], cut, cases[i].in.len + 1);
    }
}

// The same in the plainest words: the end is looked for first, then lines are taken one by one.
static bool reference(struct str in, struct buf *out, size_t *used)
{
    size_t end = 0;
    if (!str_starts(in, STR(".\r\n"))) {
        end = str_find(in, STR("\r\n.\r\n")) + 2;
        if (end > in.len)
            return false;
    }
    *used = end + 3;
    in = str_sub(in, 0, end);
    while (in.len > 0) {
        struct str line = str_sub(in, 0, str_find(in, STR("\r\n")));
        in = str_skip(in, line.len + 2);
        line = str_skip(line, line.len > 0 && line.ptr[0] == '.');
        for (size_t i = 0; i < line.len; i++) {
            if (line.ptr[i] == '\n')
                buf_put(out, STR("\r\n"));
            else
                buf_put_byte(out, line.ptr[i] == '\r' ? ' ' : line.ptr[i]);
        }
        buf_put(out, STR("\r\n"));
    }
    return true;
}

static void random_text_agrees_with_the_reference(void **state)
{
    (void)state;
    enum { ROUNDS = 4000, LENGTH = 40 };
    static const char letters[] = {'\r', '\n', '\r', '\n', '.', '.', 'x', '\0'};
    uint64_t seed = 5321;
    unsigned ends = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char text[LENGTH];
        for (size_t i = 0; i < LENGTH; i++)
            text[i] = letters[check_random(&seed) % sizeof letters];
        if (check_random(&seed) % 2)
            memcpy(text + LENGTH - 5, "\r\n.\r\n", 5);
        struct str in = str_from(text, LENGTH);
        struct smtp_data d;
        struct buf got, want;
        size_t used, want_used = 0;
        buf_init(&got, TEXT_MAX);
        buf_init(&want, TEXT_MAX);
        bool end =
            decode(&d, in, check_random(&seed) % LENGTH, 1 + check_random(&seed) % 7, &got, &used);
        assert_int_equal(end, reference(in, &want, &want_used));
        if (end) {
            assert_int_equal(used, want_used);
            assert_true(str_eq(buf_str(&got), buf_str(&want)));
        }
        ends += end;
        buf_finish(&got);
        buf_finish(&want);
    }
    assert_in_range(ends, ROUNDS / 4, ROUNDS);
}

static void clean_text_is_one_view_of_the_input(void **state)
{
    (void)state;
    struct buf text;
    struct smtp_data d;
    struct str piece;
    bool end;
    buf_init(&text, TEXT_MAX);
    for (int i = 0; i < 100; i++)
        buf_put(&text,
                STR("Seventy-six octets and CRLF, as most lines of most letters have it.\r\n"));
    for (int i = 0; i < 5000; i++) // a line longer than the window
        buf_put_byte(&text, 'x');
    buf_put(&text, STR("\r\n"));
    size_t letter = text.len;
    buf_put(&text, STR(".\r\nQUIT\r\n"));
    struct str in = buf_str(&text);
    smtp_data_begin(&d);
    assert_int_equal(smtp_data_feed(&d, in, &piece, &end), letter);
    assert_ptr_equal(piece.ptr, in.ptr);
    assert_int_equal(piece.len, letter);
    assert_false(end);
    assert_int_equal(smtp_data_feed(&d, str_skip(in, letter), &piece, &end), 3);
    assert_true(end);
    assert_int_equal(piece.len, 0);
    assert_false(d.bare_newline);
    buf_finish(&text);
}

// A CRLF on the edge of the search window is as good as any other.
static void crlf_at_every_offset(void **state)
{
    (void)state;
    for (size_t before = 1000; before < 1050; before++) {
        struct buf text, out;
        struct smtp_data d;
        size_t used;
        buf_init(&text, TEXT_MAX);
        buf_init(&out, TEXT_MAX);
        for (size_t i = 0; i < before; i++)
            buf_put_byte(&text, 'y');
        buf_put(&text, STR("\r\n..z\r\n.\r\n"));
        assert_true(decode(&d, buf_str(&text), text.len, 1, &out, &used));
        assert_false(d.bare_newline);
        assert_int_equal(used, text.len);
        assert_int_equal(out.len, before + 2 + 4);
        assert_true(str_ends(buf_str(&out), STR("y\r\n.z\r\n")));
        buf_finish(&text);
        buf_finish(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_and_every_cut),
        cmocka_unit_test(random_text_agrees_with_the_reference),
        cmocka_unit_test(clean_text_is_one_view_of_the_input),
        cmocka_unit_test(crlf_at_every_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
