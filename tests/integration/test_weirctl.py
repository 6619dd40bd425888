"""weirctl: the console's commands for a shell."""

import json
import os
import subprocess

import pytest

from harness.caching import ITEMS, READ, value
from harness.capability import WEIR_BIN
from harness.postgres import Postgres
from harness.wait import until

pytestmark = pytest.mark.needs("cache")

WEIRCTL = WEIR_BIN.parent / "weirctl"
MISSING, USAGE, UNREACHABLE, REFUSED = 1, 2, 3, 4


def run(pooler, *arguments, user="admin", status=0):
    """What it printed: to stdout where all went well or something is missing, else to stderr."""
    made = subprocess.run([WEIRCTL, "-p", str(pooler.port), "-U", user, *arguments], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PGHOST": "127.0.0.1", "PGPASSWORD": pooler.passwords[user]})
    assert made.returncode == status, (made.returncode, made.stdout, made.stderr)
    return made.stdout if status <= MISSING else made.stderr


def test_show_as_a_table_and_as_json(start):
    pooler = start(default_pool_size=7)
    pooler.wire().do("SELECT 1")
    lines = run(pooler, "show", "pools").splitlines()
    assert lines[0].split()[:4] == ["database", "user", "cl_active", "cl_waiting"]
    assert any(line.split()[:3] == ["test", "app", "1"] or line.split()[:3] == ["test", "app", "0"] for line in lines)
    assert all(line == line.rstrip() for line in lines)
    rows = json.loads(run(pooler, "show", "pools", "--json"))
    row = next(row for row in rows if row["database"] == "test")
    assert row["user"] == "app" and row["sv_active"] == 0 and row["load_balance_hosts"] is not row["user"]
    assert json.loads(run(pooler, "-j", "show", "peers")) == []
    assert json.loads(run(pooler, "show", "default_pool_size", "-j")) == [{"default_pool_size": "7"}]
    assert "CACHE FLUSH [db [schema.relation]]" in run(pooler, "show", "help")


def test_explain_says_all_that_is_known(cached):
    cache = cached('CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS \'SELECT $1\';', cache_ttl=60)
    client = cache.wire()
    ask = lambda: value(client.query(READ))  # noqa: E731
    before = json.loads(run(cache.pooler, "explain", READ, "--json"))
    assert (before["cacheable"], before["stored"], before["hits"]) == ("yes", "no", 0)
    cache.warm(ask)
    for _ in range(5):
        ask()
    after = json.loads(run(cache.pooler, "explain", "-d", "test", "-u", "app", READ, "--json"))
    assert (after["database"], after["user"], after["cacheable"], after["relations"]) == ("test", "app", "yes", "public.items")
    assert (after["stored"], after["ttl_us"]) == ("memory", 60_000_000)
    assert after["hits"] >= 5 and after["misses"] >= 1 and after["calls"] == after["hits"] + after["misses"] and after["saved_us"] > 0
    client.do("UPDATE items SET v = v WHERE id = 1")
    written = json.loads(run(cache.pooler, "explain", READ, "--json"))
    assert written["stored"] == "no" and written["generations"] != after["generations"]
    assert written["generations"].startswith("epoch ") and ", public.items " in written["generations"]

    lines = dict(line.split(":", 1) for line in run(cache.pooler, "explain", "SELECT f(id) FROM items").splitlines())
    assert lines["cacheable"].strip() == "no" and lines["reason"].strip().endswith("built in: function f")
    assert "it is not one plain SELECT" in run(cache.pooler, "explain", "UPDATE items SET v = 'it''s' WHERE id = 1")
    long = "SELECT v FROM items WHERE id IN (" + ", ".join(map(str, range(1000))) + ")"
    assert json.loads(run(cache.pooler, "explain", long, "--json"))["cacheable"] == "yes"


def test_cache_flush_disable_and_enable(cached):
    cache = cached('CREATE SCHEMA "Odd one"; CREATE TABLE "Odd one"."Things" (id int);')
    client = cache.wire()
    ask = lambda: value(client.query(READ))  # noqa: E731
    for arguments in (["flush"], ["flush", "test"], ["flush", "test", "items"], ["flush", "test", "public.items"]):
        cache.warm(ask)
        assert run(cache.pooler, "cache", *arguments) == ""
        assert cache.executed(ask) == ("item 1", 1), arguments
    cache.warm(ask)
    run(cache.pooler, "cache", "flush", "test", '"Odd one"."Things"')
    assert cache.hit(ask) == "item 1"
    run(cache.pooler, "cache", "disable", "test")
    cache.never_cached(ask, times=2)
    run(cache.pooler, "cache", "enable")
    assert cache.hit(ask) == "item 1"
    assert "there is no relation nothing" in run(cache.pooler, "cache", "flush", "test", "nothing", status=REFUSED)
    assert "no such database: x; SHUTDOWN" in run(cache.pooler, "cache", "flush", "x; SHUTDOWN", status=REFUSED)
    assert "takes one relation" in run(cache.pooler, "cache", "flush", "test", "items; SHUTDOWN", status=REFUSED)


def test_feed_check_says_what_to_run(new_pooler):
    """What it prints is SQL: run as it stands, with a restart of PostgreSQL, it leaves nothing missing."""
    server = Postgres(wal_level="replica").start().make_roles()
    try:
        database = server.make_database()
        database.execute('ALTER ROLE app NOREPLICATION')
        database.execute(ITEMS, user="app")
        line = {"host": "127.0.0.1", "port": server.port, "dbname": database.name, "control_user": "app", "cache": "ttl"}
        pooler = new_pooler({"test": line, "plain": {**line, "cache": "off"}}, {}).start()
        until("it has looked", lambda: "wal_level" in run(pooler, "show", "feed_check"))
        said = run(pooler, "feed", "check", status=MISSING)
        assert "-- test: wal_level: MISSING: wal_level is replica: ALTER SYSTEM SET wal_level = logical, and restart PostgreSQL\n" in said
        statements = [line for line in said.splitlines() if not line.startswith("--")]
        assert statements == ["ALTER SYSTEM SET wal_level = logical;", 'ALTER ROLE "app" REPLICATION;']
        rows = json.loads(run(pooler, "feed", "check", "test", "--json", status=MISSING))
        assert {row["what"]: row["state"] for row in rows}["wal_level"] == "missing"
        assert "no database plain has a cache" in run(pooler, "feed", "check", "plain", status=REFUSED)
        subprocess.run([server.program("psql"), "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "-v",
                        "ON_ERROR_STOP=1", database.name], input=said, text=True, check=True, capture_output=True)
        server.stop("fast")
        server.start()
        until("it has been looked at again", lambda: "is logical" in run(pooler, "show", "feed_check"), 20)
        assert "MISSING" not in run(pooler, "feed", "check", "test")
        pooler.stop()
    finally:
        server.remove()


@pytest.mark.parametrize("arguments, phrase", [
    ([], "say what to do"), (["nonsense"], "there is no command nonsense"), (["show"], "show takes one name"),
    (["show", "pools; SHUTDOWN"], "show takes one name"), (["show", "pools", "more"], "show takes one name"),
    (["feed"], "feed takes check"), (["feed", "check", "a", "b"], "at most a database"), (["cache"], "flush, disable or enable"),
    (["cache", "disable", "a", "b"], "cache disable takes at most a database\n"),
    (["cache", "flush", "a", "b", "c"], "at most a database and a relation"), (["explain"], "one statement, in quotes"),
    (["explain", "SELECT", "1"], "one statement, in quotes"), (["explain", "-u", "app", "SELECT 1"], "which -d names"),
    (["-d", "test", "show", "pools"], "-d and -u are of explain"), (["-p", "70000", "show", "pools"], "a port is a number"),
    (["--nonsense"], "--nonsense")])
def test_wrong_usage_is_told(arguments, phrase):
    made = subprocess.run([WEIRCTL, *arguments], capture_output=True, text=True, timeout=20)
    assert made.returncode == USAGE and phrase in made.stderr and made.stdout == "", made
    assert "weirctl --help says how it is used" in made.stderr


def test_what_goes_wrong_on_the_way_is_told(start):
    pooler = start()
    assert "admin access needed" in run(pooler, "cache", "flush", user="stats", status=REFUSED)
    assert "unsupported SHOW command" in run(pooler, "show", "nonsense", status=REFUSED)
    assert "SHOW HELP lists" in run(pooler, "show", "nonsense", status=REFUSED)
    port = pooler.port
    pooler.stop()
    made = subprocess.run([WEIRCTL, "-h", "127.0.0.1", "-p", str(port), "show", "pools"], capture_output=True, text=True, timeout=20)
    assert made.returncode == UNREACHABLE and "the console of Weir cannot be reached" in made.stderr


def test_help_and_version():
    told = subprocess.run([WEIRCTL, "--help"], capture_output=True, text=True, check=True, timeout=20).stdout
    assert "usage: weirctl" in told and "Exit status" in told
    assert subprocess.run([WEIRCTL, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout.startswith("weirctl ")
