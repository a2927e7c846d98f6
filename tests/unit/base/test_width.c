#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/width.h"

static void widths(void **state)
{
    static const struct {
        const char *text;
        size_t width;
    } cases[] = {
        {"", 0},
        {"abc", 3},
        {"Grüße", 5},
        {"中文", 4},
        {"日本語", 6},
        {"한국어", 6},
        {"ｱﾊﾟｰﾄ", 5},
        {"全角Ａ", 6},
        {"e\xcc\x81", 1}, // e and a combining acute
        {"👍", 2},
        {"が", 2},
        {"\xe3\x81\x8b\xe3\x82\x99", 2}, // ka and a voicing mark
        {"\x80\xff", 2},
        {"\xe4\xb8", 2},
        {"a\tb", 3},
        {"—…", 2},
        {"\xf0\x9f\x91", 3},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(width_of(str_of(cases[i].text)), cases[i].width);
}

static void fits(void **state)
{
    static const struct {
        const char *text;
        size_t columns, octets;
    } cases[] = {
        {"abc", 2, 2},  {"abc", 9, 3}, {"中文", 3, 3},       {"中文", 4, 6},
        {"中文", 1, 0}, {"", 5, 0},    {"e\xcc\x81x", 1, 3},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(width_fit(str_of(cases[i].text), cases[i].columns), cases[i].octets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths),
        cmocka_unit_test(fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
