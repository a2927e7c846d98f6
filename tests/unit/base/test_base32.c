#include "base/base32.h"

#include "../check.h"

static void known_texts(void **state)
{
    (void)state;
    const struct {
        struct str bytes;
        const char *text;
    } cases[] = {
        {STR(""), ""},
        {STR("\0"), "00"},
        {STR("\xff"), "7Z"}, // two characters: the first has three bits
        {STR("\0\0\0\0\0"), "00000000"},
        {STR("\xff\xff\xff\xff\xff"), "ZZZZZZZZ"},
        {STR("\x00\x44\x32\x14\xc7\x42\x54\xb6\x35\xcf\x84\x65\x3a\x56\xd7\xc6\x75\xbe\x77\xdf"),
         "0123456789ABCDEFGHJKMNPQRSTVWXYZ"},
    };
    struct buf out;
    buf_init(&out, 100);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned char back[20];
        base32_put(&out, cases[i].bytes);
        check_put(&out, cases[i].text);
        assert_true(base32_read(str_of(cases[i].text), back, cases[i].bytes.len));
        assert_memory_equal(back, cases[i].bytes.ptr, cases[i].bytes.len);
    }
    buf_finish(&out);
}

static void every_length_round_trips_and_sorts(void **state)
{
    (void)state;
    uint64_t seed = 11;
    struct buf a, b;
    buf_init(&a, 100);
    buf_init(&b, 100);
    for (size_t size = 1; size <= 40; size++) {
        for (int round = 0; round < 50; round++) {
            unsigned char one[40], two[40], back[40];
            for (size_t i = 0; i < size; i++) {
                one[i] = (unsigned char)check_random(&seed);
                two[i] = i % 3 ? (unsigned char)check_random(&seed) : one[i];
            }
            buf_clear(&a);
            buf_clear(&b);
            base32_put(&a, str_from(one, size));
            base32_put(&b, str_from(two, size));
            assert_int_equal(a.len, (size * 8 + 4) / 5);
            assert_true(base32_read(buf_str(&a), back, size));
            assert_memory_equal(one, back, size);
            int bytes = memcmp(one, two, size), texts = str_cmp(buf_str(&a), buf_str(&b));
            assert_int_equal((bytes > 0) - (bytes < 0), (texts > 0) - (texts < 0));
        }
    }
    buf_finish(&a);
    buf_finish(&b);
}

static void bad_texts(void **state)
{
    (void)state;
    const struct str bad[] = {STR(""),   STR("0"),  STR("000"), STR("8Z"),  STR("0I"),    STR("0L"),
                              STR("0O"), STR("0U"), STR("0-"),  STR("0\0"), STR("0\xff"), STR(" 0"),
                              STR("0["), STR("0@"), STR("0`"),  STR("0{")};
    unsigned char byte[1];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(base32_read(bad[i], byte, 1));
    assert_true(base32_read(STR("7z"), byte, 1));
    assert_int_equal(byte[0], 0xff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts),
        cmocka_unit_test(every_length_round_trips_and_sorts),
        cmocka_unit_test(bad_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
