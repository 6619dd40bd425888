/* connstr: bare, quoted and empty values; what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/config/connstr.h"

/* All pairs as "key<value>", then the error. */
static const char *all(const char *text, struct buf *seen)
{
    struct slice rest = slice_str(text), key;
    struct buf value = BUF_INIT;
    struct error error = ERROR_INIT;
    buf_clear(seen);
    while (connstr_next(&rest, &key, &value, &error)) {
        buf_append_slice(seen, key);
        buf_printf(seen, "<%s>", buf_text(&value));
    }
    buf_append_str(seen, error.message);
    buf_free(&value);
    return buf_text(seen);
}

static void takes_pairs_apart(void **state)
{
    (void)state;
    struct buf seen = BUF_INIT;
    assert_string_equal(all("", &seen), "");
    assert_string_equal(all("  host=h\tport=5 ", &seen), "host<h>port<5>");
    assert_string_equal(all("password='it''s a = b' x=y", &seen), "password<it's a = b>x<y>");
    assert_string_equal(all("host= port=5432", &seen), "host<>port<5432>");
    assert_string_equal(all("host = h port = '5'", &seen), "host<h>port<5>");
    assert_string_equal(all("a='' b=", &seen), "a<>b<>");
    assert_string_equal(all("a=b=c", &seen), "a<b=c>");
    buf_free(&seen);
}

static void refuses_bad_text(void **state)
{
    (void)state;
    struct buf seen = BUF_INIT;
    assert_string_equal(all("host", &seen), "expected '=' after \"host\"");
    assert_string_equal(all("a=1 =2", &seen), "a<1>a key is missing before '='");
    assert_string_equal(all("a='open", &seen), "the quoted value of \"a\" does not end");
    assert_string_equal(all("a='x'y", &seen), "a blank is missing after the quoted value of \"a\"");
    buf_free(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_pairs_apart),
        cmocka_unit_test(refuses_bad_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
