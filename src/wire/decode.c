/* decode: typed views of message bodies; every length from outside is checked before it is used. */
#include "weir/wire/decode.h"

bool decode_text(struct slice *cursor, struct slice *out)
{
    const uint8_t *end = cursor->len == 0 ? NULL : memchr(cursor->data, 0, cursor->len);
    if (end == NULL)
        return false;
    *out = slice_make(cursor->data, (size_t)(end - cursor->data));
    *cursor = slice_make(end + 1, cursor->len - out->len - 1);
    return true;
}

bool decode_take_bytes(struct slice *cursor, size_t len, struct slice *out)
{
    if (cursor->len < len)
        return false;
    *out = slice_make(cursor->data, len);
    *cursor = slice_make(cursor->data + len, cursor->len - len);
    return true;
}

bool decode_take_u16(struct slice *cursor, uint16_t *out)
{
    struct slice bytes;
    if (!decode_take_bytes(cursor, 2, &bytes))
        return false;
    *out = decode_u16(bytes.data);
    return true;
}

bool decode_take_u32(struct slice *cursor, uint32_t *out)
{
    struct slice bytes;
    if (!decode_take_bytes(cursor, 4, &bytes))
        return false;
    *out = decode_u32(bytes.data);
    return true;
}

bool decode_query(struct slice body, struct slice *text)
{
    return decode_text(&body, text) && body.len == 0;
}

bool decode_parse(struct slice body, struct parse_view *out)
{
    return decode_text(&body, &out->name) && decode_text(&body, &out->text) &&
           decode_take_u16(&body, &out->type_count) &&
           decode_take_bytes(&body, (size_t)out->type_count * 4, &out->types) && body.len == 0;
}

bool decode_bind_names(struct slice body, struct bind_view *out)
{
    struct slice cursor = body;
    if (!decode_text(&cursor, &out->portal) || !decode_text(&cursor, &out->statement))
        return false;
    out->tail_offset = body.len - cursor.len;
    return true;
}

bool decode_bind(struct slice body, struct bind_view *out)
{
    return decode_bind_names(body, out) && decode_bind_tail(slice_from(body, out->tail_offset), out);
}

bool decode_bind_tail(struct slice tail, struct bind_view *out)
{
    struct slice cursor = tail;
    if (!decode_take_u16(&cursor, &out->format_count) ||
        !decode_take_bytes(&cursor, (size_t)out->format_count * 2, &out->formats) ||
        !decode_take_u16(&cursor, &out->parameter_count))
        return false;
    const uint8_t *start = cursor.data;
    for (uint16_t i = 0; i < out->parameter_count; i++) {
        uint32_t len;
        struct slice value;
        if (!decode_take_u32(&cursor, &len))
            return false;
        if (len != UINT32_MAX && !decode_take_bytes(&cursor, len, &value))
            return false;
    }
    out->values = slice_make(start, (size_t)(cursor.data - start));
    return decode_take_u16(&cursor, &out->result_format_count) &&
           decode_take_bytes(&cursor, (size_t)out->result_format_count * 2, &out->result_formats) &&
           cursor.len == 0;
}

bool decode_bind_value(const struct bind_view *bind, uint16_t number, struct slice *value, bool *is_null,
                       uint16_t *format)
{
    struct slice rest = bind->values, formats = bind->formats;
    uint32_t len = 0;
    if (number == 0 || number > bind->parameter_count)
        return false;
    for (uint16_t i = 0; i < number; i++) {
        *value = SLICE_EMPTY;
        if (!decode_take_u32(&rest, &len) || (len != UINT32_MAX && !decode_take_bytes(&rest, len, value)))
            return false;
    }
    *is_null = len == UINT32_MAX;
    *format = 0;
    if (bind->format_count > 1)
        formats = slice_from(formats, 2 * ((size_t)number - 1));
    return bind->format_count == 0 ||
           ((bind->format_count == 1 || bind->format_count == bind->parameter_count) &&
            decode_take_u16(&formats, format));
}

bool decode_target(struct slice body, struct target_view *out)
{
    struct slice kind;
    if (!decode_take_bytes(&body, 1, &kind) || !decode_text(&body, &out->name) || body.len != 0)
        return false;
    out->kind = kind.data[0];
    return out->kind == 'S' || out->kind == 'P';
}

bool decode_execute(struct slice body, struct execute_view *out)
{
    return decode_text(&body, &out->portal) && decode_take_u32(&body, &out->max_rows) && body.len == 0;
}

bool decode_authentication(struct slice body, uint32_t *code, struct slice *rest)
{
    if (!decode_take_u32(&body, code))
        return false;
    *rest = body;
    return true;
}

bool decode_parameter_status(struct slice body, struct parameter_view *out)
{
    return decode_text(&body, &out->name) && decode_text(&body, &out->value) && body.len == 0;
}

bool decode_ready(struct slice body, uint8_t *status)
{
    if (body.len != 1)
        return false;
    *status = body.data[0];
    return *status == 'I' || *status == 'T' || *status == 'E';
}

bool decode_command_tag(struct slice body, struct slice *tag)
{
    return decode_text(&body, tag) && body.len == 0;
}

bool decode_error(struct slice body, struct error_view *out)
{
    *out = (struct error_view){.severity = SLICE_EMPTY};
    bool has_untranslated = false;
    while (body.len > 0 && body.data[0] != 0) {
        uint8_t field = body.data[0];
        struct slice text;
        body = slice_make(body.data + 1, body.len - 1);
        if (!decode_text(&body, &text))
            return false;
        if (field == 'V' || (field == 'S' && !has_untranslated)) {
            out->severity = text;
            has_untranslated = field == 'V' || has_untranslated;
        } else if (field == 'C') {
            out->sqlstate = text;
        } else if (field == 'M') {
            out->message = text;
        } else if (field == 'P') {
            out->has_position = true;
        } else if (field == 'W' || field == 'p' || field == 'q') {
            out->has_context = true;
        }
    }
    return body.len == 1;
}

bool decode_row_start(struct slice body, struct slice *cursor, uint16_t *columns)
{
    *cursor = body;
    return decode_take_u16(cursor, columns);
}

bool decode_row_column(struct slice *cursor, struct slice *value)
{
    uint32_t len;
    if (!decode_take_u32(cursor, &len))
        return false;
    if (len == UINT32_MAX) {
        *value = SLICE_EMPTY;
        return true;
    }
    return decode_take_bytes(cursor, len, value);
}
