/*
 * tokens: the pieces of a line of auth_hba_file and auth_ident_file. Private to auth.
 *
 * Words end at blanks, commas, quotes and '#', which begins a comment. "quoted" words may hold all of these,
 * and "" for a quote; a quoted word is never a keyword. Pure; no allocation but for the word.
 */
#ifndef WEIR_AUTH_TOKENS_H
#define WEIR_AUTH_TOKENS_H

#include <stdbool.h>

#include "weir/util/buf.h"
#include "weir/util/slice.h"

enum token_kind { TOKEN_END, TOKEN_COMMA, TOKEN_WORD, TOKEN_QUOTED, TOKEN_BAD };

struct tokens {
    struct slice rest;
    enum token_kind kind; /* of the token at hand */
    struct buf word;      /* its text, without quotes; for TOKEN_WORD and TOKEN_QUOTED */
};

/* Stands at the first token of `line`. End with tokens_end. */
void tokens_begin(struct tokens *tokens, struct slice line);
void tokens_next(struct tokens *tokens);
void tokens_end(struct tokens *tokens);

static inline struct slice tokens_word(const struct tokens *tokens)
{
    return buf_slice(&tokens->word);
}

/* Is the token at hand a name, quoted or not? */
static inline bool tokens_is_name(const struct tokens *tokens)
{
    return tokens->kind == TOKEN_WORD || tokens->kind == TOKEN_QUOTED;
}

/* Steps over this keyword; false when something else stands there. */
bool tokens_take(struct tokens *tokens, const char *keyword);

/* The next line of `text`, without its end; false when there is none. */
bool tokens_line(struct slice *text, struct slice *line);

#endif
