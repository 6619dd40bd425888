/* store_redis: values that are believed only when whole, URLs, and a real Redis that works, hangs, dies and
 * refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../support/live.h"
#include "weir/cache/key.h"
#include "weir/cache/redis_target.h"
#include "weir/cache/store_redis.h"
#include "weir/net/worker.h"
#include "weir/util/clock.h"

static struct generations *generations;
static struct generation *slot;

static struct entry *make_entry(struct buf *scratch, const char *text, struct vector_item *item,
                                size_t rows_len)
{
    struct entry_contents contents = {
        .vector = item, .vector_count = 1, .stored_us = 5, .expires_us = UINT64_MAX, .cost_us = 7};
    const struct key_parts parts = {.scope = 1, .text = slice_str(text)};
    char *rows = malloc(rows_len);
    memset(rows, 'D', rows_len);
    assert_true(key_build(scratch, &parts, 0, &contents.key));
    *item = (struct vector_item){.slot = slot, .value = generation_read(slot)};
    contents.parts[ENTRY_ROW_DESCRIPTION] = SLICE_LITERAL("T");
    contents.parts[ENTRY_ROWS] = slice_make(rows, rows_len);
    struct entry *entry = entry_new(&contents);
    free(rows);
    return entry;
}

static struct entry_key key_of(const struct entry *entry)
{
    return (struct entry_key){{entry_key_hash(entry)[0], entry_key_hash(entry)[1]}, entry_key_bytes(entry)};
}

/* --- values --- */

static void values_come_back_as_they_went(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 500, 5000, 300000};
    for (size_t i = 0; i < 5; i++) {
        struct buf scratch = BUF_INIT, value = BUF_INIT;
        struct vector_item item;
        struct entry *entry = make_entry(&scratch, "select", &item, sizes[i]);
        store_redis_encode(entry, &value);
        assert_false(buf_failed(&value));
        if (sizes[i] > 10000)
            assert_true(value.len < sizes[i] / 10); /* compressed */
        struct entry_key key = key_of(entry);
        struct entry *back = store_redis_decode(buf_slice(&value), &key, &item, 1, 1);
        assert_non_null(back);
        assert_true(slice_equal(entry_answer(back), entry_answer(entry)));
        assert_int_equal(entry_part(back, ENTRY_ROW_DESCRIPTION).len, 1);
        assert_int_equal(entry_stored_us(back), 5);
        assert_int_equal(entry_cost_us(back), 7);
        assert_true(entry_is_current(back));
        entry_unref(back);
        entry_unref(entry);
        buf_free(&value);
        buf_free(&scratch);
    }
}

static void test_c21_no_broken_value_is_believed(void **state)
{
    (void)state;
    struct buf scratch = BUF_INIT;
    for (size_t rows = 10; rows <= 3000; rows += 2990) {
        struct buf value = BUF_INIT;
        struct vector_item item;
        struct entry *entry = make_entry(&scratch, "select", &item, rows);
        struct entry_key key = key_of(entry);
        store_redis_encode(entry, &value);
        for (size_t len = 0; len < value.len; len++)
            assert_null(store_redis_decode(slice_make(value.data, len), &key, &item, 1, 1));
        for (size_t i = 0; i < value.len; i++) {
            value.data[i] ^= 0x40;
            assert_null(store_redis_decode(buf_slice(&value), &key, &item, 1, 1));
            value.data[i] ^= 0x40;
        }
        buf_append_u8(&value, 0);
        assert_null(store_redis_decode(buf_slice(&value), &key, &item, 1, 1));
        buf_free(&value);
        entry_unref(entry);
    }
    buf_free(&scratch);
}

static void test_c20_c21_another_key_or_vector_is_not_believed(void **state)
{
    (void)state;
    struct buf scratch = BUF_INIT, value = BUF_INIT;
    struct vector_item item;
    struct entry *entry = make_entry(&scratch, "select", &item, 10);
    struct entry_key key = key_of(entry), other = key;
    store_redis_encode(entry, &value);
    other.bytes = SLICE_LITERAL("the same hash, but another key");
    assert_null(store_redis_decode(buf_slice(&value), &other, &item, 1, 1));
    struct vector_item newer = {.slot = slot, .value = item.value + GENERATION_CHANGE};
    assert_null(store_redis_decode(buf_slice(&value), &key, &newer, 1, 1));
    struct vector_item two[2] = {item, item};
    assert_null(store_redis_decode(buf_slice(&value), &key, two, 2, 2));
    entry_unref(entry);
    buf_free(&value);
    buf_free(&scratch);
}

/* --- URLs --- */

static void addresses(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct redis_target *t = redis_target_parse("redis://anna:p%40ss%3A@cache.example:6380/3", &error);
    assert_non_null(t);
    assert_string_equal(t->host, "cache.example");
    assert_string_equal(t->user, "anna");
    assert_string_equal(t->password, "p@ss:");
    assert_int_equal(t->port, 6380);
    assert_int_equal(t->database, 3);
    assert_null(strstr(redis_target_name(t), "p@ss"));
    assert_null(strstr(redis_target_name(t), "anna"));
    redis_target_free(t);
    t = redis_target_parse("redis://:secret@[::1]", &error);
    assert_string_equal(t->host, "::1");
    assert_null(t->user);
    assert_string_equal(t->password, "secret");
    assert_int_equal(t->port, 6379);
    redis_target_free(t);
    t = redis_target_parse("unix:///run/redis%20here.sock", &error);
    assert_string_equal(t->path, "/run/redis here.sock");
    redis_target_free(t);
    t = redis_target_parse("redis+sentinel://:secret@one,[::1]:26380,three/the%20master/2", &error);
    assert_non_null(t);
    assert_null(t->host);
    assert_int_equal(t->guide_count, 3);
    assert_string_equal(t->guides[0].name, "one");
    assert_int_equal(t->guides[0].port, 26379);
    assert_string_equal(t->guides[1].name, "::1");
    assert_int_equal(t->guides[1].port, 26380);
    assert_string_equal(t->master, "the master");
    assert_int_equal(t->database, 2);
    assert_string_equal(redis_target_name(t), "redis+sentinel://the master/2");
    redis_target_free(t);
    const char *const bad[] = {"",
                               "redis+cluster://",
                               "redis+cluster://one,",
                               "redis+cluster://one:0",
                               "redis+cluster://one/1",
                               "redis+cluster://one/a",
                               "redis+cluster://secret@one",
                               "redis+sentinel://one",
                               "redis+sentinel://one/",
                               "redis+sentinel://one,/m",
                               "redis+sentinel:///m",
                               "redis+sentinel://one:x/m",
                               "redis+sentinel://one/m/x",
                               "redis://",
                               "http://x",
                               "redis://x:0",
                               "redis://x:99999",
                               "redis://x:1a",
                               "redis://x/a",
                               "redis://secret@x",
                               "redis://[::1",
                               "redis://%zz",
                               "redis://x%00y",
                               "unix://x",
                               "redis://x%4"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_null(redis_target_parse(bad[i], &error));
        assert_null(strstr(error.message, "secret"));
    }
}

static void addresses_of_a_cluster(void **state)
{
    (void)state;
    struct error error = ERROR_INIT;
    struct redis_target *t = redis_target_parse("redis+cluster://anna:secret@one,[::1]:7001/", &error);
    assert_non_null(t);
    assert_true(t->is_cluster);
    assert_null(t->master);
    assert_int_equal(t->guide_count, 2);
    assert_int_equal(t->guides[0].port, 6379);
    assert_string_equal(t->guides[1].name, "::1");
    assert_int_equal(t->guides[1].port, 7001);
    assert_string_equal(redis_target_name(t), "redis+cluster://one:6379");
    struct redis_target *node = redis_target_node(t, "three", 7003);
    redis_target_free(t);
    assert_false(node->is_cluster);
    assert_string_equal(node->host, "three");
    assert_int_equal(node->port, 7003);
    assert_string_equal(node->user, "anna");
    assert_string_equal(node->password, "secret");
    assert_string_equal(redis_target_name(node), "redis://three:7003/0");
    redis_target_free(node);
}

/* --- a real one --- */

struct link {
    struct live live;
    struct redis_target *target;
    struct worker *worker;
    struct store_redis *store;
};

static void run_for(struct link *l, uint64_t us)
{
    uint64_t end = clock_now_us() + us;
    while (clock_now_us() < end) {
        loop_turn(worker_loop(l->worker));
        usleep(200);
    }
}

static bool run_until_up(struct link *l, bool wanted)
{
    for (int i = 0; i < 300 && store_redis_is_up(l->store) != wanted; i++)
        run_for(l, 10000);
    return store_redis_is_up(l->store) == wanted;
}

static bool link_up(struct link *l, const char *more, const char *url_format, uint64_t timeout_us)
{
    char url[256];
    struct error error = ERROR_INIT;
    if (!live_redis_start(&l->live, more))
        return false;
    snprintf(url, sizeof(url), url_format, l->live.directory);
    l->target = redis_target_parse(url, &error);
    assert_non_null(l->target);
    l->worker = worker_new(0);
    l->store = store_redis_new(l->worker, l->target, timeout_us, 42);
    return true;
}

static void link_down(struct link *l)
{
    store_redis_free(l->store);
    worker_free(l->worker);
    redis_target_free(l->target);
    live_redis_stop(&l->live);
}

struct got {
    int times;
    enum redis_answer answer;
    size_t len;
};

static void on_got(void *context, enum redis_answer answer, struct slice value, uint64_t now_us)
{
    struct got *got = context;
    (void)now_us;
    got->times++;
    got->answer = answer;
    got->len = value.len;
}

#define UNIX_URL "unix://%s/redis.sock"
#define START(l, more, url, timeout)                                                                         \
    struct link l;                                                                                           \
    (void)state;                                                                                             \
    if (!link_up(&l, more, url, timeout)) {                                                                  \
        print_error("no Redis could be started\n");                                                          \
        skip();                                                                                              \
    }

static void stores_and_finds(void **state)
{
    START(l, "", UNIX_URL, 500000);
    struct buf scratch = BUF_INIT;
    struct vector_item item;
    struct entry *entry = make_entry(&scratch, "select", &item, 2000);
    struct entry_key key = key_of(entry);
    struct got got = {0};
    assert_false(store_redis_get(l.store, &key, on_got, &got)); /* not connected yet */
    assert_true(run_until_up(&l, true));
    assert_true(store_redis_get(l.store, &key, on_got, &got));
    assert_int_equal(got.times, 0); /* never from within */
    run_for(&l, 100000);
    assert_int_equal(got.times, 1);
    assert_int_equal(got.answer, REDIS_ANSWER_NOTHING);
    store_redis_put(l.store, entry, 10);
    run_for(&l, 100000);
    assert_int_equal(store_redis_get_counters(l.store)->stores, 1);
    assert_true(store_redis_get(l.store, &key, on_got, &got));
    run_for(&l, 100000);
    assert_int_equal(got.answer, REDIS_ANSWER_VALUE);
    assert_true(got.len > 0);
    entry_unref(entry);
    buf_free(&scratch);
    link_down(&l);
}

static void test_c21_a_hung_redis_costs_the_time_limit_and_then_nothing(void **state)
{
    START(l, "", UNIX_URL, 20000);
    struct entry_key key = {{1, 2}, SLICE_LITERAL("key")};
    struct got got[8] = {{0}};
    assert_true(run_until_up(&l, true));
    kill(l.live.redis, SIGSTOP);
    int asked = 0;
    for (int i = 0; i < 8; i++) {
        if (!store_redis_get(l.store, &key, on_got, &got[i]))
            break;
        asked++;
        uint64_t before = clock_now_us();
        while (got[i].times == 0)
            loop_turn(worker_loop(l.worker));
        assert_true(clock_now_us() - before < 200000);
        assert_int_equal(got[i].answer, REDIS_ANSWER_LATE);
    }
    assert_int_equal(asked, 5); /* then it is left alone */
    assert_false(store_redis_is_up(l.store));
    kill(l.live.redis, SIGCONT);
    assert_true(run_until_up(&l, true));
    run_for(&l, 100000);
    for (int i = 0; i < 8; i++)
        assert_int_equal(got[i].times, i < asked ? 1 : 0);
    link_down(&l);
}

static void test_c21_a_dead_redis_is_a_miss_and_comes_back(void **state)
{
    START(l, "", UNIX_URL, 500000);
    struct entry_key key = {{1, 2}, SLICE_LITERAL("key")};
    struct got got = {0};
    char command[256];
    assert_true(run_until_up(&l, true));
    kill(l.live.redis, SIGSTOP);
    assert_true(store_redis_get(l.store, &key, on_got, &got));
    kill(l.live.redis, SIGKILL);
    waitpid(l.live.redis, NULL, 0);
    run_for(&l, 200000);
    assert_int_equal(got.times, 1);
    assert_int_equal(got.answer, REDIS_ANSWER_BROKEN);
    assert_false(store_redis_get(l.store, &key, on_got, &got));
    snprintf(command, sizeof(command), "%s/redis.sock", l.live.directory);
    unlink(command);
    l.live.redis = fork();
    if (l.live.redis == 0) {
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", command, "--save", "",
               "--logfile", "/dev/null", (char *)NULL);
        _exit(1);
    }
    assert_true(run_until_up(&l, true));
    link_down(&l);
}

static void test_c21_a_full_redis_is_a_nuisance_only(void **state)
{
    START(l, "--maxmemory 1 --maxmemory-policy noeviction", UNIX_URL, 500000);
    struct buf scratch = BUF_INIT;
    struct vector_item item;
    struct entry *entry = make_entry(&scratch, "select", &item, 2000);
    assert_true(run_until_up(&l, true));
    store_redis_put(l.store, entry, 10);
    run_for(&l, 100000);
    assert_int_equal(store_redis_get_counters(l.store)->stores, 0);
    assert_int_equal(store_redis_get_counters(l.store)->store_errors, 1);
    for (int i = 0; i < 10; i++)
        store_redis_put(l.store, entry, 10);
    run_for(&l, 50000);
    assert_false(store_redis_is_up(l.store)); /* the breaker */
    entry_unref(entry);
    buf_free(&scratch);
    link_down(&l);
}

static void passwords(void **state)
{
    (void)state;
    const char *const urls[] = {"redis://:p%40ss@127.0.0.1:17399/2", "redis://:wrong@127.0.0.1:17399"};
    struct link l;
    if (!live_redis_start(&l.live, "--requirepass p@ss --port 17399 --bind 127.0.0.1")) {
        print_error("no Redis could be started\n");
        skip();
    }
    for (int i = 0; i < 2; i++) {
        struct error error = ERROR_INIT;
        l.target = redis_target_parse(urls[i], &error);
        l.worker = worker_new(0);
        l.store = store_redis_new(l.worker, l.target, 500000, 42);
        run_for(&l, 400000);
        assert_int_equal(store_redis_is_up(l.store), i == 0);
        store_redis_free(l.store);
        worker_free(l.worker);
        redis_target_free(l.target);
    }
    live_redis_stop(&l.live);
}

static int set_up(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* as the process does */
    generations = generations_new();
    slot = generations_get(generations, 17, GENERATION_ANY);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    generation_unref(slot);
    generations_free(generations);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back_as_they_went),
        cmocka_unit_test(test_c21_no_broken_value_is_believed),
        cmocka_unit_test(test_c20_c21_another_key_or_vector_is_not_believed),
        cmocka_unit_test(addresses),
        cmocka_unit_test(addresses_of_a_cluster),
        cmocka_unit_test(stores_and_finds),
        cmocka_unit_test(test_c21_a_hung_redis_costs_the_time_limit_and_then_nothing),
        cmocka_unit_test(test_c21_a_dead_redis_is_a_miss_and_comes_back),
        cmocka_unit_test(test_c21_a_full_redis_is_a_nuisance_only),
        cmocka_unit_test(passwords),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
