#include "base/err.h"

#include <errno.h>

#include "../check.h"

static void filled(void **state)
{
    (void)state;
    struct err err = {.code = 99};
    assert_false(err_set(&err, ERR_PEER_WRONG, STATUS(5, 1, 3), "%s is %d", "测试", 7));
    assert_int_equal(err.class, ERR_PEER_WRONG);
    assert_int_equal(err.status.class, 5);
    assert_int_equal(err.status.subject, 1);
    assert_int_equal(err.status.detail, 3);
    assert_int_equal(err.code, 0);
    assert_string_equal(err.text, "测试 is 7");
    assert_true(str_eq(err_text(&err), STR("测试 is 7")));
    assert_false(err_set(&err, ERR_GIVE_UP, STATUS(0, 0, 0), "%s", ""));
    assert_string_equal(err.text, "");
}

static void of_system_calls(void **state)
{
    (void)state;
    struct err err;
    char want[ERR_TEXT_MAX];
    assert_false(err_system(&err, -ENOENT, "open (%s)", "x"));
    assert_int_equal(err.class, ERR_TRY_LATER);
    assert_int_equal(err.code, ENOENT);
    assert_int_equal(err.status.subject, 3);
    assert_int_equal(err.status.detail, 0);
    snprintf(want, sizeof want, "open (x): %s", strerror(ENOENT));
    assert_string_equal(err.text, want);
    const int full[] = {-ENOSPC, ENOSPC, -EDQUOT};
    for (size_t i = 0; i < ARRAY_LEN(full); i++) {
        assert_false(err_system(&err, full[i], "write"));
        assert_int_equal(err.status.class, 4);
        assert_int_equal(err.status.detail, 1);
    }
}

static void the_text_is_safe_to_log(void **state)
{
    (void)state;
    struct err err;
    assert_false(err_set(&err, ERR_PEER_WRONG, STATUS(5, 0, 0), "%s", "a\r\nEvil: \x1b[31m\xff"));
    assert_string_equal(err.text, "a\\x0d\\x0aEvil: \\x1b[31m\\xff");
}

static void long_texts_show_that_they_are_cut(void **state)
{
    (void)state;
    struct err err;
    char text[9000];
    const size_t lengths[] = {ERR_TEXT_MAX - 2, ERR_TEXT_MAX - 1, ERR_TEXT_MAX, 8999};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        memset(text, 'x', sizeof text);
        text[lengths[i]] = '\0';
        assert_false(err_set(&err, ERR_GIVE_UP, STATUS(5, 0, 0), "%s", text));
        bool cut = lengths[i] > ERR_TEXT_MAX - 1;
        assert_int_equal(strlen(err.text), cut ? ERR_TEXT_MAX - 1 : lengths[i]);
        assert_int_equal(str_ends(err_text(&err), STR("...")), cut);
    }
}

// A cut text is UTF-8 still, wherever the cut falls.
static void characters_are_not_cut(void **state)
{
    (void)state;
    struct err err;
    struct buf text;
    buf_init(&text, 4096);
    for (int shift = 0; shift < 8; shift++) {
        buf_clear(&text);
        buf_put(&text, str_sub(STR("xxxxxxxx"), 0, (size_t)shift));
        for (int i = 0; i < 200; i++)
            buf_put(&text, i % 2 ? STR("测") : STR("𠮷"));
        buf_put_byte(&text, '\0');
        assert_false(err_set(&err, ERR_GIVE_UP, STATUS(5, 0, 0), "%s", text.ptr));
        assert_true(str_is_utf8(err_text(&err)));
        assert_true(str_ends(err_text(&err), STR("...")));
        assert_true(strlen(err.text) > ERR_TEXT_MAX - 8);
        assert_int_equal(str_index(err_text(&err), '\\'), strlen(err.text));
    }
    buf_finish(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filled),
        cmocka_unit_test(of_system_calls),
        cmocka_unit_test(the_text_is_safe_to_log),
        cmocka_unit_test(long_texts_show_that_they_are_cut),
        cmocka_unit_test(characters_are_not_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
