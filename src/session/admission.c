#include "session/admission.h"

#include "os/random.h"

struct entry {
    struct net_address address; // without the port
    uint64_t sessions;
};

// The address alone: padding and port do not count.
static struct str key_of(const struct net_address *address)
{
    return str_from(address->bytes, address->family == 4 ? 4 : sizeof address->bytes);
}

static bool matches(const void *item, const void *key)
{
    const struct entry *entry = item;
    const struct net_address *address = key;
    return entry->address.scope == address->scope &&
           str_eq(key_of(&entry->address), key_of(address));
}

void admission_init(struct admission *a, uint64_t max_sessions, uint64_t max_per_address)
{
    *a = (struct admission){.max_sessions = max_sessions, .max_per_address = max_per_address};
    map_init(&a->addresses, matches);
    os_random(a->key, sizeof a->key);
}

void admission_finish(struct admission *a)
{
    struct entry *entry;
    for (size_t at = 0; (entry = map_next(&a->addresses, &at)) != NULL;)
        free(entry);
    map_finish(&a->addresses);
}

const char *admission_enter(struct admission *a, const struct net_address *peer)
{
    if (a->sessions >= a->max_sessions)
        return "max_sessions";
    if (!net_is_loopback(peer)) {
        uint64_t hash = str_hash(key_of(peer), a->key);
        struct entry *entry = map_find(&a->addresses, hash, peer);
        if (entry && entry->sessions >= a->max_per_address)
            return "sessions_per_address";
        if (!entry) {
            entry = calloc(1, sizeof *entry);
            must(entry != NULL);
            entry->address = *peer;
            map_put(&a->addresses, hash, entry);
        }
        entry->sessions++;
    }
    a->sessions++;
    return NULL;
}

void admission_leave(struct admission *a, const struct net_address *peer)
{
    must(a->sessions > 0);
    a->sessions--;
    if (net_is_loopback(peer))
        return;
    uint64_t hash = str_hash(key_of(peer), a->key);
    struct entry *entry = map_find(&a->addresses, hash, peer);
    must(entry != NULL);
    if (--entry->sessions == 0) {
        must(map_remove(&a->addresses, hash, peer) == entry);
        free(entry);
    }
}
