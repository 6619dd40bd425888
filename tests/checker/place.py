"""What is checked: a PostgreSQL, one or more Weirs in front of it, a Redis, and what can be done to them."""

import http.client
import signal
import time
from typing import NamedTuple

import rights

from cells import SETUP, SETS, PLACES
from history import DIRECT
from harness.pooler import Pooler
from harness.postgres import Postgres
from harness.redis import Redis
from harness.wait import seconds, until
from session import AROUND

OPTIONS = {"default_pool_size": 8, "max_client_conn": 200, "cache_ttl": 3600, "server_login_retry": 0.2,
           "harmless_functions": "tools.bump, tools.calm"}


class Mode(NamedTuple):
    """options: Weir's. sessions_around: how many sessions speak to PostgreSQL past all Weirs. behind: how old an answer may be,
    in seconds, where it was not this Weir that was written through. may_lose: whether commits may be acknowledged before they
    are safe. is_waited_for: PostgreSQL's commits wait for Weir's feed. has_guards: see rights.py. calm: how much rarer than
    otherwise Weir itself is written through, and everything made old at once: both hide what is older than it may be."""
    options: dict
    weirs: int = 1
    has_redis: bool = False
    sessions_around: int = 0
    behind: float = None
    may_lose: bool = True
    is_waited_for: bool = False
    has_guards: bool = False
    calm: float = 1
    hits_least: float = 0.2  # of all reads


SLOT = "weir_checked"
MODES = {
    "exact": Mode({"cache": "exact", "cache_writes": "through_weir"}),
    "ttl": Mode({"cache": "ttl", "cache_ttl": 1}, weirs=2, has_redis=True, sessions_around=1, behind=1),
    "feed": Mode({"cache": "exact", "cache_feed": "on", "cache_max_lag": 1}, sessions_around=3, behind=1, calm=0.02),
    "synchronous": Mode({"cache": "exact", "cache_feed": "synchronous"}, sessions_around=3, may_lose=False, is_waited_for=True),
    "rights": Mode({"cache": "exact", "cache_writes": "through_weir"}, may_lose=False, has_guards=True,
                   hits_least=0.06),
    # Code that nobody can see through has every Weir look at the catalog, and a shared cache waits for all.
    "shared": Mode({"cache": "exact", "cache_writes": "through_weir", "cache_share": 1, "cache_lease": 0.5,
                    "cache_redis_timeout": 0.1}, weirs=2, has_redis=True, hits_least=0.005),
}


class Site:
    """loses: commits are acknowledged before they are safe, so that a crash takes some back."""

    def __init__(self, mode, weirs=1, has_redis=False, loses=False, workers=1, binary=None):
        self.mode, self.loses = MODES[mode], loses
        self.postgres = Postgres(synchronous_commit="off" if loses else "on", wal_writer_delay="10s", lock_timeout="'8s'",
                                 deadlock_timeout="'50ms'", autovacuum="off", log_min_messages="fatal")
        self.redis = Redis() if has_redis else None
        self.weirs = []
        self.lost_hits = 0  # of Weirs that have ended
        self.arguments = weirs, workers, binary

    def start(self):
        weirs, workers, binary = self.arguments
        self.postgres.start().make_roles()
        self.database = self.postgres.make_database()
        self.database.execute(SETUP, user="app")
        self.database.execute("GRANT other TO app")
        if self.mode.has_guards:
            self.database.execute(rights.SETUP_ROLES)
            self.database.execute(rights.setup(), user="app")
        if self.redis is not None:
            self.redis.start()
        options = {**OPTIONS, **self.mode.options, "workers": workers,
                   **({"cache_redis": self.redis.url} if self.redis is not None else {})}
        named = {"binary": binary} if binary else {}
        for _ in range(weirs):
            databases = {"test": {"host": "127.0.0.1", "port": self.postgres.port, "dbname": self.database.name,
                                  "control_user": "control",
                                  **({"cache_feed_slot": SLOT} if "cache_feed" in options else {})}}
            self.weirs.append(Pooler(databases, options, **named).start())
        if self.mode.is_waited_for:
            # Not before: commits would wait for a feed that waits for them.
            self.weirs[0].says(f"feed: up, replication slot \"{SLOT}\"")
            with self.postgres.connect() as admin:
                admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 ({SLOT})'")
                admin.execute("SELECT pg_reload_conf()")
        return self

    def remove(self):
        problems = []
        for weir in self.weirs:
            try:
                weir.stop()
            except AssertionError as problem:
                problems.append(str(problem))
            problems += weir.complaints()
            weir.remove()
        if self.redis is not None:
            self.redis.remove()
        self.postgres.remove()
        return problems

    def port_of(self, way):
        return self.postgres.port if way == DIRECT else self.weirs[way].port

    def database_of(self, way):
        return self.database.name if way == DIRECT else "test"

    def ttl_ns(self):
        return self.mode.behind and self.mode.behind * 1_000_000_000

    # what it tells

    def hits(self):
        return self.lost_hits + sum(self._hits_of(weir) for weir in self.weirs)

    def _hits_of(self, weir):
        try:
            return int(weir.hits())
        except (OSError, http.client.HTTPException, AssertionError):
            return 0  # it is just ending, or not there

    def truth(self):
        """What the tables hold: {cell: (number, token)} and {group: elements}, straight from PostgreSQL."""
        with self.database.connect() as direct:
            cells = {cell: direct.execute(f"SELECT n, v FROM {place.schema}.{place.reads[-1]} WHERE id = {place.id}").fetchone()
                     for cell, place in enumerate(PLACES)}
            groups = {}
            for table in SETS:
                for number, element in direct.execute(f"SELECT group_id, element FROM one.{table}"):
                    groups.setdefault((table, number), []).append(element)
        return cells, groups

    # what is done to it

    def terminate_some(self, random):
        """Ends some of the sessions in PostgreSQL, Weir's own among them."""
        # Where commits wait for Weir, those around it are spared: who ends a wait makes visible what Weir has not learnt of.
        spared = AROUND if self.mode.is_waited_for else ""
        with self.postgres.connect() as admin:
            pids = [pid for pid, in admin.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
                                                  " AND (%s = '' OR application_name <> %s)",
                                                  (self.database.name, spared, spared))]
            for pid in random.sample(pids, min(len(pids), random.randint(1, 3))):
                admin.execute("SELECT pg_terminate_backend(%s)", (pid,))

    def restart_postgres(self, random):
        # The fast way ends waits as well.
        ways = ("fast",) if self.loses else ("immediate",) if self.mode.is_waited_for else ("immediate", "fast")
        self.postgres.stop(random.choice(ways))
        self.postgres.start()

    def crash_postgres(self, random):
        self.postgres.stop("kill")
        self.postgres.start()

    def suspend_postgres(self, random):
        self.postgres.suspend()
        time.sleep(random.uniform(0.05, 0.5))
        self.postgres.resume()

    def kill_weir(self, random):
        weir = random.choice(self.weirs)
        self.lost_hits += self._hits_of(weir)
        weir.process.kill()
        weir.process.wait(seconds(10))
        weir.process = None
        weir.start()

    def restart_weir(self, random):
        weir = random.choice(self.weirs)
        self.lost_hits += self._hits_of(weir)
        weir.stop()
        weir.start()

    def reload_weir(self, random):
        random.choice(self.weirs).reload()

    def kill_redis(self, random):
        self.redis.stop(signal.SIGKILL)
        time.sleep(random.uniform(0, 0.3))
        self.redis.start()

    def suspend_redis(self, random):
        self.redis.send(signal.SIGSTOP)
        time.sleep(random.uniform(0.01, 0.3))
        self.redis.send(signal.SIGCONT)

    def flush_redis(self, random):
        self.redis.command("FLUSHALL")

    def faults(self):
        """What may be done, with weights."""
        made = [(self.terminate_some, 8), (self.restart_postgres, 1), (self.suspend_postgres, 1), (self.kill_weir, 2),
                (self.restart_weir, 1), (self.reload_weir, 1)]
        if not self.loses:
            made.append((self.crash_postgres, 2))  # where it loses something, that has to be told: see lose
        if self.redis is not None:
            made += [(self.kill_redis, 1), (self.suspend_redis, 2), (self.flush_redis, 1)]
        return made

    def lose(self):
        """Kills PostgreSQL in a moment in which no session waits for it; returns the truth afterwards."""
        self.postgres.stop("kill")
        self.postgres.start()
        return until("PostgreSQL tells", self._truth_or_none)

    def _truth_or_none(self):
        try:
            return self.truth()
        except Exception:  # psycopg's, while it starts
            if self.postgres.process is None or self.postgres.process.poll() is not None:
                raise
            return None


