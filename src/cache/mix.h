/*
 * mix: the hash of several texts in a row, for tables whose rows are compared. Private to cache; pure.
 */
#ifndef WEIR_CACHE_MIX_H
#define WEIR_CACHE_MIX_H

#include <stdint.h>

#include "weir/util/slice.h"

/* FNV-1a; equality is decided by comparison. */
static inline uint64_t mix(uint64_t hash, struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        hash = (hash ^ s.data[i]) * UINT64_C(0x100000001B3);
    return (hash ^ 0xFF) * UINT64_C(0x100000001B3);
}

#endif
