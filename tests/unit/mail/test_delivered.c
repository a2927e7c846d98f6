#include "mail/delivered.h"

#include "../check.h"
#include "base/limits.h"

// What is found is the same however the message is cut.
static void check_tokens(const char *message, const char *tokens)
{
    struct str text = str_of(message);
    for (size_t piece = 1; piece <= text.len; piece++) {
        struct delivered d;
        delivered_begin(&d);
        for (size_t at = 0; at < text.len; at += piece)
            delivered_feed(&d, str_sub(text, at, piece));
        buf_put_byte(&d.tokens, '\0');
        assert_string_equal(d.tokens.ptr, tokens);
        delivered_finish(&d);
    }
}

static void tokens_of_the_header(void **state)
{
    (void)state;
    check_tokens("Received: x\r\n"
                 "Delivered-To: bob@example.test (2AGC254QZXTTRSQS)\r\n"
                 "DELIVERED-TO:alice@example.test (2agc254qzxttrsq0)\r\n"
                 "Subject: (0000000000000000)\r\n"
                 "\r\n"
                 "Delivered-To: carol@example.test (1111111111111111)\r\n",
                 "2AGC254QZXTTRSQS2AGC254QZXTTRSQ0");
}

static void what_is_no_token(void **state)
{
    (void)state;
    check_tokens("Delivered-To: bob@example.test\r\n"
                 "Delivered-To: (short)\r\n"
                 "Delivered-To: bob@example.test 2AGC254QZXTTRSQSX)\r\n"
                 "Delivered-To: bob@example.test (2AGC254QZXTTRS!S)\r\n"
                 "Delivered-To: bob@example.test (2AGC254QZXTTRSQS) \r\n"
                 "X-Delivered-To: bob@example.test (2AGC254QZXTTRSQS)\r\n"
                 " Delivered-To: bob@example.test (2AGC254QZXTTRSQS)\r\n"
                 "\r\n",
                 "");
}

// What a line leaves behind is not read again with the next one.
static void a_line_is_read_once(void **state)
{
    (void)state;
    check_tokens("Delivered-To: bob@example.test (2AGC254QZXTTRSQS)\r\n\n", "2AGC254QZXTTRSQS");
    check_tokens("Delivered-To: (2AGC254QZXTTRSQS)\r\nd\nDelivered-To:\r\n\r\n",
                 "2AGC254QZXTTRSQS");
}

static void not_more_than_the_limit(void **state)
{
    (void)state;
    struct delivered d;
    delivered_begin(&d);
    for (int i = 0; i < LIMIT_delivered_fields + 10; i++)
        delivered_feed(&d, STR("Delivered-To: bob@example.test (2AGC254QZXTTRSQS)\r\n"));
    assert_true(buf_ok(&d.tokens));
    assert_int_equal(d.tokens.len, LIMIT_delivered_fields * 16);
    delivered_finish(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_of_the_header),
        cmocka_unit_test(what_is_no_token),
        cmocka_unit_test(a_line_is_read_once),
        cmocka_unit_test(not_more_than_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
