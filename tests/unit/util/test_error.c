/* error: text, SQLSTATE, truncation, and that nobody needs to listen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "weir/util/error.h"

static void carries_text_and_state(void **state)
{
    (void)state;
    struct error e = ERROR_INIT;
    assert_string_equal(e.sqlstate, "XX000");
    assert_false(error_set_state(&e, "08P01", "%s %d", "line", 7));
    assert_string_equal(e.sqlstate, "08P01");
    assert_string_equal(e.message, "line 7");
    assert_false(error_set(&e, "again"));
    assert_string_equal(e.sqlstate, "XX000");
    assert_string_equal(e.message, "again");
}

static void truncates(void **state)
{
    (void)state;
    struct error e = ERROR_INIT;
    char longest[2000];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    error_set_state(&e, "too long", "%s", longest);
    assert_string_equal(e.sqlstate, "too l");
    assert_int_equal(strlen(e.message), sizeof(e.message) - 1);
}

static void may_be_left_out(void **state)
{
    (void)state;
    assert_false(error_set(NULL, "%d", 1));
    assert_false(error_set_state(NULL, "08P01", "%d", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_text_and_state),
        cmocka_unit_test(truncates),
        cmocka_unit_test(may_be_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
