#include "weir/stats/ledger.h"

#include "weir/stats/counters.h"

static const struct ledger_part parts[] = {
#define X(field, metric, help) {#field, metric, help, offsetof(struct ledger, field)},
    LEDGER_PARTS(X)
#undef X
};

void ledger_init(struct ledger *ledger)
{
#define X(field, metric, help) histogram_init(&ledger->field);
    LEDGER_PARTS(X)
#undef X
    atomic_init(&ledger->saved_us, 0);
    atomic_init(&ledger->hits, 0);
}

void ledger_free(struct ledger *ledger)
{
#define X(field, metric, help) histogram_free(&ledger->field);
    LEDGER_PARTS(X)
#undef X
}

void ledger_record(struct ledger *ledger, const struct request_times *times)
{
    histogram_record(&ledger->wait, times->wait_us);
    histogram_record(&ledger->client, times->client_us);
    histogram_record(&ledger->weir, times->weir_us);
    histogram_record(&ledger->total, times->wait_us + times->server_us + times->weir_us);
    if (times->is_hit) {
        counter_bump(&ledger->hits);
        counter_add(&ledger->saved_us, times->saved_us);
    } else {
        histogram_record(&ledger->server, times->server_us);
    }
}

void ledger_merge(struct ledger *into, const struct ledger *from)
{
#define X(field, metric, help) histogram_merge(&into->field, &from->field);
    LEDGER_PARTS(X)
#undef X
    counter_add(&into->saved_us, atomic_load_explicit(&from->saved_us, memory_order_relaxed));
    counter_add(&into->hits, atomic_load_explicit(&from->hits, memory_order_relaxed));
}

const struct ledger_part *ledger_parts(size_t *count)
{
    *count = sizeof(parts) / sizeof(parts[0]);
    return parts;
}

const struct histogram *ledger_histogram(const struct ledger *ledger, const struct ledger_part *part)
{
    return (const struct histogram *)(const void *)((const char *)ledger + part->offset);
}
