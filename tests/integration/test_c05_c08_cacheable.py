"""C05, C07, C08, C17, C24, C26: what depends on more than its tables is asked of PostgreSQL every time."""

import pytest

from harness.caching import READ, value
from harness.wire import Closed, ServerError, query

pytestmark = pytest.mark.needs("cache")

FUNCTIONS = """
CREATE SEQUENCE numbers;
CREATE TABLE other_items (id int, v text); INSERT INTO other_items VALUES (1, 'one');
CREATE FUNCTION volatile_one(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1';
CREATE FUNCTION liar(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT v FROM other_items WHERE id = $1';
CREATE SCHEMA over; CREATE FUNCTION over.abs(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1 + 1000';
CREATE FUNCTION writes() RETURNS int LANGUAGE sql VOLATILE AS 'UPDATE other_items SET v = v || ''!'' RETURNING 1';
CREATE TABLE clock (at timestamptz, day date); INSERT INTO clock VALUES (now(), now());
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE VIEW nows AS SELECT now() AS n, v FROM items;
"""

VOLATILE = [
    "SELECT now(), v FROM items", "SELECT clock_timestamp() FROM items", "SELECT random(), v FROM items",
    "SELECT nextval('numbers') FROM items", "SELECT txid_current() FROM items", "SELECT pg_backend_pid() FROM items",
    "SELECT pg_sleep(0) FROM items", "SELECT CURRENT_TIMESTAMP FROM items", "SELECT CURRENT_DATE FROM items",
    "SELECT LOCALTIME FROM items", "SELECT v FROM items WHERE now() > '2000-01-01'",
    "SELECT v FROM items ORDER BY random()", "SELECT set_config('app.x', v, true) FROM items",
    "SELECT pg_try_advisory_xact_lock(id) FROM items", "SELECT gen_random_uuid() FROM items",
    "SELECT volatile_one(id) FROM items", "SELECT statement_timestamp() FROM items", "SELECT timeofday() FROM items",
    "SELECT v FROM items WHERE id = (SELECT volatile_one(1))", "SELECT age(at) FROM clock, items",
    "SELECT count(*) FILTER (WHERE random() > 0.5) FROM items", "SELECT v FROM items LIMIT (random() * 5)::int",
    "SELECT array_agg(v ORDER BY random()) FROM items", "SELECT nows.n FROM nows, items", "VALUES ((SELECT now() FROM items LIMIT 1))",
    "SELECT pg_size_pretty(pg_relation_size('items')) FROM items", "SELECT inet_client_port() FROM items",
    "SELECT lastval() FROM (SELECT nextval('numbers')) q, items", "SELECT currval('numbers') FROM (SELECT nextval('numbers')) q, items",
]


@pytest.mark.parametrize("protocol", ["query", "extended"])
@pytest.mark.parametrize("sql", VOLATILE)
def test_c05_what_changes_by_itself_is_never_cached(cached, sql, protocol):
    cache = cached(FUNCTIONS)
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    cache.never_cached(lambda: getattr(client, protocol)(sql))


def test_c05_who_asks_is_not_shared(cached):
    cache = cached("GRANT SELECT ON items TO other")
    app, other = cache.wire("app"), cache.wire("other")
    for sql in ("SELECT current_user FROM items LIMIT 1", "SELECT session_user::text FROM items LIMIT 1",
                "SELECT user FROM items LIMIT 1", "SELECT current_role FROM items LIMIT 1",
                "SELECT has_table_privilege('items', 'insert')::text FROM items LIMIT 1"):
        for _ in range(6):
            assert value(app.query(sql)) in ("app", "true") and value(other.query(sql)) in ("other", "false"), sql


def test_c05_a_volatile_overload_of_an_immutable_name(cached):
    cache = cached(FUNCTIONS)
    client = cache.wire()
    sql = "SELECT abs(-id) FROM items WHERE id = 1"
    assert cache.warm(lambda: value(client.query(sql)), "abs(") == "1"
    client.do("SET search_path = over, pg_catalog, public")
    assert value(client.query(sql)) == "999"
    cache.never_cached(lambda: client.query(sql), "abs(")


def test_c05_a_function_that_lies_about_reading_a_table(cached):
    cache = cached(FUNCTIONS)
    client, writer = cache.wire(), cache.wire()
    sql = "SELECT liar(id) FROM items WHERE id = 1"
    for turn in range(4):
        for _ in range(4):
            value(client.query(sql))
        writer.do(f"UPDATE other_items SET v = 'turn {turn}'")
        assert value(client.query(sql)) == f"turn {turn}"


def test_c24_an_innocent_name_with_side_effects(cached):
    cache = cached(FUNCTIONS + "CREATE VIEW innocent AS SELECT writes() AS w")
    client = cache.wire()
    for sql in ("SELECT writes()", "SELECT w FROM innocent", "SELECT writes() FROM items WHERE id = 1"):
        before = len(cache.database.value("SELECT v FROM other_items"))
        for _ in range(5):
            assert value(client.query(sql)) == "1"
        assert len(cache.database.value("SELECT v FROM other_items")) == before + 5


def test_c24_a_view_with_side_effects(cached):
    """Here everything is PostgreSQL's own; the view hides that it counts."""
    cache = cached("CREATE SEQUENCE counted; CREATE VIEW counting AS SELECT nextval('counted') AS n, v FROM items WHERE id = 1")
    client = cache.wire()
    assert [value(client.query("SELECT n FROM counting")) for _ in range(5)] == list("12345")


NOW_WORDS = ["now", "today", "tomorrow", "yesterday", " NOW ", "Today"]


@pytest.mark.parametrize("word", NOW_WORDS)
def test_c07_words_that_mean_now(cached, word):
    cache = cached("CREATE TABLE clock (at timestamptz, day date); INSERT INTO clock VALUES ('2001-01-01', '2001-01-01')")
    client = cache.wire()
    for sql in (f"SELECT '{word}'::timestamptz FROM items", f"SELECT timestamp '{word}' FROM items",
                f"SELECT v FROM items, clock WHERE at < '{word}'", f"SELECT date '{word}' FROM items",
                f"SELECT CAST('{word}' AS date) FROM items"):
        cache.never_cached(lambda: client.query(sql), times=4)
    for sql, types in (("SELECT $1::timestamptz FROM items", ()), ("SELECT $1::date, v FROM items", ()),
                       ("SELECT v FROM items, clock WHERE day < $1", ()), ("SELECT v, $1 FROM items", (1184,))):
        cache.never_cached(lambda: client.extended(sql, [word], types), times=4)


def test_c07_the_time_really_moves(cached):
    cache = cached()
    client = cache.wire()
    seen = {value(client.extended("SELECT $1::timestamptz FROM items LIMIT 1", ["now"])) for _ in range(8)}
    assert len(seen) == 8


def test_c08_a_temporary_table_shadows_a_permanent_one(cached):
    cache = cached()
    client, other = cache.wire(), cache.wire()
    assert cache.warm(lambda: value(client.query(READ))) == "item 1"
    client.do("CREATE TEMP TABLE items AS SELECT 1 AS id, 'temporary' AS v")
    for _ in range(3):
        assert value(client.query(READ)) == "temporary"
        assert value(other.query(READ)) == "item 1"
    client.do("DROP TABLE items")
    assert value(client.query(READ)) == "item 1"


@pytest.mark.parametrize("make", ["DO $$ BEGIN CREATE TEMP TABLE items AS SELECT 1 AS id, 'temporary' AS v; END $$",
                                  "SELECT make_temp()"])
def test_c08_a_temporary_table_made_out_of_sight(cached, make):
    cache = cached("CREATE FUNCTION make_temp() RETURNS void LANGUAGE plpgsql AS"
                   " $$ BEGIN CREATE TEMP TABLE items AS SELECT 1 AS id, 'temporary' AS v; END $$")
    client = cache.wire()
    assert cache.warm(lambda: value(client.query(READ))) == "item 1"
    client.do(make)
    assert value(client.query(READ)) == "temporary"


UNCACHED = [
    "SELECT relname FROM pg_class WHERE relname = 'items'", "SELECT count(*) FROM pg_stat_activity",
    "SELECT table_name FROM information_schema.tables", "SELECT v FROM unlogged_items", "SELECT v FROM items TABLESAMPLE SYSTEM (50)",
    "SELECT v FROM items FOR UPDATE", "SELECT v FROM items FOR SHARE", "SELECT i.v FROM items i JOIN pg_class ON true LIMIT 1",
    "SELECT v FROM items WHERE 'items'::regclass IS NOT NULL AND EXISTS (SELECT FROM pg_locks)", "SELECT ctid FROM items",
    "SELECT xmin FROM items", "SELECT items.tableoid FROM items, pg_namespace LIMIT 1", "SELECT last_value FROM numbers",
    "WITH w AS (UPDATE items SET n = n RETURNING v) SELECT v FROM w",
]


@pytest.mark.parametrize("sql", UNCACHED)
def test_c08_c17_relations_and_clauses_that_are_not_cached(cached, sql):
    cache = cached("CREATE SEQUENCE numbers; CREATE UNLOGGED TABLE unlogged_items AS SELECT 'u' AS v")
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    cache.never_cached(lambda: client.query(sql), "from ", times=5)


def test_c08_foreign_tables(cached, database):
    port = database.postgres.port
    database.execute("CREATE EXTENSION postgres_fdw; CREATE TABLE far (v text); INSERT INTO far VALUES ('far')")
    cache = cached()
    database.execute(f"CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{port}', dbname"
                     f" '{database.name}'); CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'postgres', password_required 'false');"
                     "CREATE FOREIGN TABLE far_items (v text) SERVER s OPTIONS (table_name 'far'); GRANT ALL ON far_items TO app")
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    for turn in range(4):
        database.execute(f"UPDATE far SET v = 'far {turn}'")
        assert value(client.query("SELECT v FROM far_items")) == f"far {turn}"


def test_c17_errors_notices_and_several_statements_are_not_stored(cached, database):
    cache = cached("CREATE FUNCTION noisy(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
                   " $$ BEGIN RAISE NOTICE 'heard'; RETURN $1; END $$")
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    for _ in range(5):
        assert client.query("SELECT 1 / (n - n) FROM items").errors[0]["C"] == "22012"
        answer = client.query("SELECT noisy(id) FROM items WHERE id = 1")
        assert "N" in answer.kinds and answer.texts == [("1",)]
    cache.never_cached(lambda: client.query("SELECT v FROM items; SELECT n FROM items"), "select n from items", times=4)
    before = database.value("SELECT v FROM items WHERE id = 2")
    assert client.query("SELECT v FROM items WHERE id = 2; UPDATE items SET v = 'new' WHERE id = 2").texts == [(before,)]
    assert value(client.query("SELECT v FROM items WHERE id = 2")) == "new"
    explain = "EXPLAIN (ANALYZE, TIMING OFF) SELECT v FROM items"
    for _ in range(3):
        assert any("actual" in row[0] for row in client.query(explain).texts)


def test_c17_an_answer_with_notices_in_it_is_not_stored(cached):
    """PostgreSQL would send them again."""
    cache = cached()
    client = cache.wire()
    client.do("SET client_min_messages = debug5")
    assert "N" in client.query(READ).kinds
    cache.never_cached(lambda: client.query(READ))
    cache.never_cached(lambda: client.extended(READ))
    client.do("RESET client_min_messages")
    long = f"SELECT v AS {'x' * 70} FROM items WHERE id = 1"
    for send in (client.query, client.extended):
        assert "N" in send(long).kinds, "that the name is too long"
        cache.never_cached(lambda: send(long))


def test_c17_an_error_in_the_middle_of_rows_is_not_a_short_answer(cached):
    cache = cached()
    client = cache.wire()
    sql = "SELECT 1 / (15 - id) FROM items ORDER BY id"
    for _ in range(5):
        answer = client.query(sql)
        assert answer.errors and answer.errors[0]["C"] == "22012"
    client.do("DELETE FROM items WHERE id = 15")
    assert len(client.query(sql).rows) == 19


def test_c26_a_health_check_reaches_the_database(own_postgres, new_pooler):
    database = own_postgres.make_database()
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": own_postgres.port, "dbname": database.name,
                                  "control_user": "control"}},
                        {"cache": "exact", "cache_writes": "through_weir", "query_wait_timeout": 2}).start()
    checks = ["SELECT 1", "SELECT 'ok'", "", "SELECT true", "VALUES (1)"]
    client = pooler.wire()
    for sql in checks * 5:
        assert not client.query(sql).errors
    own_postgres.stop("fast")
    for sql in checks:
        assert fails(pooler, sql), f"{sql!r} was answered without a database"


def fails(pooler, sql):
    """Whether a new session gets an error, or no session, instead of an answer."""
    try:
        client = pooler.bare_wire()
        client.login("app", "test")
        client.send(query(sql))
        return bool(client.up_to("EZ").errors)
    except (OSError, Closed, ServerError):
        return True
