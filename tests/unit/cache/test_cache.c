/* cache: reads, fills, waits and writes through the façade, with a made-up catalog and no server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "weir/cache/cache.h"
#include "weir/cache/database.h"
#include "weir/control/catalog.h"
#include "weir/net/worker.h"
#include "weir/sql/classify.h"
#include "weir/track/profile.h"
#include "weir/util/clock.h"

struct world {
    struct worker *control, *threads[2];
    struct cache *cache;
    struct cache_worker *workers[2];
    struct cache_database *database;
    struct profile_table *profiles;
    struct profile *profile;
    struct cache_scope *scope;
};

static struct catalog *make_catalog(uint64_t system_identifier)
{
    static const char *const names[] = {"users", "orders", "audited"};
    const struct catalog_facts facts = {.system_identifier = system_identifier, .database_oid = 5};
    struct catalog_builder *b = catalog_builder_new(&facts);
    for (uint32_t i = 0; i < 3; i++)
        catalog_builder_relation(b, &(struct catalog_relation){.oid = 20000 + i,
                                                               .kind = 'r',
                                                               .persistence = 'p',
                                                               .flags = i == 2 ? CATALOG_HAS_TRIGGER : 0,
                                                               .schema = "public",
                                                               .name = names[i]});
    return catalog_builder_finish(b);
}

static void learn(struct cache_database *d, uint64_t system_identifier)
{
    struct catalog *catalog = make_catalog(system_identifier);
    database_learn(d, catalog);
    database_confirm(d, true);
    catalog_unref(catalog);
}

static struct cache_scope *scope_of(struct world *w, struct profile *profile, const char *user)
{
    const struct cache_scope_options options = {.database = w->database,
                                                .user = user,
                                                .profile = profile,
                                                .baseline = SLICE_LITERAL("5/0/baseline"),
                                                .search_path = SLICE_LITERAL("public")};
    return cache_scope_get(w->cache, &options);
}

static int set_up(void **state)
{
    static struct world world;
    struct error error = ERROR_INIT;
    const struct cache_options options = {.memory_bytes = 1 << 20, .max_result_bytes = 1000, .seed = 7};
    world.control = worker_new(-1);
    world.cache = cache_new(&options, world.control, &error);
    for (int i = 0; i < 2; i++) {
        world.threads[i] = worker_new(i);
        world.workers[i] = cache_worker_new(world.cache, world.threads[i]);
    }
    world.database = cache_database_get(world.cache, "localhost", 5432, "shop");
    world.profiles = profile_table_new();
    world.profile = profile_empty(world.profiles);
    world.scope = scope_of(&world, world.profile, "anna");
    learn(world.database, 1);
    *state = &world;
    return 0;
}

static void run_mails(struct world *w)
{
    for (int round = 0; round < 3; round++) {
        loop_turn(worker_loop(w->control));
        for (int i = 0; i < 2; i++)
            loop_turn(worker_loop(w->threads[i]));
    }
}

static int tear_down(void **state)
{
    struct world *w = *state;
    cache_scope_unref(w->scope);
    cache_database_unref(w->database);
    cache_stop(w->cache);
    for (int i = 0; i < 2; i++) {
        cache_worker_stop(w->workers[i]);
        worker_free(w->threads[i]);
        cache_worker_free(w->workers[i]);
    }
    worker_free(w->control);
    cache_free(w->cache);
    profile_unref(w->profile);
    profile_table_free(w->profiles);
    return 0;
}

/* --- asking --- */

struct asking {
    const char *text;
    int worker;
    unsigned flags;
    enum cache_shape shape;
    enum cache_mode mode;
    struct cache_scope *scope;
    uint64_t ttl_us;
    uint64_t later_us; /* asked so much later */
    struct slice bind;
};

struct heard {
    int times;
    struct cache_answer answer;
};

static void hear(void *context, const struct cache_answer *answer)
{
    struct heard *heard = context;
    heard->times++;
    heard->answer = *answer;
}

static struct cache_answer ask(struct world *w, struct asking a, struct heard *heard)
{
    struct cache_answer answer;
    const struct cache_request request = {.scope = a.scope != NULL ? a.scope : w->scope,
                                          .mode = a.mode != CACHE_OFF ? a.mode : CACHE_EXACT,
                                          .shape = a.shape,
                                          .flags = a.flags,
                                          .class = sql_classify(slice_str(a.text)),
                                          .text = slice_str(a.text),
                                          .bind = a.bind,
                                          .ttl_us = a.ttl_us,
                                          .now_us = clock_now_us() + a.later_us};
    cache_lookup(w->workers[a.worker], &request, heard != NULL ? hear : NULL, heard, &answer);
    sql_class_unref(request.class);
    return answer;
}

static bool start(struct cache_fill *fill)
{
    return cache_fill_start(fill, SLICE_LITERAL("5/0/baseline"), clock_now_us());
}

static void fetch(struct cache_fill *fill, const char *rows)
{
    if (start(fill)) {
        cache_fill_append(fill, ENTRY_ROW_DESCRIPTION, SLICE_LITERAL("T"));
        cache_fill_append(fill, ENTRY_ROWS, slice_str(rows));
    }
    cache_fill_commit(fill, clock_now_us());
}

#define USERS "SELECT * FROM users"

/* Asks, expects a miss, and answers. */
static void store(struct world *w, struct asking a, const char *rows)
{
    struct cache_answer answer = ask(w, a, NULL);
    assert_int_equal(answer.outcome, CACHE_MISS);
    fetch(answer.fill, rows);
}

static void expect_hit(struct world *w, struct asking a, const char *rows)
{
    struct cache_answer answer = ask(w, a, NULL);
    assert_int_equal(answer.outcome, CACHE_HIT);
    assert_true(slice_equal_str(entry_part(answer.entry, ENTRY_ROWS), rows));
    entry_unref(answer.entry);
}

static void expect_miss(struct world *w, struct asking a)
{
    struct cache_answer answer = ask(w, a, NULL);
    assert_int_equal(answer.outcome, CACHE_MISS);
    cache_fill_abort(answer.fill, CACHE_ABORT_ANSWER);
}

static void expect_pass(struct world *w, struct asking a, enum cache_reason reason)
{
    struct cache_answer answer = ask(w, a, NULL);
    assert_int_equal(answer.outcome, CACHE_PASS);
    assert_int_equal(answer.reason, reason);
}

static struct cache_write *begin_write(struct world *w, const char *text)
{
    struct sql_class *class = sql_classify(slice_str(text));
    struct cache_write *write = cache_write_new(w->workers[0], w->database);
    cache_write_add(write, w->scope, class, NULL);
    sql_class_unref(class);
    return write;
}

static void write_through(struct world *w, const char *text)
{
    struct cache_write *write = begin_write(w, text);
    cache_write_mark(write);
    cache_write_commit(write);
}

/* --- reads --- */

static void a_miss_is_filled_and_then_hit(void **state)
{
    struct world *w = *state;
    store(w, (struct asking){.text = USERS}, "rows");
    expect_hit(w, (struct asking){.text = USERS}, "rows");
    expect_hit(w, (struct asking){.text = USERS, .worker = 1}, "rows");
    expect_miss(w, (struct asking){.text = USERS " "});
    struct cache_stats stats;
    cache_stats(w->cache, &stats);
    assert_int_equal(stats.hits, 2);
    assert_int_equal(stats.misses, 2);
    assert_int_equal(stats.fills, 1);
    assert_int_equal(stats.entries, 1);
}

static void test_c01_c02_c03_other_settings_or_roles_are_other_answers(void **state)
{
    struct world *w = *state;
    store(w, (struct asking){.text = USERS}, "anna's");
    struct cache_scope *same = scope_of(w, w->profile, "anna");
    assert_ptr_equal(same, w->scope);
    struct cache_scope *berta = scope_of(w, w->profile, "berta");
    expect_miss(w, (struct asking){.text = USERS, .scope = berta});
    const char *const settings[][2] = {{"search_path", "public, other"},
                                       {"role", "clerk"},
                                       {"timezone", "Asia/Tokyo"},
                                       {"datestyle", "German"},
                                       {"app.tenant", "7"}};
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        struct profile *profile =
            profile_set(w->profile, slice_str(settings[i][0]), slice_str(settings[i][1]));
        struct cache_scope *other = scope_of(w, profile, "anna");
        assert_ptr_not_equal(other, w->scope);
        expect_miss(w, (struct asking){.text = USERS, .scope = other});
        cache_scope_unref(other);
        profile_unref(profile);
    }
    expect_hit(w, (struct asking){.text = USERS, .scope = same}, "anna's");
    cache_scope_unref(same);
    cache_scope_unref(berta);
}

static void test_c14_transactions_that_may_see_something_else_pass(void **state)
{
    struct world *w = *state;
    store(w, (struct asking){.text = USERS}, "rows");
    expect_pass(w, (struct asking){.text = USERS, .flags = CACHE_HAS_WRITTEN}, CACHE_REASON_WRITTEN);
    expect_pass(w, (struct asking){.text = USERS, .flags = CACHE_NOT_COMMITTED_READ}, CACHE_REASON_ISOLATION);
    expect_pass(w, (struct asking){.text = USERS, .flags = CACHE_HAS_TEMPORARY}, CACHE_REASON_TEMPORARY);
    expect_pass(w, (struct asking){.text = USERS, .flags = CACHE_UNSEEN_STATE}, CACHE_REASON_UNSEEN);
    expect_pass(w, (struct asking){.text = USERS, .flags = CACHE_HINT_OFF}, CACHE_REASON_HINT);
    expect_pass(w, (struct asking){.text = USERS " x", .flags = CACHE_DATETIME_WORD}, CACHE_REASON_TIME);
    expect_pass(w, (struct asking){.text = USERS, .mode = CACHE_TTL}, CACHE_REASON_OFF); /* without a ttl */
}

static void test_c16_null_empty_and_formats_are_told_apart(void **state)
{
    struct world *w = *state;
    const char *text = USERS " WHERE id = $1";
    const struct slice binds[] = {
        SLICE_LITERAL("\0\0\0\1\377\377\377\377\0\0"),
        SLICE_LITERAL("\0\0\0\1\0\0\0\0\0\0"),
        SLICE_LITERAL("\0\0\0\1\0\0\0\1"
                      "1\0\0"),
        SLICE_LITERAL("\0\0\0\1\0\0\0\1"
                      "1\0\1\0\1"),
    };
    for (size_t i = 0; i < 4; i++)
        store(w, (struct asking){.text = text, .shape = CACHE_EXECUTE, .bind = binds[i]}, "row");
    for (size_t i = 0; i < 4; i++)
        expect_hit(w, (struct asking){.text = text, .shape = CACHE_EXECUTE, .bind = binds[i]}, "row");
    expect_miss(w, (struct asking){.text = text, .shape = CACHE_SIMPLE});
}

static void a_description_that_is_needed_must_be_there(void **state)
{
    struct world *w = *state;
    struct asking a = {.text = USERS, .shape = CACHE_EXECUTE, .bind = SLICE_LITERAL("\0\0\0\0\0\0")};
    struct cache_answer answer = ask(w, a, NULL);
    assert_true(start(answer.fill));
    cache_fill_append(answer.fill, ENTRY_ROWS, SLICE_LITERAL("rows"));
    cache_fill_commit(answer.fill, clock_now_us());
    expect_hit(w, a, "rows");
    a.flags = CACHE_NEEDS_DESCRIPTION;
    store(w, a, "rows");
    expect_hit(w, a, "rows");
}

static void fetch_described(struct cache_fill *fill, struct slice parameters)
{
    assert_true(start(fill));
    cache_fill_append(fill, ENTRY_PARAMETER_DESCRIPTION, parameters);
    cache_fill_append(fill, ENTRY_ROW_DESCRIPTION, SLICE_LITERAL("T"));
    cache_fill_append(fill, ENTRY_ROWS, SLICE_LITERAL("rows"));
    cache_fill_commit(fill, clock_now_us());
}

static void test_c16_a_described_answer_is_whole_and_of_its_values(void **state)
{
    struct world *w = *state;
    struct asking a = {.text = "SELECT * FROM users WHERE name = $1", .shape = CACHE_EXECUTE_DESCRIBED};
    a.bind = SLICE_LITERAL("\0\0\0\1\0\0\0\1x\0\0");
    fetch_described(ask(w, a, NULL).fill, SLICE_EMPTY);
    expect_miss(w, a);
    fetch_described(ask(w, a, NULL).fill, SLICE_LITERAL("t"));
    expect_hit(w, a, "rows");
    a.shape = CACHE_EXECUTE; /* says less */
    expect_miss(w, a);
    a.shape = CACHE_DESCRIBE; /* has no values */
    expect_miss(w, a);
    a.shape = CACHE_EXECUTE_DESCRIBED;
    a.bind = SLICE_LITERAL("\0\0\0\1\0\0\0\1y\0\0");
    expect_miss(w, a);
    a.bind = SLICE_LITERAL("\0\0\0\1\0\0\0\3now\0\0");
    expect_pass(w, a, CACHE_REASON_TIME);
}

static void the_time_limit_of_the_asker_counts(void **state)
{
    struct world *w = *state;
    struct asking a = {.text = USERS, .mode = CACHE_TTL, .ttl_us = 2000000};
    store(w, a, "rows");
    expect_hit(w, a, "rows");
    a.ttl_us = 1000; /* a hint */
    a.later_us = 100000;
    expect_miss(w, a);
    a.ttl_us = 2000000;
    a.later_us = 2100000;
    expect_miss(w, a);
}

static void test_c23_what_is_too_big_is_not_stored(void **state)
{
    struct world *w = *state;
    static const uint8_t big[600] = {'D'};
    struct cache_answer answer = ask(w, (struct asking){.text = USERS}, NULL);
    struct heard heard = {0};
    assert_int_equal(ask(w, (struct asking){.text = USERS, .worker = 1}, &heard).outcome, CACHE_WAIT);
    assert_true(start(answer.fill));
    assert_true(cache_fill_append(answer.fill, ENTRY_ROWS, slice_make(big, sizeof(big))));
    assert_false(cache_fill_append(answer.fill, ENTRY_ROWS, slice_make(big, sizeof(big))));
    run_mails(w);
    assert_int_equal(heard.times, 1); /* told before the end */
    assert_int_equal(heard.answer.outcome, CACHE_PASS);
    cache_fill_commit(answer.fill, clock_now_us());
    expect_miss(w, (struct asking){.text = USERS});
}

static void test_c31_another_baseline_does_not_fill(void **state)
{
    struct world *w = *state;
    struct cache_answer answer = ask(w, (struct asking){.text = USERS}, NULL);
    assert_false(cache_fill_start(answer.fill, SLICE_LITERAL("5/0/other settings"), clock_now_us()));
    cache_fill_commit(answer.fill, clock_now_us());
    expect_miss(w, (struct asking){.text = USERS});
}

static void test_c19_c32_another_server_does_not_fill(void **state)
{
    struct world *w = *state;
    const struct cache_scope_options options = {.database = w->database,
                                                .user = "anna",
                                                .profile = w->profile,
                                                .baseline = SLICE_LITERAL("5/99/baseline"), /* began later */
                                                .search_path = SLICE_LITERAL("public")};
    struct cache_scope *scope = cache_scope_get(w->cache, &options);
    struct cache_answer answer = ask(w, (struct asking){.text = USERS, .scope = scope}, NULL);
    assert_int_equal(answer.outcome, CACHE_MISS);
    assert_false(cache_fill_start(answer.fill, options.baseline, clock_now_us()));
    cache_fill_abort(answer.fill, CACHE_ABORT_ANSWER);
    cache_scope_unref(scope);
}

/* --- reads and writes --- */

static void test_c12_a_fill_that_a_write_overtakes_is_not_believed(void **state)
{
    struct world *w = *state;
    struct cache_answer answer = ask(w, (struct asking){.text = USERS}, NULL);
    assert_true(start(answer.fill));
    write_through(w, "UPDATE users SET id = 1");
    cache_fill_append(answer.fill, ENTRY_ROW_DESCRIPTION, SLICE_LITERAL("T"));
    cache_fill_append(answer.fill, ENTRY_ROWS, SLICE_LITERAL("old"));
    cache_fill_commit(answer.fill, clock_now_us());
    expect_miss(w, (struct asking){.text = USERS});
}

static void a_write_makes_its_own_tables_old_and_no_others(void **state)
{
    struct world *w = *state;
    store(w, (struct asking){.text = USERS}, "users");
    store(w, (struct asking){.text = "SELECT * FROM orders"}, "orders");
    struct cache_write *write = begin_write(w, "UPDATE users SET id = 1");
    expect_hit(w, (struct asking){.text = USERS}, "users"); /* not yet on its way */
    cache_write_mark(write);
    expect_pass(w, (struct asking){.text = USERS}, CACHE_REASON_WRITE_UNDER_WAY);
    cache_write_commit(write);
    expect_miss(w, (struct asking){.text = USERS});
    expect_hit(w, (struct asking){.text = "SELECT * FROM orders"}, "orders");
}

static void a_rollback_changes_nothing(void **state)
{
    struct world *w = *state;
    struct cache_answer answer = ask(w, (struct asking){.text = USERS}, NULL);
    assert_true(start(answer.fill));
    struct cache_write *write = begin_write(w, "UPDATE users SET id = 1");
    cache_write_mark(write);
    cache_write_rollback(write);
    cache_fill_append(answer.fill, ENTRY_ROW_DESCRIPTION, SLICE_LITERAL("T"));
    cache_fill_append(answer.fill, ENTRY_ROWS, SLICE_LITERAL("rows"));
    cache_fill_commit(answer.fill, clock_now_us());
    expect_hit(w, (struct asking){.text = USERS}, "rows");
}

static void test_c10_unknown_writes_make_everything_old(void **state)
{
    static const char *const texts[] = {"UPDATE audited SET id = 1", "SELECT my_function()",
                                        "DO $$ BEGIN END $$"};
    struct world *w = *state;
    for (size_t i = 0; i < 3; i++) {
        store(w, (struct asking){.text = "SELECT * FROM orders"}, "orders");
        write_through(w, texts[i]);
        if (i > 0)
            learn(w->database, 1); /* a look at the catalog follows */
        expect_miss(w, (struct asking){.text = "SELECT * FROM orders"});
    }
}

static void test_c18_definitions_change_the_epoch(void **state)
{
    struct world *w = *state;
    store(w, (struct asking){.text = USERS}, "rows");
    struct cache_answer answer = ask(w, (struct asking){.text = "SELECT * FROM orders"}, NULL);
    assert_true(start(answer.fill));
    write_through(w, "ALTER TABLE users ADD COLUMN x int");
    fetch(answer.fill, "old shape"); /* not stored, nor believed */
    expect_pass(w, (struct asking){.text = USERS}, CACHE_REASON_NOT_READY);
    learn(w->database, 1);
    expect_miss(w, (struct asking){.text = USERS});
    expect_miss(w, (struct asking){.text = "SELECT * FROM orders"});
}

static void test_c15_c28_a_write_of_unknown_outcome_stays_marked(void **state)
{
    struct world *w = *state;
    store(w, (struct asking){.text = USERS}, "rows");
    struct cache_write *write = begin_write(w, "UPDATE users SET id = 1");
    cache_write_mark(write);
    cache_write_unknown(write, 4711);
    run_mails(w);
    expect_pass(w, (struct asking){.text = USERS}, CACHE_REASON_WRITE_UNDER_WAY);
}

static void test_c34_a_lost_server_starts_a_new_epoch(void **state)
{
    struct world *w = *state;
    store(w, (struct asking){.text = USERS}, "rows");
    cache_database_server_lost(w->database);
    expect_miss(w, (struct asking){.text = USERS});
}

static void nothing_is_believed_while_the_catalog_is_unknown(void **state)
{
    struct world *w = *state;
    store(w, (struct asking){.text = USERS}, "rows");
    expect_pass(w, (struct asking){.text = USERS, .later_us = 5000000},
                CACHE_REASON_NOT_READY); /* no look for long */
    database_unlearn(w->database, "gone");
    expect_pass(w, (struct asking){.text = USERS}, CACHE_REASON_NOT_READY);
    char reason[64];
    cache_database_reason(w->database, reason, sizeof(reason));
    assert_string_equal(reason, "gone");
    learn(w->database, 1);
    expect_miss(w, (struct asking){.text = USERS});
    database_confirm(w->database, false);
    expect_pass(w, (struct asking){.text = USERS}, CACHE_REASON_NOT_EXACT);
    store(w, (struct asking){.text = USERS, .mode = CACHE_TTL, .ttl_us = 1000000}, "rows");
}

static void a_write_under_an_older_catalog_keeps_the_new_one_waiting(void **state)
{
    struct world *w = *state;
    struct cache_write *write = begin_write(w, "UPDATE users SET id = 1");
    cache_write_mark(write);
    learn(w->database, 1); /* changed around Weir: the write may now reach further than its marks */
    expect_pass(w, (struct asking){.text = "SELECT * FROM orders"}, CACHE_REASON_NOT_READY);
    cache_write_commit(write);
    store(w, (struct asking){.text = "SELECT * FROM orders"}, "orders");
    expect_hit(w, (struct asking){.text = "SELECT * FROM orders"}, "orders");
}

static void tables_collected_under_an_older_catalog_are_not_trusted(void **state)
{
    struct world *w = *state;
    struct cache_write *write = begin_write(w, "UPDATE users SET id = 1");
    learn(w->database, 1);
    store(w, (struct asking){.text = "SELECT * FROM orders"}, "orders");
    cache_write_mark(write);
    expect_pass(w, (struct asking){.text = "SELECT * FROM orders"}, CACHE_REASON_WRITE_UNDER_WAY);
    cache_write_commit(write);
    expect_miss(w, (struct asking){.text = "SELECT * FROM orders"});
}

/* --- two addresses --- */

static void test_c27_a_write_by_another_address_counts(void **state)
{
    struct world *w = *state;
    struct cache_database *alias = cache_database_get(w->cache, "127.0.0.1", 5432, "shop");
    assert_ptr_not_equal(alias, w->database);
    struct cache_database *again = cache_database_get(w->cache, "localhost", 5432, "shop");
    assert_ptr_equal(again, w->database);
    w->database->is_watched = true;
    store(w, (struct asking){.text = USERS}, "rows");
    struct sql_class *class = sql_classify(SLICE_LITERAL("UPDATE users SET id = 1"));
    const struct cache_scope_options options = {
        .database = alias, .user = "anna", .profile = w->profile, .search_path = SLICE_LITERAL("public")};
    struct cache_scope *scope = cache_scope_get(w->cache, &options);
    struct cache_write *write = cache_write_new(w->workers[1], alias);
    cache_write_add(write, scope, class, NULL);
    cache_write_mark(write);
    expect_pass(w, (struct asking){.text = USERS}, CACHE_REASON_WRITE_UNDER_WAY);
    cache_write_commit(write);
    expect_miss(w, (struct asking){.text = USERS});

    /* Once they are known to be different databases they leave each other alone. */
    learn(alias, 2);
    store(w, (struct asking){.text = USERS}, "rows");
    write = cache_write_new(w->workers[1], alias);
    cache_write_add(write, scope, class, NULL);
    cache_write_mark(write);
    cache_write_commit(write);
    expect_hit(w, (struct asking){.text = USERS}, "rows");

    /* A write of unknown outcome there marks here, until it is proven gone here as well. */
    learn(alias, 1);
    write = cache_write_new(w->workers[1], alias);
    cache_write_add(write, scope, class, NULL);
    cache_write_mark(write);
    cache_write_unknown(write, 4711);
    run_mails(w);
    expect_pass(w, (struct asking){.text = USERS}, CACHE_REASON_WRITE_UNDER_WAY);
    w->database->is_watched = false;
    cache_scope_unref(scope);
    sql_class_unref(class);
    cache_database_unref(alias);
    cache_database_unref(again);
}

/* --- waiting --- */

static void test_c22_those_who_wait_get_the_answer(void **state)
{
    struct world *w = *state;
    struct heard heard[3] = {{0}};
    struct cache_answer first = ask(w, (struct asking){.text = USERS}, &heard[0]);
    assert_int_equal(first.outcome, CACHE_MISS);
    struct cache_answer second = ask(w, (struct asking){.text = USERS, .worker = 1}, &heard[1]);
    struct cache_answer third = ask(w, (struct asking){.text = USERS}, &heard[2]);
    assert_int_equal(second.outcome, CACHE_WAIT);
    assert_int_equal(third.outcome, CACHE_WAIT);
    struct cache_answer impatient = ask(w, (struct asking){.text = USERS, .flags = CACHE_NO_WAIT}, &heard[0]);
    assert_int_equal(impatient.outcome, CACHE_MISS);
    cache_fill_abort(impatient.fill, CACHE_ABORT_FETCHER);
    cache_wait_cancel(third.wait);
    fetch(first.fill, "rows");
    run_mails(w);
    assert_int_equal(heard[0].times, 0);
    assert_int_equal(heard[1].times, 1);
    assert_int_equal(heard[2].times, 0);
    assert_int_equal(heard[1].answer.outcome, CACHE_HIT);
    assert_true(slice_equal_str(entry_part(heard[1].answer.entry, ENTRY_ROWS), "rows"));
    entry_unref(heard[1].answer.entry);
}

static void test_c22_a_fetcher_that_dies_is_followed_by_the_next(void **state)
{
    struct world *w = *state;
    struct heard heard[2] = {{0}};
    struct cache_answer first = ask(w, (struct asking){.text = USERS}, NULL);
    ask(w, (struct asking){.text = USERS, .worker = 1}, &heard[0]);
    ask(w, (struct asking){.text = USERS}, &heard[1]);
    assert_true(start(first.fill));
    cache_fill_append(first.fill, ENTRY_ROWS, SLICE_LITERAL("half"));
    cache_fill_abort(first.fill, CACHE_ABORT_FETCHER);
    run_mails(w);
    assert_int_equal(heard[0].answer.outcome, CACHE_MISS);
    assert_int_equal(heard[1].times, 0);
    fetch(heard[0].answer.fill, "whole");
    run_mails(w);
    assert_int_equal(heard[1].answer.outcome, CACHE_HIT);
    assert_true(slice_equal_str(entry_part(heard[1].answer.entry, ENTRY_ROWS), "whole"));
    entry_unref(heard[1].answer.entry);
}

static void test_c17_after_an_error_everybody_asks_for_themselves(void **state)
{
    struct world *w = *state;
    struct heard heard = {0};
    struct cache_answer first = ask(w, (struct asking){.text = USERS}, NULL);
    ask(w, (struct asking){.text = USERS, .worker = 1}, &heard);
    assert_true(start(first.fill));
    cache_fill_abort(first.fill, CACHE_ABORT_ANSWER);
    run_mails(w);
    assert_int_equal(heard.answer.outcome, CACHE_PASS);
    expect_miss(w, (struct asking){.text = USERS});
}

static void test_c33_an_answer_that_grew_old_in_the_mail_is_not_given(void **state)
{
    struct world *w = *state;
    struct heard heard = {0};
    struct cache_answer first = ask(w, (struct asking){.text = USERS}, NULL);
    ask(w, (struct asking){.text = USERS, .worker = 1}, &heard);
    fetch(first.fill, "rows");
    write_through(w, "DELETE FROM users"); /* before the mail is read */
    run_mails(w);
    assert_int_equal(heard.times, 1);
    assert_int_equal(heard.answer.outcome, CACHE_PASS);
}

static void a_wait_cancelled_too_late_passes_the_fill_on(void **state)
{
    struct world *w = *state;
    struct heard heard[2] = {{0}};
    struct cache_answer first = ask(w, (struct asking){.text = USERS}, NULL);
    struct cache_answer second = ask(w, (struct asking){.text = USERS, .worker = 1}, &heard[0]);
    ask(w, (struct asking){.text = USERS}, &heard[1]);
    cache_fill_abort(first.fill, CACHE_ABORT_FETCHER); /* the second is being told … */
    cache_wait_cancel(second.wait);                    /* … and goes away */
    run_mails(w);
    assert_int_equal(heard[0].times, 0);
    assert_int_equal(heard[1].answer.outcome, CACHE_MISS);
    cache_fill_abort(heard[1].answer.fill, CACHE_ABORT_FETCHER);
    expect_miss(w, (struct asking){.text = USERS});
}

static void a_slow_reader_lets_the_others_go(void **state)
{
    struct world *w = *state;
    struct heard heard = {0};
    struct cache_answer first = ask(w, (struct asking){.text = USERS}, NULL);
    ask(w, (struct asking){.text = USERS, .worker = 1}, &heard);
    assert_true(start(first.fill));
    cache_fill_release(first.fill);
    run_mails(w);
    assert_int_equal(heard.answer.outcome, CACHE_PASS);
    cache_fill_append(first.fill, ENTRY_ROW_DESCRIPTION, SLICE_LITERAL("T"));
    cache_fill_append(first.fill, ENTRY_ROWS, SLICE_LITERAL("rows"));
    cache_fill_commit(first.fill, clock_now_us());
    expect_hit(w, (struct asking){.text = USERS}, "rows");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_miss_is_filled_and_then_hit),
        TEST(test_c01_c02_c03_other_settings_or_roles_are_other_answers),
        TEST(test_c14_transactions_that_may_see_something_else_pass),
        TEST(test_c16_null_empty_and_formats_are_told_apart),
        TEST(a_description_that_is_needed_must_be_there),
        TEST(test_c16_a_described_answer_is_whole_and_of_its_values),
        TEST(the_time_limit_of_the_asker_counts),
        TEST(test_c23_what_is_too_big_is_not_stored),
        TEST(test_c31_another_baseline_does_not_fill),
        TEST(test_c19_c32_another_server_does_not_fill),
        TEST(test_c12_a_fill_that_a_write_overtakes_is_not_believed),
        TEST(a_write_makes_its_own_tables_old_and_no_others),
        TEST(a_rollback_changes_nothing),
        TEST(test_c10_unknown_writes_make_everything_old),
        TEST(test_c18_definitions_change_the_epoch),
        TEST(test_c15_c28_a_write_of_unknown_outcome_stays_marked),
        TEST(test_c34_a_lost_server_starts_a_new_epoch),
        TEST(nothing_is_believed_while_the_catalog_is_unknown),
        TEST(a_write_under_an_older_catalog_keeps_the_new_one_waiting),
        TEST(tables_collected_under_an_older_catalog_are_not_trusted),
        TEST(test_c27_a_write_by_another_address_counts),
        TEST(test_c22_those_who_wait_get_the_answer),
        TEST(test_c22_a_fetcher_that_dies_is_followed_by_the_next),
        TEST(test_c17_after_an_error_everybody_asks_for_themselves),
        TEST(test_c33_an_answer_that_grew_old_in_the_mail_is_not_given),
        TEST(a_wait_cancelled_too_late_passes_the_fill_on),
        TEST(a_slow_reader_lets_the_others_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
