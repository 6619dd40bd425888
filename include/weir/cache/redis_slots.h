/*
 * redis_slots: what a Redis Cluster says of itself: in which of its slots a key is, which node has which
 * slot, and where to ask instead. Pure: reads replies, asks nobody.
 *
 * https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
 */
#ifndef WEIR_CACHE_REDIS_SLOTS_H
#define WEIR_CACHE_REDIS_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/cache/redis_target.h"
#include "weir/util/slice.h"

struct redisReply;

enum {
    REDIS_SLOTS = 16384,
    REDIS_NODES_MAX = 256,      /* masters; the slots of more have no node */
    REDIS_NO_NODE = UINT16_MAX, /* nobody has this slot, or it is not known who */
    REDIS_HOST_BYTES = 256,
};

/* Of the part of the key between the first '{' and the next '}', where that is not empty; else of all. */
unsigned redis_slot(struct slice key);

/* Who has which slot: replicas are not in it, nothing is read from them. */
struct redis_map {
    struct redis_host nodes[REDIS_NODES_MAX];
    size_t node_count;
    size_t slot_count; /* that a node has */
    uint16_t node_of[REDIS_SLOTS];
};

/*
 * The answer of CLUSTER SLOTS, by the node at `asked`: a node that does not know its own name is told without
 * one. NULL when it is no such answer, or memory is out. To be freed by redis_map_free, which allows NULL.
 */
struct redis_map *redis_map_read(const struct redisReply *reply, const char *asked);
void redis_map_free(struct redis_map *map);

enum redis_word {
    REDIS_WORD_NONE,  /* the reply is none of a Cluster's about where keys are */
    REDIS_WORD_MOVED, /* the slot is another node's */
    REDIS_WORD_ASK,   /* the slot is on its way to another node, and this key is there already, or nowhere */
    REDIS_WORD_DOWN,  /* nobody has it now: no master, no majority, or half a question moved */
};

/* Where to ask instead, with MOVED and ASK; `host` is "" for the node that has said so. */
struct redis_redirection {
    char host[REDIS_HOST_BYTES];
    unsigned port;
    unsigned slot;
};

enum redis_word redis_word_read(const struct redisReply *reply, struct redis_redirection *to);

#endif
