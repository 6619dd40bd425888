"""P02, P03, P05, P08, P27: streams of messages are answered message for message as PostgreSQL answers them."""

import pytest

from harness import wire
from harness.compare import assert_same
from harness.wait import until
from harness.wire import COPY_DONE, FLUSH, SYNC, Closed, once, query

GOOD = once("SELECT 'good'")
BAD = once("SELECT 1/0")
UNPARSABLE = wire.parse("SELEC 1") + wire.bind() + wire.execute()
UNBINDABLE = wire.parse("SELECT $1::int") + wire.bind(["no number"]) + wire.execute()
ROWS = once("SELECT i, repeat('r', 100) FROM generate_series(1, 300) i")
ONE_FETCH = wire.parse("SELECT i FROM generate_series(1, 25) i") + wire.bind() + wire.execute(limit=10)

STREAMS = {
    "error in mid-batch": [(GOOD + BAD + GOOD + SYNC, 1), (GOOD + SYNC, 1)],
    "failed parse": [(GOOD + UNPARSABLE + GOOD + SYNC, 1), (query("SELECT 1"), 1)],
    "failed bind": [(UNBINDABLE + GOOD + SYNC, 1), (GOOD + SYNC, 1)],
    "batches in one write": [(GOOD + SYNC + BAD + GOOD + SYNC + GOOD + SYNC, 3)],
    "simple and extended mixed": [(query("SELECT 1") + GOOD + SYNC + query("SELECT 1/0") + BAD + GOOD + SYNC
                                   + query("SELECT 2; SELECT 3"), 5)],
    "query inside a batch": [(GOOD + query("SELECT 1") + GOOD + SYNC, 2)],
    "query inside a failed batch": [(BAD + query("SELECT 1") + SYNC + query("SELECT 2"), 2)],
    "only sync": [(SYNC, 1), (SYNC + SYNC + SYNC, 3)],
    "flush then sync": [(GOOD + FLUSH + GOOD + FLUSH + SYNC, 1)],
    "empty statements": [(query(""), 1), (once("") + SYNC, 1), (query(";;"), 1)],
    "transaction over batches": [(once("BEGIN") + SYNC, 1), (GOOD + BAD + SYNC, 1), (GOOD + SYNC, 1),
                                 (once("ROLLBACK") + SYNC, 1), (GOOD + SYNC, 1)],
    "transaction inside a batch": [(once("BEGIN") + GOOD + once("COMMIT") + SYNC, 1),
                                   (once("BEGIN") + BAD + once("COMMIT") + SYNC, 1), (query("ROLLBACK"), 1)],
    "error in a multi-statement query": [(query("SELECT 1; SELECT 1/0; SELECT 2"), 1), (query("SELECT 3"), 1)],
    "hundreds of messages": [(GOOD * 400 + SYNC, 1)],
    "rows between": [(ROWS + GOOD + ROWS + GOOD + SYNC + ROWS + SYNC, 2)],
    "row limits": [(ONE_FETCH + wire.execute(limit=10) + wire.execute(limit=10) + SYNC, 1)],
    "named portals": [(wire.parse("SELECT i FROM generate_series(1, 9) i") + wire.bind(portal="a")
                       + wire.bind(portal="b") + wire.execute("a", 3) + wire.execute("b", 4) + wire.execute("a")
                       + wire.close("P", "b") + wire.execute("b") + SYNC, 1)],
    "notices": [(query("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$"), 1), (GOOD + SYNC, 1)],
    "unknown portal and statement": [(wire.execute("nothing") + SYNC, 1), (wire.bind(statement="nothing") + SYNC, 1),
                                     (wire.describe("S", "nothing") + SYNC, 1), (wire.describe("P", "no") + SYNC, 1),
                                     (wire.close("S", "nothing") + wire.close("P", "nothing") + SYNC, 1)],
    "copy out": [(query("COPY (SELECT i FROM generate_series(1, 2000) i) TO STDOUT"), 1), (GOOD + SYNC, 1)],
    "function call": [(wire.function_call(177, b"\0\0\0\2", b"\0\0\0\3"), 1)],
}


@pytest.mark.parametrize("name", STREAMS)
def test_p03_streams_are_answered_as_postgresql_answers_them(start, database, name):
    pooler = start(default_pool_size=1)
    with pooler.wire() as client:
        assert_same(database, client, STREAMS[name])
    with pooler.wire() as other:
        assert other.value("SELECT 'the server was released'") == "the server was released"


COPY_TABLE = "CREATE TABLE IF NOT EXISTS copied (i int)"
P27 = {
    "copy by query, and more behind it": [(query("COPY copied FROM STDIN") + wire.copy_data(b"1\n2\n") + COPY_DONE
                                           + query("SELECT sum(i) FROM copied; TRUNCATE copied"), 2)],
    "copy with an early sync": [(wire.parse("COPY copied FROM STDIN") + wire.bind() + wire.execute() + SYNC
                                 + wire.copy_data(b"1\n2\n") + COPY_DONE + SYNC, 1)],
    "copy with a late sync": [(wire.parse("COPY copied FROM STDIN") + wire.bind() + wire.execute()
                               + wire.copy_data(b"1\n") + COPY_DONE + SYNC, 1)],
    "copy that the client fails": [(wire.parse("COPY copied FROM STDIN") + wire.bind() + wire.execute() + SYNC
                                    + wire.copy_data(b"1\n") + wire.copy_fail("no more") + SYNC, 1)],
    "copy that the server fails": [(wire.parse("COPY copied FROM STDIN") + wire.bind() + wire.execute()
                                    + wire.copy_data(b"no number\n") + COPY_DONE + SYNC, 1)],
    "copy by query that the client fails": [(query("COPY copied FROM STDIN") + wire.copy_data(b"1\n")
                                             + wire.copy_fail("no more"), 1)],
    "error, query and sync": [(BAD + query("SELECT 1") + SYNC, 1)],
    "error, query, sync, then more": [(UNPARSABLE + query("SELECT 1") + SYNC + GOOD + SYNC + query("SELECT 2"), 3)],
    "syncs while copying": [(query("COPY copied FROM STDIN") + wire.copy_data(b"5\n") + SYNC + FLUSH
                             + wire.copy_data(b"6\n") + COPY_DONE, 1)],
}


@pytest.mark.needs("hardened")
@pytest.mark.parametrize("name", P27)
def test_p27_owed_readies_are_counted_right(start, database, name):
    database.execute(COPY_TABLE, user="app")
    pooler = start(default_pool_size=1)
    with pooler.wire() as client:
        assert_same(database, client, P27[name])
        assert client.is_quiet(), "one ReadyForQuery too many"
        with pooler.wire() as other:
            assert other.value("SELECT 'released'") == "released"
        assert_same(database, client, P27[name])


@pytest.mark.needs("hardened")
def test_p02_a_failed_checkout_in_mid_batch_gives_one_error_and_no_stray_ready(start, tap):
    pooler = start(port=tap.port, query_wait_timeout=2)
    client = pooler.wire()
    assert client.value("SELECT 1") == "1"
    tap.shut()
    tap.cut()
    client.send(wire.parse("SELECT 'lost'"), wire.bind(), FLUSH)
    assert client.next_is("E")
    try:
        assert client.is_quiet(0.5), "nothing may follow the error before Sync"
        client.send(wire.execute(), SYNC)
        assert client.ready().kinds == "Z"
        tap.open()
        until("service resumes", lambda: not client.query("SELECT 1").errors, pause=0.3)
        assert client.query("SELECT 'own'").texts == [("own",)]
    except (Closed, ConnectionError):
        pass  # ending the session is an honest answer, too
    finally:
        if tap._listener is None:
            tap.open()
    with pooler.wire() as other:
        assert other.query("SELECT 'own'").texts == [("own",)]


def test_p05_flush_without_sync_keeps_the_server(start):
    pooler = start(default_pool_size=1)
    client, other = pooler.wire(), pooler.wire()
    client.send(GOOD, FLUSH)
    assert client.up_to("C").texts == [("good",)]
    other.send(query("SELECT 'other'"))
    assert other.is_quiet(0.4), "the server was given away in mid-batch"
    client.send(once("SELECT 'still mine'"), FLUSH)
    assert client.up_to("C").texts == [("still mine",)]
    client.send(SYNC)
    assert client.ready().kinds == "Z"
    assert other.ready().texts == [("other",)]


def test_p05_a_suspended_portal_keeps_the_server(start):
    pooler = start(default_pool_size=1)
    client, other = pooler.wire(), pooler.wire()
    client.send(ONE_FETCH, FLUSH)
    assert client.up_to("s").rows == [[str(i).encode()] for i in range(1, 11)]
    other.send(query("SELECT 'other'"))
    assert other.is_quiet(0.4)
    client.send(wire.execute(limit=10), FLUSH)
    assert client.up_to("s").rows == [[str(i).encode()] for i in range(11, 21)]
    client.send(wire.execute(limit=10), SYNC)
    assert client.ready().kinds == "DDDDDCZ"
    assert other.ready().texts == [("other",)]


def test_p05_a_thousand_statements_without_reading(start):
    pooler = start(default_pool_size=1)
    with pooler.wire() as client:
        client.send(*(once("SELECT $1::int", [i]) for i in range(1000)), SYNC)
        assert client.ready().texts == [(str(i),) for i in range(1000)]
        client.send(*(query(f"SELECT {i}") for i in range(1000)))
        assert client.ready(1000).texts == [(str(i),) for i in range(1000)]


@pytest.mark.parametrize("step", [1, 7, 64])
def test_p05_messages_in_crumbs(start, database, step):
    pooler = start(default_pool_size=1)
    stream = GOOD + SYNC + query("SELECT 2") + BAD + GOOD + SYNC
    with pooler.wire() as client:
        for at in range(0, len(stream), step):
            client.send(stream[at:at + step])
        answer = client.ready(3)
        assert answer.texts == [("good",), ("2",)] and len(answer.errors) == 1


@pytest.mark.needs("prepared")
def test_p08_own_answers_keep_their_place_among_streamed_rows(start, database):
    """Parse of a statement the server knows, and Close, are answered without the server: in order all the same."""
    rows = "SELECT i, repeat('r', 200) FROM generate_series(1, 500) i"
    batch = (wire.parse(rows, "s0") + wire.bind(statement="s0") + wire.execute() + wire.parse("SELECT 'one'", "s1")
             + wire.close("S", "s0") + wire.bind(statement="s1") + wire.describe() + wire.execute()
             + wire.close("S", "s1") + wire.parse("SELECT 'two'", "s2") + wire.describe("S", "s2")
             + wire.bind(statement="s2") + wire.execute() + wire.close("S", "s2") + SYNC)
    pooler = start(default_pool_size=1)
    with pooler.wire() as client, pooler.wire() as other:
        for _ in range(3):
            assert_same(database, client, [(batch, 1)])
            assert_same(database, other, [(batch + batch, 2)])


@pytest.mark.needs("prepared")
def test_p08_an_error_before_a_synthesised_answer_swallows_it(start, database):
    batch = (BAD + wire.parse("SELECT 'one'", "s1") + wire.close("S", "s1") + SYNC)
    after = wire.parse("SELECT 'one'", "s1") + wire.bind(statement="s1") + wire.execute() + wire.close("S", "s1") + SYNC
    pooler = start(default_pool_size=1)
    with pooler.wire() as client:
        assert_same(database, client, [(after, 1), (batch, 1), (after, 1), (batch + after, 2)])
