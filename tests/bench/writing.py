"""What a cache costs those who write, and what it is worth where some write and most read.

Each run has a Weir of its own, since PostgreSQL gives the right to an exact cache to one process alone."""

import re
import statistics
import subprocess
import sys
from contextlib import contextmanager

from contenders import Direct, Pooled
from harness.postgres import Postgres, name_standbys
from harness.redis import Redis
from harness.system import family_cpu_seconds
from harness.wait import until
from load import ASK, BAR, failure_free
from tables import curve, middle, spread, table

EXACT = {"cache": "exact", "cache_writes": "through_weir", "cache_ttl": 3600, "cache_memory": "256MB"}
FED = {**EXACT, "cache_writes": "anywhere"}
SLOT = "weir_bench"
KEYS, THETA, ASKERS = 100_000, 0.99, 64
HEAVY_MS = 5
SHARES = (0, 0.01, 0.05, 0.1, 0.2, 0.5)


def is_ready(pooler):
    return all(row["state"] == "" for row in pooler.show("CACHE"))


def has_slot(postgres):
    with postgres.connect() as admin:
        return admin.execute("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s AND active", (SLOT,)).fetchone()[0]


def drop_slot(postgres):
    with postgres.connect() as admin:
        admin.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s AND NOT active", (SLOT,))


@contextmanager
def running(postgres, name, options):
    """A Weir whose cache is ready, if it has one."""
    is_waited_for = options.get("cache_feed") == "synchronous"
    contender = Pooled.weir(postgres, name, **options)
    try:
        if is_waited_for:
            until("the slot is in use", lambda: has_slot(postgres), 30)
            name_standbys(postgres, f"FIRST 1 ({SLOT})")
        # A pool, and its row in SHOW CACHE, comes to be with its first client.
        failure_free(contender.port, ["-n", "-S", "-c", "1", "-t", "1"])
        until("the cache is ready", lambda: is_ready(contender.pooler), 60)
        yield contender
    finally:
        if is_waited_for:
            name_standbys(postgres, "")
        contender.stop()
        if is_waited_for:
            until("the slot is free", lambda: not has_slot(postgres), 30)
            drop_slot(postgres)


# --- writers

class WriteRun:
    """One run of pgbench's TPC-B-like transactions: how many in a second, and Weir's CPU time for each."""

    def __init__(self, postgres, name, options, seconds):
        with running(postgres, name, options) as contender:
            before = family_cpu_seconds(contender.family)
            shown = failure_free(contender.port, ["-n", "-M", "prepared", "-c", "8", "-j", "1", "-T", str(seconds)])
            cpu = family_cpu_seconds(contender.family) - before
        self.transactions = int(re.search(r"actually processed: (\d+)", shown).group(1))
        self.per_second = float(re.search(r"tps = ([\d.]+)", shown).group(1))
        self.cpu_us = cpu / self.transactions * 1e6

    def __str__(self):
        return f"{self.per_second:.0f} tps, {self.cpu_us:.1f} µs of Weir's CPU"


def writer_costs(options):
    """TPC-B-like transactions through a Weir with a cache, against one without."""
    print(f"### Writers: pgbench's TPC-B-like transactions, 8 clients, scale 10, {options.pairs} rounds of {options.seconds} s\n")
    postgres = Postgres(wal_level="logical", shared_preload_libraries="''", compute_query_id="off").start().make_roles()
    redis = Redis().start()
    ways = {
        "off": {}, "exact": EXACT, "exact, Redis": {**EXACT, "cache_redis": redis.url, "cache_redis_timeout": 0.1},
        "exact, shared by Redis": {**EXACT, "cache_redis": redis.url, "cache_redis_timeout": 0.1, "cache_share": 1},
        "exact, feed on": {**FED, "cache_feed": "on", "line": {"cache_feed_slot": SLOT}},
        "exact, feed synchronous": {**FED, "cache_feed": "synchronous", "line": {"cache_feed_slot": SLOT}},
    }
    runs = {name: [] for name in ways}
    try:
        failure_free(postgres, ["-i", "-q", "-s", "10"])
        for turn in range(options.pairs):
            for name in list(ways) if turn % 2 == 0 else list(ways)[::-1]:
                run = WriteRun(postgres, name, ways[name], options.seconds)
                runs[name].append(run)
                print(BAR, name, run, file=sys.stderr)
    finally:
        redis.remove()
        postgres.remove()
    table(["cache", "tps", "tps ÷ off", "Weir's CPU for each, µs"],
          [[name, middle([r.per_second for r in found], 0),
            spread([a.per_second / b.per_second for a, b in zip(found, runs["off"])]), middle([r.cpu_us for r in found], 1)]
           for name, found in runs.items()])


# --- a mix of readers and writers

TABLES = """
CREATE TABLE rows (id int PRIMARY KEY, n bigint NOT NULL, pad text);
CREATE TABLE others (id int PRIMARY KEY, n bigint NOT NULL, pad text);
INSERT INTO rows SELECT i, 1, repeat('x', 80) FROM generate_series(1, {keys}) i;
INSERT INTO others SELECT * FROM rows;
CREATE TABLE filler AS SELECT i AS f FROM generate_series(1, 200000) i;
VACUUM ANALYZE rows; VACUUM ANALYZE others; VACUUM ANALYZE filler;
"""
POINT = "SELECT id, n FROM rows WHERE id = $1"
WRITES = {"together": "UPDATE rows SET n = n + 1 WHERE id = $1 RETURNING id, n",
          "apart": "UPDATE others SET n = n + 1 WHERE id = $1 RETURNING id, n"}
PLACE = {"together": "the same table", "apart": "another table"}


def heavy_read(postgres):
    """A look-up that costs PostgreSQL some five milliseconds."""
    with postgres.connect() as link:
        link.execute("SET max_parallel_workers_per_gather = 0")
        rows = 10_000
        for _ in range(6):
            text = f"SELECT id, n FROM rows WHERE id = $1 AND (SELECT count(*) FROM (SELECT f FROM filler LIMIT {rows}) t WHERE f % 7 = 1) > 0"
            link.execute(f"PREPARE heavy(int) AS {text}")
            took = [link.execute("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE heavy(5)").fetchone()[0][0]["Execution Time"]
                    for _ in range(9)]
            link.execute("DEALLOCATE heavy")
            rows = max(1000, min(200_000, int(rows * HEAVY_MS / statistics.median(took))))
    return text


class MixRun:
    """One run of tests/bench/mix.c. Its own check of versions makes a stale read end the bench."""

    def __init__(self, contender, postgres, read, way, share, seconds, seed=1):
        hits, cpu = contender.hits(), family_cpu_seconds(contender.family)
        run = subprocess.run([ASK.with_name("mix"), str(contender.port), str(ASKERS), str(KEYS), str(THETA), str(share), str(seconds), read,
                              WRITES[way], way, str(seed)], capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"the mixed load on {contender.name} failed: {run.stderr[-500:]}")
        found = re.match(r"(\d+) reads, (\d+) writes in ([\d.]+) s; read mean ([\d.]+), median ([\d.]+), p99 ([\d.]+) us", run.stdout)
        reads, writes, span, self.mean_us, self.median_us, self.p99_us = (float(n) for n in found.groups())
        self.per_second = (reads + writes) / span
        self.hits = (contender.hits() - hits) / max(1, reads)
        self.cpu_us = (family_cpu_seconds(contender.family) - cpu) / (reads + writes) * 1e6

    def __str__(self):
        return f"{self.per_second:.0f}/s, {self.hits:.1%} hits, read median {self.median_us:.0f} µs, p99 {self.p99_us:.0f} µs, CPU {self.cpu_us:.1f} µs"


def mix_gains(options):
    """Reads by Zipf's law and some writes, through an exact cache and straight to PostgreSQL."""
    postgres = Postgres(shared_preload_libraries="''", compute_query_id="off", max_connections=200).start().make_roles()
    try:
        failure_free(postgres, ["-i", "-q", "-s", "1"])
        with postgres.connect() as link:
            for statement in TABLES.format(keys=KEYS).split(";"):
                if statement.strip():
                    link.execute(statement)
        reads = {}
        if options.reads != "dear":
            reads["look-up"] = (POINT, 10)
        if options.reads != "look-up":
            reads[f"{HEAVY_MS} ms"] = (heavy_read(postgres), options.warm)
        for label, (read, warm) in reads.items():
            print(f"### A mix of reads and writes: {label}, {KEYS} rows by Zipf {THETA}, {ASKERS} clients, {options.pairs} rounds of"
                  f" {options.seconds} s after {warm} s\n")
            mixes = {way: [Mix(postgres, read, way, share, warm, options) for share in options.shares] for way in WRITES}
            table(["writes to", "share", "hits", "a second", "PostgreSQL alone", "÷", "read median, µs", "alone", "read p99, µs", "alone",
                   "Weir's CPU for each, µs"], [mix.row() for found in mixes.values() for mix in found])
            places = [f"{share:.0%}" for share in options.shares]
            curve(f"{label}: gain over PostgreSQL alone", "share of writes", "times", places,
                  {PLACE[way]: [mix.gain for mix in found] for way, found in mixes.items()})
            curve(f"{label}: reads answered from the cache", "share of writes", "per cent", places,
                  {PLACE[way]: [mix.hits * 100 for mix in found] for way, found in mixes.items()})
    finally:
        postgres.remove()


class Mix:
    """Rounds through Weir and straight to PostgreSQL in turn, at one share of writes."""

    def __init__(self, postgres, read, way, share, warm, options):
        self.way, self.share, self.cached, self.alone = way, share, [], []
        direct = Direct(postgres)
        with running(postgres, "weir", EXACT) as weir:
            MixRun(weir, postgres, read, way, share, warm)
            for turn in range(options.pairs):
                self.alone.append(MixRun(direct, postgres, read, way, share, options.seconds, seed=2 + turn))
                self.cached.append(MixRun(weir, postgres, read, way, share, options.seconds, seed=2 + turn))
                print(BAR, way, share, self.cached[-1], "alone", self.alone[-1], file=sys.stderr)
        self.gains = [a.per_second / b.per_second for a, b in zip(self.cached, self.alone)]
        self.gain = statistics.median(self.gains)
        self.hits = statistics.median(r.hits for r in self.cached)

    def row(self):
        def both(figure):
            return [middle([figure(r) for r in runs], 0) for runs in (self.cached, self.alone)]

        return [PLACE[self.way], f"{self.share:.0%}", f"{self.hits:.1%}", *both(lambda r: r.per_second), spread(self.gains),
                *both(lambda r: r.median_us), *both(lambda r: r.p99_us), middle([r.cpu_us for r in self.cached], 1)]
