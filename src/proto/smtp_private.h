// What the files of the SMTP engine share, and nobody else includes.
//   smtp_server.c   the session: feeding, answers, the table of commands
//   smtp_mail.c     MAIL and RCPT
//   smtp_dsn.c      their parameters of RFC 3461
//   smtp_bdat.c     BDAT
#ifndef PROTO_SMTP_PRIVATE_H
#define PROTO_SMTP_PRIVATE_H

#include "proto/smtp_server.h"

enum smtp_state {
    START = 1,
    READY = 2,
    MAIL = 4,
    ALL_REFUSED = 8, // RCPT was tried, none was accepted
    RCPT = 16,
    DATA = 32,
    CHUNKS = 64, // BDAT was said; commands may stand between two chunks
    CLOSED = 128,
    TRANSACTION = MAIL | ALL_REFUSED | RCPT | DATA | CHUNKS,
    GREETED = READY | MAIL | ALL_REFUSED | RCPT | CHUNKS,
    ANY = START | GREETED,
};

enum { REFUSAL = 400, PERMANENT = 500 };

#define WORD(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }

void smtp_put_reply(struct smtp_server *s, enum smtp_reply reply, struct str detail);
// Writes a refusal and yields SMTP_REFUSED; too many of them end the session.
void smtp_refuse(struct smtp_server *s, struct smtp_event *event, enum smtp_reply reply,
                 struct str detail);
void smtp_clear_transaction(struct smtp_server *s);
// RFC 5321 section 4.1.1.5. True when a transaction was open.
bool smtp_reset(struct smtp_server *s);

// Octets of the message: SMTP_BODY, or SMTP_REFUSED when they are too many or not clean. None are
// to come any more once s->data_reply is a refusal.
void smtp_take_piece(struct smtp_server *s, struct str piece, struct smtp_event *event);
// The end of the message: SMTP_ASK_END, or the reply of data that were refused, and SMTP_RESET to
// come.
void smtp_end_message(struct smtp_server *s, struct smtp_event *event);
// Data for no recipient, since all were refused.
void smtp_refuse_data(struct smtp_server *s, struct smtp_event *event);
// What a command in a wrong state is told; `otherwise` is said after the greeting, outside of
// chunks.
struct str smtp_out_of_order(const struct smtp_server *s, struct str otherwise);

// Parameters of MAIL and of RCPT: the value is as its RFC says; without "=" value.ptr is NULL.
bool smtp_parameter_ret(struct smtp_server *s, struct str value);
bool smtp_parameter_envid(struct smtp_server *s, struct str value);
bool smtp_parameter_notify(struct smtp_server *s, struct str value);
bool smtp_parameter_orcpt(struct smtp_server *s, struct str value);

// Handlers of commands: `args` is what stands behind the verb.
void smtp_command_mail(struct smtp_server *s, struct str args, struct smtp_event *event);
void smtp_command_rcpt(struct smtp_server *s, struct str args, struct smtp_event *event);
void smtp_command_bdat(struct smtp_server *s, struct str args, struct smtp_event *event);
// The octets behind BDAT, while s->in_chunk: the count consumed. Wants calling with no input too
// when all of them have come.
size_t smtp_feed_chunk(struct smtp_server *s, struct str input, struct smtp_event *event);

#endif
