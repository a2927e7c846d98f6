#include "base/arena.h"

#include "../check.h"

static void memory_is_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    struct arena a;
    unsigned char *pieces[200];
    arena_init(&a, 1 << 20);
    assert_null(a.chunks); // no memory before the first use
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        size_t size = i * 7 % 600;
        pieces[i] = arena_alloc(&a, size);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < size; k++)
            assert_int_equal(pieces[i][k], 0);
        memset(pieces[i], (int)(i & 0xff), size);
    }
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        for (size_t k = 0; k < i * 7 % 600; k++)
            assert_int_equal(pieces[i][k], i & 0xff);
    arena_finish(&a);
}

static void the_limit_holds_and_the_arena_lives_on(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096);
    assert_null(arena_alloc(&a, 4097));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 8));
    assert_int_equal(a.used, 0);
    size_t got = 0;
    while (arena_alloc(&a, 100))
        got++;
    assert_true(got >= 30 && got <= 40);
    assert_true(a.used <= a.limit);
    assert_non_null(arena_alloc(&a, 1)); // what fits still comes
    arena_reset(&a);
    assert_int_equal(a.used, 0);
    assert_null(a.chunks);
    assert_non_null(arena_alloc(&a, 4000));
    arena_finish(&a);
    arena_finish(&a); // harmless
}

static void arrays(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    assert_non_null(arena_alloc_array(&a, 10, sizeof(uint64_t)));
    assert_non_null(arena_alloc_array(&a, 0, 8));
    assert_non_null(arena_alloc_array(&a, 8, 0));
    assert_null(arena_alloc_array(&a, SIZE_MAX / 2 + 1, 2)); // the product would wrap to 0
    assert_null(arena_alloc_array(&a, SIZE_MAX, SIZE_MAX));
    uint64_t *one = ARENA_NEW(&a, uint64_t);
    assert_non_null(one);
    assert_true(*one == 0);
    arena_finish(&a);
}

static void copies_end_with_nul(void **state)
{
    (void)state;
    struct arena a;
    char text[] = "测试\0x";
    struct str copy = STR("untouched");
    arena_init(&a, 1024);
    assert_true(arena_copy(&a, str_from(text, 8), &copy));
    text[0] = 'X';
    assert_true(str_eq(copy, STR("测试\0x")));
    assert_int_equal(copy.ptr[copy.len], '\0');
    assert_true(arena_copy(&a, (struct str){NULL, 0}, &copy));
    assert_int_equal(copy.len, 0);
    assert_non_null(copy.ptr);
    copy = STR("untouched");
    assert_false(arena_copy(&a, str_from(text, 2000), &copy)); // refused before it is read
    assert_true(str_eq(copy, STR("untouched")));
    arena_finish(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_apart),
        cmocka_unit_test(the_limit_holds_and_the_arena_lives_on),
        cmocka_unit_test(arrays),
        cmocka_unit_test(copies_end_with_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
