/*
 * The shape of /stats. Times are microseconds, counters grow from the start of the process:
 *
 *   { "version", "wall_us", "uptime_us", "state": {"paused", "shutting_down", "ready"},
 *     "totals": {counter: n, ...}, "pins": {reason: n, ...},
 *     "latency": {part: {"count", "sum_us", "max_us", "p50_us", "p90_us", "p99_us", "p999_us",
 *                        "buckets": [[upper_us, n], ...]}, ...},
 *     "pools": [{"database", "user", "mode", "cache", "cache_state", "size", "clients": {...}, "servers":
 * {...}, "maxwait_us", "counters": {...}, "latency": {part: {... without buckets}}}, ...], "connections":
 * {...}, "store": {...}, "workers": [...], "feeds": [...], "templates": [...] }
 *
 * Buckets are the coarse view of a histogram (eight to a power of two, empty ones left out), so that a reader
 * can subtract two of them and have the quantiles of the time between.
 */
#include "weir/admin/json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "weir/track/pin.h"

/* Names come from outside and need not be UTF-8, which JSON demands. */
static json_t *text(const char *value)
{
    json_t *string = json_string(value);
    if (string != NULL)
        return string;
    char *ascii = strdup(value);
    for (char *c = ascii; c != NULL && *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    string = ascii != NULL ? json_string(ascii) : NULL;
    free(ascii);
    return string;
}

static void put_text(json_t *object, const char *key, const char *value)
{
    json_object_set_new(object, key, text(value));
}

static void put(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *counters_object(const struct counters_sum *sum)
{
    json_t *object = json_object();
    size_t count;
    const struct counter_info *table = counters_table(&count);
    for (size_t i = 0; i < count; i++)
        put(object, table[i].name, counters_value(sum, &table[i]));
    return object;
}

static json_t *pins_object(const struct counters_sum *sum)
{
    json_t *object = json_object();
    for (int reason = 0; reason < PIN_COUNT; reason++)
        put(object, pin_name((enum pin_reason)reason), sum->pins[reason]);
    return object;
}

enum { COARSE_LINEAR = 16, COARSE_SUBS = 8, COARSE_FIRST = 4, COARSE_LAST = 31 };
#define COARSE_BOUNDS (COARSE_LINEAR + (COARSE_LAST - COARSE_FIRST + 1) * COARSE_SUBS)

static json_t *buckets_array(const struct histogram *h)
{
    uint64_t bounds[COARSE_BOUNDS], counts[COARSE_BOUNDS];
    size_t n = 0;
    for (; n < COARSE_LINEAR; n++)
        bounds[n] = n;
    for (unsigned exponent = COARSE_FIRST; exponent <= COARSE_LAST; exponent++)
        for (uint64_t sub = 1; sub <= COARSE_SUBS; sub++)
            bounds[n++] = ((COARSE_SUBS + sub) << (exponent - 3)) - 1;
    histogram_counts_up_to(h, bounds, n, counts);
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        uint64_t here = counts[i] - (i > 0 ? counts[i - 1] : 0);
        if (here == 0)
            continue;
        json_t *pair = json_array();
        json_array_append_new(pair, json_integer((json_int_t)bounds[i]));
        json_array_append_new(pair, json_integer((json_int_t)here));
        json_array_append_new(array, pair);
    }
    return array;
}

static json_t *histogram_object(const struct histogram *h, bool with_buckets)
{
    static const struct {
        const char *name;
        double q;
    } quantiles[] = {{"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}};
    json_t *object = json_object();
    put(object, "count", histogram_count(h));
    put(object, "sum_us", histogram_sum_us(h));
    put(object, "max_us", histogram_max_us(h));
    for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
        json_object_set_new(object, quantiles[i].name, json_real(histogram_quantile_us(h, quantiles[i].q)));
    if (with_buckets)
        json_object_set_new(object, "buckets", buckets_array(h));
    return object;
}

static json_t *latency_object(const struct ledger *ledger, bool with_buckets)
{
    json_t *object = json_object();
    size_t count;
    const struct ledger_part *parts = ledger_parts(&count);
    for (size_t i = 0; i < count; i++)
        json_object_set_new(object, parts[i].name,
                            histogram_object(ledger_histogram(ledger, &parts[i]), with_buckets));
    return object;
}

static json_t *pool_object(const struct show_pool *pool)
{
    json_t *object = json_object(), *clients = json_object(), *servers = json_object();
    put(clients, "active", (uint64_t)pool->cl_active);
    put(clients, "waiting", (uint64_t)pool->cl_waiting);
    put(clients, "active_cancel_req", (uint64_t)pool->cl_active_cancel_req);
    put(clients, "waiting_cancel_req", (uint64_t)pool->cl_waiting_cancel_req);
    put(servers, "active", (uint64_t)pool->sv_active);
    put(servers, "active_cancel", (uint64_t)pool->sv_active_cancel);
    put(servers, "being_canceled", (uint64_t)pool->sv_being_canceled);
    put(servers, "idle", (uint64_t)pool->sv_idle);
    put(servers, "used", (uint64_t)pool->sv_used);
    put(servers, "tested", (uint64_t)pool->sv_tested);
    put(servers, "login", (uint64_t)pool->sv_login);
    put_text(object, "database", pool->database);
    put_text(object, "user", pool->user);
    put_text(object, "mode", pool->pool_mode);
    put_text(object, "cache", pool->cache_mode);
    put_text(object, "cache_state", pool->cache_state);
    put(object, "size", (uint64_t)pool->pool_size);
    put(object, "maxwait_us", pool->maxwait_us);
    json_object_set_new(object, "clients", clients);
    json_object_set_new(object, "servers", servers);
    json_object_set_new(object, "counters", counters_object(&pool->counters));
    if (pool->ledger != NULL)
        json_object_set_new(object, "latency", latency_object(pool->ledger, false));
    return object;
}

static json_t *pools_array(const struct admin_snapshot *snapshot)
{
    const struct show_pool *rows;
    size_t count = snapshot_pools(snapshot, &rows);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, pool_object(&rows[i]));
    return array;
}

static json_t *workers_array(const struct admin_snapshot *snapshot)
{
    const struct show_worker *rows;
    size_t count = snapshot_workers(snapshot, &rows);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *object = json_object();
        put(object, "worker", (uint64_t)rows[i].index);
        put(object, "clients", (uint64_t)rows[i].clients);
        put(object, "servers", (uint64_t)rows[i].servers);
        put(object, "cpu_us", rows[i].cpu_us);
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *feeds_array(const struct admin_snapshot *snapshot)
{
    const struct show_feed *rows;
    size_t count = snapshot_feeds(snapshot, &rows);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *object = json_object();
        put_text(object, "database", rows[i].database);
        put_text(object, "host", rows[i].host);
        put(object, "port", (uint64_t)rows[i].port);
        put_text(object, "slot", rows[i].slot);
        put_text(object, "mode", rows[i].mode);
        put_text(object, "state", rows[i].state);
        if (rows[i].lag_us != UINT64_MAX)
            put(object, "lag_us", rows[i].lag_us);
        put(object, "lag_bytes", rows[i].lag_bytes);
        put(object, "transactions", rows[i].transactions);
        put(object, "gaps", rows[i].gaps);
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *templates_array(const struct admin_snapshot *snapshot)
{
    const struct show_template *rows;
    size_t count = snapshot_templates(snapshot, &rows);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *object = json_object();
        put(object, "calls", rows[i].calls);
        put(object, "hits", rows[i].hits);
        put(object, "misses", rows[i].misses);
        put(object, "saved_us", rows[i].saved_us);
        put_text(object, "database", rows[i].database);
        put_text(object, "user", rows[i].user);
        put_text(object, "cacheable", rows[i].cacheable);
        put_text(object, "reason", rows[i].reason);
        put_text(object, "found", rows[i].found);
        put_text(object, "relations", rows[i].relations);
        put_text(object, "text", rows[i].text);
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *connections_object(const struct show_lists *l)
{
    json_t *object = json_object();
    put(object, "clients", (uint64_t)l->used_clients);
    put(object, "logins", (uint64_t)l->login_clients);
    put(object, "console_clients", (uint64_t)l->console_clients);
    put(object, "servers_free", (uint64_t)l->free_servers);
    put(object, "servers_used", (uint64_t)l->used_servers);
    return object;
}

static json_t *store_object(const struct show_store *s)
{
    json_t *object = json_object();
    put(object, "memory_used_bytes", s->memory_used_bytes);
    put(object, "memory_limit_bytes", s->memory_limit_bytes);
    put(object, "entries", s->entries);
    put(object, "evictions", s->evictions);
    put_text(object, "redis", s->redis);
    put_text(object, "redis_nodes", s->redis_nodes);
    put(object, "redis_requests", s->redis_requests);
    put(object, "redis_errors", s->redis_errors);
    put(object, "redis_timeouts", s->redis_timeouts);
    put(object, "checks_right", s->checks_right);
    put(object, "checks_wrong", s->checks_wrong);
    put(object, "checks_undecided", s->checks_undecided);
    put(object, "analyses", s->analyses);
    put(object, "analyses_failed", s->analyses_failed);
    put(object, "flushes", s->flushes);
    put_text(object, "disabled", s->disabled);
    return object;
}

static json_t *state_object(const struct json_process *process)
{
    json_t *object = json_object();
    json_object_set_new(object, "paused", json_boolean(process->is_paused));
    json_object_set_new(object, "shutting_down", json_boolean(process->is_shutting_down));
    json_object_set_new(object, "ready", json_boolean(process->is_ready));
    return object;
}

static int append(const char *data, size_t size, void *out)
{
    buf_append(out, data, size);
    return buf_failed(out) ? -1 : 0;
}

void json_stats(const struct admin_snapshot *snapshot, const struct config *config,
                const struct json_process *process, struct buf *out)
{
    json_t *root = json_object();
    struct counters_sum sum;
    struct ledger ledger;
    ledger_init(&ledger);
    snapshot_total(snapshot, &sum, &ledger);
    put_text(root, "version", WEIR_VERSION);
    put(root, "wall_us", process->wall_us);
    put(root, "uptime_us", process->uptime_us);
    put(root, "max_client_conn", (uint64_t)config_settings(config)->max_client_conn);
    json_object_set_new(root, "state", state_object(process));
    json_object_set_new(root, "connections", connections_object(snapshot_get_lists(snapshot)));
    json_object_set_new(root, "totals", counters_object(&sum));
    json_object_set_new(root, "pins", pins_object(&sum));
    json_object_set_new(root, "latency", latency_object(&ledger, true));
    json_object_set_new(root, "pools", pools_array(snapshot));
    json_object_set_new(root, "store", store_object(snapshot_get_store(snapshot)));
    json_object_set_new(root, "workers", workers_array(snapshot));
    json_object_set_new(root, "feeds", feeds_array(snapshot));
    json_object_set_new(root, "templates", templates_array(snapshot));
    if (root == NULL || json_dump_callback(root, append, out, JSON_COMPACT) != 0)
        out->failed = true;
    json_decref(root);
    ledger_free(&ledger);
}
