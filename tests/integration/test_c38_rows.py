"""C38: a write to one row by its primary key leaves answers about other rows in the cache, and nothing else does: every
way in which such a write could reach another row, or the same row under another spelling."""

import struct

import pytest

from harness import wire
from harness.caching import READ, value
from harness.wire import SYNC, once

pytestmark = pytest.mark.needs("cache")

OTHERS = {
    "by literal": "UPDATE items SET v = 'other' WHERE id = 2",
    "by text": "UPDATE items SET v = 'other' WHERE id = '2'",
    "by cast": "UPDATE items SET v = 'other' WHERE id = '2'::bigint AND v IS NOT NULL",
    "turned round": "UPDATE public.items i SET v = 'other' WHERE n = 0 AND 2 = i.id",
    "delete": "DELETE FROM items WHERE id = 2",
    "in a block": "BEGIN; UPDATE items SET v = 'other' WHERE id = 2; COMMIT",
    "new row": "INSERT INTO items VALUES (100, 'new')",
    "new rows, some there": "INSERT INTO items SELECT i, 'x' FROM generate_series(1, 30) i ON CONFLICT DO NOTHING",
}


@pytest.mark.parametrize("name", [name for name in OTHERS if ";" not in OTHERS[name]])
def test_c38_other_rows_stay_cached(cached, name):
    cache = cached()
    reader, writer = cache.wire(), cache.wire()
    cache.warm(lambda: value(reader.query(READ)))
    assert not writer.query(OTHERS[name]).errors
    assert cache.hit(lambda: value(reader.query(READ))) == "item 1"


def test_c38_other_rows_stay_cached_in_blocks_and_prepared(cached):
    cache = cached()
    reader, writer = cache.wire(), cache.wire()
    cache.warm(lambda: value(reader.query(READ)))
    for statement in OTHERS["in a block"].split("; "):
        assert not writer.query(statement).errors
    assert cache.hit(lambda: value(reader.query(READ))) == "item 1"
    binary = struct.pack("!i", 3)
    for value_of_it, formats in (("2", ()), (binary, (1,))):
        writer.send(once_formatted("UPDATE items SET v = 'bound' WHERE id = $1", value_of_it, formats), SYNC)
        assert not writer.ready().errors
        assert cache.hit(lambda: value(reader.query(READ))) == "item 1"
    assert cache.direct("SELECT v FROM items WHERE id IN (2, 3)") == [("bound",), ("bound",)]


def once_formatted(sql, given, formats):
    return wire.parse(sql) + wire.bind((given,), formats=formats) + wire.execute()


# How the same row can be asked for, and written.
READS = {
    "literal": lambda client: client.query(READ),
    "text": lambda client: client.query("SELECT v FROM items WHERE id = '1'"),
    "big": lambda client: client.query("SELECT v FROM items WHERE id = 1::bigint"),
    "parameter": lambda client: client.extended("SELECT v FROM items WHERE id = $1", ("1",)),
    "typed": lambda client: client.extended("SELECT v FROM items WHERE id = $1", ("1",), (20,)),
    "blank": lambda client: client.extended("SELECT v FROM items WHERE id = $1", (" 1",)),
    "all": lambda client: client.query("SELECT v FROM items WHERE id < 2"),
    "two conditions": lambda client: client.query("SELECT v FROM items WHERE id = 1 AND n = 0"),
    "names of its own": lambda client: client.query("SELECT v FROM items AS i (n2, v, id) WHERE n2 = 1 AND id = 0"),
    "counted": lambda client: client.query("SELECT max(v) FROM items WHERE id = 1"),
}
SAME = {
    "literal": "UPDATE items SET v = 'changed' WHERE id = 1",
    "leading zeros": "UPDATE items SET v = 'changed' WHERE id = '001'",
    "blanks": "UPDATE items SET v = 'changed' WHERE id = ' 1 '",
    "plus": "UPDATE items SET v = 'changed' WHERE id = +1",
    "fraction": "UPDATE items SET v = 'changed' WHERE id = 1.0",
    "sum": "UPDATE items SET v = 'changed' WHERE id = 2 - 1",
    "either": "UPDATE items SET v = 'changed' WHERE id = 2 OR n = 0",
    "not": "UPDATE items SET v = 'changed' WHERE NOT (id = 2)",
    "below": "UPDATE items SET v = 'changed' WHERE (SELECT count(*) FROM items WHERE id = 2) = 1",
    "from": "UPDATE items SET v = 'changed' FROM items o WHERE o.id = 2",
    "key moved away": "UPDATE items SET id = 1000 WHERE id = 1",
    "key swapped": "UPDATE items SET v = 'x', id = CASE id WHEN 1 THEN 1001 ELSE id END WHERE id = 1",
    "names of its own": "UPDATE items AS i SET v = 'changed' WHERE i.id = 1 AND n = 0",
    "upsert": "INSERT INTO items VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET v = 'changed'",
    "row for row": "UPDATE items SET v = 'changed' WHERE (id, n) = (1, 0)",
    "in": "UPDATE items SET v = 'changed' WHERE id IN (1, 2)",
}


@pytest.mark.parametrize("written", SAME)
def test_c38_the_same_row_however_it_is_spelled(cached, written):
    cache = cached()
    reader, writer = cache.wire(), cache.wire()
    for ask in READS.values():
        for _ in range(4):
            ask(reader)
    assert not writer.query(SAME[written]).errors
    truth = cache.direct("SELECT v FROM items WHERE id = 1")
    assert truth != [("item 1",)], "the write did nothing: the test proves nothing"
    for name, ask in READS.items():
        expected = truth or ([(None,)] if name == "counted" else [])
        assert ask(reader).texts == expected, name


@pytest.mark.parametrize("name", ["literal", "text", "parameter", "typed", "two conditions"])
def test_c38_row_reads_are_hits(cached, name):
    """What the tests above read is in fact cached row by row."""
    cache = cached()
    reader, writer = cache.wire(), cache.wire()
    cache.warm(lambda: READS[name](reader).texts)
    writer.do("UPDATE items SET v = 'other' WHERE id = 2")
    assert cache.hit(lambda: READS[name](reader).texts) == [("item 1",)]


def test_c38_what_was_not_there_is_seen_when_it_comes(cached):
    cache = cached("CREATE TABLE numbered (id serial PRIMARY KEY, v text); INSERT INTO numbered (v) VALUES ('one');")
    reader, writer = cache.wire(), cache.wire()
    comes = ["INSERT INTO numbered (v) VALUES ('by number')", "INSERT INTO numbered VALUES (3, 'by name')",
             "UPDATE numbered SET id = 4 WHERE id = 3", "INSERT INTO numbered SELECT 5, 'selected'"]
    for turn, write in enumerate(comes):
        ask = f"SELECT v FROM numbered WHERE id = {turn + 2}"
        assert cache.warm(lambda: reader.query(ask).texts, "numbered") == []
        writer.do(write)
        assert reader.query(ask).texts == cache.direct(ask) != []
    ask = "SELECT v FROM numbered WHERE id = 77"
    assert cache.warm(lambda: reader.query(ask).texts, "numbered") == []
    writer.send(wire.query("COPY numbered FROM STDIN"))
    writer.next_is("G")
    writer.send(wire.copy_data(b"77\tcopied\n"), wire.COPY_DONE)
    assert not writer.ready().errors
    assert reader.query(ask).texts == [("copied",)]


REACHING = """
CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE);
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2);
CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE);
ALTER TABLE a ADD b int REFERENCES b ON DELETE CASCADE;
INSERT INTO a VALUES (1, 'one'), (2, 'two'); INSERT INTO b VALUES (1, 1); UPDATE a SET b = 1 WHERE id = 2;
CREATE TABLE counted (id int PRIMARY KEY, v int); INSERT INTO counted VALUES (1, 0), (2, 0);
CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN UPDATE counted SET v = v + 1 WHERE id = 1; RETURN NULL; END $$;
CREATE TRIGGER count_it AFTER UPDATE ON counted FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION count_it();
CREATE TABLE plain (id int PRIMARY KEY, v text); CREATE TABLE heir () INHERITS (plain);
INSERT INTO plain VALUES (1, 'plain'); INSERT INTO heir VALUES (1, 'heir');
CREATE TABLE posts (id int PRIMARY KEY, v text); CREATE TABLE comments (id int PRIMARY KEY, post int REFERENCES posts ON DELETE CASCADE);
INSERT INTO posts VALUES (1, 'post'), (2, 'other'); INSERT INTO comments VALUES (1, 1), (2, 2);
"""
REACHES = {
    "itself": ("SELECT up FROM tree WHERE id = 3", "DELETE FROM tree WHERE id = 1"),
    "in a circle": ("SELECT v FROM a WHERE id = 2", "DELETE FROM a WHERE id = 1"),
    "by a trigger": ("SELECT v FROM counted WHERE id = 1", "UPDATE counted SET v = 5 WHERE id = 2"),
    "an heir": ("SELECT v FROM plain WHERE id = 1 ORDER BY v", "UPDATE heir SET v = 'another' WHERE id = 1"),
    "a child": ("SELECT post FROM comments WHERE id = 1", "DELETE FROM posts WHERE id = 1"),
}


@pytest.mark.parametrize("name", REACHES)
def test_c38_a_row_reaches_others(cached, name):
    read, write = REACHES[name]
    cache = cached(REACHING)
    reader, writer = cache.wire(), cache.wire()
    cache.warm(lambda: reader.query(read).texts, read.split()[3])
    before = reader.query(read).texts
    writer.do(write)
    assert reader.query(read).texts == cache.direct(read) != before


def test_c38_a_parent_is_written_row_by_row(cached):
    """Its children fall by the key, it does not come back to itself."""
    cache = cached(REACHING)
    reader, writer = cache.wire(), cache.wire()
    ask = "SELECT v FROM posts WHERE id = 2"
    cache.warm(lambda: reader.query(ask).texts, "posts")
    writer.do("DELETE FROM posts WHERE id = 1")
    assert cache.hit(lambda: reader.query(ask).texts, "posts") == [("other",)]


KEYS = """
CREATE TABLE by_uuid (k uuid PRIMARY KEY, v text);
INSERT INTO by_uuid VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'one'), ('00000000-0000-0000-0000-000000000002', 'two');
CREATE TABLE by_text (k text PRIMARY KEY, v text); INSERT INTO by_text VALUES ('one', 'one'), ('it''s', 'two'), ('back\\slash', 'three');
CREATE COLLATION sloppy (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE by_sloppy (k text COLLATE sloppy PRIMARY KEY, v text); INSERT INTO by_sloppy VALUES ('one', 'one');
CREATE TABLE by_char (k char(5) PRIMARY KEY, v text); INSERT INTO by_char VALUES ('one', 'one');
CREATE TABLE by_numeric (k numeric PRIMARY KEY, v text); INSERT INTO by_numeric VALUES (1, 'one');
CREATE TABLE by_two (k int, l int, v text, PRIMARY KEY (k, l)); INSERT INTO by_two VALUES (1, 1, 'one'), (1, 2, 'two');
CREATE TABLE by_unique (k int UNIQUE, id int PRIMARY KEY, v text); INSERT INTO by_unique VALUES (1, 10, 'one');
"""
SPELLINGS = {
    "uuid in capitals": ("by_uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "k = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"),
    "uuid in braces": ("by_uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "k = '{a0eebc999c0b4ef8bb6d6bb9bd380a11}'"),
    "quote": ("by_text", "'it''s'", "k = 'it''s'"),
    "quote as a function of it": ("by_text", "'it''s'", "k = U&'it\\0027s'"),
    "backslash": ("by_text", "'back\\slash'", "k = E'back\\\\slash'"),
    "dollars": ("by_text", "'one'", "k = $$one$$"),
    "cut off": ("by_text", "'one'", "k = 'onexx'::varchar(3)"),
    "another case": ("by_sloppy", "'one'", "k = 'ONE'"),
    "blanks behind": ("by_char", "'one'", "k = 'one  '"),
    "zeros behind": ("by_numeric", "1", "k = 1.00"),
    "first of two": ("by_two", "1 AND l = 1", "k = 1"),
    "not the key": ("by_unique", "1", "k = 1 AND id = 10"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_c38_equal_is_what_postgresql_takes_for_equal(cached, name):
    table, key, condition = SPELLINGS[name]
    cache = cached(KEYS)
    reader, writer = cache.wire(), cache.wire()
    read = f"SELECT v FROM {table} WHERE k = {key}"
    cache.warm(lambda: reader.query(read).texts, table)
    writer.do(f"UPDATE {table} SET v = 'changed' WHERE {condition}")
    assert reader.query(read).texts == cache.direct(read) == [("changed",)]


def test_c38_the_same_text_in_another_encoding(cached):
    cache = cached("CREATE TABLE words (k text PRIMARY KEY, v text); INSERT INTO words VALUES ('caf\u00e9', 'one');")
    reader, writer = cache.wire(), cache.wire(client_encoding="LATIN1")
    read = "SELECT v FROM words WHERE k = 'caf\u00e9'"
    cache.warm(lambda: reader.query(read).texts, "words")
    writer.send(wire.message(b"Q", "UPDATE words SET v = 'changed' WHERE k = 'caf\u00e9'".encode("latin-1") + b"\0"))
    assert not writer.ready().errors
    assert reader.query(read).texts == [("changed",)]


def test_c38_keys_of_several_types_are_told_apart(cached):
    cache = cached(KEYS)
    reader, writer = cache.wire(), cache.wire()
    for table, mine, other in (("by_text", "'one'", "'two'"),
                               ("by_uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000002'")):
        read = f"SELECT v FROM {table} WHERE k = {mine}"
        cache.warm(lambda: reader.query(read).texts, table)
        writer.do(f"UPDATE {table} SET v = 'changed' WHERE k = {other}")
        assert cache.hit(lambda: reader.query(read).texts, table) == [("one",)]


def test_c38_the_key_becomes_another_column(cached):
    cache = cached()
    reader, writer = cache.wire(), cache.wire()
    cache.warm(lambda: value(reader.query(READ)))
    writer.do("UPDATE items SET n = id; ALTER TABLE items DROP CONSTRAINT items_pkey; UPDATE items SET id = 1;"
              " ALTER TABLE items ADD PRIMARY KEY (n)")
    everything = "SELECT v FROM items WHERE id = 1 ORDER BY n"
    for turn in range(6):
        assert reader.query(everything).texts == cache.direct(everything)
        writer.do(f"UPDATE items SET v = 'turn {turn}' WHERE n = 3")


def test_c38_many_rows_of_one_transaction(cached):
    cache = cached("CREATE TABLE many (id int PRIMARY KEY, v int); INSERT INTO many SELECT i, 0 FROM generate_series(1, 300) i;")
    reader, writer = cache.wire(), cache.wire()
    asks = [f"SELECT v FROM many WHERE id = {i}" for i in range(1, 301)]
    for ask in asks + asks:
        reader.query(ask)
    writer.do("BEGIN")
    for i in range(1, 201):
        writer.do(f"UPDATE many SET v = 1 WHERE id = {i}")
    writer.do("COMMIT")
    assert [reader.query(ask).texts[0][0] for ask in asks] == ["1"] * 200 + ["0"] * 100


def test_c38_a_portal_of_another_name_and_a_rollback(cached):
    cache = cached()
    reader, writer = cache.wire(), cache.wire()
    cache.warm(lambda: value(reader.query(READ)))
    write = "UPDATE items SET v = 'by portal' WHERE id = $1"
    writer.send(wire.parse(write, "w"), wire.bind(("2",), "w"), wire.bind(("1",), "w", "mine"), wire.execute("mine"), SYNC)
    assert not writer.ready().errors
    assert value(reader.query(READ)) == "by portal"
    cache.warm(lambda: value(reader.query(READ)))
    writer.send(wire.bind(("2",), "w"), wire.execute(), wire.bind(("1",), "w"), wire.execute(), SYNC)
    assert not writer.ready().errors
    writer.do("UPDATE items SET v = 'last' WHERE id = 1")
    assert value(reader.query(READ)) == "last"
    cache.warm(lambda: value(reader.query(READ)))
    for statement in ("BEGIN", "UPDATE items SET v = 'never' WHERE id = 1", "ROLLBACK"):
        writer.do(statement)
    assert value(reader.query(READ)) == "last"


def test_c38_one_pipeline_reads_a_row_writes_it_and_reads_it(cached):
    cache = cached()
    client, other = cache.wire(), cache.wire()
    ask = "SELECT v FROM items WHERE id = $1"
    cache.warm(lambda: value(client.extended(ask, ("1",))))
    cache.warm(lambda: value(client.extended(ask, ("2",))))
    write = once("UPDATE items SET v = v || '+' WHERE id = $1", ("1",))
    client.send(once(ask, ("1",)), write, once(ask, ("1",)), once(ask, ("2",)), SYNC)
    assert client.ready().texts == [("item 1",), ("item 1+",), ("item 2",)]
    assert value(other.extended(ask, ("1",))) == "item 1+"
