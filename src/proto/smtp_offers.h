// What a server offers (RFC 5321 section 4.1.1.1): the lines of its reply to EHLO or LHLO behind
// the first, as typed values. Unknown lines are passed over.
#ifndef PROTO_SMTP_OFFERS_H
#define PROTO_SMTP_OFFERS_H

#include "base/str.h"

struct smtp_offers {
#define SMTP_OFFER(name, keyword) bool name;
#include "proto/smtp_offers.def"
#undef SMTP_OFFER
    uint64_t max_message;    // octets, of SIZE; 0: not said
    uint32_t max_recipients; // of one transaction, RCPTMAX of LIMITS; 0: not said
    uint32_t max_letters;    // of one session, MAILMAX; 0: not said
};

// One line: a keyword in any case and its arguments. What is wrong in them counts as not said.
void smtp_offers_read(struct smtp_offers *offers, struct str line);

#endif
