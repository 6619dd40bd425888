/*
 * worker: what the façade's files share: the process's cache, and a worker's part of it. Not for other
 * layers.
 */
#ifndef WEIR_CACHE_WORKER_H
#define WEIR_CACHE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "weir/cache/cache.h"
#include "weir/stats/counters.h"
#include "weir/util/buf.h"

struct databases;
struct distrust;
struct flight_table;
struct scopes;
struct share;
struct share_client;
struct store_memory;
struct store_redis;
struct redis_target;
struct verdicts;
struct worker;

/* One writer each, relaxed readers. */
struct cache_counters {
#define X(name, help) _Atomic uint64_t name;
    CACHE_COUNTERS(X)
#undef X
    _Atomic uint64_t passes_by_reason[CACHE_REASON_COUNT];
};

struct cache {
    struct databases *databases;
    struct share *share; /* NULL: this process is alone */
    struct scopes *scopes;
    struct store_memory *memory;
    struct flight_table *flights;
    struct redis_target *redis; /* NULL for none */
    uint64_t redis_timeout_us;
    uint64_t seed;
    _Atomic size_t max_result_bytes;
    _Atomic unsigned check_one_in;
    _Atomic uint64_t flushes;
    struct distrust *distrust;
    pthread_mutex_t mutex; /* of the list of workers */
    struct cache_worker *workers;
    struct cache_counters retired; /* figures of workers that are gone */
};

struct cache_worker {
    struct cache_worker *next;
    struct cache *cache;
    struct worker *worker;
    struct verdicts *verdicts;
    struct store_redis *redis; /* NULL with a share, which has keys of its own */
    struct share_client *share;
    struct buf key;
    struct cache_fill *spare_fills; /* a miss begins and ends with each */
    unsigned spare_fill_count;
    struct cache_wait *spare_wait; /* most questions make one that nobody needs in the end; NULL for none */
    uint64_t random;
    unsigned until_check; /* so many hits; 0: to be drawn */
    struct cache_counters counters;
};

#endif
