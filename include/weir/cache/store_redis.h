/*
 * store_redis: answers kept in Redis, behind those in process.
 *
 * Confined to its worker's thread, which has links of its own (redis_nodes.h says what happens when Redis is
 * not well). A value is believed only if its checksum, its key in full and its vector are right. Keys carry a
 * number of this process, since tokens live in process: what another process, or an earlier life of this one,
 * has stored is never even asked for.
 */
#ifndef WEIR_CACHE_STORE_REDIS_H
#define WEIR_CACHE_STORE_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/entry.h"
#include "weir/util/buf.h"

struct redis_target;
struct store_redis;
struct worker;

enum redis_answer {
    REDIS_ANSWER_VALUE,
    REDIS_ANSWER_NOTHING,
    REDIS_ANSWER_LATE,   /* the time limit has passed */
    REDIS_ANSWER_BROKEN, /* an error from Redis, or the connection was lost */
};

/* `value` is valid during the call. Never called from within store_redis_get. */
typedef void (*redis_got)(void *context, enum redis_answer answer, struct slice value, uint64_t now_us);

struct store_redis_counters {
    uint64_t stores;
    uint64_t store_errors;
};

/*
 * `target` must live as long as the store. `process` is the number that every key carries. Connects by
 * itself, once the worker runs. NULL when memory is out.
 */
struct store_redis *store_redis_new(struct worker *worker, const struct redis_target *target,
                                    uint64_t timeout_us, uint64_t process);
/* Questions under way are answered with REDIS_ANSWER_BROKEN first. May wait for a name being resolved. */
void store_redis_free(struct store_redis *s);

/* False while it is not connected, backing off, or has too many questions under way. */
bool store_redis_is_up(const struct store_redis *s);
/* False: not asked, `got` will not be called. Otherwise it is, within the time limit. */
bool store_redis_get(struct store_redis *s, const struct entry_key *key, redis_got got, void *context);
/* Sends the entry to Redis, if things are well (true); nobody waits for it. */
bool store_redis_put(struct store_redis *s, const struct entry *entry, uint64_t now_us);
const struct store_redis_counters *store_redis_get_counters(const struct store_redis *s);
/* As redis_nodes_describe. */
void store_redis_describe(const struct store_redis *s, struct buf *out);

/* --- values: pure
 * ---------------------------------------------------------------------------------------------------- */

/* Appends the value that stands for the entry; compressed where that pays. */
void store_redis_encode(const struct entry *entry, struct buf *out);

/*
 * The entry that a value stands for, if the value is whole and says exactly this key and this vector, or the
 * first `found_count` of it; else NULL.
 */
struct entry *store_redis_decode(struct slice value, const struct entry_key *key,
                                 const struct vector_item *vector, size_t vector_count, size_t found_count);

/*
 * The same for what several Weirs share (NULL: they do not): the key is one that means the same to all, the
 * tokens are the ledger's, times are of the wall clock, by which the others' clocks begin elsewhere.
 */
struct value_form {
    struct slice key;
    uint64_t ahead_us; /* the wall clock's time less this process's */
};

void redis_value_encode(const struct entry *entry, const struct value_form *form, struct buf *out);
struct entry *redis_value_decode(struct slice value, const struct entry_key *key,
                                 const struct value_form *form, const struct vector_item *vector,
                                 size_t vector_count, size_t found_count);

#endif
