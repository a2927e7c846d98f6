#include "base/roff.h"

#include "../check.h"

static void shown_as_it_is(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 256);
    roff_put(&b, STR("plain. 中文 'x'"));
    check_put(&b, "plain. 中文 'x'");
    roff_put(&b, STR("a-b \\n"));
    check_put(&b, "a\\-b \\en");
    roff_put(&b, STR(".Sh"));
    check_put(&b, "\\&.Sh");
    roff_put(&b, STR("'x"));
    check_put(&b, "\\&'x");
    roff_put(&b, STR(""));
    check_put(&b, "");
    buf_finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shown_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
