/*
 * ledger: where the time of requests went. One per pool and worker; always on.
 *
 *   wait    from the first need of a server to its lease        server  first byte sent to ReadyForQuery
 *   client  idle in transaction, or too slow to read            weir    all the rest
 *   total   wait + server + weir: what the client experienced   saved   what hits would have cost
 *
 * One writer, relaxed readers, like its histograms.
 */
#ifndef WEIR_STATS_LEDGER_H
#define WEIR_STATS_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/stats/histogram.h"

struct request_times {
    uint64_t wait_us;
    uint64_t server_us;
    uint64_t client_us;
    uint64_t weir_us;
    uint64_t saved_us; /* hits only */
    bool is_hit;
};

/* X(field, metric name, help) */
#define LEDGER_PARTS(X)                                                                                      \
    X(wait, "weir_request_wait_seconds", "Time requests waited for a server connection.")                    \
    X(server, "weir_request_server_seconds", "Time requests ran in PostgreSQL.")                             \
    X(client, "weir_request_client_seconds", "Time servers waited for the client.")                          \
    X(weir, "weir_request_weir_seconds", "Time requests spent in Weir.")                                     \
    X(total, "weir_request_seconds", "Time from a request to its answer.")

struct ledger {
#define X(field, metric, help) struct histogram field;
    LEDGER_PARTS(X)
#undef X
    _Atomic uint64_t saved_us;
    _Atomic uint64_t hits;
};

void ledger_init(struct ledger *ledger);
void ledger_free(struct ledger *ledger);

/* The writer only. A hit has no server time and is not counted in `server`. */
void ledger_record(struct ledger *ledger, const struct request_times *times);

/* into += from; `into` belongs to the caller. */
void ledger_merge(struct ledger *into, const struct ledger *from);

struct ledger_part {
    const char *name;
    const char *metric;
    const char *help;
    size_t offset; /* of the struct histogram in struct ledger */
};

const struct ledger_part *ledger_parts(size_t *count);
const struct histogram *ledger_histogram(const struct ledger *ledger, const struct ledger_part *part);

#endif
