/* logical: what test_decoding writes, and bytes that it would never write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/wire/logical.h"

/* --- messages --- */

static void messages_of_the_stream(void **state)
{
    (void)state;
    static const uint8_t data[] = "w\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\0BEGIN 7";
    struct logical_message m;
    assert_true(logical_message_read(slice_make(data, sizeof(data) - 1), &m));
    assert_int_equal(m.kind, LOGICAL_DATA);
    assert_true(m.lsn == UINT64_C(0x100000002));
    assert_true(slice_equal_str(m.data, "BEGIN 7"));
    static const uint8_t keepalive[] = "k\0\0\0\0\0\0\0\xff\0\0\0\0\0\0\0\0\x01";
    assert_true(logical_message_read(slice_make(keepalive, 18), &m));
    assert_int_equal(m.kind, LOGICAL_KEEPALIVE);
    assert_int_equal(m.lsn, 255);
    assert_true(m.wants_reply);
    for (size_t len = 0; len < 25; len++)
        assert_false(logical_message_read(slice_make(data, len), &m));
    for (size_t len = 0; len < 18; len++)
        assert_false(logical_message_read(slice_make(keepalive, len), &m));
    assert_false(logical_message_read(SLICE_LITERAL("x23456789012345678"), &m));
}

static void a_status(void **state)
{
    (void)state;
    uint8_t out[LOGICAL_STATUS_SIZE];
    const uint64_t lsn = UINT64_C(0x0102030405060708);
    logical_status_write(out, lsn, (UINT64_C(946684800) + 1) * 1000000, true);
    static const uint8_t expected[] = "r\1\2\3\4\5\6\7\x08\1\2\3\4\5\6\7\x08\1\2\3\4\5\6\7\x08"
                                      "\0\0\0\0\0\x0f\x42\x40\1";
    assert_memory_equal(out, expected, sizeof(out));
}

static void places_in_the_log(void **state)
{
    (void)state;
    uint64_t lsn;
    assert_true(logical_lsn_parse("16/B374D848", &lsn));
    assert_true(lsn == UINT64_C(0x16B374D848));
    assert_true(logical_lsn_parse("0/0", &lsn));
    assert_true(lsn == 0);
    static const char *const odd[] = {"",      "/",    "1",   "1/",          "/1",
                                      "1/2/3", "1/2 ", "g/1", "123456789/0", "0/123456789"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        assert_false(logical_lsn_parse(odd[i], &lsn));
}

/* --- changes --- */

static struct logical_change read_change(const char *text)
{
    struct logical_change change;
    logical_change_read(slice_str(text), &change);
    return change;
}

static void beginnings_and_ends(void **state)
{
    (void)state;
    struct logical_change c = read_change("BEGIN 4294967295");
    assert_int_equal(c.kind, LOGICAL_BEGIN);
    assert_true(c.xid == UINT32_MAX);
    c = read_change("COMMIT 731 (at 2026-01-01 00:00:00+00)");
    assert_int_equal(c.kind, LOGICAL_COMMIT);
    assert_int_equal(c.xid, 731);
    static const char *const odd[] = {"BEGIN",    "BEGIN ",    "BEGIN x", "BEGIN 4294967296",
                                      "BEGIN 1x", "COMMIT",    "begin 1", "PREPARE TRANSACTION 'x', txid 7",
                                      "",         "ROLLBACK 7"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        assert_int_equal(read_change(odd[i]).kind, LOGICAL_UNKNOWN);
}

static void assert_names(const char *text, const char *const (*names)[2], size_t count)
{
    struct logical_change c = read_change(text);
    struct logical_name name;
    assert_int_equal(c.kind, LOGICAL_ROWS);
    for (size_t i = 0; i < count; i++) {
        assert_true(logical_name_next(&c.names, &name));
        assert_string_equal(name.schema, names[i][0]);
        assert_string_equal(name.relation, names[i][1]);
    }
    assert_false(logical_name_next(&c.names, &name));
    assert_int_equal(c.names.len, 0);
}

static void rows_name_their_table(void **state)
{
    (void)state;
    assert_names("table public.items: INSERT: id[integer]:1 v[text]:'a: DELETE: \"'",
                 (const char *const[][2]){{"public", "items"}}, 1);
    assert_names(
        "table public.\"a: b, \"\"c\"\".d\": UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:2",
        (const char *const[][2]){{"public", "a: b, \"c\".d"}}, 1);
    assert_names("table \"S\".\"select\": DELETE: (no-tuple-data)", (const char *const[][2]){{"S", "select"}},
                 1);
    assert_names("table public.a_1, x.\"B\", x.c: TRUNCATE: restart_seqs cascade",
                 (const char *const[][2]){{"public", "a_1"}, {"x", "B"}, {"x", "c"}}, 3);
    assert_names("table \"sch\xc3\xb6n\".t: INSERT: (no-tuple-data)",
                 (const char *const[][2]){{"sch\xc3\xb6n", "t"}}, 1);
}

static void rows_that_cannot_be_read(void **state)
{
    (void)state;
    static const char *const odd[] = {"table ",
                                      "table a.b",
                                      "table a.b: ",
                                      "table a.b: MERGE: x",
                                      "table : INSERT:",
                                      "table \"a.b: INSERT:",
                                      "tables a.b: INSERT:"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        assert_int_equal(read_change(odd[i]).kind, LOGICAL_UNKNOWN);
    /* The names are found, and one of them makes no sense: what is left tells. */
    static const char *const names[] = {
        "table a: INSERT:",
        "table a.b.c: INSERT:",
        "table a.b c.d: INSERT:",
        "table A.b: INSERT:",
        "table \"\".b: INSERT:",
        "table a.b, : INSERT:",
        "table a.x234567890123456789012345678901234567890123456789012345678901234: INSERT:"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct logical_change c = read_change(names[i]);
        struct logical_name name;
        assert_int_equal(c.kind, LOGICAL_ROWS);
        while (logical_name_next(&c.names, &name))
            ;
        assert_int_not_equal(c.names.len, 0);
    }
}

static void notes_have_a_prefix(void **state)
{
    (void)state;
    struct logical_change c = read_change("message: transactional: 1 prefix: weir, sz: 0 content:");
    assert_int_equal(c.kind, LOGICAL_NOTE);
    assert_true(slice_equal_str(c.prefix, "weir, sz: 0 content:"));
    assert_int_equal(read_change("message: transactional: ").kind, LOGICAL_UNKNOWN);
    assert_int_equal(read_change("message: transactional: 1 x").kind, LOGICAL_UNKNOWN);
}

/* --- snapshots --- */

static bool shows(const char *snapshot, uint32_t xid)
{
    return logical_snapshot_shows(slice_str(snapshot), xid);
}

static void test_c13_a_snapshot_shows_what_has_ended(void **state)
{
    (void)state;
    assert_true(shows("10:20:10,14", 9));
    assert_false(shows("10:20:10,14", 10));
    assert_true(shows("10:20:10,14", 11));
    assert_false(shows("10:20:10,14", 14));
    assert_true(shows("10:20:10,14", 19));
    assert_false(shows("10:20:10,14", 20));
    assert_true(shows("20:20:", 19));
    assert_false(shows("20:20:", 20));
    static const char *const odd[] = {
        "", "10", "10:20", "x:20:", "10:20:a", "10:20:1x", "99999999999999999999:20:", "30:20:", ":20:"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        assert_false(shows(odd[i], 5));
}

static void numbers_of_transactions_wrap(void **state)
{
    (void)state;
    /* Three epochs and a little: 12884901888 is 3 << 32. */
    assert_true(shows("12884901890:12884901900:12884901890", UINT32_MAX)); /* of the epoch before */
    assert_false(shows("12884901890:12884901900:12884901890", 2));
    assert_true(shows("12884901890:12884901900:12884901890", 3));
    assert_false(shows("12884901890:12884901900:12884901890", 12));
    assert_false(shows("12884901880:12884901880:", 5)); /* xmax ends the epoch: 5 is of the next */
    assert_false(shows("12884901880:12884901900:12884901885", 4294967293u)); /* 12884901885 */
    assert_true(shows("12884901880:12884901900:12884901885", 4294967294u));
}

static void test_c13_what_ran_has_ended(void **state)
{
    (void)state;
    struct slice older = SLICE_LITERAL("10:20:10,14");
    assert_false(logical_snapshot_shows_all(older, older));
    assert_false(logical_snapshot_shows_all(SLICE_LITERAL("14:30:14"), older));
    assert_true(logical_snapshot_shows_all(SLICE_LITERAL("15:30:25"), older));
    assert_true(logical_snapshot_shows_all(SLICE_LITERAL("20:20:"), SLICE_LITERAL("20:20:")));
    assert_false(logical_snapshot_shows_all(SLICE_LITERAL("odd"), older));
    assert_false(logical_snapshot_shows_all(older, SLICE_LITERAL("odd")));
}

/* The value, "-" where there is none that can be told. */
static void column_is(const char *text, const char *column, const char *expected)
{
    struct logical_change change;
    struct slice value;
    logical_change_read(slice_str(text), &change);
    assert_int_equal(change.kind, LOGICAL_ROWS);
    if (!logical_column(change.row, column, &value))
        value = SLICE_LITERAL("-");
    if (!slice_equal(value, slice_str(expected)))
        fail_msg("%s\n  has %.*s in %s, not %s", text, (int)value.len, (const char *)value.data, column,
                 expected);
}

static void a_column_of_a_row(void **state)
{
    (void)state;
    const char *row =
        "table public.t: UPDATE: id[integer]:5 v[text]:'a ''b'' id[integer]:9' \"a \"\"key\"[character "
        "varying]:'x' n[numeric]:null d[text]:unchanged-toast-datum b[bit]:B'101' "
        "l[\"odd]:\"[]]:'{1}' e[text]:'' z[bigint]:-7";
    column_is(row, "id", "5");
    column_is(row, "a \"key", "x");
    column_is(row, "z", "-7");
    column_is(row, "e", "");
    column_is(row, "v", "-"); /* has quotes in it */
    column_is(row, "n", "-");
    column_is(row, "d", "-");
    column_is(row, "b", "-");
    column_is(row, "nothing", "-");
    column_is("table public.t: DELETE: id[integer]:5", "id", "5");
    column_is("table public.t: DELETE: (no-tuple-data)", "id", "-");
    column_is("table public.t: TRUNCATE: (no-flags)", "id", "-");
    column_is("table public.t: UPDATE: old-key: id[integer]:5 new-tuple: id[integer]:6", "id", "-");
    column_is("table public.t: INSERT: a[text]:'id[integer]:5", "id", "-");
    column_is("table public.t: INSERT: a[text:5 id[integer]:5", "id", "-");
    column_is("table public.t: INSERT: a[integer]: id[integer]:5", "id", "-");
    column_is("table public.t: INSERT:", "id", "-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_the_stream),
        cmocka_unit_test(a_status),
        cmocka_unit_test(places_in_the_log),
        cmocka_unit_test(beginnings_and_ends),
        cmocka_unit_test(rows_name_their_table),
        cmocka_unit_test(rows_that_cannot_be_read),
        cmocka_unit_test(a_column_of_a_row),
        cmocka_unit_test(notes_have_a_prefix),
        cmocka_unit_test(test_c13_a_snapshot_shows_what_has_ended),
        cmocka_unit_test(numbers_of_transactions_wrap),
        cmocka_unit_test(test_c13_what_ran_has_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
