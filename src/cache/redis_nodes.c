/*
 * redis_nodes: the links, and the map.
 *
 *           guide up                    CLUSTER SLOTS              its masters' links
 *   guide --------------> ask for map -----------------> pending ------------------> mapped
 *     ^ the next of them, until one is up               (timer)                        | MOVED, link lost,
 *     '------------ no mapped link is up ---------------------- ask for map <----------' half a second, ...
 *
 * Beside the mapped nodes there are at most one guide, of those that the configuration names, and those to
 * which an ASK has pointed: a node that gets its first slot is in no map yet.
 */
#include "weir/cache/redis_nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "weir/cache/redis_target.h"
#include "weir/net/loop.h"
#include "weir/net/worker.h"
#include "weir/util/clock.h"
#include "weir/util/list.h"
#include "weir/util/log.h"

enum {
    LINKS_MAX = REDIS_NODES_MAX + 32,
    UNSENT_MAX_BYTES = 8 * 1024 * 1024,
    SOON_US = 100000,
    EAGER_US = 500000,
    CALM_US = 10000000,
    MAP_TIMEOUT_US = 1000000,
    GUIDE_PATIENCE_US = 3000000,
    ASKED_KEEP_US = 60000000,
};

struct node {
    struct list_node node;
    struct redis_nodes *all;
    struct redis_target *own; /* NULL: the whole target's */
    struct redis_link *link;
    bool is_mapped;
    bool is_useless;   /* as a guide: has answered, and knows nothing */
    uint64_t since_us; /* was made, or last pointed to by ASK */
};

struct redis_nodes {
    struct worker *worker;
    const struct redis_target *target;
    struct redis_nodes_events events;
    struct list nodes;
    struct timer timer;
    bool is_hurried;     /* the timer fires soon */
    bool is_asking;      /* for the map */
    bool has_complained; /* since the last map */
    bool is_closing;
    struct node *guide; /* NULL: none, or none that is not mapped */
    size_t turn;        /* of guides, and of nodes to be asked for the map */
    struct redis_map *map;
    struct redis_map *pending; /* to be the map, when the timer fires */
    struct node *mapped[REDIS_NODES_MAX];
};

static void on_timer(struct timer *timer);

/* --- nodes --- */

static void hurry(struct redis_nodes *n)
{
    if (!n->target->is_cluster || n->is_hurried || n->is_closing)
        return;
    n->is_hurried = true;
    timer_start(worker_loop(n->worker), &n->timer, SOON_US, on_timer);
}

static void on_up(void *context)
{
    struct node *node = context;
    struct redis_nodes *n = node->all;
    if (!node->is_mapped)
        hurry(n);
    if (n->events.up != NULL)
        n->events.up(n->events.context, node->link);
}

static void on_down(void *context)
{
    struct node *node = context;
    hurry(node->all);
}

/* With `host` NULL: the whole target. */
static struct node *add_node(struct redis_nodes *n, const char *host, unsigned port)
{
    struct node *node = n->nodes.count < LINKS_MAX ? calloc(1, sizeof(*node)) : NULL;
    if (node == NULL)
        return NULL;
    node->all = n;
    node->since_us = clock_now_us();
    node->own = host != NULL ? redis_target_node(n->target, host, port) : NULL;
    const struct redis_link_events events = {.up = on_up, .down = on_down, .context = node};
    if (host == NULL || node->own != NULL)
        node->link = redis_link_new(n->worker, host != NULL ? node->own : n->target, &events);
    if (node->link == NULL) {
        redis_target_free(node->own);
        free(node);
        return NULL;
    }
    list_push_back(&n->nodes, &node->node);
    return node;
}

/* Not while a link of it is telling something. */
static void drop_node(struct node *node)
{
    list_remove(&node->all->nodes, &node->node);
    if (node->all->guide == node)
        node->all->guide = NULL;
    redis_link_free(node->link);
    redis_target_free(node->own);
    free(node);
}

static struct node *find_node(const struct redis_nodes *n, const char *host, unsigned port)
{
    list_for_each(&n->nodes, each)
    {
        struct node *node = list_entry(each, struct node, node);
        if (node->own != NULL && node->own->port == port && strcmp(node->own->host, host) == 0)
            return node;
    }
    return NULL;
}

static struct node *node_of_link(const struct redis_nodes *n, const struct redis_link *link)
{
    list_for_each(&n->nodes, each)
    {
        struct node *node = list_entry(each, struct node, node);
        if (node->link == link)
            return node;
    }
    return NULL;
}

static struct node *node_of_slot(const struct redis_nodes *n, unsigned slot)
{
    uint16_t index = n->map != NULL ? n->map->node_of[slot] : REDIS_NO_NODE;
    return index != REDIS_NO_NODE ? n->mapped[index] : NULL;
}

/* --- the map --- */

static bool has_mapped_up(const struct redis_nodes *n)
{
    for (size_t i = 0; n->map != NULL && i < n->map->node_count; i++)
        if (n->mapped[i] != NULL && redis_link_is_up(n->mapped[i]->link))
            return true;
    return false;
}

static bool is_whole(const struct redis_nodes *n)
{
    if (n->map == NULL || n->map->slot_count < REDIS_SLOTS)
        return false;
    for (size_t i = 0; i < n->map->node_count; i++)
        if (n->mapped[i] == NULL || !redis_link_is_up(n->mapped[i]->link))
            return false;
    return true;
}

/* False where memory was out when one was to be made: the next map makes it. */
static bool has_all_links(const struct redis_nodes *n)
{
    for (size_t i = 0; i < n->map->node_count; i++)
        if (n->mapped[i] == NULL)
            return false;
    return true;
}

static bool is_same_map(const struct redis_map *a, const struct redis_map *b)
{
    if (a == NULL || a->node_count != b->node_count ||
        memcmp(a->node_of, b->node_of, sizeof(a->node_of)) != 0)
        return false;
    for (size_t i = 0; i < a->node_count; i++)
        if (a->nodes[i].port != b->nodes[i].port || strcmp(a->nodes[i].name, b->nodes[i].name) != 0)
            return false;
    return true;
}

/* Whoever is in no map, guides nobody, and was not pointed to for long. */
static void sweep(struct redis_nodes *n)
{
    uint64_t now = clock_now_us();
    bool has_up = has_mapped_up(n);
    list_for_each(&n->nodes, each)
    {
        struct node *node = list_entry(each, struct node, node);
        bool is_guiding = node == n->guide && !has_up;
        if (!node->is_mapped && !is_guiding && (node == n->guide || now >= node->since_us + ASKED_KEEP_US))
            drop_node(node);
    }
}

static void adopt(struct redis_nodes *n)
{
    struct redis_map *map = n->pending;
    n->pending = NULL;
    if (is_same_map(n->map, map) && has_all_links(n)) {
        redis_map_free(map);
        return;
    }
    list_for_each(&n->nodes, each)
    {
        struct node *node = list_entry(each, struct node, node);
        if (node->is_mapped) /* if it is not again, it goes */
            node->since_us = 0;
        node->is_mapped = false;
    }
    for (size_t i = 0; i < map->node_count; i++) {
        struct node *node = find_node(n, map->nodes[i].name, map->nodes[i].port);
        n->mapped[i] = node != NULL ? node : add_node(n, map->nodes[i].name, map->nodes[i].port);
        if (n->mapped[i] != NULL)
            n->mapped[i]->is_mapped = true;
        if (n->mapped[i] != NULL && n->mapped[i] == n->guide)
            n->guide = NULL;
    }
    redis_map_free(n->map);
    n->map = map;
    n->has_complained = false;
    log_info("redis %s: %zu masters have %zu of %d slots", redis_target_name(n->target), map->node_count,
             map->slot_count, REDIS_SLOTS);
}

/* One that has no slots has been left out of its Cluster, or was never in one. */
static void on_map(void *context, enum redis_outcome outcome, const struct redisReply *reply, uint64_t now_us)
{
    struct node *node = context;
    struct redis_nodes *n = node->all;
    (void)now_us;
    n->is_asking = false;
    if (outcome != REDIS_REPLIED || n->is_closing)
        return;
    struct redis_map *map = redis_map_read(reply, node->own->host);
    if (map == NULL || map->slot_count == 0) {
        node->is_useless = true;
        if (!n->has_complained)
            log_warning("redis %s: %s; the cache goes on without it", redis_target_name(node->own),
                        map != NULL ? "it knows of no node that has slots" : redis_link_error(reply));
        n->has_complained = true;
        redis_map_free(map);
        return;
    }
    redis_map_free(n->pending);
    n->pending = map;
    timer_start(worker_loop(n->worker), &n->timer, 1, on_timer);
}

/* Of those in the map first, one after another; else the guide. NULL: none is up. */
static struct node *who_knows(struct redis_nodes *n)
{
    for (size_t i = 0; n->map != NULL && i < n->map->node_count; i++) {
        struct node *node = n->mapped[n->turn++ % n->map->node_count];
        if (node != NULL && redis_link_is_up(node->link))
            return node;
    }
    return n->guide != NULL && !n->guide->is_useless && redis_link_is_up(n->guide->link) ? n->guide : NULL;
}

static void try_a_guide(struct redis_nodes *n)
{
    if (n->guide != NULL && !n->guide->is_useless && !redis_link_has_failed(n->guide->link) &&
        clock_now_us() < n->guide->since_us + GUIDE_PATIENCE_US)
        return;
    if (n->guide != NULL)
        drop_node(n->guide);
    const struct redis_host *next = &n->target->guides[n->turn++ % n->target->guide_count];
    if (find_node(n, next->name, next->port) == NULL) /* else its link tries by itself */
        n->guide = add_node(n, next->name, next->port);
}

static void ask_for_map(struct redis_nodes *n)
{
    const struct slice words[] = {SLICE_LITERAL("CLUSTER"), SLICE_LITERAL("SLOTS")};
    struct node *node = who_knows(n);
    if (node == NULL)
        try_a_guide(n);
    else
        n->is_asking = redis_link_ask(node->link, words, 2, MAP_TIMEOUT_US, on_map, node);
}

static void on_timer(struct timer *timer)
{
    struct redis_nodes *n = list_entry(timer, struct redis_nodes, timer);
    bool has_news = n->pending != NULL;
    n->is_hurried = false;
    if (has_news)
        adopt(n);
    sweep(n);
    if (!has_news && !n->is_asking)
        ask_for_map(n);
    timer_start(worker_loop(n->worker), &n->timer,
                is_whole(n)      ? CALM_US
                : n->map != NULL ? EAGER_US
                                 : SOON_US,
                on_timer);
}

/* --- life --- */

struct redis_nodes *redis_nodes_new(struct worker *worker, const struct redis_target *target,
                                    const struct redis_nodes_events *events)
{
    struct redis_nodes *n = calloc(1, sizeof(*n));
    if (n == NULL)
        return NULL;
    n->worker = worker;
    n->target = target;
    if (events != NULL)
        n->events = *events;
    list_init(&n->nodes);
    if (target->is_cluster) {
        timer_start(worker_loop(worker), &n->timer, 1, on_timer);
    } else if (add_node(n, NULL, 0) == NULL) {
        free(n);
        return NULL;
    }
    return n;
}

void redis_nodes_free(struct redis_nodes *n)
{
    if (n == NULL)
        return;
    n->is_closing = true;
    timer_stop(&n->timer);
    redis_map_free(n->map); /* from here on nobody is up */
    n->map = NULL;
    for (struct list_node *each; (each = list_first(&n->nodes)) != NULL;)
        drop_node(list_entry(each, struct node, node));
    redis_map_free(n->pending);
    free(n);
}

static struct redis_link *only_link(const struct redis_nodes *n)
{
    struct list_node *first = list_first(&n->nodes);
    return first != NULL ? list_entry(first, struct node, node)->link : NULL;
}

bool redis_nodes_is_up(const struct redis_nodes *n)
{
    if (n->target->is_cluster)
        return has_mapped_up(n);
    struct redis_link *link = only_link(n);
    return link != NULL && redis_link_is_up(link);
}

struct redis_link *redis_nodes_link(const struct redis_nodes *n, struct slice key)
{
    if (!n->target->is_cluster)
        return only_link(n);
    struct node *node = node_of_slot(n, redis_slot(key));
    return node != NULL ? node->link : NULL;
}

static struct redis_link *up_link(const struct redis_nodes *n, struct slice key)
{
    struct redis_link *link = redis_nodes_link(n, key);
    return link != NULL && redis_link_is_up(link) ? link : NULL;
}

void redis_nodes_describe(const struct redis_nodes *n, struct buf *out)
{
    size_t slots[REDIS_NODES_MAX] = {0}, orphans = 0;
    if (!n->target->is_cluster)
        return;
    for (size_t slot = 0; slot < REDIS_SLOTS; slot++) {
        uint16_t index = n->map != NULL ? n->map->node_of[slot] : REDIS_NO_NODE;
        if (index != REDIS_NO_NODE)
            slots[index]++;
        else
            orphans++;
    }
    for (size_t i = 0; n->map != NULL && i < n->map->node_count; i++) {
        bool is_up = n->mapped[i] != NULL && redis_link_is_up(n->mapped[i]->link);
        buf_printf(out, "%s%s:%u %s, %zu slots", i > 0 ? "; " : "", n->map->nodes[i].name,
                   n->map->nodes[i].port, is_up ? "up" : "down", slots[i]);
    }
    if (orphans > 0)
        buf_printf(out, "%sno node: %zu slots", n->map != NULL ? "; " : "", orphans);
}

/* --- where keys are --- */

enum redis_word redis_nodes_heed(struct redis_nodes *n, const struct redis_link *link,
                                 const struct redisReply *reply, struct redis_redirection *to)
{
    enum redis_word word = n->target->is_cluster ? redis_word_read(reply, to) : REDIS_WORD_NONE;
    if (word == REDIS_WORD_NONE || n->is_closing)
        return word;
    const struct node *from = node_of_link(n, link);
    if (to->host[0] == '\0' && from != NULL && (word == REDIS_WORD_MOVED || word == REDIS_WORD_ASK))
        snprintf(to->host, sizeof(to->host), "%s", from->own->host);
    if (word != REDIS_WORD_ASK)
        hurry(n);
    /* An answer from before the last map says nothing. */
    if (word != REDIS_WORD_MOVED || n->map == NULL || from == NULL || node_of_slot(n, to->slot) != from)
        return word;
    for (size_t i = 0; i < n->map->node_count; i++)
        if (n->map->nodes[i].port == to->port && strcmp(n->map->nodes[i].name, to->host) == 0)
            n->map->node_of[to->slot] = (uint16_t)i;
    return word;
}

/* --- asking --- */

struct question {
    struct redis_nodes *nodes;
    struct redis_link *link; /* that is asked; there while it answers */
    redis_replied replied;
    void *context;
    uint64_t timeout_us;
    bool has_followed;
    size_t key_len;
    char key[REDIS_KEY_MAX];
};

static void on_got(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                   uint64_t now_us);

static bool ask_link(struct question *q, struct redis_link *link)
{
    const struct slice words[] = {SLICE_LITERAL("GET"), slice_make(q->key, q->key_len)};
    q->link = link;
    return redis_link_ask(link, words, 2, q->timeout_us, on_got, q);
}

static void on_asking(void *context, enum redis_outcome outcome, const struct redisReply *reply,
                      uint64_t now_us)
{
    (void)context, (void)outcome, (void)reply, (void)now_us;
}

/* What is no answer: a word of a Cluster, or else the link is to blame. */
static enum redis_word take_word(struct question *q, const struct redisReply *reply,
                                 struct redis_redirection *to)
{
    enum redis_word word = redis_nodes_heed(q->nodes, q->link, reply, to);
    if (word == REDIS_WORD_NONE)
        redis_link_blame(q->link, redis_link_error(reply));
    return word;
}

/* False: nobody else is asked. */
static bool follow(struct question *q, enum redis_word word, const struct redis_redirection *to)
{
    const struct slice asking[] = {SLICE_LITERAL("ASKING")};
    struct redis_nodes *n = q->nodes;
    if (word == REDIS_WORD_DOWN || q->has_followed || n->is_closing)
        return false;
    q->has_followed = true;
    struct node *node = find_node(n, to->host, to->port);
    if (node == NULL && word == REDIS_WORD_ASK)
        node = add_node(n, to->host, to->port); /* is up for those who ask later */
    if (node == NULL || !redis_link_is_up(node->link))
        return false;
    if (word == REDIS_WORD_ASK) {
        node->since_us = clock_now_us();
        if (!redis_link_ask(node->link, asking, 1, 0, on_asking, NULL))
            return false;
    }
    return ask_link(q, node->link);
}

static void on_got(void *context, enum redis_outcome outcome, const struct redisReply *reply, uint64_t now_us)
{
    struct question *q = context;
    struct redis_redirection to = {.port = 0};
    if (outcome == REDIS_REPLIED && reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_NIL) {
        enum redis_word word = take_word(q, reply, &to);
        if (word != REDIS_WORD_NONE && follow(q, word, &to))
            return;
        if (word != REDIS_WORD_NONE) {
            outcome = REDIS_NOWHERE;
            reply = NULL;
        }
    }
    q->replied(q->context, outcome, reply, now_us);
    free(q);
}

static struct question *question_new(struct redis_nodes *n, redis_replied replied, void *context)
{
    struct question *q = calloc(1, sizeof(*q));
    if (q != NULL)
        *q = (struct question){.nodes = n, .replied = replied, .context = context};
    return q;
}

bool redis_nodes_get(struct redis_nodes *n, struct slice key, uint64_t timeout_us, redis_replied replied,
                     void *context)
{
    struct redis_link *link = up_link(n, key);
    struct question *q = link != NULL && key.len <= REDIS_KEY_MAX ? question_new(n, replied, context) : NULL;
    if (q == NULL)
        return false;
    q->timeout_us = timeout_us;
    q->key_len = key.len;
    memcpy(q->key, key.data, key.len);
    if (ask_link(q, link))
        return true;
    free(q);
    return false;
}

static void on_set(void *context, enum redis_outcome outcome, const struct redisReply *reply, uint64_t now_us)
{
    struct question *q = context;
    struct redis_redirection to = {.port = 0};
    if (outcome == REDIS_REPLIED && reply->type != REDIS_REPLY_STATUS &&
        take_word(q, reply, &to) != REDIS_WORD_NONE) {
        outcome = REDIS_NOWHERE;
        reply = NULL;
    }
    if (q->replied != NULL)
        q->replied(q->context, outcome, reply, now_us);
    free(q);
}

bool redis_nodes_set(struct redis_nodes *n, struct slice key, struct slice value, uint64_t keep_ms,
                     redis_replied replied, void *context)
{
    char keep[24];
    struct redis_link *link = keep_ms > 0 ? up_link(n, key) : NULL;
    struct question *q = link != NULL && redis_link_unsent(link) <= UNSENT_MAX_BYTES
                             ? question_new(n, replied, context)
                             : NULL;
    if (q == NULL)
        return false;
    int keep_len = snprintf(keep, sizeof(keep), "%llu", (unsigned long long)keep_ms);
    const struct slice words[] = {SLICE_LITERAL("SET"), key, value, SLICE_LITERAL("PX"),
                                  slice_make(keep, (size_t)keep_len)};
    q->link = link;
    if (redis_link_ask(link, words, 5, 0, on_set, q))
        return true;
    free(q);
    return false;
}
