/*
 * verdict: what policy said of a statement in a scope, remembered for one worker.
 *
 * Finding one again costs a look at two pointers. A verdict counts for the version of the catalog that it was
 * made with. Bounded: a table of fixed size, in which a newcomer takes the place of what was there. One
 * thread.
 */
#ifndef WEIR_CACHE_VERDICT_H
#define WEIR_CACHE_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/generations.h"
#include "weir/cache/payoff.h"
#include "weir/cache/reason.h"
#include "weir/cache/row_key.h"
#include "weir/util/slice.h"

struct analysis;
struct buf;
struct cache_template;
struct cache_scope;
struct sql_class;
struct verdicts;

struct verdict {
    struct cache_scope *scope; /* a reference */
    struct sql_class *class;   /* a reference */
    uint64_t version;          /* of the catalog; see database_catalog */
    enum cache_reason reason;  /* of a read */
    bool is_read_judged;
    bool is_pending; /* judged before the analysis was done */
    char *display;   /* the text without its literals, or its beginning; NULL where only writes mattered */
    /* for SHOW TEMPLATES; they go over to the next verdict of the same scope and class */
    uint64_t since_us, calls, hits, misses, saved_us;
    struct payoff payoff;      /* of a read that may be cached; goes over as well */
    struct analysis *analysis; /* a reference; NULL when PostgreSQL was not asked */
    bool is_write_known;       /* reads that run somebody's code write something unknown */
    uint32_t write_count;      /* relations written, when known */
    uint32_t slot_count;       /* generations that a cacheable read depends on; the epoch is the first */
    uint32_t *writes;
    struct row_key
        write_row;     /* the one row written of that relation; the others in `writes` are written wholly */
    uint32_t new_rows; /* or the relation that rows are added to; 0: neither */
    struct generation **slots; /* references */
    struct row_key
        read_row;      /* the one row that is read of its relation, which is the first behind the epoch */
    uint64_t outdated; /* how often an answer was there, and old */
    struct generation *asked_row; /* by verdict_note_row, with its number then */
    uint64_t asked_number;
    struct generation *whole, *new; /* references; what then stands for that relation, with the row's own */
};

struct verdicts *verdicts_new(void);
void verdicts_free(struct verdicts *v);

enum { VERDICT_DISPLAY_MAX = 1000 };

struct verdict_question {
    struct cache_scope *scope;
    struct sql_class *class;
    struct slice text;     /* one that has this class: all of them name the same things; empty when only the
                              writes matter */
    const uint32_t *types; /* given for its parameters */
    size_t type_count;
    uint64_t now_us;
};

/* Valid until the next call. NULL when memory is out. */
struct verdict *verdicts_get(struct verdicts *v, const struct verdict_question *q);

/* The number of the one row that is read with these values; NULL where it is not of one row, or not for
 * certain. It lives as long as the database. */
struct generation *verdict_row(const struct verdict *v, const struct cache_values *values);

/*
 * The vector's slots for a read of `row` (NULL: of any): at most slot_count + 2 are written to `items`, with
 * references, and counted. The first `found_count` of them are enough once the row was found.
 */
size_t verdict_vector(const struct verdict *v, struct generation *row, struct vector_item *items,
                      size_t *found_count);

/* Fills in what a verdict says to people: reason, detail, found, relations, generations, which may point into
 * `scratch`. */
void verdict_describe(const struct verdict *v, struct cache_template *t, struct buf *scratch);

/* Adds up what was counted for its text, user and database, whatever the settings of those who asked. */
void verdict_count(const struct verdicts *all, const struct verdict *v, struct cache_template *t);

/* A sum that differs when anything that the read depends on has been written, or is being; a read of one row:
 * when an answer was found old, or all rows may have been written. */
uint64_t verdict_versions(const struct verdict *v);

/* A read of `row` (NULL: of any) was no hit: when the same is asked for again, and was written in between, an
 * answer was found old, or would have been. */
void verdict_note_row(struct verdict *v, struct generation *row);

/* Every verdict that there is. */
void verdicts_each(const struct verdicts *v, void (*fn)(void *context, const struct verdict *verdict),
                   void *context);

#endif
