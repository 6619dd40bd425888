"""P04: a client that disappears leaves no open transaction, no lost bytes and no lost place in the pool."""

import pytest

from harness import wire
from harness.wait import until
from harness.wire import FLUSH, SYNC, once, query

INSERT = once("INSERT INTO left_over VALUES (1)")
WAYS = {
    "idle in transaction": [query("BEGIN; INSERT INTO left_over VALUES (1)")],
    "pipeline in a transaction": [query("BEGIN"), *[INSERT + SYNC] * 20],
    "batch without sync": [INSERT * 20, FLUSH],
    "batch without sync or flush": [INSERT * 20],
    "half a message": [query("BEGIN; INSERT INTO left_over VALUES (1)"), query("SELECT 1")[:7]],
    "half a message in mid-batch": [INSERT, wire.parse("SELECT 1")[:9]],
    "copy in": [query("COPY left_over FROM STDIN"), wire.copy_data(b"1\n2\n")],
    "half a copy message": [query("COPY left_over FROM STDIN"), wire.copy_data(b"1\n2\n")[:6]],
    "unread answers": [query("BEGIN"), *[once("SELECT repeat('x', 10000) FROM generate_series(1, 500)") + SYNC] * 5],
    "failed transaction": [query("BEGIN; SELECT 1/0")],
}


@pytest.mark.parametrize("ending", ["close", "reset", "quit"])
@pytest.mark.parametrize("way", WAYS)
def test_p04_a_client_that_leaves_leaves_nothing(start, database, way, ending):
    database.execute("CREATE TABLE left_over (i int)", user="app")
    pooler = start(default_pool_size=1)
    for turn in range(3):
        leaver = pooler.wire()
        leaver.send(*WAYS[way])
        if turn:  # with and without the server having seen it
            until("the pool is busy or the client is served", lambda: pooler.show("POOLS"), 1)
        getattr(leaver, ending)()
        with pooler.wire() as client:
            answer = client.query("SELECT 'mine'")
            assert answer.texts == [("mine",)] and answer.statuses == "I"
            assert client.query("SELECT now() = statement_timestamp()").texts == [("t",)], "a transaction was open"
    assert database.value("SELECT count(*) FROM left_over") == 0
    with pooler.admin() as console:
        row = until("the pool is idle", lambda: idle(console.pool("test", "app")))
    assert int(row["sv_idle"]) + int(row["sv_used"]) + int(row["sv_tested"]) <= 1
    assert database.connections() <= 1


def idle(row):
    return row if row["cl_active"] == row["cl_waiting"] == row["sv_active"] == "0" else None


@pytest.mark.needs("hardened")
@pytest.mark.parametrize("ending", ["close", "reset", "quit"])
def test_p04_the_query_of_a_vanished_client_is_cancelled(start, database, ending):
    pooler = start(default_pool_size=1)
    leaver = pooler.wire()
    leaver.send(query("SELECT pg_sleep(600)"))
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%%'" \
        f" AND datname = '{database.name}'"
    until("the query runs", lambda: database.value(sleeping) == 1)
    getattr(leaver, ending)()
    with pooler.wire() as client:
        assert client.query("SELECT 'served'").texts == [("served",)]
    until("the query was cancelled", lambda: database.value(sleeping) == 0, 5)


def test_p04_waiting_clients_that_leave_do_not_hold_up_the_queue(start):
    pooler = start(default_pool_size=1)
    holder = pooler.wire()
    holder.do("BEGIN")
    waiting = [pooler.wire() for _ in range(20)]
    for client in waiting:
        client.send(query("SELECT 'waited'"))
    for client in waiting[:19]:
        client.reset()
    holder.do("COMMIT")
    assert waiting[19].ready().texts == [("waited",)]
