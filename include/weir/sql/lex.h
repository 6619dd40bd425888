/*
 * lex: SQL text -> lexical pieces, by the rules of PostgreSQL's own scanner (chapter 4.1,
 * src/backend/parser/scan.l).
 *
 * Knows whitespace, comments (nested ones too), identifiers, parameters, numbers, string constants,
 * operators. It is for looking at text in one pass without allocating, not for parsing. It never guesses:
 * what versions of PostgreSQL read differently, or what it does not take apart (E'', dollar quotes, 1abc,
 * ...), is LEX_SPECIAL, after which the caller stops. Pure, any thread.
 */
#ifndef WEIR_SQL_LEX_H
#define WEIR_SQL_LEX_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/util/slice.h"

enum lex_kind {
    LEX_END,
    LEX_SPACE,    /* blanks and newlines */
    LEX_COMMENT,  /* one comment, with its delimiters (a line comment without its newline) */
    LEX_WORD,     /* identifier or keyword, not quoted */
    LEX_QUOTED,   /* "identifier" */
    LEX_PARAM,    /* $1 */
    LEX_INTEGER,  /* fits int4 */
    LEX_BIGINT,   /* digits only, fits int8 but not int4 */
    LEX_HUGE,     /* digits only, more than int8: numeric */
    LEX_FLOAT,    /* with a point or an exponent */
    LEX_STRING,   /* '...' on its own: no prefix, no continuation on a later line */
    LEX_PUNCT,    /* one of ( ) [ ] , ; : . */
    LEX_OPERATOR, /* a run of operator characters */
    LEX_SPECIAL,  /* all the rest: of it nothing is said */
};

struct lexer {
    const uint8_t *at;
    const uint8_t *end;
};

struct lexeme {
    enum lex_kind kind;
    const uint8_t *start;
    size_t len;
    bool is_wide; /* LEX_WORD: has bytes over 127. LEX_STRING: has a backslash */
};

struct lexer lex_start(struct slice text);

/* The next piece, LEX_END at the end and ever after. Pieces are adjacent: together they are the text. */
struct lexeme lex_next(struct lexer *lexer);

/*
 * Passes over blanks, plain words and punctuation other than semicolons and points: pieces that mean nothing
 * to whoever only looks for literals, comments and quotes. True if a word held a byte over 127.
 */
bool lex_skip_plain(struct lexer *lexer);

/* Deeper than this nothing is parsed: a parse tree of this depth takes under 2 MB of stack in libpg_query. */
#define LEX_DEPTH_LIMIT 500

/*
 * An upper bound, quick and rough, of how deep the parse tree of a text can be, in brackets and operators;
 * LEX_DEPTH_LIMIT if it is that or more. Chains count as the left-deep trees they become (1+1+1, UNION,
 * JOIN). For keeping a recursive parser from exhausting its stack.
 */
size_t lex_depth(struct slice text);

#endif
