// os/net_address.c: what is read, written and read again is the same; a network holds its own base.
#include "os/net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void address(struct str text)
{
    struct net_address a, again;
    struct buf out;
    if (!net_address_read(text, &a))
        return;
    must(a.family == 4 || a.family == 6);
    buf_init(&out, 100);
    net_put_address(&out, &a);
    must(buf_ok(&out) && net_address_read(buf_str(&out), &again));
    must(memcmp(&a, &again, sizeof(a)) == 0);
    buf_clear(&out);
    net_put_ip(&out, &a);
    must(net_ip_read(buf_str(&out), &again));
    must(memcmp(a.bytes, again.bytes, sizeof(a.bytes)) == 0);
    must(net_is_loopback(&a) == net_is_loopback(&again));
    buf_finish(&out);
}

static void range(struct str text)
{
    struct net_range r;
    if (!net_range_read(text, &r))
        return;
    must(r.bits <= (r.base.family == 4 ? 32 : 128));
    must(net_range_has(&r, &r.base));
    struct net_range again;
    struct buf out;
    buf_init(&out, 100);
    net_put_range(&out, &r);
    must(buf_ok(&out) && net_range_read(buf_str(&out), &again));
    must(r.bits == again.bits && memcmp(&r.base, &again.base, sizeof(r.base)) == 0);
    buf_finish(&out);
    if (r.bits == 0)
        return;
    // The last bit of the prefix decides.
    struct net_address other = r.base;
    other.bytes[(r.bits - 1) / 8] ^= (uint8_t)(0x80 >> (r.bits - 1) % 8);
    must(!net_range_has(&r, &other));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_from(data, size);
    struct net_address a;
    address(text);
    range(text);
    if (net_ip_read(text, &a))
        must(a.port == 0 && (a.family == 4 || a.family == 6));
    return 0;
}
