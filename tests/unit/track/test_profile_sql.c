/* profile_sql: the messages, byte for byte, and when one round is not enough. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "weir/track/profile_sql.h"

static struct profile *with(struct profile *base, const char *name, const char *value)
{
    struct profile *p = profile_set(base, slice_str(name), slice_str(value));
    profile_unref(base);
    assert_non_null(p);
    return p;
}

/* The types of the messages in `b`, which must be whole. */
static void types_of(const struct buf *b, char *types)
{
    size_t at = 0, n = 0;
    while (at < b->len) {
        const uint8_t *p = b->data + at;
        types[n++] = (char)p[0];
        at += 1 + ((size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4]);
    }
    assert_int_equal(at, b->len);
    types[n] = '\0';
}

static void batch_is_one_round(void **state)
{
    (void)state;
    struct profile_table *table = profile_table_new();
    struct profile *from = with(profile_empty(table), "a.x", "1");
    struct profile *to = with(profile_empty(table), "b.y", "'\\");
    struct buf out = BUF_INIT;
    char types[64];
    assert_int_equal(profile_diff_batch(&out, from, from), 0);
    assert_int_equal(out.len, 0);
    assert_int_equal(profile_diff_batch(&out, from, to), 1);
    types_of(&out, types);
    assert_string_equal(types, "CPBECC");
    static const uint8_t bind[] = "B\0\0\0\x3cweir profile\0weir profile\0\0\0\0\x04"
                                  "\0\0\0\x03"
                                  "a.x\xff\xff\xff\xff\0\0\0\x03"
                                  "b.y\0\0\0\x02'\\\0";
    assert_non_null(memmem(out.data, out.len, bind, sizeof(bind)));
    const char *parse = "SELECT pg_catalog.set_config($1,$2,false),pg_catalog.set_config($3,$4,false)";
    assert_non_null(memmem(out.data, out.len, parse, strlen(parse) + 1));
    buf_free(&out);
    profile_unref(from);
    profile_unref(to);
    profile_table_free(table);
}

static void encoding_goes_first_when_it_matters(void **state)
{
    (void)state;
    struct profile_table *table = profile_table_new();
    struct profile *none = profile_empty(table);
    struct profile *plain = with(with(profile_empty(table), "a.x", "1"), "client_encoding", "latin1");
    struct profile *wide = with(with(profile_empty(table), "a.x", "\xe9"), "client_encoding", "latin1");
    struct profile *wide_only = with(profile_empty(table), "a.x", "\xc3\xa9");
    struct buf out = BUF_INIT;
    char types[64];
    assert_int_equal(profile_diff_batch(&out, none, plain), 1);
    buf_clear(&out);
    assert_int_equal(profile_diff_batch(&out, none, wide), 2);
    types_of(&out, types);
    assert_string_equal(types, "CPBECCCPBECC");
    buf_clear(&out);
    assert_int_equal(profile_diff_batch(&out, none, wide_only), 1);
    buf_clear(&out);
    assert_false(profile_diff_query(&out, none, wide));
    assert_int_equal(out.len, 0);
    buf_free(&out);
    profile_unref(none);
    profile_unref(plain);
    profile_unref(wide);
    profile_unref(wide_only);
    profile_table_free(table);
}

static void many_settings_take_more_rounds(void **state)
{
    (void)state;
    struct profile_table *table = profile_table_new();
    struct profile *none = profile_empty(table), *many = profile_empty(table);
    char name[32];
    for (int i = 0; i < 700; i++) {
        snprintf(name, sizeof(name), "a.n%d", i);
        many = with(many, name, "1");
    }
    struct buf out = BUF_INIT;
    assert_int_equal(profile_diff_batch(&out, none, many), 2);
    buf_clear(&out);
    assert_false(profile_diff_query(&out, none, many));
    buf_free(&out);
    profile_unref(none);
    profile_unref(many);
    profile_table_free(table);
}

static void query_escapes(void **state)
{
    (void)state;
    struct profile_table *table = profile_table_new();
    struct profile *from = with(profile_empty(table), "role", "joe");
    struct profile *to = with(with(profile_empty(table), "a.x", "it's"), "a.y", "\\'");
    struct buf out = BUF_INIT;
    assert_true(profile_diff_query(&out, from, to));
    const char *expected = "SELECT pg_catalog.set_config('role',NULL,false),"
                           "pg_catalog.set_config('a.x','it''s',false),"
                           "pg_catalog.set_config('a.y',E'\\\\''',false)";
    assert_int_equal(out.data[0], 'Q');
    assert_string_equal((const char *)out.data + 5, expected);
    assert_int_equal(out.len, 5 + strlen(expected) + 1);
    buf_free(&out);
    profile_unref(from);
    profile_unref(to);
    profile_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_is_one_round),
        cmocka_unit_test(encoding_goes_first_when_it_matters),
        cmocka_unit_test(many_settings_take_more_rounds),
        cmocka_unit_test(query_escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
