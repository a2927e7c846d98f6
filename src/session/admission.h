// Who is let in: so many sessions in all, and from each client address so many at one time and so
// many new ones in a minute. The first 64 bits of an IPv6 address are one client: whoever has one
// address has all of that network. Clients on loopback can be exempt from what is counted by
// address: proxies and tests come from there.
#ifndef SESSION_ADMISSION_H
#define SESSION_ADMISSION_H

#include "base/map.h"
#include "os/net.h"

struct admission_limits {
    uint64_t sessions;
    uint64_t per_address;
    uint64_t per_minute; // new ones, of one address
    bool loopback_exempt;
};

struct admission {
    struct admission_limits limits;
    uint64_t sessions;
    struct map addresses; // those that have a session, or came within the last two minutes
    uint64_t swept_ms;
    uint64_t key[2];
};

void admission_init(struct admission *a, const struct admission_limits *limits);
void admission_finish(struct admission *a);
// now_ms: loop time. NULL: the client is let in, and leaves later. Otherwise the option of the
// configuration that forbids it.
const char *admission_enter(struct admission *a, const struct net_address *peer, uint64_t now_ms);
void admission_leave(struct admission *a, const struct net_address *peer);

#endif
