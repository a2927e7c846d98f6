// What the .chat scripts cannot see: deadlines, memory, a peer who does not read; and the engine
// against the receiver's.
#include "proto/smtp_client.h"

#include "../check.h"
#include "base/limits.h"
#include "proto/smtp_server.h"

enum { RECIPIENTS = 1000, LETTER = 1024 * 1024 };

static const struct smtp_client_config config = {.hostname = {"mail.example.test", 17}};
static const struct address null_path = {.kind = ADDRESS_NULL};

struct post {
    struct arena process;
    struct smtp_client client;
    struct smtp_client_letter letter;
    struct smtp_client_recipient recipients[RECIPIENTS];
    struct address address;
    unsigned results, taken;
    enum smtp_client_event_type last;
};

static void open_post(struct post *p, uint32_t recipients, uint64_t size)
{
    struct err err;
    *p = (struct post){.results = 0};
    arena_init(&p->process, 65536);
    assert_true(address_read(STR("bob@example.test"), &p->process, &p->address, &err));
    p->letter = (struct smtp_client_letter){.reverse_path = &null_path,
                                            .size = size,
                                            .recipients = p->recipients,
                                            .recipient_count = recipients};
    for (uint32_t i = 0; i < recipients; i++)
        p->recipients[i].address = &p->address;
    smtp_client_init(&p->client, &config);
}

static void close_post(struct post *p)
{
    smtp_client_finish(&p->client);
    arena_finish(&p->process);
}

// Feeds all of it, up to an event that the caller must act on.
static void feed(struct post *p, const char *text)
{
    struct str input = str_of(text);
    struct smtp_client_event event;
    do {
        input = str_skip(input, smtp_client_feed(&p->client, input, &event));
        p->results += event.type == SMTP_CLIENT_RESULT;
        p->taken += event.type == SMTP_CLIENT_RESULT && event.result.outcome == SMTP_CLIENT_TAKEN;
    } while (event.type == SMTP_CLIENT_RESULT);
    p->last = event.type;
    assert_int_equal(input.len, 0);
}

static void check_out(struct post *p, const char *want)
{
    check_put(&p->client.out, want);
    buf_release(&p->client.out);
}

static void check_stage(struct post *p, enum smtp_stage stage, unsigned seconds)
{
    assert_int_equal(p->client.stage, stage);
    assert_int_equal(smtp_client_seconds(&p->client), seconds);
}

// RFC 5321 section 4.5.3.2.
static void deadlines(void **state)
{
    (void)state;
    struct post p;
    open_post(&p, 1, 2);
    feed(&p, "");
    check_stage(&p, SMTP_STAGE_greeting, 5 * 60);
    feed(&p, "220 mx\r\n");
    check_stage(&p, SMTP_STAGE_ehlo, 5 * 60);
    feed(&p, "250-mx\r\n250 PIPELINING\r\n");
    check_stage(&p, SMTP_STAGE_ready, 0);
    smtp_client_begin(&p.client, &p.letter);
    feed(&p, "");
    check_stage(&p, SMTP_STAGE_mail, 5 * 60);
    feed(&p, "250 ok\r\n");
    check_stage(&p, SMTP_STAGE_rcpt, 5 * 60);
    feed(&p, "250 ok\r\n");
    check_stage(&p, SMTP_STAGE_data, 2 * 60);
    feed(&p, "354 go\r\n");
    assert_int_equal(p.last, SMTP_CLIENT_TEXT);
    check_stage(&p, SMTP_STAGE_text, 3 * 60);
    assert_int_equal(smtp_client_text(&p.client, STR("\r\n")), 2);
    smtp_client_text_end(&p.client);
    feed(&p, "");
    check_stage(&p, SMTP_STAGE_end, 10 * 60);
    feed(&p, "250 ok\r\n");
    assert_int_equal(p.taken, 1);
    assert_int_equal(p.last, SMTP_CLIENT_READY);
    smtp_client_quit(&p.client);
    feed(&p, "");
    check_stage(&p, SMTP_STAGE_quit, 2 * 60);
    close_post(&p);
}

static void a_deadline_begins_with_a_reply_not_with_an_octet(void **state)
{
    (void)state;
    struct post p;
    open_post(&p, 3, 2);
    feed(&p, "220 mx\r\n");
    uint64_t before = p.client.waits;
    feed(&p, "2");
    feed(&p, "50-mx\r\n");
    feed(&p, "250-PIPELINING\r\n250 D");
    assert_int_equal(p.client.waits, before);
    feed(&p, "SN\r\n");
    assert_int_not_equal(p.client.waits, before);
    smtp_client_begin(&p.client, &p.letter);
    feed(&p, "");
    for (unsigned i = 0; i < 4; i++) { // each of the group has its own
        before = p.client.waits;
        feed(&p, "250 ok\r\n");
        assert_int_not_equal(p.client.waits, before);
    }
    close_post(&p);
}

static void an_idle_session_holds_no_buffer(void **state)
{
    (void)state;
    struct post p;
    open_post(&p, 1, 2);
    feed(&p, "220 mx\r\n");
    check_out(&p, "EHLO mail.example.test\r\n");
    feed(&p, "250-mx\r\n250 SIZE 1\r\n");
    smtp_client_begin(&p.client, &p.letter); // too large
    feed(&p, "");
    assert_int_equal(p.results, 1);
    assert_int_equal(p.last, SMTP_CLIENT_READY);
    feed(&p, "");
    assert_int_equal(p.last, SMTP_CLIENT_MORE);
    assert_null(p.client.out.ptr);
    assert_null(p.client.chunk.ptr);
    assert_null(p.client.reply.kept.ptr);
    assert_null(p.client.reply.raw.ptr);
    assert_null(p.client.reply.cleaned.ptr);
    close_post(&p);
}

static void closed_is_said_again_and_nothing_else(void **state)
{
    (void)state;
    struct post p;
    struct smtp_client_event event;
    open_post(&p, 1, 2);
    smtp_client_timed_out(&p.client);
    smtp_client_lost(&p.client); // too late: the first end counts
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(smtp_client_feed(&p.client, STR("220 mx\r\n"), &event), 0);
        assert_int_equal(event.type, SMTP_CLIENT_CLOSED);
        assert_int_equal(event.end, SMTP_CLIENT_SILENT);
    }
    close_post(&p);
}

// A group of recipients that is larger than what may wait.
static void a_peer_who_does_not_read_is_not_written_to(void **state)
{
    (void)state;
    static struct post p;
    static char orcpt[500];
    memset(orcpt, 'x', sizeof orcpt);
    open_post(&p, RECIPIENTS, 2);
    for (uint32_t i = 0; i < RECIPIENTS; i++)
        p.recipients[i].orcpt = str_from(orcpt, sizeof orcpt);
    feed(&p, "220 mx\r\n");
    feed(&p, "250-mx\r\n250-DSN\r\n250 PIPELINING\r\n");
    smtp_client_begin(&p.client, &p.letter);
    size_t all = 0, rounds = 0;
    for (;; rounds++) {
        feed(&p, "");
        size_t len = p.client.out.len;
        assert_in_range(len, 0, LIMIT_client_output / 2);
        feed(&p, "");
        assert_int_equal(p.client.out.len, len);
        if (len == 0)
            break;
        all += len;
        buf_release(&p.client.out);
    }
    assert_in_range(rounds, 3, 100);
    assert_in_range(all, RECIPIENTS * sizeof orcpt, RECIPIENTS * (sizeof orcpt + 100));
    feed(&p, "250 ok\r\n");
    for (uint32_t i = 0; i < RECIPIENTS; i++)
        feed(&p, "250 ok\r\n");
    check_stage(&p, SMTP_STAGE_data, 120);
    close_post(&p);
}

static void text_waits_for_a_peer_who_does_not_read(void **state)
{
    (void)state;
    struct post p;
    static char text[LIMIT_client_output];
    memset(text, '\n', sizeof text); // each becomes two
    open_post(&p, 1, sizeof text);
    feed(&p, "220 mx\r\n");
    feed(&p, "250-mx\r\n250 PIPELINING\r\n");
    smtp_client_begin(&p.client, &p.letter);
    feed(&p, "");
    feed(&p, "250 ok\r\n250 ok\r\n354 go\r\n");
    buf_release(&p.client.out);
    size_t taken = 0, n;
    while ((n = smtp_client_text(&p.client, str_from(text, sizeof text))) > 0)
        taken += n;
    assert_in_range(taken, 1, sizeof text / 2);
    assert_int_equal(p.client.out.len, 2 * taken);
    feed(&p, "");
    assert_int_equal(p.last, SMTP_CLIENT_MORE);
    buf_release(&p.client.out);
    feed(&p, "");
    assert_int_equal(p.last, SMTP_CLIENT_TEXT);
    close_post(&p);
}

// ---- against the receiver's engine

static const struct smtp_server_config server_config = {
    .hostname = {"mx.example.test", 15}, .max_message = LETTER, .max_recipients = 150};

struct house {
    struct smtp_server server;
    struct buf letter;
    uint32_t recipients;
};

// What the client said; its answers go to server.out.
static void receive(struct house *h, struct str input)
{
    struct smtp_event event;
    do {
        input = str_skip(input, smtp_server_feed(&h->server, input, &event));
        if (event.type == SMTP_ASK_MAIL)
            smtp_server_answer(&h->server, SMTP_REPLY_sender_ok, STR(""));
        else if (event.type == SMTP_ASK_RCPT)
            smtp_server_answer(&h->server, SMTP_REPLY_recipient_ok, STR(""));
        else if (event.type == SMTP_ASK_DATA)
            smtp_server_answer(&h->server, SMTP_REPLY_go_ahead, STR(""));
        else if (event.type == SMTP_BODY)
            buf_put(&h->letter, event.bytes);
        if (event.type == SMTP_ASK_END) {
            h->recipients = h->server.recipient_count;
            smtp_server_answer(&h->server, SMTP_REPLY_queued, STR(""));
        }
        assert_int_not_equal(event.type, SMTP_REFUSED);
    } while (event.type != SMTP_MORE && event.type != SMTP_FULL && event.type != SMTP_CLOSE);
}

// A letter of many lines, some with dots, from one engine to the other.
static void carry(uint32_t recipients, size_t lines)
{
    static struct post p;
    struct house h = {.recipients = 0};
    struct buf text, input;
    size_t given = 0;
    buf_init(&text, LETTER);
    buf_init(&input, LETTER);
    buf_init(&h.letter, LETTER);
    for (size_t i = 0; i < lines; i++)
        buf_putf(&text, "%s line %zu\r\n", i % 3 == 0 ? "." : "", i);
    assert_true(buf_ok(&text));
    open_post(&p, recipients, text.len);
    smtp_server_init(&h.server, &server_config);
    smtp_server_greet(&h.server, SMTP_REPLY_banner);
    struct smtp_client_event event;
    bool begun = false;
    do {
        size_t n = smtp_client_feed(&p.client, buf_str(&input), &event);
        buf_drop(&input, n);
        if (event.type == SMTP_CLIENT_READY && begun)
            smtp_client_quit(&p.client);
        else if (event.type == SMTP_CLIENT_READY)
            smtp_client_begin(&p.client, &p.letter);
        else if (event.type == SMTP_CLIENT_TEXT && given < text.len)
            given += smtp_client_text(&p.client, str_sub(buf_str(&text), given, 5000));
        else if (event.type == SMTP_CLIENT_TEXT)
            smtp_client_text_end(&p.client);
        begun |= event.type == SMTP_CLIENT_READY;
        p.taken += event.type == SMTP_CLIENT_RESULT && event.result.outcome == SMTP_CLIENT_TAKEN;
        if (event.type != SMTP_CLIENT_MORE)
            continue;
        receive(&h, buf_str(&p.client.out));
        buf_release(&p.client.out);
        assert_true(h.server.out.len > 0); // neither waits for the other
        buf_put(&input, buf_str(&h.server.out));
        buf_clear(&h.server.out);
    } while (event.type != SMTP_CLIENT_CLOSED);
    assert_int_equal(event.end, SMTP_CLIENT_QUIT);
    assert_int_equal(p.client.offers.max_message, LETTER);
    assert_true(p.client.offers.pipelining && p.client.offers.chunking);
    assert_int_equal(p.taken, recipients);
    assert_int_equal(h.recipients, recipients);
    assert_true(str_eq(buf_str(&h.letter), buf_str(&text)));
    assert_null(p.client.chunk.ptr);
    smtp_server_finish(&h.server);
    close_post(&p);
    buf_finish(&h.letter);
    buf_finish(&input);
    buf_finish(&text);
}

static void our_receiver_takes_our_letters(void **state)
{
    (void)state;
    carry(1, 0);
    carry(1, 10);
    carry(150, 100);
    carry(2, 20000); // by BDAT
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines),
        cmocka_unit_test(a_deadline_begins_with_a_reply_not_with_an_octet),
        cmocka_unit_test(an_idle_session_holds_no_buffer),
        cmocka_unit_test(closed_is_said_again_and_nothing_else),
        cmocka_unit_test(a_peer_who_does_not_read_is_not_written_to),
        cmocka_unit_test(text_waits_for_a_peer_who_does_not_read),
        cmocka_unit_test(our_receiver_takes_our_letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
