/* rows: one pass of the lexer; what is kept is copied in pieces between the rows left out. */
#include "weir/sql/rows.h"

#include "weir/sql/lex.h"

struct scan {
    struct lexer lexer;
    struct lexeme piece; /* the one at hand: never a blank */
};

static void advance(struct scan *scan)
{
    do
        scan->piece = lex_next(&scan->lexer);
    while (scan->piece.kind == LEX_SPACE);
}

static bool is_word(const struct lexeme *piece, const char *word)
{
    return piece->kind == LEX_WORD &&
           slice_equal_nocase(slice_make(piece->start, piece->len), slice_str(word));
}

static bool is_punct(const struct lexeme *piece, char c)
{
    return piece->kind == LEX_PUNCT && piece->start[0] == (uint8_t)c;
}

static bool is_number(const struct lexeme *piece)
{
    return piece->kind >= LEX_INTEGER && piece->kind <= LEX_FLOAT;
}

static bool is_sign(const struct lexeme *piece)
{
    return piece->kind == LEX_OPERATOR && piece->len == 1 &&
           (piece->start[0] == '-' || piece->start[0] == '+');
}

static bool is_constant(const struct lexeme *piece)
{
    return is_number(piece) || piece->kind == LEX_STRING || piece->kind == LEX_PARAM ||
           is_word(piece, "null") || is_word(piece, "true") || is_word(piece, "false") ||
           is_word(piece, "default");
}

/* Up to VALUES outside of brackets; false when there is none. */
static bool find_values(struct scan *scan)
{
    int depth = 0;
    while (scan->piece.kind != LEX_END && scan->piece.kind != LEX_SPECIAL) {
        if (depth == 0 && is_word(&scan->piece, "values"))
            return true;
        depth += is_punct(&scan->piece, '(') - is_punct(&scan->piece, ')');
        advance(scan);
    }
    return false;
}

/* Goes past one row, which is at hand; false when it does not end. */
static bool pass_row(struct scan *scan, bool *is_plain)
{
    int depth = 0;
    bool was_sign = false;
    *is_plain = true;
    while (scan->piece.kind != LEX_END && scan->piece.kind != LEX_SPECIAL) {
        const struct lexeme *piece = &scan->piece;
        depth += is_punct(piece, '(') - is_punct(piece, ')');
        bool is_frame = depth <= 1 && (is_punct(piece, '(') || is_punct(piece, ')') || is_punct(piece, ','));
        *is_plain =
            *is_plain && (was_sign ? is_number(piece) : is_frame || is_constant(piece) || is_sign(piece));
        was_sign = is_sign(piece);
        bool is_end = depth == 0;
        advance(scan);
        if (is_end)
            return true;
    }
    return false;
}

bool rows_leave_out(struct slice text, struct buf *out)
{
    struct scan scan = {.lexer = lex_start(text)};
    bool is_plain, has_left_out = false;
    do
        advance(&scan);
    while (scan.piece.kind == LEX_COMMENT);
    if (!is_word(&scan.piece, "insert") || !find_values(&scan))
        return false;
    advance(&scan);
    if (!is_punct(&scan.piece, '(') || !pass_row(&scan, &is_plain))
        return false;
    buf_append(out, text.data, (size_t)(scan.piece.start - text.data));
    while (is_punct(&scan.piece, ',')) {
        const uint8_t *comma = scan.piece.start;
        advance(&scan);
        if (!is_punct(&scan.piece, '(') || !pass_row(&scan, &is_plain))
            return false;
        if (is_plain)
            has_left_out = true;
        else
            buf_append(out, comma, (size_t)(scan.piece.start - comma));
    }
    buf_append(out, scan.piece.start, (size_t)(text.data + text.len - scan.piece.start));
    return has_left_out && !buf_failed(out);
}
