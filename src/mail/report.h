// A delivery status notification (RFC 3464; 6533 for addresses in UTF-8): the letter in which the
// sender of another letter is told what became of that. A multipart/report (RFC 6522) of three
// parts: words for a person, in English or Chinese (mail/language.h, report_texts.def), the same
// for programs, and the letter or its header. Its envelope is the caller's: the null reverse-path,
// and whom `to` names.
#ifndef MAIL_REPORT_H
#define MAIL_REPORT_H

#include "base/err.h"
#include "mail/address.h"
#include "mail/id.h"

enum report_kind { // the worst first
    REPORT_FAILED,
    REPORT_DELAYED,
    REPORT_DELIVERED,
    REPORT_RELAYED,  // to a server that tells nobody
    REPORT_EXPANDED, // it stands for others, who have it now
    REPORT_KINDS,
};

struct report_recipient {
    enum report_kind kind;
    struct status status;
    const struct address *address; // where it went in the end
    struct str original;           // ORCPT, decoded: "rfc822;ADDR"; empty: the sender gave none
    struct str reason;             // what the last attempt met, in our words; may be empty
    struct str reply;              // what the peer said, any bytes; may be empty
    struct str remote;             // the peer's name; empty: there was none
    uint64_t attempt_ms;           // the last attempt; 0: none
    uint64_t until_ms;             // tried until then; 0: not any more
};

struct report {
    struct mail_id id; // of the report
    struct str hostname;
    uint64_t wall_ms; // now
    int zone_minutes;
    const struct address *to;
    bool to_postmaster; // of a letter that has no sender
    // The letter that it tells of.
    struct mail_id letter;
    uint64_t arrived_ms;
    struct str envid;   // ENVID, decoded; may be empty
    bool utf8;          // it came with SMTPUTF8
    struct str message; // as much of it as was read: its header at least
    bool whole;         // that is all, and all of it is to go back (RET=FULL)
    const struct report_recipient *recipients; // 1 to LIMIT_report_recipients
    size_t recipient_count;
};

// Appends the letter, at most LIMIT_report octets, lines of at most 998; true where octets above
// 127 stand in it. A header that is longer than LIMIT_report_quote goes back as far as that; a
// message that is, or has longer lines or a NUL, goes back as its header. Fields with such a line
// are left out.
bool report_put(struct buf *out, const struct report *r);
// Without octets above 127 in its own header and its types the report needs no SMTPUTF8.
bool report_needs_utf8(const struct report *r);

#endif
