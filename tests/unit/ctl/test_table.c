#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "ctl/table.h"

static const struct table_column columns[] = {
    {.title = "USER"}, {.title = "LETTERS", .right = true}, {.title = "NOTE"}};

static void columns_fit_the_widest_cell(void **state)
{
    struct table t;
    struct arena arena;
    struct buf out;
    (void)state;
    arena_init(&arena, LIMIT_config_memory);
    buf_init(&out, 10000);
    table_init(&t, &arena, columns, ARRAY_LEN(columns));
    static const char *const cells[] = {"alice", "7",        "", "王小明的信箱", "1234567890",
                                        "x",     "b\033[2J", "", "中文"};
    for (size_t i = 0; i < ARRAY_LEN(cells); i++)
        table_cell(&t, str_of(cells[i]));
    assert_true(table_put(&t, &out, 0, false));
    buf_put_byte(&out, '\0');
    assert_string_equal(out.ptr, "USER             LETTERS  NOTE\n"
                                 "alice                  7\n"
                                 "王小明的信箱  1234567890  x\n"
                                 "b\\x1b[2J                  中文\n");
    buf_finish(&out);
    arena_finish(&arena);
}

static void put_narrow(struct table *t, size_t width, const char *want)
{
    struct buf out;
    buf_init(&out, 10000);
    assert_true(table_put(t, &out, width, false));
    buf_put_byte(&out, '\0');
    assert_string_equal(out.ptr, want);
    buf_finish(&out);
}

static void what_is_too_wide_goes_or_is_cut(void **state)
{
    static const struct table_column narrow[] = {{.title = "ID"},
                                                 {.title = "SIZE", .right = true, .spare = 2},
                                                 {.title = "TO", .cut = true},
                                                 {.title = "NEXT", .spare = 1}};
    static const char *const cells[] = {
        "X1", "1234", "someone@example.test", "today", "X2", "5", "王小明的信箱@例.测试", "", //
    };
    struct table t;
    struct arena arena;
    (void)state;
    arena_init(&arena, LIMIT_config_memory);
    table_init(&t, &arena, narrow, ARRAY_LEN(narrow));
    for (size_t i = 0; i < ARRAY_LEN(cells); i++)
        table_cell(&t, str_of(cells[i]));
    put_narrow(&t, 37,
               "ID  SIZE  TO                    NEXT\n"
               "X1  1234  someone@example.test  today\n"
               "X2     5  王小明的信箱@例.测试\n");
    put_narrow(&t, 30,
               "ID  SIZE  TO             NEXT\n"
               "X1  1234  someon…e.test  today\n"
               "X2     5  王小明….测试\n");
    put_narrow(&t, 22,
               "ID  SIZE  TO\n"
               "X1  1234  someo…test\n"
               "X2     5  王小….测试\n");
    put_narrow(&t, 12,
               "ID  TO\n"
               "X1  some…est\n"
               "X2  王小…试\n");
    put_narrow(&t, 3,
               "ID  TO\n" // it does not get narrower
               "X1  some…est\n"
               "X2  王小…试\n");
    arena_finish(&arena);
}

static void titles_are_bold_in_colour(void **state)
{
    struct table t;
    struct arena arena;
    struct buf out;
    (void)state;
    arena_init(&arena, LIMIT_config_memory);
    buf_init(&out, 10000);
    table_init(&t, &arena, columns, 1);
    assert_true(table_put(&t, &out, 0, true));
    assert_int_equal(out.len, 0); // no row, no titles
    table_cell(&t, STR("bob"));
    assert_true(table_put(&t, &out, 0, true));
    assert_true(str_eq(buf_str(&out), STR("\033[1mUSER\n\033[0mbob\n")));
    buf_finish(&out);
    arena_finish(&arena);
}

static void a_full_arena_is_no_table(void **state)
{
    struct table t;
    struct arena arena;
    struct buf out;
    (void)state;
    arena_init(&arena, 2000);
    buf_init(&out, 10000);
    table_init(&t, &arena, columns, ARRAY_LEN(columns));
    for (int i = 0; i < 1000; i++)
        table_cell(&t, STR("cell"));
    assert_false(table_put(&t, &out, 0, false));
    assert_int_equal(out.len, 0);
    buf_finish(&out);
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_fit_the_widest_cell),
        cmocka_unit_test(what_is_too_wide_goes_or_is_cut),
        cmocka_unit_test(titles_are_bold_in_colour),
        cmocka_unit_test(a_full_arena_is_no_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
