// One state, and a table of commands that says in which states each may come; a command out of
// order is answered by the table, so that no handler needs to ask where it stands.
//
//     START --EHLO--> READY --MAIL--> MAIL --RCPT--> RCPT (or ALL_REFUSED) --DATA--> DATA
//                       ^                              |                               |
//                       |                              +--BDAT--> CHUNKS               |
//                       +---- end of data, RSET, EHLO --------------+------------------+
//     QUIT, 421: CLOSED from everywhere
//
// A handler either does its work and writes the reply, or asks the caller by an event; then
// smtp_server_answer completes the command. The state changes only on success (RFC 5321 section
// 4.1.4).
#include "proto/smtp_private.h"

#include "base/limits.h"

// Room that one command's replies may take: EHLO's ten lines, or a refusal and a 421.
enum { REPLY_ROOM = 2048 };

enum { CLOSING = 421 };

// ---- replies

// What a "%s" stands for when nobody says more.
static struct str known_detail(struct smtp_server *s, enum smtp_reply reply, char room[32])
{
    if (reply == SMTP_REPLY_queued) {
        mail_id_text(&s->id, room);
        return str_of(room);
    }
    if (reply == SMTP_REPLY_too_large) {
        snprintf(room, 32, "%llu", (unsigned long long)s->config->max_message);
        return str_of(room);
    }
    return s->config->hostname;
}

void smtp_put_reply(struct smtp_server *s, enum smtp_reply reply, struct str detail)
{
    char room[32];
    bool with_id = s->has_id && smtp_reply_code(reply) >= REFUSAL;
    if (detail.len == 0)
        detail = known_detail(s, reply, room);
    smtp_reply_put(&s->out, reply, detail, with_id ? &s->id : NULL);
    must(buf_ok(&s->out)); // REPLY_ROOM was there when the command began
}

static void close_session(struct smtp_server *s, enum smtp_reply reply)
{
    smtp_put_reply(s, reply, STR(""));
    s->state = CLOSED;
    s->replies_left = 0;
    s->closing = reply;
    s->asked = s->pending = SMTP_MORE;
}

// Errors beyond the recipients that were accepted: a list's letter to a thousand, thirty of whom
// have left, is no attack.
static void count_error(struct smtp_server *s, enum smtp_reply reply)
{
    if (smtp_reply_code(reply) < PERMANENT)
        return;
    if (++s->errors >= s->accepted + LIMIT_command_errors)
        close_session(s, SMTP_REPLY_too_many_errors);
}

void smtp_refuse(struct smtp_server *s, struct smtp_event *event, enum smtp_reply reply,
                 struct str detail)
{
    smtp_put_reply(s, reply, detail);
    *event = (struct smtp_event){.type = SMTP_REFUSED, .reply = reply};
    count_error(s, reply);
}

// ---- the end of the data

// Once; in LMTP once for each recipient (RFC 2033 section 4.2), which may be more than s->out
// takes. The transaction ends with the last.
static void put_end_replies(struct smtp_server *s)
{
    while (s->replies_left > 0 && s->out.limit - s->out.len >= REPLY_ROOM) {
        smtp_put_reply(s, s->data_reply, s->data_detail);
        if (--s->replies_left == 0)
            smtp_reset(s);
    }
}

static void answer_message(struct smtp_server *s, enum smtp_reply reply, struct str detail)
{
    s->data_reply = reply;
    if (!arena_copy(&s->transaction, detail, &s->data_detail))
        s->data_detail = STR(""); // the engine's own words
    s->replies_left = s->config->lmtp ? s->recipient_count : 1;
    put_end_replies(s);
}

// ---- life

void smtp_clear_transaction(struct smtp_server *s)
{
    arena_reset(&s->transaction);
    list_init(&s->recipients);
    s->recipient_count = 0;
    s->reverse_path = (struct address){.kind = ADDRESS_NULL};
    s->declared_size = 0;
    s->data_detail = STR("");
    s->has_id = s->id_drawn = s->utf8 = s->body_8bit = false;
    s->envid = STR("");
    s->returns = RETURN_UNSAID;
    s->candidate = NULL;
}

// RFC 5321 section 4.1.1.5. True when a transaction was open.
bool smtp_reset(struct smtp_server *s)
{
    bool open = s->state & TRANSACTION;
    smtp_clear_transaction(s);
    if (open)
        s->state = READY;
    return open;
}

void smtp_server_init(struct smtp_server *s, const struct smtp_server_config *config)
{
    *s = (struct smtp_server){.config = config, .state = START};
    buf_init(&s->out, LIMIT_reply_bytes);
    buf_init(&s->helo, LIMIT_domain + 1); // a trailing dot is kept
    smtp_line_init(&s->line, LIMIT_command_line);
    arena_init(&s->transaction, LIMIT_session_memory);
    list_init(&s->recipients);
}

void smtp_server_finish(struct smtp_server *s)
{
    arena_finish(&s->transaction);
    smtp_line_finish(&s->line);
    buf_finish(&s->helo);
    buf_finish(&s->out);
}

void smtp_server_greet(struct smtp_server *s, enum smtp_reply reply)
{
    if (reply == SMTP_REPLY_banner)
        smtp_put_reply(s, s->config->lmtp ? SMTP_REPLY_banner_lmtp : reply, STR(""));
    else
        close_session(s, reply);
}

void smtp_server_abort(struct smtp_server *s, enum smtp_reply reply)
{
    if (s->state != CLOSED)
        close_session(s, reply);
}

bool smtp_server_idle(const struct smtp_server *s)
{
    return (s->state & (START | READY)) && s->asked == SMTP_MORE && s->pending == SMTP_MORE &&
           !s->in_chunk && smtp_line_empty(&s->line);
}

// ---- EHLO, HELO

static bool take_host(struct smtp_server *s, struct str host, struct smtp_event *event)
{
    struct err err = {.class = ERR_NONE};
    struct arena turn;
    struct str folded;
    arena_init(&turn, LIMIT_command_line);
    // U-labels have no place here: SMTPUTF8 is not negotiated yet (RFC 6531 section 3.7.1).
    bool ok = str_is_ascii(host) && domain_read_host(host, &turn, &folded, &err);
    arena_finish(&turn);
    if (!ok) {
        smtp_refuse(s, event, SMTP_REPLY_bad_argument,
                    err.class == ERR_NONE ? STR("the name is not ASCII") : err_text(&err));
        return false;
    }
    event->type = SMTP_HELO;
    if (smtp_reset(s)) {
        event->type = SMTP_RESET;
        s->pending = SMTP_HELO;
    }
    buf_clear(&s->helo);
    buf_put(&s->helo, host);
    s->state = READY;
    return true;
}

static void command_helo(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    if (!take_host(s, args, event))
        return;
    s->esmtp = false;
    smtp_put_reply(s, SMTP_REPLY_hello, STR(""));
}

static void command_ehlo(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    if (!take_host(s, args, event))
        return;
    s->esmtp = true;
    char size[32], limits[32];
    snprintf(size, sizeof size, "SIZE %llu", (unsigned long long)s->config->max_message);
    snprintf(limits, sizeof limits, "LIMITS RCPTMAX=%u", s->config->max_recipients);
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, s->config->hostname);
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, STR("PIPELINING"));
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, str_of(size));
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, STR("8BITMIME"));
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, STR("SMTPUTF8"));
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, STR("ENHANCEDSTATUSCODES"));
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, STR("CHUNKING"));
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, STR("DSN"));
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, str_of(limits)); // RFC 9422
    smtp_put_reply(s, SMTP_REPLY_hello, STR("HELP"));
}

// ---- the others

// RFC 2033 section 4.2 has 503 for it.
void smtp_refuse_data(struct smtp_server *s, struct smtp_event *event)
{
    if (s->config->lmtp)
        smtp_refuse(s, event, SMTP_REPLY_bad_sequence, STR("No valid recipients"));
    else
        smtp_refuse(s, event, SMTP_REPLY_no_valid_recipients, STR(""));
}

static void command_data(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    (void)args;
    if (s->state == ALL_REFUSED) {
        smtp_refuse_data(s, event);
        return;
    }
    s->early = false;
    s->asked = event->type = SMTP_ASK_DATA;
}

static void command_rset(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    (void)args;
    smtp_put_reply(s, SMTP_REPLY_ok, STR(""));
    if (smtp_reset(s))
        event->type = SMTP_RESET;
}

static void command_noop(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    (void)args, (void)event;
    smtp_put_reply(s, SMTP_REPLY_ok, STR(""));
}

static void command_quit(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    (void)args;
    if (smtp_reset(s))
        event->type = SMTP_RESET;
    close_session(s, SMTP_REPLY_bye);
}

// Who is here is told to nobody: a list of guesses would become a list of users (RFC 5321
// section 7.3).
static void command_vrfy(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    if (args.len == 0)
        smtp_refuse(s, event, SMTP_REPLY_bad_argument, STR("VRFY user"));
    else
        smtp_put_reply(s, SMTP_REPLY_cannot_verify, STR(""));
}

static void command_of_old(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    (void)args;
    smtp_refuse(s, event, SMTP_REPLY_not_implemented, STR(""));
}

static void command_help(struct smtp_server *s, struct str args, struct smtp_event *event);

// ---- the table

enum flags {
    BARE = 1, // takes no argument
    // Nothing may stand behind it in the input, whatever the answer will be: text that was sent as
    // a message would be read as commands. (RFC 2920 section 3.1 wants more commands to be last in
    // their group; the others do no harm.)
    LAST = 2,
    ONLY_SMTP = 4, // another protocol does not know it
    ONLY_LMTP = 8,
};

struct command {
    struct str verb;
    unsigned states; // in which it may come
    unsigned flags;
    void (*run)(struct smtp_server *s, struct str args, struct smtp_event *event);
    struct str otherwise; // said in a wrong state after the greeting
    struct str help;      // what HELP says of it; empty: nothing, it is not for use
};

// clang-format off
static const struct command commands[] = {
    // verb        states                     flags        function           // RFC 5321
    {WORD("LHLO"), ANY,                       ONLY_LMTP,   command_ehlo,      // RFC 2033 4.1
     WORD(""), WORD("LHLO host: greets, and asks what is offered here")},
    {WORD("EHLO"), ANY,                       ONLY_SMTP,   command_ehlo,      // 4.1.1.1
     WORD(""), WORD("EHLO host: greets, and asks what is offered here")},
    {WORD("HELO"), ANY,                       ONLY_SMTP,   command_helo,      // 4.1.1.1
     WORD(""), WORD("HELO host: greets")},
    {WORD("MAIL"), READY,                     0,           smtp_command_mail, // 4.1.1.2
     WORD("A transaction is open; send RSET to drop it"),
     WORD("MAIL FROM:<address> [SIZE=octets] [BODY=7BIT|8BITMIME] [SMTPUTF8]: begins a letter")},
    {WORD("RCPT"), MAIL | ALL_REFUSED | RCPT, 0,           smtp_command_rcpt, // 4.1.1.3
     WORD("Send MAIL first"), WORD("RCPT TO:<address>: adds a recipient")},
    {WORD("DATA"), ALL_REFUSED | RCPT,        BARE | LAST, command_data,      // 4.1.1.4
     WORD("Send MAIL and RCPT first"),
     WORD("DATA: after the 354 comes the letter; a line with only a dot ends it")},
    {WORD("BDAT"), ANY,                       0,           smtp_command_bdat, // RFC 3030
     WORD(""), WORD("BDAT octets [LAST]: so many octets of the letter follow at once")},
    {WORD("RSET"), ANY,                       BARE,        command_rset,      // 4.1.1.5
     WORD(""), WORD("RSET: drops the letter that was begun")},
    {WORD("VRFY"), ANY,                       0,           command_vrfy,      // 4.1.1.6
     WORD(""), WORD("VRFY user: neither yes nor no; RCPT tells")},
    {WORD("EXPN"), ANY,                       0,           command_of_old, WORD(""), WORD("")},
    {WORD("HELP"), ANY,                       0,           command_help,      // 4.1.1.8
     WORD(""), WORD("HELP [command]: this")},
    {WORD("NOOP"), ANY,                       0,           command_noop,      // 4.1.1.9
     WORD(""), WORD("NOOP: nothing but a reply")},
    {WORD("QUIT"), ANY,                       BARE,        command_quit,      // 4.1.1.10
     WORD(""), WORD("QUIT: ends the session")},
    // Of RFC 821; RFC 5321 appendix F.
    {WORD("SEND"), ANY,                       0,           command_of_old, WORD(""), WORD("")},
    {WORD("SOML"), ANY,                       0,           command_of_old, WORD(""), WORD("")},
    {WORD("SAML"), ANY,                       0,           command_of_old, WORD(""), WORD("")},
    {WORD("TURN"), ANY,                       0,           command_of_old, WORD(""), WORD("")},
};
// clang-format on

static bool is_spoken(const struct smtp_server *s, const struct command *command)
{
    return !(command->flags & (s->config->lmtp ? ONLY_SMTP : ONLY_LMTP));
}

static const struct command *find_command(const struct smtp_server *s, struct str verb)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_eq_nocase(commands[i].verb, verb) && is_spoken(s, &commands[i]))
            return &commands[i];
    return NULL;
}

static void command_help(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    const struct command *topic = find_command(s, args);
    struct buf verbs;
    if (args.len > 0) {
        if (topic && topic->help.len > 0)
            smtp_put_reply(s, SMTP_REPLY_help_topic, topic->help);
        else
            smtp_refuse(s, event, SMTP_REPLY_unknown_topic, STR(""));
        return;
    }
    buf_init(&verbs, LIMIT_reply_line);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (commands[i].help.len == 0 || !is_spoken(s, &commands[i]))
            continue;
        buf_put(&verbs, STR(" "));
        buf_put(&verbs, commands[i].verb);
    }
    must(buf_ok(&verbs));
    smtp_put_reply(s, SMTP_REPLY_help, buf_str(&verbs));
    buf_finish(&verbs);
}

struct str smtp_out_of_order(const struct smtp_server *s, struct str otherwise)
{
    if (s->state == START)
        return s->config->lmtp ? STR("Send LHLO first") : STR("Send EHLO first");
    if (s->state == CHUNKS)
        return STR("The letter comes by BDAT; send its LAST chunk, or RSET");
    return otherwise;
}

// behind: octets of input that follow the line.
static void run_command(struct smtp_server *s, struct str line, size_t behind,
                        struct smtp_event *event)
{
    size_t space = str_index(line, ' ');
    const struct command *command = find_command(s, str_sub(line, 0, space));
    struct str args = str_trim_blanks(str_skip(line, space));
    if (!command)
        smtp_refuse(s, event, SMTP_REPLY_unknown_command, STR(""));
    else if ((command->flags & LAST) && behind > 0)
        close_session(s, SMTP_REPLY_early_talker);
    else if (!(command->states & s->state))
        smtp_refuse(s, event, SMTP_REPLY_bad_sequence, smtp_out_of_order(s, command->otherwise));
    else if ((command->flags & BARE) && args.len > 0)
        smtp_refuse(s, event, SMTP_REPLY_bad_argument, STR("there are none for this command"));
    else
        command->run(s, args, event);
    if (event->type == SMTP_REFUSED)
        event->bytes = line;
}

// ---- feeding

static size_t feed_command(struct smtp_server *s, struct str input, struct smtp_event *event)
{
    struct str line;
    enum smtp_line_result result;
    size_t used = smtp_line_feed(&s->line, input, &result, &line);
    switch (result) {
    case SMTP_LINE_MORE:
        break;
    case SMTP_LINE_DONE:
        run_command(s, line, input.len - used, event);
        break;
    case SMTP_LINE_TOO_LONG:
        smtp_refuse(s, event, SMTP_REPLY_line_too_long, STR(""));
        break;
    case SMTP_LINE_BARE_LF:
        smtp_refuse(s, event, SMTP_REPLY_bare_newline_command, STR(""));
        break;
    case SMTP_LINE_FLOOD:
        close_session(s, SMTP_REPLY_command_flood);
        break;
    }
    return used;
}

// The rest of the data is read and forgotten; the reply waits for their end.
static void refuse_data(struct smtp_server *s, enum smtp_reply reply, struct smtp_event *event)
{
    s->data_reply = reply;
    *event = (struct smtp_event){.type = SMTP_REFUSED, .reply = reply};
}

void smtp_take_piece(struct smtp_server *s, struct str piece, struct smtp_event *event)
{
    if (s->data.bare_newline && s->config->refuse_bare_newline) {
        refuse_data(s, SMTP_REPLY_bare_newline_data, event);
    } else if (piece.len > s->config->max_message - s->data_size) {
        refuse_data(s, SMTP_REPLY_too_large, event);
    } else if (piece.len > 0) {
        s->data_size += piece.len;
        event->type = SMTP_BODY;
        event->bytes = piece;
    }
}

void smtp_end_message(struct smtp_server *s, struct smtp_event *event)
{
    if (s->data_reply == SMTP_REPLY_go_ahead) {
        s->asked = event->type = SMTP_ASK_END;
        event->size = s->data_size;
        return;
    }
    s->pending = SMTP_RESET;
    answer_message(s, s->data_reply, STR(""));
}

static size_t feed_data(struct smtp_server *s, struct str input, struct smtp_event *event)
{
    size_t used = 0;
    while (event->type == SMTP_MORE && s->pending == SMTP_MORE && used < input.len) {
        struct str piece;
        bool end;
        used += smtp_data_feed(&s->data, str_skip(input, used), &piece, &end);
        if (end)
            smtp_end_message(s, event);
        else if (s->data_reply == SMTP_REPLY_go_ahead)
            smtp_take_piece(s, piece, event);
    }
    return used;
}

size_t smtp_server_feed(struct smtp_server *s, struct str input, struct smtp_event *event)
{
    size_t used = 0;
    *event = (struct smtp_event){.type = SMTP_MORE};
    while (event->type == SMTP_MORE) {
        smtp_line_drop(&s->line);
        put_end_replies(s);
        if (s->replies_left > 0) {
            event->type = SMTP_FULL;
        } else if (s->pending != SMTP_MORE) {
            event->type = s->pending;
            s->pending = SMTP_MORE;
        } else if (s->state == CLOSED) {
            *event = (struct smtp_event){.type = SMTP_CLOSE, .reply = s->closing};
            return input.len;
        } else if (s->asked != SMTP_MORE) {
            s->early |= used < input.len;
            event->type = SMTP_WAIT;
        } else if (s->in_chunk && (used < input.len || s->chunk_left == 0)) {
            used += smtp_feed_chunk(s, str_skip(input, used), event);
        } else if (used == input.len) {
            break;
        } else if (s->out.limit - s->out.len < REPLY_ROOM) {
            event->type = SMTP_FULL;
        } else if (s->state == DATA) {
            used += feed_data(s, str_skip(input, used), event);
        } else {
            used += feed_command(s, str_skip(input, used), event);
        }
    }
    return used;
}

// ---- answers

static void complete_mail(struct smtp_server *s, bool accepted)
{
    if (accepted)
        s->state = MAIL;
    else
        smtp_clear_transaction(s);
}

static void complete_rcpt(struct smtp_server *s, bool accepted)
{
    if (accepted) {
        list_append(&s->recipients, &s->candidate->link);
        s->recipient_count++;
        s->accepted++;
        s->state = RCPT;
    }
    s->candidate = NULL;
}

static void complete_data(struct smtp_server *s, enum smtp_reply reply)
{
    bool accepted = smtp_reply_code(reply) < REFUSAL;
    if (!accepted && !s->in_chunk)
        return;
    s->state = s->in_chunk ? CHUNKS : DATA;
    s->data_size = 0;
    s->data_reply = accepted ? SMTP_REPLY_go_ahead : reply;
    if (s->in_chunk)
        smtp_data_begin_counted(&s->data);
    else
        smtp_data_begin(&s->data);
}

void smtp_server_answer(struct smtp_server *s, enum smtp_reply reply, struct str detail)
{
    enum smtp_event_type asked = s->asked;
    if (!s->utf8)
        reply = smtp_reply_in_ascii(reply, detail);
    unsigned code = smtp_reply_code(reply);
    bool bdat = asked == SMTP_ASK_DATA && s->in_chunk; // its reply waits for the end of the chunk
    must(asked != SMTP_MORE);
    if (asked == SMTP_ASK_MAIL)
        s->has_id = true;
    if (asked == SMTP_ASK_DATA && !bdat && s->early) {
        close_session(s, SMTP_REPLY_early_talker);
        return;
    }
    if (code == CLOSING) {
        close_session(s, reply);
        return;
    }
    s->asked = SMTP_MORE;
    if (asked == SMTP_ASK_END) {
        answer_message(s, reply, detail);
        return;
    }
    if (!bdat)
        smtp_put_reply(s, reply, detail);
    if (asked == SMTP_ASK_MAIL)
        complete_mail(s, code < REFUSAL);
    else if (asked == SMTP_ASK_RCPT)
        complete_rcpt(s, code < REFUSAL);
    else
        complete_data(s, reply);
    if (!bdat)
        count_error(s, reply);
}
