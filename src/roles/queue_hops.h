// Next hops: how many letters go to each at one time, whose turn it is, and which are dead. Pure:
// no I/O, no clock. What goes is a parcel, the owner's: here it is a link.
//
// A hop begins with HOP_WINDOW parcels at one time. With each windowful that went well it takes one
// more, up to a limit; trouble halves it. A hop that cannot be reached is dead for a while, longer
// each time; then one parcel tries it. Hops take turns, and in each those that were tried before
// with those that are fresh: a flood for one delays no other, an old backlog no new letter.
#ifndef ROLES_QUEUE_HOPS_H
#define ROLES_QUEUE_HOPS_H

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/str.h"
#include "ipc/verdicts.h"

struct hop {
    struct link turn;       // in hops.turns: a parcel waits and may go
    struct link idle;       // in hops.idle: nothing waits and nothing goes
    struct link waiting[2]; // parcels: tried before, fresh
    bool fresh_next;
    unsigned waits, running, window, good;
    uint64_t dead_until_ms, pause_ms;
    struct err why; // it died: the owner's, for people
    uint64_t hash;
    struct str key; // in the same block
};

struct hops {
    struct map map;
    struct link turns, idle; // idle: the longest first
    size_t most_known;       // beyond so many, idle ones are forgotten
    unsigned running;
    unsigned most, most_each; // running at one time, in all and to one hop; the owner's to change
    uint64_t hash_key[2];
};

enum {
    HOP_WINDOW = 3,
    HOP_PAUSE_MIN_MS = 60 * 1000,
    HOP_PAUSE_MAX_MS = 60 * 60 * 1000,
};

void hops_init(struct hops *hops, size_t most_known, const uint64_t hash_key[2]);
void hops_finish(struct hops *hops); // nothing may wait

// The one hop of this key, which is copied. Valid until the next call where nothing waits or runs.
struct hop *hops_find(struct hops *hops, struct str key);
bool hop_is_dead(const struct hop *hop, uint64_t now_ms);

// Not to a dead one.
void hop_add(struct hops *hops, struct hop *hop, struct link *parcel, bool fresh);
// A parcel that waits, taken out; NULL when none does.
struct link *hop_take(struct hops *hops, struct hop *hop);

// The next parcel that may go, and its hop; NULL: none now. It runs until hop_ended.
struct link *hops_next(struct hops *hops, struct hop **hop);
// One that waits nowhere begins to run, whatever the limits say.
void hop_begin(struct hops *hops, struct hop *hop);
// What became of one that ran. True: the hop has died of it; what
// waits there is taken out by hop_take.
MUST_USE bool hop_ended(struct hops *hops, struct hop *hop, enum hop_fate fate, uint64_t now_ms);

#endif
