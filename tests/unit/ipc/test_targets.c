#include "ipc/targets.h"

#include "../check.h"

static void what_was_put_is_taken(void **state)
{
    (void)state;
    const struct resolved_target put[] = {
        {STR("alice@example.test"), STR("example.test/alice"), STR("0123456789ABCDEF"), false},
        {STR("用户@例子.测试"), STR(""), STR(""), true},
    };
    struct resolved_target target;
    struct buf bytes;
    buf_init(&bytes, 4096);
    for (size_t i = 0; i < ARRAY_LEN(put); i++)
        targets_put(&bytes, &put[i]);
    struct str rest = buf_str(&bytes);
    for (size_t i = 0; i < ARRAY_LEN(put); i++) {
        assert_true(targets_take(&rest, &target));
        assert_true(str_eq(target.address, put[i].address));
        assert_true(str_eq(target.mailbox, put[i].mailbox));
        assert_true(str_eq(target.token, put[i].token));
        assert_int_equal(target.locked, put[i].locked);
    }
    assert_int_equal(rest.len, 0);
    assert_false(targets_take(&rest, &target));
    buf_finish(&bytes);
}

// Cut anywhere, it is not one, and nothing is taken.
static void a_torn_one_is_none(void **state)
{
    (void)state;
    struct buf bytes;
    buf_init(&bytes, 4096);
    targets_put(&bytes, &(struct resolved_target){STR("a@b"), STR("b/a"), STR("t"), true});
    for (size_t size = 0; size < bytes.len; size++) {
        struct resolved_target target;
        struct str rest = str_sub(buf_str(&bytes), 0, size);
        assert_false(targets_take(&rest, &target));
        assert_int_equal(rest.len, size);
    }
    buf_finish(&bytes);
}

static void ways(void **state)
{
    const struct routed_way put = {STR("mx.example"), {.family = 4, .port = 25}, 10, true};
    struct routed_way way;
    struct buf bytes;
    (void)state;
    buf_init(&bytes, 4096);
    ways_put(&bytes, &put);
    size_t one = bytes.len;
    ways_put(&bytes, &(struct routed_way){.host = STR("/run/lmtp")});
    struct str rest = buf_str(&bytes);
    assert_true(ways_take(&rest, &way));
    assert_true(str_eq(way.host, put.host));
    assert_int_equal(way.address.family, 4);
    assert_int_equal(way.address.port, 25);
    assert_int_equal(way.preference, 10);
    assert_true(way.secure);
    assert_true(ways_take(&rest, &way));
    assert_true(str_eq(way.host, STR("/run/lmtp")));
    assert_int_equal(way.address.family, 0);
    assert_false(way.secure);
    assert_int_equal(rest.len, 0);
    for (size_t size = 0; size < one; size++) { // a torn one is none
        rest = str_sub(buf_str(&bytes), 0, size);
        assert_false(ways_take(&rest, &way));
        assert_int_equal(rest.len, size);
    }
    buf_finish(&bytes);
}

static void results(void **state)
{
    const struct sent_result put = {SENT_FAILED, 550, STATUS(5, 7, 509), STR("用户 unknown")};
    struct sent_result result;
    struct buf bytes;
    (void)state;
    buf_init(&bytes, 4096);
    results_put(&bytes, &put);
    struct str rest = buf_str(&bytes);
    assert_true(results_take(&rest, &result));
    assert_int_equal(result.outcome, put.outcome);
    assert_int_equal(result.code, 550);
    assert_int_equal(result.status.class, 5);
    assert_int_equal(result.status.subject, 7);
    assert_int_equal(result.status.detail, 509);
    assert_true(str_eq(result.text, put.text));
    assert_int_equal(rest.len, 0);
    for (size_t size = 0; size < bytes.len; size++) { // a torn one is none
        rest = str_sub(buf_str(&bytes), 0, size);
        assert_false(results_take(&rest, &result));
        assert_int_equal(rest.len, size);
    }
    bytes.ptr[0] = SENT_UNTRIED + 1; // nor one of no outcome
    rest = buf_str(&bytes);
    assert_false(results_take(&rest, &result));
    buf_finish(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_taken),
        cmocka_unit_test(a_torn_one_is_none),
        cmocka_unit_test(ways),
        cmocka_unit_test(results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
