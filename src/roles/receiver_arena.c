#include "roles/receiver_arena.h"

#include "os/file.h"

bool body_arena_open(struct body_arena *a, int fd, struct err *err)
{
    struct stat st;
    void *memory = NULL;
    int rc = os_fstat(fd, &st);
    if (rc == 0)
        rc = os_map(fd, (size_t)st.st_size, true, &memory);
    if (rc < 0)
        return err_system(err, rc, "mapping the arena");
    size_t large = (size_t)st.st_size / BLOCK_LARGE;
    *a = (struct body_arena){.memory = memory, .size = (size_t)st.st_size};
    a->free_large = calloc(large, sizeof *a->free_large);
    must(a->free_large != NULL);
    for (size_t i = 0; i < large; i++)
        a->free_large[i] = (uint32_t)(large - 1 - i);
    a->free_large_count = large;
    return true;
}

static void push_small(struct body_arena *a, uint32_t number)
{
    if (a->free_small_count == a->free_small_cap) {
        a->free_small_cap = a->free_small_cap ? a->free_small_cap * 2 : 256;
        a->free_small = realloc(a->free_small, a->free_small_cap * sizeof *a->free_small);
        must(a->free_small != NULL);
    }
    a->free_small[a->free_small_count++] = number;
}

static bool take_large(struct body_arena *a, struct chain_block *block)
{
    if (a->free_large_count == 0)
        return false;
    uint32_t number = a->free_large[--a->free_large_count];
    *block = (struct chain_block){.offset = number * (uint32_t)BLOCK_LARGE, .size = BLOCK_LARGE};
    return true;
}

// A large block that was cut into small ones stays so: at most SPLIT_SHARE of the arena.
static bool take_small(struct body_arena *a, struct chain_block *block)
{
    if (a->free_small_count == 0) {
        struct chain_block large;
        if (a->split_count >= a->size / BLOCK_LARGE / SPLIT_SHARE || !take_large(a, &large))
            return false;
        uint32_t number = large.offset / BLOCK_LARGE;
        a->split_count++;
        for (uint32_t i = SMALL_IN_LARGE; i > 0; i--)
            push_small(a, number * SMALL_IN_LARGE + i - 1);
    }
    uint32_t number = a->free_small[--a->free_small_count];
    *block = (struct chain_block){.offset = number * (uint32_t)BLOCK_SMALL, .size = BLOCK_SMALL};
    return true;
}

static void push_block(struct chain *c, struct chain_block block)
{
    if (c->count == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 4;
        c->blocks = realloc(c->blocks, c->cap * sizeof *c->blocks);
        must(c->blocks != NULL);
    }
    c->blocks[c->count++] = block;
}

// The kind that fits, or else the other one.
static bool take_block(struct body_arena *a, bool small, struct chain_block *block)
{
    bool ok = small ? take_small(a, block) || take_large(a, block)
                    : take_large(a, block) || take_small(a, block);
    if (ok)
        a->used += block->size;
    return ok;
}

bool chain_append(struct body_arena *a, struct chain *c, struct str bytes)
{
    while (bytes.len) {
        struct chain_block *last = c->count ? &c->blocks[c->count - 1] : NULL;
        if (!last || last->used == last->size) {
            struct chain_block block;
            bool small = !c->long_one && c->count < SMALLS_FIRST && bytes.len < BLOCK_LARGE;
            if (!take_block(a, small, &block))
                return false;
            push_block(c, block);
            last = &c->blocks[c->count - 1];
        }
        struct str part = str_sub(bytes, 0, last->size - last->used);
        memcpy(a->memory + last->offset + last->used, part.ptr, part.len);
        last->used += (uint32_t)part.len;
        c->size += part.len;
        bytes = str_skip(bytes, part.len);
    }
    return true;
}

void chain_cut(struct chain *from, struct chain *to, uint64_t size, size_t blocks)
{
    must(to->count == 0);
    size_t n = 0;
    while (n < from->count && n < blocks && to->size < size) {
        push_block(to, from->blocks[n]);
        to->size += from->blocks[n++].used;
    }
    from->count -= n;
    from->size -= to->size;
    for (size_t i = 0; i < from->count; i++)
        from->blocks[i] = from->blocks[i + n];
}

void chain_release(struct body_arena *a, struct chain *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct chain_block *b = &c->blocks[i];
        a->used -= b->size;
        if (b->size == BLOCK_LARGE) {
            a->free_large[a->free_large_count++] = b->offset / BLOCK_LARGE;
        } else {
            push_small(a, b->offset / BLOCK_SMALL);
        }
    }
    free(c->blocks);
    *c = (struct chain){.long_one = c->long_one};
}

void chain_put_extents(const struct chain *c, struct buf *out)
{
    for (size_t i = 0; i < c->count; i++) {
        buf_put_u32(out, c->blocks[i].offset);
        buf_put_u32(out, c->blocks[i].used);
    }
}
