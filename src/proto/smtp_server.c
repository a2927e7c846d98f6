// One state, and a table of commands that says in which states each may come; a command out of
// order is answered by the table, so that no handler needs to ask where it stands.
//
//     START --EHLO--> READY --MAIL--> MAIL --RCPT--> RCPT (or ALL_REFUSED) --DATA--> DATA
//                       ^                                                              |
//                       +---- end of data, RSET, EHLO ---------------------------------+
//     QUIT, 421: CLOSED from everywhere
//
// A handler either does its work and writes the reply, or asks the caller by an event; then
// smtp_server_answer completes the command. The state changes only on success (RFC 5321 section
// 4.1.4).
#include "proto/smtp_server.h"

#include "base/limits.h"

enum state {
    START = 1,
    READY = 2,
    MAIL = 4,
    ALL_REFUSED = 8, // RCPT was tried, none was accepted
    RCPT = 16,
    DATA = 32,
    CLOSED = 64,
    TRANSACTION = MAIL | ALL_REFUSED | RCPT | DATA,
    GREETED = READY | MAIL | ALL_REFUSED | RCPT,
    ANY = START | GREETED,
};

// Room that one command's replies may take: EHLO's seven lines, or a refusal and a 421.
enum { REPLY_ROOM = 2048 };

enum { REFUSAL = 400, PERMANENT = 500, CLOSING = 421 };

static const struct str nothing = {"", 0};

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

static void put_reply(struct smtp_server *s, enum smtp_reply reply, struct str detail)
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
    put_reply(s, reply, nothing);
    s->state = CLOSED;
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

static void refuse(struct smtp_server *s, struct smtp_event *event, enum smtp_reply reply,
                   struct str detail)
{
    put_reply(s, reply, detail);
    *event = (struct smtp_event){.type = SMTP_REFUSED, .reply = reply};
    count_error(s, reply);
}

// ---- life

static void clear_transaction(struct smtp_server *s)
{
    arena_reset(&s->transaction);
    list_init(&s->recipients);
    s->recipient_count = 0;
    s->reverse_path = (struct address){.kind = ADDRESS_NULL};
    s->declared_size = 0;
    s->has_id = s->id_drawn = s->utf8 = s->body_8bit = false;
    s->candidate = NULL;
}

// RFC 5321 section 4.1.1.5. True when a transaction was open.
static bool reset(struct smtp_server *s)
{
    bool open = s->state & TRANSACTION;
    clear_transaction(s);
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
        put_reply(s, reply, nothing);
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
           smtp_line_empty(&s->line);
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
        refuse(s, event, SMTP_REPLY_bad_argument,
               err.class == ERR_NONE ? STR("the name is not ASCII") : err_text(&err));
        return false;
    }
    event->type = SMTP_HELO;
    if (reset(s)) {
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
    put_reply(s, SMTP_REPLY_hello, nothing);
}

static void command_ehlo(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    if (!take_host(s, args, event))
        return;
    s->esmtp = true;
    char size[32];
    snprintf(size, sizeof size, "SIZE %llu", (unsigned long long)s->config->max_message);
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, s->config->hostname);
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, STR("PIPELINING"));
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, str_of(size));
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, STR("8BITMIME"));
    smtp_reply_put_more(&s->out, SMTP_REPLY_hello, STR("SMTPUTF8"));
    put_reply(s, SMTP_REPLY_hello, STR("ENHANCEDSTATUSCODES"));
}

// ---- MAIL

// The value of a parameter is as its RFC says; without "=" value.ptr is NULL.
static bool parameter_size(struct smtp_server *s, struct str value)
{
    enum { SIZE_DIGITS = 20 }; // RFC 1870 section 6.1
    if (value.len == 0 || value.len > SIZE_DIGITS)
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return false;
    if (!str_to_u64(value, &s->declared_size))
        s->declared_size = UINT64_MAX; // 20 digits hold more than 64 bits
    return true;
}

// No BINARYMIME: it needs BDAT (RFC 3030 section 3).
static bool parameter_body(struct smtp_server *s, struct str value)
{
    s->body_8bit = str_eq_nocase(value, STR("8BITMIME"));
    return s->body_8bit || str_eq_nocase(value, STR("7BIT"));
}

static bool parameter_smtputf8(struct smtp_server *s, struct str value)
{
    s->utf8 = true;
    return value.ptr == NULL;
}

struct parameter {
    struct str keyword;
    bool (*read)(struct smtp_server *s, struct str value);
};

#define WORD(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

// clang-format off
static const struct parameter mail_parameters[] = {
    {WORD("SIZE"),     parameter_size},     // RFC 1870
    {WORD("BODY"),     parameter_body},     // RFC 6152
    {WORD("SMTPUTF8"), parameter_smtputf8}, // RFC 6531
};
// clang-format on

// One parameter of MAIL. True when it is right; *seen has a bit for each that was there before.
static bool read_parameter(struct smtp_server *s, struct str text, unsigned *seen,
                           struct smtp_event *event)
{
    size_t equals = str_index(text, '=');
    struct str keyword = str_sub(text, 0, equals);
    struct str value = equals < text.len ? str_skip(text, equals + 1) : (struct str){NULL, 0};
    for (unsigned i = 0; s->esmtp && i < ARRAY_LEN(mail_parameters); i++) {
        if (!str_eq_nocase(mail_parameters[i].keyword, keyword))
            continue;
        bool repeated = *seen & (1U << i);
        *seen |= 1U << i;
        if (!repeated && mail_parameters[i].read(s, value))
            return true;
        refuse(s, event, SMTP_REPLY_bad_argument, text);
        return false;
    }
    refuse(s, event, SMTP_REPLY_unknown_parameter, text);
    return false;
}

static bool read_parameters(struct smtp_server *s, struct str text, struct smtp_event *event)
{
    struct str one;
    unsigned seen = 0;
    while (str_cut(&text, ' ', &one))
        if (one.len > 0 && !read_parameter(s, one, &seen, event))
            return false;
    return true;
}

// "FROM:" or "TO:", and the one space behind the colon that people type, though RFC 5321
// section 3.3 has none.
static bool take_path_keyword(struct str *args, struct str keyword)
{
    if (!str_starts_nocase(*args, keyword))
        return false;
    *args = str_skip(*args, keyword.len);
    if (args->len > 0 && args->ptr[0] == ' ')
        *args = str_skip(*args, 1);
    return true;
}

static void refuse_path(struct smtp_server *s, struct smtp_event *event, enum smtp_reply syntax,
                        const struct err *err)
{
    if (err->class == ERR_TRY_LATER)
        refuse(s, event, SMTP_REPLY_no_memory, nothing);
    else if (err->code == (int)smtp_reply_code(SMTP_REPLY_bad_literal))
        refuse(s, event, SMTP_REPLY_bad_literal, nothing);
    else
        refuse(s, event, syntax, err_text(err));
}

static bool read_mail(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    struct err err = {.class = ERR_NONE};
    if (!take_path_keyword(&args, STR("FROM:"))) {
        refuse(s, event, SMTP_REPLY_bad_argument, STR("MAIL FROM:<address>"));
        return false;
    }
    // Whether SMTPUTF8 was said is known behind the path only.
    if (!address_read_path(&args, PATH_REVERSE, true, &s->transaction, &s->reverse_path, &err)) {
        refuse_path(s, event, SMTP_REPLY_bad_sender, &err);
        return false;
    }
    if (!read_parameters(s, args, event))
        return false;
    if (s->reverse_path.utf8 && !s->utf8) {
        refuse(s, event, SMTP_REPLY_bad_sender, STR("an address that is not ASCII needs SMTPUTF8"));
        return false;
    }
    return true;
}

static void command_mail(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    s->has_id = s->id_drawn;
    s->id_drawn = false;
    if (!read_mail(s, args, event)) {
        clear_transaction(s);
        return;
    }
    if (s->declared_size > s->config->max_message) {
        refuse(s, event, SMTP_REPLY_too_large, nothing);
        clear_transaction(s);
        return;
    }
    s->asked = event->type = SMTP_ASK_MAIL;
    event->address = &s->reverse_path;
    event->size = s->declared_size;
}

// ---- RCPT

static void command_rcpt(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    struct err err = {.class = ERR_NONE};
    struct address address;
    if (s->state == MAIL)
        s->state = ALL_REFUSED; // until one is accepted: DATA will say 554, not 503
    if (!take_path_keyword(&args, STR("TO:"))) {
        refuse(s, event, SMTP_REPLY_bad_argument, STR("RCPT TO:<address>"));
        return;
    }
    if (s->recipient_count >= s->config->max_recipients) {
        refuse(s, event, SMTP_REPLY_too_many_recipients, nothing);
        return;
    }
    if (!address_read_path(&args, PATH_FORWARD, s->utf8, &s->transaction, &address, &err)) {
        refuse_path(s, event, SMTP_REPLY_bad_recipient, &err);
        return;
    }
    args = str_trim_blanks(args);
    if (args.len > 0) {
        refuse(s, event, SMTP_REPLY_unknown_parameter, args);
        return;
    }
    s->candidate = ARENA_NEW(&s->transaction, struct smtp_recipient);
    if (!s->candidate) {
        refuse(s, event, SMTP_REPLY_no_memory, nothing);
        return;
    }
    s->candidate->address = address;
    s->asked = event->type = SMTP_ASK_RCPT;
    event->address = &s->candidate->address;
}

// ---- the others

static void command_data(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    (void)args;
    if (s->state == ALL_REFUSED) {
        refuse(s, event, SMTP_REPLY_no_valid_recipients, nothing);
        return;
    }
    s->early = false;
    s->asked = event->type = SMTP_ASK_DATA;
}

static void command_rset(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    (void)args;
    put_reply(s, SMTP_REPLY_ok, nothing);
    if (reset(s))
        event->type = SMTP_RESET;
}

static void command_noop(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    (void)args, (void)event;
    put_reply(s, SMTP_REPLY_ok, nothing);
}

static void command_quit(struct smtp_server *s, struct str args, struct smtp_event *event)
{
    (void)args;
    if (reset(s))
        event->type = SMTP_RESET;
    close_session(s, SMTP_REPLY_bye);
}

// ---- the table

enum flags {
    BARE = 1, // takes no argument
    // Nothing may stand behind it in the input, whatever the answer will be: text that was sent as
    // a message would be read as commands. (RFC 2920 section 3.1 wants more commands to be last in
    // their group; the others do no harm.)
    LAST = 2,
};

struct command {
    struct str verb;
    unsigned states; // in which it may come
    unsigned flags;
    void (*run)(struct smtp_server *s, struct str args, struct smtp_event *event);
    struct str otherwise; // said in a wrong state after the greeting
};

// clang-format off
static const struct command commands[] = {
    // verb          states              flags        function                             RFC 5321
    {WORD("EHLO"), ANY,                0,           command_ehlo, WORD("")},            // 4.1.1.1
    {WORD("HELO"), ANY,                0,           command_helo, WORD("")},            // 4.1.1.1
    {WORD("MAIL"), READY,              0,           command_mail,                       // 4.1.1.2
     WORD("A transaction is open; send RSET to drop it")},
    {WORD("RCPT"), MAIL | ALL_REFUSED | RCPT, 0,    command_rcpt,                       // 4.1.1.3
     WORD("Send MAIL first")},
    {WORD("DATA"), ALL_REFUSED | RCPT, BARE | LAST, command_data,                       // 4.1.1.4
     WORD("Send MAIL and RCPT first")},
    {WORD("RSET"), ANY,                BARE,        command_rset, WORD("")},            // 4.1.1.5
    {WORD("NOOP"), ANY,                0,           command_noop, WORD("")},            // 4.1.1.9
    {WORD("QUIT"), ANY,                BARE,        command_quit, WORD("")},            // 4.1.1.10
};
// clang-format on

static const struct command *find_command(struct str verb)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_eq_nocase(commands[i].verb, verb))
            return &commands[i];
    return NULL;
}

// behind: octets of input that follow the line.
static void run_command(struct smtp_server *s, struct str line, size_t behind,
                        struct smtp_event *event)
{
    size_t space = str_index(line, ' ');
    const struct command *command = find_command(str_sub(line, 0, space));
    struct str args = str_trim_blanks(str_skip(line, space));
    if (!command)
        refuse(s, event, SMTP_REPLY_unknown_command, nothing);
    else if ((command->flags & LAST) && behind > 0)
        close_session(s, SMTP_REPLY_early_talker);
    else if (!(command->states & s->state))
        refuse(s, event, SMTP_REPLY_bad_sequence,
               s->state == START ? STR("Send EHLO first") : command->otherwise);
    else if ((command->flags & BARE) && args.len > 0)
        refuse(s, event, SMTP_REPLY_bad_argument, STR("there are none for this command"));
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
        refuse(s, event, SMTP_REPLY_line_too_long, nothing);
        break;
    case SMTP_LINE_BARE_LF:
        refuse(s, event, SMTP_REPLY_bare_newline_command, nothing);
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

static void end_data(struct smtp_server *s, struct smtp_event *event)
{
    if (s->data_reply == SMTP_REPLY_go_ahead) {
        s->asked = event->type = SMTP_ASK_END;
        event->size = s->data_size;
        return;
    }
    put_reply(s, s->data_reply, nothing);
    reset(s);
    event->type = SMTP_RESET;
}

static size_t feed_data(struct smtp_server *s, struct str input, struct smtp_event *event)
{
    size_t used = 0;
    while (event->type == SMTP_MORE && used < input.len) {
        struct str piece;
        bool end;
        used += smtp_data_feed(&s->data, str_skip(input, used), &piece, &end);
        if (end) {
            end_data(s, event);
        } else if (s->data_reply != SMTP_REPLY_go_ahead) {
            continue;
        } else if (s->data.bare_newline && s->config->refuse_bare_newline) {
            refuse_data(s, SMTP_REPLY_bare_newline_data, event);
        } else if (piece.len > s->config->max_message - s->data_size) {
            refuse_data(s, SMTP_REPLY_too_large, event);
        } else if (piece.len > 0) {
            s->data_size += piece.len;
            event->type = SMTP_BODY;
            event->bytes = piece;
        }
    }
    return used;
}

size_t smtp_server_feed(struct smtp_server *s, struct str input, struct smtp_event *event)
{
    size_t used = 0;
    *event = (struct smtp_event){.type = SMTP_MORE};
    while (event->type == SMTP_MORE) {
        smtp_line_drop(&s->line);
        if (s->pending != SMTP_MORE) {
            event->type = s->pending;
            s->pending = SMTP_MORE;
        } else if (s->state == CLOSED) {
            *event = (struct smtp_event){.type = SMTP_CLOSE, .reply = s->closing};
            return input.len;
        } else if (s->asked != SMTP_MORE) {
            s->early |= used < input.len;
            event->type = SMTP_WAIT;
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
        clear_transaction(s);
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

static void complete_data(struct smtp_server *s, bool accepted)
{
    if (!accepted)
        return;
    s->state = DATA;
    s->data_size = 0;
    s->data_reply = SMTP_REPLY_go_ahead;
    smtp_data_begin(&s->data);
}

void smtp_server_answer(struct smtp_server *s, enum smtp_reply reply, struct str detail)
{
    enum smtp_event_type asked = s->asked;
    unsigned code = smtp_reply_code(reply);
    must(asked != SMTP_MORE);
    if (asked == SMTP_ASK_MAIL)
        s->has_id = true;
    if (asked == SMTP_ASK_DATA && s->early) {
        close_session(s, SMTP_REPLY_early_talker);
        return;
    }
    if (code == CLOSING) {
        close_session(s, reply);
        return;
    }
    put_reply(s, reply, detail);
    s->asked = SMTP_MORE;
    if (asked == SMTP_ASK_MAIL)
        complete_mail(s, code < REFUSAL);
    else if (asked == SMTP_ASK_RCPT)
        complete_rcpt(s, code < REFUSAL);
    else if (asked == SMTP_ASK_DATA)
        complete_data(s, code < REFUSAL);
    else
        reset(s);
    if (asked != SMTP_ASK_END)
        count_error(s, reply);
}
