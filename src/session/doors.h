// The listening sockets of a role, and what each client that comes in by one is given: a session
// id.
#ifndef SESSION_DOORS_H
#define SESSION_DOORS_H

#include "os/loop.h"
#include "os/net.h"

enum { SESSION_ID_TEXT = 10 };

struct doors {
    struct loop *loop;
    struct link list;
    uint64_t told_ms; // loop time of the last warning that clients wait outside; 0: none yet
    // A client came in; fd is the callee's.
    void (*welcome)(struct doors *doors, int fd, const struct net_address *peer);
};

void doors_init(struct doors *doors, struct loop *loop,
                void (*welcome)(struct doors *doors, int fd, const struct net_address *peer));
// Takes fd over, also when it fails. Where descriptors or memory run out clients wait outside for a
// moment, and nobody spins.
MUST_USE bool doors_open(struct doors *doors, int fd, struct err *err);
// Nobody comes in any more.
void doors_close(struct doors *doors);

// 50 random bits as text, for the log; ends with a NUL.
void session_id(char id[SESSION_ID_TEXT + 1]);

#endif
