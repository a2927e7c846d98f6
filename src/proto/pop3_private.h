// What the files of the POP3 engine share: its states, its two tables of commands, the writing of
// replies. For proto/pop3_*.c only.
//
//     GREETED --USER--> NAMED --PASS--> ASKED_LOGIN --begin--> TRANSACTION --QUIT--> ASKED_UPDATE
//        |  ^             |                |  ^                |   ^   |                  |
//        |  +-------------|--- refused ----+  |  LIST, UIDL ---+   |   +-- RETR, TOP      v
//        +------- APOP ---+-------------------+  LISTING_* --------+   ASKED_LETTER     CLOSING
//                                                                  +----- BODY
//
// A command of TRANSACTION that needs sizes which are not known yet passes through ASKED_SIZES.
#ifndef PROTO_POP3_PRIVATE_H
#define PROTO_POP3_PRIVATE_H

#include "proto/pop3_server.h"

enum {
    GREETED = 1,
    NAMED = 2,
    TRANSACTION = 4,
    ASKED_LOGIN = 8,
    ASKED_SIZES = 16,
    ASKED_LETTER = 32,
    ASKED_UPDATE = 64,
    LISTING_SIZES = 128,
    LISTING_UIDLS = 256,
    BODY = 512,
    CLOSING = 1024,

    AUTHORIZATION = GREETED | NAMED,
    ASKED = ASKED_LOGIN | ASKED_SIZES | ASKED_LETTER | ASKED_UPDATE,
    LISTING = LISTING_SIZES | LISTING_UIDLS,
};

enum pop3_argument {
    NOTHING,
    TEXT,         // the rest of the line, without blanks around it
    MAYBE_TEXT,   // that, or nothing
    SECRET,       // the rest of the line after one space, as it is (RFC 1939 section 7, PASS)
    LETTER,       // the number of a letter that is there and not marked as deleted
    MAYBE_LETTER, // that, or nothing
    LETTER_LINES, // that, and a number of lines
};

// What a handler gets: text for TEXT and SECRET, letter (its index) and lines for the others.
struct pop3_parsed {
    struct str text;
    size_t letter;
    uint64_t lines;
    bool given;
};

struct pop3_command {
    struct str verb;
    unsigned states; // in which it may come
    enum pop3_argument argument;
    bool sizes; // of the letter given, or of all: they are known when it runs
    void (*run)(struct pop3_server *s, const struct pop3_parsed *argument,
                struct pop3_event *event);
};

struct pop3_table {
    const struct pop3_command *rows;
    size_t count;
};

// pop3_authorization.c: the porter's. pop3_transaction.c: the reader's.
extern const struct pop3_table pop3_authorization, pop3_transaction;
#define POP3_VERB(literal)                                                                         \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

static inline size_t pop3_room(const struct pop3_server *s)
{
    return s->out.limit - s->out.len;
}

static inline void pop3_ask(struct pop3_server *s, struct pop3_event *event, unsigned state,
                            enum pop3_event_type type)
{
    s->state = state;
    event->type = type;
}

// Writes a whole reply line, in the session's language.
void pop3_say(struct pop3_server *s, enum pop3_reply reply, struct str detail);
void pop3_say_number(struct pop3_server *s, enum pop3_reply reply, uint64_t detail);
// A refusal that counts: a stranger gets LIMIT_command_errors of them.
void pop3_say_error(struct pop3_server *s, enum pop3_reply reply);

// How many letters there are that are not marked as deleted.
void pop3_say_letters(struct pop3_server *s);
// Writes as much of the listing as there is room for; true when it is complete.
bool pop3_go_on_listing(struct pop3_server *s);

// In both tables: CAPA (RFC 2449 section 5), LANG (RFC 6856 section 3).
void pop3_capa(struct pop3_server *s, const struct pop3_parsed *argument, struct pop3_event *event);
void pop3_lang(struct pop3_server *s, const struct pop3_parsed *argument, struct pop3_event *event);

#endif
