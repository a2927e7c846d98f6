#include "base/list.h"

#include "../check.h"

struct item {
    int number;
    struct link link;
};

static void check_order(const struct link *list, const char *want)
{
    struct buf got;
    buf_init(&got, 100);
    LIST_EACH(list, at, after)
    buf_putf(&got, "%d", CONTAINER_OF(at, struct item, link)->number);
    check_put(&got, want);
    // Backwards the same.
    size_t i = strlen(want);
    for (const struct link *at = list->prev; at != list; at = at->prev)
        assert_int_equal(CONTAINER_OF(at, const struct item, link)->number, want[--i] - '0');
    assert_int_equal(i, 0);
    buf_finish(&got);
}

static void lists(void **state)
{
    (void)state;
    struct link list;
    struct item items[5];
    list_init(&list);
    assert_true(list_empty(&list));
    assert_null(list_pop(&list));
    for (int i = 0; i < 5; i++)
        items[i] = (struct item){.number = i};
    assert_false(link_used(&items[0].link));
    list_remove(&items[0].link); // in no list: safe
    list_append(&list, &items[0].link);
    assert_true(link_used(&items[0].link));
    assert_false(list_empty(&list));
    list_append(&list, &items[1].link);
    list_prepend(&list, &items[2].link);
    list_append(&list, &items[3].link);
    list_prepend(&list, &items[4].link);
    check_order(&list, "42013");
    list_remove(&items[0].link);
    assert_false(link_used(&items[0].link));
    check_order(&list, "4213");
    list_remove(&items[0].link);
    assert_ptr_equal(list_pop(&list), &items[4].link);
    assert_false(link_used(&items[4].link));
    list_remove(&items[3].link);
    check_order(&list, "21");
    LIST_EACH(&list, at, after)
    list_remove(at); // the body may remove its item
    assert_true(list_empty(&list));
    check_order(&list, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lists)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
