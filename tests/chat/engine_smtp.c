// The SMTP receiver, by SMTP and by LMTP, for the .chat runner, for unit tests and the fuzzer, with
// a directory in memory: who may be written to stands here, and only here.
//
//     @config max_message=1000         of struct smtp_server_config; also max_recipients=N,
//                                      bare_newline=refuse
//     @rcpt ADDRESS ok                 a mailbox, or what RCPT answers: a name of replies.def, and
//                                      what stands for its %s; its domain is hosted
//     @mail NAME, @data NAME, @end NAME    what MAIL, DATA, the end of data answer
#include "engine.h"

#include "base/limits.h"
#include "proto/smtp_server.h"

enum {
    MAILBOX_MAX = 16,
    MEMORY = 1024 * 1024,
    LETTER_MAX = 8 * 1024 * 1024,
    OUTPUT_MAX = 1024 * 1024
};

struct mailbox {
    struct str address; // folded
    enum smtp_reply reply;
    struct str detail;
};

struct peer {
    struct smtp_server server;
    struct smtp_server_config config;
    struct arena memory;
    struct mailbox mailboxes[MAILBOX_MAX];
    size_t mailbox_count;
    enum smtp_reply mail, data, end;
    uint8_t ids;       // given so far
    struct buf body;   // of the letter that is coming
    struct buf letter; // the last accepted
    struct buf output;
    bool closed;
};

static const char *const mailboxes[] = {
    "alice@example.test",
    "bob@example.test",
    "postmaster@example.test",
    "测试@example.test",
};

static bool find_reply(struct str name, enum smtp_reply *reply)
{
    static const char *const names[] = {
#define REPLY(name, code, class, subject, detail, text) #name,
#include "proto/replies.def"
#undef REPLY
    };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq(name, str_of(names[i]))) {
            *reply = (enum smtp_reply)i;
            return true;
        }
    }
    return false;
}

static struct str folded_key(struct peer *p, const struct address *address)
{
    struct buf key;
    struct str copy = STR("");
    buf_init(&key, 2 * LIMIT_address);
    address_put_folded(&key, address);
    must(arena_copy(&p->memory, buf_str(&key), &copy));
    buf_finish(&key);
    return copy;
}

static bool add_mailbox(struct peer *p, struct str text, enum smtp_reply reply, struct str detail)
{
    struct err err;
    struct address address;
    if (p->mailbox_count == MAILBOX_MAX || !address_read(text, &p->memory, &address, &err) ||
        !arena_copy(&p->memory, detail, &detail))
        return false;
    p->mailboxes[p->mailbox_count++] = (struct mailbox){folded_key(p, &address), reply, detail};
    return true;
}

static void *open_peer(void)
{
    struct peer *p = calloc(1, sizeof *p);
    must(p != NULL);
    arena_init(&p->memory, MEMORY);
    buf_init(&p->body, LETTER_MAX);
    buf_init(&p->letter, LETTER_MAX);
    buf_init(&p->output, OUTPUT_MAX);
    p->config = (struct smtp_server_config){
        .hostname = STR("mail.example.test"),
        .max_message = 25 * 1024 * 1024,
        .max_recipients = 1000,
    };
    p->mail = SMTP_REPLY_sender_ok;
    p->data = SMTP_REPLY_go_ahead;
    p->end = SMTP_REPLY_queued;
    for (size_t i = 0; i < ARRAY_LEN(mailboxes); i++)
        must(add_mailbox(p, str_of(mailboxes[i]), SMTP_REPLY_recipient_ok, STR("")));
    return p;
}

static void *open_lmtp(void)
{
    struct peer *p = open_peer();
    p->config.lmtp = true;
    return p;
}

static bool set_config(struct peer *p, struct str value)
{
    struct str key;
    uint64_t number;
    if (!str_cut(&value, '=', &key))
        return false;
    if (str_eq(key, STR("bare_newline"))) {
        p->config.refuse_bare_newline = str_eq(value, STR("refuse"));
        return p->config.refuse_bare_newline || str_eq(value, STR("convert"));
    }
    if (!str_to_u64(value, &number) || number == 0 || number > UINT32_MAX)
        return false;
    if (str_eq(key, STR("max_message")))
        p->config.max_message = number;
    else if (str_eq(key, STR("max_recipients")))
        p->config.max_recipients = (uint32_t)number;
    else
        return false;
    return true;
}

static bool set_mailbox(struct peer *p, struct str value)
{
    struct str address, name;
    enum smtp_reply reply = SMTP_REPLY_recipient_ok;
    return str_cut(&value, ' ', &address) && str_cut(&value, ' ', &name) &&
           (str_eq(name, STR("ok")) || find_reply(name, &reply)) &&
           add_mailbox(p, address, reply, value);
}

static bool set_peer(void *engine, struct str name, struct str value)
{
    struct peer *p = engine;
    if (str_eq(name, STR("config")))
        return set_config(p, value);
    if (str_eq(name, STR("rcpt")))
        return set_mailbox(p, value);
    if (str_eq(name, STR("mail")))
        return find_reply(value, &p->mail);
    if (str_eq(name, STR("data")))
        return find_reply(value, &p->data);
    return str_eq(name, STR("end")) && find_reply(value, &p->end);
}

// Sends: SMTP_FULL needs no more than this.
static void take_output(struct peer *p)
{
    buf_put(&p->output, buf_str(&p->server.out));
    must(buf_ok(&p->output));
    buf_clear(&p->server.out);
}

static void start_peer(void *engine)
{
    struct peer *p = engine;
    smtp_server_init(&p->server, &p->config);
    smtp_server_greet(&p->server, SMTP_REPLY_banner);
    take_output(p);
}

static bool is_hosted(const struct peer *p, struct str domain)
{
    for (size_t i = 0; i < p->mailbox_count; i++) {
        struct str address = p->mailboxes[i].address;
        if (str_eq(str_skip(address, str_rindex(address, '@') + 1), domain))
            return true;
    }
    return false;
}

// The open-relay rule in full: nothing leaves, and only known users are written to.
static enum smtp_reply judge_recipient(struct peer *p, const struct address *address,
                                       struct str *detail)
{
    *detail = STR("");
    if (address->kind == ADDRESS_POSTMASTER)
        return SMTP_REPLY_recipient_ok;
    if (address->kind != ADDRESS_DOMAIN || !is_hosted(p, address->folded_domain))
        return SMTP_REPLY_relay_denied;
    struct str key = folded_key(p, address);
    for (size_t i = p->mailbox_count; i-- > 0;)
        if (str_eq(p->mailboxes[i].address, key)) {
            *detail = p->mailboxes[i].detail;
            return p->mailboxes[i].reply;
        }
    return SMTP_REPLY_no_such_user;
}

static void end_letter(struct peer *p, const struct smtp_event *event)
{
    must(buf_ok(&p->body) && event->size == p->body.len);
    must(p->server.recipient_count > 0);
    buf_clear(&p->letter);
    if (smtp_reply_code(p->end) < 400)
        buf_put(&p->letter, buf_str(&p->body));
    smtp_server_answer(&p->server, p->end, STR(""));
}

static void handle(struct peer *p, const struct smtp_event *event)
{
    struct str detail;
    enum smtp_reply reply;
    switch (event->type) {
    case SMTP_ASK_MAIL:
        p->server.id = (struct mail_id){.bytes = {[MAIL_ID_SIZE - 1] = ++p->ids}};
        smtp_server_answer(&p->server, p->mail, STR(""));
        break;
    case SMTP_ASK_RCPT:
        reply = judge_recipient(p, event->address, &detail);
        smtp_server_answer(&p->server, reply, detail);
        break;
    case SMTP_ASK_DATA:
        buf_clear(&p->body);
        smtp_server_answer(&p->server, p->data, STR(""));
        break;
    case SMTP_BODY:
        buf_put(&p->body, event->bytes);
        break;
    case SMTP_ASK_END:
        end_letter(p, event);
        break;
    case SMTP_CLOSE:
        p->closed = true;
        break;
    case SMTP_MORE:
    case SMTP_WAIT:
    case SMTP_FULL:
    case SMTP_HELO:
    case SMTP_RESET:
    case SMTP_REFUSED:
        break;
    }
}

static void feed_peer(void *engine, struct str bytes)
{
    struct peer *p = engine;
    struct smtp_event event;
    do {
        bytes = str_skip(bytes, smtp_server_feed(&p->server, bytes, &event));
        handle(p, &event);
        take_output(p);
    } while (event.type != SMTP_MORE && event.type != SMTP_CLOSE);
}

static struct buf *output_of(void *engine)
{
    return &((struct peer *)engine)->output;
}

static bool is_closed(void *engine)
{
    return ((struct peer *)engine)->closed;
}

static struct str letter_of(void *engine)
{
    return buf_str(&((struct peer *)engine)->letter);
}

static void close_peer(void *engine)
{
    struct peer *p = engine;
    smtp_server_finish(&p->server);
    buf_finish(&p->body);
    buf_finish(&p->letter);
    buf_finish(&p->output);
    arena_finish(&p->memory);
    free(p);
}

const struct chat_engine chat_smtp = {
    .name = "smtp",
    .open = open_peer,
    .set = set_peer,
    .start = start_peer,
    .feed = feed_peer,
    .output = output_of,
    .closed = is_closed,
    .letter = letter_of,
    .close = close_peer,
};

const struct chat_engine chat_lmtp = {
    .name = "lmtp",
    .open = open_lmtp,
    .set = set_peer,
    .start = start_peer,
    .feed = feed_peer,
    .output = output_of,
    .closed = is_closed,
    .letter = letter_of,
    .close = close_peer,
};
