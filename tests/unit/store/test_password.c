#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/limits.h"
#include "store/password.h"

static struct str hash_ok(struct buf *hash, struct str password)
{
    struct err err;
    buf_init(hash, 512);
    if (!password_hash(password, hash, &err))
        fail_msg("%s", err.text);
    assert_true(buf_ok(hash));
    return buf_str(hash);
}

static void a_password_matches_its_hash_only(void **state)
{
    const struct str passwords[] = {
        STR("x"),
        STR("correct horse battery staple"),
        STR("密码很长也很安全"),
        STR(" \t\xff"),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(passwords); i++) {
        struct buf hash;
        struct str text = hash_ok(&hash, passwords[i]);
        assert_true(str_starts(text, STR("$y$")));
        for (size_t k = 0; k < ARRAY_LEN(passwords); k++)
            assert_int_equal(password_matches(passwords[k], text), k == i);
        assert_false(password_matches(STR(""), text));
        assert_false(password_matches(STR("x\0"), text));
        assert_false(password_matches(STR("X"), text));
        buf_finish(&hash);
    }
}

static void each_hash_has_its_own_salt(void **state)
{
    struct buf a, b;
    (void)state;
    assert_false(str_eq(hash_ok(&a, STR("same")), hash_ok(&b, STR("same"))));
    buf_finish(&a);
    buf_finish(&b);
}

static void the_longest_password(void **state)
{
    char text[LIMIT_password + 1];
    struct buf hash;
    struct err err;
    (void)state;
    memset(text, 'p', sizeof(text));
    struct str longest = str_from(text, LIMIT_password);
    struct str made = hash_ok(&hash, longest);
    assert_true(password_matches(longest, made));
    assert_false(password_matches(str_from(text, LIMIT_password + 1), made));
    assert_false(password_matches(str_from(text, LIMIT_password - 1), made));
    buf_clear(&hash);
    assert_false(password_hash(str_from(text, LIMIT_password + 1), &hash, &err));
    assert_int_equal(err.class, ERR_GIVE_UP);
    assert_false(password_hash(STR(""), &hash, &err));
    assert_false(password_hash(STR("a\0b"), &hash, &err));
    assert_int_equal(hash.len, 0);
    buf_finish(&hash);
}

// Hashes that came from elsewhere (/etc/shadow), and texts that are none.
static void hashes_of_other_methods(void **state)
{
    const struct {
        struct str hash;
        bool matches;
    } cases[] = {
        // SHA-crypt, as `mkpasswd -m sha-512` makes it.
        {STR("$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYE"
             "dFCoEOfaS35inz1"),
         true},
        {STR("$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYE"
             "dFCoEOfaS35inz2"),
         false},
        {STR(""), false},
        {STR("*"), false},
        {STR("!"), false},
        {STR("*0"), false},
        {STR("*1"), false},
        {STR("$"), false},
        {STR("$y$"), false},
        {STR("$y$j9T$"), false},
        {STR("Hello world!"), false},
        {STR("$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaA"), false},
        {STR("$6$salt\0string$svn8"), false},
        {STR("\xff\xff\xff"), false},
    };
    char too_long[600];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (password_matches(STR("Hello world!"), cases[i].hash) != cases[i].matches)
            fail_msg("%.*s", STR_ARG(cases[i].hash));
    }
    memset(too_long, 'x', sizeof(too_long));
    assert_false(password_matches(STR("Hello world!"), str_from(too_long, sizeof(too_long))));
}

static void made_passwords(void **state)
{
    struct buf a, b;
    (void)state;
    buf_init(&a, 64);
    buf_init(&b, 64);
    password_make(&a);
    password_make(&b);
    assert_int_equal(a.len, 19);
    assert_false(str_eq(buf_str(&a), buf_str(&b)));
    for (size_t i = 0; i < a.len; i++) {
        char c = a.ptr[i];
        if (i % 5 == 4)
            assert_int_equal(c, '-');
        else
            assert_true((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'));
    }
    buf_finish(&a);
    buf_finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_password_matches_its_hash_only),
        cmocka_unit_test(each_hash_has_its_own_salt),
        cmocka_unit_test(the_longest_password),
        cmocka_unit_test(hashes_of_other_methods),
        cmocka_unit_test(made_passwords),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
