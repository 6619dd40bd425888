"""C09: views, materialized views, inheritance and partitions are cached, and every way of writing to what is behind them
is seen. The answers are compared with those of PostgreSQL itself, before and after each write."""

import pytest

from harness.caching import value

pytestmark = pytest.mark.needs("cache")

RELATIONS = """
CREATE TABLE others (id int PRIMARY KEY, item int REFERENCES items ON DELETE CASCADE, at timestamptz, what text);
INSERT INTO others SELECT i, i, '2024-01-01 00:00+00'::timestamptz + i * interval '1 hour', 'what ' || i FROM generate_series(1, 20) i;
CREATE VIEW half AS SELECT id, v, n FROM items WHERE id < 15;
CREATE VIEW few AS SELECT id, upper(v) AS v FROM half WHERE id < 5;
CREATE VIEW joined AS SELECT few.id, v, what, to_char(at, 'YYYY-MM-DD HH24') AS at FROM few JOIN others ON others.item = few.id;
CREATE MATERIALIZED VIEW kept AS SELECT id, v FROM items WHERE id < 10;
CREATE VIEW over_kept AS SELECT kept.v, what FROM kept JOIN others USING (id);
CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20) PARTITION BY LIST (id);
CREATE TABLE parts_2_10 PARTITION OF parts_2 FOR VALUES IN (10);
CREATE TABLE apart (id int NOT NULL, v text); INSERT INTO apart VALUES (25, 'apart');
INSERT INTO parts SELECT i, 'part ' || i FROM generate_series(1, 10) i;
CREATE VIEW over_parts AS SELECT id, v FROM parts;
CREATE TABLE parents (id int, v text); CREATE TABLE children (more text) INHERITS (parents);
INSERT INTO parents VALUES (1, 'parent'); INSERT INTO children VALUES (2, 'child', 'more');
CREATE VIEW over_parents AS SELECT v FROM parents;
"""


def kept(cache, client, sql):
    """The rows from the cache, which must be what PostgreSQL answers now."""
    hits = cache.counted("hits")
    answer = cache.warm(lambda: client.query(sql), sql)
    assert cache.pooler.is_straight or cache.counted("hits") > hits
    assert not answer.errors and answer.texts == cache.direct(sql), sql
    return answer.texts


def check(cache, reads, writes):
    """Every read comes from the cache before each write, and is PostgreSQL's own answer after it."""
    client, writer = cache.wire(), cache.wire()
    changed = 0
    for write in writes:
        old = {sql: kept(cache, client, sql) for sql in reads}
        writer.do(write)
        changed += sum(cache.same(client, sql) != old[sql] for sql in reads)
    assert changed >= len(writes), "the writes changed too little to prove anything"
    for sql in reads:
        kept(cache, client, sql)


def test_c09_views(cached):
    check(cached(RELATIONS),
          ["SELECT v FROM half ORDER BY id", "SELECT * FROM few ORDER BY id", "SELECT * FROM joined ORDER BY id",
           "SELECT count(*) FROM few, joined WHERE few.v > joined.what"],
          ["UPDATE items SET v = 'new' WHERE id = 1", "UPDATE others SET what = 'other' WHERE item = 2",
           "UPDATE half SET v = 'through' WHERE id = 3", "UPDATE few SET id = id WHERE id = 4; UPDATE items SET v = 'x'",
           "INSERT INTO half VALUES (0, 'zero', 1)", "DELETE FROM items WHERE id = 2",
           "WITH w AS (UPDATE others SET at = at + interval '3 days' RETURNING 1) SELECT count(*) FROM w",
           "CREATE OR REPLACE VIEW few AS SELECT id, lower(v) AS v FROM half WHERE id < 7",
           "ALTER TABLE others RENAME COLUMN what TO whatever; UPDATE others SET whatever = 'renamed'",
           "TRUNCATE items CASCADE"])


def test_c09_views_on_two_workers(cached):
    """One worker has PostgreSQL asked, and both know; writes on either are seen on both."""
    cache = cached(RELATIONS, workers=2)
    clients = [cache.wire() for _ in range(4)]
    sql = "SELECT v, what FROM joined ORDER BY id"
    for turn in range(6):
        for client in clients:
            kept(cache, client, sql)
        clients[turn % 4].do(f"UPDATE items SET v = 'turn {turn}' WHERE id = 1; UPDATE others SET what = 'turn {turn}' WHERE id = 2")
        for client in clients:
            assert f"TURN {turn}" in str(cache.same(client, sql)) and f"turn {turn}" in str(cache.same(client, sql))


def test_c09_materialized_views(cached, database):
    cache = cached(RELATIONS)
    client, writer = cache.wire(), cache.wire()
    reads = ["SELECT v FROM kept ORDER BY id", "SELECT * FROM over_kept ORDER BY what"]
    for sql in reads:
        kept(cache, client, sql)
    writer.do("UPDATE items SET v = 'not yet' WHERE id = 1")
    for sql in reads:
        assert "not yet" not in str(cache.same(client, sql))
    writer.do("CREATE UNIQUE INDEX ON kept (id)")
    for turn, refresh in enumerate(["REFRESH MATERIALIZED VIEW kept", "REFRESH MATERIALIZED VIEW CONCURRENTLY kept"] * 2):
        old = {sql: kept(cache, client, sql) for sql in reads}
        writer.do(f"UPDATE items SET v = 'turn {turn}' WHERE id = 1")
        writer.do(refresh)
        for sql in reads:
            assert cache.same(client, sql) != old[sql]
    writer.do("BEGIN; UPDATE items SET v = 'rolled back'; REFRESH MATERIALIZED VIEW kept; ROLLBACK")
    for sql in reads:
        assert "rolled back" not in str(cache.same(client, sql))


def test_c09_partitions(cached):
    check(cached(RELATIONS),
          ["SELECT v FROM parts ORDER BY id", "SELECT v FROM over_parts ORDER BY id", "SELECT count(*), max(v) FROM parts_1",
           "SELECT v FROM parts_2 ORDER BY id"],
          ["UPDATE parts_1 SET v = 'leaf written' WHERE id = 1", "UPDATE parts SET v = 'parent written' WHERE id = 2",
           "INSERT INTO parts_2_10 VALUES (10, 'deep leaf')", "INSERT INTO over_parts VALUES (3, 'through the view')",
           "DELETE FROM parts_2", "UPDATE parts SET id = 10 WHERE id = 1",
           "ALTER TABLE parts ATTACH PARTITION apart FOR VALUES FROM (20) TO (30)",
           "UPDATE apart SET v = 'attached and written'", "ALTER TABLE parts DETACH PARTITION apart",
           "ALTER TABLE parts DETACH PARTITION parts_1; UPDATE parts_1 SET v = 'no part any more'", "TRUNCATE parts"])


def test_c09_a_detached_partition_is_no_part(cached):
    cache = cached(RELATIONS)
    client, writer = cache.wire(), cache.wire()
    kept(cache, client, "SELECT v FROM over_parts ORDER BY id")
    writer.do("ALTER TABLE parts DETACH PARTITION parts_1")
    old = kept(cache, client, "SELECT v FROM over_parts ORDER BY id")
    writer.do("UPDATE parts_1 SET v = 'elsewhere'")
    answer = cache.hit(lambda: client.query("SELECT v FROM over_parts ORDER BY id"), "over_parts")
    assert answer.texts == old == cache.direct("SELECT v FROM over_parts ORDER BY id")


def test_c09_inheritance(cached):
    check(cached(RELATIONS),
          ["SELECT v FROM parents ORDER BY id", "SELECT v FROM over_parents ORDER BY v", "SELECT v, more FROM children"],
          ["UPDATE children SET v = 'child written'", "UPDATE parents SET v = v || '!'", "INSERT INTO children VALUES (3, 'c', 'd')",
           "CREATE TABLE late () INHERITS (parents); INSERT INTO late VALUES (4, 'late')", "UPDATE late SET v = 'later'",
           "ALTER TABLE late NO INHERIT parents", "ALTER TABLE late INHERIT parents", "UPDATE late SET v = 'latest'",
           "DROP TABLE late", "DELETE FROM ONLY parents"])


REFUSED = {
    "a volatile function": "CREATE VIEW odd AS SELECT random() AS x FROM items",
    "the time": "CREATE VIEW odd AS SELECT now() AS x FROM items",
    "the date": "CREATE VIEW odd AS SELECT CURRENT_DATE AS x FROM items",
    "a function of a user's": "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';"
                              " CREATE VIEW odd AS SELECT f(id) AS x FROM items",
    "an operator of a user's": "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);"
                               " CREATE VIEW odd AS SELECT id === 1 AS x FROM items",
    "a system column": "CREATE VIEW odd AS SELECT xmin AS x FROM items",
    "a catalog": "CREATE VIEW odd AS SELECT relname AS x FROM pg_class, items",
    "an unlogged table": "CREATE UNLOGGED TABLE u AS SELECT 1 AS x; CREATE VIEW odd AS SELECT x FROM u",
    "a sequence": "CREATE SEQUENCE s; CREATE VIEW odd AS SELECT last_value AS x FROM s",
    "text read as a date": "CREATE VIEW odd AS SELECT ('now'::text || substr(v, 1, 0))::timestamptz AS x FROM items",
    "a lock": "CREATE VIEW odd AS SELECT v AS x FROM items FOR UPDATE",
    "a sample": "CREATE VIEW odd AS SELECT v AS x FROM items TABLESAMPLE BERNOULLI (50)",
    "a domain": "CREATE DOMAIN d AS int CHECK (value > 0); CREATE VIEW odd AS SELECT id::d AS x FROM items",
    "XML": "CREATE VIEW odd AS SELECT xmlelement(name a, v)::text AS x FROM items",
    "nothing of a table": "CREATE VIEW odd AS SELECT 1 AS x",
    "an unlogged partition": "CREATE TABLE odd (x int) PARTITION BY LIST (x); CREATE UNLOGGED TABLE odd_1 PARTITION OF odd DEFAULT;"
                             " INSERT INTO odd VALUES (1)",
}


@pytest.mark.parametrize("what", REFUSED)
def test_c09_views_that_are_not_cached(cached, what):
    cache = cached(REFUSED[what])
    client = cache.wire()
    cache.warm(lambda: value(client.query("SELECT v FROM items WHERE id = 1")))
    cache.never_cached(lambda: client.query("SELECT x FROM odd"), "from odd")


def test_c09_what_is_dropped_and_made_again(cached):
    cache = cached(RELATIONS)
    client, writer = cache.wire(), cache.wire()
    for name in ("items", "others"):
        writer.do(f"CREATE OR REPLACE VIEW again AS SELECT '{name}' AS x, count(*) FROM {name}")
        assert kept(cache, client, "SELECT * FROM again")[0][0] == name
    writer.do("DROP VIEW again; CREATE TABLE again AS SELECT 'table' AS x, 1 AS count")
    assert kept(cache, client, "SELECT * FROM again") == [("table", "1")]
