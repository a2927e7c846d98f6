// One transaction: MAIL, RCPT, then DATA or BDAT.
//
// A letter of LIMIT_chunked_letter and more goes by BDAT where CHUNKING is offered: a peer that
// does not want it says so behind a chunk, not behind all of it. Below that a chunk would gain
// nothing: DATA ends the envelope's group (RFC 2920), costs no round trip more, and is what every
// server understands best. The first chunk waits for the replies to RCPT, so that an envelope that
// is refused costs no text. LAST waits for the replies to all other chunks, so that a letter that
// lost one can never be taken.
#include "proto/smtp_client_private.h"

// ---- what the peer lacks

// A domain has an ASCII form; a local part has none (RFC 6531 section 3.2).
static bool needs_utf8(const struct address *address)
{
    return !str_is_ascii(address->local);
}

static bool some_need_utf8(const struct smtp_client_letter *letter)
{
    for (uint32_t i = 0; i < letter->recipient_count; i++)
        if (needs_utf8(letter->recipients[i].address))
            return true;
    return false;
}

static bool all_need_utf8(const struct smtp_client_letter *letter)
{
    for (uint32_t i = 0; i < letter->recipient_count; i++)
        if (!needs_utf8(letter->recipients[i].address))
            return false;
    return true;
}

static struct smtp_client_result lacking(uint16_t subject, uint16_t detail, struct str text)
{
    return (struct smtp_client_result){
        .outcome = SMTP_CLIENT_FAILED, .status = STATUS(5, subject, detail), .text = text};
}

static struct smtp_client_result lacks_utf8(void)
{
    return lacking(6, 7, STR("the server does not take addresses and headers in UTF-8"));
}

// True when nobody can get the letter by this session: *why, without a word to the peer.
static bool cannot_go(const struct smtp_client *c, struct smtp_client_result *why)
{
    const struct smtp_client_letter *letter = c->letter;
    if (c->offers.max_message > 0 && letter->size > c->offers.max_message)
        *why = lacking(3, 4, STR("the letter is larger than the server takes"));
    else if (letter->declared_8bit && letter->has_8bit && !c->offers.eight_bit)
        *why = lacking(6, 3, STR("the server does not take 8-bit text"));
    else if (!c->offers.utf8 &&
             (letter->needs_utf8 || needs_utf8(letter->reverse_path) || all_need_utf8(letter)))
        *why = lacks_utf8();
    else
        return false;
    return true;
}

// ---- begin and end

void smtp_client_begin(struct smtp_client *c, struct smtp_client_letter *letter)
{
    struct smtp_client_result why;
    must(c->stage == SMTP_STAGE_ready && c->next == SMTP_STAGE_ready && !c->letter && !c->closed);
    must(letter->recipient_count > 0);
    for (uint32_t i = 0; i < letter->recipient_count; i++) {
        letter->recipients[i].state = SMTP_RCPT_UNSENT;
        letter->recipients[i].told = false;
    }
    c->letter = letter;
    c->over = c->text_ended = false;
    c->to_write = c->to_answer = c->sent = c->unanswered = c->accepted = 0;
    c->utf8 = c->offers.utf8 &&
              (letter->needs_utf8 || needs_utf8(letter->reverse_path) || some_need_utf8(letter));
    c->chunked = c->offers.chunking && letter->size >= LIMIT_chunked_letter;
    if (cannot_go(c, &why)) {
        c->over = true;
        smtp_client_tell(c, 0, letter->recipient_count, why);
    } else {
        c->next = c->stage = c->dirty ? SMTP_STAGE_rset : SMTP_STAGE_mail;
    }
}

static void end_letter(struct smtp_client *c)
{
    bool enough = c->offers.max_letters > 0 && c->letters >= c->offers.max_letters;
    c->letter = NULL;
    c->stage = SMTP_STAGE_ready;
    buf_release(&c->chunk);
    if (enough)
        c->next = SMTP_STAGE_quit;
    else
        c->yields_ready = true;
}

// For all who have no result yet. The replies that are due come all the same.
static void fail(struct smtp_client *c)
{
    c->over = true;
    c->next = SMTP_STAGE_ready;
    smtp_client_tell(c, 0, c->letter->recipient_count, smtp_client_judge(c));
}

// ---- MAIL

static void put_path(struct smtp_client *c, const struct address *address)
{
    struct address path = *address;
    if (!c->utf8 && !str_is_ascii(path.domain))
        path.domain = path.folded_domain;
    buf_put_byte(&c->out, '<');
    address_put(&c->out, &path);
    buf_put_byte(&c->out, '>');
}

static void put_parameter(struct smtp_client *c, struct str keyword, struct str value)
{
    if (value.len == 0)
        return;
    buf_put(&c->out, keyword);
    buf_put(&c->out, value);
}

void smtp_client_write_rset(struct smtp_client *c)
{
    size_t from = c->out.len;
    buf_put(&c->out, STR("RSET"));
    smtp_client_end_line(c, from);
    c->next = SMTP_STAGE_mail;
}

void smtp_client_write_mail(struct smtp_client *c)
{
    const struct smtp_client_letter *letter = c->letter;
    size_t from = c->out.len;
    buf_put(&c->out, STR("MAIL FROM:"));
    put_path(c, letter->reverse_path);
    if (c->offers.size)
        buf_putf(&c->out, " SIZE=%llu", (unsigned long long)letter->size);
    if (c->offers.eight_bit && letter->has_8bit)
        buf_put(&c->out, STR(" BODY=8BITMIME"));
    if (c->utf8)
        buf_put(&c->out, STR(" SMTPUTF8"));
    if (c->offers.dsn) {
        put_parameter(c, STR(" RET="), letter->ret);
        put_parameter(c, STR(" ENVID="), letter->envid);
    }
    smtp_client_end_line(c, from);
    c->dirty = true;
    c->next = SMTP_STAGE_rcpt;
}

void smtp_client_on_rset(struct smtp_client *c, bool good)
{
    c->stage = SMTP_STAGE_mail;
    if (!good)
        smtp_client_give_up(c, "the server refused RSET");
}

void smtp_client_on_mail(struct smtp_client *c, bool good)
{
    c->letters++;
    c->stage = SMTP_STAGE_rcpt;
    if (!good)
        fail(c);
}

// ---- RCPT

static void no_more_recipients(struct smtp_client *c)
{
    snprintf(c->own_text, sizeof c->own_text, "the server takes %u recipients at a time",
             c->offers.max_recipients);
    smtp_client_tell(c, c->to_write, c->letter->recipient_count,
                     (struct smtp_client_result){.outcome = SMTP_CLIENT_AGAIN,
                                                 .status = STATUS(4, 5, 3),
                                                 .text = str_of(c->own_text)});
    c->next = SMTP_STAGE_data;
}

void smtp_client_write_rcpt(struct smtp_client *c)
{
    size_t from = c->out.len;
    uint32_t at = c->to_write;
    if (at == c->letter->recipient_count) {
        c->next = SMTP_STAGE_data;
        return;
    }
    if (c->offers.max_recipients > 0 && c->sent == c->offers.max_recipients) {
        no_more_recipients(c);
        return;
    }
    c->to_write++;
    struct smtp_client_recipient *recipient = &c->letter->recipients[at];
    if (!c->utf8 && needs_utf8(recipient->address)) {
        smtp_client_tell(c, at, at + 1, lacks_utf8());
        return;
    }
    buf_put(&c->out, STR("RCPT TO:"));
    put_path(c, recipient->address);
    if (c->offers.dsn) {
        put_parameter(c, STR(" NOTIFY="), recipient->notify);
        if (c->utf8 || str_is_ascii(recipient->orcpt))
            put_parameter(c, STR(" ORCPT="), recipient->orcpt);
    }
    smtp_client_end_line(c, from);
    recipient->state = SMTP_RCPT_SENT;
    c->sent++;
    c->unanswered++;
}

// RFC 5321 section 4.5.3.1.10: the rest goes in another transaction. Some servers say 552 for it,
// as RFC 821 did; before a hundred were accepted, or with a status that means else, that is a
// refusal.
static bool too_many_recipients(const struct smtp_client *c)
{
    enum { COMMON = 100 };
    const struct reply_parser *reply = &c->reply;
    struct status status = reply->status_given ? reply->status : STATUS(0, 0, 0);
    if (c->accepted == 0)
        return false;
    if (status.subject == 5 && status.detail == 3)
        return true;
    bool space = status.subject == 2 || (status.subject == 3 && status.detail == 4);
    return c->accepted >= COMMON && (reply->code == 452 || reply->code == 552) && !space;
}

void smtp_client_on_rcpt(struct smtp_client *c, bool good)
{
    uint32_t at = c->to_answer;
    while (c->letter->recipients[at].state != SMTP_RCPT_SENT)
        at++;
    c->to_answer = at + 1;
    c->unanswered--;
    if (good) {
        c->letter->recipients[at].state = SMTP_RCPT_ACCEPTED;
        c->accepted++;
    } else {
        struct smtp_client_result result = smtp_client_judge(c);
        if (too_many_recipients(c))
            result.outcome = SMTP_CLIENT_AGAIN;
        c->letter->recipients[at].state = SMTP_RCPT_REFUSED;
        smtp_client_tell(c, at, at + 1, result);
    }
    if (c->unanswered == 0 && c->open > 0)
        c->stage = SMTP_STAGE_data;
}

// ---- the text

static void begin_text(struct smtp_client *c)
{
    smtp_text_begin(&c->text, !c->chunked);
    c->stage = SMTP_STAGE_text;
    c->waits++;
}

// RFC 2033 section 4.2: in LMTP a reply for each recipient that was accepted.
static void await_end(struct smtp_client *c)
{
    c->stage = SMTP_STAGE_end;
    c->open = c->config->lmtp ? c->accepted : 1;
    c->to_answer = 0;
    c->waits++;
}

void smtp_client_write_data(struct smtp_client *c)
{
    size_t from = c->out.len;
    bool last_word = c->open == 0;
    c->next = SMTP_STAGE_ready;
    if (c->chunked || (last_word && c->accepted == 0))
        return;
    buf_put(&c->out, STR("DATA"));
    smtp_client_end_line(c, from);
    if (last_word)
        c->stage = SMTP_STAGE_data;
}

// Where all recipients were refused the peer may say 354 all the same, and gets a letter of nothing
// for nobody (RFC 2920 section 3.1). With recipients who wait for another letter, and in LMTP,
// whose replies could not be counted, that would not be nothing.
void smtp_client_on_data(struct smtp_client *c, bool good)
{
    if (!good) {
        fail(c);
    } else if (!c->over && c->accepted > 0) {
        begin_text(c);
    } else if (c->accepted > 0 || c->config->lmtp) {
        smtp_client_give_up(c, "the server wants a letter though it refused it");
    } else {
        c->over = true;
        buf_put(&c->out, STR(".\r\n"));
        await_end(c);
    }
}

bool smtp_client_wants_text(const struct smtp_client *c)
{
    return c->stage == SMTP_STAGE_text && !c->over && !c->text_ended &&
           c->out.len < SMTP_CLIENT_FULL && c->chunk.len < SMTP_CLIENT_FULL;
}

size_t smtp_client_text(struct smtp_client *c, struct str text)
{
    if (!smtp_client_wants_text(c))
        return 0;
    text = str_sub(text, 0, SMTP_CLIENT_FULL / 2);
    struct buf *to = c->chunked ? &c->chunk : &c->out;
    smtp_text_put(&c->text, to, text);
    must(buf_ok(to));
    c->waits++;
    return text.len;
}

void smtp_client_text_end(struct smtp_client *c)
{
    struct buf *to = c->chunked ? &c->chunk : &c->out;
    must(c->stage == SMTP_STAGE_text && !c->over && !c->text_ended);
    smtp_text_end(&c->text, to);
    must(buf_ok(to));
    c->text_ended = true;
    if (!c->chunked)
        await_end(c);
}

bool smtp_client_write_chunk(struct smtp_client *c)
{
    bool due = c->text_ended
                   ? c->open == 0
                   : c->chunk.len >= SMTP_CLIENT_FULL && (c->open == 0 || c->offers.pipelining);
    if (c->stage != SMTP_STAGE_text || !c->chunked || c->over || !due ||
        c->out.len >= SMTP_CLIENT_FULL)
        return false;
    buf_putf(&c->out, "BDAT %zu%s\r\n", c->chunk.len, c->text_ended ? " LAST" : "");
    buf_put(&c->out, buf_str(&c->chunk));
    must(buf_ok(&c->out));
    buf_clear(&c->chunk);
    c->open++;
    c->waits++;
    if (c->text_ended)
        await_end(c);
    return true;
}

void smtp_client_on_chunk(struct smtp_client *c, bool good)
{
    if (!good)
        fail(c);
}

void smtp_client_on_end(struct smtp_client *c, bool good)
{
    (void)good;
    uint32_t from = 0, end = c->letter->recipient_count;
    if (c->config->lmtp) {
        while (c->letter->recipients[c->to_answer].state != SMTP_RCPT_ACCEPTED)
            c->to_answer++;
        from = c->to_answer++;
        end = from + 1;
    }
    if (c->open == 0) {
        c->over = true;
        c->dirty = false;
        c->stage = SMTP_STAGE_ready;
    }
    smtp_client_tell(c, from, end, smtp_client_judge(c));
}

bool smtp_client_settle(struct smtp_client *c)
{
    if (!c->letter || c->open > 0)
        return false;
    bool refused = c->stage == SMTP_STAGE_rcpt && c->accepted == 0;
    if (c->over || refused)
        end_letter(c);
    else if (c->stage == SMTP_STAGE_rcpt)
        begin_text(c);
    else
        return false;
    return true;
}
