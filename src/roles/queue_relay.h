// Letters to other hosts: what the queue's two files for them share.
//   queue_route.c  a recipient's domain to the ways that lead there
//   queue_relay.c  recipients to parcels, parcels to the sender
#ifndef ROLES_QUEUE_RELAY_H
#define ROLES_QUEUE_RELAY_H

#include "roles/queue.h"
#include "roles/queue_hops.h"

// The attempts of one letter that began together. Those that go elsewhere wait for each other, for
// GATHER_MS at most: what goes to one next hop goes in one piece.
struct round {
    struct queue *queue;
    bool open;         // more may join
    bool late;         // nobody waits any more
    size_t attempts;   // that point here
    size_t finding;    // those of them whose way is not known
    struct link found; // the others
    struct timer timer;
    struct str sender; // folded domain of the reverse-path, in the same block; empty: the null path
};

// The way to a domain, as the resolver said it. Attempts that use it hold it.
struct road {
    struct link link;          // in relay.roads_idle while nobody holds it
    struct link asking;        // in relay.to_ask
    struct str domain, sender; // folded; in the same block
    uint64_t hash;
    bool asked; // the answer is to come
    size_t holders;
    struct link waiting; // attempts
    enum routed_verdict verdict;
    uint64_t until_ms; // 0: never known
    bool lmtp;
    struct buf ways; // as in the message `routed`
    struct buf key;  // of the hop: the same ways, whatever their order
    unsigned code;   // without ways: why
    struct status status;
    struct buf reason;
};

struct relay {
    struct map roads;
    struct link roads_idle; // the longest first
    struct link to_ask;
    struct hops hops;
    struct link suspects; // parcels that were at a sender when it died: they go one by one
    bool suspect_out;
    size_t out;    // parcels being made, and at the sender
    size_t octets; // of messages that the sender has
};

// queue_route.c
void queue_begin_routes(struct relay *relay);
// Tells of the attempt in the end: queue_way_found, queue_defer or queue_give_up.
void queue_find_way(struct queue *q, struct attempt *a);
void queue_let_go_road(struct queue *q, struct road *road);
void queue_ask_routes(struct queue *q);
void queue_route_lost(struct queue *q, struct road *road);

// queue_relay.c
// a->road is set.
void queue_way_found(struct queue *q, struct attempt *a);

#endif
