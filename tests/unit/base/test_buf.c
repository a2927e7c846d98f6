#include "base/buf.h"

#include "../check.h"

static void writing(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_null(b.ptr); // no memory before the first byte
    assert_true(str_eq(buf_str(&b), STR("")));
    buf_put(&b, STR("abc"));
    buf_put(&b, STR(""));
    buf_put_byte(&b, '\0');
    buf_putf(&b, "%d-%s", 42, "测试");
    assert_true(buf_ok(&b));
    assert_true(str_eq(buf_str(&b), STR("abc\00042-测试")));
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_true(b.cap > 0); // the memory stays
    buf_release(&b);
    assert_int_equal(b.cap, 0);
    assert_int_equal(b.limit, 1000);
    buf_put(&b, STR("again"));
    assert_true(str_eq(buf_str(&b), STR("again")));
    buf_finish(&b);
}

static void little_endian_numbers(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_put_u16(&b, 0x0201);
    buf_put_u32(&b, 0x06050403);
    buf_put_u64(&b, 0x0e0d0c0b0a090807U);
    assert_int_equal(b.len, 14);
    for (size_t i = 0; i < b.len; i++)
        assert_int_equal(b.ptr[i], i + 1);
    buf_finish(&b);
}

static void nothing_is_written_past_the_limit(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    buf_put(&b, STR("12345"));
    assert_true(buf_ok(&b)); // the limit itself is fine
    buf_put_byte(&b, '6');
    assert_false(buf_ok(&b));
    assert_true(str_eq(buf_str(&b), STR("12345")));
    buf_clear(&b);
    assert_true(buf_ok(&b));
    buf_put(&b, STR("123456")); // all or nothing
    assert_false(buf_ok(&b));
    assert_int_equal(b.len, 0);
    buf_put(&b, STR("1")); // and it stays so
    assert_int_equal(b.len, 0);
    buf_finish(&b);

    buf_init(&b, 0);
    buf_put(&b, STR(""));
    assert_true(buf_ok(&b));
    buf_put_byte(&b, 'x');
    assert_false(buf_ok(&b));
    buf_finish(&b);
}

static void formatted_text_respects_the_limit(void **state)
{
    (void)state;
    static const char thousand[] = "%01000d";
    struct buf b;
    buf_init(&b, 1000);
    buf_putf(&b, thousand, 7); // longer than the first guess, and just the limit
    assert_true(buf_ok(&b));
    assert_int_equal(b.len, 1000);
    assert_int_equal(b.ptr[999], '7');
    buf_putf(&b, "%s", "");
    assert_true(buf_ok(&b));
    buf_putf(&b, "%s", "x");
    assert_false(buf_ok(&b));
    assert_int_equal(b.len, 1000);
    buf_clear(&b);
    buf_put(&b, STR("abc"));
    buf_putf(&b, thousand, 7);
    assert_false(buf_ok(&b));
    assert_int_equal(b.len, 3);
    buf_putf(&b, "%d", 1); // after an overflow, with room for the guess
    assert_int_equal(b.len, 3);
    buf_finish(&b);

    buf_init(&b, 3);
    buf_putf(&b, "%d", 123); // too little room for the guess, enough for the text
    assert_true(buf_ok(&b));
    assert_true(str_eq(buf_str(&b), STR("123")));
    buf_finish(&b);
}

static void reserving_and_dropping(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 200);
    char *to = buf_reserve(&b, 150);
    assert_non_null(to);
    memset(to, 'x', 150);
    buf_added(&b, 100);
    assert_int_equal(b.len, 100);
    assert_non_null(buf_reserve(&b, 100));
    assert_null(buf_reserve(&b, 101));
    assert_false(buf_ok(&b));
    buf_clear(&b);
    assert_null(buf_reserve(&b, SIZE_MAX));
    buf_clear(&b);
    buf_put(&b, STR("abcdef"));
    buf_drop(&b, 0);
    buf_drop(&b, 4);
    assert_true(str_eq(buf_str(&b), STR("ef")));
    buf_drop(&b, 2);
    assert_int_equal(b.len, 0);
    buf_finish(&b);
}

static void growing_keeps_what_was_there(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    for (uint32_t i = 0; i < 25000; i++)
        buf_put_u32(&b, i);
    assert_true(buf_ok(&b));
    assert_int_equal(b.len, 100000);
    assert_true(b.cap <= b.limit);
    for (uint32_t i = 0; i < 25000; i++) {
        uint32_t v;
        memcpy(&v, b.ptr + i * sizeof v, sizeof v);
        assert_int_equal(v, i);
    }
    buf_finish(&b);
}

static void escaping(void **state)
{
    (void)state;
    const struct {
        struct str raw;
        const char *safe;
    } cases[] = {
        {STR("plain ~!"), "plain ~!"},
        {STR("测试 𠮷 ü"), "测试 𠮷 ü"},
        {STR("a\r\nb\tc"), "a\\x0d\\x0ab\\x09c"},
        {STR("a\0b\x7f"), "a\\x00b\\x7f"},
        {STR("\\x41"), "\\x5cx41"},
        {STR("\x1b[31m"), "\\x1b[31m"},
        {STR("\xc2\x9b"
             "31m"),
         "\\xc2\\x9b31m"}, // the C1 control CSI
        {STR("\xff\xe6\xb5"), "\\xff\\xe6\\xb5"},
        {STR("\xed\xa0\x80"), "\\xed\\xa0\\x80"},
        {STR("\xe6\xb5\x8b\xe6"), "测\\xe6"},
        {STR("\xc2"), "\\xc2"},
        {STR("\xf0\x9f\x98"), "\\xf0\\x9f\\x98"},
    };
    struct buf b;
    buf_init(&b, 1000);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_put_escaped(&b, cases[i].raw);
        check_put(&b, cases[i].safe);
    }
    buf_finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writing),
        cmocka_unit_test(little_endian_numbers),
        cmocka_unit_test(nothing_is_written_past_the_limit),
        cmocka_unit_test(formatted_text_respects_the_limit),
        cmocka_unit_test(reserving_and_dropping),
        cmocka_unit_test(growing_keeps_what_was_there),
        cmocka_unit_test(escaping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
