/* check: what counts as the same answer, and which templates are not trusted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "weir/cache/check.h"
#include "weir/cache/entry.h"
#include "weir/util/buf.h"
#include "weir/wire/encode.h"

enum { TEXT = 25, FLOAT8 = 701 };

static void describe(struct buf *out, uint32_t type)
{
    size_t begun = encode_begin(out, 'T');
    buf_append_u16(out, 1);
    encode_text(out, SLICE_LITERAL("v"));
    buf_append_u32(out, 0);
    buf_append_u16(out, 0);
    buf_append_u32(out, type);
    buf_append_u16(out, 8);
    buf_append_u32(out, 0xFFFFFFFF);
    buf_append_u16(out, 0);
    encode_end(out, begun);
}

/* One row for each letter, and the end. */
static void answer(struct buf *out, const char *letters)
{
    for (const char *c = letters; *c != '\0'; c++) {
        size_t begun = encode_begin(out, 'D');
        buf_append_u16(out, 1);
        buf_append_u32(out, 1);
        buf_append(out, c, 1);
        encode_end(out, begun);
    }
    size_t begun = encode_begin(out, 'C');
    encode_text(out, SLICE_LITERAL("SELECT"));
    encode_end(out, begun);
}

struct had {
    const char *text;
    uint32_t type;
    const char *rows;
};

/* Of an answer that was stored, and what PostgreSQL gives now, `later` changes after it. */
static enum check_outcome compare(struct had stored, uint32_t type, const char *rows, int later)
{
    struct generations *generations = generations_new();
    struct generation *slot = generations_get(generations, 5, GENERATION_ANY);
    struct buf had_description = BUF_INIT, had_rows = BUF_INIT, description = BUF_INIT, now = BUF_INIT;
    describe(&had_description, stored.type);
    answer(&had_rows, stored.rows);
    describe(&description, type);
    answer(&now, rows);
    struct vector_item vector = {.slot = slot, .value = generation_read(slot)};
    const struct entry_contents contents = {
        .key = {{1, 2}, SLICE_LITERAL("key")},
        .vector = &vector,
        .vector_count = 1,
        .parts = {SLICE_EMPTY, buf_slice(&had_description), buf_slice(&had_rows)},
        .stored_us = 1000000,
    };
    struct entry *entry = entry_new(&contents);
    struct check *check = check_new(entry, slice_str(stored.text));
    entry_unref(entry);
    for (int i = 0; i < later; i++)
        generation_bump(slot);
    vector.value = generation_read(slot);
    enum check_outcome outcome = check_compare(check, &vector, 1, buf_slice(&description), buf_slice(&now));
    char text[200];
    check_describe(check, 3500000, buf_slice(&now), text, sizeof(text));
    assert_non_null(strstr(text, "stored 2.500 s ago"));
    assert_non_null(strstr(text, stored.text));
    check_free(check);
    buf_free(&had_description);
    buf_free(&had_rows);
    buf_free(&description);
    buf_free(&now);
    generation_unref(slot);
    generations_free(generations);
    return outcome;
}

static void rows_are_compared_as_a_set(void **state)
{
    (void)state;
    const struct had had = {"SELECT v FROM t", TEXT, "aab"};
    assert_int_equal(compare(had, TEXT, "aab", 0), CHECK_RIGHT);
    assert_int_equal(compare(had, TEXT, "baa", 0), CHECK_RIGHT);
    assert_int_equal(compare(had, TEXT, "abb", 0), CHECK_WRONG);
    assert_int_equal(compare(had, TEXT, "aa", 0), CHECK_WRONG);
    assert_int_equal(compare(had, TEXT, "aabb", 0), CHECK_WRONG);
    assert_int_equal(compare(had, TEXT, "", 0), CHECK_WRONG);
    assert_int_equal(compare(had, FLOAT8, "aab", 0), CHECK_WRONG);
}

static void a_change_in_between_decides_nothing(void **state)
{
    (void)state;
    assert_int_equal(compare((struct had){"SELECT v FROM t", TEXT, "a"}, TEXT, "b", 1), CHECK_UNDECIDED);
    assert_int_equal(compare((struct had){"SELECT v FROM t", TEXT, "a"}, TEXT, "a", 1), CHECK_UNDECIDED);
}

static void where_postgresql_is_free_nothing_is_decided(void **state)
{
    (void)state;
    static const char *const free_texts[] = {
        "SELECT v FROM t LIMIT 1",
        "select v from t Offset 1",
        "SELECT v FROM t FETCH FIRST ROW ONLY",
        "SELECT string_agg(v, ',') FROM t",
        "SELECT JSONB_AGG(v) FROM t",
        "SELECT DISTINCT\n ON (v) w FROM t",
        "SELECT row_number()OVER() FROM t",
        "SELECT mode() WITHIN GROUP (ORDER BY v) FROM t",
    };
    for (size_t i = 0; i < sizeof(free_texts) / sizeof(free_texts[0]); i++)
        assert_int_equal(compare((struct had){free_texts[i], TEXT, "a"}, TEXT, "b", 0), CHECK_UNDECIDED);
    static const char *const bound[] = {
        "SELECT DISTINCT v FROM t JOIN u ON (t.a = u.a)",
        "SELECT limits, overdue, fetched, models, aggregate FROM t ORDER BY 1",
    };
    for (size_t i = 0; i < sizeof(bound) / sizeof(bound[0]); i++)
        assert_int_equal(compare((struct had){bound[i], TEXT, "a"}, TEXT, "b", 0), CHECK_WRONG);
    assert_int_equal(compare((struct had){"SELECT sum(v) FROM t", FLOAT8, "a"}, FLOAT8, "b", 0),
                     CHECK_UNDECIDED);
}

static void templates_are_trusted_until_they_are_not(void **state)
{
    (void)state;
    struct distrust *d = distrust_new();
    assert_false(distrust_has(d, 1, SLICE_LITERAL("SELECT 1 FROM t")));
    distrust_add(d, 1, SLICE_LITERAL("SELECT 1 FROM t"));
    assert_true(distrust_has(d, 1, SLICE_LITERAL("SELECT 1 FROM t")));
    assert_true(distrust_has(d, 1, SLICE_LITERAL("SELECT 2 FROM t"))); /* of the same template */
    assert_false(distrust_has(d, 1, SLICE_LITERAL("SELECT 1 FROM u")));
    assert_false(distrust_has(d, 2, SLICE_LITERAL("SELECT 1 FROM t"))); /* of another database */
    distrust_add(d, 2, SLICE_LITERAL("SELECT 1 FROM t"));
    distrust_forgive(d, 1);
    assert_false(distrust_has(d, 1, SLICE_LITERAL("SELECT 1 FROM t")));
    assert_true(distrust_has(d, 2, SLICE_LITERAL("SELECT 1 FROM t")));
    distrust_clear(d);
    assert_false(distrust_has(d, 2, SLICE_LITERAL("SELECT 1 FROM t")));
    for (int i = 0; i < 1025; i++) {
        char text[40];
        snprintf(text, sizeof(text), "SELECT v FROM t%d", i);
        distrust_add(d, 1, slice_str(text));
        distrust_add(d, 1, slice_str(text));
        assert_true(distrust_has(d, 1, SLICE_LITERAL("SELECT v FROM t0")));
        assert_true(distrust_has(d, 1, SLICE_LITERAL("SELECT v FROM other")) == (i >= 1024));
    }
    distrust_forgive(d, 1);
    assert_true(distrust_has(d, 1, SLICE_LITERAL("SELECT v FROM other"))); /* it has come to be all of them */
    distrust_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_compared_as_a_set),
        cmocka_unit_test(a_change_in_between_decides_nothing),
        cmocka_unit_test(where_postgresql_is_free_nothing_is_decided),
        cmocka_unit_test(templates_are_trusted_until_they_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
