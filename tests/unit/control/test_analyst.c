/* analyst against a real PostgreSQL: what it finds, what it is refused, and that nothing of it stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <libpq-fe.h>

#include "../support/live.h"
#include "weir/control/analyst.h"
#include "weir/control/control.h"
#include "weir/net/loop.h"
#include "weir/util/clock.h"

static struct live live;
static bool has_postgres;

#define NEEDS_POSTGRES                                                                                       \
    do {                                                                                                     \
        (void)state;                                                                                         \
        if (!has_postgres)                                                                                   \
            skip();                                                                                          \
    } while (0)

#define SQL(text) assert_true(live_sql(&live, text, NULL, 0))

static void expect_sql(const char *sql, const char *expected)
{
    char out[128] = "";
    assert_true(live_sql(&live, sql, out, sizeof(out)));
    assert_string_equal(out, expected);
}

static struct analyst *start(struct loop *loop, const char *user, unsigned per_second)
{
    const char *const keywords[] = {"host", "user", "dbname", NULL}, *const values[] = {live.directory, user,
                                                                                        "postgres", NULL};
    const struct control_options connection = {.keywords = keywords, .values = values};
    return analyst_new(loop, &connection, per_second);
}

/* What one answer said, in a form that outlives it. */
struct heard {
    int count;
    char failure[ANALYST_NAME_MAX], unknown[ANALYST_NAME_MAX], operator[ANALYST_NAME_MAX],
        type[ANALYST_NAME_MAX];
    char functions[2048], relations[2048], settings[256]; /* names, each with a bar behind it, as they come */
    bool has_system_column, has_row_lock, has_own_settings, has_own_types;
    uint64_t values;
};

static void on_done(void *context, const struct analyst_facts *facts)
{
    struct heard *h = context;
    int count = h->count + 1;
    *h = (struct heard){.count = count,
                        .has_system_column = facts->has_system_column,
                        .has_row_lock = facts->has_row_lock,
                        .has_own_settings = facts->has_own_settings,
                        .has_own_types = facts->has_own_types,
                        .values = facts->values};
    strcpy(h->failure, facts->failure);
    strcpy(h->unknown, facts->unknown);
    strcpy(h->operator, facts->operator);
    strcpy(h->type, facts->type);
    for (size_t i = 0; i < facts->function_count; i++) {
        const struct analyst_function *f = &facts->functions[i];
        size_t len = strlen(h->functions);
        snprintf(h->functions + len, sizeof(h->functions) - len, "%s %c%s|", f->name, f->volatility,
                 f->is_builtin ? "" : " own");
    }
    for (size_t i = 0; i < facts->relation_count; i++) {
        const struct analyst_relation *r = &facts->relations[i];
        size_t len = strlen(h->relations);
        snprintf(h->relations + len, sizeof(h->relations) - len, "%s %c%c|", r->name, r->kind,
                 r->persistence);
    }
    for (size_t at = 0; at < facts->settings_len; at += strlen(facts->settings + at) + 1)
        strcat(strcat(h->settings, facts->settings + at), "|");
}

static void wait_for(struct loop *loop, const struct heard *h, int count)
{
    uint64_t end = clock_now_us() + 20 * US_PER_SECOND;
    while (h->count < count && clock_now_us() < end) {
        loop_turn(loop);
        usleep(500);
    }
    assert_int_equal(h->count, count);
}

static struct analyst_question question_of(const char *text)
{
    return (struct analyst_question){
        .text = text, .has_params = strchr(text, '$') != NULL, .role = "anna", .search_path = "public"};
}

static struct loop *loop;
static struct analyst *analyst;

static struct heard ask(const struct analyst_question *question)
{
    struct heard h = {.count = 0};
    assert_true(analyst_ask(analyst, question, on_done, &h));
    assert_int_equal(h.count, 0); /* never from inside */
    wait_for(loop, &h, 1);
    return h;
}

static struct heard ask_text(const char *text)
{
    const struct analyst_question question = question_of(text);
    return ask(&question);
}

#define HAS(list, words)   assert_non_null(strstr((list), (words)))
#define LACKS(list, words) assert_null(strstr((list), (words)))

static void test_c05_functions_operators_and_types(void **state)
{
    NEEDS_POSTGRES;
    struct heard h = ask_text("SELECT day < at, upper(v), id::text FROM t WHERE id = $1 ORDER BY v;");
    assert_string_equal(h.failure, "");
    HAS(h.functions, "date_lt_timestamptz(date,timestamp with time zone) s|");
    HAS(h.functions, "upper(text) i|");
    HAS(h.functions, "int4eq(integer,integer) i|");
    HAS(h.functions, "text_lt(text,text) i|");
    assert_string_equal(h.relations, "public.t rp|");
    assert_string_equal(h.type, "");
    h = ask_text("SELECT own(id), id === 2 FROM t");
    HAS(h.functions, "own(integer) i own|");
    assert_string_equal(h.operator, "===(integer,integer)");
    h = ask_text("SELECT m FROM t");
    assert_true(h.has_own_types);
    assert_string_equal(h.type, "");
    h = ask_text("SELECT id::d FROM t");
    assert_string_equal(h.unknown, "node COERCETODOMAIN");
    h = ask_text("SELECT f(id) FROM over_domain");
    HAS(h.functions, "f(d) v own|");
    assert_true(h.has_own_types);
    assert_string_equal(h.type, "");
    h = ask_text("SELECT price FROM over_domain");
    assert_string_equal(h.type, "dear");
    h = ask_text("SELECT id, '{1}'::d[] FROM over_domain");
    assert_string_equal(h.type, "d[]");
    h = ask_text("SELECT lpad(v, 3), to_json(v), row(1, 'a') FROM t"); /* PostgreSQL's own, in SQL */
    HAS(h.functions, "lpad(text,integer) i|");
    assert_string_equal(h.type, "");
    h = ask_text("SELECT t FROM t");
    assert_string_equal(h.type, "t");
    h = ask_text("SELECT ctid FROM t");
    assert_true(h.has_system_column);
    h = ask_text("SELECT current_user, CURRENT_DATE FROM t");
    assert_int_equal(h.values, 1 << 10 | 1 << 0);
}

static void test_c09_relations_of_views_and_policies(void **state)
{
    NEEDS_POSTGRES;
    struct heard h = ask_text("SELECT * FROM over_view JOIN m USING (id)");
    HAS(h.relations, "public.over_view vp|");
    HAS(h.relations, "public.v vp|");
    HAS(h.relations, "public.t rp|");
    HAS(h.relations, "public.m mp|");
    LACKS(h.relations, "weir_template");
    HAS(h.functions, "lower(text) i|"); /* of the view below */
    h = ask_text("SELECT * FROM guarded");
    HAS(h.relations, "public.guarded rp|");
    HAS(h.relations, "public.members rp|"); /* which the policy reads */
    assert_string_equal(h.settings, "app.tenant|");
    assert_false(h.has_own_settings);
    LACKS(h.functions, "random"); /* of a policy for writing */
    h = ask_text("SELECT current_setting('app.tenant') FROM t");
    assert_true(h.has_own_settings);
    assert_string_equal(h.settings, "");
    h = ask_text("SELECT * FROM locking");
    assert_true(h.has_row_lock);
    h = ask_text("SELECT relname FROM pg_class");
    HAS(h.relations, "pg_catalog.pg_class rp|");
}

static void types_and_parameters(void **state)
{
    NEEDS_POSTGRES;
    struct analyst_question q = question_of("SELECT abs($1), $2 FROM t LIMIT $3");
    static const uint32_t types[] = {1700, 0}, odd[] = {999999};
    q.types = types;
    q.type_count = 2;
    struct heard h = ask(&q);
    assert_string_equal(h.failure, "");
    HAS(h.functions, "abs(numeric) i|");
    q.types = odd;
    q.type_count = 1;
    h = ask(&q);
    assert_string_equal(h.failure, "the statement cannot be put into a view");
    h = ask_text("SELECT E'a', $1::int FROM t");
    assert_string_equal(h.failure, "the statement cannot be put into a view");
    h = ask_text("SELECT E'a;' FROM t;");
    assert_string_equal(h.failure, "");
    h = ask_text("VALUES ((SELECT max(id) FROM t))");
    assert_string_equal(h.relations, "public.t rp|");
    h = ask_text("SELECT 1, 2, id AS \"?column?\" FROM t");
    assert_string_equal(h.failure, "");
}

static void role_and_search_path(void **state)
{
    NEEDS_POSTGRES;
    struct analyst_question q = question_of("SELECT * FROM twice");
    q.search_path = "one, two";
    struct heard h = ask(&q);
    assert_string_equal(h.relations, "two.twice rp|"); /* anna may not use the first */
    q.role = "postgres";
    h = ask(&q);
    assert_string_equal(h.relations, "one.twice rp|");
    q.search_path = "";
    h = ask(&q);
    HAS(h.failure, "PostgreSQL does not take the statement: ERROR:  relation \"twice\" does not exist");
    q.role = "nobody";
    h = ask(&q);
    HAS(h.failure,
        "the control user cannot act as the session's role: ERROR:  role \"nobody\" does not exist");
    q.role = "bare";
    q.search_path = "public";
    q.text = "SELECT * FROM v";
    h = ask(&q);
    HAS(h.failure, "no temporary view for an analysis: ERROR:  permission denied");
    q = question_of("SELECT v FROM t WHERE v = '\303\244'");
    q.client_encoding = "LATIN1";
    h = ask(&q);
    assert_string_equal(h.failure, "");
}

static void a_control_user_without_rights(void **state)
{
    NEEDS_POSTGRES;
    analyst_free(analyst);
    analyst = start(loop, "anna", 1000);
    struct analyst_question q = question_of("SELECT * FROM v");
    struct heard h = ask(&q);
    assert_string_equal(h.failure, ""); /* as itself it may */
    q.role = "postgres";
    h = ask(&q);
    HAS(h.failure,
        "the control user cannot act as the session's role: ERROR:  permission denied to set role");
    analyst_free(analyst);
    analyst = start(loop, "nosuchuser", 1000);
    h = ask(&q);
    HAS(h.failure, "no connection for analyses: ");
    h = ask(&q); /* and is tried again */
    HAS(h.failure, "no connection for analyses: ");
    analyst_free(analyst);
    analyst = start(loop, "postgres", 1000);
}

static void nothing_of_it_stays_or_runs(void **state)
{
    NEEDS_POSTGRES;
    expect_sql("select count(*) from pg_class where relname = 'weir_template'", "0");
    struct heard h = ask_text("SELECT writes() FROM t");
    assert_string_equal(h.failure, "");
    HAS(h.functions, "writes() v own|");
    expect_sql("select count(*) from written", "0");
    h = ask_text("SELECT * FROM nosuch");
    HAS(h.failure, "does not exist");
    h = ask_text("SELECT 1; DROP TABLE t");
    HAS(h.failure, "cannot insert multiple commands");
    h = ask_text("SELECT 1 FROM t) AS q; DROP TABLE t; --");
    HAS(h.failure, "ERROR:");
    expect_sql("select count(*) from pg_class where relname = 'weir_template'", "0");
    expect_sql("select count(*) from pg_locks where pid in (select pid from pg_stat_activity where "
               "application_name = 'weir "
               "analysis')",
               "0");
    expect_sql("select state || ' ' || query from pg_stat_activity where application_name = 'weir analysis'",
               "idle DEALLOCATE ALL");
}

static void event_triggers_are_not_run(void **state)
{
    NEEDS_POSTGRES;
    SQL("create function noticed() returns event_trigger language plpgsql as 'begin insert into written "
        "values (1); end';"
        "create event trigger notice on ddl_command_end execute function noticed()");
    struct heard h = ask_text("SELECT * FROM v");
    HAS(h.failure, "event triggers");
    SQL("alter event trigger notice disable");
    h = ask_text("SELECT * FROM v");
    assert_string_equal(h.failure, "");
    SQL("drop event trigger notice");
    expect_sql("select count(*) from written", "0");
}

static void a_migration_is_not_waited_for(void **state)
{
    NEEDS_POSTGRES;
    char conninfo[128];
    snprintf(conninfo, sizeof(conninfo), "host=%s user=postgres dbname=postgres", live.directory);
    PGconn *migration = PQconnectdb(conninfo);
    PQclear(PQexec(migration, "BEGIN"));
    PQclear(PQexec(migration, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"));
    uint64_t before = clock_now_us();
    struct heard h = ask_text("SELECT * FROM v");
    HAS(h.failure, "lock timeout");
    assert_true(clock_now_us() - before < US_PER_SECOND);
    PQclear(PQexec(migration, "COMMIT"));
    PQfinish(migration);
    h = ask_text("SELECT * FROM v");
    assert_string_equal(h.failure, "");
}

static void load_is_bounded(void **state)
{
    NEEDS_POSTGRES;
    struct analyst *slow = start(loop, "postgres", 20);
    struct heard h = {.count = 0};
    const struct analyst_question q = question_of("SELECT * FROM v");
    uint64_t before = clock_now_us();
    for (int i = 0; i < 10; i++)
        assert_true(analyst_ask(slow, &q, on_done, &h));
    wait_for(loop, &h, 10);
    assert_true(clock_now_us() - before >= 9 * 50 * US_PER_MS);
    for (int i = 0; i < ANALYST_QUEUE_MAX; i++)
        assert_true(analyst_ask(slow, &q, on_done, &h));
    assert_false(analyst_ask(slow, &q, on_done, &h));
    h.count = 0;
    analyst_free(slow); /* tells all of them */
    assert_int_equal(h.count, ANALYST_QUEUE_MAX);
    HAS(h.failure, "closed");
}

static void a_connection_that_breaks(void **state)
{
    NEEDS_POSTGRES;
    struct heard h = ask_text("SELECT * FROM v");
    SQL("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'weir analysis'");
    h = ask_text("SELECT * FROM v");
    if (h.failure[0] != '\0') /* the end was seen with the question */
        h = ask_text("SELECT * FROM v");
    assert_string_equal(h.failure, "");
}

static int set_up(void **state)
{
    (void)state;
    has_postgres = live_postgres_start(&live);
    if (!has_postgres) {
        print_error("no PostgreSQL could be started: the tests that need one are skipped\n");
        return 0;
    }
    SQL("create role anna login; create role bare; revoke temp on database postgres from public; grant temp "
        "on database "
        "postgres to anna; create type mood as enum ('a'); create domain d as int; create domain dear as "
        "money;"
        "create table t (id int, v text, day date, at timestamptz, m mood);"
        "create view v as select id, lower(v) as v from t; create view over_view as select * from v;"
        "create view locking as select id from t for update; create materialized view m as select id from t;"
        "create table over_domain (id d, price dear); create function f(d) returns int language sql as "
        "'select 1';"
        "create function own(int) returns int language sql immutable as 'select 1';"
        "create operator === (leftarg = int, rightarg = int, function = int4eq)");
    SQL("create schema one; create schema two; grant usage on schema two to anna;"
        "create table one.twice (id int); create table two.twice (id int); create table written (id int);"
        "create function writes() returns int language sql volatile as 'insert into written values (1) "
        "returning 1';"
        "create table members (who name, tenant text);"
        "create table guarded (tenant text); alter table guarded enable row level security;"
        "create policy p on guarded for select using (tenant = current_setting('App.Tenant') or tenant in "
        "(select m.tenant from members m));"
        "create policy q on guarded for insert with check (random() > 0)");
    loop = loop_new();
    analyst = start(loop, "postgres", 1000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (!has_postgres)
        return 0;
    analyst_free(analyst);
    loop_free(loop);
    live_postgres_stop(&live);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c05_functions_operators_and_types),
        cmocka_unit_test(test_c09_relations_of_views_and_policies),
        cmocka_unit_test(types_and_parameters),
        cmocka_unit_test(role_and_search_path),
        cmocka_unit_test(a_control_user_without_rights),
        cmocka_unit_test(nothing_of_it_stays_or_runs),
        cmocka_unit_test(event_triggers_are_not_run),
        cmocka_unit_test(a_migration_is_not_waited_for),
        cmocka_unit_test(load_is_bounded),
        cmocka_unit_test(a_connection_that_breaks),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
