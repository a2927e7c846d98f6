// The replies of a peer to whom we are the client (RFC 5321 section 4.2): hostile input of any
// length, in any pieces. What is kept of a reply is bounded; a reply without end is cut off.
//
// A line is a code of three digits, 200 to 599, then a hyphen (more lines follow), a space, or its
// end. It ends with CRLF; a bare LF is taken too, since a reply carries no letter and some servers
// write it. A line above LIMIT_peer_line is cut. All lines of a reply have one code, they are
// LIMIT_peer_lines at most, and LIMIT_peer_reply octets together.
#ifndef PROTO_REPLY_PARSER_H
#define PROTO_REPLY_PARSER_H

#include "base/buf.h"
#include "base/err.h"

enum reply_parser_result {
    REPLY_PARSER_MORE,  // all input consumed, no line yet
    REPLY_PARSER_LINE,  // a line of a reply that goes on
    REPLY_PARSER_DONE,  // the last line: code, status and reply_parser_text are set
    REPLY_PARSER_WRONG, // no reply, or one above the limits: the connection is of no more use
};

struct reply_parser {
    // Of the reply that is coming, or was given out last.
    unsigned code;
    struct status status; // RFC 3463: as the peer gave it, in its first line that has one of the
                          // code's class; else the one that follows from the code
    bool status_given;
    unsigned lines;  // that came
    struct str line; // the last one's text behind code and space; valid until the next feed

    // Private.
    struct buf kept;    // the line that comes, up to its limit
    struct buf raw;     // texts of the lines, status codes removed
    struct buf cleaned; // `raw` for people
    size_t octets;
    bool done;
};

void reply_parser_init(struct reply_parser *p);
void reply_parser_finish(struct reply_parser *p);
// Consumes input up to the next result: the count consumed. Not to be called after WRONG.
size_t reply_parser_feed(struct reply_parser *p, struct str input,
                         enum reply_parser_result *result);
// What the lines of the reply say, in one line: LIMIT_peer_text octets of it, status codes removed,
// all but printable UTF-8 escaped. Valid until reply_parser_drop, or the next feed.
struct str reply_parser_text(struct reply_parser *p);
// The reply given out is no longer needed: its memory is given back. A reply that is coming stays.
void reply_parser_drop(struct reply_parser *p);

#endif
