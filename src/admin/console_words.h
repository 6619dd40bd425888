/*
 * Private to admin: a console command cut into words.
 */
#ifndef WEIR_ADMIN_CONSOLE_WORDS_H
#define WEIR_ADMIN_CONSOLE_WORDS_H

#include <stdbool.h>

#include "weir/util/error.h"
#include "weir/util/slice.h"

#define CONSOLE_MAX_WORDS 8
#define CONSOLE_WORD_SIZE 512

struct console_words {
    size_t count; /* at most CONSOLE_MAX_WORDS; further ones are only counted in `has_more` */
    bool has_more;
    bool is_quoted[CONSOLE_MAX_WORDS];
    char word[CONSOLE_MAX_WORDS][CONSOLE_WORD_SIZE]; /* quotes taken off */
    struct slice rest[CONSOLE_MAX_WORDS]; /* of the text, from this word on, without the final ';' */
};

/*
 * Words are parted by blanks and comments; '=' and ',' are words of their own; "..." and '...' are one word.
 * False with a reason for a quote or comment that does not end, a word that is too long, or text after ';'.
 */
bool console_words_parse(struct slice text, struct console_words *out, struct error *error);

/* Case does not count; a quoted word is never a keyword. */
bool console_word_is(const struct console_words *words, size_t index, const char *keyword);

/*
 * A relation, [schema.]name, as SQL spells names: "..." keeps its case and what is in it, other letters
 * become small. `schema` is "" where none is given. False when it is something else, or too long.
 */
bool console_relation_parse(struct slice text, char schema[CONSOLE_WORD_SIZE], char name[CONSOLE_WORD_SIZE]);

#endif
