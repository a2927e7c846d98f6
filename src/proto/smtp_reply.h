// The replies of the SMTP receiver: codes, enhanced codes (RFC 3463) and texts come from
// proto/replies.def and nowhere else.
#ifndef PROTO_SMTP_REPLY_H
#define PROTO_SMTP_REPLY_H

#include "base/buf.h"
#include "base/err.h"
#include "mail/id.h"

enum smtp_reply {
#define REPLY(name, code, class, subject, detail, text) SMTP_REPLY_##name,
#include "proto/replies.def"
#undef REPLY
    SMTP_REPLY_COUNT,
};

// Code and text of a reply, for the event log.
unsigned smtp_reply_code(enum smtp_reply reply);
struct status smtp_reply_status(enum smtp_reply reply);
const char *smtp_reply_text(enum smtp_reply reply);
// The reply for an error: the row with its status; without one, 451 for local and passing trouble,
// 554 for what will not change.
enum smtp_reply smtp_reply_of(const struct err *err);

// The reply to who did not say SMTPUTF8 where the one meant would show an address beyond ASCII
// (RFC 6531 section 3.7.4.1); any other reply itself.
enum smtp_reply smtp_reply_in_ascii(enum smtp_reply reply, struct str detail);

// Writes one reply line. `detail` stands where the row has "%s": printable ASCII as it is, and the
// address of 251 and 551 in UTF-8; all else as \xNN (RFC 5321 section 4.2 allows no more), clipped
// so that the line keeps LIMIT_reply_line. With an id the line ends in " [ID]".
void smtp_reply_put(struct buf *out, enum smtp_reply reply, struct str detail,
                    const struct mail_id *id);
// One more line of a reply of several (RFC 5321 section 4.2.1): "CODE-TEXT".
void smtp_reply_put_more(struct buf *out, enum smtp_reply reply, struct str text);

#endif
