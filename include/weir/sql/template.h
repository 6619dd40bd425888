/*
 * template: a query text with its plain literals lifted out, so that texts that differ only in literals are
 * one.
 *
 * Each standard string constant and each number becomes one marker byte that keeps its type class (int4,
 * int8, larger, fraction, string); everything else stays byte for byte, comments and blanks too. A text with
 * anything the lexer does not lift safely is its own template (TEMPLATE_SPECIAL); the two kinds never compare
 * equal. Assumes standard_conforming_strings = on and a client encoding whose multi-byte characters hold no
 * ASCII byte. Pure, any thread.
 */
#ifndef WEIR_SQL_TEMPLATE_H
#define WEIR_SQL_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/util/buf.h"
#include "weir/util/slice.h"

enum template_flag {
    TEMPLATE_SPECIAL = 1,       /* not taken apart: the template is the exact text, and the flags below are
                                   pessimistic (DATETIME_WORD, SEMICOLON and BACKSLASH are set) */
    TEMPLATE_LIFTED = 2,        /* at least one literal was lifted: the text is not the template */
    TEMPLATE_DATETIME_WORD = 4, /* a string constant holds the word now, today, tomorrow or yesterday */
    TEMPLATE_SEMICOLON = 8,     /* a semicolon that is not the end: several statements */
    TEMPLATE_BACKSLASH = 16,    /* a backslash in a string constant: means something else when
                                   standard_conforming_strings is off */
    TEMPLATE_WIDE_WORD =
        32, /* an unquoted identifier with bytes over 127: its folding is the server's affair */
};

enum { TEMPLATE_PLACES = 4 };

/* Of a literal in the text that was taken apart. */
struct template_place {
    uint32_t start, len; /* a string without its quotes */
    bool is_plain;       /* it means these bytes: no quotes or backslashes in a string */
};

struct template
{
    uint64_t hash[2];     /* XXH3 of kind and text; finds, does not prove */
    struct slice text;    /* points into the scratch buffer, or is the query text itself when SPECIAL */
    uint32_t flags;       /* enum template_flag */
    uint32_t place_count; /* of the first literals; 0 when SPECIAL */
    struct template_place places[TEMPLATE_PLACES];
};

/*
 * Takes `text` apart. `scratch` is overwritten and must live as long as out->text is used; it grows to
 * text.len at most, so nothing is allocated once it has grown. False only when memory is out.
 */
bool template_make(struct slice text, struct buf *scratch, struct template *out);

/* Appends the template text for people: a number is shown as 0, 0.0 and the like by its class, a string as
 * '?'. */
void template_display(const struct template *t, struct buf *out);

/*
 * The literal that template_make lifts as the `place`-th (from 0) out of `text`: a number as it is written, a
 * string without its quotes. False where there is none, or where quotes or backslashes in the string make it
 * something else than its bytes.
 */
bool template_literal(struct slice text, unsigned place, struct slice *value);

/*
 * Whether `value` (a string constant, or a bound text parameter) holds one of now, today, tomorrow, yesterday
 * as a word, in any case. Such text is not a constant to a date or time type.
 */
bool template_has_datetime_word(struct slice value);

/*
 * Appends the text with each parameter $n replaced by values[n - 1] in brackets, without a semicolon at its
 * end, and with a newline behind it, so that it can stand in front of a bracket. False when a text with
 * parameters has anything the lexer does not take apart, or a parameter beyond `count`.
 */
bool template_put_values(struct slice text, const char *const *values, size_t count, struct buf *out);

#endif
