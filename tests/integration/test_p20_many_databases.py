"""P20: ten thousand databases, and a thousand pools that rest, cost a query nothing; the console stays quick."""

import glob

import pytest

from harness.wait import seconds, until
from harness.wire import query

MANY = 10_000
QUERIES = 400


def cpu_ns(pid):
    """What all its threads have used; exact to the nanosecond, where /proc/PID/stat counts in hundredths."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path) as file:
            total += int(file.read().split()[0])
    return total


def costs(*poolers):
    """CPU nanoseconds for one query through each: the least of many short rounds in turn, since other work on the
    machine only adds."""
    clients = [pooler.wire() for pooler in poolers]
    least = [float("inf")] * len(poolers)
    for _ in range(12):
        for at, (pooler, client) in enumerate(zip(poolers, clients)):
            before = cpu_ns(pooler.pid)
            for _ in range(QUERIES):
                client.send(query("SELECT 1"))
                client.ready()
            least[at] = min(least[at], (cpu_ns(pooler.pid) - before) / QUERIES)
    return least


@pytest.fixture
def crowded(start, database):
    """A pooler with `count` databases, "test" among them, that all are the test's own."""

    def begin(count, **options):
        line = {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}
        return start(databases={"test": line, **{f"tenant{i}": dict(line) for i in range(count - 1)}}, **options)

    return begin


def test_p20_ten_thousand_databases_do_not_slow_a_query(crowded, sanitized):
    if sanitized:
        pytest.skip("machine: a sanitizer's own work is in the figures")
    few, many = costs(crowded(1), crowded(MANY))
    assert many < few * 1.25 + 1000, (few, many)


def test_p20_the_console_is_quick_with_ten_thousand_databases(crowded):
    pooler = crowded(MANY)
    client = pooler.wire()
    client.do("SELECT 1")
    with pooler.admin() as console:
        for what in ("DATABASES", "POOLS", "LISTS", "STATS", "USERS", "CONFIG"):
            began = cpu_ns(pooler.pid)
            rows = console.show(what)
            assert cpu_ns(pooler.pid) - began < seconds(0.5) * 1e9, what
            assert len(rows) == MANY + 1 or what != "DATABASES"
        assert {row["list"]: row["items"] for row in console.show("LISTS")}["databases"] == str(MANY + 1)
        began = cpu_ns(pooler.pid)
        console.run("RELOAD")
        assert cpu_ns(pooler.pid) - began < seconds(2) * 1e9
    assert client.value("SELECT 'served'") == "served"


def test_p20_resting_pools_do_not_slow_a_query(crowded, sanitized):
    if sanitized:
        pytest.skip("machine: a sanitizer's own work is in the figures")
    alone, pooler = crowded(1), crowded(1001, server_idle_timeout=1, max_client_conn=2000)
    for number in range(1000):
        with pooler.wire(f"tenant{number}") as other:
            other.do("SELECT 1")
    until("they rest", lambda: not pooler.show("SERVERS"), limit=20)
    assert len(pooler.show("POOLS")) == 1001
    few, many = costs(alone, pooler)
    assert many < few * 1.25 + 1000, (few, many)
