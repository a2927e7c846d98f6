// A flag in one octet, numbers; then texts, each its length in two octets, and its octets. All
// little-endian.
#include "ipc/targets.h"

static void put_text(struct buf *out, struct str text)
{
    must(text.len <= UINT16_MAX);
    buf_put_u16(out, (uint16_t)text.len);
    buf_put(out, text);
}

void targets_put(struct buf *out, const struct resolved_target *target)
{
    buf_put_byte(out, target->locked);
    put_text(out, target->address);
    put_text(out, target->mailbox);
    put_text(out, target->token);
}

static bool take_text(struct str *in, struct str *text)
{
    if (in->len < 2)
        return false;
    size_t len = (size_t)str_take_le(in, 2);
    if (len > in->len)
        return false;
    *text = str_sub(*in, 0, len);
    *in = str_skip(*in, len);
    return true;
}

bool targets_take(struct str *targets, struct resolved_target *target)
{
    struct str rest = *targets;
    if (!rest.len)
        return false;
    target->locked = str_take_le(&rest, 1) != 0;
    if (!take_text(&rest, &target->address) || !take_text(&rest, &target->mailbox) ||
        !take_text(&rest, &target->token))
        return false;
    *targets = rest;
    return true;
}

void ways_put(struct buf *out, const struct routed_way *way)
{
    const struct net_address *address = &way->address;
    buf_put_byte(out, way->secure);
    buf_put_u16(out, way->preference);
    buf_put_byte(out, (char)address->family);
    buf_put_u16(out, address->port);
    put_text(out, str_from(address->bytes, sizeof address->bytes));
    put_text(out, way->host);
}

bool ways_take(struct str *ways, struct routed_way *way)
{
    struct str rest = *ways, bytes;
    if (rest.len < 6)
        return false;
    *way = (struct routed_way){.secure = str_take_le(&rest, 1) != 0};
    way->preference = (uint16_t)str_take_le(&rest, 2);
    way->address.family = (uint8_t)str_take_le(&rest, 1);
    way->address.port = (uint16_t)str_take_le(&rest, 2);
    if (!take_text(&rest, &bytes) || bytes.len != sizeof way->address.bytes ||
        !take_text(&rest, &way->host))
        return false;
    memcpy(way->address.bytes, bytes.ptr, bytes.len);
    *ways = rest;
    return true;
}

void results_put(struct buf *out, const struct sent_result *result)
{
    buf_put_byte(out, (char)result->outcome);
    buf_put_u16(out, (uint16_t)result->code);
    buf_put_byte(out, (char)result->status.class);
    buf_put_u16(out, result->status.subject);
    buf_put_u16(out, result->status.detail);
    put_text(out, result->text);
}

bool results_take(struct str *results, struct sent_result *result)
{
    struct str rest = *results;
    if (rest.len < 8)
        return false;
    unsigned outcome = (unsigned)str_take_le(&rest, 1);
    *result = (struct sent_result){.outcome = outcome, .code = (unsigned)str_take_le(&rest, 2)};
    result->status.class = (uint8_t)str_take_le(&rest, 1);
    result->status.subject = (uint16_t)str_take_le(&rest, 2);
    result->status.detail = (uint16_t)str_take_le(&rest, 2);
    if (outcome > SENT_UNTRIED || !take_text(&rest, &result->text))
        return false;
    *results = rest;
    return true;
}
