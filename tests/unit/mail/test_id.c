#include "mail/id.h"

#include "../check.h"

static const uint8_t zeros[10];

static void time_comes_first(void **state)
{
    (void)state;
    const uint8_t base[10] = {0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct mail_id id = mail_id_make(0x123456789abcU, base, 0);
    const uint8_t want[MAIL_ID_SIZE] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xff, 1,
                                        2,    3,    4,    5,    6,    7,    8,    9};
    assert_memory_equal(id.bytes, want, sizeof want);
    assert_true(mail_id_ms(&id) == 0x123456789abcU);
}

static void the_number_is_added_to_the_base(void **state)
{
    (void)state;
    const uint8_t ones[10] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const uint8_t base[10] = {0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const uint8_t carried[10] = {0, 1};
    struct mail_id id = mail_id_make(0, base, 1);
    assert_memory_equal(id.bytes + 6, carried, sizeof carried);
    // Over the end of the 80 bits: to the beginning, and never into the time.
    id = mail_id_make(7, ones, 1);
    assert_memory_equal(id.bytes + 6, zeros, sizeof zeros);
    assert_true(mail_id_ms(&id) == 7);
    const uint8_t largest[10] = {0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    id = mail_id_make(0, zeros, UINT64_MAX);
    assert_memory_equal(id.bytes + 6, largest, sizeof largest);
}

static void numbers_of_one_lease_are_different(void **state)
{
    (void)state;
    const uint8_t base[10] = {9, 8, 7, 6, 5, 4, 3, 2, 0xff, 0xf0};
    struct mail_id last = mail_id_make(1, base, 0);
    for (uint64_t number = 1; number < 65536; number++) {
        struct mail_id id = mail_id_make(1, base, number);
        assert_true(memcmp(last.bytes, id.bytes, MAIL_ID_SIZE) < 0);
        last = id;
    }
}

static void an_id_knows_its_lease(void **state)
{
    (void)state;
    // With a carry into each octet, and over the end of the 80 bits.
    static const uint8_t bases[][10] = {
        {0},
        {9, 8, 7, 6, 5, 4, 3, 2, 0xff, 0xf0},
        {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
    };
    for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
        for (uint64_t number = 0; number < 1000; number += 37) {
            struct mail_id id = mail_id_make(77, bases[i], number);
            assert_true(mail_id_is_of(&id, bases[i], number + 1));
            assert_false(mail_id_is_of(&id, bases[i], number));
        }
        struct mail_id before = mail_id_make(77, bases[i], UINT64_MAX);
        assert_false(mail_id_is_of(&before, bases[i], 65536));
        uint8_t higher[10];
        memcpy(higher, bases[i], sizeof higher);
        higher[0] = (uint8_t)(higher[0] + 1);
        struct mail_id far = mail_id_make(77, higher, 0);
        assert_false(mail_id_is_of(&far, bases[i], UINT64_MAX));
    }
}

static void texts(void **state)
{
    (void)state;
    struct mail_id id = mail_id_make(0, zeros, 0), read;
    char text[MAIL_ID_TEXT + 1];
    mail_id_text(&id, text);
    assert_string_equal(text, "00000000000000000000000000");
    id = mail_id_make(0, zeros, 31);
    mail_id_text(&id, text);
    assert_string_equal(text, "0000000000000000000000000Z");
    id = mail_id_make(1795302409000U, zeros, 1); // 2026-11-21T23:06:49Z
    mail_id_text(&id, text);
    assert_string_equal(text, "01M805SGS80000000000000001");
    assert_true(mail_id_read(str_of(text), &read));
    assert_true(mail_id_equal(&id, &read));
    assert_true(mail_id_ms(&read) == 1795302409000U);

    struct buf out;
    buf_init(&out, 100);
    mail_id_put(&out, &id);
    check_put(&out, text);
    buf_finish(&out);
}

static void texts_sort_by_time(void **state)
{
    (void)state;
    uint64_t seed = 3;
    char last[MAIL_ID_TEXT + 1] = "", text[MAIL_ID_TEXT + 1];
    for (uint64_t ms = 1; ms < (uint64_t)1 << 48; ms += ms / 8 + 1) {
        uint8_t base[10];
        for (size_t i = 0; i < sizeof base; i++)
            base[i] = (uint8_t)check_random(&seed);
        struct mail_id id = mail_id_make(ms, base, 0), read;
        mail_id_text(&id, text);
        assert_true(strcmp(last, text) < 0);
        assert_true(mail_id_read(str_of(text), &read) && mail_id_equal(&id, &read));
        memcpy(last, text, sizeof last);
    }
}

static void what_is_no_id(void **state)
{
    (void)state;
    const struct str bad[] = {
        STR(""),
        STR("01M805SGS8000000000000001"),   // 25
        STR("01M805SGS800000000000000001"), // 27
        STR("81M86KCFN80000000000000001"),  // above 128 bits
        STR("01M805SGS8000000000000000U"),  // U is not in the alphabet
        STR("01M805SGS8000000000000000 "),
        STR("01M805SGS8000000000000000\0"),
        STR("../../../../../etc/passwd!"),
    };
    struct mail_id id = mail_id_make(5, zeros, 5);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(mail_id_read(bad[i], &id));
    assert_true(mail_id_ms(&id) == 5);                                 // untouched
    assert_true(mail_id_read(STR("7zzzzzzzzzzzzzzzzzzzzzzzzz"), &id)); // any letter case
    struct mail_id other = mail_id_make(5, zeros, 6);
    assert_false(mail_id_equal(&id, &other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_comes_first),
        cmocka_unit_test(the_number_is_added_to_the_base),
        cmocka_unit_test(numbers_of_one_lease_are_different),
        cmocka_unit_test(an_id_knows_its_lease),
        cmocka_unit_test(texts),
        cmocka_unit_test(texts_sort_by_time),
        cmocka_unit_test(what_is_no_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
