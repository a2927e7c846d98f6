#include "proto/smtp_text.h"

#include "../check.h"

enum { ROOM = 4096 };

struct text_case {
    const char *name;
    const char *in;
    const char *want; // with dots, without the lone one at the end
    const char *chunk;
};

// clang-format off
static const struct text_case cases[] = {
    {"nothing",             "",                  "",                   ""},
    {"a line",              "a\r\n",             "a\r\n",              "a\r\n"},
    {"no end",              "a",                 "a\r\n",              "a\r\n"},
    {"an empty line",       "\r\n",              "\r\n",               "\r\n"},
    {"a dot",               ".",                 "..\r\n",             ".\r\n"},
    {"a dot and an end",    ".\r\n",             "..\r\n",             ".\r\n"},
    {"dots",                "..\r\n.a\r\nb.\r\n", "...\r\n..a\r\nb.\r\n", "..\r\n.a\r\nb.\r\n"},
    // RFC 5321 section 2.3.8
    {"LF",                  "a\nb\n",            "a\r\nb\r\n",         "a\r\nb\r\n"},
    {"LF and dot",          "a\n.\nb",           "a\r\n..\r\nb\r\n",   "a\r\n.\r\nb\r\n"},
    {"LF, dot, CRLF",       "a\n.\r\nb",         "a\r\n..\r\nb\r\n",   "a\r\n.\r\nb\r\n"},
    {"CR",                  "a\rb",              "a b\r\n",            "a b\r\n"},
    {"CR, dot, CR",         "a\r.\rb\r\n",       "a . b\r\n",          "a . b\r\n"},
    {"CR at the end",       "a\r",               "a \r\n",             "a \r\n"},
    {"CR alone",            "\r",                " \r\n",              " \r\n"},
    {"CR CRLF dot",         "\r\r\n.\r\n",       " \r\n..\r\n",        " \r\n.\r\n"},
    {"LF CR dot",           "\n\r.\r\n",         "\r\n .\r\n",         "\r\n .\r\n"},
    {"LF LF dot",           "\n\n.",             "\r\n\r\n..\r\n",     "\r\n\r\n.\r\n"},
};
// clang-format on

static void write_text(struct buf *out, struct str in, size_t cut, bool dots)
{
    struct smtp_text text;
    smtp_text_begin(&text, dots);
    smtp_text_put(&text, out, str_sub(in, 0, cut));
    smtp_text_put(&text, out, str_skip(in, cut));
    smtp_text_end(&text, out);
}

static void every_case_and_every_cut(void **state)
{
    (void)state;
    struct buf out, want;
    buf_init(&out, ROOM);
    buf_init(&want, ROOM);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str in = str_of(cases[i].in);
        for (size_t cut = 0; cut <= in.len; cut++) {
            buf_clear(&want);
            buf_putf(&want, "%s.\r\n", cases[i].want);
            buf_put_byte(&want, '\0');
            write_text(&out, in, cut, true);
            check_put(&out, want.ptr);
            write_text(&out, in, cut, false);
            check_put(&out, cases[i].chunk);
        }
    }
    buf_finish(&want);
    buf_finish(&out);
}

static void never_more_than_twice_and_one(void **state)
{
    (void)state;
    uint64_t seed = 7;
    struct buf out;
    buf_init(&out, ROOM);
    for (unsigned round = 0; round < 2000; round++) {
        struct smtp_text text;
        smtp_text_begin(&text, true);
        for (unsigned piece = 0; piece < 4; piece++) {
            char bytes[16];
            size_t len = check_random(&seed) % sizeof bytes;
            for (size_t i = 0; i < len; i++)
                bytes[i] = "\r\n.a"[check_random(&seed) % 4];
            buf_clear(&out);
            smtp_text_put(&text, &out, str_from(bytes, len));
            assert_in_range(out.len, 0, 2 * len + 1);
        }
    }
    buf_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_and_every_cut),
        cmocka_unit_test(never_more_than_twice_and_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
