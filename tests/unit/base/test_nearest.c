#include "base/nearest.h"

#include "../check.h"

static void distances(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        unsigned distance;
    } cases[] = {
        {"", "", 0},
        {"hostname", "hostname", 0},
        {"HostName", "hostname", 0},
        {"", "abc", 3},
        {"hostnam", "hostname", 1},
        {"hostnname", "hostname", 1},
        {"hostmame", "hostname", 1},
        {"hsotname", "hostname", 1}, // neighbours swapped
        {"ab", "ba", 1},
        {"ca", "abc", 3}, // a swapped pair is not taken apart again
        {"spool_dir", "state_dir", 4},
        {"abc", "xyz", 3},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str a = str_of(cases[i].a), b = str_of(cases[i].b);
        if (nearest_distance(a, b) != cases[i].distance)
            fail_msg("%s, %s: %u", cases[i].a, cases[i].b, nearest_distance(a, b));
        assert_int_equal(nearest_distance(b, a), cases[i].distance);
    }
}

static void long_words_are_far(void **state)
{
    (void)state;
    char text[NEAREST_WORD_MAX + 1];
    memset(text, 'x', sizeof text);
    struct str longest = str_from(text, NEAREST_WORD_MAX);
    struct str longer = str_from(text, NEAREST_WORD_MAX + 1);
    assert_int_equal(nearest_distance(longest, longest), 0);
    assert_int_equal(nearest_distance(longest, STR("")), NEAREST_WORD_MAX);
    assert_int_equal(nearest_distance(longer, longer), NEAREST_FAR);
    assert_int_equal(nearest_distance(STR("x"), longer), NEAREST_FAR);
}

static void suggestions(void **state)
{
    (void)state;
    static const struct {
        const char *word, *best;
    } cases[] = {
        {"hostnme", "hostname"},
        {"spooldir", "spool_dir"},
        {"lsiten", "listen"},
        {"MAIL_DIR", "mail_dir"},
        {"dn", "dns"},
        {"frobnicate", ""},
        {"x", ""},
        {"", ""},
        {"邮件", ""},
    };
    static const char *const known[] = {"hostname", "spool_dir", "state_dir", "log_dir",
                                        "mail_dir", "listen",    "dns",       "a"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct nearest n;
        nearest_init(&n, str_of(cases[i].word));
        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            nearest_offer(&n, str_of(known[k]));
        if (!str_eq(n.best, str_of(cases[i].best)))
            fail_msg("%s: %.*s", cases[i].word, STR_ARG(n.best));
    }
}

static void the_first_of_equals_stays(void **state)
{
    (void)state;
    struct nearest n;
    nearest_init(&n, STR("user1"));
    nearest_offer(&n, STR("users"));
    nearest_offer(&n, STR("user2"));
    assert_true(str_eq(n.best, STR("users")));
    nearest_offer(&n, STR("user1"));
    assert_true(str_eq(n.best, STR("user1")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances),
        cmocka_unit_test(long_words_are_far),
        cmocka_unit_test(suggestions),
        cmocka_unit_test(the_first_of_equals_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
