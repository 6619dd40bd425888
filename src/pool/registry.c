/*
 * registry: three hash tables under one mutex, and lists that only grow at their head, which is published
 * atomically.
 */
#include "weir/pool/registry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

struct named {
    char *name;
    void *object;
    UT_hash_handle hh;
};

struct registry {
    pthread_mutex_t mutex;
    int worker_count;
    const struct server_events *events;
    struct resolver *resolver;
    struct tls_slot server_tls;
    struct named *pool_names, *database_names, *user_names;
    struct registry_database *console;
    _Atomic(struct pool *) pools;
    _Atomic(struct registry_database *) databases;
    _Atomic(struct registry_user *) users;
    _Atomic uint64_t next_id;
    _Atomic bool is_paused;
    const char *baseline_query;
    void (*quiet_hook)(void *context);
    void *quiet_context;
};

struct registry *registry_new(int worker_count, const struct server_events *events)
{
    struct registry *registry = calloc(1, sizeof(*registry));
    if (registry == NULL)
        return NULL;
    pthread_mutex_init(&registry->mutex, NULL);
    registry->worker_count = worker_count;
    registry->events = events;
    registry->resolver = resolver_new(NULL);
    registry->console = registry_database(registry, "pgbouncer");
    if (registry->resolver == NULL || registry->console == NULL) {
        registry_free(registry);
        return NULL;
    }
    tls_slot_init(&registry->server_tls);
    return registry;
}

static void free_names(struct named **table)
{
    struct named *entry, *next;
    HASH_ITER(hh, *table, entry, next)
    {
        HASH_DEL(*table, entry);
        free(entry->name);
        free(entry);
    }
}

void registry_free(struct registry *registry)
{
    if (registry == NULL)
        return;
    resolver_free(registry->resolver);
    free_names(&registry->pool_names);
    struct pool *pool = atomic_load(&registry->pools);
    while (pool != NULL) {
        struct pool *next = pool->next;
        pool_free(pool);
        pool = next;
    }
    struct registry_database *database = atomic_load(&registry->databases);
    while (database != NULL) {
        struct registry_database *next = database->next;
        free(database);
        database = next;
    }
    struct registry_user *user = atomic_load(&registry->users);
    while (user != NULL) {
        struct registry_user *next = user->next;
        free(user);
        user = next;
    }
    free_names(&registry->database_names);
    free_names(&registry->user_names);
    tls_slot_destroy(&registry->server_tls);
    pthread_mutex_destroy(&registry->mutex);
    free(registry);
}

static void *find(struct named *table, const char *name, size_t len)
{
    struct named *entry;
    HASH_FIND(hh, table, name, len, entry);
    return entry != NULL ? entry->object : NULL;
}

/* Adds a name (`len` bytes, NUL inside allowed) for an object; returns the kept name, NULL when memory is
 * out. */
static const char *add(struct named **table, const char *name, size_t len, void *object)
{
    struct named *entry = calloc(1, sizeof(*entry));
    char *copy = malloc(len + 1);
    if (entry == NULL || copy == NULL) {
        free(entry);
        free(copy);
        return NULL;
    }
    memcpy(copy, name, len);
    copy[len] = '\0';
    entry->name = copy;
    entry->object = object;
    HASH_ADD_KEYPTR(hh, *table, entry->name, len, entry);
    return copy;
}

static struct registry_database *database_locked(struct registry *registry, const char *name)
{
    struct registry_database *database = find(registry->database_names, name, strlen(name));
    if (database != NULL || (database = calloc(1, sizeof(*database))) == NULL)
        return database;
    database->name = add(&registry->database_names, name, strlen(name), database);
    if (database->name == NULL) {
        free(database);
        return NULL;
    }
    database->next = atomic_load(&registry->databases);
    atomic_store(&registry->databases, database);
    return database;
}

static struct registry_user *user_locked(struct registry *registry, const char *name)
{
    struct registry_user *user = find(registry->user_names, name, strlen(name));
    if (user != NULL || (user = calloc(1, sizeof(*user))) == NULL)
        return user;
    user->name = add(&registry->user_names, name, strlen(name), user);
    if (user->name == NULL) {
        free(user);
        return NULL;
    }
    user->next = atomic_load(&registry->users);
    atomic_store(&registry->users, user);
    return user;
}

static struct pool *make_pool(struct registry *registry, const char *key, size_t key_len,
                              const char *database_name, const char *user_name)
{
    struct registry_database *database = database_locked(registry, database_name);
    struct registry_user *user = user_locked(registry, user_name);
    if (database == NULL || user == NULL)
        return NULL;
    struct pool *pool = pool_new(registry, database, user, registry->worker_count);
    if (pool != NULL && add(&registry->pool_names, key, key_len, pool) == NULL) {
        pool_free(pool);
        return NULL;
    }
    if (pool != NULL) {
        pool->next = atomic_load(&registry->pools);
        atomic_store(&registry->pools, pool);
    }
    return pool;
}

struct pool *registry_pool(struct registry *registry, const char *database, const char *user)
{
    size_t database_len = strlen(database), user_len = strlen(user);
    size_t key_len = database_len + 1 + user_len;
    char *key = malloc(key_len);
    if (key == NULL)
        return NULL;
    memcpy(key, database, database_len + 1);
    memcpy(key + database_len + 1, user, user_len);
    pthread_mutex_lock(&registry->mutex);
    struct pool *pool = find(registry->pool_names, key, key_len);
    if (pool == NULL)
        pool = make_pool(registry, key, key_len, database, user);
    pthread_mutex_unlock(&registry->mutex);
    free(key);
    return pool;
}

struct registry_database *registry_database(struct registry *registry, const char *name)
{
    pthread_mutex_lock(&registry->mutex);
    struct registry_database *database = database_locked(registry, name);
    pthread_mutex_unlock(&registry->mutex);
    return database;
}

struct registry_database *registry_console(const struct registry *registry)
{
    return registry->console;
}

struct registry_user *registry_user(struct registry *registry, const char *name)
{
    pthread_mutex_lock(&registry->mutex);
    struct registry_user *user = user_locked(registry, name);
    pthread_mutex_unlock(&registry->mutex);
    return user;
}

struct pool *registry_pools(struct registry *registry)
{
    return atomic_load(&registry->pools);
}

struct registry_database *registry_databases(struct registry *registry)
{
    return atomic_load(&registry->databases);
}

struct registry_user *registry_users(struct registry *registry)
{
    return atomic_load(&registry->users);
}

const struct server_events *registry_events(const struct registry *registry)
{
    return registry->events;
}

struct resolver *registry_resolver(const struct registry *registry)
{
    return registry->resolver;
}

struct tls_slot *registry_server_tls(struct registry *registry)
{
    return &registry->server_tls;
}

uint64_t registry_next_id(struct registry *registry)
{
    return atomic_fetch_add_explicit(&registry->next_id, 1, memory_order_relaxed) + 1;
}

void registry_set_baseline_query(struct registry *registry, const char *sql)
{
    registry->baseline_query = sql;
}

const char *registry_baseline_query(const struct registry *registry)
{
    return registry->baseline_query;
}

void registry_set_paused(struct registry *registry, bool on)
{
    atomic_store(&registry->is_paused, on);
}

bool registry_is_paused(const struct registry *registry, const struct registry_database *database)
{
    return atomic_load_explicit(&registry->is_paused, memory_order_relaxed) ||
           atomic_load_explicit(&database->is_paused, memory_order_relaxed);
}

void registry_set_quiet_hook(struct registry *registry, void (*hook)(void *context), void *context)
{
    registry->quiet_context = context;
    registry->quiet_hook = hook;
}

void registry_tell_quiet(struct registry *registry)
{
    if (registry->quiet_hook != NULL)
        registry->quiet_hook(registry->quiet_context);
}
