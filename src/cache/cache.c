/* cache: making and unmaking, writes, figures. Reads are in lookup.c and fill.c. */
#include "weir/cache/cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "weir/cache/check.h"
#include "weir/cache/database.h"
#include "weir/cache/fill.h"
#include "weir/cache/flight.h"
#include "weir/cache/redis_target.h"
#include "weir/net/tls.h"
#include "weir/cache/scope.h"
#include "weir/cache/share.h"
#include "weir/cache/store_memory.h"
#include "weir/cache/row_key.h"
#include "weir/cache/store_redis.h"
#include "weir/cache/verdict.h"
#include "weir/cache/worker.h"
#include "weir/net/worker.h"
#include "weir/sql/classify.h"

/* --- process --- */

struct cache *cache_new(const struct cache_options *options, struct worker *control, struct error *error)
{
    struct cache *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        error_set(error, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&c->mutex, NULL);
    c->seed = options->seed;
    c->redis_timeout_us = options->redis_timeout_us;
    atomic_init(&c->max_result_bytes, options->max_result_bytes);
    if (options->redis_url != NULL && options->redis_url[0] != '\0') {
        c->redis = redis_target_parse(options->redis_url, error);
        if (c->redis == NULL)
            goto failed;
    }
    if (c->redis != NULL && c->redis->is_tls && options->redis_tls == NULL) {
        error_set(error, "rediss:// without certificates to go by");
        goto failed;
    }
    if (c->redis != NULL && c->redis->is_tls)
        c->redis->tls = tls_context_ref(options->redis_tls);
    if (options->is_shared && c->redis != NULL) {
        c->share = share_new(control, c->redis, options->lease_us);
        if (c->share == NULL)
            goto out_of_memory;
    }
    c->databases = databases_new(control, c->share);
    c->scopes = scopes_new(options->seed);
    c->memory = store_memory_new(options->memory_bytes, options->seed);
    c->flights = flight_table_new();
    c->distrust = distrust_new();
    if (c->databases != NULL && c->scopes != NULL && c->memory != NULL && c->flights != NULL &&
        c->distrust != NULL)
        return c;
out_of_memory:
    error_set(error, "out of memory");
failed:
    cache_free(c);
    return NULL;
}

void cache_stop(struct cache *c)
{
    share_stop(c->share);
    databases_stop(c->databases);
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    store_memory_free(c->memory);
    scopes_free(c->scopes);
    flight_table_free(c->flights);
    distrust_free(c->distrust);
    databases_free(c->databases);
    share_free(c->share);
    redis_target_free(c->redis);
    pthread_mutex_destroy(&c->mutex);
    free(c);
}

void cache_set_limits(struct cache *c, uint64_t memory_bytes, size_t max_result_bytes)
{
    store_memory_set_limit(c->memory, memory_bytes);
    atomic_store(&c->max_result_bytes, max_result_bytes);
}

void cache_set_check(struct cache *c, unsigned one_in)
{
    atomic_store(&c->check_one_in, one_in);
}

struct cache_database *cache_database_get(struct cache *c, const char *host, unsigned port,
                                          const char *dbname)
{
    return databases_get(c->databases, host, port, dbname);
}

bool cache_database_watch(struct cache_database *d, enum cache_mode strongest,
                          const struct control_options *connection, const struct cache_feed_options *feed)
{
    return database_watch(d, strongest, connection, feed);
}

struct cache_scope *cache_scope_get(struct cache *c, const struct cache_scope_options *options)
{
    return scopes_get(c->scopes, options);
}

/*
 * Begins with what database_is_same_server compares. Custom settings (app.tenant) of roles and databases are
 * in no view of settings, but in pg_db_role_setting.
 */
const char *cache_baseline_query(void)
{
    return "SELECT pg_catalog.concat_ws('/', d.oid, "
           "(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8, "
           "session_user, current_user, "
           "pg_catalog.md5((SELECT pg_catalog.string_agg(s.name || '=' || s.setting, ',' ORDER BY s.name) "
           "FROM pg_catalog.pg_settings s WHERE s.context IN ('user', 'superuser', 'superuser-backend', "
           "'backend') "
           "AND s.name <> 'application_name')), "
           "pg_catalog.md5((SELECT pg_catalog.string_agg(r.setdatabase || ':' || r.setrole || ':' || "
           "pg_catalog.array_to_string(r.setconfig, ','), ';' ORDER BY r.setdatabase, r.setrole) "
           "FROM pg_catalog.pg_db_role_setting r))), pg_catalog.current_setting('search_path'), "
           "pg_catalog.current_setting('default_transaction_isolation') "
           "FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
}

/* --- workers --- */

struct cache_worker *cache_worker_new(struct cache *c, struct worker *worker)
{
    struct cache_worker *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    w->cache = c;
    w->worker = worker;
    w->random = c->seed ^ (uint64_t)(uintptr_t)w;
    w->verdicts = verdicts_new();
    if (c->share != NULL)
        w->share = share_client_new(c->share, worker, c->redis);
    else if (c->redis != NULL)
        w->redis = store_redis_new(worker, c->redis, c->redis_timeout_us, c->seed);
    if (w->verdicts == NULL || (c->redis != NULL && w->redis == NULL && w->share == NULL)) {
        verdicts_free(w->verdicts);
        store_redis_free(w->redis);
        share_client_free(w->share);
        free(w);
        return NULL;
    }
    pthread_mutex_lock(&c->mutex);
    w->next = c->workers;
    c->workers = w;
    pthread_mutex_unlock(&c->mutex);
    return w;
}

static void add_counters(struct cache_stats *stats, const struct cache_counters *counters)
{
#define X(name, help) stats->name += atomic_load_explicit(&counters->name, memory_order_relaxed);
    CACHE_COUNTERS(X)
#undef X
    for (int i = 0; i < CACHE_REASON_COUNT; i++)
        stats->passes_by_reason[i] +=
            atomic_load_explicit(&counters->passes_by_reason[i], memory_order_relaxed);
}

/* With the mutex. */
static void retire_counters(struct cache *c, const struct cache_counters *counters)
{
#define X(name, help)                                                                                        \
    counter_add(&c->retired.name, atomic_load_explicit(&counters->name, memory_order_relaxed));
    CACHE_COUNTERS(X)
#undef X
    for (int i = 0; i < CACHE_REASON_COUNT; i++)
        counter_add(&c->retired.passes_by_reason[i],
                    atomic_load_explicit(&counters->passes_by_reason[i], memory_order_relaxed));
}

void cache_worker_stop(struct cache_worker *w)
{
    store_redis_free(w->redis);
    w->redis = NULL;
    share_client_stop(w->share);
}

bool cache_worker_redis_is_up(const struct cache_worker *w)
{
    if (w->share != NULL)
        return share_client_is_up(w->share);
    return w->redis == NULL || store_redis_is_up(w->redis);
}

void cache_worker_describe_redis(const struct cache_worker *w, struct buf *out)
{
    if (w->redis != NULL)
        store_redis_describe(w->redis, out);
    if (w->share != NULL)
        share_client_describe(w->share, out);
}

void cache_worker_free(struct cache_worker *w)
{
    if (w == NULL)
        return;
    struct cache *c = w->cache;
    pthread_mutex_lock(&c->mutex);
    struct cache_worker **at = &c->workers;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    retire_counters(c, &w->counters);
    pthread_mutex_unlock(&c->mutex);
    cache_worker_stop(w);
    share_client_free(w->share);
    verdicts_free(w->verdicts);
    buf_free(&w->key);
    free(w->spare_wait);
    fill_free_spares(w);
    free(w);
}

void cache_stats(struct cache *c, struct cache_stats *stats)
{
    *stats = (struct cache_stats){.hits = 0};
    pthread_mutex_lock(&c->mutex);
    add_counters(stats, &c->retired);
    for (struct cache_worker *w = c->workers; w != NULL; w = w->next)
        add_counters(stats, &w->counters);
    pthread_mutex_unlock(&c->mutex);
    struct store_memory_stats memory;
    store_memory_get_stats(c->memory, &memory);
    stats->entries = memory.entries;
    stats->bytes = memory.bytes;
    stats->evictions = memory.evictions;
    stats->flushes = atomic_load_explicit(&c->flushes, memory_order_relaxed);
    stats->epoch_changes = databases_epoch_changes(c->databases);
    databases_count_analyses(c->databases, &stats->analyses, &stats->analyses_failed);
}

/* --- writes --- */

struct cache_write {
    struct database_write base; /* first: freed as one */
    struct cache_worker *worker;
    bool has_content;
};

struct cache_write *cache_write_new(struct cache_worker *w, struct cache_database *d)
{
    struct cache_write *write = calloc(1, sizeof(*write));
    if (write == NULL)
        return NULL;
    write->base.database = database_ref(d);
    write->base.client = w->share;
    write->worker = w;
    return write;
}

static bool may_write(const struct sql_class *class)
{
    const uint32_t any =
        SQL_CLASS_WRITES | SQL_CLASS_WRITES_UNKNOWN | SQL_CLASS_SCHEMA | SQL_CLASS_UNKNOWN_CODE;
    if ((class->flags & any) != 0)
        return true;
    for (uint32_t i = 0; i < class->n_statements; i++)
        if (class->statements[i].n_writes > 0)
            return true;
    return false;
}

struct cache_row cache_row_of(struct cache_worker *w, struct cache_scope *scope, struct sql_class *class,
                              const struct cache_values *values)
{
    struct cache_row row = {.relation = 0};
    if (scope == NULL)
        return row;
    const struct verdict_question question = {.scope = scope, .class = class};
    const struct verdict *verdict = verdicts_get(w->verdicts, &question);
    if (verdict == NULL || !row_key_hash(&verdict->write_row, values, &row.hash))
        return row;
    row.version = verdict->version;
    row.relation = verdict->write_row.relation;
    return row;
}

static void add_relation(struct database_write *w, const struct verdict *verdict, uint32_t relation,
                         const struct cache_row *row)
{
    if (relation == verdict->new_rows)
        database_write_add_new_rows(w, relation);
    else if (row != NULL && row->relation == relation && row->version == verdict->version)
        database_write_add_row(w, relation, row->hash);
    else
        database_write_add(w, relation);
}

static void add_known(struct cache_write *write, const struct verdict *verdict, const struct cache_row *row)
{
    struct database_write *base = &write->base;
    if (base->version == 0)
        base->version = verdict->version;
    if (base->version != verdict->version) {
        base->is_unknown = true;
        return;
    }
    for (uint32_t i = 0; i < verdict->write_count; i++)
        add_relation(base, verdict, verdict->writes[i], row);
}

void cache_write_add(struct cache_write *write, struct cache_scope *scope, struct sql_class *class,
                     const struct cache_row *row)
{
    if (!may_write(class))
        return;
    const struct verdict_question question = {.scope = scope, .class = class};
    const struct verdict *verdict = scope != NULL ? verdicts_get(write->worker->verdicts, &question) : NULL;
    if (verdict == NULL || !verdict->is_write_known)
        write->base.is_unknown = true;
    else if (verdict->write_count > 0)
        add_known(write, verdict, row);
    else
        return;
    write->has_content = true;
    /* Code that nobody can see may change definitions as well; a look at the catalog tells. */
    if ((class->flags & (SQL_CLASS_SCHEMA | SQL_CLASS_UNKNOWN_CODE)) != 0)
        write->base.is_schema = true;
    if (write->base.is_marked)
        database_write_mark(&write->base);
}

bool cache_has_temporary_code(const struct cache_database *d)
{
    return atomic_load_explicit(&d->has_temporary_code, memory_order_acquire);
}

static bool names_anything(const struct sql_statement *s)
{
    return s->n_reads > 0 || s->n_functions > 0 || s->n_types > 0 || s->kind == SQL_KIND_MAINTENANCE ||
           (s->flags & SQL_READS_UNKNOWN) != 0;
}

bool cache_may_run_code(struct cache_worker *w, const struct cache_database *d, struct cache_scope *scope,
                        struct sql_class *class)
{
    if (!atomic_load_explicit(&d->has_code, memory_order_acquire))
        return false;
    bool names_something = false;
    for (uint32_t i = 0; i < class->n_statements; i++)
        names_something |= names_anything(&class->statements[i]);
    if (!names_something || scope == NULL)
        return names_something;
    const struct verdict_question question = {.scope = scope, .class = class};
    const struct verdict *verdict = verdicts_get(w->verdicts, &question);
    return verdict == NULL || !verdict->is_write_known;
}

void cache_write_add_unknown(struct cache_write *write)
{
    write->has_content = true;
    write->base.is_unknown = true;
    if (write->base.is_marked)
        database_write_mark(&write->base);
}

bool cache_write_is_empty(const struct cache_write *write)
{
    return !write->has_content;
}

void cache_write_mark(struct cache_write *write)
{
    if (write->has_content)
        database_write_mark(&write->base);
}

enum cache_word cache_write_may_go(struct cache_write *write, void (*done)(void *context), void *context)
{
    if (!write->has_content || write->base.client == NULL)
        return CACHE_WRITE_GO;
    return share_announce(&write->base, done, context);
}

void cache_write_commit(struct cache_write *write)
{
    struct cache_counters *counters = &write->worker->counters;
    if (write->has_content) {
        counter_bump(&counters->writes);
        if (write->base.is_unknown)
            counter_bump(&counters->writes_unknown);
        /* Late, and only to be safe: a caller that forgot the mark still makes old answers old. */
        database_write_mark(&write->base);
    }
    database_write_end(&write->base, true);
}

void cache_write_rollback(struct cache_write *write)
{
    database_write_end(&write->base, false);
}

void cache_write_unknown(struct cache_write *write, uint32_t backend_pid)
{
    if (!write->has_content) {
        database_write_end(&write->base, false);
        return;
    }
    counter_bump(&write->worker->counters.writes);
    database_write_orphan(&write->base, backend_pid);
}
