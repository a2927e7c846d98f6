#include "mail/date.h"

#include "../check.h"

static void dates(void **state)
{
    (void)state;
    static const struct {
        uint64_t seconds;
        int zone;
        const char *text;
    } cases[] = {
        {0, 0, "Thu, 1 Jan 1970 00:00:00 +0000"},
        {0, -60, "Wed, 31 Dec 1969 23:00:00 -0100"},
        {0, 480, "Thu, 1 Jan 1970 08:00:00 +0800"},
        {1795302409, 0, "Sat, 21 Nov 2026 23:06:49 +0000"},
        {1795302409, 60, "Sun, 22 Nov 2026 00:06:49 +0100"},
        {1795302409, 345, "Sun, 22 Nov 2026 04:51:49 +0545"},
        {1795302409, -210, "Sat, 21 Nov 2026 19:36:49 -0330"},
        {951782399, 0, "Mon, 28 Feb 2000 23:59:59 +0000"},
        {951782400, 0, "Tue, 29 Feb 2000 00:00:00 +0000"},
        {951868800, 0, "Wed, 1 Mar 2000 00:00:00 +0000"},
        {978220800, 0, "Sun, 31 Dec 2000 00:00:00 +0000"},
        {2147483648, 0, "Tue, 19 Jan 2038 03:14:08 +0000"},
        {4107542399, 0, "Sun, 28 Feb 2100 23:59:59 +0000"},
        {4107542400, 0, "Mon, 1 Mar 2100 00:00:00 +0000"}, // 2100 has no leap day
        {253402300799, 0, "Fri, 31 Dec 9999 23:59:59 +0000"},
        {253402300800, 0, "Sat, 1 Jan 10000 00:00:00 +0000"},
    };
    struct buf out;
    buf_init(&out, 200);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        date_put(&out, cases[i].seconds * 1000 + 999, cases[i].zone);
        check_put(&out, cases[i].text);
    }
    buf_finish(&out);
}

static void iso_dates(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 200);
    date_put_iso(&out, 0);
    check_put(&out, "1970-01-01T00:00:00.000Z");
    date_put_iso(&out, 1795302409123);
    check_put(&out, "2026-11-21T23:06:49.123Z");
    date_put_iso(&out, 951782400007);
    check_put(&out, "2000-02-29T00:00:00.007Z");
    date_put_iso(&out, UINT64_MAX); // nonsense, but no overflow
    assert_true(buf_ok(&out) && out.len > 0);
    buf_finish(&out);
}

// Against a calendar that counts one day at a time, over two cycles of 400 years.
static void every_day_follows_the_one_before(void **state)
{
    (void)state;
    static const int lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = 1970, month = 1, day = 1;
    struct buf out, want;
    buf_init(&out, 200);
    buf_init(&want, 200);
    for (uint64_t n = 0; n < 2 * 146097; n++) {
        date_put_iso(&out, n * 86400 * 1000);
        buf_putf(&want, "%04d-%02d-%02dT00:00:00.000Z", year, month, day);
        assert_true(str_eq(buf_str(&out), buf_str(&want)));
        buf_clear(&out);
        buf_clear(&want);
        bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        if (++day > lengths[month - 1] + (month == 2 && leap)) {
            day = 1;
            if (++month > 12) {
                month = 1;
                year++;
            }
        }
    }
    buf_finish(&out);
    buf_finish(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates),
        cmocka_unit_test(iso_dates),
        cmocka_unit_test(every_day_follows_the_one_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
