#include "base/wipe.h"

#include "../check.h"

static void just_the_octets_asked_for(void **state)
{
    (void)state;
    char secret[] = "0123456789";
    wipe(secret + 2, 0);
    assert_string_equal(secret, "0123456789");
    wipe(secret + 2, 5);
    assert_memory_equal(secret,
                        "01\0\0\0\0\0"
                        "789",
                        sizeof secret);
    wipe(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(just_the_octets_asked_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
