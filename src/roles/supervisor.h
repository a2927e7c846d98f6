// The supervisor's own header.
//   supervisor.c           start, reload, stop; signals
//   supervisor_children.c  the roles' processes: started, linked, started again
//   supervisor_control.c   the control socket of `posthouse status` and its like
#ifndef ROLES_SUPERVISOR_H
#define ROLES_SUPERVISOR_H

#include "conf/conf.h"
#include "ipc/ipc.h"
#include "os/log.h"
#include "os/loop.h"
#include "os/process.h"

enum control_answer { CONTROL_OK, CONTROL_NO, CONTROL_LATER };

enum child_state {
    CHILD_STARTING,
    CHILD_READY,
    CHILD_DRAINING, // told to finish
    CHILD_DRAINED,
};

struct post;

// One process.
struct child {
    struct link link; // in supervisor.children
    struct supervisor *supervisor;
    struct post *post; // whose current or next child it is; NULL: replaced
    enum ipc_role role;
    enum child_state state;
    uint32_t instance; // a number never used again in this supervisor's life
    int pid;
    int arena;         // a receiver's, else -1
    uint64_t since_ms; // wall clock
    struct ipc_channel *channel;
    struct timer patience; // a drain that takes too long is ended
};

// One place that has to be filled as long as the server runs.
struct post {
    struct link link; // in supervisor.posts
    struct supervisor *supervisor;
    enum ipc_role role;
    struct child *child; // NULL while it is to be started again
    struct child *next;  // after a reload: takes over when it is ready
    struct timer again;
    unsigned quick_deaths;
    uint64_t restarts;
    uint64_t started_ms; // monotonic
};

struct listening {
    struct link link;
    int fd;
    enum conf_protocol protocol;
    struct net_address address; // as configured
};

struct supervisor {
    struct loop *loop;
    struct str conf_path;
    struct arena conf_arenas[2]; // the configuration in force and the one before it
    unsigned conf_turn;
    const struct conf *conf;
    struct buf libexec; // directory of the roles' programs
    int events;
    int state_lock;
    struct os_signals signals;
    struct link posts, children, listeners, partings;
    uint32_t next_instance;
    bool was_ready, stopping, failed;
    bool renewing;    // a new generation of roles is being started
    struct buf stale; // meanwhile: which of them could not, a line each
    unsigned stop_phase;
    uint64_t stop_by; // monotonic ms: the phase ends then at the latest
    struct timer stop_timer;
    // The control socket.
    struct watch control;
    struct link clients;
};

// supervisor_children.c
void children_want(struct supervisor *s, enum ipc_role role, unsigned count);
void children_reap(struct supervisor *s);
bool children_all_ready(const struct supervisor *s);
// After a reload: each post gets a new child, the queue the new options. When each new child has
// taken over or failed, supervisor_renewed is called; perhaps before this returns.
void children_renew(struct supervisor *s);
void children_events_file(struct supervisor *s);
// True when no child of these roles is left to wait for.
void children_drain(struct supervisor *s, unsigned roles);
bool children_drained(const struct supervisor *s, unsigned roles);
void children_let_go(struct supervisor *s);
void children_finish(struct supervisor *s);
struct child *children_find(struct supervisor *s, enum ipc_role role);
const char *child_state_name(enum child_state state);

// supervisor.c
void supervisor_ready(struct supervisor *s); // all posts are filled for the first time
void supervisor_stop(struct supervisor *s, bool failed);
// OK: it has begun, and supervisor_renewed will follow. Else why not, in *complaints.
MUST_USE enum control_answer supervisor_reload(struct supervisor *s, struct buf *complaints);
void supervisor_renewed(struct supervisor *s);

// supervisor_control.c
// Answers all who wait for the end of a reload.
void control_renewed(struct supervisor *s, enum control_answer answer, struct str text);
MUST_USE bool control_open(struct supervisor *s, struct err *err);
void control_close(struct supervisor *s);

#endif
