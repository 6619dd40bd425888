/* row_key: values that PostgreSQL takes for equal have one number, whatever they are written like; and what
 * is not certain has none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "weir/cache/row_key.h"
#include "weir/util/buf.h"
#include "weir/util/slice.h"

/* The conditions that classify finds, as text: "id=$1 v=#0", "::integer" behind a cast, "+" for row for row.
 */
static void check(const char *text, const char *expected)
{
    static const char *const casts[] = {"", "::integer", "::uuid", "::text"};
    struct sql_class *class = sql_classify(slice_str(text));
    struct buf out = BUF_INIT;
    const struct sql_statement *s = &class->statements[0];
    for (uint16_t i = 0; i < s->n_equalities; i++) {
        const struct sql_equality *e = &s->equalities[i];
        buf_printf(&out, "%s%s=", i > 0 ? " " : "", e->column);
        if (e->param > 0)
            buf_printf(&out, "$%u", e->param);
        else
            buf_printf(&out, "#%u", e->literal);
        buf_append_str(&out, casts[e->cast]);
    }
    buf_append_str(&out, s->is_row_for_row && s->n_equalities > 0 ? " +" : "");
    if (strcmp(buf_text(&out), expected) != 0)
        fail_msg("%s\n  gives    %s\n  expected %s", text, buf_text(&out), expected);
    buf_free(&out);
    sql_class_unref(class);
}

static void conditions_of_reads(void **state)
{
    (void)state;
    check("SELECT v FROM t WHERE id = $1", "id=$1 +");
    check("SELECT 'a', 5, v FROM t WHERE 'x' = t.w AND (id = 7 AND n > 3)", "w=#2 id=#3 +");
    check("SELECT v FROM s.t AS x WHERE x.id = $2::bigint AND u = 'a0'::uuid LIMIT 3",
          "id=$2::integer u=#0::uuid +");
    check("SELECT v FROM t WHERE k = $1::varchar AND l = CAST('b' AS text)", "k=$1::text l=#0::text +");
    check("SELECT count(*) FROM t WHERE id = 1", "id=#0");
    check("SELECT v FROM t WHERE id = 1 GROUP BY v", "id=#0");
    check("SELECT v FROM t WHERE id = 1 HAVING true", "id=#0");
    check("SELECT v, (SELECT max(w) FROM u) FROM t WHERE id = 1", "id=#0");
    check("SELECT id FROM ONLY t WHERE id OPERATOR(pg_catalog.=) 1", "id=#0 +");
    /* Another table first in the walk. */
    check("SELECT (SELECT w FROM u WHERE u.id = t.u) FROM t WHERE id = 1", "id=#0 +");
}

static void test_c38_what_does_not_hold_for_every_row(void **state)
{
    (void)state;
    check("SELECT v FROM t WHERE id = 1 OR n = 2", "");
    check("SELECT v FROM t WHERE NOT id = 1", "");
    check("SELECT v FROM t WHERE id = -1", "");
    check("SELECT v FROM t WHERE id = 1 + 1", "");
    check("SELECT v FROM t WHERE id = n", "");
    check("SELECT v FROM t WHERE id = NULL", "");
    check("SELECT v FROM t WHERE id OPERATOR(mine.=) 1", "");
    check("SELECT v FROM t WHERE id <> 1", "");
    check("SELECT v FROM t WHERE id = 'x'::varchar(1)", "");
    check("SELECT v FROM t WHERE id = '1'::mine.int4", "");
    check("SELECT v FROM t WHERE id = ANY (ARRAY[1])", "");
    check("SELECT v FROM t WHERE id = 'a' COLLATE \"C\"", "");
    check("SELECT v FROM t AS x (a, id) WHERE id = 1", "");
    check("SELECT v FROM t, u WHERE t.id = 1", "");
    check("SELECT v FROM t JOIN u ON true WHERE t.id = 1", "");
    check("SELECT v FROM t WHERE id = 1 AND EXISTS (SELECT FROM t)", "");
    check("SELECT v FROM t WHERE id = 1 UNION SELECT v FROM t", "");
    check("WITH t AS (SELECT 1) SELECT v FROM t WHERE id = 1", "");
    check("SELECT v FROM (SELECT * FROM t) x WHERE id = 1", "");
    check("SELECT v FROM t TABLESAMPLE system (50) WHERE id = 1", "");
}

static void conditions_of_writes(void **state)
{
    (void)state;
    check("UPDATE t SET v = 'x', n = n + 1 WHERE id = $1 AND m = 4", "id=$1 m=#2");
    check("UPDATE t SET v = (SELECT v FROM t WHERE id = 2) WHERE id = 3", "id=#1");
    check("UPDATE t AS x SET v = $1 WHERE x.id = $2 RETURNING *", "id=$2");
    check("DELETE FROM t WHERE id = 5 RETURNING (SELECT count(*) FROM t)", "id=#0");
    check("UPDATE t SET id = 2 WHERE id = 1", "");
    check("UPDATE t SET (v, id) = (SELECT 1, 2) WHERE id = 1", "");
    check("UPDATE t SET v = 1 FROM u WHERE id = 1", "");
    check("UPDATE t SET v = 1 WHERE CURRENT OF c", "");
    check("DELETE FROM t USING u WHERE t.id = 1", "");
    check("WITH w AS (DELETE FROM t RETURNING 1) UPDATE t SET v = 1 WHERE id = 1", "");
}

static bool adds_rows(const char *text)
{
    struct sql_class *class = sql_classify(slice_str(text));
    bool adds = class->statements[0].only_adds_rows;
    sql_class_unref(class);
    return adds;
}

static void inserts(void **state)
{
    (void)state;
    assert_true(adds_rows("INSERT INTO t VALUES (1)"));
    assert_true(adds_rows("INSERT INTO t SELECT * FROM u ON CONFLICT DO NOTHING"));
    assert_false(adds_rows("INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET v = 1"));
    assert_false(adds_rows("WITH w AS (UPDATE t SET v = 1) INSERT INTO t VALUES (1)"));
    assert_false(adds_rows("UPDATE t SET v = 1"));
}

/* --- numbers --- */

static uint64_t of_literal(enum catalog_key kind, enum sql_cast cast, const char *text)
{
    const struct row_key key = {.relation = 17, .kind = kind, .equality = {.literal = 1, .cast = cast}};
    const struct cache_values values = {.text = slice_str(text)};
    uint64_t hash;
    return row_key_hash(&key, &values, &hash) ? hash : 0;
}

/* Bind's body of two parameters of one format, the second of which is the key. */
static uint64_t of_bound(enum catalog_key kind, enum sql_cast cast, uint16_t format, uint32_t type,
                         const void *bytes, int32_t len)
{
    const struct row_key key = {.relation = 17, .kind = kind, .equality = {.param = 2, .cast = cast}};
    const uint32_t types[] = {25, type};
    struct buf bind = BUF_INIT;
    uint64_t hash;
    buf_append_u16(&bind, 1);
    buf_append_u16(&bind, format);
    buf_append_u16(&bind, 2);
    buf_append_u32(&bind, 3);
    buf_append(&bind, "abc", 3);
    buf_append_u32(&bind, (uint32_t)len);
    if (len > 0)
        buf_append(&bind, bytes, (size_t)len);
    buf_append_u16(&bind, 0);
    const struct cache_values values = {.bind = buf_slice(&bind), .types = types, .type_count = 2};
    bool is_known = row_key_hash(&key, &values, &hash);
    /* What is cut off is never read beyond. */
    for (size_t cut = 1; cut + 2 < bind.len; cut++) {
        uint64_t other;
        struct cache_values less = values;
        less.bind.len -= cut + 2;
        (void)row_key_hash(&key, &less, &other);
    }
    buf_free(&bind);
    return is_known ? hash : 0;
}

static void integers(void **state)
{
    (void)state;
    const enum catalog_key kind = CATALOG_KEY_INTEGER;
    uint64_t five = of_literal(kind, SQL_CAST_NONE, "UPDATE t SET v = 'x' WHERE id = 5");
    assert_int_not_equal(five, 0);
    assert_int_equal(of_literal(kind, SQL_CAST_NONE, "UPDATE t SET v = 'x' WHERE id = '5'"), five);
    assert_int_equal(of_literal(kind, SQL_CAST_INTEGER, "UPDATE t SET v = 'x' WHERE id = '005'::int"), five);
    assert_int_equal(of_bound(kind, SQL_CAST_NONE, 0, 0, "5", 1), five);
    assert_int_equal(of_bound(kind, SQL_CAST_NONE, 0, 20, "5", 1), five);
    assert_int_equal(of_bound(kind, SQL_CAST_INTEGER, 1, 25, "5", 1), five);
    assert_int_equal(of_bound(kind, SQL_CAST_NONE, 1, 21, "\0\5", 2), five);
    assert_int_equal(of_bound(kind, SQL_CAST_NONE, 1, 0, "\0\0\0\5", 4), five);
    assert_int_equal(of_bound(kind, SQL_CAST_NONE, 1, 20, "\0\0\0\0\0\0\0\5", 8), five);
    uint64_t minus = of_bound(kind, SQL_CAST_NONE, 0, 0, "-5", 2);
    assert_int_not_equal(minus, 0);
    assert_int_equal(of_bound(kind, SQL_CAST_NONE, 1, 0, "\377\377\377\373", 4), minus);
    assert_int_not_equal(of_bound(kind, SQL_CAST_NONE, 0, 0, "6", 1), five);
}

static void test_c38_no_number_for_what_is_not_certain(void **state)
{
    (void)state;
    const enum catalog_key kind = CATALOG_KEY_INTEGER;
    static const char *const texts[] = {"",    " 5",  "5 ",  "+5", "5.0",
                                        "0x5", "5_0", "1e1", "-",  "9999999999999999999"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        assert_int_equal(of_bound(kind, SQL_CAST_NONE, 0, 0, texts[i], (int32_t)strlen(texts[i])), 0);
    assert_int_equal(of_bound(kind, SQL_CAST_NONE, 0, 0, NULL, -1), 0);
    assert_int_equal(of_bound(kind, SQL_CAST_NONE, 2, 0, "5", 1), 0);
    assert_int_equal(of_bound(kind, SQL_CAST_NONE, 1, 0, "\0\0\5", 3), 0);
    assert_int_equal(of_bound(kind, SQL_CAST_NONE, 1, 1700, "\0\0\0\5", 4), 0); /* numeric */
    assert_int_equal(of_bound(kind, SQL_CAST_NONE, 1, 700, "\0\0\0\5", 4), 0);  /* float4 */
    assert_int_equal(of_bound(kind, SQL_CAST_TEXT, 0, 0, "5", 1), 0);
    assert_int_equal(of_literal(kind, SQL_CAST_NONE, "UPDATE t SET v = 'x' WHERE id = 5.0"), 0);
    assert_int_equal(of_literal(kind, SQL_CAST_NONE, "UPDATE t SET v = 'x' WHERE id = $$5$$"), 0);
    assert_int_equal(of_literal(CATALOG_KEY_TEXT, SQL_CAST_NONE, "UPDATE t SET v = 'x' WHERE k = 'it''s'"),
                     0);
    assert_int_equal(of_literal(CATALOG_KEY_TEXT, SQL_CAST_NONE, "UPDATE t SET v = 'x' WHERE k = 'a\\b'"), 0);
    assert_int_equal(of_bound(CATALOG_KEY_TEXT, SQL_CAST_NONE, 0, 0, "\303\251", 2), 0); /* one encoding's */
    assert_int_equal(of_literal(CATALOG_KEY_NONE, SQL_CAST_NONE, "UPDATE t SET v = 'x' WHERE id = 5"), 0);
}

static void uuids_and_texts(void **state)
{
    (void)state;
    static const uint8_t bytes[16] = {0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8,
                                      0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11};
    const char *text = "A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11";
    uint64_t hash = of_bound(CATALOG_KEY_UUID, SQL_CAST_NONE, 0, 0, text, 36);
    assert_int_not_equal(hash, 0);
    assert_int_equal(of_bound(CATALOG_KEY_UUID, SQL_CAST_NONE, 1, 2950, bytes, 16), hash);
    assert_int_equal(
        of_literal(CATALOG_KEY_UUID, SQL_CAST_UUID,
                   "DELETE FROM t WHERE a = 'x' AND id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid"),
        hash);
    assert_int_equal(of_bound(CATALOG_KEY_UUID, SQL_CAST_NONE, 0, 0, "a0eebc999c0b4ef8bb6d6bb9bd380a11", 32),
                     0);
    assert_int_equal(
        of_bound(CATALOG_KEY_UUID, SQL_CAST_NONE, 0, 0, "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", 36), 0);
    assert_int_equal(of_bound(CATALOG_KEY_UUID, SQL_CAST_NONE, 1, 0, bytes, 15), 0);
    uint64_t slug = of_bound(CATALOG_KEY_TEXT, SQL_CAST_NONE, 0, 0, "a slug", 6);
    assert_int_not_equal(slug, 0);
    assert_int_equal(of_bound(CATALOG_KEY_TEXT, SQL_CAST_NONE, 1, 1043, "a slug", 6), slug);
    assert_int_equal(
        of_literal(CATALOG_KEY_TEXT, SQL_CAST_NONE, "DELETE FROM t WHERE a = 1 AND k = 'a slug'"), slug);
    assert_int_not_equal(of_bound(CATALOG_KEY_TEXT, SQL_CAST_NONE, 0, 0, "a slug ", 7), slug);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_of_reads),
        cmocka_unit_test(test_c38_what_does_not_hold_for_every_row),
        cmocka_unit_test(conditions_of_writes),
        cmocka_unit_test(inserts),
        cmocka_unit_test(integers),
        cmocka_unit_test(test_c38_no_number_for_what_is_not_certain),
        cmocka_unit_test(uuids_and_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
