"""C05, C18: columns of enums, domains and arrays of them are cached like those of the types they are made of, and go to
PostgreSQL where users have made code for such a type that no name in the statement shows. Answers are held against
PostgreSQL's own, before and after what they depend on has changed."""

import pytest

from harness.caching import value
from harness.wait import until

pytestmark = pytest.mark.needs("cache")

TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN small AS int CHECK (VALUE < 1000); CREATE DOMAIN smaller AS small CHECK (VALUE < 100);
CREATE DOMAIN feeling AS mood CHECK (VALUE <> 'sad'); CREATE DOMAIN list AS int[];
CREATE TABLE owned (id int PRIMARY KEY, m mood, ms mood[], s small, ss smaller, f feeling, l list);
CREATE TABLE of_arrays (id int, sa small[]); INSERT INTO of_arrays VALUES (1, '{5}');
INSERT INTO owned SELECT i, (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood, ARRAY['ok']::mood[], i, i, 'ok', ARRAY[i]
    FROM generate_series(1, 9) i;
"""
READS = ["SELECT s FROM owned WHERE id = 1", "SELECT * FROM owned ORDER BY id", "SELECT m, count(*) FROM owned GROUP BY m ORDER BY m",
         "SELECT id FROM owned WHERE s = 4", "SELECT ss, s + 1 FROM owned WHERE ss > 3 ORDER BY s", "SELECT f FROM owned WHERE f::mood <> 'sad'",
         "SELECT l FROM owned WHERE l[1] = 2", "SELECT upper(f::text), abs(s) FROM owned ORDER BY id",
         "SELECT max(m), min(s), max(f::mood) FROM owned"]


def kept(cache, client, sql):
    answer = cache.warm(lambda: client.query(sql), "from owned")
    assert not answer.errors and answer.texts == cache.direct(sql), sql
    return answer.texts


def test_c05_enums_and_domains_are_cached(cached):
    cache = cached(TYPES)
    client, writer = cache.wire(), cache.wire()
    old = {sql: kept(cache, client, sql) for sql in READS}
    for sql in READS:
        assert value(cache.warm(lambda sql=sql: client.query(sql), "from owned")) == old[sql][0][0]
    writer.do("UPDATE owned SET m = 'sad', ms = '{happy}', s = 5, ss = 6, f = 'happy', l = '{2}'")
    assert all(cache.same(client, sql) != old[sql] for sql in READS)
    for sql in READS:
        kept(cache, client, sql)


def test_c05_parameters_and_binary_answers_of_domains(cached):
    cache = cached(TYPES)
    client = cache.wire()
    for formats in ([0], [1]):
        ask = lambda: client.extended("SELECT s, f FROM owned WHERE s = $1", [b"4"], result_formats=formats)
        first = ask()
        assert not first.errors
        assert cache.warm(ask, "from owned").rows == first.rows


CHANGES = {
    "a label is renamed": ("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'", "SELECT m, f FROM owned ORDER BY id"),
    "a domain is another's": ("ALTER TABLE owned ALTER s TYPE text USING s || '!'", "SELECT s FROM owned ORDER BY id"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_c18_types_change_through_weir(cached, what):
    change, sql = CHANGES[what]
    cache = cached(TYPES)
    client, writer = cache.wire(), cache.wire()
    old = kept(cache, client, sql)
    writer.do(change)
    assert cache.same(client, sql) != old


def test_c18_a_label_is_renamed_around_weir(cached):
    """The look at the catalog, once a second, tells: what was stored before it is never given after it."""
    cache = cached(TYPES)
    client = cache.wire()
    sql = "SELECT m, f FROM owned ORDER BY id"
    old = kept(cache, client, sql)
    cache.database.execute("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'")
    until("the new label is seen", lambda: client.query(sql).texts != old, 10)
    for _ in range(3):
        assert ("fine", "fine") in cache.same(client, sql)
    kept(cache, client, sql)


FLAG = ("CREATE TABLE flag (v bool); INSERT INTO flag VALUES (true);"
        " CREATE FUNCTION same_mood(mood, mood) RETURNS bool LANGUAGE sql STABLE AS 'SELECT v FROM flag';"
        " CREATE FUNCTION says(mood) RETURNS text LANGUAGE sql STABLE AS 'SELECT v::text FROM flag';"
        " CREATE FUNCTION same_small(small, small) RETURNS bool LANGUAGE sql STABLE AS 'SELECT v FROM flag';")
HIDDEN = {
    "an operator of an enum": ("CREATE OPERATOR = (LEFTARG = mood, RIGHTARG = mood, FUNCTION = same_mood)",
                               "SELECT count(*) FROM owned WHERE m = 'ok'"),
    "a cast of an enum": ("CREATE CAST (mood AS text) WITH FUNCTION says(mood)", "SELECT m::text FROM owned WHERE id = 1"),
    "an operator of a domain": ("CREATE OPERATOR = (LEFTARG = small, RIGHTARG = small, FUNCTION = same_small)",
                                "SELECT count(*) FROM owned WHERE s = s"),
}


@pytest.mark.parametrize("what", HIDDEN)
def test_c05_code_of_users_behind_a_type(cached, database, what):
    make, sql = HIDDEN[what]
    database.execute(f"SET ROLE app; {TYPES} {FLAG} RESET ROLE; {make}")
    cache = cached()
    client, writer = cache.wire(), cache.wire()
    cache.never_cached(lambda: cache.same(client, sql), "from owned", times=12)
    old = cache.same(client, sql)
    writer.do("UPDATE flag SET v = false")
    assert cache.same(client, sql) != old


def test_c05_a_domain_with_a_function_of_users(cached):
    """Reading its values calls nothing, making them may write anything."""
    cache = cached("CREATE TABLE seen (n int); INSERT INTO seen VALUES (0); CREATE FUNCTION looks(int) RETURNS bool LANGUAGE plpgsql AS"
                   " 'BEGIN UPDATE seen SET n = n + 1; RETURN true; END'; CREATE DOMAIN looked AS int CHECK (looks(VALUE));"
                   " CREATE TABLE owned (id int, d looked); INSERT INTO owned VALUES (1, 2)")
    client, writer = cache.wire(), cache.wire()
    assert kept(cache, client, "SELECT d FROM owned") == [("2",)]
    cache.warm(lambda: client.query("SELECT n FROM seen"), "from seen")
    for write in ("INSERT INTO owned VALUES (2, 3)", "SELECT 7::looked", "SELECT id::looked FROM owned"):
        old = cache.warm(lambda: client.query("SELECT n FROM seen"), "from seen").texts
        writer.do(write)
        assert cache.same(client, "SELECT n FROM seen") != old
        cache.same(client, "SELECT d FROM owned")
        cache.warm(lambda: client.query("SELECT n FROM seen"), "from seen")


MAKING = {
    "a cast": ("SELECT id::small FROM owned", ()),
    "a default": ("SELECT lag(s, 1, '5') OVER (ORDER BY id) FROM owned", ()),
    "a parameter": ("SELECT array_append(ARRAY[s], $1) FROM owned", [b"5"]),
    "an array from text": ("SELECT s, '{5}'::small[] FROM owned", ()),
    "an array in a parameter": ("SELECT ARRAY[s] || $1::small[] FROM owned", [b"{5}"]),
    "a record": ("SELECT s, r.a FROM owned, jsonb_to_record('{\"a\": 5}') r(a small)", ()),
    "a column of arrays": ("SELECT sa FROM owned, of_arrays", ()),
}


@pytest.mark.parametrize("what", MAKING)
def test_c05_values_made_for_a_domain_are_asked_of_postgresql(cached, what):
    """What makes one looks at the constraints, which may depend on the time, or call anything."""
    sql, values = MAKING[what]
    cache = cached(TYPES)
    client = cache.wire()
    kept(cache, client, "SELECT s FROM owned WHERE id = 1")
    ask = lambda: client.extended(sql, values) if values else client.query(sql)
    assert not ask().errors
    cache.never_cached(ask, "from owned", times=20)


def test_c18_a_constraint_that_comes_later_leaves_what_is_stored(cached):
    cache = cached(TYPES)
    client, writer = cache.wire(), cache.wire()
    assert kept(cache, client, "SELECT s FROM owned WHERE id = 1") == [("1",)]
    writer.do("ALTER DOMAIN small ADD CHECK (VALUE > 1) NOT VALID")
    assert client.query("SELECT id::small FROM owned WHERE id = 1").errors
    assert kept(cache, client, "SELECT s FROM owned WHERE id = 1") == [("1",)]
