/* policy: what may be cached and what may not, on real classes of real statements and a made-up catalog. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "weir/cache/policy.h"
#include "weir/cache/search_path.h"
#include "weir/control/catalog.h"
#include "weir/sql/classify.h"

struct table {
    uint32_t oid;
    const char *schema, *name;
    char kind, persistence;
    uint32_t flags;
};

static const struct table tables[] = {
    {1, "public", "users", 'r', 'p', 0},
    {2, "public", "orders", 'r', 'p', 0},
    {3, "tenant", "users", 'r', 'p', 0},
    {4, "public", "view", 'v', 'p', CATALOG_HAS_RULE},
    {5, "public", "foreign", 'f', 'p', 0},
    {6, "public", "unlogged", 'r', 'u', 0},
    {7, "public", "secured", 'r', 'p', CATALOG_ROW_SECURITY},
    {8, "public", "odd", 'r', 'p', CATALOG_ODD_COLUMN},
    {9, "public", "audited", 'r', 'p', CATALOG_HAS_TRIGGER},
    {10, "public", "ruled", 'r', 'p', CATALOG_HAS_RULE},
    {11, "public", "seq", 'S', 'p', 0},
    {20, "public", "parent", 'p', 'p', 0},
    {21, "public", "leaf", 'r', 'p', 0},
    {22, "public", "parent2", 'p', 'p', 0},
    {23, "public", "leaf2", 'f', 'p', 0},
    {30, "public", "accounts", 'r', 'p', 0},
    {31, "public", "entries", 'r', 'p', 0},
    {32, "public", "details", 'r', 'p', 0},
    {33, "public", "guarded", 'r', 'p', 0},
};

static struct catalog_builder *builder_of(const struct catalog_facts *facts)
{
    struct catalog_builder *b = catalog_builder_new(facts);
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        catalog_builder_relation(b, &(struct catalog_relation){.oid = tables[i].oid,
                                                               .schema = tables[i].schema,
                                                               .name = tables[i].name,
                                                               .kind = tables[i].kind,
                                                               .persistence = tables[i].persistence,
                                                               .flags = tables[i].flags});
    catalog_builder_inherit(b, 20, 21);
    catalog_builder_inherit(b, 22, 23);
    catalog_builder_cascade(b, 30, 31); /* accounts → entries → details */
    catalog_builder_cascade(b, 31, 32);
    catalog_builder_cascade(b, 33, 9); /* guarded → audited, which has a trigger */
    return b;
}

static struct catalog *catalog_of(struct catalog_facts facts, const char *function, const char *operator)
{
    struct catalog_builder *b = builder_of(&facts);
    if (function != NULL)
        catalog_builder_function(b, "public", function);
    if (operator!= NULL)
        catalog_builder_operator(b, "public", operator);
    return catalog_builder_finish(b);
}

static enum cache_reason judge_in(const struct catalog *catalog, const char *search_path, const char *text,
                                  struct policy_relations *relations)
{
    struct search_path path;
    assert_true(search_path_parse(&path, slice_str(search_path), "anna"));
    struct sql_class *class = sql_classify(slice_str(text));
    enum cache_reason reason = policy_judge(class, catalog, &path, relations);
    sql_class_unref(class);
    search_path_free(&path);
    return reason;
}

static void expect(const struct catalog *catalog, const char *search_path, const char *text,
                   enum cache_reason expected)
{
    struct policy_relations relations;
    enum cache_reason reason = judge_in(catalog, search_path, text, &relations);
    if (reason != expected)
        print_error("%s\n  gives %s, not %s\n", text, cache_reason_label(reason),
                    cache_reason_label(expected));
    assert_int_equal(reason, expected);
}

static void what_applications_ask_is_cached(void **state)
{
    static const char *const texts[] = {
        "SELECT * FROM users WHERE id = $1",
        "SELECT u.id, u.name FROM users u JOIN orders o ON o.user_id = u.id WHERE o.total > 10 ORDER BY "
        "u.name LIMIT 5",
        "SELECT count(*), sum(total), avg(total), min(id), max(id) FROM orders GROUP BY user_id HAVING "
        "count(*) > 1",
        "SELECT * FROM users WHERE name LIKE $1 AND id IN (1, 2, 3) AND age BETWEEN 1 AND 2",
        "SELECT * FROM users WHERE created > '2020-01-01'::date AND id = ANY($1::int[])",
        "SELECT coalesce(name, 'x'), lower(name), upper(name), length(name), substring(name, 1, 3) FROM "
        "users",
        "SELECT date_trunc('month', created), extract(year FROM created) FROM users GROUP BY 1, 2",
        "WITH big AS (SELECT * FROM orders WHERE total > 100) SELECT * FROM big JOIN users USING (id)",
        "SELECT \"users\".\"id\" AS \"id\" FROM \"public\".\"users\" WHERE (\"users\".\"name\" ILIKE $1) "
        "OFFSET $2",
        "SELECT CASE WHEN id > 1 THEN 'a' ELSE 'b' END, row_number() OVER (ORDER BY id) FROM users",
        "SELECT EXISTS (SELECT 1 FROM users WHERE email = $1)",
        "SELECT name || ' ' || email, id::text, -id, id % 2 FROM users",
        "SELECT json_agg(name), string_agg(name, ','), array_agg(id) FROM users",
        "TABLE users",
        "SELECT * FROM parent",
        "SELECT * FROM leaf",
        "SELECT * FROM audited",
        "SELECT 1 FROM users UNION ALL SELECT 2 FROM orders",
        "SELECT * FROM tenant.users",
    };
    struct catalog *catalog = *state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        expect(catalog, "\"$user\", public", texts[i], CACHE_REASON_NONE);
}

static void the_relations_are_those_read(void **state)
{
    struct policy_relations relations;
    assert_int_equal(judge_in(*state, "public", "SELECT * FROM users u, tenant.users t, orders", &relations),
                     CACHE_REASON_NONE);
    assert_int_equal(relations.count, 3);
    uint32_t sum = 0;
    for (size_t i = 0; i < relations.count; i++)
        sum += relations.oids[i];
    assert_int_equal(sum, 1 + 2 + 3);
}

static void test_c05_c07_functions_and_words_of_time_are_refused(void **state)
{
    static const struct {
        const char *text;
        enum cache_reason reason;
    } cases[] = {
        {"SELECT now() FROM users", CACHE_REASON_FUNCTION},
        {"SELECT random(), id FROM users", CACHE_REASON_FUNCTION},
        {"SELECT * FROM users WHERE id = pg_backend_pid()", CACHE_REASON_FUNCTION},
        {"SELECT txid_current() FROM users", CACHE_REASON_FUNCTION},
        {"SELECT pg_sleep(1) FROM users", CACHE_REASON_FUNCTION},
        {"SELECT * FROM users, pg_sleep(1)", CACHE_REASON_FUNCTION},
        {"SELECT current_setting('x') FROM users", CACHE_REASON_FUNCTION},
        {"SELECT age(created) FROM users", CACHE_REASON_FUNCTION},
        {"SELECT my_function(id) FROM users", CACHE_REASON_FUNCTION},
        {"SELECT public.lower(name) FROM users", CACHE_REASON_FUNCTION},
        {"SELECT date(name) FROM users", CACHE_REASON_FUNCTION},
        {"SELECT version() FROM users", CACHE_REASON_FUNCTION},
        {"SELECT CURRENT_DATE FROM users", CACHE_REASON_TIME},
        {"SELECT LOCALTIMESTAMP, id FROM users", CACHE_REASON_TIME},
        {"SELECT * FROM users WHERE name = CURRENT_USER", CACHE_REASON_TIME},
        {"SELECT * FROM users WHERE name = SESSION_USER", CACHE_REASON_TIME},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect(*state, "public", cases[i].text, cases[i].reason);
    struct policy_relations relations;
    assert_int_not_equal(judge_in(*state, "public", "SELECT nextval('seq') FROM users", &relations),
                         CACHE_REASON_NONE);
    assert_int_not_equal(judge_in(*state, "public", "SELECT pg_advisory_lock(1) FROM users", &relations),
                         CACHE_REASON_NONE);
    assert_int_not_equal(
        judge_in(*state, "public", "SELECT set_config('a', 'b', false) FROM users", &relations),
        CACHE_REASON_NONE);
}

static void test_c06_casts_that_could_read_the_clock_are_refused(void **state)
{
    expect(*state, "public", "SELECT * FROM users WHERE name::date = '2020-01-01'", CACHE_REASON_CAST);
    expect(*state, "public", "SELECT ('n' || 'ow')::timestamp FROM users", CACHE_REASON_CAST);
    expect(*state, "public", "SELECT $1::timetz FROM users", CACHE_REASON_CAST);
    expect(*state, "public", "SELECT id::regclass FROM users", CACHE_REASON_CAST);
    expect(*state, "public", "SELECT id::my_type FROM users", CACHE_REASON_CAST);
    expect(*state, "public", "SELECT id::public.text FROM users", CACHE_REASON_CAST);
    expect(*state, "public", "SELECT $1::xml FROM users", CACHE_REASON_CAST);
}

static void test_c08_c09_relations_that_are_no_plain_tables_are_refused(void **state)
{
    expect(*state, "public", "SELECT * FROM view", CACHE_REASON_RELATION_KIND);
    expect(*state, "public", "SELECT * FROM foreign_", CACHE_REASON_UNKNOWN_RELATION);
    expect(*state, "public", "SELECT * FROM \"foreign\"", CACHE_REASON_RELATION_KIND);
    expect(*state, "public", "SELECT * FROM seq", CACHE_REASON_RELATION_KIND);
    expect(*state, "public", "SELECT * FROM unlogged", CACHE_REASON_UNLOGGED);
    expect(*state, "public", "SELECT * FROM secured", CACHE_REASON_ROW_SECURITY);
    expect(*state, "public", "SELECT * FROM odd", CACHE_REASON_COLUMN);
    expect(*state, "public", "SELECT * FROM ruled", CACHE_REASON_RELATION_KIND);
    expect(*state, "public", "SELECT * FROM parent2", CACHE_REASON_RELATION_KIND);
    expect(*state, "public", "SELECT * FROM users JOIN secured USING (id)", CACHE_REASON_ROW_SECURITY);
    expect(*state, "public", "SELECT * FROM users WHERE id IN (SELECT id FROM view)",
           CACHE_REASON_RELATION_KIND);
    expect(*state, "public", "SELECT * FROM pg_class", CACHE_REASON_SYSTEM_RELATION);
    expect(*state, "public", "SELECT * FROM pg_catalog.pg_class, users", CACHE_REASON_SYSTEM_RELATION);
    expect(*state, "public", "SELECT * FROM information_schema.tables", CACHE_REASON_SYSTEM_RELATION);
    expect(*state, "public", "SELECT * FROM users TABLESAMPLE system (1)", CACHE_REASON_STATEMENT);
    expect(*state, "public", "SELECT ctid, * FROM users", CACHE_REASON_STATEMENT);
}

static void test_c01_names_mean_what_the_search_path_says(void **state)
{
    struct policy_relations relations;
    assert_int_equal(judge_in(*state, "tenant", "SELECT * FROM users", &relations), CACHE_REASON_NONE);
    assert_int_equal(relations.oids[0], 3);
    assert_int_equal(judge_in(*state, "public", "SELECT * FROM users", &relations), CACHE_REASON_NONE);
    assert_int_equal(relations.oids[0], 1);
    expect(*state, "tenant, public", "SELECT * FROM users", CACHE_REASON_SEARCH_PATH); /* which of the two? */
    expect(*state, "tenant, public", "SELECT * FROM orders", CACHE_REASON_NONE);
    expect(*state, "", "SELECT * FROM users", CACHE_REASON_UNKNOWN_RELATION);
    expect(*state, "public, pg_catalog", "SELECT * FROM users", CACHE_REASON_SEARCH_PATH);
    expect(*state, "pg_temp, public", "SELECT * FROM users", CACHE_REASON_SEARCH_PATH);
}

static void test_c17_c26_other_statements_are_refused(void **state)
{
    expect(*state, "public", "SELECT 1", CACHE_REASON_NO_RELATION);
    expect(*state, "public", "SELECT * FROM users FOR UPDATE", CACHE_REASON_STATEMENT);
    expect(*state, "public", "SELECT * INTO x FROM users", CACHE_REASON_STATEMENT);
    expect(*state, "public", "WITH d AS (DELETE FROM orders RETURNING *) SELECT * FROM d",
           CACHE_REASON_STATEMENT);
    expect(*state, "public", "SELECT * FROM users; SELECT * FROM orders", CACHE_REASON_STATEMENT);
    expect(*state, "public", "EXPLAIN ANALYZE SELECT * FROM users", CACHE_REASON_STATEMENT);
    expect(*state, "public", "UPDATE users SET id = 1", CACHE_REASON_STATEMENT);
    expect(*state, "public", "SELEC * FROM users", CACHE_REASON_STATEMENT);
    expect(*state, "public", "FETCH ALL FROM c", CACHE_REASON_STATEMENT);
}

static void test_c05_what_a_user_may_have_put_in_front_is_refused(void **state)
{
    (void)state;
    const struct catalog_facts facts = {.database_oid = 5};
    struct catalog *catalog = catalog_of(facts, "lower", NULL);
    expect(catalog, "public", "SELECT lower(name) FROM users", CACHE_REASON_SHADOWED);
    expect(catalog, "public", "SELECT upper(name) FROM users", CACHE_REASON_NONE);
    expect(catalog, "tenant", "SELECT lower(name) FROM users", CACHE_REASON_NONE);
    catalog_unref(catalog);
    catalog = catalog_of(facts, NULL, "%");
    expect(catalog, "public", "SELECT id % 2 FROM users", CACHE_REASON_SHADOWED);
    expect(catalog, "public", "SELECT * FROM users WHERE name LIKE '%x'", CACHE_REASON_NONE);
    catalog_unref(catalog);
    catalog = catalog_of(facts, NULL, "=");
    expect(catalog, "public", "SELECT * FROM users WHERE id IN (1, 2)", CACHE_REASON_SHADOWED);
    catalog_unref(catalog);
    struct catalog_builder *b = builder_of(&facts);
    catalog_builder_somewhere(b, CATALOG_ODD_CASTS);
    catalog = catalog_builder_finish(b);
    expect(catalog, "public", "SELECT * FROM users", CACHE_REASON_SHADOWED);
    catalog_unref(catalog);
}

static void test_c32_nothing_of_a_standby_is_cached(void **state)
{
    (void)state;
    struct catalog *catalog = catalog_of((struct catalog_facts){.is_in_recovery = true}, NULL, NULL);
    expect(catalog, "public", "SELECT * FROM users", CACHE_REASON_STANDBY);
    catalog_unref(catalog);
}

/* --- write sets --- */

struct write_set {
    bool is_known;
    uint32_t bits; /* of oid */
    uint64_t oids;
};

static void collect(void *context, uint32_t oid)
{
    ((struct write_set *)context)->oids |= UINT64_C(1) << oid;
}

#define OID(n) (UINT64_C(1) << (n))

static struct write_set write_set_of(const struct catalog *catalog, const char *search_path, const char *text)
{
    struct write_set set = {false, 0, 0};
    struct search_path path;
    assert_true(search_path_parse(&path, slice_str(search_path), "anna"));
    struct sql_class *class = sql_classify(slice_str(text));
    set.is_known = policy_write_set(class, catalog, &path, collect, &set);
    sql_class_unref(class);
    search_path_free(&path);
    return set;
}

static void test_c10_writes_reach_what_they_do_not_name(void **state)
{
    static const struct {
        const char *text;
        bool is_known;
        uint64_t oids;
    } cases[] = {
        {"UPDATE users SET id = 1", true, OID(1)},
        {"INSERT INTO orders SELECT * FROM users", true, OID(2)},
        {"DELETE FROM accounts", true, OID(30) | OID(31) | OID(32)},
        {"UPDATE leaf SET id = 1", true, OID(20) | OID(21)},
        {"INSERT INTO parent VALUES (1)", true, OID(20) | OID(21)},
        {"COPY users FROM STDIN", true, OID(1)},
        {"TRUNCATE users", true, OID(1)},
        {"WITH d AS (DELETE FROM orders RETURNING *) SELECT * FROM d", true, OID(2)},
        {"MERGE INTO users USING orders ON false WHEN NOT MATCHED THEN INSERT VALUES (1)", true, OID(1)},
        {"UPDATE users SET id = 1; UPDATE orders SET id = 1", true, OID(1) | OID(2)},
        {"SELECT * FROM users", true, 0},
        {"TRUNCATE users CASCADE", false, 0},
        {"UPDATE audited SET id = 1", false, 0},
        {"DELETE FROM guarded", false, 0},
        {"UPDATE view SET id = 1", false, 0},
        {"INSERT INTO ruled VALUES (1)", false, 0},
        {"UPDATE nobody_knows SET id = 1", false, 0},
        {"SELECT my_function()", false, 0},
        {"DO $$ BEGIN END $$", false, 0},
        {"CALL p()", false, 0},
        {"EXECUTE s", false, 0},
        {"REFRESH MATERIALIZED VIEW m", false, 0},
        {"SELECT * INTO x FROM users", false, 0},
        {"ALTER TABLE users ADD COLUMN x int", false, 0},
        {"this is no SQL", false, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct write_set set = write_set_of(*state, "public", cases[i].text);
        if (set.is_known != cases[i].is_known || (set.is_known && set.oids != cases[i].oids))
            print_error("%s: known %d, relations %llx\n", cases[i].text, set.is_known,
                        (unsigned long long)set.oids);
        assert_int_equal(set.is_known, cases[i].is_known);
        if (set.is_known)
            assert_int_equal(set.oids, cases[i].oids);
    }
    /* When a name may mean two tables, both. */
    assert_int_equal(write_set_of(*state, "tenant, public", "DELETE FROM users").oids, OID(1) | OID(3));
    assert_false(write_set_of(*state, "pg_temp, public", "DELETE FROM users").is_known);
}

static void test_c10_reading_may_run_code(void **state)
{
    static const struct {
        const char *text;
        bool is_known;
    } cases[] = {
        {"SELECT * FROM users", true},
        {"SELECT lower(name) FROM users", true},
        {"SELECT relname FROM pg_class", true},
        {"SELECT 1 FROM information_schema.tables", true},
        {"SELECT * FROM view", false},
        {"SELECT * FROM users WHERE id IN (SELECT id FROM public.view)", false},
        {"INSERT INTO users SELECT * FROM view", false},
        {"SELECT * FROM parent2", false}, /* a foreign table is among its children */
        {"DELETE FROM secured", false},
        {"SELECT * FROM nowhere", false}, /* a temporary view, perhaps */
        {"SELECT upper(name) FROM users", false},
        {"SELECT pg_catalog.upper(name) FROM users", true},
        {"SELECT u.name FROM users u", true},
        {"SELECT u.full_name FROM users u", false},
        {"SELECT (u).full_name FROM users u", false},
        {"SELECT full_name FROM users u", true}, /* no call without a dot */
        {"SELECT '1'::int4", true},
        {"SELECT '1'::checked", false},
        {"SELECT CAST(id AS tenant.checked) FROM users", true},
        {"ANALYZE users", false},
        {"FETCH 1 FROM c", true},
        {"INSERT INTO orders VALUES (1)", true},
        {"INSERT INTO users VALUES (1)", false}, /* a default of it, say */
        {"SELECT id FROM users", true},
    };
    struct catalog_builder *b = builder_of(&(struct catalog_facts){.database_oid = 1});
    catalog_builder_runs_code(b, 4);
    catalog_builder_runs_code(b, 7);
    catalog_builder_runs_code(b, 23);
    catalog_builder_code(b, "public", "upper");
    catalog_builder_row_code(b, "public", "full_name");
    catalog_builder_code_type(b, "public", "checked");
    catalog_builder_write_runs_code(b, 1);
    struct catalog *catalog = catalog_builder_finish(b);
    assert_true(catalog_has_code(catalog));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct write_set set = write_set_of(catalog, "public", cases[i].text);
        if (set.is_known != cases[i].is_known)
            print_error("%s: known %d\n", cases[i].text, set.is_known);
        assert_int_equal(set.is_known, cases[i].is_known);
    }
    catalog_unref(catalog);
    /* Where nobody has made a function, nothing is suspected. */
    assert_false(catalog_has_code(*state));
    assert_true(write_set_of(*state, "public", "SELECT * FROM view, nowhere").is_known);
}

/* --- parameters --- */

static void test_c07_bound_words_of_time_are_seen(void **state)
{
    (void)state;
#define BIND(len, value) SLICE_LITERAL("\0\0\0\1\0\0\0" len value "\0\0")
    assert_true(policy_has_datetime_word(BIND("\3", "now")));
    assert_true(policy_has_datetime_word(BIND("\6", "TODAY ")));
    assert_true(policy_has_datetime_word(BIND("\12", "yesterday ")));
    assert_true(policy_has_datetime_word(BIND("\16", "tomorrow 12:00")));
    assert_false(policy_has_datetime_word(BIND("\4", "snow")));
    assert_false(policy_has_datetime_word(BIND("\0", "")));
    assert_false(policy_has_datetime_word(SLICE_LITERAL("\0\0\0\1\377\377\377\377\0\0"))); /* NULL */
    /* A length whose last byte is a letter must not hide the word behind it. */
    char wide[4 + 4 + 97 + 2] = "\0\0\0\1\0\0\0a"
                                "now";
    memset(wide + 11, ' ', 94);
    assert_true(policy_has_datetime_word(slice_make(wide, sizeof(wide))));
    assert_true(policy_has_datetime_word(SLICE_LITERAL("\0\0\0\1\0\0\0\7now"))); /* broken: refuse */
    assert_true(policy_has_datetime_word(SLICE_EMPTY));
}

static void parameter_types(void **state)
{
    (void)state;
    const uint32_t harmless[] = {0,    16,   20,   21,   23,   25,   701,  1043,
                                 1082, 1114, 1184, 1700, 2950, 3802, 1007, 705};
    const uint32_t refused[] = {142, 1266, 2205, 24, 26000, 16384, 600000, 2249, 790};
    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
        assert_true(policy_is_type_harmless(harmless[i]));
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        assert_false(policy_is_type_harmless(refused[i]));
}

static int set_up(void **state)
{
    *state = catalog_of((struct catalog_facts){.database_oid = 5}, NULL, NULL);
    return *state == NULL;
}

static int tear_down(void **state)
{
    catalog_unref(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_applications_ask_is_cached),
        cmocka_unit_test(the_relations_are_those_read),
        cmocka_unit_test(test_c05_c07_functions_and_words_of_time_are_refused),
        cmocka_unit_test(test_c06_casts_that_could_read_the_clock_are_refused),
        cmocka_unit_test(test_c08_c09_relations_that_are_no_plain_tables_are_refused),
        cmocka_unit_test(test_c01_names_mean_what_the_search_path_says),
        cmocka_unit_test(test_c17_c26_other_statements_are_refused),
        cmocka_unit_test(test_c05_what_a_user_may_have_put_in_front_is_refused),
        cmocka_unit_test(test_c32_nothing_of_a_standby_is_cached),
        cmocka_unit_test(test_c10_writes_reach_what_they_do_not_name),
        cmocka_unit_test(test_c10_reading_may_run_code),
        cmocka_unit_test(test_c07_bound_words_of_time_are_seen),
        cmocka_unit_test(parameter_types),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
