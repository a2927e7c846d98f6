#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/nearest.h"

static void distances(void **state)
{
    static const struct {
        const char *a, *b;
        unsigned distance;
    } cases[] = {
        {"", "", 0},
        {"a", "", 1},
        {"", "abc", 3},
        {"abc", "abc", 0},
        {"ABC", "abc", 0},
        {"abc", "abd", 1},
        {"abc", "ab", 1},
        {"abc", "acb", 1},
        {"ca", "abc", 3},
        {"queu", "queue", 1},
        {"smpt", "smtp", 1},
        {"kitten", "sitting", 3},
        {"\xe4\xb8\xad", "\xe6\x96\x87", 3},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str a = str_of(cases[i].a), b = str_of(cases[i].b);
        assert_int_equal(nearest_distance(a, b), cases[i].distance);
        assert_int_equal(nearest_distance(b, a), cases[i].distance);
    }
}

static void long_words_are_far(void **state)
{
    char word[NEAREST_WORD_MAX + 1];
    (void)state;
    memset(word, 'x', sizeof(word));
    struct str longest = str_from(word, NEAREST_WORD_MAX);
    struct str longer = str_from(word, NEAREST_WORD_MAX + 1);
    assert_int_equal(nearest_distance(longest, longest), 0);
    assert_int_equal(nearest_distance(longest, STR("")), NEAREST_WORD_MAX);
    assert_int_equal(nearest_distance(longer, longer), NEAREST_FAR);
    assert_int_equal(nearest_distance(STR("x"), longer), NEAREST_FAR);
}

static void the_best_offer_wins(void **state)
{
    static const struct {
        const char *word, *best;
    } cases[] = {
        {"hostnam", "hostname"},
        {"HOSTNAME", "hostname"},
        {"mial_dir", "mail_dir"},
        {"log", ""},
        {"x", ""},
        {"", ""},
        {"completely", ""},
        {"spool_dri", "spool_dir"},
    };
    static const char *const known[] = {"hostname", "mail_dir", "log_dir", "spool_dir", "y"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct nearest n;
        nearest_init(&n, str_of(cases[i].word));
        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            nearest_offer(&n, str_of(known[k]));
        assert_true(str_eq(n.best, str_of(cases[i].best)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances),
        cmocka_unit_test(long_words_are_far),
        cmocka_unit_test(the_best_offer_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
