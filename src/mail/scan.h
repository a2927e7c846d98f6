// What one pass over a message says of it: the queue runs this over its private copy, so that the
// flags are true whatever a receiver claimed.
#ifndef MAIL_SCAN_H
#define MAIL_SCAN_H

#include "base/str.h"

enum scan_flags {
    SCAN_DOT = 1,          // a line begins with a dot: must be stuffed on the way out
    SCAN_8BIT = 2,         // a byte above 127
    SCAN_LONG_LINE = 4,    // a line above 998 octets
    SCAN_NUL = 8,          // a zero octet
    SCAN_BARE = 16,        // a CR or LF alone
    SCAN_NO_END = 32,      // does not end with CRLF (an empty message lacks nothing)
    SCAN_8BIT_HEADER = 64, // a byte above 127 in the header
};

struct scan {
    unsigned flags;
    uint64_t size;        // octets so far
    uint64_t line_feeds;  // LF octets so far
    uint32_t received;    // Received fields in the header
    uint64_t header_size; // octets up to and with the empty line; all while none came
    uint32_t fields;      // of the header, up to the first line that is none
    uint64_t fields_size; // octets of them
    // private: state between pieces
    uint32_t line_length; // octets of the line so far; 0: at its beginning
    bool in_body, last_cr, last_crlf, field_matching;
    bool in_fields; // all lines so far were fields
    bool naming;    // no colon came yet in a line that is a field, or the end of them
};

void scan_begin(struct scan *s);
// Pieces in order, any cut.
void scan_feed(struct scan *s, struct str piece);
// After the last piece: settles SCAN_NO_END, and a CR or a long line at the very end.
void scan_end(struct scan *s);

#endif
