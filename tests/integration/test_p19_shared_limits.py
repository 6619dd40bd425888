"""P19: pools that share max_db_connections or max_user_connections: whoever waits gets room from those that rest, on
whichever worker they do, and nobody else's server is closed."""

import time

import pytest

from harness.crowd import crowd
from harness.wait import seconds, until
from harness.wire import query

WORKERS = [1, pytest.param(2, marks=pytest.mark.needs("workers"))]
LIMITS = ["max_db_connections", "max_user_connections"]


@pytest.fixture
def two_pools(start, database):
    """A pooler with two pools that share a limit, and a function that logs in to the one or the other."""

    def begin(shared, limit, **options):
        target = {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}
        pooler = start(databases={"test": target, "alias": target}, **{shared: limit, **options})
        names = [("test", "app"), ("test", "other")] if shared == "max_db_connections" else [("test", "app"), ("alias", "app")]
        return pooler, lambda pool: pooler.wire(*names[pool])

    return begin


def logins(pooler):
    return pooler.metric("weir_server_logins_total")


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("shared", LIMITS)
def test_p19_a_resting_server_makes_room_for_who_waits(two_pools, database, shared, workers):
    """Clients of both pools on every worker, by turns: each needs the one connection that the other pool has."""
    pooler, log_in = two_pools(shared, 1, workers=workers, query_wait_timeout=10)
    clients = [log_in(turn % 4 // 2) for turn in range(8)]
    for _ in range(4):
        for turn, client in enumerate(clients):
            assert client.value(f"SELECT {turn}") == str(turn)
        until("who was closed has gone", lambda: database.connections() <= 1)


@pytest.mark.needs("workers")
@pytest.mark.parametrize("shared", LIMITS)
def test_p19_a_login_finds_room_on_another_worker(two_pools, shared):
    """The first client of a pool, alone on its worker, where nothing rests that could be closed."""
    pooler, log_in = two_pools(shared, 1, workers=2)
    for _ in range(5):
        first = log_in(0)
        assert first.value("SELECT 'first'") == "first"
        began = time.monotonic()
        second = log_in(1)
        assert second.value("SELECT 'second'") == "second"
        assert time.monotonic() - began < seconds(2)
        first.close()
        second.close()


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("shared", LIMITS)
def test_p19_a_minimum_takes_nothing_from_another_pool(two_pools, shared, workers):
    """Two pools that would like to keep two servers each, where only two are allowed: by turns they must come to rest
    with one each, rather than build up their minimum at each other's cost for ever."""
    pooler, log_in = two_pools(shared, 2, workers=workers, min_pool_size=2, default_pool_size=2)
    clients = [log_in(turn // 2) for turn in range(4)]
    for turn, client in enumerate(clients):
        assert client.value(f"SELECT {turn}") == str(turn)
    settled = logins(pooler)
    for _ in range(20):
        for turn, client in enumerate(clients):
            assert client.value(f"SELECT {turn}") == str(turn)
    # 80 queries. On a machine that stands still for a moment a waiter may lose patience with its own pool.
    assert logins(pooler) - settled <= 8, logins(pooler) - settled


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("shared", LIMITS)
def test_p19_more_clients_than_both_pools_may_have_servers(two_pools, database, shared, workers):
    pooler, log_in = two_pools(shared, 2, workers=workers, min_pool_size=1, query_wait_timeout=30)

    def work(number):
        with log_in(number % 2) as client:
            for turn in range(40):
                assert client.value(f"SELECT '{number}.{turn}'") == f"{number}.{turn}"
        return number

    assert sorted(crowd(8, work)) == list(range(8))
    until("who was closed has gone", lambda: database.connections() <= 2)


@pytest.mark.parametrize("workers", WORKERS)
def test_p19_what_is_in_use_is_left_alone(two_pools, workers):
    pooler, log_in = two_pools("max_db_connections", 1, workers=workers, query_wait_timeout=20)
    busy, resting = log_in(0), log_in(0)
    resting.do("SELECT 1")
    waiting = log_in(1)
    busy.do("BEGIN")
    backend = busy.value("SELECT pg_backend_pid()")
    waiting.send(query("SELECT 'waited'"))
    assert waiting.is_quiet(0.3)
    assert busy.value("SELECT pg_backend_pid()") == backend
    busy.do("COMMIT")
    assert waiting.ready().texts == [("waited",)]
