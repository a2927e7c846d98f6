// How many sessions there are, in all and from each client address. A client on loopback counts in
// all only: proxies and tests come from there.
#ifndef SESSION_ADMISSION_H
#define SESSION_ADMISSION_H

#include "base/map.h"
#include "os/net.h"

struct admission {
    uint64_t max_sessions;
    uint64_t max_per_address;
    uint64_t sessions;
    struct map addresses; // one entry for each address with a session
    uint64_t key[2];
};

void admission_init(struct admission *a, uint64_t max_sessions, uint64_t max_per_address);
void admission_finish(struct admission *a);
// NULL: the client is let in, and leaves later. Otherwise the option of the configuration that
// forbids it.
const char *admission_enter(struct admission *a, const struct net_address *peer);
void admission_leave(struct admission *a, const struct net_address *peer);

#endif
