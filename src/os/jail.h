// The walls of a role: no_new_privs, rlimits, Landlock, seccomp; in this order, before the first
// thread. What a role may do is a row of roles/jails.def; tools/jail.expected holds the list that
// was agreed to, and a test fails when a row grew beyond it.
#ifndef OS_JAIL_H
#define OS_JAIL_H

#include "base/buf.h"
#include "base/err.h"

// Groups of system calls, from os/jail_calls.def. Every role has JAIL_BASE.
enum jail_calls {
    JAIL_BASE = 1,       // memory, clock, epoll, own descriptors, futex, exit, random
    JAIL_THREADS = 2,    // clone of threads
    JAIL_ACCEPT = 4,     // accept4 on descriptors it was given
    JAIL_PASS = 8,       // sendmsg and recvmsg with descriptors; are they sealed?
    JAIL_CONNECT = 16,   // socket (AF_INET, AF_INET6 streams), connect
    JAIL_FILES = 32,     // openat for reading, stat, getdents
    JAIL_CHANGE = 64,    // openat for writing, link, rename, unlink, mkdir, truncate, sync
    JAIL_MEMFD = 128,    // memfd_create, sealing
    JAIL_LOCKS = 256,    // flock, fcntl locks (SQLite too)
    JAIL_STORE = 512,    // read, write, cut and sync files that were opened before the jail
    JAIL_MOVE = 1024,    // rename, unlink: what stands in the files stays as it is
    JAIL_HANDED = 4096,  // reads files that it was handed
    JAIL_RESOLVE = 2048, // libunbound's sockets: UDP, and TCP for long answers
};

struct jail_path {
    int fd;      // an open directory (or file): the role reaches what is beneath it
    bool change; // what JAIL_CHANGE or JAIL_MOVE allows; otherwise read only
};

struct jail {
    const char *role;
    unsigned calls; // enum jail_calls
    const struct jail_path *paths;
    size_t path_count;
    bool needs_link;    // link or rename across directories: without Landlock ABI 2 it runs without
    uint64_t max_files; // RLIMIT_NOFILE, where the limit that we were born with allows it
    uint64_t max_memory; // RLIMIT_AS, 0 = none (sanitizer builds: none)
};

struct jail_report {
    int landlock_abi; // that is in force; 0 = the kernel has none, or none that needs_link can use
    bool seccomp;     // in force
    uint64_t max_files; // RLIMIT_NOFILE as it is now
};

// Shuts this process in for good. A missing wall is told in *report (the role says so once and runs
// on); false only when the kernel has it and it failed.
MUST_USE bool jail_enter(const struct jail *jail, struct jail_report *report, struct err *err);

// The allow-list in words, one a line, sorted: "call read", "path change", "files 4096": compared
// with tools/jail.expected.
void jail_describe(const struct jail *jail, struct buf *out);

// ---- for test builds (os/jail_probe.c); other builds refuse

// Tries what must fail and says how it ended: 0 when it was possible, else -errno (a kill ends the
// process). what: "open", "connect", "exec"; -ENOSYS for all else.
int jail_try(struct str what);

// What this process holds: a line for each descriptor and mapping. Descriptors on /proc/self are
// opened before the jail; those of an empty probe are -1.
struct jail_probe {
    int fds;
    int maps;
};
void jail_probe_open(struct jail_probe *probe);
void jail_probe_put(const struct jail_probe *probe, struct buf *out);

#endif
