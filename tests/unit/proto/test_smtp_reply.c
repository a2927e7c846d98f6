#include "proto/smtp_reply.h"

#include "../check.h"
#include "base/limits.h"

static const char *put(struct buf *b, enum smtp_reply reply, struct str detail,
                       const struct mail_id *id)
{
    buf_clear(b);
    smtp_reply_put(b, reply, detail, id);
    buf_put_byte(b, '\0');
    assert_true(buf_ok(b));
    return b->ptr;
}

// What a row must be, so that a slip in the table is found.
static void every_row_is_well_formed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SMTP_REPLY_COUNT; i++) {
        enum smtp_reply reply = (enum smtp_reply)i;
        struct status status = smtp_reply_status(reply);
        struct str text = str_of(smtp_reply_text(reply));
        unsigned code = smtp_reply_code(reply);
        assert_in_range(code, 200, 599);
        if (status.class != 0)
            assert_int_equal(status.class, code / 100); // RFC 2034 section 4
        else
            assert_true(code == 220 || code == 250 || code == 354);
        assert_true(str_is_ascii(text));
        size_t percent = str_index(text, '%');
        assert_true(percent == text.len || text.ptr[percent + 1] == 's');
        assert_int_equal(str_index(str_skip(text, percent + 1), '%'),
                         text.len - (percent == text.len ? percent : percent + 1));
        assert_true(text.len + 100 < LIMIT_reply_line);
    }
}

static void lines(void **state)
{
    (void)state;
    struct buf b;
    struct mail_id id = {.bytes = {0}};
    buf_init(&b, LIMIT_reply_bytes);
    assert_string_equal(put(&b, SMTP_REPLY_ok, STR("x"), NULL), "250 2.0.0 Ok\r\n");
    assert_string_equal(put(&b, SMTP_REPLY_banner, STR("mail.example.test"), NULL),
                        "220 mail.example.test ESMTP Posthouse\r\n");
    assert_string_equal(put(&b, SMTP_REPLY_go_ahead, STR(""), NULL),
                        "354 Send the message; end with CRLF . CRLF\r\n");
    assert_string_equal(put(&b, SMTP_REPLY_relay_denied, STR(""), &id),
                        "550 5.7.1 Relaying denied [00000000000000000000000000]\r\n");
    assert_string_equal(put(&b, SMTP_REPLY_failed, STR("a\r\nb\\%s\x7f"), NULL),
                        "554 5.0.0 Transaction failed: a\\x0d\\x0ab\\%s\\x7f\r\n");
    assert_string_equal(put(&b, SMTP_REPLY_failed, STR("好"), NULL),
                        "554 5.0.0 Transaction failed: \\xe5\\xa5\\xbd\r\n");
    assert_string_equal(put(&b, SMTP_REPLY_moved, STR("好@例子.测试"), NULL),
                        "551 5.1.6 User has moved; please try 好@例子.测试\r\n");
    assert_string_equal(put(&b, SMTP_REPLY_moved, STR("b\xf6se\n"), NULL),
                        "551 5.1.6 User has moved; please try b\\xf6se\\x0a\r\n");
    buf_clear(&b);
    smtp_reply_put_more(&b, SMTP_REPLY_hello, STR("PIPELINING"));
    check_put(&b, "250-PIPELINING\r\n");
    buf_finish(&b);
}

// RFC 5321 section 4.5.3.1.5: the detail is cut, the id stays, no escape is torn.
static void long_detail_is_clipped(void **state)
{
    (void)state;
    struct buf b, detail;
    struct mail_id id = {.bytes = {0}};
    buf_init(&b, LIMIT_reply_bytes);
    buf_init(&detail, LIMIT_reply_bytes);
    for (int i = 0; i < 600; i++)
        buf_put_byte(&detail, 'x');
    smtp_reply_put(&b, SMTP_REPLY_failed, buf_str(&detail), &id);
    assert_int_equal(b.len, LIMIT_reply_line);
    assert_true(str_ends(buf_str(&b), STR("xxx [00000000000000000000000000]\r\n")));
    for (size_t first = 0; first < 4; first++) {
        buf_clear(&b);
        memset(detail.ptr, '\n', detail.len);
        memset(detail.ptr, 'x', first);
        smtp_reply_put(&b, SMTP_REPLY_failed, buf_str(&detail), NULL);
        assert_in_range(b.len, LIMIT_reply_line - 3, LIMIT_reply_line);
        assert_true(str_ends(buf_str(&b), STR("\\x0a\r\n")));
    }
    buf_finish(&b);
    buf_finish(&detail);
}

struct err_case {
    enum err_class class;
    struct status status;
    int code;
    enum smtp_reply want;
};

static void errors_find_their_row(void **state)
{
    (void)state;
    static const struct err_case cases[] = {
        {ERR_TRY_LATER, {4, 3, 1}, 0, SMTP_REPLY_no_space},
        {ERR_TRY_LATER, {4, 3, 0}, 0, SMTP_REPLY_local_trouble},
        {ERR_TRY_LATER, {4, 2, 1}, 0, SMTP_REPLY_mailbox_busy},
        {ERR_TRY_LATER, {4, 2, 2}, 0, SMTP_REPLY_mailbox_full},
        {ERR_TRY_LATER, {4, 7, 0}, 0, SMTP_REPLY_local_trouble}, // 421 is not for one command
        {ERR_TRY_LATER, {4, 9, 9}, 0, SMTP_REPLY_local_trouble},
        {ERR_TRY_LATER, {5, 7, 1}, 0, SMTP_REPLY_local_trouble}, // never 5yz for local trouble
        {ERR_OUR_BUG, {0, 0, 0}, 0, SMTP_REPLY_local_trouble},
        {ERR_GIVE_UP, {5, 7, 1}, 0, SMTP_REPLY_relay_denied},
        {ERR_GIVE_UP, {5, 1, 1}, 0, SMTP_REPLY_no_such_user},
        {ERR_GIVE_UP, {5, 3, 4}, 0, SMTP_REPLY_too_large},
        {ERR_GIVE_UP, {5, 4, 6}, 0, SMTP_REPLY_too_many_hops},
        {ERR_GIVE_UP, {0, 0, 0}, 0, SMTP_REPLY_failed},
        {ERR_PEER_WRONG, {5, 1, 3}, 501, SMTP_REPLY_bad_recipient},
        {ERR_PEER_WRONG, {5, 1, 3}, 553, SMTP_REPLY_bad_literal},
        {ERR_PEER_WRONG, {5, 1, 7}, 501, SMTP_REPLY_bad_sender},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {
            .class = cases[i].class, .status = cases[i].status, .code = cases[i].code};
        assert_int_equal(smtp_reply_of(&err), cases[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_well_formed),
        cmocka_unit_test(lines),
        cmocka_unit_test(long_detail_is_clipped),
        cmocka_unit_test(errors_find_their_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
