// A private range is whoever's network the host happens to stand in, and behind a gateway that
// passes connections on as its own all the world has its address: to trust them is to be an open
// relay, sooner or later.
#include "conf/networks.h"

// Shorter prefixes are nobody's network.
enum { BITS_MIN = 8 };

static const char *const private_ranges[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
                                             "100.64.0.0/10", "fc00::/7"};

static struct net_range single(const struct net_address *address)
{
    return (struct net_range){*address, address->family == 4 ? 32 : 128};
}

static bool covers(const struct net_range *range, const struct net_range *other)
{
    return range->bits <= other->bits && net_range_has(range, &other->base);
}

static struct str text_of(struct arena *arena, const struct net_range *range)
{
    struct buf text;
    buf_init(&text, 64);
    net_put_range(&text, range);
    struct str copy = problem_text(arena, "%.*s", STR_ARG(buf_str(&text)));
    buf_finish(&text);
    return copy;
}

bool network_is_wide(const struct net_range *range, const struct net_address *gateways,
                     size_t gateway_count, struct arena *arena, struct complaint *complaint)
{
    struct str own = text_of(arena, range);
    struct str hint = STR("write the networks that are yours alone; or, where everybody there may "
                          "relay, trust_wide: yes");
    for (size_t i = 0; i < ARRAY_LEN(private_ranges); i++) {
        struct net_range private;
        bool ok = net_range_read(str_of(private_ranges[i]), &private);
        must(ok);
        if (covers(range, &private))
            return !complain(complaint,
                             problem_text(arena, "%.*s holds the whole private range %s",
                                          STR_ARG(own), private_ranges[i]),
                             hint);
    }
    if (range->bits < BITS_MIN)
        return !complain(complaint, problem_text(arena, "%.*s is nobody's network", STR_ARG(own)),
                         hint);
    for (size_t i = 0; i < gateway_count; i++) {
        struct net_range gateway = single(&gateways[i]);
        if (covers(range, &gateway) && covers(&gateway, range))
            return !complain(
                complaint,
                problem_text(arena, "%.*s is a default gateway of this host", STR_ARG(own)), hint);
    }
    return false;
}

const struct conf_network *conf_find_trusted(const struct conf *conf,
                                             const struct net_address *gateways,
                                             size_t gateway_count, const struct net_address *client)
{
    for (size_t i = 0; i < gateway_count && !conf->trust_wide; i++) {
        struct net_range gateway = single(&gateways[i]);
        if (net_range_has(&gateway, client))
            return NULL;
    }
    for (size_t i = 0; i < conf->trusted.count; i++)
        if (net_range_has(&conf->trusted.items[i].range, client))
            return &conf->trusted.items[i];
    return NULL;
}
