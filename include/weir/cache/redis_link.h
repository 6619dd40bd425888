/*
 * redis_link: one connection to a Redis, for one thread. The only user of hiredis, with those who read
 * replies.
 *
 * Whatever Redis does (dead, hung, slow, full, lying), the worst that comes of it is an answer REDIS_LATE or
 * REDIS_BROKEN: every question has a timer of its own, questions under way are bounded, and after a failure
 * nothing is asked until a back-off has passed. Connects by itself, and again when the connection is lost.
 * Questions are answered in the order in which they were asked, but for those that are late.
 *
 * Confined to its worker's thread.
 */
#ifndef WEIR_CACHE_REDIS_LINK_H
#define WEIR_CACHE_REDIS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/util/slice.h"

struct redisReply;
struct redis_link;
struct redis_target;
struct worker;

enum redis_outcome {
    REDIS_REPLIED,
    REDIS_LATE,    /* the time limit has passed; what was asked may still be done */
    REDIS_BROKEN,  /* the connection was lost; what was asked may have been done */
    REDIS_NOWHERE, /* of a Cluster (redis_nodes.h): nobody who could be asked has the key now; not done */
};

/*
 * `reply` is there with REDIS_REPLIED alone, valid during the call, and may be an error. Never called from
 * within redis_link_ask. May ask again.
 */
typedef void (*redis_replied)(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                              uint64_t now_us);

/* What the server said of itself when the connection came up; empty texts where it did not say. */
struct redis_server {
    char run_id[48]; /* another one for every life of the server */
    char role[16];   /* "master" */
    char eviction[32];
};

struct redis_link_events {
    void (*up)(void *context);   /* NULL: not wanted. Questions may be asked from within */
    void (*down)(void *context); /* after every question was answered */
    void *context;
};

/*
 * `target` must live as long as the link; `events` may be NULL. Connects from the worker's loop, later. NULL
 * when memory is out.
 */
struct redis_link *redis_link_new(struct worker *worker, const struct redis_target *target,
                                  const struct redis_link_events *events);
/* Questions under way are answered with REDIS_BROKEN first; no event is told. May wait for a name being
 * resolved. */
void redis_link_free(struct redis_link *l);

/* False while it is not connected, backing off, or has too many questions under way. */
bool redis_link_is_up(const struct redis_link *l);
/* It was tried in vain, and backs off. */
bool redis_link_has_failed(const struct redis_link *l);
/* Bytes that Redis has not taken yet. */
size_t redis_link_unsent(const struct redis_link *l);
/* Valid while it is up. */
const struct redis_server *redis_link_server(const struct redis_link *l);

/*
 * Sends a command of `count` words. False: not sent, `replied` will not be called. Otherwise it is, once,
 * within `timeout_us` (0: whenever Redis answers, or the connection is lost).
 */
bool redis_link_ask(struct redis_link *l, const struct slice *words, int count, uint64_t timeout_us,
                    redis_replied replied, void *context);

/* Of a reply that should not have been: after several in a row the link goes down for a while. `reason` goes
 * to the log. */
void redis_link_blame(struct redis_link *l, const char *reason);
/* What is wrong with a reply that was not expected, in Redis' own words where it has any. */
const char *redis_link_error(const struct redisReply *reply);

#endif
