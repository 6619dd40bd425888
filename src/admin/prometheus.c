/*
 * All samples of one metric stand together under its HELP and TYPE, as the format wants; so the pools are
 * walked once for every metric. Times are seconds, sizes bytes; only what the operator configured becomes a
 * label, so the number of series is bounded by the number of pools.
 */
#include "weir/admin/prometheus.h"

#include <inttypes.h>
#include <string.h>

#include "weir/track/pin.h"

/* Upper bounds of histogram buckets: microseconds, and as they are written. */
static const uint64_t bounds_us[] = {10,     25,      50,      100,     250,      500,     1000,
                                     2500,   5000,    10000,   25000,   50000,    100000,  250000,
                                     500000, 1000000, 2500000, 5000000, 10000000, 30000000};
static const char *const bounds_text[] = {
    "0.00001", "0.000025", "0.00005", "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01",
    "0.025",   "0.05",     "0.1",     "0.25",   "0.5",     "1",      "2.5",   "5",      "10",    "30"};
#define BOUNDS (sizeof(bounds_us) / sizeof(bounds_us[0]))

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void label_text(struct buf *out, const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\\' || *c == '"')
            buf_printf(out, "\\%c", *c);
        else if (*c == '\n')
            buf_append_str(out, "\\n");
        else if ((unsigned char)*c >= 0x80) /* names need not be UTF-8; the format must be */
            buf_append_u8(out, '?');
        else
            buf_append_u8(out, (uint8_t)*c);
    }
}

/* name{database="..",user=".."  without the closing brace. */
static void pool_sample(struct buf *out, const char *name, const char *suffix, const struct show_pool *pool)
{
    buf_printf(out, "%s%s{database=\"", name, suffix);
    label_text(out, pool->database);
    buf_append_str(out, "\",user=\"");
    label_text(out, pool->user);
    buf_append_str(out, "\"");
}

static void seconds(struct buf *out, uint64_t us)
{
    buf_printf(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}

static void simple(struct buf *out, const char *name, const char *type, const char *help, uint64_t value)
{
    head(out, name, type, help);
    buf_printf(out, "%s %" PRIu64 "\n", name, value);
}

static void counters(struct buf *out, const struct show_pool *pools, size_t count)
{
    size_t rows;
    const struct counter_info *table = counters_table(&rows);
    for (size_t i = 0; i < rows; i++) {
        head(out, table[i].metric, "counter", table[i].help);
        for (size_t j = 0; j < count; j++) {
            uint64_t value = counters_value(&pools[j].counters, &table[i]);
            pool_sample(out, table[i].metric, "", &pools[j]);
            buf_append_str(out, "} ");
            if (table[i].unit == COUNTER_TIME)
                seconds(out, value);
            else
                buf_printf(out, "%" PRIu64, value);
            buf_append_str(out, "\n");
        }
    }
}

static void pins(struct buf *out, const struct show_pool *pools, size_t count)
{
    head(out, "weir_pins_total", "counter", "Times that a session had to keep its server, by reason.");
    for (size_t i = 0; i < count; i++) {
        for (int reason = 0; reason < PIN_COUNT; reason++) {
            pool_sample(out, "weir_pins_total", "", &pools[i]);
            buf_printf(out, ",reason=\"%s\"} %" PRIu64 "\n", pin_name((enum pin_reason)reason),
                       pools[i].counters.pins[reason]);
        }
    }
}

static void histogram(struct buf *out, const struct ledger_part *part, const struct show_pool *pool)
{
    const struct histogram *h = ledger_histogram(pool->ledger, part);
    uint64_t counts[BOUNDS];
    uint64_t total = histogram_counts_up_to(h, bounds_us, BOUNDS, counts);
    for (size_t i = 0; i < BOUNDS; i++) {
        pool_sample(out, part->metric, "_bucket", pool);
        buf_printf(out, ",le=\"%s\"} %" PRIu64 "\n", bounds_text[i], counts[i]);
    }
    pool_sample(out, part->metric, "_bucket", pool);
    buf_printf(out, ",le=\"+Inf\"} %" PRIu64 "\n", total);
    pool_sample(out, part->metric, "_sum", pool);
    buf_append_str(out, "} ");
    seconds(out, histogram_sum_us(h));
    buf_append_str(out, "\n");
    pool_sample(out, part->metric, "_count", pool);
    buf_printf(out, "} %" PRIu64 "\n", total);
}

static void histograms(struct buf *out, const struct show_pool *pools, size_t count)
{
    size_t rows;
    const struct ledger_part *parts = ledger_parts(&rows);
    for (size_t i = 0; i < rows; i++) {
        head(out, parts[i].metric, "histogram", parts[i].help);
        for (size_t j = 0; j < count; j++)
            if (pools[j].ledger != NULL)
                histogram(out, &parts[i], &pools[j]);
    }
}

static void pool_state(struct buf *out, const char *metric, const struct show_pool *pool, const char *state,
                       int value)
{
    pool_sample(out, metric, "", pool);
    buf_printf(out, ",state=\"%s\"} %d\n", state, value);
}

static void pool_gauges(struct buf *out, const struct show_pool *pools, size_t count)
{
    head(out, "weir_pool_clients", "gauge", "Client connections of a pool by state.");
    for (size_t i = 0; i < count; i++) {
        pool_state(out, "weir_pool_clients", &pools[i], "active", pools[i].cl_active);
        pool_state(out, "weir_pool_clients", &pools[i], "waiting", pools[i].cl_waiting);
    }
    head(out, "weir_pool_servers", "gauge", "Server connections of a pool by state.");
    for (size_t i = 0; i < count; i++) {
        pool_state(out, "weir_pool_servers", &pools[i], "active", pools[i].sv_active);
        pool_state(out, "weir_pool_servers", &pools[i], "idle", pools[i].sv_idle);
        pool_state(out, "weir_pool_servers", &pools[i], "used", pools[i].sv_used);
        pool_state(out, "weir_pool_servers", &pools[i], "tested", pools[i].sv_tested);
        pool_state(out, "weir_pool_servers", &pools[i], "login", pools[i].sv_login);
    }
    head(out, "weir_pool_size_limit", "gauge", "Server connections that a pool may have.");
    for (size_t i = 0; i < count; i++) {
        pool_sample(out, "weir_pool_size_limit", "", &pools[i]);
        buf_printf(out, "} %d\n", pools[i].pool_size);
    }
    head(out, "weir_pool_oldest_wait_seconds", "gauge", "How long the oldest waiting client has waited.");
    for (size_t i = 0; i < count; i++) {
        pool_sample(out, "weir_pool_oldest_wait_seconds", "", &pools[i]);
        buf_append_str(out, "} ");
        seconds(out, pools[i].maxwait_us);
        buf_append_str(out, "\n");
    }
}

static void store(struct buf *out, const struct show_store *s)
{
    simple(out, "weir_cache_memory_used_bytes", "gauge", "Memory taken by stored answers.",
           s->memory_used_bytes);
    simple(out, "weir_cache_memory_limit_bytes", "gauge", "Memory that stored answers may take.",
           s->memory_limit_bytes);
    simple(out, "weir_cache_entries", "gauge", "Answers stored in memory.", s->entries);
    simple(out, "weir_cache_evictions_total", "counter", "Answers dropped to make room.", s->evictions);
    simple(out, "weir_redis_up", "gauge", "1 while Redis is in use.", strcmp(s->redis, "up") == 0);
    simple(out, "weir_redis_requests_total", "counter", "Requests sent to Redis.", s->redis_requests);
    simple(out, "weir_redis_errors_total", "counter", "Requests to Redis that failed.", s->redis_errors);
    simple(out, "weir_redis_timeouts_total", "counter", "Requests to Redis that took too long.",
           s->redis_timeouts);
    simple(out, "weir_cache_analyses_total", "counter",
           "Times PostgreSQL was asked what a statement calls and reads.", s->analyses);
    simple(out, "weir_cache_analyses_failed_total", "counter", "Of these, those without an answer.",
           s->analyses_failed);
    simple(out, "weir_cache_flushes_total", "counter", "Times that CACHE FLUSH was said.", s->flushes);
    const struct {
        const char *outcome;
        uint64_t count;
    } checks[] = {{"right", s->checks_right}, {"wrong", s->checks_wrong}, {"undecided", s->checks_undecided}};
    head(out, "weir_cache_checks_total", "counter",
         "Hits that were asked of PostgreSQL as well, by what came of it.");
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
        buf_printf(out, "weir_cache_checks_total{outcome=\"%s\"} %" PRIu64 "\n", checks[i].outcome,
                   checks[i].count);
}

static void feed_sample(struct buf *out, const char *metric, const struct show_feed *feed)
{
    buf_printf(out, "%s{database=\"", metric);
    label_text(out, feed->database);
    buf_append_str(out, "\",slot=\"");
    label_text(out, feed->slot);
    buf_append_str(out, "\"} ");
}

static void feed_numbers(struct buf *out, const char *metric, const char *type, const char *help,
                         const struct show_feed *feeds, size_t count, size_t offset)
{
    head(out, metric, type, help);
    for (size_t i = 0; i < count; i++) {
        uint64_t value;
        memcpy(&value, (const char *)&feeds[i] + offset, sizeof(value));
        feed_sample(out, metric, &feeds[i]);
        buf_printf(out, "%" PRIu64 "\n", value);
    }
}

static void feeds(struct buf *out, const struct admin_snapshot *snapshot)
{
    const struct show_feed *rows;
    size_t count = snapshot_feeds(snapshot, &rows);
    head(out, "weir_feed_up", "gauge", "1 while what the feed knows is new enough to be believed.");
    for (size_t i = 0; i < count; i++) {
        feed_sample(out, "weir_feed_up", &rows[i]);
        buf_printf(out, "%d\n", rows[i].is_current);
    }
    head(out, "weir_feed_lag_seconds", "gauge", "Age of what the feed knows; absent where that is nothing.");
    for (size_t i = 0; i < count; i++) {
        if (rows[i].lag_us == UINT64_MAX)
            continue;
        feed_sample(out, "weir_feed_lag_seconds", &rows[i]);
        seconds(out, rows[i].lag_us);
        buf_append_str(out, "\n");
    }
    feed_numbers(out, "weir_feed_lag_bytes", "gauge",
                 "What of the server's log the feed had not read when it asked.", rows, count,
                 offsetof(struct show_feed, lag_bytes));
    feed_numbers(out, "weir_feed_transactions_total", "counter", "Commits that the feed has told of.", rows,
                 count, offsetof(struct show_feed, transactions));
    feed_numbers(out, "weir_feed_gaps_total", "counter",
                 "Times that the feed was lost, which empties the cache.", rows, count,
                 offsetof(struct show_feed, gaps));
}

static void process_gauges(struct buf *out, const struct admin_snapshot *snapshot,
                           const struct config *config, const struct json_process *process)
{
    const struct show_lists *l = snapshot_get_lists(snapshot);
    head(out, "weir_info", "gauge", "Always 1; the version is the label.");
    buf_append_str(out, "weir_info{version=\"" WEIR_VERSION "\"} 1\n");
    head(out, "weir_uptime_seconds", "gauge", "Time since the process started.");
    buf_append_str(out, "weir_uptime_seconds ");
    seconds(out, process->uptime_us);
    buf_append_str(out, "\n");
    simple(out, "weir_ready", "gauge", "1 while every configured service is up.", process->is_ready);
    simple(out, "weir_paused", "gauge", "1 after PAUSE, until RESUME.", process->is_paused);
    simple(out, "weir_clients", "gauge", "Client connections.", (uint64_t)l->used_clients);
    simple(out, "weir_clients_limit", "gauge", "Client connections that max_client_conn allows.",
           (uint64_t)config_settings(config)->max_client_conn);
    simple(out, "weir_clients_logging_in", "gauge", "Client connections that are not logged in yet.",
           (uint64_t)l->login_clients);
    const struct show_worker *workers;
    size_t count = snapshot_workers(snapshot, &workers);
    head(out, "weir_worker_cpu_seconds_total", "counter", "CPU time of each worker thread.");
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "weir_worker_cpu_seconds_total{worker=\"%d\"} ", workers[i].index);
        seconds(out, workers[i].cpu_us);
        buf_append_str(out, "\n");
    }
}

void prometheus_metrics(const struct admin_snapshot *snapshot, const struct config *config,
                        const struct json_process *process, struct buf *out)
{
    const struct show_pool *pools;
    size_t count = snapshot_pools(snapshot, &pools);
    process_gauges(out, snapshot, config, process);
    pool_gauges(out, pools, count);
    counters(out, pools, count);
    pins(out, pools, count);
    histograms(out, pools, count);
    store(out, snapshot_get_store(snapshot));
    feeds(out, snapshot);
    if (snapshot_failed(snapshot))
        out->failed = true;
}
