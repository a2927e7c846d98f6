// The input is the manifest of a large body, its first two octets the body's size. Items that are
// taken are all of that one body, lie within the input, and are the manifest when written again.
#include "store/window.h"

#include "base/limits.h"
#include "within.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct window_view *view, struct str items, uint64_t body)
{
    struct window again = {.fd = -1};
    must(view->count > 0 && view->count <= LIMIT_delivery_batch && !view->memory);
    buf_init(&again.manifest, items.len);
    for (size_t i = 0; i < view->count; i++) {
        const struct window_item *item = &view->items[i];
        must(item->offset == 0 && item->size == body && item->crc == view->items[0].crc);
        must(within(items, item->mailbox) && within(items, item->header));
        window_put_item(&again, item);
    }
    must(str_eq(buf_str(&again.manifest), items));
    buf_finish(&again.manifest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct window_view view;
    struct err err = {.class = ERR_NONE};
    if (size < 2)
        return 0;
    uint64_t body = (uint64_t)data[0] << 8 | data[1];
    struct str items = str_from(data + 2, size - 2);
    arena_init(&arena, 4 << 20);
    if (window_read_items(items, body, &arena, &view, &err))
        check(&view, items, body);
    else
        must(err.class == ERR_PEER_WRONG || err.class == ERR_TRY_LATER);
    arena_finish(&arena);
    return 0;
}
