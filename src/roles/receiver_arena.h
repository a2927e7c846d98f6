// The receiver's arena: memory shared with the queue (which maps it read only), in which letters
// gather on their way in. Blocks of two sizes; a letter is a chain of them. The bookkeeping is the
// receiver's own memory, so nothing in the shared memory is ever trusted.
#ifndef ROLES_RECEIVER_ARENA_H
#define ROLES_RECEIVER_ARENA_H

#include "base/buf.h"
#include "base/err.h"

enum {
    BLOCK_SMALL = 4096,
    BLOCK_LARGE = 65536,
    SMALL_IN_LARGE = BLOCK_LARGE / BLOCK_SMALL,
    SMALLS_FIRST = 4, // a chain's first blocks are small ones
    SPLIT_SHARE = 2,  // one large block in so many may be cut into small ones, for good
};

struct body_arena {
    char *memory;
    size_t size;
    uint32_t *free_large; // stack of numbers of large blocks
    size_t free_large_count;
    uint32_t *free_small; // stack of numbers of small blocks
    size_t free_small_count, free_small_cap;
    size_t split_count; // large blocks cut into small ones
    size_t used;        // octets in blocks that are given out
};

// fd is mapped; the descriptor stays the caller's.
MUST_USE bool body_arena_open(struct body_arena *a, int fd, struct err *err);

struct chain_block {
    uint32_t offset;
    uint32_t used;
    uint32_t size;
};

// What one letter, or its envelope, consists of. Zeroed: empty.
struct chain {
    struct chain_block *blocks;
    size_t count, cap;
    uint64_t size;
    bool long_one; // more is to come: begins with a large block
};

// False when the arena is full; what was appended before stays.
MUST_USE bool chain_append(struct body_arena *a, struct chain *c, struct str bytes);
// Moves blocks from the front of *from to the empty *to, until it holds `size` octets or `blocks`
// blocks.
void chain_cut(struct chain *from, struct chain *to, uint64_t size, size_t blocks);
void chain_release(struct body_arena *a, struct chain *c);
// Appends offset and length of each block, as in the `extents` of a submission.
void chain_put_extents(const struct chain *c, struct buf *out);

#endif
