// Command lines out of a stream: ended by CRLF and nothing else (RFC 5321 section 2.3.8). A line
// that lies whole in the input is not copied.
#ifndef PROTO_SMTP_LINE_H
#define PROTO_SMTP_LINE_H

#include "base/buf.h"

enum smtp_line_result {
    SMTP_LINE_MORE,     // all input consumed, no line yet
    SMTP_LINE_DONE,     // a line, without its CRLF
    SMTP_LINE_TOO_LONG, // above the limit: told once, the rest up to CRLF is discarded
    SMTP_LINE_BARE_LF,  // an LF without CR: told once, the rest up to CRLF is discarded
    SMTP_LINE_FLOOD,    // LIMIT_command_junk octets and no CRLF: close
};

struct smtp_line {
    struct buf kept; // the beginning of a line that came in pieces
    uint32_t seen;   // octets since the last line's CRLF, while discarding
    bool discarding;
    bool last_cr; // while discarding: the last octet was CR
    bool done;    // `kept` is a whole line that was given out
};

// limit: of one line, octets with CRLF.
void smtp_line_init(struct smtp_line *l, size_t limit);
void smtp_line_finish(struct smtp_line *l);
// Consumes input up to the next result: the count consumed. *line is valid until smtp_line_drop.
size_t smtp_line_feed(struct smtp_line *l, struct str input, enum smtp_line_result *result,
                      struct str *line);
// The line given out is no longer needed: its memory, if it had any, is given back.
void smtp_line_drop(struct smtp_line *l);
// True when no part of a line has come.
bool smtp_line_empty(const struct smtp_line *l);

#endif
