#include "tokens.h"

#include <string.h>

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool ends_word(uint8_t c)
{
    return is_blank(c) || c == ',' || c == '#' || c == '"';
}

static enum token_kind read_quoted(struct tokens *tokens)
{
    struct slice s = tokens->rest;
    for (size_t i = 1; i < s.len; i++) {
        if (s.data[i] == '"') {
            if (i + 1 == s.len || s.data[i + 1] != '"') {
                tokens->rest = slice_from(s, i + 1);
                return TOKEN_QUOTED;
            }
            i++;
        }
        buf_append_u8(&tokens->word, s.data[i]);
    }
    return TOKEN_BAD;
}

static enum token_kind read_token(struct tokens *tokens)
{
    while (tokens->rest.len > 0 && is_blank(tokens->rest.data[0]))
        tokens->rest = slice_from(tokens->rest, 1);
    struct slice s = tokens->rest;
    if (s.len == 0 || s.data[0] == '#')
        return TOKEN_END;
    if (s.data[0] == '"')
        return read_quoted(tokens);
    if (s.data[0] == ',') {
        tokens->rest = slice_from(s, 1);
        return TOKEN_COMMA;
    }
    size_t len = 0;
    while (len < s.len && !ends_word(s.data[len]))
        len++;
    buf_append(&tokens->word, s.data, len);
    tokens->rest = slice_from(s, len);
    return TOKEN_WORD;
}

void tokens_next(struct tokens *tokens)
{
    if (tokens->kind == TOKEN_END || tokens->kind == TOKEN_BAD)
        return;
    buf_clear(&tokens->word);
    tokens->kind = read_token(tokens);
    bool has_nul = tokens->word.len > 0 && memchr(tokens->word.data, '\0', tokens->word.len) != NULL;
    if (has_nul || buf_failed(&tokens->word))
        tokens->kind = TOKEN_BAD;
}

void tokens_begin(struct tokens *tokens, struct slice line)
{
    *tokens = (struct tokens){.rest = line, .kind = TOKEN_COMMA, .word = BUF_INIT};
    tokens_next(tokens);
}

void tokens_end(struct tokens *tokens)
{
    buf_free(&tokens->word);
}

bool tokens_take(struct tokens *tokens, const char *keyword)
{
    if (tokens->kind != TOKEN_WORD || !slice_equal_str(tokens_word(tokens), keyword))
        return false;
    tokens_next(tokens);
    return true;
}

bool tokens_line(struct slice *text, struct slice *line)
{
    if (text->len == 0)
        return false;
    const uint8_t *end = memchr(text->data, '\n', text->len);
    size_t len = end != NULL ? (size_t)(end - text->data) : text->len;
    *line = slice_make(text->data, len);
    *text = slice_from(*text, end != NULL ? len + 1 : len);
    return true;
}
