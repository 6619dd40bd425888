"""Paired measurements of what a pooler costs: CPU time of its process for each transaction of `pgbench -S`, system
calls for each query, and the cost of a cache hit. Ratios of a pair are of runs that followed each other, since
machines drift; what is printed are medians."""

import argparse
import shutil
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from contenders import ALL_MODES, Direct, Pgpool, Pooled, Relay  # noqa: E402
from harness.certificates import Certificates  # noqa: E402
from harness.postgres import ROLES, Postgres  # noqa: E402
from harness.redis import Redis  # noqa: E402
from harness.system import raise_file_limit  # noqa: E402
from load import BAR, AskRun, CpuRun, LoginRun, failure_free, syscalls_per_query  # noqa: E402
from misses import instruction_counts, miss_costs  # noqa: E402
from tables import middle, spread, table  # noqa: E402
from writing import SHARES, mix_gains, writer_costs  # noqa: E402

FEW, MANY = 1000, 20000  # keys that are looked up
LOAD_CLIENTS = 64
CACHED = {"cache": "exact", "cache_writes": "through_weir", "cache_ttl": 3600}


def relay_costs(contenders, options):
    """CPU of the process for each transaction, in pairs."""
    print(f"### CPU of the pooler for each transaction, µs (pgbench -S, pool 20, {options.pairs} pairs of"
          f" {options.seconds} s)\n")
    rows = []
    for mode in ("simple", "extended", "prepared"):
        for clients in options.clients:
            runs = {c.name: [] for c in contenders}
            for pair in range(options.pairs):
                order = contenders if pair % 2 == 0 else contenders[::-1]
                for contender in order:
                    if mode not in contender.modes:
                        continue
                    run = CpuRun(contender, mode, clients, options.seconds)
                    runs[contender.name].append(run)
                    print(BAR, mode, clients, contender.name, run, file=sys.stderr)
            cost = {name: [r.cpu_us for r in found] for name, found in runs.items()}
            speed = {name: [r.per_second for r in found] for name, found in runs.items()}
            against = [a / b for a, b in zip(cost["weir"], cost["pgbouncer"])]
            bare = [a / b for a, b in zip(cost["weir"], cost["relay"])]
            rows.append([mode, clients, middle(cost["weir"]), middle(cost["pgbouncer"]), middle(cost["relay"]),
                         spread(against), spread(bare), middle(speed["weir"], 0), middle(speed["pgbouncer"], 0),
                         middle(speed["direct"], 0)])
    table(["protocol", "clients", "weir", "pgbouncer", "bare relay", "weir ÷ pgbouncer", "weir ÷ relay", "weir tps",
           "pgbouncer tps", "direct tps"], rows)


def syscall_counts(contenders):
    """System calls for each query, by strace."""
    print("### System calls for each query (strace)\n")
    rows = []
    for contender in contenders:
        if contender.pid is None:
            continue
        for clients, label in ((1, "free server"), (64, "saturation: 64 clients, 20 servers")):
            counts = syscalls_per_query(contender, clients)
            shown = ", ".join(f"{name} {count:.2f}" for name, count in counts.items() if count >= 0.01)
            rows.append([contender.name, label, f"{sum(counts.values()):.2f}", shown])
    table(["pooler", "load", "in all", "of these"], rows)


def hit_costs(postgres, options):
    """What a hit costs, in process and out of Redis, and how many there are in a second; beside PostgreSQL's own answers
    and pgpool2's query cache. The load is the same for all: tests/bench/ask.c, of 64 connections."""
    print(f"### Cache hits: the lookup of pgbench -S, {LOAD_CLIENTS} clients, each answer checked, {options.pairs} pairs of"
          f" {options.seconds} s\n")
    with postgres.connect() as link:
        link.execute("UPDATE pgbench_accounts SET abalance = aid * 7")
        link.execute("VACUUM FULL pgbench_accounts")
        link.execute("ANALYZE pgbench_accounts")
    rows, redis = [], Redis().start()
    direct, pgpool = Direct(postgres), Pgpool(postgres, LOAD_CLIENTS + 4)
    try:
        weir = Pooled.weir(postgres, **CACHED)
        try:
            rows += hit_rows([(direct, FEW), (weir, FEW), (pgpool, FEW)], postgres, options)
        finally:
            weir.stop()
        # Now with so little memory that next to nothing of MANY is found in it again: those hits come out of Redis.
        with_redis = {"cache_memory": "64kB", "cache_redis": redis.url, "cache_redis_timeout": 0.1}
        weir = Pooled.weir(postgres, "weir, Redis", **CACHED, **with_redis)
        try:
            rows += hit_rows([(direct, MANY), (weir, MANY), (pgpool, MANY)], postgres, options)
        finally:
            weir.stop()
    finally:
        pgpool.stop()
        redis.remove()
    table(["protocol", "answered by", "keys", "hits", "µs of CPU for each", "and of PostgreSQL's", "tps", "tps ÷ direct",
           "load, of a core"], rows)


def until_filled(contender, postgres, mode, keys):
    """Every key is asked for, until all are hits; then at random, since each process of pgpool2 learns for itself."""
    for _ in range(10):
        if AskRun(contender, postgres, mode, 8, keys, 0).hits > 0.99 or contender.name == "direct":
            break
    AskRun(contender, postgres, mode, LOAD_CLIENTS, keys, 1)


def hit_rows(contenders, postgres, options):
    """Rows of the table for some contenders, of whom one at most has the exact cache: PostgreSQL gives it to one alone."""
    for mode in ALL_MODES:
        for contender, keys in contenders:
            until_filled(contender, postgres, mode, keys)
        runs = {contender.name: [] for contender, _ in contenders}
        for pair in range(options.pairs):
            for contender, keys in contenders if pair % 2 == 0 else contenders[::-1]:
                run = AskRun(contender, postgres, mode, LOAD_CLIENTS, keys, options.seconds)
                runs[contender.name].append(run)
                print(BAR, mode, contender.name, run, file=sys.stderr)
        for contender, keys in contenders:
            found = runs[contender.name]
            ratios = [a.per_second / b.per_second for a, b in zip(found, runs["direct"])]
            yield [mode, contender.name, keys, f"{statistics.median(r.hits for r in found):.1%}",
                   middle([r.cpu_us for r in found]), middle([r.behind_us for r in found]),
                   middle([r.per_second for r in found], 0), spread(ratios), f"{statistics.median(r.load_share for r in found):.0%}"]


def login_costs(postgres, options):
    """Everybody logs in at once: with a SCRAM exchange, and the same inside TLS."""
    print(f"### Logins: {options.logins} clients at once, {options.pairs} pairs\n")
    certificates, rows = Certificates(), []
    side = certificates.client_side(client_tls_ca_file=certificates.crt("ca"))
    for label, way, tls in (("SCRAM", "sslmode=disable", {}), ("SCRAM in TLS", "sslmode=require", side)):
        # The load takes some 10 ms of CPU for each login: the last of many waits for long.
        storm = {"auth_type": "scram-sha-256", "max_client_conn": options.logins + 100, "listen_backlog": 4096,
                 "client_login_timeout": 600, **tls}
        contenders = [Pooled.pgbouncer(postgres, **storm), Pooled.weir(postgres, **storm)]
        try:
            runs = {contender.name: [] for contender in contenders}
            for pair in range(options.pairs):
                for contender in contenders if pair % 2 == 0 else contenders[::-1]:
                    run = LoginRun(contender, options.logins, f"user=scram password={ROLES['scram'][0]} {way}")
                    runs[contender.name].append(run)
                    print(BAR, label, contender.name, run, file=sys.stderr)
        finally:
            for contender in contenders:
                contender.stop()
        weir, other = runs["weir"], runs["pgbouncer"]
        rows.append([label, *(middle([r.cpu_us for r in of], 0) for of in (weir, other)),
                     spread([a.cpu_us / b.cpu_us for a, b in zip(weir, other)]),
                     *(middle([r.per_second for r in of], 0) for of in (weir, other)),
                     f"{statistics.median(r.load_share for r in weir):.0%}"])
    shutil.rmtree(certificates.directory)
    table(["login", "weir, µs of CPU for each", "pgbouncer", "weir ÷ pgbouncer", "weir, logins a second", "pgbouncer",
           "load, of a core"], rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")], default=[8, 64])
    parser.add_argument("--only", choices=["relay", "syscalls", "cache", "logins", "writers", "mix", "misses", "instructions"])
    parser.add_argument("--logins", type=int, default=5000)
    parser.add_argument("--shares", type=lambda text: [float(n) for n in text.split(",")], default=SHARES,
                        help="of writes in the mix")
    parser.add_argument("--reads", choices=["look-up", "dear"], help="in the mix; both without it")
    parser.add_argument("--warm", type=int, default=60, metavar="SECONDS", help="to fill the cache before the mix of dear reads")
    options = parser.parse_args()
    raise_file_limit()
    if options.only in (None, "writers"):
        writer_costs(options)
    if options.only in (None, "mix"):
        mix_gains(options)
    if options.only in (None, "misses"):
        miss_costs(options)
    if options.only in (None, "instructions"):
        instruction_counts(options)
    if options.only in ("writers", "mix", "misses", "instructions"):
        return
    postgres = Postgres(shared_preload_libraries="''", compute_query_id="off").start().make_roles()
    contenders = []
    try:
        failure_free(postgres, ["-i", "-q", "-s", "1"])
        contenders = [Direct(postgres), Relay(postgres), Pooled.pgbouncer(postgres), Pooled.weir(postgres)]
        if options.only in (None, "relay"):
            relay_costs(contenders, options)
        if options.only in (None, "syscalls"):
            syscall_counts(contenders)
        if options.only in (None, "cache"):
            hit_costs(postgres, options)
        if options.only in (None, "logins"):
            login_costs(postgres, options)
    finally:
        for contender in contenders:
            contender.stop()
        postgres.remove()


main()
