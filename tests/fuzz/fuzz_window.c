// The input is a window, its first two octets where the manifest begins. What is parsed lies
// within; what is intact has its CRC; and its items written again are the manifest.
#include "store/window.h"

#include "base/crc32c.h"
#include "base/limits.h"
#include "within.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct window_view view;
    struct err err = {.class = ERR_NONE};
    if (size < 2)
        return 0;
    uint64_t manifest = (uint64_t)data[0] << 8 | data[1];
    struct str bytes = str_from(data + 2, size - 2);
    arena_init(&arena, 4 << 20);
    if (window_parse(bytes, manifest, &arena, &view, &err)) {
        struct window again = {.fd = -1};
        struct str bodies = str_sub(bytes, 0, (size_t)manifest);
        must(view.count <= LIMIT_delivery_batch);
        buf_init(&again.manifest, 1 << 20);
        view.memory = (void *)(uintptr_t)bytes.ptr;
        for (size_t i = 0; i < view.count; i++) {
            const struct window_item *item = &view.items[i];
            struct str body = window_body(&view, item);
            must(within(bodies, body) && within(bytes, item->mailbox) &&
                 within(bytes, item->header));
            must(view.intact[i] == (crc32c(0, body) == item->crc));
            window_put_item(&again, item);
        }
        must(str_eq(buf_str(&again.manifest), str_skip(bytes, (size_t)manifest)));
        buf_finish(&again.manifest);
    } else {
        must(err.class == ERR_PEER_WRONG || err.class == ERR_TRY_LATER);
    }
    arena_finish(&arena);
    return 0;
}
