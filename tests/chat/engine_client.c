// The sender-SMTP for the .chat runner: what it has to send is said by the script, and only there.
//
//     @letter ADDRESS...      a letter for these; more letters of the session follow in order. When
//                             none is left the session ends with QUIT
//     @rcpt ADDRESS [NOTIFY=X] [ORCPT=X]    one more recipient of the last letter
//     @many N                 so many more: r1@x.example and so on
//     @from ADDRESS           its reverse-path; without it alice@example.test; <> is the null path
//     @flags 8bit declared utf8             its has_8bit, declared_8bit, needs_utf8
//     @ret X, @envid X        parameters of its MAIL
//     @text TEXT              its text, with the escapes of script.h; without it "Hi\r\n"
//     @fill N                 its text is so many lines of 64 octets
//     @size N                 its size, when that is not the text's
//     @slice N                texts are given in pieces of so many octets
//     @hold N                 behind so many octets no more text comes
//     @lmtp yes               LHLO
//     @idle yes               no QUIT
//
// Results: "ADDRESS OUTCOME CODE STATUS TEXT" of a recipient, OUTCOME being taken, later, failed,
// again, or unknown (later, and maybe taken); "refused OUTCOME CODE STATUS TEXT" and "closed END
// CODE STATUS TEXT" of the session. CODE 0: the words are the engine's own.
#include "engine.h"

#include "base/limits.h"
#include "proto/smtp_client.h"
#include "script.h"

enum {
    LETTER_MAX = 8,
    RECIPIENT_MAX = 1024,
    MEMORY = 4 * 1024 * 1024,
    TEXT_MAX = 1024 * 1024,
    OUTPUT_MAX = 4 * 1024 * 1024
};

struct parcel {
    struct smtp_client_letter letter;
    struct buf text;
    bool has_size;
};

struct peer {
    struct smtp_client client;
    struct smtp_client_config config;
    struct arena memory;
    struct parcel parcels[LETTER_MAX];
    size_t parcel_count;
    size_t begun;     // parcels
    size_t text_sent; // octets of the last one begun
    uint64_t slice, hold;
    bool idle, closed;
    struct buf output, results;
};

static void *open_peer(void)
{
    struct peer *p = calloc(1, sizeof *p);
    must(p != NULL);
    arena_init(&p->memory, MEMORY);
    buf_init(&p->output, OUTPUT_MAX);
    buf_init(&p->results, OUTPUT_MAX);
    p->config.hostname = STR("mail.example.test");
    p->slice = p->hold = TEXT_MAX;
    return p;
}

// ---- settings

static bool read_path(struct peer *p, struct str text, const struct address **address)
{
    struct address *fresh = ARENA_NEW(&p->memory, struct address);
    struct err err;
    must(fresh != NULL);
    *address = fresh;
    return str_eq(text, STR("<>")) ? true // zeroed is the null path
           : str_eq(text, STR("postmaster"))
               ? address_read_stored(text, PATH_FORWARD, &p->memory, fresh, &err)
               : address_read(text, &p->memory, fresh, &err);
}

static struct parcel *last_parcel(struct peer *p)
{
    return p->parcel_count > 0 ? &p->parcels[p->parcel_count - 1] : NULL;
}

static bool add_recipient(struct peer *p, struct str words)
{
    struct smtp_client_letter *letter = &last_parcel(p)->letter;
    struct smtp_client_recipient *recipient = &letter->recipients[letter->recipient_count];
    struct str word;
    if (letter->recipient_count == RECIPIENT_MAX || !str_cut(&words, ' ', &word) ||
        !read_path(p, word, &recipient->address))
        return false;
    letter->recipient_count++;
    while (str_cut(&words, ' ', &word)) {
        struct str value = str_skip(word, str_index(word, '=') + 1);
        if (str_starts(word, STR("NOTIFY=")))
            recipient->notify = value;
        else if (str_starts(word, STR("ORCPT=")))
            recipient->orcpt = value;
        else
            return false;
    }
    return true;
}

static bool add_letter(struct peer *p, struct str recipients)
{
    struct str one;
    if (p->parcel_count == LETTER_MAX)
        return false;
    struct parcel *parcel = &p->parcels[p->parcel_count++];
    buf_init(&parcel->text, TEXT_MAX);
    buf_put(&parcel->text, STR("Hi\r\n"));
    parcel->letter.recipients =
        arena_alloc_array(&p->memory, RECIPIENT_MAX, sizeof *parcel->letter.recipients);
    must(parcel->letter.recipients != NULL);
    must(read_path(p, STR("alice@example.test"), &parcel->letter.reverse_path));
    while (str_cut(&recipients, ' ', &one))
        if (!add_recipient(p, one))
            return false;
    return true;
}

static bool add_many(struct peer *p, uint64_t count)
{
    for (uint64_t i = 1; i <= count; i++) {
        char room[32];
        struct str name = STR("");
        snprintf(room, sizeof room, "r%u@x.example", (unsigned)i);
        must(arena_copy(&p->memory, str_of(room), &name));
        if (!add_recipient(p, name))
            return false;
    }
    return true;
}

static bool set_flags(struct smtp_client_letter *letter, struct str words)
{
    struct str word;
    while (str_cut(&words, ' ', &word)) {
        if (str_eq(word, STR("8bit")))
            letter->has_8bit = true;
        else if (str_eq(word, STR("declared")))
            letter->declared_8bit = true;
        else if (str_eq(word, STR("utf8")))
            letter->needs_utf8 = true;
        else
            return false;
    }
    return true;
}

static bool set_text(struct parcel *parcel, struct str text)
{
    buf_clear(&parcel->text);
    return chat_unescape(&parcel->text, text);
}

static void fill(struct parcel *parcel, uint64_t lines)
{
    buf_clear(&parcel->text);
    while (lines-- > 0)
        buf_put(&parcel->text,
                STR("12345678901234567890123456789012345678901234567890123456789012\r\n"));
}

// What belongs to the last letter.
static bool set_letter(struct peer *p, struct str name, struct str value)
{
    struct parcel *parcel = last_parcel(p);
    uint64_t number = 0;
    bool is_number = str_to_u64(value, &number);
    if (!parcel)
        return false;
    if (str_eq(name, STR("rcpt")))
        return add_recipient(p, value);
    if (str_eq(name, STR("from")))
        return read_path(p, value, &parcel->letter.reverse_path);
    if (str_eq(name, STR("flags")))
        return set_flags(&parcel->letter, value);
    if (str_eq(name, STR("text")))
        return set_text(parcel, value);
    if (str_eq(name, STR("many")))
        return is_number && add_many(p, number);
    if (str_eq(name, STR("ret")))
        parcel->letter.ret = value;
    else if (str_eq(name, STR("envid")))
        parcel->letter.envid = value;
    else if (str_eq(name, STR("fill")) && is_number)
        fill(parcel, number);
    else if (str_eq(name, STR("size")) && is_number)
        parcel->letter.size = number;
    else
        return false;
    parcel->has_size |= str_eq(name, STR("size"));
    return true;
}

static bool set_peer(void *engine, struct str name, struct str value)
{
    struct peer *p = engine;
    if (str_eq(name, STR("letter")))
        return add_letter(p, value);
    if (str_eq(name, STR("slice")))
        return str_to_u64(value, &p->slice) && p->slice > 0;
    if (str_eq(name, STR("hold")))
        return str_to_u64(value, &p->hold);
    if (str_eq(name, STR("lmtp")))
        return p->config.lmtp = str_eq(value, STR("yes"));
    if (str_eq(name, STR("idle")))
        return p->idle = str_eq(value, STR("yes"));
    return set_letter(p, name, value);
}

// ---- events

static void put_result(struct peer *p, const struct smtp_client_result *result)
{
    must(str_is_utf8(result->text) && str_index(result->text, '\n') == result->text.len);
    buf_putf(&p->results, " %u %u.%u.%u %.*s\n", result->code, result->status.class,
             result->status.subject, result->status.detail, STR_ARG(result->text));
    must(buf_ok(&p->results));
}

static const char *outcome_name(const struct smtp_client_result *result)
{
    static const char *const names[] = {
        [SMTP_CLIENT_TAKEN] = "taken",
        [SMTP_CLIENT_LATER] = "later",
        [SMTP_CLIENT_FAILED] = "failed",
        [SMTP_CLIENT_AGAIN] = "again",
    };
    must(!result->maybe_taken || result->outcome == SMTP_CLIENT_LATER);
    return result->maybe_taken ? "unknown" : names[result->outcome];
}

static void report_recipient(struct peer *p, const struct smtp_client_event *event)
{
    const struct smtp_client_letter *letter = &p->parcels[p->begun - 1].letter;
    must(event->recipient < letter->recipient_count);
    address_put(&p->results, letter->recipients[event->recipient].address);
    buf_putf(&p->results, " %s", outcome_name(&event->result));
    put_result(p, &event->result);
}

static void report_close(struct peer *p, const struct smtp_client_event *event)
{
    static const char *const names[] = {
        [SMTP_CLIENT_QUIT] = "quit",         [SMTP_CLIENT_SHUTDOWN] = "shutdown",
        [SMTP_CLIENT_LOST] = "lost",         [SMTP_CLIENT_SILENT] = "silent",
        [SMTP_CLIENT_NONSENSE] = "nonsense",
    };
    p->closed = true;
    buf_putf(&p->results, "closed %s", names[event->end]);
    put_result(p, &event->result);
}

static void begin_next(struct peer *p)
{
    if (p->begun < p->parcel_count) {
        struct parcel *parcel = &p->parcels[p->begun++];
        if (!parcel->has_size)
            parcel->letter.size = parcel->text.len;
        p->text_sent = 0;
        smtp_client_begin(&p->client, &parcel->letter);
    } else if (!p->idle) {
        smtp_client_quit(&p->client);
    }
}

// False when there is none at present.
static bool give_text(struct peer *p)
{
    struct str all = buf_str(&p->parcels[p->begun - 1].text);
    struct str text = str_skip(str_sub(all, 0, (size_t)p->hold), p->text_sent);
    if (text.len > 0)
        p->text_sent += smtp_client_text(&p->client, str_sub(text, 0, (size_t)p->slice));
    else if (p->text_sent == all.len)
        smtp_client_text_end(&p->client);
    else
        return false;
    return true;
}

// False when the engine waits for the peer, or for text.
static bool handle(struct peer *p, const struct smtp_client_event *event)
{
    switch (event->type) {
    case SMTP_CLIENT_READY:
        begin_next(p);
        break;
    case SMTP_CLIENT_REFUSED:
        buf_putf(&p->results, "refused %s", outcome_name(&event->result));
        put_result(p, &event->result);
        break;
    case SMTP_CLIENT_TEXT:
        return give_text(p);
    case SMTP_CLIENT_RESULT:
        report_recipient(p, event);
        break;
    case SMTP_CLIENT_CLOSED:
        report_close(p, event);
        return false;
    case SMTP_CLIENT_MORE:
        return p->client.out.len > 0;
    }
    return true;
}

static void feed_peer(void *engine, struct str bytes)
{
    struct peer *p = engine;
    struct smtp_client_event event;
    bool goes_on = !p->closed;
    while (goes_on) {
        bytes = str_skip(bytes, smtp_client_feed(&p->client, bytes, &event));
        goes_on = handle(p, &event);
        buf_put(&p->output, buf_str(&p->client.out));
        must(buf_ok(&p->output));
        buf_release(&p->client.out);
    }
}

static void start_peer(void *engine)
{
    struct peer *p = engine;
    smtp_client_init(&p->client, &p->config);
    feed_peer(p, STR(""));
}

static void hang_up(void *engine)
{
    struct peer *p = engine;
    smtp_client_lost(&p->client);
    feed_peer(p, STR(""));
}

static void fall_silent(void *engine)
{
    struct peer *p = engine;
    smtp_client_timed_out(&p->client);
    feed_peer(p, STR(""));
}

static struct buf *output_of(void *engine)
{
    return &((struct peer *)engine)->output;
}

static struct buf *results_of(void *engine)
{
    return &((struct peer *)engine)->results;
}

static bool is_closed(void *engine)
{
    return ((struct peer *)engine)->closed;
}

static void close_peer(void *engine)
{
    struct peer *p = engine;
    smtp_client_finish(&p->client);
    for (size_t i = 0; i < p->parcel_count; i++)
        buf_finish(&p->parcels[i].text);
    buf_finish(&p->results);
    buf_finish(&p->output);
    arena_finish(&p->memory);
    free(p);
}

const struct chat_engine chat_client = {
    .name = "client",
    .client = true,
    .open = open_peer,
    .set = set_peer,
    .start = start_peer,
    .feed = feed_peer,
    .output = output_of,
    .closed = is_closed,
    .hang_up = hang_up,
    .fall_silent = fall_silent,
    .results = results_of,
    .close = close_peer,
};
