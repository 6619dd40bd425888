/*
 * memo: bounded memory of classes, template -> class.
 *
 * A hit costs the lexing of the text, one hash and one comparison of the whole template: nothing is believed
 * on its hash. A class that holds for one exact text only (SQL_CLASS_LITERALS) is kept under that text. Room
 * is made by the clock algorithm. One per worker, that thread only.
 */
#ifndef WEIR_SQL_MEMO_H
#define WEIR_SQL_MEMO_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/sql/classify.h"
#include "weir/sql/template.h"
#include "weir/util/slice.h"

struct memo;

struct memo_answer {
    struct sql_class *class;         /* borrowed: sql_class_ref it before the next memo_classify to keep it */
    uint32_t text_flags;             /* enum template_flag of this very text */
    uint64_t hash[2];                /* of the template: identity for statistics */
    const struct template *template; /* of this text, until the next memo_classify; NULL: not taken apart */
    bool was_known;
};

struct memo_counts {
    uint64_t hits, misses, evictions;
    size_t entries, used_bytes, limit_bytes;
};

/* NULL when memory is out. `limit_bytes` bounds everything the memo keeps, its scratch buffer excepted. */
struct memo *memo_new(size_t limit_bytes);
void memo_free(struct memo *memo);

/*
 * Classifies. `is_readable` says that standard_conforming_strings is on and the client encoding ASCII-safe;
 * if not, or if the text is over SQL_TEXT_LIMIT or has a NUL, the answer is sql_class_unparsable. Never
 * fails.
 */
struct memo_answer memo_classify(struct memo *memo, struct slice text, bool is_readable);

/* The template of the last text given to memo_classify, for display; valid until the next call. */
const struct template *memo_last_template(const struct memo *memo);

struct memo_counts memo_counts(const struct memo *memo);

#endif
