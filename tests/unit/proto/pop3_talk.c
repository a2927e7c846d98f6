#include "pop3_talk.h"

#include "base/limits.h"

const struct talk_letter talk_letters[TALK_LETTERS] = {
    {"Subject: one\n\nfirst\n", 23, "1700000001.one.posthouse"},
    {".\n..two\n\n.", 15, "1700000002.two.posthouse"},
    {"测试：中文\n.信\n", 23, "whqtswO00WBw418f9t5JxYwZ"},
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
        give_body(t, str_of(talk_letters[event->letter].disk));
}

static void on_sizes(struct talk *t, const struct pop3_event *event)
{
    buf_putf(&t->asked, "sizes(%zu-%zu) ", event->letter, event->end);
    for (size_t i = event->letter; i < event->end; i++)
        t->letters[i].size = talk_letters[i].size;
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

void talk_init(struct talk *t)
{
    *t = (struct talk){.body_piece = ALL};
    buf_init(&t->said, ALL);
    buf_init(&t->asked, ALL);
    for (size_t i = 0; i < ARRAY_LEN(t->letters); i++)
        t->letters[i] =
            (struct pop3_letter){.size = talk_letters[i].size,
                                 .uidl = talk_letters[i].uidl,
                                 .uidl_length = (uint8_t)str_of(talk_letters[i].uidl).len};
    pop3_server_init(&t->engine, (struct pop3_terms){.passwords = true});
}

void talk_finish(struct talk *t)
{
    pop3_server_finish(&t->engine);
    buf_finish(&t->said);
    buf_finish(&t->asked);
}

void talk_feed(struct talk *t, struct str input, enum cut cut)
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

void talk_run(struct talk *t, struct str input, enum cut cut)
{
    pop3_server_greet(&t->engine, POP3_REPLY_greeting, STR("mail.example.test"));
    talk_feed(t, input, cut);
}

void assert_str(struct str got, struct str want)
{
    if (str_eq(got, want))
        return;
    print_error("got:\n%.*s\nwant:\n%.*s\n", STR_ARG(got), STR_ARG(want));
    fail();
}

void check_dialogue(const struct dialogue *d)
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

void unstuff(struct str *wire, struct buf *letter)
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
