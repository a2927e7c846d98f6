// How it works. feed cuts the input into lines; a table says in which states a command may come and
// what argument it takes, so that a handler sees only what is right. There are two tables: the
// porter runs the commands of the one, the reader those of the other. Whatever may become long, the
// listing of a maildrop and the body of a letter, is written as far as the output has room and gone
// on with when it was sent; a command is begun only when its reply surely fits. So a client that
// sends a thousand commands and reads nothing costs one full buffer, and memory is bounded however
// large the maildrop.
//
// The size of a letter may be unknown until it is needed (the file's name does not tell it, clause
// 38): then the command waits, and runs when the caller has set the sizes that it asked for.
//
// A line ends with CRLF only. The first bare LF, and the first octet past the limit, is answered
// once, and all up to the next CRLF is discarded: what a lenient parser would take for a further
// command is never run.
#include "base/limits.h"
#include "base/wipe.h"
#include "proto/pop3_private.h"

enum { MAX_WRONG_LOGINS = 5 };

// The line may hold a password.
static void forget_line(struct pop3_server *s)
{
    if (s->line.ptr)
        wipe(s->line.ptr, s->line.cap);
    buf_release(&s->line);
}

// ---- commands

static const struct pop3_command *find_command(const struct pop3_table *table, struct str verb)
{
    for (size_t i = 0; i < table->count; i++)
        if (str_eq_nocase(verb, table->rows[i].verb))
            return &table->rows[i];
    return NULL;
}

// The command, if it may come now.
static const struct pop3_command *choose(const struct pop3_server *s, struct str verb,
                                         enum pop3_reply *wrong)
{
    const struct pop3_command *before = find_command(&pop3_authorization, verb);
    const struct pop3_command *after = find_command(&pop3_transaction, verb);
    const struct pop3_command *command = s->state == TRANSACTION ? after : before;
    if (command && (command->states & s->state))
        return command;
    if (!before && !after)
        *wrong = POP3_REPLY_unknown_command;
    else if (s->state == TRANSACTION)
        *wrong = POP3_REPLY_logged_in;
    else
        *wrong = command ? POP3_REPLY_user_first : POP3_REPLY_log_in_first;
    return NULL;
}

static bool parse_letter(const struct pop3_server *s, struct str text, size_t *letter,
                         enum pop3_reply *wrong)
{
    uint64_t number;
    if (!str_to_u64(text, &number)) {
        *wrong = POP3_REPLY_not_a_number;
        return false;
    }
    if (number < 1 || number > s->letter_count) {
        *wrong = POP3_REPLY_no_such_letter;
        return false;
    }
    *letter = (size_t)number - 1;
    if (s->letters[*letter].deleted) {
        *wrong = POP3_REPLY_deleted_letter;
        return false;
    }
    return true;
}

// `rest` is what stands behind the verb, its space included.
static bool parse_argument(const struct pop3_server *s, enum pop3_argument kind, struct str rest,
                           struct pop3_parsed *parsed, enum pop3_reply *wrong)
{
    struct str number = parsed->text = kind == SECRET ? str_skip(rest, 1) : str_trim_blanks(rest);
    parsed->given = parsed->text.len > 0;
    if (kind == NOTHING) {
        *wrong = POP3_REPLY_no_argument;
        return !parsed->given;
    }
    if (!parsed->given) {
        *wrong = POP3_REPLY_argument_missing;
        return kind == MAYBE_LETTER || kind == MAYBE_TEXT;
    }
    if (kind == LETTER_LINES) {
        number = str_sub(number, 0, str_index(number, ' '));
        *wrong = POP3_REPLY_bad_lines;
        if (!str_to_u64(str_trim_blanks(str_skip(parsed->text, number.len)), &parsed->lines))
            return false;
    } else if (kind != LETTER && kind != MAYBE_LETTER) {
        return true;
    }
    return parse_letter(s, number, &parsed->letter, wrong);
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

// True when the command may run. Otherwise the caller is asked, and it runs afterwards.
static bool has_sizes(struct pop3_server *s, const struct pop3_command *command,
                      const struct pop3_parsed *parsed, struct pop3_event *event)
{
    size_t from = parsed->given ? parsed->letter : 0;
    size_t end = parsed->given ? from + 1 : s->letter_count;
    size_t known = from;
    while (known < end && s->letters[known].size != POP3_SIZE_UNKNOWN)
        known++;
    if (known == end)
        return true;
    s->sizing = command;
    s->given = parsed->given;
    s->at = from;
    event->letter = known;
    event->end = end;
    pop3_ask(s, event, ASKED_SIZES, POP3_ASK_SIZES);
    return false;
}

static void run_sized(struct pop3_server *s, struct pop3_event *event)
{
    const struct pop3_command *command = s->sizing;
    s->sizing = NULL;
    command->run(s, &(struct pop3_parsed){.letter = s->at, .given = s->given}, event);
}

static void run_line(struct pop3_server *s, struct str line, struct pop3_event *event)
{
    struct str verb = str_sub(line, 0, str_index(line, ' '));
    struct pop3_parsed parsed = {.given = false};
    enum pop3_reply wrong;
    if (has_control(line)) {
        pop3_say_error(s, POP3_REPLY_bad_octet);
        return;
    }
    if (!str_is_utf8(line)) { // RFC 6856 section 2.2
        pop3_say_error(s, POP3_REPLY_not_utf8);
        return;
    }
    const struct pop3_command *command = choose(s, verb, &wrong);
    if (!command ||
        !parse_argument(s, command->argument, str_skip(line, verb.len), &parsed, &wrong))
        pop3_say_error(s, wrong);
    else if (!command->sizes || has_sizes(s, command, &parsed, event))
        command->run(s, &parsed, event);
}

// ---- lines

static void discard(struct pop3_server *s, enum pop3_reply why)
{
    forget_line(s);
    s->discarding = true;
    pop3_say_error(s, why);
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
        } else if ((s->state & LISTING) && !pop3_go_on_listing(s)) {
            event->type = POP3_FULL;
        } else if (s->sizing) {
            run_sized(s, event);
        } else if (taken == input.len) {
            break;
        } else if (pop3_room(s) < LIMIT_pop3_reply) {
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

void pop3_server_init(struct pop3_server *s, struct pop3_terms terms)
{
    must(terms.language < POP3_LANGUAGES);
    *s = (struct pop3_server){.terms = terms, .state = GREETED};
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

void pop3_server_greet(struct pop3_server *s, enum pop3_reply reply, struct str detail)
{
    must(s->state == GREETED);
    pop3_say(s, reply, detail);
    if (reply != POP3_REPLY_greeting && reply != POP3_REPLY_greeting_apop)
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
    pop3_say_letters(s);
}

void pop3_server_answer(struct pop3_server *s, enum pop3_reply reply)
{
    must(s->state & (ASKED_LOGIN | ASKED_LETTER | ASKED_UPDATE));
    if (s->state == ASKED_LOGIN) {
        forget_line(s);
        buf_release(&s->user);
        bool again = reply != POP3_REPLY_wrong_login || ++s->wrong_logins < MAX_WRONG_LOGINS;
        pop3_say(s, again ? reply : POP3_REPLY_too_many_logins, STR(""));
        s->state = again ? GREETED : CLOSING;
        return;
    }
    pop3_say(s, reply, STR(""));
    s->state = s->state == ASKED_LETTER ? TRANSACTION : CLOSING;
}

void pop3_server_sized(struct pop3_server *s)
{
    must(s->state == ASKED_SIZES);
    s->state = TRANSACTION;
}

void pop3_server_abort(struct pop3_server *s, enum pop3_reply reply)
{
    bool between_lines = !(s->state & (BODY | LISTING | CLOSING));
    if (between_lines && pop3_room(s) >= LIMIT_pop3_reply)
        pop3_say(s, reply, STR(""));
    s->state = CLOSING;
}

bool pop3_server_idle(const struct pop3_server *s)
{
    return (s->state & (AUTHORIZATION | TRANSACTION)) && s->line_octets == 0 && !s->sizing;
}
