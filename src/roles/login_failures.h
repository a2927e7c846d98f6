// Who failed to log in lately, by the client's address and by the name that was tried: each further
// failure is answered later, after 1 s, 2 s, 4 s, at most 30 s. The one answer that is slow is the
// no: who has the right password never waits. Loopback counts by name only: proxies come from
// there.
#ifndef ROLES_LOGIN_FAILURES_H
#define ROLES_LOGIN_FAILURES_H

#include "base/list.h"
#include "base/map.h"

struct login_failures {
    struct map entries; // LIMIT_login_failures
    struct link order;  // oldest first
    uint64_t key[2];
};

void login_failures_init(struct login_failures *f);
// One more failure: how many milliseconds after the question it is answered. `name` as it is
// compared; `peer` an IP address as text, an IPv6 one counts with its network of 64 bits.
uint64_t login_failures_add(struct login_failures *f, struct str peer, struct str name,
                            uint64_t now_ms);
// The user of that name logged in: it begins anew.
void login_failures_forget(struct login_failures *f, struct str name);

#endif
