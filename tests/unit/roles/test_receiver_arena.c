#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../check.h"
#include "os/file.h"
#include "roles/receiver_arena.h"

enum { BLOCKS = 16, SIZE = BLOCKS * BLOCK_LARGE };

struct box {
    struct body_arena arena;
    int fd;
};

static int set_up(void **state)
{
    static struct box box;
    struct err err;
    box.fd = os_memfd("arena");
    *state = &box;
    return box.fd < 0 || os_truncate(box.fd, SIZE) < 0 ||
           !body_arena_open(&box.arena, box.fd, &err);
}

static int tear_down(void **state)
{
    struct box *b = *state;
    os_unmap(b->arena.memory, b->arena.size);
    free(b->arena.free_large);
    free(b->arena.free_small);
    os_close(&b->fd);
    return 0;
}

// What the queue would read by the extents.
static void read_extents(struct box *b, const struct chain *c, struct buf *out)
{
    struct buf extents;
    buf_init(&extents, 1 << 20);
    chain_put_extents(c, &extents);
    assert_int_equal(extents.len, 8 * c->count);
    for (size_t i = 0; i < c->count; i++) {
        uint32_t at[2];
        memcpy(at, extents.ptr + 8 * i, sizeof(at)); // little-endian, as this machine
        assert_true(at[0] < SIZE && at[1] <= SIZE - at[0] && at[1] > 0);
        buf_put(out, str_from(b->arena.memory + at[0], at[1]));
    }
    buf_finish(&extents);
}

static void check_chain(struct box *b, const struct chain *c, struct str want)
{
    struct buf got;
    buf_init(&got, SIZE);
    read_extents(b, c, &got);
    assert_int_equal(c->size, want.len);
    assert_true(str_eq(buf_str(&got), want));
    buf_finish(&got);
}

static char *pattern(size_t len, uint64_t seed)
{
    char *bytes = malloc(len + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)check_random(&seed);
    return bytes;
}

static void pieces_of_any_size_become_one_letter(void **state)
{
    static const size_t pieces[] = {1, 4095, 1, 4096, 8192, 65535, 65536, 65537, 0, 3, 200000};
    struct box *b = *state;
    struct chain c = {.blocks = NULL};
    size_t at = 0, total = 0;
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        total += pieces[i];
    char *bytes = pattern(total, 1);
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        assert_true(chain_append(&b->arena, &c, str_from(bytes + at, pieces[i])));
        at += pieces[i];
        check_chain(b, &c, str_from(bytes, at));
    }
    chain_release(&b->arena, &c);
    assert_null(c.blocks);
    chain_release(&b->arena, &c); // takes an empty one
    free(bytes);
}

static void a_small_letter_takes_a_small_block(void **state)
{
    struct box *b = *state;
    struct chain c[SMALL_IN_LARGE] = {{.blocks = NULL}};
    size_t before = b->arena.free_large_count;
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        assert_true(chain_append(&b->arena, &c[i], STR("\xe4\xbd\xa0\xe5\xa5\xbd")));
    assert_int_equal(before - b->arena.free_large_count, 1);
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        check_chain(b, &c[i], STR("\xe4\xbd\xa0\xe5\xa5\xbd"));
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        chain_release(&b->arena, &c[i]);
    assert_int_equal(b->arena.free_small_count, SMALL_IN_LARGE);
}

// Small letters may cut half of the arena; the rest stays for large ones, and comes back whole.
static void a_full_arena_says_so_and_keeps_what_it_has(void **state)
{
    struct box *b = *state;
    enum { MOST = SIZE / BLOCK_SMALL };
    struct chain c[MOST] = {{.blocks = NULL}};
    size_t n = 0;
    while (n < MOST && chain_append(&b->arena, &c[n], STR("small")))
        n++;
    assert_int_equal(b->arena.split_count, BLOCKS / SPLIT_SHARE);
    assert_int_equal(n, BLOCKS / SPLIT_SHARE * (SMALL_IN_LARGE + 1)); // then a large one for each
    struct chain more = {.blocks = NULL};
    assert_false(chain_append(&b->arena, &more, STR("x")));
    assert_int_equal(more.size, 0);
    for (size_t i = 0; i < n; i++) {
        check_chain(b, &c[i], STR("small"));
        chain_release(&b->arena, &c[i]);
    }
    struct chain large = {.blocks = NULL};
    char *bytes = pattern(SIZE, 2);
    assert_true(chain_append(&b->arena, &large, str_from(bytes, SIZE))); // of blocks of both sizes
    assert_int_equal(b->arena.used, SIZE);
    assert_false(chain_append(&b->arena, &large, STR("x")));
    check_chain(b, &large, str_from(bytes, SIZE));
    chain_release(&b->arena, &large);
    assert_int_equal(b->arena.used, 0);
    assert_int_equal(b->arena.free_large_count, BLOCKS - BLOCKS / SPLIT_SHARE);
    assert_true(chain_append(&b->arena, &large, STR("again")));
    chain_release(&b->arena, &large);
    free(bytes);
}

// The front of a long letter goes to the queue in slices while it grows at its end.
static void slices_are_cut_from_the_front(void **state)
{
    struct box *b = *state;
    struct chain c = {.blocks = NULL}, none = {.blocks = NULL};
    char *bytes = pattern(300000, 5);
    size_t at = 0;
    chain_cut(&none, &c, BLOCK_LARGE, 4);
    assert_int_equal(c.count, 0);
    assert_true(chain_append(&b->arena, &c, str_from(bytes, 60000)));
    assert_true(chain_append(&b->arena, &c, str_from(bytes + 60000, 240000)));
    for (size_t blocks = 1; c.size; blocks++) {
        struct chain slice = {.blocks = NULL};
        chain_cut(&c, &slice, BLOCK_LARGE, blocks);
        assert_in_range(slice.count, 1, blocks);
        check_chain(b, &slice, str_from(bytes + at, slice.size));
        at += slice.size;
        chain_release(&b->arena, &slice);
        check_chain(b, &c, str_from(bytes + at, 300000 - at));
    }
    assert_int_equal(at, 300000);
    chain_release(&b->arena, &c);
    assert_int_equal(b->arena.used, 0);
    free(bytes);
}

static void many_letters_at_once_do_not_mix(void **state)
{
    enum { CHAINS = 24, STEPS = 4000 };
    struct box *b = *state;
    struct chain c[CHAINS] = {{.blocks = NULL}};
    struct buf want[CHAINS];
    uint64_t seed = 7;
    char *bytes = pattern(1 << 17, 3);
    for (size_t i = 0; i < CHAINS; i++)
        buf_init(&want[i], SIZE);
    for (int step = 0; step < STEPS; step++) {
        size_t i = check_random(&seed) % CHAINS;
        size_t len = check_random(&seed) % (check_random(&seed) % 20 ? 3000 : 100000);
        struct str piece = str_from(bytes + check_random(&seed) % 30000, len);
        bool ok = chain_append(&b->arena, &c[i], piece);
        buf_put(&want[i], str_sub(piece, 0, (size_t)c[i].size - want[i].len));
        check_chain(b, &c[i], buf_str(&want[i]));
        if (!ok || check_random(&seed) % 10 == 0) {
            chain_release(&b->arena, &c[i]);
            buf_clear(&want[i]);
        }
    }
    for (size_t i = 0; i < CHAINS; i++) {
        check_chain(b, &c[i], buf_str(&want[i]));
        chain_release(&b->arena, &c[i]);
        buf_finish(&want[i]);
    }
    assert_int_equal(b->arena.free_large_count + b->arena.split_count, BLOCKS);
    assert_int_equal(b->arena.free_small_count, b->arena.split_count * SMALL_IN_LARGE);
    free(bytes);
}

static void memory_that_cannot_be_mapped_is_an_error(void **state)
{
    struct body_arena arena;
    struct err err;
    (void)state;
    assert_false(body_arena_open(&arena, -1, &err));
    assert_int_equal(err.class, ERR_TRY_LATER);
    int fd = os_memfd("empty");
    assert_false(body_arena_open(&arena, fd, &err));
    os_close(&fd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(pieces_of_any_size_become_one_letter),
        CASE(a_small_letter_takes_a_small_block),
        CASE(a_full_arena_says_so_and_keeps_what_it_has),
        CASE(slices_are_cut_from_the_front),
        CASE(many_letters_at_once_do_not_mix),
        cmocka_unit_test(memory_that_cannot_be_mapped_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
