/*
 * caching: the cache of the process, and which databases it watches with whose rights.
 *
 * A database is watched while any identity on it has the cache on. Exists only if, at the start, one has:
 * turning the first cache on takes a restart, which is said in the log.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "app.h"
#include "weir/admin/snapshot.h"
#include "weir/cache/cache.h"
#include "weir/cache/redis_target.h"
#include "weir/control/control.h"
#include "weir/control/feed_needs.h"
#include "weir/net/tls.h"
#include "weir/util/log.h"

/* One PostgreSQL database, whatever the number of configured names for it. */
struct app_watched {
    struct list_node node;
    struct cache_database *database;
    const struct config_database
        *via; /* whose connection is used; NULL: nobody wants a cache. While the names are gone through */
    enum cache_mode mode; /* the strongest of all its names */
};

/* The certificates that a URL with TLS goes by. */
static bool load_redis_tls(const struct config *config, struct tls_context **out, struct error *error)
{
    static const char side[] = "server_tls_";
    const struct config_settings *s = config_settings(config);
    const struct tls_options options = {.mode = s->cache_redis_tls_sslmode,
                                        .ca_file = s->cache_redis_tls_ca_file,
                                        .cert_file = s->cache_redis_tls_cert_file,
                                        .key_file = s->cache_redis_tls_key_file,
                                        .is_other_protocol = true};
    struct tls_fault fault;
    struct error why = ERROR_INIT;
    char key[64];
    *out = tls_context_new(&options, &fault, &why);
    if (*out != NULL)
        return true;
    bool has_key = fault.key != NULL && strncmp(fault.key, side, sizeof(side) - 1) == 0;
    snprintf(key, sizeof(key), "cache_redis_tls_%s", has_key ? fault.key + sizeof(side) - 1 : "ca_file");
    return app_blame_key(config, key, &why, error);
}

/* `tls` is what the cache is to be given; NULL where the URL asks for none. */
static bool load_redis(const struct config *config, struct tls_context **tls, struct error *error)
{
    struct error why = ERROR_INIT;
    const char *url = config_settings(config)->cache_redis;
    struct redis_target *target = url[0] != '\0' ? redis_target_parse(url, &why) : NULL;
    *tls = NULL;
    if (url[0] != '\0' && target == NULL)
        return app_blame_key(config, "cache_redis", &why, error);
    bool is_tls = target != NULL && target->is_tls;
    redis_target_free(target);
    return !is_tls || load_redis_tls(config, tls, error);
}

bool app_check_redis(const struct config *config)
{
    struct error error = ERROR_INIT;
    struct tls_context *tls;
    bool is_good = load_redis(config, &tls, &error);
    if (!is_good)
        log_error("%s", error.message);
    tls_context_unref(tls);
    return is_good;
}

bool app_make_cache(struct app *app, struct error *error)
{
    const struct config_settings *settings = config_settings(app->config);
    struct cache_options options = {
        .memory_bytes = settings->cache_memory_bytes,
        .max_result_bytes = settings->cache_max_result_bytes,
        .redis_url = settings->cache_redis,
        .redis_timeout_us = settings->cache_redis_timeout_us,
        .is_shared = settings->cache_share != 0,
        .lease_us = settings->cache_lease_us,
    };
    list_init(&app->watched);
    if (!config_has_cache(app->config))
        return true;
    if (getrandom(&options.seed, sizeof(options.seed), 0) != (ssize_t)sizeof(options.seed))
        return error_set(error, "no random numbers");
    if (!load_redis(app->config, &options.redis_tls, error))
        return false;
    app->shared.cache = cache_new(&options, app->control, error);
    tls_context_unref(options.redis_tls);
    if (app->shared.cache == NULL)
        return false;
    registry_set_baseline_query(app->shared.registry, cache_baseline_query());
    return true;
}

/* Whose rights the control connection has: control_user, else the forced user; NULL: nobody's, so nothing can
 * be cached. */
static const char *control_user(const struct config_database *database)
{
    if (database->control_user[0] != '\0')
        return database->control_user;
    return database->user[0] != '\0' ? database->user : NULL;
}

static const char *secret_of(struct app *app, const struct config_database *database, const char *user)
{
    if (database->control_user[0] != '\0')
        return database->control_password;
    if (database->password[0] != '\0')
        return database->password;
    struct credential *credential =
        app->access.users != NULL ? userlist_find(app->access.users, slice_str(user)) : NULL;
    bool is_plain = credential != NULL && credential_kind(credential) == CREDENTIAL_PLAIN;
    return is_plain ? (const char *)credential_secret(credential).data : "";
}

static struct app_watched *watched_of(struct app *app, const struct config_database *database)
{
    const struct config_host *host = &database->hosts[0];
    struct cache_database *behind = cache_database_get(app->shared.cache, host->name, (unsigned)host->port,
                                                       config_dbname(database, database->name));
    list_for_each(&app->watched, node)
    {
        struct app_watched *watched = list_entry(node, struct app_watched, node);
        if (watched->database == behind) {
            cache_database_unref(behind);
            return watched;
        }
    }
    struct app_watched *watched = behind != NULL ? calloc(1, sizeof(*watched)) : NULL;
    if (watched == NULL) {
        cache_database_unref(behind);
        return NULL;
    }
    watched->database = behind;
    list_push_back(&app->watched, &watched->node);
    return watched;
}

/* A name says how strong a cache is wanted; the first that brings a user of its own says how the database is
 * reached. */
static void want(struct app_watched *watched, const struct config_database *database, enum cache_mode mode)
{
    if (mode == CACHE_OFF)
        return;
    if (mode > watched->mode)
        watched->mode = mode;
    if (watched->via == NULL || (control_user(watched->via) == NULL && control_user(database) != NULL))
        watched->via = database;
}

/* The control connections go the way of the others. */
static const char *libpq_ssl_mode(enum ssl_mode mode)
{
    return ssl_mode_name(mode == SSL_MODE_ALLOW ? SSL_MODE_PREFER : mode);
}

/* Without a name libpq looks into the home of whoever has started this process, which may be closed to it. */
static const char *file_or_none(const char *path)
{
    return path[0] != '\0' ? path : "/dev/null/none";
}

enum { SLOT_SIZE = 64, SLOT_NAME_MAX = 40 };

/*
 * The same for the same database at every start, so that it can be named in synchronous_standby_names;
 * another for every address and name, since slots are the cluster's.
 */
static const char *slot_of(const struct config_database *database, char slot[SLOT_SIZE])
{
    if (database->cache_feed_slot[0] != '\0')
        return database->cache_feed_slot;
    const char *dbname = config_dbname(database, database->name);
    char name[SLOT_NAME_MAX + 1], address[300];
    snprintf(name, sizeof(name), "%s", dbname);
    for (char *c = name; *c != '\0'; c++)
        if ((*c < 'a' || *c > 'z') && (*c < '0' || *c > '9'))
            *c = '_';
    snprintf(address, sizeof(address), "%s:%d", database->hosts[0].name, database->hosts[0].port);
    uint32_t hash = 2166136261;
    for (const char *texts[] = {dbname, address, NULL}, **text = texts; *text != NULL; text++)
        for (const char *c = *text; *c != '\0'; c++)
            hash = (hash ^ (uint8_t)*c) * 16777619;
    snprintf(slot, SLOT_SIZE, "weir_%s_%08x", name, hash);
    return slot;
}

static bool watch(struct app *app, const struct app_watched *watched, struct error *error)
{
    const struct config_database *database = watched->via;
    const char *user = database != NULL ? control_user(database) : NULL;
    if (database != NULL && user == NULL)
        user = app->first_user;
    if (user == NULL)
        return cache_database_watch(watched->database, CACHE_OFF, NULL, NULL);
    const struct config_host *host = &database->hosts[0];
    char port[16], timeout[] = "10";
    snprintf(port, sizeof(port), "%d", host->port);
    const struct config_settings *s = config_settings(app->config);
    /* libpq knows it since 17; an older one asks first, which a PostgreSQL answers too. */
    bool is_direct = database->sslnegotiation == SSL_NEGOTIATION_DIRECT && control_knows("sslnegotiation");
    const char *const keywords[] = {"host",
                                    "port",
                                    "dbname",
                                    "user",
                                    "password",
                                    "connect_timeout",
                                    "sslmode",
                                    "sslrootcert",
                                    "sslcert",
                                    "sslkey",
                                    is_direct ? "sslnegotiation" : NULL,
                                    NULL};
    const char *const values[] = {host->name,
                                  port,
                                  config_dbname(database, database->name),
                                  user,
                                  secret_of(app, database, user),
                                  timeout,
                                  libpq_ssl_mode(s->server_tls_sslmode),
                                  file_or_none(s->server_tls_ca_file),
                                  file_or_none(s->server_tls_cert_file),
                                  file_or_none(s->server_tls_key_file),
                                  is_direct ? "direct" : NULL,
                                  NULL};
    const struct control_options options = {.keywords = keywords, .values = values};
    char slot[SLOT_SIZE];
    const struct cache_feed_options feed = {.mode = config_cache_feed(app->config, database),
                                            .slot = slot_of(database, slot),
                                            .max_lag_us = config_cache_max_lag_us(app->config, database)};
    return cache_database_watch(watched->database, watched->mode, &options, &feed) ||
           error_set(error, "the control connection of database \"%s\" cannot be made", database->name);
}

static bool want_all(struct app *app, struct error *error)
{
    for (size_t i = 0; i < config_database_count(app->config); i++) {
        const struct config_database *database = config_database_at(app->config, i);
        enum cache_mode mode = config_strongest_cache_mode(app->config, database);
        if (database->is_fallback) {
            if (mode != CACHE_OFF)
                log_warning("the databases of \"*\" are not cached: name a database to cache it");
            continue;
        }
        if (mode == CACHE_EXACT && control_user(database) == NULL && database->cache == CACHE_EXACT)
            log_info("database \"%s\": nothing is cached before a user has logged in whom the server trusts, "
                     "or control_user is set",
                     database->name);
        struct app_watched *watched = watched_of(app, database);
        if (watched == NULL)
            return error_set(error, "out of memory");
        want(watched, database, mode);
    }
    return true;
}

bool app_watch_databases(struct app *app, struct error *error)
{
    if (app->shared.cache == NULL) {
        if (config_has_cache(app->config))
            log_warning("the cache was off when Weir was started: restart it to turn the cache on");
        return true;
    }
    const struct config_settings *settings = config_settings(app->config);
    cache_set_limits(app->shared.cache, settings->cache_memory_bytes, settings->cache_max_result_bytes);
    cache_set_check(app->shared.cache, (unsigned)settings->cache_check);
    list_for_each(&app->watched, node)
    {
        struct app_watched *watched = list_entry(node, struct app_watched, node);
        watched->via = NULL;
        watched->mode = CACHE_OFF;
    }
    if (!want_all(app, error))
        return false;
    list_for_each(&app->watched, each)
    {
        struct app_watched *watched = list_entry(each, struct app_watched, node);
        bool is_done = watch(app, watched, error);
        watched->via = NULL; /* belongs to a configuration that may be replaced */
        if (!is_done)
            return false;
    }
    return true;
}

/* ---- what a person tells it
 * ------------------------------------------------------------------------------------------------------------
 */

/* With a reference for the caller; NULL, with `error` set, where the name has no cache. */
static struct cache_database *cached_database(struct app *app, const char *name, struct error *error)
{
    const struct config_database *database = config_database_find(app->config, name);
    if (database == NULL)
        error_set_state(error, "08P01", "no such database: %s", name);
    else if (database->is_fallback)
        error_set_state(error, "0A000", "the databases of \"*\" are not cached: name a database to cache it");
    else if (config_strongest_cache_mode(app->config, database) == CACHE_OFF)
        error_set_state(error, "55000", "the cache is off for the database %s and all its users", name);
    else
        return cache_database_get(app->shared.cache, database->hosts[0].name,
                                  (unsigned)database->hosts[0].port, config_dbname(database, name));
    return NULL;
}

static void log_command(const struct admin_command *command)
{
    const char *verb = command->verb == ADMIN_CACHE_FLUSH     ? "FLUSH"
                       : command->verb == ADMIN_CACHE_DISABLE ? "DISABLE"
                                                              : "ENABLE";
    const char *schema = command->schema != NULL ? command->schema : "";
    log_info("CACHE %s, by %s:%s%s%s%s%s%s", verb, command->user != NULL ? command->user : "nobody",
             command->database != NULL ? " database " : " all databases",
             command->database != NULL ? command->database : "",
             command->relation != NULL ? ", relation " : "", schema, schema[0] != '\0' ? "." : "",
             command->relation != NULL ? command->relation : "");
}

bool app_cache_command(struct app *app, const struct admin_command *command, struct error *error)
{
    struct cache *cache = app->shared.cache;
    if (cache == NULL)
        return error_set_state(error, "0A000",
                               "there is no cache: no database or user had one when Weir was started");
    struct cache_database *d = NULL;
    if (command->database != NULL && (d = cached_database(app, command->database, error)) == NULL)
        return false;
    bool is_done = true;
    if (command->verb != ADMIN_CACHE_FLUSH)
        cache_switch(cache, d, command->verb == ADMIN_CACHE_ENABLE);
    else if (command->relation != NULL)
        is_done = cache_clear_relation(cache, d, command->schema, command->relation, error);
    else if (d != NULL)
        cache_clear_database(cache, d);
    else
        cache_clear(cache);
    cache_database_unref(d);
    if (is_done)
        log_command(command);
    return is_done;
}

const char *app_disabled_caches(struct app *app, struct admin_snapshot *snapshot)
{
    struct buf names = BUF_INIT;
    for (size_t i = 0; app->shared.cache != NULL && i < config_database_count(app->config); i++) {
        const struct config_database *database = config_database_at(app->config, i);
        if (database->is_fallback || config_strongest_cache_mode(app->config, database) == CACHE_OFF)
            continue;
        const struct config_host *host = &database->hosts[0];
        struct cache_database *d = cache_database_get(app->shared.cache, host->name, (unsigned)host->port,
                                                      config_dbname(database, database->name));
        if (d != NULL && cache_database_is_switched_off(d))
            buf_printf(&names, "%s%s", names.len > 0 ? ", " : "", database->name);
        cache_database_unref(d);
    }
    const char *text = buf_text(&names);
    text = snapshot_text(snapshot, text != NULL ? text : "");
    buf_free(&names);
    return text;
}

void app_add_feeds(struct app *app, struct admin_snapshot *snapshot)
{
    struct cache_feed_stats stats;
    if (app->shared.cache == NULL)
        return;
    list_for_each(&app->watched, node)
    {
        cache_database_feed_stats(list_entry(node, struct app_watched, node)->database, &stats);
        struct show_feed *row = stats.is_wanted ? snapshot_add_feed(snapshot) : NULL;
        if (row == NULL)
            continue;
        row->database = snapshot_text(snapshot, stats.dbname);
        row->host = snapshot_text(snapshot, stats.host);
        row->port = (int)stats.port;
        row->slot = snapshot_text(snapshot, stats.slot);
        row->mode = stats.is_synchronous ? "synchronous" : "on";
        row->state = snapshot_text(snapshot, stats.reason);
        row->is_current = stats.reason[0] == '\0';
        row->lag_us = stats.lag_us;
        row->lag_bytes = stats.lag_bytes;
        row->transactions = stats.transactions;
        row->gaps = stats.gaps;
    }
}

/* ---- what a feed needs
 * ------------------------------------------------------------------------------------------------- */

struct feed_check {
    struct admin_snapshot *snapshot;
    admin_gathered_fn *done;
    void *done_arg;
    size_t left; /* databases that have not answered, and one until all have been asked */
};

struct feed_check_part {
    struct feed_check *check;
    const char *database; /* belongs to the snapshot */
};

static void end_part(struct feed_check *check)
{
    if (--check->left > 0)
        return;
    check->done(check->done_arg, check->snapshot);
    free(check);
}

static void add_need(struct feed_check *check, const char *database, const struct feed_need *need)
{
    struct show_feed_need *row = snapshot_add_feed_need(check->snapshot);
    if (row == NULL)
        return;
    row->database = database;
    row->what = need->name;
    row->is_met = need->is_met;
    row->found = snapshot_text(check->snapshot, need->found);
    row->remedy = snapshot_text(check->snapshot, need->remedy);
    row->sql = snapshot_text(check->snapshot, need->sql);
}

static void add_unasked(struct feed_check *check, const char *database, const char *error)
{
    struct feed_need need = {.name = "control connection"};
    snprintf(need.found, sizeof(need.found), "%s", error);
    snprintf(need.remedy, sizeof(need.remedy), "see control_user, and the state in SHOW CACHE");
    add_need(check, database, &need);
}

static void feed_checked(void *context, const struct feed_need *list, size_t count, const char *error)
{
    struct feed_check_part *part = context;
    for (size_t i = 0; i < count; i++)
        add_need(part->check, part->database, &list[i]);
    if (error != NULL)
        add_unasked(part->check, part->database, error);
    end_part(part->check);
    free(part);
}

static void check_feed(struct app *app, const struct config_database *database, struct feed_check *check)
{
    char slot[SLOT_SIZE];
    const struct cache_feed_options options = {.mode = config_cache_feed(app->config, database),
                                               .slot = slot_of(database, slot)};
    const char *name = snapshot_text(check->snapshot, database->name);
    struct app_watched *watched = watched_of(app, database);
    struct feed_check_part *part = watched != NULL ? calloc(1, sizeof(*part)) : NULL;
    if (part != NULL)
        *part = (struct feed_check_part){check, name};
    check->left++;
    if (part != NULL && cache_database_check_feed(watched->database, &options, feed_checked, part))
        return;
    free(part);
    add_unasked(check, name, "there is none at the moment");
    end_part(check);
}

void app_check_feeds(struct app *app, struct admin_snapshot *snapshot, admin_gathered_fn *done,
                     void *done_arg)
{
    struct feed_check *check = app->shared.cache != NULL ? calloc(1, sizeof(*check)) : NULL;
    if (check == NULL) {
        done(done_arg, snapshot);
        return;
    }
    *check = (struct feed_check){snapshot, done, done_arg, 1};
    for (size_t i = 0; i < config_database_count(app->config); i++) {
        const struct config_database *database = config_database_at(app->config, i);
        if (!database->is_fallback && config_strongest_cache_mode(app->config, database) != CACHE_OFF)
            check_feed(app, database, check);
    }
    end_part(check);
}

void app_free_cache(struct app *app)
{
    struct list_node *node;
    while (app->watched.head.next != NULL && (node = list_pop_front(&app->watched)) != NULL) {
        struct app_watched *watched = list_entry(node, struct app_watched, node);
        cache_database_unref(watched->database);
        free(watched);
    }
    if (app->shared.cache != NULL)
        cache_stop(app->shared.cache);
    for (int i = 0; i < app->shared.worker_count; i++)
        if (app->shared.workers[i]->cache != NULL)
            cache_worker_stop(app->shared.workers[i]->cache);
}

/* ---- the first user: where a database has no user of its own, whoever logs in first lends its name
 * ------------------------ */

struct first_user_mail {
    struct mail mail;
    struct app *app;
    char *user;
};

static void first_user_arrived(struct mail *mail)
{
    struct first_user_mail *first = (struct first_user_mail *)(void *)mail;
    struct app *app = first->app;
    struct error error = ERROR_INIT;
    if (app->first_user == NULL && app->stop == APP_RUNNING) {
        app->first_user = first->user;
        first->user = NULL;
        if (!app_watch_databases(app, &error))
            log_warning("%s", error.message);
    }
    free(first->user);
    free(first);
}

void app_user_seen(void *context, const char *user)
{
    struct app *app = context;
    struct first_user_mail *first = calloc(1, sizeof(*first));
    if (first == NULL)
        return;
    *first = (struct first_user_mail){.mail = {.run = first_user_arrived}, .app = app, .user = strdup(user)};
    worker_post(app->control, &first->mail);
}
