// The source itself, to reach both ways of computing whatever this processor has.
#include "base/crc32c.c"

#include "../check.h"

// RFC 3720 appendix B.4.
static void known_sums(void **state)
{
    (void)state;
    char bytes[32];
    assert_int_equal(crc32c(0, STR("")), 0);
    assert_int_equal(crc32c(0, STR("123456789")), 0xe3069283);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(0, str_from(bytes, sizeof bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(0, str_from(bytes, sizeof bytes)), 0x62a8ab43);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    assert_int_equal(crc32c(0, str_from(bytes, sizeof bytes)), 0x46dd794e);
}

static void both_ways_agree_at_every_length_and_cut(void **state)
{
    (void)state;
    char bytes[80];
    uint64_t seed = 13;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)check_random(&seed);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        struct str s = str_from(bytes, len);
        uint32_t whole = crc32c(0, s);
        assert_int_equal(whole, ~by_bits(~0U, (const unsigned char *)bytes, len));
        for (size_t cut = 0; cut <= len; cut++)
            assert_int_equal(crc32c(crc32c(0, str_sub(s, 0, cut)), str_skip(s, cut)), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_sums),
        cmocka_unit_test(both_ways_agree_at_every_length_and_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
