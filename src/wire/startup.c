/* startup: the first bytes of a connection, read the way PostgreSQL reads them. */
#include "weir/wire/startup.h"

enum {
    CODE_CANCEL = 1234 << 16 | 5678,
    CODE_SSL = 1234 << 16 | 5679,
    CODE_GSS = 1234 << 16 | 5680,
    HEADER_BYTES = 8,
};

static uint32_t load_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* name\0value\0 pairs, then a final \0 and nothing after it. */
static bool parameters_are_sound(struct slice p)
{
    if (p.len == 0 || p.data[p.len - 1] != 0)
        return false;
    struct slice cursor = p, name, value;
    while (startup_next_parameter(&cursor, &name, &value))
        ;
    return cursor.len == 1 && cursor.data[0] == 0;
}

static enum startup_kind bad(struct error *error, const char *what)
{
    error_set_state(error, "08P01", "%s", what);
    return STARTUP_BAD;
}

static enum startup_kind parse_cancel(struct slice in, struct startup *out, struct error *error)
{
    size_t key = out->total - HEADER_BYTES;
    if (key < 8 || key > STARTUP_CANCEL_KEY_MAX)
        return bad(error, "invalid length of cancel request packet");
    out->cancel_key = slice_make(in.data + HEADER_BYTES, key);
    return out->kind = STARTUP_CANCEL;
}

enum startup_kind startup_parse(struct slice in, struct startup *out, struct error *error)
{
    *out = (struct startup){.kind = STARTUP_INCOMPLETE};
    if (in.len < 4)
        return STARTUP_INCOMPLETE;
    uint32_t length = load_u32(in.data);
    if (length < HEADER_BYTES || length > STARTUP_MAX_BYTES)
        return bad(error, "invalid length of startup packet");
    if (in.len < HEADER_BYTES)
        return STARTUP_INCOMPLETE;
    uint32_t code = load_u32(in.data + 4);
    if (in.len < length)
        return STARTUP_INCOMPLETE;
    out->total = length;
    if (code == CODE_CANCEL)
        return parse_cancel(in, out, error);
    if (code == CODE_SSL || code == CODE_GSS) {
        if (length != HEADER_BYTES)
            return bad(error, "invalid length of encryption request packet");
        return out->kind = code == CODE_SSL ? STARTUP_SSL : STARTUP_GSS;
    }
    out->major = (uint16_t)(code >> 16);
    out->minor = (uint16_t)code;
    if (out->major != 3) {
        error_set_state(error, "0A000", "unsupported frontend protocol %u.%u: server supports 3.0 to 3.2",
                        out->major, out->minor);
        return STARTUP_BAD;
    }
    out->parameters = slice_make(in.data + HEADER_BYTES, length - HEADER_BYTES);
    if (!parameters_are_sound(out->parameters))
        return bad(error, "invalid startup packet layout: expected terminator as last byte");
    return out->kind = STARTUP_MESSAGE;
}

static bool take_text(struct slice *cursor, struct slice *out)
{
    const uint8_t *end = cursor->len == 0 ? NULL : memchr(cursor->data, 0, cursor->len);
    if (end == NULL)
        return false;
    *out = slice_make(cursor->data, (size_t)(end - cursor->data));
    *cursor = slice_from(*cursor, out->len + 1);
    return true;
}

bool startup_next_parameter(struct slice *cursor, struct slice *name, struct slice *value)
{
    struct slice rest = *cursor;
    if (!take_text(&rest, name) || name->len == 0 || !take_text(&rest, value))
        return false;
    *cursor = rest;
    return true;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* One word of `options`, backslashes resolved, written to `scratch`. */
static struct slice take_word(struct slice *cursor, uint8_t *scratch)
{
    size_t at = 0, len = 0;
    while (at < cursor->len && is_blank(cursor->data[at]))
        at++;
    while (at < cursor->len && !is_blank(cursor->data[at])) {
        if (cursor->data[at] == '\\' && at + 1 < cursor->len)
            at++;
        scratch[len++] = cursor->data[at++];
    }
    *cursor = slice_from(*cursor, at);
    return slice_make(scratch, len);
}

int startup_next_option(struct slice *cursor, uint8_t *scratch, struct slice *name, struct slice *value)
{
    struct slice word = take_word(cursor, scratch);
    if (word.len == 0)
        return 0;
    *name = word;
    *value = SLICE_EMPTY;
    bool is_long = word.len > 2 && word.data[1] == '-';
    if (word.len < 2 || word.data[0] != '-' || (!is_long && word.data[1] != 'c'))
        return -1;
    uint8_t *start = scratch + 2;
    struct slice setting = slice_make(start, word.len - 2);
    if (setting.len == 0) /* "-c" and its setting as the next word */
        setting = take_word(cursor, start);
    const uint8_t *equals = setting.len == 0 ? NULL : memchr(setting.data, '=', setting.len);
    if (equals == NULL || equals == setting.data)
        return -1;
    size_t name_len = (size_t)(equals - setting.data);
    for (size_t i = 0; i < name_len; i++)
        if (start[i] == '-')
            start[i] = '_';
    *name = slice_make(start, name_len);
    *value = slice_from(setting, name_len + 1);
    return 1;
}
