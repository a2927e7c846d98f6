#include "store/window.h"

#include "base/crc32c.h"
#include "base/limits.h"
#include "os/file.h"

enum { ITEM_FIXED = 16 + 4 + 4 + 4 + 8 + 8 + 2 + 2, MANIFEST_MAX = LIMIT_delivery_batch * 2048 };

bool window_open(struct window *w, struct err *err)
{
    *w = (struct window){.fd = os_memfd("window")};
    if (w->fd < 0)
        return err_system(err, w->fd, "memory for a delivery");
    buf_init(&w->bodies,
             SIZE_MAX / 2); // the batch's limits hold: one letter of any size, or several
    buf_init(&w->manifest, MANIFEST_MAX);
    return true;
}

void window_open_file(struct window *w, int fd, uint64_t size)
{
    *w = (struct window){.fd = fd, .size = size};
    buf_init(&w->manifest, LIMIT_message - 1024); // of a message with other fields
}

void window_put_item(struct window *w, const struct window_item *item)
{
    struct buf *m = &w->manifest;
    must(item->mailbox.len <= UINT16_MAX && item->header.len <= UINT16_MAX);
    buf_put(m, str_from(item->id.bytes, sizeof item->id.bytes));
    buf_put_u32(m, item->recipient);
    buf_put_u32(m, item->scan_flags);
    buf_put_u32(m, item->crc);
    buf_put_u64(m, item->offset);
    buf_put_u64(m, item->size);
    buf_put_u16(m, (uint16_t)item->mailbox.len);
    buf_put_u16(m, (uint16_t)item->header.len);
    buf_put(m, item->mailbox);
    buf_put(m, item->header);
    w->count++;
}

bool window_seal(struct window *w, uint64_t *manifest, struct err *err)
{
    if (!buf_ok(&w->manifest))
        return err_set(err, ERR_OUR_BUG, STATUS(4, 3, 0), "the manifest of a delivery is too long");
    *manifest = w->bodies.len;
    int rc = os_write_all(w->fd, buf_str(&w->bodies));
    if (rc == 0)
        rc = os_write_all(w->fd, buf_str(&w->manifest));
    if (rc == 0)
        rc = os_seal(w->fd, OS_SEAL_SHRINK | OS_SEAL_GROW | OS_SEAL_WRITE);
    if (rc < 0)
        return err_system(err, rc, "memory for a delivery");
    w->size = w->bodies.len + w->manifest.len;
    buf_release(&w->bodies);
    return true;
}

void window_close(struct window *w)
{
    os_close(&w->fd);
    buf_finish(&w->bodies);
    buf_finish(&w->manifest);
}

static struct str take_text(struct str *in, size_t n)
{
    struct str text = str_sub(*in, 0, n);
    *in = str_skip(*in, n);
    return text;
}

static bool parse_item(struct str *rest, uint64_t bodies, struct window_item *item)
{
    if (rest->len < ITEM_FIXED)
        return false;
    memcpy(item->id.bytes, rest->ptr, sizeof item->id.bytes);
    *rest = str_skip(*rest, sizeof item->id.bytes);
    item->recipient = (uint32_t)str_take_le(rest, 4);
    item->scan_flags = (uint32_t)str_take_le(rest, 4);
    item->crc = (uint32_t)str_take_le(rest, 4);
    item->offset = str_take_le(rest, 8);
    item->size = str_take_le(rest, 8);
    size_t mailbox = (size_t)str_take_le(rest, 2), header = (size_t)str_take_le(rest, 2);
    if (mailbox + header > rest->len)
        return false;
    item->mailbox = take_text(rest, mailbox);
    item->header = take_text(rest, header);
    return item->offset <= bodies && item->size <= bodies - item->offset;
}

// `bodies`: octets that the items may speak of.
static bool parse_items(struct str rest, uint64_t bodies, struct arena *arena,
                        struct window_view *view, struct err *err)
{
    *view = (struct window_view){.memory = NULL};
    if (rest.len > MANIFEST_MAX)
        return err_set(err, ERR_PEER_WRONG, STATUS(4, 3, 0), "a manifest that is too long");
    size_t most = rest.len / ITEM_FIXED;
    if (most > LIMIT_delivery_batch)
        most = LIMIT_delivery_batch;
    view->items = arena_alloc_array(arena, most + 1, sizeof *view->items);
    view->intact = arena_alloc_array(arena, most + 1, sizeof *view->intact);
    if (!view->items || !view->intact)
        return err_set(err, ERR_TRY_LATER, STATUS(4, 3, 1), "no memory for a delivery");
    while (rest.len)
        if (view->count == most || !parse_item(&rest, bodies, &view->items[view->count++]))
            return err_set(err, ERR_PEER_WRONG, STATUS(4, 3, 0), "a damaged manifest");
    return true;
}

bool window_parse(struct str bytes, uint64_t manifest, struct arena *arena,
                  struct window_view *view, struct err *err)
{
    *view = (struct window_view){.memory = NULL};
    if (manifest > bytes.len)
        return err_set(err, ERR_PEER_WRONG, STATUS(4, 3, 0), "a window without its manifest");
    if (!parse_items(str_skip(bytes, (size_t)manifest), manifest, arena, view, err))
        return false;
    for (size_t i = 0; i < view->count; i++) {
        const struct window_item *item = &view->items[i], *before = i ? item - 1 : NULL;
        struct str body = str_sub(bytes, (size_t)item->offset, (size_t)item->size);
        if (before && before->offset == item->offset && before->size == item->size &&
            before->crc == item->crc)
            view->intact[i] = view->intact[i - 1];
        else
            view->intact[i] = crc32c(0, body) == item->crc;
    }
    return true;
}

bool window_read_items(struct str items, uint64_t size, struct arena *arena,
                       struct window_view *view, struct err *err)
{
    if (!parse_items(items, size, arena, view, err))
        return false;
    bool ok = view->count > 0;
    for (size_t i = 0; i < view->count && ok; i++) {
        const struct window_item *item = &view->items[i];
        ok = item->offset == 0 && item->size == size && item->crc == view->items[0].crc;
    }
    if (!ok)
        return err_set(err, ERR_PEER_WRONG, STATUS(4, 3, 0), "a manifest of another body");
    return true;
}

bool window_map(int fd, uint64_t size, uint64_t manifest, struct arena *arena,
                struct window_view *view, struct err *err)
{
    void *memory;
    struct stat st;
    if (!os_sealed(fd, OS_SEAL_SHRINK | OS_SEAL_GROW | OS_SEAL_WRITE))
        return err_set(err, ERR_PEER_WRONG, STATUS(4, 3, 0), "a window that is not sealed");
    int rc = os_fstat(fd, &st);
    if (rc == 0 && ((uint64_t)st.st_size != size || size == 0))
        return err_set(err, ERR_PEER_WRONG, STATUS(4, 3, 0), "a window of another size");
    if (rc == 0)
        rc = os_map(fd, (size_t)size, false, &memory);
    if (rc < 0)
        return err_system(err, rc, "mapping a delivery");
    bool ok = window_parse(str_from(memory, (size_t)size), manifest, arena, view, err);
    view->memory = memory;
    view->size = (size_t)size;
    if (!ok)
        window_unmap(view);
    return ok;
}

void window_unmap(struct window_view *view)
{
    if (view->memory)
        os_unmap(view->memory, view->size);
    view->memory = NULL;
}

struct str window_body(const struct window_view *view, const struct window_item *item)
{
    return str_from((const char *)view->memory + item->offset, (size_t)item->size);
}
