// The POP3 engine against RFC 1939, 2449 and the house's contract. A case is what a client sends
// and all that the server says.
#include "base/limits.h"
#include "pop3_talk.h"

#define CAPABILITIES                                                                               \
    "+OK Capabilities follow\r\nUSER\r\nTOP\r\nUIDL\r\nPIPELINING\r\nRESP-CODES\r\n"               \
    "AUTH-RESP-CODE\r\nEXPIRE NEVER\r\nLOGIN-DELAY 0\r\nUTF8 USER\r\nLANG\r\n"                     \
    "IMPLEMENTATION Posthouse\r\n.\r\n"

static void check_all(const struct dialogue *dialogues, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_dialogue(&dialogues[i]);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_authorization),
        cmocka_unit_test(test_transaction),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_refusals_of_the_caller),
        cmocka_unit_test(test_greeting_refuses),
        cmocka_unit_test(test_begin_without_greeting),
        cmocka_unit_test(test_waits_for_answers),
        cmocka_unit_test(test_password_is_wiped),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_apop),
        cmocka_unit_test(test_no_passwords),
        cmocka_unit_test(test_every_reply_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
