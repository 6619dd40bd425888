"""Runs of pgbench and of the light load, and what they cost the process in between."""

import re
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from harness.postgres import program
from harness.system import cpu_seconds, family_cpu_seconds
from harness.wait import until

ASK = Path(__file__).resolve().parents[2] / "build" / "ask"
LOGINS = ASK.with_name("logins")
BAR = "  "


def failure_free(postgres_or_port, arguments, user="postgres"):
    """Runs pgbench; any error ends the bench. Returns what it printed."""
    port = getattr(postgres_or_port, "port", postgres_or_port)
    run = subprocess.run([program("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", user, *arguments, "postgres"],
                         capture_output=True, text=True)
    if run.returncode != 0 or re.search(r"number of failed transactions: [1-9]|aborted", run.stdout + run.stderr):
        raise SystemExit(f"pgbench {' '.join(arguments)} on port {port} failed:\n{run.stdout[-500:]}{run.stderr[-1500:]}")
    return run.stdout


class CpuRun:
    """One run of pgbench -S, and the CPU time that the contender's process took for it."""

    def __init__(self, contender, mode, clients, seconds):
        before = cpu_seconds(contender.pid) if contender.pid else 0
        shown = failure_free(contender.port, ["-n", "-S", "-M", mode, "-c", str(clients), "-j", "1", "-T", str(seconds)])
        cpu = cpu_seconds(contender.pid) - before if contender.pid else 0
        self.transactions = int(re.search(r"actually processed: (\d+)", shown).group(1))
        self.per_second = float(re.search(r"tps = ([\d.]+)", shown).group(1))
        self.cpu_us = cpu / self.transactions * 1e6

    def __str__(self):
        return f"{self.cpu_us:.2f} µs, {self.per_second:.0f} tps"


class AskRun:
    """One run of the light load (tests/bench/ask.c), each answer checked: answers in a second, CPU time of the contender
    with all its processes for each answer, and of PostgreSQL, the share of answers that were hits by the contender's own
    count, and how busy the load itself kept its core."""

    def __init__(self, contender, postgres, mode, clients, keys, seconds):
        others = postgres.server_connections("postgres")
        hits, cpu, behind = contender.hits(), family_cpu_seconds(contender.family), family_cpu_seconds(postgres.process.pid)
        run = subprocess.run([ASK, str(contender.port), mode, str(clients), str(keys), str(seconds)], capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"the light load on {contender.name} failed ({mode}): {run.stderr[-500:]}")
        answers, self.span, own = (float(n) for n in re.match(r"(\d+) answers in ([\d.]+) s, ([\d.]+) s", run.stdout).groups())
        self.answers = int(answers)
        self.per_second = answers / self.span
        self.load_share = own / self.span
        if contender.name == "direct":  # what a backend took is in its family's account before it ends and after
            until("the clients have left", lambda: postgres.server_connections("postgres") <= others)
        self.cpu_us = (family_cpu_seconds(contender.family) - cpu) / answers * 1e6
        self.behind_us = (family_cpu_seconds(postgres.process.pid) - behind) / answers * 1e6
        self.hits = min(1, (contender.hits() - hits) / answers)  # pgpool2 counts some twice

    def __str__(self):
        return (f"{self.cpu_us:.2f} µs, PostgreSQL {self.behind_us:.2f} µs, {self.per_second:.0f} tps, {self.hits:.1%} hits,"
                f" load {self.load_share:.0%} of a core")


class LoginRun:
    """A storm of logins (tests/bench/logins.c): how many there are in a second, and the CPU time of the contender's
    process for each, with what it takes to see the client off."""

    def __init__(self, contender, clients, conninfo):
        cpu = cpu_seconds(contender.pid)
        run = subprocess.run([LOGINS, f"host=127.0.0.1 port={contender.port} dbname=postgres {conninfo}", str(clients)],
                             capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"the storm of logins on {contender.name} failed: {run.stderr[-500:]}")
        span, own = (float(n) for n in re.match(r"\d+ logins in ([\d.]+) s, ([\d.]+) s", run.stdout).groups())
        until("the clients have left", lambda: contender.clients() == 0)
        self.per_second = clients / span
        self.load_share = own / span
        self.cpu_us = (cpu_seconds(contender.pid) - cpu) / clients * 1e6

    def __str__(self):
        return f"{self.cpu_us:.0f} µs, {self.per_second:.0f} logins a second, load {self.load_share:.0%} of a core"


def syscalls_per_query(contender, clients):
    """System calls of the process for each query, by name. Logging in is kept out: every client's first queries run
    before strace attaches."""
    failure_free(contender.port, ["-n", "-S", "-c", str(clients), "-j", "1", "-t", "50"])
    load = subprocess.Popen(
        [program("pgbench"), "-n", "-S", "-h", "127.0.0.1", "-p", str(contender.port), "-U", "postgres", "-c",
         str(clients), "-j", "1", "-T", "6", "-P", "1", "postgres"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    time.sleep(1.5)
    with tempfile.NamedTemporaryFile("r") as trace:
        strace = subprocess.Popen(["strace", "-f", "-o", trace.name, "-e", "signal=none", "-p", str(contender.pid)],
                                  stderr=subprocess.DEVNULL)
        time.sleep(2)
        strace.terminate()
        strace.wait(20)
        counts, queries = Counter(), 0
        for line in trace:
            name = re.match(r"\d+\s+(\w+)\(", line)
            if name:
                counts[name.group(1)] += 1
            if "SELECT abalance" in line and re.match(r"\d+\s+(sendto|write|send|sendmsg|writev)\(", line):
                queries += 1
    load.wait(60)
    assert queries > 100, f"{contender.name}: strace saw {queries} queries"
    return Counter({name: count / queries for name, count in counts.most_common()})
