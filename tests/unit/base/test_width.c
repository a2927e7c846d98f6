#include "base/width.h"

#include "../check.h"

static void widths(void **state)
{
    (void)state;
    const struct {
        struct str text;
        size_t columns;
    } cases[] = {
        {STR(""), 0},
        {STR("plain"), 5},
        {STR("ünïcode"), 7},
        {STR("u\xcc\x88"), 1}, // a combining mark
        {STR("测试"), 4},
        {STR("用户@例子.测试"), 14},
        {STR("한국어"), 6},
        {STR("日本語ｶﾅ"), 8}, // half-width kana
        {STR("Ａ！"), 4},     // full-width
        {STR("𠮷"), 2},
        {STR("😀"), 2},
        {STR("a\xe2\x80\x8b"
             "b"),
         2},                      // ZERO WIDTH SPACE
        {STR("\xe2\x80\xae"), 0}, // RIGHT-TO-LEFT OVERRIDE
        {STR("\t\n"), 2},
        {STR("\xff\xfe"), 2},
        {STR("\xe6\xb5"), 2},         // a cut character: octet by octet
        {STR("\xe1\x84\x80"), 2},     // U+1100, the first of the table
        {STR("\xe1\x83\xbf"), 1},     // U+10FF, before it
        {STR("\xe1\x85\xa0"), 1},     // U+1160, behind its first range
        {STR("\xf0\xb1\x8d\x8a"), 2}, // U+3134A, the last
        {STR("\xf0\xb1\x8d\x8b"), 1},
        {STR("\xf4\x8f\xbf\xbf"), 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (width_of(cases[i].text) != cases[i].columns)
            fail_msg("case %zu: %zu columns", i, width_of(cases[i].text));
}

static void fitting(void **state)
{
    (void)state;
    const struct {
        struct str text;
        size_t columns, octets;
    } cases[] = {
        {STR("abc"), 0, 0},        {STR("abc"), 2, 2},  {STR("abc"), 9, 3},  {STR("测试"), 1, 0},
        {STR("测试"), 2, 3},       {STR("测试"), 3, 3}, {STR("测试"), 4, 6}, {STR("a测"), 2, 1},
        {STR("u\xcc\x88x"), 1, 3}, // the mark goes with its letter
        {STR(""), 5, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(width_fit(cases[i].text, cases[i].columns), cases[i].octets);
}

// Any octets: what fits is no wider than asked, and what is left over would not have fitted.
static void fitting_agrees_with_widths(void **state)
{
    (void)state;
    uint64_t seed = 17;
    for (int round = 0; round < 5000; round++) {
        char text[24];
        size_t len = check_random(&seed) % (sizeof text + 1);
        for (size_t i = 0; i < len; i++)
            text[i] = "a\xe6\xb5\x8b\xcc\x88\xf0\xff\n"[check_random(&seed) % 9];
        struct str s = str_from(text, len);
        size_t columns = check_random(&seed) % 30, octets = width_fit(s, columns);
        assert_true(octets <= len);
        assert_true(width_of(str_sub(s, 0, octets)) <= columns);
        assert_true(octets == len || width_of(s) > columns);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widths),
        cmocka_unit_test(fitting),
        cmocka_unit_test(fitting_agrees_with_widths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
