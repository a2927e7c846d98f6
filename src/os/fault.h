// The fault seam: every system call of os/ on disk, network, clock and randomness asks here first.
// In test builds (meson option `fault`) a page shared by all processes of an instance counts the
// calls and says what is to happen at the n-th one; a trace shared in the same way records, in one
// order for all processes, what reached the disk. In other builds all of this compiles to nothing.
//
// The page is a file named by POSTHOUSE_FAULT, the trace by POSTHOUSE_TRACE; tests/fault.py makes
// them, reads them and replays traces with unsynced writes dropped, kept or torn.
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

// What the seam wants of this call.
struct fault_verdict {
    int error;    // 0, or the negative errno to return instead of calling
    size_t limit; // at most so many bytes are transferred (SIZE_MAX: all)
};

// Maps the page and trace; `role` is the name that rules are written for. Before the jail.
void fault_start(const char *role);
struct fault_verdict fault_before(enum fault_call call);

// Trace records. begin/end bracket the system call; both draw from the shared counter, so that a
// replay knows what was under way at a cut. `fd` is looked up by device and inode.
uint64_t fault_trace_begin(void);
void fault_trace_write(uint64_t begin, int fd, uint64_t offset, struct str bytes);
void fault_trace_file(uint64_t begin, enum fault_call call, int fd, uint64_t argument);
void fault_trace_name(uint64_t begin, enum fault_call call, int dir, const char *path, int to_dir,
                      const char *to);

// Shifts of the clocks in milliseconds, from the page; 0 without one.
int64_t fault_wall_shift_ms(void);
int64_t fault_monotonic_shift_ms(void);

#endif
