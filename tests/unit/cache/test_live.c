/* cache and watch together, on a real PostgreSQL: becoming ready, definitions that change, writes whose
 * outcome is unknown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/socket.h>

#include <libpq-fe.h>

#include "../support/live.h"
#include "weir/cache/cache.h"
#include "weir/control/control.h"
#include "weir/net/worker.h"
#include "weir/sql/classify.h"
#include "weir/track/profile.h"
#include "weir/util/clock.h"

static struct live live;
static bool has_postgres;

static struct {
    struct worker *control, *thread;
    struct cache *cache;
    struct cache_worker *worker;
    struct cache_database *database;
    struct profile_table *profiles;
    struct profile *profile;
    struct cache_scope *scope;
    PGconn *server;
    char *baseline;
} world;

static PGconn *connect_server(void)
{
    char conninfo[128];
    snprintf(conninfo, sizeof(conninfo), "host=%s user=postgres dbname=postgres", live.directory);
    return PQconnectdb(conninfo);
}

static void run_loops(void)
{
    loop_turn(worker_loop(world.control));
    loop_turn(worker_loop(world.thread));
    usleep(500);
}

static struct cache_answer ask(const char *text)
{
    struct cache_answer answer;
    const struct cache_request request = {.scope = world.scope,
                                          .mode = CACHE_EXACT,
                                          .class = sql_classify(slice_str(text)),
                                          .text = slice_str(text),
                                          .now_us = clock_now_us()};
    cache_lookup(world.worker, &request, NULL, NULL, &answer);
    sql_class_unref(request.class);
    return answer;
}

/* HIT, MISS or PASS; a miss is answered with the rows as PostgreSQL has them now. */
static enum cache_outcome read_table(const char *text, char *rows, size_t size)
{
    struct cache_answer answer = ask(text);
    if (answer.outcome == CACHE_HIT) {
        struct slice found = entry_part(answer.entry, ENTRY_ROWS);
        snprintf(rows, size, "%.*s", (int)found.len, (const char *)found.data);
        entry_unref(answer.entry);
        return CACHE_HIT;
    }
    bool is_started = answer.outcome == CACHE_MISS &&
                      cache_fill_start(answer.fill, slice_str(world.baseline), clock_now_us());
    PGresult *result = PQexec(world.server, text);
    snprintf(rows, size, "%s",
             PQresultStatus(result) == PGRES_TUPLES_OK ? PQgetvalue(result, 0, 0) : "error");
    PQclear(result);
    if (is_started) {
        cache_fill_append(answer.fill, ENTRY_ROW_DESCRIPTION, SLICE_LITERAL("T"));
        cache_fill_append(answer.fill, ENTRY_ROWS, slice_str(rows));
    }
    if (answer.outcome == CACHE_MISS)
        cache_fill_commit(answer.fill, clock_now_us());
    return answer.outcome;
}

static bool wait_for(enum cache_outcome wanted, const char *text, int seconds)
{
    char rows[64];
    uint64_t end = clock_now_us() + (uint64_t)seconds * US_PER_SECOND;
    while (clock_now_us() < end) {
        if (read_table(text, rows, sizeof(rows)) == wanted)
            return true;
        run_loops();
    }
    return false;
}

static void write_table(const char *text)
{
    struct sql_class *class = sql_classify(slice_str(text));
    struct cache_write *write = cache_write_new(world.worker, world.database);
    cache_write_add(write, world.scope, class, NULL);
    cache_write_mark(write);
    PQclear(PQexec(world.server, text));
    cache_write_commit(write);
    sql_class_unref(class);
}

#define COUNT "SELECT count(*) FROM items"
#define NEEDS_POSTGRES                                                                                       \
    (void)state;                                                                                             \
    if (!has_postgres)                                                                                       \
    skip()

static void reads_and_writes(void **state)
{
    NEEDS_POSTGRES;
    char rows[64];
    assert_int_equal(ask(COUNT).outcome, CACHE_PASS); /* nothing is known yet */
    assert_true(wait_for(CACHE_HIT, COUNT, 10));
    assert_true(cache_database_is_exact_allowed(world.database));
    for (int i = 1; i <= 50; i++) {
        write_table("INSERT INTO items VALUES (1)");
        assert_int_equal(read_table(COUNT, rows, sizeof(rows)), CACHE_MISS);
        assert_int_equal(atoi(rows), i);
        assert_int_equal(read_table(COUNT, rows, sizeof(rows)), CACHE_HIT);
        assert_int_equal(atoi(rows), i);
    }
}

static void test_c18_definitions_changed_through_weir_count_at_once(void **state)
{
    NEEDS_POSTGRES;
    char rows[64];
    assert_true(wait_for(CACHE_HIT, COUNT, 10));
    write_table("CREATE VIEW v AS SELECT 1 AS x");
    assert_int_equal(ask(COUNT).outcome, CACHE_PASS); /* until the catalog has been looked at */
    assert_true(wait_for(CACHE_HIT, COUNT, 10));
    /* A trigger that writes elsewhere: from now on a write to one is a write to the other. */
    write_table("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
                "'begin insert into items values (2); return null; end'");
    write_table("CREATE TRIGGER t AFTER INSERT ON others FOR EACH ROW EXECUTE FUNCTION f()");
    assert_true(wait_for(CACHE_HIT, COUNT, 10));
    assert_int_equal(read_table(COUNT, rows, sizeof(rows)), CACHE_HIT);
    int before = atoi(rows);
    write_table("INSERT INTO others VALUES (1)");
    assert_int_equal(read_table(COUNT, rows, sizeof(rows)), CACHE_MISS);
    assert_int_equal(atoi(rows), before + 1);
    /* The same by code that nobody can see. */
    write_table("DO 'begin drop trigger t on others; end'");
    assert_int_equal(ask(COUNT).outcome, CACHE_PASS);
    assert_true(wait_for(CACHE_HIT, COUNT, 10));
}

static void test_c15_c28_a_lost_commit_counts_when_its_backend_is_gone(void **state)
{
    NEEDS_POSTGRES;
    assert_true(wait_for(CACHE_HIT, COUNT, 10));
    PGconn *lost = connect_server();
    struct sql_class *class = sql_classify(SLICE_LITERAL("INSERT INTO items SELECT 3 FROM pg_sleep(1)"));
    struct cache_write *write = cache_write_new(world.worker, world.database);
    cache_write_add(write, world.scope, class, NULL);
    sql_class_unref(class);
    cache_write_mark(write);
    assert_int_equal(PQsendQuery(lost, "INSERT INTO items SELECT 3 FROM pg_sleep(1)"), 1);
    cache_write_unknown(write, (uint32_t)PQbackendPID(lost));
    uint64_t began = clock_now_us();
    int fd = PQsocket(lost);
    shutdown(fd, SHUT_RDWR); /* Weir has lost it; PostgreSQL goes on, and commits in a second */
    char rows[64];
    while (clock_now_us() < began + 700000) {
        assert_int_equal(ask(COUNT).outcome, CACHE_PASS);
        run_loops();
    }
    assert_true(wait_for(CACHE_MISS, COUNT, 10));
    assert_true(clock_now_us() > began + 900000);
    assert_int_equal(read_table(COUNT, rows, sizeof(rows)), CACHE_HIT);
    PQfinish(lost);
}

static int set_up(void **state)
{
    (void)state;
    has_postgres = live_postgres_start(&live);
    if (!has_postgres) {
        print_error("no PostgreSQL could be started: the tests that need one are skipped\n");
        return 0;
    }
    if (!live_sql(&live, "create table items (id int); create table others (id int)", NULL, 0))
        return 1;
    const struct cache_options options = {.memory_bytes = 1 << 20, .max_result_bytes = 1000, .seed = 7};
    const char *const keywords[] = {"host", "user", "dbname", NULL};
    const char *const values[] = {live.directory, "postgres", "postgres", NULL};
    const struct control_options connection = {.keywords = keywords, .values = values};
    world.control = worker_new(-1);
    world.thread = worker_new(0);
    world.cache = cache_new(&options, world.control, NULL);
    world.worker = cache_worker_new(world.cache, world.thread);
    world.database = cache_database_get(world.cache, live.directory, 5432, "postgres");
    world.profiles = profile_table_new();
    world.profile = profile_empty(world.profiles);
    world.server = connect_server();
    PGresult *result = PQexec(world.server, cache_baseline_query());
    world.baseline = strdup(PQgetvalue(result, 0, 0));
    const struct cache_scope_options scope = {.database = world.database,
                                              .user = "postgres",
                                              .profile = world.profile,
                                              .baseline = slice_str(world.baseline),
                                              .search_path = slice_str(PQgetvalue(result, 0, 1))};
    world.scope = cache_scope_get(world.cache, &scope);
    PQclear(result);
    return !cache_database_watch(world.database, CACHE_EXACT, &connection, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    if (!has_postgres)
        return 0;
    PQfinish(world.server);
    cache_scope_unref(world.scope);
    cache_database_unref(world.database);
    cache_stop(world.cache);
    cache_worker_stop(world.worker);
    worker_free(world.thread);
    cache_worker_free(world.worker);
    worker_free(world.control);
    cache_free(world.cache);
    profile_unref(world.profile);
    profile_table_free(world.profiles);
    free(world.baseline);
    live_postgres_stop(&live);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes),
        cmocka_unit_test(test_c18_definitions_changed_through_weir_count_at_once),
        cmocka_unit_test(test_c15_c28_a_lost_commit_counts_when_its_backend_is_gone),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
