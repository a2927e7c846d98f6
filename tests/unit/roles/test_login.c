// argv[1]: the program of the role login. The test is porter and reader.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ipc/verdicts.h"
#include "store/directory_db.h"
#include "store/login_db.h"
#include "store/password.h"
#include "role_box.h"

static const char *program;

struct answer {
    bool came;
    uint8_t verdict;
    char ticket[64], user[400];
    uint32_t delay_ms;
};

// What the reader was told, and what it says to it.
struct reader {
    struct ipc_channel *channel;
    uint8_t verdict;
    bool silent; // does not answer
    bool admitted;
    unsigned admits;
    uint32_t slot;
    char ticket[64], mailbox[600], user[400];
};

struct fixture {
    struct role_box box;
    struct directory_db *directory;
    struct login_db *passwords;
    struct ipc_channel *porter;
    struct reader reader;
};

static void copy(char *to, size_t size, struct str from)
{
    assert_true(from.len < size);
    snprintf(to, size, "%.*s", STR_ARG(from));
}

static void on_checked(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct answer *answer = owner;
    (void)channel;
    assert_non_null(answer);
    answer->came = true;
    answer->verdict = m->checked.verdict;
    answer->delay_ms = m->checked.delay_ms;
    copy(answer->ticket, sizeof(answer->ticket), m->checked.ticket);
    copy(answer->user, sizeof(answer->user), m->checked.user);
}

static void on_admit(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct reader *reader = ipc_context(channel);
    struct msg reply = {.type = MSG_admitted, .slot = m->slot};
    (void)owner;
    reader->admitted = true;
    reader->admits++;
    reader->slot = m->slot;
    copy(reader->ticket, sizeof(reader->ticket), m->admit.ticket);
    copy(reader->mailbox, sizeof(reader->mailbox), m->admit.mailbox);
    copy(reader->user, sizeof(reader->user), m->admit.user);
    reply.admitted.verdict = reader->verdict;
    if (!reader->silent)
        ipc_send(channel, &reply);
}

static const struct ipc_handlers porter_handlers = {.on = {[MSG_checked] = on_checked}};
static const struct ipc_handlers reader_handlers = {.on = {[MSG_admit] = on_admit}};

static void set_password(struct fixture *f, const char *user, const char *password)
{
    struct address address;
    struct buf hash;
    struct err err;
    buf_init(&hash, 512);
    assert_true(address_read(str_of(user), &f->box.arena, &address, &err));
    assert_true(password_hash(str_of(password), &hash, &err));
    assert_true(login_db_set(f->passwords, &address, buf_str(&hash), &err));
    buf_finish(&hash);
}

static void add_user(struct fixture *f, const char *user)
{
    struct address address;
    struct err err;
    assert_true(address_read(str_of(user), &f->box.arena, &address, &err));
    assert_true(directory_db_add_user(f->directory, &address, &err));
}

static void ask_from(struct fixture *f, const char *peer, struct str user, struct str secret,
                     const char *challenge, struct answer *answer)
{
    struct msg m = {.type = MSG_check};
    *answer = (struct answer){.came = false};
    m.check.user = user;
    m.check.secret = secret;
    m.check.challenge = str_of(challenge);
    m.check.peer = str_of(peer);
    assert_true(ipc_request(f->porter, &m, answer));
}

static void ask(struct fixture *f, struct str user, struct str password, struct answer *answer)
{
    ask_from(f, "192.0.2.1", user, password, "", answer);
}

static void ask_alice(struct fixture *f, const char *password, struct answer *answer)
{
    ask(f, STR("alice@example.com"), str_of(password), answer);
    box_run(&f->box, &answer->came);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err;
    assert_non_null(f);
    box_setup(&f->box, program, IPC_LOGIN);
    assert_true(directory_db_open(&f->directory, f->box.state_dir, DATABASE_WRITE, &err));
    assert_true(login_db_open(&f->passwords, f->box.state_dir, DATABASE_WRITE, &err));
    assert_true(
        directory_db_add_domain(f->directory, STR("example.com"), STR("example.com"), &err));
    add_user(f, "Alice@Example.com");
    set_password(f, "alice@example.com", "open sesame");
    add_user(f, "用户@example.com");
    set_password(f, "用户@example.com", "芝麻开门");
    add_user(f, "nopassword@example.com");
    set_password(f, "removed@example.com", "open sesame"); // a hash without a user
    box_start(&f->box);
    box_run(&f->box, &f->box.ready);
    f->porter = box_peer(&f->box, IPC_PORTER, &porter_handlers, f);
    f->reader.channel = box_peer(&f->box, IPC_READER, &reader_handlers, &f->reader);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct os_exit how;
    ipc_close(&f->porter);
    ipc_close(&f->reader.channel);
    box_stop(&f->box, &how);
    assert_int_equal(how.code, 0);
    login_db_close(&f->passwords);
    directory_db_close(&f->directory);
    box_teardown(&f->box);
    free(f);
    return 0;
}

static void a_login_is_admitted_then_answered(void **state)
{
    const struct {
        struct str user, password;
        const char *written, *mailbox;
    } cases[] = {
        {STR("alice@example.com"), STR("open sesame"), "Alice@Example.com", "example.com/alice"},
        {STR("ALICE@EXAMPLE.COM"), STR("open sesame"), "Alice@Example.com", "example.com/alice"},
        {STR("用户@example.com"), STR("芝麻开门"), "用户@example.com", "example.com/用户"},
    };
    struct fixture *f = *state;
    char last[64] = "";
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answer answer;
        ask(f, cases[i].user, cases[i].password, &answer);
        box_run(&f->box, &answer.came);
        assert_int_equal(answer.verdict, LOGIN_OK);
        assert_string_equal(answer.user, cases[i].written);
        assert_int_equal(strlen(answer.ticket), 26); // 128 bits
        assert_string_not_equal(answer.ticket, last);
        assert_string_equal(f->reader.ticket, answer.ticket);
        assert_string_equal(f->reader.mailbox, cases[i].mailbox);
        assert_string_equal(f->reader.user, cases[i].written);
        snprintf(last, sizeof(last), "%s", answer.ticket);
    }
}

// All get the same answer, after the same time, and the reader hears of none.
static void what_is_wrong_cannot_be_told_apart(void **state)
{
    char long_text[400];
    memset(long_text, 'a', sizeof(long_text));
    const struct {
        struct str user, password;
    } cases[] = {
        {STR("alice@example.com"), STR("wrong")},
        {STR("alice@example.com"), STR("")},
        {STR("alice@example.com"), STR("Open sesame")},
        {STR("alice@example.com"), STR("open sesame ")},
        {STR("alice@example.com"), STR("open sesame\0")},
        {STR("alice@example.com"), str_from(long_text, 256)},
        {STR("bob@example.com"), STR("open sesame")},
        {STR("alice@example.net"), STR("open sesame")},
        {STR("postmaster@example.com"), STR("open sesame")},
        {STR("removed@example.com"), STR("open sesame")},
        {STR("nopassword@example.com"), STR("")},
        {STR("nopassword@example.com"), STR("x")},
        {STR("alice"), STR("open sesame")},
        {STR(""), STR("")},
        {STR("' OR 1=1; --"), STR("x")},
        {STR("\xff\n\0@example.com"), STR("\xff\n\0")},
        {str_from(long_text, sizeof(long_text)), STR("x")},
    };
    struct fixture *f = *state;
    struct answer answers[ARRAY_LEN(cases)];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char peer[32];
        snprintf(peer, sizeof(peer), "192.0.2.%zu", i);
        ask_from(f, peer, cases[i].user, cases[i].password, i % 2 ? "" : "<1@h>", &answers[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        box_run(&f->box, &answers[i].came);
        if (answers[i].verdict != LOGIN_WRONG)
            fail_msg("case %zu: verdict %u", i, answers[i].verdict);
        assert_string_equal(answers[i].ticket, "");
        assert_string_equal(answers[i].user, "");
        assert_true(answers[i].delay_ms >= 1000);
    }
    assert_int_equal(f->reader.admits, 0);
}

// 1, 2, 4 ... 30 seconds, by name and by address, for users and for others; a success begins anew.
static void failures_are_answered_later_and_later(void **state)
{
    static const struct {
        const char *peer, *user;
        uint32_t delay_ms;
    } cases[] = {
        {"192.0.2.1", "alice@example.com", 1000},
        {"192.0.2.1", "ALICE@EXAMPLE.COM", 2000},
        {"192.0.2.2", "alice@example.com", 4000},
        {"192.0.2.2", "bob@example.com", 2000},
        {"2001:db8::1", "carol@example.com", 1000},
        {"2001:db8::2", "dave@example.com", 2000},
        {"2001:db8:0:1::", "erin@example.com", 1000},
        {"127.0.0.1", "frank@example.com", 1000},
        {"127.0.0.1", "grace@example.com", 1000},
        {"127.0.0.1", "Grace@Example.com", 2000},
        {"", "nonsense", 1000},
        {"", "nonsense", 2000},
        {"192.0.2.3", "alice@example.com", 8000},
        {"192.0.2.3", "alice@example.com", 16000},
        {"192.0.2.3", "alice@example.com", 30000},
        {"192.0.2.3", "alice@example.com", 30000},
        {"192.0.2.3", "heidi@example.com", 16000},
    };
    struct fixture *f = *state;
    struct answer answer;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ask_from(f, cases[i].peer, str_of(cases[i].user), STR("wrong"), "", &answer);
        box_run(&f->box, &answer.came);
        assert_int_equal(answer.verdict, LOGIN_WRONG);
        if (answer.delay_ms != cases[i].delay_ms)
            fail_msg("case %zu: %u", i, answer.delay_ms);
    }
    ask_alice(f, "open sesame", &answer);
    assert_int_equal(answer.verdict, LOGIN_OK);
    assert_int_equal(answer.delay_ms, 0);
    ask_from(f, "192.0.2.9", STR("alice@example.com"), STR("wrong"), "", &answer);
    box_run(&f->box, &answer.came);
    assert_int_equal(answer.delay_ms, 1000);
}

// RFC 1939 section 7, with its example's secret and time stamp.
static void apop_is_checked_against_its_own_secret(void **state)
{
    static const char challenge[] = "<1896.697170952@dbc.mtview.ca.us>";
    static const struct {
        const char *user, *secret, *challenge;
        uint8_t verdict;
    } cases[] = {
        {"alice@example.com", "c4c9334bac560ecc979e58001b3e22fb", challenge, LOGIN_OK},
        {"ALICE@example.com", "c4c9334bac560ecc979e58001b3e22fb", challenge, LOGIN_OK},
        {"alice@example.com", "c4c9334bac560ecc979e58001b3e22fb", "<1896.697170953@x>",
         LOGIN_WRONG},
        {"alice@example.com", "c4c9334bac560ecc979e58001b3e22fc", challenge, LOGIN_WRONG},
        {"alice@example.com", "open sesame", challenge, LOGIN_WRONG},
        {"alice@example.com", "tanstaaf", challenge, LOGIN_WRONG},
        {"alice@example.com", "tanstaaf", "", LOGIN_WRONG}, // no password
        {"alice@example.com", "open sesame", "", LOGIN_OK}, // the password still opens
        {"用户@example.com", "c4c9334bac560ecc979e58001b3e22fb", challenge,
         LOGIN_WRONG}, // has none
        {"removed@example.com", "c4c9334bac560ecc979e58001b3e22fb", challenge, LOGIN_WRONG},
    };
    struct fixture *f = *state;
    struct os_exit how;
    struct address address;
    struct err err;
    const char *const users[] = {"alice@example.com", "removed@example.com"};
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        assert_true(address_read(str_of(users[i]), &f->box.arena, &address, &err));
        assert_true(login_db_set_apop(f->passwords, &address, STR("tanstaaf"), &err));
    }
    for (int on = 0; on < 2; on++) {
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            bool digest = cases[i].challenge[0] != '\0';
            struct answer answer;
            ask_from(f, "127.0.0.1", str_of(cases[i].user), str_of(cases[i].secret),
                     cases[i].challenge, &answer);
            box_run(&f->box, &answer.came);
            uint8_t want = digest && !on ? LOGIN_WRONG : cases[i].verdict;
            if (answer.verdict != want)
                fail_msg("apop %d, case %zu: %u", on, i, answer.verdict);
        }
        if (on)
            break;
        ipc_close(&f->porter);
        ipc_close(&f->reader.channel);
        box_stop(&f->box, &how);
        f->box.conf.apop = true;
        box_start(&f->box);
        box_run(&f->box, &f->box.ready);
        f->porter = box_peer(&f->box, IPC_PORTER, &porter_handlers, f);
        f->reader.channel = box_peer(&f->box, IPC_READER, &reader_handlers, &f->reader);
    }
}

static void the_readers_verdict_is_the_answer(void **state)
{
    static const struct {
        uint8_t said, verdict;
    } cases[] = {
        {LOGIN_IN_USE, LOGIN_IN_USE}, {LOGIN_TROUBLE, LOGIN_TROUBLE},
        {LOGIN_WRONG, LOGIN_TROUBLE}, // not the reader's to say
        {99, LOGIN_TROUBLE},          {LOGIN_OK, LOGIN_OK},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answer answer;
        f->reader.verdict = cases[i].said;
        ask_alice(f, "open sesame", &answer);
        assert_int_equal(answer.verdict, cases[i].verdict);
        assert_int_equal(strlen(answer.ticket), answer.verdict == LOGIN_OK ? 26 : 0);
    }
}

static void a_reader_that_is_away_is_trouble(void **state)
{
    struct fixture *f = *state;
    struct answer answer;
    // It goes while it is asked.
    f->reader.silent = true;
    ask(f, STR("alice@example.com"), STR("open sesame"), &answer);
    box_run(&f->box, &f->reader.admitted);
    ipc_close(&f->reader.channel);
    box_run(&f->box, &answer.came);
    assert_int_equal(answer.verdict, LOGIN_TROUBLE);
    // It is not there.
    ask_alice(f, "open sesame", &answer);
    assert_int_equal(answer.verdict, LOGIN_TROUBLE);
    // It is back.
    f->reader.silent = false;
    f->reader.channel = box_peer(&f->box, IPC_READER, &reader_handlers, &f->reader);
    ask_alice(f, "open sesame", &answer);
    assert_int_equal(answer.verdict, LOGIN_OK);
}

// The new porter's first question has the number of the old one's.
static void a_new_porter_gets_its_own_answers(void **state)
{
    struct fixture *f = *state;
    struct answer lost[3], answer;
    ask(f, STR("alice@example.com"), STR("open sesame"), &lost[0]);
    ask(f, STR("alice@example.com"), STR("wrong"), &lost[1]);
    ask(f, STR("alice@example.com"), STR("open sesame"), &lost[2]);
    struct err err;
    assert_true(loop_turn(f->box.loop, 0, &err));
    ipc_close(&f->porter);
    f->porter = box_peer(&f->box, IPC_PORTER, &porter_handlers, f);
    ask(f, STR("bob@example.com"), STR("x"), &answer);
    box_run(&f->box, &answer.came);
    assert_int_equal(answer.verdict, LOGIN_WRONG);
    for (size_t i = 0; i < ARRAY_LEN(lost); i++)
        assert_false(lost[i].came);
}

static void a_new_password_holds_at_once(void **state)
{
    struct fixture *f = *state;
    struct answer answer;
    struct address address;
    struct err err;
    set_password(f, "alice@example.com", "new");
    ask_alice(f, "new", &answer);
    assert_int_equal(answer.verdict, LOGIN_OK);
    ask_alice(f, "open sesame", &answer);
    assert_int_equal(answer.verdict, LOGIN_WRONG);
    assert_true(address_read(STR("alice@example.com"), &f->box.arena, &address, &err));
    assert_true(directory_db_remove_user(f->directory, &address, &err));
    ask_alice(f, "new", &answer); // the hash is still there
    assert_int_equal(answer.verdict, LOGIN_WRONG);
}

static void all_credits_at_once(void **state)
{
    enum { CREDITS = 64 };
    struct fixture *f = *state;
    struct answer answers[CREDITS];
    for (int i = 0; i < CREDITS; i++)
        ask(f, STR("alice@example.com"), i % 2 ? STR("open sesame") : STR("wrong"), &answers[i]);
    for (int i = 0; i < CREDITS; i++) {
        box_run(&f->box, &answers[i].came);
        assert_int_equal(answers[i].verdict, i % 2 ? LOGIN_OK : LOGIN_WRONG);
    }
    assert_int_equal(f->reader.admits, CREDITS / 2);
}

static void draining_waits_for_open_answers(void **state)
{
    struct fixture *f = *state;
    struct msg drain = {.type = MSG_drain}, reply = {.type = MSG_admitted};
    struct answer answer;
    struct err err;
    f->reader.silent = true;
    ask(f, STR("alice@example.com"), STR("open sesame"), &answer);
    box_run(&f->box, &f->reader.admitted);
    ipc_send(f->box.control, &drain);
    for (int i = 0; i < 3; i++)
        assert_true(loop_turn(f->box.loop, 20, &err));
    assert_false(f->box.drained);
    reply.slot = f->reader.slot;
    ipc_send(f->reader.channel, &reply);
    box_run(&f->box, &f->box.drained);
    box_run(&f->box, &answer.came);
    assert_int_equal(answer.verdict, LOGIN_OK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        CASE(a_login_is_admitted_then_answered),
        CASE(what_is_wrong_cannot_be_told_apart),
        CASE(failures_are_answered_later_and_later),
        CASE(apop_is_checked_against_its_own_secret),
        CASE(the_readers_verdict_is_the_answer),
        CASE(a_reader_that_is_away_is_trouble),
        CASE(a_new_porter_gets_its_own_answers),
        CASE(a_new_password_holds_at_once),
        CASE(all_credits_at_once),
        CASE(draining_waits_for_open_answers),
    };
    must(argc == 2);
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
