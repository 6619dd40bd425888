/*
 * budget: how many of something may exist, in all threads together.
 *
 * One budget for each pool, each database and each user; a server connection is opened only against all
 * three. Atomic; any thread. The limit is an argument, since it comes from the configuration, which changes.
 */
#ifndef WEIR_POOL_BUDGET_H
#define WEIR_POOL_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>

struct budget {
    _Atomic int used;
};

/* Takes one, unless `limit` are taken already; a limit of 0 or less is none. */
static inline bool budget_take(struct budget *budget, int limit)
{
    int used = atomic_load_explicit(&budget->used, memory_order_relaxed);
    do {
        if (limit > 0 && used >= limit)
            return false;
    } while (!atomic_compare_exchange_weak(&budget->used, &used, used + 1));
    return true;
}

static inline void budget_give(struct budget *budget)
{
    atomic_fetch_sub(&budget->used, 1);
}

static inline int budget_used(const struct budget *budget)
{
    return atomic_load_explicit(&budget->used, memory_order_relaxed);
}

#endif
