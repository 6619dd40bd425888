"""Checks that the cache is never wrong: concurrent sessions read and write through Weir in many spellings while things are
killed, and the history of all that was answered is held against what could have been true.

    build/venv/bin/python tests/checker/run.py [--mode MODE] [--operations N] [--seconds S] [--seed S] [--full]

Modes: exact, ttl (two Weirs and writers around them), feed (cache_feed = on and writers around Weir), synchronous (the same
with cache_feed = synchronous), rights (rights and policies that come and go) and
shared (exact for two Weirs that tell each other of their writes through Redis). Each says in place.py what it promises.

--full is a million operations in each mode. It ends with 1 when an answer was wrong, and shows the operations that prove
it; also when too few answers came from the cache for the run to prove anything. The seed decides what each session does
next, and which faults are made in which order; not how the sessions' messages meet."""

import argparse
import gc
import random
import secrets
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "integration"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from cells import PLACES  # noqa: E402
from driver import Driver  # noqa: E402
from history import DIRECT, Guarded, Read, Rule, SetRead, Seen, clock  # noqa: E402
from judge import Judge  # noqa: E402
from place import MODES, Site  # noqa: E402
from rights import KINDS, Guards  # noqa: E402
from session import Session, Shared  # noqa: E402
from harness import system  # noqa: E402

ROUND = 25_000  # operations between two judgements
LOUD = 5  # violations that are shown in full


class Report:
    """How a run went: figures, and what was wrong."""

    def __init__(self, mode, seed):
        self.mode, self.seed = mode, seed
        self.operations = self.reads = self.writes = self.unknown = self.hits = self.losses = self.rules = 0
        self.faults = {}
        self.seconds = 0.0
        self.violations, self.problems = [], []

    @property
    def share(self):
        return self.hits / max(1, self.reads)

    def is_good(self):
        return not self.violations and not self.problems

    def __str__(self):
        lines = [f"{self.mode}, seed {self.seed}: {self.operations} operations in {self.seconds:.0f} s,"
                 f" {self.operations / max(self.seconds, 0.001):.0f} per second; {self.reads} reads, {self.hits} hits"
                 f" ({self.share:.0%}); {self.writes} commits, {self.unknown} of unknown outcome"
                 + (f"; {self.rules} changes of rights" if self.rules else ""),
                 "faults: " + (", ".join(f"{name} {count}" for name, count in sorted(self.faults.items())) or "none")
                 + (f"; {self.losses} crashes that may have lost commits" if self.losses else "")]
        lines += [f"WRONG: {violation}" for violation in self.violations[:LOUD]]
        if len(self.violations) > LOUD:
            lines.append(f"... and {len(self.violations) - LOUD} more")
        lines += [f"PROBLEM: {problem}" for problem in self.problems]
        return "\n".join(lines)


class Faults(threading.Thread):
    """Makes one fault after another, as the seed says; the first ones are one of each kind."""

    def __init__(self, site, seed, pause):
        super().__init__(daemon=True)
        self.site, self.pause = site, pause
        self.random = random.Random(f"{seed}/faults")
        self.made = {}
        self.failure = None
        self.ends = threading.Event()
        self.may = threading.Lock()  # held while nothing may be done

    def run(self):
        try:
            kinds = self.site.faults()
            first = [act for act, _ in kinds]
            self.random.shuffle(first)
            while not self.ends.wait(self.random.uniform(0.5, 1.5) * self.pause):
                act = first.pop() if first else self.random.choices([a for a, _ in kinds], [w for _, w in kinds])[0]
                with self.may:
                    if not self.ends.is_set():
                        act(self.random)
                        self.made[act.__name__] = self.made.get(act.__name__, 0) + 1
        except Exception as failure:  # told by the one who joins
            self.failure = failure

    def stop(self):
        self.ends.set()
        self.join()


class Run:
    def __init__(self, mode, operations, seed, sessions=16, pause=1.5, weirs=None, redis=None, loses=None, workers=None,
                 binary=None, limit=None, progress=None):
        """pause: seconds between faults, None for none. limit: seconds after which the run ends anyway; where the machine was
        so busy by then that faults have left too few hits, it goes on without them, for at most five times as long."""
        self.report = Report(mode, seed)
        self.operations, self.limit, self.progress = operations, limit, progress
        self.first_limit = limit
        self.mode = MODES[mode]
        drawn = random.Random(f"{seed}/site")
        loses = drawn.random() < 0.5 and self.mode.may_lose if loses is None else loses
        weirs = weirs or self.mode.weirs
        self.site = Site(mode, weirs, self.mode.has_redis if redis is None else redis, loses,
                         workers or drawn.choice((1, 2)), binary)
        self.shared = Shared(seed, calm=self.mode.calm, guards=Guards() if self.mode.has_guards else None)
        ways = [number % weirs for number in range(sessions)] + [DIRECT] * self.mode.sessions_around
        self.sessions = [Session(self.shared, number, way, "other" if self.mode.has_guards and number % 4 == 0 else "app")
                         for number, way in enumerate(ways)]
        self.faults = Faults(self.site, seed, pause) if pause else None

    def run(self):
        gc.collect()
        gc.disable()  # records are many, and none of them forms a cycle
        began = time.monotonic()
        try:
            self.site.start()
            self.judge = Judge(self.site.ttl_ns(), lambda guard: KINDS[guard.kind].is_open)
            self.driver = Driver(self.sessions, self.site.port_of, self.site.database_of)
            began = time.monotonic()
            self.driver.start()
            if self.faults:
                self.faults.start()
            while not self._is_over(began):
                self._round(began)
        finally:
            self.report.seconds = time.monotonic() - began
            if self.faults and self.faults.is_alive():
                self.faults.stop()
            if hasattr(self, "driver"):
                self.driver.close()
            if self.faults:
                self.report.faults = self.faults.made
                if self.faults.failure:
                    self.report.problems.append(f"a fault could not be made: {self.faults.failure!r}")
            self.report.hits = self.site.hits()
            self.report.problems += self.site.remove()
            gc.enable()
        if self.report.share < self.mode.hits_least:
            self.report.problems.append(f"only {self.report.share:.0%} of the reads were hits: that proves little")
        return self.report

    def _done(self):
        return sum(session.operations for session in self.sessions)

    def _is_over(self, began):
        self.report.operations = self._done()
        if self.report.operations >= self.operations or not self.report.is_good():
            return True
        if self.limit is None or time.monotonic() - began <= self.limit:
            return False
        self.report.hits = self.site.hits()
        if self.report.share >= self.mode.hits_least or self.limit >= 5 * self.first_limit:
            return True
        if self.faults and self.faults.is_alive():
            self.faults.stop()
        self.limit = time.monotonic() - began + self.first_limit / 2
        return False

    def _round(self, began):
        goal = min(self.operations, self._done() + ROUND)
        while self._done() < goal and not (self.limit and time.monotonic() - began > self.limit):
            for _ in range(50):
                self.driver.turn()
            for link in self.driver.stuck():
                self.report.problems.append(f"session {link.session.number} is stuck: {str(link.wish)[:300]}")
            if self.report.problems:
                return
        self._hold()
        if not self.report.problems:
            self._judge()
            self.driver.release()

    def _hold(self):
        """Waits until nothing is under way."""
        self.driver.hold()
        deadline = time.monotonic() + 60
        while not self.driver.is_held():
            self.driver.turn()
            if time.monotonic() > deadline:
                names = [f"{link.session.number}: {str(link.wish)[:200]}" for link in self.driver.all if not link.held]
                self.report.problems.append(f"sessions that do not come to an end: {names}")
                return

    def _judge(self):
        records, self.shared.records = self.shared.records, []
        with self.faults.may if self.faults else threading.Lock():
            records += self._look()
            self._count(records)
            self.report.violations += self.judge.judge(records)
            if self.site.loses and self.faults:
                self.judge.start_from(*self.site.lose())
                for session in self.sessions:
                    session.alive.clear()
                self.report.losses += 1
        if self.progress:
            print(f"  {self._done()} operations, {len(self.report.violations)} wrong, {self.site.hits()} hits", file=self.progress,
                  flush=True)

    def _look(self):
        """Reads everything past Weir: what the judge believes must be true as well."""
        begin = clock()
        cells, groups = self.site.truth()
        seen = [Seen(cell, *cells[cell]) for cell in range(len(PLACES))]
        made = [Read(begin, clock(), -1, DIRECT, "all", seen)]
        for group in {**self.judge.groups, **groups}:
            made.append(SetRead(begin, clock(), -1, DIRECT, "all", group, frozenset(groups.get(group, ()))))
        return made

    def _count(self, records):
        for record in records:
            if isinstance(record, (Read, SetRead, Guarded)):
                self.report.reads += record.way != DIRECT
            elif isinstance(record, Rule):
                self.report.rules += record.outcome == "done"
            elif hasattr(record, "outcome"):
                self.report.writes += record.outcome == "done"
                self.report.unknown += record.outcome == "unknown"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=tuple(MODES), action="append")
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--pause", type=float, default=1.5, help="seconds between two faults; 0: none are made")
    parser.add_argument("--seconds", type=float, help="end after these, however few operations that were")
    parser.add_argument("--full", action="store_true", help="a million operations")
    options = parser.parse_args()
    system.raise_file_limit()
    is_good = True
    for mode in options.mode or MODES:
        seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
        print(f"{mode}, seed {seed}", flush=True)
        report = Run(mode, 1_000_000 if options.full else options.operations, seed, options.sessions, options.pause,
                     limit=options.seconds, progress=sys.stdout).run()
        print(report, flush=True)
        is_good = is_good and report.is_good()
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
