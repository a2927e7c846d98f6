#include "mail/report.h"

#include "../check.h"
#include "base/limits.h"

enum { ARENA_LIMIT = 1 << 20 };

struct house {
    struct arena arena;
    struct buf out;
    struct address to, bob, chinese;
    struct report_recipient recipients[LIMIT_report_recipients];
    struct report report;
};

static struct address address_of(struct house *h, const char *text)
{
    struct address address;
    struct err err;
    assert_true(address_read(str_of(text), &h->arena, &address, &err));
    return address;
}

// A report of one failed delivery of a small letter.
static int open_house(void **state)
{
    static struct house house;
    struct house *h = &house;
    const uint8_t base[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    arena_init(&h->arena, ARENA_LIMIT);
    buf_init(&h->out, LIMIT_report);
    h->to = address_of(h, "alice@example.test");
    h->bob = address_of(h, "bob@example.test");
    h->chinese = address_of(h, "用户@例子.测试");
    h->recipients[0] = (struct report_recipient){.status = STATUS(5, 1, 1),
                                                 .address = &h->bob,
                                                 .reason = STR("the user is not there any more"),
                                                 .attempt_ms = 1795302469000};
    h->report =
        (struct report){.id = mail_id_make(1795302470000, base, 7),
                        .hostname = STR("mail.example.test"),
                        .wall_ms = 1795302470000,
                        .to = &h->to,
                        .letter = mail_id_make(1795302409000, base, 8),
                        .arrived_ms = 1795302409000,
                        .message = STR("Subject: lunch\r\nMessage-ID: <1@a>\r\n\r\nText\r\n"),
                        .whole = true,
                        .recipients = h->recipients,
                        .recipient_count = 1};
    *state = h;
    return 0;
}

static int close_house(void **state)
{
    struct house *h = *state;
    arena_finish(&h->arena);
    buf_finish(&h->out);
    return 0;
}

static bool put(struct house *h)
{
    buf_clear(&h->out);
    bool eight_bit = report_put(&h->out, &h->report);
    assert_true(buf_ok(&h->out));
    assert_true(eight_bit == !str_is_ascii(buf_str(&h->out)));
    for (struct str rest = buf_str(&h->out), line; str_cut(&rest, '\n', &line);) {
        assert_true(line.len <= 999 && str_ends(line, STR("\r")));
        assert_true(str_index(line, '\0') == line.len);
    }
    return eight_bit;
}

static bool has(const struct house *h, const char *text)
{
    return str_find(buf_str(&h->out), str_of(text)) < h->out.len;
}

static void check_has(const struct house *h, const char *text)
{
    if (!has(h, text))
        fail_msg("no \"%s\" in:\n%.*s", text, STR_ARG(buf_str(&h->out)));
}

static void check_failed_delivery(void **state)
{
    struct house *h = *state;
    assert_false(put(h));
    check_put(
        &h->out,
        "Date: Sat, 21 Nov 2026 23:07:50 +0000\r\n"
        "From: Mail Delivery System <postmaster@mail.example.test>\r\n"
        "To: <alice@example.test>\r\n"
        "Subject: Your message was not delivered\r\n"
        "Message-ID: <01M805VCBG041061050R3GG28H@mail.example.test>\r\n"
        "In-Reply-To: <1@a>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "Content-Language: en\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
        "\tboundary=\"=_01M805VCBG041061050R3GG28H\"\r\n"
        "\r\n"
        "\r\n--=_01M805VCBG041061050R3GG28H\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "\r\n"
        "This is the mail server mail.example.test. It has news of a message that you sent.\r\n"
        "\r\n"
        "It was not delivered to the following, and will not be tried again:\r\n"
        "\r\n"
        "    <bob@example.test>\r\n"
        "    There is no such user. (5.1.1)\r\n"
        "    Details: the user is not there any more\r\n"
        "\r\n"
        "Please look whether the address is right, and send the message again, or reach the "
        "person in another way.\r\n"
        "\r\n"
        "Questions? Ask postmaster@mail.example.test, and name this number:\r\n"
        "01M805SGS8041061050R3GG28J\r\n"
        "\r\n--=_01M805VCBG041061050R3GG28H\r\n"
        "Content-Type: message/delivery-status\r\n"
        "\r\n"
        "Reporting-MTA: dns; mail.example.test\r\n"
        "Arrival-Date: Sat, 21 Nov 2026 23:06:49 +0000\r\n"
        "X-Posthouse-Queue-Id: 01M805SGS8041061050R3GG28J\r\n"
        "\r\n"
        "Final-Recipient: rfc822; bob@example.test\r\n"
        "Action: failed\r\n"
        "Status: 5.1.1\r\n"
        "Diagnostic-Code: x-posthouse; the user is not there any more\r\n"
        "Last-Attempt-Date: Sat, 21 Nov 2026 23:07:49 +0000\r\n"
        "\r\n--=_01M805VCBG041061050R3GG28H\r\n"
        "Content-Type: message/rfc822\r\n"
        "\r\n"
        "Subject: lunch\r\nMessage-ID: <1@a>\r\n\r\nText\r\n"
        "\r\n--=_01M805VCBG041061050R3GG28H--\r\n");
}

static void check_what_the_sender_gave(void **state)
{
    struct house *h = *state;
    h->report.envid = STR("QQ314159");
    h->recipients[0].original = STR("rfc822;Bob@Example.Test");
    h->recipients[0].reply = STR("550 5.1.1 no\r\nsuch \x01 user \xff");
    h->recipients[0].remote = STR("mx.example.test");
    h->recipients[1] = (struct report_recipient){.kind = REPORT_DELAYED,
                                                 .status = STATUS(4, 2, 1),
                                                 .address = &h->to,
                                                 .until_ms = 1795702409000};
    h->recipients[2] = (struct report_recipient){
        .kind = REPORT_DELIVERED, .status = STATUS(2, 1, 5), .address = &h->to};
    h->report.recipient_count = 3;
    put(h);
    check_has(h, "\r\n\r\nOriginal-Envelope-Id: QQ314159\r\nReporting-MTA: ");
    check_has(h, "\r\n\r\nOriginal-Recipient: rfc822; Bob@Example.Test\r\n"
                 "Final-Recipient: rfc822; bob@example.test\r\nAction: failed\r\n");
    check_has(h, "Status: 5.1.1\r\nRemote-MTA: dns; mx.example.test\r\n"
                 "Diagnostic-Code: smtp; 550 5.1.1 no  such   user ?\r\n");
    check_has(h, "The other server said: 550 5.1.1 no  such   user ?\r\n");
    check_has(h, "Action: delayed\r\nStatus: 4.2.1\r\n"
                 "Will-Retry-Until: Thu, 26 Nov 2026 14:13:29 +0000\r\n");
    check_has(h, "The mailbox is locked. (4.2.1)\r\n    It is tried again until Thu, 26 Nov");
    check_has(h, "Action: delivered\r\nStatus: 2.1.5\r\n");
    check_has(h, "Subject: Your message was not delivered\r\n");
}

static void check_chinese(void **state)
{
    struct house *h = *state;
    h->report.message = STR("Subject: =?utf-8?B?5L2g5aW9?=\r\n\r\nx\r\n");
    assert_true(put(h));
    assert_false(report_needs_utf8(&h->report));
    check_has(h, "Subject: =?UTF-8?B?5oKo55qE6YKu5Lu25pyq6IO96YCB6L6+?=\r\n");
    check_has(h, "Content-Language: zh\r\n");
    check_has(h, "    没有此用户。 (5.1.1)\r\n");
    check_has(h, "\r\n\tboundary=\"=_01M805VCBG041061050R3GG28H\"\r\n"
                 "Content-Transfer-Encoding: 8bit\r\n\r\n");
    check_has(h, "Content-Type: message/delivery-status\r\n\r\n");
}

// RFC 6533 section 3: as it is where the letter came with SMTPUTF8, in seven bits otherwise.
static void check_utf8_addresses(void **state)
{
    struct house *h = *state;
    h->recipients[0].address = &h->chinese;
    h->recipients[0].original = STR("utf-8;团+队@例子.测试");
    put(h);
    assert_false(report_needs_utf8(&h->report));
    check_has(h, "Content-Type: message/delivery-status\r\n\r\n");
    check_has(
        h, "Final-Recipient: utf-8; \\x{7528}\\x{6237}@\\x{4F8B}\\x{5B50}.\\x{6D4B}\\x{8BD5}\r\n");
    check_has(h, "Original-Recipient: utf-8; \\x{56E2}\\x{2B}\\x{961F}@");
    check_has(h, "Content-Type: message/rfc822\r\n");
    h->report.utf8 = true;
    put(h);
    assert_true(report_needs_utf8(&h->report));
    check_has(h, "Content-Type: message/global-delivery-status\r\n"
                 "Content-Transfer-Encoding: 8bit\r\n\r\n");
    check_has(
        h,
        "Original-Recipient: utf-8; 团+队@例子.测试\r\nFinal-Recipient: utf-8; 用户@例子.测试\r\n");
    check_has(h, "Content-Type: message/global\r\n");
    h->report.whole = false;
    put(h);
    check_has(h, "Content-Type: message/global-headers\r\n");
    h->report.to = &h->chinese;
    h->recipients[0].address = &h->bob;
    h->recipients[0].original = STR("");
    put(h);
    assert_true(report_needs_utf8(&h->report));
    check_has(h, "To: <用户@例子.测试>\r\n");
    check_has(h, "Content-Language: zh\r\n");
}

static void check_postmaster(void **state)
{
    struct house *h = *state;
    struct address postmaster;
    struct err err;
    assert_true(address_read_stored(STR("postmaster"), PATH_FORWARD, &h->arena, &postmaster, &err));
    h->report.to = &postmaster;
    h->report.to_postmaster = true;
    put(h);
    check_has(h, "To: <postmaster@mail.example.test>\r\nSubject: A report was not delivered\r\n");
    check_has(h, "A message without a sender");
}

// What cannot go back goes as a header, and of that only what fits.
static void check_what_goes_back(void **state)
{
    static char text[2 * LIMIT_report_quote];
    struct house *h = *state;
    struct buf letter;
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {{"a\0b\r\n", 5}, {"no end", 6}, {"bare\n", 5}, {"bare\rCR\r\n", 9}};
    h->report.whole = false;
    put(h);
    check_has(h, "Content-Type: text/rfc822-headers\r\n\r\n"
                 "Subject: lunch\r\nMessage-ID: <1@a>\r\n\r\n--=_");
    h->report.whole = true;
    buf_init(&letter, sizeof text);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        buf_clear(&letter);
        buf_put(&letter, STR("Subject: lunch\r\n\r\nText\r\n"));
        buf_put(&letter, str_from(bad[i].bytes, bad[i].size));
        h->report.message = buf_str(&letter);
        put(h);
        check_has(h, "text/rfc822-headers\r\n\r\nSubject: lunch\r\n\r\n--=_");
    }
    buf_clear(&letter);
    memset(text, 'x', sizeof text);
    buf_put(&letter, STR("A: 1\r\nLong: "));
    buf_put(&letter, str_from(text, 1000));
    buf_put(&letter, STR("\r\n folded\r\nB: 2\r\n\t3\r\n\r\nText\r\n"));
    h->report.message = buf_str(&letter);
    put(h);
    check_has(h, "text/rfc822-headers\r\n\r\nA: 1\r\nB: 2\r\n\t3\r\n\r\n--=_");
    buf_clear(&letter);
    while (letter.len < LIMIT_report_quote + 100)
        buf_put(&letter, STR("Field: of twenty octets\r\n"));
    h->report.message = buf_str(&letter);
    put(h);
    assert_true(h->out.len > LIMIT_report_quote && h->out.len < LIMIT_report_quote + 4096);
    check_has(h, "Field: of twenty octets\r\n\r\n--=_");
    h->report.message = STR("\r\nText only\r\n");
    put(h);
    check_has(h, "Content-Type: message/rfc822\r\n\r\n\r\nText only\r\n");
    h->report.message = STR("");
    h->report.whole = false;
    put(h);
    check_has(h, "Content-Type: text/rfc822-headers\r\n\r\n\r\n--=_");
    buf_finish(&letter);
}

// As much of everything as the limits allow.
static void check_largest(void **state)
{
    static char plus[500], letter[LIMIT_report_quote];
    struct house *h = *state;
    memset(plus, '+', sizeof plus);
    memcpy(plus, "utf-8;\xe4\xb8\xad", 9);
    memset(letter, 'x', sizeof letter);
    for (size_t i = 0; i + 2 < sizeof letter; i += 900)
        memcpy(letter + i, "\r\n", 2);
    memcpy(letter + sizeof letter - 2, "\r\n", 2);
    h->report.message = str_from(letter, sizeof letter);
    for (size_t i = 0; i < LIMIT_report_recipients; i++) {
        h->recipients[i] = h->recipients[0];
        h->recipients[i].original = str_from(plus, sizeof plus);
        h->recipients[i].reply = h->recipients[i].reason = str_from(letter, 1000);
        h->recipients[i].remote = str_from(letter, 300);
        h->recipients[i].until_ms = 1795302469000;
    }
    h->report.recipient_count = LIMIT_report_recipients;
    put(h);
    check_has(h, "Content-Type: message/rfc822\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(check_failed_delivery, open_house, close_house),
        cmocka_unit_test_setup_teardown(check_what_the_sender_gave, open_house, close_house),
        cmocka_unit_test_setup_teardown(check_chinese, open_house, close_house),
        cmocka_unit_test_setup_teardown(check_utf8_addresses, open_house, close_house),
        cmocka_unit_test_setup_teardown(check_postmaster, open_house, close_house),
        cmocka_unit_test_setup_teardown(check_what_goes_back, open_house, close_house),
        cmocka_unit_test_setup_teardown(check_largest, open_house, close_house),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
