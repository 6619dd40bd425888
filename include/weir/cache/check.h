/*
 * check: an answer that the cache would have given, asked of PostgreSQL as well, and what becomes of one that
 * differs.
 *
 * One hit in so many goes to PostgreSQL like a miss. If nothing that the stored answer depends on has changed
 * by the end, both answers must have the same rows: in whatever order, and unless PostgreSQL is free in which
 * rows it picks or in which order it adds them up. A template whose answer was wrong is not cached any more,
 * until the cache is emptied by command.
 */
#ifndef WEIR_CACHE_CHECK_H
#define WEIR_CACHE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/util/slice.h"

struct entry;
struct vector_item;

/* One comparison under way; belongs to its fill. */
struct check;

/* Takes a reference to the entry and a copy of the text. NULL when memory is out. */
struct check *check_new(struct entry *entry, struct slice text);
void check_free(struct check *check);

enum check_outcome { CHECK_RIGHT, CHECK_WRONG, CHECK_UNDECIDED };

/* What came from PostgreSQL under this vector, which is current: whole messages, T and then D… C. */
enum check_outcome check_compare(const struct check *check, const struct vector_item *vector, size_t count,
                                 struct slice description, struct slice rows);

/* For the log: age of the entry, sizes, and the query. */
void check_describe(const struct check *check, uint64_t now_us, struct slice rows, char *text, size_t size);
struct slice check_text(const struct check *check);

/* The templates that are not trusted any more, each in one database, by number: any thread. */
struct distrust;

struct distrust *distrust_new(void);
void distrust_free(struct distrust *d);
/* More than a thousand, or no memory: then it is all of them. */
void distrust_add(struct distrust *d, uint64_t database, struct slice text);
/* Costs nothing as long as there are none. */
bool distrust_has(struct distrust *d, uint64_t database, struct slice text);
void distrust_clear(struct distrust *d);
/* Those of one database; where it has come to be all of them, it stays so. */
void distrust_forgive(struct distrust *d, uint64_t database);

#endif
