/* forget: one timer for each part that is empty; no part is looked at while it is in use. */
#include "forget.h"

#include <string.h>

#include "weir/pool/registry.h"
#include "weir/pool/server.h"
#include "weir/util/clock.h"
#include "weir/util/cold.h"
#include "weir/util/log.h"

static bool is_empty(const struct pool_part *part)
{
    for (size_t state = 0; state < SERVER_STATES; state++)
        if (!list_is_empty(&part->servers[state]))
            return false;
    return list_is_empty(&part->clients);
}

static bool is_auto(const struct pool_part *part)
{
    return atomic_load_explicit(&part->pool->database->is_auto, memory_order_relaxed);
}

static bool is_database_empty(const struct registry_database *database)
{
    return budget_used(&database->clients) == 0 && budget_used(&database->servers) == 0;
}

static void forget_part(struct pool_part *part)
{
    log_info("%s/%s: cleaning up idle pool", part->pool->database->name, part->pool->user->name);
    part->is_forgotten = true;
    memset(&part->counters, 0, sizeof(part->counters));
    ledger_free(&part->ledger);
    ledger_init(&part->ledger);
}

/* What is left of a limit that began at `since`; 0: it is over. */
static uint64_t left(uint64_t limit, uint64_t since, uint64_t now)
{
    return now - since < limit ? limit - (now - since) : 0;
}

COLD static void due(struct timer *timer);

/* Does what is due, and comes back for what is not. */
static void look(struct pool_part *part)
{
    struct registry_database *database = part->pool->database;
    const struct pool_settings *s = &part->settings;
    uint64_t now = clock_now_us(), next = 0;
    if (!is_empty(part))
        return;
    if (s->pool_idle_timeout_us > 0 && !part->is_forgotten) {
        next = left(s->pool_idle_timeout_us, part->empty_since_us, now);
        if (next == 0)
            forget_part(part);
    }
    if (s->autodb_idle_timeout_us > 0 && is_auto(part)) {
        uint64_t since = atomic_load_explicit(&database->last_used_us, memory_order_relaxed);
        uint64_t more = left(s->autodb_idle_timeout_us, since, now);
        if (more == 0 && is_database_empty(database)) {
            if (!part->is_forgotten)
                forget_part(part);
            if (atomic_exchange(&database->is_auto, false))
                log_info("forgotten after autodb_idle_timeout: db=%s", database->name);
        }
        next = more > 0 && (next == 0 || more < next) ? more : next;
    } else if (part->database->is_fallback && !is_auto(part) && !part->is_forgotten) {
        forget_part(part); /* another worker has seen to the database */
    }
    if (next > 0)
        timer_start(worker_loop(part->worker), &part->idle_timer, timer_step_us(next), due);
}

COLD static void due(struct timer *timer)
{
    look(list_entry(timer, struct pool_part, idle_timer));
}

void forget_later(struct pool_part *part)
{
    const struct pool_settings *s = &part->settings;
    timer_stop(&part->idle_timer);
    if ((s->pool_idle_timeout_us == 0 && !is_auto(part)) || !is_empty(part))
        return;
    part->empty_since_us = clock_now_us();
    atomic_store_explicit(&part->pool->database->last_used_us, part->empty_since_us, memory_order_relaxed);
    look(part);
}
