#include "roles/queue_hops.h"

#include <stdlib.h>

static bool same_key(const void *item, const void *key)
{
    return str_eq(((const struct hop *)item)->key, *(const struct str *)key);
}

static bool may_go(const struct hops *hops, const struct hop *hop)
{
    return hop->waits > 0 && hop->running < hop->window && hop->running < hops->most_each;
}

// Puts it where its state belongs; what has its turn keeps it.
static void sort_in(struct hops *hops, struct hop *hop)
{
    bool idle = hop->waits == 0 && hop->running == 0;
    if (idle != link_used(&hop->idle)) {
        list_remove(&hop->idle);
        if (idle)
            list_append(&hops->idle, &hop->idle);
    }
    if (may_go(hops, hop) != link_used(&hop->turn)) {
        list_remove(&hop->turn);
        if (may_go(hops, hop))
            list_append(&hops->turns, &hop->turn);
    }
}

static void forget(struct hops *hops, struct hop *hop)
{
    (void)map_remove(&hops->map, hop->hash, &hop->key);
    list_remove(&hop->idle);
    free(hop);
}

void hops_init(struct hops *hops, size_t most_known, const uint64_t hash_key[2])
{
    *hops = (struct hops){.most_known = most_known, .hash_key = {hash_key[0], hash_key[1]}};
    map_init(&hops->map, same_key);
    list_init(&hops->turns);
    list_init(&hops->idle);
}

void hops_finish(struct hops *hops)
{
    LIST_EACH(&hops->idle, at, after)
    {
        forget(hops, CONTAINER_OF(at, struct hop, idle));
    }
    must(hops->map.count == 0);
    map_finish(&hops->map);
}

struct hop *hops_find(struct hops *hops, struct str key)
{
    uint64_t hash = str_hash(key, hops->hash_key);
    struct hop *hop = map_find(&hops->map, hash, &key);
    if (hop)
        return hop;
    if (hops->map.count >= hops->most_known && !list_empty(&hops->idle))
        forget(hops, CONTAINER_OF(hops->idle.next, struct hop, idle));
    hop = calloc(1, sizeof *hop + key.len);
    must(hop != NULL);
    memcpy(hop + 1, key.ptr, key.len);
    hop->key = str_from(hop + 1, key.len);
    hop->hash = hash;
    hop->window = HOP_WINDOW;
    list_init(&hop->waiting[false]);
    list_init(&hop->waiting[true]);
    map_put(&hops->map, hash, hop);
    sort_in(hops, hop);
    return hop;
}

bool hop_is_dead(const struct hop *hop, uint64_t now_ms)
{
    return now_ms < hop->dead_until_ms;
}

void hop_add(struct hops *hops, struct hop *hop, struct link *parcel, bool fresh)
{
    list_append(&hop->waiting[fresh], parcel);
    hop->waits++;
    sort_in(hops, hop);
}

struct link *hop_take(struct hops *hops, struct hop *hop)
{
    bool fresh = list_empty(&hop->waiting[hop->fresh_next]) ? !hop->fresh_next : hop->fresh_next;
    struct link *parcel = list_pop(&hop->waiting[fresh]);
    hop->fresh_next = !fresh;
    hop->waits -= parcel != NULL;
    sort_in(hops, hop);
    return parcel;
}

void hop_begin(struct hops *hops, struct hop *hop)
{
    hop->running++;
    hops->running++;
    sort_in(hops, hop);
}

struct link *hops_next(struct hops *hops, struct hop **hop)
{
    struct link *turn = hops->running < hops->most ? list_pop(&hops->turns) : NULL;
    if (!turn)
        return NULL;
    *hop = CONTAINER_OF(turn, struct hop, turn);
    struct link *parcel = hop_take(hops, *hop);
    hop_begin(hops, *hop); // the last of the next round, if it may go once more
    return parcel;
}

static void went_well(const struct hops *hops, struct hop *hop)
{
    hop->pause_ms = 0;
    hop->dead_until_ms = 0;
    if (++hop->good < hop->window)
        return;
    hop->good = 0;
    if (hop->window < hops->most_each)
        hop->window++;
}

static void went_badly(struct hop *hop)
{
    hop->good = 0;
    hop->window = hop->window > 1 ? hop->window / 2 : 1;
}

// While others still go to it, it lives: it may only take no more at one time.
static bool dies(struct hop *hop, uint64_t now_ms)
{
    if (hop->running > 0)
        return false;
    hop->window = 1;
    hop->pause_ms = hop->pause_ms ? hop->pause_ms * 2 : HOP_PAUSE_MIN_MS;
    if (hop->pause_ms > HOP_PAUSE_MAX_MS)
        hop->pause_ms = HOP_PAUSE_MAX_MS;
    hop->dead_until_ms = now_ms + hop->pause_ms;
    return true;
}

bool hop_ended(struct hops *hops, struct hop *hop, enum hop_fate fate, uint64_t now_ms)
{
    bool dead = false;
    must(hop->running > 0 && hops->running > 0);
    hop->running--;
    hops->running--;
    switch (fate) {
    case HOP_GOOD:
        went_well(hops, hop);
        break;
    case HOP_UNREACHABLE:
        dead = dies(hop, now_ms);
        went_badly(hop);
        break;
    case HOP_TROUBLE:
        went_badly(hop);
        break;
    case HOP_UNTRIED:
        break;
    }
    sort_in(hops, hop);
    return dead;
}
