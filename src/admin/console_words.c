#include "console_words.h"

#include <string.h>
#include <strings.h>

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v';
}

/* Blanks and comments off the front; false when a comment does not end. */
static bool skip(struct slice *text)
{
    for (;;) {
        if (text->len > 0 && is_blank(text->data[0])) {
            *text = slice_from(*text, 1);
        } else if (text->len > 1 && memcmp(text->data, "--", 2) == 0) {
            const uint8_t *end = memchr(text->data, '\n', text->len);
            *text = slice_from(*text, end != NULL ? (size_t)(end - text->data) + 1 : text->len);
        } else if (text->len > 1 && memcmp(text->data, "/*", 2) == 0) {
            const uint8_t *end = memmem(text->data + 2, text->len - 2, "*/", 2);
            if (end == NULL)
                return false;
            *text = slice_from(*text, (size_t)(end - text->data) + 2);
        } else {
            return true;
        }
    }
}

/* Takes a word off the front into `out`; how is told by its first byte. False when it does not end or does
 * not fit. */
static bool take(struct slice *text, char out[CONSOLE_WORD_SIZE], bool *is_quoted)
{
    size_t len = 0, i = 0;
    uint8_t first = text->data[0];
    *is_quoted = first == '"' || first == '\'';
    if (*is_quoted) {
        for (i = 1;; i++) {
            if (i >= text->len)
                return false;
            if (text->data[i] == first) {
                if (i + 1 >= text->len || text->data[i + 1] != first)
                    break;
                i++;
            }
            if (len + 1 >= CONSOLE_WORD_SIZE)
                return false;
            out[len++] = (char)text->data[i];
        }
        i++;
    } else if (first == '=' || first == ',') {
        out[len++] = (char)first;
        i = 1;
    } else {
        for (; i < text->len && !is_blank(text->data[i]) && strchr("=,;\"'", text->data[i]) == NULL; i++) {
            if (len + 1 >= CONSOLE_WORD_SIZE)
                return false;
            out[len++] = (char)text->data[i];
        }
    }
    out[len] = '\0';
    *text = slice_from(*text, i);
    return true;
}

/* What stands before the final ';' and blanks. */
static struct slice without_end(struct slice text)
{
    while (text.len > 0 && (is_blank(text.data[text.len - 1]) || text.data[text.len - 1] == ';'))
        text.len--;
    return text;
}

bool console_words_parse(struct slice text, struct console_words *out, struct error *error)
{
    char surplus[CONSOLE_WORD_SIZE];
    bool is_surplus_quoted;
    out->count = 0;
    out->has_more = false;
    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL)
        return error_set_state(error, "42601", "a NUL byte in the command");
    for (;;) {
        if (!skip(&text))
            return error_set_state(error, "42601", "a comment does not end");
        if (text.len == 0)
            return true;
        if (text.data[0] == ';') {
            text = without_end(text);
            if (!skip(&text) || text.len > 0)
                return error_set_state(error, "42601", "one command at a time, please");
            return true;
        }
        bool has_room = out->count < CONSOLE_MAX_WORDS;
        struct slice rest = without_end(text);
        if (!take(&text, has_room ? out->word[out->count] : surplus,
                  has_room ? &out->is_quoted[out->count] : &is_surplus_quoted))
            return error_set_state(error, "42601", "a quoted word does not end, or a word is too long");
        if (has_room)
            out->rest[out->count++] = rest;
        else
            out->has_more = true;
    }
}

bool console_word_is(const struct console_words *words, size_t index, const char *keyword)
{
    return index < words->count && !words->is_quoted[index] && strcasecmp(words->word[index], keyword) == 0;
}

/* An identifier off the front. False when there is none, or it is too long or odd. */
static bool take_name(struct slice *text, char out[CONSOLE_WORD_SIZE])
{
    bool is_quoted;
    if (text->len > 0 && text->data[0] == '"')
        return take(text, out, &is_quoted) && out[0] != '\0';
    size_t len = 0;
    for (; len < text->len; len++) {
        uint8_t c = text->data[len];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c > 127;
        bool is_later = len > 0 && ((c >= '0' && c <= '9') || c == '$');
        if (!is_letter && !is_later)
            break;
        if (len + 1 >= CONSOLE_WORD_SIZE)
            return false;
        out[len] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    out[len] = '\0';
    *text = slice_from(*text, len);
    return len > 0;
}

bool console_relation_parse(struct slice text, char schema[CONSOLE_WORD_SIZE], char name[CONSOLE_WORD_SIZE])
{
    schema[0] = '\0';
    if (!take_name(&text, name))
        return false;
    if (text.len == 0)
        return true;
    if (text.data[0] != '.')
        return false;
    memcpy(schema, name, CONSOLE_WORD_SIZE);
    text = slice_from(text, 1);
    return take_name(&text, name) && text.len == 0;
}
