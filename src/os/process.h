// Processes, signals, identity, threads.
#ifndef OS_PROCESS_H
#define OS_PROCESS_H

#include "base/buf.h"
#include "base/err.h"
#include "os/loop.h"

// Starts `path` with argv and the environment as it is. `fds[i]` becomes descriptor 3 + i; 0 is
// /dev/null, 1 and 2 stay. Everything else is closed. At most 64. The child
// is killed when the parent dies. A pid, or -errno.
MUST_USE int os_spawn(const char *path, const char *const argv[], const int *fds, size_t count);

struct os_exit {
    int pid;
    int code;   // exit status, or -1
    int signal; // signal that ended it, or 0
};
// The next child that ended; false when none has.
bool os_reap(struct os_exit *ended);
void os_kill(int pid, int signal);
// Processes that were killed let go of sockets and locks only when the last of them has ended: who
// takes their place waits so long for it, and looks again and again.
enum { OS_REMAINS_MS = 2000, OS_REMAINS_LOOK_MS = 10 };

// Signals as loop events: `got` is called with SIGTERM, SIGINT, SIGHUP, SIGCHLD and SIGUSR1.
struct os_signals {
    struct watch watch;
    void (*got)(struct os_signals *signals, int signal);
};
MUST_USE bool os_signals_open(struct loop *loop, struct os_signals *signals, struct err *err);
void os_signals_close(struct loop *loop, struct os_signals *signals);
// For roles: SIGTERM, SIGINT and SIGHUP of the terminal's group are the supervisor's to obey;
// SIGPIPE is ignored everywhere.
void os_signals_ignore(void);

// For roles: large blocks go back to the system when they are freed, whatever was freed before.
void os_memory_start(void);

struct os_identity {
    unsigned uid;
    unsigned gid;
};
// By user name. False when there is none such.
MUST_USE bool os_find_user(struct str name, struct os_identity *identity, struct err *err);
bool os_is_root(void);
struct os_identity os_own_identity(void); // effective
// Gives up root for good: groups, gid, uid; verified. An ordinary user can only become itself.
MUST_USE bool os_become(const struct os_identity *identity, struct err *err);

MUST_USE int os_exec(const char *path, const char *const argv[]); // returns only on an error
// The absolute path of the running program.
MUST_USE bool os_own_path(struct buf *out, struct err *err);
unsigned os_cpu_count(void);
uint64_t os_file_limit(void); // descriptors that a process of ours may come to have
int os_own_pid(void);
// getenv, for the few variables that the man page names. The value lives as long as the process.
struct str os_environment(const char *name);

// A thread of a role, started after the jail. `run` gets `context`.
struct os_thread;
MUST_USE bool os_thread_start(struct os_thread **thread, const char *name, void (*run)(void *),
                              void *context, struct err *err);
void os_thread_join(struct os_thread **thread);

// A queue of jobs for worker threads and their way back to the loop. The job is embedded in its
// owner; `work` runs in a worker thread and touches only what the job owns; `done` runs in the
// loop's thread, in the order of completion. Destroying a job that is under way is a bug.
struct os_job {
    struct link link;
    void (*work)(struct os_job *job);
    void (*done)(struct os_job *job);
};
struct os_workers;
MUST_USE bool os_workers_open(struct os_workers **workers, struct loop *loop, const char *name,
                              unsigned threads, struct err *err);
// From the loop's thread. Jobs that have not begun are dropped without `done`; those under way are
// waited for, and `done` is called for them.
void os_workers_close(struct os_workers **workers);
void os_workers_submit(struct os_workers *workers, struct os_job *job);
size_t os_workers_waiting(struct os_workers *workers); // jobs not yet begun

#endif
