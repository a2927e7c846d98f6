#include "base/arena.h"

enum { ALIGN = 16, FIRST_CHUNK = 256, CHUNK_MAX = 64 * 1024 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap;
    size_t len;
    _Alignas(ALIGN) char bytes[];
};

void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){.limit = limit};
}

void arena_finish(struct arena *a)
{
    while (a->chunks) {
        struct arena_chunk *next = a->chunks->next;
        free(a->chunks);
        a->chunks = next;
    }
    a->used = 0;
}

void arena_reset(struct arena *a)
{
    arena_finish(a);
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > a->limit || a->limit - size < ALIGN)
        return NULL;
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (a->used + size > a->limit)
        return NULL;
    struct arena_chunk *chunk = a->chunks;
    if (!chunk || chunk->cap - chunk->len < size) {
        // Chunks double, so a small session stays small and a large one needs few.
        size_t cap = chunk ? chunk->cap * 2 : FIRST_CHUNK;
        if (cap > CHUNK_MAX)
            cap = CHUNK_MAX;
        if (cap < size)
            cap = size;
        chunk = calloc(1, sizeof *chunk + cap);
        must(chunk != NULL);
        chunk->cap = cap;
        chunk->next = a->chunks;
        a->chunks = chunk;
    }
    void *memory = chunk->bytes + chunk->len;
    chunk->len += size;
    a->used += size;
    return memory;
}

void *arena_alloc_array(struct arena *a, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    return arena_alloc(a, count * size);
}

bool arena_copy(struct arena *a, struct str s, struct str *copy)
{
    char *to = arena_alloc(a, s.len + 1);
    if (!to)
        return false;
    if (s.len)
        memcpy(to, s.ptr, s.len);
    *copy = (struct str){to, s.len};
    return true;
}
