// The sender-SMTP engine (RFC 5321), which speaks LMTP (RFC 2033) too: the peer's bytes in, events
// and command bytes out. No I/O, no clock: it names the deadline that it waits under, and is told
// when it has passed. The peer's replies are hostile input.
//
//     do {
//         n = smtp_client_feed(c, input, &event);      // consumes n bytes, yields one event
//         input = str_skip(input, n);
//         switch (event.type) ...
//     } while (event.type is neither MORE nor CLOSED, nor TEXT when there is none at present);
//
// The loop runs for new input, and with empty input at the start, after each call below, and when
// c->out was sent; the caller drops from c->out what it sent, and buf_releases it when it is empty.
// After SMTP_CLIENT_CLOSED the caller closes the connection.
//
// One letter at a time. Each of its recipients gets one SMTP_CLIENT_RESULT; the letter is over when
// all have theirs. What comes then is SMTP_CLIENT_READY for the next, or SMTP_CLIENT_CLOSED, in
// good order where the peer takes no more letters in a session (RFC 9422). A transaction that is
// still open is dropped with RSET before the next.
#ifndef PROTO_SMTP_CLIENT_H
#define PROTO_SMTP_CLIENT_H

#include "base/buf.h"
#include "mail/address.h"
#include "proto/reply_parser.h"
#include "proto/smtp_offers.h"
#include "proto/smtp_text.h"

enum smtp_stage {
#define SMTP_STAGE(name, seconds, what) SMTP_STAGE_##name,
#include "proto/smtp_client_stages.def"
#undef SMTP_STAGE
    SMTP_STAGE_COUNT,
};

enum smtp_client_event_type {
    SMTP_CLIENT_MORE,    // all input is consumed, nothing to do but to send c->out and to read
    SMTP_CLIENT_READY,   // smtp_client_begin or smtp_client_quit; told once
    SMTP_CLIENT_REFUSED, // the peer takes no letters from us: event.result says why. QUIT follows
                         // by itself, and SMTP_CLIENT_CLOSED, for which nobody needs to wait
    SMTP_CLIENT_TEXT,    // the letter's text is wanted: smtp_client_text or smtp_client_text_end
    SMTP_CLIENT_RESULT,  // event.recipient has its result
    SMTP_CLIENT_CLOSED,  // the session is over: event.end, event.result
};

enum smtp_client_outcome {
    SMTP_CLIENT_TAKEN,
    SMTP_CLIENT_LATER,  // 4yz, or trouble on the way
    SMTP_CLIENT_FAILED, // 5yz, or the peer lacks what the letter needs
    SMTP_CLIENT_AGAIN,  // was not tried, and may be at once: the peer takes no more recipients in
                        // this transaction, or a kept connection was found dead at MAIL
};

struct smtp_client_result {
    enum smtp_client_outcome outcome;
    bool maybe_taken;     // LATER: the letter had gone and the reply was lost; it may come twice
    unsigned code;        // the peer's; 0: the words are ours
    struct status status; // the peer's, or what its code means
    struct str text;      // one line of printable UTF-8, LIMIT_peer_text octets before octets were
                          // escaped; valid until the next call
};

enum smtp_client_end {
    SMTP_CLIENT_QUIT,     // in good order
    SMTP_CLIENT_SHUTDOWN, // 421
    SMTP_CLIENT_LOST,     // the peer closed
    SMTP_CLIENT_SILENT,   // a deadline passed
    SMTP_CLIENT_NONSENSE, // what came is no reply, or none that was asked for
};

struct smtp_client_event {
    enum smtp_client_event_type type;
    uint32_t recipient; // its index in the letter
    enum smtp_client_end end;
    struct smtp_client_result result;
};

struct smtp_client_config {
    struct str hostname; // for EHLO, HELO, LHLO
    bool lmtp;
};

enum smtp_rcpt_state { SMTP_RCPT_UNSENT, SMTP_RCPT_SENT, SMTP_RCPT_ACCEPTED, SMTP_RCPT_REFUSED };

struct smtp_client_recipient {
    const struct address *address;
    // Parameters of RCPT as they are written there (RFC 3461), or empty. Left out where the peer
    // does not offer DSN.
    struct str notify, orcpt;

    // Private.
    enum smtp_rcpt_state state;
    bool told;
};

// Lives, with all that it points to, until the last result. Everything in it was checked before:
// a control character is a bug of ours.
struct smtp_client_letter {
    const struct address *reverse_path;
    struct str ret, envid; // parameters of MAIL (RFC 3461), likewise
    uint64_t size;         // octets of the text
    bool has_8bit;         // octets above 127 are in it
    bool declared_8bit;    // it came with BODY=8BITMIME: may not go unchanged where that is lacking
    bool needs_utf8;       // its header is UTF-8, or what it came with asks for SMTPUTF8. Of its
                           // addresses the engine knows by itself
    struct smtp_client_recipient *recipients;
    uint32_t recipient_count; // 1 and more
};

struct smtp_client {
    const struct smtp_client_config *config;
    struct buf out; // to send; the caller drops what it sent

    // Read-only for the caller.
    struct smtp_offers offers; // none after HELO
    enum smtp_stage stage;     // what the peer is to say next
    uint64_t waits; // the deadline begins anew when this has changed, and only then: a peer that
                    // drips gains no time. While text is sent, when some of it has gone too

    // Private.
    struct reply_parser reply;
    enum smtp_stage next; // the command to be written next, or ready: none
    uint32_t open;        // replies that are due for what was written
    bool yields_ready, yields_refused, closed;
    bool dirty;       // a transaction may be open at the peer
    uint32_t letters; // of this session: MAIL commands that were answered

    struct smtp_client_letter *letter; // NULL: none
    bool utf8, chunked;                // how it goes
    bool over;                         // nothing more of it goes out
    bool text_ended;
    uint32_t to_write, to_answer;        // recipients: whose RCPT, whose reply comes next
    uint32_t sent, unanswered, accepted; // counts of RCPT
    struct smtp_text text;
    struct buf chunk;

    uint32_t tell, tell_end; // recipients to be told `verdict`, those who have not heard
    struct smtp_client_result verdict;
    enum smtp_client_end end;
    char own_text[160];
};

void smtp_client_init(struct smtp_client *c, const struct smtp_client_config *config);
void smtp_client_finish(struct smtp_client *c);
size_t smtp_client_feed(struct smtp_client *c, struct str input, struct smtp_client_event *event);

// After SMTP_CLIENT_READY.
void smtp_client_begin(struct smtp_client *c, struct smtp_client_letter *letter);
void smtp_client_quit(struct smtp_client *c);

// After SMTP_CLIENT_TEXT: the next octets of the letter, or its end. How many were taken: all, or
// fewer when c->out must be sent first. Where the text cannot be had, close the connection: without
// the end the peer takes no letter.
size_t smtp_client_text(struct smtp_client *c, struct str text);
void smtp_client_text_end(struct smtp_client *c);

// The seconds that c->stage may last; 0: as long as the caller likes.
unsigned smtp_client_seconds(const struct smtp_client *c);
// That time has passed; the peer has closed (after its last bytes were fed).
void smtp_client_timed_out(struct smtp_client *c);
void smtp_client_lost(struct smtp_client *c);

#endif
