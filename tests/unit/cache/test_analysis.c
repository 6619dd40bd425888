/* analysis: one for each key, bounded, and over when it failed some time ago. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "weir/cache/analysis.h"
#include "weir/control/analyst.h"

static const uint32_t types[] = {23, 25};

static struct analysis_key key_of(const char *template)
{
    return (struct analysis_key){.template = slice_str(template),
                                 .types = types,
                                 .type_count = 1,
                                 .role = SLICE_LITERAL("anna"),
                                 .search_path = SLICE_LITERAL("public"),
                                 .client_encoding = SLICE_LITERAL("UTF8"),
                                 .version = 7};
}

static struct analysis *get(struct analyses *all, const struct analysis_key *key, uint64_t now_us,
                            bool is_new)
{
    bool found_new;
    struct analysis *a = analyses_get(all, key, SLICE_LITERAL("SELECT 1"), true, now_us, &found_new);
    assert_non_null(a);
    assert_int_equal(found_new, is_new);
    return a;
}

static void each_part_of_a_key_counts(void **state)
{
    (void)state;
    struct analyses *all = analyses_new();
    struct analysis_key key = key_of("t"), others[] = {key, key, key, key, key, key, key, key};
    others[0].template = SLICE_LITERAL("u");
    others[1].is_exact = true;
    others[2].type_count = 0;
    others[3].types = types + 1;
    others[4].role = SLICE_LITERAL("bert");
    others[5].search_path = SLICE_LITERAL("public, x");
    others[6].client_encoding = SLICE_EMPTY;
    others[7].version = 8;
    struct analysis *first = get(all, &key, 0, true);
    analysis_unref(get(all, &key, 0, false));
    assert_string_equal((const char *)first->text.data, "SELECT 1");
    assert_string_equal((const char *)first->key.role.data, "anna");
    for (size_t i = 0; i < 8; i++) {
        struct analysis *other = get(all, &others[i], 0, true);
        assert_ptr_not_equal(other, first);
        analysis_unref(other);
    }
    analysis_unref(get(all, &key, 0, true)); /* the later version sent all others away */
    analysis_unref(first);
    analyses_free(all);
}

static void what_has_failed_is_asked_again(void **state)
{
    (void)state;
    struct analyses *all = analyses_new();
    struct analysis_key key = key_of("t");
    struct analysis *a = get(all, &key, 1000, true);
    assert_false(analysis_is_done(a));
    const struct analyst_facts failed = {.failure = "no connection"};
    analysis_finish(a, &failed, 1000);
    assert_true(analysis_is_done(a));
    assert_int_equal(a->reason, CACHE_REASON_NOT_ANALYSED);
    assert_string_equal(a->detail, "no connection");
    assert_false(analysis_is_over(a, 2000));
    analysis_unref(get(all, &key, 2000, false));
    assert_true(analysis_is_over(a, 60000000));
    struct analysis *again = get(all, &key, 60000000, true);
    assert_ptr_not_equal(again, a);
    analysis_unref(again);
    analysis_unref(a);
    analyses_free(all);
}

static void what_is_kept_of_the_facts(void **state)
{
    (void)state;
    struct analyses *all = analyses_new();
    struct analysis_key key = key_of("t");
    struct analysis *a = get(all, &key, 0, true);
    static const struct analyst_relation relations[] = {
        {.oid = 20000, .kind = 'v', .persistence = 'p', .name = "public.v"},
        {.oid = 20001, .kind = 'r', .persistence = 'p', .name = "public.t"},
        {.oid = 20002, .kind = 'm', .persistence = 'p', .name = "public.m"}};
    static const char settings[] = "app.tenant";
    const struct analyst_facts facts = {
        .relations = relations, .relation_count = 3, .settings = settings, .settings_len = sizeof(settings)};
    analysis_finish(a, &facts, 0);
    assert_int_equal(a->reason, CACHE_REASON_NONE);
    assert_int_equal(a->relation_count, 2);
    assert_int_equal(a->relations[0], 20001);
    assert_int_equal(a->relations[1], 20002);
    assert_string_equal(a->names, "public.v, public.t, public.m");
    assert_string_equal(a->settings, "app.tenant");
    assert_false(analysis_is_over(a, UINT64_MAX));
    analysis_unref(a);
    analyses_free(all);
}

static void the_oldest_go(void **state)
{
    (void)state;
    struct analyses *all = analyses_new();
    char text[32];
    struct analysis_key first = key_of("number 0");
    for (int i = 0; i <= ANALYSES_MAX; i++) {
        snprintf(text, sizeof(text), "number %d", i);
        struct analysis_key key = key_of(text);
        analysis_unref(get(all, &key, 0, true));
    }
    struct analysis_key last = key_of(text);
    analysis_unref(get(all, &last, 0, false));
    analysis_unref(get(all, &first, 0, true));
    analyses_free(all);
}

static void bytes_are_bounded(void **state)
{
    (void)state;
    struct analyses *all = analyses_new();
    static char large[ANALYSIS_TEXT_MAX + 2];
    memset(large, 'x', sizeof(large) - 1);
    bool is_new;
    struct analysis_key key = key_of("first");
    assert_null(analyses_get(all, &key, slice_str(large), false, 0, &is_new));
    large[ANALYSIS_TEXT_MAX] = '\0';
    size_t count = ANALYSES_BYTES_MAX / ANALYSIS_TEXT_MAX + 1;
    for (size_t i = 0; i < count; i++) {
        struct analysis_key each = key_of("each");
        uint32_t type = (uint32_t)i;
        each.types = &type;
        analysis_unref(analyses_get(all, i == 0 ? &key : &each, slice_str(large), false, 0, &is_new));
        assert_true(is_new);
    }
    analysis_unref(analyses_get(all, &key, slice_str(large), false, 0, &is_new));
    assert_true(is_new);
    analyses_free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_of_a_key_counts), cmocka_unit_test(what_has_failed_is_asked_again),
        cmocka_unit_test(what_is_kept_of_the_facts), cmocka_unit_test(the_oldest_go),
        cmocka_unit_test(bytes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
