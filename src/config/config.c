/*
 * Life of a snapshot, look-ups, and the resolution of user over database over global.
 */
#include "weir/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config_build.h"
#include "option_rows.h"

static void config_free(struct config *config)
{
    struct config_database_node *db, *next_db;
    HASH_ITER(hh, config->database_hash, db, next_db)
    {
        HASH_DEL(config->database_hash, db);
        option_free_values(OPTION_DATABASE, &db->database);
        free(db);
    }
    struct config_user_node *user, *next_user;
    HASH_ITER(hh, config->user_hash, user, next_user)
    {
        HASH_DEL(config->user_hash, user);
        option_free_values(OPTION_USER, &user->user);
        free(user);
    }
    struct config_peer_node *peer, *next_peer;
    HASH_ITER(hh, config->peer_hash, peer, next_peer)
    {
        HASH_DEL(config->peer_hash, peer);
        option_free_values(OPTION_PEER, &peer->peer);
        free(peer);
    }
    for (size_t i = 0; i < config->override_count; i++) {
        free(config->overrides[i].key);
        free(config->overrides[i].value);
    }
    free(config->overrides);
    option_free_values(OPTION_GLOBAL, &config->settings);
    ini_unref(config->ini);
    arena_free(&config->texts);
    free(config);
}

struct config *config_ref(struct config *config)
{
    atomic_fetch_add_explicit(&config->refs, 1, memory_order_relaxed);
    return config;
}

void config_unref(struct config *config)
{
    if (config != NULL && atomic_fetch_sub_explicit(&config->refs, 1, memory_order_acq_rel) == 1)
        config_free(config);
}

/* Takes over the reference to `ini`. */
static struct config *config_new(struct ini *ini, const char *path)
{
    struct config *config = calloc(1, sizeof(*config));
    if (config == NULL) {
        ini_unref(ini);
        return NULL;
    }
    atomic_init(&config->refs, 1);
    config->ini = ini;
    config->path = arena_text(&config->texts, slice_str(path));
    if (config->path == NULL) {
        config_free(config);
        return NULL;
    }
    return config;
}

static void count_problem(void *arg, const struct error *problem)
{
    struct config_problems *problems = arg;
    if (problems->count++ == 0)
        problems->first = *problem;
    if (problems->report != NULL)
        problems->report(problems->report_arg, problem);
}

static void give_reason(struct error *error, const struct config_problems *problems)
{
    if (problems->count == 0)
        error_set(error, "out of memory");
    else if (problems->count == 1)
        error_set_state(error, "F0000", "%s", problems->first.message);
    else
        error_set_state(error, "F0000", "%.440s (and %d more)", problems->first.message, problems->count - 1);
}

struct config *config_load(const struct config_source *source, struct error *error)
{
    struct config_problems problems = {.report = source->report, .report_arg = source->report_arg};
    struct config *config = NULL;
    struct ini *ini = ini_parse(source->path, source->read, source->read_arg, count_problem, &problems);
    if (ini != NULL)
        config = config_new(ini, source->path);
    if (config != NULL && config_build(config, source->previous, &problems))
        return config;
    config_unref(config);
    give_reason(error, &problems);
    return NULL;
}

/* The overrides of `old`, that of `key` replaced or added. */
static bool copy_overrides(struct config *config, const struct config *old, const char *key,
                           const char *value)
{
    config->overrides = calloc(old->override_count + 1, sizeof(*config->overrides));
    if (config->overrides == NULL)
        return false;
    for (size_t i = 0; i <= old->override_count; i++) {
        const char *k = i < old->override_count ? old->overrides[i].key : key;
        const char *v = i < old->override_count ? old->overrides[i].value : value;
        if (i < old->override_count && strcasecmp(k, key) == 0)
            continue;
        struct config_override *o = &config->overrides[config->override_count++];
        o->key = strdup(k);
        o->value = strdup(v);
        if (o->key == NULL || o->value == NULL)
            return false;
    }
    return true;
}

struct config *config_set(struct config *old, const char *key, const char *value, struct error *error)
{
    const struct option *option = option_find(OPTION_GLOBAL, key);
    if (option == NULL) {
        error_set_state(error, "42704", "unrecognized configuration parameter \"%.80s\"", key);
        return NULL;
    }
    if (!option->is_reloadable) {
        error_set_state(error, "55P02", "%s cannot be changed while running", option->name);
        return NULL;
    }
    struct config_problems problems = {0};
    struct config *config = config_new(ini_ref(old->ini), old->path);
    if (config != NULL && copy_overrides(config, old, option->name, value) &&
        config_build(config, old, &problems))
        return config;
    config_unref(config);
    give_reason(error, &problems);
    return NULL;
}

const struct config_settings *config_settings(const struct config *config)
{
    return &config->settings;
}

const char *config_path(const struct config *config)
{
    return config->path;
}

void config_where(const struct config *config, const char *key, char *out, size_t size)
{
    snprintf(out, size, "%s", config->path);
    for (size_t i = 0; i < ini_count(config->ini); i++) {
        const struct ini_entry *entry = ini_entry(config->ini, i);
        if (strcasecmp(entry->key, key) == 0 &&
            (strcmp(entry->section, "weir") == 0 || strcmp(entry->section, "pgbouncer") == 0))
            snprintf(out, size, "%s:%d", entry->file, entry->line);
    }
    for (size_t i = 0; i < config->override_count; i++)
        if (strcasecmp(config->overrides[i].key, key) == 0)
            snprintf(out, size, "SET");
}

const struct config_database *config_database_find(const struct config *config, const char *name)
{
    const struct config_database_node *node = NULL;
    HASH_FIND_STR(config->database_hash, name, node);
    return node != NULL ? &node->database : config->fallback;
}

const struct config_user *config_user_find(const struct config *config, const char *name)
{
    const struct config_user_node *node = NULL;
    HASH_FIND_STR(config->user_hash, name, node);
    return node != NULL ? &node->user : NULL;
}

size_t config_database_count(const struct config *config)
{
    return config->database_count;
}

const struct config_database *config_database_at(const struct config *config, size_t index)
{
    return config->databases[index];
}

const struct config_peer *config_peer_find(const struct config *config, int id)
{
    struct config_peer_node *node = NULL;
    HASH_FIND_INT(config->peer_hash, &id, node);
    return node != NULL ? &node->peer : NULL;
}

size_t config_peer_count(const struct config *config)
{
    return config->peer_count;
}

const struct config_peer *config_peer_at(const struct config *config, size_t index)
{
    return config->peers[index];
}

int config_peer_pool_size(const struct config *config, const struct config_peer *peer)
{
    return peer->pool_size != CONFIG_INHERIT ? peer->pool_size : config->settings.default_pool_size;
}

size_t config_user_count(const struct config *config)
{
    return config->user_count;
}

const struct config_user *config_user_at(const struct config *config, size_t index)
{
    return config->users[index];
}

const char *config_dbname(const struct config_database *database, const char *requested)
{
    return database->dbname[0] != '\0' ? database->dbname : requested;
}

bool config_database_is_same_server(const struct config_database *a, const struct config_database *b)
{
    static const char *const keys[] = {
        "dbname",          "port",      "user",     "password",         "connect_query",
        "client_encoding", "datestyle", "timezone", "application_name", "target_session_attrs",
        "sslnegotiation"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!option_is_equal(option_find(OPTION_DATABASE, keys[i]), a, b))
            return false;
    if (a->host_count != b->host_count)
        return false;
    for (size_t i = 0; i < a->host_count; i++)
        if (strcmp(a->hosts[i].name, b->hosts[i].name) != 0)
            return false;
    return true;
}

bool config_has_same_server_tls(const struct config *a, const struct config *b)
{
    static const char *const keys[] = {"server_tls_sslmode",  "server_tls_ca_file", "server_tls_cert_file",
                                       "server_tls_key_file", "server_tls_ciphers", "server_tls13_ciphers",
                                       "server_tls_protocols"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!option_is_equal(option_find(OPTION_GLOBAL, keys[i]), &a->settings, &b->settings))
            return false;
    return true;
}

/* The first that is set: user, database, global. */
static int resolve(int user, int database, int global)
{
    if (user != CONFIG_INHERIT)
        return user;
    return database != CONFIG_INHERIT ? database : global;
}

static uint64_t resolve_us(uint64_t user, uint64_t database, uint64_t global)
{
    if (user != CONFIG_INHERIT_US)
        return user;
    return database != CONFIG_INHERIT_US ? database : global;
}

#define OF_USER(field)    (user != NULL ? user->field : CONFIG_INHERIT)
#define OF_USER_US(field) (user != NULL ? user->field : CONFIG_INHERIT_US)

int config_pool_size(const struct config *config, const struct config_database *database,
                     const struct config_user *user)
{
    return resolve(OF_USER(pool_size), database->pool_size, config->settings.default_pool_size);
}

int config_min_pool_size(const struct config *config, const struct config_database *database)
{
    return resolve(CONFIG_INHERIT, database->min_pool_size, config->settings.min_pool_size);
}

int config_reserve_pool_size(const struct config *config, const struct config_database *database,
                             const struct config_user *user)
{
    return resolve(OF_USER(reserve_pool_size), database->reserve_pool_size,
                   config->settings.reserve_pool_size);
}

enum pool_mode config_pool_mode(const struct config *config, const struct config_database *database,
                                const struct config_user *user)
{
    return (enum pool_mode)resolve(OF_USER(pool_mode), database->pool_mode, (int)config->settings.pool_mode);
}

int config_max_db_connections(const struct config *config, const struct config_database *database)
{
    return resolve(CONFIG_INHERIT, database->max_db_connections, config->settings.max_db_connections);
}

int config_max_db_client_connections(const struct config *config, const struct config_database *database)
{
    return resolve(CONFIG_INHERIT, database->max_db_client_connections,
                   config->settings.max_db_client_connections);
}

int config_max_user_connections(const struct config *config, const struct config_user *user)
{
    return resolve(OF_USER(max_user_connections), CONFIG_INHERIT, config->settings.max_user_connections);
}

int config_max_user_client_connections(const struct config *config, const struct config_user *user)
{
    return resolve(OF_USER(max_user_client_connections), CONFIG_INHERIT,
                   config->settings.max_user_client_connections);
}

uint64_t config_query_timeout_us(const struct config *config, const struct config_user *user)
{
    return resolve_us(OF_USER_US(query_timeout_us), CONFIG_INHERIT_US, config->settings.query_timeout_us);
}

uint64_t config_query_wait_timeout_us(const struct config *config, const struct config_database *database,
                                      const struct config_user *user)
{
    return resolve_us(OF_USER_US(query_wait_timeout_us), database->query_wait_timeout_us,
                      config->settings.query_wait_timeout_us);
}

uint64_t config_idle_transaction_timeout_us(const struct config *config, const struct config_user *user)
{
    return resolve_us(OF_USER_US(idle_transaction_timeout_us), CONFIG_INHERIT_US,
                      config->settings.idle_transaction_timeout_us);
}

uint64_t config_transaction_timeout_us(const struct config *config, const struct config_user *user)
{
    return resolve_us(OF_USER_US(transaction_timeout_us), CONFIG_INHERIT_US,
                      config->settings.transaction_timeout_us);
}

uint64_t config_client_idle_timeout_us(const struct config *config, const struct config_user *user)
{
    return resolve_us(OF_USER_US(client_idle_timeout_us), CONFIG_INHERIT_US,
                      config->settings.client_idle_timeout_us);
}

uint64_t config_server_lifetime_us(const struct config *config, const struct config_database *database)
{
    return resolve_us(CONFIG_INHERIT_US, database->server_lifetime_us, config->settings.server_lifetime_us);
}

enum cache_mode config_cache_mode(const struct config *config, const struct config_database *database,
                                  const struct config_user *user)
{
    return (enum cache_mode)resolve(OF_USER(cache), database->cache, (int)config->settings.cache);
}

enum cache_mode config_strongest_cache_mode(const struct config *config,
                                            const struct config_database *database)
{
    enum cache_mode mode = config_cache_mode(config, database, NULL);
    for (size_t i = 0; i < config_user_count(config); i++) {
        enum cache_mode other = config_cache_mode(config, database, config_user_at(config, i));
        if (other > mode)
            mode = other;
    }
    return mode;
}

bool config_has_cache(const struct config *config)
{
    return config->has_cache;
}

uint64_t config_cache_ttl_us(const struct config *config, const struct config_database *database,
                             const struct config_user *user)
{
    return resolve_us(OF_USER_US(cache_ttl_us), database->cache_ttl_us, config->settings.cache_ttl_us);
}

enum cache_feed config_cache_feed(const struct config *config, const struct config_database *database)
{
    return (enum cache_feed)resolve(CONFIG_INHERIT, database->cache_feed, (int)config->settings.cache_feed);
}

uint64_t config_cache_max_lag_us(const struct config *config, const struct config_database *database)
{
    return resolve_us(CONFIG_INHERIT_US, database->cache_max_lag_us, config->settings.cache_max_lag_us);
}

enum defer_begin config_defer_begin(const struct config *config, const struct config_database *database)
{
    return (enum defer_begin)resolve(CONFIG_INHERIT, database->defer_begin,
                                     (int)config->settings.defer_begin);
}

bool config_list_contains(const char *list, const char *name)
{
    size_t len = strlen(name);
    while (len > 0 && *list != '\0') {
        list += strspn(list, " \t,");
        size_t word = strcspn(list, ",");
        size_t trimmed = word;
        while (trimmed > 0 && (list[trimmed - 1] == ' ' || list[trimmed - 1] == '\t'))
            trimmed--;
        if (trimmed == len && memcmp(list, name, len) == 0)
            return true;
        list += word;
    }
    return false;
}

static const char *name_of(const struct option_name *names, int value)
{
    for (; names->name != NULL; names++)
        if (names->value == value)
            return names->name;
    return "";
}

const char *pool_mode_name(enum pool_mode mode)
{
    return name_of(option_pool_mode_names, (int)mode);
}

const char *cache_mode_name(enum cache_mode mode)
{
    return name_of(option_cache_mode_names, (int)mode);
}

const char *load_balance_name(int mode)
{
    return name_of(option_load_balance_names, mode);
}

const char *target_session_name(int target)
{
    return name_of(option_target_session_names, target);
}

const char *ssl_mode_name(enum ssl_mode mode)
{
    return name_of(option_ssl_mode_names, (int)mode);
}
