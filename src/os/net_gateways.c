// The system's routes, as Linux tells them: a line each, of words apart by blanks. Both tables are
// short, or of no use to us beyond their first lines: default routes of IPv4 stand first.
#include "base/buf.h"
#include "os/file.h"
#include "os/net.h"

enum { TABLE_MAX = 1 << 20, WORDS_MAX = 16, ROUTE_GATEWAY = 2 }; // RTF_GATEWAY of <net/route.h>

struct gateways {
    struct net_address *items;
    size_t count, most;
};

static size_t split(struct str line, struct str words[WORDS_MAX])
{
    struct str blanks = line, tab, word;
    size_t count = 0;
    while (str_cut(&blanks, '\t', &tab))
        while (str_cut(&tab, ' ', &word))
            if (word.len > 0 && count < WORDS_MAX)
                words[count++] = word;
    return count;
}

static bool read_hex(struct str text, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = ascii_lower(text.ptr[i]);
        bool digit = c >= '0' && c <= '9';
        if (!digit && (c < 'a' || c > 'f'))
            return false;
        *number = *number << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    return text.len > 0 && text.len <= 16;
}

static void keep(struct gateways *g, const struct net_address *address)
{
    static const uint8_t none[16] = {0};
    if (g->count < g->most && memcmp(address->bytes, none, sizeof(none)) != 0)
        g->items[g->count++] = *address;
}

// Iface Destination Gateway Flags RefCnt Use Metric Mask ...: addresses as the machine's numbers.
static void read_route4(struct gateways *g, struct str line)
{
    struct str words[WORDS_MAX];
    uint64_t destination, gateway, flags, mask;
    struct net_address address = {.family = 4};
    if (split(line, words) < 8 || !read_hex(words[1], &destination) ||
        !read_hex(words[2], &gateway) || !read_hex(words[3], &flags) || !read_hex(words[7], &mask))
        return;
    uint32_t octets = (uint32_t)gateway;
    memcpy(address.bytes, &octets, sizeof(octets));
    if (destination == 0 && mask == 0 && (flags & ROUTE_GATEWAY))
        keep(g, &address);
}

// Destination Bits Source Bits NextHop Metric RefCnt Use Flags Iface: addresses octet by octet.
static void read_route6(struct gateways *g, struct str line)
{
    struct str words[WORDS_MAX];
    uint64_t bits, flags, octet;
    struct net_address address = {.family = 6};
    if (split(line, words) < 10 || !read_hex(words[1], &bits) || words[4].len != 32 ||
        !read_hex(words[8], &flags))
        return;
    for (size_t i = 0; i < sizeof(address.bytes); i++) {
        if (!read_hex(str_sub(words[4], 2 * i, 2), &octet))
            return;
        address.bytes[i] = (uint8_t)octet;
    }
    if (bits == 0 && (flags & ROUTE_GATEWAY))
        keep(g, &address);
}

size_t net_gateways_read(struct str routes4, struct str routes6, struct net_address *gateways,
                         size_t most)
{
    struct gateways g = {.items = gateways, .most = most};
    struct str line;
    while (str_cut(&routes4, '\n', &line))
        read_route4(&g, line);
    while (str_cut(&routes6, '\n', &line))
        read_route6(&g, line);
    return g.count;
}

size_t net_gateways(struct net_address *gateways, size_t most)
{
    struct buf routes4, routes6;
    buf_init(&routes4, TABLE_MAX);
    buf_init(&routes6, TABLE_MAX);
    // One that is longer is a router's, which needs no default route.
    int result = os_read_file(OS_HERE, "/proc/net/route", &routes4);
    result = os_read_file(OS_HERE, "/proc/net/ipv6_route", &routes6);
    (void)result;
    size_t count = net_gateways_read(buf_str(&routes4), buf_str(&routes6), gateways, most);
    buf_finish(&routes4);
    buf_finish(&routes6);
    return count;
}
