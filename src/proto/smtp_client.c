// Commands are written ahead of replies: `next` is the command to be written, `stage` the one whose
// reply comes next, `open` the number of replies that are due. Without PIPELINING a command waits
// until `open` is 0, with it a whole envelope goes at once; all else is the same.
//
//     greeting - ehlo (helo, lhlo) - ready - quit
//                                    |   ^
//       rset (a transaction is open) |   | all recipients have their results
//                                    v   |
//                                   mail - rcpt ... - data - text - end
//
// Nothing is written while input is left: a reply that comes when none is due was not asked for.
#include "proto/smtp_client_private.h"

enum { CLOSING = 421, REFUSAL = 400, PERMANENT = 500 };

// ---- writing

void smtp_client_end_line(struct smtp_client *c, size_t from)
{
    struct str line = str_skip(buf_str(&c->out), from);
    for (size_t i = 0; i < line.len; i++)
        must((unsigned char)line.ptr[i] >= 0x20 && line.ptr[i] != 0x7f);
    buf_put(&c->out, STR("\r\n"));
    must(buf_ok(&c->out));
    c->open++;
    c->waits++;
}

static void write_hello(struct smtp_client *c)
{
    static const struct str verbs[SMTP_STAGE_COUNT] = {
        [SMTP_STAGE_ehlo] = {"EHLO ", 5},
        [SMTP_STAGE_helo] = {"HELO ", 5},
        [SMTP_STAGE_lhlo] = {"LHLO ", 5},
    };
    size_t from = c->out.len;
    buf_put(&c->out, verbs[c->next]);
    buf_put(&c->out, c->config->hostname);
    smtp_client_end_line(c, from);
    c->stage = c->next;
    c->next = SMTP_STAGE_ready;
}

static void write_quit(struct smtp_client *c)
{
    size_t from = c->out.len;
    buf_put(&c->out, STR("QUIT"));
    smtp_client_end_line(c, from);
    c->stage = SMTP_STAGE_quit;
    c->next = SMTP_STAGE_ready;
}

// ---- results and ends

struct smtp_client_result smtp_client_judge(struct smtp_client *c)
{
    unsigned code = c->reply.code;
    return (struct smtp_client_result){
        .outcome = code < REFUSAL     ? SMTP_CLIENT_TAKEN
                   : code < PERMANENT ? SMTP_CLIENT_LATER
                                      : SMTP_CLIENT_FAILED,
        .code = code,
        .status = c->reply.status,
        .text = reply_parser_text(&c->reply),
    };
}

static const char *stage_text(enum smtp_stage stage)
{
    static const char *const texts[] = {
#define SMTP_STAGE(name, seconds, what) what,
#include "proto/smtp_client_stages.def"
#undef SMTP_STAGE
    };
    return texts[stage];
}

// Trouble on the way, in our own words.
static struct smtp_client_result trouble(struct smtp_client *c, struct status status,
                                         const char *what)
{
    snprintf(c->own_text, sizeof c->own_text, "%s while we waited for %s", what,
             stage_text(c->stage));
    return (struct smtp_client_result){
        .outcome = SMTP_CLIENT_LATER, .status = status, .text = str_of(c->own_text)};
}

void smtp_client_tell(struct smtp_client *c, uint32_t from, uint32_t end,
                      struct smtp_client_result result)
{
    c->tell = from;
    c->tell_end = end;
    c->verdict = result;
}

void smtp_client_close(struct smtp_client *c, enum smtp_client_end end,
                       struct smtp_client_result result)
{
    // A kept connection may have died long ago; whoever answers on a new one decides.
    if (c->letters > 0 && (c->stage == SMTP_STAGE_rset || c->stage == SMTP_STAGE_mail))
        result.outcome = SMTP_CLIENT_AGAIN;
    result.maybe_taken = c->stage == SMTP_STAGE_end && !c->over && end != SMTP_CLIENT_SHUTDOWN;
    smtp_client_tell(c, 0, c->letter ? c->letter->recipient_count : 0, result);
    c->end = end;
    c->closed = true;
}

void smtp_client_give_up(struct smtp_client *c, const char *why)
{
    smtp_client_close(c, SMTP_CLIENT_NONSENSE, trouble(c, STATUS(4, 5, 0), why));
}

void smtp_client_timed_out(struct smtp_client *c)
{
    if (!c->closed)
        smtp_client_close(c, SMTP_CLIENT_SILENT,
                          trouble(c, STATUS(4, 4, 2), "the server was silent"));
}

void smtp_client_lost(struct smtp_client *c)
{
    if (!c->closed)
        smtp_client_close(c, c->stage == SMTP_STAGE_quit ? SMTP_CLIENT_QUIT : SMTP_CLIENT_LOST,
                          trouble(c, STATUS(4, 4, 2), "the server closed the connection"));
}

// ---- replies

static void refuse_session(struct smtp_client *c)
{
    c->verdict = smtp_client_judge(c);
    c->yields_refused = true;
    c->stage = SMTP_STAGE_ready;
    c->next = SMTP_STAGE_quit;
}

static void on_greeting(struct smtp_client *c, bool good)
{
    if (good)
        c->next = c->config->lmtp ? SMTP_STAGE_lhlo : SMTP_STAGE_ehlo;
    else
        refuse_session(c);
}

// RFC 5321 sections 3.2 and 4.1.4: who refuses EHLO for good may know HELO; LMTP has no such thing.
static void on_hello(struct smtp_client *c, bool good)
{
    if (good) {
        c->stage = SMTP_STAGE_ready;
        c->yields_ready = true;
    } else if (c->stage == SMTP_STAGE_ehlo && c->reply.code >= PERMANENT) {
        c->next = SMTP_STAGE_helo;
    } else {
        refuse_session(c);
    }
}

static void on_quit(struct smtp_client *c, bool good)
{
    (void)good;
    smtp_client_close(c, SMTP_CLIENT_QUIT, smtp_client_judge(c));
}

// clang-format off
static const struct step {
    void (*write)(struct smtp_client *c);               // the command, and what comes behind it
    void (*on_reply)(struct smtp_client *c, bool good); // good: 2yz, behind DATA 3yz
} steps[SMTP_STAGE_COUNT] = {
    [SMTP_STAGE_greeting] = {NULL,                   on_greeting},
    [SMTP_STAGE_ehlo]     = {write_hello,            on_hello},
    [SMTP_STAGE_helo]     = {write_hello,            on_hello},
    [SMTP_STAGE_lhlo]     = {write_hello,            on_hello},
    [SMTP_STAGE_rset]     = {smtp_client_write_rset, smtp_client_on_rset},
    [SMTP_STAGE_mail]     = {smtp_client_write_mail, smtp_client_on_mail},
    [SMTP_STAGE_rcpt]     = {smtp_client_write_rcpt, smtp_client_on_rcpt},
    [SMTP_STAGE_data]     = {smtp_client_write_data, smtp_client_on_data},
    [SMTP_STAGE_text]     = {NULL,                   smtp_client_on_chunk},
    [SMTP_STAGE_end]      = {NULL,                   smtp_client_on_end},
    [SMTP_STAGE_quit]     = {write_quit,             on_quit},
};
// clang-format on

// A refusal before the letter's end is taken at its word: the end will not be sent.
static void take_unasked(struct smtp_client *c)
{
    if (c->reply.code == CLOSING)
        smtp_client_close(c, SMTP_CLIENT_SHUTDOWN, smtp_client_judge(c));
    else if (c->stage == SMTP_STAGE_text && c->reply.code >= REFUSAL)
        smtp_client_close(c, SMTP_CLIENT_NONSENSE, smtp_client_judge(c));
    else
        smtp_client_give_up(c, "the server spoke unasked");
}

// The first digit decides, whatever the others are (RFC 5321 section 4.2).
static void take_reply(struct smtp_client *c)
{
    unsigned class = c->reply.code / 100;
    unsigned want = c->stage == SMTP_STAGE_data ? 3 : 2;
    c->waits++;
    if (c->open == 0) {
        take_unasked(c);
        return;
    }
    c->open--;
    if (c->stage == SMTP_STAGE_quit)
        on_quit(c, true);
    else if (c->reply.code == CLOSING)
        smtp_client_close(c, SMTP_CLIENT_SHUTDOWN, smtp_client_judge(c));
    else if (class < 4 && class != want)
        smtp_client_give_up(c, "the server gave a reply that cannot stand here");
    else
        steps[c->stage].on_reply(c, class == want);
}

static void take_line(struct smtp_client *c)
{
    bool hello = c->stage == SMTP_STAGE_ehlo || c->stage == SMTP_STAGE_lhlo;
    if (hello && c->reply.code < REFUSAL && c->reply.lines > 1)
        smtp_offers_read(&c->offers, c->reply.line);
}

static size_t read_reply(struct smtp_client *c, struct str input)
{
    enum reply_parser_result result;
    size_t used = reply_parser_feed(&c->reply, input, &result);
    switch (result) {
    case REPLY_PARSER_MORE:
        break;
    case REPLY_PARSER_LINE:
        take_line(c);
        break;
    case REPLY_PARSER_DONE:
        take_line(c);
        take_reply(c);
        break;
    case REPLY_PARSER_WRONG:
        smtp_client_give_up(c, "the server sent what is no reply");
        break;
    }
    return used;
}

// ---- feeding

static bool tells(const struct smtp_client *c)
{
    return c->tell < c->tell_end;
}

// A session is ready when nothing is left that the peer said.
static bool next_event(struct smtp_client *c, bool all_read, struct smtp_client_event *event)
{
    *event = (struct smtp_client_event){.end = c->end, .result = c->verdict};
    while (tells(c)) {
        struct smtp_client_recipient *recipient = &c->letter->recipients[c->tell];
        event->type = SMTP_CLIENT_RESULT;
        event->recipient = c->tell++;
        if (!recipient->told) {
            recipient->told = true;
            return true;
        }
    }
    event->type = c->closed                     ? SMTP_CLIENT_CLOSED
                  : c->yields_refused           ? SMTP_CLIENT_REFUSED
                  : c->yields_ready && all_read ? SMTP_CLIENT_READY
                                                : SMTP_CLIENT_MORE;
    c->yields_refused &= event->type != SMTP_CLIENT_REFUSED;
    c->yields_ready &= event->type != SMTP_CLIENT_READY;
    return event->type != SMTP_CLIENT_MORE;
}

// One step that needs no word of the peer. False when there is none.
static bool advance(struct smtp_client *c)
{
    if (c->next == SMTP_STAGE_ready)
        return smtp_client_write_chunk(c) || smtp_client_settle(c);
    if ((c->open > 0 && !c->offers.pipelining) || c->out.len >= SMTP_CLIENT_FULL)
        return false;
    steps[c->next].write(c);
    return true;
}

size_t smtp_client_feed(struct smtp_client *c, struct str input, struct smtp_client_event *event)
{
    size_t used = 0;
    if (!tells(c) && !c->closed)
        reply_parser_drop(&c->reply);
    while (!next_event(c, used == input.len, event)) {
        if (used < input.len) {
            used += read_reply(c, str_skip(input, used));
        } else if (!advance(c)) {
            event->type = smtp_client_wants_text(c) ? SMTP_CLIENT_TEXT : SMTP_CLIENT_MORE;
            break;
        }
    }
    return used;
}

// ---- life

void smtp_client_init(struct smtp_client *c, const struct smtp_client_config *config)
{
    *c = (struct smtp_client){.config = config, .stage = SMTP_STAGE_greeting, .open = 1};
    c->next = SMTP_STAGE_ready;
    reply_parser_init(&c->reply);
    buf_init(&c->out, LIMIT_client_output);
    buf_init(&c->chunk, LIMIT_client_output);
}

void smtp_client_finish(struct smtp_client *c)
{
    buf_finish(&c->chunk);
    buf_finish(&c->out);
    reply_parser_finish(&c->reply);
}

void smtp_client_quit(struct smtp_client *c)
{
    must(c->stage == SMTP_STAGE_ready && c->next == SMTP_STAGE_ready && !c->letter && !c->closed);
    c->next = SMTP_STAGE_quit;
}

unsigned smtp_client_seconds(const struct smtp_client *c)
{
    static const unsigned seconds[] = {
#define SMTP_STAGE(name, seconds, what) seconds,
#include "proto/smtp_client_stages.def"
#undef SMTP_STAGE
    };
    return seconds[c->stage];
}
