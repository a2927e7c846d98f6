// Addresses as text and as values; no system call is made here.
#define _GNU_SOURCE
#include "os/net.h"

#include <arpa/inet.h>

enum { IP_TEXT_MAX = INET6_ADDRSTRLEN };

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static size_t address_len(const struct net_address *address)
{
    return address->family == 4 ? 4 : 16;
}

void net_address_unmap(struct net_address *address)
{
    if (address->family != 6 || memcmp(address->bytes, mapped_prefix, sizeof(mapped_prefix)) != 0)
        return;
    memmove(address->bytes, address->bytes + 12, 4);
    memset(address->bytes + 4, 0, 12);
    address->family = 4;
    address->scope = 0;
}

// An address as it is written, ::ffff:a.b.c.d still IPv6.
static bool read_ip(struct str text, struct net_address *address)
{
    char ip[IP_TEXT_MAX];
    struct net_address a = {0};
    struct str zone = text;
    bool zoned = str_index(text, '%') < text.len;
    uint64_t scope = 0;
    if (zoned) {
        if (!str_cut(&zone, '%', &text) || !str_to_u64(zone, &scope) || scope > UINT32_MAX)
            return false;
    }
    if (text.len == 0 || text.len >= sizeof(ip) || str_index(text, '\0') < text.len)
        return false;
    memcpy(ip, text.ptr, text.len);
    ip[text.len] = '\0';
    if (!zoned && inet_pton(AF_INET, ip, a.bytes) == 1)
        a.family = 4;
    else if (inet_pton(AF_INET6, ip, a.bytes) == 1)
        a.family = 6;
    else
        return false;
    a.scope = (uint32_t)scope;
    *address = a;
    return true;
}

bool net_ip_read(struct str text, struct net_address *address)
{
    if (!read_ip(text, address))
        return false;
    net_address_unmap(address);
    return true;
}

bool net_address_read(struct str text, struct net_address *address)
{
    size_t colon = str_rindex(text, ':');
    struct str host = str_sub(text, 0, colon), port = str_skip(text, colon + 1);
    struct net_address a = {.family = 6};
    uint64_t number;
    if (colon == text.len || port.len > 5 || !str_to_u64(port, &number) || number > UINT16_MAX)
        return false;
    if (str_starts(host, STR("["))) {
        if (!str_ends(host, STR("]")) || host.len < 2)
            return false;
        host = str_sub(host, 1, host.len - 2);
        if (str_index(host, ':') == host.len || !net_ip_read(host, &a))
            return false;
    } else if (!str_eq(host, STR("*"))) {
        // A bare IPv6 address would leave open where the port begins.
        if (str_index(host, ':') < host.len || !net_ip_read(host, &a))
            return false;
    }
    a.port = (uint16_t)number;
    *address = a;
    return true;
}

void net_put_ip(struct buf *out, const struct net_address *address)
{
    char ip[IP_TEXT_MAX];
    must(address->family == 4 || address->family == 6);
    must(inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->bytes, ip, sizeof(ip)));
    buf_put(out, str_of(ip));
}

void net_put_address(struct buf *out, const struct net_address *address)
{
    bool six = address->family == 6;
    if (six)
        buf_put_byte(out, '[');
    net_put_ip(out, address);
    if (six && address->scope)
        buf_putf(out, "%%%u", address->scope);
    if (six)
        buf_put_byte(out, ']');
    buf_putf(out, ":%u", address->port);
}

bool net_address_equal(const struct net_address *a, const struct net_address *b)
{
    return a->family == b->family && a->port == b->port && a->scope == b->scope &&
           memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool net_is_loopback(const struct net_address *address)
{
    static const uint8_t loopback6[16] = {[15] = 1};
    if (address->family == 4)
        return address->bytes[0] == 127;
    return address->family == 6 && memcmp(address->bytes, loopback6, 16) == 0;
}

// The first `bits` bits are the same.
static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned rest = bits % 8;
    if (memcmp(a, b, bits / 8) != 0)
        return false;
    return rest == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - rest)) == 0;
}

static bool tail_is_zero(const struct net_address *address, unsigned bits)
{
    struct net_address zero = {0};
    memcpy(zero.bytes, address->bytes, bits / 8);
    if (bits % 8)
        zero.bytes[bits / 8] = (uint8_t)(address->bytes[bits / 8] & (0xff00 >> (bits % 8)));
    return memcmp(zero.bytes, address->bytes, address_len(address)) == 0;
}

bool net_range_read(struct str text, struct net_range *range)
{
    struct str ip, prefix = text;
    struct net_address base;
    uint64_t bits;
    bool given = str_index(text, '/') < text.len;
    if (!str_cut(&prefix, '/', &ip) || !read_ip(ip, &base) || base.scope)
        return false;
    uint64_t most = address_len(&base) * 8;
    bits = most;
    if (given && (prefix.len > 3 || !str_to_u64(prefix, &bits) || bits > most))
        return false;
    if (!tail_is_zero(&base, (unsigned)bits))
        return false;
    bool six = base.family == 6;
    if (!six || bits >= 96)
        net_address_unmap(&base);
    if (six && base.family == 4)
        bits -= 96;
    *range = (struct net_range){.base = base, .bits = (uint8_t)bits};
    return true;
}

void net_put_range(struct buf *out, const struct net_range *range)
{
    net_put_ip(out, &range->base);
    if (range->bits < address_len(&range->base) * 8)
        buf_putf(out, "/%u", range->bits);
}

bool net_range_has(const struct net_range *range, const struct net_address *address)
{
    return range->base.family == address->family &&
           same_prefix(range->base.bytes, address->bytes, range->bits);
}
