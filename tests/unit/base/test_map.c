#include "base/map.h"

#include "../check.h"

struct item {
    uint32_t key;
    bool in_map;
};

static bool matches(const void *item, const void *key)
{
    return ((const struct item *)item)->key == *(const uint32_t *)key;
}

static void an_empty_map(void **state)
{
    (void)state;
    struct map m;
    uint32_t key = 1;
    size_t at = 0;
    map_init(&m, matches);
    assert_null(map_find(&m, 5, &key));
    assert_null(map_remove(&m, 5, &key));
    assert_null(map_next(&m, &at));
    map_finish(&m);
    map_finish(&m);
}

static void hash_zero_is_a_hash(void **state)
{
    (void)state;
    struct map m;
    struct item zero = {.key = 7}, one = {.key = 8};
    map_init(&m, matches);
    map_put(&m, 0, &zero);
    map_put(&m, 1, &one); // shares its slot with 0
    assert_ptr_equal(map_find(&m, 0, &zero.key), &zero);
    assert_ptr_equal(map_find(&m, 1, &one.key), &one);
    assert_ptr_equal(map_remove(&m, 0, &zero.key), &zero);
    assert_null(map_find(&m, 0, &zero.key));
    assert_ptr_equal(map_find(&m, 1, &one.key), &one);
    map_finish(&m);
}

static void equal_hashes_are_told_apart_by_their_keys(void **state)
{
    (void)state;
    struct map m;
    struct item items[40];
    map_init(&m, matches);
    for (uint32_t i = 0; i < ARRAY_LEN(items); i++) {
        items[i] = (struct item){.key = i};
        map_put(&m, UINT64_MAX, &items[i]);
    }
    for (uint32_t i = 0; i < ARRAY_LEN(items); i += 2)
        assert_ptr_equal(map_remove(&m, UINT64_MAX, &i), &items[i]);
    for (uint32_t i = 0; i < ARRAY_LEN(items); i++)
        assert_ptr_equal(map_find(&m, UINT64_MAX, &i), i % 2 ? &items[i] : NULL);
    assert_int_equal(m.count, ARRAY_LEN(items) / 2);
    map_finish(&m);
}

// Against a plain array of flags, through many puts and removals.
static void like_a_plain_array(void **state)
{
    (void)state;
    enum { KEYS = 500 };
    struct map m;
    struct item items[KEYS];
    size_t count = 0;
    uint64_t seed = 5;
    map_init(&m, matches);
    for (uint32_t i = 0; i < KEYS; i++)
        items[i] = (struct item){.key = i};
    for (int step = 0; step < 200000; step++) {
        uint32_t key = check_random(&seed) % KEYS;
        uint64_t hash = key % 61 * 0x9e3779b97f4a7c15U; // with collisions
        struct item *item = &items[key];
        assert_ptr_equal(map_find(&m, hash, &key), item->in_map ? item : NULL);
        if (item->in_map) {
            assert_ptr_equal(map_remove(&m, hash, &key), item);
            count--;
        } else if (check_random(&seed) % 3 == 0) {
            map_put(&m, hash, item);
            count++;
        } else {
            assert_null(map_remove(&m, hash, &key));
            continue;
        }
        item->in_map = !item->in_map;
        assert_int_equal(m.count, count);
    }
    assert_true(m.cap <= 2048); // removed slots are swept, not piled up
    map_finish(&m);
}

static void walking_while_removing(void **state)
{
    (void)state;
    enum { KEYS = 100 };
    struct map m;
    struct item items[KEYS];
    map_init(&m, matches);
    for (uint32_t i = 0; i < KEYS; i++) {
        items[i] = (struct item){.key = i, .in_map = true};
        map_put(&m, i * 31, &items[i]);
    }
    size_t seen = 0, at = 0;
    for (struct item *item; (item = map_next(&m, &at)) != NULL; seen++) {
        assert_true(item->in_map); // each once
        item->in_map = false;
        if (item->key % 2)
            assert_ptr_equal(map_remove(&m, item->key * 31, &item->key), item);
    }
    assert_int_equal(seen, KEYS);
    assert_int_equal(m.count, KEYS / 2);
    map_finish(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map),
        cmocka_unit_test(hash_zero_is_a_hash),
        cmocka_unit_test(equal_hashes_are_told_apart_by_their_keys),
        cmocka_unit_test(like_a_plain_array),
        cmocka_unit_test(walking_while_removing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
