"""P06, P07: prepared statements of the protocol live in the session, whatever server it gets."""

import time

import pytest

from harness import wire
from harness.compare import assert_same
from harness.crowd import crowd
from harness.wait import until
from harness.wire import SYNC, bind, execute, parse

pytestmark = pytest.mark.needs("prepared")


def run(name, *values):
    return wire.bind(values, statement=name) + wire.execute()


def test_p06_a_statement_follows_to_every_server(start):
    pooler = start(default_pool_size=3)
    client = pooler.wire()
    assert client.ask(wire.parse("SELECT $1::text || pg_backend_pid()", "s")).kinds == "1Z"
    seen, holders = set(), []
    for _ in range(3):
        answer = client.ask(run("s", "own-"))
        assert answer.kinds == "2DCZ", answer.errors
        value = answer.texts[0][0]
        assert value.startswith("own-")
        seen.add(value)
        holder = pooler.wire()  # takes the server that was just released, so that the next one is another
        holder.do(f"BEGIN; SELECT '{value}'")
        holders.append(holder)
        if len(holders) == 2:
            holders.pop(0).do("COMMIT")
    assert len(seen) >= 2, "the test did not move the session"


def test_p06_describe_after_the_session_moved(start):
    pooler = start(default_pool_size=2)
    client, holder = pooler.wire(), pooler.wire()
    client.ask(wire.parse("SELECT $1::int AS number", "s"))
    expected = client.ask(wire.describe("S", "s")).kinds
    assert expected == "tTZ"
    holder.do("BEGIN; SELECT 1")
    for _ in range(2):
        assert client.ask(wire.describe("S", "s")).kinds == expected
        holder.do("COMMIT")


FAILED = wire.parse("SELEC wrong", "s")
STREAMS = {
    "a failed parse is not remembered": [(FAILED + SYNC, 1), (run("s") + SYNC, 1),
                                         (wire.parse("SELECT 1", "s") + run("s") + SYNC, 1), (wire.close("S", "s") + SYNC, 1)],
    "a parse skipped after an error is not remembered": [
        (wire.once("SELECT 1/0") + wire.parse("SELECT 2", "s") + SYNC, 1), (run("s") + SYNC, 1),
        (wire.parse("SELECT 3", "s") + run("s") + wire.close("S", "s") + SYNC, 1)],
    "closing a portal of that name leaves the statement": [
        (wire.parse("SELECT 1", "x") + wire.bind(statement="x", portal="x") + wire.close("P", "x") + SYNC, 1),
        (run("x") + SYNC, 1), (wire.close("S", "x") + run("x") + SYNC, 1)],
    "a name may not be taken twice": [(wire.parse("SELECT 1", "x") + SYNC, 1), (wire.parse("SELECT 2", "x") + SYNC, 1),
                                      (run("x") + SYNC, 1), (wire.close("S", "x") + SYNC, 1)],
    "a name may be taken again after close": [
        (wire.parse("SELECT 1", "x") + run("x") + wire.close("S", "x") + wire.parse("SELECT 2", "x") + run("x")
         + wire.close("S", "x") + SYNC, 1)],
    "unknown names": [(run("unknown") + SYNC, 1), (wire.describe("S", "unknown") + SYNC, 1),
                      (wire.close("S", "unknown") + SYNC, 1), (wire.once("SELECT 1") + SYNC, 1)],
    "the unnamed statement is replaced": [(wire.parse("SELECT 1") + wire.parse("SELECT 2") + run("") + SYNC, 1),
                                          (run("") + SYNC, 1)],
    "parse in a failed transaction": [(wire.query("BEGIN; SELECT 1/0"), 1), (wire.parse("SELECT 1", "f") + SYNC, 1),
                                      (wire.query("ROLLBACK"), 1), (run("f") + SYNC, 1)],
    "a statement outlives the rollback it was parsed in": [
        (wire.query("BEGIN"), 1), (wire.parse("SELECT 7", "r") + SYNC, 1), (wire.query("ROLLBACK"), 1),
        (run("r") + wire.close("S", "r") + SYNC, 1)],
    "types": [(wire.parse("SELECT $1", "t", types=(20,)) + wire.describe("S", "t") + run("t", 5) + wire.close("S", "t") + SYNC, 1),
              (wire.parse("SELECT $1", "t", types=(25,)) + wire.describe("S", "t") + run("t", 5) + wire.close("S", "t") + SYNC, 1)],
    "transaction commands prepared": [(wire.parse("BEGIN", "b") + wire.parse("COMMIT", "c") + run("b") + SYNC, 1),
                                      (run("c") + SYNC, 1), (run("b") + run("c") + SYNC, 1),
                                      (wire.close("S", "b") + wire.close("S", "c") + SYNC, 1)],
}


@pytest.mark.parametrize("name", STREAMS)
def test_p06_names_behave_as_in_postgresql(start, database, name):
    pooler = start(default_pool_size=2)
    with pooler.wire() as client, pooler.wire() as other:
        for _ in range(2):
            assert_same(database, client, STREAMS[name])
            assert_same(database, other, STREAMS[name])


def test_p06_eviction_during_a_batch(start):
    pooler = start(default_pool_size=1, max_prepared_statements=2)
    client = pooler.wire()
    names = [f"s{i}" for i in range(10)]
    batch = b"".join(wire.parse(f"SELECT '{n}', $1::text", n) + run(n, "a") for n in names)
    assert client.ask(batch).texts == [(n, "a") for n in names]
    for _ in range(2):
        assert client.ask(*(run(n, "b") for n in names)).texts == [(n, "b") for n in names]
        assert client.ask(*(run(n, "c") for n in reversed(names))).texts == [(n, "c") for n in reversed(names)]
    assert client.ask(*(wire.bind(["d"], statement=n, portal=n) for n in names),
                      *(wire.execute(n) for n in names)).texts == [(n, "d") for n in names]
    assert int(pooler.wire().value("SELECT count(*) FROM pg_prepared_statements")) <= 3


def test_p06_a_client_gone_before_sync_poisons_nothing(start):
    pooler = start(default_pool_size=1)
    sql = "SELECT 'shared', $1::text"
    for _ in range(5):
        leaver = pooler.wire()
        leaver.send(wire.parse(sql, "s"), wire.FLUSH)
        leaver.reset()
        leaver = pooler.wire()
        leaver.send(wire.parse("SELEC wrong", "s"), wire.parse(sql, "s"))
        leaver.close()
        with pooler.wire() as client:
            assert client.ask(wire.parse(sql, "s") + run("s", "x")).texts == [("shared", "x")]


def test_p06_the_same_name_means_something_else_to_everyone(start):
    pooler = start(default_pool_size=2)

    def ask(number):
        with pooler.wire() as client:
            assert client.ask(wire.parse(f"SELECT {number}, $1::int", "q")).kinds == "1Z"
            for turn in range(30):
                assert client.ask(run("q", turn)).texts == [(str(number), str(turn))]

    crowd(12, ask)


def test_p06_statements_survive_the_loss_of_their_server(start, database):
    pooler = start(default_pool_size=1)
    client = pooler.wire()
    client.ask(wire.parse("SELECT 'still here'", "s"))
    assert client.ask(run("s")).texts == [("still here",)]
    database.terminate_backends()
    assert client.ask(run("s")).texts == [("still here",)]


def test_p07_a_changed_result_type_does_not_stay_broken(start, database):
    database.execute("CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)", user="app")
    pooler = start(default_pool_size=1)
    client, other = pooler.wire(), pooler.wire()
    for one in (client, other):
        one.ask(wire.parse("SELECT * FROM shape", "s"))
        assert one.ask(run("s")).texts == [("1",)]
    database.execute("ALTER TABLE shape ADD b text DEFAULT 'new'", user="app")
    for one in (client, other):
        answers = [one.ask(run("s")) for _ in range(2)]
        assert all(e["C"] == "0A000" for e in answers[0].errors)
        assert answers[1].texts == [("1", "new")], answers[1].errors
    with pooler.wire() as fresh:
        assert fresh.ask(wire.parse("SELECT * FROM shape", "s") + run("s")).texts == [("1", "new")]


def test_p07_inside_a_transaction_the_error_is_the_clients(start, database):
    database.execute("CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)", user="app")
    pooler = start(default_pool_size=1)
    client = pooler.wire()
    client.ask(wire.parse("SELECT * FROM shape", "s"))
    client.ask(run("s"))
    client.do("BEGIN")
    client.do("SELECT 1")
    database.execute("ALTER TABLE shape ADD b text DEFAULT 'new'", user="app")
    answer = client.ask(run("s"))
    assert [e["C"] for e in answer.errors] == ["0A000"] and answer.statuses == "E"
    client.do("ROLLBACK")
    client.ask(run("s"))
    assert client.ask(run("s")).texts == [("1", "new")]


def test_p06_another_limit_holds_for_connections_that_are_there(start):
    """max_prepared_statements grows and shrinks under a connection: it holds as many as may be, the latest ones."""
    pooler = start(default_pool_size=1, max_prepared_statements=1)
    client = pooler.wire()

    def held():
        return int(client.value("SELECT count(*) FROM pg_prepared_statements"))

    def prepare(numbers):
        for number in numbers:
            client.send(parse(f"SELECT {number}", f"s{number}"), bind(statement=f"s{number}"), execute(), SYNC)
            assert client.ready().texts == [(f"{number}",)]

    prepare(range(3))
    assert held() == 1
    with pooler.admin() as console:
        console.run("SET max_prepared_statements = 5")
        prepare(range(3, 9))
        assert held() == 5
        console.run("SET max_prepared_statements = 2")
        prepare([9])
        assert held() == 2
    for number in range(10):
        client.send(bind(statement=f"s{number}"), execute(), SYNC)
        assert client.ready().texts == [(f"{number}",)], "none is lost to its client"


@pytest.mark.parametrize("limit, counted", [(0, "0"), (10, "1")])
def test_parses_are_counted_where_they_are_tracked(start, limit, counted):
    pooler = start(max_prepared_statements=limit)
    pooler.wire().send(parse("SELECT 1", "s"), bind(statement="s"), execute(), SYNC)
    until("it has run", lambda: pooler.show("STATS")[0]["total_query_count"] == "1")
    row = pooler.show("STATS")[0]
    assert [row[f"total_{name}_count"] for name in ("client_parse", "server_parse", "bind")] == [counted] * 3


def test_p06_the_check_query_does_not_cost_the_unnamed_statement(start):
    """A query that Weir runs between two batches ends the server's unnamed statement: it is parsed again."""
    pooler = start(default_pool_size=1, server_check_query="SELECT 1", server_check_delay=0.001)
    client = pooler.wire()
    assert not client.ask(wire.parse("SELECT 'still there'")).errors
    time.sleep(0.05)
    answer = client.ask(wire.bind(), wire.execute())
    assert answer.texts == [("still there",)], answer.errors
