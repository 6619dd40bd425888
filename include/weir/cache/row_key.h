/*
 * row_key: which row a statement is about, as a number, where it names its table's primary key. Pure.
 *
 * Two statements that are about the same row have the same number; the reverse need not be. What cannot be
 * read with certainty (a number with a fraction, say) has none: then the statement counts as being about any
 * row.
 */
#ifndef WEIR_CACHE_ROW_KEY_H
#define WEIR_CACHE_ROW_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "weir/cache/cache.h"
#include "weir/control/catalog.h"
#include "weir/sql/classify.h"

struct row_key {
    uint32_t relation; /* 0: none */
    enum catalog_key kind;
    struct sql_equality equality; /* its column is not looked at */
};

bool row_key_hash(const struct row_key *key, const struct cache_values *values, uint64_t *hash);

/* The same of a value that PostgreSQL has written. */
bool row_key_hash_text(uint32_t relation, enum catalog_key kind, struct slice text, uint64_t *hash);

#endif
