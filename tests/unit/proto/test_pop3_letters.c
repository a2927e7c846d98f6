// Letters on their way out: line ends, dots, and sizes that are what RETR gives (clauses 31 and
// 38).
#include "pop3_talk.h"

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

// The sizes that LIST tells are what RETR gives.
static void test_sizes_of_the_fixture(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(talk_letters); i++) {
        struct talk t;
        talk_init(&t);
        talk_run(&t, STR(LOGIN), WHOLE);
        buf_clear(&t.said);
        struct buf input, got;
        buf_init(&input, ALL);
        buf_init(&got, ALL);
        buf_putf(&input, "RETR %zu\r\n", i + 1);
        talk_feed(&t, buf_str(&input), WHOLE);
        struct str wire = buf_str(&t.said);
        wire = str_skip(wire, str_find(wire, STR("\r\n")) + 2);
        unstuff(&wire, &got);
        assert_int_equal(got.len, talk_letters[i].size);
        buf_finish(&input);
        buf_finish(&got);
        talk_finish(&t);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_forms),
        cmocka_unit_test(test_sizes_of_the_fixture),
        cmocka_unit_test(test_sizes_when_needed),
        cmocka_unit_test(test_waits_for_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
