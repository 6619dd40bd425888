/* frame: where messages end, and every length that has no business in a header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/wire/frame.h"

static enum frame_result read_header(uint8_t type, uint32_t length, struct frame *out)
{
    uint8_t bytes[] = {type, (uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8),
                       (uint8_t)length};
    struct frame local;
    return frame_next(slice_make(bytes, sizeof(bytes)), out != NULL ? out : &local);
}

static void finds_the_end_of_a_message(void **state)
{
    (void)state;
    struct slice in = SLICE_LITERAL("Q\0\0\0\7hi\0S\0\0\0\4");
    struct frame f;
    assert_int_equal(frame_next(in, &f), FRAME_COMPLETE);
    assert_int_equal(f.type, 'Q');
    assert_int_equal(f.total, 8);
    assert_true(slice_equal(f.body, SLICE_LITERAL("hi\0")));
    in = slice_from(in, f.total);
    assert_int_equal(frame_next(in, &f), FRAME_COMPLETE);
    assert_int_equal(f.type, 'S');
    assert_int_equal(f.total, 5);
    assert_int_equal(f.body.len, 0);
    assert_int_equal(frame_next(slice_from(in, f.total), &f), FRAME_INCOMPLETE);
}

static void p15_a_message_cut_at_every_byte(void **state)
{
    (void)state;
    const struct slice whole = SLICE_LITERAL("D\0\0\0\x0c"
                                             "abcdefgh");
    struct frame f;
    for (size_t len = 0; len < FRAME_HEADER_BYTES; len++)
        assert_int_equal(frame_next(slice_make(whole.data, len), &f), FRAME_INCOMPLETE);
    for (size_t len = FRAME_HEADER_BYTES; len < whole.len; len++) {
        assert_int_equal(frame_next(slice_make(whole.data, len), &f), FRAME_PARTIAL);
        assert_int_equal(f.total, whole.len);
        assert_int_equal(f.body.len, len - FRAME_HEADER_BYTES);
        assert_ptr_equal(f.body.data, whole.data + FRAME_HEADER_BYTES);
    }
    assert_int_equal(frame_next(whole, &f), FRAME_COMPLETE);
}

static void p15_lengths_that_are_refused(void **state)
{
    (void)state;
    const uint32_t bad[] = {0,          1,          2,          3,          FRAME_MAX_BYTES,
                            0x40000001, 0x7fffffff, 0x80000000, 0xfffffffb, 0xffffffff};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(read_header('Q', bad[i], NULL), FRAME_BAD);
}

static void p15_lengths_that_are_accepted(void **state)
{
    (void)state;
    struct frame f;
    assert_int_equal(read_header('S', 4, &f), FRAME_COMPLETE);
    assert_int_equal(read_header('Q', 5, &f), FRAME_PARTIAL);
    assert_int_equal(f.total, 6);
    assert_int_equal(read_header('D', FRAME_MAX_BYTES - 1, &f), FRAME_PARTIAL);
    assert_int_equal(f.total, FRAME_MAX_BYTES);
    assert_int_equal(f.body.len, 0);
}

static void the_type_is_not_judged(void **state)
{
    (void)state;
    struct frame f;
    for (unsigned type = 0; type < 256; type++) {
        assert_int_equal(read_header((uint8_t)type, 4, &f), FRAME_COMPLETE);
        assert_int_equal(f.type, type);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_end_of_a_message),   cmocka_unit_test(p15_a_message_cut_at_every_byte),
        cmocka_unit_test(p15_lengths_that_are_refused), cmocka_unit_test(p15_lengths_that_are_accepted),
        cmocka_unit_test(the_type_is_not_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
