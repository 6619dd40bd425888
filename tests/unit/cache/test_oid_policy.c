/* oid_policy: C05, C06, C08, C09 by OID: what is sure may be cached, and all else is refused with its name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "weir/cache/oid_policy.h"
#include "weir/control/analyst.h"
#include "weir/control/catalog.h"
#include "weir/sql/classify.h"
#include "weir/track/profile.h"

static const struct analyst_relation table = {
    .oid = 20000, .kind = 'r', .persistence = 'p', .name = "public.t"};

static enum cache_reason judge(const struct analyst_facts *facts, const char *detail)
{
    char found[OID_POLICY_DETAIL_MAX];
    enum cache_reason reason = oid_policy_judge(facts, found);
    assert_string_equal(found, detail);
    return reason;
}

/* One function over one table. */
static enum cache_reason judge_function(uint32_t oid, char volatility, bool is_builtin, bool has_own_types)
{
    const struct analyst_function function = {
        .oid = oid, .volatility = volatility, .is_builtin = is_builtin, .name = "f(integer)"};
    const struct analyst_facts facts = {.functions = &function,
                                        .function_count = 1,
                                        .relations = &table,
                                        .relation_count = 1,
                                        .has_own_types = has_own_types};
    char found[OID_POLICY_DETAIL_MAX];
    enum cache_reason reason = oid_policy_judge(&facts, found);
    assert_string_equal(found, reason == CACHE_REASON_NONE ? "" : "function f(integer)");
    return reason;
}

static void test_c05_functions(void **state)
{
    (void)state;
    assert_int_equal(judge_function(65, 'i', true, false), CACHE_REASON_NONE);         /* int4eq */
    assert_int_equal(judge_function(20001, 'i', false, false), CACHE_REASON_FUNCTION); /* a user's */
    assert_int_equal(judge_function(5028, 'i', true, false),
                     CACHE_REASON_FUNCTION); /* satisfies_hash_partition */
    assert_int_equal(judge_function(1299, 's', true, false), CACHE_REASON_FUNCTION); /* now */
    assert_int_equal(judge_function(1598, 'v', true, false), CACHE_REASON_FUNCTION); /* random */
    assert_int_equal(judge_function(2351, 's', true, false), CACHE_REASON_NONE);     /* date_lt_timestamptz */
    assert_int_equal(judge_function(1770, 's', true, true), CACHE_REASON_NONE);      /* to_char */
    assert_int_equal(judge_function(384, 's', true, false), CACHE_REASON_NONE);  /* the first of the list */
    assert_int_equal(judge_function(6335, 's', true, false), CACHE_REASON_NONE); /* and the last */
    assert_int_equal(judge_function(1770, 'v', true, false), CACHE_REASON_FUNCTION);
    assert_int_equal(judge_function(2037, 's', true, false),
                     CACHE_REASON_FUNCTION); /* timezone of timetz: now */
    assert_int_equal(judge_function(2047, 's', true, false), CACHE_REASON_FUNCTION); /* timetz of time: now */
    assert_int_equal(judge_function(3176, 's', true, false), CACHE_REASON_NONE);     /* to_json … */
    assert_int_equal(judge_function(3176, 's', true, true),
                     CACHE_REASON_FUNCTION); /* … of an enum calls its cast */
    assert_int_equal(judge_function(0, '?', false, false), CACHE_REASON_FUNCTION);
}

static enum cache_reason judge_relation(uint32_t oid, char kind, char persistence)
{
    const struct analyst_relation relations[] = {
        table, {.oid = oid, .kind = kind, .persistence = persistence, .name = "x.y"}};
    const struct analyst_facts facts = {.relations = relations, .relation_count = 2};
    char found[OID_POLICY_DETAIL_MAX];
    enum cache_reason reason = oid_policy_judge(&facts, found);
    assert_string_equal(found, reason == CACHE_REASON_NONE ? "" : "relation x.y");
    return reason;
}

static void test_c09_relations(void **state)
{
    (void)state;
    for (const char *kind = "rpvm"; *kind != '\0'; kind++)
        assert_int_equal(judge_relation(20001, *kind, 'p'), CACHE_REASON_NONE);
    for (const char *kind = "fSci?"; *kind != '\0'; kind++)
        assert_int_equal(judge_relation(20001, *kind, 'p'), CACHE_REASON_RELATION_KIND);
    assert_int_equal(judge_relation(20001, 'r', 'u'), CACHE_REASON_UNLOGGED);
    assert_int_equal(judge_relation(20001, 'v', 't'), CACHE_REASON_UNLOGGED);
    assert_int_equal(judge_relation(1259, 'r', 'p'), CACHE_REASON_SYSTEM_RELATION);
    struct analyst_relation view = table;
    view.kind = 'v';
    const struct analyst_facts nothing = {.relations = NULL},
                               rowless = {.relations = &view, .relation_count = 1};
    assert_int_equal(judge(&nothing, ""), CACHE_REASON_NO_RELATION);
    assert_int_equal(judge(&rowless, ""), CACHE_REASON_NO_RELATION);
}

static struct analyst_facts over_table(void)
{
    return (struct analyst_facts){.relations = &table, .relation_count = 1};
}

static void all_else(void **state)
{
    (void)state;
    struct analyst_facts facts = over_table();
    assert_int_equal(judge(&facts, ""), CACHE_REASON_NONE);
    strcpy(facts.failure, "no right");
    strcpy(facts.unknown, "node X");
    assert_int_equal(judge(&facts, "no right"), CACHE_REASON_NOT_ANALYSED);
    facts.failure[0] = '\0';
    assert_int_equal(judge(&facts, "node X"), CACHE_REASON_EXPRESSION);
    facts = over_table();
    facts.has_system_column = true;
    assert_int_equal(judge(&facts, "a system column"), CACHE_REASON_EXPRESSION);
    facts = over_table();
    facts.has_row_lock = true;
    assert_int_equal(judge(&facts, "a view with FOR UPDATE or the like"), CACHE_REASON_STATEMENT);
    facts = over_table();
    facts.has_own_settings = true;
    assert_int_equal(judge(&facts, "function current_setting in the statement itself"),
                     CACHE_REASON_FUNCTION);
    facts = over_table();
    strcpy(facts.operator, "public.===(integer,integer)");
    assert_int_equal(judge(&facts, "operator public.===(integer,integer)"), CACHE_REASON_FUNCTION);
    facts = over_table();
    strcpy(facts.type, "public.d");
    assert_int_equal(judge(&facts, "type public.d"), CACHE_REASON_COLUMN);
}

static void test_c06_values_and_casts(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 64; value++) {
        struct analyst_facts facts = over_table();
        facts.values = UINT64_C(1) << value;
        bool is_who = value >= 9 && value <= 13;
        assert_int_equal(
            judge(&facts, is_who ? "" : "CURRENT_DATE, CURRENT_TIME, CURRENT_SCHEMA or the like"),
            is_who ? CACHE_REASON_NONE : CACHE_REASON_TIME);
    }
    static const uint32_t good[] = {16, 23, 25, 1700, 2950, 3802, 3926},
                          bad[] = {1082, 1083, 1114, 1184, 1266, 1005, 1185,
                                   3908, 3910, 3912, 142,  2205, 20001};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct analyst_facts facts = over_table();
        facts.casts = &good[i];
        facts.cast_count = 1;
        assert_int_equal(judge(&facts, ""), CACHE_REASON_NONE);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const uint32_t casts[] = {25, bad[i]};
        struct analyst_facts facts = over_table();
        facts.casts = casts;
        facts.cast_count = 2;
        char detail[OID_POLICY_DETAIL_MAX];
        assert_int_equal(oid_policy_judge(&facts, detail), CACHE_REASON_CAST);
    }
}

static void relations_that_the_catalog_knows(void **state)
{
    (void)state;
    struct catalog_builder *b = catalog_builder_new(&(struct catalog_facts){.database_oid = 1});
    static const struct catalog_relation list[] = {
        {20000, 'r', 'p', CATALOG_ROW_SECURITY | CATALOG_ODD_COLUMN | CATALOG_HAS_RULE, "public", "t",
         CATALOG_KEY_NONE, NULL},
        {20001, 'v', 'p', 0, "public", "v", CATALOG_KEY_NONE, NULL},
        {20002, 'm', 'p', 0, "public", "m", CATALOG_KEY_NONE, NULL},
        {20003, 'p', 'p', 0, "public", "near", CATALOG_KEY_NONE, NULL},
        {20004, 'r', 'p', CATALOG_ODD_COLUMN, "public", "near_1", CATALOG_KEY_NONE, NULL},
        {20005, 'p', 'p', 0, "public", "far", CATALOG_KEY_NONE, NULL},
        {20006, 'p', 'p', 0, "public", "far_1", CATALOG_KEY_NONE, NULL},
        {20007, 'f', 'p', 0, "public", "far_1_1", CATALOG_KEY_NONE, NULL},
        {20008, 'r', 'u', 0, "public", "unlogged", CATALOG_KEY_NONE, NULL},
    };
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        catalog_builder_relation(b, &list[i]);
    catalog_builder_inherit(b, 20003, 20004);
    catalog_builder_inherit(b, 20005, 20006);
    catalog_builder_inherit(b, 20006, 20007);
    struct catalog *c = catalog_builder_finish(b);
    static const enum cache_reason expected[] = {
        CACHE_REASON_NONE,          CACHE_REASON_RELATION_KIND, CACHE_REASON_NONE,
        CACHE_REASON_NONE,          CACHE_REASON_NONE,          CACHE_REASON_RELATION_KIND,
        CACHE_REASON_RELATION_KIND, CACHE_REASON_RELATION_KIND, CACHE_REASON_UNLOGGED};
    for (uint32_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_int_equal(oid_policy_relation(c, 20000 + i), expected[i]);
    assert_int_equal(oid_policy_relation(c, 30000), CACHE_REASON_UNKNOWN_RELATION);
    catalog_unref(c);
}

static void settings_of_the_profile(void **state)
{
    (void)state;
    struct profile_table *profiles = profile_table_new();
    struct profile *empty = profile_empty(profiles);
    struct profile *first = profile_set(empty, SLICE_LITERAL("app.tenant"), SLICE_LITERAL("7"));
    struct profile *profile =
        profile_set(first, SLICE_LITERAL("transaction_isolation"), SLICE_LITERAL("serializable"));
    static const char one[] = "app.tenant", two[] = "app.tenant\0app.other", odd[] = "transaction_isolation";
    assert_true(oid_policy_has_settings(profile, "", 0));
    assert_true(oid_policy_has_settings(profile, one, sizeof(one)));
    assert_false(oid_policy_has_settings(profile, two, sizeof(two)));
    assert_false(oid_policy_has_settings(profile, odd, sizeof(odd)));
    profile_unref(profile);
    profile_unref(first);
    profile_unref(empty);
    profile_table_free(profiles);
}

static bool may_help(const char *text, enum cache_reason reason)
{
    struct sql_class *class = sql_classify(slice_str(text));
    bool result = oid_policy_may_help(class, reason);
    sql_class_unref(class);
    return result;
}

static void what_is_worth_asking(void **state)
{
    (void)state;
    assert_true(may_help("SELECT * FROM v", CACHE_REASON_RELATION_KIND));
    assert_true(may_help("SELECT current_user FROM t", CACHE_REASON_TIME));
    assert_false(may_help("SELECT current_date FROM t", CACHE_REASON_TIME));
    assert_false(may_help("SELECT * FROM v FOR UPDATE", CACHE_REASON_RELATION_KIND));
    assert_false(may_help("SELECT f(x) FROM t", CACHE_REASON_FUNCTION)); /* a user's: refused in any case */
    assert_false(may_help("SELECT * FROM v; SELECT 1", CACHE_REASON_RELATION_KIND));
    assert_false(may_help("UPDATE t SET x = 1", CACHE_REASON_STATEMENT));
    assert_false(may_help("SELECT * FROM t", CACHE_REASON_UNLOGGED));
    assert_false(may_help("SELECT * FROM t", CACHE_REASON_NOT_READY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c05_functions),
        cmocka_unit_test(test_c09_relations),
        cmocka_unit_test(all_else),
        cmocka_unit_test(test_c06_values_and_casts),
        cmocka_unit_test(relations_that_the_catalog_knows),
        cmocka_unit_test(settings_of_the_profile),
        cmocka_unit_test(what_is_worth_asking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
