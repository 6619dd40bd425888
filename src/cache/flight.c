/* flight: a small hash table per shard; flights are few (the misses under way). */
#include "weir/cache/flight.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SHARDS = 16, BUCKETS = 64 };

struct shard {
    pthread_mutex_t mutex;
    struct flight *buckets[BUCKETS];
};

struct flight_table {
    struct shard shards[SHARDS];
};

struct flight_table *flight_table_new(void)
{
    struct flight_table *t = calloc(1, sizeof(*t));
    for (size_t i = 0; t != NULL && i < SHARDS; i++)
        pthread_mutex_init(&t->shards[i].mutex, NULL);
    return t;
}

void flight_table_free(struct flight_table *t)
{
    for (size_t i = 0; t != NULL && i < SHARDS; i++)
        pthread_mutex_destroy(&t->shards[i].mutex);
    free(t);
}

static struct shard *shard_for(struct flight_table *t, const struct entry_key *key)
{
    return &t->shards[key->hash[1] % SHARDS];
}

static struct flight **bucket_for(struct shard *shard, const struct entry_key *key)
{
    return &shard->buckets[key->hash[0] % BUCKETS];
}

static struct flight *find(struct shard *shard, const struct entry_key *key)
{
    struct flight *flight = *bucket_for(shard, key);
    while (flight != NULL && !(memcmp(flight->key.hash, key->hash, sizeof(key->hash)) == 0 &&
                               slice_equal(flight->key.bytes, key->bytes)))
        flight = flight->next;
    return flight;
}

static void wait_for(struct flight *flight, struct flight_waiter *waiter)
{
    waiter->flight = flight;
    waiter->shard = flight->key.hash[1] % SHARDS;
    list_push_back(&flight->waiters, &waiter->node);
}

static bool try_join(struct flight *flight, const struct flight *own, struct flight_waiter *waiter)
{
    if (!vector_is_shared_same(flight->vector, flight->vector_count, own->vector, own->vector_count))
        return false;
    for (size_t i = 0; i < flight->vector_count; i++)
        if (!generation_is_clean(flight->vector[i].value))
            return false;
    if (!vector_is_current(flight->vector, flight->vector_count))
        return false;
    wait_for(flight, waiter);
    return true;
}

enum flight_role flight_enter(struct flight_table *t, struct flight *flight, struct flight_waiter *waiter,
                              bool is_waiting)
{
    struct shard *shard = shard_for(t, &flight->key);
    enum flight_role role = FLIGHT_LEADS;
    list_init(&flight->waiters);
    flight->is_listed = false;
    pthread_mutex_lock(&shard->mutex);
    struct flight *present = find(shard, &flight->key);
    if (present != NULL) {
        role = waiter != NULL && try_join(present, flight, waiter) ? FLIGHT_JOINED : FLIGHT_APART;
    } else {
        struct flight **head = bucket_for(shard, &flight->key);
        flight->next = *head;
        *head = flight;
        flight->is_listed = true;
        if (is_waiting)
            wait_for(flight, waiter);
    }
    pthread_mutex_unlock(&shard->mutex);
    return role;
}

bool flight_join(struct flight_table *t, const struct entry_key *key, struct flight_waiter *waiter)
{
    struct shard *shard = shard_for(t, key);
    pthread_mutex_lock(&shard->mutex);
    struct flight *present = find(shard, key);
    bool is_joined = present != NULL && try_join(present, present, waiter);
    pthread_mutex_unlock(&shard->mutex);
    return is_joined;
}

bool flight_remember(struct flight_table *t, struct flight *flight)
{
    if (!flight->is_listed) /* then nobody else sees it */
        return vector_remember(flight->vector, flight->vector_count);
    struct shard *shard = shard_for(t, &flight->key);
    pthread_mutex_lock(&shard->mutex);
    bool is_clean = vector_remember(flight->vector, flight->vector_count);
    pthread_mutex_unlock(&shard->mutex);
    return is_clean;
}

bool flight_leave(struct flight_table *t, struct flight_waiter *waiter)
{
    struct shard *shard = &t->shards[waiter->shard];
    pthread_mutex_lock(&shard->mutex);
    bool was_waiting = waiter->flight != NULL;
    if (was_waiting)
        list_remove(&waiter->flight->waiters, &waiter->node);
    waiter->flight = NULL;
    pthread_mutex_unlock(&shard->mutex);
    return was_waiting;
}

static void unlist(struct shard *shard, struct flight *flight)
{
    if (!flight->is_listed)
        return;
    struct flight **at = bucket_for(shard, &flight->key);
    while (*at != flight)
        at = &(*at)->next;
    *at = flight->next;
    flight->is_listed = false;
}

struct flight_waiter *flight_promote(struct flight_table *t, struct flight *flight)
{
    struct shard *shard = shard_for(t, &flight->key);
    struct flight_waiter *waiter = NULL;
    pthread_mutex_lock(&shard->mutex);
    struct list_node *node = list_pop_front(&flight->waiters);
    if (node != NULL) {
        waiter = list_entry(node, struct flight_waiter, node);
        waiter->flight = NULL;
    } else {
        unlist(shard, flight);
    }
    pthread_mutex_unlock(&shard->mutex);
    return waiter;
}

void flight_end(struct flight_table *t, struct flight *flight, struct list *waiters)
{
    struct shard *shard = shard_for(t, &flight->key);
    list_init(waiters);
    pthread_mutex_lock(&shard->mutex);
    unlist(shard, flight);
    for (struct list_node *node; (node = list_pop_front(&flight->waiters)) != NULL;) {
        list_entry(node, struct flight_waiter, node)->flight = NULL;
        list_push_back(waiters, node);
    }
    pthread_mutex_unlock(&shard->mutex);
}
