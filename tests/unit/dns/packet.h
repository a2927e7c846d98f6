// DNS packets as name servers write them, for tests. Names are text; "" is the root.
#ifndef TESTS_UNIT_DNS_PACKET_H
#define TESTS_UNIT_DNS_PACKET_H

#include "dns/answer.h"
#include "../check.h"

static inline void put_be(struct buf *out, size_t octets, uint64_t v)
{
    while (octets-- > 0)
        buf_put_byte(out, (char)(unsigned char)(v >> (8 * octets)));
}

static inline void put_name(struct buf *out, struct str name)
{
    struct str label;
    while (str_cut(&name, '.', &label)) {
        put_be(out, 1, (uint32_t)label.len);
        buf_put(out, label);
    }
    put_be(out, 1, 0);
}

// The header and the question; counts of answers and authorities follow with set_counts.
static inline void begin_packet(struct buf *out, struct str name, enum dns_type type,
                                unsigned rcode)
{
    buf_clear(out);
    put_be(out, 2, 0);
    put_be(out, 2, 0x8180 | rcode);
    put_be(out, 2, 1);
    put_be(out, 6, 0);
    put_name(out, name);
    put_be(out, 2, (uint32_t)type);
    put_be(out, 2, 1);
}

static inline void set_counts(struct buf *out, unsigned answers, unsigned authorities)
{
    out->ptr[6] = (char)(answers >> 8);
    out->ptr[7] = (char)answers;
    out->ptr[9] = (char)authorities;
}

// `value`: "10 mx.example", "192.0.2.1", "2001:db8::1", a name; of SOA the minimum.
static inline void put_record(struct buf *out, struct str owner, enum dns_type type, uint32_t ttl,
                              const char *value)
{
    struct str text = str_of(value), word;
    struct net_address address;
    struct buf data;
    uint64_t number = 0;
    buf_init(&data, 65535);
    switch (type) {
    case DNS_A:
    case DNS_AAAA:
        assert_true(net_ip_read(text, &address));
        buf_put(&data, str_from(address.bytes, type == DNS_A ? 4 : 16));
        break;
    case DNS_MX:
        assert_true(str_cut(&text, ' ', &word) && str_to_u64(word, &number));
        put_be(&data, 2, (uint32_t)number);
        put_name(&data, text);
        break;
    case DNS_SOA:
        assert_true(str_to_u64(text, &number));
        put_name(&data, STR("ns.example"));
        put_name(&data, STR("hostmaster.example"));
        put_be(&data, 8, 0);
        put_be(&data, 8, 0);
        put_be(&data, 4, (uint32_t)number);
        break;
    case DNS_NS:
    case DNS_CNAME:
    case DNS_DNSKEY:
        put_name(&data, text);
        break;
    }
    put_name(out, owner);
    put_be(out, 2, (uint32_t)type);
    put_be(out, 2, 1);
    put_be(out, 4, ttl);
    put_be(out, 2, (uint32_t)data.len);
    buf_put(out, buf_str(&data));
    buf_finish(&data);
}

#endif
