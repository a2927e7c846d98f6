// Where mail for a domain goes (RFC 5321 section 5.1, RFC 7505), without asking anybody: questions
// come out, answers go in, until there is a verdict.
//
//     route_init(&r, ...); route_to_domain(&r, domain);
//     while ((step = route_next(&r))) ... ask, all at once if you like
//     route_answer(&r, step, &reply);   once for each; more questions may follow
//     r.verdict is no longer ROUTE_PENDING when route_next has none and r.open is 0
#ifndef DNS_ROUTE_H
#define DNS_ROUTE_H

#include "base/list.h"
#include "dns/answer.h"

enum route_verdict {
    ROUTE_PENDING,
    ROUTE_HOSTS,
    ROUTE_DEFER,  // cannot be said now: err has 451, ERR_TRY_LATER
    ROUTE_REFUSE, // there is no way: err has the reply code, ERR_GIVE_UP
};

// Who we are: mail that would come back to us takes no such way.
struct route_own {
    struct str hostname;                 // folded
    const struct net_address *addresses; // where we listen for SMTP
    size_t count;
};

struct route_host {
    struct str name; // empty: an address that was given
    uint16_t preference;
    bool secure;                   // the name and its addresses came by signed answers only
    struct net_address *addresses; // IPv6 first, then IPv4, shuffled within both
    size_t count;
};

// A question and, once it is there, its answer.
struct route_step {
    struct link link;
    struct str name; // NUL-terminated
    enum dns_type type;
    bool answered;
    struct dns_answer answer;
};

struct route {
    enum route_verdict verdict;
    struct route_host *hosts; // ROUTE_HOSTS: in the order in which to try them
    size_t host_count;
    uint32_t ttl; // seconds that this holds, a day at most; 0 for a deferral
    struct err err;
    struct link steps; // of struct route_step, in the order of asking
    // Its own.
    struct arena *arena;
    const struct route_own *own;
    uint64_t random;
    struct link *asked; // the last step that route_next gave
    struct str name;    // whose MX is asked for, after CNAMEs
    size_t aliases;
    size_t unasked, open; // steps that were not given yet; those that wait for their answer
    struct candidate *candidates;
    size_t candidate_count;
    unsigned own_preference; // of ourselves among the MX
    bool by_mx, secure;
    uint16_t port; // that the route names; 0: DNS decides
};

// Memory comes from the arena, which lives as long as the route; where it is full the verdict is
// ROUTE_DEFER. `random` decides among equals.
void route_init(struct route *r, struct arena *arena, const struct route_own *own, uint64_t random);
// By DNS: a folded domain, or an address literal in its brackets.
void route_to_domain(struct route *r, struct str domain);
// To one host, a folded name or an IP address, without MX.
void route_to_host(struct route *r, struct str host, uint16_t port);
// To a unix socket: one host, whose name it is, without addresses.
void route_to_path(struct route *r, struct str path);
// The verdict of a route table: no way, and why.
void route_refuse(struct route *r, struct str text);

// A question that is to be asked now; NULL when there is none.
struct route_step *route_next(struct route *r);
void route_answer(struct route *r, struct route_step *step, const struct dns_reply *reply);

#endif
