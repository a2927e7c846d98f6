// The POP3 engine under hostile bytes. The first octet says how the rest is cut, the second how
// large the maildrop is. Held:
//   - the same bytes in any cut give the same replies, questions and end;
//   - every reply line is +OK or -ERR, at most 512 octets, and ends with CRLF;
//   - a multi-line reply, read as a client reads it, gives back the letter that was put in;
//   - the output never passes its limit.
#include "proto/pop3_server.h"

#include "base/limits.h"

enum { LETTERS = 700, SAID = 1 << 26 };

struct run {
    struct pop3_server engine;
    struct pop3_letter letters[LETTERS];
    size_t count;
    size_t piece; // of bodies
    struct buf said;
    struct buf asked;
    bool closed;
};

static const char *const bodies[] = {"", ".", "a\n.\n..\n中文", "\r\n.\r\n", "x\n\n.y\n"};

static struct str body_of(size_t letter)
{
    return str_of(bodies[letter % ARRAY_LEN(bodies)]);
}

static void send_out(struct run *r)
{
    must(buf_ok(&r->engine.out) && r->engine.out.len <= LIMIT_pop3_output);
    buf_put(&r->said, buf_str(&r->engine.out));
    buf_clear(&r->engine.out);
}

static void give_body(struct run *r, size_t letter)
{
    struct str disk = body_of(letter);
    pop3_server_body_begin(&r->engine);
    while (disk.len > 0 && !pop3_server_body_enough(&r->engine)) {
        size_t n = pop3_server_body(&r->engine, str_sub(disk, 0, r->piece));
        disk = str_skip(disk, n);
        if (n == 0)
            send_out(r);
    }
    pop3_server_body_end(&r->engine);
}

static void on_login(struct run *r, const struct pop3_event *event)
{
    must(event->secret.len > 0 && (event->apop || event->user.len > 0));
    must(str_is_utf8(event->user) && str_is_utf8(event->secret));
    must(str_index(event->secret, '\0') == event->secret.len);
    must(!event->apop || event->secret.len == 32);
    buf_putf(&r->asked, "%s %.*s %.*s\n", event->apop ? "apop" : "login", STR_ARG(event->user),
             STR_ARG(event->secret));
    if (str_eq(event->secret, STR("no")))
        pop3_server_answer(&r->engine, POP3_REPLY_wrong_login);
    else
        pop3_server_begin(&r->engine, r->letters, r->count);
}

static void answer(struct run *r, const struct pop3_event *event)
{
    switch (event->type) {
    case POP3_MORE:
        break;
    case POP3_WAIT:
        must(false); // all is answered at once
        break;
    case POP3_FULL:
        must(r->engine.out.len > 0);
        send_out(r);
        break;
    case POP3_ASK_LOGIN:
        on_login(r, event);
        break;
    case POP3_ASK_SIZES:
        must(event->letter < event->end && event->end <= r->count);
        must(r->letters[event->letter].size == POP3_SIZE_UNKNOWN);
        buf_putf(&r->asked, "sizes %zu %zu\n", event->letter, event->end);
        for (size_t i = event->letter; i < event->end; i++)
            r->letters[i].size = i;
        pop3_server_sized(&r->engine);
        break;
    case POP3_ASK_LETTER:
        must(event->letter < r->count && !r->letters[event->letter].deleted);
        buf_putf(&r->asked, "%s %zu\n", r->engine.header_only ? "top" : "letter", event->letter);
        if (event->letter % 4 == 3)
            pop3_server_answer(&r->engine, POP3_REPLY_letter_gone);
        else
            give_body(r, event->letter);
        break;
    case POP3_ASK_UPDATE:
        buf_put(&r->asked, STR("update"));
        for (size_t i = 0; i < r->count; i++)
            if (r->letters[i].deleted)
                buf_putf(&r->asked, " %zu", i);
        pop3_server_answer(&r->engine, POP3_REPLY_bye);
        break;
    case POP3_CLOSE:
        r->closed = true;
        break;
    }
}

static void feed(struct run *r, struct str input)
{
    struct pop3_event event;
    do {
        size_t n = pop3_server_feed(&r->engine, input, &event);
        must(n <= input.len);
        input = str_skip(input, n);
        answer(r, &event);
    } while (event.type != POP3_MORE && event.type != POP3_CLOSE);
    must(input.len == 0 || r->closed);
}

static void run_start(struct run *r, size_t count, size_t piece)
{
    *r = (struct run){.count = count, .piece = piece};
    buf_init(&r->said, SAID);
    buf_init(&r->asked, SAID);
    for (size_t i = 0; i < count; i++)
        r->letters[i] = (struct pop3_letter){
            .size = i % 3 ? i : POP3_SIZE_UNKNOWN,
            .uidl = "1234567890123456789012345678901234567890123456789012345678901234567890",
            .uidl_length = 70};
    pop3_server_init(&r->engine, (struct pop3_terms){.passwords = true, .apop = true});
    pop3_server_greet(&r->engine, POP3_REPLY_greeting_apop, STR("<1@mail.example.test>"));
}

static void run_finish(struct run *r)
{
    pop3_server_finish(&r->engine);
    buf_finish(&r->said);
    buf_finish(&r->asked);
}

static struct str take_line(struct str *wire)
{
    size_t n = str_find(*wire, STR("\r\n"));
    must(n < wire->len);
    struct str line = str_sub(*wire, 0, n);
    *wire = str_skip(*wire, n + 2);
    return line;
}

// The letter as a client gets it: CRLF line ends, the last one never missing.
static void check_letter(struct str *wire, struct str disk)
{
    for (;;) {
        struct str line = take_line(wire);
        if (str_eq(line, STR(".")))
            break;
        if (str_starts(line, STR(".")))
            line = str_skip(line, 1);
        struct str want;
        must(str_cut(&disk, '\n', &want));
        if (str_ends(want, STR("\r")))
            want = str_sub(want, 0, want.len - 1);
        must(str_eq(line, want));
    }
    must(disk.len == 0);
}

// Reads everything that was said, told by the questions which letters were sent.
static void check_replies(struct run *r)
{
    struct str wire = buf_str(&r->said);
    struct str asked = buf_str(&r->asked);
    while (wire.len > 0) {
        struct str line = take_line(&wire);
        must(line.len + 2 <= LIMIT_pop3_reply);
        must(str_starts(line, STR("+OK")) || str_starts(line, STR("-ERR ")));
        if (str_ends(line, STR(" octets")) || str_ends(line, STR(" 字节"))) {
            struct str question;
            uint64_t letter = 3;
            while (letter % 4 == 3) { // those were refused
                must(str_cut(&asked, '\n', &question));
                if (!str_starts(question, STR("letter ")))
                    continue;
                must(str_to_u64(str_skip(question, 7), &letter));
            }
            check_letter(&wire, body_of((size_t)letter));
        } else if (wire.len > 0 && wire.ptr[0] != '+' && wire.ptr[0] != '-') {
            while (!str_eq(take_line(&wire), STR("."))) // LIST, UIDL, TOP, CAPA, LANG
                ;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run whole, cut; // large, and begun afresh each time
    if (size < 2)
        return 0;
    size_t step = data[0] % 32u + 1;
    size_t count = data[1] == 255 ? LETTERS : data[1] % 8u;
    struct str input = str_from(data + 2, size - 2);

    run_start(&whole, count, SIZE_MAX);
    run_start(&cut, count, 1);
    feed(&whole, input);
    for (struct str rest = input; rest.len > 0 && !cut.closed; rest = str_skip(rest, step))
        feed(&cut, str_sub(rest, 0, step));
    send_out(&whole);
    send_out(&cut);

    must(whole.closed == cut.closed);
    must(str_eq(buf_str(&whole.said), buf_str(&cut.said)));
    must(str_eq(buf_str(&whole.asked), buf_str(&cut.asked)));
    check_replies(&whole);
    run_finish(&whole);
    run_finish(&cut);
    return 0;
}
