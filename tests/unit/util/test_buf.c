/* buf: growth, network order, the sticky error, consuming. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/util/buf.h"

static void appends_in_network_order(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_append_u8(&b, 'Q');
    buf_append_u32(&b, 0);
    buf_append_u16(&b, 0x0102);
    buf_append_u64(&b, UINT64_C(0x0102030405060708));
    buf_put_u32(&b, 1, 0xAABBCCDD);
    const uint8_t expected[] = {'Q', 0xAA, 0xBB, 0xCC, 0xDD, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8};
    assert_int_equal(b.len, sizeof(expected));
    assert_memory_equal(b.data, expected, sizeof(expected));
    buf_free(&b);
}

static void failure_is_sticky_until_cleared(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_append_str(&b, "kept");
    assert_false(buf_reserve(&b, SIZE_MAX));
    buf_append_str(&b, "lost");
    assert_true(buf_failed(&b));
    assert_int_equal(b.len, 4);
    assert_null(buf_text(&b));
    buf_clear(&b);
    buf_append_str(&b, "again");
    assert_false(buf_failed(&b));
    assert_string_equal(buf_text(&b), "again");
    buf_free(&b);
}

static void put_outside_changes_nothing(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_append_str(&b, "abcde");
    buf_put_u32(&b, 2, 0);
    buf_put_u32(&b, SIZE_MAX, 0);
    assert_string_equal(buf_text(&b), "abcde");
    buf_free(&b);
}

static void consumes_from_the_front(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%d,", i);
    size_t len = b.len;
    buf_consume(&b, 2);
    assert_int_equal(b.len, len - 2);
    assert_memory_equal(b.data, "1,2,", 4);
    buf_consume(&b, SIZE_MAX);
    assert_int_equal(b.len, 0);
    buf_wipe(&b);
    assert_null(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_in_network_order),
        cmocka_unit_test(failure_is_sticky_until_cleared),
        cmocka_unit_test(put_outside_changes_nothing),
        cmocka_unit_test(consumes_from_the_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
