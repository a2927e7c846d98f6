// The receiver-SMTP engine (RFC 5321): bytes in, events and reply bytes out. No I/O, no clock, no
// memory but what it is given. The same engine runs in the receiver, in unit tests, in .chat
// scripts and in the fuzzer.
//
//     while (input is left) {
//         n = smtp_server_feed(s, input, &event);      // consumes n bytes, yields one event
//         input = str_skip(input, n);
//         switch (event.type) ...                       // MORE: wait for input
//     }
//
// Events whose name begins with SMTP_ASK wait for an answer: until smtp_server_answer the engine
// consumes nothing and feed yields SMTP_WAIT. Replies gather in s->out, which the caller sends.
#ifndef PROTO_SMTP_SERVER_H
#define PROTO_SMTP_SERVER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "mail/address.h"
#include "mail/id.h"

// The replies: proto/replies.def, REPLY(name, code, class, subject, detail, text). Codes, enhanced
// codes and texts come from there and nowhere else.
enum smtp_reply {
#define REPLY(name, code, class, subject, detail, text) SMTP_REPLY_##name,
#include "proto/replies.def"
#undef REPLY
    SMTP_REPLY_COUNT,
};

enum smtp_event_type {
    SMTP_MORE,      // all input is consumed; more is needed
    SMTP_WAIT,      // an answer is awaited
    SMTP_HELO,      // a greeting was taken: s->helo, s->esmtp are set (no answer wanted)
    SMTP_ASK_MAIL,  // MAIL: event.address is the reverse-path, event.size the declared size (0: none)
    SMTP_ASK_RCPT,  // RCPT: event.address
    SMTP_ASK_DATA,  // DATA: the envelope is complete; SMTP_REPLY_go_ahead lets the data come
    SMTP_BODY,      // event.bytes: a piece of the message, dots unstuffed, bare CR/LF converted;
                    // a view into the input or into static text, valid until the next feed
    SMTP_ASK_END,   // end of data; event.size octets were given in all
    SMTP_RESET,     // the transaction is gone (RSET, HELO, EHLO, a refusal, QUIT in the middle)
    SMTP_REFUSED,   // a command was refused by the engine itself: event.reply (for the event log)
    SMTP_CLOSE,     // send s->out, then close (after QUIT, or 421)
};

struct smtp_event {
    enum smtp_event_type type;
    const struct address *address;
    struct str bytes;
    uint64_t size;
    enum smtp_reply reply;
};

struct smtp_server_config {
    struct str hostname;
    uint64_t max_message;    // octets, before dots are unstuffed is wrong: after (RFC 1870)
    uint32_t max_recipients; // 100 and more; beyond: 452 4.5.3
    bool refuse_bare_newline; // bare_newline: refuse
};

struct smtp_recipient {
    struct link link;
    struct address address;
};

struct smtp_server {
    const struct smtp_server_config *config;
    struct buf out; // replies to send; the caller drops what it sent

    // The session so far; read-only for the caller.
    struct buf helo;
    bool esmtp;

    // The transaction, from MAIL to its end. All of it lives in `transaction`.
    struct arena transaction;
    struct mail_id id; // set by the caller before it answers SMTP_ASK_MAIL
    bool has_id;
    struct address reverse_path;
    uint64_t declared_size;
    bool utf8;         // SMTPUTF8
    bool body_8bit;    // BODY=8BITMIME
    struct link recipients; // of struct smtp_recipient, accepted ones, in order
    uint32_t recipient_count;

    // Private.
    unsigned state;
    unsigned asked;
    struct buf line; // a command line that came in pieces
    struct smtp_data {
        unsigned state;
        uint64_t size;
        bool too_large, bare_newline;
    } data;
    unsigned errors;
    unsigned refused_recipients;
    uint64_t junk;
};

void smtp_server_init(struct smtp_server *s, const struct smtp_server_config *config);
void smtp_server_finish(struct smtp_server *s);
// Writes the 220 banner, or, with a refusal such as too many connections, that reply.
void smtp_server_greet(struct smtp_server *s, enum smtp_reply reply);
// Consumes input up to the next event: the count consumed. Small pieces and large ones give the same
// events, SMTP_BODY pieces apart (their concatenation is the same).
size_t smtp_server_feed(struct smtp_server *s, struct str input, struct smtp_event *event);
// Answers the event that waits. `detail` is put behind the table's text where the row has a "%s"
// (escaped, clipped to the reply line's limit). From MAIL on, refusals end in " [ID]".
void smtp_server_answer(struct smtp_server *s, enum smtp_reply reply, struct str detail);
// 421 at any time (shutdown, time-out): the reply is written, the next feed yields SMTP_CLOSE.
void smtp_server_abort(struct smtp_server *s, enum smtp_reply reply);
// True outside a transaction and with no unfinished command: a good moment for 421 at shutdown.
bool smtp_server_idle(const struct smtp_server *s);

// Code and text of a reply, for the event log.
unsigned smtp_reply_code(enum smtp_reply reply);
struct status smtp_reply_status(enum smtp_reply reply);
const char *smtp_reply_text(enum smtp_reply reply);
// The reply for an error: TRY_LATER gives 451/452 by status, others the nearest 5yz row.
enum smtp_reply smtp_reply_of(const struct err *err);

#endif
