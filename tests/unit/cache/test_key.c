/* key: whatever can change an answer changes the key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "weir/cache/key.h"

static const uint32_t int4[] = {23}, text[] = {25};
/* one parameter: no formats, count 1, then length and bytes, no result formats */
#define BIND(value) SLICE_LITERAL("\0\0\0\1" value "\0\0")

static void test_c01_c16_every_difference_makes_another_key(void **state)
{
    (void)state;
    const struct key_parts variants[] = {
        {.scope = 1, .text = SLICE_LITERAL("select $1")},
        {.scope = 2, .text = SLICE_LITERAL("select $1")}, /* another search_path, role, TimeZone, … */
        {.scope = 1, .shape = 1, .text = SLICE_LITERAL("select $1")},
        {.scope = 1, .shape = 2, .text = SLICE_LITERAL("select $1")},
        {.scope = 1, .shape = 1, .row_limit = 2, .text = SLICE_LITERAL("select $1")},
        {.scope = 1, .text = SLICE_LITERAL("select  $1")},
        {.scope = 1, .text = SLICE_LITERAL("select $1"), .parameter_types = int4, .parameter_type_count = 1},
        {.scope = 1, .text = SLICE_LITERAL("select $1"), .parameter_types = text, .parameter_type_count = 1},
        {.scope = 1,
         .text = SLICE_LITERAL("select $1"),
         .bind = BIND("\0\0\0\1"
                      "5")},
        {.scope = 1,
         .text = SLICE_LITERAL("select $1"),
         .bind = BIND("\0\0\0\1"
                      "6")},
        {.scope = 1, .text = SLICE_LITERAL("select $1"), .bind = BIND("\0\0\0\0")},         /* empty */
        {.scope = 1, .text = SLICE_LITERAL("select $1"), .bind = BIND("\377\377\377\377")}, /* NULL */
        {.scope = 1,
         .text = SLICE_LITERAL("select $1"),
         .bind = SLICE_LITERAL("\0\1\0\1\0\1\0\0\0\1"
                               "5\0\0")}, /* binary in */
        {.scope = 1,
         .text = SLICE_LITERAL("select $1"),
         .bind = SLICE_LITERAL("\0\0\0\1\0\0\0\1"
                               "5\0\1\0\1")}, /* and out */
        /* the same bytes, divided otherwise */
        {.scope = 1,
         .text = SLICE_LITERAL("select $1\0\0"),
         .bind = SLICE_LITERAL("\0\1\0\0\0\1"
                               "5\0\0")},
    };
    enum { COUNT = sizeof(variants) / sizeof(variants[0]) };
    struct buf scratch[COUNT];
    struct entry_key keys[COUNT];
    for (int i = 0; i < COUNT; i++) {
        buf_init(&scratch[i]);
        assert_true(key_build(&scratch[i], &variants[i], 42, &keys[i]));
        for (int k = 0; k < i; k++) {
            assert_false(slice_equal(keys[i].bytes, keys[k].bytes));
            assert_memory_not_equal(keys[i].hash, keys[k].hash, sizeof(keys[i].hash));
        }
    }
    struct buf again = BUF_INIT;
    struct entry_key same;
    assert_true(key_build(&again, &variants[7], 42, &same));
    assert_true(slice_equal(same.bytes, keys[7].bytes));
    assert_memory_equal(same.hash, keys[7].hash, sizeof(same.hash));
    assert_true(key_build(&again, &variants[7], 43, &same));
    assert_memory_not_equal(same.hash, keys[7].hash, sizeof(same.hash));
    buf_free(&again);
    for (int i = 0; i < COUNT; i++)
        buf_free(&scratch[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c01_c16_every_difference_makes_another_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
