/* Any bytes as the body of every message: views stay inside, and what is decoded and encoded again is the
 * same. */
#include <stddef.h>
#include <stdint.h>

#include "weir/wire/decode.h"
#include "weir/wire/encode.h"
#include "weir/wire/frame.h"

static struct slice body;

static void inside(struct slice s)
{
    if (s.len > 0 && (s.data < body.data || s.data + s.len > body.data + body.len))
        __builtin_trap();
}

static void same(struct buf *b)
{
    struct frame f;
    if (frame_next(buf_slice(b), &f) != FRAME_COMPLETE || f.total != b->len || !slice_equal(f.body, body))
        __builtin_trap();
    buf_clear(b);
}

static void frontend(struct buf *b)
{
    struct slice text;
    struct parse_view parse;
    struct bind_view bind;
    struct target_view target;
    struct execute_view execute;
    if (decode_query(body, &text)) {
        encode_query(b, text);
        same(b);
    }
    if (decode_parse(body, &parse)) {
        encode_parse(b, parse.name, parse.text, parse.types);
        same(b);
    }
    bool has_names = decode_bind_names(body, &bind);
    if (has_names && bind.tail_offset > body.len)
        __builtin_trap();
    if (decode_bind(body, &bind)) {
        if (!has_names || bind.formats.len != 2u * bind.format_count ||
            bind.result_formats.len != 2u * bind.result_format_count)
            __builtin_trap();
        inside(bind.formats);
        inside(bind.values);
        inside(bind.result_formats);
        struct slice cursor = bind.values, value;
        for (uint16_t i = 0; i < bind.parameter_count; i++)
            if (!decode_row_column(&cursor, &value))
                __builtin_trap();
        if (cursor.len != 0)
            __builtin_trap();
    }
    if (decode_target(body, &target)) {
        encode_target(b, MSG_CLOSE, target.kind, target.name);
        same(b);
    }
    if (decode_execute(body, &execute)) {
        encode_execute(b, execute.portal, execute.max_rows);
        same(b);
    }
}

static void backend(struct buf *b)
{
    struct slice tag, rest, cursor, value;
    struct parameter_view parameter;
    struct error_view error;
    uint8_t status;
    uint32_t code;
    uint16_t columns;
    if (decode_parameter_status(body, &parameter)) {
        encode_parameter_status(b, parameter.name, parameter.value);
        same(b);
    }
    if (decode_authentication(body, &code, &rest)) {
        encode_authentication(b, code, rest);
        same(b);
    }
    if (decode_ready(body, &status)) {
        encode_ready(b, (char)status);
        same(b);
    }
    if (decode_command_tag(body, &tag))
        inside(tag);
    if (decode_error(body, &error)) {
        inside(error.severity);
        inside(error.sqlstate);
        inside(error.message);
    }
    if (decode_row_start(body, &cursor, &columns))
        while (decode_row_column(&cursor, &value))
            inside(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf b = BUF_INIT;
    body = slice_make(data, size);
    frontend(&b);
    backend(&b);
    buf_free(&b);
    return 0;
}
