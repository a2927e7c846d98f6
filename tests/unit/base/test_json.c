#include "base/json.h"

#include "../check.h"

static void documents(void **state)
{
    (void)state;
    struct buf out;
    struct json j;
    buf_init(&out, 1000);
    json_begin(&j, &out);
    json_open_object(&j);
    json_close_object(&j);
    check_put(&out, "{}");

    json_begin(&j, &out);
    json_open_object(&j);
    json_name(&j, "event");
    json_put_string(&j, STR("accepted"));
    json_name(&j, "to");
    json_open_array(&j);
    json_put_string(&j, STR("a@b"));
    json_open_object(&j);
    json_name(&j, "x");
    json_put_int(&j, INT64_MIN);
    json_close_object(&j);
    json_open_array(&j);
    json_close_array(&j);
    json_put_int(&j, INT64_MAX);
    json_close_array(&j);
    json_name(&j, "yes");
    json_put_bool(&j, true);
    json_name(&j, "no");
    json_put_bool(&j, false);
    json_close_object(&j);
    check_put(&out, "{\"event\":\"accepted\",\"to\":[\"a@b\",{\"x\":-9223372036854775808},[],"
                    "9223372036854775807],\"yes\":true,\"no\":false}");
    buf_finish(&out);
}

static void strings(void **state)
{
    (void)state;
    const struct {
        struct str raw;
        const char *json;
    } cases[] = {
        {STR(""), "\"\""},
        {STR("a\"b\\c/d"), "\"a\\\"b\\\\c/d\""},
        {STR("a\r\n\t\0b"), "\"a\\u000d\\u000a\\u0009\\u0000b\""},
        {STR("\x1f\x7f"), "\"\\u001f\\u007f\""},
        {STR("测试 𠮷"), "\"测试 𠮷\""},
        {STR("a\xff"
             "b"),
         "\"a\\ufffdb\""},
        {STR("\xe6\xb5"), "\"\\ufffd\\ufffd\""},
        {STR("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\""},
        {STR("\xc0\xaf"), "\"\\ufffd\\ufffd\""},
        {STR("\xf0\xa0\xae"), "\"\\ufffd\\ufffd\\ufffd\""},
        {STR("\x80测"), "\"\\ufffd测\""},
    };
    struct buf out;
    buf_init(&out, 1000);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json j;
        json_begin(&j, &out);
        json_put_string(&j, cases[i].raw);
        check_put(&out, cases[i].json);
    }
    buf_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents),
        cmocka_unit_test(strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
