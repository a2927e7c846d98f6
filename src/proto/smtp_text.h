// The text of a letter on its way out, the one writer of it: whatever the octets are, lines end
// with CRLF and nothing else does (RFC 5321 section 2.3.8), a dot that begins a line is doubled
// (section 4.5.2), and the end is CRLF.CRLF. For BDAT (RFC 3030) the same without dots and end.
#ifndef PROTO_SMTP_TEXT_H
#define PROTO_SMTP_TEXT_H

#include "base/buf.h"
#include "proto/smtp_data.h"

struct smtp_text {
    struct smtp_data lines; // makes the line ends whole
    bool dots;
    bool line_begin;
};

void smtp_text_begin(struct smtp_text *t, bool dots);
// Writes twice the octets of `text` at most, and one that was held back.
void smtp_text_put(struct smtp_text *t, struct buf *out, struct str text);
// The end: a last line without an end gets one, and where there are dots the lone one follows.
void smtp_text_end(struct smtp_text *t, struct buf *out);

#endif
