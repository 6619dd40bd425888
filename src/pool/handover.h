/*
 * handover: idle servers that change workers, to wherever the pool's oldest waiter is. Private to pool.
 *
 * The connection itself goes, by mail, and only while idle; who gives it looks at the other parts' atomics
 * alone. Called on the part's own thread.
 */
#ifndef WEIR_POOL_HANDOVER_H
#define WEIR_POOL_HANDOVER_H

#include "weir/pool/pool.h"

/* The pool's part on a worker; NULL where there is none yet. Any thread. */
static inline struct pool_part *pool_part_at(const struct pool *pool, int index)
{
    return __atomic_load_n(&pool->parts[index], __ATOMIC_ACQUIRE);
}

/* A server is idle: it goes to a waiter of another worker, if one there comes first. */
void handover_offer(struct pool_part *part);

/* No budget for another connection: another worker is asked for an idle one. False when there is none to ask
 * for, or nobody who waits for it. */
bool handover_ask(struct pool_part *part);

#endif
