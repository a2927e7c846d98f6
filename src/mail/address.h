// Addresses and paths, RFC 5321 section 4.1.2 with RFC 6531: the door through which the text of
// MAIL, RCPT, VRFY, of the administrator and of the databases becomes typed values.
//
// A struct address holds views into the arena that was passed to the reader. Local parts are kept
// as they came (unquoted content); compared by their folded form: ASCII letters lower, other
// characters NFC and case-folded (libunistring). Domains are kept as they came too; the folded form
// is the lower-case A-label form (libidn2, UTS 46, non-transitional).
#ifndef MAIL_ADDRESS_H
#define MAIL_ADDRESS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "mail/domain.h"

enum address_kind {
    ADDRESS_NULL,       // <> : the null reverse-path
    ADDRESS_POSTMASTER, // <postmaster> without a domain, any case
    ADDRESS_DOMAIN,     // local@domain
    ADDRESS_LITERAL,    // local@[1.2.3.4] or local@[IPv6:...]
};

struct address {
    enum address_kind kind;
    struct str local;         // content: quotes and backslashes removed
    struct str domain;        // as it came, without a trailing dot; a literal with its brackets
    struct str folded_local;  // for comparison
    struct str folded_domain; // A-labels in lower case; a literal in lower case
    bool utf8;                // needs SMTPUTF8: a byte above 127 in local part or domain
};

// Which command the text stands in: it decides the status of the error, 5.1.7 for MAIL, 5.1.3 for
// RCPT and others (contract), and whether <> and <postmaster> may stand.
enum path_role { PATH_REVERSE, PATH_FORWARD };

// Reads one path at the start of *text: "<...>" with an optional source route (dropped), or one
// bare address up to the next space. On success *text is what follows: nothing, or a space and what
// is behind it. Limits: LIMIT_local_part (of the content), LIMIT_domain, LIMIT_path. Errors are
// ERR_PEER_WRONG (text says what is wrong); ERR_TRY_LATER with 4.3.0 when the arena is full. `utf8`
// says whether bytes above 127 are allowed (SMTPUTF8).
// A general address literal: status 5.1.3, err.code 553; all other syntax errors err.code 501.
MUST_USE bool address_read_path(struct str *text, enum path_role role, bool utf8,
                                struct arena *arena, struct address *address, struct err *err);

// A whole text "local@domain": the administrator's input and stored addresses. Bytes above 127 are
// allowed.
MUST_USE bool address_read(struct str text, struct arena *arena, struct address *address,
                           struct err *err);
// What address_put wrote: the null path and the bare postmaster too, where the role has them.
MUST_USE bool address_read_stored(struct str text, enum path_role role, struct arena *arena,
                                  struct address *address, struct err *err);

// local@domain, the local part quoted where its content needs that; nothing for the null path,
// "postmaster" for the bare postmaster. Brackets are the caller's.
void address_put(struct buf *out, const struct address *address);
// folded_local@folded_domain, quoted where needed: the key of databases and maps.
void address_put_folded(struct buf *out, const struct address *address);
bool address_equal(const struct address *a, const struct address *b);
bool address_is_postmaster(const struct address *address);

// A name of a file or directory below mail_dir, made of a folded local part or domain: letters,
// digits, - _ . + = and UTF-8 stand; every other byte as %XX; a leading dot, and a name of dots, as
// %2e; never empty, at most 255 octets (longer: the digest of the whole). Two different inputs give
// two different names.
void address_put_file_name(struct buf *out, struct str part);

#endif
