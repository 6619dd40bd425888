"""P11, C15, C21: PostgreSQL and Redis are killed, stopped and brought back under load, again and again. Every answer is
checked, nobody is stuck, service is whole again within the time of a retry, and nothing is left behind."""

import random
import signal
import time

import pytest

from harness.caching import OPTIONS
from harness.crowd import Crowd
from harness.postgres import Postgres
from harness.system import descriptors, resident_bytes
from harness.wait import seconds, until
from harness.wire import Closed, ServerError

pytestmark = pytest.mark.needs("cache")

ROWS = 60
TABLES = f"""
CREATE TABLE ledger AS SELECT i AS id, 0 AS n, repeat('.', 400) || i || ':0' AS shown FROM generate_series(1, {ROWS}) i;
ALTER TABLE ledger ADD PRIMARY KEY (id);
CREATE TABLE docs AS SELECT i AS id, 'doc ' || i || repeat('.', 400) AS d FROM generate_series(1, 200) i;
ALTER TABLE docs ADD PRIMARY KEY (id);
"""
RETRY = 1  # server_login_retry, in seconds


class Ledger:
    """What each row may show: at least what somebody has read or was told is written, at most what was asked for."""

    def __init__(self):
        self.least = [0] * (ROWS + 1)
        self.most = [0] * (ROWS + 1)

    def read(self, ask, row):
        least = self.least[row]
        number, shown = ask(f"SELECT n, shown FROM ledger WHERE id = {row}").texts[0]
        assert least <= int(number) <= self.most[row], f"row {row} shows {number}, not {least} to {self.most[row]}"
        assert shown == "." * 400 + f"{row}:{number}", shown[-30:]
        self.least[row] = max(self.least[row], int(number))

    def write(self, ask, row):
        self.most[row] += 1
        number = self.most[row]
        tags = ask(f"UPDATE ledger SET n = {number}, shown = repeat('.', 400) || '{row}:{number}' WHERE id = {row}").tags
        assert tags == ["UPDATE 1"], tags
        self.least[row] = max(self.least[row], number)


class Load:
    """Sessions that write, read and ask, each checking all it is told; and how each of them fares."""

    def __init__(self, pooler):
        self.pooler = pooler
        self.ledger = Ledger()
        self.on = True
        self.may_fail = False  # while PostgreSQL is away, and only then
        self.failures = 0
        self.longest = 0.0
        acts = [self.write] * 3 + [self.read] * 5 + [self.ask] * 2
        self.served = [0] * len(acts)
        self.crowd = Crowd()
        for number, act in enumerate(acts):
            self.crowd.add(self.run, number, act)

    def run(self, number, act):
        while self.on:
            try:
                with self.pooler.bare_wire() as client:
                    client.login("app", "test")
                    while self.on:
                        act(number, lambda sql: self.answer(client, sql))
                        self.served[number] += 1
            except TimeoutError:
                raise AssertionError(f"client {number} is stuck")
            except (Closed, ServerError, OSError) as failure:
                assert self.may_fail, f"client {number} got {failure!r} while PostgreSQL was well"
                self.failures += 1
                time.sleep(0.02)

    def answer(self, client, sql):
        began = time.monotonic()
        answer = client.query(sql) if random.random() < 0.5 else client.extended(sql)
        if not self.may_fail:
            self.longest = max(self.longest, time.monotonic() - began)
        if answer.errors:
            raise ServerError(answer.errors[0])
        return answer

    def write(self, number, ask):
        # Every writer has rows of its own, so that it knows what stands there.
        self.ledger.write(ask, random.randrange(1 + number, ROWS + 1, 3))
        time.sleep(0.03)

    def read(self, number, ask):
        self.ledger.read(ask, random.randint(1, ROWS))
        for _ in range(5):
            row = random.randint(1, 200)
            assert ask(f"SELECT d FROM docs WHERE id = {row}").texts == [(f"doc {row}" + "." * 400,)]

    def ask(self, number, ask):
        mine = f"{number}:{self.served[number]}"
        assert ask(f"SELECT '{mine}'").texts == [(mine,)]

    def healthy(self):
        """False, or raises what a client has died of."""
        if self.crowd.failures:
            raise self.crowd.failures[0]
        return False

    def until(self, what, condition, limit):
        return until(what, lambda: self.healthy() or condition(), limit)

    def everyone_served(self, limit, times=3):
        before = list(self.served)
        self.until("every client is served", lambda: all(s >= b + times for s, b in zip(self.served, before)), limit)

    def hits(self, column="hits"):
        return sum(int(row[column]) for row in self.pooler.show("CACHE"))

    def hits_resume(self, column, limit):
        before = self.hits(column)
        self.until(f"{column} grow", lambda: self.hits(column) > before, limit)

    def end(self):
        self.on = False
        self.crowd.join(30)


def take_postgres_away(load, postgres, how):
    """Returns the seconds until everybody was served, and until the cache answered, since PostgreSQL was back."""
    failed = load.pooler.log().count("connect failed")
    load.may_fail = True
    postgres.stop(how)
    load.until("its absence is noticed", lambda: load.pooler.log().count("connect failed") > failed, 10)
    postgres.start()
    began = time.monotonic()
    load.everyone_served(15)
    served = time.monotonic() - began
    load.may_fail = False
    load.hits_resume("hits", 15)
    return served, time.monotonic() - began


def hold_postgres(load, postgres):
    """Nobody may fail: those who need PostgreSQL wait."""
    postgres.suspend()
    try:
        stood = []
        load.until("those who need it wait", lambda: stood.append(list(load.served[-2:])) or stood[-1] in stood[:-10], 10)
    finally:
        postgres.resume()
    began = time.monotonic()
    load.everyone_served(15)
    served = time.monotonic() - began
    load.hits_resume("hits", 15)
    return served, time.monotonic() - began


def take_redis_away(load, redis, how):
    """Nobody may fail. Returns the seconds until Redis answered again, since it was back."""
    if how == signal.SIGSTOP:
        redis.send(signal.SIGSTOP)
    else:
        redis.stop(how)
    load.everyone_served(5, times=10)
    if how == signal.SIGSTOP:
        redis.send(signal.SIGCONT)
    else:
        redis.start()
    began = time.monotonic()
    load.hits_resume("redis_hits", 10)
    return time.monotonic() - began


@pytest.fixture
def durable_postgres():
    """What it has said is committed stays so when it is killed, though not when the machine is."""
    server = Postgres(synchronous_commit="on").start().make_roles()
    yield server
    server.remove()


@pytest.mark.timeout(600)
def test_p11_c15_c21_postgres_and_redis_are_killed_under_load(durable_postgres, redis, new_pooler, request, sanitized):
    rounds = 20 if request.config.getoption("--full") else 2
    database = durable_postgres.make_database()
    database.execute(TABLES, user="app")
    line = {"host": "127.0.0.1", "port": durable_postgres.port, "dbname": database.name, "control_user": "control"}
    pooler = new_pooler({"test": line}, {**OPTIONS, "cache_redis": redis.url, "cache_memory": "64kB", "cache_max_result": "8kB",
                                         "cache_redis_timeout": 0.05, "server_login_retry": RETRY}).start()
    load = Load(pooler)
    try:
        load.hits_resume("redis_hits", 15)
        load.everyone_served(10, times=100)
        open_before, resident_before = descriptors(pooler.pid), resident_bytes(pooler.pid)
        whole, cached, again = [], [], []
        for turn in range(rounds):
            how = ("kill", "fast", "immediate", "hold")[turn % 4]
            served, hit = hold_postgres(load, durable_postgres) if how == "hold" else take_postgres_away(load, durable_postgres, how)
            whole.append(served)
            cached.append(hit)
            again.append(take_redis_away(load, redis, (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)[turn % 3]))
            if turn == 1:
                resident_before = resident_bytes(pooler.pid)
        load.everyone_served(10)
        until("descriptors return", lambda: descriptors(pooler.pid) <= open_before)
        open_after = descriptors(pooler.pid)
        resident = resident_bytes(pooler.pid)
    finally:
        load.end()
    print(f"{rounds} rounds, {sum(load.served)} turns of clients, {load.failures} errors while PostgreSQL was away; after at most"
          f" {max(whole):.2f} s everyone was served, after {max(cached):.2f} s from the cache, after {max(again):.2f} s from Redis;"
          f" longest answer while PostgreSQL was up {load.longest:.2f} s; descriptors {open_before} and {open_after},"
          f" resident {resident_before >> 10} kB and {resident >> 10} kB")
    assert max(whole) < seconds(RETRY + 2)
    assert sanitized or resident - resident_before < 2 << 20
    check(load, database)


def check(load, database):
    """The table itself, at the end: nothing that was acknowledged is missing, nothing stands there that nobody wrote."""
    for row, number in database.execute("SELECT id, n FROM ledger"):
        assert load.ledger.least[row] <= number <= load.ledger.most[row], row
