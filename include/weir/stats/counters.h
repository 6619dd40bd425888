/*
 * counters: everything that is counted per pool, declared once. Console, JSON and Prometheus read the same
 * list.
 *
 * A struct counters has one writer (the worker that owns it); any thread may read it, relaxed. Readers add
 * the structs of all workers up into plain sums.
 */
#ifndef WEIR_STATS_COUNTERS_H
#define WEIR_STATS_COUNTERS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* X(field, metric name, unit, help). Times are microseconds; the metric of a time is in seconds. */
#define COUNTERS(X)                                                                                          \
    X(server_assignment_count, "weir_server_assignments_total", COUNTER_COUNT, "Leases of a server.")        \
    X(xact_count, "weir_transactions_total", COUNTER_COUNT, "Transactions that ended, hits included.")       \
    X(query_count, "weir_queries_total", COUNTER_COUNT, "Queries answered, hits included.")                  \
    X(bytes_received, "weir_client_received_bytes_total", COUNTER_BYTES, "Bytes received from clients.")     \
    X(bytes_sent, "weir_client_sent_bytes_total", COUNTER_BYTES, "Bytes sent to clients.")                   \
    X(xact_time, "weir_transaction_seconds_total", COUNTER_TIME, "Time servers spent in transactions.")      \
    X(query_time, "weir_query_seconds_total", COUNTER_TIME, "Time servers spent on queries.")                \
    X(wait_time, "weir_wait_seconds_total", COUNTER_TIME, "Time clients waited for a server.")               \
    X(client_parse_count, "weir_client_parses_total", COUNTER_COUNT, "Parse messages from clients.")         \
    X(server_parse_count, "weir_server_parses_total", COUNTER_COUNT, "Parse messages sent to servers.")      \
    X(bind_count, "weir_binds_total", COUNTER_COUNT, "Bind messages from clients.")                          \
    X(client_login_count, "weir_client_logins_total", COUNTER_COUNT, "Clients that logged in.")              \
    X(login_failures, "weir_client_login_failures_total", COUNTER_COUNT, "Clients that were refused.")       \
    X(server_logins, "weir_server_logins_total", COUNTER_COUNT, "Server connections that logged in.")        \
    X(server_login_failures, "weir_server_login_failures_total", COUNTER_COUNT,                              \
      "Server logins that failed.")                                                                          \
    X(server_errors, "weir_server_errors_total", COUNTER_COUNT, "ErrorResponse messages from servers.")      \
    X(server_lost, "weir_server_lost_total", COUNTER_COUNT, "Server connections that ended unexpectedly.")   \
    X(client_errors, "weir_client_errors_total", COUNTER_COUNT, "Errors that Weir itself sent to clients.")  \
    X(query_timeouts, "weir_query_timeouts_total", COUNTER_COUNT, "Queries ended by a time limit.")          \
    X(wait_timeouts, "weir_wait_timeouts_total", COUNTER_COUNT, "Waits ended by query_wait_timeout.")        \
    X(cancel_requests, "weir_cancel_requests_total", COUNTER_COUNT, "Cancel requests passed on.")            \
    X(profile_switches, "weir_profile_switches_total", COUNTER_COUNT, "Leases that had settings to send.")   \
    X(deferred_begins, "weir_deferred_begins_total", COUNTER_COUNT, "BEGINs that were held back.")           \
    X(free_transactions, "weir_serverless_transactions_total", COUNTER_COUNT,                                \
      "Transactions without server.")                                                                        \
    X(cache_hits, "weir_cache_hits_total", COUNTER_COUNT, "Queries answered from the cache.")                \
    X(cache_misses, "weir_cache_misses_total", COUNTER_COUNT, "Cacheable queries that were not found.")      \
    X(cache_joins, "weir_cache_joins_total", COUNTER_COUNT, "Hits that waited for another asker's fetch.")   \
    X(cache_redis_hits, "weir_cache_redis_hits_total", COUNTER_COUNT, "Hits that came out of Redis.")        \
    X(cache_fills, "weir_cache_fills_total", COUNTER_COUNT, "Answers stored.")                               \
    X(cache_refused, "weir_cache_refused_total", COUNTER_COUNT, "Queries that may not be cached.")           \
    X(cache_discarded, "weir_cache_discarded_total", COUNTER_COUNT,                                          \
      "Answers not stored, overtaken by a write.")                                                           \
    X(cache_invalidations, "weir_cache_invalidations_total", COUNTER_COUNT,                                  \
      "Generations changed by writes.")                                                                      \
    X(cache_sent_bytes, "weir_cache_sent_bytes_total", COUNTER_BYTES, "Bytes sent out of the cache.")        \
    X(saved_time, "weir_cache_saved_seconds_total", COUNTER_TIME, "Server time that hits saved.")

enum counter_unit { COUNTER_COUNT, COUNTER_BYTES, COUNTER_TIME };

/* Reasons of track/pin, by its enum; the names are there. */
#define COUNTERS_PIN_REASONS 16

struct counters {
#define X(field, metric, unit, help) _Atomic uint64_t field;
    COUNTERS(X)
#undef X
    _Atomic uint64_t pins[COUNTERS_PIN_REASONS];
};

/* The same, as plain numbers, for one reader. */
struct counters_sum {
#define X(field, metric, unit, help) uint64_t field;
    COUNTERS(X)
#undef X
    uint64_t pins[COUNTERS_PIN_REASONS];
};

/* Only the writer calls these: a load and a store, no locked instruction. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline void counter_bump(_Atomic uint64_t *counter)
{
    counter_add(counter, 1);
}

struct counter_info {
    const char *name;   /* the field */
    const char *metric; /* Prometheus */
    enum counter_unit unit;
    const char *help;
    size_t offset; /* in struct counters_sum */
};

/* One row per field of COUNTERS, pins not among them. */
const struct counter_info *counters_table(size_t *count);
uint64_t counters_value(const struct counters_sum *sum, const struct counter_info *info);

/* sum += counters, reading relaxed. */
void counters_collect(struct counters_sum *sum, const struct counters *counters);
void counters_sum_add(struct counters_sum *sum, const struct counters_sum *other);
/* after - before, field by field; 0 where it would be negative (a pool was forgotten). */
void counters_sum_difference(struct counters_sum *out, const struct counters_sum *after,
                             const struct counters_sum *before);

#endif
