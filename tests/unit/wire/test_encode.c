/* encode: what is written is read back the same, and every message is framed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

/* The one message in `b`. */
static struct frame only(const struct buf *b, uint8_t type)
{
    struct frame f;
    assert_false(buf_failed(b));
    assert_int_equal(frame_next(buf_slice(b), &f), FRAME_COMPLETE);
    assert_int_equal(f.type, type);
    assert_int_equal(f.total, b->len);
    return f;
}

static void frontend_messages_come_back(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct slice text;
    encode_query(&b, slice_str("select 1"));
    assert_true(decode_query(only(&b, MSG_QUERY).body, &text));
    assert_true(slice_equal_str(text, "select 1"));

    buf_clear(&b);
    struct parse_view parse;
    encode_parse(&b, slice_str("s"), slice_str("select $1"), SLICE_LITERAL("\0\0\0\x17"));
    assert_true(decode_parse(only(&b, MSG_PARSE).body, &parse));
    assert_true(slice_equal_str(parse.name, "s"));
    assert_true(slice_equal_str(parse.text, "select $1"));
    assert_int_equal(parse.type_count, 1);
    assert_int_equal(decode_u32(parse.types.data), 23);

    buf_clear(&b);
    struct target_view target;
    encode_target(&b, MSG_CLOSE, 'S', slice_str("s"));
    assert_true(decode_target(only(&b, MSG_CLOSE).body, &target));
    assert_int_equal(target.kind, 'S');
    assert_true(slice_equal_str(target.name, "s"));

    buf_clear(&b);
    struct execute_view execute;
    encode_execute(&b, slice_str("p"), 0x01020304);
    assert_true(decode_execute(only(&b, MSG_EXECUTE).body, &execute));
    assert_true(slice_equal_str(execute.portal, "p"));
    assert_int_equal(execute.max_rows, 0x01020304);
    buf_free(&b);
}

static void bind_carries_values_nulls_and_empty_text(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct bind_view bind;
    const struct slice values[] = {slice_str("abc"), SLICE_EMPTY, SLICE_LITERAL("")};
    encode_bind_text(&b, slice_str(""), slice_str("s"), values, 3);
    assert_true(decode_bind(only(&b, MSG_BIND).body, &bind));
    assert_int_equal(bind.parameter_count, 3);
    assert_int_equal(bind.format_count, 0);
    assert_int_equal(bind.result_format_count, 0);
    assert_true(slice_equal(bind.values, SLICE_LITERAL("\0\0\0\3abc\xff\xff\xff\xff\0\0\0\0")));
    buf_free(&b);
}

static void backend_messages_come_back(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    uint8_t status;
    encode_ready(&b, 'T');
    assert_true(decode_ready(only(&b, MSG_READY).body, &status));
    assert_int_equal(status, 'T');

    buf_clear(&b);
    struct slice tag;
    encode_command_complete(&b, "INSERT 0 1");
    assert_true(decode_command_tag(only(&b, MSG_COMMAND_COMPLETE).body, &tag));
    assert_true(slice_equal_str(tag, "INSERT 0 1"));

    buf_clear(&b);
    struct parameter_view parameter;
    encode_parameter_status(&b, slice_str("TimeZone"), slice_str("UTC"));
    assert_true(decode_parameter_status(only(&b, MSG_PARAMETER_STATUS).body, &parameter));
    assert_true(slice_equal_str(parameter.name, "TimeZone"));
    assert_true(slice_equal_str(parameter.value, "UTC"));

    buf_clear(&b);
    encode_backend_key(&b, SLICE_LITERAL("12345678"));
    assert_true(slice_equal_str(only(&b, MSG_BACKEND_KEY_DATA).body, "12345678"));

    buf_clear(&b);
    encode_empty(&b, MSG_PARSE_COMPLETE);
    assert_int_equal(only(&b, MSG_PARSE_COMPLETE).body.len, 0);
    buf_free(&b);
}

static void errors_and_notices_carry_their_fields(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct error_view e;
    encode_error(&b, "FATAL", "53300", "too many", "wait");
    struct frame f = only(&b, MSG_ERROR);
    assert_true(decode_error(f.body, &e));
    assert_true(slice_equal_str(e.severity, "FATAL"));
    assert_true(slice_equal_str(e.sqlstate, "53300"));
    assert_true(slice_equal_str(e.message, "too many"));
    assert_non_null(memmem(f.body.data, f.body.len, "Hwait", 6));

    buf_clear(&b);
    encode_notice(&b, "WARNING", "25P01", "there is no transaction in progress");
    f = only(&b, MSG_NOTICE);
    assert_true(decode_error(f.body, &e));
    assert_true(slice_equal_str(e.severity, "WARNING"));
    assert_null(memchr(f.body.data, 'H', f.body.len));
    buf_free(&b);
}

static void rows_and_their_description(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    const struct encode_column columns[] = {{"name", 25, -1}, {"n", 20, 8}};
    encode_row_description(&b, columns, 2);
    struct frame f = only(&b, MSG_ROW_DESCRIPTION);
    const struct slice expected = SLICE_LITERAL("\0\2name\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"
                                                "n\0\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\0");
    assert_true(slice_equal(f.body, expected));

    buf_clear(&b);
    size_t row = encode_row_begin(&b, 2);
    encode_row_value(&b, SLICE_EMPTY);
    encode_row_value(&b, slice_str("7"));
    encode_end(&b, row);
    struct slice cursor, value;
    uint16_t count;
    assert_true(decode_row_start(only(&b, MSG_DATA_ROW).body, &cursor, &count));
    assert_int_equal(count, 2);
    assert_true(decode_row_column(&cursor, &value));
    assert_null(value.data);
    assert_true(decode_row_column(&cursor, &value));
    assert_true(slice_equal_str(value, "7"));
    assert_int_equal(cursor.len, 0);
    buf_free(&b);
}

static void authentication_messages(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    uint32_t code;
    struct slice rest;
    encode_authentication(&b, AUTH_CODE_MD5, SLICE_LITERAL("salt"));
    assert_true(decode_authentication(only(&b, MSG_AUTHENTICATION).body, &code, &rest));
    assert_int_equal(code, AUTH_CODE_MD5);
    assert_true(slice_equal_str(rest, "salt"));

    buf_clear(&b);
    encode_sasl_mechanisms(&b, (const char *const[]){"SCRAM-SHA-256", NULL});
    assert_true(decode_authentication(only(&b, MSG_AUTHENTICATION).body, &code, &rest));
    assert_int_equal(code, AUTH_CODE_SASL);
    assert_true(slice_equal(rest, SLICE_LITERAL("SCRAM-SHA-256\0\0")));

    buf_clear(&b);
    encode_sasl_initial(&b, "M", slice_str("n,,"));
    assert_true(slice_equal(only(&b, MSG_PASSWORD).body, SLICE_LITERAL("M\0\0\0\0\3n,,")));

    buf_clear(&b);
    encode_sasl_response(&b, slice_str("c=biws"));
    assert_true(slice_equal_str(only(&b, MSG_PASSWORD).body, "c=biws"));

    buf_clear(&b);
    encode_password(&b, slice_str("secret"));
    assert_true(slice_equal(only(&b, MSG_PASSWORD).body, SLICE_LITERAL("secret\0")));

    buf_clear(&b);
    const struct slice options[] = {SLICE_LITERAL("_pq_.x"), SLICE_LITERAL("_pq_.y")};
    encode_negotiate_version(&b, 0, options, 2);
    assert_true(
        slice_equal(only(&b, MSG_NEGOTIATE_VERSION).body, SLICE_LITERAL("\0\3\0\0\0\0\0\2_pq_.x\0_pq_.y\0")));
    buf_free(&b);
}

static void a_nul_inside_cuts_the_text_and_nothing_else(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct slice text;
    encode_query(&b, SLICE_LITERAL("select\0; drop table t"));
    assert_true(decode_query(only(&b, MSG_QUERY).body, &text));
    assert_true(slice_equal_str(text, "select"));
    buf_free(&b);
}

static void several_messages_in_one_buffer(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    encode_parse(&b, SLICE_EMPTY, slice_str("select 1"), SLICE_EMPTY);
    encode_bind_text(&b, SLICE_EMPTY, SLICE_EMPTY, NULL, 0);
    encode_execute(&b, SLICE_EMPTY, 0);
    encode_empty(&b, MSG_SYNC);
    const char *types = "PBES";
    struct slice rest = buf_slice(&b);
    struct frame f = {0};
    for (; *types != '\0'; types++) {
        assert_int_equal(frame_next(rest, &f), FRAME_COMPLETE);
        assert_int_equal(f.type, *types);
        rest = slice_from(rest, f.total);
    }
    assert_int_equal(rest.len, 0);
    buf_free(&b);
}

static void a_failed_buffer_stays_failed(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    size_t begun = encode_begin(&b, MSG_QUERY);
    assert_false(buf_reserve(&b, SIZE_MAX));
    encode_text(&b, slice_str("x"));
    encode_end(&b, begun);
    assert_true(buf_failed(&b));
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frontend_messages_come_back),
        cmocka_unit_test(bind_carries_values_nulls_and_empty_text),
        cmocka_unit_test(backend_messages_come_back),
        cmocka_unit_test(errors_and_notices_carry_their_fields),
        cmocka_unit_test(rows_and_their_description),
        cmocka_unit_test(authentication_messages),
        cmocka_unit_test(a_nul_inside_cuts_the_text_and_nothing_else),
        cmocka_unit_test(several_messages_in_one_buffer),
        cmocka_unit_test(a_failed_buffer_stays_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
