/* statements: the process's table of statements, a client's names for them, a server's set of them. */
#include "weir/track/statements.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "weir/util/list.h"

#define SHARDS      64u
#define MIN_BUCKETS 16u

/* ------------------------------------------------------------------ the table */

struct shard {
    pthread_mutex_t lock;
    struct statement **buckets; /* power of two */
    size_t n_buckets;
    size_t count;
};

struct statement_table {
    struct shard shards[SHARDS];
    _Atomic uint64_t last_id;
};

struct statement_table *statement_table_new(void)
{
    struct statement_table *table = calloc(1, sizeof(*table));
    if (table == NULL)
        return NULL;
    bool ok = true;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&table->shards[i].lock, NULL);
        table->shards[i].buckets = calloc(MIN_BUCKETS, sizeof(struct statement *));
        table->shards[i].n_buckets = MIN_BUCKETS;
        ok = ok && table->shards[i].buckets != NULL;
    }
    if (ok)
        return table;
    statement_table_free(table);
    return NULL;
}

void statement_table_free(struct statement_table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_destroy(&table->shards[i].lock);
        free(table->shards[i].buckets);
    }
    free(table);
}

size_t statement_table_count(struct statement_table *table)
{
    size_t count = 0;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&table->shards[i].lock);
        count += table->shards[i].count;
        pthread_mutex_unlock(&table->shards[i].lock);
    }
    return count;
}

static struct shard *shard_of(struct statement_table *table, uint64_t hash)
{
    return &table->shards[hash >> 58];
}

static struct statement **bucket_of(struct shard *shard, uint64_t hash)
{
    return &shard->buckets[hash & (shard->n_buckets - 1)];
}

static void shard_grow(struct shard *shard)
{
    size_t n = shard->n_buckets * 2;
    struct statement **buckets = calloc(n, sizeof(struct statement *));
    if (buckets == NULL)
        return; /* longer chains, nothing worse */
    for (size_t i = 0; i < shard->n_buckets; i++) {
        for (struct statement *s = shard->buckets[i], *next; s != NULL; s = next) {
            next = s->next;
            s->next = buckets[s->hash & (n - 1)];
            buckets[s->hash & (n - 1)] = s;
        }
    }
    free(shard->buckets);
    shard->buckets = buckets;
    shard->n_buckets = n;
}

/* The text may be read as SQL or not at all, which is part of what a statement is. */
static bool is_unparsable(const struct sql_class *class)
{
    return class == sql_class_unparsable();
}

static bool is_same(const struct statement *s, uint64_t hash, struct slice text, const uint32_t *types,
                    uint16_t n_types, const struct sql_class *class)
{
    return s->hash == hash && s->n_types == n_types && slice_equal(s->text, text) &&
           (n_types == 0 || memcmp(s->types, types, n_types * sizeof(*types)) == 0) &&
           is_unparsable(s->class) == is_unparsable(class);
}

/* One block: the statement, its types, its text. */
static struct statement *statement_new(struct slice text, const uint32_t *types, uint16_t n_types)
{
    size_t types_bytes = n_types * sizeof(*types);
    struct statement *s = calloc(1, sizeof(*s) + types_bytes + text.len + 1);
    if (s == NULL)
        return NULL;
    uint32_t *own_types = (uint32_t *)(void *)(s + 1);
    char *own_text = (char *)own_types + types_bytes;
    if (n_types > 0)
        memcpy(own_types, types, types_bytes);
    if (text.len > 0)
        memcpy(own_text, text.data, text.len);
    s->types = own_types;
    s->n_types = n_types;
    s->text = slice_make(own_text, text.len);
    atomic_init(&s->refs, 1);
    return s;
}

struct statement *statement_intern(struct statement_table *table, struct slice text, const uint32_t *types,
                                   uint16_t n_types, struct sql_class *class, uint32_t text_flags)
{
    uint64_t hash = XXH3_64bits_withSeed(text.data, text.len, is_unparsable(class));
    if (n_types > 0)
        hash = XXH3_64bits_withSeed(types, n_types * sizeof(*types), hash);
    struct shard *shard = shard_of(table, hash);
    pthread_mutex_lock(&shard->lock);
    struct statement *s = *bucket_of(shard, hash);
    while (s != NULL && !is_same(s, hash, text, types, n_types, class))
        s = s->next;
    if (s != NULL) {
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    } else if ((s = statement_new(text, types, n_types)) != NULL) {
        s->id = atomic_fetch_add_explicit(&table->last_id, 1, memory_order_relaxed) + 1;
        s->class = sql_class_ref(class);
        s->text_flags = text_flags;
        s->table = table;
        s->hash = hash;
        if (shard->count >= shard->n_buckets)
            shard_grow(shard);
        struct statement **bucket = bucket_of(shard, hash);
        s->next = *bucket;
        *bucket = s;
        shard->count++;
    }
    pthread_mutex_unlock(&shard->lock);
    return s;
}

struct statement *statement_ref(struct statement *statement)
{
    if (statement != NULL)
        atomic_fetch_add_explicit(&statement->refs, 1, memory_order_relaxed);
    return statement;
}

/* The last reference goes under the shard's mutex, so that intern never finds what is about to be freed. */
void statement_unref(struct statement *statement)
{
    if (statement == NULL)
        return;
    uint32_t refs = atomic_load_explicit(&statement->refs, memory_order_relaxed);
    while (refs > 1) {
        if (atomic_compare_exchange_weak_explicit(&statement->refs, &refs, refs - 1, memory_order_release,
                                                  memory_order_relaxed))
            return;
    }
    struct shard *shard = shard_of(statement->table, statement->hash);
    pthread_mutex_lock(&shard->lock);
    bool is_last = atomic_fetch_sub_explicit(&statement->refs, 1, memory_order_acq_rel) == 1;
    if (is_last) {
        struct statement **at = bucket_of(shard, statement->hash);
        while (*at != statement)
            at = &(*at)->next;
        *at = statement->next;
        shard->count--;
    }
    pthread_mutex_unlock(&shard->lock);
    if (is_last) {
        sql_class_unref(statement->class);
        free(statement);
    }
}

size_t statement_name(const struct statement *statement, char name[STATEMENT_NAME_SIZE])
{
    return (size_t)snprintf(name, STATEMENT_NAME_SIZE, "weir_%llu", (unsigned long long)statement->id);
}

/* ------------------------------------------------------------------ a client's names: open addressing */

struct statement_map_entry {
    char *name; /* NULL: free */
    uint32_t len;
    uint32_t hash;
    struct statement *statement;
};

static uint32_t name_hash(struct slice name)
{
    return XXH32(name.data, name.len, 0);
}

/* Where `name` is, or the free entry where it would go. Capacity is a power of two and never full. */
static struct statement_map_entry *map_entry(const struct statement_map *map, struct slice name,
                                             uint32_t hash)
{
    for (uint32_t i = hash & (map->capacity - 1);; i = (i + 1) & (map->capacity - 1)) {
        struct statement_map_entry *e = &map->entries[i];
        if (e->name == NULL || (e->hash == hash && slice_equal(slice_make(e->name, e->len), name)))
            return e;
    }
}

static bool map_grow(struct statement_map *map)
{
    if ((map->count + 1) * 4 <= map->capacity * 3)
        return true;
    if (map->capacity > UINT32_MAX / 8)
        return false;
    struct statement_map wider = {NULL, map->count, map->capacity == 0 ? 4 : map->capacity * 2};
    wider.entries = calloc(wider.capacity, sizeof(*wider.entries));
    if (wider.entries == NULL)
        return false;
    for (uint32_t i = 0; i < map->capacity; i++) {
        const struct statement_map_entry *e = &map->entries[i];
        if (e->name != NULL)
            *map_entry(&wider, slice_make(e->name, e->len), e->hash) = *e;
    }
    free(map->entries);
    *map = wider;
    return true;
}

enum statement_put statement_map_put(struct statement_map *map, struct slice name,
                                     struct statement *statement)
{
    if (name.len > UINT32_MAX || !map_grow(map))
        return STATEMENT_NO_MEMORY;
    uint32_t hash = name_hash(name);
    struct statement_map_entry *e = map_entry(map, name, hash);
    if (e->name != NULL) {
        if (name.len > 0)
            return STATEMENT_EXISTS;
        statement_ref(statement);
        statement_unref(e->statement);
        e->statement = statement;
        return STATEMENT_PUT;
    }
    char *copy = slice_dup(name);
    if (copy == NULL)
        return STATEMENT_NO_MEMORY;
    *e = (struct statement_map_entry){copy, (uint32_t)name.len, hash, statement_ref(statement)};
    map->count++;
    return STATEMENT_PUT;
}

struct statement *statement_map_find(const struct statement_map *map, struct slice name)
{
    return map->count == 0 ? NULL : map_entry(map, name, name_hash(name))->statement;
}

bool statement_map_remove(struct statement_map *map, struct slice name)
{
    struct statement_map_entry *e = map->count == 0 ? NULL : map_entry(map, name, name_hash(name));
    if (e == NULL || e->name == NULL)
        return false;
    free(e->name);
    statement_unref(e->statement);
    memset(e, 0, sizeof(*e));
    map->count--;
    /* Those behind the hole that would not be found across it are put in again. */
    uint32_t mask = map->capacity - 1;
    for (uint32_t i = ((uint32_t)(e - map->entries) + 1) & mask; map->entries[i].name != NULL;
         i = (i + 1) & mask) {
        struct statement_map_entry moved = map->entries[i];
        memset(&map->entries[i], 0, sizeof(moved));
        *map_entry(map, slice_make(moved.name, moved.len), moved.hash) = moved;
    }
    return true;
}

void statement_map_clear(struct statement_map *map)
{
    for (uint32_t i = 0; i < map->capacity; i++) {
        free(map->entries[i].name);
        statement_unref(map->entries[i].statement);
    }
    free(map->entries);
    *map = (struct statement_map){NULL, 0, 0};
}

/* ------------------------------------------------------------------ a server's set: chains and an LRU list
 */

struct held {
    struct list_node node; /* least recently used first */
    struct held *next;
    struct statement *statement;
};

struct statement_set {
    struct list lru;
    struct held **buckets; /* power of two */
    uint32_t n_buckets;
    uint32_t limit;
};

struct statement_set *statement_set_new(uint32_t limit)
{
    struct statement_set *set = calloc(1, sizeof(*set));
    if (set == NULL)
        return NULL;
    list_init(&set->lru);
    set->limit = limit > 0 ? limit : 1;
    set->n_buckets = 8;
    set->buckets = calloc(set->n_buckets, sizeof(struct held *));
    if (set->buckets == NULL) {
        free(set);
        return NULL;
    }
    return set;
}

void statement_set_free(struct statement_set *set)
{
    if (set == NULL)
        return;
    statement_set_clear(set);
    free(set->buckets);
    free(set);
}

uint32_t statement_set_count(const struct statement_set *set)
{
    return (uint32_t)set->lru.count;
}

/* Ids are counted up, so they spread by themselves. */
static struct held **chain_of(const struct statement_set *set, const struct statement *statement)
{
    return &set->buckets[statement->id & (set->n_buckets - 1)];
}

static struct held **find_held(const struct statement_set *set, const struct statement *statement)
{
    struct held **at = chain_of(set, statement);
    while (*at != NULL && (*at)->statement != statement)
        at = &(*at)->next;
    return at;
}

bool statement_set_use(struct statement_set *set, const struct statement *statement)
{
    struct held *held = *find_held(set, statement);
    if (held == NULL)
        return false;
    list_remove(&set->lru, &held->node);
    list_push_back(&set->lru, &held->node);
    return true;
}

static void set_grow(struct statement_set *set)
{
    uint32_t n = set->n_buckets * 2;
    struct held **buckets = calloc(n, sizeof(struct held *));
    if (buckets == NULL)
        return;
    free(set->buckets);
    set->buckets = buckets;
    set->n_buckets = n;
    list_for_each(&set->lru, node)
    {
        struct held *held = list_entry(node, struct held, node);
        struct held **chain = chain_of(set, held->statement);
        held->next = *chain;
        *chain = held;
    }
}

/* Takes it out of list and chain; its reference goes to the caller. */
static struct statement *take_out(struct statement_set *set, struct held **at)
{
    struct held *held = *at;
    struct statement *statement = held->statement;
    *at = held->next;
    list_remove(&set->lru, &held->node);
    free(held);
    return statement;
}

void statement_set_limit(struct statement_set *set, uint32_t limit)
{
    set->limit = limit > 0 ? limit : 1;
}

static struct statement *take_oldest(struct statement_set *set)
{
    const struct held *oldest = list_entry(list_first(&set->lru), struct held, node);
    return take_out(set, find_held(set, oldest->statement));
}

struct statement *statement_set_evict(struct statement_set *set)
{
    return set->lru.count > set->limit ? take_oldest(set) : NULL;
}

struct statement *statement_set_add(struct statement_set *set, struct statement *statement, bool *ok)
{
    struct held *held = calloc(1, sizeof(*held));
    struct statement *victim = NULL;
    *ok = held != NULL;
    if (held == NULL)
        return NULL;
    if (set->lru.count >= set->limit)
        victim = take_oldest(set);
    if (set->lru.count >= set->n_buckets)
        set_grow(set);
    held->statement = statement_ref(statement);
    struct held **chain = chain_of(set, statement);
    held->next = *chain;
    *chain = held;
    list_push_back(&set->lru, &held->node);
    return victim;
}

void statement_set_remove(struct statement_set *set, const struct statement *statement)
{
    struct held **at = find_held(set, statement);
    if (*at != NULL)
        statement_unref(take_out(set, at));
}

void statement_set_clear(struct statement_set *set)
{
    while (set->lru.count > 0) {
        const struct held *held = list_entry(list_first(&set->lru), struct held, node);
        statement_unref(take_out(set, find_held(set, held->statement)));
    }
}
