/* lex: see the header. Follows PostgreSQL 15; what 13 to 17 read differently is LEX_SPECIAL. */
#include "weir/sql/lex.h"

enum char_class {
    C_OTHER,  /* control characters: nothing PostgreSQL accepts outside quotes */
    C_SPACE,  /* blank, tab, newline, carriage return, form feed */
    C_LETTER, /* a-z A-Z _ and all bytes over 127 */
    C_DIGIT,  /* these three, in a row, make words */
    C_DOLLAR,
    C_QUOTE,
    C_DQUOTE,
    C_DOT,
    C_PUNCT, /* ( ) [ ] , : */
    C_SEMICOLON,
    C_OP, /* operator characters */
    C_CLASSES,
};

#define LETTERS_16                                                                                           \
    C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER,      \
        C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER

/* clang-format off */
static const uint8_t classes[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, C_SPACE, C_SPACE, 0, C_SPACE, C_SPACE, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /* blank ! " # $ % & ' */ C_SPACE, C_OP, C_DQUOTE, C_OP, C_DOLLAR, C_OP, C_OP, C_QUOTE,
    /* ( ) * + , - . / */ C_PUNCT, C_PUNCT, C_OP, C_OP, C_PUNCT, C_OP, C_DOT, C_OP,
    /* 0-7 */ C_DIGIT, C_DIGIT, C_DIGIT, C_DIGIT, C_DIGIT, C_DIGIT, C_DIGIT, C_DIGIT,
    /* 8 9 : ; < = > ? */ C_DIGIT, C_DIGIT, C_PUNCT, C_SEMICOLON, C_OP, C_OP, C_OP, C_OP,
    /* @ A-O */ C_OP, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER,
    C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER,
    /* P-W */ C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER,
    /* X Y Z [ \ ] ^ _ */ C_LETTER, C_LETTER, C_LETTER, C_PUNCT, C_OTHER, C_PUNCT, C_OP, C_LETTER,
    /* ` a-o */ C_OP, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER,
    C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER,
    /* p-w */ C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER, C_LETTER,
    /* x y z { | } ~ DEL */ C_LETTER, C_LETTER, C_LETTER, C_OTHER, C_OP, C_OTHER, C_OP, C_OTHER,
    LETTERS_16, LETTERS_16, LETTERS_16, LETTERS_16, LETTERS_16, LETTERS_16, LETTERS_16, LETTERS_16,
};
/* clang-format on */

static inline bool is_word_byte(uint8_t c)
{
    return (uint8_t)(classes[c] - C_LETTER) <= C_DOLLAR - C_LETTER;
}

struct lexer lex_start(struct slice text)
{
    return (struct lexer){text.data, text.len > 0 ? text.data + text.len : text.data};
}

/* The piece from lexer->at to `to`, and moves on. */
static inline struct lexeme take(struct lexer *lexer, enum lex_kind kind, const uint8_t *to, bool is_wide)
{
    struct lexeme piece = {kind, lexer->at, (size_t)(to - lexer->at), is_wide};
    lexer->at = to;
    return piece;
}

static struct lexeme give_up(struct lexer *lexer)
{
    return take(lexer, LEX_SPECIAL, lexer->end, false);
}

/* From the first byte of a block comment to behind its end; NULL when it does not end. They nest. */
static const uint8_t *block_comment_end(const uint8_t *p, const uint8_t *end)
{
    size_t depth = 0;
    while (end - p >= 2) {
        if (p[0] == '/' && p[1] == '*') {
            depth++;
            p += 2;
        } else if (p[0] == '*' && p[1] == '/') {
            p += 2;
            if (--depth == 0)
                return p;
        } else {
            p++;
        }
    }
    return NULL;
}

static const uint8_t *line_comment_end(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p != '\n' && *p != '\r')
        p++;
    return p;
}

/* Whether the next thing after blanks and line comments is a quote, which continues a string constant. */
static bool is_continued(const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        if (classes[*p] == C_SPACE)
            p++;
        else if (*p == '-' && end - p >= 2 && p[1] == '-')
            p = line_comment_end(p, end);
        else
            return *p == '\'';
    }
    return false;
}

static struct lexeme lex_string(struct lexer *lexer)
{
    const uint8_t *p = lexer->at + 1, *end = lexer->end;
    bool has_backslash = false;
    for (; p < end; p++) {
        if (*p == '\'') {
            if (end - p >= 2 && p[1] == '\'')
                p++;
            else if (is_continued(p + 1, end))
                break;
            else
                return take(lexer, LEX_STRING, p + 1, has_backslash);
        } else if (*p == '\\') {
            has_backslash = true;
        } else if (*p == '\0') {
            break;
        }
    }
    return give_up(lexer);
}

static struct lexeme lex_quoted(struct lexer *lexer)
{
    const uint8_t *p = lexer->at + 1, *end = lexer->end;
    for (; p < end && *p != '\0'; p++) {
        if (*p != '"')
            continue;
        if (end - p >= 2 && p[1] == '"')
            p++;
        else
            return take(lexer, LEX_QUOTED, p + 1, false);
    }
    return give_up(lexer);
}

static struct lexeme lex_word(struct lexer *lexer)
{
    const uint8_t *p = lexer->at, *end = lexer->end;
    uint8_t seen = 0;
    while (p < end && is_word_byte(*p))
        seen |= *p++;
    size_t len = (size_t)(p - lexer->at);
    uint8_t first = lexer->at[0] | 0x20;
    /* E'' B'' X'' N'' U&'' U&"" */
    if (len == 1 && p < end) {
        if (*p == '\'' && (first == 'e' || first == 'b' || first == 'x' || first == 'n'))
            return give_up(lexer);
        if (*p == '&' && first == 'u' && end - p >= 2 && (p[1] == '\'' || p[1] == '"'))
            return give_up(lexer);
    }
    return take(lexer, LEX_WORD, p, (seen & 0x80) != 0);
}

/* What a run of plain bytes is made of, whatever stands in front. */
static inline bool is_plain(uint8_t c)
{
    return ((1u << C_SPACE | 1u << C_LETTER | 1u << C_PUNCT) >> classes[c] & 1) != 0;
}

bool lex_skip_plain(struct lexer *lexer)
{
    const uint8_t *start = lexer->at, *p = start, *end = lexer->end;
    uint8_t seen = 0;
    for (;;) {
        while (p < end && is_plain(*p))
            seen |= *p++;
        /* Digits and dollars belong to a word that has begun; other bytes are for lex_next. */
        if (p == end || p == start || !is_word_byte(*p) || !is_word_byte(p[-1]))
            break;
        p++;
    }
    /* One letter may introduce a string or a name: for lex_word to say. */
    if (p > start && p < end && (*p == '\'' || *p == '&') && classes[p[-1]] == C_LETTER &&
        (p - 1 == start || !is_word_byte(p[-2])))
        p--;
    lexer->at = p;
    return (seen & 0x80) != 0;
}

static enum lex_kind integer_kind(const uint8_t *p, size_t len)
{
    while (len > 1 && *p == '0') {
        p++;
        len--;
    }
    if (len < 10)
        return LEX_INTEGER;
    if (len > 19)
        return LEX_HUGE;
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value = value * 10 + (uint64_t)(p[i] - '0');
    return value <= INT32_MAX ? LEX_INTEGER : value <= INT64_MAX ? LEX_BIGINT : LEX_HUGE;
}

static const uint8_t *digits_end(const uint8_t *p, const uint8_t *end)
{
    while (p < end && classes[*p] == C_DIGIT)
        p++;
    return p;
}

static struct lexeme lex_number(struct lexer *lexer)
{
    const uint8_t *end = lexer->end;
    const uint8_t *p = digits_end(lexer->at, end);
    bool is_integer = true;
    /* 1..2 is 1, then two points (as in PL/pgSQL loops). */
    if (p < end && *p == '.' && !(end - p >= 2 && p[1] == '.' && p > lexer->at)) {
        is_integer = false;
        p = digits_end(p + 1, end);
    }
    if (p < end && (*p | 0x20) == 'e') {
        const uint8_t *exponent = p + 1;
        if (exponent < end && (*exponent == '+' || *exponent == '-'))
            exponent++;
        if (exponent == end || classes[*exponent] != C_DIGIT)
            return give_up(lexer);
        is_integer = false;
        p = digits_end(exponent, end);
    }
    /* 1abc was "1 AS abc" once, is an error in 15; 0x1F and 1_000 are numbers from 16 on. */
    if (p < end && is_word_byte(*p))
        return give_up(lexer);
    return take(lexer, is_integer ? integer_kind(lexer->at, (size_t)(p - lexer->at)) : LEX_FLOAT, p, false);
}

static struct lexeme lex_dollar(struct lexer *lexer)
{
    const uint8_t *p = digits_end(lexer->at + 1, lexer->end);
    if (p == lexer->at + 1 || (p < lexer->end && is_word_byte(*p)))
        return give_up(lexer);
    return take(lexer, LEX_PARAM, p, false);
}

static struct lexeme lex_operator(struct lexer *lexer)
{
    const uint8_t *p = lexer->at, *end = lexer->end;
    while (p < end && classes[*p] == C_OP) {
        if (end - p >= 2 && ((p[0] == '-' && p[1] == '-') || (p[0] == '/' && p[1] == '*'))) {
            if (p > lexer->at)
                break;
            const uint8_t *to = p[0] == '-' ? line_comment_end(p, end) : block_comment_end(p, end);
            return to == NULL ? give_up(lexer) : take(lexer, LEX_COMMENT, to, false);
        }
        p++;
    }
    return take(lexer, LEX_OPERATOR, p, false);
}

struct lexeme lex_next(struct lexer *lexer)
{
    const uint8_t *p = lexer->at, *end = lexer->end;
    if (p == end)
        return take(lexer, LEX_END, p, false);
    switch (classes[*p]) {
    case C_SPACE:
        do
            p++;
        while (p < end && classes[*p] == C_SPACE);
        return take(lexer, LEX_SPACE, p, false);
    case C_LETTER:
        return lex_word(lexer);
    case C_DIGIT:
        return lex_number(lexer);
    case C_DOT:
        if (end - p >= 2 && classes[p[1]] == C_DIGIT)
            return lex_number(lexer);
        /* Two points are one piece, or the second would begin a number in 1..2. */
        return take(lexer, LEX_PUNCT, end - p >= 2 && p[1] == '.' ? p + 2 : p + 1, false);
    case C_PUNCT:
    case C_SEMICOLON:
        return take(lexer, LEX_PUNCT, p + 1, false);
    case C_QUOTE:
        return lex_string(lexer);
    case C_DQUOTE:
        return lex_quoted(lexer);
    case C_DOLLAR:
        return lex_dollar(lexer);
    case C_OP:
        return lex_operator(lexer);
    default:
        return give_up(lexer);
    }
}

/* Behind a string constant that opens at `p`, with or without backslash escapes; the end of the text if it
 * does not end. */
static const uint8_t *string_end(const uint8_t *p, const uint8_t *end, bool has_escapes)
{
    for (p++; p < end; p++) {
        if (*p == '\\' && has_escapes && end - p >= 2)
            p++;
        else if (*p == '\'' && end - p >= 2 && p[1] == '\'')
            p++;
        else if (*p == '\'')
            return p + 1;
    }
    return end;
}

/* Behind a dollar-quoted string; behind the dollar if none opens here. */
static const uint8_t *dollar_end(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *tag = p + 1;
    while (tag < end && *tag != '$' && is_word_byte(*tag))
        tag++;
    if (tag == end || *tag != '$' || classes[p[1]] == C_DIGIT)
        return p + 1;
    size_t len = (size_t)(tag + 1 - p);
    const uint8_t *close = memmem(p + len, (size_t)(end - p) - len, p, len);
    return close == NULL ? end : close + len;
}

/* Where a LEX_SPECIAL that began at `p` ends, as far as counting brackets goes. */
static const uint8_t *special_end(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *start = p;
    if (*p == '$')
        return dollar_end(p, end);
    if (classes[*p] == C_LETTER) {
        bool has_escapes = (*p | 0x20) == 'e';
        while (p < end && *p != '\'' && *p != '"')
            p++;
        return p == end || *p == '"' ? start + 1 : string_end(p, end, has_escapes);
    }
    if (*p == '\'')
        return string_end(p, end, false);
    while (p < end && is_word_byte(*p))
        p++;
    return p == start ? p + 1 : p;
}

/* One bracket level, or one CASE: how much deeper it is for good, and since the last separator. */
struct level {
    uint32_t lasting;
    uint32_t passing;
    bool is_case;
};

struct depth {
    struct level levels[LEX_DEPTH_LIMIT];
    size_t at;
    size_t outer; /* of all levels below `at`, with one each for itself */
};

static bool is_one_of(struct slice word, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equal_nocase(word, slice_str(words[i])))
            return true;
    }
    return false;
}

static void depth_open(struct depth *d, bool is_case)
{
    struct level *level = &d->levels[d->at];
    d->outer += level->lasting + level->passing + 1;
    if (d->at + 1 < LEX_DEPTH_LIMIT)
        d->levels[++d->at] = (struct level){0, 0, is_case};
}

static void depth_pop(struct depth *d)
{
    d->at--;
    d->outer -= d->levels[d->at].lasting + d->levels[d->at].passing + 1;
}

/* A bracket also closes every CASE that somebody forgot to end inside it. */
static void depth_close(struct depth *d)
{
    while (d->at > 0 && d->levels[d->at].is_case)
        depth_pop(d);
    if (d->at > 0)
        depth_pop(d);
}

static void depth_word(struct depth *d, struct slice word)
{
    /* What stands before and after hangs side by side below them. */
    static const char *const branching[] = {"join", "union", "except", "intersect"};
    /* The parser makes one flat list of what stands between these. */
    static const char *const flat[] = {"and", "or", "when", "then", "else"};
    struct level *level = &d->levels[d->at];
    if (is_one_of(word, branching, sizeof(branching) / sizeof(*branching))) {
        level->lasting++;
        level->passing = 0;
    } else if (is_one_of(word, flat, sizeof(flat) / sizeof(*flat))) {
        level->passing = 0;
    } else if (slice_equal_nocase(word, SLICE_LITERAL("case"))) {
        depth_open(d, true);
    } else if (level->is_case && slice_equal_nocase(word, SLICE_LITERAL("end"))) {
        depth_pop(d);
    } else {
        level->passing++;
    }
}

static void depth_piece(struct depth *d, struct lexeme piece, bool is_after_point)
{
    uint8_t c = piece.start[0];
    if (piece.kind == LEX_WORD && !is_after_point)
        depth_word(d, slice_make(piece.start, piece.len));
    else if (c == '(' || c == '[')
        depth_open(d, false);
    else if (c == ')' || c == ']')
        depth_close(d);
    else if (c == ',')
        d->levels[d->at].passing = 0;
    else if (c == ';')
        d->levels[d->at] = (struct level){0, 0, false};
    else
        d->levels[d->at].passing++;
}

size_t lex_depth(struct slice text)
{
    struct depth d;
    d.levels[0] = (struct level){0, 0, false};
    d.at = d.outer = 0;
    size_t deepest = 0;
    bool is_after_point = false; /* t.case and t.end are columns */
    struct lexer lexer = lex_start(text);
    for (;;) {
        struct lexeme piece = lex_next(&lexer);
        if (piece.kind == LEX_END)
            return deepest;
        if (piece.kind == LEX_SPACE || piece.kind == LEX_COMMENT)
            continue;
        if (piece.kind == LEX_SPECIAL) {
            lexer.at = special_end(piece.start, lexer.end);
            d.levels[d.at].passing++;
        } else {
            depth_piece(&d, piece, is_after_point);
        }
        is_after_point = piece.kind == LEX_PUNCT && piece.start[0] == '.';
        size_t depth = d.outer + d.levels[d.at].lasting + d.levels[d.at].passing;
        if (depth > deepest)
            deepest = depth;
        if (deepest >= LEX_DEPTH_LIMIT)
            return LEX_DEPTH_LIMIT;
    }
}
