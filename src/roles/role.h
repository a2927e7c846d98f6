// What every role's process has in common: the control channel to the supervisor (descriptor 3),
// the configuration, the jail, channels to peers that come and go. A role's main is one line:
//
//     int main(int argc, char **argv) { return role_main(&ops, argc, argv); }
//
// Order: setup (configuration) -> prepare (open directories, databases) -> become the user -> jail
// -> begin (threads, timers) -> "ready" to the supervisor -> peers, listeners -> drain -> exit.
#ifndef ROLES_ROLE_H
#define ROLES_ROLE_H

#include "base/err.h"
#include "conf/conf.h"
#include "ipc/ipc.h"
#include "os/jail.h"
#include "os/log.h"
#include "os/loop.h"

struct role;
struct question; // of an administrator, until it is answered

struct role_ops {
    enum ipc_role role;
    const struct ipc_handlers *handlers; // for channels to peers; closed and lost are the role's
    unsigned session_files;  // descriptors that one session may hold; 0: the role has no sessions
    enum conf_protocol also; // another protocol of the role, with sessions of its own; 0: none
    // Before the jail, still with the supervisor's rights. role_allow names what stays reachable.
    bool (*prepare)(struct role *role, struct err *err);
    // After the jail.
    bool (*begin)(struct role *role, struct err *err);
    // A channel to a peer stands, for the first time or again after the peer's death.
    void (*peer)(struct role *role, struct ipc_channel *channel);
    void (*listener)(struct role *role, int fd, enum conf_protocol protocol);
    // Shared memory of a receiver: for the receiver itself (its own) and for the queue (read only).
    void (*arena)(struct role *role, int fd, uint32_t instance);
    // The answer to role_dial: fd is the role's, or it is the negative errno.
    void (*dialled)(struct role *role, struct str path, int fd);
    // Stop taking new work, finish what is under way, then role_drained. NULL: at once.
    void (*drain)(struct role *role, uint64_t milliseconds);
    // A question of the administrator (`posthouse queue list`): role_answer, now or later. The
    // texts are valid during the call only. NULL: nothing may be asked.
    void (*ask)(struct role *role, struct str what, struct str argument, struct question *question);
    // A reload gave new options (role->conf is new already). Only the queue lives through a reload;
    // other roles are started afresh.
    void (*reloaded)(struct role *role);
};

struct role {
    const struct role_ops *ops;
    const struct conf *conf; // the effective configuration, lives as long as the process
    struct loop *loop;
    uint32_t instance; // its number among all processes the supervisor started
    // The option, or fewer where the system allows fewer descriptors than they need.
    uint64_t max_sessions;
    void *state; // the role's own
};

int role_main(const struct role_ops *ops, int argc, char **argv);
// In prepare: what is beneath this directory stays reachable after the jail.
void role_allow(struct role *role, int fd, bool change);
// The newest channel to that peer, or NULL while it is away.
struct ipc_channel *role_peer(struct role *role, enum ipc_role peer);
// Calls `each` for all channels to that kind of peer.
void role_each_peer(struct role *role, enum ipc_role peer,
                    void (*each)(struct role *role, struct ipc_channel *channel));
// In prepare: opens a directory of the configuration and keeps it reachable after the jail.
MUST_USE bool role_open_directory(struct role *role, struct str path, bool change, int *fd,
                                  struct err *err);
void role_drained(struct role *role);
// Asks the supervisor for a connection to a unix socket of the route table; ops->dialled is told.
void role_dial(struct role *role, struct str path);
// Answers a question, once; it is gone then. ok: `body` is what was asked for, of any lines. Else
// it says in one line why not. A body that overflowed is a no by itself.
void role_answer(struct question *question, bool ok, const struct buf *body);
// Cannot go on: logs, and ends the process (the supervisor starts it again).
NORETURN void role_fail(const struct err *err);

#endif
