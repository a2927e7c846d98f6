// What the tests of the POP3 engine share: a maildrop, and a session that answers the engine's
// questions from it. Each dialogue is run whole, byte by byte, cut at every CRLF, and whole with an
// output that is sent only when the engine says that it is full.
#ifndef POP3_TALK_H
#define POP3_TALK_H

#include "../check.h"
#include "proto/pop3_server.h"

#define GREETING "+OK mail.example.test POP3 Posthouse\r\n"
#define WELCOME GREETING "+OK Send PASS\r\n+OK 3 letters\r\n"
#define LOGIN "USER alice\r\nPASS secret\r\n"
#define LAST "QUIT\r\n"
#define BYE "+OK Bye\r\n"
// Of APOP: that of RFC 1939 section 7.
#define DIGEST "c4c9334bac560ecc979e58001b3e22fb"
#define X40 "0123456789012345678901234567890123456789"

// STR is no constant expression; this is, for the tables.
#define T(literal)                                                                                 \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

enum { ALL = 1 << 20 };

enum cut { WHOLE, BYTES, LINES, SLOW, CUTS };

enum { TALK_LETTERS = 3 };
struct talk_letter {
    const char *disk;
    uint64_t size; // as RETR gives it
    const char *uidl;
};
extern const struct talk_letter talk_letters[TALK_LETTERS];

// One session: the engine, what it said, and what it asked.
struct talk {
    struct pop3_server engine;
    struct pop3_letter letters[TALK_LETTERS];
    struct buf said;
    struct buf asked; // a word for each event
    size_t body_piece;
    bool slow;
    bool closed;
    enum pop3_reply refuse_letter, refuse_update; // 0: granted (0 is the greeting)
};

void talk_init(struct talk *t);
void talk_finish(struct talk *t);
void talk_feed(struct talk *t, struct str input, enum cut cut);
// The greeting, then the input.
void talk_run(struct talk *t, struct str input, enum cut cut);

struct dialogue {
    const char *name;
    struct str input;
    struct str output;
    const char *asked;
    bool closed;
};

// Input and output of one dialogue, in the four cuts.
void check_dialogue(const struct dialogue *d);
// What a client reads back: dots unstuffed, up to the end; what is left stays in *wire.
void unstuff(struct str *wire, struct buf *letter);
void assert_str(struct str got, struct str want);

#endif
