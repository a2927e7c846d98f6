// The text behind DATA: finds its end, drops the dots that transparency added (RFC 5321 section
// 4.5.2), and makes every line end CRLF. Only CRLF.CRLF ends the data, so the end is found in the
// bytes as they came, before anything is converted (section 2.3.8: a bare CR or LF never ends a
// line; taking one for an end is how letters are smuggled).
//
// The text of BDAT (RFC 3030) is counted: no dot means anything in it, and its lines become whole
// all the same.
//
// Copies nothing: a piece is a view into the input, as long as the input allows, or static text.
#ifndef PROTO_SMTP_DATA_H
#define PROTO_SMTP_DATA_H

#include "base/str.h"

struct smtp_data {
    unsigned state;
    unsigned line_begin; // the state behind a CRLF
    bool bare_newline;   // a bare CR or LF was met, and converted
};

void smtp_data_begin(struct smtp_data *d);
// The same for the text of BDAT, whose end the caller knows.
void smtp_data_begin_counted(struct smtp_data *d);
// Consumes some of a non-empty input: the count consumed, which may be 0 when *piece is not empty.
// *piece: the next octets of the message, may be empty; of a counted text, a dot that begins a line
// begins a piece (smtp_text.c doubles it). *end: true when the end was consumed.
size_t smtp_data_feed(struct smtp_data *d, struct str input, struct str *piece, bool *end);
// Behind the last octet of a counted text: what is still held back, or nothing.
struct str smtp_data_rest(struct smtp_data *d);

#endif
