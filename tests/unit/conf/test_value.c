#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "conf/value.h"

static struct conf_option option_of(enum conf_type type, uint64_t min, uint64_t max)
{
    return (struct conf_option){
        .name = "drain", .type = type, .preset = "", .min = min, .max = max};
}

static bool read_as(const struct conf_option *option, const char *text, struct arena *arena,
                    struct conf_value *value)
{
    struct complaint complaint = {.text = STR("")};
    bool ok = value_read(option, str_of(text), STR("/etc/posthouse"), arena, value, &complaint);
    if (!ok)
        assert_true(complaint.text.len > 0);
    return ok;
}

static void numbers(void **state)
{
    // text: what is written; back: what value_put makes of it; NULL: refused
    static const struct {
        enum conf_type type;
        const char *text;
        uint64_t number;
        const char *back;
    } cases[] = {
        {CONF_SIZE, "0", 0, "0"},
        {CONF_SIZE, "1", 1, "1"},
        {CONF_SIZE, "1025", 1025, "1025"},
        {CONF_SIZE, "64K", 65536, "64K"},
        {CONF_SIZE, "1024K", 1048576, "1M"},
        {CONF_SIZE, "25M", 26214400, "25M"},
        {CONF_SIZE, "1G", 1073741824, "1G"},
        {CONF_SIZE, "17179869183G", UINT64_MAX - 1073741823, "17179869183G"},
        {CONF_SIZE, "25m", 0, NULL},
        {CONF_SIZE, "25MB", 0, NULL},
        {CONF_SIZE, "25 M", 0, NULL},
        {CONF_SIZE, "-1", 0, NULL},
        {CONF_SIZE, "1.5G", 0, NULL},
        {CONF_SIZE, "", 0, NULL},
        {CONF_SIZE, "M", 0, NULL},
        {CONF_SIZE, "多", 0, NULL},
        {CONF_TIME, "0", 0, "0"},
        {CONF_TIME, "0s", 0, "0"},
        {CONF_TIME, "500ms", 500, "500ms"},
        {CONF_TIME, "30s", 30000, "30s"},
        {CONF_TIME, "90s", 90000, "90s"},
        {CONF_TIME, "5m", 300000, "5m"},
        {CONF_TIME, "4h", 14400000, "4h"},
        {CONF_TIME, "48h", 172800000, "2d"},
        {CONF_TIME, "30", 0, NULL},
        {CONF_TIME, "30S", 0, NULL},
        {CONF_TIME, "5min", 0, NULL},
        {CONF_TIME, "1h30m", 0, NULL},
        {CONF_COUNT, "0", 0, "0"},
        {CONF_COUNT, "1000", 1000, "1000"},
        {CONF_COUNT, "007", 7, "7"},
        {CONF_COUNT, "18446744073709551615", UINT64_MAX, "18446744073709551615"},
        {CONF_COUNT, "18446744073709551616", 0, NULL},
        {CONF_COUNT, "+1", 0, NULL},
        {CONF_COUNT, "1K", 0, NULL},
        {CONF_CLOCK, "00:00", 0, "00:00"},
        {CONF_CLOCK, "03:30", 210, "03:30"},
        {CONF_CLOCK, "23:59", 1439, "23:59"},
        {CONF_CLOCK, "3:30", 0, NULL},
        {CONF_CLOCK, "24:00", 0, NULL},
        {CONF_CLOCK, "03:60", 0, NULL},
        {CONF_CLOCK, "03-30", 0, NULL},
        {CONF_CLOCK, "03:3", 0, NULL},
        {CONF_CLOCK, "0a:30", 0, NULL},
        {CONF_CLOCK, "", 0, NULL},
        {CONF_FLAG, "yes", 1, "yes"},
        {CONF_FLAG, "true", 1, "yes"},
        {CONF_FLAG, "no", 0, "no"},
        {CONF_FLAG, "false", 0, "no"},
        {CONF_FLAG, "YES", 0, NULL},
        {CONF_FLAG, "1", 0, NULL},
        {CONF_FLAG, "", 0, NULL},
    };
    struct arena arena;
    (void)state;
    arena_init(&arena, LIMIT_config_memory);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conf_option option = option_of(cases[i].type, 0, UINT64_MAX);
        struct conf_value value;
        struct buf back;
        assert_int_equal(read_as(&option, cases[i].text, &arena, &value), cases[i].back != NULL);
        if (!cases[i].back)
            continue;
        assert_true(value.number == cases[i].number);
        buf_init(&back, 100);
        value_put(&back, &option, &value);
        assert_true(str_eq(buf_str(&back), str_of(cases[i].back)));
        assert_true(read_as(&option, cases[i].back, &arena, &value));
        assert_true(value.number == cases[i].number);
        buf_finish(&back);
    }
    arena_finish(&arena);
}

static void a_number_beyond_all_units_is_out_of_range(void **state)
{
    struct conf_option option = option_of(CONF_SIZE, 0, UINT64_MAX - 1);
    struct conf_value value;
    struct arena arena;
    (void)state;
    arena_init(&arena, LIMIT_config_memory);
    assert_false(read_as(&option, "17179869184G", &arena, &value));
    assert_false(read_as(&option, "99999999999999999999999", &arena, &value));
    arena_finish(&arena);
}

static void ranges(void **state)
{
    struct conf_option option = option_of(CONF_TIME, 1000, 60000);
    struct conf_value value;
    struct arena arena;
    (void)state;
    arena_init(&arena, LIMIT_config_memory);
    assert_false(read_as(&option, "999ms", &arena, &value));
    assert_true(read_as(&option, "1s", &arena, &value));
    assert_true(read_as(&option, "1m", &arena, &value));
    assert_false(read_as(&option, "61s", &arena, &value));
    assert_false(read_as(&option, "0", &arena, &value));
    arena_finish(&arena);
}

static void paths(void **state)
{
    static const struct {
        const char *text, *path;
    } cases[] = {
        {"spool", "/etc/posthouse/spool"},
        {"/var/spool", "/var/spool"},
        {"spool///", "/etc/posthouse/spool"},
        {"/", "/"},
        {"../x", "/etc/posthouse/../x"},
        {"邮件", "/etc/posthouse/邮件"},
        {"", NULL},
        {"a\nb", NULL},
        {"a\x7f", NULL},
        {"\xc2\x9b", NULL},
    };
    struct conf_option option = option_of(CONF_PATH, 0, 0);
    struct conf_value value;
    struct complaint complaint;
    struct arena arena;
    char huge[5000];
    (void)state;
    arena_init(&arena, LIMIT_config_memory);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(read_as(&option, cases[i].text, &arena, &value), cases[i].path != NULL);
        if (cases[i].path)
            assert_string_equal(value.text.ptr, cases[i].path);
    }
    memset(huge, 'x', sizeof(huge));
    assert_false(
        value_read(&option, str_from(huge, sizeof(huge)), STR("/"), &arena, &value, &complaint));
    assert_false(value_read(&option, STR("a\0b"), STR("/"), &arena, &value, &complaint));
    value.text = STR("relative");
    assert_false(value_check(&option, &value, &arena, &complaint));
    arena_finish(&arena);
}

static void texts_come_back(void **state)
{
    static const char *const texts[] = {"posthouse", "",     "a b",  "\"quoted\"", "back\\slash",
                                        "yes",       "Null", "12",   "-x",         "/abs/path",
                                        "用户",      "a: b", "# no", "%d/%u",      "{x}"};
    struct conf_option option = option_of(CONF_TEXT, 0, 0);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct conf_value value = {.text = str_of(texts[i])};
        struct buf out;
        buf_init(&out, 1000);
        value_put(&out, &option, &value);
        bool bare = str_eq(buf_str(&out), value.text);
        assert_int_equal(bare, i == 0 || i == 9);
        buf_finish(&out);
    }
}

static void choices_and_addresses(void **state)
{
    const struct conf_option *bare = option_at(CONF_OPTION_top_bare_newline);
    const struct conf_option *address = &option_record(CONF_RECORD_listen)->fields[1];
    struct conf_value value;
    struct complaint complaint;
    struct arena arena;
    (void)state;
    arena_init(&arena, LIMIT_config_memory);
    assert_true(read_as(bare, "refuse", &arena, &value));
    assert_int_equal(value.number, CONF_BARE_REFUSE);
    assert_false(value_read(bare, STR("refus"), STR("/"), &arena, &value, &complaint));
    assert_true(str_find(complaint.hint, STR("did you mean \"refuse\"?")) < complaint.hint.len);
    value.number = 2;
    assert_false(value_check(bare, &value, &arena, &complaint));
    assert_true(read_as(address, "[::1]:2525", &arena, &value));
    assert_int_equal(value.address.family, 6);
    static const char *const wrong[] = {"localhost:25", "127.0.0.1", "127.0.0.1:70000",
                                        "::1:25",       "",          ":25"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_false(read_as(address, wrong[i], &arena, &value));
    arena_finish(&arena);
}

static void a_full_arena_is_told(void **state)
{
    struct conf_option text = option_of(CONF_TEXT, 0, 0), path = option_of(CONF_PATH, 0, 0);
    struct conf_value value;
    struct arena arena;
    (void)state;
    arena_init(&arena, 1);
    assert_false(read_as(&text, "posthouse", &arena, &value));
    assert_false(read_as(&path, "posthouse", &arena, &value));
    arena_finish(&arena);
}

// Every default is a value that its option takes, and is what value_put writes.
static void defaults_are_values(void **state)
{
    struct arena arena;
    (void)state;
    arena_init(&arena, LIMIT_config_memory);
    for (enum conf_option_number n = 0; n < CONF_OPTIONS; n++) {
        const struct conf_option *option = option_at(n);
        struct conf_value value;
        struct buf out;
        assert_int_equal(option_find(option->group, str_of(option->name)), n);
        if (option->type == CONF_NAME || option->type == CONF_NETWORKS) // has none; an empty list
            continue;
        assert_true(read_as(option, option->preset, &arena, &value));
        buf_init(&out, 1000);
        value_put(&out, option, &value);
        if (!value_has_text(option))
            assert_true(str_eq(buf_str(&out), str_of(option->preset)));
        buf_finish(&out);
    }
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(a_number_beyond_all_units_is_out_of_range),
        cmocka_unit_test(ranges),
        cmocka_unit_test(paths),
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(choices_and_addresses),
        cmocka_unit_test(a_full_arena_is_told),
        cmocka_unit_test(defaults_are_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
