"""C10, C18, C27, C29: after a write that passed Weir, however it was spelled, nobody reads what was before."""

import pytest

from harness import wire
from harness.caching import ITEMS, OPTIONS, READ, Cache, value
from harness.compare import direct_wire
from harness.wait import until
from harness.wire import COPY_DONE, SYNC, once, query

pytestmark = pytest.mark.needs("cache")

SETUP = """
CREATE TABLE parents (id int PRIMARY KEY, v text); INSERT INTO parents SELECT i, 'parent ' || i FROM generate_series(1, 5) i;
CREATE TABLE children (id int, parent int REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE, v text);
INSERT INTO children SELECT i, i, 'child ' || i FROM generate_series(1, 5) i;
CREATE TABLE orphans (id int, parent int DEFAULT NULL REFERENCES parents ON DELETE SET NULL ON UPDATE CASCADE);
INSERT INTO orphans SELECT i, i FROM generate_series(1, 5) i;
CREATE TABLE grandchildren (id int, g int);
CREATE TABLE audit (what text); CREATE TABLE source (id int, v text); INSERT INTO source VALUES (1, 'from source');
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (TG_OP); RETURN NEW; END $$;
CREATE TRIGGER t AFTER INSERT ON source FOR EACH ROW EXECUTE FUNCTION note();
CREATE TABLE ruled (i int); CREATE RULE r AS ON INSERT TO ruled DO ALSO UPDATE items SET v = 'by rule' WHERE id = 1;
CREATE FUNCTION change(text) RETURNS void LANGUAGE sql AS $$ UPDATE public.items SET v = $1 WHERE id = 1 $$;
CREATE FUNCTION stable_looking(text) RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM change($1); RETURN 1; END $$;
CREATE PROCEDURE proc(text) LANGUAGE sql AS $$ UPDATE items SET v = $1 WHERE id = 1 $$;
CREATE PROCEDURE commits(text) LANGUAGE plpgsql AS $$ BEGIN UPDATE items SET v = $1 WHERE id = 1; COMMIT; END $$;
CREATE VIEW item_view AS SELECT id, v FROM items;
CREATE TABLE parted (id int, v text) PARTITION BY LIST (id); CREATE TABLE leaf PARTITION OF parted FOR VALUES IN (1);
INSERT INTO parted VALUES (1, 'before');
CREATE TABLE base (id int, v text); CREATE TABLE derived () INHERITS (base); INSERT INTO derived VALUES (1, 'before');
CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS c FROM source;
CREATE VIEW writing AS SELECT change('by view') IS NULL AS done;
"""

CHILD = "SELECT count(*) FROM children WHERE parent = 2"
WRITES = {
    "update": (READ, "UPDATE items SET v = 'new' WHERE id = 1"),
    "update in other words": (READ, "/* hello */ update ONLY public.\"items\" AS i SET (v, n) = ('new', 2) WHERE i.id = 1"),
    "delete": (READ, "DELETE FROM items WHERE id = 1"),
    "insert": ("SELECT count(*) FROM items", "INSERT INTO items VALUES (100, 'hundred')"),
    "upsert": (READ, "INSERT INTO items VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET v = 'upserted'"),
    "truncate": (READ, "TRUNCATE items"),
    "truncate cascade": (CHILD, "TRUNCATE parents CASCADE"),
    "delete cascades": (CHILD, "DELETE FROM parents WHERE id = 2"),
    "update cascades": (CHILD, "UPDATE parents SET id = 99 WHERE id = 2"),
    "delete sets null": ("SELECT count(*) FROM orphans WHERE parent IS NULL", "DELETE FROM parents WHERE id = 3"),
    "trigger": ("SELECT count(*) FROM audit", "INSERT INTO source VALUES (2, 'two')"),
    "rule": (READ, "INSERT INTO ruled VALUES (1)"),
    "function": (READ, "SELECT change('by function')"),
    "function in from": (READ, "SELECT * FROM change('by function')"),
    "function that says it is stable": (READ, "SELECT stable_looking('stable')"),
    "function behind a view": (READ, "SELECT done FROM writing"),
    "do": (READ, "DO $$ BEGIN UPDATE items SET v = 'by do' WHERE id = 1; END $$"),
    "call": (READ, "CALL proc('by call')"),
    "call that commits": (READ, "CALL commits('by commit')"),
    "with": (READ, "WITH w AS (UPDATE items SET v = 'with' WHERE id = 1 RETURNING id) SELECT * FROM w"),
    "with deep inside": (READ, "WITH a AS (SELECT 1), b AS (UPDATE items SET v = 'deep' WHERE id = 1 RETURNING 1) SELECT 1 FROM a"),
    "merge": (READ, "MERGE INTO items i USING source s ON i.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v"),
    "view": (READ, "UPDATE item_view SET v = 'by view' WHERE id = 1"),
    "read by a view": ("SELECT v FROM item_view WHERE id = 1", "UPDATE items SET v = 'seen by view' WHERE id = 1"),
    "leaf": ("SELECT v FROM parted WHERE id = 1", "UPDATE leaf SET v = 'by leaf'"),
    "parent": ("SELECT v FROM leaf", "UPDATE parted SET v = 'by parent'"),
    "detach": ("SELECT count(*) FROM parted", "ALTER TABLE parted DETACH PARTITION leaf"),
    "heir": ("SELECT v FROM base", "UPDATE derived SET v = 'by heir'"),
    "ancestor": ("SELECT v FROM derived", "UPDATE base SET v = 'by ancestor'"),
    "refresh": ("SELECT c FROM counted", "INSERT INTO source VALUES (7, ''); REFRESH MATERIALIZED VIEW counted"),
    "several statements": (READ, "SELECT 1; UPDATE items SET v = 'second' WHERE id = 1; SELECT 2"),
    "transaction in one string": (READ, "BEGIN; UPDATE items SET v = 'block' WHERE id = 1; COMMIT"),
    "explain analyze": (READ, "EXPLAIN ANALYZE UPDATE items SET v = 'explained' WHERE id = 1"),
    "prepare and execute": (READ, "PREPARE p AS UPDATE items SET v = 'executed' WHERE id = 1; EXECUTE p; DEALLOCATE p"),
    "create table as execute": (READ, "PREPARE p AS SELECT change('ctas') IS NULL AS x; CREATE TABLE made AS EXECUTE p; DEALLOCATE p"),
    "cursor": (READ, "BEGIN; DECLARE c CURSOR FOR SELECT * FROM items WHERE id = 1 FOR UPDATE; FETCH c;"
                     " UPDATE items SET v = 'current' WHERE CURRENT OF c; COMMIT"),
    "deferred": (READ, "BEGIN; SAVEPOINT s; UPDATE items SET v = 'kept' WHERE id = 1; RELEASE s; COMMIT"),
    "two-phase": (READ, "BEGIN; UPDATE items SET v = 'two-phase' WHERE id = 1; PREPARE TRANSACTION 'c10'"),
}


@pytest.mark.parametrize("name", WRITES)
def test_c10_every_spelling_of_a_write_is_seen(cached, name):
    read, write = WRITES[name]
    cache = cached(SETUP)
    reader, writer = cache.wire(), cache.wire()
    before = read_often(reader, read)
    answer = writer.query(write)
    assert not answer.errors, answer.errors
    if name == "two-phase":
        assert value(reader.query(read)) == before
        writer.do("COMMIT PREPARED 'c10'")
    expected = cache.direct(read)
    assert reader.query(read).texts == expected
    assert before is None or [(before,)] != expected, "the write did nothing: the test proves nothing"


def read_often(client, sql, times=8):
    """Gives the cache every occasion to store; returns the first column."""
    for _ in range(times):
        seen = value(client.query(sql))
    return seen


@pytest.mark.parametrize("name", [n for n, (_, w) in WRITES.items() if ";" not in w or "$$" in w])
def test_c10_by_the_extended_protocol(cached, name):
    read, write = WRITES[name]
    cache = cached(SETUP)
    reader, writer = cache.wire(), cache.wire()
    for _ in range(6):
        value(reader.extended(read))
    writer.send(wire.parse(write, "w"), SYNC, wire.bind(statement="w"), wire.execute(), SYNC)
    assert not writer.ready(2).errors
    assert reader.extended(read).texts == cache.direct(read)


def test_c10_one_pipeline_reads_writes_and_reads(cached):
    cache = cached()
    client, other = cache.wire(), cache.wire()
    cache.warm(lambda: value(client.extended(READ)))
    write = once("UPDATE items SET v = v || '+' WHERE id = 1")
    client.send(once(READ), write, once(READ), SYNC)
    assert client.ready().texts == [("item 1",), ("item 1+",)]
    assert value(other.extended(READ)) == "item 1+"
    client.send(once(READ), SYNC, write, SYNC, once(READ), SYNC, query(READ))
    assert client.ready(4).texts == [("item 1+",), ("item 1++",), ("item 1++",)]


HIDDEN = """
CREATE VIEW outer_view AS SELECT done FROM writing; CREATE TABLE policed (i int); INSERT INTO policed VALUES (1);
CREATE FUNCTION allows() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN UPDATE items SET v = 'by policy' WHERE id = 1; RETURN true; END $$;
CREATE POLICY p ON policed USING (allows()); ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
ALTER TABLE policed FORCE ROW LEVEL SECURITY;
CREATE FUNCTION upper(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM change('by overload'); RETURN $1; END $$;
CREATE FUNCTION touch(int, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM change('by operator'); RETURN true; END $$;
CREATE OPERATOR === (FUNCTION = touch, LEFTARG = int, RIGHTARG = int); CREATE VIEW operated AS SELECT id === 1 AS o FROM source;
"""


@pytest.mark.parametrize("sql", ["SELECT done FROM outer_view", "SELECT i FROM policed", "SELECT upper(1)", "SELECT o FROM operated",
                                 "CREATE TABLE made AS SELECT done FROM writing", "INSERT INTO audit SELECT done FROM writing",
                                 "COPY (SELECT done FROM outer_view) TO STDOUT", "TABLE writing"])
def test_c10_reads_that_write(cached, sql):
    cache = cached(SETUP + HIDDEN)
    reader, writer = cache.wire(), cache.wire()
    assert cache.warm(lambda: value(reader.query(READ))) == "item 1"
    assert not writer.query(sql).errors
    assert value(reader.query(READ)).startswith("by ")


WRITER = "RETURNS %s LANGUAGE plpgsql %s AS $$ BEGIN PERFORM public.change('by %s'); RETURN %s; END $$;\n"
DEEP = "CREATE TYPE mood AS ENUM ('good');" + "".join(f"CREATE FUNCTION {head} " + WRITER % tuple(rest) for head, *rest in [
    ("checks(int)", "bool", "IMMUTABLE", "domain", "true"),
    ("casts(mood)", "int", "IMMUTABLE", "cast", "1"),
    ("touched(source)", "int", "", "attribute", "1"),
    ("adds(text, text)", "text", "IMMUTABLE", "aggregate", "$2"),
    ("gives()", "int", "", "default", "7"),
    ("derives(int)", "int", "IMMUTABLE", "expression", "$1"),
]) + """
CREATE DOMAIN checked AS int CHECK (checks(VALUE)); CREATE VIEW domained AS SELECT id::checked AS c FROM source;
CREATE TYPE composed AS (c checked); CREATE TABLE of_domain (c checked); INSERT INTO of_domain VALUES (NULL);
CREATE TABLE moody (m mood); INSERT INTO moody VALUES ('good');
CREATE AGGREGATE sum(text) (SFUNC = adds, STYPE = text, INITCOND = ''); CREATE VIEW summed AS SELECT sum(v) AS s FROM source;
CREATE TABLE defaulted (a int, b int DEFAULT gives()); CREATE TABLE constrained (a int, CHECK (derives(a) > 0));
CREATE TABLE generated (a int, b int GENERATED ALWAYS AS (derives(a)) STORED); CREATE TABLE indexed (a int);
INSERT INTO indexed VALUES (1), (2);
CREATE INDEX ON indexed (derives(a)); CREATE TABLE partly (a int); CREATE INDEX ON partly (a) WHERE derives(a) > 0;
CREATE TABLE spread (a int) PARTITION BY LIST (derives(a)); CREATE TABLE spread_1 PARTITION OF spread FOR VALUES IN (1);
CREATE TABLE reached (a int REFERENCES parents ON DELETE CASCADE, b int);
CREATE TABLE heirs (CHECK (derives(id) > 0)) INHERITS (base); INSERT INTO heirs VALUES (3, '');
UPDATE items SET v = 'item 1' WHERE id = 1;
"""


@pytest.mark.parametrize("sql", [
    "SELECT c FROM domained", "SELECT 5::checked", "SELECT CAST('5' AS public.checked)", "SELECT '{5}'::checked[]",
    "SELECT (jsonb_populate_record(NULL::composed, '{\"c\": 5}')).c", "SELECT array_append(ARRAY[c], '5') FROM of_domain",
    "SELECT s.touched FROM source s",
    "SELECT (s).touched FROM source s", "SELECT source.touched FROM source",
    "SELECT sum(v) FROM source", "SELECT s FROM summed", "INSERT INTO defaulted VALUES (1)", "INSERT INTO constrained VALUES (1)",
    "INSERT INTO generated VALUES (1)", "INSERT INTO indexed VALUES (1)", "INSERT INTO partly VALUES (1)",
    "INSERT INTO spread VALUES (1)", "INSERT INTO of_domain VALUES (1)", "UPDATE base SET v = 'x'", "ANALYZE indexed"])
def test_c10_code_behind_types_operators_and_tables(cached, sql):
    cache = cached(SETUP + DEEP)
    reader, writer = cache.wire(), cache.wire()
    assert cache.warm(lambda: value(reader.query(READ))) == "item 1"
    assert not writer.query(sql).errors
    assert value(reader.query(READ)).startswith("by "), "the statement wrote nothing, or nobody has seen it"


@pytest.mark.parametrize("sql", ["SELECT 1 FROM moody WHERE m IN ('1'::text)", "SELECT CASE m WHEN '1'::text THEN 1 END FROM moody"])
def test_c10_code_behind_operators_that_are_not_named(cached, sql):
    cache = cached(SETUP + DEEP + "CREATE FUNCTION same(mood, text) " + WRITER % ("bool", "", "operator", "true")
                   + "CREATE OPERATOR = (FUNCTION = same, LEFTARG = mood, RIGHTARG = text)")
    reader, writer = cache.wire(), cache.wire()
    read = "SELECT v FROM items ORDER BY id LIMIT 1"
    assert read_often(reader, read) == "item 1"
    assert not writer.query(sql).errors
    assert value(reader.query(read)) == "by operator"


@pytest.mark.parametrize("sql", ["SELECT m::int FROM moody", "SELECT m + 1 FROM moody", "SELECT 'good'::mood::int",
                                 "INSERT INTO numbers SELECT m FROM moody"])
def test_c10_code_behind_casts(cached, sql):
    cache = cached(SETUP + DEEP + "CREATE TABLE numbers (i int);"
                   "CREATE CAST (mood AS int) WITH FUNCTION casts(mood) AS IMPLICIT")
    reader, writer = cache.wire(), cache.wire()
    assert read_often(reader, READ) == "item 1"
    assert not writer.query(sql).errors
    assert value(reader.query(READ)) == "by cast"


TEMPORARY = {
    "function behind a view": ("CREATE FUNCTION pg_temp.sneak() RETURNS int LANGUAGE plpgsql AS $$ BEGIN UPDATE items SET"
                               " v = 'by temp' WHERE id = 1; RETURN 1; END $$; CREATE TEMP VIEW tv AS SELECT pg_temp.sneak()",
                               "SELECT * FROM tv"),
    "view by its schema": ("CREATE TEMP VIEW tv AS SELECT changed('by temp')", "SELECT * FROM pg_temp.tv"),
    "view in front of a table": ("CREATE TEMP VIEW source AS SELECT changed('by temp')", "SELECT * FROM source"),
    "view made by code": ("DO $$ BEGIN CREATE TEMP VIEW source AS SELECT changed('by temp'); END $$", "TABLE source"),
    "view made through search_path": ("SET search_path = pg_temp, public; CREATE VIEW source AS SELECT changed('by temp');"
                                      " RESET search_path", "TABLE source"),
    "table in front of a table": ("CREATE TEMP TABLE audit (id int, v text DEFAULT changed('by temp'))", "INSERT INTO audit VALUES (1)"),
    "domain in front of nothing": ("CREATE DOMAIN pg_temp.doubtful AS int CHECK (changed('by temp') IS NOT NULL)", "SELECT 1::doubtful"),
}

CHANGED = "CREATE FUNCTION changed(text) RETURNS text LANGUAGE sql AS $$ UPDATE items SET v = $1 WHERE id = 1 RETURNING v $$;"


@pytest.mark.parametrize("name", TEMPORARY)
def test_c10_temporary_objects_that_write(cached, name):
    make, use = TEMPORARY[name]
    cache = cached("" if "pg_temp.sneak" in make else SETUP + CHANGED)
    reader, writer = cache.wire(), cache.wire()
    for statement in make.split("; CREATE TEMP") if "sneak" in make else [make]:
        writer.do(statement if statement == make or statement.startswith("CREATE FUNCTION") else "CREATE TEMP" + statement)
    assert cache.warm(lambda: value(reader.query(READ))) == "item 1"
    assert not writer.query(use).errors
    assert value(reader.query(READ)) == "by temp"


def test_c10_temporary_tables_without_code_leave_the_cache_alone(cached):
    cache = cached(SETUP)
    reader, writer = cache.wire(), cache.wire()
    writer.do("CREATE TEMP TABLE t AS SELECT * FROM source")
    cache.warm(lambda: value(reader.query(READ)))
    writer.do("SELECT * FROM source")
    assert cache.hit(lambda: value(reader.query(READ))) == "item 1"


def test_c10_a_cast_added_later_is_noticed(cached):
    cache = cached(SETUP + "CREATE FUNCTION casts(point) RETURNS int LANGUAGE sql AS 'SELECT 1';")
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    cache.wire("postgres").do("CREATE CAST (point AS int) WITH FUNCTION casts(point)")
    cache.never_cached(lambda: value(client.query(READ)))


@pytest.mark.parametrize("protocol", ["query", "extended"])
def test_c10_a_very_long_insert_is_read(cached, protocol):
    """It is an INSERT like any other: it pins nothing, and makes old what depends on its table, no more."""
    cache = cached("CREATE TABLE many (id int, v text)")
    client, other = cache.wire(), cache.wire()
    cache.warm(lambda: value(other.query(READ)))
    assert cache.warm(lambda: value(other.query("SELECT count(*) FROM many")), "many") == "0"
    rows = ",".join(f"({i}, 'row {'x' * 100}')" for i in range(30000))
    assert not getattr(client, protocol)(f"INSERT INTO many VALUES {rows}").errors
    assert value(other.query("SELECT count(*) FROM many")) == "30000"
    assert cache.hit(lambda: value(other.query(READ))) == "item 1"
    assert cache.pooler.show("PINS") == []


def test_c10_a_read_that_writes_inside_a_block(cached):
    cache = cached(SETUP)
    client, other = cache.wire(), cache.wire()
    assert cache.warm(lambda: value(other.query(READ))) == "item 1"
    client.do("BEGIN")
    assert value(client.query(READ)) == "item 1"
    client.do("SELECT done FROM writing")
    assert value(client.query(READ)) == "by view"
    assert value(other.query(READ)) == "item 1"
    client.do("COMMIT")
    assert value(other.query(READ)) == "by view"


def test_c10_reads_that_write_nothing_leave_the_cache_alone(cached):
    """Otherwise a database with one function would never have a warm cache."""
    cache = cached(SETUP)
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    client.query("SELECT v FROM item_view WHERE id = 2")
    client.query("SELECT upper(v), now(), count(*) FROM source GROUP BY v")
    client.query("SELECT relname FROM pg_class LIMIT 1")
    client.query("SELECT table_name FROM information_schema.tables LIMIT 1")
    assert cache.hit(lambda: value(client.query(READ))) == "item 1"


def test_c10_copy_from(cached):
    cache = cached()
    reader, writer = cache.wire(), cache.wire()
    count = "SELECT count(*) FROM items"
    assert cache.warm(lambda: value(reader.query(count))) == "20"
    writer.send(query("COPY items (id, v) FROM STDIN"), wire.copy_data(b"200\tcopied\n"), COPY_DONE)
    assert not writer.ready().errors
    assert value(reader.query(count)) == "21"
    read_often(reader, count)
    writer.send(wire.parse("COPY items (id, v) FROM STDIN"), wire.bind(), wire.execute(), SYNC,
                wire.copy_data(b"201\tcopied\n"), COPY_DONE, SYNC)
    assert not writer.ready().errors
    assert value(reader.query(count)) == "22"


def test_c10_large_objects_and_function_calls(cached):
    cache = cached("CREATE FUNCTION call_me(int) RETURNS int LANGUAGE sql AS $$ UPDATE items SET v = 'called' WHERE id = $1 RETURNING id $$")
    reader, writer = cache.wire(), cache.wire()
    cache.warm(lambda: value(reader.query(READ)))
    oid = cache.database.value("SELECT 'call_me'::regproc::oid::int")
    writer.send(wire.function_call(oid, b"\0\0\0\1"))
    assert not writer.ready().errors
    assert value(reader.query(READ)) == "called"


DDL = {
    "add column": ("SELECT * FROM items WHERE id = 1", "ALTER TABLE items ADD extra text DEFAULT 'more'"),
    "drop column": ("SELECT * FROM items WHERE id = 1", "ALTER TABLE items DROP n"),
    "change type": (READ, "ALTER TABLE items ALTER v TYPE char(20)"),
    "rewrite": (READ, "ALTER TABLE items ALTER v TYPE text USING 'rewritten'"),
    "drop": (READ, "DROP TABLE items"),
    "drop and create": (READ, "DROP TABLE items; CREATE TABLE items (id int, v text); INSERT INTO items VALUES (1, 'reborn')"),
    "swap": (READ, "ALTER TABLE items RENAME TO old; CREATE TABLE items AS SELECT 1 AS id, 'swapped' AS v"),
    "rename column": ("SELECT * FROM items WHERE id = 1", "ALTER TABLE items RENAME v TO w"),
    "rename schema": ("SELECT v FROM s.things", "ALTER SCHEMA s RENAME TO s2; CREATE SCHEMA s; CREATE TABLE s.things AS SELECT 'other' AS v"),
    "set schema": (READ, "CREATE SCHEMA elsewhere; ALTER TABLE items SET SCHEMA elsewhere"),
    "replace view": ("SELECT v FROM seen", "CREATE OR REPLACE VIEW seen AS SELECT 'replaced'::text AS v"),
    "replace function": ("SELECT twice(id) FROM items WHERE id = 1", "CREATE OR REPLACE FUNCTION twice(int) RETURNS int IMMUTABLE"
                         " LANGUAGE sql AS 'SELECT $1 * 200'"),
    "attach": ("SELECT count(*) FROM parted", "CREATE TABLE leaf2 AS SELECT 2 AS id; ALTER TABLE parted ATTACH PARTITION leaf2 FOR VALUES IN (2)"),
    "inherit": ("SELECT count(*) FROM things", "CREATE TABLE heir () INHERITS (things); INSERT INTO heir VALUES ('inherited')"),
    "in a transaction": (READ, "BEGIN; DROP TABLE items; CREATE TABLE items AS SELECT 1 AS id, 'again' AS v; COMMIT"),
    "collation": ("SELECT v FROM words ORDER BY v LIMIT 1", "ALTER TABLE words ALTER v TYPE text COLLATE \"und-x-icu\""),
    "disable trigger and write": (READ, "ALTER TABLE items DISABLE TRIGGER ALL; UPDATE items SET v = 'quiet' WHERE id = 1"),
}
DDL_SETUP = """
CREATE SCHEMA s; CREATE TABLE s.things AS SELECT 'first' AS v; CREATE VIEW seen AS SELECT v FROM s.things;
CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2'; CREATE TABLE things (v text);
CREATE TABLE parted (id int) PARTITION BY LIST (id); CREATE TABLE words (v text COLLATE "C"); INSERT INTO words VALUES ('b'), ('B'), ('a');
"""


def comparable(answer):
    return [(m.kind, m.body[:2] if m.kind == "T" else m.body) for m in answer if m.kind in "TD"], \
        [e["C"] for e in answer.errors]


@pytest.mark.parametrize("protocol", ["query", "extended"])
@pytest.mark.parametrize("name", DDL)
def test_c18_schema_changes_through_weir_are_seen_at_once(cached, name, protocol):
    read, change = DDL[name]
    cache = cached(DDL_SETUP)
    reader, writer = cache.wire(), cache.wire()
    for _ in range(8):
        value(getattr(reader, protocol)(read))
    writer.do(change)
    with direct_wire(cache.database) as direct:
        expected = comparable(getattr(direct, protocol)(read))
    for _ in range(3):
        assert comparable(getattr(reader, protocol)(read)) == expected


def pooler_with_aliases(start, database):
    database.execute(ITEMS + "GRANT ALL ON items TO other", user="app")
    line = {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name, "control_user": "control"}
    return start(databases={"test": line, "uncached": {**line, "cache": "off"}, "session": {**line, "pool_mode": "session"},
                            "forced": {**line, "user": "other", "cache": "off"}},
                 users={"other": {"cache": "off"}}, **{k: v for k, v in OPTIONS.items() if k != "default_pool_size"})


@pytest.mark.parametrize("database_name, user", [("uncached", "app"), ("uncached", "other"), ("test", "other"),
                                                 ("session", "app"), ("session", "other"), ("forced", "app"), ("test", "postgres")])
def test_c27_writes_by_users_and_aliases_without_a_cache(start, database, database_name, user):
    pooler = pooler_with_aliases(start, database)
    cache = Cache(pooler, database)
    reader, writer = cache.wire(), cache.wire(user, database_name)
    for turn in range(4):
        expected = cache.warm(lambda: value(reader.query(READ)))
        assert turn == 0 or expected == f"turn {turn - 1}"
        for sql in (f"UPDATE items SET v = 'turn {turn}' WHERE id = 1",):
            assert not (writer.query(sql) if turn % 2 else writer.extended(sql)).errors
        assert value(reader.query(READ)) == f"turn {turn}"


@pytest.mark.parametrize("way", ["startup", "set", "function"])
def test_c29_strings_under_old_rules(cached, way):
    """With standard_conforming_strings off, \\' does not end a string: what looks like one statement is two."""
    cache = cached("CREATE FUNCTION old_rules() RETURNS void LANGUAGE plpgsql AS"
                   " $$ BEGIN PERFORM set_config('standard_conforming_strings', 'off', false); END $$")
    reader = cache.wire()
    writer = cache.wire(standard_conforming_strings="off") if way == "startup" else cache.wire()
    if way == "set":
        writer.do("SET standard_conforming_strings = off")
    elif way == "function":
        writer.do("SELECT old_rules()")
    assert cache.warm(lambda: value(reader.query(READ))) == "item 1"
    sneaky = "SELECT 'a\\' , '; UPDATE items SET v = 'sneaked' WHERE id = 1; --'"
    assert writer.query(sneaky).tags == ["SELECT 1", "UPDATE 1"]
    assert value(reader.query(READ)) == "sneaked"
    assert writer.value("SHOW standard_conforming_strings") == "off"


def test_c29_under_old_rules_a_write_is_marked_before_it_is_sent(cached, tap):
    """That there were two statements shows when both have been answered; the second one's row can be seen before that. No string in it but the
    two: else a parser would take it for an error, and fear it."""
    cache = cached(line={"port": tap.port})
    reader, writer = cache.wire(), cache.wire(standard_conforming_strings="off")
    read = "SELECT n FROM items WHERE id = 1"
    assert cache.warm(lambda: value(reader.query(read))) == "0"
    tap.hold_answer_to("n = 77")
    writer.send(query("SELECT 'a\\' , '; UPDATE items SET n = 77 WHERE id = 1; --'"))
    assert tap.held.wait(10)
    until("it is committed", lambda: cache.direct(read) == [("77",)])
    for _ in range(3):
        assert value(reader.query(read)) == "77"
    tap.release()
    assert writer.ready().tags == ["SELECT 1", "UPDATE 1"]
