"""Random queries through Weir, with its cache on, and straight to PostgreSQL, with writes in between: every message that comes
back must be the same, and many must have come from the cache.

    build/venv/bin/python tests/differential/generated.py [--statements N] [--seed S] [--full]

Each statement goes to two clusters that began alike and are spoken to directly, and to a third through Weir: what differs between
the two may differ behind Weir as well. There are two sessions to each. A round begins with new queries (grammar.py), each of them
asked once; when PostgreSQL has been asked about all of them (SHOW TEMPLATES), they are asked again and again, with other parameters,
other formats and in other protocols, while tables are written to."""

import argparse
import copy
import random
import secrets
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "integration"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import grammar  # noqa: E402
from sides import Reasons, Side, brief, masked  # noqa: E402
from harness import system  # noqa: E402
from harness.compare import comparable  # noqa: E402
from harness.pooler import Pooler  # noqa: E402
from harness.postgres import Postgres  # noqa: E402
from harness.wait import until  # noqa: E402
from harness.wire import SYNC, bind, describe, execute, parse, query  # noqa: E402

NEW = 60  # queries that a round begins with
KEPT = 90  # queries that are asked again and again
ROUND = 2000
WRITES = 0.03
BLOCKS = 0.02  # begun before a query; each ends with one in so many, with an error, and with a write
BLOCK_ENDS = 0.1
DESCRIBES = ("nothing", "nothing", "nothing", "portal", "portal", "portal", "portal", "portal", "statement first", "statement")
HITS_LEAST = 0.4  # of all that was asked and gave rows
SESSIONS = 2
SHOWN = 10


class Asked:
    """A query in one spelling: what is sent, and whether its statement must have been prepared."""

    def __init__(self, random, statement, name):
        self.statement, self.name = statement, name
        self.way = random.choice(("simple", "typed", "inferred", "named")) if statement.types else random.choice(
            ("simple", "inferred", "named"))
        if self.way == "simple" and statement.types:
            self.way = "typed"
        self.formats = tuple(self._format(random, kind, value) for kind, value in zip(statement.types, statement.values))
        count = len(statement.columns)
        self.result_formats = random.choice(((), (), (1,), tuple(random.randint(0, 1) for _ in range(count))))
        # What is described, the portal or the statement, in front of Bind or behind it.
        self.describes = random.choice(DESCRIBES)

    @staticmethod
    def _format(random, kind, value):
        return int(random.random() < 0.5 and value is not None and grammar.binary_of(kind, value) is not None)

    def payload(self, prepared):
        statement = self.statement
        if self.way == "simple":
            return query(statement.text)
        types = () if self.way == "inferred" else tuple(grammar.TYPES[kind] for kind in statement.types)
        values = [grammar.binary_of(kind, value) if form else value
                  for kind, value, form in zip(statement.types, statement.values, self.formats)]
        name = self.name if self.way == "named" else ""
        made = b"" if name and name in prepared else parse(statement.text, name, types)
        made += describe("S", name) if self.describes == "statement first" else b""
        made += bind(values, name, formats=self.formats, result_formats=self.result_formats)
        made += {"portal": describe(), "statement": describe("S", name)}.get(self.describes, b"")
        return made + execute() + SYNC


class Run:
    def __init__(self, seed, statements, progress=None):
        self.seed, self.goal, self.progress = seed, statements, progress
        self.random = random.Random(seed)
        self.asked = self.errors = self.writes = self.excused = self.names = 0
        self.hits = 0
        self.differences = []
        self.blocks = set()  # sessions that are in one
        self.reasons = Reasons()

    def run(self):
        # A plan for any value comes after so many executions, of which there are fewer behind a cache; its rows may have another order.
        self.clusters = [Postgres(max_connections="50", autovacuum="off", max_parallel_workers_per_gather="0",
                                  plan_cache_mode="force_custom_plan").start().make_roles()
                         for _ in range(3)]
        self.pooler, self.holders = None, []
        try:
            databases = [cluster.make_database() for cluster in self.clusters]
            for database in databases:
                database.execute(grammar.SETUP, user="app")
                database.execute("ANALYZE")
            line = {"host": "127.0.0.1", "port": self.clusters[2].port, "dbname": databases[2].name, "control_user": "control"}
            self.pooler = Pooler({"test": line}, {"cache": "exact", "cache_writes": "through_weir", "cache_ttl": 0, "workers": 2})
            self.pooler.start()
            ports = [(self.clusters[0].port, databases[0].name), (self.clusters[1].port, databases[1].name), (self.pooler.port, "test")]
            self.sides = [[Side(name, port, "app") for port, name in ports] for _ in range(SESSIONS)]
            for sides in self.sides:
                for side in sides:
                    side.connect(side.name)
            self.prepared = [set() for _ in self.sides]
            until("the cache is ready", lambda: {row["state"] for row in self.pooler.show("CACHE")} == {""}, 60)
            # A page is tidied up by whoever reads it when it is full, which would have rows move where there are no hits alone: an
            # old snapshot keeps all that is dead.
            self.holders = [database.connect() for database in databases]
            for holder in self.holders:
                holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                holder.execute("SELECT count(*) FROM pg_class")
            self._rounds()
            self.hits = int(self.pooler.hits())
            self.reasons.look(self.pooler.show("TEMPLATES"))
        finally:
            if self.pooler is not None:
                self.pooler.remove()
            for holder in self.holders:
                holder.close()
            for cluster in self.clusters:
                cluster.remove()
        return self

    def _rounds(self):
        kept = []
        while self.asked < self.goal and len(self.differences) < SHOWN:
            new = [self._new() for _ in range(NEW)]
            for one in new:
                self._ask(one)
            kept = (kept + new)[-KEPT:]
            self._wait_for_verdicts()
            for _ in range(min(ROUND, self.goal - self.asked)):
                if self.random.random() < WRITES:
                    self._write()
                place = min(self.random.randrange(len(kept)), self.random.randrange(len(kept)))
                if self.random.random() < 0.1:
                    kept[place] = self._changed(kept[place])
                self._ask(kept[place])
            if self.progress:
                print(f"  {self.asked} queries, {len(self.differences)} differences, {int(self.pooler.hits())} hits", file=self.progress,
                      flush=True)

    def _new(self):
        self.names += 1
        return Asked(self.random, grammar.read(self.random, self.random.random() < 0.7), f"s{self.names}")

    def _changed(self, one):
        """Other parameters, or the same question in another way."""
        statement = one.statement
        if self.random.random() < 0.2:
            made = copy.copy(one)
            made.describes = self.random.choice(DESCRIBES)
            return made
        if statement.types and self.random.random() < 0.5:
            statement = grammar.other_values(self.random, statement)
        self.names += 1
        return Asked(self.random, statement, f"s{self.names}")

    def _wait_for_verdicts(self):
        def are_there():
            rows = self.pooler.show("TEMPLATES")
            self.reasons.look(rows)
            return all(row["cacheable"] != "asking" for row in rows)
        until("PostgreSQL has been asked about all queries", are_there, 60)

    def _exchange(self, number, payload):
        """The answers of the three sides."""
        wires = [side.wire for side in self.sides[number]]
        for wire in wires:
            wire.send(payload)
        return [masked(comparable(wire.ready())) for wire in wires]

    def _compare(self, what, answers):
        first, second, weir = answers
        if first != second:
            self.excused += 1
        elif weir != first:
            self.differences.append((what, first, weir))
        return any(kind == "E" for kind, _ in first)

    def _ask(self, one):
        number = self.random.randrange(SESSIONS)
        if number not in self.blocks and self.random.random() < BLOCKS:
            self._compare("BEGIN", self._exchange(number, query("BEGIN")))
            self.blocks.add(number)
        prepared = self.prepared[number]
        has_failed = self._compare(f"{one.way} {one.describes} {one.formats} {one.result_formats} {one.statement}",
                                   self._exchange(number, one.payload(prepared)))
        self.asked += 1
        self.errors += has_failed
        if one.way == "named" and not has_failed:
            prepared.add(one.name)
        elif one.way == "named" and one.name not in prepared:
            self._compare("SELECT 1", self._exchange(number, query("SELECT 1")))
            one.name += "x"  # whether it is there depends on where it failed
        if number in self.blocks and (has_failed or self.random.random() < BLOCK_ENDS):
            self._end_block(number)

    def _end_block(self, number):
        self._compare("COMMIT", self._exchange(number, query("COMMIT")))
        self.blocks.remove(number)

    def _write(self):
        for number in sorted(self.blocks):  # a write may wait for what they have read
            self._end_block(number)
        statement = grammar.write(self.random)
        self._compare(statement.text, self._exchange(self.random.randrange(SESSIONS), query(statement.text)))
        self.writes += 1

    @property
    def share(self):
        return self.hits / max(1, self.asked - self.errors)

    def is_good(self):
        return not self.differences and self.share >= HITS_LEAST and self.excused < self.asked / 50

    def __str__(self):
        lines = [f"seed {self.seed}: {self.asked} queries ({self.errors} gave errors) and {self.writes} writes, {len(self.differences)} differ,"
                 f" {self.excused} differ between two servers without Weir; {self.hits} hits, {self.share:.0%} of what gave rows"]
        lines += self.reasons.lines()
        for what, wanted, found in self.differences[:SHOWN]:
            lines.append(f"DIFFERS: {what[:700]}\n    PostgreSQL: {brief(wanted, found)}\n    Weir:       {brief(found, wanted)}")
        if self.share < HITS_LEAST:
            lines.append(f"too few hits: that proves little, {HITS_LEAST:.0%} are demanded")
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--statements", type=int, default=6000)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--full", action="store_true", help="120,000 queries")
    options = parser.parse_args()
    system.raise_file_limit()
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    run = Run(seed, 120_000 if options.full else options.statements, sys.stdout).run()
    print(run, flush=True)
    sys.exit(not run.is_good())


if __name__ == "__main__":
    main()
