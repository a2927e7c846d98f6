// Where does mail for a domain go? The resolver says; its answer is kept as long as it holds. The
// sender's domain is part of the question where the route table has rules for senders.
#include "roles/queue_relay.h"

#include "base/limits.h"
#include "ipc/targets.h"

enum {
    KEEP_MIN_S = 10, // an answer, whatever the resolver says: one letter asks once
    WAYS_MAX = 64,
    REASON_ROOM = 1024,
};

struct road_key {
    struct str domain, sender;
};

static bool same_road(const void *item, const void *key)
{
    const struct road *road = item;
    const struct road_key *k = key;
    return str_eq(road->domain, k->domain) && str_eq(road->sender, k->sender);
}

void queue_begin_routes(struct relay *relay)
{
    map_init(&relay->roads, same_road);
    list_init(&relay->roads_idle);
    list_init(&relay->to_ask);
}

// ---- roads

static void forget_road(struct relay *relay, struct road *road)
{
    const struct road_key key = {road->domain, road->sender};
    (void)map_remove(&relay->roads, road->hash, &key);
    list_remove(&road->link);
    buf_finish(&road->ways);
    buf_finish(&road->key);
    buf_finish(&road->reason);
    free(road);
}

static void hold_road(struct road *road)
{
    list_remove(&road->link);
    road->holders++;
}

void queue_let_go_road(struct queue *q, struct road *road)
{
    must(road->holders > 0);
    if (--road->holders == 0)
        list_append(&q->relay->roads_idle, &road->link);
}

static struct road *find_road(struct queue *q, const struct road_key *key)
{
    struct relay *relay = q->relay;
    uint64_t hash = str_hash(key->domain, q->hash_key) ^ str_hash(key->sender, q->hash_key) << 1;
    struct road *road = map_find(&relay->roads, hash, key);
    if (road)
        return road;
    if (relay->roads.count >= LIMIT_routes_known && !list_empty(&relay->roads_idle))
        forget_road(relay, CONTAINER_OF(relay->roads_idle.next, struct road, link));
    road = calloc(1, sizeof *road + key->domain.len + key->sender.len);
    must(road != NULL);
    char *text = (char *)(road + 1);
    memcpy(text, key->domain.ptr, key->domain.len);
    memcpy(text + key->domain.len, key->sender.ptr, key->sender.len);
    road->domain = str_from(text, key->domain.len);
    road->sender = str_from(text + key->domain.len, key->sender.len);
    road->hash = hash;
    list_init(&road->waiting);
    buf_init(&road->ways, LIMIT_relay_ways);
    buf_init(&road->key, LIMIT_relay_ways + 1);
    buf_init(&road->reason, REASON_ROOM);
    map_put(&relay->roads, hash, road);
    list_append(&relay->roads_idle, &road->link);
    return road;
}

void queue_forget_routes(struct queue *q)
{
    size_t at = 0;
    struct road *road;
    while ((road = map_next(&q->relay->roads, &at)))
        road->until_ms = 0;
}

// ---- attempts

static void tell(struct queue *q, struct road *road, struct attempt *a)
{
    const struct heard heard = {.code = road->code};
    switch (road->verdict) {
    case ROUTED_WAYS:
        hold_road(road);
        a->road = road;
        queue_way_found(q, a);
        break;
    case ROUTED_LATER:
        queue_try_later(q, a, buf_str(&road->reason), 0);
        break;
    case ROUTED_REFUSED:
        a->heard = &heard;
        queue_give_up(q, a, road->status, buf_str(&road->reason));
        break;
    }
}

static bool rules_for_senders(const struct conf *conf)
{
    for (size_t i = 0; i < conf->route_count; i++)
        if (conf->routes[i].sender.len)
            return true;
    return false;
}

void queue_find_way(struct queue *q, struct attempt *a)
{
    struct address address;
    struct arena turn;
    struct err err;
    arena_init(&turn, 8 * (size_t)LIMIT_address);
    if (!address_read_stored(a->address, PATH_FORWARD, &turn, &address, &err)) {
        queue_hold(q, a, err_text(&err)); // was read before it came into the spool
        arena_finish(&turn);
        return;
    }
    const struct road_key key = {address.folded_domain,
                                 rules_for_senders(q->role->conf) ? a->round->sender : STR("")};
    struct road *road = find_road(q, &key);
    arena_finish(&turn);
    if (loop_now(q->role->loop) < road->until_ms) {
        tell(q, road, a);
        return;
    }
    if (!road->asked) {
        road->asked = true;
        hold_road(road);
        list_append(&q->relay->to_ask, &road->asking);
    }
    list_append(&road->waiting, &a->link);
}

// ---- questions and answers

void queue_ask_routes(struct queue *q)
{
    struct ipc_channel *resolver = role_peer(q->role, IPC_RESOLVER);
    while (resolver && !list_empty(&q->relay->to_ask)) {
        struct road *road = CONTAINER_OF(q->relay->to_ask.next, struct road, asking);
        struct msg m = {.type = MSG_route};
        m.route.domain = road->domain;
        m.route.sender = road->sender;
        if (!ipc_request(resolver, &m, road))
            return;
        list_remove(&road->asking);
    }
}

void queue_route_lost(struct queue *q, struct road *road)
{
    list_append(&q->relay->to_ask, &road->asking);
}

static int compare_ways(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

// As the resolver writes it: "5.1.2"; else none.
static struct status read_status(struct str text)
{
    struct str part;
    uint64_t numbers[3] = {0};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (!str_cut(&text, '.', &part) || !str_to_u64(part, &numbers[i]) || numbers[i] > 999)
            return STATUS(0, 0, 0);
    return STATUS((uint8_t)numbers[0], (uint16_t)numbers[1], (uint16_t)numbers[2]);
}

// Keeps as many ways as there is room for, and makes the key of them.
static bool keep_ways(struct road *road, struct str ways)
{
    struct str sorted[WAYS_MAX], all = ways;
    struct routed_way way;
    size_t count = 0, len = 0;
    for (struct str rest = all; count < WAYS_MAX && ways_take(&rest, &way);) {
        if (all.len - rest.len > LIMIT_relay_ways)
            break;
        sorted[count++] = str_sub(all, len, all.len - rest.len - len);
        len = all.len - rest.len;
    }
    buf_put(&road->ways, str_sub(all, 0, len));
    qsort(sorted, count, sizeof sorted[0], compare_ways);
    buf_put_byte(&road->key, road->lmtp);
    for (size_t i = 0; i < count; i++)
        buf_put(&road->key, sorted[i]);
    return count > 0;
}

static void take_answer(struct road *road, const struct msg_routed *said)
{
    buf_clear(&road->ways);
    buf_clear(&road->key);
    buf_clear(&road->reason);
    road->verdict = said->verdict;
    road->lmtp = said->lmtp;
    road->code = said->code;
    road->status = read_status(said->status);
    buf_put(&road->reason, str_sub(said->reason, 0, REASON_ROOM));
    if (said->verdict > ROUTED_REFUSED ||
        (said->verdict == ROUTED_WAYS && !keep_ways(road, said->ways))) {
        road->verdict = ROUTED_LATER;
        buf_clear(&road->reason);
        buf_put(&road->reason, STR("the resolver gave no clear answer"));
    }
}

void queue_on_routed(struct ipc_channel *channel, struct msg *m, void *owner)
{
    struct role *role = ipc_context(channel);
    struct queue *q = role->state;
    struct road *road = owner;
    struct link *waiting;
    uint32_t ttl_s = m->routed.ttl < KEEP_MIN_S ? KEEP_MIN_S : m->routed.ttl;
    take_answer(road, &m->routed);
    road->asked = false;
    // What a resolver says that is being replaced is for those who wait.
    bool lasts = channel == role_peer(role, IPC_RESOLVER);
    road->until_ms = lasts ? loop_now(role->loop) + (uint64_t)ttl_s * 1000 : 0;
    while ((waiting = list_pop(&road->waiting)))
        tell(q, road, CONTAINER_OF(waiting, struct attempt, link));
    queue_let_go_road(q, road);
    queue_advance(q);
}
