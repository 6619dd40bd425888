/* slice: equality, with and without case, cutting, copying; nothing and empty are equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/util/slice.h"

static void compares_bytes(void **state)
{
    (void)state;
    assert_true(slice_equal(SLICE_EMPTY, slice_str("")));
    assert_true(slice_equal_str(SLICE_LITERAL("abc"), "abc"));
    assert_false(slice_equal_str(SLICE_LITERAL("abc"), "abd"));
    assert_false(slice_equal_str(SLICE_LITERAL("abc"), "ab"));
    assert_false(slice_equal_str(SLICE_LITERAL("a\0b"), "a"));
    assert_true(slice_equal(SLICE_LITERAL("a\0b"), SLICE_LITERAL("a\0b")));
    assert_true(slice_equal_str(SLICE_EMPTY, NULL));
}

static void ignores_the_case_of_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(slice_equal_nocase(slice_str("DateStyle"), slice_str("datestyle")));
    assert_false(slice_equal_nocase(slice_str("DateStyle"), slice_str("datestyl")));
    assert_false(slice_equal_nocase(slice_str("["), slice_str("{")));
    assert_false(slice_equal_nocase(slice_str("@"), slice_str("`")));
    assert_false(slice_equal_nocase(slice_str("\xc4"), slice_str("\xe4")));
}

static void cuts_from_the_front(void **state)
{
    (void)state;
    struct slice s = SLICE_LITERAL("abc");
    assert_true(slice_equal_str(slice_from(s, 0), "abc"));
    assert_true(slice_equal_str(slice_from(s, 2), "c"));
    assert_int_equal(slice_from(s, 3).len, 0);
    assert_int_equal(slice_from(s, SIZE_MAX).len, 0);
}

static void copies_with_a_nul(void **state)
{
    (void)state;
    char *copy = slice_dup(slice_make("abcdef", 3));
    assert_string_equal(copy, "abc");
    free(copy);
    copy = slice_dup(SLICE_EMPTY);
    assert_string_equal(copy, "");
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares_bytes),
        cmocka_unit_test(ignores_the_case_of_ascii_letters_only),
        cmocka_unit_test(cuts_from_the_front),
        cmocka_unit_test(copies_with_a_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
