/*
 * redis_events: what hiredis waits for, on a worker's loop. Ended by hiredis itself, with the context.
 */
#ifndef WEIR_SRC_CACHE_REDIS_EVENTS_H
#define WEIR_SRC_CACHE_REDIS_EVENTS_H

#include <stdbool.h>

#include "weir/net/loop.h"

struct redisAsyncContext;

/* False when memory or descriptors are out, or when the context is attached already. */
bool redis_events_attach(struct redisAsyncContext *context, struct loop *loop);

#endif
