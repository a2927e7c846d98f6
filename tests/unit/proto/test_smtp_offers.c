#include "proto/smtp_offers.h"

#include "../check.h"

struct offer_case {
    const char *line;
    struct smtp_offers want;
};

// clang-format off
static const struct offer_case cases[] = {
    {"",                                    {.size = false}},
    {"AUTH PLAIN",                          {.size = false}},
    {"SIZE",                                {.size = true}},
    {"SIZE 0",                              {.size = true}},
    {"SIZE 52428800",                       {.size = true, .max_message = 52428800}},
    {"size 7 ",                             {.size = true, .max_message = 7}},
    {"SIZE 99999999999999999999",           {.size = true}},
    {"SIZE -1",                             {.size = true}},
    {"SIZE=5",                              {.size = false}},
    {"PIPELINING",                          {.pipelining = true}},
    {"Pipelining please",                   {.pipelining = true}},
    {"PIPELININGS",                         {.pipelining = false}},
    {" PIPELINING",                         {.pipelining = false}},
    {"8BITMIME",                            {.eight_bit = true}},
    {"SMTPUTF8",                            {.utf8 = true}},
    {"DSN",                                 {.dsn = true}},
    {"CHUNKING",                            {.chunking = true}},
    {"ENHANCEDSTATUSCODES",                 {.statuses = true}},
    {"STARTTLS",                            {.starttls = true}},
    {"LIMITS",                              {.limits = true}},
    {"LIMITS RCPTMAX=100 MAILMAX=20",       {.limits = true, .max_recipients = 100, .max_letters = 20}},
    {"limits mailmax=999999",               {.limits = true, .max_letters = 999999}},
    {"LIMITS RCPTMAX=1000000 MAILMAX=x",    {.limits = true}},
    {"LIMITS RCPTMAX MAILMAX= RCPTDOMAINMAX=1", {.limits = true}},
    {"LIMITS  RCPTMAX=5",                   {.limits = true, .max_recipients = 5}},
};
// clang-format on

static void check_offers(const struct smtp_offers *got, const struct smtp_offers *want)
{
#define SMTP_OFFER(name, keyword) assert_int_equal(got->name, want->name);
#include "proto/smtp_offers.def"
#undef SMTP_OFFER
    assert_int_equal(got->max_message, want->max_message);
    assert_int_equal(got->max_recipients, want->max_recipients);
    assert_int_equal(got->max_letters, want->max_letters);
}

static void every_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct smtp_offers offers = {.size = false};
        smtp_offers_read(&offers, str_of(cases[i].line));
        check_offers(&offers, &cases[i].want);
    }
}

static void lines_add_up(void **state)
{
    (void)state;
    struct smtp_offers offers = {.size = false};
    smtp_offers_read(&offers, STR("SIZE 5"));
    smtp_offers_read(&offers, STR("DSN"));
    smtp_offers_read(&offers, STR("X"));
    check_offers(&offers, &(struct smtp_offers){.size = true, .max_message = 5, .dsn = true});
    smtp_offers_read(&offers, STR("SIZE lots")); // the later line counts
    check_offers(&offers, &(struct smtp_offers){.size = true, .dsn = true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line),
        cmocka_unit_test(lines_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
