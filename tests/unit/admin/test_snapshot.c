/* snapshot: merging by name, ledgers that move and ledgers that add up, odd names, JSON and Prometheus texts
 * of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <jansson.h>
#include <cmocka.h>

#include "fake_source.h"
#include "weir/admin/json.h"
#include "weir/admin/prometheus.h"

static struct fake fake;
static struct admin_snapshot *snapshot;
static const struct json_process process = {.uptime_us = 2500000, .wall_us = 5, .is_ready = true};

static int set_up(void **state)
{
    (void)state;
    fake_source(&fake);
    snapshot = fake_snapshot(&fake, SNAPSHOT_POOLS | SNAPSHOT_LEDGERS);
    return snapshot != NULL ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    snapshot_free(snapshot);
    config_unref(fake.config);
    return 0;
}

static void merges_by_name(void **state)
{
    (void)state;
    const struct show_pool *pools;
    const struct show_database *databases;
    const struct show_user *users;
    const struct show_template *templates;
    const struct show_socket *sockets;
    assert_int_equal(snapshot_pools(snapshot, &pools), 2);
    assert_string_equal(pools[0].database, "shop");
    assert_int_equal(pools[0].cl_active, 8);
    assert_int_equal(pools[0].pool_size, 3);
    assert_int_equal(pools[0].counters.query_count, 400);
    assert_int_equal(histogram_count(&pools[0].ledger->total), 400);
    assert_int_equal(histogram_count(&pools[1].ledger->server), 150);
    assert_int_equal(snapshot_databases(snapshot, &databases), 3);
    assert_int_equal(snapshot_users(snapshot, &users), 1);
    assert_int_equal(snapshot_sockets(snapshot, &sockets), 2);
    assert_int_equal(snapshot_templates(snapshot, &templates), 1);
    assert_string_equal(templates[0].user, "anna");
    assert_int_equal(templates[0].calls, 15);
    assert_string_equal(templates[0].cacheable, "yes"); /* of the worker that was asked more */
    assert_string_equal(snapshot_get_store(snapshot)->redis, "up");
    assert_false(snapshot_failed(snapshot));
    struct counters_sum sum;
    snapshot_total(snapshot, &sum, NULL);
    assert_int_equal(sum.xact_count, 300);
}

static void merges_many(void **state)
{
    (void)state;
    struct admin_snapshot *all = snapshot_new();
    for (int worker = 0; worker < 4; worker++) {
        struct admin_snapshot *s = snapshot_new();
        for (int i = 0; i < 3000; i++) {
            char name[16];
            snprintf(name, sizeof(name), "db%d", (i * 7 + worker * 1000) % 4000);
            struct show_pool *pool = snapshot_add_pool(s);
            pool->database = snapshot_text(s, name);
            pool->user = "u";
            pool->cl_active = 1;
        }
        snapshot_merge(all, s);
    }
    const struct show_pool *pools;
    size_t count = snapshot_pools(all, &pools);
    int clients = 0;
    for (size_t i = 0; i < count; i++)
        clients += pools[i].cl_active;
    assert_true(count <= 4000);
    assert_int_equal(clients, 12000);
    snapshot_free(all);
}

static void json_says_what_the_rows_say(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    json_stats(snapshot, fake.config, &process, &out);
    assert_false(buf_failed(&out));
    json_error_t problem;
    json_t *root = json_loadb((const char *)out.data, out.len, 0, &problem);
    assert_non_null(root);
    assert_int_equal(json_integer_value(json_object_get(root, "uptime_us")), 2500000);
    assert_true(json_is_true(json_object_get(json_object_get(root, "state"), "ready")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "totals"), "cache_hits")), 90);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "pins"), "temp_table")), 6);
    json_t *pools = json_object_get(root, "pools");
    assert_int_equal(json_array_size(pools), 2);
    json_t *odd = json_array_get(pools, 1);
    assert_string_equal(json_string_value(json_object_get(odd, "database")), "odd\"db\\\n");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(odd, "servers"), "idle")), 1);
    json_t *server = json_object_get(json_object_get(root, "latency"), "server");
    double p50 = json_real_value(json_object_get(server, "p50_us"));
    assert_true(p50 > 1080 && p50 < 1120);
    json_int_t in_buckets = 0;
    size_t i;
    json_t *bucket;
    json_array_foreach(json_object_get(server, "buckets"), i, bucket) in_buckets +=
        json_integer_value(json_array_get(bucket, 1));
    assert_int_equal(in_buckets, 450);
    json_decref(root);
    buf_free(&out);
}

static void json_survives_names_that_are_not_utf8(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    snapshot_add_pool(snapshot)->database = "caf\xE9";
    json_stats(snapshot, fake.config, &process, &out);
    json_t *root = json_loadb((const char *)out.data, out.len, 0, NULL);
    assert_non_null(root);
    json_t *pool = json_array_get(json_object_get(root, "pools"), 2);
    assert_string_equal(json_string_value(json_object_get(pool, "database")), "caf?");
    json_decref(root);
    buf_free(&out);
}

static void prometheus_text(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    prometheus_metrics(snapshot, fake.config, &process, &out);
    const char *text = buf_text(&out);
    const char *lines[] = {
        "# TYPE weir_cache_hits_total counter\nweir_cache_hits_total{database=\"shop\",user=\"anna\"} 60\n",
        "weir_cache_hits_total{database=\"odd\\\"db\\\\\\n\",user=\"ben\"} 30\n",
        "weir_query_seconds_total{database=\"shop\",user=\"anna\"} 0.400000\n",
        "weir_pins_total{database=\"shop\",user=\"anna\",reason=\"temp_table\"} 4\n",
        "# TYPE weir_request_server_seconds histogram\n",
        "weir_request_server_seconds_bucket{database=\"shop\",user=\"anna\",le=\"0.0005\"} 0\n",
        "weir_request_server_seconds_bucket{database=\"shop\",user=\"anna\",le=\"0.0025\"} 300\n",
        "weir_request_server_seconds_bucket{database=\"shop\",user=\"anna\",le=\"+Inf\"} 300\n",
        "weir_request_server_seconds_count{database=\"shop\",user=\"anna\"} 300\n",
        "weir_request_wait_seconds_bucket{database=\"shop\",user=\"anna\",le=\"0.0001\"} 202\n",
        "weir_pool_oldest_wait_seconds{database=\"shop\",user=\"anna\"} 2.500000\n",
        "weir_uptime_seconds 2.500000\n",
        "weir_redis_up 1\n",
        "weir_worker_cpu_seconds_total{worker=\"1\"} 1.500000\n",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (strstr(text, lines[i]) == NULL)
            fail_msg("missing: %s in\n%s", lines[i], text);
    buf_free(&out);
}

/* Prometheus' own checker, where there is one. */
static void promtool_accepts_it(void **state)
{
    (void)state;
    if (system("command -v promtool >/dev/null 2>&1") != 0) {
        print_message("promtool is not installed\n");
        skip();
    }
    struct buf out = BUF_INIT;
    prometheus_metrics(snapshot, fake.config, &process, &out);
    FILE *pipe = popen("promtool check metrics", "w");
    assert_non_null(pipe);
    assert_int_equal(fwrite(out.data, 1, out.len, pipe), out.len);
    assert_int_equal(pclose(pipe), 0);
    buf_free(&out);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(merges_by_name),
        TEST(merges_many),
        TEST(json_says_what_the_rows_say),
        TEST(json_survives_names_that_are_not_utf8),
        TEST(prometheus_text),
        TEST(promtool_accepts_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
