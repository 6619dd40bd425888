"""C38: of a write around Weir the log tells which row it was of: answers about other rows stay in the cache, and the row's own
go, however its key is kept in the log."""

import time

import pytest

from harness.caching import ITEMS, OPTIONS, READ, Cache, value
from harness.wait import seconds, until

pytestmark = pytest.mark.needs("cache")

FED = {**OPTIONS, "cache_writes": "anywhere", "cache_feed": "on"}
LAG = 1.0  # cache_max_lag
OTHER = "SELECT v FROM items WHERE id = 2"


@pytest.fixture
def fed(database, start):
    """Starts a pooler that learns of writes by the feed, and is ready: fed("SQL")."""

    def begin(setup=""):
        database.execute(ITEMS + setup, user="app")
        cache = Cache(start(database={"control_user": "control"}, **FED), database)
        cache.get_ready()
        return cache

    return begin


def seen_in_time(ask, wanted):
    end = time.monotonic() + seconds(LAG)
    while True:
        began = time.monotonic()
        answer = ask()
        if answer == wanted:
            return
        assert began < end, f"{answer!r} after {LAG} s, not {wanted!r}"


def ask(reader, sql):
    return lambda: value(reader.query(sql))


def transactions(cache):
    return sum(int(row["transactions"]) for row in cache.pooler.show("FEEDS"))


OTHERS = {
    "update": "UPDATE items SET v = 'other' WHERE id = 2",
    "update of many columns": "UPDATE items SET v = 'it''s [id]:1 \\ \"id\"', n = 5 WHERE id = 2",
    "delete": "DELETE FROM items WHERE id = 2",
    "insert": "INSERT INTO items SELECT i, 'new' FROM generate_series(100, 200) i",
    "upsert": "INSERT INTO items VALUES (2, 'x') ON CONFLICT (id) DO UPDATE SET v = 'upserted'",
    "any condition": "UPDATE items SET v = 'other' WHERE v LIKE 'item 1_'",
}


@pytest.mark.parametrize("name", OTHERS)
def test_c38_other_rows_stay_cached(fed, database, name):
    cache = fed()
    reader = cache.wire()
    cache.warm(ask(reader, READ))
    before = transactions(cache)
    database.execute(OTHERS[name])
    until("the feed has told", lambda: transactions(cache) > before)
    assert cache.hit(ask(reader, READ)) == "item 1"


def test_c38_other_rows_stay_cached_by_own_writes(fed):
    """The feed hears of what passes Weir as well."""
    cache = fed()
    reader, writer = cache.wire(), cache.wire()
    cache.warm(ask(reader, READ))
    before = transactions(cache)
    writer.do(OTHERS["update"])
    until("the feed has told", lambda: transactions(cache) > before)
    assert cache.hit(ask(reader, READ)) == "item 1"


SAME = {
    "update": ("UPDATE items SET v = 'changed' WHERE id = 1", "changed"),
    "update of all": ("UPDATE items SET v = 'changed'", "changed"),
    "delete": ("DELETE FROM items WHERE id = 1", None),
    "moved away": ("UPDATE items SET id = 1000 WHERE id = 1", None),
    "swapped": ("UPDATE items SET id = -1 WHERE id = 1; UPDATE items SET id = 1 WHERE id = 2; UPDATE items SET id = 2 WHERE id = -1",
                "item 2"),
    "other rows first": ("UPDATE items SET v = 'changed' WHERE id > 1; UPDATE items SET v = 'changed' WHERE id = 1", "changed"),
    "added rows first": ("INSERT INTO items VALUES (300, 'x'), (301, 'y'); UPDATE items SET v = 'changed' WHERE id = 1", "changed"),
    "truncate": ("TRUNCATE items", None),
    "upsert": ("INSERT INTO items VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET v = 'changed'", "changed"),
}
IDENTITIES = ["DEFAULT", "FULL", "USING INDEX others", "NOTHING"]


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("name", SAME)
def test_c38_the_row_itself_is_seen(fed, database, name, identity):
    write, expected = SAME[name]
    cache = fed(f"CREATE UNIQUE INDEX others ON items (n, id); ALTER TABLE items ALTER id SET NOT NULL;"
                   f" ALTER TABLE items REPLICA IDENTITY {identity};")
    reader = cache.wire()
    cache.warm(ask(reader, READ))
    cache.warm(ask(reader, OTHER))
    with database.connect() as direct, direct.transaction():
        direct.execute(write)
    seen_in_time(ask(reader, READ), expected)
    assert cache.warm(ask(reader, READ)) == expected


def test_c38_a_key_that_is_checked_late_is_not_logged(fed, database):
    """The log does not say what a deferrable key was before."""
    cache = fed("ALTER TABLE items DROP CONSTRAINT items_pkey; ALTER TABLE items ADD PRIMARY KEY (id) DEFERRABLE;")
    reader = cache.wire()
    cache.warm(ask(reader, READ))
    database.execute("UPDATE items SET id = 1000 WHERE id = 1")
    seen_in_time(ask(reader, READ), None)


def test_c38_what_was_not_there_is_seen(fed, database):
    cache = fed()
    reader = cache.wire()
    for turn, write in enumerate(["INSERT INTO items VALUES (500, 'new')", "UPDATE items SET id = 501 WHERE id = 500"]):
        read = f"SELECT v FROM items WHERE id = {500 + turn}"
        cache.warm(ask(reader, read))
        database.execute(write)
        seen_in_time(ask(reader, read), "new")


def test_c38_rows_of_relatives(fed, database):
    cache = fed("CREATE TABLE heirs () INHERITS (items);")
    reader = cache.wire()
    read = "SELECT count(*) FROM items WHERE id = 1"
    assert cache.warm(ask(reader, read)) == "1"
    database.execute("INSERT INTO heirs VALUES (1, 'heir')")
    seen_in_time(ask(reader, read), "2")
    cache.warm(ask(reader, READ + " ORDER BY v"))
    database.execute("INSERT INTO heirs VALUES (1, 'another heir')")
    seen_in_time(ask(reader, READ + " ORDER BY v"), "another heir")


KEYS = """
CREATE TABLE "Odd ""Table" ("a key" text PRIMARY KEY, "list]:" text[], v text);
INSERT INTO "Odd ""Table" VALUES ('one', '{"a b","]:"}', 'one'), ('it''s', '{x}', 'two'), ('null', NULL, 'three');
CREATE TABLE by_uuid (v text, k uuid PRIMARY KEY);
INSERT INTO by_uuid VALUES ('one', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), ('two', '00000000-0000-0000-0000-000000000002');
"""


@pytest.mark.parametrize("read, write, is_own", [
    ("""SELECT v FROM "Odd ""Table" WHERE "a key" = 'one'""", """UPDATE "Odd ""Table" SET v = 'new' WHERE "a key" = 'one'""", True),
    ("""SELECT v FROM "Odd ""Table" WHERE "a key" = 'one'""", """UPDATE "Odd ""Table" SET v = 'new' WHERE "a key" = 'null'""", False),
    ("""SELECT v FROM "Odd ""Table" WHERE "a key" = 'it''s'""", """UPDATE "Odd ""Table" SET v = 'new' WHERE "a key" = 'it''s'""", True),
    ("SELECT v FROM by_uuid WHERE k = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "UPDATE by_uuid SET v = 'new' WHERE v = 'one'", True),
    ("SELECT v FROM by_uuid WHERE k = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "UPDATE by_uuid SET v = 'new' WHERE v = 'two'", False)])
def test_c38_keys_and_names_of_all_kinds(fed, database, read, write, is_own):
    cache = fed(KEYS)
    reader = cache.wire()
    table = "by_uuid" if "by_uuid" in read else "Odd"
    cache.warm(ask(reader, read), table)
    before = transactions(cache)
    database.execute(write)
    if is_own:
        seen_in_time(ask(reader, read), "new")
    else:
        until("the feed has told", lambda: transactions(cache) > before)
        assert cache.hit(ask(reader, read), table) == "one"
