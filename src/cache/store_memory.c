/*
 * store_memory: per shard a chained hash table, a dense array of places to draw samples from, one for each of
 * its nodes, and a sketch of what was asked for and not there. All three have the same capacity, and grow
 * together when the nodes are as many. A place says what its entry is worth, so that a sample costs one look
 * at memory that has not been looked at for long, and not three.
 *
 * The byte count is one atomic for all shards. Making room locks one shard at a time, beginning with the one
 * that the new entry goes to, and never two, so there is no order of locks to keep. A hit counts in its
 * place; worth is reckoned when somebody has to go. Who goes leaves its count to the sketch, and who comes
 * takes it from there. What is present fades with hits, not with misses, so that a scan makes nothing look
 * forgotten.
 */
#include "weir/cache/store_memory.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "weir/cache/sketch.h"

enum {
    SHARDS = 16,
    FIRST_CAPACITY = 64,
    SAMPLES = 8,
    SWEEP_AT_ONCE = 256,
    HITS_PER_ENTRY_AND_ERA = 10,
};

/* Time that any hit saves, whatever the query: the round trip, and a lease. */
enum { COST_FLOOR_US = 50 };

struct node {
    struct node *next;
    struct entry *entry;
    uint32_t index; /* of its place */
    uint32_t tag;   /* of the key's hash: few others have to be looked at */
};

struct place {
    struct node *node;
    float saved;    /* µs for each byte, every time that it is asked for */
    uint16_t asked; /* for, as of `era`; halved with every one since */
    uint16_t era;
};

/* What every entry costs beside its own block: its node, as the allocator rounds it. */
enum { NODE_BYTES = 32 };
_Static_assert(sizeof(struct node) + ENTRY_BLOCK_OVERHEAD <= NODE_BYTES, "a node's block");

struct shard {
    pthread_mutex_t mutex;
    struct node **buckets; /* `capacity` of them, a power of two */
    struct place *places;
    size_t count;
    size_t capacity;
    struct sketch missed; /* what was asked for and not there */
    uint16_t era;
    size_t until_next_era; /* hits */
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

static uint64_t bytes_of_tables(size_t capacity)
{
    return capacity * (sizeof(struct node *) + sizeof(struct place)) + sketch_bytes(capacity);
}

/* What the smallest tables take is not counted: they are always there. */
static uint64_t bytes_grown(const struct shard *shard)
{
    return bytes_of_tables(shard->capacity) - bytes_of_tables(FIRST_CAPACITY);
}

/* The smallest tables; on failure, none. */
static bool make_tables(struct shard *shard)
{
    shard->buckets = calloc(FIRST_CAPACITY, sizeof(struct node *));
    shard->places = calloc(FIRST_CAPACITY, sizeof(struct place));
    shard->capacity = FIRST_CAPACITY;
    return sketch_init(&shard->missed, FIRST_CAPACITY, next_random(shard)) && shard->buckets != NULL &&
           shard->places != NULL;
}

static void free_tables(struct shard *shard)
{
    free(shard->buckets);
    free(shard->places);
    sketch_free(&shard->missed);
}

struct store_memory *store_memory_new(uint64_t limit_bytes, uint64_t seed)
{
    struct store_memory *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    atomic_init(&s->limit, limit_bytes);
    bool is_made = true;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &s->shards[i];
        pthread_mutex_init(&shard->mutex, NULL);
        shard->random = (seed + (i + 1) * UINT64_C(0x9E3779B97F4A7C15)) | 1;
        is_made = make_tables(shard) && is_made;
    }
    if (is_made)
        return s;
    store_memory_free(s);
    return NULL;
}

static size_t node_bytes(const struct node *node)
{
    return entry_size(node->entry) + NODE_BYTES;
}

static struct shard *shard_for(struct store_memory *s, const uint64_t hash[2])
{
    return &s->shards[hash[1] % SHARDS];
}

static struct node **bucket_for(struct shard *shard, const uint64_t hash[2])
{
    return &shard->buckets[hash[0] & (shard->capacity - 1)];
}

/* The bucket is of the lower bits. */
static uint32_t tag_of(const uint64_t hash[2])
{
    return (uint32_t)(hash[0] >> 32);
}

/* Takes the node out of table and array; the caller frees it. */
static void unlink_node(struct store_memory *s, struct shard *shard, struct node *node)
{
    struct node **at = bucket_for(shard, entry_key_hash(node->entry));
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    struct place last = shard->places[--shard->count];
    shard->places[node->index] = last;
    last.node->index = node->index;
    atomic_fetch_sub_explicit(&s->bytes, node_bytes(node), memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->entries, 1, memory_order_relaxed);
}

/* --- how often it is asked for --- */

static uint32_t asked_for(const struct shard *shard, const struct place *place)
{
    unsigned eras = (uint16_t)(shard->era - place->era);
    return eras < 16 ? (uint32_t)place->asked >> eras : 0;
}

static void count_hit(struct shard *shard, const struct node *node)
{
    struct place *place = &shard->places[node->index];
    uint32_t asked = asked_for(shard, place) + 1;
    place->asked = (uint16_t)(asked < UINT16_MAX ? asked : UINT16_MAX);
    place->era = shard->era;
    if (shard->until_next_era-- > 0)
        return;
    shard->era++;
    shard->until_next_era = HITS_PER_ENTRY_AND_ERA * shard->count;
}

static void drop_node(struct store_memory *s, struct shard *shard, struct node *node)
{
    sketch_remember(&shard->missed, entry_key_hash(node->entry)[1],
                    asked_for(shard, &shard->places[node->index]));
    unlink_node(s, shard, node);
    entry_unref(node->entry);
    free(node);
}

/* Big tables go as well, and with them what has been asked; if there is no memory for small ones they stay.
 */
static void shrink_tables(struct store_memory *s, struct shard *shard)
{
    struct shard small = {.random = shard->random};
    if (shard->capacity == FIRST_CAPACITY)
        return;
    if (!make_tables(&small)) {
        free_tables(&small);
        return;
    }
    atomic_fetch_sub_explicit(&s->bytes, bytes_grown(shard), memory_order_relaxed);
    free_tables(shard);
    shard->buckets = small.buckets;
    shard->places = small.places;
    shard->capacity = small.capacity;
    shard->missed = small.missed;
}

void store_memory_clear(struct store_memory *s)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &s->shards[i];
        pthread_mutex_lock(&shard->mutex);
        while (shard->count > 0)
            drop_node(s, shard, shard->places[shard->count - 1].node);
        shrink_tables(s, shard);
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
            struct node *node = shard->places[--left].node;
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
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &s->shards[i];
        while (shard->count > 0)
            drop_node(s, shard, shard->places[shard->count - 1].node);
        free_tables(shard);
        pthread_mutex_destroy(&shard->mutex);
    }
    free(s);
}

static struct node *find_node(struct shard *shard, const struct entry_key *key)
{
    struct node *node = *bucket_for(shard, key->hash);
    while (node != NULL && !(node->tag == tag_of(key->hash) && entry_matches(node->entry, key)))
        node = node->next;
    return node;
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
        *entry = entry_ref(node->entry);
        /* A dirty mark may yet be taken back, but the entry is rarely worth waiting for. */
        drop_node(s, shard, node);
    } else if (entry_expires_us(node->entry) <= now_us) {
        found = STORE_EXPIRED;
        drop_node(s, shard, node);
    } else {
        count_hit(shard, node);
        *entry = entry_ref(node->entry);
    }
    if (found != STORE_FOUND)
        sketch_count(&shard->missed, key->hash[1]);
    pthread_mutex_unlock(&shard->mutex);
    return found;
}

bool store_memory_has(struct store_memory *s, const struct entry_key *key, uint64_t now_us)
{
    struct shard *shard = shard_for(s, key->hash);
    pthread_mutex_lock(&shard->mutex);
    const struct node *node = find_node(shard, key);
    bool has = node != NULL && entry_is_current(node->entry) && entry_expires_us(node->entry) > now_us;
    pthread_mutex_unlock(&shard->mutex);
    return has;
}

/* --- worth --- */

struct worth {
    bool is_known; /* asked for more than once, lately */
    float saved;   /* µs for each byte */
};

static float saved_each(const struct entry *entry)
{
    return (float)(entry_cost_us(entry) + COST_FLOOR_US) / (float)(entry_size(entry) + NODE_BYTES);
}

static struct worth worth_of(float saved, uint32_t asked)
{
    return (struct worth){asked > 1, saved * (float)(asked > 0 ? asked : 1)};
}

/* A stranger never takes the place of what is known. */
static bool may_displace(const struct worth *newcomer, const struct worth *present)
{
    return (newcomer->is_known || !present->is_known) && newcomer->saved >= present->saved;
}

/* --- making room --- */

static struct place *draw(struct shard *shard)
{
    return &shard->places[((next_random(shard) >> 32) * shard->count) >> 32];
}

static bool is_of_no_use(const struct entry *entry, uint64_t now_us)
{
    return entry_expires_us(entry) <= now_us || !entry_is_current(entry);
}

/* The least worthy of a few, or one that is of no use to anybody; for a stranger, of those that it may
 * displace. The shard is not empty. */
static struct node *sample_worst(struct shard *shard, const struct worth *newcomer, uint64_t now_us,
                                 bool *is_useless)
{
    struct place *drawn[SAMPLES], *worst = NULL;
    struct worth least = {.saved = 0};
    for (int i = 0; i < SAMPLES; i++) {
        drawn[i] = draw(shard);
        __builtin_prefetch(drawn[i]);
    }
    __builtin_prefetch(drawn[0]->node);
    for (int i = 0; i < SAMPLES; i++) {
        struct worth worth = worth_of(drawn[i]->saved, asked_for(shard, drawn[i]));
        if (may_displace(newcomer, &worth) && (worst == NULL || worth.saved < least.saved)) {
            worst = drawn[i];
            least = worth;
        }
    }
    /* One of them is enough: what is asked for often does not stay out of date, and the rest is worth little.
     */
    *is_useless = is_of_no_use(drawn[0]->node->entry, now_us);
    if (*is_useless)
        return drawn[0]->node;
    return worst != NULL ? worst->node : NULL;
}

/* One goes out of a locked shard; false when what is left there is worth more than the newcomer. */
static bool evict_one(struct store_memory *s, struct shard *shard, const struct worth *newcomer,
                      uint64_t now_us)
{
    bool is_useless;
    struct node *node = sample_worst(shard, newcomer, now_us, &is_useless);
    if (node == NULL)
        return false;
    if (!is_useless)
        atomic_fetch_add_explicit(&s->evictions, 1, memory_order_relaxed);
    drop_node(s, shard, node);
    return true;
}

static bool has_room(struct store_memory *s, uint64_t wanted)
{
    return atomic_load_explicit(&s->bytes, memory_order_relaxed) + wanted <=
           atomic_load_explicit(&s->limit, memory_order_relaxed);
}

/* Frees bytes in one locked shard; false when what is left there is worth more. */
static bool evict_from(struct store_memory *s, struct shard *shard, uint64_t wanted,
                       const struct worth *newcomer, uint64_t now_us)
{
    while (shard->count > 0 && !has_room(s, wanted))
        if (!evict_one(s, shard, newcomer, now_us))
            return false;
    return true;
}

/* Looks for room in the other shards, one lock at a time. */
static void evict_elsewhere(struct store_memory *s, const struct shard *own, uint64_t wanted,
                            const struct worth *newcomer, uint64_t now_us)
{
    size_t first = (size_t)(own - s->shards);
    for (size_t i = 1; i < SHARDS && !has_room(s, wanted); i++) {
        struct shard *shard = &s->shards[(first + i) % SHARDS];
        pthread_mutex_lock(&shard->mutex);
        evict_from(s, shard, wanted, newcomer, now_us);
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

/* Tables for twice as many; false where there is no room, or no memory. */
static bool grow_tables(struct store_memory *s, struct shard *shard)
{
    size_t capacity = shard->capacity * 2;
    uint64_t bytes = bytes_of_tables(capacity) - bytes_of_tables(shard->capacity);
    if (capacity > UINT32_MAX || !reserve(s, bytes))
        return false;
    struct node **buckets = calloc(capacity, sizeof(struct node *));
    struct place *places = buckets != NULL ? realloc(shard->places, capacity * sizeof(struct place)) : NULL;
    if (places != NULL)
        shard->places = places; /* larger than it need be, if the sketch does not grow */
    if (places == NULL || !sketch_double(&shard->missed)) {
        free(buckets);
        atomic_fetch_sub_explicit(&s->bytes, bytes, memory_order_relaxed);
        return false;
    }
    for (size_t i = 0; i < shard->count; i++) {
        struct node *node = shard->places[i].node;
        struct node **head = &buckets[entry_key_hash(node->entry)[0] & (capacity - 1)];
        node->next = *head;
        *head = node;
    }
    free(shard->buckets);
    shard->buckets = buckets;
    shard->capacity = capacity;
    return true;
}

/* The bytes are reserved, and there is a place. */
static void insert_node(struct store_memory *s, struct shard *shard, struct node *node, struct entry *entry,
                        uint32_t asked)
{
    *node = (struct node){
        .entry = entry_ref(entry), .index = (uint32_t)shard->count, .tag = tag_of(entry_key_hash(entry))};
    struct node **head = bucket_for(shard, entry_key_hash(entry));
    node->next = *head;
    *head = node;
    shard->places[shard->count++] =
        (struct place){.node = node,
                       .saved = saved_each(entry),
                       .asked = (uint16_t)(asked < UINT16_MAX ? asked : UINT16_MAX),
                       .era = shard->era};
    atomic_fetch_add_explicit(&s->entries, 1, memory_order_relaxed);
}

static bool says_more(const struct entry *present, const struct entry *offered, uint64_t now_us)
{
    size_t count, offered_count;
    const struct vector_item *vector = entry_vector(present, &count);
    const struct vector_item *offered_vector = entry_vector(offered, &offered_count);
    return vector_is_shared_same(vector, count, offered_vector, offered_count) &&
           entry_part(present, ENTRY_ROW_DESCRIPTION).len > 0 &&
           entry_part(offered, ENTRY_ROW_DESCRIPTION).len == 0 && entry_expires_us(present) > now_us &&
           entry_is_current(present);
}

/* With the shard locked, before and after; unlocks it in between if other shards have to make room. */
static bool make_room(struct store_memory *s, struct shard *shard, uint64_t wanted, const struct worth *worth,
                      uint64_t now_us, bool *was_unlocked)
{
    if (!evict_from(s, shard, wanted, worth, now_us))
        return false;
    *was_unlocked = !has_room(s, wanted);
    if (*was_unlocked) {
        pthread_mutex_unlock(&shard->mutex);
        evict_elsewhere(s, shard, wanted, worth, now_us);
        pthread_mutex_lock(&shard->mutex);
    }
    /* A place in the tables: where they cannot grow, that of somebody else. */
    return shard->count < shard->capacity || grow_tables(s, shard) || evict_one(s, shard, worth, now_us);
}

bool store_memory_put(struct store_memory *s, struct entry *entry, uint64_t now_us)
{
    const uint64_t *hash = entry_key_hash(entry);
    struct shard *shard = shard_for(s, hash);
    struct entry_key key = {{hash[0], hash[1]}, entry_key_bytes(entry)};
    uint64_t wanted = entry_size(entry) + NODE_BYTES;
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
    uint32_t asked = sketch_estimate(&shard->missed, hash[1]);
    struct worth worth = worth_of(saved_each(entry), asked);
    bool was_unlocked; /* then another thread may have stored the same key in between */
    if (make_room(s, shard, wanted, &worth, now_us, &was_unlocked) &&
        !(was_unlocked && find_node(shard, &key) != NULL) && reserve(s, wanted)) {
        insert_node(s, shard, fresh, entry, asked);
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
    const struct worth any = {.is_known = true, .saved = INFINITY};
    atomic_store(&s->limit, limit_bytes);
    for (size_t i = 0; i < SHARDS && !has_room(s, 0); i++) {
        struct shard *shard = &s->shards[i];
        pthread_mutex_lock(&shard->mutex);
        evict_from(s, shard, 0, &any, 0);
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
