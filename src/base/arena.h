// Memory by lifetime: everything allocated from an arena ends with it. The arena is always an
// argument, named by the lifetime (process, session, transaction, turn). Each has a limit.
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; // newest first
    size_t used;                // bytes handed out, rounding included
    size_t limit;               // bytes
};

// No allocation until the first use: an idle session's arena costs sizeof(struct arena).
void arena_init(struct arena *a, size_t limit);
void arena_finish(struct arena *a);
// Ends the life of all that came from it. Keeps no memory.
void arena_reset(struct arena *a);

// Zeroed memory aligned for any type, or NULL when the limit would be passed (answer 452; the
// session lives on). True exhaustion of memory ends the process.
MUST_USE void *arena_alloc(struct arena *a, size_t size);
MUST_USE void *arena_alloc_array(struct arena *a, size_t count, size_t size);
#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))

// A copy with a NUL behind it (not counted). False when the limit would be passed.
MUST_USE bool arena_copy(struct arena *a, struct str s, struct str *copy);

#endif
