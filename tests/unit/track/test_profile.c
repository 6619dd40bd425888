/* profile: one pointer for one content, PostgreSQL's names, differences in an order that works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "weir/track/profile.h"
#include "weir/util/buf.h"

#define S(text) SLICE_LITERAL(text)

/* `base` is given back. */
static struct profile *with(struct profile *base, const char *name, const char *value)
{
    struct profile *p = profile_set(base, slice_str(name), slice_str(value));
    profile_unref(base);
    assert_non_null(p);
    return p;
}

static void same_content_is_same_pointer(void **state)
{
    (void)state;
    struct profile_table *table = profile_table_new();
    struct profile *a = with(with(profile_empty(table), "TimeZone", "UTC"), "work_mem", "1MB");
    struct profile *b = with(with(profile_empty(table), "WORK_MEM", "1MB"), "timezone", "UTC");
    assert_ptr_equal(a, b);
    assert_int_equal(profile_count(a), 2);
    assert_int_equal(profile_hash(a), profile_hash(b));
    struct profile *c = with(profile_ref(a), "timezone", "utc");
    assert_ptr_not_equal(a, c);
    struct profile *d = profile_unset(c, S("WORK_mem"));
    struct profile *e = profile_unset(d, S("timezone"));
    struct profile *empty = profile_empty(table);
    assert_ptr_equal(e, empty);
    struct slice value;
    assert_true(profile_get(c, S("TIMEZONE"), &value));
    assert_true(slice_equal_str(value, "utc"));
    assert_false(profile_get(d, S("work_mem"), &value));
    assert_true(slice_equal_str(profile_at(a, 0).name, "timezone"));
    struct profile *all[] = {a, b, c, d, e, empty};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        profile_unref(all[i]);
    assert_int_equal(profile_table_count(table), 1); /* the empty one */
    profile_table_free(table);
}

static void names_and_values_do_not_run_together(void **state)
{
    (void)state;
    struct profile_table *table = profile_table_new();
    struct profile *a = with(profile_empty(table), "ab", "c");
    struct profile *b = with(profile_empty(table), "a", "bc");
    struct profile *c = with(profile_empty(table), "abc", "");
    assert_true(a != b && b != c && a != c);
    profile_unref(a);
    profile_unref(b);
    profile_unref(c);
    profile_table_free(table);
}

static void bounds_hold(void **state)
{
    (void)state;
    struct profile_table *table = profile_table_new();
    struct profile *p = profile_empty(table);
    char *big = calloc(1, PROFILE_MAX_VALUE_BYTES + 1);
    memset(big, 'x', PROFILE_MAX_VALUE_BYTES + 1);
    assert_null(profile_set(p, S("a"), slice_make(big, PROFILE_MAX_VALUE_BYTES + 1)));
    assert_null(profile_set(p, S(""), S("x")));
    assert_null(profile_set(p, S("a=b"), S("x")));
    assert_null(profile_set(p, S("a\0b"), S("x")));
    assert_null(profile_set(p, S("a"), S("x\0y")));
    char name[32];
    for (unsigned i = 0; i < PROFILE_MAX_SETTINGS; i++) {
        snprintf(name, sizeof(name), "a.n%u", i);
        p = with(p, name, "1");
    }
    assert_null(profile_set(p, S("one.more"), S("x")));
    profile_unref(p);
    p = profile_empty(table);
    for (int i = 0; i < 15; i++) {
        snprintf(name, sizeof(name), "a.n%d", i);
        struct profile *next = profile_set(p, slice_str(name), slice_make(big, PROFILE_MAX_VALUE_BYTES));
        assert_non_null(next);
        profile_unref(p);
        p = next;
    }
    assert_null(profile_set(p, S("b"), slice_make(big, PROFILE_MAX_VALUE_BYTES)));
    profile_unref(p);
    free(big);
    profile_table_free(table);
}

static void session_authorization_ends_the_role(void **state)
{
    (void)state;
    struct profile_table *table = profile_table_new();
    struct profile *p = with(with(profile_empty(table), "role", "joe"), "session_authorization", "ann");
    assert_false(profile_get(p, S("role"), NULL));
    p = with(p, "role", "joe");
    p = with(p, "session_authorization", "ann"); /* the same again */
    assert_false(profile_get(p, S("role"), NULL));
    p = with(p, "role", "joe");
    struct profile *q = profile_unset(p, S("session_authorization"));
    assert_int_equal(profile_count(q), 0);
    profile_unref(p);
    profile_unref(q);
    p = with(profile_empty(table), "role", "joe");
    q = profile_unset(p, S("session_authorization")); /* was not set */
    assert_int_equal(profile_count(q), 0);
    profile_unref(p);
    profile_unref(q);
    profile_table_free(table);
}

static void emit(void *context, struct slice name, struct slice value)
{
    struct buf *out = context;
    buf_append_slice(out, name);
    if (value.data != NULL) {
        buf_append_str(out, "=");
        buf_append_slice(out, value);
    }
    buf_append_str(out, " ");
}

static void check_diff(const struct profile *from, const struct profile *to, const char *expected)
{
    struct buf out = BUF_INIT;
    profile_diff(from, to, emit, &out);
    buf_append_u8(&out, 0);
    assert_string_equal((const char *)out.data, expected);
    buf_free(&out);
}

static void differences_come_in_an_order_that_works(void **state)
{
    (void)state;
    struct profile_table *table = profile_table_new();
    struct profile *none = profile_empty(table);
    struct profile *a = with(with(with(profile_empty(table), "a.x", "1"), "role", "joe"), "work_mem", "1");
    struct profile *b = with(
        with(with(with(profile_empty(table), "a.x", "2"), "session_authorization", "ann"), "role", "joe"),
        "client_encoding", "latin1");
    check_diff(a, a, "");
    check_diff(none, a, "a.x=1 work_mem=1 role=joe ");
    check_diff(a, none, "role a.x work_mem ");
    /* The role is the same, but it has to be taken again under the new session_authorization. */
    check_diff(a, b, "role client_encoding=latin1 a.x=2 work_mem session_authorization=ann role=joe ");
    check_diff(b, a, "role session_authorization client_encoding a.x=1 work_mem=1 role=joe ");
    struct profile *c = with(profile_ref(b), "a.x", "3");
    check_diff(b, c, "a.x=3 ");
    profile_unref(none);
    profile_unref(a);
    profile_unref(b);
    profile_unref(c);
    profile_table_free(table);
}

static void *churn(void *argument)
{
    struct profile_table *table = argument;
    char value[16];
    for (int i = 0; i < 20000; i++) {
        snprintf(value, sizeof(value), "%d", i % 7);
        struct profile *p = with(profile_empty(table), "a.b", value);
        struct profile *q = with(profile_ref(p), "a.c", value);
        struct profile *r = profile_unset(q, SLICE_LITERAL("a.c"));
        if (r != p)
            abort();
        profile_unref(p);
        profile_unref(q);
        profile_unref(r);
    }
    return NULL;
}

static void threads_share_profiles(void **state)
{
    (void)state;
    struct profile_table *table = profile_table_new();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, table), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(profile_table_count(table), 1);
    profile_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_content_is_same_pointer),
        cmocka_unit_test(names_and_values_do_not_run_together),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(session_authorization_ends_the_role),
        cmocka_unit_test(differences_come_in_an_order_that_works),
        cmocka_unit_test(threads_share_profiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
