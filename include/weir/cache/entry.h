/*
 * entry: one stored answer, immutable, in one piece of memory, with everything needed to believe and to send
 * it.
 *
 * Holds the key's bytes (to compare), the vector (to know that it is current), and the answer as the wire
 * bytes that a client receives, in parts. ReadyForQuery, ParseComplete and BindComplete are never inside:
 * they depend on the asker. Counted references, any thread; the last one frees it.
 */
#ifndef WEIR_CACHE_ENTRY_H
#define WEIR_CACHE_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/generations.h"
#include "weir/util/slice.h"

/* In the order in which they lie in memory. Each is zero or more whole messages. */
enum entry_part {
    ENTRY_PARAMETER_DESCRIPTION, /* 't' */
    ENTRY_ROW_DESCRIPTION,       /* 'T' (never 'n': what returns no rows is not cached) */
    ENTRY_ROWS,                  /* 'D'…, then 'C' */
    ENTRY_PART_COUNT,
};

struct entry_key {
    uint64_t hash[2]; /* XXH3-128 of the bytes */
    struct slice bytes;
};

struct entry_contents {
    struct entry_key key;
    const struct vector_item *vector; /* references are taken */
    size_t vector_count;
    struct slice parts[ENTRY_PART_COUNT];
    uint64_t stored_us;  /* monotonic */
    uint64_t expires_us; /* monotonic; UINT64_MAX for never */
    uint64_t cost_us;    /* database time that a hit saves */
};

struct entry;

/* Copies everything. NULL when memory is out. */
struct entry *entry_new(const struct entry_contents *contents);
struct entry *entry_ref(struct entry *e);
void entry_unref(struct entry *e);

/* Bytes of one part; empty when the entry lacks it. Valid while the reference is held. */
struct slice entry_part(const struct entry *e, enum entry_part part);
/* Row description and rows in one piece: what a simple query receives before ReadyForQuery. */
struct slice entry_answer(const struct entry *e);

struct slice entry_key_bytes(const struct entry *e);
const uint64_t *entry_key_hash(const struct entry *e);
bool entry_matches(const struct entry *e, const struct entry_key *key);
const struct vector_item *entry_vector(const struct entry *e, size_t *count);
bool entry_is_current(const struct entry *e);
uint64_t entry_stored_us(const struct entry *e);
uint64_t entry_expires_us(const struct entry *e);
/* How long another store may keep it, a day at most; 0: it is over. */
uint64_t entry_keep_ms(const struct entry *e, uint64_t now_us);
uint64_t entry_cost_us(const struct entry *e);
/* What the allocator keeps beside a block. */
enum { ENTRY_BLOCK_OVERHEAD = sizeof(size_t) };

/* Memory it takes from the allocator: header, vector, key, answer, and what blocks are rounded up to. */
size_t entry_size(const struct entry *e);

#endif
