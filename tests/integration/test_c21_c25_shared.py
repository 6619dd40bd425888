"""C21, C25: several Weirs on one Redis. What is written through one is never read as it was before through another,
whatever becomes of Redis, of a Weir, or of the word between them; and what one has fetched is a hit for all."""

import signal
import threading
import time

import pytest

from harness.caching import ITEMS, OPTIONS, READ, Cache, value
from harness.redis import Redis
from harness.tap import Tap
from harness.wait import seconds, until
from harness.wire import query

pytestmark = pytest.mark.needs("cache")

LEASE = 1
SLEEPERS = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' " \
    "AND pid <> pg_backend_pid()"
SHARED = {**OPTIONS, "cache_share": 1, "cache_lease": LEASE, "cache_redis_timeout": 0.2, "default_pool_size": 6}


class Group:
    """Weirs in front of one database."""

    def __init__(self, new_pooler, database, redis):
        self.new_pooler, self.database, self.redis = new_pooler, database, redis
        self.weirs = []

    def add(self, is_ready=True, url=None, port=None, **options):
        line = {"host": "127.0.0.1", "port": port or self.database.postgres.port, "dbname": self.database.name,
                "control_user": "control"}
        pooler = self.new_pooler({"test": line}, {**SHARED, "cache_redis": url or self.redis.url, **options})
        pooler.port = pooler.options["listen_port"]
        pooler.start()
        cache = Cache(pooler, self.database)
        self.weirs.append(cache)
        if is_ready:
            cache.get_ready()
        return cache

    def all_ready(self):
        for cache in self.weirs:
            cache.get_ready()


@pytest.fixture
def group(new_pooler, database, redis):
    database.execute(ITEMS, user="app")
    return Group(new_pooler, database, redis)


@pytest.fixture
def pair(group):
    first, second = group.add(is_ready=False), group.add(is_ready=False)
    group.all_ready()
    return first, second


def read(client, sql=READ):
    return value(client.query(sql))


def settled(cache, expected, sql=READ, limit=15):
    """The answer comes from the cache, and is this one."""
    with cache.wire() as client:
        answer = cache.warm(lambda: read(client, sql), limit=limit)
    assert answer == expected


def test_c21_what_one_has_fetched_is_a_hit_for_the_other(pair):
    first, second = pair
    settled(first, "item 1")
    with second.wire() as client:
        assert second.hit(lambda: read(client)) == "item 1"
        assert second.hit(lambda: read(client)) == "item 1"
    assert second.counted("redis_hits") >= 1


WRITES = {
    "autocommit": ["UPDATE items SET v = '{v}' WHERE id = 1"],
    "block": ["BEGIN", "UPDATE items SET v = '{v}' WHERE id = 1", "SELECT 1", "COMMIT"],
    "one message": ["BEGIN; UPDATE items SET v = '{v}' WHERE id = 1; COMMIT"],
    "unknown": ["DO $$ BEGIN UPDATE items SET v = '{v}' WHERE id = 1; END $$"],
    "procedure": ["CALL set_item('{v}')"],
    "prepared": ["PREPARE p AS UPDATE items SET v = '{v}' WHERE id = 1", "EXECUTE p", "DEALLOCATE p"],
}


@pytest.mark.parametrize("kind", WRITES)
def test_c21_what_is_written_through_one_is_read_through_the_other(pair, database, kind):
    first, second = pair
    database.execute("CREATE PROCEDURE set_item(text) LANGUAGE sql AS 'UPDATE items SET v = $1 WHERE id = 1'", user="app")
    with first.wire() as writer, second.wire() as reader, first.wire() as own:
        for turn in range(20):
            for statement in WRITES[kind]:
                assert not writer.query(statement.format(v=f"turn {turn}")).errors
            assert read(reader) == f"turn {turn}"
            assert read(own) == f"turn {turn}"
    settled(second, "turn 19")
    settled(first, "turn 19")


def test_c21_writes_of_the_extended_protocol_and_of_copy(pair):
    first, second = pair
    with second.wire() as reader, first.pooler.connect() as writer:
        for turn in range(10):
            writer.execute("UPDATE items SET v = %s WHERE id = 1", (f"turn {turn}",), prepare=turn % 2 == 0)
            assert read(reader) == f"turn {turn}"
            with writer.pipeline():
                for step in range(5):
                    writer.execute("UPDATE items SET n = %s WHERE id = 1", (10 * turn + step,))
            assert read(reader, "SELECT n FROM items WHERE id = 1") == str(10 * turn + 4)
            with writer.cursor() as cursor, cursor.copy("COPY items (id, v) FROM STDIN") as copy:
                copy.write_row((1000 + turn, "copied"))
            assert read(reader, "SELECT count(*) FROM items WHERE v = 'copied'") == str(turn + 1)


def test_c21_definitions_and_rights(pair, database):
    first, second = pair
    settled(second, "item 1")
    with first.wire() as writer, second.wire() as reader:
        writer.do("ALTER TABLE items RENAME COLUMN v TO w")
        assert reader.query(READ).errors
        writer.do("ALTER TABLE items RENAME COLUMN w TO v")
        assert read(reader) == "item 1"
    settled(second, "item 1")
    with first.wire() as writer, second.wire(user="other") as reader:
        writer.do("GRANT SELECT ON items TO other")
        second.warm(lambda: read(reader))
        writer.do("REVOKE SELECT ON items FROM other")
        assert reader.query(READ).errors


def test_c21_a_trigger_made_through_one_is_known_to_writes_through_the_other(pair):
    first, second = pair
    with first.wire() as writer, second.wire() as reader:
        reader.do("CREATE TABLE log (n int); INSERT INTO log VALUES (0)")
        for turn in range(1, 6):
            reader.do(f"CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
                      f"$$ BEGIN UPDATE log SET n = {turn}; RETURN NEW; END $$; "
                      f"DROP TRIGGER IF EXISTS note ON items; "
                      f"CREATE TRIGGER note AFTER UPDATE ON items FOR EACH ROW EXECUTE FUNCTION note()")
            # The reader believes again, before the writer's own look at the catalog may be due.
            assert second.warm(lambda: read(reader, "SELECT max(n) FROM log"), "max(n)", 15) == str(turn - 1)
            writer.do(f"UPDATE items SET n = {turn} WHERE id = 1")
            assert read(reader, "SELECT max(n) FROM log") == str(turn)


def test_c21_a_commit_waits_for_the_others_when_redis_hangs(pair, redis):
    first, second = pair
    settled(second, "item 1")
    with first.wire() as writer, second.wire() as reader:
        writer.do("BEGIN")
        writer.do("UPDATE items SET v = 'held' WHERE id = 1")
        redis.send(signal.SIGSTOP)
        try:
            began = time.monotonic()
            writer.do("COMMIT")
            took = time.monotonic() - began
            assert LEASE <= took < seconds(3 * LEASE + 1), took
            assert read(reader) == "held"
            began = time.monotonic()
            writer.do("UPDATE items SET v = 'at once' WHERE id = 1")
            assert time.monotonic() - began < seconds(LEASE)
            assert read(reader) == "at once"
        finally:
            redis.send(signal.SIGCONT)
        assert read(reader) == "at once"
    first.pooler.says("the fence has fallen")
    settled(second, "at once")
    settled(first, "at once")


def test_c21_a_client_that_leaves_while_its_commit_is_held(pair, redis):
    first, second = pair
    settled(second, "item 1")
    writer = first.wire()
    writer.do("BEGIN")
    writer.do("UPDATE items SET v = 'gone' WHERE id = 1")
    redis.send(signal.SIGSTOP)
    try:
        writer.send(query("COMMIT"))
        assert writer.is_quiet(seconds(0.2))
        writer.close()
        with first.wire() as other:
            other.do("UPDATE items SET n = 5 WHERE id = 2")
    finally:
        redis.send(signal.SIGCONT)
    settled(second, "item 1")
    assert read_directly(second) == "item 1"


def test_c21_an_autocommit_write_that_is_given_up_while_it_is_held(pair, redis):
    first, second = pair
    settled(second, "item 1")
    writer = first.wire()
    redis.send(signal.SIGSTOP)
    try:
        writer.send(query("UPDATE items SET v = 'gone' WHERE id = 1"))
        assert writer.is_quiet(seconds(0.2))
        writer.close()
    finally:
        redis.send(signal.SIGCONT)
    settled(second, "item 1")
    assert read_directly(second) == "item 1"


def read_directly(cache):
    return cache.direct(READ)[0][0]


@pytest.mark.parametrize("fault", ["killed", "flushed", "restarted empty"])
def test_c21_redis_loses_everything(pair, redis, fault):
    first, second = pair
    settled(second, "item 1")
    with first.wire() as writer, second.wire() as reader, second.wire() as other:
        for turn in range(3):
            writer.do("BEGIN")
            writer.do(f"UPDATE items SET v = 'turn {turn}' WHERE id = 1")
            if fault == "flushed":
                redis.command("FLUSHALL")
            else:
                redis.stop(signal.SIGKILL)
            if fault == "restarted empty":
                redis.start()
            writer.do("COMMIT")
            assert read(reader) == f"turn {turn}"
            other.do(f"UPDATE items SET v = 'again {turn}' WHERE id = 1")
            assert read(reader) == f"again {turn}"
            if fault == "killed":
                redis.start()
        assert read(reader) == "again 2"
    settled(first, "again 2")
    settled(second, "again 2")


def test_c21_flushed_while_a_marked_write_is_under_way(pair, redis, database):
    first, second = pair
    settled(second, "item 1")
    with first.wire() as writer, second.wire() as reader:
        slow = threading.Thread(target=lambda: writer.do(
            "UPDATE items SET v = 'slow' FROM (SELECT pg_sleep(6)) s WHERE id = 1"))
        slow.start()
        until("it runs", lambda: database.value(SLEEPERS) == 1)
        redis.command("FLUSHALL")
        while slow.is_alive():
            assert read(reader) in ("item 1", "slow")
        slow.join()
        assert read(reader) == "slow"
    settled(second, "slow")


def test_c21_one_of_them_is_cut_off_from_redis(group, redis):
    with Tap(redis.port) as tap:
        first = group.add(is_ready=False, url=f"redis://127.0.0.1:{tap.port}")
        second = group.add(is_ready=False)
        group.all_ready()
        settled(second, "item 1")
        with first.wire() as writer, second.wire() as reader:
            tap.shut()
            tap.cut()
            for turn in range(5):
                writer.do(f"UPDATE items SET v = 'cut {turn}' WHERE id = 1")
                assert read(reader) == f"cut {turn}"
            tap.open()
        first.pooler.says("the fence has fallen")
        settled(first, "cut 4")
        settled(second, "cut 4")


def test_c21_who_is_cut_off_from_postgresql_believes_no_longer(group, redis, postgres):
    """The writer cannot reach Redis, the reader can, but not PostgreSQL: it cannot know of the fence."""
    with Tap(redis.port) as to_redis, Tap(postgres.port) as to_postgres:
        first = group.add(is_ready=False, url=f"redis://127.0.0.1:{to_redis.port}")
        second = group.add(is_ready=False, port=to_postgres.port)
        group.all_ready()
        settled(second, "item 1")
        with first.wire() as writer, second.wire() as reader:
            assert second.hit(lambda: read(reader)) == "item 1"
            to_postgres.hold_answers()
            to_redis.shut()
            to_redis.cut()
            writer.do("UPDATE items SET v = 'behind the fence' WHERE id = 1")
            reader.send(query(READ))
            assert reader.is_quiet(0.3)  # nobody can tell
            to_postgres.release()
            assert [row[0] for row in texts_of(reader)] == ["behind the fence"]
            to_redis.open()
        settled(second, "behind the fence")


@pytest.mark.parametrize("mode", ["exact", "ttl"])
def test_c21_a_write_of_which_nobody_can_be_told(new_pooler, own_postgres, redis, mode):
    """Neither Redis nor the control connection is there: refused where an answer may never be old, else let through."""
    database = own_postgres.make_database()
    database.execute(ITEMS, user="app")
    group = Group(new_pooler, database, redis)
    cache = group.add(cache=mode)
    with cache.wire() as client:
        client.do("UPDATE items SET v = 'told' WHERE id = 1")
        database.execute("ALTER ROLE control NOLOGIN")
        database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'control'")
        redis.stop(signal.SIGKILL)
        until("it is known", lambda: cache.pooler.show("CACHE")[0]["state"] != "")
        client.send(query("UPDATE items SET v = 'untold' WHERE id = 1"))
        if mode == "exact":
            assert "57P03" in str(client.rest().errors)
            assert read_directly(cache) == "told"
        else:
            assert not client.ready().errors
            assert read_directly(cache) == "untold"


def texts_of(client):
    answer = client.ready()
    assert not answer.errors, answer.errors
    return answer.texts


def test_c25_a_weir_is_killed_in_the_middle_of_a_write(pair, database):
    first, second = pair
    settled(second, "item 1")
    writer = first.wire()
    writer.send(query("UPDATE items SET v = 'last words' FROM (SELECT pg_sleep(2)) s WHERE id = 1"))
    until("it runs", lambda: database.value(SLEEPERS) == 1)
    first.pooler.process.kill()
    first.pooler.process.wait(10)
    first.pooler.process = None
    with second.wire() as reader:
        def is_written():
            seen = read(reader)
            assert seen in ("item 1", "last words")
            return seen == "last words" or database.value(SLEEPERS) == 0
        until("it is over", is_written)
        assert read(reader) == read_directly(second)
    settled(second, read_directly(second), limit=30)
    second.pooler.says("the writes of a Weir that is gone have ended")


def test_c21_processes_on_one_port(group):
    """exact with so_reuseport: the kernel gives each connection to one or the other."""
    first = group.add(is_ready=False, so_reuseport=1)
    group.add(is_ready=False, so_reuseport=1, listen_port=first.pooler.port)
    until("both are ready", lambda: all(ready(first) for _ in range(8)), 20)
    clients = [first.wire() for _ in range(16)]
    for turn in range(30):
        clients[turn % 16].do(f"UPDATE items SET v = 'turn {turn}' WHERE id = 1")
        assert {read(client) for client in clients} == {f"turn {turn}"}
    assert sum(first.executed(lambda: read(client))[1] == 0 for client in clients) >= 14


def ready(cache):
    with cache.wire():
        return {row["state"] for row in cache.pooler.show("CACHE")} == {""}


def test_c25_a_restart_of_one_is_safe(pair, database):
    first, second = pair
    settled(first, "item 1")
    first.pooler.stop()
    with second.wire() as writer:
        writer.do("UPDATE items SET v = 'while away' WHERE id = 1")
    first.pooler.start()
    with first.wire() as reader:
        assert read(reader) == "while away"
    settled(first, "while away")
    settled(second, "while away")


def test_c21_a_redis_that_may_forget_marks_is_refused(group, redis):
    redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    cache = group.add(is_ready=False)
    with cache.wire() as client:
        until("it says why", lambda: "allkeys" in cache.pooler.show("CACHE")[0]["state"])
        cache.never_cached(lambda: read(client))


def test_c21_with_two_different_redis_nobody_believes(group):
    other = Redis().start()
    try:
        first, second = group.add(), group.add(is_ready=False, url=other.url)
        with first.wire(), second.wire():
            until("both say why", lambda: all("same Redis" in c.pooler.show("CACHE")[0]["state"]
                                              for c in (first, second)), 15)
        with first.wire() as reader, second.wire() as writer:
            for turn in range(5):
                writer.do(f"UPDATE items SET v = 'turn {turn}' WHERE id = 1")
                assert read(reader) == f"turn {turn}"
            first.never_cached(lambda: read(reader))
    finally:
        other.remove()


def test_c21_values_that_are_evicted(pair, redis):
    first, second = pair
    settled(first, "item 1")
    for key in redis.keys():
        if key.startswith(b"weir:v:"):
            redis.command("DEL", key)
    with second.wire() as client:
        assert read(client) == "item 1"
    settled(second, "item 1")
