"""What an exporter for Prometheus reads on the console, with its driver (tests/drivers/go/scrape), and that Weir's own
/metrics say the same of the same moment."""

import json
import re
import subprocess

import pytest

from harness.wait import seconds, until
from harness.wire import query
from test_compiled_drivers import built
from test_console_columns import COLUMNS

pytestmark = [pytest.mark.needs("http", "exact_errors"), pytest.mark.timeout(600)]

SHOWS = ["LISTS", "CONFIG", "DATABASES", "POOLS", "STATS", "STATS_TOTALS", "VERSION"]
# database/sql's types of what the columns are on the wire
ARRIVES = {"s": {"text"}, "i": {"int", "null"}, "n": {"bytes"}, "8": {"int"}}
# column of SHOW STATS_TOTALS -> metric
TOTALS = {
    "server_assignment_count": "weir_server_assignments_total", "xact_count": "weir_transactions_total",
    "query_count": "weir_queries_total", "bytes_received": "weir_client_received_bytes_total",
    "bytes_sent": "weir_client_sent_bytes_total", "xact_time": "weir_transaction_seconds_total",
    "query_time": "weir_query_seconds_total", "wait_time": "weir_wait_seconds_total",
    "client_parse_count": "weir_client_parses_total", "server_parse_count": "weir_server_parses_total",
    "bind_count": "weir_binds_total", "client_login_count": "weir_client_logins_total",
}
# column of SHOW POOLS -> metric and state
POOLS = {
    "cl_active": ("weir_pool_clients", "active"), "cl_waiting": ("weir_pool_clients", "waiting"),
    "sv_active": ("weir_pool_servers", "active"), "sv_idle": ("weir_pool_servers", "idle"),
    "sv_used": ("weir_pool_servers", "used"), "sv_tested": ("weir_pool_servers", "tested"),
    "sv_login": ("weir_pool_servers", "login"),
}
SAMPLE = re.compile(r'^(\w+)(?:\{(.*)\})? (\S+)$', re.M)


def scrape(pooler, user):
    folder = built("go", "go", ["go", "build", "-o", "scraper", "./scrape"])
    url = f"postgresql://{user}:{pooler.passwords[user]}@127.0.0.1:{pooler.port}/pgbouncer?sslmode=disable"
    run = subprocess.run([folder / "scraper", *SHOWS], capture_output=True, text=True, timeout=seconds(30), env={"WEIR_URL": url})
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def metrics(pooler):
    """(name, sorted labels) -> value."""
    return {(name, tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels)))): float(shown)
            for name, labels, shown in SAMPLE.findall(pooler.http("/metrics")[1])}


def labelled(found, metric, **labels):
    """The sum over all samples that have these labels."""
    return sum(shown for (name, pairs), shown in found.items() if name == metric and set(labels.items()) <= set(pairs))


@pytest.fixture
def busy(start, database):
    """Two users' pools: one with a client in a transaction and one that waits, one that rests."""
    pooler = start(default_pool_size=1)
    app, waiting, other = pooler.wire(), pooler.wire(), pooler.wire(user="other")
    for client in (app, other):
        for _ in range(3):
            client.do("SELECT repeat('x', 1000)")
            client.extended("SELECT $1::int", [1])
    with pooler.connect() as driver:
        for _ in range(4):
            driver.execute("SELECT 1", prepare=True)
    for is_over in (True, False):
        app.do("BEGIN; SELECT 1")
        waiting.send(query("SELECT 1"))
        until("it waits", lambda: any(row["cl_waiting"] == "1" for row in pooler.show("POOLS")))
        if is_over:
            app.do("COMMIT")
            waiting.ready()
    return pooler


@pytest.mark.parametrize("user", ["admin", "stats"])
def test_an_exporter_reads_everything(busy, user):
    for what, rows in scrape(busy, user).items():
        assert rows, what
        expected = dict(column.rsplit(":", 1) for column in COLUMNS[what].split())
        for row in rows:
            assert list(sorted(row)) == sorted(expected), what
            wrong = {name: cell for name, cell in row.items() if cell["type"] not in ARRIVES[expected[name]] | {"null"}}
            assert not wrong, (what, wrong)
            numbers = [cell["value"] for name, cell in row.items() if expected[name] in "in8" and cell["value"] is not None]
            assert all(float(number) >= 0 for number in numbers), (what, row)


def test_what_it_reads_is_what_metrics_say(busy):
    shown, found = scrape(busy, "stats"), metrics(busy)
    row = next(row for row in shown["STATS_TOTALS"] if row["database"]["value"] == "test")
    for column, metric in TOTALS.items():
        unit = 1e-6 if column.endswith("_time") else 1
        assert float(row[column]["value"]) * unit == pytest.approx(labelled(found, metric, database="test"), abs=1e-6), column
    assert all(float(row[column]["value"]) > 0 for column in TOTALS), row
    pools = [row for row in shown["POOLS"] if row["database"]["value"] == "test"]
    assert {row["user"]["value"] for row in pools} == {"app", "other"}
    for row in pools:
        for column, (metric, state) in POOLS.items():
            there = labelled(found, metric, database="test", user=row["user"]["value"], state=state)
            assert row[column]["value"] == there, (row["user"], column)
    lists = {row["list"]["value"]: row["items"]["value"] for row in shown["LISTS"]}
    assert lists["used_clients"] - 1 == labelled(found, "weir_clients") == 3, "and the exporter itself"
    config = {row["key"]["value"]: row["value"]["value"] for row in shown["CONFIG"]}
    assert float(config["max_client_conn"]) == labelled(found, "weir_clients_limit")
    line = next(row for row in shown["DATABASES"] if row["name"]["value"] == "test")
    assert line["current_connections"]["value"] == labelled(found, "weir_pool_servers", database="test")
