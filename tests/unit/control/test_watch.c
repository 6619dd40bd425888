/* control, catalog_load and watch against a real PostgreSQL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <libpq-fe.h>

#include "../support/live.h"
#include "weir/control/catalog.h"
#include "weir/control/control.h"
#include "weir/control/watch.h"
#include "weir/net/loop.h"
#include "weir/util/clock.h"
#include "weir/util/log.h"

static struct live live;
static bool has_postgres;

static const char *const keywords[] = {"host", "user", "dbname", NULL};

struct seen {
    int ready, unready, confirmed, gone, checked;
    uint64_t check;
    bool is_exact_allowed;
    struct catalog *catalog;
};

static void on_ready(void *context, struct catalog *catalog)
{
    struct seen *seen = context;
    catalog_unref(seen->catalog);
    seen->catalog = catalog_ref(catalog);
    seen->ready++;
}

static void on_unready(void *context, const char *reason)
{
    (void)reason;
    ((struct seen *)context)->unready++;
}

static void on_confirmed(void *context, bool is_exact_allowed)
{
    struct seen *seen = context;
    seen->confirmed++;
    seen->is_exact_allowed = is_exact_allowed;
}

static void on_checked(void *context, uint64_t check)
{
    struct seen *seen = context;
    seen->checked++;
    seen->check = check;
}

struct watching {
    struct loop *loop;
    struct watch *watch;
    struct seen seen;
};

static void start(struct watching *w, bool wants_exact)
{
    const char *const values[] = {live.directory, "postgres", "postgres", NULL};
    const struct control_options connection = {
        .keywords = keywords, .values = values, .retry_max_us = 200000};
    const struct watch_options options = {.interval_us = 100000, .wants_exact = wants_exact};
    *w = (struct watching){.loop = loop_new()};
    const struct watch_events events = {.ready = on_ready,
                                        .unready = on_unready,
                                        .confirmed = on_confirmed,
                                        .checked = on_checked,
                                        .context = &w->seen};
    w->watch = watch_new(w->loop, &connection, &options, &events);
    watch_start(w->watch);
}

static void stop(struct watching *w)
{
    watch_free(w->watch);
    catalog_unref(w->seen.catalog);
    loop_free(w->loop);
}

/* Runs the loop until *value >= wanted, for at most `seconds`. */
static bool run_until(struct loop *loop, const int *value, int wanted, int seconds)
{
    uint64_t end = clock_now_us() + (uint64_t)seconds * US_PER_SECOND;
    while (*value < wanted && clock_now_us() < end) {
        loop_turn(loop);
        usleep(1000);
    }
    return *value >= wanted;
}

#define NEEDS_POSTGRES                                                                                       \
    do {                                                                                                     \
        (void)state;                                                                                         \
        if (!has_postgres)                                                                                   \
            skip();                                                                                          \
    } while (0)

#define SQL(text) assert_true(live_sql(&live, text, NULL, 0))

static uint32_t oid_of(const char *name)
{
    char sql[128], out[32];
    snprintf(sql, sizeof(sql), "select '%s'::regclass::oid", name);
    assert_true(live_sql(&live, sql, out, sizeof(out)));
    return (uint32_t)strtoul(out, NULL, 10);
}

static void count_oid(void *context, uint32_t oid)
{
    (void)oid;
    ++*(int *)context;
}

static void key_is(const struct catalog *c, const char *table, enum catalog_key kind, const char *column,
                   bool is_logged)
{
    const struct catalog_relation *r = catalog_find(c, "public", table);
    assert_non_null(r);
    assert_int_equal(r->key_kind, kind);
    if (column == NULL)
        assert_null(r->key);
    else
        assert_string_equal(r->key, column);
    assert_int_equal((r->flags & CATALOG_KEY_LOGGED) != 0, is_logged);
}

static void the_catalog_says_what_the_keys_are(void **state)
{
    NEEDS_POSTGRES;
    SQL("create table k_small (a int, k smallint primary key); create table k_big (k bigint primary key);"
        "create table k_text (k text primary key); create table k_short (k varchar(9) primary "
        "key);"
        "create table k_uuid (k uuid primary key); create table k_numeric (k numeric primary key);"
        "create table k_two (k int, l int, primary key (k, l)); create table k_unique (k int not null "
        "unique);"
        "create table k_late (k int primary key deferrable); create domain whole as int;"
        "create table k_domain (k whole primary key); create table k_char (k char(3) primary key);"
        "create table k_full (k int primary key); alter table k_full replica identity full;"
        "create table k_index (k int primary key, i int not null unique);"
        "alter table k_index replica identity using index k_index_i_key;"
        "create table k_nothing (k int primary key); alter table k_nothing replica identity nothing;"
        "create table k_more (k int, v text, primary key (k) include (v))");
    struct watching w;
    start(&w, false);
    assert_true(run_until(w.loop, &w.seen.ready, 1, 20));
    const struct catalog *c = w.seen.catalog;
    key_is(c, "k_small", CATALOG_KEY_INTEGER, "k", true);
    key_is(c, "k_big", CATALOG_KEY_INTEGER, "k", true);
    key_is(c, "k_text", CATALOG_KEY_TEXT, "k", true);
    key_is(c, "k_short", CATALOG_KEY_TEXT, "k", true);
    key_is(c, "k_uuid", CATALOG_KEY_UUID, "k", true);
    key_is(c, "k_more", CATALOG_KEY_INTEGER, "k", true);
    static const char *const without[] = {"k_numeric", "k_two", "k_unique", "k_late", "k_domain", "k_char"};
    for (size_t i = 0; i < sizeof(without) / sizeof(*without); i++)
        key_is(c, without[i], CATALOG_KEY_NONE, NULL, false);
    static const char *const unlogged[] = {"k_full", "k_index", "k_nothing"};
    for (size_t i = 0; i < sizeof(unlogged) / sizeof(*unlogged); i++)
        key_is(c, unlogged[i], CATALOG_KEY_INTEGER, "k", false);
    stop(&w);
}

static void the_catalog_says_what_there_is(void **state)
{
    NEEDS_POSTGRES;
    SQL("create table plain (id int primary key, name text, at timestamptz, tags text[], doc jsonb);"
        "create type mood as enum ('a'); create table moody (m mood, ms mood[]); create domain d as int;"
        "create table odd (x d); create table money_ (x money); create table tz (x timetz); create view v as "
        "select 1;"
        "create table secured (id int); alter table secured enable row level security;"
        "create unlogged table unlogged (id int); create table ruled (id int);"
        "create rule r as on insert to ruled do instead nothing; create sequence s;"
        "create function f() returns trigger language plpgsql as 'begin return null; end';"
        "create function full_name(plain) returns text language sql as 'select 1::text';"
        "create function two(int, int) returns int language sql as 'select 1';"
        "create table audited (id int); create trigger t after insert on audited execute function f();"
        "create table parent (id int) partition by range (id);"
        "create table leaf partition of parent for values from (0) to (10);"
        "create table owner (id int primary key);"
        "create table owned (id int references owner on delete cascade);"
        "create table linked (id int references owner);"
        "create operator === (leftarg = int, rightarg = int, function = int4eq);"
        "create schema other; create table other.plain (id int)");
    struct watching w;
    start(&w, false);
    assert_true(run_until(w.loop, &w.seen.ready, 1, 20));
    struct catalog *c = w.seen.catalog;
    const struct catalog_facts *facts = catalog_get_facts(c);
    assert_true(facts->system_identifier != 0 && facts->database_oid != 0 && facts->server_start_us != 0);
    assert_false(facts->is_in_recovery);
    assert_false(catalog_is_somewhere(c, CATALOG_ODD_CASTS));
    assert_int_equal(catalog_find(c, "public", "plain")->oid, oid_of("plain"));
    assert_int_equal(catalog_find(c, "other", "plain")->oid, oid_of("other.plain"));
    assert_int_equal(catalog_find(c, "public", "plain")->flags, CATALOG_KEY_LOGGED);
    assert_int_equal(catalog_find(c, "public", "moody")->flags, 0);
    assert_int_equal(catalog_find(c, "public", "odd")->flags, CATALOG_ODD_COLUMN);
    assert_int_equal(catalog_find(c, "public", "money_")->flags, CATALOG_ODD_COLUMN);
    assert_int_equal(catalog_find(c, "public", "tz")->flags, CATALOG_ODD_COLUMN);
    assert_int_equal(catalog_find(c, "public", "secured")->flags, CATALOG_ROW_SECURITY);
    assert_int_equal(catalog_find(c, "public", "ruled")->flags, CATALOG_HAS_RULE);
    assert_int_equal(catalog_find(c, "public", "audited")->flags, CATALOG_HAS_TRIGGER);
    assert_int_equal(catalog_find(c, "public", "owner")->flags,
                     CATALOG_KEY_LOGGED); /* triggers of foreign keys do not count */
    assert_int_equal(catalog_find(c, "public", "leaf")->flags, CATALOG_INHERITS);
    assert_int_equal(catalog_find(c, "public", "unlogged")->persistence, 'u');
    assert_int_equal(catalog_find(c, "public", "v")->kind, 'v');
    assert_int_equal(catalog_find(c, "public", "s")->kind, 'S');
    assert_null(catalog_find(c, "public", "nothing"));
    assert_true(catalog_has_function(c, "public", "f"));
    assert_true(catalog_has_operator(c, "public", "==="));
    assert_true(catalog_has_type(c, "public", "mood"));
    assert_true(catalog_mentions_row_function(c, SLICE_LITERAL("select p.Full_Name from plain p")));
    assert_false(catalog_mentions_row_function(c, SLICE_LITERAL("select p.two from plain p")));
    int count = 0;
    assert_true(catalog_closure(c, oid_of("owner"), count_oid, &count));
    assert_int_equal(count, 2);
    count = 0;
    assert_true(catalog_closure(c, oid_of("leaf"), count_oid, &count));
    assert_int_equal(count, 2);
    assert_false(catalog_closure(c, oid_of("audited"), count_oid, &count));
    assert_false(catalog_closure(c, oid_of("v"), count_oid, &count));
    stop(&w);
}

static void test_c18_definitions_changed_around_weir_are_noticed(void **state)
{
    static const char *const changes[] = {
        "create table c18 (id int)",
        "alter table c18 add column x int",
        "alter table c18 alter id set default 5",
        "alter table c18 add constraint c18c check (id > 0)",
        "create index on c18 ((id + 1))",
        "create cast (point as int) with inout",
        "alter table c18 rename column x to y",
        "alter table c18 drop column y",
        "create function c18f() returns trigger language plpgsql as 'begin return null; end'",
        "create trigger c18t after insert on c18 execute function c18f()",
        "alter table c18 enable row level security",
        "create policy p on c18 using (true)",
        "alter policy p on c18 using (false)",
        "grant select on c18 to public",
        "create role c18r",
        "alter role c18r superuser",
        "grant c18r to postgres",
        "alter role c18r set search_path = x",
        "create type c18e as enum ('a')",
        "alter type c18e add value 'b'",
        "alter table c18 rename to c18b",
        "create schema c18s",
        "alter schema c18s rename to c18t",
        "create or replace function c18f() returns trigger language plpgsql as 'begin return new; end'",
        "truncate c18b",
        "drop table c18b",
    };
    NEEDS_POSTGRES;
    struct watching w;
    start(&w, false);
    assert_true(run_until(w.loop, &w.seen.ready, 1, 20));
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        int before = w.seen.ready;
        SQL(changes[i]);
        if (!run_until(w.loop, &w.seen.ready, before + 1, 5))
            print_error("not noticed: %s\n", changes[i]);
        assert_true(w.seen.ready > before);
    }
    assert_int_equal(w.seen.unready, w.seen.ready - 1);
    int before = w.seen.ready, confirmed = w.seen.confirmed;
    SQL("insert into plain values (1, 'x'); analyze plain; create temp table t (id int)");
    SQL("vacuum plain");
    assert_true(run_until(w.loop, &w.seen.confirmed, confirmed + 5, 5));
    assert_int_equal(w.seen.ready, before); /* rows are no definitions */
    stop(&w);
}

static void an_invalid_catalog_is_looked_at_again(void **state)
{
    NEEDS_POSTGRES;
    struct watching w;
    start(&w, false);
    assert_true(run_until(w.loop, &w.seen.ready, 1, 20));
    for (int i = 0; i < 20; i++) {
        int before = w.seen.ready;
        if (i % 3 == 1) /* in the middle of a question, too */
            run_until(w.loop, &w.seen.confirmed, w.seen.confirmed + 1, 1);
        watch_invalidate(w.watch);
        assert_string_not_equal(watch_reason(w.watch), "");
        watch_invalidate(w.watch);
        if (i % 4 == 0)
            SQL("create or replace view v2 as select 1; drop view v2");
        assert_true(run_until(w.loop, &w.seen.ready, before + 1, 5));
    }
    stop(&w);
}

static void a_check_is_answered_by_a_look_or_by_unready(void **state)
{
    NEEDS_POSTGRES;
    struct watching w;
    start(&w, false);
    assert_true(watch_check(w.watch) == 0); /* nothing is known that could have changed */
    assert_true(run_until(w.loop, &w.seen.ready, 1, 20));
    for (int i = 0; i < 10; i++) {
        int checked = w.seen.checked, confirmed = w.seen.confirmed;
        uint64_t check = 0;
        for (int k = 0; k <= i; k++)
            check = watch_check(w.watch);
        assert_true(check > 0);
        while (w.seen.check < check)
            assert_true(run_until(w.loop, &w.seen.checked, ++checked, 5));
        /* Belief is confirmed all the same. */
        assert_true(run_until(w.loop, &w.seen.confirmed, confirmed + 1, 5));
    }
    assert_int_equal(w.seen.unready, 0);
    assert_int_equal(w.seen.ready, 1);
    SQL("create table c18checked (id int)");
    uint64_t check = watch_check(w.watch), seen = w.seen.check;
    assert_true(run_until(w.loop, &w.seen.ready, 2, 5));
    assert_int_equal(w.seen.unready, 1);
    assert_true(seen < check && w.seen.check == seen); /* `unready` has answered it */
    SQL("drop table c18checked");
    stop(&w);
}

static void test_c25_older_transactions_are_waited_for(void **state)
{
    NEEDS_POSTGRES;
    char conninfo[128];
    snprintf(conninfo, sizeof(conninfo), "host=%s user=postgres dbname=postgres", live.directory);
    PGconn *older = PQconnectdb(conninfo);
    PQclear(PQexec(older, "BEGIN"));
    PQclear(PQexec(older, "SELECT 1"));
    struct watching w;
    start(&w, false);
    assert_false(run_until(w.loop, &w.seen.ready, 1, 1));
    assert_non_null(strstr(watch_reason(w.watch), "older"));
    PQclear(PQexec(older, "COMMIT"));
    PQclear(PQexec(older, "BEGIN")); /* a younger one does not matter */
    PQclear(PQexec(older, "SELECT 1"));
    assert_true(run_until(w.loop, &w.seen.ready, 1, 5));
    PQfinish(older);
    stop(&w);
}

static void only_one_holds_the_right_to_exact(void **state)
{
    NEEDS_POSTGRES;
    struct watching first, second;
    start(&first, true);
    assert_true(run_until(first.loop, &first.seen.confirmed, 1, 20));
    assert_true(first.seen.is_exact_allowed);
    start(&second, true);
    assert_true(run_until(second.loop, &second.seen.confirmed, 2, 20));
    assert_false(second.seen.is_exact_allowed);
    assert_true(run_until(first.loop, &first.seen.confirmed, first.seen.confirmed + 3, 5));
    assert_true(first.seen.is_exact_allowed);
    stop(&first);
    assert_true(run_until(second.loop, &second.seen.confirmed, second.seen.confirmed + 5, 5));
    assert_true(second.seen.is_exact_allowed);
    stop(&second);
}

static void on_gone(void *context)
{
    ((struct seen *)context)->gone++;
}

static void test_c28_a_backend_is_gone_only_when_it_is(void **state)
{
    NEEDS_POSTGRES;
    char conninfo[128];
    snprintf(conninfo, sizeof(conninfo), "host=%s user=postgres dbname=postgres", live.directory);
    PGconn *other = PQconnectdb(conninfo);
    uint32_t pid = (uint32_t)PQbackendPID(other);
    struct watching w;
    start(&w, false);
    assert_true(run_until(w.loop, &w.seen.ready, 1, 20));
    watch_await_backend(w.watch, pid, on_gone, &w.seen);
    assert_false(run_until(w.loop, &w.seen.gone, 1, 1));
    PQfinish(other);
    assert_true(run_until(w.loop, &w.seen.gone, 1, 5));
    watch_await_backend(w.watch, 1, on_gone, &w.seen); /* no backend at all */
    assert_true(run_until(w.loop, &w.seen.gone, 2, 5));
    stop(&w);
}

static void a_lost_connection_is_unready_until_it_is_back(void **state)
{
    NEEDS_POSTGRES;
    struct watching w;
    start(&w, true);
    assert_true(run_until(w.loop, &w.seen.confirmed, 1, 20));
    SQL("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'weir control'");
    assert_true(run_until(w.loop, &w.seen.unready, 1, 5));
    assert_true(run_until(w.loop, &w.seen.ready, 2, 5));
    assert_true(live_postgres_command(&live, "-m immediate stop"));
    assert_true(run_until(w.loop, &w.seen.unready, 2, 5));
    run_until(w.loop, &w.seen.ready, 3, 1);
    assert_int_equal(w.seen.ready, 2);
    assert_true(live_postgres_command(&live, "start"));
    assert_true(run_until(w.loop, &w.seen.ready, 3, 10));
    stop(&w);
}

/* --- control alone --- */

struct asked {
    int answers, errors;
    char text[64];
};

static void on_answer(void *context, const struct pg_result *result, const char *error)
{
    struct asked *asked = context;
    asked->answers++;
    asked->errors += error != NULL;
    if (result != NULL && PQntuples(result) > 0)
        snprintf(asked->text, sizeof(asked->text), "%s", PQgetvalue(result, 0, 0));
}

static void on_up(void *context)
{
    ++*(int *)context;
}

static void control_asks_in_order_and_gives_up_in_time(void **state)
{
    NEEDS_POSTGRES;
    const char *const values[] = {live.directory, "postgres", "postgres", NULL};
    const struct control_options options = {
        .keywords = keywords, .values = values, .query_timeout_us = 300000};
    struct loop *loop = loop_new();
    int up = 0;
    const struct control_events events = {.up = on_up, .context = &up};
    struct control *c = control_new(loop, &options, &events);
    struct asked asked = {0};
    assert_false(control_query(c, "SELECT 1", NULL, 0, on_answer, &asked)); /* not up */
    control_start(c);
    assert_true(run_until(loop, &up, 1, 10));
    assert_true(control_backend_pid(c) != 0);
    const char *parameter = "it's";
    assert_true(control_query(c, "SELECT $1::text", &parameter, 1, on_answer, &asked));
    assert_true(control_query(c, "SELECT nonsense", NULL, 0, on_answer, &asked));
    assert_true(run_until(loop, &asked.answers, 2, 5));
    assert_string_equal(asked.text, "it's");
    assert_int_equal(asked.errors, 1);
    assert_int_equal(control_get_state(c), CONTROL_UP);
    assert_true(control_query(c, "SELECT pg_sleep(2)", NULL, 0, on_answer, &asked));
    assert_true(control_query(c, "SELECT 1", NULL, 0, on_answer, &asked));
    assert_true(run_until(loop, &asked.answers, 4, 5));
    assert_int_equal(asked.errors, 3); /* both were lost with the connection */
    assert_true(run_until(loop, &up, 2, 5));
    control_free(c);
    loop_free(loop);
}

static int set_up(void **state)
{
    (void)state;
    has_postgres = live_postgres_start(&live);
    if (!has_postgres)
        print_error("no PostgreSQL could be started: the tests that need one are skipped\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (live.directory[0] != '\0')
        live_postgres_stop(&live);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_catalog_says_what_the_keys_are),
        cmocka_unit_test(the_catalog_says_what_there_is),
        cmocka_unit_test(test_c18_definitions_changed_around_weir_are_noticed),
        cmocka_unit_test(an_invalid_catalog_is_looked_at_again),
        cmocka_unit_test(a_check_is_answered_by_a_look_or_by_unready),
        cmocka_unit_test(test_c25_older_transactions_are_waited_for),
        cmocka_unit_test(only_one_holds_the_right_to_exact),
        cmocka_unit_test(test_c28_a_backend_is_gone_only_when_it_is),
        cmocka_unit_test(control_asks_in_order_and_gives_up_in_time),
        cmocka_unit_test(a_lost_connection_is_unready_until_it_is_back),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
