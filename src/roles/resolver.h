// The resolver's own header.
//   resolver.c         questions and their answers
//   resolver_report.c  the answer to `posthouse route`
#ifndef ROLES_RESOLVER_H
#define ROLES_RESOLVER_H

#include "dns/resolve.h"
#include "dns/route.h"
#include "roles/role.h"

// One question: where does mail for this domain go?
struct job {
    struct link link; // in resolver.jobs
    struct role *role;
    struct arena arena; // all of it, until the answer is out
    struct str domain;
    const struct route_rule *rule; // of the route table; NULL: DNS decides
    bool lmtp;
    struct route route;
    struct turn_hook next;
    // Who asked: an administrator, or a peer (NULL when it is gone).
    struct question *question;
    struct ipc_channel *channel;
    uint32_t slot;
};

// JSON, one object: the way, and each DNS answer on it.
void report_put(struct buf *out, const struct job *job);

#endif
