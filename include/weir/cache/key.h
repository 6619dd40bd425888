/*
 * key: the identity of an answer, as bytes. Two askings get the same bytes only if PostgreSQL could give both
 * the same answer: everything that can change it is in them, each part with its length, so that no two parts
 * can be confused.
 *
 * Who asks is in the key as the number of an interned scope (database, user, baseline, profile compared in
 * full when it was interned), which is never used again in the life of the process. Pure, any thread.
 */
#ifndef WEIR_CACHE_KEY_H
#define WEIR_CACHE_KEY_H

#include <stddef.h>
#include <stdint.h>

#include "weir/cache/entry.h"
#include "weir/util/buf.h"
#include "weir/util/slice.h"

struct key_parts {
    uint64_t scope;
    uint8_t shape; /* enum cache_shape */
    struct slice text;
    const uint32_t *parameter_types;
    size_t parameter_type_count;
    uint32_t row_limit; /* of Execute; 0: none */
    struct slice bind;  /* formats, values, result formats as in Bind: NULL is length -1, empty is length 0 */
};

/* Overwrites `scratch`, into which `key` points. False when memory is out. `seed` keeps clients from aiming
 * at the hash. */
bool key_build(struct buf *scratch, const struct key_parts *parts, uint64_t seed, struct entry_key *key);

#endif
