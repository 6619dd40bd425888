/* classify: kinds, relations, functions, settings, locks, and above all what must be called unknown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "weir/sql/classify.h"
#include "weir/sql/rows.h"
#include "weir/util/buf.h"
#include "weir/util/buf.h"

static void put_relations(struct buf *out, const char *label, const struct sql_relation *r, uint16_t n)
{
    for (uint16_t i = 0; i < n; i++)
        buf_printf(out, " %s=%s%s%s", label, r[i].schema != NULL ? r[i].schema : "",
                   r[i].schema != NULL ? "." : "", r[i].name);
}

static const char *const flag_names[] = {
    "WRITES",
    "WRITES_UNKNOWN",
    "SCHEMA",
    "UNKNOWN_FUNCTION",
    "FUNCTION_WRITES",
    "CODE",
    "UNKNOWN_SETTING",
    "UNKNOWN_LOCAL",
    "READS_UNKNOWN",
    "REFUSES_BLOCK",
    "PARAMS",
    "LOCKS",
    "TABLESAMPLE",
    "SUBLINK",
    "SYSTEM_COLUMN",
    "TIME",
    "USER",
    "CATALOG",
    "CHAIN",
    "HOLD",
    "CASCADE",
    "ANALYZE",
    "PLAIN_BEGIN",
    "ON_COMMIT_DROP",
    "LOCK",
    "UNLOCK",
    "UNLOCK_ALL",
    "SEQUENCE_STATE",
    "NEXTVAL",
    "NOTIFIES",
    "START",
};

/* One line that says all about a class: what the tests below compare. */
static void describe(const struct sql_class *class, struct buf *out)
{
    for (uint32_t i = 0; i < class->n_statements; i++) {
        const struct sql_statement *s = &class->statements[i];
        buf_printf(out, "%s%s", i > 0 ? "; " : "", sql_kind_name(s->kind));
        if (s->name != NULL && s->name[0] != '\0')
            buf_printf(out, " name=%s", s->name);
        if (s->isolation != SQL_ISOLATION_UNSAID)
            buf_printf(out, " isolation=%d", s->isolation);
        put_relations(out, "r", s->reads, s->n_reads);
        put_relations(out, "w", s->writes, s->n_writes);
        for (uint16_t f = 0; f < s->n_functions; f++) {
            if (s->functions[f].args == UINT16_MAX && s->functions[f].is_builtin)
                continue; /* operators are in nearly everything */
            const struct sql_function *c = &s->functions[f];
            buf_printf(out, " %s=%s%s%s/%d", c->is_builtin ? "f" : "F", c->schema != NULL ? c->schema : "",
                       c->schema != NULL ? "." : "", c->name, c->args == UINT16_MAX ? -1 : c->args);
        }
        for (uint16_t n = 0; n < s->n_settings; n++)
            buf_printf(out, " %s%s=%s", s->settings[n].is_local ? "local:" : "set:", s->settings[n].name,
                       s->settings[n].value != NULL ? s->settings[n].value : "(default)");
        for (size_t f = 0; f < sizeof(flag_names) / sizeof(*flag_names); f++) {
            if ((s->flags >> f & 1) != 0)
                buf_printf(out, " %s", flag_names[f]);
        }
    }
}

static void check(const char *text, const char *expected)
{
    struct sql_class *class = sql_classify(slice_str(text));
    struct buf out = BUF_INIT;
    describe(class, &out);
    if (strcmp(buf_text(&out), expected) != 0)
        fail_msg("%s\n  gives    %s\n  expected %s", text, buf_text(&out), expected);
    buf_free(&out);
    sql_class_unref(class);
}

static uint32_t flags_of(const char *text)
{
    struct sql_class *class = sql_classify(slice_str(text));
    uint32_t flags = class->flags;
    sql_class_unref(class);
    return flags;
}

#define DO_WRITES "WRITES WRITES_UNKNOWN"
#define CALLS     "WRITES WRITES_UNKNOWN UNKNOWN_FUNCTION FUNCTION_WRITES"
#define DDL       "WRITES WRITES_UNKNOWN SCHEMA"

static void reads(void **state)
{
    (void)state;
    check("SELECT 1", "read");
    check("select * from a, public.B, \"C\" join d on true", "read r=a r=public.b r=C r=d");
    check("VALUES (1), (2)", "read");
    check("TABLE t", "read r=t");
    check("SELECT * FROM t WHERE x = $2", "read r=t PARAMS");
    check("SELECT 1 FROM t WHERE EXISTS (SELECT FROM u)", "read r=t r=u SUBLINK");
    check("SELECT a FROM x UNION ALL SELECT b FROM y EXCEPT SELECT c FROM z", "read r=x r=y r=z");
    check("SELECT count(*), pg_catalog.lower(n) FROM t", "read r=t f=count/0 f=pg_catalog.lower/1");
    check("SELECT CURRENT_DATE, current_user FROM t", "read r=t TIME USER");
    check("SELECT ctid FROM t TABLESAMPLE system (5)", "read r=t TABLESAMPLE SYSTEM_COLUMN");
    check("SELECT * FROM pg_class, information_schema.tables, mine.pg_class",
          "read r=pg_class r=information_schema.tables r=mine.pg_class CATALOG");
    check("SELECT * FROM t FOR UPDATE OF t", "select r=t LOCKS");
    check("SELECT * FROM (SELECT * FROM t FOR SHARE) s", "select r=t LOCKS");
    check("SELECT pg_advisory_xact_lock(1)", "select f=pg_advisory_xact_lock/1 LOCKS");
    check("/* nothing */ ;", "empty");
    check("", "empty");
}

static void scopes_of_with(void **state)
{
    (void)state;
    check("WITH c AS (SELECT * FROM a) SELECT * FROM c, b", "read r=a r=b");
    /* Not recursive: inside its own definition the name is the table. */
    check("WITH a AS (SELECT * FROM a) SELECT * FROM a", "read r=a");
    check("WITH RECURSIVE a AS (SELECT 1 UNION SELECT * FROM a) SELECT * FROM a", "read");
    check("WITH RECURSIVE x AS (SELECT * FROM y), y AS (SELECT * FROM t) SELECT * FROM x", "read r=t");
    check("WITH x AS (SELECT * FROM y), y AS (SELECT * FROM t) SELECT * FROM x", "read r=y r=t");
    /* Qualified names never are CTEs, and the scope ends with its SELECT. */
    check("WITH a AS (SELECT 1) SELECT * FROM public.a", "read r=public.a");
    check("SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a) s, a", "read r=a");
    check("SELECT (WITH a AS (SELECT 1) SELECT 1 FROM a) UNION SELECT 1 FROM a", "read r=a SUBLINK");
    /* A target is a table even where a CTE has its name. */
    check("WITH t AS (SELECT 1 AS x) INSERT INTO t SELECT x FROM t", "insert w=t WRITES");
    check("WITH w AS (DELETE FROM a RETURNING *) SELECT * FROM w", "select w=a WRITES");
}

static void writes(void **state)
{
    (void)state;
    check("INSERT INTO s.t (a) SELECT b FROM u ON CONFLICT DO NOTHING", "insert r=u w=s.t WRITES");
    check("INSERT INTO t VALUES (1, 'a') RETURNING id", "insert w=t WRITES");
    check("UPDATE t SET a = (SELECT max(x) FROM u) FROM v WHERE t.id = v.id",
          "update r=u r=v w=t f=max/1 WRITES SUBLINK");
    check("DELETE FROM t USING u WHERE t.id = u.id", "delete r=u w=t WRITES");
    check("MERGE INTO t USING s ON t.i = s.i WHEN MATCHED THEN DELETE", "merge r=s w=t WRITES");
    check("TRUNCATE a, b.c", "truncate w=a w=b.c WRITES");
    check("TRUNCATE a CASCADE", "truncate w=a " DO_WRITES " CASCADE");
    check("COPY t (a) FROM STDIN", "copy from w=t WRITES");
    check("COPY t TO STDOUT", "copy to r=t");
    check("COPY (SELECT * FROM t) TO STDOUT", "copy to r=t");
    check("COPY (DELETE FROM t RETURNING *) TO STDOUT", "copy to w=t WRITES");
    check("REFRESH MATERIALIZED VIEW CONCURRENTLY v", "refresh w=v WRITES");
    check("UPDATE pg_settings SET setting = 'on'", "update w=pg_settings " DDL " UNKNOWN_SETTING CATALOG");
    check("LOCK TABLE a, b", "lock table r=a r=b LOCKS");
    check("SELECT * INTO n FROM t", "ddl r=t " DDL);
}

static void functions(void **state)
{
    (void)state;
    check("SELECT mine(1)", "read F=mine/1 " CALLS);
    check("SELECT public.lower('x')", "read F=public.lower/1 " CALLS);
    check("INSERT INTO t VALUES (mine())", "insert w=t F=mine/0 " CALLS);
    check("SELECT * FROM t WHERE a OPERATOR(public.=) b", "read r=t F=public.=/-1 " CALLS);
    check("SELECT * FROM t WHERE a OPERATOR(pg_catalog.=) b", "read r=t");
    check("SELECT * FROM t ORDER BY a <%> b", "read r=t F=<%>/-1 " CALLS);
    check("SELECT query_to_xml('select 1', true, true, '')", "read F=query_to_xml/4 " CALLS);
    check("SELECT * FROM generate_series(1, 3), mine(2) m", "read f=generate_series/2 F=mine/1 " CALLS);
    check("SELECT nextval('s')", "read f=nextval/1 NEXTVAL");
    check("SELECT lastval(), setseed(0.5)", "read f=lastval/0 f=setseed/1 SEQUENCE_STATE");
    check("SELECT pg_notify('a', 'b')", "read f=pg_notify/2 NOTIFIES");
    check("SELECT sum(x) FILTER (WHERE f(x)) OVER (ORDER BY g(y)) FROM t",
          "read r=t f=sum/1 F=f/1 F=g/1 " CALLS);
    check("SELECT extract(year FROM d), trim(x), overlay(a placing b from 1) FROM t",
          "read r=t f=pg_catalog.extract/2 f=pg_catalog.btrim/1 f=pg_catalog.overlay/3");
    check("DO $$ BEGIN END $$", "do " DO_WRITES " CODE READS_UNKNOWN REFUSES_BLOCK");
    check("CALL p(1)", "call F=p/1 " DO_WRITES " UNKNOWN_FUNCTION CODE READS_UNKNOWN REFUSES_BLOCK");
    check("EXECUTE q", "execute name=q " DO_WRITES " CODE READS_UNKNOWN");
}

static void settings(void **state)
{
    (void)state;
    check("SET TimeZone TO 'UTC'", "set set:timezone=UTC");
    check("SET LOCAL work_mem = 64", "set local:work_mem=64");
    check("SET x.y = -1.5", "set set:x.y=-1.5");
    check("SET TIME ZONE -5", "set set:timezone=-5");
    check("SET TIME ZONE LOCAL", "set set:timezone=(default)");
    check("SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE", "set UNKNOWN_SETTING");
    check("SET search_path = a, \"B c\", \"select\", public, 'x\"y', \"$user\"",
          "set set:search_path=a, \"B c\", \"select\", public, \"x\"\"y\", \"$user\"");
    check("SET DateStyle = ISO, DMY", "set set:datestyle=iso, dmy");
    check("SET search_path TO ''", "set set:search_path=\"\"");
    check("SET SCHEMA 'q'", "set set:search_path=q");
    check("SET NAMES 'latin1'", "set set:client_encoding=latin1");
    check("SET ROLE joe", "set set:role=joe");
    check("SET ROLE NONE", "set set:role=none");
    check("SET SESSION AUTHORIZATION \"Joe\"", "set set:session_authorization=Joe");
    check("RESET SESSION AUTHORIZATION", "set set:session_authorization=(default)");
    check("SET a.b TO DEFAULT", "set set:a.b=(default)");
    check("RESET sort_mem", "set set:work_mem=(default)");
    check("RESET ALL", "reset all");
    check("SET x FROM CURRENT", "set UNKNOWN_SETTING");
    check("SET seed = 0.1", "set SEQUENCE_STATE");
    check("SET enable_seqscan = off", "set set:enable_seqscan=off");
    check("SET escape_string_warning = true", "set set:escape_string_warning=true");
    check("SET transaction_timeout = 5", "set set:transaction_timeout=5");
    check("SET transaction_isolation = 'serializable'", "set transaction isolation=4");
    check("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", "set transaction isolation=3");
    check("SET TRANSACTION SNAPSHOT '1'", "set transaction isolation=3");
    check(
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, NOT DEFERRABLE",
        "set set:default_transaction_isolation=serializable set:default_transaction_read_only=on "
        "set:default_transaction_deferrable=off");
    check("SHOW search_path", "show name=search_path");
    check("DISCARD ALL", "discard all REFUSES_BLOCK");
    check("DISCARD TEMP; DISCARD PLANS; DISCARD SEQUENCES", "discard temp; discard plans; discard sequences");
}

static void set_config(void **state)
{
    (void)state;
    check("SELECT set_config('App.x', 'v', false)", "read f=set_config/3 set:app.x=v");
    check("SELECT pg_catalog.set_config('search_path', '', false), set_config('role', 'r', true)",
          "read f=pg_catalog.set_config/3 f=set_config/3 set:search_path= local:role=r");
    check("SELECT set_config('x.y', NULL, 'f')", "read f=set_config/3 set:x.y=(default)");
    check("SELECT set_config('x.y', $1, false)", "read f=set_config/3 UNKNOWN_SETTING PARAMS");
    check("SELECT set_config('x.y', $1, true)", "read f=set_config/3 UNKNOWN_LOCAL PARAMS");
    check("SELECT set_config('x.y', 'v', $1)", "read f=set_config/3 UNKNOWN_SETTING PARAMS");
    check("SELECT set_config('x.y', 'v', false) FROM t", "read r=t f=set_config/3 UNKNOWN_SETTING");
    /* Evaluated not at all, or three times. */
    check("SELECT set_config('x.y', 'v', false), generate_series(1, 0)",
          "read f=set_config/3 f=generate_series/2 UNKNOWN_SETTING");
    check("SELECT 1 AS a, set_config('x.y', 'v', false), $1::int", "read f=set_config/3 set:x.y=v PARAMS");
    check("SELECT upper(set_config('x.y', 'v', false))", "read f=upper/1 f=set_config/3 UNKNOWN_SETTING");
    check("SELECT set_config('transaction_isolation', 'serializable', false)",
          "read f=set_config/3 UNKNOWN_LOCAL");
    check("SELECT mine.set_config('a', 'b', false)", "read F=mine.set_config/3 " CALLS);
    check("DECLARE c CURSOR FOR SELECT set_config('a', 'b', false)",
          "declare cursor name=c f=set_config/3 UNKNOWN_SETTING");
    check("EXPLAIN SELECT set_config('a', 'b', false)", "explain f=set_config/3");
    check("EXPLAIN ANALYZE SELECT set_config('a', 'b', false)", "explain f=set_config/3 set:a=b ANALYZE");
}

static void bound_as(const char *sql, const char *value, const char *expected)
{
    struct sql_class *class = sql_classify(slice_str(sql));
    struct buf text = BUF_INIT;
    struct slice given = value != NULL ? slice_str(value) : SLICE_EMPTY;
    if (sql_bound_setting(class) == 0 || !sql_bound_text(class, given, &text))
        buf_append_str(&text, "unknown");
    assert_string_equal(buf_text(&text), expected);
    buf_free(&text);
    sql_class_unref(class);
}

static void test_c04_settings_whose_value_is_bound(void **state)
{
    (void)state;
    bound_as("SELECT set_config('x.y', $1, false)", "v", "SELECT pg_catalog.set_config('x.y', 'v', false)");
    bound_as("SELECT 1, set_config('x''y', $1, true)", "it's",
             "SELECT pg_catalog.set_config('x''y', 'it''s', true)");
    bound_as("SELECT set_config('x.y', $2, false), $1::int", NULL,
             "SELECT pg_catalog.set_config('x.y', NULL, false)");
    bound_as("SELECT set_config('x.y', $1, false)", "sch\xc3\xb6n", "unknown");
    bound_as("SELECT set_config('x.y', $1::text, false)", "v", "unknown");
    bound_as("SELECT set_config($1, 'v', false)", "x", "unknown");
    bound_as("SELECT set_config('x.y', $1, $2)", "v", "unknown");
    bound_as("SELECT set_config('a', $1, false), set_config('b', $2, false)", "v", "unknown");
    bound_as("SELECT set_config('a', $1, false), set_config('b', $1, true)", "v", "unknown");
    bound_as("SELECT set_config($2, 'v', false), set_config('b', $1, false)", "v", "unknown");
    bound_as("SELECT set_config('a', 'v', false), set_config('b', $1, false)", "v", "unknown");
    bound_as("SELECT set_config('a', $1, false) FROM t", "v", "unknown");
    bound_as("SELECT set_config('a', $1, false), mine()", "v", "unknown");
    bound_as("SELECT set_config('transaction_read_only', $1, false)", "on", "unknown");
    bound_as("SELECT set_config('a', $1, false); SELECT 1", "v", "unknown");
}

static void long_lists_of_rows(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    buf_append_str(&text, "INSERT INTO t (a, b) VALUES (nextval('s'), $1)");
    for (int i = 0; i < 100000; i++)
        buf_printf(&text, ", (%d, 'it''s a row; DELETE FROM x -- ), (' )", -i);
    buf_append_str(&text, ", (f(1), - 2), ($2, null) RETURNING g(a); DELETE FROM u");
    assert_true(text.len > 3 * SQL_PARSE_LIMIT);
    struct sql_class *class = sql_classify(buf_slice(&text));
    assert_int_equal(class->n_statements, 2);
    const struct sql_statement *s = class->statements;
    assert_int_equal(s[0].kind, SQL_KIND_INSERT);
    assert_string_equal(s[0].writes[0].name, "t");
    assert_int_equal(s[0].n_functions, 3);
    assert_string_equal(s[0].functions[1].name, "f");
    assert_true(s[0].flags & SQL_NEXTVAL && s[0].flags & SQL_UNKNOWN_FUNCTION);
    assert_string_equal(s[1].writes[0].name, "u");
    sql_class_unref(class);
    buf_free(&text);
}

static void rows_that_may_not_be_left_out(void **state)
{
    static const char *const whole[] = {
        "INSERT INTO t VALUES (1, 2)",
        "INSERT INTO t VALUES (1), (f(2)), (2::x), (- 'a'), (a), ((1)), (1 + 1), (array[1]), (b'1')",
        "INSERT INTO t VALUES (1), (E'x'), (2)",
        "INSERT INTO t VALUES (1), ($$x$$), (2)",
        "INSERT INTO t VALUES (1), (2",
        "INSERT INTO t SELECT 1 FROM (VALUES (1), (2)) v",
        "SELECT 1; INSERT INTO t VALUES (1), (2)",
        "UPDATE t SET a = 1",
        "",
    };
    (void)state;
    struct buf out = BUF_INIT;
    for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++) {
        buf_clear(&out);
        assert_false(rows_leave_out(slice_str(whole[i]), &out));
    }
    buf_clear(&out);
    assert_true(rows_leave_out(
        SLICE_LITERAL(
            "/* c */ insert into t values (1) , (2),('x', -1, +2.5, $1, DEFAULT) ,(f()),\n(3); SELECT 1"),
        &out));
    assert_string_equal(buf_text(&out), "/* c */ insert into t values (1) ,(f()); SELECT 1");
    buf_free(&out);
}

static void transactions(void **state)
{
    (void)state;
    check("BEGIN", "begin PLAIN_BEGIN");
    check("START TRANSACTION ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE",
          "begin isolation=2 PLAIN_BEGIN START");
    check("BEGIN READ WRITE", "begin");
    check("BEGIN ISOLATION LEVEL SERIALIZABLE", "begin isolation=4");
    check("BEGIN READ ONLY", "begin");
    check("BEGIN DEFERRABLE", "begin");
    check("BEGIN; SELECT 1; COMMIT", "begin PLAIN_BEGIN; read; commit");
    check("END AND CHAIN", "commit CHAIN");
    check("ABORT AND NO CHAIN", "rollback");
    check("SAVEPOINT \"A\"; ROLLBACK TO a; RELEASE b",
          "savepoint name=A; rollback to name=a; release name=b");
    check("PREPARE TRANSACTION 'x'", "prepare transaction");
    check("COMMIT PREPARED 'x'", "commit prepared WRITES WRITES_UNKNOWN REFUSES_BLOCK");
    check("ROLLBACK PREPARED 'x'", "rollback prepared REFUSES_BLOCK");
    assert_true(flags_of("SELECT 1; SAVEPOINT a") & SQL_CLASS_TRANSACTION);
    assert_false(flags_of("SELECT 1") & SQL_CLASS_TRANSACTION);
}

static void pinning(void **state)
{
    (void)state;
    check("CREATE TEMP TABLE t (a int)", "create temp r=t " DDL);
    check("CREATE TEMPORARY TABLE t ON COMMIT DROP AS SELECT 1", "create temp r=t " DDL " ON_COMMIT_DROP");
    check("CREATE TEMP VIEW v AS SELECT 1", "create temp r=v " DDL);
    check("CREATE TEMP SEQUENCE s", "create temp r=s " DDL);
    check("EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1", "create temp r=t " DDL " ANALYZE");
    check("SELECT 1 AS a INTO TEMP t", "create temp " DDL);
    check("CREATE TABLE pg_temp.t (a int)", "create temp r=pg_temp.t " DDL " CATALOG");
    check("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'select 1'", "create temp " DDL);
    check("PREPARE p AS SELECT mine(1)", "prepare name=p F=mine/1");
    check("DEALLOCATE p; DEALLOCATE ALL", "deallocate name=p; deallocate");
    check("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM t", "declare cursor name=c r=t HOLD");
    check("FETCH 10 FROM c; MOVE c; CLOSE c; CLOSE ALL",
          "fetch name=c READS_UNKNOWN; move name=c READS_UNKNOWN; close name=c; close");
    check("LISTEN a; UNLISTEN b; UNLISTEN *; NOTIFY a, 'x'",
          "listen name=a; unlisten name=b; unlisten; notify name=a NOTIFIES");
    check("LOAD 'auto_explain'", "load");
}

static void definitions(void **state)
{
    (void)state;
    check("CREATE INDEX CONCURRENTLY ON t (a)", "ddl r=t " DDL " REFUSES_BLOCK");
    check("CREATE INDEX ON t (a)", "ddl r=t " DDL);
    check("DROP TABLE a.b", "ddl " DDL);
    check("ALTER TABLE t ADD COLUMN x int", "ddl r=t " DDL);
    check("GRANT SELECT ON t TO joe", "grant r=t " DDL);
    check("ALTER ROLE joe SET work_mem = 5", "grant " DDL);
    check("CREATE DATABASE d", "ddl " DDL " REFUSES_BLOCK");
    check("VACUUM t", "maintenance REFUSES_BLOCK");
    check("ANALYZE t", "maintenance");
    check("REINDEX TABLE t", "maintenance REFUSES_BLOCK");
    check("CREATE VIEW v AS SELECT * FROM t", "ddl r=v r=t " DDL);
    check("EXPLAIN (ANALYZE false) DELETE FROM t", "explain");
    check("EXPLAIN ANALYZE DELETE FROM t", "explain w=t WRITES ANALYZE");
    check("EXPLAIN SELECT mine(1)", "explain F=mine/1 " CALLS);
}

static void advisory_locks(void **state)
{
    (void)state;
    struct sql_class *lock = sql_classify(SLICE_LITERAL("SELECT pg_advisory_lock(7)"));
    struct sql_class *unlock = sql_classify(SLICE_LITERAL("select  PG_CATALOG.pg_advisory_unlock( 7 )"));
    struct sql_class *other = sql_classify(SLICE_LITERAL("SELECT pg_advisory_unlock(8)"));
    struct sql_class *shared = sql_classify(SLICE_LITERAL("SELECT pg_advisory_unlock_shared(7)"));
    assert_true(lock->statements->is_advisory_counted);
    assert_int_equal(lock->statements->advisory, 1);
    assert_int_equal(unlock->statements->advisory, -1);
    assert_int_equal(lock->statements->advisory_sum + unlock->statements->advisory_sum, 0);
    assert_int_not_equal(lock->statements->advisory_sum + other->statements->advisory_sum, 0);
    assert_int_not_equal(lock->statements->advisory_sum + shared->statements->advisory_sum, 0);
    assert_true(lock->flags & SQL_CLASS_LITERALS);
    sql_class_unref(lock);
    sql_class_unref(unlock);
    sql_class_unref(other);
    sql_class_unref(shared);
    const char *const uncounted[] = {
        "SELECT pg_advisory_lock($1)",
        "SELECT pg_advisory_lock(hashtext('a'))",
        "SELECT pg_advisory_lock(1) FROM t",
        "SELECT pg_try_advisory_lock(id) FROM t",
        "SELECT CASE WHEN true THEN pg_advisory_lock(1) END",
        "SELECT pg_advisory_lock(1), pg_advisory_lock($1)",
        "SELECT pg_advisory_lock($1), pg_advisory_lock(1)",
        "SELECT pg_advisory_lock(1), generate_series(1, 3)",
        "SELECT pg_advisory_lock(1), nextval(unnest(ARRAY['a', 'b']))",
    };
    for (size_t i = 0; i < sizeof(uncounted) / sizeof(*uncounted); i++) {
        struct sql_class *class = sql_classify(slice_str(uncounted[i]));
        assert_true(class->statements->flags & SQL_ADVISORY_LOCK);
        assert_false(class->statements->is_advisory_counted);
        sql_class_unref(class);
    }
}

static void unknown_text_is_feared(void **state)
{
    (void)state;
    const char *const texts[] = {"SELEC 1", "SELECT 'a", "SELECT 1; nonsense", "START_REPLICATION SLOT x",
                                 "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE RETURNING *"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        assert_ptr_equal(sql_classify(slice_str(texts[i])), sql_class_unparsable());
    assert_ptr_equal(sql_classify(slice_make("SELECT 1\0; x", 12)), sql_class_unparsable());
    assert_true(sql_class_unparsable()->flags & SQL_CLASS_UNKNOWN_CODE);
    assert_true(sql_class_unparsable()->flags & SQL_CLASS_WRITES_UNKNOWN);
    sql_class_unref(sql_class_ref(sql_class_unparsable()));
}

static void only_plain_reads_are_candidates(void **state)
{
    (void)state;
    const char *const yes[] = {"SELECT * FROM t", "SELECT now() FROM t", "/* weir: ttl=1s */ TABLE t;",
                               "WITH a AS (SELECT * FROM t) SELECT * FROM a"};
    const char *const no[] = {
        "SELECT 1",
        "SELECT * FROM t; SELECT 1",
        "SELECT * FROM t FOR UPDATE",
        "SELECT nextval('s') FROM t",
        "SELECT mine(a) FROM t",
        "SELECT set_config('a', 'b', false) FROM t",
        "SELECT pg_advisory_xact_lock(1) FROM t",
        "SELECT * FROM pg_class",
        "SELECT * FROM pg_temp.t",
        "SELECT xmin FROM t",
        "SELECT * FROM \xc3\xa4pfel",
        "INSERT INTO t VALUES (1)",
        "EXPLAIN SELECT * FROM t",
        "SELECT * INTO x FROM t",
        "BEGIN",
    };
    for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++)
        assert_true(flags_of(yes[i]) & SQL_CLASS_READ_CANDIDATE);
    for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++) {
        if ((flags_of(no[i]) & SQL_CLASS_READ_CANDIDATE) != 0)
            fail_msg("candidate: %s", no[i]);
    }
    assert_true(flags_of("SELECT mine(a) FROM t") & SQL_CLASS_READ_IF_FORGIVEN);
}

static void knows_what_depends_on_literals(void **state)
{
    (void)state;
    const char *const yes[] = {"SET a = 1",
                               "SELECT set_config('a', 'b', true)",
                               "SELECT pg_advisory_lock(1)",
                               "SELECT * FROM t ORDER BY 1",
                               "SELECT a FROM t GROUP BY 2",
                               "SELECT x::float(24) FROM t",
                               "NOTIFY a, 'b'"};
    const char *const no[] = {"SELECT * FROM t WHERE a = 1 AND b = 'x' LIMIT 5",
                              "INSERT INTO t VALUES (1, 'a')",
                              "UPDATE t SET a = 1.5",
                              "SELECT x::float FROM t ORDER BY a",
                              "DECLARE c CURSOR FOR SELECT 1",
                              "EXPLAIN SELECT * FROM t WHERE a = 1"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++)
        assert_true(flags_of(yes[i]) & SQL_CLASS_LITERALS);
    for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++)
        assert_false(flags_of(no[i]) & SQL_CLASS_LITERALS);
    assert_true(flags_of("SELECT 'x now y'") & SQL_CLASS_DATETIME_WORD);
    assert_true(flags_of("SELECT E'\\x6eow'") & SQL_CLASS_DATETIME_WORD);
    assert_false(flags_of("SELECT 'known'") & SQL_CLASS_DATETIME_WORD);
}

static void bounds_hold(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    buf_append_str(&text, "SELECT 1 FROM t0");
    for (int i = 1; i < 100; i++)
        buf_printf(&text, ", t%d", i);
    struct sql_class *class = sql_classify(buf_slice(&text));
    assert_true(class->statements->flags & SQL_READS_UNKNOWN);
    assert_false(class->flags & SQL_CLASS_READ_CANDIDATE);
    sql_class_unref(class);

    buf_clear(&text);
    buf_append_str(&text, "SELECT 1");
    for (int i = 0; i < 100; i++)
        buf_printf(&text, ", f%d()", i);
    class = sql_classify(buf_slice(&text));
    assert_true(class->statements->flags & SQL_UNKNOWN_CODE);
    sql_class_unref(class);

    buf_clear(&text);
    for (int i = 0; i < 900; i++)
        buf_append_str(&text, "SELECT 1;");
    class = sql_classify(buf_slice(&text));
    assert_int_equal(class->n_statements, 900);
    sql_class_unref(class);
    for (int i = 0; i < 200; i++)
        buf_append_str(&text, "SELECT 1;");
    assert_ptr_equal(sql_classify(buf_slice(&text)), sql_class_unparsable());
    buf_free(&text);
}

/* `repeat` copies of `piece` between two texts. */
static struct sql_class *classify_chain(const char *before, const char *piece, size_t repeat,
                                        const char *after)
{
    struct buf text = BUF_INIT;
    buf_append_str(&text, before);
    for (size_t i = 0; i < repeat; i++)
        buf_append_str(&text, piece);
    buf_append_str(&text, after);
    struct sql_class *class = sql_classify(buf_slice(&text));
    buf_free(&text);
    return class;
}

static void depth_is_refused_breadth_is_not(void **state)
{
    (void)state;
    const struct sql_class *unparsable = sql_class_unparsable();
    assert_ptr_equal(classify_chain("SELECT ", "(", 5000, "1"), unparsable);
    assert_ptr_equal(classify_chain("SELECT 1", "+1", 100000, ""), unparsable);
    assert_ptr_equal(classify_chain("SELECT ", "NOT ", 100000, "true"), unparsable);
    assert_ptr_equal(classify_chain("SELECT ", "- ", 100000, "1"), unparsable);
    assert_ptr_equal(classify_chain("SELECT 1, 2", " UNION SELECT 1, 2", 20000, ""), unparsable);
    assert_ptr_equal(classify_chain("SELECT ", "CASE WHEN a AND b THEN ", 20000, "1"), unparsable);
    assert_ptr_equal(classify_chain("SELECT ", "CASE WHEN t.end THEN ", 20000, "1"), unparsable);
    assert_ptr_equal(classify_chain("SELECT ", "- CASE WHEN a THEN ", 20000, "1"), unparsable);
    assert_ptr_equal(classify_chain("SELECT 1 FROM t", " JOIN t ON a AND b", 20000, ""), unparsable);
    assert_ptr_equal(classify_chain("SELECT 1", "::int", 100000, ""), unparsable);
    assert_ptr_equal(classify_chain("SELECT ", "(SELECT ", 990, "1"), unparsable);

    const struct {
        const char *before, *piece, *after;
        size_t repeat;
    } broad[] = {
        {"INSERT INTO t VALUES (1, 'a')", ", (-1, now())", "", 20000},
        {"SELECT * FROM t WHERE a IN (1", ", 2", ")", 100000},
        {"SELECT * FROM t WHERE a = 1", " OR a = 2 AND NOT b", "", 20000},
        {"SELECT 1", ", 1 + f(x) AS y", "", 1000},
        {"SELECT 1; ", "SELECT 1+1+1; ", "", 900},
        /* the deepest that is let through */
        {"SELECT 1", "+1", "", 240},
        {"SELECT 1 FROM t", " JOIN u ON true", "", 400},
        {"UPDATE t SET a = CASE x", " WHEN 1 THEN 'a'", " END", 20000},
        {"SELECT 1", ", CASE WHEN a + 1 = 2 THEN 3 END", "", 1000},
    };
    for (size_t i = 0; i < sizeof(broad) / sizeof(*broad); i++) {
        struct sql_class *class =
            classify_chain(broad[i].before, broad[i].piece, broad[i].repeat, broad[i].after);
        if (class == unparsable)
            fail_msg("refused: %s", broad[i].piece);
        sql_class_unref(class);
    }
}

static void built_in_operators_are_listed(void **state)
{
    (void)state;
    struct sql_class *class = sql_classify(SLICE_LITERAL("SELECT a + 1 FROM t WHERE a % 2 = 1 AND a = 3"));
    const struct sql_statement *s = &class->statements[0];
    assert_int_equal(s->n_functions, 3);
    for (uint16_t i = 0; i < s->n_functions; i++) {
        assert_true(s->functions[i].is_builtin);
        assert_int_equal(s->functions[i].args, UINT16_MAX);
    }
    sql_class_unref(class);
}

static void computed_casts(void **state)
{
    static const struct {
        const char *text;
        bool is_computed;
    } cases[] = {
        {"SELECT '2020-01-01'::date", false}, {"SELECT $1::text::date", false},
        {"SELECT -1::int8", false},           {"SELECT (-1)::int8", false},
        {"SELECT a::date FROM t", true},      {"SELECT ('n' || 'ow')::date", true},
        {"SELECT a FROM t", false},           {"SELECT CAST(lower($1) AS date)", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sql_class *class = sql_classify(slice_str(cases[i].text));
        assert_int_equal(class->statements[0].has_computed_cast, cases[i].is_computed);
        sql_class_unref(class);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(scopes_of_with),
        cmocka_unit_test(writes),
        cmocka_unit_test(built_in_operators_are_listed),
        cmocka_unit_test(computed_casts),
        cmocka_unit_test(functions),
        cmocka_unit_test(settings),
        cmocka_unit_test(set_config),
        cmocka_unit_test(test_c04_settings_whose_value_is_bound),
        cmocka_unit_test(long_lists_of_rows),
        cmocka_unit_test(rows_that_may_not_be_left_out),
        cmocka_unit_test(transactions),
        cmocka_unit_test(pinning),
        cmocka_unit_test(definitions),
        cmocka_unit_test(advisory_locks),
        cmocka_unit_test(unknown_text_is_feared),
        cmocka_unit_test(only_plain_reads_are_candidates),
        cmocka_unit_test(knows_what_depends_on_literals),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(depth_is_refused_breadth_is_not),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sql_classify_thread_end();
    return failed;
}
