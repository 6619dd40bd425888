"""Keys of the cache: what is kept, for how long, and which of three places wins; each by whether PostgreSQL is asked."""

import signal
import time

import pytest

from harness.caching import ITEMS, READ, value
from harness.wait import seconds, until

pytestmark = pytest.mark.needs("cache")

TTL = {"cache": "ttl", "cache_ttl": 3600}


@pytest.mark.parametrize("options, line, user, expected", [
    ({"cache": "off"}, {}, {}, False),
    ({"cache": "ttl"}, {}, {}, True),
    ({"cache": "ttl"}, {"cache": "off"}, {}, False),
    ({"cache": "off"}, {"cache": "ttl"}, {}, True),
    ({"cache": "off"}, {"cache": "ttl"}, {"cache": "off"}, False),
    ({"cache": "ttl"}, {}, {"cache": "off"}, False),
])
def test_who_is_served_from_the_cache(cached, options, line, user, expected):
    cache = cached(line=line, users={"app": user} if user else None, **{**TTL, **options})
    client = cache.wire()
    ask = lambda: value(client.query(READ))  # noqa: E731
    if expected:
        cache.warm(ask)
    else:
        cache.never_cached(ask)


@pytest.mark.parametrize("options, line, user", [
    ({"cache_ttl": 1}, {}, {}), ({}, {"cache_ttl": 1}, {}), ({}, {"cache_ttl": 60}, {"cache_ttl": 1})])
def test_how_long_an_answer_is_kept(cached, options, line, user):
    cache = cached(line=line, users={"app": user} if user else None, **{**TTL, **options})
    client = cache.wire()
    ask = lambda: value(client.query(READ))  # noqa: E731
    assert cache.warm(ask) == "item 1"
    cache.database.execute("UPDATE items SET v = 'changed behind its back' WHERE id = 1")
    began = time.monotonic()
    until("the answer is fetched anew", lambda: ask() == "changed behind its back")
    assert time.monotonic() - began < seconds(3)


def test_how_large_an_answer_may_be(cached):
    cache = cached("INSERT INTO items SELECT 100, repeat('x', 20000);", cache_max_result="8kB", **TTL)
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    cache.never_cached(lambda: value(client.query("SELECT v FROM items WHERE id = 100")))


def checks(cache):
    shown = {row["name"]: int(row["value"]) for row in cache.pooler.show("CACHE_STORE") if row["name"].startswith("checks_")}
    return {name[len("checks_"):]: count for name, count in shown.items()}


@pytest.mark.parametrize("one_in, at_least, at_most", [(0, 0, 0), (1, 100, 100), (10, 3, 50)])
def test_one_hit_in_so_many_is_checked(cached, one_in, at_least, at_most):
    """Asked of PostgreSQL: so says its own count of executions."""
    cache = cached(cache_check=0)
    client = cache.wire()
    ask = lambda: value(client.query(READ))  # noqa: E731
    cache.warm(ask)
    cache.pooler.reload({"cache_check": one_in})
    answers, executed = cache.executed(lambda: {ask() for _ in range(100)})
    assert answers == {"item 1"}
    assert at_least <= executed <= at_most
    assert checks(cache) == {"right": executed, "wrong": 0, "undecided": 0}


@pytest.mark.parametrize("sql, outcome", [
    (READ, "wrong"), ("SELECT v FROM items ORDER BY id", "wrong"), ("SELECT count(*) FROM items", "right"),
    ("SELECT v FROM items ORDER BY id LIMIT 1", "undecided")])
def test_a_write_around_a_promise_is_found_out(cached, sql, outcome):
    """cache_writes = through_weir was not true: the template is cached no more, and the log says which."""
    cache = cached(cache_check=0)
    client = cache.wire()
    ask = lambda: value(client.query(sql))  # noqa: E731
    cache.warm(ask)
    cache.database.execute("UPDATE items SET v = 'changed behind its back' WHERE id = 1")
    cache.pooler.reload({"cache_check": 1})
    true = cache.direct(sql)[0][0]
    assert ask() == true, "a hit that is checked is PostgreSQL's own answer"
    assert checks(cache) == {"right": 0, "wrong": 0, "undecided": 0, outcome: 1}
    if outcome != "wrong":
        return
    log = cache.pooler.says("an answer was wrong")
    assert sql in log and "around Weir" in log
    cache.pooler.reload({"cache_check": 0})
    cache.never_cached(ask)
    with cache.pooler.admin() as console:
        console.run("CACHE FLUSH")
    assert cache.warm(ask) == true


@pytest.mark.parametrize("limit", ["0.05", "1"])
def test_how_long_redis_may_take(cached, redis, limit):
    cache = cached(cache_redis=redis.url, cache_redis_timeout=limit, **TTL)
    client = cache.wire()
    ask = lambda: value(client.query(READ))  # noqa: E731
    cache.warm(ask)
    redis.send(signal.SIGSTOP)
    began = time.monotonic()
    assert value(client.query("SELECT v FROM items WHERE id = 2")) == "item 2"
    took = time.monotonic() - began
    assert took >= 0.9 if limit == "1" else took < seconds(0.6)


def test_another_user_for_what_weir_asks_itself(start, database):
    """The password of control_user is not in the list of users."""
    database.execute(ITEMS, user="app")
    pooler = start(database={"control_user": "scram", "control_password": "scram-secret"}, passwords={"scram": "wrong"}, **TTL)
    client = pooler.wire()
    until("it has looked at the catalog as that user", lambda: database.execute(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND usename = 'scram'"))
    assert value(client.query(READ)) == "item 1"
