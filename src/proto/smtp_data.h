// The text behind DATA: finds its end, drops the dots that transparency added (RFC 5321 section
// 4.5.2), and makes every line end CRLF. Only CRLF.CRLF ends the data, so the end is found in the
// bytes as they came, before anything is converted (section 2.3.8: a bare CR or LF never ends a
// line; taking one for an end is how letters are smuggled).
//
// Copies nothing: a piece is a view into the input, as long as the input allows, or static text.
#ifndef PROTO_SMTP_DATA_H
#define PROTO_SMTP_DATA_H

#include "base/str.h"

struct smtp_data {
    unsigned state;
    bool bare_newline; // a bare CR or LF was met, and converted
};

void smtp_data_begin(struct smtp_data *d);
// Consumes some of a non-empty input: the count consumed, which may be 0 when *piece is not empty.
// *piece: the next octets of the message, may be empty. *end: true when the end was consumed.
size_t smtp_data_feed(struct smtp_data *d, struct str input, struct str *piece, bool *end);

#endif
