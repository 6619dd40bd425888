"""C12, C14, C15, C28, C33: reads and writes that overlap. The tap holds single answers back, so that each race happens
on purpose."""

import time

import pytest

from harness.caching import READ, value
from harness.counters import COUNTERS, Counters
from harness.wait import until
from harness.wire import SYNC, Closed, once, query

pytestmark = pytest.mark.needs("cache")

# An answer is held by its text; the comment makes one reader's request stand out, and is part of what is cached.
SLOW = "SELECT v FROM items /* slow */ WHERE id = 1"


@pytest.mark.parametrize("write", ["UPDATE items SET v = 'new' WHERE id = 1", "DO $$ BEGIN UPDATE items SET v = 'new' WHERE id = 1; END $$",
                                   "BEGIN; UPDATE items SET v = 'new' WHERE id = 1; COMMIT"])
@pytest.mark.parametrize("protocol", [query, lambda sql: once(sql) + SYNC], ids=["simple", "extended"])
def test_c12_a_read_that_began_before_the_write_is_not_stored_after_it(cached, tap, protocol, write):
    cache = cached(line={"port": tap.port})
    reader, writer, later = cache.wire(), cache.wire(), cache.wire()

    def ask(client):
        client.send(protocol(SLOW))
        return value(client.ready())

    assert cache.warm(lambda: ask(reader)) == cache.warm(lambda: ask(later)) == "item 1"
    writer.do("UPDATE items SET v = 'middle' WHERE id = 1")
    tap.hold_answer_to("slow")
    reader.send(protocol(SLOW))
    assert tap.held.wait(10)
    writer.do(write)
    tap.release()
    assert value(reader.ready()) in ("middle", "new")
    for _ in range(4):
        assert ask(later) == "new", "the old answer was stored after the write"
    assert cache.counted("discarded") >= 1


@pytest.mark.parametrize("front", [query("SELECT 1"), once("SELECT 1") + SYNC, query("SELECT v FROM items WHERE id = 2"),
                                   query("BEGIN; COMMIT"), query("UPDATE items SET n = 1 WHERE id = 2")],
                         ids=["simple read", "extended read", "cached read", "block", "write"])
@pytest.mark.parametrize("protocol", [query, lambda sql: once(sql) + SYNC], ids=["simple", "extended"])
def test_c12_an_answer_in_front_of_a_write_does_not_end_it(cached, protocol, front):
    """In a pipeline the first ReadyForQuery comes while the write behind it still runs: what is read meanwhile is not
    current once that is answered."""
    cache = cached()
    reader, writer = cache.wire(), cache.wire()
    assert cache.warm(lambda: value(reader.query(READ))) == "item 1"
    with cache.database.connect() as holder:
        with holder.transaction():
            holder.execute("SELECT FROM items WHERE id = 1 FOR UPDATE")
            writer.send(front + protocol("UPDATE items SET v = 'new' WHERE id = 1"))
            writer.ready()
            until("it waits", lambda: cache.database.value(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE items SET v%'") == 1)
            for _ in range(4):
                assert value(reader.query(READ)) == "item 1"
    assert not writer.ready().errors
    for _ in range(4):
        assert value(reader.query(READ)) == "new", "stored while the write was under way"
    assert cache.warm(lambda: value(reader.query(READ))) == "new", "the mark has ended"


def test_c12_a_read_between_update_and_commit_is_not_stored(cached):
    cache = cached()
    reader, writer = cache.wire(), cache.wire()
    assert cache.warm(lambda: value(reader.query(READ))) == "item 1"
    for turn in range(5):
        writer.do("BEGIN")
        writer.do(f"UPDATE items SET v = 'turn {turn}' WHERE id = 1")
        old = value(reader.query(READ))
        assert old == ("item 1" if turn == 0 else f"turn {turn - 1}")
        assert value(writer.query(READ)) == f"turn {turn}"
        value(reader.query(READ))
        writer.do("COMMIT")
        assert value(reader.query(READ)) == f"turn {turn}"
        value(reader.query(READ))


def test_c12_the_commit_is_seen_before_the_writer_hears_of_it(cached, tap):
    """While the answer to COMMIT is on its way, a reader gets the old or the new row; once it reads the new one, it
    never reads the old one again."""
    cache = cached(line={"port": tap.port})
    reader, writer = cache.wire(), cache.wire()
    cache.warm(lambda: value(reader.query(READ)))
    tap.hold_answer_to("written")
    writer.send(query("UPDATE items SET v = 'written' WHERE id = 1"))
    assert tap.held.wait(10)
    until("it is committed", lambda: cache.direct(READ) == [("written",)])
    for _ in range(4):
        assert value(reader.query(READ)) == "written", "PostgreSQL would have shown the committed row"
    tap.release()
    assert not writer.ready().errors
    assert value(reader.query(READ)) == "written"


@pytest.mark.parametrize("protocol", [query, lambda sql: once(sql) + SYNC], ids=["simple", "extended"])
@pytest.mark.parametrize("front", ["COMMIT", "ROLLBACK", "COMMIT; SELECT 1"])
def test_c12_a_write_sent_along_with_the_end_of_a_transaction_is_marked_too(cached, tap, protocol, front):
    """When the write is sent, the transaction in front of it is still open."""
    cache = cached(line={"port": tap.port})
    reader, writer = cache.wire(), cache.wire()
    cache.warm(lambda: value(reader.query(READ)))
    writer.do("BEGIN")
    writer.do("SELECT v FROM items WHERE id = 2 /* in a transaction */ FOR SHARE")
    tap.hold_answer_to("written")
    writer.send(query(front) + protocol("UPDATE items SET v = 'written' WHERE id = 1"))
    assert tap.held.wait(10)
    until("it is committed", lambda: cache.direct(READ) == [("written",)])
    for _ in range(4):
        assert value(reader.query(READ)) == "written", "PostgreSQL would have shown the committed row"
    tap.release()
    assert not writer.ready(2).errors
    assert value(reader.query(READ)) == "written"


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("how", ["begin", "set transaction", "characteristics", "setting", "startup", "database"])
def test_c14_a_snapshot_is_kept(cached, level, how, database):
    cache = cached()
    if how == "database":
        database.execute(f"ALTER DATABASE {database.name} SET default_transaction_isolation = '{level.lower()}'")
        database.terminate_backends()
    writer = cache.wire()
    parameters = {"default_transaction_isolation": level.lower()} if how == "startup" else {}
    reader = until("a session", lambda: cache.wire(**parameters))
    if how == "characteristics":
        reader.do(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}")
    elif how == "setting":
        reader.do(f"SET default_transaction_isolation = '{level.lower()}'")
    for _ in range(5):
        value(writer.query(READ))
    reader.do(f"BEGIN ISOLATION LEVEL {level}" if how == "begin" else "BEGIN")
    if how == "set transaction":
        reader.do(f"SET TRANSACTION ISOLATION LEVEL {level}")
    assert value(reader.query("SELECT v FROM items WHERE id = 2")) == "item 2"
    assert not writer.query("UPDATE items SET v = 'new' WHERE id IN (1, 3)").errors
    for _ in range(5):
        assert value(writer.query(READ)) == "new"
    assert value(reader.query(READ)) == "item 1", "the snapshot is older than the write"
    assert value(reader.query("SELECT v FROM items WHERE id = 3")) == "item 3"
    for _ in range(3):
        assert value(writer.query("SELECT v FROM items WHERE id = 3")) == "new", "the snapshot's row was stored"
    reader.do("COMMIT")
    assert value(reader.query(READ)) == "new"


@pytest.mark.parametrize("protocol", ["query", "extended"])
def test_c14_own_writes_are_seen_and_rolled_back(cached, protocol):
    cache = cached()
    client, other = cache.wire(), cache.wire()
    ask = lambda who: value(getattr(who, protocol)(READ))  # noqa: E731
    assert cache.warm(lambda: ask(client)) == "item 1"
    client.do("BEGIN")
    assert ask(client) == "item 1"
    client.do("UPDATE items SET v = 'mine' WHERE id = 1")
    for _ in range(3):
        assert ask(client) == "mine"
        assert ask(other) == "item 1"
    client.do("SAVEPOINT s")
    client.do("UPDATE items SET v = 'inner' WHERE id = 1")
    assert ask(client) == "inner"
    client.do("ROLLBACK TO s")
    for _ in range(2):
        assert ask(client) == "mine"
        assert ask(other) == "item 1"
    client.do("ROLLBACK")
    for _ in range(4):
        assert ask(client) == "item 1"
        assert ask(other) == "item 1"
    assert cache.warm(lambda: ask(client)) == "item 1", "a rolled back write does not end caching"


def test_c14_a_failed_transaction_gives_no_hits(cached):
    cache = cached()
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    client.do("BEGIN")
    client.query("SELECT 1/0")
    for send in (client.query, client.extended):
        assert [e["C"] for e in send(READ).errors] == ["25P02"]
    client.do("ROLLBACK")
    assert value(client.query(READ)) == "item 1"


def test_c14_a_locked_read_is_followed_by_the_truth(cached):
    cache = cached()
    client, writer = cache.wire(), cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    client.do("BEGIN")
    assert value(client.query(READ + " FOR UPDATE")) == "item 1"
    writer.send(query("UPDATE items SET v = 'after' WHERE id = 1"))
    assert value(client.query(READ)) == "item 1"
    client.do("COMMIT")
    writer.ready()
    assert value(client.query(READ)) == "after"


def test_c14_read_committed_transactions_do_hit(cached):
    cache = cached()
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))

    def in_transaction():
        client.do("BEGIN")
        seen = value(client.query(READ)), value(client.extended(READ))
        client.do("COMMIT")
        return seen
    cache.warm(in_transaction)
    assert cache.hit(in_transaction) == ("item 1", "item 1")


@pytest.mark.parametrize("write", ["UPDATE items SET v = 'lost answer' WHERE id = 1",
                                   "BEGIN; UPDATE items SET v = 'lost answer' WHERE id = 1; COMMIT"])
def test_c15_a_commit_whose_answer_was_lost_counts_as_written(cached, tap, write):
    cache = cached(line={"port": tap.port})
    reader, writer = cache.wire(), cache.wire()
    assert cache.warm(lambda: value(reader.query(READ))) == "item 1"
    tap.hold_answer_to("lost answer")
    writer.send(query(write))
    assert tap.held.wait(10)
    until("it is committed", lambda: cache.direct(READ) == [("lost answer",)])
    tap.cut()
    tap.release()
    try:
        assert writer.up_to("EZ").errors, "nobody knows how it ended"
    except Closed:
        pass
    for _ in range(4):
        assert until("an answer", lambda: answer_or_none(cache, READ)) == "lost answer"


def answer_or_none(cache, sql):
    """One answer of a new session; None while the pool recovers."""
    try:
        found = cache.wire().query(sql)
        return None if found.errors else found.texts[0][0]
    except (Closed, OSError):
        return None


def test_c15_c28_a_write_that_outlives_its_connection_to_the_server(cached, tap):
    """query_timeout ends the connection, and the cancel cannot get through: the backend knows nothing of either, and commits."""
    cache = cached(line={"port": tap.port}, default_pool_size=3, query_timeout=0.5)
    reader, writer = cache.wire(), cache.wire()
    for client in (reader, writer):  # a server for each, since new ones will not be had
        client.do("BEGIN; SELECT 1")
    reader.do("COMMIT")
    writer.do("COMMIT")
    cache.warm(lambda: value(reader.query(READ)))
    tap.refuse_new()
    writer.send(query("UPDATE items SET v = 'late' WHERE id = 1 AND pg_sleep(1.5) IS NOT NULL"))
    try:
        assert writer.up_to("EZ").errors
    except Closed:
        pass
    ends, committed = time.monotonic() + 4, False
    while time.monotonic() < ends:
        committed = committed or cache.direct(READ) == [("late",)]
        seen = value(reader.query(READ))
        assert seen == "late" or not committed, "an old row after the commit was visible"
        time.sleep(0.02)
    tap.release()
    assert committed, "the write was meant to commit"


@pytest.mark.parametrize("ending", ["reset", "close"])
def test_c28_a_write_that_commits_after_its_client_has_gone(cached, tap, ending):
    """The client vanishes in mid-statement, and the cancel cannot get through: the write commits seconds later. Every
    read must be as new as what PostgreSQL itself showed before the read began."""
    cache = cached(line={"port": tap.port}, default_pool_size=3)
    reader, writer = cache.wire(), cache.wire()
    for sql in ("BEGIN", "SELECT 1", "COMMIT"):  # a server for each, since no new one can be had below
        reader.do(sql)
        writer.do(sql)
    cache.warm(lambda: value(reader.query(READ)))
    for client in (reader, writer, reader, writer):  # a server for each, since new ones will not be had
        client.do("COMMIT" if client.query("SELECT 1").statuses == "T" else "BEGIN; SELECT 1")
    writer.send(query("UPDATE items SET v = 'late' WHERE id = 1 AND pg_sleep(1.5) IS NOT NULL"))
    until("it runs", lambda: cache.database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'UPDATE items%'") == 1)
    tap.refuse_new()
    getattr(writer, ending)()
    ends, committed = time.monotonic() + 4, False
    while time.monotonic() < ends:
        committed = committed or cache.direct(READ) == [("late",)]
        seen = value(reader.query(READ))
        assert seen == "late" or not committed, "an old row after the commit was visible"
        time.sleep(0.02)
    tap.release()
    assert committed, "the write was meant to commit"


def test_c33_nobody_joins_a_flight_older_than_what_it_has_seen(cached, tap):
    cache = cached(line={"port": tap.port})
    first, writer, late = cache.wire(), cache.wire(), cache.wire()
    for _ in range(4):
        assert value(first.query(SLOW)) == "item 1"
    writer.do("UPDATE items SET v = 'one' WHERE id = 1")
    tap.hold_answer_to("slow")
    first.send(query(SLOW))
    assert tap.held.wait(10)
    writer.do("UPDATE items SET v = 'two' WHERE id = 1")
    assert value(late.query(READ)) == "two"
    assert value(late.query(SLOW)) == "two"
    tap.release()
    assert value(first.ready()) in ("one", "two")
    assert value(late.query(SLOW)) == "two"


def test_c12_history_of_many_readers_and_writers(cached, request):
    """Counters only grow. Whoever reads must see at least what was committed, and answered, before the read began."""
    span = 30 if request.config.getoption("--full") else 4
    cache = cached(COUNTERS, default_pool_size=6)
    counters = Counters()

    def write(number):
        ways = ["UPDATE counters SET n = n + 1 WHERE id = {}", "BEGIN; UPDATE counters SET n = n + 1 WHERE id = {}; COMMIT",
                "DO $$ BEGIN UPDATE counters SET n = n + 1 WHERE id = {}; END $$",
                "BEGIN; UPDATE counters SET n = n + 100 WHERE id = {}; ROLLBACK"]
        turn = 0
        with cache.wire() as client:
            while counters.is_on:
                way = ways[turn % len(ways)]
                turn += 1
                assert not client.query(way.format(number)).errors
                if "ROLLBACK" not in way:
                    counters.committed(number)
                time.sleep(0.01)

    counters.run(cache, write, 8, lambda: time.sleep(span))
    assert counters.reads > 100
