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
