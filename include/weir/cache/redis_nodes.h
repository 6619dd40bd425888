/*
 * redis_nodes: the Redis of a target, for one thread: one server, or the masters of a Cluster, a link to
 * each.
 *
 * Of a Cluster it knows who has which slot, by CLUSTER SLOTS asked of any node, one question at a time: at
 * the start, when a node says MOVED or CLUSTERDOWN, when a link is lost, every half a second while not all is
 * there, and now and then. What a key's node cannot answer is a miss, and costs nothing elsewhere; nobody
 * waits for a map, or for a node to come back.
 *
 * Confined to its worker's thread. No link ends while a reply is being told: those that are not needed any
 * more end by the timer.
 */
#ifndef WEIR_CACHE_REDIS_NODES_H
#define WEIR_CACHE_REDIS_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/redis_link.h"
#include "weir/cache/redis_slots.h"
#include "weir/util/buf.h"
#include "weir/util/slice.h"

struct redis_nodes;
struct redis_target;
struct worker;

enum { REDIS_KEY_MAX = 160 };

struct redis_nodes_events {
    void (*up)(void *context, struct redis_link *link); /* NULL: not wanted; one of the links is up */
    void *context;
};

/* As redis_link_new. */
struct redis_nodes *redis_nodes_new(struct worker *worker, const struct redis_target *target,
                                    const struct redis_nodes_events *events);
void redis_nodes_free(struct redis_nodes *n);

/* Somebody can be asked; of a Cluster perhaps not for every key. */
bool redis_nodes_is_up(const struct redis_nodes *n);
/* To whom `key` belongs, as far as is known; NULL when it is not. It may be down. */
struct redis_link *redis_nodes_link(const struct redis_nodes *n, struct slice key);

/*
 * GET of a key of at most REDIS_KEY_MAX bytes, as redis_link_ask; asks elsewhere, once, where a Cluster says
 * so, with the same time limit again. The reply is a string, nothing, or something else that the link was
 * blamed for.
 */
bool redis_nodes_get(struct redis_nodes *n, struct slice key, uint64_t timeout_us, redis_replied replied,
                     void *context);
/*
 * SET for `keep_ms`; false when that is 0, too much is unsent, or it cannot be sent. Asks nowhere else: the
 * next who has the answer sends it to the right place. `replied` may be NULL.
 */
bool redis_nodes_set(struct redis_nodes *n, struct slice key, struct slice value, uint64_t keep_ms,
                     redis_replied replied, void *context);

/*
 * To be told of every reply of `link` that is an error: what a Cluster says of where keys are is learned
 * from, and nobody's fault. `to` as redis_word_read.
 */
enum redis_word redis_nodes_heed(struct redis_nodes *n, const struct redis_link *link,
                                 const struct redisReply *reply, struct redis_redirection *to);

/* Appends a Cluster's nodes, each with its slots and whether it is up; nothing for a single server. */
void redis_nodes_describe(const struct redis_nodes *n, struct buf *out);

#endif
