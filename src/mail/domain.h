// Names of hosts: domains and address literals, RFC 5321 section 4.1.2 and 4.1.3, RFC 6531.
//
// A domain is labels of letters, digits, hyphens and (real hosts have them) underscores, or
// U-labels. One trailing dot is taken and dropped. The folded form, by which names are compared
// and looked up, is A-labels in lower case (libidn2: UTS 46, non-transitional).
#ifndef MAIL_DOMAIN_H
#define MAIL_DOMAIN_H

#include "base/arena.h"
#include "base/err.h"
#include "base/limits.h"

enum { DOMAIN_ROOM = LIMIT_domain };

// Folds into the caller's room; *folded is a view of it. Errors are ERR_PEER_WRONG 5.1.3.
MUST_USE bool domain_fold(struct str text, char room[DOMAIN_ROOM], struct str *folded,
                          struct err *err);
// A domain name alone, of the administrator or a database: the folded form, in the arena.
// ERR_TRY_LATER when the arena is full.
MUST_USE bool domain_read(struct str text, struct arena *arena, struct str *folded,
                          struct err *err);
// The argument of HELO and EHLO: a domain or an address literal, folded. A general address literal
// gives err.code 553.
MUST_USE bool domain_read_host(struct str text, struct arena *arena, struct str *folded,
                               struct err *err);

enum literal_kind {
    LITERAL_BAD,
    LITERAL_IPV4,    // [192.0.2.1]
    LITERAL_IPV6,    // [IPv6:2001:db8::1], the tag in any case
    LITERAL_GENERAL, // [tag:content]: well formed, but no tag except IPv6 was ever registered
};
// text includes the brackets.
enum literal_kind domain_literal_kind(struct str text);

#endif
