// The receiver-SMTP engine (RFC 5321): bytes in, events and reply bytes out. No I/O, no clock, no
// memory but what it is given. The same engine runs in the receiver, in unit tests, in .chat
// scripts and in the fuzzer.
//
//     do {
//         n = smtp_server_feed(s, input, &event);      // consumes n bytes, yields one event
//         input = str_skip(input, n);
//         switch (event.type) ...
//     } while (event.type is none of MORE, WAIT, FULL, CLOSE);
//
// The loop runs for new input (which may be empty), after smtp_server_answer, and after s->out was
// sent when the engine had said SMTP_FULL. Events whose name begins with SMTP_ASK wait for an
// answer: until smtp_server_answer the engine consumes nothing and feed yields SMTP_WAIT. Replies
// gather in s->out, which the caller sends; while nothing waits to be sent it should buf_release
// it, then an idle session holds no buffer but the name the client gave.
//
// Pipelining (RFC 2920): give all input that is there in one call. What stands behind DATA in the
// same input was sent before the 354: it is answered 421 4.7.0, as is what is fed while
// SMTP_ASK_DATA waits. The octets of a chunk may stand behind their BDAT (RFC 3030 section 4.2).
//
// LMTP (RFC 2033) is the same with LHLO for EHLO and HELO, and with a reply for each recipient at
// the end of the data.
#ifndef PROTO_SMTP_SERVER_H
#define PROTO_SMTP_SERVER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "mail/address.h"
#include "mail/envelope.h"
#include "mail/id.h"
#include "proto/smtp_data.h"
#include "proto/smtp_line.h"
#include "proto/smtp_reply.h"

enum smtp_event_type {
    SMTP_MORE,     // all input is consumed; more is needed
    SMTP_WAIT,     // an answer is awaited
    SMTP_FULL,     // s->out must be sent first: a client that does not read is not read either
    SMTP_HELO,     // a greeting was taken: s->helo, s->esmtp are set (no answer wanted)
    SMTP_ASK_MAIL, // MAIL: event.address is the reverse-path, event.size the declared
                   // size, 0 when there is none
    SMTP_ASK_RCPT, // RCPT: event.address
    SMTP_ASK_DATA, // DATA, or a letter's first BDAT: the envelope is complete;
                   // SMTP_REPLY_go_ahead lets the data come. DATA refused, the transaction stays
                   // open; BDAT refused, this and all chunks of the letter are
    SMTP_BODY,     // event.bytes: a piece of the message, dots unstuffed, bare CR/LF converted;
                   // a view into the input or into static text, valid until the next feed
    SMTP_ASK_END,  // end of data; event.size octets were given in all. The answer, whatever it is,
                   // ends the transaction; in LMTP it is given to each recipient
    SMTP_RESET,   // the transaction is gone (RSET, HELO, EHLO, QUIT in the middle, also between two
                  // chunks; the end of data that were refused); its fields are empty already
    SMTP_REFUSED, // refused by the engine itself: event.reply (for the event log), event.bytes the
                  // command line, empty where there is none. Data are refused as soon as it is
                  // clear (too_large, bare_newline_data): no SMTP_BODY follows, at their end the
                  // reply is written and SMTP_RESET comes
    SMTP_CLOSE,   // send s->out, then close; event.reply says why: bye, or a 421
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
    uint64_t max_message;     // octets of the message, dots unstuffed; 1 and more
    uint32_t max_recipients;  // 100 and more; beyond: 452 4.5.3
    bool refuse_bare_newline; // bare_newline: refuse
    bool lmtp;
};

struct smtp_recipient {
    struct link link;
    struct address address;
    struct envelope_wish wish; // NOTIFY, ORCPT
};

struct smtp_server {
    const struct smtp_server_config *config;
    struct buf out; // replies to send; the caller drops what it sent

    // The session so far; read-only for the caller.
    struct buf helo; // as the client said it: a domain, or a literal with its brackets
    bool esmtp;

    // The transaction, from MAIL to its end. All of it lives in `transaction`.
    struct arena transaction;
    // The queue id is drawn at MAIL. The caller sets it ahead (id and id_drawn, before it feeds,
    // when has_id is false), so that a MAIL which the engine refuses has one too; or, at the
    // latest, sets id before it answers SMTP_ASK_MAIL.
    struct mail_id id;
    bool id_drawn;  // `id` waits for the next MAIL
    bool has_id;    // `id` belongs to the MAIL that came
    bool utf8;      // SMTPUTF8
    bool body_8bit; // BODY=8BITMIME
    struct str envid;
    enum envelope_return returns; // RET
    struct address reverse_path;
    uint64_t declared_size;
    struct link recipients; // of struct smtp_recipient, accepted ones, in order
    uint32_t recipient_count;

    // Private.
    unsigned state;
    enum smtp_event_type asked;       // the question that waits for its answer, or SMTP_MORE
    enum smtp_event_type pending;     // yielded next, or SMTP_MORE
    enum smtp_reply closing;          // why, once closed
    struct smtp_recipient *candidate; // of the RCPT that is asked
    bool early;                       // input came while SMTP_ASK_DATA waited
    struct smtp_line line;
    struct smtp_data data;
    uint64_t data_size;
    uint64_t chunk_size, chunk_left; // BDAT: octets, and those that have not come
    bool in_chunk, chunk_last;
    enum smtp_reply data_reply; // go_ahead, or what the end of data will be told
    struct str data_detail;     // of it; in `transaction`
    uint32_t replies_left;      // at the end of data: so many times, to so many recipients
    uint64_t errors, accepted;  // commands refused 5yz, recipients accepted: in the session
};

void smtp_server_init(struct smtp_server *s, const struct smtp_server_config *config);
void smtp_server_finish(struct smtp_server *s);
// Writes the 220 banner, or, with a refusal such as too many connections, that reply.
void smtp_server_greet(struct smtp_server *s, enum smtp_reply reply);
// Consumes input up to the next event: the count consumed. Small pieces and large ones give the
// same events, SMTP_BODY pieces apart (their concatenation is the same).
size_t smtp_server_feed(struct smtp_server *s, struct str input, struct smtp_event *event);
// Answers the event that waits; 421 closes the session. `detail` stands where the table's text has
// a "%s" (smtp_reply_put); empty, it is what the engine knows: the queue id of `queued`, the limit
// of `too_large`, the host name in a 421. From MAIL on, refusals end in " [ID]". Where MAIL did not
// say SMTPUTF8 the reply is smtp_reply_in_ascii.
void smtp_server_answer(struct smtp_server *s, enum smtp_reply reply, struct str detail);
// 421 at any time (shutdown, time-out): the reply is written, the next feed yields SMTP_CLOSE.
void smtp_server_abort(struct smtp_server *s, enum smtp_reply reply);
// True outside a transaction and with no unfinished command: a good moment for 421 at shutdown.
bool smtp_server_idle(const struct smtp_server *s);

#endif
