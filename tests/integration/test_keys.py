"""Keys that change what clients see: each by its effect."""

import signal
import time

import pytest

from harness.wait import seconds, until
from harness.wire import SYNC, ServerError, bind, execute, fields_of, function_call, once, parse, query, startup


def notices(answer):
    return [fields_of(m.body)["M"] for m in answer if m.kind == "N"]


@pytest.mark.parametrize("workers", [1, 2])
def test_who_waits_for_long_is_told(start, workers):
    pooler = start(default_pool_size=1, query_wait_notify=1, workers=workers)
    holder, waiting = pooler.wire(), pooler.wire()
    holder.do("BEGIN; SELECT 1")
    waiting.send(query("SELECT 'waited'"))
    began = time.monotonic()
    assert "client being queued" in fields_of(waiting.next_is("N").body)["M"]
    assert 0.9 <= time.monotonic() - began < seconds(3)
    assert waiting.is_quiet(1.3), "once is enough"
    holder.do("COMMIT")
    assert waiting.ready().texts == [("waited",)]
    assert not notices(waiting.query("SELECT 1")), "who does not wait hears nothing"


def test_no_notice_when_it_is_off(start):
    pooler = start(default_pool_size=1, query_wait_notify=0)
    holder, waiting = pooler.wire(), pooler.wire()
    holder.do("BEGIN; SELECT 1")
    waiting.send(query("SELECT 'waited'"))
    assert waiting.is_quiet(1.2)
    holder.do("COMMIT")
    assert not notices(waiting.ready())


def test_a_message_for_everyone_who_logs_in(start):
    pooler = start(login_notify_message="maintenance at noon")
    client = pooler.bare_wire()
    client.send(startup(user="app", database="test"))
    assert notices(client.finish_login("app")) == ["maintenance at noon"]
    with pooler.admin() as console:
        console.run("SET login_notify_message = ''")
    client = pooler.bare_wire()
    client.send(startup(user="app", database="test"))
    assert notices(client.finish_login("app")) == []


@pytest.mark.parametrize("name", ["shop", None])
def test_the_servers_administrator_sees_the_clients_address(start, name):
    pooler = start(application_name_add_host=1)
    client = pooler.wire(**({"application_name": name} if name else {}))
    port = client.socket.getsockname()[1]
    wanted = f"{name or 'app'} - 127.0.0.1:{port}"
    assert client.value("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()") == wanted
    assert client.value("SHOW application_name") == wanted


def test_simple_queries_can_be_forbidden(start):
    pooler = start(disable_pqexec=1)
    client = pooler.wire()
    client.send(once("SELECT 'extended'"), SYNC)
    assert client.ready().texts == [("extended",)]
    client.send(query("SELECT 'simple'"))
    assert client.rest().errors[0]["M"] == "PQexec disallowed"
    with pooler.admin() as console:
        assert console.show("VERSION"), "the console knows nothing else"


PINS = ["CREATE TEMP TABLE t (i int)", "SELECT pg_advisory_lock(1)", "LISTEN c", "PREPARE p AS SELECT 1",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "DO 'BEGIN END'", "SELECT shrug()", "SELECT 1; LISTEN c"]


@pytest.fixture
def refusing(start, database):
    database.execute("CREATE FUNCTION shrug() RETURNS int LANGUAGE sql AS 'SELECT 7'", user="app")
    return lambda **more: start(default_pool_size=1, pin="refuse", **more)


@pytest.mark.parametrize("sql", PINS)
def test_what_would_keep_a_server_is_refused(refusing, sql):
    pooler = refusing()
    client, other = pooler.wire(), pooler.wire()
    answer = client.query(sql)
    assert (answer.errors[0]["C"], answer.errors[0]["S"], answer.kinds[-1]) == ("0A000", "ERROR", "Z")
    assert "pin = refuse" in answer.errors[0]["M"]
    assert other.value("SELECT 'the only server is free'")
    client.do("BEGIN")
    assert client.query(sql).errors[0]["C"] == "0A000"
    assert client.value("SELECT 'the transaction goes on'")
    client.do("COMMIT")


def test_what_would_keep_a_server_is_refused_in_a_batch(refusing):
    pooler = refusing()
    client, other = pooler.wire(), pooler.wire()
    client.send(parse("LISTEN c") + bind() + execute(), SYNC)
    answer = client.ready()
    assert (answer.errors[0]["C"], answer.kinds) == ("0A000", "EZ")
    client.send(once("SELECT 'next'"), SYNC)
    assert client.ready().texts == [("next",)]
    assert other.value("SELECT 'free'") == "free"
    client.send(once("SELECT 'first'"), parse("LISTEN c") + bind() + execute(), SYNC)
    assert client.rest().errors[0]["C"] == "0A000", "behind something that is not answered yet: the session ends"
    client = pooler.wire()
    client.send(function_call(1598))
    assert client.rest().errors[0]["C"] == "0A000"


def test_session_mode_has_nothing_to_refuse(refusing):
    client = refusing(pool_mode="session").wire()
    for sql in PINS:
        client.do(sql)


@pytest.mark.parametrize("listed", ["shrug", "other, public.shrug ,more"])
def test_harmless_functions_do_not_pin(start, database, listed):
    database.execute("CREATE FUNCTION shrug() RETURNS int LANGUAGE sql AS 'SELECT 7'", user="app")
    pooler = start(default_pool_size=1, harmless_functions=listed)
    client, other = pooler.wire(), pooler.wire()
    assert client.value("SELECT public.shrug()") == "7"
    assert other.value("SELECT 'free'") == "free"
    assert pooler.show("PINS") == []
    with pooler.admin() as console:
        console.run("SET harmless_functions = 'nothing'")
    client.do("SELECT public.shrug()")
    assert [row["reason"] for row in pooler.show("PINS")] == ["code"]


def test_a_schema_that_is_not_written_is_not_guessed(start, database):
    database.execute("CREATE FUNCTION shrug() RETURNS int LANGUAGE sql AS 'SELECT 7'", user="app")
    pooler = start(harmless_functions="public.shrug")
    client = pooler.wire()
    client.do("SELECT shrug()")
    assert [row["reason"] for row in pooler.show("PINS")] == ["code"]


@pytest.mark.parametrize("fast", [0, 1])
@pytest.mark.parametrize("workers", [1, 2])
def test_fast_close_ends_sessions_with_their_servers(start, fast, workers):
    pooler = start(pool_mode="session", server_fast_close=fast, workers=workers)
    idle, busy = pooler.wire(), pooler.wire()
    idle.do("SELECT 1")
    busy.do("BEGIN; SELECT 1")
    with pooler.admin() as console:
        console.run("RECONNECT test")
    if fast:
        assert idle.rest().errors[0]["M"] == "database configuration changed"
    else:
        assert idle.value("SELECT 'kept'") == "kept"
    assert busy.value("SELECT 'a transaction is let end'")
    busy.send(query("COMMIT"))
    answer = busy.rest() if fast else busy.ready()
    assert [e["M"] for e in answer.errors] == (["database configuration changed"] if fast else [])
    assert "C" in answer.kinds


def test_suspend_waits_no_longer_than_it_may(start):
    pooler = start(suspend_timeout=1)
    holder, other = pooler.wire(), pooler.wire()
    holder.do("BEGIN; SELECT 1")
    began = time.monotonic()
    with pooler.admin() as console:
        console.run("SUSPEND")
        assert 0.9 <= time.monotonic() - began < seconds(3)
        assert {row["key"]: row["value"] for row in console.show("STATE")}["suspended"] == "yes"
        assert holder.value("SELECT 'goes on'") == "goes on"
        other.send(query("SELECT 'later'"))
        assert other.is_quiet(0.3)
        console.run("RESUME")
    assert other.ready().texts == [("later",)]


def test_suspend_answers_at_once_where_nothing_is_in_use(start):
    pooler = start(suspend_timeout=30)
    pooler.wire().do("SELECT 1")
    began = time.monotonic()
    with pooler.admin() as console:
        console.run("SUSPEND")
        console.run("RESUME")
    assert time.monotonic() - began < seconds(3)
