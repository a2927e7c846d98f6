// The calendar is computed here, not by the C library: no time zone files inside the jails, no
// locale, and the same answer everywhere.
#include "mail/date.h"

enum { DAY_SECONDS = 86400, DAYS_400_YEARS = 146097, DAYS_100_YEARS = 36524, DAYS_4_YEARS = 1461 };

struct date {
    int64_t year;
    unsigned month;   // 1 to 12
    unsigned day;     // 1 to 31
    unsigned weekday; // 0: Sunday
    unsigned hour, minute, second;
};

// Counts from 1 March of the year 0, so that the leap day is the last of its year.
static void set_day(struct date *date, int64_t days)
{
    // Days before which a month begins in a year that begins in March.
    static const uint16_t month_begin[] = {0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337};
    const int64_t epoch = 719468; // 1 January 1970; a Thursday

    int64_t weekday = (days + 4) % 7;
    date->weekday = (unsigned)(weekday < 0 ? weekday + 7 : weekday);

    days += epoch;
    int64_t cycle = (days < 0 ? days - (DAYS_400_YEARS - 1) : days) / DAYS_400_YEARS;
    int64_t rest = days - cycle * DAYS_400_YEARS;
    // The last century of a cycle and the last year of four are a day longer: without the bounds
    // their last day would begin a fifth.
    int64_t century = rest / DAYS_100_YEARS < 3 ? rest / DAYS_100_YEARS : 3;
    rest -= century * DAYS_100_YEARS;
    int64_t fours = rest / DAYS_4_YEARS;
    rest -= fours * DAYS_4_YEARS;
    int64_t single = rest / 365 < 3 ? rest / 365 : 3;
    rest -= single * 365;

    unsigned month = ARRAY_LEN(month_begin) - 1;
    while (month_begin[month] > rest)
        month--;
    date->day = (unsigned)(rest - month_begin[month]) + 1;
    date->month = month < 10 ? month + 3 : month - 9;
    date->year = cycle * 400 + century * 100 + fours * 4 + single + (date->month <= 2);
}

static struct date date_of(int64_t seconds)
{
    struct date date;
    int64_t days = seconds / DAY_SECONDS;
    int64_t of_day = seconds % DAY_SECONDS;
    if (of_day < 0) {
        of_day += DAY_SECONDS;
        days--;
    }
    set_day(&date, days);
    date.hour = (unsigned)(of_day / 3600);
    date.minute = (unsigned)(of_day / 60 % 60);
    date.second = (unsigned)(of_day % 60);
    return date;
}

void date_put(struct buf *out, uint64_t wall_ms, int zone_minutes)
{
    static const char weekdays[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    must(zone_minutes > -24 * 60 && zone_minutes < 24 * 60);
    struct date d = date_of((int64_t)(wall_ms / 1000) + zone_minutes * 60);
    int zone = zone_minutes < 0 ? -zone_minutes : zone_minutes;
    buf_putf(out, "%s, %u %s %04lld %02u:%02u:%02u %c%02d%02d", weekdays[d.weekday], d.day,
             months[d.month - 1], (long long)d.year, d.hour, d.minute, d.second,
             zone_minutes < 0 ? '-' : '+', zone / 60, zone % 60);
}

void date_put_iso(struct buf *out, uint64_t wall_ms)
{
    struct date d = date_of((int64_t)(wall_ms / 1000));
    buf_putf(out, "%04lld-%02u-%02uT%02u:%02u:%02u.%03uZ", (long long)d.year, d.month, d.day,
             d.hour, d.minute, d.second, (unsigned)(wall_ms % 1000));
}
