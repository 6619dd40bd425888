/* sketch: estimates that are near the truth, fade, and outlive growth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/cache/sketch.h"

static uint64_t hash_of(uint64_t n)
{
    n = (n + 1) * UINT64_C(0x9E3779B97F4A7C15);
    n = (n ^ (n >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    n = (n ^ (n >> 27)) * UINT64_C(0x94D049BB133111EB);
    return n ^ (n >> 31);
}

static void count(struct sketch *s, uint64_t n, int times)
{
    for (int i = 0; i < times; i++)
        sketch_count(s, hash_of(n));
}

static void small_counts_are_exact_and_large_ones_near(void **state)
{
    (void)state;
    struct sketch s;
    assert_true(sketch_init(&s, 1 << 20, 7)); /* so large that nothing fades here */
    assert_int_equal(sketch_estimate(&s, hash_of(1)), 0);
    for (uint32_t i = 1; i <= 32; i++) {
        count(&s, 1, 1);
        assert_int_equal(sketch_estimate(&s, hash_of(1)), i);
    }
    int times[] = {100, 1000, 10000, 100000};
    for (uint64_t i = 0; i < 4; i++) {
        count(&s, 10 + i, times[i]);
        assert_in_range(sketch_estimate(&s, hash_of(10 + i)), times[i] / 2, times[i] * 2);
    }
    count(&s, 20, 3000000);
    assert_in_range(sketch_estimate(&s, hash_of(20)), 250000, 507905); /* that is where it ends */
    assert_int_equal(sketch_estimate(&s, hash_of(2)), 0);
    sketch_free(&s);
}

/* So many items as it is made for, each asked a few times: hardly any is taken for more than it is. */
static void others_are_seldom_in_the_way(void **state)
{
    (void)state;
    enum { ITEMS = 4096 };
    struct sketch s;
    assert_true(sketch_init(&s, ITEMS, 7));
    for (uint64_t i = 0; i < ITEMS; i++)
        count(&s, i, 1 + (int)(i % 3));
    int wrong = 0;
    for (uint64_t i = 0; i < ITEMS; i++) {
        uint32_t truth = 1 + (uint32_t)(i % 3), estimate = sketch_estimate(&s, hash_of(i));
        wrong += estimate > truth;
    }
    assert_true(wrong < ITEMS / 20);
    sketch_free(&s);
}

/* Whatever was asked a thousand times is forgotten after a while in which others are asked. */
static void counts_fade(void **state)
{
    (void)state;
    enum { ITEMS = 1024 };
    struct sketch s;
    assert_true(sketch_init(&s, ITEMS, 7));
    count(&s, 0, 1000);
    uint32_t before = sketch_estimate(&s, hash_of(0));
    for (uint64_t round = 0; round < 10; round++) {
        for (uint64_t i = 0; i < 10 * ITEMS; i++)
            count(&s, 1000000 + round * 10 * ITEMS + i, 1);
        uint32_t now = sketch_estimate(&s, hash_of(0));
        assert_true(now <= before / 2 + 4);
        before = now;
    }
    assert_true(before <= 12); /* what passers-by leave */
    sketch_free(&s);
}

static void growth_keeps_the_estimates(void **state)
{
    (void)state;
    struct sketch s;
    assert_true(sketch_init(&s, 64, 7));
    for (uint64_t i = 0; i < 16; i++)
        count(&s, i, 1 + (int)i % 4);
    uint32_t before[16];
    for (uint64_t i = 0; i < 16; i++)
        before[i] = sketch_estimate(&s, hash_of(i));
    for (int i = 0; i < 5; i++)
        assert_true(sketch_double(&s));
    assert_int_equal(s.line_count * SKETCH_LINE_BYTES, sketch_bytes(64 * 32));
    for (uint64_t i = 0; i < 16; i++)
        assert_int_equal(sketch_estimate(&s, hash_of(i)), before[i]);
    sketch_free(&s);
}

static void what_was_counted_elsewhere_is_remembered(void **state)
{
    (void)state;
    struct sketch s;
    const uint32_t counts[] = {0, 1, 15, 16, 31, 32, 100, 5000, 65535, 4000000};
    assert_true(sketch_init(&s, 4096, 7));
    for (uint64_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint32_t count = counts[i] < 507904 ? counts[i] : 507904;
        sketch_remember(&s, hash_of(i), counts[i]);
        assert_in_range(sketch_estimate(&s, hash_of(i)), count - count / 16, count);
        sketch_remember(&s, hash_of(i), counts[i] / 2); /* never less than it was */
        assert_in_range(sketch_estimate(&s, hash_of(i)), count - count / 16, count);
    }
    sketch_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_counts_are_exact_and_large_ones_near),
        cmocka_unit_test(others_are_seldom_in_the_way),
        cmocka_unit_test(counts_fade),
        cmocka_unit_test(growth_keeps_the_estimates),
        cmocka_unit_test(what_was_counted_elsewhere_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
