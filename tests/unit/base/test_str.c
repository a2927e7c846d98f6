#include "base/str.h"

#include "../check.h"

static const struct str nothing = {NULL, 0};

static void making_and_comparing(void **state)
{
    (void)state;
    assert_int_equal(str_of(NULL).len, 0);
    assert_int_equal(str_of("abc").len, 3);
    assert_int_equal(STR("a\0b").len, 3);
    assert_true(str_eq(STR("a\0b"), str_from("a\0b", 3)));
    assert_true(str_eq(nothing, STR("")));
    assert_false(str_eq(STR("a"), STR("b")));
    assert_false(str_eq(STR("a"), STR("ab")));
    assert_false(str_eq(STR("a\0b"), STR("a\0c")));
    assert_true(str_eq_nocase(STR("Hello"), STR("hELLO")));
    assert_false(str_eq_nocase(STR("@"), STR("`"))); // 32 apart, as letters are
    assert_false(str_eq_nocase(STR("Ü"), STR("ü"))); // ASCII only
    assert_false(str_eq_nocase(STR("a"), STR("ab")));
    assert_true(str_eq_nocase(nothing, STR("")));
}

static void beginnings_and_ends(void **state)
{
    (void)state;
    assert_true(str_starts(STR("MAIL FROM"), STR("MAIL")));
    assert_false(str_starts(STR("MAI"), STR("MAIL")));
    assert_true(str_starts(STR("MAIL"), nothing));
    assert_true(str_starts(nothing, nothing));
    assert_true(str_starts_nocase(STR("mail from"), STR("MAIL ")));
    assert_false(str_starts_nocase(STR("mai"), STR("MAIL")));
    assert_true(str_ends(STR("a.test"), STR(".test")));
    assert_false(str_ends(STR("test"), STR(".test")));
    assert_true(str_ends(STR("x"), nothing));
}

static void order(void **state)
{
    (void)state;
    // Ascending by unsigned octets, the shorter first.
    const struct str sorted[] = {STR(""),   STR("\0"), STR("a"),  STR("a\0"),
                                 STR("aa"), STR("b"),  STR("测"), STR("\xff")};
    for (size_t i = 0; i < ARRAY_LEN(sorted); i++)
        for (size_t k = 0; k < ARRAY_LEN(sorted); k++) {
            int got = str_cmp(sorted[i], sorted[k]);
            assert_int_equal((got > 0) - (got < 0), (i > k) - (i < k));
        }
    assert_int_equal(str_cmp(nothing, nothing), 0);
}

static void searching(void **state)
{
    (void)state;
    assert_int_equal(str_index(STR("abcabc"), 'c'), 2);
    assert_int_equal(str_rindex(STR("abcabc"), 'c'), 5);
    assert_int_equal(str_index(STR("abc"), 'x'), 3);
    assert_int_equal(str_rindex(STR("abc"), 'x'), 3);
    assert_int_equal(str_index(STR("a\0b"), '\0'), 1);
    assert_int_equal(str_index(nothing, 'x'), 0);
    assert_int_equal(str_rindex(nothing, 'x'), 0);
    assert_int_equal(str_find(STR("hello"), STR("llo")), 2);
    assert_int_equal(str_find(STR("hello"), STR("lo!")), 5);
    assert_int_equal(str_find(STR("aaab"), STR("aab")), 1);
    assert_int_equal(str_find(STR("ab"), STR("abc")), 2);
    assert_int_equal(str_find(STR("ab"), nothing), 0);
    assert_int_equal(str_find(nothing, STR("a")), 0);
    assert_int_equal(str_find(STR("x\r\n\r\ny"), STR("\r\n\r\n")), 1);
}

static void parts_are_clamped(void **state)
{
    (void)state;
    struct str s = STR("abcdef");
    assert_true(str_eq(str_sub(s, 1, 3), STR("bcd")));
    assert_true(str_eq(str_sub(s, 4, 100), STR("ef")));
    assert_true(str_eq(str_sub(s, 4, SIZE_MAX), STR("ef")));
    assert_int_equal(str_sub(s, 6, 1).len, 0);
    assert_int_equal(str_sub(s, SIZE_MAX, SIZE_MAX).len, 0);
    assert_true(str_eq(str_skip(s, 2), STR("cdef")));
    assert_int_equal(str_skip(s, 7).len, 0);
    assert_int_equal(str_skip(nothing, 1).len, 0);
}

static void trimming(void **state)
{
    (void)state;
    assert_true(str_eq(str_trim_blanks(STR(" \ta b\t ")), STR("a b")));
    assert_true(str_eq(str_trim_blanks(STR(" a\r\n")), STR("a\r\n")));
    assert_true(str_eq(str_trim(STR("\r\n a \r\n")), STR("a")));
    assert_int_equal(str_trim(STR(" \r\n\t")).len, 0);
    assert_int_equal(str_trim(nothing).len, 0);
    assert_true(str_eq(str_trim(STR("\0 ")), STR("\0")));
}

static void cutting(void **state)
{
    (void)state;
    struct str rest = STR("a,,b"), head;
    assert_true(str_cut(&rest, ',', &head) && str_eq(head, STR("a")));
    assert_true(str_cut(&rest, ',', &head) && str_eq(head, STR("")));
    assert_true(str_cut(&rest, ',', &head) && str_eq(head, STR("b")));
    assert_false(str_cut(&rest, ',', &head));
    rest = STR("a,");
    assert_true(str_cut(&rest, ',', &head) && str_eq(head, STR("a")));
    assert_false(str_cut(&rest, ',', &head));
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } cases[] = {
        {"0", true, 0},
        {"007", true, 7},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"0x1", false, 0},
        {"1a", false, 0},
        {"１", false, 0}, // FULLWIDTH DIGIT ONE
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t value = 42;
        assert_int_equal(str_to_u64(str_of(cases[i].text), &value), cases[i].ok);
        assert_true(value == (cases[i].ok ? cases[i].value : 42));
    }
}

static void utf8(void **state)
{
    (void)state;
    const struct {
        struct str text;
        bool ok;
    } cases[] = {
        {STR(""), true},
        {STR("plain\0text"), true},
        {STR("测试 ünïcode 𠮷"), true},
        {STR("\xc2\x80"), true},
        {STR("\xdf\xbf"), true},
        {STR("\xe0\xa0\x80"), true},
        {STR("\xed\x9f\xbf"), true},
        {STR("\xee\x80\x80"), true},
        {STR("\xf0\x90\x80\x80"), true},
        {STR("\xf4\x8f\xbf\xbf"), true},
        {STR("\x80"), false},
        {STR("\xbf"), false},
        {STR("\xc0\x80"), false}, // over-long NUL
        {STR("\xc1\xbf"), false},
        {STR("\xe0\x9f\xbf"), false},
        {STR("\xed\xa0\x80"), false}, // surrogates
        {STR("\xed\xbf\xbf"), false},
        {STR("\xf0\x8f\xbf\xbf"), false},
        {STR("\xf4\x90\x80\x80"), false}, // above U+10FFFF
        {STR("\xf5\x80\x80\x80"), false},
        {STR("\xff"), false},
        {STR("\xc2"), false},
        {STR("\xe6\xb5"), false},
        {STR("\xf0\xa0\xae"), false},
        {STR("\xe6\xb5x"), false},
        {STR("\xe6x\x8b"), false},
        {STR("\xf0\xa0\xae\xc0"), false},
        {STR("测\xff试"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        // A copy of just that length: the sanitizer sees a read beyond it.
        char *copy = malloc(cases[i].text.len + 1);
        assert_non_null(copy);
        memcpy(copy + 1, cases[i].text.ptr, cases[i].text.len);
        assert_int_equal(str_is_utf8(str_from(copy + 1, cases[i].text.len)), cases[i].ok);
        free(copy);
    }
    assert_true(str_is_ascii(STR("a\x7f\0")));
    assert_false(str_is_ascii(STR("a\x80")));
    assert_true(str_is_ascii(nothing));
}

// The vectors of the SipHash paper: key 00..0f, messages of 00, 01, ... of that length.
static void siphash(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        uint64_t hash;
    } cases[] = {
        {0, 0x726fdb47dd0e0e31U}, {1, 0x74f839c593dc67fdU},  {7, 0xab0200f58b01d137U},
        {8, 0x93f5f5799a932462U}, {15, 0xa129ca6149be45e5U},
    };
    const uint64_t key[2] = {0x0706050403020100U, 0x0f0e0d0c0b0a0908U};
    char message[16];
    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (char)i;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_true(str_hash(str_from(message, cases[i].len), key) == cases[i].hash);
    assert_true(str_hash(nothing, key) == cases[0].hash);
    const uint64_t other[2] = {1, 2};
    assert_true(str_hash(STR("a"), key) != str_hash(STR("a"), other));
}

static void little_endian_integers(void **state)
{
    (void)state;
    struct str s = STR("\x01\xff\xfe\x04\x03\x02\x01rest");
    assert_int_equal(str_take_le(&s, 1), 1);
    assert_int_equal(str_take_le(&s, 2), 0xfeff);
    assert_int_equal(str_take_le(&s, 4), 0x01020304);
    assert_true(str_eq(s, STR("rest")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(little_endian_integers),
        cmocka_unit_test(making_and_comparing),
        cmocka_unit_test(beginnings_and_ends),
        cmocka_unit_test(order),
        cmocka_unit_test(searching),
        cmocka_unit_test(parts_are_clamped),
        cmocka_unit_test(trimming),
        cmocka_unit_test(cutting),
        cmocka_unit_test(numbers),
        cmocka_unit_test(utf8),
        cmocka_unit_test(siphash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
