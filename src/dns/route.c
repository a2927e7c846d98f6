// Two rounds of questions. First MX of the domain, again for the name behind its CNAMEs until there
// is none. Then A and AAAA of each candidate: the hosts of the MX, or the name itself where there
// is no MX at all. When all have come it is decided:
//
// 1. Nothing is refused for what may be different tomorrow: trouble (SERVFAIL, silence, a wrong
//    signature, no memory) only ever defers, and only where no other host is left to try.
// 2. Ourselves among the candidates, by name or address: they and all of equal or worse preference
//    are dropped, else mail would go round (RFC 5321 section 5.1).
// 3. A name that is only an alias of a host may stand in an MX (it should not, RFC 2181 10.3); an
//    IP address may not.
#include "dns/route.h"

#include "base/limits.h"

enum { SMTP_PORT = 25, NO_PREFERENCE = 65536, TTL_MAX = 86400 };

struct candidate {
    struct str name;
    uint16_t preference;
    struct route_step *a, *aaaa; // NULL: `host` needs no question
    struct route_host host;
};

// ---- verdicts

// With what err_set has said.
static void refuse(struct route *r, int code)
{
    r->verdict = ROUTE_REFUSE;
    r->err.code = code;
}

static void defer(struct route *r)
{
    r->verdict = ROUTE_DEFER;
    r->err.code = 451;
    r->ttl = 0;
}

static void no_memory(struct route *r)
{
    err_set(&r->err, ERR_TRY_LATER, STATUS(4, 3, 0), "the way is too long to be remembered");
    defer(r);
}

void route_refuse(struct route *r, struct str text)
{
    err_set(&r->err, ERR_GIVE_UP, STATUS(5, 7, 1), "%.*s", STR_ARG(text));
    refuse(r, 550);
}

// ---- questions

static struct route_step *ask(struct route *r, struct str name, enum dns_type type)
{
    LIST_EACH(&r->steps, at, after)
    {
        struct route_step *step = CONTAINER_OF(at, struct route_step, link);
        if (step->type == type && str_eq(step->name, name))
            return step;
    }
    struct route_step *step = ARENA_NEW(r->arena, struct route_step);
    if (!step || !arena_copy(r->arena, name, &step->name)) {
        no_memory(r);
        return NULL;
    }
    step->type = type;
    list_append(&r->steps, &step->link);
    r->unasked++;
    return step;
}

struct route_step *route_next(struct route *r)
{
    if (r->verdict != ROUTE_PENDING || r->asked->next == &r->steps)
        return NULL;
    r->asked = r->asked->next;
    r->unasked--;
    r->open++;
    return CONTAINER_OF(r->asked, struct route_step, link);
}

static bool make_candidates(struct route *r, size_t count)
{
    r->candidates = arena_alloc_array(r->arena, count, sizeof *r->candidates);
    r->candidate_count = r->candidates ? count : 0;
    if (!r->candidates)
        no_memory(r);
    return r->candidates != NULL;
}

static void ask_addresses(struct route *r)
{
    for (size_t i = 0; i < r->candidate_count && r->verdict == ROUTE_PENDING; i++) {
        struct candidate *c = &r->candidates[i];
        c->aaaa = ask(r, c->name, DNS_AAAA);
        c->a = c->aaaa ? ask(r, c->name, DNS_A) : NULL;
    }
}

static void one_candidate(struct route *r, struct str name)
{
    if (!make_candidates(r, 1))
        return;
    r->candidates[0].name = name;
    ask_addresses(r);
}

// ---- chance

// Numbers for shuffling, from the one that was passed in (splitmix64).
static uint64_t random_below(struct route *r, uint64_t bound)
{
    uint64_t z = r->random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % bound;
}

static void shuffle_records(struct route *r, struct dns_record *records, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = (size_t)random_below(r, i);
        struct dns_record swap = records[i - 1];
        records[i - 1] = records[other];
        records[other] = swap;
    }
}

// ---- who is it?

static bool same_address(const struct net_address *a, const struct net_address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

// A route of the table names a port, which another server than ours may have; DNS names none. What
// is sent to "no address" comes to this host.
static bool is_own_address(const struct route *r, const struct net_address *address)
{
    static const struct net_address none = {.family = 0};
    if (memcmp(address->bytes, none.bytes, sizeof none.bytes) == 0)
        return true;
    for (size_t i = 0; i < r->own->count; i++)
        if (same_address(&r->own->addresses[i], address) &&
            (!r->port || r->own->addresses[i].port == address->port))
            return true;
    return false;
}

static bool is_own_name(const struct route *r, struct str name)
{
    return !r->port && str_eq(name, r->own->hostname);
}

static bool is_own(const struct route *r, const struct candidate *c)
{
    if (is_own_name(r, c->name) ||
        (c->a && is_own_name(r, dns_answer_owner(&c->a->answer, c->name))) ||
        (c->aaaa && is_own_name(r, dns_answer_owner(&c->aaaa->answer, c->name))))
        return true;
    for (size_t i = 0; i < c->host.count; i++)
        if (is_own_address(r, &c->host.addresses[i]))
            return true;
    return false;
}

// ---- the second round is over

static void take_addresses(struct route *r, struct candidate *c, struct route_step *step)
{
    struct dns_answer *answer = &step->answer;
    if (answer->outcome == DNS_TROUBLE)
        return;
    if (answer->ttl < r->ttl)
        r->ttl = answer->ttl;
    c->host.secure = c->host.secure && answer->security == DNS_SECURE;
    shuffle_records(r, answer->records, answer->count);
    for (size_t i = 0; i < answer->count; i++) {
        struct net_address *address = &c->host.addresses[c->host.count++];
        *address = answer->records[i].address;
        address->port = r->port ? r->port : SMTP_PORT;
    }
}

static bool fill_host(struct route *r, struct candidate *c)
{
    if (!c->a)
        return true;
    size_t count = c->a->answer.count + c->aaaa->answer.count;
    c->host.name = c->name;
    c->host.preference = c->preference;
    c->host.secure = r->secure;
    c->host.addresses = arena_alloc_array(r->arena, count, sizeof *c->host.addresses);
    if (count && !c->host.addresses)
        return false;
    take_addresses(r, c, c->aaaa);
    take_addresses(r, c, c->a);
    return true;
}

static bool has_trouble(const struct candidate *c)
{
    return c->a && (c->a->answer.outcome == DNS_TROUBLE || c->aaaa->answer.outcome == DNS_TROUBLE);
}

// The route table is ours to mend: what leads nowhere waits.
static void no_way_by_table(struct route *r, bool own)
{
    if (own)
        err_set(&r->err, ERR_TRY_LATER, STATUS(4, 4, 6), "the route leads back to this host");
    else
        err_set(&r->err, ERR_TRY_LATER, STATUS(4, 3, 5),
                "the host %.*s of the route has no address", STR_ARG(r->name));
    defer(r);
}

static void no_way(struct route *r, const struct candidate *troubled, bool own)
{
    if (troubled) {
        const struct dns_answer *a = &troubled->a->answer, *aaaa = &troubled->aaaa->answer;
        err_set(&r->err, ERR_TRY_LATER, STATUS(4, 4, 3), "the address of %.*s: %.*s",
                STR_ARG(troubled->name),
                STR_ARG(a->outcome == DNS_TROUBLE ? a->trouble : aaaa->trouble));
        defer(r);
    } else if (r->port) {
        no_way_by_table(r, own);
    } else if (own) {
        err_set(&r->err, ERR_GIVE_UP, STATUS(5, 4, 6), "mail for %.*s would come back to this host",
                STR_ARG(r->name));
        refuse(r, 554);
    } else if (r->by_mx) {
        err_set(&r->err, ERR_GIVE_UP, STATUS(5, 4, 4), "no MX host of %.*s has an address",
                STR_ARG(r->name));
        refuse(r, 550);
    } else {
        err_set(&r->err, ERR_GIVE_UP, STATUS(5, 1, 2), "%.*s has neither an MX nor an address",
                STR_ARG(r->name));
        refuse(r, 550);
    }
}

static void decide(struct route *r)
{
    const struct candidate *troubled = NULL;
    unsigned own = r->own_preference;
    for (size_t i = 0; i < r->candidate_count; i++) {
        struct candidate *c = &r->candidates[i];
        if (!fill_host(r, c)) {
            no_memory(r);
            return;
        }
        if (c->preference < own && is_own(r, c))
            own = c->preference;
    }
    r->hosts = arena_alloc_array(r->arena, r->candidate_count, sizeof *r->hosts);
    if (!r->hosts) {
        no_memory(r);
        return;
    }
    for (size_t i = 0; i < r->candidate_count; i++) {
        const struct candidate *c = &r->candidates[i];
        if (c->preference >= own)
            continue;
        if (c->host.count)
            r->hosts[r->host_count++] = c->host;
        else if (!troubled && has_trouble(c))
            troubled = c;
    }
    if (r->host_count)
        r->verdict = ROUTE_HOSTS;
    else
        no_way(r, troubled, own < NO_PREFERENCE);
}

// ---- the first round

// The best ones come first; among equals it is chance, so that they share the load.
static size_t choose(struct route *r, struct dns_record *records, size_t count)
{
    size_t chosen = 0;
    shuffle_records(r, records, count);
    while (chosen < count && chosen < LIMIT_mx_hosts) {
        size_t best = chosen;
        for (size_t i = chosen + 1; i < count; i++)
            if (records[i].preference < records[best].preference)
                best = i;
        struct dns_record swap = records[chosen];
        records[chosen++] = records[best];
        records[best] = swap;
    }
    return chosen;
}

static size_t drop_impossible(struct dns_record *records, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (dns_is_host(records[i].name))
            records[kept++] = records[i];
    return kept;
}

static void take_mx(struct route *r, const struct dns_answer *answer)
{
    struct dns_record *records = arena_alloc_array(r->arena, answer->count, sizeof *records);
    if (!records) {
        no_memory(r);
        return;
    }
    memcpy(records, answer->records, answer->count * sizeof *records);
    r->by_mx = true;
    r->secure = answer->security == DNS_SECURE;
    if (answer->count == 1 && records[0].name.len == 0) {
        err_set(&r->err, ERR_GIVE_UP, STATUS(5, 1, 10), "%.*s takes no mail (null MX)",
                STR_ARG(r->name));
        refuse(r, 556);
        return;
    }
    size_t count = drop_impossible(records, answer->count);
    if (count == 0) {
        err_set(&r->err, ERR_GIVE_UP, STATUS(5, 4, 4), "the MX of %.*s is not the name of a host",
                STR_ARG(r->name));
        refuse(r, 550);
        return;
    }
    for (size_t i = 0; i < count; i++) // of those too that are not chosen below
        if (is_own_name(r, records[i].name) && records[i].preference < r->own_preference)
            r->own_preference = records[i].preference;
    count = choose(r, records, count);
    if (!make_candidates(r, count))
        return;
    for (size_t i = 0; i < count; i++) {
        r->candidates[i].name = records[i].name;
        r->candidates[i].preference = records[i].preference;
    }
    ask_addresses(r);
}

// No MX here. Behind an alias the name itself is asked again, until there is no alias: a resolver
// may stop at some length of the chain.
static void take_no_mx(struct route *r, const struct dns_answer *answer, struct str owner)
{
    if (answer->alias_count == 0) {
        r->secure = answer->security == DNS_SECURE;
        one_candidate(r, r->name);
        return;
    }
    r->aliases += answer->alias_count;
    if (!dns_is_host(owner)) {
        err_set(&r->err, ERR_GIVE_UP, STATUS(5, 1, 2), "%.*s is an alias of what is no host",
                STR_ARG(r->name));
        refuse(r, 550);
        return;
    }
    const struct route_step *next = ask(r, owner, DNS_MX);
    if (next && (next->answered || r->aliases > LIMIT_dns_aliases)) {
        err_set(&r->err, ERR_TRY_LATER, STATUS(4, 4, 3), "%.*s: aliases without end",
                STR_ARG(r->name));
        defer(r);
    }
    r->name = owner;
}

static void on_mx(struct route *r, const struct dns_answer *answer)
{
    struct str owner = dns_answer_owner(answer, r->name);
    if (answer->ttl < r->ttl)
        r->ttl = answer->ttl;
    switch (answer->outcome) {
    case DNS_FOUND:
        r->name = owner;
        take_mx(r, answer);
        return;
    case DNS_NO_DATA:
        take_no_mx(r, answer, owner);
        return;
    case DNS_NO_NAME:
        err_set(&r->err, ERR_GIVE_UP, STATUS(5, 1, 2), "the domain %.*s does not exist",
                STR_ARG(owner));
        refuse(r, 550);
        return;
    case DNS_TROUBLE:
        err_set(&r->err, ERR_TRY_LATER, STATUS(4, 4, 3), "the MX of %.*s: %.*s", STR_ARG(r->name),
                STR_ARG(answer->trouble));
        defer(r);
        return;
    }
}

void route_answer(struct route *r, struct route_step *step, const struct dns_reply *reply)
{
    must(!step->answered);
    step->answered = true;
    r->open--;
    dns_answer_read(reply, step->name, step->type, r->arena, &step->answer);
    if (r->verdict != ROUTE_PENDING)
        return;
    if (step->type == DNS_MX)
        on_mx(r, &step->answer);
    else if (r->open == 0 && r->unasked == 0)
        decide(r);
}

// ---- the beginning

void route_init(struct route *r, struct arena *arena, const struct route_own *own, uint64_t random)
{
    *r = (struct route){.ttl = TTL_MAX,
                        .arena = arena,
                        .own = own,
                        .random = random,
                        .own_preference = NO_PREFERENCE};
    list_init(&r->steps);
    r->asked = &r->steps;
}

static void one_address(struct route *r, const struct net_address *address)
{
    struct net_address *copy = ARENA_NEW(r->arena, struct net_address);
    if (!copy || !make_candidates(r, 1)) {
        no_memory(r);
        return;
    }
    *copy = *address;
    copy->port = r->port ? r->port : SMTP_PORT;
    r->candidates[0].host = (struct route_host){.addresses = copy, .count = 1};
    decide(r);
}

// The literal's text was checked when its address was read.
static void to_literal(struct route *r, struct str literal)
{
    struct str inside = str_sub(literal, 1, literal.len - 2), tag = STR("ipv6:");
    struct net_address address;
    if (str_starts(inside, tag))
        inside = str_skip(inside, tag.len);
    if (net_ip_read(inside, &address)) {
        one_address(r, &address);
        return;
    }
    err_set(&r->err, ERR_GIVE_UP, STATUS(5, 1, 2), "%.*s is no address", STR_ARG(literal));
    refuse(r, 550);
}

void route_to_domain(struct route *r, struct str domain)
{
    if (!arena_copy(r->arena, domain, &r->name))
        no_memory(r);
    else if (str_starts(domain, STR("[")) && str_ends(domain, STR("]")))
        to_literal(r, r->name);
    else
        (void)ask(r, r->name, DNS_MX);
}

void route_to_host(struct route *r, struct str host, uint16_t port)
{
    struct net_address address;
    must(port != 0);
    r->port = port;
    if (!arena_copy(r->arena, host, &r->name))
        no_memory(r);
    else if (net_ip_read(host, &address))
        one_address(r, &address);
    else
        one_candidate(r, r->name);
}

void route_to_path(struct route *r, struct str path)
{
    r->hosts = ARENA_NEW(r->arena, struct route_host);
    if (!r->hosts || !arena_copy(r->arena, path, &r->hosts->name)) {
        no_memory(r);
        return;
    }
    r->host_count = 1;
    r->verdict = ROUTE_HOSTS;
}
