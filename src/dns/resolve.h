// Questions to DNS, by libunbound on our loop: cache, retries, and the check of signatures (DNSSEC)
// are its own. The only includer of libunbound.
//
// Which way questions go is found out with the first one: by the servers of the zones from the root
// on, else by those of resolv.conf, both with signatures checked; where neither can, without. A
// server that was configured is the only one that is asked. The log says once what is not checked.
#ifndef DNS_RESOLVE_H
#define DNS_RESOLVE_H

#include "dns/answer.h"
#include "os/loop.h"

struct resolve;

struct resolve_options {
    struct str server;       // "127.0.0.1@5353", or empty
    struct str trust_anchor; // path of the keys
    uint64_t timeout_ms;     // for one question; a library's own patience is half a minute
};

// Reads the files that it needs (resolv.conf, the keys): before the jail. Lives as long as the
// process; never fork with one open.
MUST_USE bool resolve_open(struct resolve **resolve, struct loop *loop,
                           const struct resolve_options *options, struct err *err);

// Embedded in who asks; name, type and answered are filled by them.
struct resolve_question {
    struct str name; // NUL-terminated
    enum dns_type type;
    // Called once, perhaps within resolve_ask.
    void (*answered)(struct resolve_question *question, const struct dns_reply *reply);
    // Its own.
    struct resolve *resolve;
    struct link link;       // while it is not decided whom to ask
    struct ub_ctx *context; // that was asked
    int id;
    struct timer patience;
};

// The question must live until it is answered.
void resolve_ask(struct resolve *resolve, struct resolve_question *question);

#endif
