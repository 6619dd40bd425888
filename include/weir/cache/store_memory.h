/*
 * store_memory: the answers kept in this process, bounded in bytes.
 *
 * Sharded by hash, one mutex each; entries are immutable and counted, so a lock is held for a search only. An
 * entry that is outdated or expired is removed when met. When bytes are short, the least worthy of a few
 * taken at random goes first (outdated ones before all others). Worth is saved database time × how often it
 * was asked for lately ÷ bytes; asked for, not found: a sketch counts, so that what was lost to a write or to
 * another answer keeps its name. An answer worth less than what it would displace is not taken, and one that
 * nobody has asked for before displaces only its like, so that no scan, however dear, pushes out what is
 * asked again and again. Bytes are what the allocator gives out, tables and all. Any thread.
 */
#ifndef WEIR_CACHE_STORE_MEMORY_H
#define WEIR_CACHE_STORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/entry.h"

struct store_memory;

enum store_found { STORE_FOUND, STORE_ABSENT, STORE_EXPIRED, STORE_OUTDATED };

struct store_memory_stats {
    uint64_t entries;
    uint64_t bytes;     /* of entries, and of what the tables have grown by */
    uint64_t evictions; /* for want of room; not those outdated or expired */
    uint64_t rejected;  /* not worth the room */
};

/* NULL when memory is out. `seed` is of the sampling. */
struct store_memory *store_memory_new(uint64_t limit_bytes, uint64_t seed);
void store_memory_free(struct store_memory *s);
/* Shrinks at once if need be. */
void store_memory_set_limit(struct store_memory *s, uint64_t limit_bytes);
void store_memory_clear(struct store_memory *s);
/* Frees what is outdated or expired, however many entries there are in all. */
void store_memory_sweep(struct store_memory *s, uint64_t now_us);

/* With STORE_FOUND, `*entry` is the caller's reference to a current, unexpired entry of exactly this key.
 * With STORE_OUTDATED it is one to what was there, which must not be given to anybody as an answer. */
enum store_found store_memory_find(struct store_memory *s, const struct entry_key *key, uint64_t now_us,
                                   struct entry **entry);

/* Whether a current, unexpired entry of this key is there; it does not count as asked for. */
bool store_memory_has(struct store_memory *s, const struct entry_key *key, uint64_t now_us);

/*
 * Takes a reference of its own, replacing an entry of the same key. False when not taken: not worth it, too
 * big, or the present one is current and says more (it has the row description that this one lacks).
 */
bool store_memory_put(struct store_memory *s, struct entry *entry, uint64_t now_us);

void store_memory_get_stats(struct store_memory *s, struct store_memory_stats *stats);

#endif
