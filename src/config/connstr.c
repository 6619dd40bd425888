#include "weir/config/connstr.h"

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice skip_blanks(struct slice s)
{
    while (s.len > 0 && is_blank(s.data[0]))
        s = (struct slice){s.data + 1, s.len - 1};
    return s;
}

/* `text` begins behind the opening quote. Returns what follows the closing one; data == NULL when there is
 * none. */
static struct slice take_quoted(struct slice text, struct buf *value)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\'') {
            if (i + 1 >= text.len || text.data[i + 1] != '\'')
                return (struct slice){text.data + i + 1, text.len - i - 1};
            i++;
        }
        buf_append_u8(value, text.data[i]);
    }
    return SLICE_EMPTY;
}

bool connstr_next(struct slice *rest, struct slice *key, struct buf *value, struct error *error)
{
    if (error != NULL)
        error->message[0] = '\0';
    buf_clear(value);
    struct slice text = skip_blanks(*rest);
    if (text.len == 0) {
        *rest = SLICE_EMPTY;
        return false;
    }
    size_t len = 0;
    while (len < text.len && text.data[len] != '=' && !is_blank(text.data[len]))
        len++;
    *key = (struct slice){text.data, len};
    text = (struct slice){text.data + len, text.len - len};
    bool is_spaced = text.len > 0 && is_blank(text.data[0]);
    text = skip_blanks(text);
    int shown = len > 40 ? 40 : (int)len;
    if (len == 0)
        return error_set(error, "a key is missing before '='");
    if (text.len == 0 || text.data[0] != '=')
        return error_set(error, "expected '=' after \"%.*s\"", shown, (const char *)key->data);
    text = (struct slice){text.data + 1, text.len - 1};
    if (is_spaced)
        text = skip_blanks(text); /* "a = b"; but in "a= b=c" the value of a is empty */
    if (text.len > 0 && text.data[0] == '\'') {
        text = take_quoted((struct slice){text.data + 1, text.len - 1}, value);
        if (text.data == NULL)
            return error_set(error, "the quoted value of \"%.*s\" does not end", shown,
                             (const char *)key->data);
        if (text.len > 0 && !is_blank(text.data[0]))
            return error_set(error, "a blank is missing after the quoted value of \"%.*s\"", shown,
                             (const char *)key->data);
    } else {
        size_t end = 0;
        while (end < text.len && !is_blank(text.data[end]))
            end++;
        buf_append(value, text.data, end);
        text = (struct slice){text.data + end, text.len - end};
    }
    if (buf_failed(value))
        return error_set(error, "out of memory");
    *rest = text;
    return true;
}
