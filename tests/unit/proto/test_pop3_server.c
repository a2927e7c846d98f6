// The POP3 engine against RFC 1939, 2449 and the house's contract. A case is what a client sends
// and all that the server says; each is run whole, byte by byte, cut at every CRLF, and whole with
// an output that is sent only when the engine says that it is full.
#include "proto/pop3_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/limits.h"

#define GREETING "+OK mail.example.test POP3 Posthouse\r\n"
#define WELCOME GREETING "+OK Send PASS\r\n+OK 3 letters\r\n"
#define LOGIN "USER alice\r\nPASS secret\r\n"
#define LAST "QUIT\r\n"
#define CAPABILITIES                                                                               \
    "+OK Capabilities follow\r\nUSER\r\nTOP\r\nUIDL\r\nPIPELINING\r\nRESP-CODES\r\n"               \
    "AUTH-RESP-CODE\r\nEXPIRE NEVER\r\nLOGIN-DELAY 0\r\nUTF8 USER\r\nLANG\r\n"                     \
    "IMPLEMENTATION Posthouse\r\n.\r\n"
#define DIGEST "c4c9334bac560ecc979e58001b3e22fb"
#define BYE "+OK Bye\r\n"
#define X40 "0123456789012345678901234567890123456789"

// STR is no constant expression; this is, for the tables.
#define T(literal)                                                                                 \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

enum { ALL = 1 << 20 };

enum cut { WHOLE, BYTES, LINES, SLOW, CUTS };

struct fixture_letter {
    const char *disk;
    uint64_t size;
    const char *uidl;
};

static const struct fixture_letter letters_on_disk[] = {
    {"Subject: one\n\nfirst\n", 23, "1700000001.one.posthouse"},
    {".\n..two\n\n.", 15, "1700000002.two.posthouse"},
    {"测试：中文\n.信\n", 23, "whqtswO00WBw418f9t5JxYwZ"},
};

// One session: the engine, what it said, and what it asked.
struct talk {
    struct pop3_server engine;
    struct pop3_letter letters[ARRAY_LEN(letters_on_disk)];
    struct buf said;
    struct buf asked; // a word for each event
    size_t body_piece;
    bool slow;
    bool closed;
    enum pop3_reply refuse_letter, refuse_update; // 0: granted (0 is the greeting)
};

static void send_out(struct talk *t)
{
    buf_put(&t->said, buf_str(&t->engine.out));
    buf_clear(&t->engine.out);
}

static void give_body(struct talk *t, struct str disk)
{
    pop3_server_body_begin(&t->engine);
    while (disk.len > 0 && !pop3_server_body_enough(&t->engine)) {
        size_t n = pop3_server_body(&t->engine, str_sub(disk, 0, t->body_piece));
        disk = str_skip(disk, n);
        if (n == 0)
            send_out(t);
    }
    pop3_server_body_end(&t->engine);
}

static void on_login(struct talk *t, const struct pop3_event *event)
{
    buf_putf(&t->asked, "%s(%.*s|%.*s) ", event->apop ? "apop" : "login", STR_ARG(event->user),
             STR_ARG(event->secret));
    if (str_eq(event->secret, STR("busy")))
        pop3_server_answer(&t->engine, POP3_REPLY_in_use);
    else if (str_eq(event->secret, STR("sick")))
        pop3_server_answer(&t->engine, POP3_REPLY_trouble);
    else if (str_eq(event->secret, event->apop ? STR(DIGEST) : STR("secret")))
        pop3_server_begin(&t->engine, t->letters, ARRAY_LEN(t->letters));
    else
        pop3_server_answer(&t->engine, POP3_REPLY_wrong_login);
}

static void on_letter(struct talk *t, const struct pop3_event *event)
{
    buf_putf(&t->asked, "letter(%zu) ", event->letter);
    if (t->refuse_letter)
        pop3_server_answer(&t->engine, t->refuse_letter);
    else
        give_body(t, str_of(letters_on_disk[event->letter].disk));
}

static void on_sizes(struct talk *t, const struct pop3_event *event)
{
    buf_putf(&t->asked, "sizes(%zu-%zu) ", event->letter, event->end);
    for (size_t i = event->letter; i < event->end; i++)
        t->letters[i].size = letters_on_disk[i].size;
    pop3_server_sized(&t->engine);
}

static void on_update(struct talk *t)
{
    buf_put(&t->asked, STR("update("));
    for (size_t i = 0; i < ARRAY_LEN(t->letters); i++)
        if (t->letters[i].deleted)
            buf_putf(&t->asked, "%zu", i);
    buf_put(&t->asked, STR(") "));
    pop3_server_answer(&t->engine, t->refuse_update ? t->refuse_update : POP3_REPLY_bye);
}

// Feeds until the engine wants more; every event but MORE is answered at once.
static void feed(struct talk *t, struct str input)
{
    struct pop3_event event;
    for (;;) {
        size_t n = pop3_server_feed(&t->engine, input, &event);
        assert_true(n <= input.len);
        input = str_skip(input, n);
        if (event.type == POP3_MORE) {
            assert_int_equal(input.len, 0);
            break;
        }
        assert_int_not_equal(event.type, POP3_WAIT);
        if (event.type == POP3_CLOSE) {
            t->closed = true;
            break;
        }
        if (event.type == POP3_FULL)
            send_out(t);
        else if (event.type == POP3_ASK_LOGIN)
            on_login(t, &event);
        else if (event.type == POP3_ASK_SIZES)
            on_sizes(t, &event);
        else if (event.type == POP3_ASK_LETTER)
            on_letter(t, &event);
        else if (event.type == POP3_ASK_UPDATE)
            on_update(t);
    }
    if (!t->slow || t->closed)
        send_out(t);
}

static void talk_init(struct talk *t)
{
    *t = (struct talk){.body_piece = ALL};
    buf_init(&t->said, ALL);
    buf_init(&t->asked, ALL);
    for (size_t i = 0; i < ARRAY_LEN(t->letters); i++)
        t->letters[i] =
            (struct pop3_letter){.size = letters_on_disk[i].size,
                                 .uidl = letters_on_disk[i].uidl,
                                 .uidl_length = (uint8_t)str_of(letters_on_disk[i].uidl).len};
    pop3_server_init(&t->engine, (struct pop3_terms){.passwords = true});
}

static void talk_finish(struct talk *t)
{
    pop3_server_finish(&t->engine);
    buf_finish(&t->said);
    buf_finish(&t->asked);
}

static void talk_feed(struct talk *t, struct str input, enum cut cut)
{
    t->slow = cut == SLOW;
    t->body_piece = cut == BYTES ? 1 : ALL;
    while (!t->closed && input.len > 0) {
        size_t n = input.len;
        if (cut == BYTES)
            n = 1;
        else if (cut == LINES)
            n = str_find(input, STR("\r\n")) + 2;
        struct str piece = str_sub(input, 0, n);
        feed(t, piece);
        input = str_skip(input, piece.len);
    }
    send_out(t);
}

static void talk_run(struct talk *t, struct str input, enum cut cut)
{
    pop3_server_greet(&t->engine, POP3_REPLY_greeting, STR("mail.example.test"));
    talk_feed(t, input, cut);
}

static void assert_str(struct str got, struct str want)
{
    if (str_eq(got, want))
        return;
    print_error("got:\n%.*s\nwant:\n%.*s\n", STR_ARG(got), STR_ARG(want));
    fail();
}

struct dialogue {
    const char *name;
    struct str input;
    struct str output;
    const char *asked;
    bool closed;
};

// Input and output of one dialogue, in the four cuts.
static void check(const struct dialogue *d)
{
    for (enum cut cut = WHOLE; cut < CUTS; cut++) {
        struct talk t;
        talk_init(&t);
        talk_run(&t, d->input, cut);
        if (!str_eq(buf_str(&t.said), d->output) || t.closed != d->closed)
            print_error("%s (cut %d)\n", d->name, (int)cut);
        assert_str(buf_str(&t.said), d->output);
        if (d->asked)
            assert_str(buf_str(&t.asked), str_of(d->asked));
        assert_int_equal(t.closed, d->closed);
        talk_finish(&t);
    }
}

static void check_all(const struct dialogue *dialogues, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check(&dialogues[i]);
}

// clang-format off
static const struct dialogue authorization[] = {
    { "a login, and out", T(LOGIN LAST), T(WELCOME BYE), "login(alice|secret) update() ", true },
    { "keywords in any case, RFC 1939 3", T("uSeR alice\r\npAsS secret\r\nquit\r\n"),
      T(WELCOME BYE), "login(alice|secret) update() ", true },
    { "QUIT before the login updates nothing", T("USER alice\r\nQUIT\r\n"),
      T(GREETING "+OK Send PASS\r\n" BYE), "", true },
    { "a password with spaces, kept as they are, RFC 1939 7",
      T("USER alice\r\nPASS  my secret  word \r\n"),
      T(GREETING "+OK Send PASS\r\n-ERR [AUTH] Wrong user or password; a user is a whole address\r\n"),
      "login(alice| my secret  word ) ", false },
    { "a name and password in UTF-8", T("USER 测试@example.test\r\nPASS 密码 一二三\r\n"),
      T(GREETING "+OK Send PASS\r\n-ERR [AUTH] Wrong user or password; a user is a whole address\r\n"),
      "login(测试@example.test|密码 一二三) ", false },
    { "arguments of 40 octets are taken, RFC 1939 3",
      T("USER " X40 "\r\nPASS " X40 "\r\n"),
      T(GREETING "+OK Send PASS\r\n-ERR [AUTH] Wrong user or password; a user is a whole address\r\n"),
      "login(" X40 "|" X40 ") ", false },
    { "PASS wants USER first", T("PASS secret\r\n"), T(GREETING "-ERR Send USER first\r\n"), "", false },
    { "PASS wants USER again after a refusal", T("USER a\r\nPASS b\r\nPASS secret\r\n"),
      T(GREETING "+OK Send PASS\r\n-ERR [AUTH] Wrong user or password; a user is a whole address\r\n-ERR Send USER first\r\n"),
      "login(a|b) ", false },
    { "a second USER replaces the first", T("USER bob\r\nUSER alice\r\nPASS secret\r\n"),
      T(GREETING "+OK Send PASS\r\n+OK Send PASS\r\n+OK 3 letters\r\n"),
      "login(alice|secret) ", false },
    { "a mistake between USER and PASS", T("USER alice\r\nPAS secret\r\nPASS secret\r\n"),
      T(GREETING "+OK Send PASS\r\n-ERR Unknown command\r\n+OK 3 letters\r\n"), NULL, false },
    { "arguments are missing", T("USER\r\nUSER  \r\nUSER a\r\nPASS\r\nPASS \r\n"),
      T(GREETING "-ERR This command needs an argument\r\n-ERR This command needs an argument\r\n"
          "+OK Send PASS\r\n-ERR This command needs an argument\r\n-ERR This command needs an argument\r\n"),
      "", false },
    { "commands of TRANSACTION before the login",
      T("STAT\r\nLIST\r\nLIST 1\r\nUIDL\r\nRETR 1\r\nDELE 1\r\nNOOP\r\nRSET\r\n"),
      T(GREETING "-ERR Log in first: USER, then PASS\r\n-ERR Log in first: USER, then PASS\r\n"
          "-ERR Log in first: USER, then PASS\r\n-ERR Log in first: USER, then PASS\r\n"
          "-ERR Log in first: USER, then PASS\r\n-ERR Log in first: USER, then PASS\r\n"
          "-ERR Log in first: USER, then PASS\r\n-ERR Log in first: USER, then PASS\r\n"), "", false },
    { "the maildrop is in use, RFC 2449 8.1.2", T("USER a\r\nPASS busy\r\n"),
      T(GREETING "+OK Send PASS\r\n-ERR [IN-USE] Another session has this maildrop open\r\n"), NULL, false },
    { "local trouble is no wrong password, RFC 3206 4", T("USER a\r\nPASS sick\r\n" LOGIN),
      T(GREETING "+OK Send PASS\r\n-ERR [SYS/TEMP] Local trouble; try again later\r\n"
          "+OK Send PASS\r\n+OK 3 letters\r\n"), NULL, false },
    { "five wrong logins end the session",
      T("USER a\r\nPASS 1\r\nUSER a\r\nPASS 2\r\nUSER a\r\nPASS sick\r\nUSER a\r\nPASS 3\r\n"
          "USER a\r\nPASS 4\r\nUSER a\r\nPASS 5\r\n" LOGIN),
      T(GREETING
          "+OK Send PASS\r\n-ERR [AUTH] Wrong user or password; a user is a whole address\r\n"
          "+OK Send PASS\r\n-ERR [AUTH] Wrong user or password; a user is a whole address\r\n"
          "+OK Send PASS\r\n-ERR [SYS/TEMP] Local trouble; try again later\r\n"
          "+OK Send PASS\r\n-ERR [AUTH] Wrong user or password; a user is a whole address\r\n"
          "+OK Send PASS\r\n-ERR [AUTH] Wrong user or password; a user is a whole address\r\n"
          "+OK Send PASS\r\n-ERR [AUTH] Wrong user or password too often; closing\r\n"),
      "login(a|1) login(a|2) login(a|sick) login(a|3) login(a|4) login(a|5) ", true },
    { "CAPA is the same before and after the login, RFC 2449 5", T("CAPA\r\n" LOGIN "capa\r\nCAPA x\r\n"),
      T(GREETING CAPABILITIES "+OK Send PASS\r\n+OK 3 letters\r\n" CAPABILITIES
          "-ERR This command takes no argument\r\n"), NULL, false },
    { "UTF8 before the login only, RFC 6856 2.1", T("UTF8 x\r\nutf8\r\nUTF8\r\n" LOGIN "UTF8\r\n"),
      T(GREETING "-ERR This command takes no argument\r\n+OK UTF-8 from now on\r\n+OK UTF-8 from now on\r\n"
          "+OK Send PASS\r\n+OK 3 letters\r\n-ERR You are logged in already\r\n"), NULL, false },
    { "what is not UTF-8 is refused, RFC 6856 2.2", T("USER caf\xe9\r\n" "USER alice\r\nPASS \xc0\xaf\r\nPASS secret\r\n"),
      T(GREETING "-ERR Neither ASCII nor UTF-8\r\n+OK Send PASS\r\n-ERR Neither ASCII nor UTF-8\r\n"
          "+OK 3 letters\r\n"), "login(alice|secret) ", false },
    { "LANG lists, RFC 6856 3.2", T("LANG\r\n"),
      T(GREETING "+OK Languages follow\r\nen English\r\nzh 中文\r\n.\r\n"), NULL, false },
    { "LANG changes all replies, before the login and after",
      T("LANG ZH\r\nFOO\r\nLANG\r\n" LOGIN "LIST 9\r\nLIST\r\nLANG en\r\nLIST 9\r\n"),
      T(GREETING "+OK zh 此后以中文答复\r\n-ERR 未知命令\r\n+OK 以下是可选的语言\r\nen English\r\nzh 中文\r\n.\r\n"
          "+OK 请用 PASS 发送密码\r\n+OK 共 3 封信\r\n-ERR 没有这封信\r\n+OK 共 3 封信\r\n1 23\r\n2 15\r\n3 23\r\n.\r\n"
          "+OK en Replies are in English now\r\n-ERR No such letter\r\n"), NULL, false },
    { "LANG takes a range, and keeps the language where it knows none",
      T("LANG zh-Hans-CN\r\nLANG mul\r\nLANG zhx\r\nLANG -\r\nLANG *\r\nLANG en-GB\r\n"),
      T(GREETING "+OK zh 此后以中文答复\r\n-ERR 不支持此语言\r\n-ERR 不支持此语言\r\n-ERR 不支持此语言\r\n"
          "+OK en Replies are in English now\r\n+OK en Replies are in English now\r\n"), NULL, false },
    { "APOP that is switched off", T("APOP alice " DIGEST "\r\n"),
      T(GREETING "-ERR [AUTH] APOP is switched off here\r\n"), "", false },
    { "commands that do not exist here", T("XTND\r\nAUTH PLAIN\r\nAUTH\r\nSTLS\r\n\r\n \r\n QUIT\r\nQUITX\r\nQUI\r\n"),
      T(GREETING "-ERR Unknown command\r\n-ERR Unknown command\r\n-ERR Unknown command\r\n"
          "-ERR Unknown command\r\n-ERR Unknown command\r\n-ERR Unknown command\r\n"
          "-ERR Unknown command\r\n-ERR Unknown command\r\n-ERR Unknown command\r\n"), "", false },
};

static const struct dialogue transaction[] = {
    { "STAT, RFC 1939 5", T(LOGIN "STAT\r\n"), T(WELCOME "+OK 3 61\r\n"), NULL, false },
    { "LIST", T(LOGIN "LIST\r\nLIST 2\r\n"),
      T(WELCOME "+OK 3 letters\r\n1 23\r\n2 15\r\n3 23\r\n.\r\n+OK 2 15\r\n"), NULL, false },
    { "UIDL", T(LOGIN "UIDL\r\nUIDL 3\r\n"),
      T(WELCOME "+OK 3 letters\r\n1 1700000001.one.posthouse\r\n"
          "2 1700000002.two.posthouse\r\n3 whqtswO00WBw418f9t5JxYwZ\r\n.\r\n"
          "+OK 3 whqtswO00WBw418f9t5JxYwZ\r\n"), NULL, false },
    { "RETR: CRLF", T(LOGIN "RETR 1\r\nNOOP\r\n"),
      T(WELCOME "+OK 23 octets\r\nSubject: one\r\n\r\nfirst\r\n.\r\n+OK\r\n"), NULL, false },
    { "RETR: dots are stuffed, a missing last line end is added", T(LOGIN "RETR 2\r\n"),
      T(WELCOME "+OK 15 octets\r\n..\r\n...two\r\n\r\n..\r\n.\r\n"), NULL, false },
    { "RETR: UTF-8 as it is", T(LOGIN "RETR 3\r\n"),
      T(WELCOME "+OK 23 octets\r\n测试：中文\r\n..信\r\n.\r\n"), NULL, false },
    { "a deleted letter is absent and refused, and goes at QUIT",
      T(LOGIN "DELE 2\r\nSTAT\r\nLIST\r\nUIDL\r\nLIST 2\r\nUIDL 2\r\nRETR 2\r\nDELE 2\r\n" LAST),
      T(WELCOME "+OK\r\n+OK 2 46\r\n+OK 2 letters\r\n1 23\r\n3 23\r\n.\r\n"
          "+OK 2 letters\r\n1 1700000001.one.posthouse\r\n3 whqtswO00WBw418f9t5JxYwZ\r\n.\r\n"
          "-ERR That letter is marked as deleted\r\n-ERR That letter is marked as deleted\r\n"
          "-ERR That letter is marked as deleted\r\n-ERR That letter is marked as deleted\r\n" BYE),
      "login(alice|secret) update(1) ", true },
    { "RSET unmarks", T(LOGIN "DELE 1\r\nDELE 3\r\nRSET\r\nLIST 1\r\n" LAST),
      T(WELCOME "+OK\r\n+OK\r\n+OK 3 letters\r\n+OK 1 23\r\n" BYE),
      "login(alice|secret) update() ", true },
    { "no QUIT, no update", T(LOGIN "DELE 1\r\n"), T(WELCOME "+OK\r\n"), "login(alice|secret) ", false },
    { "TOP: the header, and so many lines, RFC 1939 7",
      T(LOGIN "TOP 1 0\r\nTOP 1 1\r\nTOP 1 2\r\nTOP 1 18446744073709551615\r\nNOOP\r\n"),
      T(WELCOME "+OK The beginning follows\r\nSubject: one\r\n\r\n.\r\n"
          "+OK The beginning follows\r\nSubject: one\r\n\r\nfirst\r\n.\r\n"
          "+OK The beginning follows\r\nSubject: one\r\n\r\nfirst\r\n.\r\n"
          "+OK The beginning follows\r\nSubject: one\r\n\r\nfirst\r\n.\r\n+OK\r\n"),
      "login(alice|secret) letter(0) letter(0) letter(0) letter(0) ", false },
    { "TOP: dots, a body without its last line end, no body at all", T(LOGIN "TOP 2 0\r\nTOP 2 1\r\nTOP 3 0\r\n"),
      T(WELCOME "+OK The beginning follows\r\n..\r\n...two\r\n\r\n.\r\n"
          "+OK The beginning follows\r\n..\r\n...two\r\n\r\n..\r\n.\r\n"
          "+OK The beginning follows\r\n测试：中文\r\n..信\r\n.\r\n"), NULL, false },
    { "TOP: arguments", T(LOGIN "TOP\r\nTOP 1\r\nTOP 1 -1\r\nTOP 1 x\r\nTOP 1 1 1\r\nTOP 9 1\r\nTOP x 1\r\n"
          "TOP 1 18446744073709551616\r\nDELE 1\r\nTOP  1  0 \r\n"),
      T(WELCOME "-ERR This command needs an argument\r\n"
          "-ERR Write TOP, the number of a letter, and a number of lines\r\n"
          "-ERR Write TOP, the number of a letter, and a number of lines\r\n"
          "-ERR Write TOP, the number of a letter, and a number of lines\r\n"
          "-ERR Write TOP, the number of a letter, and a number of lines\r\n"
          "-ERR No such letter\r\n-ERR That is not the number of a letter\r\n"
          "-ERR Write TOP, the number of a letter, and a number of lines\r\n"
          "+OK\r\n-ERR That letter is marked as deleted\r\n"), "login(alice|secret) ", false },
    { "one letter is no letters", T(LOGIN "DELE 1\r\nDELE 2\r\nUIDL\r\nDELE 3\r\nLIST\r\n"),
      T(WELCOME "+OK\r\n+OK\r\n+OK 1 letter\r\n3 whqtswO00WBw418f9t5JxYwZ\r\n.\r\n"
          "+OK\r\n+OK 0 letters\r\n.\r\n"), NULL, false },
    { "numbers that are none",
      T(LOGIN "RETR\r\nRETR x\r\nRETR -1\r\nRETR +1\r\nRETR 1x\r\nRETR 1 2\r\nRETR 1.0\r\nRETR ١\r\n"),
      T(WELCOME "-ERR This command needs an argument\r\n"
          "-ERR That is not the number of a letter\r\n-ERR That is not the number of a letter\r\n"
          "-ERR That is not the number of a letter\r\n-ERR That is not the number of a letter\r\n"
          "-ERR That is not the number of a letter\r\n-ERR That is not the number of a letter\r\n"
          "-ERR That is not the number of a letter\r\n"), "login(alice|secret) ", false },
    { "numbers without a letter",
      T(LOGIN "LIST 0\r\nLIST 4\r\nDELE 4294967297\r\nRETR 18446744073709551615\r\n"
          "UIDL 18446744073709551617\r\nDELE 99999999999999999999999999999999\r\n"),
      T(WELCOME "-ERR No such letter\r\n-ERR No such letter\r\n-ERR No such letter\r\n"
          "-ERR No such letter\r\n-ERR That is not the number of a letter\r\n"
          "-ERR That is not the number of a letter\r\n"), "login(alice|secret) ", false },
    { "blanks around a number, and leading zeros", T(LOGIN "LIST  2 \r\nLIST 0002\r\nSTAT \r\n"),
      T(WELCOME "+OK 2 15\r\n+OK 2 15\r\n+OK 3 61\r\n"), NULL, false },
    { "commands that take nothing", T(LOGIN "STAT 1\r\nNOOP x\r\nRSET 1\r\nQUIT now\r\n"),
      T(WELCOME "-ERR This command takes no argument\r\n-ERR This command takes no argument\r\n"
          "-ERR This command takes no argument\r\n-ERR This command takes no argument\r\n"), NULL, false },
    { "a second login", T(LOGIN "USER bob\r\nPASS secret\r\nNOOP\r\n"),
      T(WELCOME "-ERR You are logged in already\r\n-ERR You are logged in already\r\n+OK\r\n"), NULL, false },
    { "nothing after QUIT is run", T(LOGIN LAST "DELE 1\r\n" LAST), T(WELCOME BYE),
      "login(alice|secret) update() ", true },
};

static const struct dialogue lines[] = {
    { "a bare LF ends no line and is answered once", T(LOGIN "NOOP\nDELE 1\nDELE 2\r\nNOOP\r\n"),
      T(WELCOME "-ERR Bare LF in a command; end lines with CRLF\r\n+OK\r\n"), NULL, false },
    { "an empty line of LF", T("\n\r\nQUIT\r\n"),
      T(GREETING "-ERR Bare LF in a command; end lines with CRLF\r\n" BYE), NULL, true },
    { "a CR alone ends no line", T(LOGIN "NOOP\rDELE 1\r\nSTAT\r\n"),
      T(WELCOME "-ERR Control character in a command\r\n+OK 3 61\r\n"), NULL, false },
    { "CR CR LF", T(LOGIN "NOOP\r\r\nNOOP\r\n"),
      T(WELCOME "-ERR Control character in a command\r\n+OK\r\n"), NULL, false },
    { "NUL in a password", T("USER alice\r\nPASS secret\0x\r\nUSER al\0ice\r\n"),
      T(GREETING "+OK Send PASS\r\n-ERR Control character in a command\r\n"
          "-ERR Control character in a command\r\n"), "", false },
    { "DEL and ESC", T("NOOP\x7f\r\n\x1b[A\r\n"),
      T(GREETING "-ERR Control character in a command\r\n-ERR Control character in a command\r\n"),
      NULL, false },
};
// clang-format on

static void test_authorization(void **state)
{
    (void)state;
    check_all(authorization, ARRAY_LEN(authorization));
}

static void test_transaction(void **state)
{
    (void)state;
    check_all(transaction, ARRAY_LEN(transaction));
}

static void test_lines(void **state)
{
    (void)state;
    check_all(lines, ARRAY_LEN(lines));
}

// A line of exactly `octets` with its end, from `head` filled up with x.
static void put_line(struct buf *out, const char *head, size_t octets, const char *end)
{
    size_t len = out->len;
    buf_put(out, str_of(head));
    while (out->len - len + str_of(end).len < octets)
        buf_put_byte(out, 'x');
    buf_put(out, str_of(end));
}

static void test_line_limits(void **state)
{
    (void)state;
    static const struct {
        size_t octets;
        const char *end;
        const char *reply;
        bool closed;
    } cases[] = {
        {LIMIT_pop3_line, "\r\n", "+OK Send PASS\r\n+OK Bye\r\n", true},
        {LIMIT_pop3_line + 1, "\r\n", "-ERR Line too long\r\n+OK Bye\r\n", true},
        {LIMIT_pop3_line, "\n-\r\n",
         "-ERR Bare LF in a command; end lines with CRLF\r\n+OK Bye\r\n", true},
        {LIMIT_pop3_line + 8, "\nQUIT\r\n", "-ERR Line too long\r\n+OK Bye\r\n", true},
        {LIMIT_pop3_line + 13, "\nNOOP\nNOOP\r\n", "-ERR Line too long\r\n+OK Bye\r\n", true},
        {4000, "\r\n", "-ERR Line too long\r\n+OK Bye\r\n", true},
        {LIMIT_command_junk, "\r\n", "-ERR Line too long\r\n+OK Bye\r\n", true},
        {LIMIT_command_junk + 1, "\r\n",
         "-ERR Line too long\r\n-ERR Too much text without a command; closing\r\n", true},
        {LIMIT_command_junk + 9, "\n\n\n",
         "-ERR Line too long\r\n-ERR Too much text without a command; closing\r\n", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf input, output;
        buf_init(&input, ALL);
        buf_init(&output, ALL);
        put_line(&input, "USER ", cases[i].octets, cases[i].end);
        buf_put(&input, STR(LAST));
        buf_putf(&output, "%s%s", GREETING, cases[i].reply);
        struct dialogue d = {"a long line", buf_str(&input), buf_str(&output), "", cases[i].closed};
        check(&d);
        buf_finish(&input);
        buf_finish(&output);
    }
}

// A stranger who guesses commands is shown out; a user may err for ever.
static void test_command_errors(void **state)
{
    (void)state;
    struct buf input, output;
    buf_init(&input, ALL);
    buf_init(&output, ALL);
    buf_put(&output, STR(GREETING));
    for (int i = 0; i < LIMIT_command_errors; i++) {
        buf_put(&input, STR("HELO x\r\n"));
        buf_put(&output, STR("-ERR Unknown command\r\n"));
    }
    buf_put(&input, STR(LAST));
    buf_put(&output, STR("-ERR Too many errors; closing\r\n"));
    check(&(struct dialogue){"stranger", buf_str(&input), buf_str(&output), "", true});

    buf_clear(&input);
    buf_clear(&output);
    buf_put(&input, STR(LOGIN));
    buf_put(&output, STR(WELCOME));
    for (int i = 0; i < 3 * LIMIT_command_errors; i++) {
        buf_put(&input, STR("RETR 9\r\nHELO x\r\n"));
        buf_put(&output, STR("-ERR No such letter\r\n-ERR Unknown command\r\n"));
    }
    check(&(struct dialogue){"user", buf_str(&input), buf_str(&output), NULL, false});
    buf_finish(&input);
    buf_finish(&output);
}

static void test_refusals_of_the_caller(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t);
    t.refuse_letter = POP3_REPLY_letter_gone;
    t.refuse_update = POP3_REPLY_not_removed;
    talk_run(&t, STR(LOGIN "RETR 1\r\nDELE 1\r\n" LAST), WHOLE);
    assert_str(buf_str(&t.said),
               STR(WELCOME "-ERR [SYS/TEMP] This letter cannot be read now\r\n+OK\r\n"
                           "-ERR [SYS/TEMP] Some deleted letters were not removed\r\n"));
    assert_str(buf_str(&t.asked), STR("login(alice|secret) letter(0) update(0) "));
    assert_true(t.closed);
    talk_finish(&t);
}

static void test_greeting_refuses(void **state)
{
    (void)state;
    struct pop3_server s;
    struct pop3_event event;
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    pop3_server_greet(&s, POP3_REPLY_too_many_sessions, STR(""));
    assert_str(buf_str(&s.out), STR("-ERR [SYS/TEMP] Too many connections; try again later\r\n"));
    assert_int_equal(pop3_server_feed(&s, STR("USER a\r\n"), &event), 0);
    assert_int_equal(event.type, POP3_CLOSE);
    pop3_server_finish(&s);
}

// The reader's half: no greeting, the +OK of PASS; and an empty maildrop.
static void test_begin_without_greeting(void **state)
{
    (void)state;
    struct pop3_server s;
    struct pop3_event event;
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    pop3_server_begin(&s, NULL, 0);
    assert_int_equal(pop3_server_feed(&s, STR("STAT\r\nLIST\r\nUIDL\r\nRETR 1\r\n"), &event), 26);
    assert_int_equal(event.type, POP3_MORE);
    assert_str(buf_str(&s.out), STR("+OK 0 letters\r\n+OK 0 0\r\n"
                                    "+OK 0 letters\r\n.\r\n"
                                    "+OK 0 letters\r\n.\r\n-ERR No such letter\r\n"));
    pop3_server_finish(&s);
}

// While an answer is awaited nothing is consumed: the porter hands over exactly what follows PASS.
static void test_waits_for_answers(void **state)
{
    (void)state;
    struct pop3_server s;
    struct pop3_event event;
    struct str input = STR(LOGIN "STAT\r\n");
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    pop3_server_greet(&s, POP3_REPLY_greeting, STR("mail.example.test"));
    size_t n = pop3_server_feed(&s, input, &event);
    assert_int_equal(n, sizeof(LOGIN) - 1);
    assert_int_equal(event.type, POP3_ASK_LOGIN);
    assert_false(pop3_server_idle(&s));
    assert_int_equal(pop3_server_feed(&s, str_skip(input, n), &event), 0);
    assert_int_equal(event.type, POP3_WAIT);
    pop3_server_finish(&s);
}

static bool holds(const struct buf *b, struct str secret)
{
    return b->ptr && str_find(str_from(b->ptr, b->cap), secret) < b->cap;
}

// Before the answer the buffer holds the password; afterwards it holds nothing.
static void test_password_is_wiped(void **state)
{
    (void)state;
    struct pop3_server s;
    struct pop3_event event;
    struct str rest = STR("PASS secret\r\n");
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    (void)pop3_server_feed(&s, STR("USER alice\r\n"), &event);
    for (; rest.len > 0; rest = str_skip(rest, 1))
        assert_int_equal(pop3_server_feed(&s, str_sub(rest, 0, 1), &event), 1);
    assert_int_equal(event.type, POP3_ASK_LOGIN);
    assert_str(event.secret, STR("secret"));
    assert_true(holds(&s.line, STR("secret")));
    assert_int_equal(s.line.cap, LIMIT_pop3_line); // never grown, so no copy was left behind
    pop3_server_answer(&s, POP3_REPLY_wrong_login);
    assert_null(s.line.ptr);
    assert_null(s.user.ptr);
    pop3_server_finish(&s);
}

static void test_idle(void **state)
{
    (void)state;
    struct pop3_server s;
    struct pop3_event event;
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    pop3_server_greet(&s, POP3_REPLY_greeting, STR("mail.example.test"));
    assert_true(pop3_server_idle(&s));
    (void)pop3_server_feed(&s, STR("USER"), &event);
    assert_false(pop3_server_idle(&s));
    (void)pop3_server_feed(&s, STR(" alice\r\n"), &event);
    assert_true(pop3_server_idle(&s));
    assert_null(s.line.ptr); // an idle session holds no line
    pop3_server_finish(&s);
}

static void test_abort(void **state)
{
    (void)state;
    struct pop3_letter letter = {.size = 10, .uidl = "x", .uidl_length = sizeof("x") - 1};
    struct pop3_event event;
    struct pop3_server s;
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    pop3_server_begin(&s, &letter, 1);
    buf_clear(&s.out);
    pop3_server_abort(&s, POP3_REPLY_shutting_down);
    assert_str(buf_str(&s.out), STR("-ERR [SYS/TEMP] Closing down; try again later\r\n"));
    pop3_server_abort(&s, POP3_REPLY_shutting_down); // said once
    assert_int_equal(s.out.len, 47);
    (void)pop3_server_feed(&s, STR("DELE 1\r\nQUIT\r\n"), &event);
    assert_int_equal(event.type, POP3_CLOSE);
    assert_false(letter.deleted);
    pop3_server_finish(&s);

    // Inside a letter no reply can stand: it would be read as text of the letter.
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    pop3_server_begin(&s, &letter, 1);
    (void)pop3_server_feed(&s, STR("RETR 1\r\n"), &event);
    pop3_server_body_begin(&s);
    assert_int_equal(pop3_server_body(&s, STR("half a li")), 9);
    buf_clear(&s.out);
    pop3_server_abort(&s, POP3_REPLY_trouble);
    assert_int_equal(s.out.len, 0);
    (void)pop3_server_feed(&s, STR("NOOP\r\n"), &event);
    assert_int_equal(event.type, POP3_CLOSE);
    pop3_server_finish(&s);
}

// However large the maildrop and however many commands wait: the output stays within its limit.
static void test_output_is_bounded(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct pop3_letter *letters = calloc(COUNT, sizeof(*letters));
    assert_non_null(letters);
    struct buf all, want;
    buf_init(&all, 64 * ALL);
    buf_init(&want, 64 * ALL);
    buf_putf(&want, "+OK %d letters\r\n", COUNT);
    buf_put(&want, buf_str(&want));
    for (size_t i = 0; i < COUNT; i++) {
        letters[i] = (struct pop3_letter){.size = 7, .uidl = X40, .uidl_length = sizeof(X40) - 1};
        buf_putf(&want, "%zu " X40 "\r\n", i + 1);
    }
    buf_put(&want, STR(".\r\n+OK\r\n"));
    struct pop3_server s;
    struct pop3_event event = {.type = POP3_FULL};
    struct str input = STR("UIDL\r\nNOOP\r\n");
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    pop3_server_begin(&s, letters, COUNT);
    int rounds = 0;
    while (event.type == POP3_FULL) {
        input = str_skip(input, pop3_server_feed(&s, input, &event));
        assert_true(s.out.len <= LIMIT_pop3_output);
        assert_true(buf_ok(&s.out));
        if (event.type == POP3_FULL) {
            struct pop3_event again; // nothing moves until something was sent
            assert_int_equal(pop3_server_feed(&s, input, &again), 0);
            assert_int_equal(again.type, POP3_FULL);
        }
        buf_put(&all, buf_str(&s.out));
        buf_clear(&s.out);
        rounds++;
    }
    assert_int_equal(event.type, POP3_MORE);
    assert_true(rounds > 10);
    assert_str(buf_str(&all), buf_str(&want));

    // A client that sends and does not read.
    event.type = POP3_MORE;
    size_t sent = 0;
    while (event.type == POP3_MORE && sent < 2 * LIMIT_pop3_output)
        sent += pop3_server_feed(&s, STR("STAT\r\n"), &event);
    assert_int_equal(event.type, POP3_FULL);
    assert_true(s.out.len <= LIMIT_pop3_output);
    pop3_server_finish(&s);
    buf_finish(&all);
    buf_finish(&want);
    free(letters);
}

static void test_abort_with_full_output(void **state)
{
    (void)state;
    struct pop3_letter letter = {.size = 10, .uidl = "x", .uidl_length = sizeof("x") - 1};
    struct pop3_event event = {.type = POP3_MORE};
    struct pop3_server s;
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    pop3_server_begin(&s, &letter, 1);
    while (event.type == POP3_MORE)
        (void)pop3_server_feed(&s, STR("LIST\r\n"), &event);
    size_t len = s.out.len;
    pop3_server_abort(&s, POP3_REPLY_shutting_down);
    assert_int_equal(s.out.len, len);
    assert_true(buf_ok(&s.out));
    pop3_server_finish(&s);
}

// What a client reads back: dots unstuffed, up to the end; what is left stays in *wire.
static void unstuff(struct str *wire, struct buf *letter)
{
    for (;;) {
        size_t n = str_find(*wire, STR("\r\n"));
        assert_true(n < wire->len);
        struct str line = str_sub(*wire, 0, n);
        *wire = str_skip(*wire, n + 2);
        if (str_eq(line, STR(".")))
            return;
        buf_put(letter, str_starts(line, STR(".")) ? str_skip(line, 1) : line);
        buf_put(letter, STR("\r\n"));
    }
}

// Every kind of body in pieces of many sizes through outputs with little room.
static void test_body_forms(void **state)
{
    (void)state;
    static const struct {
        struct str disk, wire;
    } cases[] = {
        {T(""), T("")},
        {T("\n"), T("\r\n")},
        {T("a"), T("a\r\n")},
        {T("."), T(".\r\n")},
        {T(".\n"), T(".\r\n")},
        {T("..\n.\n"), T("..\r\n.\r\n")},
        {T("a\n.\nb\n"), T("a\r\n.\r\nb\r\n")},
        {T("\n.\n.\n.\n.\n.\n.\n.\n.\n.\n"),
         T("\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n.\r\n")},
        {T("a\r\nb\r\n"), T("a\r\nb\r\n")},
        {T("a\r\n.\r\nb\r"),
         T("a\r\n.\r\nb\r\r\n")}, // the size of a letter without its last line end is 2 more
        {T("\r\n"), T("\r\n")},
        {T("x\0y\n\xff\xfe\n"), T("x\0y\r\n\xff\xfe\r\n")},
        {T("中文\n.中\n"), T("中文\r\n.中\r\n")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t piece = 1; piece <= 12; piece++)
            for (size_t space = 9; space <= 30; space++) {
                struct pop3_letter letter = {
                    .size = cases[i].wire.len, .uidl = "u", .uidl_length = sizeof("u") - 1};
                struct pop3_event event;
                struct pop3_server s;
                struct buf said, got;
                buf_init(&said, ALL);
                buf_init(&got, ALL);
                pop3_server_init(&s, (struct pop3_terms){.passwords = true});
                pop3_server_begin(&s, &letter, 1);
                (void)pop3_server_feed(&s, STR("RETR 1\r\n"), &event);
                pop3_server_body_begin(&s);
                buf_clear(&s.out);
                s.out.limit = space;
                for (struct str rest = cases[i].disk; rest.len > 0;) {
                    size_t n = pop3_server_body(&s, str_sub(rest, 0, piece));
                    rest = str_skip(rest, n);
                    if (n == 0) {
                        assert_true(s.out.len > 0);
                        buf_put(&said, buf_str(&s.out));
                        buf_clear(&s.out);
                    }
                }
                pop3_server_body_end(&s);
                buf_put(&said, buf_str(&s.out));
                struct str wire = buf_str(&said);
                unstuff(&wire, &got);
                assert_int_equal(wire.len, 0);
                assert_str(buf_str(&got), cases[i].wire);
                pop3_server_finish(&s);
                buf_finish(&said);
                buf_finish(&got);
            }
}

// A name that does not tell the size: it is asked for when it is needed, and once.
static void test_sizes_when_needed(void **state)
{
    static const struct {
        const char *input, *said, *asked;
    } cases[] = {
        {"NOOP\r\nUIDL 2\r\nDELE 1\r\nRSET\r\nTOP 3 0\r\n",
         "+OK\r\n+OK 2 1700000002.two.posthouse\r\n+OK\r\n+OK 3 letters\r\n"
         "+OK The beginning follows\r\n测试：中文\r\n..信\r\n.\r\n",
         "letter(2) "},
        {"LIST 2\r\nLIST 2\r\nSTAT\r\nSTAT\r\n", "+OK 2 15\r\n+OK 2 15\r\n+OK 3 61\r\n+OK 3 61\r\n",
         "sizes(1-2) sizes(0-3) "},
        {"RETR 1\r\nLIST\r\nQUIT\r\n",
         "+OK 23 octets\r\nSubject: one\r\n\r\nfirst\r\n.\r\n"
         "+OK 3 letters\r\n1 23\r\n2 15\r\n3 23\r\n.\r\n" BYE,
         "sizes(0-1) letter(0) sizes(1-3) update() "},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (enum cut cut = WHOLE; cut < CUTS; cut++) {
            struct talk t;
            talk_init(&t);
            for (size_t n = 0; n < ARRAY_LEN(t.letters); n++)
                t.letters[n].size = POP3_SIZE_UNKNOWN;
            talk_run(&t, STR(LOGIN), WHOLE);
            buf_clear(&t.said);
            buf_clear(&t.asked);
            talk_feed(&t, str_of(cases[i].input), cut);
            assert_str(buf_str(&t.said), str_of(cases[i].said));
            assert_str(buf_str(&t.asked), str_of(cases[i].asked));
            talk_finish(&t);
        }
}

// While sizes are counted nothing is consumed, and the session is not idle.
static void test_waits_for_sizes(void **state)
{
    struct pop3_letter letter = {.size = POP3_SIZE_UNKNOWN, .uidl = "x", .uidl_length = 1};
    struct pop3_event event;
    struct pop3_server s;
    (void)state;
    pop3_server_init(&s, (struct pop3_terms){.passwords = true});
    pop3_server_begin(&s, &letter, 1);
    buf_clear(&s.out);
    assert_int_equal(pop3_server_feed(&s, STR("STAT\r\nNOOP\r\n"), &event), 6);
    assert_int_equal(event.type, POP3_ASK_SIZES);
    assert_int_equal(pop3_server_feed(&s, STR("NOOP\r\n"), &event), 0);
    assert_int_equal(event.type, POP3_WAIT);
    assert_false(pop3_server_idle(&s));
    letter.size = 5;
    pop3_server_sized(&s);
    assert_false(pop3_server_idle(&s)); // its reply is not written yet
    assert_int_equal(pop3_server_feed(&s, STR(""), &event), 0);
    assert_int_equal(event.type, POP3_MORE);
    assert_str(buf_str(&s.out), STR("+OK 1 5\r\n"));
    assert_true(pop3_server_idle(&s));
    pop3_server_finish(&s);
}

// RFC 1939 section 7: the greeting carries the time stamp, the digest goes to who knows the secret.
static void test_apop(void **state)
{
    static const struct {
        const char *input, *said, *asked;
    } cases[] = {
        {"APOP alice " DIGEST "\r\n", "+OK 3 letters\r\n", "apop(alice|" DIGEST ") "},
        // What was refused leaves nothing in the next question.
        {"APOP alice\r\nUSER bob\r\nPASS secret\r\n",
         "-ERR Write APOP, a name, and a digest of 32 hexadecimal digits\r\n+OK Send PASS\r\n"
         "+OK 3 letters\r\n",
         "login(bob|secret) "},
        {"APOP a b  " DIGEST "\r\n", "+OK 3 letters\r\n", "apop(a b|" DIGEST ") "},
        {"USER bob\r\nAPOP alice " DIGEST "\r\n", "+OK Send PASS\r\n+OK 3 letters\r\n",
         "apop(alice|" DIGEST ") "},
        {"APOP alice 00000000000000000000000000000000\r\n",
         "-ERR [AUTH] Wrong user or password; a user is a whole address\r\n",
         "apop(alice|00000000000000000000000000000000) "},
        {"APOP\r\nAPOP " DIGEST "\r\nAPOP alice\r\nAPOP alice C4C9334BAC560ECC979E58001B3E22FB\r\n"
         "APOP alice " DIGEST "0\r\n",
         "-ERR This command needs an argument\r\n"
         "-ERR Write APOP, a name, and a digest of 32 hexadecimal digits\r\n"
         "-ERR Write APOP, a name, and a digest of 32 hexadecimal digits\r\n"
         "-ERR Write APOP, a name, and a digest of 32 hexadecimal digits\r\n"
         "-ERR Write APOP, a name, and a digest of 32 hexadecimal digits\r\n",
         ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (enum cut cut = WHOLE; cut < CUTS; cut++) {
            struct talk t;
            talk_init(&t);
            t.engine.terms.apop = true;
            pop3_server_greet(&t.engine, POP3_REPLY_greeting_apop, STR("<1.2@h.test>"));
            assert_str(buf_str(&t.engine.out), STR("+OK POP3 Posthouse <1.2@h.test>\r\n"));
            buf_clear(&t.engine.out);
            talk_feed(&t, str_of(cases[i].input), cut);
            assert_str(buf_str(&t.said), str_of(cases[i].said));
            assert_str(buf_str(&t.asked), str_of(cases[i].asked));
            talk_finish(&t);
        }
}

// Over an open network nobody is asked for a password, and CAPA does not offer it.
static void test_no_passwords(void **state)
{
    struct pop3_event event;
    struct pop3_server s;
    (void)state;
    pop3_server_init(&s, (struct pop3_terms){.passwords = false});
    (void)pop3_server_feed(&s, STR("USER alice\r\nPASS secret\r\nCAPA\r\n"), &event);
    assert_int_equal(event.type, POP3_MORE);
    struct str said = buf_str(&s.out);
    assert_true(str_starts(said, STR("-ERR [AUTH] No passwords over an open network: ")));
    assert_true(str_find(said, STR("\r\n-ERR Send USER first\r\n")) < said.len);
    assert_true(str_find(said, STR("\r\nTOP\r\n")) < said.len);
    assert_int_equal(str_find(said, STR("\r\nUSER\r\n")), said.len);
    pop3_server_finish(&s);
}

// RFC 2449 section 4: a reply's first line has 512 octets at most, in every language, and no line
// end inside it.
static void test_every_reply_fits(void **state)
{
    char detail[300];
    (void)state;
    memset(detail, 'x', sizeof detail);
    for (unsigned language = 0; language < POP3_LANGUAGES; language++)
        for (unsigned reply = 0; reply < POP3_REPLY_COUNT; reply++) {
            struct pop3_server s;
            pop3_server_init(&s, (struct pop3_terms){.language = (uint8_t)language});
            pop3_server_greet(&s, (enum pop3_reply)reply, str_from(detail, sizeof detail));
            struct str line = buf_str(&s.out);
            assert_true(line.len <= LIMIT_pop3_reply && str_is_utf8(line));
            assert_true(str_starts(line, STR("+OK")) || str_starts(line, STR("-ERR ")));
            assert_int_equal(str_find(line, STR("\r\n")), line.len - 2);
            assert_true(language > 0 || str_is_ascii(line));
            pop3_server_finish(&s);
        }
}

// The sizes that LIST tells are what RETR gives.
static void test_sizes_of_the_fixture(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(letters_on_disk); i++) {
        struct talk t;
        talk_init(&t);
        talk_run(&t, STR(LOGIN), WHOLE);
        buf_clear(&t.said);
        struct buf input, got;
        buf_init(&input, ALL);
        buf_init(&got, ALL);
        buf_putf(&input, "RETR %zu\r\n", i + 1);
        feed(&t, buf_str(&input));
        struct str wire = buf_str(&t.said);
        wire = str_skip(wire, str_find(wire, STR("\r\n")) + 2);
        unstuff(&wire, &got);
        assert_int_equal(got.len, letters_on_disk[i].size);
        buf_finish(&input);
        buf_finish(&got);
        talk_finish(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_authorization),
        cmocka_unit_test(test_transaction),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_line_limits),
        cmocka_unit_test(test_command_errors),
        cmocka_unit_test(test_refusals_of_the_caller),
        cmocka_unit_test(test_greeting_refuses),
        cmocka_unit_test(test_begin_without_greeting),
        cmocka_unit_test(test_waits_for_answers),
        cmocka_unit_test(test_password_is_wiped),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_output_is_bounded),
        cmocka_unit_test(test_abort_with_full_output),
        cmocka_unit_test(test_body_forms),
        cmocka_unit_test(test_sizes_of_the_fixture),
        cmocka_unit_test(test_sizes_when_needed),
        cmocka_unit_test(test_waits_for_sizes),
        cmocka_unit_test(test_apop),
        cmocka_unit_test(test_no_passwords),
        cmocka_unit_test(test_every_reply_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
