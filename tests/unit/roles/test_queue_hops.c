// The bookkeeping of next hops: how many go, whose turn it is, who is dead.
#include "roles/queue_hops.h"

#include "../check.h"

enum { PARCELS = 64 };

static const uint64_t hash_key[2] = {1, 2};

struct box {
    struct hops hops;
    struct link parcels[PARCELS];
    size_t used;
};

static void open_box(struct box *b, size_t known)
{
    *b = (struct box){.used = 0};
    hops_init(&b->hops, known, hash_key);
    b->hops.most = 100;
    b->hops.most_each = 5;
}

static struct hop *add(struct box *b, const char *key, size_t count, bool fresh)
{
    struct hop *hop = hops_find(&b->hops, str_of(key));
    for (; count; count--)
        hop_add(&b->hops, hop, &b->parcels[b->used++], fresh);
    return hop;
}

// The next one goes: which hop it is of, NULL: none may.
static const struct hop *go(struct box *b)
{
    struct hop *hop;
    return hops_next(&b->hops, &hop) ? hop : NULL;
}

static size_t go_all(struct box *b)
{
    size_t count = 0;
    while (go(b))
        count++;
    return count;
}

static void end(struct box *b, struct hop *hop, enum hop_fate fate, bool dies, uint64_t now_ms)
{
    assert_int_equal(hop_ended(&b->hops, hop, fate, now_ms), dies);
}

static void close_box(struct box *b)
{
    assert_int_equal(b->hops.running, 0);
    hops_finish(&b->hops);
}

static void success_opens_and_trouble_halves(void **state)
{
    (void)state;
    struct box b;
    open_box(&b, 10);
    struct hop *hop = add(&b, "a", 40, true);
    assert_int_equal(go_all(&b), HOP_WINDOW);
    for (unsigned i = 0; i < HOP_WINDOW; i++)
        end(&b, hop, HOP_GOOD, false, 0);
    assert_int_equal(go_all(&b), HOP_WINDOW + 1);
    for (unsigned i = 0; i < 50; i++) { // up to the limit, and not beyond
        end(&b, hop, HOP_GOOD, false, 0);
        hop_add(&b.hops, hop, &b.parcels[b.used++ % PARCELS], true);
        if (hop->waits > 20)
            (void)hop_take(&b.hops, hop);
        go_all(&b);
    }
    assert_int_equal(hop->running, 5);
    end(&b, hop, HOP_TROUBLE, false, 0);
    assert_int_equal(hop->window, 2);
    assert_int_equal(go_all(&b), 0);
    while (hop->running)
        end(&b, hop, HOP_TROUBLE, false, 0);
    assert_int_equal(go_all(&b), 1);
    end(&b, hop, HOP_UNTRIED, false, 0);
    while (hop_take(&b.hops, hop))
        ;
    close_box(&b);
}

static void a_flood_delays_nobody(void **state)
{
    (void)state;
    struct box b;
    open_box(&b, 10);
    b.hops.most = 4;
    struct hop *flood = add(&b, "flood", 40, true), *other = add(&b, "other", 2, true);
    assert_ptr_equal(go(&b), flood);
    assert_ptr_equal(go(&b), other);
    assert_ptr_equal(go(&b), flood);
    assert_ptr_equal(go(&b), other);
    assert_null(go(&b)); // the limit of all
    end(&b, other, HOP_GOOD, false, 0);
    assert_ptr_equal(go(&b), flood);
    end(&b, other, HOP_GOOD, false, 0);
    for (unsigned i = 0; i < 3; i++)
        end(&b, flood, HOP_GOOD, false, 0);
    while (hop_take(&b.hops, flood))
        ;
    close_box(&b);
}

static void old_and_fresh_take_turns(void **state)
{
    (void)state;
    struct box b;
    open_box(&b, 10);
    struct hop *hop = add(&b, "a", 4, false);
    add(&b, "a", 2, true);
    const int want[] = {0, 4, 1, 5, 2, 3};
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_ptr_equal(hop_take(&b.hops, hop), &b.parcels[want[i]]);
    assert_null(hop_take(&b.hops, hop));
    close_box(&b);
}

static void who_cannot_be_reached_is_dead_for_longer_each_time(void **state)
{
    (void)state;
    struct box b;
    uint64_t now = 1000, pause = HOP_PAUSE_MIN_MS;
    open_box(&b, 10);
    struct hop *hop = add(&b, "a", 5, true);
    assert_int_equal(go_all(&b), HOP_WINDOW);
    end(&b, hop, HOP_UNREACHABLE, false, now); // others are on their way
    end(&b, hop, HOP_UNREACHABLE, false, now);
    assert_int_equal(go_all(&b), 0);
    end(&b, hop, HOP_UNREACHABLE, true, now);
    while (hop_take(&b.hops, hop))
        ;
    for (unsigned i = 0; i < 10; i++) {
        assert_true(hop_is_dead(hop, now + pause - 1));
        now += pause;
        assert_false(hop_is_dead(hop, now));
        b.used = 0;
        add(&b, "a", 2, true);
        assert_int_equal(go_all(&b), 1); // one tries it
        end(&b, hop, HOP_UNREACHABLE, true, now);
        assert_non_null(hop_take(&b.hops, hop));
        pause = pause * 2 < HOP_PAUSE_MAX_MS ? pause * 2 : HOP_PAUSE_MAX_MS;
    }
    now += pause;
    b.used = 0;
    add(&b, "a", 1, true);
    assert_int_equal(go_all(&b), 1);
    end(&b, hop, HOP_GOOD, false, now); // and all is forgotten
    assert_false(hop_is_dead(hop, now));
    assert_int_equal(hop->pause_ms, 0);
    close_box(&b);
}

static void the_longest_idle_is_forgotten(void **state)
{
    (void)state;
    struct box b;
    open_box(&b, 2);
    struct hop *busy = add(&b, "busy", 1, true);
    hops_find(&b.hops, STR("idle"))->window = 1;
    assert_int_equal(hops_find(&b.hops, STR("third"))->window, HOP_WINDOW);
    assert_int_equal(b.hops.map.count, 2);
    assert_ptr_equal(hops_find(&b.hops, STR("busy")), busy);
    assert_int_equal(hops_find(&b.hops, STR("idle"))->window, HOP_WINDOW);
    (void)hop_take(&b.hops, busy);
    close_box(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(success_opens_and_trouble_halves),
        cmocka_unit_test(a_flood_delays_nobody),
        cmocka_unit_test(old_and_fresh_take_turns),
        cmocka_unit_test(who_cannot_be_reached_is_dead_for_longer_each_time),
        cmocka_unit_test(the_longest_idle_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
