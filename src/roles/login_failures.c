#include "roles/login_failures.h"

#include "base/limits.h"
#include "os/net.h"
#include "os/random.h"

enum {
    FIRST_MS = 1000,
    MOST_MS = 30000,
    FORGET_MS = 600000, // without a failure
    NETWORK_6 = 8,      // octets of an IPv6 address that one client surely shares with no other
};

// Known by the keyed hash of what it stands for: a stranger cannot make two of them meet.
struct entry {
    struct link link;
    uint64_t hash;
    uint64_t last_ms;
    uint64_t delay_ms; // of the last failure
};

static bool matches(const void *item, const void *key)
{
    return ((const struct entry *)item)->hash == *(const uint64_t *)key;
}

void login_failures_init(struct login_failures *f)
{
    map_init(&f->entries, matches);
    list_init(&f->order);
    os_random(f->key, sizeof f->key);
}

static void drop(struct login_failures *f, struct entry *entry)
{
    if (!entry)
        return;
    must(map_remove(&f->entries, entry->hash, &entry->hash) == entry);
    list_remove(&entry->link);
    free(entry);
}

static uint64_t count(struct login_failures *f, uint64_t hash, uint64_t now_ms)
{
    struct entry *entry = map_find(&f->entries, hash, &hash);
    if (entry && now_ms - entry->last_ms > FORGET_MS) {
        drop(f, entry);
        entry = NULL;
    }
    if (!entry) {
        if (f->entries.count == LIMIT_login_failures)
            drop(f, CONTAINER_OF(f->order.next, struct entry, link));
        entry = calloc(1, sizeof *entry);
        must(entry != NULL);
        entry->hash = hash;
        map_put(&f->entries, hash, entry);
    }
    list_remove(&entry->link);
    list_append(&f->order, &entry->link);
    entry->last_ms = now_ms;
    entry->delay_ms = entry->delay_ms ? 2 * entry->delay_ms : FIRST_MS;
    if (entry->delay_ms > MOST_MS)
        entry->delay_ms = MOST_MS;
    return entry->delay_ms;
}

static uint64_t hash_of(const struct login_failures *f, char kind, struct str text)
{
    return str_hash(text, f->key) ^ (uint64_t)kind
                                        << 56; // a name that reads like an address is none
}

uint64_t login_failures_add(struct login_failures *f, struct str peer, struct str name,
                            uint64_t now_ms)
{
    struct net_address address;
    uint64_t delay_ms = count(f, hash_of(f, 'n', name), now_ms);
    if (net_ip_read(peer, &address) && !net_is_loopback(&address)) {
        struct str network = str_from(address.bytes, address.family == 4 ? 4 : NETWORK_6);
        uint64_t of_address = count(f, hash_of(f, 'a', network), now_ms);
        delay_ms = of_address > delay_ms ? of_address : delay_ms;
    }
    return delay_ms;
}

void login_failures_forget(struct login_failures *f, struct str name)
{
    uint64_t hash = hash_of(f, 'n', name);
    drop(f, map_find(&f->entries, hash, &hash));
}
