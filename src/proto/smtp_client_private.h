// What the files of the sender's engine share, and nobody else includes.
//   smtp_client.c         the session: feeding, greeting, ends
//   smtp_client_letter.c  one transaction
#ifndef PROTO_SMTP_CLIENT_PRIVATE_H
#define PROTO_SMTP_CLIENT_PRIVATE_H

#include "base/limits.h"
#include "proto/smtp_client.h"

// Beyond this nothing is added to c->out: what one turn adds has room then.
enum { SMTP_CLIENT_FULL = LIMIT_client_output / 4 };

// The end of a command that begins at `from` in c->out; its reply is due.
void smtp_client_end_line(struct smtp_client *c, size_t from);
// What the reply that came says of recipients or session.
struct smtp_client_result smtp_client_judge(struct smtp_client *c);
// Recipients from..end who have no result yet are told this one.
void smtp_client_tell(struct smtp_client *c, uint32_t from, uint32_t end,
                      struct smtp_client_result result);
// The session is over; recipients without a result hear `result`.
void smtp_client_close(struct smtp_client *c, enum smtp_client_end end,
                       struct smtp_client_result result);
// The same: the peer broke the protocol.
void smtp_client_give_up(struct smtp_client *c, const char *why);

// Commands and replies of a transaction, for the table of smtp_client.c.
void smtp_client_write_rset(struct smtp_client *c);
void smtp_client_write_mail(struct smtp_client *c);
void smtp_client_write_rcpt(struct smtp_client *c);
void smtp_client_write_data(struct smtp_client *c);
void smtp_client_on_rset(struct smtp_client *c, bool good);
void smtp_client_on_mail(struct smtp_client *c, bool good);
void smtp_client_on_rcpt(struct smtp_client *c, bool good);
void smtp_client_on_data(struct smtp_client *c, bool good);
void smtp_client_on_chunk(struct smtp_client *c, bool good);
void smtp_client_on_end(struct smtp_client *c, bool good);

// While nothing waits to be written; true when that was the moment. A chunk goes out; all replies
// have come, so that the letter is over, or its text is due.
bool smtp_client_write_chunk(struct smtp_client *c);
bool smtp_client_settle(struct smtp_client *c);
bool smtp_client_wants_text(const struct smtp_client *c);

#endif
