/* The cache with a real Redis behind it and no memory of its own: every hit comes from there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../support/live.h"
#include "weir/cache/cache.h"
#include "weir/cache/database.h"
#include "weir/control/catalog.h"
#include "weir/net/worker.h"
#include "weir/sql/classify.h"
#include "weir/track/profile.h"
#include "weir/util/clock.h"

static struct live live;
static bool has_redis;
static struct worker *control;
static struct profile_table *profiles;
static struct profile *profile;

struct world {
    struct worker *thread;
    struct cache *cache;
    struct cache_worker *worker;
    struct cache_database *database;
    struct cache_scope *scope;
};

static void start(struct world *w, uint64_t seed)
{
    char url[128];
    struct error error = ERROR_INIT;
    snprintf(url, sizeof(url), "unix://%s/redis.sock", live.directory);
    const struct cache_options options = {
        .max_result_bytes = 100000, .redis_url = url, .redis_timeout_us = 300000, .seed = seed};
    w->cache = cache_new(&options, control, &error);
    assert_non_null(w->cache);
    w->thread = worker_new(0);
    w->worker = cache_worker_new(w->cache, w->thread);
    w->database = cache_database_get(w->cache, "localhost", 5432, "shop");
    const struct cache_scope_options scope = {.database = w->database,
                                              .user = "anna",
                                              .profile = profile,
                                              .baseline = SLICE_LITERAL("5/0/baseline"),
                                              .search_path = SLICE_LITERAL("public")};
    w->scope = cache_scope_get(w->cache, &scope);
    const struct catalog_facts facts = {.system_identifier = 1, .database_oid = 5};
    struct catalog_builder *b = catalog_builder_new(&facts);
    catalog_builder_relation(
        b, &(struct catalog_relation){
               .oid = 20000, .kind = 'r', .persistence = 'p', .schema = "public", .name = "users"});
    struct catalog *catalog = catalog_builder_finish(b);
    database_learn(w->database, catalog);
    database_confirm(w->database, true);
    catalog_unref(catalog);
}

static void run_for(struct world *w, uint64_t us)
{
    uint64_t end = clock_now_us() + us;
    while (clock_now_us() < end) {
        loop_turn(worker_loop(w->thread));
        usleep(200);
    }
}

static void stop(struct world *w)
{
    cache_scope_unref(w->scope);
    cache_database_unref(w->database);
    cache_stop(w->cache);
    cache_worker_stop(w->worker);
    worker_free(w->thread);
    cache_worker_free(w->worker);
    cache_free(w->cache);
}

static void hear(void *context, const struct cache_answer *answer)
{
    *(struct cache_answer *)context = *answer;
}

enum { NOT_YET = 99 };

/* What was answered in the end. */
static struct cache_answer ask(struct world *w)
{
    static struct cache_answer later;
    struct cache_answer answer;
    const struct slice text = SLICE_LITERAL("SELECT * FROM users");
    const struct cache_request request = {.scope = w->scope,
                                          .mode = CACHE_EXACT,
                                          .class = sql_classify(text),
                                          .text = text,
                                          .now_us = clock_now_us()};
    later.outcome = (enum cache_outcome)NOT_YET;
    cache_lookup(w->worker, &request, hear, &later, &answer);
    sql_class_unref(request.class);
    if (answer.outcome != CACHE_WAIT)
        return answer;
    for (int i = 0; i < 100 && (int)later.outcome == NOT_YET; i++)
        run_for(w, 10000);
    return later;
}

static void fetch(struct world *w, struct cache_fill *fill)
{
    assert_true(cache_fill_start(fill, SLICE_LITERAL("5/0/baseline"), clock_now_us()));
    cache_fill_append(fill, ENTRY_ROW_DESCRIPTION, SLICE_LITERAL("T"));
    cache_fill_append(fill, ENTRY_ROWS, SLICE_LITERAL("rows"));
    cache_fill_commit(fill, clock_now_us());
    run_for(w, 50000);
}

static void write_users(struct world *w)
{
    struct sql_class *class = sql_classify(SLICE_LITERAL("UPDATE users SET id = 1"));
    struct cache_write *write = cache_write_new(w->worker, w->database);
    cache_write_add(write, w->scope, class, NULL);
    cache_write_mark(write);
    cache_write_commit(write);
    sql_class_unref(class);
}

#define NEEDS_REDIS                                                                                          \
    (void)state;                                                                                             \
    if (!has_redis)                                                                                          \
    skip()

static void hits_come_from_redis_until_a_write(void **state)
{
    NEEDS_REDIS;
    struct world w;
    start(&w, 1);
    run_for(&w, 200000); /* connects */
    struct cache_answer answer = ask(&w);
    assert_int_equal(answer.outcome, CACHE_MISS);
    fetch(&w, answer.fill);
    for (int i = 0; i < 3; i++) {
        answer = ask(&w);
        assert_int_equal(answer.outcome, CACHE_HIT);
        assert_true(slice_equal_str(entry_answer(answer.entry), "Trows"));
        entry_unref(answer.entry);
    }
    write_users(&w);
    answer = ask(&w);
    assert_int_equal(answer.outcome, CACHE_MISS);
    cache_fill_abort(answer.fill, CACHE_ABORT_ANSWER);
    struct cache_stats stats;
    cache_stats(w.cache, &stats);
    assert_int_equal(stats.redis_hits, 3);
    assert_int_equal(stats.redis_stores, 1);
    assert_int_equal(stats.entries, 0);
    stop(&w);
}

static void test_c25_another_process_finds_nothing_of_this_one(void **state)
{
    NEEDS_REDIS;
    struct world w;
    for (uint64_t seed = 10; seed < 12; seed++) {
        start(&w, seed);
        run_for(&w, 200000);
        struct cache_answer answer = ask(&w);
        assert_int_equal(answer.outcome, CACHE_MISS);
        fetch(&w, answer.fill);
        stop(&w);
    }
}

static void test_c21_a_redis_that_hangs_or_dies_costs_a_miss(void **state)
{
    NEEDS_REDIS;
    struct world w;
    start(&w, 20);
    run_for(&w, 200000);
    kill(live.redis, SIGSTOP);
    uint64_t began = clock_now_us();
    struct cache_answer answer = ask(&w);
    assert_int_equal(answer.outcome, CACHE_MISS);
    assert_true(clock_now_us() - began < 600000);
    fetch(&w, answer.fill);
    kill(live.redis, SIGCONT);
    run_for(&w, 100000);
    /* Asked, and lost while the answer is waited for. */
    kill(live.redis, SIGSTOP);
    struct cache_answer unheard, pending;
    const struct slice text = SLICE_LITERAL("SELECT id FROM users");
    const struct cache_request request = {.scope = w.scope,
                                          .mode = CACHE_EXACT,
                                          .class = sql_classify(text),
                                          .text = text,
                                          .now_us = clock_now_us()};
    cache_lookup(w.worker, &request, hear, &unheard, &pending);
    assert_int_equal(pending.outcome, CACHE_WAIT);
    cache_wait_cancel(pending.wait); /* the client goes away first */
    kill(live.redis, SIGKILL);
    run_for(&w, 100000);
    cache_lookup(w.worker, &request, hear, &unheard, &pending);
    assert_int_equal(pending.outcome, CACHE_MISS); /* at once */
    cache_fill_abort(pending.fill, CACHE_ABORT_FETCHER);
    sql_class_unref(request.class);
    stop(&w);
}

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* as the process does */
    has_redis = live_redis_start(&live, "");
    if (!has_redis)
        print_error("no Redis could be started: the tests that need one are skipped\n");
    control = worker_new(-1);
    profiles = profile_table_new();
    profile = profile_empty(profiles);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    profile_unref(profile);
    profile_table_free(profiles);
    worker_free(control);
    if (has_redis)
        live_redis_stop(&live);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hits_come_from_redis_until_a_write),
        cmocka_unit_test(test_c25_another_process_finds_nothing_of_this_one),
        cmocka_unit_test(test_c21_a_redis_that_hangs_or_dies_costs_a_miss), /* kills it: the last */
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
