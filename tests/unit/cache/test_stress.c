/*
 * stress: many clients on two worker threads read, fill, wait, cancel, die and write at random, against one
 * row that stands for the database. Nobody may ever read less than what had been completed when they asked
 * (C12, C22, C33).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weir/cache/cache.h"
#include "weir/cache/database.h"
#include "weir/control/catalog.h"
#include "weir/net/worker.h"
#include "weir/sql/classify.h"
#include "weir/track/profile.h"
#include "weir/util/clock.h"

enum { THREADS = 2, CLIENTS = 16, STEPS = 4000, KEYS = 3 };

static struct {
    struct cache *cache;
    struct cache_database *database;
    struct cache_scope *scope;
    struct sql_class *read, *write, *schema;
    _Atomic uint64_t row;       /* committed */
    _Atomic uint64_t completed; /* and told to the writer */
    _Atomic int stale, lost, running;
    _Atomic uint64_t hits, told;
} world;

struct client {
    struct mail mail;
    struct worker *worker;
    struct cache_worker *cache;
    uint64_t random;
    bool is_posted;
    int steps;
    uint64_t promised;
    struct cache_wait *wait;
    struct cache_fill *fill;
    char rows[24];
};

static void again(struct client *c)
{
    if (!c->is_posted)
        worker_post(c->worker, &c->mail);
    c->is_posted = true;
}

static uint64_t dice(struct client *c, uint64_t sides)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return c->random % sides;
}

static void raise_to(_Atomic uint64_t *value, uint64_t at_least)
{
    uint64_t seen = atomic_load(value);
    while (seen < at_least && !atomic_compare_exchange_weak(value, &seen, at_least))
        ;
}

static void check(struct client *c, struct entry *entry)
{
    struct slice rows = entry_part(entry, ENTRY_ROWS);
    char text[24] = "";
    memcpy(text, rows.data, rows.len < sizeof(text) - 1 ? rows.len : sizeof(text) - 1);
    if (strtoull(text, NULL, 10) < c->promised)
        atomic_fetch_add(&world.stale, 1);
    atomic_fetch_add(&world.hits, 1);
    entry_unref(entry);
}

/* The query runs now, its answer is stored at the next step. */
static void fetch(struct client *c, struct cache_fill *fill)
{
    c->fill = fill;
    cache_fill_start(fill, SLICE_LITERAL("5/0/baseline"), clock_now_us());
    snprintf(c->rows, sizeof(c->rows), "%llu", (unsigned long long)atomic_load(&world.row));
}

static void finish(struct client *c)
{
    struct cache_fill *fill = c->fill;
    c->fill = NULL;
    switch (dice(c, 10)) {
    case 0:
        cache_fill_abort(fill, CACHE_ABORT_FETCHER);
        return;
    case 1:
        cache_fill_abort(fill, CACHE_ABORT_ANSWER);
        return;
    case 2:
        cache_fill_release(fill);
        break;
    default:
        break;
    }
    cache_fill_append(fill, ENTRY_ROW_DESCRIPTION, SLICE_LITERAL("T"));
    cache_fill_append(fill, ENTRY_ROWS, slice_str(c->rows));
    cache_fill_commit(fill, clock_now_us());
}

static void on_answer(void *context, const struct cache_answer *answer)
{
    struct client *c = context;
    c->wait = NULL;
    atomic_fetch_add(&world.told, 1);
    if (answer->outcome == CACHE_HIT)
        check(c, answer->entry);
    else if (answer->outcome == CACHE_MISS)
        fetch(c, answer->fill);
    again(c);
}

static bool ask(struct client *c)
{
    char text[64];
    struct cache_answer answer;
    snprintf(text, sizeof(text), "SELECT * FROM users WHERE id = %d", (int)dice(c, KEYS));
    c->promised = atomic_load(&world.completed);
    const struct cache_request request = {.scope = world.scope,
                                          .mode = CACHE_EXACT,
                                          .class = world.read,
                                          .text = slice_str(text),
                                          .now_us = clock_now_us()};
    cache_lookup(c->cache, &request, on_answer, c, &answer);
    if (answer.outcome == CACHE_HIT)
        check(c, answer.entry);
    else if (answer.outcome == CACHE_MISS)
        fetch(c, answer.fill);
    else if (answer.outcome == CACHE_WAIT)
        c->wait = answer.wait;
    return c->wait != NULL;
}

static void write_row(struct client *c)
{
    struct cache_write *write = cache_write_new(c->cache, world.database);
    bool is_schema = dice(c, 50) == 0;
    cache_write_add(write, world.scope, is_schema ? world.schema : world.write, NULL);
    cache_write_mark(write);
    if (dice(c, 10) == 0) {
        cache_write_rollback(write);
        return;
    }
    uint64_t mine = atomic_fetch_add(&world.row, 1) + 1;
    cache_write_commit(write);
    raise_to(&world.completed, mine);
}

static void step(struct mail *mail)
{
    struct client *c = (struct client *)mail;
    c->is_posted = false;
    if (c->fill != NULL)
        finish(c);
    if (c->wait != NULL) /* it has waited for a step: goes away */
        cache_wait_cancel(c->wait), c->wait = NULL;
    if (++c->steps > STEPS) {
        atomic_fetch_sub(&world.running, 1);
        return;
    }
    if (dice(c, 12) == 0)
        write_row(c);
    if (!ask(c) || dice(c, 4) == 0)
        again(c); /* else the answer goes on; some do not wait for it */
}

static void learn(void)
{
    const struct catalog_facts facts = {.system_identifier = 1, .database_oid = 5};
    struct catalog_builder *b = catalog_builder_new(&facts);
    catalog_builder_relation(
        b, &(struct catalog_relation){
               .oid = 20000, .kind = 'r', .persistence = 'p', .schema = "public", .name = "users"});
    struct catalog *catalog = catalog_builder_finish(b);
    database_learn(world.database, catalog);
    database_confirm(world.database, true);
    catalog_unref(catalog);
}

static void nobody_reads_what_is_behind(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    const struct cache_options options = {.memory_bytes = 1 << 20, .max_result_bytes = 1000, .seed = 7};
    struct worker *control = worker_new(-1), *workers[THREADS];
    struct cache_worker *caches[THREADS];
    static struct client clients[THREADS][CLIENTS];
    struct profile_table *profiles = profile_table_new();
    struct profile *profile = profile_empty(profiles);
    world.cache = cache_new(&options, control, &error);
    world.database = cache_database_get(world.cache, "localhost", 5432, "shop");
    const struct cache_scope_options scope = {.database = world.database,
                                              .user = "anna",
                                              .profile = profile,
                                              .baseline = SLICE_LITERAL("5/0/baseline"),
                                              .search_path = SLICE_LITERAL("public")};
    world.scope = cache_scope_get(world.cache, &scope);
    world.read = sql_classify(SLICE_LITERAL("SELECT * FROM users WHERE id = 1"));
    world.write = sql_classify(SLICE_LITERAL("UPDATE users SET id = 1"));
    world.schema = sql_classify(SLICE_LITERAL("ALTER TABLE users ADD COLUMN x int"));
    learn();
    atomic_store(&world.running, THREADS * CLIENTS);
    for (int t = 0; t < THREADS; t++) {
        workers[t] = worker_new(t);
        caches[t] = cache_worker_new(world.cache, workers[t]);
        for (int i = 0; i < CLIENTS; i++) {
            clients[t][i] = (struct client){.mail = {.run = step}, .worker = workers[t], .cache = caches[t]};
            clients[t][i].random = (uint64_t)(t * CLIENTS + i + 1) * UINT64_C(0x9E3779B97F4A7C15);
            again(&clients[t][i]);
        }
    }
    for (int t = 0; t < THREADS; t++)
        assert_true(worker_start(workers[t]));
    /* What the watch does after definitions have changed. */
    while (atomic_load(&world.running) > 0) {
        learn();
        usleep(300);
    }
    for (int t = 0; t < THREADS; t++) {
        worker_stop(workers[t]);
        cache_worker_stop(caches[t]);
        worker_free(workers[t]);
    }
    struct cache_stats stats;
    cache_stats(world.cache, &stats);
    print_message("hits %llu (told %llu) joins %llu fills %llu refused %llu writes %llu epochs %llu\n",
                  (unsigned long long)world.hits, (unsigned long long)world.told,
                  (unsigned long long)stats.joins, (unsigned long long)stats.fills,
                  (unsigned long long)stats.fills_refused, (unsigned long long)stats.writes,
                  (unsigned long long)stats.epoch_changes);
    assert_int_equal(atomic_load(&world.stale), 0);
    assert_true(stats.hits > 0 && stats.joins > 0 && stats.fills > 0 && stats.writes > 0);
    for (int t = 0; t < THREADS; t++)
        cache_worker_free(caches[t]);
    cache_scope_unref(world.scope);
    cache_database_unref(world.database);
    cache_stop(world.cache);
    worker_free(control);
    cache_free(world.cache);
    sql_class_unref(world.read);
    sql_class_unref(world.write);
    sql_class_unref(world.schema);
    profile_unref(profile);
    profile_table_free(profiles);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_reads_what_is_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
