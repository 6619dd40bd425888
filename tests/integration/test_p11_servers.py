"""P11: servers that die, restart or hang."""

import time

import pytest

from harness import wire
from harness.crowd import Crowd
from harness.system import descriptors
from harness.wait import seconds, until
from harness.wire import Closed, query


def test_p11_a_server_that_died_while_idle_is_not_handed_out(start, database):
    pooler = start(default_pool_size=3)
    clients = [pooler.wire() for _ in range(3)]
    for _ in range(4):
        for client in clients:
            client.send(query("SELECT pg_sleep(0.05)"))
        for client in clients:
            assert not client.ready().errors
        database.terminate_backends()
        until("the backends are gone", lambda: database.connections() == 0)
        for client in clients:
            assert client.value("SELECT 'served'") == "served"


def test_p11_clients_outlive_a_restart_of_the_server(start, own_postgres, new_pooler):
    database = own_postgres.make_database()
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": own_postgres.port, "dbname": database.name}}).start()
    client = pooler.wire()
    assert client.value("SELECT 1") == "1"
    own_postgres.stop("fast")
    own_postgres.start()
    until("service resumes", lambda: client.query("SELECT 1").texts == [("1",)], 5, pause=0.2)
    assert client.value("SELECT 'the same session'") == "the same session"


def test_p11_clients_wait_while_the_server_is_away(own_postgres, new_pooler):
    database = own_postgres.make_database()
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": own_postgres.port, "dbname": database.name}}).start()
    client = pooler.wire()
    client.do("SELECT 1")
    own_postgres.stop("immediate")
    time.sleep(0.3)
    waiting = Crowd()
    waiting.add(lambda: client.value("SELECT 'waited'"))
    own_postgres.start()
    assert waiting.join(15) == ["waited"]


@pytest.mark.needs("exact_errors")
def test_p11_a_refusing_server_is_reported_in_postgresqls_words(own_postgres, new_pooler):
    """A database that does not exist: the waiters get PostgreSQL's own error and code."""
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": own_postgres.port, "dbname": "missing"}}).start()
    client = pooler.bare_wire()

    client.send(wire.startup(user="app", database="test"))
    try:
        answer = client.up_to("EZ")
        if answer.kinds.endswith("Z"):
            client.send(query("SELECT 1"))
            answer = client.up_to("E")
    except Closed:
        answer = []
    assert answer and answer.errors[0]["C"] == "3D000", answer
    assert 'database "missing" does not exist' in answer.errors[0]["M"]


def test_p11_a_hanging_host_costs_its_own_clients_a_timeout_and_nobody_else_anything(start, database, tap):
    port = database.postgres.port
    line = {"host": "127.0.0.1", "dbname": database.name}
    pooler = start(databases={"test": {**line, "port": tap.port}, "well": {**line, "port": port}},
                   server_connect_timeout=1, query_wait_timeout=3)
    client, well = pooler.wire(), pooler.wire("well")
    assert client.value("SELECT 1") == "1"
    tap.hold_answers()
    tap.cut()
    client.send(query("SELECT 'late'"))
    for _ in range(10):
        began = time.monotonic()
        assert well.value("SELECT 'well'") == "well"
        assert time.monotonic() - began < seconds(0.5)
    failed = client.up_to("EZ")
    assert failed.kinds.endswith("E") and failed.errors
    client.close()
    tap.release()
    fresh = until("service resumes", lambda: login_or_none(pooler), 10)
    assert fresh.value("SELECT 'back'") == "back"


def login_or_none(pooler):
    try:
        return pooler.wire()
    except Exception:
        time.sleep(0.2)
        return None


@pytest.mark.parametrize("how", ["kill", "immediate", "fast"])
def test_p11_killed_under_load_and_back(own_postgres, new_pooler, how, request):
    """Acceptance: stop, kill and restart under load, each answer checked, nobody stuck, nothing left behind."""
    rounds = 7 if request.config.getoption("--full") else 2
    database = own_postgres.make_database()
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": own_postgres.port, "dbname": database.name}},
                        {"default_pool_size": 4, "query_wait_timeout": 20, "server_login_retry": 1}).start()
    everyone, state = Crowd(), {"on": True, "served": 0}

    def ask(number):
        turn = 0
        while state["on"]:
            try:
                with pooler.bare_wire() as client:
                    client.login("app", "test")
                    while state["on"]:
                        turn += 1
                        answer = client.query(f"SELECT '{number}:{turn}'")
                        if not answer.errors:
                            assert answer.texts == [(f"{number}:{turn}",)]
                            state["served"] += 1
            except AssertionError:
                raise
            except Exception:
                time.sleep(0.05)

    for number in range(10):
        everyone.add(ask, number)
    until("load", lambda: state["served"] > 100)
    for _ in range(rounds):
        own_postgres.stop(how)
        time.sleep(0.2)
        own_postgres.start()
        before = state["served"]
        until("full service", lambda: state["served"] > before + 100, 10)
    state["on"] = False
    everyone.join(30)
    until("descriptors return", lambda: descriptors(pooler.pid) < 40, 15)
    with pooler.admin() as console:
        row = console.pool("test", "app")
        assert row["cl_active"] == row["cl_waiting"] == "0"


def test_p11_a_suspended_server_delays_and_does_not_lose(start, own_postgres, new_pooler):
    database = own_postgres.make_database()
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": own_postgres.port, "dbname": database.name}}).start()
    client = pooler.wire()
    client.do("SELECT 1")
    own_postgres.suspend()
    try:
        client.send(query("SELECT 'delayed'"))
        assert client.is_quiet(0.5)
    finally:
        own_postgres.resume()
    assert client.ready().texts == [("delayed",)]
    assert pooler.process.poll() is None


@pytest.mark.parametrize("is_idle", [True, False], ids=["idle", "busy"])
def test_p11_a_lost_server_that_was_to_be_closed_anyway_is_told_of(start, tap, is_idle):
    """RECONNECT marks a server for its end; one that ends before that, without a word, has not told its client why."""
    pooler = start(port=tap.port)
    with pooler.wire() as client:
        client.do("BEGIN")
        client.do("SELECT 1")
        with pooler.admin() as console:
            console.run("RECONNECT")
            until("it is marked", lambda: [row["close_needed"] for row in console.show("SERVERS")] == ["1"])
        if not is_idle:
            client.send(query("SELECT pg_sleep(60)"))
            until("it runs", lambda: b"pg_sleep" in tap.sent)
        tap.cut()
        answer = client.rest()
        assert [(e["S"], e["C"]) for e in answer.errors] == [("FATAL", "08P01")]
