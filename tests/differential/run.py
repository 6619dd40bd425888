"""PostgreSQL's regression inputs through Weir, with its cache on, and straight to PostgreSQL: every message that comes back must
be the same.

    build/venv/bin/python tests/differential/run.py [--protocol simple|extended] [FILE ...]

Each statement goes to three clusters that began alike: one behind Weir, and two straight. What differs between the two (times,
numbers of processes) may differ behind Weir as well. What reads is sent twice, so that the second answer may come from the
cache: once the definitions that came before are known to Weir and PostgreSQL has been asked about it. Most of these files define
something with every other statement, which ends what is cached: so its queries are asked again before anything is dropped and
when a file is through, in both protocols, by sessions that have no temporary tables. Each file has a database of its own, made from what
test_setup leaves. At the end: why statements were not answered from the cache."""

import argparse
import re
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "integration"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from source import NotToBeHad, fetch, schedule  # noqa: E402
from split import split  # noqa: E402
from sides import Reasons, Side, brief  # noqa: E402
from harness import system  # noqa: E402
from harness.pooler import Pooler  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.wait import until  # noqa: E402

READS = re.compile(r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(?:select|values|table|with)\b", re.I | re.S)
# Left out: what is about the cluster rather than about answers, or takes very long.
LEFT_OUT = {"test_setup", "tablespace", "stats", "psql", "psql_crosstab", "largeobject", "prepared_xacts", "oidjoins",
            "sanity_check", "opr_sanity", "type_sanity", "misc_sanity", "create_index"}
DROPS = re.compile(r"\s*(?:--[^\n]*\n\s*)*drop\s+(?:table|view|materialized|schema|owned|function|type|domain|foreign|sequence)\b", re.I)
SHOWN = 15


class Run:
    def __init__(self, is_extended, names=None):
        self.is_extended, self.names = is_extended, names
        self.statements = self.excused = self.files = 0
        self.differences = []
        self.hits = self.reads = self.replayed = self.replayed_hits = self.replayed_from_cache = 0
        self.reasons = Reasons()
        self.waits = 0  # that were given up

    def run(self):
        folder = fetch(15)
        # Where the account of PostgreSQL may look.
        self.data = system.make_directory("weir-regress-")
        shutil.copytree(folder / "data", self.data / "data")
        (self.data / "results").mkdir()
        system.give_to_account(self.data / "results")
        self.clusters = [Postgres(max_connections="50", compute_query_id="off").start().make_roles() for _ in range(3)]
        self.pooler = Pooler(self._databases(), {"cache": "exact", "cache_writes": "through_weir", "cache_ttl": 0, "default_pool_size": 5})
        self.pooler.start()
        ports = {"direct": self.clusters[0].port, "direct again": self.clusters[1].port, "Weir": self.pooler.port}
        self.sides, self.others = ([Side(name, port) for name, port in ports.items()] for _ in range(2))
        try:
            self._setup(folder)
            for name in self.names or [n for n in schedule(folder) if n not in LEFT_OUT]:
                self._file(folder, name)
        finally:
            for side in (*self.sides, *self.others):
                try:
                    side.close()
                except OSError:
                    pass
            self.pooler.remove()
            for cluster in self.clusters:
                cluster.remove()
            shutil.rmtree(self.data, ignore_errors=True)
        return self

    def _databases(self, *names):
        """`postgres` is always there, since the cache has to be on from the beginning."""
        return {name: {"host": "127.0.0.1", "port": self.clusters[2].port, "dbname": name, "control_user": "control"}
                for name in ("postgres", *names)}

    def _is_ready(self, wire):
        before = self.pooler.hits()
        wire.query("SELECT f1 FROM public.int4_tbl")
        return self.pooler.hits() > before

    def _variables(self):
        return {"abs_srcdir": str(self.data), "abs_builddir": str(self.data), "libdir": "/nowhere", "dlsuffix": ".so"}

    def _read(self, folder, name):
        text = (folder / "sql" / f"{name}.sql").read_text(encoding="utf-8", errors="surrogateescape")
        text = re.sub(r"^\\getenv (\w+) PG_\w+$", lambda m: f"\\set {m[1]} {self._variables().get(m[1], m[1])}", text, flags=re.M)
        return [s for s in split(text, self._variables()) if is_text(s.text)]

    def _setup(self, folder):
        # Behind a class of operators with functions of users any statement may run one: nothing would be cached.
        statements = [s for s in self._read(folder, "test_setup") if not re.search("operator class", s.text, re.I)]
        for cluster, side in zip(self.clusters, (self.sides[0], self.sides[1], Side("setup", self.clusters[2].port))):
            with cluster.connect() as admin:
                admin.execute("CREATE DATABASE regress_base TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
            side.connect("regress_base")
            for statement in statements:
                side.run(statement, False)
            side.close()

    def _file(self, folder, name):
        database = "regress_" + name.replace(".", "_")
        for cluster in self.clusters:
            with cluster.connect() as admin:
                admin.execute(f"CREATE DATABASE {database} TEMPLATE regress_base STRATEGY file_copy")
        self.pooler.reload(databases=self._databases(database))
        for side in (*self.sides, *self.others):
            side.connect(database)
        until("the cache is ready", lambda: self._is_ready(self.sides[2].wire))
        before, began, replayed = len(self.differences), time.monotonic(), self.replayed_hits
        self.has_changed, self.is_idle, self.again = True, True, []
        for statement in self._read(folder, name):
            self._statement(name, statement)
        for side in self.sides:
            side.close()
        self._replay(name)
        for side in self.others:
            side.close()
        hits = int(self.pooler.hits())
        self.hits = hits
        self.pooler.reload(databases=self._databases())
        for cluster in self.clusters:
            with cluster.connect() as admin:
                admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        self.files += 1
        print(f"  {name}: {len(self.differences) - before} differences, {self.statements} statements,"
              f" {hits} hits in all; {self.replayed_hits - replayed} here when asked again, {time.monotonic() - began:.1f} s", flush=True)

    def _statement(self, name, statement):
        if self.is_idle and DROPS.match(statement.text):
            self._replay(name)
        reads = READS.match(statement.text) is not None
        if reads and self.has_changed and self.is_idle:
            self._wait_for_definitions()
        self._compare(name, statement, self.sides, self.is_extended)
        if not reads:
            self.has_changed = True
            return
        self.reads += 1
        self.again.append(statement)
        if self.is_idle:  # else nothing that comes now is answered from the cache
            self._wait_for_verdicts()
        self._compare(name, statement, self.sides, self.is_extended, "once more")

    def _replay(self, name):
        """Asks again what was asked since the last time."""
        statements, self.again = self.again, []
        if not statements:
            return
        for is_extended in (False, True):
            is_fresh = False
            for statement in statements:
                if not is_fresh:  # nothing is cached for a session that has run code of users
                    for side in self.others:
                        side.close()
                        side.connect(side.database)
                    self._wait_for_definitions()
                before = self.pooler.hits()
                self._compare(name, statement, self.others, is_extended, "asked again")
                self._wait_for_verdicts()
                for turn in ("asked again, once more", "asked again, twice more"):
                    self._compare(name, statement, self.others, is_extended, turn)
                made = int(self.pooler.hits() - before)
                self.replayed_hits += made
                is_fresh = made > 0 or self.has_failed
                self.replayed += 1
                self.replayed_from_cache += is_fresh

    def _wait_for_definitions(self):
        self._wait("the definitions are known", lambda: {row["state"] for row in self.pooler.show("CACHE")} == {""})
        self.has_changed = False

    def _wait_for_verdicts(self):
        def are_there():
            rows = self.pooler.show("TEMPLATES")
            self.reasons.look(rows)
            return all(row["cacheable"] != "asking" for row in rows)
        self._wait("PostgreSQL has been asked", are_there)

    def _wait(self, what, condition):
        """For a moment: what a transaction that is open keeps from being known is not worth more."""
        try:
            until(what, condition, 0.25, 0.005)
        except AssertionError:
            self.waits += 1

    def _compare(self, name, statement, sides, is_extended, turn="once"):
        first, second, weir = (side.run(statement, is_extended) for side in sides)
        self.has_failed = any(kind == "E" for kind, _ in first)
        if sides is self.sides:
            self.is_idle = first[-1] == ("Z", b"I")
        self.statements += 1
        if first != second:
            self.excused += 1
        elif weir != first:
            self.differences.append((name, turn, statement.text, first, weir))

    def __str__(self):
        lines = [f"{'extended' if self.is_extended else 'simple'}: {self.files} files, {self.statements} statements,"
                 f" {len(self.differences)} differ, {self.excused} differ between two servers without Weir; {self.hits:.0f} hits; of {self.reads} reads"
                 f" that were sent twice {self.hits - self.replayed_hits:.0f} were hits; of {self.replayed} asked again, three times each,"
                 f" {self.replayed_from_cache} came from the cache ({self.replayed_hits} hits); {self.waits} waits given up"]
        lines += self.reasons.lines()
        for name, turn, text, wanted, found in self.differences[:SHOWN]:
            lines.append(f"DIFFERS: {name}, {turn}: {text[:400]}\n    PostgreSQL: {brief(wanted, found)}\n    Weir:       {brief(found, wanted)}")
        return "\n".join(lines)


def is_text(text):
    try:
        text.encode()
        return True
    except UnicodeEncodeError:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", choices=("simple", "extended"), action="append")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    is_good = True
    for protocol in options.protocol or ("simple", "extended"):
        try:
            run = Run(protocol == "extended", options.files).run()
        except NotToBeHad as reason:
            print(f"machine: PostgreSQL's sources cannot be had: {reason}")
            sys.exit(3)
        print(run, flush=True)
        is_good = is_good and not run.differences and run.hits > 0
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
