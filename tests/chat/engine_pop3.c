// The POP3 server for the .chat runner, before and after the login in one engine, with users and a
// maildrop in memory: they stand here, and only here.
//
//     @letters N     how many of the letters below the maildrop holds; without it all
//     @gone N        letter N can not be read
//     @update fails  the letters marked as deleted can not be removed
//     @sizes unknown until they are asked for
//     @utf8 N        letter N needs UTF8
//     @apop yes      it is offered, with the time stamp of RFC 1939's example
//     @network open  no passwords are taken
#include "engine.h"

#include "proto/pop3_server.h"

// RFC 1939 section 7.
#define TIME_STAMP "<1896.697170952@dbc.mtview.ca.us>"
#define DIGEST "c4c9334bac560ecc979e58001b3e22fb"

enum { OUTPUT_MAX = 1024 * 1024 };

static const struct user {
    const char *name, *password;
    enum pop3_reply refused; // ok: let in
} users[] = {
    {"alice", "secret", POP3_REPLY_ok},
    {"alice@example.test", "two  words ", POP3_REPLY_ok},
    {"测试@example.test", "密码 一二三", POP3_REPLY_ok},
    {"bob", "secret", POP3_REPLY_in_use},
    {"carol", "secret", POP3_REPLY_trouble},
};

static const struct stored {
    const char *disk;
    uint64_t size; // with CRLF
    const char *uidl;
} stored[] = {
    {"From: bob@example.test\nSubject: lunch\n\nAt noon?\n", 52, "1700000001.ONE_1.posthouse"},
    {"Subject: dots\n\n.\n..\nend.", 30, "1700000002.TWO_1.posthouse"},
    {"Subject: 你好\n\n。中文\n", 30, "1700000003.THREE_1.posthouse"},
};

struct peer {
    struct pop3_server server;
    struct pop3_letter letters[ARRAY_LEN(stored)];
    size_t count;
    size_t gone; // the number of a letter, or 0
    size_t utf8; // likewise
    bool update_fails;
    struct buf output;
    bool closed;
};

static void *open_peer(void)
{
    struct peer *p = calloc(1, sizeof *p);
    must(p != NULL);
    buf_init(&p->output, OUTPUT_MAX);
    p->count = ARRAY_LEN(stored);
    for (size_t i = 0; i < ARRAY_LEN(stored); i++)
        p->letters[i] = (struct pop3_letter){.size = stored[i].size,
                                             .uidl = stored[i].uidl,
                                             .uidl_length = (uint8_t)str_of(stored[i].uidl).len};
    pop3_server_init(&p->server, (struct pop3_terms){.passwords = true});
    return p;
}

static void forget_sizes(struct peer *p)
{
    for (size_t i = 0; i < ARRAY_LEN(stored); i++)
        p->letters[i].size = POP3_SIZE_UNKNOWN;
}

static bool set_word(struct peer *p, struct str name, struct str value)
{
    if (str_eq(name, STR("update")) && str_eq(value, STR("fails")))
        p->update_fails = true;
    else if (str_eq(name, STR("sizes")) && str_eq(value, STR("unknown")))
        forget_sizes(p);
    else if (str_eq(name, STR("apop")) && str_eq(value, STR("yes")))
        p->server.terms.apop = true;
    else if (str_eq(name, STR("network")) && str_eq(value, STR("open")))
        p->server.terms.passwords = false;
    else
        return false;
    return true;
}

static bool set_peer(void *engine, struct str name, struct str value)
{
    struct peer *p = engine;
    uint64_t number;
    if (!str_to_u64(value, &number))
        return set_word(p, name, value);
    if (number > ARRAY_LEN(stored))
        return false;
    if (str_eq(name, STR("letters")))
        p->count = (size_t)number;
    else if (str_eq(name, STR("gone")))
        p->gone = (size_t)number;
    else if (str_eq(name, STR("utf8")))
        p->utf8 = (size_t)number;
    else
        return false;
    return true;
}

static void take_output(struct peer *p)
{
    buf_put(&p->output, buf_str(&p->server.out));
    must(buf_ok(&p->output));
    buf_clear(&p->server.out);
}

static void start_peer(void *engine)
{
    struct peer *p = engine;
    if (p->server.terms.apop)
        pop3_server_greet(&p->server, POP3_REPLY_greeting_apop, STR(TIME_STAMP));
    else
        pop3_server_greet(&p->server, POP3_REPLY_greeting, STR("mail.example.test"));
    take_output(p);
}

static void log_in(struct peer *p, const struct pop3_event *event)
{
    enum pop3_reply reply = POP3_REPLY_wrong_login;
    if (event->apop && str_eq(event->user, STR("mrose")) && str_eq(event->secret, STR(DIGEST)))
        reply = POP3_REPLY_ok;
    for (size_t i = 0; i < ARRAY_LEN(users); i++)
        if (!event->apop && str_eq(event->user, str_of(users[i].name)) &&
            str_eq(event->secret, str_of(users[i].password)))
            reply = users[i].refused;
    if (reply == POP3_REPLY_ok)
        pop3_server_begin(&p->server, p->letters, p->count);
    else
        pop3_server_answer(&p->server, reply);
}

static void give_letter(struct peer *p, size_t letter)
{
    if (letter + 1 == p->gone) {
        pop3_server_answer(&p->server, POP3_REPLY_letter_gone);
        return;
    }
    if (letter + 1 == p->utf8 && !p->server.terms.utf8) {
        pop3_server_answer(&p->server, POP3_REPLY_needs_utf8);
        return;
    }
    struct str disk = str_of(stored[letter].disk);
    pop3_server_body_begin(&p->server);
    size_t taken = pop3_server_body(&p->server, disk);
    must(taken == disk.len || pop3_server_body_enough(&p->server));
    pop3_server_body_end(&p->server);
}

static void handle(struct peer *p, const struct pop3_event *event)
{
    switch (event->type) {
    case POP3_ASK_LOGIN:
        log_in(p, event);
        break;
    case POP3_ASK_LETTER:
        give_letter(p, event->letter);
        break;
    case POP3_ASK_SIZES:
        for (size_t i = event->letter; i < event->end; i++)
            p->letters[i].size = stored[i].size;
        pop3_server_sized(&p->server);
        break;
    case POP3_ASK_UPDATE:
        pop3_server_answer(&p->server, p->update_fails ? POP3_REPLY_not_removed : POP3_REPLY_bye);
        break;
    case POP3_CLOSE:
        p->closed = true;
        break;
    case POP3_MORE:
    case POP3_WAIT:
    case POP3_FULL:
        break;
    }
}

static void feed_peer(void *engine, struct str bytes)
{
    struct peer *p = engine;
    struct pop3_event event;
    do {
        bytes = str_skip(bytes, pop3_server_feed(&p->server, bytes, &event));
        handle(p, &event);
        take_output(p);
    } while (event.type != POP3_MORE && event.type != POP3_CLOSE);
}

static struct buf *output_of(void *engine)
{
    return &((struct peer *)engine)->output;
}

static bool is_closed(void *engine)
{
    return ((struct peer *)engine)->closed;
}

static void close_peer(void *engine)
{
    struct peer *p = engine;
    pop3_server_finish(&p->server);
    buf_finish(&p->output);
    free(p);
}

const struct chat_engine chat_pop3 = {
    .name = "pop3",
    .open = open_peer,
    .set = set_peer,
    .start = start_peer,
    .feed = feed_peer,
    .output = output_of,
    .closed = is_closed,
    .close = close_peer,
};
