// The route table: where mail for a domain goes that is not local, instead of where DNS says. Pure:
// the rules come from the configuration (`routes:`), the answer is one of them.
//
// A pattern is a domain, ".example.com" (all domains below it, not itself) or "*" (every domain,
// and address literals); it is kept folded. A rule without a pattern for the sender is for all.
#ifndef MAIL_ROUTE_TABLE_H
#define MAIL_ROUTE_TABLE_H

#include "base/arena.h"
#include "base/err.h"

struct route_rule {
    struct str domain; // pattern, of the recipient's domain
    struct str sender; // pattern, of the reverse-path's domain; empty: whoever sends
    struct str to;     // a target, as written
};

// Folds a pattern. ERR_PEER_WRONG, with why; ERR_TRY_LATER when the arena is full.
MUST_USE bool route_pattern_read(struct str text, struct arena *arena, struct str *pattern,
                                 struct err *err);

// The rule for these folded domains, or NULL. The closer pattern of the recipient's domain wins:
// the domain itself, then the longest of those with a dot, then "*"; among rules of one pattern, in
// the same manner, the closer one of the sender's. The null reverse-path has an empty domain, which
// no pattern fits.
const struct route_rule *route_table_find(const struct route_rule *rules, size_t count,
                                          struct str domain, struct str sender);

enum route_kind {
    ROUTE_TO_SMTP,
    ROUTE_TO_LMTP,
    ROUTE_TO_LMTP_PATH,
    ROUTE_TO_ERROR,
};

struct route_target {
    enum route_kind kind;
    struct str host; // SMTP, LMTP: a folded domain or an IP address, without brackets
    uint16_t port;   // never 0
    struct str text; // LMTP_PATH: an absolute path; ERROR: what the sender is told
};

// "smtp://HOST[:PORT]" (25 when none is named), "lmtp://HOST:PORT", "lmtp:/PATH", "error:TEXT"; an
// IPv6 address in brackets. Texts are views of `text`, names are folded into the arena. Errors as
// above.
MUST_USE bool route_target_read(struct str text, struct arena *arena, struct route_target *target,
                                struct err *err);

#endif
