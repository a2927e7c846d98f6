// What the files of the SMTP engine share, and nobody else includes.
//   smtp_server.c   the session: feeding, answers, the table of commands
//   smtp_mail.c     MAIL and RCPT
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
    CLOSED = 64,
    TRANSACTION = MAIL | ALL_REFUSED | RCPT | DATA,
    GREETED = READY | MAIL | ALL_REFUSED | RCPT,
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

// Handlers of commands: `args` is what stands behind the verb.
void smtp_command_mail(struct smtp_server *s, struct str args, struct smtp_event *event);
void smtp_command_rcpt(struct smtp_server *s, struct str args, struct smtp_event *event);

#endif
