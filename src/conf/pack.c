// The configuration on its way to a role: a mark with the number of options (a role of another
// build is refused), the options in the order of options.def, the listeners, the routes.
// Little-endian; a text is its length in 32 bits and its octets.
#include "base/limits.h"
#include "conf/value.h"

enum { PACK_MARK = 0x32434850, ADDRESS_OCTETS = 23, ROUTE_OCTETS = 12 }; // "PHC2"

static void put_address(struct buf *out, const struct net_address *address)
{
    buf_put_byte(out, (char)address->family);
    buf_put(out, str_from(address->bytes, sizeof(address->bytes)));
    buf_put_u16(out, address->port);
    buf_put_u32(out, address->scope);
}

static void put_text(struct buf *out, struct str text)
{
    buf_put_u32(out, (uint32_t)text.len);
    buf_put(out, text);
}

static void put_networks(struct buf *out, const struct conf_networks *networks)
{
    buf_put_u32(out, (uint32_t)networks->count);
    for (size_t i = 0; i < networks->count; i++) {
        const struct conf_network *network = &networks->items[i];
        put_address(out, &network->range.base);
        buf_put_byte(out, (char)network->range.bits);
        put_text(out, network->place.file);
        buf_put_u32(out, network->place.line);
        buf_put_u32(out, network->place.column);
    }
}

void conf_pack(struct buf *out, const struct conf *conf)
{
    buf_put_u32(out, PACK_MARK);
    buf_put_u32(out, CONF_OPTIONS);
    for (enum conf_option_number n = 0; n < CONF_OPTIONS; n++) {
        const struct conf_option *option = option_at(n);
        struct conf_value value = value_of(conf, option);
        if (value_has_text(option))
            put_text(out, value.text);
        else if (option->type == CONF_NETWORKS)
            put_networks(out, &value.networks);
        else
            buf_put_u64(out, value.number);
    }
    buf_put_u32(out, (uint32_t)conf->listen_count);
    for (size_t i = 0; i < conf->listen_count; i++) {
        buf_put_byte(out, (char)conf->listen[i].protocol);
        put_address(out, &conf->listen[i].address);
    }
    buf_put_u32(out, (uint32_t)conf->route_count);
    for (size_t i = 0; i < conf->route_count; i++) {
        put_text(out, conf->routes[i].domain);
        put_text(out, conf->routes[i].sender);
        put_text(out, conf->routes[i].to);
    }
}

// A failed read gives zeros and leaves `failed` set: ask once at the end.
struct reader {
    struct str rest;
    bool failed;
};

static struct str get_bytes(struct reader *r, uint64_t len)
{
    struct str head = str_sub(r->rest, 0, (size_t)len);
    if (len > r->rest.len) {
        r->failed = true;
        return STR("");
    }
    r->rest = str_skip(r->rest, (size_t)len);
    return head;
}

static uint64_t get_number(struct reader *r, size_t octets)
{
    struct str bytes = get_bytes(r, octets);
    uint64_t v = 0;
    for (size_t i = bytes.len; i > 0; i--)
        v = v << 8 | (unsigned char)bytes.ptr[i - 1];
    return v;
}

// One value has one form: what an IPv4 address does not use is zero.
static bool get_address(struct reader *r, struct net_address *address)
{
    static const uint8_t zeros[12] = {0};
    *address = (struct net_address){.family = (uint8_t)get_number(r, 1)};
    struct str bytes = get_bytes(r, sizeof(address->bytes));
    if (r->failed)
        return false;
    memcpy(address->bytes, bytes.ptr, sizeof(address->bytes));
    address->port = (uint16_t)get_number(r, 2);
    address->scope = (uint32_t)get_number(r, 4);
    if (address->family == 4)
        return address->scope == 0 && memcmp(address->bytes + 4, zeros, sizeof(zeros)) == 0;
    return address->family == 6;
}

// One range has one form too: what its text gives when it is read.
static bool get_range(struct reader *r, struct net_range *range)
{
    struct net_range same;
    struct buf text;
    bool ok = get_address(r, &range->base);
    range->bits = (uint8_t)get_number(r, 1);
    if (!ok || r->failed || range->base.port || range->base.scope)
        return false;
    buf_init(&text, 64);
    net_put_range(&text, range);
    ok = net_range_read(buf_str(&text), &same) && same.bits == range->bits &&
         same.base.family == range->base.family;
    buf_finish(&text);
    return ok;
}

static bool get_networks(struct reader *r, struct arena *arena, struct conf_networks *networks,
                         struct err *err)
{
    uint64_t count = get_number(r, 4);
    if (r->failed || count > LIMIT_networks)
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "the packed configuration ends early");
    networks->items = arena_alloc_array(arena, (size_t)count, sizeof(*networks->items));
    if (count && !networks->items)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no room for the configuration");
    for (; networks->count < count; networks->count++) {
        struct conf_network *network = &networks->items[networks->count];
        bool ok = get_range(r, &network->range);
        struct str file = get_bytes(r, get_number(r, 4));
        network->place.line = (unsigned)get_number(r, 4);
        network->place.column = (unsigned)get_number(r, 4);
        if (!ok || r->failed)
            return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0),
                           "the packed configuration has a network that can not be");
        if (!arena_copy(arena, file, &network->place.file))
            return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no room for the configuration");
    }
    return true;
}

static bool get_value(struct reader *r, const struct conf_option *option, struct arena *arena,
                      struct conf_value *value, struct err *err)
{
    *value = (struct conf_value){.text = STR("")};
    struct complaint complaint;
    if (value_has_text(option)) {
        struct str text = get_bytes(r, get_number(r, 4));
        if (!arena_copy(arena, text, &value->text))
            return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no room for the configuration");
    } else if (option->type == CONF_NETWORKS) {
        if (!get_networks(r, arena, &value->networks, err))
            return false;
    } else {
        value->number = get_number(r, 8);
    }
    if (r->failed)
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "the packed configuration ends early");
    if (!value_check(option, value, arena, &complaint))
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "the packed configuration: %s: %.*s",
                       option->name, STR_ARG(complaint.text));
    return true;
}

static bool get_option(struct reader *r, const struct conf_option *option, struct arena *arena,
                       struct conf *conf, struct err *err)
{
    struct conf_value value;
    if (!get_value(r, option, arena, &value, err))
        return false;
    value_store(conf, option, &value);
    return true;
}

static bool get_listen(struct reader *r, struct arena *arena, struct conf *conf, struct err *err)
{
    uint64_t count = get_number(r, 4);
    if (r->failed || count > r->rest.len / (1 + ADDRESS_OCTETS))
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "the packed configuration ends early");
    conf->listen = arena_alloc_array(arena, (size_t)count, sizeof(*conf->listen));
    if (count && !conf->listen)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no room for the configuration");
    for (; conf->listen_count < count; conf->listen_count++) {
        struct conf_listen *listen = &conf->listen[conf->listen_count];
        uint64_t protocol = get_number(r, 1);
        listen->protocol = (enum conf_protocol)protocol;
        if (protocol >= CONF_PROTOCOLS || !get_address(r, &listen->address))
            return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0),
                           "the packed configuration has a listener that can not be");
    }
    return true;
}

static bool get_routes(struct reader *r, struct arena *arena, struct conf *conf, struct err *err)
{
    const struct conf_option *fields = option_record(CONF_RECORD_routes)->fields;
    uint64_t count = get_number(r, 4);
    if (r->failed || count > r->rest.len / ROUTE_OCTETS)
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "the packed configuration ends early");
    conf->routes = arena_alloc_array(arena, (size_t)count, sizeof(*conf->routes));
    if (count && !conf->routes)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no room for the configuration");
    for (; conf->route_count < count; conf->route_count++) {
        struct conf_value domain, sender, to;
        if (!get_value(r, &fields[0], arena, &domain, err) ||
            !get_value(r, &fields[1], arena, &sender, err) ||
            !get_value(r, &fields[2], arena, &to, err))
            return false;
        conf->routes[conf->route_count] = (struct route_rule){domain.text, sender.text, to.text};
    }
    return true;
}

bool conf_unpack(struct str packed, struct arena *arena, struct conf *conf, struct err *err)
{
    struct reader r = {.rest = packed};
    *conf = (struct conf){0};
    if (packed.len > LIMIT_config_packed || get_number(&r, 4) != PACK_MARK ||
        get_number(&r, 4) != CONF_OPTIONS)
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "this is no packed configuration");
    conf->places = arena_alloc_array(arena, CONF_OPTIONS, sizeof(*conf->places));
    if (!conf->places)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 0), "no room for the configuration");
    for (enum conf_option_number n = 0; n < CONF_OPTIONS; n++)
        if (!get_option(&r, option_at(n), arena, conf, err))
            return false;
    if (!get_listen(&r, arena, conf, err) || !get_routes(&r, arena, conf, err))
        return false;
    return r.rest.len == 0 ||
           err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "the packed configuration has a tail");
}
