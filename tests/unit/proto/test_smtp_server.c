// What the .chat scripts cannot see: events, memory, views, answers out of the ordinary; and the
// two batteries of attacks.
#include "proto/smtp_server.h"

#include "../../chat/engine.h"
#include "../check.h"
#include "base/limits.h"

#include <jansson.h>

static const struct smtp_server_config config = {
    .hostname = {"mail.example.test", 17},
    .max_message = 100,
    .max_recipients = 100,
};

static void check_out(struct smtp_server *s, const char *want)
{
    check_put(&s->out, want);
    buf_release(&s->out);
}

// Feeds all of it; the events stand in *log as words. Questions are left open.
static void feed(struct smtp_server *s, const char *text, struct buf *log)
{
    static const char *const names[] = {
        [SMTP_MORE] = "more",      [SMTP_WAIT] = "wait",       [SMTP_FULL] = "full",
        [SMTP_HELO] = "helo",      [SMTP_ASK_MAIL] = "mail?",  [SMTP_ASK_RCPT] = "rcpt?",
        [SMTP_ASK_DATA] = "data?", [SMTP_BODY] = "body",       [SMTP_ASK_END] = "end?",
        [SMTP_RESET] = "reset",    [SMTP_REFUSED] = "refused", [SMTP_CLOSE] = "close",
    };
    struct str input = str_of(text);
    struct smtp_event event;
    do {
        input = str_skip(input, smtp_server_feed(s, input, &event));
        buf_putf(log, "%s ", names[event.type]);
        if (event.type == SMTP_REFUSED || event.type == SMTP_CLOSE)
            buf_putf(log, "%u ", smtp_reply_code(event.reply));
        if (event.type == SMTP_BODY || event.type == SMTP_REFUSED)
            buf_putf(log, "<%.*s> ", STR_ARG(event.bytes));
    } while (event.type != SMTP_MORE && event.type != SMTP_WAIT && event.type != SMTP_FULL &&
             event.type != SMTP_CLOSE);
}

static void check_feed(struct smtp_server *s, const char *text, const char *events)
{
    struct buf log;
    buf_init(&log, LIMIT_reply_bytes);
    feed(s, text, &log);
    check_put(&log, events);
    buf_finish(&log);
}

static void answer(struct smtp_server *s, enum smtp_reply reply)
{
    smtp_server_answer(s, reply, STR(""));
}

// As far as one accepted recipient.
static void open_transaction(struct smtp_server *s)
{
    smtp_server_init(s, &config);
    check_feed(s, "EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n", "helo mail? wait ");
    answer(s, SMTP_REPLY_sender_ok);
    check_feed(s, "RCPT TO:<bob@example.test>\r\n", "rcpt? wait ");
    answer(s, SMTP_REPLY_recipient_ok);
}

static void begin_data(struct smtp_server *s)
{
    open_transaction(s);
    check_feed(s, "DATA\r\n", "data? wait ");
    answer(s, SMTP_REPLY_go_ahead);
    buf_clear(&s->out);
}

static void one_transaction_by_its_events(void **state)
{
    (void)state;
    struct smtp_server s;
    struct smtp_event event;
    smtp_server_init(&s, &config);
    smtp_server_greet(&s, SMTP_REPLY_banner);
    check_out(&s, "220 mail.example.test ESMTP Posthouse\r\n");
    check_feed(&s, "HELO c.example\r\n", "helo more ");
    assert_true(str_eq(buf_str(&s.helo), STR("c.example")));
    assert_false(s.esmtp);
    check_feed(&s, "EHLO [192.0.2.1]\r\n", "helo more ");
    assert_true(str_eq(buf_str(&s.helo), STR("[192.0.2.1]")));
    assert_true(s.esmtp);
    buf_clear(&s.out);

    struct str mail = STR("MAIL FROM:<张三@例子.测试> SIZE=99 SMTPUTF8 BODY=8BITMIME\r\n");
    assert_int_equal(smtp_server_feed(&s, mail, &event), mail.len);
    assert_int_equal(event.type, SMTP_ASK_MAIL);
    assert_int_equal(event.size, 99);
    assert_true(str_eq(event.address->local, STR("张三")));
    assert_true(s.utf8 && s.body_8bit);
    s.id = (struct mail_id){.bytes = {[15] = 7}};
    answer(&s, SMTP_REPLY_sender_ok);
    assert_true(s.has_id);
    check_out(&s, "250 2.1.0 Sender ok\r\n");

    struct str rcpt = STR("RCPT TO:<Bob@example.test>\r\n");
    assert_int_equal(smtp_server_feed(&s, rcpt, &event), rcpt.len);
    assert_int_equal(event.type, SMTP_ASK_RCPT);
    assert_true(str_eq(event.address->folded_local, STR("bob")));
    answer(&s, SMTP_REPLY_recipient_ok);
    check_feed(&s, "RCPT TO:<eve@example.test>\r\n", "rcpt? wait ");
    smtp_server_answer(&s, SMTP_REPLY_no_such_user, STR("unused"));
    assert_int_equal(s.recipient_count, 1);
    struct smtp_recipient *first = CONTAINER_OF(s.recipients.next, struct smtp_recipient, link);
    assert_true(str_eq(first->address.local, STR("Bob")));
    check_out(&s, "250 2.1.5 Recipient ok\r\n"
                  "550 5.1.1 No such user here [00000000000000000000000007]\r\n");

    check_feed(&s, "DATA\r\n", "data? wait ");
    answer(&s, SMTP_REPLY_go_ahead);
    buf_clear(&s.out);
    check_feed(&s, "hello\r\n..\r\n.\r\n", "body <hello\r\n> body <.\r\n> end? wait ");
    answer(&s, SMTP_REPLY_queued);
    check_out(&s, "250 2.0.0 Ok: queued as 00000000000000000000000007\r\n");
    assert_false(s.has_id || s.utf8 || s.body_8bit);
    assert_int_equal(s.recipient_count, 0);
    assert_true(list_empty(&s.recipients));
    check_feed(&s, "QUIT\r\n", "close 221 ");
    check_feed(&s, "NOOP\r\n", "close 221 ");
    check_out(&s, "221 2.0.0 Bye\r\n");
    smtp_server_finish(&s);
}

// The contract: refusals from MAIL on end in the id, also those that the engine gives by itself.
static void a_refused_mail_has_an_id(void **state)
{
    (void)state;
    struct smtp_server s;
    smtp_server_init(&s, &config);
    check_feed(&s, "EHLO c.example\r\n", "helo more ");
    buf_clear(&s.out);
    s.id = (struct mail_id){.bytes = {[15] = 9}};
    s.id_drawn = true;
    check_feed(&s, "MAIL FROM:<a@b.example> COLOUR=red\r\n",
               "refused 555 <MAIL FROM:<a@b.example> COLOUR=red> more ");
    check_out(&s, "555 5.5.4 Unknown parameter: COLOUR=red [00000000000000000000000009]\r\n");
    assert_false(s.has_id || s.id_drawn); // the next MAIL gets another one
    smtp_server_finish(&s);
}

static void resets_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *text, *events;
    } cases[] = {
        {"RSET\r\n", "reset more "},
        {"RSET\r\nRSET\r\n", "reset more "},
        {"EHLO x\r\nNOOP\r\n", "reset helo more "},
        {"HELO x\r\n", "reset helo more "},
        {"QUIT\r\n", "reset close 221 "},
        {"FOO\r\nRSET\r\n", "refused 500 <FOO> reset more "},
        {"DATA x\r\n", "refused 501 <DATA x> more "},
        {"MAIL FROM:<a@b>\r\n", "refused 503 <MAIL FROM:<a@b>> more "},
        {"RCPT TO:<>\r\n", "refused 501 <RCPT TO:<>> more "},
        {"NOOP\n", "refused 500 <> more "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct smtp_server s;
        open_transaction(&s);
        check_feed(&s, cases[i].text, cases[i].events);
        smtp_server_finish(&s);
    }
}

// The line of a refused command can be logged though it came in pieces.
static void refused_line_in_pieces(void **state)
{
    (void)state;
    struct smtp_server s;
    smtp_server_init(&s, &config);
    check_feed(&s, "HELLO wo", "more ");
    check_feed(&s, "rld\r\n", "refused 500 <HELLO world> more ");
    assert_null(s.line.kept.ptr);
    smtp_server_finish(&s);
}

static void data_are_refused_at_once_and_answered_at_their_end(void **state)
{
    (void)state;
    struct smtp_server s;
    struct smtp_server_config strict = config;
    strict.refuse_bare_newline = true;
    begin_data(&s);
    char text[120];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    check_feed(&s, text, "refused 552 <> more ");
    check_feed(&s, text, "more ");
    assert_int_equal(s.out.len, 0);
    check_feed(&s, "\r\n.\r\nNOOP\r\n", "reset more ");
    check_out(&s, "552 5.3.4 Message is larger than the limit of 100 octets "
                  "[00000000000000000000000000]\r\n250 2.0.0 Ok\r\n");
    smtp_server_finish(&s);

    begin_data(&s);
    s.config = &strict;
    check_feed(&s, "a\nb\rc\r\n", "refused 550 <> more ");
    check_feed(&s, ".\r\n", "reset more ");
    check_out(&s, "550 5.5.2 Bare CR or LF in the message [00000000000000000000000000]\r\n");
    smtp_server_finish(&s);
}

static void early_input_while_the_answer_is_awaited(void **state)
{
    (void)state;
    struct smtp_server s;
    open_transaction(&s);
    buf_clear(&s.out);
    check_feed(&s, "DATA\r\n", "data? wait ");
    check_feed(&s, "", "wait ");
    check_feed(&s, "Subject: early\r\n", "wait ");
    answer(&s, SMTP_REPLY_go_ahead);
    check_feed(&s, "", "close 421 ");
    check_out(&s, "421 4.7.0 You spoke before it was your turn; closing "
                  "[00000000000000000000000000]\r\n");
    smtp_server_finish(&s);

    // Behind the dot the next command may stand.
    begin_data(&s);
    check_feed(&s, ".\r\nNOOP\r\n", "end? wait ");
    check_feed(&s, "NOOP\r\n", "wait ");
    answer(&s, SMTP_REPLY_queued);
    check_feed(&s, "NOOP\r\n", "more ");
    smtp_server_finish(&s);
}

// RFC 3030: the chunk may stand behind its BDAT while the answer is awaited; its octets come as
// views, and the end is asked for once.
static void a_letter_in_chunks_by_its_events(void **state)
{
    (void)state;
    struct smtp_server s;
    open_transaction(&s);
    buf_clear(&s.out);
    check_feed(&s, "BDAT 5\r\n", "data? wait ");
    check_feed(&s, "a\r\nb.", "wait ");
    assert_int_equal(s.out.len, 0);
    answer(&s, SMTP_REPLY_go_ahead);
    assert_int_equal(s.out.len, 0); // a chunk has no 354
    check_feed(&s, "a\r", "body <a> more ");
    assert_false(smtp_server_idle(&s));
    check_feed(&s, "\nb.NOOP\r\n", "body <\r\n> body <b.> more ");
    check_out(&s, "250 2.0.0 5 octets received\r\n250 2.0.0 Ok\r\n");
    check_feed(&s, "BDAT 1 LAST\r\n\rNOOP\r\n", "body < > end? wait ");
    answer(&s, SMTP_REPLY_queued);
    check_feed(&s, "", "more ");
    check_feed(&s, "BDAT 0 LAST\r\n", "refused 503 <> more ");
    buf_clear(&s.out);
    smtp_server_finish(&s);

    // RSET between two chunks, and what is refused before any of them.
    open_transaction(&s);
    check_feed(&s, "BDAT 0\r\n", "data? wait ");
    answer(&s, SMTP_REPLY_go_ahead);
    check_feed(&s, "RSET\r\n", "reset more ");
    smtp_server_finish(&s);
    open_transaction(&s);
    buf_clear(&s.out);
    check_feed(&s, "BDAT 1\r\nxBDAT 1 LAST\r\nx", "data? wait ");
    answer(&s, SMTP_REPLY_no_space);
    check_feed(&s, "xBDAT 1 LAST\r\nx", "reset more ");
    check_out(&s, "452 4.3.1 Not enough space; try again later [00000000000000000000000000]\r\n"
                  "452 4.3.1 Not enough space; try again later [00000000000000000000000000]\r\n");
    smtp_server_finish(&s);
    open_transaction(&s);
    check_feed(&s, "BDAT 1\r\n", "data? wait ");
    answer(&s, SMTP_REPLY_shutting_down);
    check_feed(&s, "x", "close 421 ");
    smtp_server_finish(&s);
}

static void abort_at_any_time(void **state)
{
    (void)state;
    struct smtp_server s;
    smtp_server_init(&s, &config);
    smtp_server_greet(&s, SMTP_REPLY_too_many_sessions);
    check_out(&s, "421 4.7.0 Too many connections; try again later\r\n");
    check_feed(&s, "EHLO x\r\n", "close 421 ");
    smtp_server_abort(&s, SMTP_REPLY_timed_out); // closed already: says nothing
    assert_int_equal(s.out.len, 0);
    smtp_server_finish(&s);

    begin_data(&s);
    check_feed(&s, "half a lett", "body <half a lett> more ");
    smtp_server_abort(&s, SMTP_REPLY_timed_out);
    check_feed(&s, "er\r\n.\r\n", "close 421 ");
    check_out(&s, "421 4.4.2 mail.example.test waited too long and closes "
                  "[00000000000000000000000000]\r\n");
    smtp_server_finish(&s);

    open_transaction(&s);
    buf_clear(&s.out);
    check_feed(&s, "RCPT TO:<a@example.test>\r\n", "rcpt? wait ");
    smtp_server_abort(&s, SMTP_REPLY_shutting_down);
    check_feed(&s, "", "close 421 ");
    smtp_server_finish(&s);
}

static void idle_is_a_good_moment(void **state)
{
    (void)state;
    struct smtp_server s;
    smtp_server_init(&s, &config);
    assert_true(smtp_server_idle(&s));
    check_feed(&s, "EHLO x\r\n", "helo more ");
    assert_true(smtp_server_idle(&s));
    check_feed(&s, "MAIL", "more ");
    assert_false(smtp_server_idle(&s));
    check_feed(&s, " FROM:<a@b>\r\n", "mail? wait ");
    assert_false(smtp_server_idle(&s));
    answer(&s, SMTP_REPLY_no_space);
    assert_true(smtp_server_idle(&s));
    check_feed(&s, "\n", "refused 500 <> more ");
    assert_false(smtp_server_idle(&s)); // its CRLF is to come
    check_feed(&s, "\r\nMAIL FROM:<a@b>\r\n", "mail? wait ");
    answer(&s, SMTP_REPLY_sender_ok);
    assert_false(smtp_server_idle(&s));
    check_feed(&s, "QUIT\r\n", "reset close 221 ");
    assert_false(smtp_server_idle(&s));
    smtp_server_finish(&s);
}

static void an_idle_session_holds_its_name_only(void **state)
{
    (void)state;
    struct smtp_server s;
    begin_data(&s);
    check_feed(&s, "x\r\n.\r\n", "body <x\r\n> end? wait ");
    answer(&s, SMTP_REPLY_queued);
    check_feed(&s, "NO", "more ");
    check_feed(&s, "OP\r\n", "more ");
    buf_release(&s.out);
    assert_null(s.line.kept.ptr);
    assert_null(s.transaction.chunks);
    assert_in_range(s.helo.cap, 1, 64);
    assert_in_range(sizeof s, 1, 512);
    smtp_server_finish(&s);
}

// A client that sends and never reads: the engine stops before its output is full.
static void replies_have_a_limit(void **state)
{
    (void)state;
    struct smtp_server s;
    struct smtp_event event;
    struct str noop = STR("NOOP\r\n");
    smtp_server_init(&s, &config);
    int taken = 0;
    while (smtp_server_feed(&s, noop, &event) > 0)
        taken++;
    assert_int_equal(event.type, SMTP_FULL);
    assert_in_range(taken, 4000, LIMIT_reply_bytes / 14);
    assert_true(buf_ok(&s.out));
    smtp_server_abort(&s, SMTP_REPLY_timed_out); // has room even now
    assert_true(buf_ok(&s.out));
    smtp_server_finish(&s);

    smtp_server_init(&s, &config);
    while (smtp_server_feed(&s, noop, &event) > 0)
        taken++;
    buf_clear(&s.out);
    assert_int_equal(smtp_server_feed(&s, noop, &event), noop.len);
    check_out(&s, "250 2.0.0 Ok\r\n");
    smtp_server_finish(&s);
}

// RFC 5321 section 4.5.3.1.8: a hundred at least; a thousand of usual length fit (contract). Beyond
// the session's memory it is 452, and the others stay.
static void many_recipients_and_their_memory(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    struct smtp_server s;
    struct smtp_event event;
    struct smtp_server_config roomy = config;
    char line[400];
    roomy.max_recipients = 100000;
    open_transaction(&s);
    s.config = &roomy;
    for (int i = 1; i < MANY; i++) {
        int n =
            snprintf(line, sizeof line, "RCPT TO:<first.last-%d@department.example.test>\r\n", i);
        smtp_server_feed(&s, str_from(line, (size_t)n), &event);
        assert_int_equal(event.type, SMTP_ASK_RCPT);
        answer(&s, SMTP_REPLY_recipient_ok);
        buf_clear(&s.out);
    }
    assert_int_equal(s.recipient_count, MANY);
    bool full = false;
    while (!full) {
        int n = snprintf(line, sizeof line, "RCPT TO:<%060d@%050d.%050d.example>\r\n", 1, 2, 3);
        smtp_server_feed(&s, str_from(line, (size_t)n), &event);
        full = event.type == SMTP_REFUSED;
        if (!full)
            answer(&s, SMTP_REPLY_recipient_ok);
        if (full)
            check_out(&s, "452 4.3.1 This transaction needs too much memory "
                          "[00000000000000000000000000]\r\n");
        buf_clear(&s.out);
        assert_true(s.transaction.used <= LIMIT_session_memory);
    }
    assert_int_equal(event.reply, SMTP_REPLY_no_memory);
    assert_in_range(s.recipient_count, MANY, 2 * MANY);
    check_feed(&s, "DATA\r\n", "data? wait ");
    smtp_server_finish(&s);
}

// LMTP: more replies than the buffer takes. None is lost, no command is read before the last, and
// the transaction ends with it (RFC 2033 section 4.2).
static void a_reply_for_each_of_many(void **state)
{
    (void)state;
    enum { MANY = 1500 };
    struct smtp_server s;
    struct smtp_event event;
    struct smtp_server_config lmtp = config;
    size_t replies = 0, pauses = 0;
    lmtp.max_recipients = MANY;
    lmtp.lmtp = true;
    smtp_server_init(&s, &lmtp);
    check_feed(&s, "LHLO c.example\r\nMAIL FROM:<a@b.example>\r\n", "helo mail? wait ");
    answer(&s, SMTP_REPLY_sender_ok);
    for (int i = 0; i < MANY; i++) {
        check_feed(&s, "RCPT TO:<bob@example.test>\r\n", "rcpt? wait ");
        answer(&s, SMTP_REPLY_recipient_ok);
        buf_clear(&s.out);
    }
    check_feed(&s, "DATA\r\n", "data? wait ");
    answer(&s, SMTP_REPLY_go_ahead);
    buf_clear(&s.out);
    check_feed(&s, ".\r\n", "end? wait ");
    answer(&s, SMTP_REPLY_local_trouble);
    struct str input = STR("NOOP\r\n");
    do {
        input = str_skip(input, smtp_server_feed(&s, input, &event));
        for (struct str rest = buf_str(&s.out), line; str_cut(&rest, '\n', &line); replies++)
            if (replies < MANY)
                assert_true(str_eq(line, STR("451 4.3.0 Local trouble; try again later "
                                             "[00000000000000000000000000]\r")));
            else
                assert_true(str_eq(line, STR("250 2.0.0 Ok\r")));
        pauses += event.type == SMTP_FULL;
        buf_clear(&s.out);
    } while (event.type == SMTP_FULL);
    assert_int_equal(replies, MANY + 1);
    assert_true(pauses > 0);
    assert_int_equal(s.recipient_count, 0);
    check_feed(&s, "MAIL FROM:<a@b.example>\r\n", "mail? wait ");
    smtp_server_finish(&s);
}

// ---- the batteries

static json_t *read_vectors(const char *name, const char *member)
{
    char path[500];
    json_error_t error;
    snprintf(path, sizeof path, "%s/smtp/%s", VECTORS, name);
    json_t *all = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (!all)
        fail_msg("%s: %s", path, error.text);
    json_t *list = json_incref(json_object_get(all, member));
    json_decref(all);
    assert_true(json_array_size(list) > 0);
    return list;
}

// JSON text holds bytes as Latin-1 characters.
static void put_latin1(struct buf *b, const json_t *text)
{
    const char *p = json_string_value(text);
    size_t len = json_string_length(text);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c >= 0xc0) {
            assert_true(c < 0xc4 && i + 1 < len);
            c = (unsigned char)((c << 6) | ((unsigned char)p[++i] & 0x3f));
        }
        buf_put_byte(b, (char)c);
    }
}

static void replace(struct buf *b, const char *word, const char *by)
{
    struct buf made;
    struct str rest = buf_str(b);
    buf_init(&made, LIMIT_reply_bytes);
    for (;;) {
        size_t at = str_find(rest, str_of(word));
        buf_put(&made, str_sub(rest, 0, at));
        if (at == rest.len)
            break;
        buf_put(&made, str_of(by));
        rest = str_skip(rest, at + strlen(word));
    }
    buf_clear(b);
    buf_put(b, buf_str(&made));
    buf_finish(&made);
}

// One command line; the code of the last reply, the reply in *reply.
static unsigned say(void *peer, const char *command, const json_t *text, struct buf *reply)
{
    struct buf line;
    struct buf *out = chat_smtp.output(peer);
    buf_init(&line, LIMIT_reply_bytes);
    buf_put(&line, str_of(command));
    if (text)
        put_latin1(&line, text);
    replace(&line, "LOCAL", "example.test");
    replace(&line, "HOST", "mail.example.test");
    replace(&line, "ADDRESS", "192.0.2.25");
    buf_put(&line, STR("\r\n"));
    buf_clear(out);
    chat_smtp.feed(peer, buf_str(&line));
    buf_finish(&line);
    buf_clear(reply);
    buf_put(reply, buf_str(out));
    assert_true(out->len > 5 && !chat_smtp.closed(peer));
    size_t last = str_rindex(str_sub(buf_str(out), 0, out->len - 2), '\n');
    uint64_t code = 0;
    assert_true(str_to_u64(str_sub(buf_str(out), last < out->len - 2 ? last + 1 : 0, 3), &code));
    return (unsigned)code;
}

static void run_relay_test(const json_t *test)
{
    const char *id = json_string_value(json_object_get(test, "id"));
    bool refuse = str_eq(str_of(json_string_value(json_object_get(test, "expect"))), STR("refuse"));
    void *peer = chat_smtp.open();
    struct buf reply;
    size_t i;
    json_t *before;
    bool mail_was_said = false;
    buf_init(&reply, LIMIT_reply_bytes);
    chat_smtp.start(peer);
    assert_int_equal(say(peer, "EHLO client.example", NULL, &reply), 250);
    json_array_foreach(json_object_get(test, "before"), i, before)
    {
        say(peer, "", before, &reply);
        mail_was_said |= str_starts(str_of(json_string_value(before)), STR("MAIL"));
    }
    unsigned mail = say(peer, "MAIL FROM:", json_object_get(test, "mail_from"), &reply);
    assert_int_equal(mail, mail_was_said ? 503 : 250);
    unsigned rcpt = say(peer, "RCPT TO:", json_object_get(test, "rcpt_to"), &reply);
    bool refused = rcpt == 501 || rcpt == 553 ||
                   (rcpt == 550 && str_starts(buf_str(&reply), STR("550 5.7.1"))) ||
                   (rcpt == 550 && str_starts(buf_str(&reply), STR("550 5.1.1")));
    if (refuse ? !refused : rcpt != 250)
        fail_msg("%s: %.*s", id, STR_ARG(buf_str(&reply)));
    buf_finish(&reply);
    chat_smtp.close(peer);
}

static void nothing_is_relayed(void **state)
{
    (void)state;
    size_t i;
    json_t *test;
    json_t *tests = read_vectors("relay-battery.json", "tests");
    json_array_foreach(tests, i, test)
    {
        run_relay_test(test);
    }
    json_decref(tests);
}

// The inner transaction is text of the outer letter, unless the bytes hold a true end.
static void run_fake_end(const char *name, const json_t *bytes, bool split)
{
    bool control = str_find(str_of(name), STR("control")) < strlen(name);
    void *peer = chat_smtp.open();
    struct buf *out = chat_smtp.output(peer);
    struct buf text;
    buf_init(&text, LIMIT_reply_bytes);
    chat_smtp.start(peer);
    chat_smtp.feed(peer, STR("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n"
                             "RCPT TO:<bob@example.test>\r\nDATA\r\n"));
    assert_true(str_find(buf_str(out), STR("354")) < out->len);
    buf_clear(out);
    buf_put(&text, STR("Subject: outer\r\n\r\nouter text"));
    put_latin1(&text, bytes);
    if (split) {
        chat_smtp.feed(peer, buf_str(&text));
        buf_clear(&text);
    }
    buf_put(&text, STR("MAIL FROM:<evil@example.org>\r\nRCPT TO:<alice@example.test>\r\n"
                       "DATA\r\nSubject: inner\r\n\r\ninner\r\n.\r\n"));
    chat_smtp.feed(peer, buf_str(&text));
    struct str letter = chat_smtp.letter(peer);
    struct str replies = buf_str(out);
    size_t first = str_find(replies, STR("\r\n")) + 2;
    if (!str_starts(replies, STR("250 2.0.0 Ok: queued as ")) || (first == replies.len) == control)
        fail_msg("%s: %.*s", name, STR_ARG(replies));
    bool inner = str_find(letter, STR("Subject: inner")) < letter.len;
    assert_int_equal(inner, !control);
    // And the transaction that a true end let through ends where its text came too early.
    if (control) {
        assert_true(str_find(replies, STR("421 4.7.0")) < replies.len);
        assert_true(chat_smtp.closed(peer));
    }
    buf_finish(&text);
    chat_smtp.close(peer);
}

static void only_crlf_dot_crlf_ends_the_data(void **state)
{
    (void)state;
    size_t i;
    json_t *one;
    json_t *all = read_vectors("end-of-data.json", "sequences");
    json_array_foreach(all, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        run_fake_end(name, json_object_get(one, "bytes"), false);
        run_fake_end(name, json_object_get(one, "bytes"), true);
    }
    json_decref(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_transaction_by_its_events),
        cmocka_unit_test(a_refused_mail_has_an_id),
        cmocka_unit_test(resets_are_told),
        cmocka_unit_test(refused_line_in_pieces),
        cmocka_unit_test(data_are_refused_at_once_and_answered_at_their_end),
        cmocka_unit_test(early_input_while_the_answer_is_awaited),
        cmocka_unit_test(a_letter_in_chunks_by_its_events),
        cmocka_unit_test(abort_at_any_time),
        cmocka_unit_test(idle_is_a_good_moment),
        cmocka_unit_test(an_idle_session_holds_its_name_only),
        cmocka_unit_test(replies_have_a_limit),
        cmocka_unit_test(many_recipients_and_their_memory),
        cmocka_unit_test(a_reply_for_each_of_many),
        cmocka_unit_test(nothing_is_relayed),
        cmocka_unit_test(only_crlf_dot_crlf_ends_the_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
