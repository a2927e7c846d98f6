// Targets that are taken lie within the input, and when written again are taken as the same; where
// none is, nothing is taken.
#include "ipc/targets.h"

#include "within.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct str octets, const struct resolved_target *target)
{
    struct resolved_target again;
    struct buf bytes;
    must(within(octets, target->address) && within(octets, target->mailbox) &&
         within(octets, target->token));
    buf_init(&bytes, octets.len);
    targets_put(&bytes, target);
    must(buf_ok(&bytes) && bytes.len == octets.len);
    struct str rest = buf_str(&bytes);
    must(targets_take(&rest, &again) && rest.len == 0);
    must(str_eq(target->address, again.address) && str_eq(target->mailbox, again.mailbox) &&
         str_eq(target->token, again.token) && target->locked == again.locked);
    buf_finish(&bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct resolved_target target;
    struct str rest = str_from(data, size), before = rest;
    while (targets_take(&rest, &target)) {
        must(rest.len < before.len && rest.ptr == before.ptr + (before.len - rest.len));
        check(str_sub(before, 0, before.len - rest.len), &target);
        before = rest;
    }
    must(rest.ptr == before.ptr && rest.len == before.len);
    return 0;
}
