#include "session/admission.h"

#include "os/random.h"

enum { MINUTE_MS = 60000, NETWORK_OCTETS = 8 };

struct entry {
    struct net_address address; // without the port
    uint64_t sessions;
    uint64_t minute_ms; // when its minute began
    uint64_t entered;   // in that minute
};

// The address alone: padding and port do not count.
static struct str key_of(const struct net_address *address)
{
    return str_from(address->bytes, address->family == 4 ? 4 : NETWORK_OCTETS);
}

static bool matches(const void *item, const void *key)
{
    const struct entry *entry = item;
    const struct net_address *address = key;
    return entry->address.scope == address->scope &&
           str_eq(key_of(&entry->address), key_of(address));
}

void admission_init(struct admission *a, const struct admission_limits *limits)
{
    *a = (struct admission){.limits = *limits};
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

// Once a minute: who has no session and whose minute is over is forgotten.
static void sweep(struct admission *a, uint64_t now_ms)
{
    struct entry *entry;
    if (now_ms - a->swept_ms < MINUTE_MS)
        return;
    a->swept_ms = now_ms;
    for (size_t at = 0; (entry = map_next(&a->addresses, &at)) != NULL;) {
        if (entry->sessions > 0 || now_ms - entry->minute_ms < MINUTE_MS)
            continue;
        uint64_t hash = str_hash(key_of(&entry->address), a->key);
        must(map_remove(&a->addresses, hash, &entry->address) == entry);
        free(entry);
    }
}

static bool is_counted(const struct admission *a, const struct net_address *peer)
{
    return !a->limits.loopback_exempt || !net_is_loopback(peer);
}

static struct entry *find(const struct admission *a, const struct net_address *peer)
{
    return map_find(&a->addresses, str_hash(key_of(peer), a->key), peer);
}

static struct entry *find_or_make(struct admission *a, const struct net_address *peer)
{
    struct entry *entry = find(a, peer);
    if (entry)
        return entry;
    entry = calloc(1, sizeof *entry);
    must(entry != NULL);
    entry->address = *peer;
    map_put(&a->addresses, str_hash(key_of(peer), a->key), entry);
    return entry;
}

static const char *enter_by_address(struct admission *a, const struct net_address *peer,
                                    uint64_t now_ms)
{
    sweep(a, now_ms);
    struct entry *entry = find_or_make(a, peer);
    if (now_ms - entry->minute_ms >= MINUTE_MS) {
        entry->minute_ms = now_ms;
        entry->entered = 0;
    }
    if (entry->sessions >= a->limits.per_address)
        return "sessions_per_address";
    if (entry->entered >= a->limits.per_minute)
        return "sessions_per_minute";
    entry->sessions++;
    entry->entered++;
    return NULL;
}

const char *admission_enter(struct admission *a, const struct net_address *peer, uint64_t now_ms)
{
    const char *forbidden = NULL;
    if (a->sessions >= a->limits.sessions)
        return "max_sessions";
    if (is_counted(a, peer))
        forbidden = enter_by_address(a, peer, now_ms);
    if (!forbidden)
        a->sessions++;
    return forbidden;
}

void admission_leave(struct admission *a, const struct net_address *peer)
{
    must(a->sessions > 0);
    a->sessions--;
    if (!is_counted(a, peer))
        return;
    struct entry *entry = find(a, peer);
    must(entry != NULL && entry->sessions > 0);
    entry->sessions--;
}
