// DNS answers (RFC 1035 section 4.1, RFC 3596): from the octets of a packet to the records that
// routing wants. Pure; the fuzz target runs it on any octets.
//
// Names are text without the last dot, ASCII in lower case; the root is empty. An octet that may
// not stand in a host's name is written \DDD, a dot within a label too (RFC 1035 section 5.1).
#ifndef DNS_ANSWER_H
#define DNS_ANSWER_H

#include "base/arena.h"
#include "base/err.h"
#include "os/net.h"

enum dns_type {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_MX = 15,
    DNS_AAAA = 28,
    DNS_DNSKEY = 48,
};
const char *dns_type_name(enum dns_type type);

enum dns_security {
    DNS_INSECURE, // not signed, or nothing is checked
    DNS_BOGUS,    // signed, and wrong
    DNS_SECURE,
};
const char *dns_security_name(enum dns_security security);

// What a resolver says to a question.
struct dns_reply {
    const char *trouble; // NULL: `packet` is the answer. Else why there is none, a literal
    struct str packet;   // valid during the call that hands the reply over
    enum dns_security security;
};

enum dns_outcome {
    DNS_FOUND,
    DNS_NO_DATA, // the name is there, such records are not
    DNS_NO_NAME, // NXDOMAIN
    DNS_TROUBLE, // SERVFAIL, time-out, bogus, not to be read: nothing is known
};
const char *dns_outcome_name(enum dns_outcome outcome);

struct dns_record {
    struct str name;            // MX
    uint16_t preference;        // MX
    struct net_address address; // A, AAAA; port 0
};

struct dns_answer {
    enum dns_outcome outcome;
    enum dns_security security;
    uint32_t ttl;        // seconds: the smallest of what was used, or of the SOA of a no
    struct str *aliases; // the CNAMEs that were followed, each one's target
    size_t alias_count;
    struct dns_record *records; // in the packet's order
    size_t count;
    struct str trouble; // why, where it is DNS_TROUBLE
};

// Fills *answer: whatever the reply is, DNS_TROUBLE at the worst. What it holds lives in the arena.
void dns_answer_read(const struct dns_reply *reply, struct str name, enum dns_type type,
                     struct arena *arena, struct dns_answer *answer);

// The name that the records belong to: the last alias, or `name` itself.
struct str dns_answer_owner(const struct dns_answer *answer, struct str name);

// Can mail be sent to a host of this name? No: the root, a name with odd octets, an IP address.
bool dns_is_host(struct str name);

#endif
