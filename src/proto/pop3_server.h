// The POP3 server engine (RFC 1939; extensions of RFC 2449, 3206, 6856): bytes in, events and reply
// bytes out. No I/O, no clock. The porter runs it up to the login, the reader from there on
// (pop3_server_begin); unit tests, .chat scripts and the fuzzer run both halves in one engine.
//
//     for (;;) {
//         n = pop3_server_feed(s, input, &event);      // consumes n bytes, yields one event
//         input = str_skip(input, n);
//         switch (event.type) ...                       // MORE: wait for input
//     }
//
// Events whose name begins with POP3_ASK wait for an answer: until then the engine consumes nothing
// and feed yields POP3_WAIT. Replies gather in s->out, which the caller sends; no call lets it grow
// past its limit.
#ifndef PROTO_POP3_SERVER_H
#define PROTO_POP3_SERVER_H

#include "base/buf.h"

// The languages of LANG and the replies: proto/pop3_replies.def.
enum pop3_language {
#define POP3_LANGUAGE(tag, TAG, name) POP3_##TAG,
#include "proto/pop3_replies.def"
#undef POP3_LANGUAGE
    POP3_LANGUAGES,
};

enum pop3_reply {
#define POP3_REPLY(name, status, ...) POP3_REPLY_##name,
#include "proto/pop3_replies.def"
#undef POP3_REPLY
    POP3_REPLY_COUNT,
};

enum pop3_event_type {
    POP3_MORE,       // all input is consumed; more is needed
    POP3_WAIT,       // an answer, or a letter's body, is awaited
    POP3_FULL,       // the output is full: send it, then feed again, without new input too
    POP3_ASK_LOGIN,  // PASS, APOP: event.user, event.secret. Answer: pop3_server_begin, or
                     // wrong_login, in_use, trouble
    POP3_ASK_SIZES,  // of the letters event.letter to event.end - 1 those that are unknown are
                     // needed. Answer: their `size` is set, then pop3_server_sized
    POP3_ASK_LETTER, // RETR, TOP: event.letter. Answer: pop3_server_body_begin, or letter_gone,
                     // needs_utf8
    POP3_ASK_UPDATE, // QUIT of a logged-in user: the letters marked as deleted go now. Answer: bye,
                     // or not_removed
    POP3_CLOSE,      // send s->out, then close
};

struct pop3_event {
    enum pop3_event_type type;
    struct str user;    // views, valid until the next call
    struct str secret;  // never to be logged: the password; with `apop` the digest, 32 octets
    bool apop;          // RFC 1939 section 7: of the greeting's time stamp and the shared secret
    size_t letter, end; // indices into the letters
};

// A letter of the maildrop; its number is its index + 1.
struct pop3_letter {
    uint64_t size;    // octets with CRLF line ends, before dots are stuffed; or POP3_SIZE_UNKNOWN
    const char *uidl; // 1 to 70 octets of 0x21-0x7E
    uint8_t uidl_length;
    bool deleted; // set by DELE, cleared by RSET
};

#define POP3_SIZE_UNKNOWN UINT64_MAX

// How one session speaks. The porter hands it to the reader with the client.
struct pop3_terms {
    bool passwords;   // USER and PASS are taken: what they carry cannot be read on the way
    bool apop;        // APOP is taken
    bool utf8;        // the client said UTF8
    uint8_t language; // enum pop3_language, chosen by LANG
};

struct pop3_command;

struct pop3_server {
    struct buf out; // replies to send; the caller drops what it sent
    struct pop3_terms terms;

    // Private.
    struct pop3_letter *letters;
    size_t letter_count;
    unsigned state;
    struct buf user;
    struct buf line;    // a command line that came in pieces; wiped when done with
    size_t line_octets; // of the present line, discarded ones included
    bool discarding;    // up to the next CRLF
    bool after_cr;      // the last octet of the input, or of the body, was a CR
    bool given;         // the command that waits for sizes was given a letter: `at`
    bool in_header;     // of a body
    bool header_only;   // TOP: `lines_left` of the body after the header
    uint64_t lines_left;
    size_t body_line; // octets of the body's present line
    unsigned wrong_logins;
    unsigned errors;                   // before the login
    size_t at;                         // the letter that is asked for, or the next one of a listing
    const struct pop3_command *sizing; // waits for sizes, or NULL
};

void pop3_server_init(struct pop3_server *s, struct pop3_terms terms);
void pop3_server_finish(struct pop3_server *s);
// Writes the greeting, with its detail (host name; time stamp of greeting_apop); or, with a refusal
// such as too_many_sessions, that reply before CLOSE.
void pop3_server_greet(struct pop3_server *s, enum pop3_reply reply, struct str detail);
// The login is done: the +OK of PASS is written, TRANSACTION begins. Comes instead of greet
// (reader) or as the answer to ASK_LOGIN. The letters stay the caller's and must outlive the
// session.
void pop3_server_begin(struct pop3_server *s, struct pop3_letter *letters, size_t count);
// Consumes input up to the next event: the count consumed. Small pieces and large ones give the
// same events and replies.
size_t pop3_server_feed(struct pop3_server *s, struct str input, struct pop3_event *event);
// Answers the event that waits.
void pop3_server_answer(struct pop3_server *s, enum pop3_reply reply);
// The sizes that were asked for are set.
void pop3_server_sized(struct pop3_server *s);

// The letter that was asked for comes: the +OK of RETR or TOP.
void pop3_server_body_begin(struct pop3_server *s);
// A piece of the letter as it is on disk: LF becomes CRLF (a CRLF stays), dots are stuffed. The
// count taken: fewer when the output is full; the rest is to be given again later.
MUST_USE size_t pop3_server_body(struct pop3_server *s, struct str bytes);
// TOP has what it asked for: the rest need not be given.
bool pop3_server_body_enough(const struct pop3_server *s);
// The letter is complete: a missing last line end is added, and the end of the reply.
void pop3_server_body_end(struct pop3_server *s);

// At any time (shutdown, trouble): the reply is written where one can stand (not inside a letter,
// not into a full output); the next feed yields POP3_CLOSE.
void pop3_server_abort(struct pop3_server *s, enum pop3_reply reply);
// True when nothing is under way: a good moment to close at shutdown.
bool pop3_server_idle(const struct pop3_server *s);

#endif
