"""What a cache costs where it gives nothing: Weir's CPU for a read that is never found in it, and the instructions that are
spent on the cache where it is off."""

import re
import statistics
import subprocess
import sys

from contenders import Pooled
from harness.capability import WEIR_BIN
from harness.postgres import Postgres
from harness.system import give_to_account, make_directory
from load import ASK, BAR, AskRun, failure_free
from tables import middle, spread, table
from writing import EXACT, running

ROWS_AT_SCALE_10 = 1_000_000
CLIENTS = 8


def miss_costs(options):
    """Lookups of a million rows at random: next to none is asked for again before it has had to make room."""
    print(f"### A read that is not in the cache: {ROWS_AT_SCALE_10} rows, {CLIENTS} clients, {options.pairs} pairs of {options.seconds} s\n")
    postgres = Postgres(shared_preload_libraries="''", compute_query_id="off").start().make_roles()
    ways = {"off": {}, "exact": {**EXACT, "cache_memory": "1MB"}}
    rows = []
    try:
        failure_free(postgres, ["-i", "-q", "-s", "10"])
        with postgres.connect() as link:
            link.execute("UPDATE pgbench_accounts SET abalance = aid * 7")
            link.execute("VACUUM FULL pgbench_accounts")
            link.execute("ANALYZE pgbench_accounts")
        for mode in ("simple", "extended", "prepared"):
            runs = {name: [] for name in ways}
            for turn in range(options.pairs):
                for name in list(ways) if turn % 2 == 0 else list(ways)[::-1]:
                    with running(postgres, name, ways[name]) as contender:
                        AskRun(contender, postgres, mode, CLIENTS, ROWS_AT_SCALE_10, 0.5)
                        runs[name].append(AskRun(contender, postgres, mode, CLIENTS, ROWS_AT_SCALE_10, options.seconds))
                        print(BAR, mode, name, runs[name][-1], file=sys.stderr)
            rows.append([mode, *(middle([r.cpu_us for r in runs[name]]) for name in ways),
                         spread([a.cpu_us / b.cpu_us for a, b in zip(runs["exact"], runs["off"])]),
                         f"{statistics.median(r.hits for r in runs['exact']):.1%}"])
    finally:
        postgres.remove()
    table(["protocol", "off, µs of CPU", "exact, a miss", "÷", "hits"], rows)


# --- instructions

OF_THE_CACHE = re.compile(r"src/cache/|session/cached|include/weir/cache/")


def costs_by_file(path):
    """Instructions of each source file itself, from what callgrind has written."""
    names, costs, current, skips = {}, {}, "", False
    for line in path.read_text().splitlines():
        found = re.match(r"(?:fl|fi|fe)=\((\d+)\)(?: (.*))?$", line)
        if found:
            names.setdefault(found[1], found[2])
            current = names[found[1]]
        elif line.startswith("calls="):
            skips = True  # the next line is what was called
        elif re.match(r"[+\-*\d]", line) and re.match(r"\S+ \d+$", line):
            if not skips:
                costs[current] = costs.get(current, 0) + int(line.split()[1])
            skips = False
    return costs


def counted(postgres, options, mode, queries):
    """Instructions by file of a Weir that has relayed so many queries."""
    directory = make_directory("weir-callgrind-")
    wrapper, out = directory / "weir", directory / "out"
    wrapper.write_text(f'#!/bin/sh\nexec valgrind --quiet --tool=callgrind --callgrind-out-file={out} {WEIR_BIN} "$@"\n')
    wrapper.chmod(0o755)
    give_to_account(directory)
    contender = Pooled("weir", postgres, wrapper, ("simple",), options)
    try:
        # A sweep asks for every key once.
        run = subprocess.run([ASK, str(contender.port), mode, "4", str(queries), "0"], capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"the light load failed: {run.stderr[-500:]}")
    finally:
        contender.stop()
    return costs_by_file(out)


def instruction_counts(_options):
    """The difference of two runs of unequal length, so that starting and stopping count for nothing."""
    print("### Instructions of Weir for a query that is relayed, in user space (callgrind)\n")
    postgres = Postgres(shared_preload_libraries="''", compute_query_id="off").start().make_roles()
    few, many, rows = 2_000, 12_000, []
    try:
        failure_free(postgres, ["-i", "-q", "-s", "1"])
        with postgres.connect() as link:
            link.execute("UPDATE pgbench_accounts SET abalance = aid * 7")
        for mode in ("simple", "extended", "prepared"):
            for name, options in (("off", {}), ("exact, misses", EXACT)):
                less, more = counted(postgres, options, mode, few), counted(postgres, options, mode, many)
                each = {path: (cost - less.get(path, 0)) / (many - few) for path, cost in more.items()}
                whole = sum(each.values())
                cache = sum(cost for path, cost in each.items() if OF_THE_CACHE.search(path or ""))
                rows.append([mode, name, f"{whole:.0f}", f"{cache:.0f}", f"{cache / whole:.2%}"])
                print(BAR, *rows[-1], file=sys.stderr)
    finally:
        postgres.remove()
    table(["protocol", "cache", "instructions", "of these, in the cache's sources", "share"], rows)
