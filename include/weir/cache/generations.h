/*
 * generations: the version of every relation of a database, as one atomic number each.
 *
 *   63                 20 19            0
 *   +--------------------+--------------+
 *   |       token        | dirty marks  |        a vector remembers the whole number;
 *   +--------------------+--------------+        it is current only while the number is still the same
 *
 * A writer marks (dirty + 1) before the write can become visible, and afterwards either changes (token + 1,
 * dirty - 1, in one step) or, if it is certain that nothing was written, clears (dirty - 1). Remembering is
 * only possible while dirty is zero, so equality with a remembered number proves: no write has completed
 * since, and none is under way. Marks do not reach 2^20 (a mark belongs to a server connection), tokens do
 * not reach 2^44.
 *
 * Slots are counted; the one of relation 0 is the database's epoch, part of every vector. Any thread.
 *
 * A relation has more than one, so that a write to one row leaves answers about other rows as they are:
 *
 *                       a write to ...   one row,     new rows   anything else
 *                                        by its key
 *   ANY                                  x            x          x       on which most answers depend
 *   WHOLE                                                        x  \
 *   NEW                                               x             |    on which answers about one row
 * depend, with KEY, of the row                      x                          /    the KEY of that row
 *
 * So every write to rows that an answer depends on changes at least one number of its vector. An answer in
 * which the row was found does not depend on NEW: of one key there is one row.
 *
 * KEY slots are a fixed number for the whole database, found by a hash: two rows may share one, which costs
 * hits and is never wrong.
 */
#ifndef WEIR_CACHE_GENERATIONS_H
#define WEIR_CACHE_GENERATIONS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/util/slice.h"

struct generations;

enum generation_kind { GENERATION_ANY, GENERATION_WHOLE, GENERATION_NEW, GENERATION_KEY };

struct generation {
    _Atomic uint64_t value;
    _Atomic uint32_t references;
    uint32_t relation; /* pg_class.oid; 0 is the epoch. KEY: its place among them */
    enum generation_kind kind;
};

#define GENERATION_DIRTY_BITS 20
#define GENERATION_DIRTY_MASK ((UINT64_C(1) << GENERATION_DIRTY_BITS) - 1)
#define GENERATION_CHANGE     (UINT64_C(1) << GENERATION_DIRTY_BITS)

struct generations *generations_new(void);
void generations_free(struct generations *g);

/* The epoch's slot; lives as long as `g`. */
struct generation *generations_epoch(struct generations *g);

/* The slot of a relation, made if need be, with a reference for the caller. NULL when memory is out. Not for
 * KEY. */
struct generation *generations_get(struct generations *g, uint32_t relation, enum generation_kind kind);

/* The slot of a row, by row_key_hash; it lives as long as `g`, and references to it are not counted. NULL
 * when memory is out. Takes no lock. */
struct generation *generations_key(struct generations *g, uint64_t hash);
struct generation *generation_ref(struct generation *slot);
void generation_unref(struct generation *slot);

/*
 * Drops the slots that `is_known` denies, so that tables that came and went do not add up. What still refers
 * to one keeps it; call only together with a change of the epoch, which makes such references worthless.
 */
void generations_prune(struct generations *g, bool (*is_known)(void *context, uint32_t relation),
                       void *context);
size_t generations_count(struct generations *g);

static inline uint64_t generation_read(const struct generation *slot)
{
    return atomic_load_explicit(&slot->value, memory_order_seq_cst);
}

static inline bool generation_is_clean(uint64_t value)
{
    return (value & GENERATION_DIRTY_MASK) == 0;
}

static inline uint64_t generation_token(uint64_t value)
{
    return value >> GENERATION_DIRTY_BITS;
}

static inline void generation_mark(struct generation *slot)
{
    atomic_fetch_add_explicit(&slot->value, 1, memory_order_seq_cst);
}

/* Ends one mark; the relation has changed. */
static inline void generation_change(struct generation *slot)
{
    atomic_fetch_add_explicit(&slot->value, GENERATION_CHANGE - 1, memory_order_seq_cst);
}

/* Ends one mark; it is certain that nothing was written. */
static inline void generation_clear(struct generation *slot)
{
    atomic_fetch_sub_explicit(&slot->value, 1, memory_order_seq_cst);
}

/* A change without a mark before it: for what has already happened. */
static inline void generation_bump(struct generation *slot)
{
    atomic_fetch_add_explicit(&slot->value, GENERATION_CHANGE, memory_order_seq_cst);
}

/* --- vectors: what an answer depends on
 * ------------------------------------------------------------------------ */

struct vector_item {
    struct generation *slot; /* referenced by the vector's owner */
    uint64_t value;
    uint64_t shared; /* the token in the ledger of several Weirs; 0 where there is none */
};

/* Reads every slot's number into the items. False if one is dirty: then nothing may be filled. */
bool vector_remember(struct vector_item *items, size_t count);

/* True while every slot still holds the number remembered. */
static inline bool vector_is_current(const struct vector_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (generation_read(items[i].slot) != items[i].value)
            return false;
    return true;
}

enum { GENERATION_NAME_SIZE = 16 };

/* What several Weirs call a slot: "1259", "1259w", "1259n", "k77"; `text` has GENERATION_NAME_SIZE bytes. */
struct slice generation_name(const struct generation *slot, char *text);

/* The same slots with the same tokens in the ledger, or the first of them; see above on rows that were found.
 */
static inline bool vector_is_shared_same(const struct vector_item *a, size_t a_count,
                                         const struct vector_item *b, size_t b_count)
{
    if (a_count > b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (a[i].slot->relation != b[i].slot->relation || a[i].slot->kind != b[i].slot->kind ||
            a[i].shared != b[i].shared)
            return false;
    return true;
}

#endif
