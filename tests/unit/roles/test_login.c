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
    uint64_t asked_ms, came_ms;
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
    answer->came_ms = os_monotonic_ms();
    answer->verdict = m->checked.verdict;
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

static void ask(struct fixture *f, struct str user, struct str password, struct answer *answer)
{
    struct msg m = {.type = MSG_check};
    *answer = (struct answer){.asked_ms = os_monotonic_ms()};
    m.check.user = user;
    m.check.password = password;
    m.check.peer = STR("192.0.2.1");
    assert_true(ipc_request(f->porter, &m, answer));
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

// All get the same answer, at the same time, and the reader hears of none.
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
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ask(f, cases[i].user, cases[i].password, &answers[i]);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        box_run(&f->box, &answers[i].came);
        if (answers[i].verdict != LOGIN_WRONG)
            fail_msg("case %zu: verdict %u", i, answers[i].verdict);
        assert_string_equal(answers[i].ticket, "");
        assert_string_equal(answers[i].user, "");
        // Never before the deadline; the loop's clock may be a turn behind.
        assert_true(answers[i].came_ms - answers[i].asked_ms >= 900);
    }
    assert_int_equal(f->reader.admits, 0);
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
