/*
 * flight: one fetch for many askers of the same key.
 *
 * The table holds the fetches under way. An asker may join one only while the fetch's vector is current and
 * clean: then no write has completed since the fetch began, so that its answer is as good as the asker's own
 * would be. Sharded, a mutex each; a flight's vector and waiters are guarded by its shard, the rest belongs
 * to the fetcher. Any thread.
 */
#ifndef WEIR_CACHE_FLIGHT_H
#define WEIR_CACHE_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>

#include "weir/cache/entry.h"
#include "weir/cache/generations.h"
#include "weir/util/list.h"

struct flight_table;

/* Embedded in the fill. Before entering, the owner sets key and vector, which live as long as the flight. */
struct flight {
    struct flight *next;
    struct entry_key key;
    struct vector_item *vector;
    size_t vector_count;
    size_t found_count; /* so many of them are enough if the answer has a row */
    struct list waiters;
    bool is_listed;
};

/* Embedded in what waits. */
struct flight_waiter {
    struct list_node node;
    struct flight *flight; /* NULL when waiting for none */
    uint64_t shard;        /* where to find the lock without looking at the flight */
};

enum flight_role {
    FLIGHT_LEADS,  /* the flight is in the table; its owner fetches */
    FLIGHT_JOINED, /* the waiter waits in another's flight; the flight offered is not used */
    FLIGHT_APART,  /* another fetches, but its answer would be too old: the owner fetches for itself alone */
};

struct flight_table *flight_table_new(void);
void flight_table_free(struct flight_table *t);

/*
 * Offers a flight. `waiter` may be NULL: then there is no joining. With `is_waiting` the leader waits as the
 * first waiter of its own flight (somebody else is asked first, and flight_promote or flight_end will tell).
 */
enum flight_role flight_enter(struct flight_table *t, struct flight *flight, struct flight_waiter *waiter,
                              bool is_waiting);

/* Joins if possible, without a flight to offer. */
bool flight_join(struct flight_table *t, const struct entry_key *key, struct flight_waiter *waiter);

/* Reads the vector anew, before the query is sent; false when something is dirty. */
bool flight_remember(struct flight_table *t, struct flight *flight);

/* True when the waiter waited and does so no more; false when it has been, or is being, told. */
bool flight_leave(struct flight_table *t, struct flight_waiter *waiter);

/* Takes the first waiter out, who becomes the owner of the flight; NULL when nobody waits: the flight has
 * ended. */
struct flight_waiter *flight_promote(struct flight_table *t, struct flight *flight);

/* Ends the flight and moves its waiters to `waiters` (initialised here). */
void flight_end(struct flight_table *t, struct flight *flight, struct list *waiters);

#endif
