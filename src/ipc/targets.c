// A flag in one octet; then texts, each its length in two octets, little-endian, and its octets.
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
