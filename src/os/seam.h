// How os/ makes a system call: the fault seam is asked, the call is made, the result becomes >= 0
// or a negative errno, and EINTR (a real one or an injected one) makes it again. For os/*.c only.
//
//     return (int)SEAM(mkdir, path, mkdirat(dir, path, mode));
//
// Uppercase: these evaluate `expression` anew at each try.
#ifndef OS_SEAM_H
#define OS_SEAM_H

#include <errno.h>
#include <sys/stat.h>

#include "os/fault.h"

static inline int64_t seam_result(int64_t result)
{
    return result < 0 ? -errno : result;
}

// fstat without the seam, by the system call of that name.
int seam_fstat(int fd, struct stat *st);

static inline size_t seam_clip(size_t len, size_t limit)
{
    return len < limit ? len : limit;
}

// The whole of it: `n` (a size_t of the caller) is set to what the seam allows of len before `note`
// (a struct fault_note) and `expression` are evaluated.
#define SEAM_FULL(call, path, n, len, note, expression)                                            \
    __extension__({                                                                                \
        int64_t result_;                                                                           \
        do {                                                                                       \
            struct fault_verdict verdict_ = fault_before(FAULT_##call, (path));                    \
            result_ = verdict_.error;                                                              \
            if (result_ == 0) {                                                                    \
                (n) = seam_clip((len), verdict_.limit);                                            \
                struct fault_note note_ = (note);                                                  \
                result_ = seam_result(expression);                                                 \
                fault_note_end(&note_, result_);                                                   \
            }                                                                                      \
        } while (result_ == -EINTR);                                                               \
        result_;                                                                                   \
    })

#define SEAM_NO_NOTE ((struct fault_note){0, 0, NULL})

// Calls that transfer bytes.
#define SEAM_MOVE(call, n, len, expression) SEAM_FULL(call, NULL, n, len, SEAM_NO_NOTE, expression)

// Calls that change the disk, and are recorded.
#define SEAM_NOTED(call, path, note, expression)                                                   \
    __extension__({                                                                                \
        size_t unused_;                                                                            \
        int64_t noted_ = SEAM_FULL(call, path, unused_, 0, note, expression);                      \
        (void)unused_;                                                                             \
        noted_;                                                                                    \
    })

// All others.
#define SEAM(call, path, expression) SEAM_NOTED(call, path, SEAM_NO_NOTE, expression)

#endif
