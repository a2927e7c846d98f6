// The commands after the login: the reader's half of the engine.
#include <inttypes.h>

#include "proto/pop3_private.h"

enum { LISTING_LINE = 128 }; // more than number, UIDL of 70 and CRLF

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

void pop3_say_letters(struct pop3_server *s)
{
    size_t count = total(s).letters;
    pop3_say_number(s, count == 1 ? POP3_REPLY_one_letter : POP3_REPLY_letters, count);
}

static void cmd_stat(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    (void)argument;
    (void)event;
    struct totals t = total(s);
    buf_putf(&s->out, "+OK %zu %" PRIu64 "\r\n", t.letters, t.octets);
}

// ---- listings

// One line of LIST or UIDL.
static void put_listing(struct pop3_server *s, unsigned kind, size_t letter)
{
    const struct pop3_letter *l = &s->letters[letter];
    buf_putf(&s->out, "%zu ", letter + 1);
    if (kind == LISTING_SIZES)
        buf_putf(&s->out, "%" PRIu64, l->size);
    else
        buf_put(&s->out, str_from(l->uidl, l->uidl_length));
    buf_put(&s->out, STR("\r\n"));
}

static void start_listing(struct pop3_server *s, unsigned kind, const struct pop3_parsed *argument)
{
    if (argument->given) {
        buf_put(&s->out, STR("+OK "));
        put_listing(s, kind, argument->letter);
        return;
    }
    pop3_say_letters(s);
    s->state = kind;
    s->at = 0;
}

bool pop3_go_on_listing(struct pop3_server *s)
{
    for (; s->at < s->letter_count; s->at++) {
        if (s->letters[s->at].deleted)
            continue;
        if (pop3_room(s) < LISTING_LINE)
            return false;
        put_listing(s, s->state, s->at);
    }
    if (pop3_room(s) < LISTING_LINE)
        return false;
    buf_put(&s->out, STR(".\r\n"));
    s->state = TRANSACTION;
    return true;
}

static void cmd_list(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    (void)event;
    start_listing(s, LISTING_SIZES, argument);
}

static void cmd_uidl(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    (void)event;
    start_listing(s, LISTING_UIDLS, argument);
}

// ---- letters

static void ask_letter(struct pop3_server *s, size_t letter, struct pop3_event *event)
{
    s->at = event->letter = letter;
    pop3_ask(s, event, ASKED_LETTER, POP3_ASK_LETTER);
}

static void cmd_retr(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    s->header_only = false;
    ask_letter(s, argument->letter, event);
}

static void cmd_top(struct pop3_server *s, const struct pop3_parsed *argument,
                    struct pop3_event *event)
{
    s->header_only = true;
    s->lines_left = argument->lines;
    ask_letter(s, argument->letter, event);
}

static void cmd_dele(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    (void)event;
    s->letters[argument->letter].deleted = true;
    pop3_say(s, POP3_REPLY_ok, STR(""));
}

static void cmd_rset(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    (void)argument;
    (void)event;
    for (size_t i = 0; i < s->letter_count; i++)
        s->letters[i].deleted = false;
    pop3_say_letters(s);
}

static void cmd_noop(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    (void)argument;
    (void)event;
    pop3_say(s, POP3_REPLY_ok, STR(""));
}

static void cmd_quit(struct pop3_server *s, const struct pop3_parsed *argument,
                     struct pop3_event *event)
{
    (void)argument;
    pop3_ask(s, event, ASKED_UPDATE, POP3_ASK_UPDATE);
}

// clang-format off
static const struct pop3_command rows[] = {
    { POP3_VERB("STAT"), TRANSACTION, NOTHING,      true,  cmd_stat },
    { POP3_VERB("LIST"), TRANSACTION, MAYBE_LETTER, true,  cmd_list },
    { POP3_VERB("UIDL"), TRANSACTION, MAYBE_LETTER, false, cmd_uidl },
    { POP3_VERB("RETR"), TRANSACTION, LETTER,       true,  cmd_retr },
    { POP3_VERB("TOP"),  TRANSACTION, LETTER_LINES, false, cmd_top },
    { POP3_VERB("DELE"), TRANSACTION, LETTER,       false, cmd_dele },
    { POP3_VERB("RSET"), TRANSACTION, NOTHING,      false, cmd_rset },
    { POP3_VERB("NOOP"), TRANSACTION, NOTHING,      false, cmd_noop },
    { POP3_VERB("CAPA"), TRANSACTION, NOTHING,      false, pop3_capa },
    { POP3_VERB("LANG"), TRANSACTION, MAYBE_TEXT,   false, pop3_lang },
    { POP3_VERB("QUIT"), TRANSACTION, NOTHING,      false, cmd_quit },
};
// clang-format on

const struct pop3_table pop3_transaction = {rows, ARRAY_LEN(rows)};
