/* entry: header, vector, key and parts in one allocation. */
#include "weir/cache/entry.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "weir/util/clock.h"

/*
 *   struct entry | vector_item[vector_count] | key bytes | 't' | 'T' | 'D'… 'C'
 */
struct entry {
    _Atomic uint32_t references;
    uint32_t vector_count;
    uint64_t hash[2];
    uint64_t stored_us;
    uint64_t expires_us;
    uint64_t cost_us;
    size_t size;
    size_t key_len;
    size_t part_start[ENTRY_PART_COUNT + 1]; /* offsets from data */
    struct vector_item vector[];
};

static uint8_t *key_start(const struct entry *e)
{
    return (uint8_t *)(uintptr_t)(const void *)(e->vector + e->vector_count);
}

static uint8_t *data_start(const struct entry *e)
{
    return key_start(e) + e->key_len;
}

struct entry *entry_new(const struct entry_contents *contents)
{
    size_t size =
        sizeof(struct entry) + contents->vector_count * sizeof(struct vector_item) + contents->key.bytes.len;
    for (int i = 0; i < ENTRY_PART_COUNT; i++)
        size += contents->parts[i].len;
    struct entry *e = malloc(size);
    if (e == NULL)
        return NULL;
    atomic_init(&e->references, 1);
    e->vector_count = (uint32_t)contents->vector_count;
    memcpy(e->hash, contents->key.hash, sizeof(e->hash));
    e->stored_us = contents->stored_us;
    e->expires_us = contents->expires_us;
    e->cost_us = contents->cost_us;
    e->size = malloc_usable_size(e) + ENTRY_BLOCK_OVERHEAD;
    e->key_len = contents->key.bytes.len;
    for (size_t i = 0; i < contents->vector_count; i++)
        e->vector[i] = (struct vector_item){generation_ref(contents->vector[i].slot),
                                            contents->vector[i].value, contents->vector[i].shared};
    memcpy(key_start(e), contents->key.bytes.data, e->key_len);
    size_t offset = 0;
    for (int i = 0; i < ENTRY_PART_COUNT; i++) {
        e->part_start[i] = offset;
        if (contents->parts[i].len > 0)
            memcpy(data_start(e) + offset, contents->parts[i].data, contents->parts[i].len);
        offset += contents->parts[i].len;
    }
    e->part_start[ENTRY_PART_COUNT] = offset;
    return e;
}

struct entry *entry_ref(struct entry *e)
{
    atomic_fetch_add_explicit(&e->references, 1, memory_order_relaxed);
    return e;
}

void entry_unref(struct entry *e)
{
    if (e == NULL || atomic_fetch_sub_explicit(&e->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < e->vector_count; i++)
        generation_unref(e->vector[i].slot);
    free(e);
}

static struct slice parts(const struct entry *e, int first, int last)
{
    return slice_make(data_start(e) + e->part_start[first], e->part_start[last + 1] - e->part_start[first]);
}

struct slice entry_part(const struct entry *e, enum entry_part part)
{
    return parts(e, (int)part, (int)part);
}

struct slice entry_answer(const struct entry *e)
{
    return parts(e, ENTRY_ROW_DESCRIPTION, ENTRY_ROWS);
}

struct slice entry_key_bytes(const struct entry *e)
{
    return slice_make(key_start(e), e->key_len);
}

const uint64_t *entry_key_hash(const struct entry *e)
{
    return e->hash;
}

bool entry_matches(const struct entry *e, const struct entry_key *key)
{
    return e->hash[0] == key->hash[0] && e->hash[1] == key->hash[1] && e->key_len == key->bytes.len &&
           memcmp(key_start(e), key->bytes.data, e->key_len) == 0;
}

const struct vector_item *entry_vector(const struct entry *e, size_t *count)
{
    *count = e->vector_count;
    return e->vector;
}

bool entry_is_current(const struct entry *e)
{
    return vector_is_current(e->vector, e->vector_count);
}

uint64_t entry_stored_us(const struct entry *e)
{
    return e->stored_us;
}

uint64_t entry_expires_us(const struct entry *e)
{
    return e->expires_us;
}

uint64_t entry_keep_ms(const struct entry *e, uint64_t now_us)
{
    enum { MOST_MS = 24 * 60 * 60 * 1000 };
    uint64_t left_ms = e->expires_us > now_us ? (e->expires_us - now_us) / US_PER_MS : 0;
    return left_ms < MOST_MS ? left_ms : MOST_MS;
}

uint64_t entry_cost_us(const struct entry *e)
{
    return e->cost_us;
}

size_t entry_size(const struct entry *e)
{
    return e->size;
}
