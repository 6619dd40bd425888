/*
 * What PgBouncer does not have: SHOW CACHE, CACHE_STORE, FEEDS, PINS, TEMPLATES, WORKERS.
 */
#include <stdio.h>

#include "show.h"

const struct encode_column show_cache_columns[15] = {
    SHOW_TEXT("database"),      SHOW_TEXT("user"),        SHOW_TEXT("mode"),
    SHOW_NUMERIC("hits"),       SHOW_NUMERIC("misses"),   SHOW_NUMERIC("hit_ratio"),
    SHOW_NUMERIC("redis_hits"), SHOW_NUMERIC("joins"),    SHOW_NUMERIC("fills"),
    SHOW_NUMERIC("discarded"),  SHOW_NUMERIC("refused"),  SHOW_NUMERIC("invalidations"),
    SHOW_NUMERIC("sent_bytes"), SHOW_NUMERIC("saved_us"), SHOW_TEXT("state")};

void show_cache(struct show *show)
{
    const struct show_pool *rows;
    size_t count = snapshot_pools(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++) {
        const struct counters_sum *c = &rows[i].counters;
        uint64_t asked = c->cache_hits + c->cache_misses;
        char ratio[16] = "0";
        if (asked > 0)
            snprintf(ratio, sizeof(ratio), "%.4f", (double)c->cache_hits / (double)asked);
        show_begin(show, 15);
        show_text(show, rows[i].database);
        show_text(show, rows[i].user);
        show_text(show, rows[i].cache_mode);
        show_number(show, c->cache_hits);
        show_number(show, c->cache_misses);
        show_text(show, ratio);
        show_number(show, c->cache_redis_hits);
        show_number(show, c->cache_joins);
        show_number(show, c->cache_fills);
        show_number(show, c->cache_discarded);
        show_number(show, c->cache_refused);
        show_number(show, c->cache_invalidations);
        show_number(show, c->cache_sent_bytes);
        show_number(show, c->saved_time);
        show_text(show, rows[i].cache_state);
        show_end(show);
    }
}

const struct encode_column show_store_columns[2] = {SHOW_TEXT("name"), SHOW_TEXT("value")};

void show_cache_store(struct show *show)
{
    const struct show_store *s = snapshot_get_store(show->snapshot);
    show_pair(show, "memory_used_bytes", s->memory_used_bytes);
    show_pair(show, "memory_limit_bytes", s->memory_limit_bytes);
    show_pair(show, "entries", s->entries);
    show_pair(show, "evictions", s->evictions);
    show_begin(show, 2);
    show_text(show, "redis");
    show_text(show, s->redis);
    show_end(show);
    show_begin(show, 2);
    show_text(show, "redis_nodes");
    show_text(show, s->redis_nodes);
    show_end(show);
    show_pair(show, "redis_requests", s->redis_requests);
    show_pair(show, "redis_errors", s->redis_errors);
    show_pair(show, "redis_timeouts", s->redis_timeouts);
    show_pair(show, "checks_right", s->checks_right);
    show_pair(show, "checks_wrong", s->checks_wrong);
    show_pair(show, "checks_undecided", s->checks_undecided);
    show_pair(show, "analyses", s->analyses);
    show_pair(show, "analyses_failed", s->analyses_failed);
    show_pair(show, "flushes", s->flushes);
    show_begin(show, 2);
    show_text(show, "disabled");
    show_text(show, s->disabled);
    show_end(show);
}

const struct encode_column show_pins_columns[7] = {
    SHOW_TEXT("database"), SHOW_TEXT("user"),  SHOW_TEXT("addr"),     SHOW_BIGINT("client_id"),
    SHOW_TEXT("reason"),   SHOW_TEXT("since"), SHOW_NUMERIC("age_us")};

void show_pins(struct show *show)
{
    const struct show_pin *rows;
    size_t count = snapshot_pins(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++) {
        show_begin(show, 7);
        show_text(show, rows[i].database);
        show_text(show, rows[i].user);
        show_text(show, rows[i].addr);
        show_number(show, rows[i].client_id);
        show_text(show, rows[i].reason);
        show_time(show, rows[i].since_wall_us);
        show_number(show, rows[i].age_us);
        show_end(show);
    }
}

const struct encode_column show_templates_columns[12] = {
    SHOW_TEXT("database"),  SHOW_TEXT("user"),        SHOW_NUMERIC("calls"),  SHOW_NUMERIC("hits"),
    SHOW_NUMERIC("misses"), SHOW_NUMERIC("saved_us"), SHOW_TEXT("cacheable"), SHOW_TEXT("reason"),
    SHOW_TEXT("found"),     SHOW_TEXT("relations"),   SHOW_TEXT("since"),     SHOW_TEXT("text")};

void show_templates(struct show *show)
{
    const struct show_template *rows;
    size_t count = snapshot_templates(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++) {
        show_begin(show, 12);
        show_text(show, rows[i].database);
        show_text(show, rows[i].user);
        show_number(show, rows[i].calls);
        show_number(show, rows[i].hits);
        show_number(show, rows[i].misses);
        show_number(show, rows[i].saved_us);
        show_text(show, rows[i].cacheable);
        show_text(show, rows[i].reason);
        show_text(show, rows[i].found);
        show_text(show, rows[i].relations);
        show_time(show, rows[i].since_wall_us);
        show_text(show, rows[i].text);
        show_end(show);
    }
}

const struct encode_column show_workers_columns[4] = {SHOW_INT("worker"), SHOW_INT("clients"),
                                                      SHOW_INT("servers"), SHOW_NUMERIC("cpu_us")};

void show_workers(struct show *show)
{
    const struct show_worker *rows;
    size_t count = snapshot_workers(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++) {
        show_begin(show, 4);
        show_int(show, rows[i].index);
        show_int(show, rows[i].clients);
        show_int(show, rows[i].servers);
        show_number(show, rows[i].cpu_us);
        show_end(show);
    }
}

const struct encode_column show_feeds_columns[10] = {
    SHOW_TEXT("database"), SHOW_TEXT("host"),      SHOW_INT("port"),          SHOW_TEXT("slot"),
    SHOW_TEXT("mode"),     SHOW_NUMERIC("lag_us"), SHOW_NUMERIC("lag_bytes"), SHOW_NUMERIC("transactions"),
    SHOW_NUMERIC("gaps"),  SHOW_TEXT("state")};

void show_feeds(struct show *show)
{
    const struct show_feed *rows;
    size_t count = snapshot_feeds(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++) {
        show_begin(show, 10);
        show_text(show, rows[i].database);
        show_text(show, rows[i].host);
        show_int(show, rows[i].port);
        show_text(show, rows[i].slot);
        show_text(show, rows[i].mode);
        if (rows[i].lag_us != UINT64_MAX)
            show_number(show, rows[i].lag_us);
        else
            show_text(show, NULL);
        show_number(show, rows[i].lag_bytes);
        show_number(show, rows[i].transactions);
        show_number(show, rows[i].gaps);
        show_text(show, rows[i].state);
        show_end(show);
    }
}

const struct encode_column show_feed_check_columns[6] = {SHOW_TEXT("database"), SHOW_TEXT("what"),
                                                         SHOW_TEXT("state"),    SHOW_TEXT("found"),
                                                         SHOW_TEXT("remedy"),   SHOW_TEXT("sql")};

void show_feed_check(struct show *show)
{
    const struct show_feed_need *rows;
    size_t count = snapshot_feed_needs(show->snapshot, &rows);
    for (size_t i = 0; i < count; i++) {
        show_begin(show, 6);
        show_text(show, rows[i].database);
        show_text(show, rows[i].what);
        show_text(show, rows[i].is_met ? "ok" : "missing");
        show_text(show, rows[i].found);
        show_text(show, rows[i].remedy);
        show_text(show, rows[i].sql);
        show_end(show);
    }
}
