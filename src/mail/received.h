// The trace field that this server adds, RFC 5321 section 4.4, and Return-Path, Delivered-To.
#ifndef MAIL_RECEIVED_H
#define MAIL_RECEIVED_H

#include "base/buf.h"
#include "mail/address.h"
#include "mail/id.h"

struct received {
    struct str helo;         // what the client said; checked domain or literal, or empty
    struct str reverse_name; // forward-confirmed name of the client's address, or empty
    struct str ip;           // the client's address as text
    bool ipv6;
    struct str by;                     // our host name
    bool esmtp, tls, auth, utf8, lmtp; // choose the "with" keyword, RFC 3848 and 6531
    struct str helo_mark; // "own-name", "localhost", ...: comment after with; empty = none
    struct mail_id id;
    const struct address
        *only_recipient; // "for": NULL when there are several (no leak of blind copies)
    uint64_t wall_ms;
    int zone_minutes;
};

// The whole field, folded to lines below 78 octets where words allow, each ended by CRLF.
void received_put(struct buf *out, const struct received *r);
// Of a header as it stands on disk: has it octets above 127, and does its uppermost Received field,
// the one of who delivered it here, say that it was taken with SMTPUTF8? Then only who knows RFC
// 6532 may get it as it is.
bool received_needs_utf8(struct str header);
// "Return-Path: <...>" CRLF.
void return_path_put(struct buf *out, const struct address *reverse_path);
// "Delivered-To: ADDR (TOKEN)" CRLF. The token, 80 bits of HMAC-SHA-256 over the folded address
// under the house's secret, in base32, tells a loop from a field that somebody else wrote.
enum { DELIVERED_TOKEN = 16 };
void delivered_token_put(struct buf *out, const struct address *recipient, struct str secret);
void delivered_to_put(struct buf *out, struct str recipient, struct str token);

#endif
