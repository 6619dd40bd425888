/* template: one pass over the lexer's pieces, copying what stays and marking what is lifted. */
#include "weir/sql/template.h"

#include <xxhash.h>

#include "weir/sql/lex.h"

/* One byte each; the lexer refuses these outside quotes and comments, and quoted names and comments are
 * checked. */
enum marker {
    MARK_INTEGER = 1,
    MARK_BIGINT,
    MARK_HUGE,
    MARK_FLOAT,
    MARK_STRING,
    MARK_END,
};

/* The words that a date/time type reads as a moment that depends on the clock. */
static bool is_datetime_word(const uint8_t *word, size_t len)
{
    struct slice s = slice_make(word, len);
    switch (len) {
    case 3:
        return slice_equal_nocase(s, SLICE_LITERAL("now"));
    case 5:
        return slice_equal_nocase(s, SLICE_LITERAL("today"));
    case 8:
        return slice_equal_nocase(s, SLICE_LITERAL("tomorrow"));
    case 9:
        return slice_equal_nocase(s, SLICE_LITERAL("yesterday"));
    default:
        return false;
    }
}

static inline bool is_letter(uint8_t c)
{
    return (uint8_t)((c | 0x20) - 'a') < 26;
}

bool template_has_datetime_word(struct slice value)
{
    const uint8_t *p = value.data, *end = value.len > 0 ? p + value.len : p;
    while (p < end) {
        if (!is_letter(*p)) {
            p++;
            continue;
        }
        const uint8_t *start = p;
        while (p < end && is_letter(*p))
            p++;
        if (is_datetime_word(start, (size_t)(p - start)))
            return true;
    }
    return false;
}

/* A marker's byte where it is copied as it stands would let two texts share a template. */
static bool has_marker_byte(const struct lexeme *piece)
{
    for (size_t i = 0; i < piece->len; i++) {
        if (piece->start[i] < MARK_END)
            return true;
    }
    return false;
}

/* The marker of a liftable piece, 0 for one that is copied. */
static uint8_t marker_of(enum lex_kind kind)
{
    switch (kind) {
    case LEX_INTEGER:
        return MARK_INTEGER;
    case LEX_BIGINT:
        return MARK_BIGINT;
    case LEX_HUGE:
        return MARK_HUGE;
    case LEX_FLOAT:
        return MARK_FLOAT;
    case LEX_STRING:
        return MARK_STRING;
    default:
        return 0;
    }
}

static void make_exact(struct slice text, struct template *out)
{
    out->text = text;
    out->place_count = 0;
    out->flags = TEMPLATE_SPECIAL | TEMPLATE_DATETIME_WORD | TEMPLATE_SEMICOLON | TEMPLATE_BACKSLASH |
                 TEMPLATE_WIDE_WORD;
}

static uint32_t string_flags(const struct lexeme *piece)
{
    uint32_t flags = piece->is_wide ? TEMPLATE_BACKSLASH : 0;
    if (template_has_datetime_word(slice_make(piece->start + 1, piece->len - 2)))
        flags |= TEMPLATE_DATETIME_WORD;
    return flags;
}

static struct template_place place_of(struct slice text, const struct lexeme *piece)
{
    uint32_t start = (uint32_t)(piece->start - text.data), len = (uint32_t)piece->len;
    if (piece->kind != LEX_STRING)
        return (struct template_place){start, len, true};
    return (struct template_place){start + 1, len - 2,
                                   !piece->is_wide && memchr(piece->start + 1, '\'', len - 2) == NULL};
}

/* Fills all but the hash; false when the text has to be its own template. `to` has room for text.len bytes.
 */
static bool lift(struct slice text, uint8_t *to, struct template *out)
{
    uint8_t *const start = to;
    bool after_semicolon = false;
    uint32_t flags = 0, places = 0;
    struct lexer lexer = lex_start(text);
    const uint8_t *copied = text.data; /* everything before this is in the template */
    for (;;) {
        if (!after_semicolon && lex_skip_plain(&lexer))
            flags |= TEMPLATE_WIDE_WORD;
        struct lexeme piece = lex_next(&lexer);
        if (piece.kind == LEX_SPACE)
            continue;
        if (piece.kind == LEX_COMMENT || piece.kind == LEX_QUOTED) {
            if (has_marker_byte(&piece))
                return false;
            if (piece.kind == LEX_COMMENT)
                continue;
        }
        if (piece.kind == LEX_SPECIAL)
            return false;
        uint8_t marker = marker_of(piece.kind);
        if (marker != 0 || piece.kind == LEX_END) {
            size_t run = (size_t)(piece.start - copied);
            if (run > 0)
                memcpy(to, copied, run);
            to += run;
            copied = piece.start + piece.len;
            if (piece.kind == LEX_END)
                break;
            *to++ = marker;
            flags |= TEMPLATE_LIFTED | (piece.kind == LEX_STRING ? string_flags(&piece) : 0);
            if (places < TEMPLATE_PLACES)
                out->places[places++] = place_of(text, &piece);
        } else if (piece.kind == LEX_WORD && piece.is_wide) {
            flags |= TEMPLATE_WIDE_WORD;
        }
        if (piece.kind == LEX_PUNCT && piece.start[0] == ';')
            after_semicolon = true;
        else if (after_semicolon)
            flags |= TEMPLATE_SEMICOLON;
    }
    out->flags = flags;
    out->place_count = places;
    out->text = slice_make(start, (size_t)(to - start));
    return true;
}

bool template_make(struct slice text, struct buf *scratch, struct template *out)
{
    buf_clear(scratch);
    if (!buf_reserve(scratch, text.len + 1))
        return false;
    if (!lift(text, scratch->data, out))
        make_exact(text, out);
    XXH128_hash_t hash =
        XXH3_128bits_withSeed(out->text.data, out->text.len, (out->flags & TEMPLATE_SPECIAL) != 0);
    out->hash[0] = hash.low64;
    out->hash[1] = hash.high64;
    return true;
}

bool template_literal(struct slice text, unsigned place, struct slice *value)
{
    struct lexer lexer = lex_start(text);
    for (;;) {
        (void)lex_skip_plain(&lexer);
        struct lexeme piece = lex_next(&lexer);
        if (piece.kind == LEX_END || piece.kind == LEX_SPECIAL)
            return false;
        if (marker_of(piece.kind) == 0 || place-- > 0)
            continue;
        const struct template_place found = place_of(text, &piece);
        *value = slice_make(text.data + found.start, found.len);
        return found.is_plain;
    }
}

void template_display(const struct template *t, struct buf *out)
{
    static const char *const shown[MARK_END] = {"", "0", "0", "0", "0.0", "'?'"};
    if ((t->flags & TEMPLATE_SPECIAL) != 0) {
        buf_append_slice(out, t->text);
        return;
    }
    for (size_t i = 0; i < t->text.len; i++) {
        uint8_t c = t->text.data[i];
        if (c > 0 && c < MARK_END)
            buf_append_str(out, shown[c]);
        else
            buf_append_u8(out, c);
    }
}

/* A number from 1 on, as behind the dollar; 0 for one too large to be a parameter. */
static size_t parameter_number(const struct lexeme *piece)
{
    size_t number = 0;
    for (size_t i = 1; i < piece->len && number <= UINT16_MAX; i++)
        number = number * 10 + (size_t)(piece->start[i] - '0');
    return number <= UINT16_MAX ? number : 0;
}

bool template_put_values(struct slice text, const char *const *values, size_t count, struct buf *out)
{
    size_t semicolon = SIZE_MAX; /* in the output: nothing but blanks and comments came after it */
    struct lexer lexer = lex_start(text);
    for (struct lexeme piece = lex_next(&lexer); piece.kind != LEX_END; piece = lex_next(&lexer)) {
        if (piece.kind == LEX_SPECIAL) {
            if (count > 0)
                return false;
            buf_append(out, piece.start, (size_t)(text.data + text.len - piece.start));
            semicolon = SIZE_MAX;
            for (size_t len = out->len; len > 0 && (out->data[len - 1] == ' ' || out->data[len - 1] == '\n' ||
                                                    out->data[len - 1] == ';');
                 len--)
                semicolon = out->data[len - 1] == ';' ? len - 1 : semicolon;
            break;
        }
        if (piece.kind == LEX_PARAM) {
            size_t number = parameter_number(&piece);
            if (number == 0 || number > count)
                return false;
            buf_printf(out, "(%s)", values[number - 1]);
        } else {
            buf_append(out, piece.start, piece.len);
        }
        if (piece.kind == LEX_PUNCT && piece.start[0] == ';' && semicolon == SIZE_MAX)
            semicolon = out->len - 1;
        else if (piece.kind != LEX_SPACE && piece.kind != LEX_COMMENT)
            semicolon = SIZE_MAX;
    }
    if (semicolon != SIZE_MAX)
        out->data[semicolon] = ' ';
    buf_append_u8(out, '\n');
    return !buf_failed(out);
}
