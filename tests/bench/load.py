"""pgbench runs, and what they cost the process in between."""

import re
import subprocess
import tempfile
import time
from collections import Counter

from harness.postgres import program
from harness.system import cpu_seconds

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
    """One run of pgbench -S, or of a script, and the CPU time that the contender's process took for it."""

    def __init__(self, contender, mode, clients, seconds, script=None):
        arguments = ["-n", "-M", mode, "-c", str(clients), "-j", "1", "-T", str(seconds)]
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            if script:
                file.write(script)
                file.flush()
                arguments += ["-f", file.name]
            else:
                arguments.append("-S")
            before = cpu_seconds(contender.pid) if contender.pid else 0
            shown = failure_free(contender.port, arguments)
            cpu = cpu_seconds(contender.pid) - before if contender.pid else 0
        self.transactions = int(re.search(r"actually processed: (\d+)", shown).group(1))
        self.per_second = float(re.search(r"tps = ([\d.]+)", shown).group(1))
        self.cpu_us = cpu / self.transactions * 1e6

    def __str__(self):
        return f"{self.cpu_us:.2f} µs, {self.per_second:.0f} tps"


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
