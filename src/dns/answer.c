#include "dns/answer.h"

#include "base/limits.h"

enum {
    HEADER = 12,
    LABEL_MAX = 63,
    NAME_MAX_OCTETS = 255,           // RFC 1035 section 2.3.4
    NAME_TEXT = 4 * NAME_MAX_OCTETS, // each octet as \DDD
    POINTERS_MAX = 128,              // a name has 127 labels at most
    CLASS_IN = 1,
    RCODE_NO_ERROR = 0,
    RCODE_NO_NAME = 3,
    SOA_NUMBERS = 20, // behind its two names
};

const char *dns_type_name(enum dns_type type)
{
    switch (type) {
    case DNS_A:
        return "A";
    case DNS_NS:
        return "NS";
    case DNS_CNAME:
        return "CNAME";
    case DNS_SOA:
        return "SOA";
    case DNS_MX:
        return "MX";
    case DNS_AAAA:
        return "AAAA";
    case DNS_DNSKEY:
        return "DNSKEY";
    }
    return "?";
}

const char *dns_security_name(enum dns_security security)
{
    static const char *const names[] = {
        [DNS_INSECURE] = "insecure", [DNS_BOGUS] = "bogus", [DNS_SECURE] = "secure"};
    return names[security];
}

const char *dns_outcome_name(enum dns_outcome outcome)
{
    static const char *const names[] = {[DNS_FOUND] = "found",
                                        [DNS_NO_DATA] = "no data",
                                        [DNS_NO_NAME] = "no such name",
                                        [DNS_TROUBLE] = "trouble"};
    return names[outcome];
}

// ---- the packet. A failed read leaves `failed` set: it is asked once, where a record is used.

struct reader {
    struct str packet;
    size_t at;
    bool failed;
};

static uint32_t get(struct reader *r, size_t octets)
{
    uint32_t v = 0;
    if (r->failed || r->at > r->packet.len || octets > r->packet.len - r->at) {
        r->failed = true;
        return 0;
    }
    for (size_t i = 0; i < octets; i++)
        v = v << 8 | (unsigned char)r->packet.ptr[r->at++];
    return v;
}

static void put_octet(struct buf *out, char c)
{
    char lower = ascii_lower(c);
    bool plain = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (plain)
        buf_put_byte(out, lower);
    else
        buf_putf(out, "\\%03u", (unsigned)(unsigned char)c);
}

// RFC 1035 section 4.1.4. A pointer leads back, so that no name goes round.
static void get_name(struct reader *r, struct buf *out)
{
    struct reader at = *r;
    unsigned jumps = 0;
    size_t octets = 0;
    buf_clear(out);
    for (;;) {
        size_t here = at.at;
        uint32_t len = get(&at, 1);
        if ((len & 0xc0) == 0xc0) {
            size_t to = (len & 0x3f) << 8 | get(&at, 1);
            if (jumps++ == 0)
                r->at = at.at;
            at.failed |= to >= here || jumps > POINTERS_MAX;
            at.at = to;
        } else if (len > LABEL_MAX) {
            at.failed = true;
        } else if (len > 0) {
            struct str label = str_sub(at.packet, at.at, len);
            octets += len + 1;
            at.failed |= label.len < len || octets >= NAME_MAX_OCTETS;
            if (out->len)
                buf_put_byte(out, '.');
            for (size_t i = 0; i < label.len; i++)
                put_octet(out, label.ptr[i]);
            at.at += label.len;
        }
        if (at.failed || len == 0)
            break;
    }
    if (jumps == 0)
        r->at = at.at;
    r->failed = at.failed || !buf_ok(out);
}

struct rr {
    uint32_t type, class, ttl;
    size_t data, end; // of its data in the packet
};

static struct rr get_rr(struct reader *r, struct buf *owner)
{
    struct rr rr;
    get_name(r, owner);
    rr.type = get(r, 2);
    rr.class = get(r, 2);
    rr.ttl = get(r, 4);
    if (rr.ttl > INT32_MAX) // RFC 2181 section 8
        rr.ttl = 0;
    size_t len = get(r, 2);
    rr.data = r->at;
    rr.end = rr.data + len;
    if (rr.end > r->packet.len)
        r->failed = true;
    else if (!r->failed)
        r->at = rr.end;
    return rr;
}

// ---- an answer out of it

struct reading {
    struct reader reader; // at the first record
    unsigned answers, authorities;
    struct str name; // whose records are looked for
    enum dns_type type;
    struct arena *arena;
    struct dns_answer *answer;
    struct buf owner, target;
};

static void trouble(struct reading *g, const char *why)
{
    g->answer->outcome = DNS_TROUBLE;
    g->answer->trouble = str_of(why);
    g->answer->alias_count = g->answer->count = 0;
}

static void use_ttl(struct reading *g, uint32_t ttl)
{
    if (ttl < g->answer->ttl)
        g->answer->ttl = ttl;
}

// The next record of the answer section for g->name: its place, or false.
static bool find(struct reading *g, enum dns_type type, struct reader *at, unsigned *number,
                 struct rr *rr)
{
    while (*number < g->answers && !at->failed) {
        *rr = get_rr(at, &g->owner);
        ++*number;
        if (!at->failed && rr->class == CLASS_IN && rr->type == (uint32_t)type &&
            str_eq(buf_str(&g->owner), g->name))
            return true;
    }
    return false;
}

// From alias to alias, RFC 1034 section 3.6.2.
static bool follow(struct reading *g)
{
    struct dns_answer *answer = g->answer;
    answer->aliases = arena_alloc_array(g->arena, LIMIT_dns_aliases, sizeof *answer->aliases);
    if (!answer->aliases) {
        trouble(g, "the answer is too large");
        return false;
    }
    for (;;) {
        struct reader at = g->reader;
        unsigned number = 0;
        struct rr rr;
        if (!find(g, DNS_CNAME, &at, &number, &rr))
            return true;
        struct reader data = {.packet = g->reader.packet, .at = rr.data};
        get_name(&data, &g->target);
        if (data.failed || answer->alias_count == LIMIT_dns_aliases ||
            !arena_copy(g->arena, buf_str(&g->target), &g->name)) {
            trouble(g, data.failed ? "the answer is broken" : "aliases without end");
            return false;
        }
        answer->aliases[answer->alias_count++] = g->name;
        use_ttl(g, rr.ttl);
    }
}

static bool get_record(struct reading *g, const struct rr *rr, struct dns_record *record)
{
    struct reader data = {.packet = str_sub(g->reader.packet, 0, rr->end), .at = rr->data};
    *record = (struct dns_record){.preference = 0};
    if (g->type == DNS_MX) {
        record->preference = (uint16_t)get(&data, 2);
        get_name(&data, &g->target);
        return !data.failed && arena_copy(g->arena, buf_str(&g->target), &record->name);
    }
    size_t octets = g->type == DNS_A ? 4 : 16;
    if (rr->end - rr->data != octets)
        return false;
    record->address.family = g->type == DNS_A ? 4 : 6;
    memcpy(record->address.bytes, data.packet.ptr + rr->data, octets);
    net_address_unmap(&record->address);
    return true;
}

static void collect(struct reading *g)
{
    struct dns_answer *answer = g->answer;
    struct reader at = g->reader;
    unsigned number = 0;
    struct rr rr;
    size_t count = 0;
    while (find(g, g->type, &at, &number, &rr))
        count++;
    if (at.failed) {
        trouble(g, "the answer is broken");
        return;
    }
    answer->records = arena_alloc_array(g->arena, count, sizeof *answer->records);
    if (count && !answer->records) {
        trouble(g, "the answer is too large");
        return;
    }
    at = g->reader;
    number = 0;
    while (find(g, g->type, &at, &number, &rr)) {
        if (!get_record(g, &rr, &answer->records[answer->count])) {
            trouble(g, "the answer is broken");
            return;
        }
        answer->count++;
        use_ttl(g, rr.ttl);
    }
    answer->outcome = answer->count ? DNS_FOUND : DNS_NO_DATA;
}

// How long a no holds: RFC 2308 section 5. Not at all where no SOA says so.
static void use_soa(struct reading *g)
{
    struct reader at = g->reader;
    uint32_t ttl = 0;
    for (unsigned i = 0; i < g->answers; i++)
        (void)get_rr(&at, &g->owner);
    for (unsigned i = 0; i < g->authorities && !at.failed; i++) {
        struct rr rr = get_rr(&at, &g->owner);
        if (at.failed || rr.type != DNS_SOA || rr.end - rr.data < SOA_NUMBERS)
            continue;
        struct reader data = {.packet = g->reader.packet, .at = rr.end - 4};
        uint32_t minimum = get(&data, 4);
        ttl = minimum < rr.ttl ? minimum : rr.ttl;
    }
    use_ttl(g, ttl);
}

static void read_packet(struct reading *g)
{
    struct reader *r = &g->reader;
    r->at = 2;
    uint32_t flags = get(r, 2);
    uint32_t questions = get(r, 2);
    g->answers = get(r, 2);
    g->authorities = get(r, 2);
    (void)get(r, 2);
    for (uint32_t i = 0; i < questions && !r->failed; i++) {
        get_name(r, &g->owner);
        (void)get(r, 4);
    }
    uint32_t rcode = flags & 15;
    if (r->failed) {
        trouble(g, "the answer is broken");
    } else if (rcode != RCODE_NO_ERROR && rcode != RCODE_NO_NAME) {
        trouble(g, "the name server failed");
    } else if (follow(g)) {
        collect(g);
        if (g->answer->outcome == DNS_NO_DATA && rcode == RCODE_NO_NAME)
            g->answer->outcome = DNS_NO_NAME;
        if (g->answer->outcome == DNS_NO_DATA || g->answer->outcome == DNS_NO_NAME)
            use_soa(g);
    }
}

void dns_answer_read(const struct dns_reply *reply, struct str name, enum dns_type type,
                     struct arena *arena, struct dns_answer *answer)
{
    struct reading g = {.reader = {.packet = reply->packet},
                        .name = name,
                        .type = type,
                        .arena = arena,
                        .answer = answer};
    *answer = (struct dns_answer){.security = reply->security, .ttl = UINT32_MAX};
    buf_init(&g.owner, NAME_TEXT);
    buf_init(&g.target, NAME_TEXT);
    if (reply->trouble)
        trouble(&g, reply->trouble);
    else if (reply->security == DNS_BOGUS)
        trouble(&g, "the answer's signature is wrong");
    else
        read_packet(&g);
    if (answer->outcome == DNS_TROUBLE)
        answer->ttl = 0;
    buf_finish(&g.owner);
    buf_finish(&g.target);
}

struct str dns_answer_owner(const struct dns_answer *answer, struct str name)
{
    return answer->alias_count ? answer->aliases[answer->alias_count - 1] : name;
}

bool dns_is_host(struct str name)
{
    struct str last = str_skip(name, str_rindex(name, '.') + 1);
    uint64_t number;
    if (str_rindex(name, '.') == name.len)
        last = name;
    return last.len > 0 && str_index(name, '\\') == name.len && name.len <= LIMIT_domain &&
           !str_to_u64(last, &number);
}
