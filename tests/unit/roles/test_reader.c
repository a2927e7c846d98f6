// roles/reader.c as a program with Maildirs of the test's; the test plays login, porter and
// clients.
#include "stage.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/limits.h"
#include "ipc/verdicts.h"
#include "os/file.h"

#define ALICE "example.test/alice"
#define FIRST "1700000001.FIRST_1.posthouse"
#define SECOND "1700000002.SECOND_1.posthouse"

struct desk {
    struct stage stage;
    int maildir; // of alice
    unsigned tickets;
    bool answered;
    uint8_t verdict;
    bool utf8;
    uint8_t language;
    bool settled;
    uint64_t freed, freed_octets; // letters that were told, and their octets
};

static void on_admitted(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct desk *desk = CONTAINER_OF(ipc_context(channel), struct desk, stage);
    (void)owner;
    desk->answered = true;
    desk->verdict = m->admitted.verdict;
}

static void on_freed(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct desk *desk = CONTAINER_OF(ipc_context(channel), struct desk, stage);
    (void)owner;
    assert_true(str_eq(m->freed.mailbox, STR(ALICE)));
    desk->freed += m->freed.letters;
    desk->freed_octets += m->freed.octets;
}

static void on_settled(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct desk *desk = CONTAINER_OF(ipc_context(channel), struct desk, stage);
    (void)m;
    (void)owner;
    desk->settled = true;
}

static const struct ipc_handlers directory = {
    .on = {[MSG_freed] = on_freed, [MSG_settled] = on_settled}};
static const struct ipc_handlers login = {.on = {[MSG_admitted] = on_admitted}};
static const struct ipc_handlers porter = {.on = {NULL}};

static const char *program;

// ---- Maildirs

static void make_directories(struct desk *desk, const char *const *paths, size_t count)
{
    int top = os_open_directory(OS_HERE, desk->stage.directory);
    assert_true(top >= 0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(os_mkdir(top, paths[i], 0700), 0);
    desk->maildir = os_open_directory(top, "mail/" ALICE);
    assert_true(desk->maildir >= 0);
    os_close(&top);
}

static void put_file(struct desk *desk, const char *path, struct str text)
{
    int fd = os_open(desk->maildir, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(os_write_all(fd, text), 0);
    os_close(&fd);
}

static bool has_file(struct desk *desk, const char *path)
{
    struct stat st;
    int rc = os_stat(desk->maildir, path, &st);
    assert_true(rc == 0 || rc == -ENOENT);
    return rc == 0;
}

static void put_two_letters(struct desk *desk)
{
    put_file(desk, "new/" FIRST ",S=22,W=25", STR("Subject: 你好\n\n.one\n"));
    put_file(desk, "cur/" SECOND ",S=9,W=11,N:2,S", STR("A: b\n\ntwo"));
}

// ---- login and porter

static void desk_open(struct desk *desk, const char *options)
{
    static const char *const paths[] = {"mail/example.test", "mail/" ALICE, "mail/" ALICE "/new",
                                        "mail/" ALICE "/cur", "mail/" ALICE "/tmp"};
    *desk = (struct desk){.maildir = -1};
    stage_open(&desk->stage, IPC_READER, program, options);
    make_directories(desk, paths, ARRAY_LEN(paths));
    stage_peer(&desk->stage, IPC_LOGIN, &login);
    stage_peer(&desk->stage, IPC_PORTER, &porter);
}

static void desk_close(struct desk *desk)
{
    os_close(&desk->maildir);
    stage_close(&desk->stage);
}

static uint8_t admit(struct desk *desk, const char *mailbox, const char *ticket)
{
    struct msg m = {.type = MSG_admit};
    m.admit.ticket = str_of(ticket);
    m.admit.mailbox = str_of(mailbox);
    m.admit.user = STR("alice@example.test");
    desk->answered = false;
    assert_true(ipc_request(desk->stage.peers[IPC_LOGIN], &m, NULL));
    stage_until(&desk->stage, &desk->answered);
    return desk->verdict;
}

static void adopt(struct desk *desk, struct client *client, const char *ticket, const char *input)
{
    int other;
    struct msg m = {.type = MSG_adopt};
    client_pair(client, &other);
    m.adopt.passwords = true;
    m.adopt.utf8 = desk->utf8;
    m.adopt.language = desk->language;
    m.adopt.client = other;
    m.adopt.ticket = str_of(ticket);
    m.adopt.input = str_of(input);
    m.adopt.peer = STR("192.0.2.1:1234");
    m.adopt.session = STR("0123456789");
    ipc_send(desk->stage.peers[IPC_PORTER], &m);
    os_close(&other);
}

static void log_in(struct desk *desk, struct client *client, const char *mailbox, const char *input)
{
    struct buf ticket;
    buf_init(&ticket, 64);
    buf_putf(&ticket, "ticket-%u%c", ++desk->tickets, '\0');
    assert_int_equal(admit(desk, mailbox, ticket.ptr), LOGIN_OK);
    adopt(desk, client, ticket.ptr, input);
    buf_finish(&ticket);
}

// The session is over on the reader's side too: its lock is free.
static void wait_until_free(struct desk *desk)
{
    uint8_t verdict;
    while ((verdict = admit(desk, ALICE, "the next")) == LOGIN_IN_USE)
        ;
    assert_int_equal(verdict, LOGIN_OK);
}

// ---- tests

static void test_session(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    put_two_letters(&desk);
    log_in(&desk, &client, ALICE, "LIST\r\nUIDL\r\nRET");
    client_expect(&desk.stage, &client,
                  "+OK 2 letters\r\n"
                  "+OK 2 letters\r\n1 25\r\n2 13\r\n.\r\n"
                  "+OK 2 letters\r\n1 " FIRST "\r\n2 " SECOND "\r\n.\r\n");
    client_say(&client, "R 1\r\nRETR 2\r\n");
    client_expect(&desk.stage, &client,
                  "+OK 25 octets\r\nSubject: 你好\r\n\r\n..one\r\n.\r\n"
                  "+OK 13 octets\r\nA: b\r\n\r\ntwo\r\n.\r\n");
    client_say(&client, "DELE 2\r\nSTAT\r\n");
    client_expect(&desk.stage, &client, "+OK\r\n+OK 1 25\r\n");
    assert_true(has_file(&desk, "cur/" SECOND ",S=9,W=11,N:2,S"));
    client_say(&client, "QUIT\r\n");
    client_expect_end(&desk.stage, &client, "+OK Bye\r\n");
    assert_false(has_file(&desk, "cur/" SECOND ",S=9,W=11,N:2,S"));
    assert_true(has_file(&desk, "new/" FIRST ",S=22,W=25"));
    client_close(&client);
    desk_close(&desk);
}

// What was removed is told, as it lay on disk, and before `settle` is answered.
static void test_removals_are_told(void **state)
{
    enum { LETTERS = 600 };
    struct desk desk;
    struct client client;
    struct msg settle = {.type = MSG_settle};
    struct buf text;
    (void)state;
    desk_open(&desk, "");
    stage_peer(&desk.stage, IPC_DIRECTORY, &directory);
    buf_init(&text, 1 << 16);
    for (int i = 0; i < LETTERS; i++) {
        char name[64];
        snprintf(name, sizeof name, "cur/%d.%s", 1000 + i, i % 2 ? "a,S=10,W=12" : "foreign");
        put_file(&desk, name, STR("Ab: c\n\n1234\n"));
        buf_putf(&text, "DELE %d\r\n", i + 1);
    }
    buf_put(&text, STR("QUIT\r\n"));
    buf_put_byte(&text, '\0');
    log_in(&desk, &client, ALICE, "");
    client_say(&client, text.ptr);
    wait_until_free(&desk);
    assert_false(has_file(&desk, "cur/1000.foreign"));
    assert_true(ipc_request(desk.stage.peers[IPC_DIRECTORY], &settle, &desk));
    stage_until(&desk.stage, &desk.settled);
    assert_int_equal(desk.freed, LETTERS);
    assert_int_equal(desk.freed_octets, LETTERS / 2 * 10 + LETTERS / 2 * 12);
    client_close(&client);
    buf_finish(&text);
    desk_close(&desk);
}

static void test_nothing_goes_without_quit(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    put_two_letters(&desk);
    log_in(&desk, &client, ALICE, "DELE 1\r\nDELE 2\r\n");
    client_expect(&desk.stage, &client, "+OK 2 letters\r\n+OK\r\n+OK\r\n");
    client_close(&client);
    wait_until_free(&desk);
    assert_true(has_file(&desk, "new/" FIRST ",S=22,W=25"));
    assert_true(has_file(&desk, "cur/" SECOND ",S=9,W=11,N:2,S"));
    desk_close(&desk);
}

static void test_time_out_updates_nothing(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "limits: {pop3_idle: 1s}\n");
    put_two_letters(&desk);
    log_in(&desk, &client, ALICE, "DELE 1\r\n");
    client_expect_end(&desk.stage, &client, "+OK 2 letters\r\n+OK\r\n");
    client_close(&client);
    wait_until_free(&desk);
    assert_true(has_file(&desk, "new/" FIRST ",S=22,W=25"));
    desk_close(&desk);
}

// RFC 1939 section 4: one session at a time, from the announcement on.
static void test_exclusive(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    assert_int_equal(admit(&desk, ALICE, "one"), LOGIN_OK);
    assert_int_equal(admit(&desk, ALICE, "two"), LOGIN_IN_USE);
    adopt(&desk, &client, "one", "");
    client_expect(&desk.stage, &client, "+OK 0 letters\r\n");
    assert_int_equal(admit(&desk, ALICE, "three"), LOGIN_IN_USE);
    client_say(&client, "QUIT\r\n");
    client_expect_end(&desk.stage, &client, "+OK Bye\r\n");
    client_close(&client);
    wait_until_free(&desk);
    desk_close(&desk);
}

// Another process (a reader of before a reload) has the Maildir.
static void test_locked_by_another_process(void **state)
{
    struct desk desk;
    (void)state;
    desk_open(&desk, "");
    int new = os_open_directory(desk.maildir, "new");
    assert_true(new >= 0);
    assert_int_equal(os_flock(new), 0);
    assert_int_equal(admit(&desk, ALICE, "one"), LOGIN_IN_USE);
    os_close(&new);
    assert_int_equal(admit(&desk, ALICE, "one"), LOGIN_OK);
    desk_close(&desk);
}

// The porter alone opens nothing: tickets come from login, and are good once.
static void test_tickets(void **state)
{
    struct desk desk;
    struct client client, thief;
    (void)state;
    desk_open(&desk, "");
    adopt(&desk, &thief, "guess", "");
    client_expect_end(&desk.stage, &thief, "");
    client_close(&thief);
    adopt(&desk, &thief, "", "");
    client_expect_end(&desk.stage, &thief, "");
    client_close(&thief);
    assert_int_equal(admit(&desk, ALICE, ""), LOGIN_TROUBLE);
    assert_int_equal(admit(&desk, ALICE, "ticket"), LOGIN_OK);
    assert_int_equal(admit(&desk, "example.test/bob", "ticket"), LOGIN_TROUBLE);
    adopt(&desk, &client, "ticket", "");
    client_expect(&desk.stage, &client, "+OK 0 letters\r\n");
    adopt(&desk, &thief, "ticket", "");
    client_expect_end(&desk.stage, &thief, "");
    client_close(&thief);
    client_close(&client);
    desk_close(&desk);
}

// A user who never got a letter.
static void test_no_maildir(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    log_in(&desk, &client, "other.test/陈", "STAT\r\nUIDL\r\nRETR 1\r\nQUIT\r\n");
    client_expect_end(&desk.stage, &client,
                      "+OK 0 letters\r\n+OK 0 0\r\n+OK 0 letters\r\n.\r\n"
                      "-ERR No such letter\r\n+OK Bye\r\n");
    client_close(&client);
    desk_close(&desk);
}

static void test_paths_stay_below_mail_dir(void **state)
{
    struct desk desk;
    (void)state;
    desk_open(&desk, "");
    assert_int_equal(admit(&desk, "../mail/" ALICE, "one"), LOGIN_TROUBLE);
    assert_int_equal(admit(&desk, "/tmp", "two"), LOGIN_TROUBLE);
    desk_close(&desk);
}

// Other programs move, flag and remove letters while the session goes on; new ones do not show.
static void test_others_at_work(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    put_two_letters(&desk);
    log_in(&desk, &client, ALICE, "");
    client_expect(&desk.stage, &client, "+OK 2 letters\r\n");
    assert_int_equal(os_rename(desk.maildir, "new/" FIRST ",S=22,W=25", desk.maildir,
                               "cur/" FIRST ",S=22,W=25:2,RS"),
                     0);
    assert_int_equal(os_unlink(desk.maildir, "cur/" SECOND ",S=9,W=11,N:2,S"), 0);
    put_file(&desk, "new/1600000000.EARLIER_1.posthouse,S=1,W=2", STR("\n"));
    client_say(&client, "RETR 1\r\nRETR 2\r\nSTAT\r\n");
    client_expect(&desk.stage, &client,
                  "+OK 25 octets\r\nSubject: 你好\r\n\r\n..one\r\n.\r\n"
                  "-ERR [SYS/TEMP] This letter cannot be read now\r\n+OK 2 38\r\n");
    client_say(&client, "DELE 1\r\nDELE 2\r\nQUIT\r\n");
    client_expect_end(&desk.stage, &client, "+OK\r\n+OK\r\n+OK Bye\r\n"); // both are gone
    assert_false(has_file(&desk, "cur/" FIRST ",S=22,W=25:2,RS"));
    assert_true(has_file(&desk, "new/1600000000.EARLIER_1.posthouse,S=1,W=2"));
    client_close(&client);
    desk_close(&desk);
}

// Names that tell no size: it is counted when it is needed, in more than one turn; TOP and UIDL
// need none. A letter that is gone, or no letter, counts nothing, and the session goes on.
static void test_sizes_are_counted_when_needed(void **state)
{
    enum { COUNT = 300 };
    struct desk desk;
    struct client client;
    struct buf text;
    (void)state;
    desk_open(&desk, "");
    buf_init(&text, 1 << 16);
    for (int i = 0; i < COUNT; i++) {
        buf_clear(&text);
        buf_putf(&text, "cur/17%08d.M1P2.host:2,S%c", i, '\0');
        put_file(&desk, text.ptr, STR("A: b\n\none\ntwo"));
    }
    log_in(&desk, &client, ALICE, "TOP 1 1\r\n");
    client_expect(&desk.stage, &client,
                  "+OK 300 letters\r\n+OK The beginning follows\r\nA: b\r\n\r\none\r\n.\r\n");
    assert_int_equal(os_unlink(desk.maildir, "cur/1700000001.M1P2.host:2,S"), 0);
    client_say(&client, "LIST 2\r\nLIST 3\r\nSTAT\r\nRETR 300\r\nRETR 2\r\n");
    client_expect(&desk.stage, &client,
                  "+OK 2 0\r\n+OK 3 18\r\n+OK 300 5382\r\n"
                  "+OK 18 octets\r\nA: b\r\n\r\none\r\ntwo\r\n.\r\n"
                  "-ERR [SYS/TEMP] This letter cannot be read now\r\n");
    client_close(&client);
    wait_until_free(&desk);
    buf_finish(&text);
    desk_close(&desk);
}

#define UTF8_LETTER                                                                                \
    "Return-Path: <a@例子.test>\nReceived: from x\n\tby mail.example.test with UTF8SMTP id 1\n"  \
    "Subject: 你好\n\n你好\n"

// RFC 6856 section 2.1: a letter taken with SMTPUTF8 is for clients that said UTF8; one whose
// header is plain, and one that somebody sent so without asking, are for all.
static void test_utf8_letters(void **state)
{
    struct desk desk;
    struct client client;
    (void)state;
    desk_open(&desk, "");
    put_file(&desk, "new/1.a", STR(UTF8_LETTER));
    put_file(&desk, "new/2.b", STR("Received: from x by y with UTF8SMTP\nA: b\n\n你\n"));
    put_file(&desk, "new/3.c",
             STR("Received: from x by y with ESMTP\n"
                 "Received: from z by x with UTF8SMTP\nSubject: 你\n\n"));
    log_in(&desk, &client, ALICE, "RETR 1\r\nTOP 1 0\r\nRETR 2\r\nTOP 3 0\r\nQUIT\r\n");
    client_expect_end(
        &desk.stage, &client,
        "+OK 3 letters\r\n"
        "-ERR [UTF8] This letter has a header in UTF-8: send UTF8 before the login\r\n"
        "-ERR [UTF8] This letter has a header in UTF-8: send UTF8 before the login\r\n"
        "+OK 50 octets\r\nReceived: from x by y with UTF8SMTP\r\nA: b\r\n\r\n你\r\n.\r\n"
        "+OK The beginning follows\r\nReceived: from x by y with ESMTP\r\n"
        "Received: from z by x with UTF8SMTP\r\nSubject: 你\r\n\r\n.\r\n+OK Bye\r\n");
    client_close(&client);
    desk.utf8 = true;
    desk.language = 1;
    log_in(&desk, &client, ALICE, "RETR 9\r\nTOP 1 0\r\n");
    client_expect(&desk.stage, &client,
                  "+OK 共 3 封信\r\n-ERR 没有这封信\r\n+OK 以下是信件开头\r\n"
                  "Return-Path: <a@例子.test>\r\n");
    client_close(&client);
    desk.language = 200; // the porter says nonsense
    wait_until_free(&desk);
    adopt(&desk, &client, "the next", "");
    client_expect(&desk.stage, &client, "+OK 3 letters\r\n");
    client_close(&client);
    desk_close(&desk);
}

// More letters than one turn removes.
static void test_many_removals(void **state)
{
    enum { COUNT = 700 };
    struct desk desk;
    struct client client;
    struct buf text, want;
    (void)state;
    desk_open(&desk, "");
    buf_init(&text, 1 << 20);
    buf_init(&want, 1 << 20);
    for (int i = 0; i < COUNT; i++) {
        buf_clear(&text);
        buf_putf(&text, "new/17%08d.X_1.posthouse,S=2,W=3%c", i, '\0');
        put_file(&desk, text.ptr, STR("x\n"));
    }
    buf_clear(&text);
    buf_putf(&want, "+OK %d letters\r\n", COUNT);
    for (int i = 1; i <= COUNT; i++) {
        if (i == COUNT / 2)
            continue;
        buf_putf(&text, "DELE %d\r\n", i);
        buf_put(&want, STR("+OK\r\n"));
    }
    buf_putf(&text, "QUIT\r\nNOOP\r\n%c", '\0');
    buf_putf(&want, "+OK Bye\r\n%c", '\0');
    log_in(&desk, &client, ALICE, text.ptr);
    client_expect_end(&desk.stage, &client, want.ptr);
    client_close(&client);
    log_in(&desk, &client, ALICE, "LIST\r\n");
    client_expect(&desk.stage, &client, "+OK 1 letter\r\n+OK 1 letter\r\n1 3\r\n.\r\n");
    client_close(&client);
    buf_finish(&text);
    buf_finish(&want);
    desk_close(&desk);
}

// A letter far larger than any buffer, through a client that does not always read.
static void test_large_letter(void **state)
{
    enum { LINES = 60000 };
    struct desk desk;
    struct client client;
    struct buf disk, wire, name;
    (void)state;
    desk_open(&desk, "");
    buf_init(&disk, 1 << 24);
    buf_init(&wire, 1 << 24);
    buf_init(&name, 256);
    for (int i = 0; i < LINES; i++) {
        buf_putf(&disk, "%s%d 一封很长的信，一行又一行，直到最后一行为止。\n", i % 7 ? "" : ".", i);
        buf_putf(&wire, "%s%d 一封很长的信，一行又一行，直到最后一行为止。\r\n", i % 7 ? "" : "..",
                 i);
    }
    buf_putf(&wire, ".\r\n+OK\r\n%c", '\0');
    buf_putf(&name, "new/1700000001.LARGE_1.posthouse,S=%zu,W=%zu%c", disk.len, disk.len + LINES,
             '\0');
    put_file(&desk, name.ptr, buf_str(&disk));
    buf_clear(&name);
    buf_putf(&name, "+OK 1 letter\r\n+OK %zu octets\r\n%c", disk.len + LINES, '\0');
    log_in(&desk, &client, ALICE, "RETR 1\r\nNOOP\r\n");
    client_expect(&desk.stage, &client, name.ptr);
    client_expect(&desk.stage, &client, wire.ptr);

    client_say(&client, "RETR 1\r\n"); // leaves in the middle
    client_expect(&desk.stage, &client, "+OK ");
    client_close(&client);
    wait_until_free(&desk);
    buf_finish(&disk);
    buf_finish(&wire);
    buf_finish(&name);
    desk_close(&desk);
}

static void test_max_sessions(void **state)
{
    struct desk desk;
    (void)state;
    desk_open(&desk, "limits: {max_sessions: 2}\n");
    assert_int_equal(admit(&desk, "a.test/a", "one"), LOGIN_OK);
    assert_int_equal(admit(&desk, "a.test/b", "two"), LOGIN_OK);
    assert_int_equal(admit(&desk, "a.test/c", "three"), LOGIN_TROUBLE);
    desk_close(&desk);
}

static void test_drain(void **state)
{
    struct desk desk;
    struct client idle, waiting;
    (void)state;
    desk_open(&desk, "");
    put_two_letters(&desk);
    log_in(&desk, &idle, ALICE, "DELE 1\r\n");
    client_expect(&desk.stage, &idle, "+OK 2 letters\r\n+OK\r\n");
    assert_int_equal(admit(&desk, "a.test/a", "one"), LOGIN_OK);
    stage_drain(&desk.stage, 10000);
    client_expect_end(&desk.stage, &idle, "-ERR [SYS/TEMP] Closing down; try again later\r\n");
    stage_until(&desk.stage, &desk.stage.drained);
    assert_true(has_file(&desk, "new/" FIRST ",S=22,W=25"));
    assert_int_equal(admit(&desk, ALICE, "two"), LOGIN_TROUBLE);
    adopt(&desk, &waiting, "one", "");
    client_expect_end(&desk.stage, &waiting, "");
    client_close(&idle);
    client_close(&waiting);
    desk_close(&desk);
}

// A client that does not read its letter is waited for, but not for ever.
static void test_drain_deadline(void **state)
{
    struct desk desk;
    struct client client;
    struct buf disk;
    (void)state;
    desk_open(&desk, "");
    buf_init(&disk, 1 << 24);
    while (disk.len < 8000000)
        buf_put(&disk, STR("a line of a letter that nobody reads\n"));
    put_file(&desk, "new/1700000001.LARGE", buf_str(&disk));
    buf_finish(&disk);
    log_in(&desk, &client, ALICE, "RETR 1\r\n");
    client_expect(&desk.stage, &client, "+OK 1 letter");
    stage_drain(&desk.stage, 10);
    stage_until(&desk.stage, &desk.stage.drained);
    client_close(&client);
    desk_close(&desk);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session),
        cmocka_unit_test(test_nothing_goes_without_quit),
        cmocka_unit_test(test_time_out_updates_nothing),
        cmocka_unit_test(test_exclusive),
        cmocka_unit_test(test_locked_by_another_process),
        cmocka_unit_test(test_tickets),
        cmocka_unit_test(test_no_maildir),
        cmocka_unit_test(test_paths_stay_below_mail_dir),
        cmocka_unit_test(test_others_at_work),
        cmocka_unit_test(test_sizes_are_counted_when_needed),
        cmocka_unit_test(test_utf8_letters),
        cmocka_unit_test(test_many_removals),
        cmocka_unit_test(test_removals_are_told),
        cmocka_unit_test(test_large_letter),
        cmocka_unit_test(test_max_sessions),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_deadline),
    };
    must(argc == 2);
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
