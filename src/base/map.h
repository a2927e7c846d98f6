// A hash table of pointers, open addressing. The items hold their own keys; the map holds only
// pointers and hashes (16 bytes a slot, at most 3/4 full). Keys from outside are hashed with
// str_hash under a random key.
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/str.h"

struct map_slot {
    uint64_t hash; // 0 = empty
    void *item;    // NULL with a hash = removed
};

struct map {
    struct map_slot *slots;
    size_t cap; // power of two, 0 before the first put
    size_t count;
    size_t dirty; // slots that are not empty, removed ones included
    // Does the item carry this key?
    bool (*matches)(const void *item, const void *key);
};

void map_init(struct map *m, bool (*matches)(const void *item, const void *key));
// The items are the caller's.
void map_finish(struct map *m);

void *map_find(const struct map *m, uint64_t hash, const void *key);
// The key must not be in the map.
void map_put(struct map *m, uint64_t hash, void *item);
// The removed item, or NULL when the key was not there.
void *map_remove(struct map *m, uint64_t hash, const void *key);
// Items in no order: *at starts at 0; NULL at the end. Removing the item just returned is safe.
void *map_next(const struct map *m, size_t *at);

#endif
