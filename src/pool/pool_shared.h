/*
 * pool_shared: what all workers know of a pool: its secret, its welcome, how its hosts are doing. Under one
 * mutex; private to pool.c, hosts.c and pool_shared.c.
 */
#ifndef WEIR_POOL_SHARED_H
#define WEIR_POOL_SHARED_H

#include <pthread.h>

#include "weir/pool/pool.h"
#include "weir/pool/server.h"
#include "weir/util/buf.h"

/* See hosts.h. Clocks are monotonic microseconds. */
struct host_state {
    uint64_t retry_at_us;    /* not to be tried before */
    uint64_t asked_at_us;    /* when the role was learned */
    struct server_role role; /* of whoever answered there last */
    int failures;            /* in a row, since it worked last */
    int misfits;             /* how often in a row its role was not what is wanted */
    int attempts;            /* connections under way from which all will learn whether it works, or fits */
};

struct pool_shared {
    pthread_mutex_t mutex;
    struct credential *credential;
    struct welcome *welcome;
    struct host_state *hosts;
    size_t host_count;
};

#endif
