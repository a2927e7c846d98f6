// How it works. feed cuts the input into lines; `commands` says in which states a command may come
// and what argument it takes, so that a handler sees only what is right. Whatever may become long,
// the listing of a maildrop and the body of a letter, is written as far as the output has room and
// gone on with when it was sent; a command is begun only when its reply surely fits. So a client
// that sends a thousand commands and reads nothing costs one full buffer, and memory is bounded
// however large the maildrop.
//
//     GREETED --USER--> NAMED --PASS--> ASKED_LOGIN --begin--> TRANSACTION --QUIT--> ASKED_UPDATE
//        ^                                   |                 |   ^   |                  |
//        +-------------- refused ------------+    LIST, UIDL --+   |   +-- RETR           v
//                                                 LISTING_* -------+   ASKED_LETTER     CLOSING
//                                                                  +----- BODY
//
// A line ends with CRLF only. The first bare LF, and the first octet past the limit, is answered
// once, and all up to the next CRLF is discarded: what a lenient parser would take for a further
// command is never run.
#include "proto/pop3_server.h"

#include <inttypes.h>

#include "base/limits.h"
#include "base/wipe.h"

enum {
    GREETED = 1,
    NAMED = 2,
    TRANSACTION = 4,
    ASKED_LOGIN = 8,
    ASKED_LETTER = 16,
    ASKED_UPDATE = 32,
    LISTING_SIZES = 64,
    LISTING_UIDLS = 128,
    BODY = 256,
    CLOSING = 512,

    AUTHORIZATION = GREETED | NAMED,
    ASKED = ASKED_LOGIN | ASKED_LETTER | ASKED_UPDATE,
    LISTING = LISTING_SIZES | LISTING_UIDLS,
};

enum {
    MAX_WRONG_LOGINS = 5,
    LISTING_LINE = 128,       // more than number, UIDL of 70 and CRLF
    BODY_TAIL = 5,            // what body_end may add: CRLF . CRLF
    BODY_STEP = BODY_TAIL + 4 // one more octet, a stuffed dot before it, a line end behind it
};

static const char *const reply_texts[] = {
#define POP3_REPLY(name, text) text,
#include "proto/pop3_replies.def"
#undef POP3_REPLY
};

enum argument {
    NOTHING,
    TEXT,         // the rest of the line, without blanks around it
    SECRET,       // the rest of the line after one space, as it is (RFC 1939 section 7, PASS)
    LETTER,       // the number of a letter that is there and not marked as deleted
    MAYBE_LETTER, // that, or nothing
};

// What a handler gets: text for TEXT and SECRET, letter (its index) for LETTER.
struct parsed {
    struct str text;
    size_t letter;
    bool given;
};

struct command {
    struct str verb;
    unsigned states; // in which it may come
    enum argument argument;
    void (*run)(struct pop3_server *s, const struct parsed *argument, struct pop3_event *event);
};

static size_t room(const struct pop3_server *s)
{
    return s->out.limit - s->out.len;
}

static void put_line_end(struct buf *out)
{
    buf_put(out, STR("\r\n"));
}

static void say(struct pop3_server *s, enum pop3_reply reply)
{
    must(reply < POP3_REPLY_COUNT);
    struct str text = str_of(reply_texts[reply]);
    size_t host = str_find(text, STR("%s"));
    buf_put(&s->out, str_sub(text, 0, host));
    if (host < text.len) {
        buf_put(&s->out, s->hostname);
        buf_put(&s->out, str_skip(text, host + 2));
    }
    put_line_end(&s->out);
}

// The server closes by itself only on an attack: a stranger who guesses commands is one. Someone
// who has logged in may err as often as he likes.
static void say_error(struct pop3_server *s, enum pop3_reply reply)
{
    say(s, reply);
    if ((s->state & AUTHORIZATION) && ++s->errors >= LIMIT_command_errors) {
        say(s, POP3_REPLY_too_many_errors);
        s->state = CLOSING;
    }
}

// The line may hold a password.
static void forget_line(struct pop3_server *s)
{
    if (s->line.ptr)
        wipe(s->line.ptr, s->line.cap);
    buf_release(&s->line);
}

// ---- commands

static void ask(struct pop3_server *s, struct pop3_event *event, unsigned state,
                enum pop3_event_type type)
{
    s->state = state;
    event->type = type;
}

// Whether there is such a user is not told (RFC 1939 section 7).
static void cmd_user(struct pop3_server *s, const struct parsed *argument, struct pop3_event *event)
{
    (void)event;
    buf_clear(&s->user);
    buf_put(&s->user, argument->text);
    s->state = NAMED;
    say(s, POP3_REPLY_user_ok);
}

static void cmd_pass(struct pop3_server *s, const struct parsed *argument, struct pop3_event *event)
{
    event->user = buf_str(&s->user);
    event->password = argument->text;
    ask(s, event, ASKED_LOGIN, POP3_ASK_LOGIN);
}

static void cmd_quit(struct pop3_server *s, const struct parsed *argument, struct pop3_event *event)
{
    (void)argument;
    if (s->state == TRANSACTION) {
        ask(s, event, ASKED_UPDATE, POP3_ASK_UPDATE);
        return;
    }
    say(s, POP3_REPLY_bye);
    s->state = CLOSING;
}

struct totals {
    size_t letters;
    uint64_t octets;
};

static struct totals total(const struct pop3_server *s)
{
    struct totals t = {0, 0};
    for (size_t i = 0; i < s->letter_count; i++) {
        if (s->letters[i].deleted)
            continue;
        t.letters++;
        t.octets += s->letters[i].size;
    }
    return t;
}

static void put_summary(struct pop3_server *s)
{
    struct totals t = total(s);
    buf_putf(&s->out, "+OK %zu letters (%" PRIu64 " octets)\r\n", t.letters, t.octets);
}

static void cmd_stat(struct pop3_server *s, const struct parsed *argument, struct pop3_event *event)
{
    (void)argument;
    (void)event;
    struct totals t = total(s);
    buf_putf(&s->out, "+OK %zu %" PRIu64 "\r\n", t.letters, t.octets);
}

// One line of LIST or UIDL.
static void put_listing(struct pop3_server *s, unsigned kind, size_t letter)
{
    buf_putf(&s->out, "%zu ", letter + 1);
    if (kind == LISTING_SIZES)
        buf_putf(&s->out, "%" PRIu64, s->letters[letter].size);
    else
        buf_put(&s->out, s->letters[letter].uidl);
    put_line_end(&s->out);
}

static void start_listing(struct pop3_server *s, unsigned kind, const struct parsed *argument)
{
    if (argument->given) {
        buf_put(&s->out, STR("+OK "));
        put_listing(s, kind, argument->letter);
        return;
    }
    put_summary(s);
    s->state = kind;
    s->at = 0;
}

// Writes as much as there is room for; true when the listing is complete.
static bool go_on_listing(struct pop3_server *s)
{
    for (; s->at < s->letter_count; s->at++) {
        if (s->letters[s->at].deleted)
            continue;
        if (room(s) < LISTING_LINE)
            return false;
        put_listing(s, s->state, s->at);
    }
    if (room(s) < LISTING_LINE)
        return false;
    buf_put(&s->out, STR(".\r\n"));
    s->state = TRANSACTION;
    return true;
}

static void cmd_list(struct pop3_server *s, const struct parsed *argument, struct pop3_event *event)
{
    (void)event;
    start_listing(s, LISTING_SIZES, argument);
}

static void cmd_uidl(struct pop3_server *s, const struct parsed *argument, struct pop3_event *event)
{
    (void)event;
    start_listing(s, LISTING_UIDLS, argument);
}

static void cmd_retr(struct pop3_server *s, const struct parsed *argument, struct pop3_event *event)
{
    s->at = event->letter = argument->letter;
    ask(s, event, ASKED_LETTER, POP3_ASK_LETTER);
}

static void cmd_dele(struct pop3_server *s, const struct parsed *argument, struct pop3_event *event)
{
    (void)event;
    s->letters[argument->letter].deleted = true;
    say(s, POP3_REPLY_ok);
}

static void cmd_noop(struct pop3_server *s, const struct parsed *argument, struct pop3_event *event)
{
    (void)argument;
    (void)event;
    say(s, POP3_REPLY_ok);
}

static void cmd_rset(struct pop3_server *s, const struct parsed *argument, struct pop3_event *event)
{
    (void)argument;
    (void)event;
    for (size_t i = 0; i < s->letter_count; i++)
        s->letters[i].deleted = false;
    put_summary(s);
}

// clang-format off
#define VERB(literal) { literal, sizeof(literal) - 1 }
static const struct command commands[] = {
    { VERB("USER"), AUTHORIZATION,               TEXT,         cmd_user },
    { VERB("PASS"), NAMED,                       SECRET,       cmd_pass },
    { VERB("QUIT"), AUTHORIZATION | TRANSACTION, NOTHING,      cmd_quit },
    { VERB("STAT"), TRANSACTION,                 NOTHING,      cmd_stat },
    { VERB("LIST"), TRANSACTION,                 MAYBE_LETTER, cmd_list },
    { VERB("UIDL"), TRANSACTION,                 MAYBE_LETTER, cmd_uidl },
    { VERB("RETR"), TRANSACTION,                 LETTER,       cmd_retr },
    { VERB("DELE"), TRANSACTION,                 LETTER,       cmd_dele },
    { VERB("NOOP"), TRANSACTION,                 NOTHING,      cmd_noop },
    { VERB("RSET"), TRANSACTION,                 NOTHING,      cmd_rset },
};
#undef VERB
// clang-format on

static const struct command *find_command(struct str verb)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_eq_nocase(verb, commands[i].verb))
            return &commands[i];
    return NULL;
}

// What is wrong with a command that the table does not allow now.
static enum pop3_reply wrong_state(const struct pop3_server *s, const struct command *command)
{
    if (s->state == TRANSACTION)
        return POP3_REPLY_logged_in;
    return command->states & AUTHORIZATION ? POP3_REPLY_user_first : POP3_REPLY_log_in_first;
}

static bool parse_letter(const struct pop3_server *s, struct parsed *parsed, enum pop3_reply *wrong)
{
    uint64_t number;
    if (!str_to_u64(parsed->text, &number)) {
        *wrong = POP3_REPLY_not_a_number;
        return false;
    }
    if (number < 1 || number > s->letter_count) {
        *wrong = POP3_REPLY_no_such_letter;
        return false;
    }
    parsed->letter = (size_t)number - 1;
    if (s->letters[parsed->letter].deleted) {
        *wrong = POP3_REPLY_deleted_letter;
        return false;
    }
    return true;
}

// `rest` is what stands behind the verb, its space included.
static bool parse_argument(const struct pop3_server *s, enum argument kind, struct str rest,
                           struct parsed *parsed, enum pop3_reply *wrong)
{
    parsed->text = kind == SECRET ? str_skip(rest, 1) : str_trim_blanks(rest);
    parsed->given = parsed->text.len > 0;
    if (kind == NOTHING) {
        *wrong = POP3_REPLY_no_argument;
        return !parsed->given;
    }
    if (!parsed->given) {
        *wrong = POP3_REPLY_argument_missing;
        return kind == MAYBE_LETTER;
    }
    return kind == TEXT || kind == SECRET || parse_letter(s, parsed, wrong);
}

// A NUL or a lone CR has no place in a command (RFC 2449 section 3), and what reads a password
// further on may end at a NUL. Octets above 127 are for names and passwords in UTF-8.
static bool has_control(struct str line)
{
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

static void run_line(struct pop3_server *s, struct str line, struct pop3_event *event)
{
    if (has_control(line)) {
        say_error(s, POP3_REPLY_bad_octet);
        return;
    }
    struct str verb = str_sub(line, 0, str_index(line, ' '));
    const struct command *command = find_command(verb);
    struct parsed parsed = {.given = false};
    enum pop3_reply wrong;
    if (!command)
        say_error(s, POP3_REPLY_unknown_command);
    else if (!(command->states & s->state))
        say_error(s, wrong_state(s, command));
    else if (!parse_argument(s, command->argument, str_skip(line, verb.len), &parsed, &wrong))
        say_error(s, wrong);
    else
        command->run(s, &parsed, event);
}

// ---- lines

static void discard(struct pop3_server *s, enum pop3_reply why)
{
    forget_line(s);
    s->discarding = true;
    say_error(s, why);
}

// Takes one piece: input up to the first LF, or all of it. True when it ends a command line, which
// is *line without CRLF: a view into the input or into s->line.
static bool take_piece(struct pop3_server *s, struct str piece, struct str *line)
{
    bool ended = piece.ptr[piece.len - 1] == '\n';
    bool by_crlf = ended && (piece.len > 1 ? piece.ptr[piece.len - 2] == '\r' : s->after_cr);
    s->after_cr = piece.ptr[piece.len - 1] == '\r';
    s->line_octets += piece.len;
    if (!s->discarding && s->line_octets > LIMIT_pop3_line)
        discard(s, POP3_REPLY_line_too_long);
    else if (!s->discarding && ended && !by_crlf)
        discard(s, POP3_REPLY_bare_newline);
    if (s->line_octets > LIMIT_command_junk) {
        pop3_server_abort(s, POP3_REPLY_command_flood);
        return false;
    }
    bool complete = by_crlf && !s->discarding;
    if (by_crlf) {
        s->discarding = false;
        s->line_octets = 0;
    } else if (!s->discarding) {
        // At its full size at once: growth would leave copies of a password behind.
        if (!s->line.ptr && !buf_reserve(&s->line, LIMIT_pop3_line))
            return false;
        buf_put(&s->line, piece);
    }
    if (!complete)
        return false;
    if (s->line.len > 0) {
        buf_put(&s->line, piece);
        piece = buf_str(&s->line);
    }
    *line = str_sub(piece, 0, piece.len - 2);
    return true;
}

size_t pop3_server_feed(struct pop3_server *s, struct str input, struct pop3_event *event)
{
    *event = (struct pop3_event){.type = POP3_MORE};
    size_t taken = 0;
    while (event->type == POP3_MORE) {
        if (s->state == CLOSING) {
            event->type = POP3_CLOSE;
        } else if (s->state & (ASKED | BODY)) {
            event->type = POP3_WAIT;
        } else if ((s->state & LISTING) && !go_on_listing(s)) {
            event->type = POP3_FULL;
        } else if (taken == input.len) {
            break;
        } else if (room(s) < LIMIT_pop3_reply) {
            event->type = POP3_FULL;
        } else {
            struct str rest = str_skip(input, taken);
            struct str piece = str_sub(rest, 0, str_index(rest, '\n') + 1);
            struct str line;
            taken += piece.len;
            if (take_piece(s, piece, &line)) {
                run_line(s, line, event);
                if (event->type != POP3_ASK_LOGIN) // whose event still shows the line
                    forget_line(s);
            }
        }
    }
    must(buf_ok(&s->out));
    return taken;
}

// ---- the caller's side

void pop3_server_init(struct pop3_server *s, struct str hostname)
{
    *s = (struct pop3_server){.hostname = hostname, .state = GREETED};
    buf_init(&s->out, LIMIT_pop3_output);
    buf_init(&s->user, LIMIT_pop3_line);
    buf_init(&s->line, LIMIT_pop3_line);
}

void pop3_server_finish(struct pop3_server *s)
{
    forget_line(s);
    buf_finish(&s->out);
    buf_finish(&s->user);
    buf_finish(&s->line);
}

void pop3_server_greet(struct pop3_server *s, enum pop3_reply reply)
{
    must(s->state == GREETED);
    say(s, reply);
    if (reply != POP3_REPLY_greeting)
        s->state = CLOSING;
}

void pop3_server_begin(struct pop3_server *s, struct pop3_letter *letters, size_t count)
{
    must(s->state & (GREETED | ASKED_LOGIN));
    forget_line(s);
    buf_release(&s->user);
    s->letters = letters;
    s->letter_count = count;
    s->state = TRANSACTION;
    put_summary(s);
}

void pop3_server_answer(struct pop3_server *s, enum pop3_reply reply)
{
    must(s->state & ASKED);
    if (s->state == ASKED_LOGIN) {
        forget_line(s);
        buf_release(&s->user);
        bool again = reply != POP3_REPLY_wrong_login || ++s->wrong_logins < MAX_WRONG_LOGINS;
        say(s, again ? reply : POP3_REPLY_too_many_logins);
        s->state = again ? GREETED : CLOSING;
        return;
    }
    say(s, reply);
    s->state = s->state == ASKED_LETTER ? TRANSACTION : CLOSING;
}

void pop3_server_body_begin(struct pop3_server *s)
{
    must(s->state == ASKED_LETTER);
    buf_putf(&s->out, "+OK %" PRIu64 " octets\r\n", s->letters[s->at].size);
    s->state = BODY;
    s->line_start = true;
    s->after_cr = false;
}

// A letter that another program left in the Maildir may have CRLF on disk.
static void end_body_line(struct pop3_server *s)
{
    buf_put(&s->out, s->after_cr ? STR("\n") : STR("\r\n"));
    s->after_cr = false;
    s->line_start = true;
}

size_t pop3_server_body(struct pop3_server *s, struct str bytes)
{
    must(s->state == BODY);
    size_t taken = 0;
    size_t likely = bytes.len + bytes.len / 16; // one allocation where lines are of common length
    (void)buf_reserve(&s->out, likely < room(s) ? likely : room(s));
    while (taken < bytes.len && room(s) >= BODY_STEP) {
        struct str rest = str_skip(bytes, taken);
        if (s->line_start && rest.ptr[0] == '.')
            buf_put_byte(&s->out, '.');
        struct str text = str_sub(rest, 0, str_index(rest, '\n'));
        struct str now = str_sub(text, 0, room(s) - BODY_TAIL - 2);
        if (now.len > 0) {
            buf_put(&s->out, now);
            s->after_cr = now.ptr[now.len - 1] == '\r';
            s->line_start = false;
            taken += now.len;
        }
        if (now.len == text.len && taken < bytes.len) {
            end_body_line(s);
            taken++;
        }
    }
    return taken;
}

void pop3_server_body_end(struct pop3_server *s)
{
    must(s->state == BODY);
    if (!s->line_start)
        put_line_end(&s->out);
    buf_put(&s->out, STR(".\r\n"));
    must(buf_ok(&s->out));
    s->after_cr = false;
    s->state = TRANSACTION;
}

void pop3_server_abort(struct pop3_server *s, enum pop3_reply reply)
{
    bool between_lines = !(s->state & (BODY | LISTING | CLOSING));
    if (between_lines && room(s) >= LIMIT_pop3_reply)
        say(s, reply);
    s->state = CLOSING;
}

bool pop3_server_idle(const struct pop3_server *s)
{
    return (s->state & (AUTHORIZATION | TRANSACTION)) && s->line_octets == 0;
}
