"""What a person tells the cache on the console: to forget, to rest, to go on."""

import re

import pytest

from harness.caching import ITEMS, OPTIONS, READ, value
from harness.wait import until
from harness.wire import ServerError

pytestmark = pytest.mark.needs("cache")

OTHER = "SELECT v FROM other WHERE id = 1"
SETUP = """
CREATE TABLE other (id int PRIMARY KEY, v text); INSERT INTO other VALUES (1, 'other');
CREATE SCHEMA "Odd one"; CREATE TABLE "Odd one"."Things" (id int); CREATE TABLE "Odd one".other (id int);
CREATE VIEW seen AS SELECT * FROM items;
CREATE TABLE parted (id int, v text) PARTITION BY LIST (id);
CREATE TABLE leaf PARTITION OF parted FOR VALUES IN (1); INSERT INTO parted VALUES (1, 'leaf');
"""


def run(cache, command):
    with cache.pooler.admin() as console:
        return console.run(command)


def refused(cache, command, phrase):
    with pytest.raises(ServerError, match=phrase):
        run(cache, command)


def asker(cache, sql):
    client = cache.wire()
    return lambda: value(client.query(sql))


def store(cache):
    return {row["name"]: row["value"] for row in cache.pooler.show("CACHE_STORE")}


@pytest.fixture
def warm(cached):
    """A cache that holds an answer from items, and one from other."""
    cache = cached(SETUP)
    cache.items, cache.other = asker(cache, READ), asker(cache, OTHER)
    cache.warm(cache.items)
    cache.warm(cache.other, "from other")
    return cache


@pytest.mark.parametrize("command", ["CACHE FLUSH", "CACHE FLUSH test"])
def test_c35_flush_forgets_everything_of_a_database_and_frees_its_memory(warm, command):
    assert int(store(warm)["entries"]) >= 2
    run(warm, command)
    assert store(warm)["entries"] == "0" and store(warm)["flushes"] == "1"
    assert warm.executed(warm.items) == ("item 1", 1)
    assert warm.executed(warm.other, "from other") == ("other", 1)
    warm.warm(warm.items)
    assert re.search(r"CACHE FLUSH, by admin: (database test|all databases)", warm.pooler.log())


@pytest.mark.parametrize("name", ["items", "public.items", "PUBLIC.Items", "'\"public\".items'"])
def test_c35_flush_forgets_what_depends_on_one_relation(warm, name):
    run(warm, f"CACHE FLUSH test {name}")
    assert store(warm)["entries"] == "1"
    assert warm.executed(warm.items) == ("item 1", 1)
    assert warm.hit(warm.other, "from other") == "other"
    assert "CACHE FLUSH, by admin: database test, relation " in warm.pooler.log()


def test_c35_flush_of_a_partitioned_table_reaches_its_partitions(warm):
    leaf = asker(warm, "SELECT v FROM leaf")
    warm.warm(leaf, "from leaf")
    run(warm, "CACHE FLUSH test parted")
    assert warm.executed(leaf, "from leaf") == ("leaf", 1)
    assert warm.hit(warm.items) == "item 1"


def test_c35_flush_says_what_it_cannot_find(warm):
    for name, phrase in (("nothing", "there is no relation nothing in this database"),
                         ('public."Items"', "there is no relation public.Items in this database"),
                         ("other", "there are 2 relations of the name other: say which schema"),
                         ("seen", "public.seen is a view: answers depend on tables"),
                         ("a.b.c", "takes one relation")):
        refused(warm, f"CACHE FLUSH test {name}", phrase)
    refused(warm, "CACHE FLUSH nowhere", "no such database: nowhere")
    run(warm, 'CACHE FLUSH test "Odd one"."Things"')
    assert warm.hit(warm.items) == "item 1" and warm.hit(warm.other, "from other") == "other"


def test_c35_flush_of_one_database_leaves_the_others(start, database, postgres):
    second = postgres.make_database()
    try:
        for one in (database, second):
            one.execute(ITEMS, user="app")
        there = {name: {"host": "127.0.0.1", "port": postgres.port, "dbname": one.name, "control_user": "control"}
                 for name, one in (("test", database), ("second", second))}
        pooler = start(databases=there, **OPTIONS)
        clients = {name: pooler.wire(name) for name in there}
        until("both are ready", lambda: [row["state"] for row in pooler.show("CACHE")] == ["", ""], 15)
        for client in clients.values():
            client.query(READ)
        hits = lambda: {row["database"]: int(row["hits"]) for row in pooler.show("CACHE")}  # noqa: E731
        with pooler.admin() as console:
            console.run("CACHE FLUSH second")
            console.run("CACHE DISABLE test")
            for client in clients.values():
                client.query(READ)
                client.query(READ)
            assert hits() == {"test": 0, "second": 1}
            assert [row["value"] for row in console.show("CACHE_STORE") if row["name"] == "disabled"] == ["test"]
            console.run("CACHE ENABLE")
        clients["test"].query(READ)
        assert hits() == {"test": 1, "second": 1}, "what was stored before is still believed"
        for client in clients.values():
            client.close()
        pooler.stop()
    finally:
        second.drop()


@pytest.mark.parametrize("which", ["", " test"])
def test_c35_disable_asks_postgresql_until_enable(warm, which):
    run(warm, "CACHE DISABLE" + which)
    assert store(warm)["disabled"] == "test"
    assert {row["state"] for row in warm.pooler.show("CACHE")} == {"CACHE DISABLE has turned it off"}
    with warm.pooler.admin() as console:
        answer = console.run("EXPLAIN CACHE SELECT v FROM items")
    assert "CACHE DISABLE has turned it off; CACHE ENABLE turns it on again" in answer.texts[0]
    fills = warm.counted("fills")
    warm.never_cached(warm.items)
    assert warm.counted("fills") == fills, "and nothing is stored"
    run(warm, "CACHE ENABLE" + which)
    assert warm.hit(warm.items) == "item 1", "nobody has written meanwhile, so what was stored is current"
    assert store(warm)["disabled"] == ""
    for verb in ("DISABLE", "ENABLE"):
        assert re.search(rf"CACHE {verb}, by admin: (database test|all databases)", warm.pooler.log())


def test_c35_writes_count_while_it_is_disabled(warm):
    run(warm, "CACHE DISABLE test")
    warm.wire().do("UPDATE items SET v = 'written while it was off' WHERE id = 1")
    run(warm, "CACHE ENABLE test")
    assert warm.executed(warm.items) == ("written while it was off", 1)
    assert warm.hit(warm.other, "from other") == "other"


def test_c35_disable_outlives_a_reload_and_counts_for_what_comes_later(warm):
    run(warm, "CACHE DISABLE")
    warm.pooler.databases["later"] = {**warm.pooler.databases["test"], "host": "localhost"}
    warm.pooler.reload()
    later = warm.wire(database="later")
    until("the new one says so", lambda: {row["database"]: row["state"] for row in warm.pooler.show("CACHE")} == {
        "test": "CACHE DISABLE has turned it off", "later": "CACHE DISABLE has turned it off"})
    assert store(warm)["disabled"] in ("test, later", "later, test")
    assert value(later.query(READ)) == "item 1"


def test_it_is_said_where_there_is_nothing_to_switch(start, database):
    there = {"host": "127.0.0.1", "port": database.postgres.port}
    pooler = start(databases={"plain": {**there, "dbname": database.name}, "*": there,
                              "cached": {**there, "dbname": database.name, "cache": "ttl", "control_user": "control"}})
    with pooler.admin() as console:
        for command, phrase in (("CACHE FLUSH plain", "the cache is off for the database plain and all its users"),
                                ("CACHE DISABLE any", 'the databases of "\\*" are not cached')):
            with pytest.raises(ServerError, match=phrase):
                console.run(command)


def test_without_a_cache_the_commands_say_so(start):
    with start().admin() as console:
        for command in ("CACHE FLUSH", "CACHE DISABLE", "CACHE ENABLE test"):
            with pytest.raises(ServerError, match="there is no cache"):
                console.run(command)
