/* decode: every body cut at every byte, counts and lengths that promise more than there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/util/buf.h"
#include "weir/wire/decode.h"

union any_view {
    struct parse_view parse;
    struct bind_view bind;
    struct target_view target;
    struct execute_view execute;
    struct parameter_view parameter;
    struct error_view error;
    struct slice text;
    uint8_t status;
};

typedef bool (*decode_fn)(struct slice body, union any_view *out);

static bool query(struct slice body, union any_view *out)
{
    return decode_query(body, &out->text);
}
static bool parse(struct slice body, union any_view *out)
{
    return decode_parse(body, &out->parse);
}
static bool bind(struct slice body, union any_view *out)
{
    return decode_bind(body, &out->bind);
}
static bool target(struct slice body, union any_view *out)
{
    return decode_target(body, &out->target);
}
static bool execute(struct slice body, union any_view *out)
{
    return decode_execute(body, &out->execute);
}
static bool parameter(struct slice body, union any_view *out)
{
    return decode_parameter_status(body, &out->parameter);
}
static bool error(struct slice body, union any_view *out)
{
    return decode_error(body, &out->error);
}
static bool ready(struct slice body, union any_view *out)
{
    return decode_ready(body, &out->status);
}
static bool tag(struct slice body, union any_view *out)
{
    return decode_command_tag(body, &out->text);
}

/* From a copy of exactly that size, so that the sanitizer sees a byte too many. */
static bool on_copy(decode_fn decode, struct slice body)
{
    uint8_t *copy = malloc(body.len > 0 ? body.len : 1);
    memcpy(copy, body.data, body.len);
    union any_view view;
    bool is_good = decode(slice_make(copy, body.len), &view);
    free(copy);
    return is_good;
}

#define BODY(lit)                                                                                            \
    {                                                                                                        \
        (const uint8_t *)(lit), sizeof(lit) - 1                                                              \
    }

static const struct {
    decode_fn decode;
    struct slice body;
} samples[] = {
    {query, BODY("select 1\0")},
    {parse, BODY("s1\0select $1\0\0\2\0\0\0\x17\0\0\0\x19")},
    {bind, BODY("p\0s\0\0\1\0\1\0\2\0\0\0\3abc\xff\xff\xff\xff\0\2\0\0\0\1")},
    {target, BODY("Ss1\0")},
    {execute, BODY("p\0\0\0\0\5")},
    {parameter, BODY("TimeZone\0UTC\0")},
    {error, BODY("SERREUR\0VERROR\0C42P01\0Mno such thing\0\0")},
    {ready, BODY("T")},
    {tag, BODY("SELECT 1\0")},
};

static void p15_whole_or_not_at_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct slice body = samples[i].body;
        assert_true(on_copy(samples[i].decode, body));
        for (size_t len = 0; len < body.len; len++)
            assert_false(on_copy(samples[i].decode, slice_make(body.data, len)));
        struct buf longer = BUF_INIT;
        buf_append_slice(&longer, body);
        buf_append_u8(&longer, 0);
        assert_false(on_copy(samples[i].decode, buf_slice(&longer)));
        buf_free(&longer);
    }
}

static void reads_a_bind(void **state)
{
    (void)state;
    struct bind_view v;
    assert_true(decode_bind(samples[2].body, &v));
    assert_true(slice_equal_str(v.portal, "p"));
    assert_true(slice_equal_str(v.statement, "s"));
    assert_int_equal(v.tail_offset, 4);
    assert_int_equal(v.format_count, 1);
    assert_true(slice_equal(v.formats, SLICE_LITERAL("\0\1")));
    assert_int_equal(v.parameter_count, 2);
    assert_true(slice_equal(v.values, SLICE_LITERAL("\0\0\0\3abc\xff\xff\xff\xff")));
    assert_int_equal(v.result_format_count, 2);
    assert_true(slice_equal(v.result_formats, SLICE_LITERAL("\0\0\0\1")));
    /* The names alone are enough for decode_bind_names, even when nothing else has come. */
    assert_true(decode_bind_names(slice_make(samples[2].body.data, 4), &v));
    assert_int_equal(v.tail_offset, 4);
    assert_false(decode_bind_names(slice_make(samples[2].body.data, 3), &v));
}

static void reads_a_parse(void **state)
{
    (void)state;
    struct parse_view v;
    assert_true(decode_parse(samples[1].body, &v));
    assert_true(slice_equal_str(v.name, "s1"));
    assert_true(slice_equal_str(v.text, "select $1"));
    assert_int_equal(v.type_count, 2);
    assert_int_equal(v.types.len, 8);
    assert_int_equal(decode_u32(v.types.data + 4), 25);
}

static void p15_counts_that_promise_more(void **state)
{
    (void)state;
    assert_false(on_copy(parse, SLICE_LITERAL("\0\0\xff\xff")));
    assert_false(on_copy(parse, SLICE_LITERAL("\0\0\0\1\0\0\0")));
    assert_false(on_copy(bind, SLICE_LITERAL("\0\0\xff\xff\0\0\0\0")));
    assert_false(on_copy(bind, SLICE_LITERAL("\0\0\0\0\xff\xff\0\0")));
    assert_false(on_copy(bind, SLICE_LITERAL("\0\0\0\0\0\0\xff\xff")));
    /* Lengths of a value: -2, 2 GiB, one too many. */
    assert_false(on_copy(bind, SLICE_LITERAL("\0\0\0\0\0\1\xff\xff\xff\xfe\0\0")));
    assert_false(on_copy(bind, SLICE_LITERAL("\0\0\0\0\0\1\x7f\xff\xff\xff\0\0")));
    assert_false(on_copy(bind, SLICE_LITERAL("\0\0\0\0\0\1\0\0\0\3ab")));
    assert_true(on_copy(bind, SLICE_LITERAL("\0\0\0\0\0\1\0\0\0\0\0\0")));
}

static void close_names_a_statement_or_a_portal(void **state)
{
    (void)state;
    struct target_view v;
    assert_true(decode_target(SLICE_LITERAL("P\0"), &v));
    assert_int_equal(v.kind, 'P');
    assert_int_equal(v.name.len, 0);
    assert_false(decode_target(SLICE_LITERAL("X\0"), &v));
    assert_false(decode_target(SLICE_LITERAL("\0\0"), &v));
}

static void prefers_the_severity_that_is_not_translated(void **state)
{
    (void)state;
    struct error_view v;
    assert_true(decode_error(samples[6].body, &v));
    assert_true(slice_equal_str(v.severity, "ERROR"));
    assert_true(slice_equal_str(v.sqlstate, "42P01"));
    assert_true(slice_equal_str(v.message, "no such thing"));
    assert_true(decode_error(SLICE_LITERAL("VFATAL\0SFATALE\0\0"), &v));
    assert_true(slice_equal_str(v.severity, "FATAL"));
    assert_int_equal(v.message.len, 0);
    assert_true(decode_error(SLICE_LITERAL("SERROR\0\0"), &v));
    assert_true(slice_equal_str(v.severity, "ERROR"));
    assert_true(decode_error(SLICE_LITERAL("\0"), &v));
}

static void ready_knows_three_states(void **state)
{
    (void)state;
    uint8_t status;
    for (unsigned c = 0; c < 256; c++) {
        uint8_t byte = (uint8_t)c;
        bool expected = c == 'I' || c == 'T' || c == 'E';
        assert_int_equal(decode_ready(slice_make(&byte, 1), &status), expected);
    }
}

static void walks_the_columns_of_a_row(void **state)
{
    (void)state;
    struct slice cursor, value;
    uint16_t columns;
    assert_true(decode_row_start(SLICE_LITERAL("\0\3\0\0\0\2ab\xff\xff\xff\xff\0\0\0\0"), &cursor, &columns));
    assert_int_equal(columns, 3);
    assert_true(decode_row_column(&cursor, &value));
    assert_true(slice_equal_str(value, "ab"));
    assert_true(decode_row_column(&cursor, &value));
    assert_null(value.data);
    assert_true(decode_row_column(&cursor, &value));
    assert_non_null(value.data); /* empty is not NULL */
    assert_int_equal(value.len, 0);
    assert_false(decode_row_column(&cursor, &value));
    assert_false(decode_row_start(SLICE_LITERAL("\0"), &cursor, &columns));
    assert_true(decode_row_start(SLICE_LITERAL("\0\1\0\0\0\5ab"), &cursor, &columns));
    assert_false(decode_row_column(&cursor, &value));
    assert_true(decode_row_start(SLICE_LITERAL("\0\1\x80\0\0\0"), &cursor, &columns));
    assert_false(decode_row_column(&cursor, &value));
}

static void reads_an_authentication_request(void **state)
{
    (void)state;
    uint32_t code;
    struct slice rest;
    assert_true(decode_authentication(SLICE_LITERAL("\0\0\0\5salt"), &code, &rest));
    assert_int_equal(code, AUTH_CODE_MD5);
    assert_true(slice_equal_str(rest, "salt"));
    assert_true(decode_authentication(SLICE_LITERAL("\0\0\0\0"), &code, &rest));
    assert_int_equal(rest.len, 0);
    assert_false(decode_authentication(SLICE_LITERAL("\0\0\0"), &code, &rest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p15_whole_or_not_at_all),
        cmocka_unit_test(reads_a_bind),
        cmocka_unit_test(reads_a_parse),
        cmocka_unit_test(p15_counts_that_promise_more),
        cmocka_unit_test(close_names_a_statement_or_a_portal),
        cmocka_unit_test(prefers_the_severity_that_is_not_translated),
        cmocka_unit_test(ready_knows_three_states),
        cmocka_unit_test(walks_the_columns_of_a_row),
        cmocka_unit_test(reads_an_authentication_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
