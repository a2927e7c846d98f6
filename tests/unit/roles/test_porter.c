// roles/porter.c as a program between clients, login and reader, which the test plays.
#include "stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "conf/conf.h"
#include "ipc/verdicts.h"
#include "os/file.h"

#define GREETING "+OK mail.example.test POP3 Posthouse\r\n"
#define TICKET "0123456789ABCDEFGHJKMNPQRS"
#define TOO_MANY "-ERR [SYS/TEMP] Too many connections; try again later\r\n"
#define TROUBLE "-ERR [SYS/TEMP] Local trouble; try again later\r\n"
#define WRONG "-ERR [AUTH] Wrong user or password; a user is a whole address\r\n"
#define CLOSING "-ERR [SYS/TEMP] Closing down; try again later\r\n"

struct desk {
    struct stage stage;
    struct net_address address;
    bool hold; // login does not answer yet
    uint32_t delay_ms;
    bool asked, adopted;
    uint32_t slot; // of the question that is held
    struct buf question;
    int client; // that the reader got
    struct buf adoption;
};

static void answer(struct desk *desk, uint32_t slot, uint8_t verdict)
{
    struct msg reply = {.type = MSG_checked, .slot = slot};
    reply.checked.verdict = verdict;
    reply.checked.delay_ms = desk->delay_ms;
    if (verdict == LOGIN_OK)
        reply.checked.ticket = STR(TICKET);
    ipc_send(desk->stage.peers[IPC_LOGIN], &reply);
}

// The password says what login answers.
static void on_check(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct desk *desk = CONTAINER_OF(ipc_context(channel), struct desk, stage);
    (void)owner;
    buf_clear(&desk->question);
    buf_putf(&desk->question, "%.*s|%.*s|%.*s|%.*s", STR_ARG(m->check.user),
             STR_ARG(m->check.secret), STR_ARG(m->check.challenge), STR_ARG(m->check.peer));
    desk->asked = true;
    desk->slot = m->slot;
    if (desk->hold)
        return;
    static const struct {
        const char *password;
        uint8_t verdict;
    } verdicts[] = {
        {"secret", LOGIN_OK}, {"sick", LOGIN_TROUBLE}, {"busy", LOGIN_IN_USE}, {"odd", 77}};
    uint8_t verdict = LOGIN_WRONG;
    for (size_t i = 0; i < ARRAY_LEN(verdicts); i++)
        if (str_eq(m->check.secret, str_of(verdicts[i].password)))
            verdict = verdicts[i].verdict;
    answer(desk, m->slot, verdict);
}

static void on_adopt(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct desk *desk = CONTAINER_OF(ipc_context(channel), struct desk, stage);
    (void)owner;
    assert_int_equal(m->adopt.session.len, 10);
    assert_true(str_eq(m->adopt.peer, STR("127.0.0.1")));
    buf_clear(&desk->adoption);
    buf_putf(&desk->adoption, "%.*s|%.*s|%s%s%u", STR_ARG(m->adopt.ticket), STR_ARG(m->adopt.input),
             m->adopt.passwords ? "p" : "", m->adopt.utf8 ? "u" : "", m->adopt.language);
    desk->client = m->adopt.client;
    m->adopt.client = -1;
    desk->adopted = true;
}

static const struct ipc_handlers login = {.on = {[MSG_check] = on_check}};
static const struct ipc_handlers reader = {.on = {[MSG_adopt] = on_adopt}};

static const char *program;

static void desk_open(struct desk *desk, const char *options)
{
    *desk = (struct desk){.client = -1};
    buf_init(&desk->question, 65536);
    buf_init(&desk->adoption, 65536);
    stage_open(&desk->stage, IPC_PORTER, program, options);
    stage_peer(&desk->stage, IPC_LOGIN, &login);
    stage_peer(&desk->stage, IPC_READER, &reader);
    desk->address = stage_listen(&desk->stage, CONF_POP3);
}

static void desk_close(struct desk *desk)
{
    stage_close(&desk->stage);
    os_close(&desk->client);
    buf_finish(&desk->question);
    buf_finish(&desk->adoption);
}

static void connect_client(struct desk *desk, struct client *client)
{
    client_connect(&desk->stage, client, &desk->address);
    client_expect(&desk->stage, client, GREETING);
}

static void assert_text(const struct buf *got, const char *want)
{
    struct str text = buf_str(got);
    if (!str_eq(text, str_of(want)))
        print_error("got %.*s\n", STR_ARG(text));
    assert_true(str_eq(text, str_of(want)));
}

// The socket that the reader gets is the client's, and what the client said behind PASS is with it.
static void test_hands_over(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    connect_client(&desk, &client);
    client_say(&client, "USER 测试@example.test\r\nPASS secret\r\nSTAT\r\nLI");
    stage_until(&desk.stage, &desk.adopted);
    assert_text(&desk.question, "测试@example.test|secret||127.0.0.1");
    assert_text(&desk.adoption, TICKET "|STAT\r\nLI|p0");
    assert_int_equal(net_send(desk.client, STR("+OK from the reader\r\n")), 21);
    client_expect(&desk.stage, &client, "+OK Send PASS\r\n+OK from the reader\r\n");
    client_say(&client, "to the reader");
    char got[16];
    ssize_t n;
    while ((n = net_receive(desk.client, got, sizeof got)) < 0)
        ;
    assert_int_equal(n, 13);
    os_close(&desk.client);
    client_expect_end(&desk.stage, &client, "");
    client_close(&client);
    desk_close(&desk);
}

// What the client chose before the login holds after it.
static void test_terms_are_handed_over(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    connect_client(&desk, &client);
    client_say(&client, "UTF8\r\nLANG zh\r\nUSER a\r\nPASS secret\r\n");
    stage_until(&desk.stage, &desk.adopted);
    assert_text(&desk.adoption, TICKET "||pu1");
    client_close(&client);
    desk_close(&desk);
}

static void read_greeting(struct desk *desk, struct client *client, char stamp[64])
{
    client_connect(&desk->stage, client, &desk->address);
    client_expect(&desk->stage, client, "+OK POP3 Posthouse <");
    while (str_index(buf_str(&client->got), '\n') == client->got.len)
        client_expect(&desk->stage, client, "");
    struct str rest = buf_str(&client->got);
    struct str random = str_sub(rest, 0, str_index(rest, '@'));
    assert_int_equal(random.len, 26); // 128 bits
    snprintf(stamp, 64, "<%.*s@mail.example.test>", STR_ARG(random));
    buf_drop(&client->got, random.len);
    client_expect(&desk->stage, client, "@mail.example.test>\r\n");
}

// RFC 1939 section 7: each greeting has a time stamp of its own, and login gets that one.
static void test_apop(void **state)
{
    struct desk desk;
    struct client client, other;
    char stamp[64], again[64], question[256];
    (void)state;
    desk_open(&desk, "apop: yes\n");
    read_greeting(&desk, &other, again);
    read_greeting(&desk, &client, stamp);
    assert_string_not_equal(stamp, again);
    client_say(&client, "APOP alice 0123456789abcdef0123456789abcdef\r\n");
    stage_until(&desk.stage, &desk.asked);
    snprintf(question, sizeof question, "alice|0123456789abcdef0123456789abcdef|%s|127.0.0.1",
             stamp);
    assert_text(&desk.question, question);
    client_expect(&desk.stage, &client, WRONG);
    client_close(&client);
    client_close(&other);
    desk_close(&desk);
}

// A no waits for as long as login says; meanwhile the client may leave.
static void test_a_no_may_be_late(void **state)
{
    struct desk desk;
    struct client client, leaves;
    (void)state;
    desk_open(&desk, "");
    desk.delay_ms = 100;
    connect_client(&desk, &leaves);
    client_say(&leaves, "USER a\r\nPASS x\r\n");
    stage_until(&desk.stage, &desk.asked);
    client_close(&leaves);
    connect_client(&desk, &client);
    client_say(&client, "USER a\r\nPASS x\r\nNOOP\r\n");
    client_expect(&desk.stage, &client,
                  "+OK Send PASS\r\n" WRONG "-ERR Log in first: USER, then PASS\r\n");
    desk.delay_ms = 600000;
    client_say(&client, "USER a\r\nPASS x\r\n");
    client_expect(&desk.stage, &client, "+OK Send PASS\r\n");
    stage_drain(&desk.stage, 10); // it gets no answer, and holds nobody up
    stage_until(&desk.stage, &desk.stage.drained);
    client_expect_end(&desk.stage, &client, "");
    client_close(&client);
    desk_close(&desk);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *said, *reply;
    } cases[] = {
        {"USER a\r\nPASS x\r\n", "+OK Send PASS\r\n" WRONG},
        {"USER a\r\nPASS sick\r\n", "+OK Send PASS\r\n" TROUBLE},
        {"USER a\r\nPASS odd\r\n", "+OK Send PASS\r\n" TROUBLE},
        {"USER a\r\nPASS busy\r\nNOOP\r\n",
         "+OK Send PASS\r\n-ERR [IN-USE] Another session has this maildrop open\r\n"
         "-ERR Log in first: USER, then PASS\r\n"},
        {"QUIT\r\n", "+OK Bye\r\n"},
    };
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    connect_client(&desk, &client);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        client_say(&client, cases[i].said);
        client_expect(&desk.stage, &client, cases[i].reply);
    }
    client_expect_end(&desk.stage, &client, "");
    client_close(&client);
    desk_close(&desk);
}

static void test_five_wrong_logins(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    connect_client(&desk, &client);
    for (int i = 0; i < 4; i++) {
        client_say(&client, "USER a\r\nPASS x\r\n");
        client_expect(&desk.stage, &client, "+OK Send PASS\r\n" WRONG);
    }
    client_say(&client, "USER a\r\nPASS x\r\nUSER a\r\n");
    client_expect_end(&desk.stage, &client,
                      "+OK Send PASS\r\n"
                      "-ERR [AUTH] Wrong user or password too often; closing\r\n");
    client_close(&client);
    desk_close(&desk);
}

// Local trouble is never a wrong password.
static void test_peers_away(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    connect_client(&desk, &client);
    desk.hold = true;
    client_say(&client, "USER a\r\nPASS secret\r\n");
    stage_until(&desk.stage, &desk.asked);
    stage_lose_peer(&desk.stage, IPC_LOGIN); // while it checks
    client_expect(&desk.stage, &client, "+OK Send PASS\r\n" TROUBLE);
    client_say(&client, "USER a\r\nPASS secret\r\n"); // and is not there
    client_expect(&desk.stage, &client, "+OK Send PASS\r\n" TROUBLE);

    desk.hold = false;
    stage_peer(&desk.stage, IPC_LOGIN, &login);
    stage_lose_peer(&desk.stage, IPC_READER);
    client_say(&client, "USER a\r\n");
    client_expect(&desk.stage, &client, "+OK Send PASS\r\n");
    client_say(&client, "PASS secret\r\n");
    client_expect(&desk.stage, &client, TROUBLE);

    stage_peer(&desk.stage, IPC_READER, &reader);
    client_say(&client, "USER a\r\n");
    client_expect(&desk.stage, &client, "+OK Send PASS\r\n");
    client_say(&client, "PASS secret\r\n");
    stage_until(&desk.stage, &desk.adopted);
    client_close(&client);
    desk_close(&desk);
}

static void test_client_leaves_while_checked(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    desk.hold = true;
    connect_client(&desk, &client);
    client_say(&client, "USER a\r\nPASS secret\r\n");
    stage_until(&desk.stage, &desk.asked);
    client_close(&client);
    answer(&desk, desk.slot, LOGIN_OK);
    desk.hold = false;
    connect_client(&desk, &client);
    client_say(&client, "USER a\r\nPASS x\r\nQUIT\r\n");
    client_expect_end(&desk.stage, &client, "+OK Send PASS\r\n" WRONG "+OK Bye\r\n");
    client_close(&client);
    desk_close(&desk);
}

static void test_max_sessions(void **state)
{
    struct desk desk;
    struct client clients[3], more;
    (void)state;
    desk_open(&desk, "limits: {max_sessions: 3, sessions_per_address: 1}\n"); // loopback is exempt
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        connect_client(&desk, &clients[i]);
    client_connect(&desk.stage, &more, &desk.address);
    client_expect_end(&desk.stage, &more, TOO_MANY);
    client_close(&more);
    client_say(&clients[0], "QUIT\r\n");
    client_expect_end(&desk.stage, &clients[0], "+OK Bye\r\n");
    connect_client(&desk, &more);
    client_close(&more);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        client_close(&clients[i]);
    desk_close(&desk);
}

// RFC 1939 section 3: nothing is said when the time is over.
static void test_idle(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "limits: {pop3_idle: 1s}\n");
    connect_client(&desk, &client);
    client_expect_end(&desk.stage, &client, "");
    client_close(&client);
    desk_close(&desk);
}

// What waits behind PASS has to fit into one message to the reader.
static void test_flood_behind_pass(void **state)
{
    struct desk desk;
    struct client client;
    struct buf flood;
    (void)state;
    desk_open(&desk, "");
    connect_client(&desk, &client);
    client_say(&client, "USER a\r\n");
    client_expect(&desk.stage, &client, "+OK Send PASS\r\n");
    buf_init(&flood, 1 << 20);
    buf_put(&flood, STR("PASS secret\r\n"));
    while (flood.len < 60000)
        buf_put(&flood, STR("NOOP\r\n"));
    buf_put_byte(&flood, '\0');
    client_say(&client, flood.ptr);
    buf_finish(&flood);
    // Whether it came in one piece or not: the porter lives.
    struct client other;
    connect_client(&desk, &other);
    client_close(&other);
    client_close(&client);
    desk_close(&desk);
}

static void test_drain(void **state)
{
    struct desk desk;
    struct client idle, checked;
    (void)state;
    desk_open(&desk, "");
    connect_client(&desk, &idle);
    connect_client(&desk, &checked);
    desk.hold = true;
    client_say(&checked, "USER a\r\nPASS x\r\n");
    stage_until(&desk.stage, &desk.asked);
    stage_drain(&desk.stage, 10000);
    client_expect_end(&desk.stage, &idle, CLOSING);
    assert_false(desk.stage.drained);
    answer(&desk, desk.slot, LOGIN_WRONG);
    client_expect_end(&desk.stage, &checked, "+OK Send PASS\r\n" WRONG CLOSING);
    stage_until(&desk.stage, &desk.stage.drained);
    client_close(&idle);
    client_close(&checked);
    desk_close(&desk);
}

static void test_drain_deadline(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    connect_client(&desk, &client);
    desk.hold = true;
    client_say(&client, "USER a\r\nPASS x\r\n");
    stage_until(&desk.stage, &desk.asked);
    stage_drain(&desk.stage, 10);
    stage_until(&desk.stage, &desk.stage.drained);
    client_expect_end(&desk.stage, &client, "+OK Send PASS\r\n");
    client_close(&client);
    desk_close(&desk);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hands_over),
        cmocka_unit_test(test_terms_are_handed_over),
        cmocka_unit_test(test_apop),
        cmocka_unit_test(test_a_no_may_be_late),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_five_wrong_logins),
        cmocka_unit_test(test_peers_away),
        cmocka_unit_test(test_client_leaves_while_checked),
        cmocka_unit_test(test_max_sessions),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_flood_behind_pass),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_deadline),
    };
    must(argc == 2);
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
