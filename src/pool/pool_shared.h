/*
 * pool_shared: what all workers know of a pool: its secret, its welcome, how its hosts are doing. Under one
 * mutex; private to pool.c and pool_shared.c.
 */
#ifndef WEIR_POOL_SHARED_H
#define WEIR_POOL_SHARED_H

#include <pthread.h>

#include "weir/pool/pool.h"
#include "weir/util/buf.h"

struct host_state {
    uint64_t retry_at_us;
    int failures;
};

struct pool_shared {
    pthread_mutex_t mutex;
    struct credential *credential;
    struct welcome *welcome;
    struct host_state *hosts;
    size_t host_count;
    struct buf last_failure; /* the latest ErrorResponse, for those who cannot wait any longer */
    char last_reason[200];
};

#endif
