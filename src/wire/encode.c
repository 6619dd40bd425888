/* encode: messages appended to a buf. Lengths are filled in when a message ends. */
#include "weir/wire/encode.h"

#include "weir/wire/decode.h"

size_t encode_begin(struct buf *b, uint8_t type)
{
    buf_append_u8(b, type);
    size_t begun = b->len;
    buf_append_u32(b, 0);
    return begun;
}

void encode_end(struct buf *b, size_t begun)
{
    if (!buf_failed(b))
        buf_put_u32(b, begun, (uint32_t)(b->len - begun));
}

void encode_text(struct buf *b, struct slice text)
{
    const uint8_t *nul = text.len == 0 ? NULL : memchr(text.data, 0, text.len);
    buf_append(b, text.data, nul == NULL ? text.len : (size_t)(nul - text.data));
    buf_append_u8(b, 0);
}

void encode_empty(struct buf *b, uint8_t type)
{
    encode_end(b, encode_begin(b, type));
}

void encode_authentication(struct buf *b, uint32_t code, struct slice rest)
{
    size_t begun = encode_begin(b, MSG_AUTHENTICATION);
    buf_append_u32(b, code);
    buf_append_slice(b, rest);
    encode_end(b, begun);
}

void encode_sasl_mechanisms(struct buf *b, const char *const *mechanisms)
{
    size_t begun = encode_begin(b, MSG_AUTHENTICATION);
    buf_append_u32(b, AUTH_CODE_SASL);
    for (; *mechanisms != NULL; mechanisms++)
        encode_text(b, slice_str(*mechanisms));
    buf_append_u8(b, 0);
    encode_end(b, begun);
}

void encode_parameter_status(struct buf *b, struct slice name, struct slice value)
{
    size_t begun = encode_begin(b, MSG_PARAMETER_STATUS);
    encode_text(b, name);
    encode_text(b, value);
    encode_end(b, begun);
}

void encode_backend_key(struct buf *b, struct slice key)
{
    size_t begun = encode_begin(b, MSG_BACKEND_KEY_DATA);
    buf_append_slice(b, key);
    encode_end(b, begun);
}

void encode_ready(struct buf *b, char status)
{
    size_t begun = encode_begin(b, MSG_READY);
    buf_append_u8(b, (uint8_t)status);
    encode_end(b, begun);
}

void encode_command_complete(struct buf *b, const char *tag)
{
    size_t begun = encode_begin(b, MSG_COMMAND_COMPLETE);
    encode_text(b, slice_str(tag));
    encode_end(b, begun);
}

static void encode_report(struct buf *b, uint8_t type, const char *severity, const char *sqlstate,
                          const char *message, const char *hint)
{
    const struct {
        uint8_t code;
        const char *text;
    } fields[] = {{'S', severity}, {'V', severity}, {'C', sqlstate}, {'M', message}, {'H', hint}};
    size_t begun = encode_begin(b, type);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (fields[i].text == NULL)
            continue;
        buf_append_u8(b, fields[i].code);
        encode_text(b, slice_str(fields[i].text));
    }
    buf_append_u8(b, 0);
    encode_end(b, begun);
}

void encode_error(struct buf *b, const char *severity, const char *sqlstate, const char *message,
                  const char *hint)
{
    encode_report(b, MSG_ERROR, severity, sqlstate, message, hint);
}

void encode_notice(struct buf *b, const char *severity, const char *sqlstate, const char *message)
{
    encode_report(b, MSG_NOTICE, severity, sqlstate, message, NULL);
}

void encode_negotiate_version(struct buf *b, uint32_t minor, const struct slice *options, uint32_t count)
{
    size_t begun = encode_begin(b, MSG_NEGOTIATE_VERSION);
    buf_append_u32(b, 3 << 16 | minor);
    buf_append_u32(b, count);
    for (uint32_t i = 0; i < count; i++)
        encode_text(b, options[i]);
    encode_end(b, begun);
}

void encode_row_description(struct buf *b, const struct encode_column *columns, uint16_t count)
{
    size_t begun = encode_begin(b, MSG_ROW_DESCRIPTION);
    buf_append_u16(b, count);
    for (uint16_t i = 0; i < count; i++) {
        encode_text(b, slice_str(columns[i].name));
        buf_append_u32(b, 0); /* table */
        buf_append_u16(b, 0); /* column of the table */
        buf_append_u32(b, columns[i].type);
        buf_append_u16(b, (uint16_t)columns[i].size);
        buf_append_u32(b, UINT32_MAX); /* type modifier: none */
        buf_append_u16(b, 0);          /* text */
    }
    encode_end(b, begun);
}

size_t encode_row_begin(struct buf *b, uint16_t columns)
{
    size_t begun = encode_begin(b, MSG_DATA_ROW);
    buf_append_u16(b, columns);
    return begun;
}

void encode_row_value(struct buf *b, struct slice value)
{
    if (value.data == NULL) {
        buf_append_u32(b, UINT32_MAX);
        return;
    }
    buf_append_u32(b, (uint32_t)value.len);
    buf_append_slice(b, value);
}

void encode_startup(struct buf *b, const struct encode_parameter *parameters, size_t count,
                    struct slice encoded)
{
    size_t begun = b->len;
    buf_append_u32(b, 0);
    buf_append_u32(b, 3 << 16);
    for (size_t i = 0; i < count; i++) {
        encode_text(b, slice_str(parameters[i].name));
        encode_text(b, slice_str(parameters[i].value));
    }
    buf_append_slice(b, encoded);
    buf_append_u8(b, 0);
    encode_end(b, begun);
}

void encode_ssl_request(struct buf *b)
{
    buf_append_u32(b, 8);
    buf_append_u32(b, 1234 << 16 | 5679);
}

void encode_cancel_request(struct buf *b, struct slice key)
{
    buf_append_u32(b, (uint32_t)(8 + key.len));
    buf_append_u32(b, 1234 << 16 | 5678);
    buf_append_slice(b, key);
}

void encode_query(struct buf *b, struct slice text)
{
    size_t begun = encode_begin(b, MSG_QUERY);
    encode_text(b, text);
    encode_end(b, begun);
}

void encode_parse(struct buf *b, struct slice name, struct slice text, struct slice types)
{
    size_t begun = encode_begin(b, MSG_PARSE);
    encode_text(b, name);
    encode_text(b, text);
    buf_append_u16(b, (uint16_t)(types.len / 4));
    buf_append_slice(b, types);
    encode_end(b, begun);
}

void encode_target(struct buf *b, uint8_t message, uint8_t kind, struct slice name)
{
    size_t begun = encode_begin(b, message);
    buf_append_u8(b, kind);
    encode_text(b, name);
    encode_end(b, begun);
}

void encode_execute(struct buf *b, struct slice portal, uint32_t max_rows)
{
    size_t begun = encode_begin(b, MSG_EXECUTE);
    encode_text(b, portal);
    buf_append_u32(b, max_rows);
    encode_end(b, begun);
}

void encode_bind_text(struct buf *b, struct slice portal, struct slice statement, const struct slice *values,
                      uint16_t count)
{
    size_t begun = encode_begin(b, MSG_BIND);
    encode_text(b, portal);
    encode_text(b, statement);
    buf_append_u16(b, 0);
    buf_append_u16(b, count);
    for (uint16_t i = 0; i < count; i++)
        encode_row_value(b, values[i]);
    buf_append_u16(b, 0);
    encode_end(b, begun);
}

void encode_password(struct buf *b, struct slice password)
{
    size_t begun = encode_begin(b, MSG_PASSWORD);
    encode_text(b, password);
    encode_end(b, begun);
}

void encode_sasl_initial(struct buf *b, const char *mechanism, struct slice data)
{
    size_t begun = encode_begin(b, MSG_PASSWORD);
    encode_text(b, slice_str(mechanism));
    buf_append_u32(b, (uint32_t)data.len);
    buf_append_slice(b, data);
    encode_end(b, begun);
}

void encode_sasl_response(struct buf *b, struct slice data)
{
    size_t begun = encode_begin(b, MSG_PASSWORD);
    buf_append_slice(b, data);
    encode_end(b, begun);
}
