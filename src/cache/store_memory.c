/*
 * store_memory: per shard a chained hash table, and a dense array of the same nodes to draw samples from.
 *
 * The byte count is one atomic for all shards. Making room locks one shard at a time, beginning with the one
 * that the new entry goes to, and never two, so there is no order of locks to keep.
 */
#include "weir/cache/store_memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SHARDS = 16, FIRST_BUCKETS = 64, SAMPLES = 8, SWEEP_AT_ONCE = 256 };

/* What every entry costs beside its own block: node, bucket, allocator. */
enum { NODE_OVERHEAD = 112 };

/* Time that any hit saves, whatever the query: the round trip, and a lease. */
enum { COST_FLOOR_US = 50 };

struct node {
    struct node *next;
    struct entry *entry;
    double worth;
    uint32_t hits;
    uint32_t index; /* in the array of samples */
};

struct shard {
    pthread_mutex_t mutex;
    struct node **buckets;
    size_t bucket_count; /* a power of two */
    struct node **nodes;
    size_t count;
    size_t capacity;
    double floor; /* worth of the last one evicted */
    uint64_t random;
};

struct store_memory {
    _Atomic uint64_t limit;
    _Atomic uint64_t bytes;
    _Atomic uint64_t entries;
    _Atomic uint64_t evictions;
    _Atomic uint64_t rejected;
    struct shard shards[SHARDS];
};

static uint64_t next_random(struct shard *shard)
{
    shard->random ^= shard->random << 13;
    shard->random ^= shard->random >> 7;
    shard->random ^= shard->random << 17;
    return shard->random;
}

struct store_memory *store_memory_new(uint64_t limit_bytes, uint64_t seed)
{
    struct store_memory *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    atomic_init(&s->limit, limit_bytes);
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &s->shards[i];
        pthread_mutex_init(&shard->mutex, NULL);
        shard->random = (seed + i * UINT64_C(0x9E3779B97F4A7C15)) | 1;
        shard->bucket_count = FIRST_BUCKETS;
        shard->buckets = calloc(FIRST_BUCKETS, sizeof(*shard->buckets));
        if (shard->buckets == NULL) {
            store_memory_free(s);
            return NULL;
        }
    }
    return s;
}

static size_t node_bytes(const struct node *node)
{
    return entry_size(node->entry) + NODE_OVERHEAD;
}

static struct shard *shard_for(struct store_memory *s, const uint64_t hash[2])
{
    return &s->shards[hash[1] % SHARDS];
}

static struct node **bucket_for(struct shard *shard, const uint64_t hash[2])
{
    return &shard->buckets[hash[0] & (shard->bucket_count - 1)];
}

/* Takes the node out of table and array; the caller frees it. */
static void unlink_node(struct store_memory *s, struct shard *shard, struct node *node)
{
    struct node **at = bucket_for(shard, entry_key_hash(node->entry));
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    struct node *last = shard->nodes[--shard->count];
    shard->nodes[node->index] = last;
    last->index = node->index;
    atomic_fetch_sub_explicit(&s->bytes, node_bytes(node), memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->entries, 1, memory_order_relaxed);
}

static void drop_node(struct store_memory *s, struct shard *shard, struct node *node)
{
    unlink_node(s, shard, node);
    entry_unref(node->entry);
    free(node);
}

void store_memory_clear(struct store_memory *s)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &s->shards[i];
        pthread_mutex_lock(&shard->mutex);
        while (shard->count > 0)
            drop_node(s, shard, shard->nodes[shard->count - 1]);
        pthread_mutex_unlock(&shard->mutex);
    }
}

/* From the end, since the last one takes the place of one that goes. Others get a turn in between. */
void store_memory_sweep(struct store_memory *s, uint64_t now_us)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &s->shards[i];
        pthread_mutex_lock(&shard->mutex);
        size_t turn = 0;
        for (size_t left = shard->count; left > 0; left = left < shard->count ? left : shard->count) {
            struct node *node = shard->nodes[--left];
            if (!entry_is_current(node->entry) || entry_expires_us(node->entry) <= now_us)
                drop_node(s, shard, node);
            if (++turn % SWEEP_AT_ONCE != 0)
                continue;
            pthread_mutex_unlock(&shard->mutex);
            pthread_mutex_lock(&shard->mutex);
        }
        pthread_mutex_unlock(&shard->mutex);
    }
}

void store_memory_free(struct store_memory *s)
{
    if (s == NULL)
        return;
    store_memory_clear(s);
    for (size_t i = 0; i < SHARDS; i++) {
        free(s->shards[i].buckets);
        free(s->shards[i].nodes);
        pthread_mutex_destroy(&s->shards[i].mutex);
    }
    free(s);
}

static struct node *find_node(struct shard *shard, const struct entry_key *key)
{
    struct node *node = *bucket_for(shard, key->hash);
    while (node != NULL && !entry_matches(node->entry, key))
        node = node->next;
    return node;
}

static double worth_of(const struct shard *shard, const struct entry *entry, uint32_t hits)
{
    return shard->floor + (double)(entry_cost_us(entry) + COST_FLOOR_US) * hits /
                              (double)(entry_size(entry) + NODE_OVERHEAD);
}

enum store_found store_memory_find(struct store_memory *s, const struct entry_key *key, uint64_t now_us,
                                   struct entry **entry)
{
    struct shard *shard = shard_for(s, key->hash);
    enum store_found found = STORE_FOUND;
    *entry = NULL;
    pthread_mutex_lock(&shard->mutex);
    struct node *node = find_node(shard, key);
    if (node == NULL) {
        found = STORE_ABSENT;
    } else if (!entry_is_current(node->entry)) {
        found = STORE_OUTDATED;
        /* A dirty mark may yet be taken back, but the entry is rarely worth waiting for. */
        drop_node(s, shard, node);
    } else if (entry_expires_us(node->entry) <= now_us) {
        found = STORE_EXPIRED;
        drop_node(s, shard, node);
    } else {
        if (node->hits < UINT32_MAX)
            node->hits++;
        node->worth = worth_of(shard, node->entry, node->hits);
        *entry = entry_ref(node->entry);
    }
    pthread_mutex_unlock(&shard->mutex);
    return found;
}

/* Failure is harmless: chains grow longer. */
static void grow_table(struct shard *shard)
{
    size_t count = shard->bucket_count * 2;
    struct node **buckets = calloc(count, sizeof(*buckets));
    if (buckets == NULL)
        return;
    for (size_t i = 0; i < shard->count; i++) {
        struct node *node = shard->nodes[i];
        struct node **head = &buckets[entry_key_hash(node->entry)[0] & (count - 1)];
        node->next = *head;
        *head = node;
    }
    free(shard->buckets);
    shard->buckets = buckets;
    shard->bucket_count = count;
}

static bool make_place(struct shard *shard)
{
    if (shard->count < shard->capacity)
        return true;
    size_t capacity = shard->capacity > 0 ? shard->capacity * 2 : FIRST_BUCKETS;
    struct node **nodes = capacity <= UINT32_MAX ? realloc(shard->nodes, capacity * sizeof(*nodes)) : NULL;
    if (nodes == NULL)
        return false;
    shard->nodes = nodes;
    shard->capacity = capacity;
    return true;
}

static struct node *sample_worst(struct shard *shard, uint64_t now_us, bool *is_useless)
{
    struct node *worst = NULL;
    *is_useless = false;
    for (int i = 0; i < SAMPLES && shard->count > 0; i++) {
        struct node *node = shard->nodes[next_random(shard) % shard->count];
        if (entry_expires_us(node->entry) <= now_us || !entry_is_current(node->entry)) {
            *is_useless = true;
            return node;
        }
        if (worst == NULL || node->worth < worst->worth)
            worst = node;
    }
    return worst;
}

/* Frees bytes in one locked shard; false when what is left there is worth more than `worth`. */
static bool evict_from(struct store_memory *s, struct shard *shard, uint64_t wanted, double worth,
                       uint64_t now_us)
{
    while (shard->count > 0 && atomic_load_explicit(&s->bytes, memory_order_relaxed) + wanted >
                                   atomic_load_explicit(&s->limit, memory_order_relaxed)) {
        bool is_useless;
        struct node *node = sample_worst(shard, now_us, &is_useless);
        if (!is_useless && node->worth > worth)
            return false;
        if (!is_useless) {
            if (node->worth > shard->floor)
                shard->floor = node->worth;
            atomic_fetch_add_explicit(&s->evictions, 1, memory_order_relaxed);
        }
        drop_node(s, shard, node);
    }
    return true;
}

static bool has_room(struct store_memory *s, uint64_t wanted)
{
    return atomic_load_explicit(&s->bytes, memory_order_relaxed) + wanted <=
           atomic_load_explicit(&s->limit, memory_order_relaxed);
}

/* Looks for room in the other shards, one lock at a time. */
static void evict_elsewhere(struct store_memory *s, const struct shard *own, uint64_t wanted, double worth,
                            uint64_t now_us)
{
    size_t first = (size_t)(own - s->shards);
    for (size_t i = 1; i < SHARDS && !has_room(s, wanted); i++) {
        struct shard *shard = &s->shards[(first + i) % SHARDS];
        pthread_mutex_lock(&shard->mutex);
        evict_from(s, shard, wanted, worth, now_us);
        pthread_mutex_unlock(&shard->mutex);
    }
}

/* Takes the bytes if they are still there to be taken, whatever other threads do meanwhile. */
static bool reserve(struct store_memory *s, uint64_t wanted)
{
    uint64_t before = atomic_fetch_add_explicit(&s->bytes, wanted, memory_order_relaxed);
    if (before + wanted <= atomic_load_explicit(&s->limit, memory_order_relaxed))
        return true;
    atomic_fetch_sub_explicit(&s->bytes, wanted, memory_order_relaxed);
    return false;
}

/* The bytes are reserved. */
static void insert_node(struct store_memory *s, struct shard *shard, struct node *node, struct entry *entry)
{
    *node = (struct node){.entry = entry_ref(entry), .hits = 1, .index = (uint32_t)shard->count};
    node->worth = worth_of(shard, entry, 1);
    if (shard->count >= shard->bucket_count)
        grow_table(shard);
    struct node **head = bucket_for(shard, entry_key_hash(entry));
    node->next = *head;
    *head = node;
    shard->nodes[shard->count++] = node;
    atomic_fetch_add_explicit(&s->entries, 1, memory_order_relaxed);
}

static bool says_more(const struct entry *present, const struct entry *offered, uint64_t now_us)
{
    return entry_part(present, ENTRY_ROW_DESCRIPTION).len > 0 &&
           entry_part(offered, ENTRY_ROW_DESCRIPTION).len == 0 && entry_expires_us(present) > now_us &&
           entry_is_current(present);
}

/* With the shard locked, before and after; unlocks it in between if other shards have to make room. */
static bool make_room(struct store_memory *s, struct shard *shard, uint64_t wanted, double worth,
                      uint64_t now_us)
{
    if (!evict_from(s, shard, wanted, worth, now_us))
        return false;
    if (!has_room(s, wanted)) {
        pthread_mutex_unlock(&shard->mutex);
        evict_elsewhere(s, shard, wanted, worth, now_us);
        pthread_mutex_lock(&shard->mutex);
    }
    return true;
}

bool store_memory_put(struct store_memory *s, struct entry *entry, uint64_t now_us)
{
    const uint64_t *hash = entry_key_hash(entry);
    struct shard *shard = shard_for(s, hash);
    struct entry_key key = {{hash[0], hash[1]}, entry_key_bytes(entry)};
    uint64_t wanted = entry_size(entry) + NODE_OVERHEAD;
    bool is_taken = false;
    struct node *fresh = wanted <= atomic_load(&s->limit) ? malloc(sizeof(*fresh)) : NULL;
    if (fresh == NULL)
        return false;
    pthread_mutex_lock(&shard->mutex);
    struct node *old = find_node(shard, &key);
    if (old != NULL && says_more(old->entry, entry, now_us))
        goto done;
    if (old != NULL)
        drop_node(s, shard, old);
    /* Making room may let another thread store the same key in between. */
    if (make_room(s, shard, wanted, worth_of(shard, entry, 1), now_us) && find_node(shard, &key) == NULL &&
        make_place(shard) && reserve(s, wanted)) {
        insert_node(s, shard, fresh, entry);
        is_taken = true;
    }
done:
    pthread_mutex_unlock(&shard->mutex);
    if (!is_taken) {
        free(fresh);
        atomic_fetch_add_explicit(&s->rejected, 1, memory_order_relaxed);
    }
    return is_taken;
}

void store_memory_set_limit(struct store_memory *s, uint64_t limit_bytes)
{
    atomic_store(&s->limit, limit_bytes);
    for (size_t i = 0; i < SHARDS && !has_room(s, 0); i++) {
        struct shard *shard = &s->shards[i];
        pthread_mutex_lock(&shard->mutex);
        evict_from(s, shard, 0, 1e300, 0);
        pthread_mutex_unlock(&shard->mutex);
    }
}

void store_memory_get_stats(struct store_memory *s, struct store_memory_stats *stats)
{
    stats->entries = atomic_load_explicit(&s->entries, memory_order_relaxed);
    stats->bytes = atomic_load_explicit(&s->bytes, memory_order_relaxed);
    stats->evictions = atomic_load_explicit(&s->evictions, memory_order_relaxed);
    stats->rejected = atomic_load_explicit(&s->rejected, memory_order_relaxed);
}
