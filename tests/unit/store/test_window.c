#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "os/file.h"
#include "store/window.h"

enum { ARENA = 4 << 20 };

static struct window_item item_of(struct str body, uint64_t offset, struct str mailbox)
{
    return (struct window_item){.id = {{1, 2, 3}},
                                .recipient = 7,
                                .scan_flags = 5,
                                .crc = crc32c(0, body),
                                .offset = offset,
                                .size = body.len,
                                .mailbox = mailbox,
                                .header = STR("Return-Path: <a@b.test>\r\n")};
}

static void letters_come_out_as_they_went_in(void **state)
{
    const struct str bodies[] = {STR("first\r\n"), STR(""), STR("\xe7\xac\xac\xe4\xb8\x89\0\r\n")};
    struct window w;
    struct window_view view;
    struct arena arena;
    struct err err;
    uint64_t offset, manifest;
    (void)state;
    arena_init(&arena, ARENA);
    assert_true(window_open(&w, &err));
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        offset = w.bodies.len;
        buf_put(&w.bodies, bodies[i]);
        struct window_item item = item_of(bodies[i], offset, STR("\xe4\xbe\x8b.test/\xe7\x8e\x8b"));
        window_put_item(&w, &item);
    }
    assert_true(window_seal(&w, &manifest, &err));
    assert_true(window_map(w.fd, w.size, manifest, &arena, &view, &err));
    assert_int_equal(view.count, ARRAY_LEN(bodies));
    assert_int_equal(w.count, ARRAY_LEN(bodies));
    for (size_t i = 0; i < view.count; i++) {
        assert_true(view.intact[i]);
        assert_int_equal(view.items[i].recipient, 7);
        assert_int_equal(view.items[i].scan_flags, 5);
        assert_true(str_eq(window_body(&view, &view.items[i]), bodies[i]));
        assert_true(str_eq(view.items[i].mailbox, STR("\xe4\xbe\x8b.test/\xe7\x8e\x8b")));
        assert_true(str_eq(view.items[i].header, STR("Return-Path: <a@b.test>\r\n")));
    }
    window_unmap(&view);
    window_unmap(&view); // takes one that is gone
    // The memory cannot be changed any more, by anybody.
    assert_int_equal(os_pwrite_all(w.fd, STR("x"), 0), -EPERM);
    assert_int_equal(os_truncate(w.fd, 0), -EPERM);
    assert_int_equal(os_truncate(w.fd, w.size + 1), -EPERM);
    window_close(&w);
    arena_finish(&arena);
}

static void a_window_is_believed_only_when_sealed_and_whole(void **state)
{
    struct window_view view;
    struct arena arena;
    struct err err;
    int fd = os_memfd("test");
    (void)state;
    arena_init(&arena, ARENA);
    assert_int_equal(os_write_all(fd, STR("bytes")), 0);
    static const unsigned seals[] = {0, OS_SEAL_SHRINK, OS_SEAL_GROW};
    for (size_t i = 0; i < ARRAY_LEN(seals); i++) {
        if (seals[i])
            assert_int_equal(os_seal(fd, seals[i]), 0);
        assert_false(window_map(fd, 5, 0, &arena, &view, &err));
        assert_int_equal(err.class, ERR_PEER_WRONG);
    }
    assert_int_equal(os_seal(fd, OS_SEAL_WRITE), 0);
    static const uint64_t sizes[] = {0, 4, 6, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        assert_false(window_map(fd, sizes[i], 0, &arena, &view, &err));
    assert_false(window_map(fd, 5, 6, &arena, &view, &err)); // manifest behind the end
    assert_false(window_map(fd, 5, 0, &arena, &view, &err)); // no item
    assert_true(window_map(fd, 5, 5, &arena, &view, &err));  // none: an empty batch
    assert_int_equal(view.count, 0);
    window_unmap(&view);
    os_close(&fd);
    assert_false(window_map(fd, 5, 0, &arena, &view, &err)); // no descriptor at all
    arena_finish(&arena);
}

static void put_manifest(struct buf *out, const struct window_item *item)
{
    struct window w = {.fd = -1};
    buf_init(&w.manifest, 1 << 20);
    window_put_item(&w, item);
    buf_put(out, buf_str(&w.manifest));
    buf_finish(&w.manifest);
}

static void every_cut_manifest_is_refused(void **state)
{
    struct buf bytes;
    struct window_view view;
    struct arena arena;
    struct err err;
    (void)state;
    buf_init(&bytes, 1 << 20);
    arena_init(&arena, ARENA);
    buf_put(&bytes, STR("body"));
    struct window_item item = item_of(STR("body"), 0, STR("m"));
    put_manifest(&bytes, &item);
    for (size_t len = 4; len <= bytes.len; len++) {
        bool ok = window_parse(str_sub(buf_str(&bytes), 0, len), 4, &arena, &view, &err);
        assert_int_equal(ok, len == 4 || len == bytes.len);
        if (!ok)
            assert_int_equal(err.class, ERR_PEER_WRONG);
    }
    buf_finish(&bytes);
    arena_finish(&arena);
}

static void a_body_outside_or_damaged_is_told(void **state)
{
    static const struct {
        uint64_t offset, size;
        bool fits;
    } rows[] = {{0, 4, true},           {4, 0, true},           {1, 3, true},
                {0, 5, false},          {5, 0, false},          {4, 1, false},
                {UINT64_MAX, 1, false}, {1, UINT64_MAX, false}, {UINT64_MAX, UINT64_MAX, false}};
    struct window_view view;
    struct arena arena;
    struct err err;
    (void)state;
    arena_init(&arena, ARENA);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf bytes;
        buf_init(&bytes, 1 << 20);
        buf_put(&bytes, STR("body"));
        struct window_item item = item_of(STR("body"), rows[i].offset, STR("m"));
        item.size = rows[i].size;
        put_manifest(&bytes, &item);
        assert_int_equal(window_parse(buf_str(&bytes), 4, &arena, &view, &err), rows[i].fits);
        if (rows[i].fits) // the CRC is that of "body"
            assert_int_equal(view.intact[0], rows[i].offset == 0 && rows[i].size == 4);
        buf_finish(&bytes);
    }
    arena_finish(&arena);
}

static void a_batch_has_its_limit(void **state)
{
    struct buf bytes;
    struct window_view view;
    struct arena arena;
    struct err err;
    (void)state;
    buf_init(&bytes, 1 << 24);
    arena_init(&arena, ARENA);
    struct window_item item = item_of(STR(""), 0, STR("m"));
    for (int i = 0; i < LIMIT_delivery_batch; i++)
        put_manifest(&bytes, &item);
    assert_true(window_parse(buf_str(&bytes), 0, &arena, &view, &err));
    assert_int_equal(view.count, LIMIT_delivery_batch);
    put_manifest(&bytes, &item);
    assert_false(window_parse(buf_str(&bytes), 0, &arena, &view, &err));
    assert_int_equal(err.class, ERR_PEER_WRONG);
    struct arena small;
    arena_init(&small, 64);
    assert_false(window_parse(str_sub(buf_str(&bytes), 0, bytes.len / 2), 0, &small, &view, &err));
    arena_finish(&small);
    // The writer's own limit is an error, not a cut.
    struct window w;
    uint64_t manifest;
    assert_true(window_open(&w, &err));
    char *long_name = calloc(1, UINT16_MAX);
    assert_non_null(long_name);
    item.mailbox = str_from(long_name, UINT16_MAX);
    for (size_t octets = 0; octets <= (size_t)LIMIT_delivery_batch * 2048; octets += UINT16_MAX)
        window_put_item(&w, &item);
    assert_false(window_seal(&w, &manifest, &err));
    assert_int_equal(err.class, ERR_OUR_BUG);
    window_close(&w);
    free(long_name);
    buf_finish(&bytes);
    arena_finish(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_come_out_as_they_went_in),
        cmocka_unit_test(a_window_is_believed_only_when_sealed_and_whole),
        cmocka_unit_test(every_cut_manifest_is_refused),
        cmocka_unit_test(a_body_outside_or_damaged_is_told),
        cmocka_unit_test(a_batch_has_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
