"""Paired measurements of what a pooler costs: CPU time of its process for each transaction of `pgbench -S`, system
calls for each query, and the cost of a cache hit. Ratios of a pair are of runs that followed each other, since
machines drift; what is printed are medians."""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from contenders import Direct, Pooled, Relay  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.system import raise_file_limit  # noqa: E402
from load import BAR, CpuRun, failure_free, syscalls_per_query  # noqa: E402

LOOKUP = "\\set aid random(1, 1000)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
CACHED = {"cache": "exact", "cache_writes": "through_weir"}


def table(heads, rows):
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


def middle(values, digits=2):
    return f"{statistics.median(values):.{digits}f}" if values else "-"


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})" if values else "-"


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
    """What a hit of the in-process cache costs, and how many there are in a second."""
    print("### Cache hits (a lookup by primary key, 1,000 keys, 64 clients)\n")
    weir = Pooled.weir(postgres, **CACHED)
    direct = Direct(postgres)
    try:
        CpuRun(weir, "simple", 8, 3, script=LOOKUP)  # fills
        rows = []
        for mode in ("simple", "extended", "prepared"):
            hits, plain = [], []
            for _ in range(options.pairs):
                before = weir.pooler.hits()
                run = CpuRun(weir, mode, 64, options.seconds, script=LOOKUP)
                share = (weir.pooler.hits() - before) / run.transactions
                hits.append(run)
                plain.append(CpuRun(direct, mode, 64, options.seconds, script=LOOKUP))
            rows.append([mode, f"{share:.1%}", middle([r.cpu_us for r in hits]),
                         middle([r.per_second for r in hits], 0), middle([r.per_second for r in plain], 0),
                         spread([a.per_second / b.per_second for a, b in zip(hits, plain)])])
        table(["protocol", "hits", "µs of CPU for each", "tps from the cache", "tps direct", "ratio"], rows)
    finally:
        weir.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")], default=[8, 64])
    parser.add_argument("--only", choices=["relay", "syscalls", "cache"])
    options = parser.parse_args()
    raise_file_limit()
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
    finally:
        for contender in contenders:
            contender.stop()
        postgres.remove()


main()
