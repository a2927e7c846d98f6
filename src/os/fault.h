// The fault seam: every system call of os/ on disk, network, clock and randomness asks here first.
// In test builds (meson option `fault`) a page shared by all processes of an instance counts the
// calls and says what is to happen at the n-th one; a trace shared in the same way records, in one
// order for all processes, what was done to the disk. In other builds all of this compiles to
// nothing.
//
// The page is a file named by POSTHOUSE_FAULT, the trace one named by POSTHOUSE_TRACE (only heeded
// together with a page). tests/fault.py makes them, reads them, and replays traces with unsynced
// writes dropped, kept or torn. Both sides know the layouts below; fault.c asserts the offsets.
#ifndef OS_FAULT_H
#define OS_FAULT_H

#include "base/str.h"

// One row a call: os/fault_calls.def.
enum fault_call {
#define FAULT_CALL(name) FAULT_##name,
#include "os/fault_calls.def"
#undef FAULT_CALL
    FAULT_CALLS,
};

// What can be broken on purpose. One row a place: os/bites.def.
enum fault_bite {
    BITE_none,
#define BITE(name, what) BITE_##name,
#include "os/bites.def"
#undef BITE
};

// What the seam wants of this call.
struct fault_verdict {
    int error;    // 0, or the negative errno to return instead of calling
    size_t limit; // at most so many bytes are transferred (SIZE_MAX: all)
};

// A record of the trace that waits for the result of its call.
struct fault_note {
    uint64_t at; // offset in the trace, 0 = none
    int dir;
    const char *path; // of what the call makes; NULL when it makes nothing
};

// As offset of fault_note_write: where write(2) would put the bytes.
#define FAULT_AT_POSITION UINT64_MAX

#ifdef POSTHOUSE_FAULT_SEAM

// ---- the page, little-endian

enum {
    FAULT_RULES = 32,
    FAULT_ROLES = 32,
    FAULT_COUNTERS = 64, // room for FAULT_CALLS
    FAULT_NAME = 16,     // octets of a role's name, filled with NUL
    FAULT_PATH = 48,
    FAULT_VERSION = 1,
    FAULT_ANY = 0xffff, // as call of a rule
};

struct fault_rule {
    _Atomic uint32_t armed; // 0: the other fields mean nothing
    uint32_t call;          // enum fault_call, or FAULT_ANY
    uint64_t first;         // acts from the first-th matching call on (1 is the next one) ...
    uint64_t count;         // ... for so many calls
    _Atomic uint64_t seen;  // matching calls since it was armed
    _Atomic uint64_t acted;
    uint64_t delay_ms;     // sleeps before the call
    uint64_t limit;        // bytes transferred at most, UINT64_MAX = all
    int32_t error;         // positive errno, 0 = none
    uint32_t kill;         // 1: SIGKILL to itself instead of the call
    char role[FAULT_NAME]; // empty: any
    char path[FAULT_PATH]; // what the call's path must hold; empty: any call, path or not
};

struct fault_role {
    _Atomic uint32_t state; // 0 free, 1 being claimed, 2 in use
    uint32_t reserved;
    char name[FAULT_NAME];
    _Atomic uint64_t calls[FAULT_COUNTERS];
};

struct fault_page {
    char magic[8]; // "PHFAULT1"
    uint32_t version;
    uint32_t calls; // FAULT_CALLS of who made the page
    _Atomic int64_t wall_shift_ms;
    _Atomic int64_t monotonic_shift_ms; // only ever raised
    _Atomic uint64_t sequence;          // last number drawn: one order over all processes
    uint64_t reserved[3];
    struct fault_rule rules[FAULT_RULES];
    struct fault_role roles[FAULT_ROLES];
};

// ---- the trace: this header, then records, each at a multiple of 8

struct fault_trace {
    char magic[8]; // "PHTRACE1"
    uint64_t size; // of the file
    _Atomic uint64_t used;
    _Atomic uint64_t lost; // records for which there was no room
    uint64_t reserved[4];
};

struct fault_file {
    uint64_t device; // 0, 0: none, or the path is absolute
    uint64_t inode;
};

struct fault_record {
    _Atomic uint32_t length; // octets, header included; written first
    uint32_t call;
    _Atomic uint64_t begin; // drawn when all below is written; 0: the process died before
    _Atomic uint64_t end;   // drawn after the call; 0: under way
    int64_t result;         // >= 0, or -errno
    uint32_t pid;
    uint32_t mode;         // st_mode of the file
    char role[FAULT_NAME]; //
    struct fault_file
        file;          // of the descriptor, or what the path named; for what a call makes, after it
    uint64_t argument; // offset of a write, size of a truncate, flags of an open
    struct fault_file dir; // to which `path` is relative
    struct fault_file to_dir;
    uint32_t path_len;
    uint32_t to_len;
    uint64_t data_len;
    char bytes[]; // path, to, data
};

// ----

// Maps the page and trace; `role` is the name that rules are written for. Before the jail.
void fault_start(const char *role);
// Is this broken on purpose, in this run?
bool fault_bites(enum fault_bite bite);
// Asked before each call. path may be NULL. Kills and delays happen in here. From any thread.
struct fault_verdict fault_before(enum fault_call call, const char *path);

// Records for the trace: made when the seam let the call pass, just before it; ended with its
// result. Only calls that change regular files and directories are recorded.
struct fault_note fault_note_write(int fd, uint64_t offset, struct str bytes);
struct fault_note fault_note_file(enum fault_call call, int fd, uint64_t argument);
// Of a link or rename: `to` is the new name. Of others: to is NULL.
struct fault_note fault_note_name(enum fault_call call, int dir, const char *path, int to_dir,
                                  const char *to, uint64_t argument);
void fault_note_end(const struct fault_note *note, int64_t result);

// Shifts of the clocks in milliseconds, from the page; 0 without one.
int64_t fault_wall_shift_ms(void);
int64_t fault_monotonic_shift_ms(void);
// A sleeping loop looks again so often, since a test may have shifted the clock meanwhile.
uint64_t fault_shorten_wait_ms(uint64_t ms);

#else

static inline void fault_start(const char *role)
{
    (void)role;
}

static inline bool fault_bites(enum fault_bite bite)
{
    (void)bite;
    return false;
}

static inline struct fault_verdict fault_before(enum fault_call call, const char *path)
{
    (void)call, (void)path;
    return (struct fault_verdict){0, SIZE_MAX};
}

static inline struct fault_note fault_note_write(int fd, uint64_t offset, struct str bytes)
{
    (void)fd, (void)offset, (void)bytes;
    return (struct fault_note){0, 0, NULL};
}

static inline struct fault_note fault_note_file(enum fault_call call, int fd, uint64_t argument)
{
    (void)call, (void)fd, (void)argument;
    return (struct fault_note){0, 0, NULL};
}

static inline struct fault_note fault_note_name(enum fault_call call, int dir, const char *path,
                                                int to_dir, const char *to, uint64_t argument)
{
    (void)call, (void)dir, (void)path, (void)to_dir, (void)to, (void)argument;
    return (struct fault_note){0, 0, NULL};
}

static inline void fault_note_end(const struct fault_note *note, int64_t result)
{
    (void)note, (void)result;
}

static inline int64_t fault_wall_shift_ms(void)
{
    return 0;
}

static inline int64_t fault_monotonic_shift_ms(void)
{
    return 0;
}

static inline uint64_t fault_shorten_wait_ms(uint64_t ms)
{
    return ms;
}

#endif
#endif
