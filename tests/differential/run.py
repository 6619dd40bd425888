"""PostgreSQL's regression inputs through Weir, with its cache on, and straight to PostgreSQL: every message that comes back must
be the same.

    build/venv/bin/python tests/differential/run.py [--protocol simple|extended] [FILE ...]

Each statement goes to three clusters that began alike: one behind Weir, and two straight. What differs between the two (times,
numbers of processes) may differ behind Weir as well. What reads is sent twice, so that the second answer may come from the
cache: at most a moment later, once the definitions that came before are known to Weir. Each file has a database of its own,
made from what test_setup leaves."""

import argparse
import re
import shutil
import struct
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "integration"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from source import NotToBeHad, fetch, schedule  # noqa: E402
from split import split  # noqa: E402
from harness import system  # noqa: E402
from harness.compare import comparable  # noqa: E402
from harness.pooler import Pooler  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.wait import until  # noqa: E402
from harness.wire import COPY_DONE, SYNC, Answer, Closed, Wire, copy_data, once, query  # noqa: E402

READS = re.compile(r"\s*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(?:select|values|table|with)\b", re.I | re.S)
# Left out: what is about the cluster rather than about answers, or takes very long.
LEFT_OUT = {"test_setup", "tablespace", "stats", "psql", "psql_crosstab", "largeobject", "prepared_xacts", "oidjoins",
            "sanity_check", "opr_sanity", "type_sanity", "misc_sanity", "create_index"}
OF_SESSION = re.compile(r"pg_(?:toast_)?temp_\d+")
SETTINGS = {"TimeZone": "PST8PDT", "DateStyle": "Postgres, MDY", "extra_float_digits": "0"}
FIRST_OBJECT = 16384
SHOWN = 15
NEVER = "the end of the connection"


def masked(messages):
    """Without the numbers of what was made in this cluster alone, of sessions, and without what comes at any time."""
    shown = []
    for kind, body in messages:
        if kind == "T":
            body = without_oids(body)
        elif isinstance(body, dict):
            body = {field: OF_SESSION.sub("pg_temp", text) for field, text in body.items()}
        if kind != "A":
            shown.append((kind, body))
    return shown


def without_oids(body):
    count, at, fields = struct.unpack_from("!h", body)[0], 2, []
    for _ in range(count):
        end = body.index(b"\0", at)
        table, column, kind, size, modifier, form = struct.unpack_from("!IhIhih", body, end + 1)
        fields.append((body[at:end], table > 0, column, min(kind, FIRST_OBJECT), size, modifier, form))
        at = end + 19
    return fields


class Side:
    """One way to a cluster."""

    def __init__(self, name, port, user="postgres"):
        self.name, self.port, self.user = name, port, user
        self.wire = None

    def connect(self, database):
        self.close()
        self.database = database
        self.wire = Wire(self.port, limit=60)
        self.wire.login(self.user, database, **SETTINGS)

    def close(self):
        if self.wire is not None:
            self.wire.quit()
            self.wire = None

    def run(self, statement, is_extended):
        """What comes back, in a form that can be compared."""
        answer = Answer()
        try:
            self.wire.send(once(statement.text) + SYNC if is_extended else query(statement.text))
            answer += self.wire.up_to("GZW")
            if answer[-1].kind == "G":
                self.wire.send(copy_data((statement.data or "").encode()), COPY_DONE)
                if is_extended:  # the first one was read by the COPY
                    self.wire.send(SYNC)
                answer += self.wire.up_to("Z")
        except Closed:
            self.wire.close()
            self.wire = None
            self.connect(self.database)
            return [(NEVER, None), *masked(comparable(answer))]
        return masked(comparable(answer))


class Run:
    def __init__(self, is_extended, names=None):
        self.is_extended, self.names = is_extended, names
        self.statements = self.excused = self.files = 0
        self.differences = []
        self.hits = 0

    def run(self):
        folder = fetch(15)
        # Where the account of PostgreSQL may look.
        self.data = system.make_directory("weir-regress-")
        shutil.copytree(folder / "data", self.data / "data")
        (self.data / "results").mkdir()
        system.give_to_account(self.data / "results")
        self.clusters = [Postgres(max_connections="50").start().make_roles() for _ in range(3)]
        self.pooler = Pooler(self._databases(), {"cache": "exact", "cache_writes": "through_weir", "cache_ttl": 0, "default_pool_size": 5})
        self.pooler.start()
        self.sides = [Side("direct", self.clusters[0].port), Side("direct again", self.clusters[1].port),
                      Side("Weir", self.pooler.port)]
        try:
            self._setup(folder)
            for name in self.names or [n for n in schedule(folder) if n not in LEFT_OUT]:
                self._file(folder, name)
        finally:
            for side in self.sides:
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
        for side in self.sides:
            side.connect(database)
        until("the cache is ready", lambda: self._is_ready(self.sides[2].wire))
        before, began = len(self.differences), time.monotonic()
        self.must_wait = True
        for statement in self._read(folder, name):
            self._statement(name, statement)
        for side in self.sides:
            side.close()
        hits = int(self.pooler.hits())
        self.hits = hits
        self.pooler.reload(databases=self._databases())
        for cluster in self.clusters:
            with cluster.connect() as admin:
                admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        self.files += 1
        print(f"  {name}: {len(self.differences) - before} differences, {self.statements} statements,"
              f" {hits} hits, {time.monotonic() - began:.1f} s", flush=True)

    def _statement(self, name, statement):
        reads = READS.match(statement.text) is not None
        for turn in range(2 if reads else 1):
            first, second, weir = (side.run(statement, self.is_extended) for side in self.sides)
            self.statements += 1
            if first != second:
                self.excused += 1
            elif weir != first:
                self.differences.append((name, turn, statement.text, first, weir))
            if reads and turn == 0 and self.must_wait:
                time.sleep(0.03)
                self.must_wait = False
        self.must_wait = self.must_wait or not reads

    def __str__(self):
        lines = [f"{'extended' if self.is_extended else 'simple'}: {self.files} files, {self.statements} statements,"
                 f" {len(self.differences)} differ, {self.excused} differ between two servers without Weir; {self.hits:.0f} hits"]
        for name, turn, text, wanted, found in self.differences[:SHOWN]:
            lines.append(f"DIFFERS: {name}, time {turn + 1}: {text[:400]}\n    PostgreSQL: {brief(wanted, found)}\n    Weir:       {brief(found, wanted)}")
        return "\n".join(lines)


def brief(messages, others):
    """The messages, without those in front that are the same in the other answer."""
    same = 0
    while same < min(len(messages), len(others)) and messages[same] == others[same]:
        same += 1
    return f"{same} alike, then " + " ".join(f"{kind}:{str(body)[:500]}" for kind, body in messages[same:])[:1000]


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
