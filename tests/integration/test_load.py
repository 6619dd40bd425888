"""Load that real programs make: pgbench in every mode, thousands of idle clients, fairness, two workers."""

import os
import re
import subprocess
import time

import pytest

from harness import system
from harness.crowd import Crowd
from harness.postgres import program
from harness.system import cpu_seconds, resident_bytes
from harness.wait import SLOW, until
from harness.wire import query


def pgbench(pooler, *arguments, limit=80):
    run = subprocess.run([program("pgbench"), "-n", "-h", "127.0.0.1", "-p", str(pooler.port), "-U", "app", *arguments, "test"],
                         capture_output=True, text=True, timeout=limit * SLOW)
    shown = run.stdout + run.stderr
    assert run.returncode == 0 and not re.search(r"error|aborted|failed transactions: [1-9]", shown), shown[-3000:]
    return int(re.search(r"actually processed: (\d+)", shown).group(1))


@pytest.fixture
def bench(database):
    subprocess.run([program("pgbench"), "-i", "-q", "-s", "2", "-h", str(database.postgres.directory), "-p",
                    str(database.postgres.port), "-U", "app", database.name], check=True, capture_output=True)
    return database


def balances_add_up(bench):
    sums = [bench.value(f"SELECT coalesce(sum({column}), 0) FROM {table}") for column, table in (
        ("abalance", "pgbench_accounts"), ("bbalance", "pgbench_branches"), ("tbalance", "pgbench_tellers"),
        ("delta", "pgbench_history"))]
    assert len(set(sums)) == 1, sums


MATRIX = [(mode, protocol, clients, reconnects)
          for mode in ("session", "transaction")
          for protocol in ("simple", "extended", "prepared")
          for clients, reconnects in ((1, False), (40, False), (8, True))]


@pytest.mark.parametrize("mode, protocol, clients, reconnects", MATRIX)
def test_pgbench_balances_add_up(start, bench, mode, protocol, clients, reconnects, request):
    if protocol == "prepared" and mode == "transaction" and "pgbouncer" in os.environ.get("WEIR_BIN", ""):
        pytest.skip("machine: Debian's pgbouncer has no prepared statements")
    size = 10 if mode == "transaction" else max(10, clients)
    pooler = start(pool_mode=mode, default_pool_size=size, max_client_conn=1000)
    each = 2000 // clients if request.config.getoption("--full") else max(5, 200 // clients)
    options = ["-M", protocol, "-c", str(clients), "-t", str(each)] + (["-C"] if reconnects else [])
    assert pgbench(pooler, *options) == clients * each
    assert pgbench(pooler, "-S", *options) == clients * each
    balances_add_up(bench)
    assert bench.value("SELECT count(*) FROM pgbench_history") == clients * each
    assert bench.connections() <= size


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_pgbench_in_statement_mode(start, bench, protocol):
    pooler = start(pool_mode="statement", default_pool_size=5)
    assert pgbench(pooler, "-S", "-M", protocol, "-c", "20", "-t", "50") == 1000


@pytest.mark.needs("cache")
@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench_with_the_cache_on(start, bench, protocol):
    pooler = start(default_pool_size=10, cache="exact", cache_writes="through_weir", database={"control_user": "control"})
    everyone = Crowd()
    everyone.add(lambda: pgbench(pooler, "-M", protocol, "-c", "8", "-t", "50"))
    everyone.add(lambda: pgbench(pooler, "-S", "-M", protocol, "-c", "8", "-t", "300"))
    everyone.join(90)
    balances_add_up(bench)


def test_five_hundred_clients_on_ten_servers(start, bench):
    pooler = start(default_pool_size=10, max_client_conn=1000)
    assert pgbench(pooler, "-S", "-c", "500", "-j", "2", "-t", "10") == 5000
    assert bench.connections() <= 10


@pytest.mark.full
@pytest.mark.timeout(400)
@pytest.mark.parametrize("protocol", ["simple", "extended", pytest.param("prepared", marks=pytest.mark.needs("prepared"))])
@pytest.mark.parametrize("kind, reconnects", [("-S", False), ("tpc-b", False), ("-S", True), ("tpc-b", True)])
def test_five_hundred_clients_in_every_protocol(start, bench, kind, reconnects, protocol):
    pooler = start(default_pool_size=10, max_client_conn=1000)
    each = 4 if reconnects else 20 if kind == "tpc-b" else 100
    options = ["-M", protocol, "-c", "500", "-j", "2", "-t", str(each)] + (["-C"] if reconnects else [])
    assert pgbench(pooler, *(["-S"] if kind == "-S" else []), *options, limit=300) == 500 * each
    assert bench.value("SELECT count(*) FROM pgbench_history") == (0 if kind == "-S" else 500 * each)
    assert bench.connections() <= 10
    balances_add_up(bench)
    assert pgbench(pooler, "-S", "-c", "1", "-t", "1") == 1, "nobody is left waiting"
    with pooler.admin() as console:
        row = until("all have left", lambda: (r := console.pool("test", "app"))["cl_active"] == "0" and r)
        assert row["cl_waiting"] == "0" and int(row["sv_active"]) == 0


def fairness(pooler, clients, span):
    counts, ends = [0] * clients, time.monotonic() + span
    everyone = Crowd()

    def work(number):
        with pooler.wire() as client:
            while time.monotonic() < ends:
                client.do("SELECT pg_sleep(0.002)")
                counts[number] += 1

    for number in range(clients):
        everyone.add(work, number)
    everyone.join(span + 30)
    return counts


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.needs("workers"))])
def test_the_queue_is_fair(start, database, workers):
    pooler = start(default_pool_size=4, **({"workers": workers} if workers > 1 else {}))
    counts = fairness(pooler, 64, 4)
    assert min(counts) * 2 >= max(counts), sorted(counts)
    assert database.connections() <= 4


@pytest.mark.needs("workers")
def test_two_workers_have_one_pool(start, database):
    pooler = start(default_pool_size=1, workers=2)
    clients = [pooler.wire() for _ in range(8)]
    for _ in range(20):
        for client in clients:
            client.send(query("SELECT pg_backend_pid()"))
        assert len({c.ready().texts[0][0] for c in clients}) == 1
    for client in clients:
        client.do("BEGIN")
        client.do("SELECT 1")
        client.do("COMMIT")
    assert database.connections() == 1


@pytest.mark.full
@pytest.mark.needs("hardened")
def test_ten_thousand_idle_clients(start, bench, sanitized):
    hard = system.raise_file_limit()
    count = min(10_000, hard - 600)
    if count < 10_000:
        pytest.skip("machine: fewer than 10,600 descriptors")
    pooler = start(default_pool_size=20, max_client_conn=12_000, log_connections=0, log_disconnections=0)
    for _ in range(3):
        pgbench(pooler, "-S", "-c", "64", "-t", "100")
    before = resident_bytes(pooler.pid)
    idle = [pooler.wire() for _ in range(count)]
    each = (resident_bytes(pooler.pid) - before) / count
    began = cpu_seconds(pooler.pid)
    time.sleep(20)
    share = (cpu_seconds(pooler.pid) - began) / 20
    pgbench(pooler, "-S", "-c", "64", "-j", "2", "-T", "60", limit=120)
    assert all(client.value("SELECT 1") == "1" for client in idle[::500])
    print(f"{each:.0f} bytes for each idle client, {share:.2%} of a core with all idle")
    assert sanitized or (each < 1024 and share < 0.005)
