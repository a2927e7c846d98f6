#include "base/map.h"

enum { FIRST_CAP = 16 };

// Hash 0 marks an empty slot.
static uint64_t mark(uint64_t hash)
{
    return hash ? hash : 1;
}

void map_init(struct map *m, bool (*matches)(const void *item, const void *key))
{
    *m = (struct map){.matches = matches};
}

void map_finish(struct map *m)
{
    free(m->slots);
    map_init(m, m->matches);
}

static size_t find_slot(const struct map *m, uint64_t hash, const void *key)
{
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        const struct map_slot *slot = &m->slots[i];
        if (!slot->hash)
            return m->cap;
        if (slot->hash == hash && slot->item && m->matches(slot->item, key))
            return i;
    }
}

void *map_find(const struct map *m, uint64_t hash, const void *key)
{
    if (!m->cap)
        return NULL;
    size_t at = find_slot(m, mark(hash), key);
    return at < m->cap ? m->slots[at].item : NULL;
}

static void place(struct map *m, uint64_t hash, void *item)
{
    size_t i = hash & (m->cap - 1);
    while (m->slots[i].hash)
        i = (i + 1) & (m->cap - 1);
    m->slots[i] = (struct map_slot){hash, item};
    m->dirty++;
}

static void resize(struct map *m)
{
    struct map_slot *old = m->slots;
    size_t old_cap = m->cap;
    m->cap = old_cap ? old_cap : FIRST_CAP;
    while (m->count + 1 > m->cap / 2)
        m->cap *= 2;
    m->slots = calloc(m->cap, sizeof *m->slots);
    must(m->slots != NULL);
    m->dirty = 0;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].item)
            place(m, old[i].hash, old[i].item);
    free(old);
}

void map_put(struct map *m, uint64_t hash, void *item)
{
    if (!m->cap || m->dirty + 1 > m->cap / 4 * 3)
        resize(m);
    place(m, mark(hash), item);
    m->count++;
}

void *map_remove(struct map *m, uint64_t hash, const void *key)
{
    if (!m->cap)
        return NULL;
    size_t at = find_slot(m, mark(hash), key);
    if (at == m->cap)
        return NULL;
    void *item = m->slots[at].item;
    m->slots[at].item = NULL;
    m->count--;
    return item;
}

void *map_next(const struct map *m, size_t *at)
{
    while (*at < m->cap) {
        void *item = m->slots[(*at)++].item;
        if (item)
            return item;
    }
    return NULL;
}
