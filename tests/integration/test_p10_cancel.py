"""P10: a cancel request ends the query it was meant for, and no other."""

import struct
import threading
import time

import pytest

from harness import wire
from harness.sockets import full_house
from harness.wait import seconds, until
from harness.wire import Wire, query


def cancel(pooler, client):
    """Sends the client's cancel request on a connection of its own and waits until the pooler closes it."""
    with Wire(pooler.port) as link:
        link.send(wire.cancel_request(*client.key))
        link.rest()


def is_cancelled(answer):
    return [e["C"] for e in answer.errors] == ["57014"]


def running(database):
    return database.value("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep%'"
                          f" AND datname = '{database.name}' AND pid <> pg_backend_pid()")


def test_p10_cancel_ends_the_right_query(start, database):
    pooler = start(default_pool_size=3)
    target, neighbour = pooler.wire(), pooler.wire()
    neighbour.send(query("SELECT pg_sleep(3), 'whole'"))
    target.send(query("SELECT pg_sleep(600)"))
    until("both run", lambda: running(database) == 2)
    began = time.monotonic()
    cancel(pooler, target)
    assert is_cancelled(target.ready())
    assert time.monotonic() - began < seconds(2)
    assert neighbour.ready().texts == [("", "whole")]
    assert target.value("SELECT 'alive'") == "alive"


def test_p10_psycopg_cancels(start, database):
    connection = start().connect()
    cursor = connection.cursor()
    timer = threading.Timer(1, connection.cancel)
    timer.start()
    with pytest.raises(Exception, match="canceling statement"):
        cursor.execute("SELECT pg_sleep(600)")
    timer.join()
    assert cursor.execute("SELECT 1").fetchone() == (1,)


def test_p10_a_late_cancel_never_hits_the_next_client(start):
    """The query has ended, its server belongs to somebody else: the cancel must come to nothing."""
    pooler = start(default_pool_size=1)
    first, second = pooler.wire(), pooler.wire()
    for _ in range(40):
        first.send(query("SELECT 1"))
        first.ready()
        second.send(query("SELECT pg_sleep(0.02)"))
        cancel(pooler, first)
        answer = second.ready()
        assert not answer.errors, "somebody else's query was cancelled"


@pytest.mark.needs("hardened")
def test_p10_a_cancel_in_flight_does_not_race_with_the_release(start):
    """Cancels are sent at the moment the query ends: whoever gets the server next must not be hit."""
    pooler = start(default_pool_size=1)
    first, second = pooler.wire(), pooler.wire()
    for turn in range(60):
        first.send(query(f"SELECT pg_sleep({turn % 6 * 0.001})"))
        with Wire(pooler.port) as link:
            link.send(wire.cancel_request(*first.key))
            second.send(query("SELECT count(*) FROM generate_series(1, 20000)"))
            first.ready()
            answer = second.ready()
            assert not answer.errors, f"turn {turn}: {answer.errors}"


def test_p10_wrong_keys_cancel_nothing(start, database):
    pooler = start()
    client = pooler.wire()
    client.send(query("SELECT pg_sleep(1.5), 'whole'"))
    until("it runs", lambda: running(database) == 1)
    pid, secret = client.key
    for wrong in ((pid, bytes(4)), (pid + 1, secret), (0, b"\xff" * 4), (pid ^ 0xFFFFFFFF, secret)):
        with Wire(pooler.port) as link:
            link.send(wire.cancel_request(*wrong))
            link.rest()
    assert client.ready().texts == [("", "whole")]


@pytest.mark.needs("hardened")
def test_p10_a_waiting_client_is_cancelled_at_once(start):
    pooler = start(default_pool_size=1)
    holder, waiting = pooler.wire(), pooler.wire()
    holder.do("BEGIN; SELECT 1")
    waiting.send(query("SELECT 'waited'"))
    until("it waits", lambda: pooler.admin().pool("test", "app")["cl_waiting"] == "1")
    began = time.monotonic()
    cancel(pooler, waiting)
    assert is_cancelled(waiting.ready())
    assert time.monotonic() - began < seconds(2)
    holder.do("COMMIT")
    assert waiting.value("SELECT 'alive'") == "alive"


@pytest.mark.needs("hardened")
def test_p10_a_cancel_that_overtakes_its_query(start, tap):
    """A query that has waited starts when its client cannot know; PostgreSQL takes no notice of what comes before it."""
    pooler = start(port=tap.port, default_pool_size=1)
    client = pooler.wire()
    assert client.value("SELECT 1") == "1"
    tap.delay_request("pg_sleep")
    client.send(query("SELECT pg_sleep(600)"))
    assert tap.delayed.wait(seconds(10))
    cancel(pooler, client)
    until("the request has come to PostgreSQL", lambda: struct.pack("!ii", 16, 80877102) in tap.sent)
    tap.release()
    assert is_cancelled(client.ready())
    assert client.value("SELECT 'alive'") == "alive"


@pytest.mark.needs("hardened")
def test_p10_a_storm_of_cancels_under_saturation(start, database):
    pooler = start(default_pool_size=2)
    clients = [pooler.wire() for _ in range(40)]
    for client in clients:
        client.send(query("SELECT pg_sleep(600)"))
    until("the pool is full", lambda: running(database) == 2)
    began = time.monotonic()
    for client in clients:
        cancel(pooler, client)
    for client in clients:
        assert is_cancelled(client.ready())
    assert time.monotonic() - began < seconds(20)
    assert [c.value("SELECT 'alive'") for c in clients] == ["alive"] * 40
    assert database.connections() <= 2


@pytest.mark.needs("hardened")
def test_p10_a_cancel_without_an_answer_costs_its_server_a_limited_time(start, database, tap):
    """The request has left, and may yet arrive: the server comes back to nobody."""
    pooler = start(port=tap.port, default_pool_size=1, cancel_wait_timeout=1)
    client, other = pooler.wire(), pooler.wire()
    backend = client.value("SELECT pg_backend_pid()")
    tap.refuse_new()
    client.send(query("SELECT pg_sleep(0.5), 'whole'"))
    until("it runs", lambda: running(database) == 1)
    cancel(pooler, client)
    until("the request has left", lambda: tap.swallowed == 1)
    tap.is_deaf = False
    assert client.ready().texts == [("", "whole")]
    began = time.monotonic()
    assert other.value("SELECT pg_backend_pid()") != backend
    assert time.monotonic() - began < seconds(4)
    assert client.value("SELECT 'alive'") == "alive"


@pytest.mark.needs("hardened")
def test_p10_a_cancel_that_cannot_leave_gives_up_and_its_server_serves_on(start, database, tap):
    pooler = start(port=tap.port, default_pool_size=1, cancel_wait_timeout=1)
    client, other = pooler.wire(), pooler.wire()
    backend = client.value("SELECT pg_backend_pid()")
    tap.shut()
    with full_house(tap.port):
        client.send(query("SELECT pg_sleep(0.5), 'whole'"))
        until("it runs", lambda: running(database) == 1)
        cancel(pooler, client)
        assert client.ready().texts == [("", "whole")]
        began = time.monotonic()
        assert other.value("SELECT pg_backend_pid()") == backend
        assert time.monotonic() - began < seconds(4)


@pytest.mark.parametrize("is_late", [False, True])
def test_p10_whoever_asks_is_kept_until_the_request_has_come_to_its_server(start, database, tap, is_late):
    """Or else its next query on the same connection could be the one that a late request meets."""
    pooler = start(port=tap.port, cancel_wait_timeout=1 if is_late else 600)
    client = pooler.wire()
    client.do("SELECT 1")
    tap.refuse_new()
    client.send(query("SELECT pg_sleep(600)"))
    until("it runs", lambda: running(database) == 1)
    with Wire(pooler.port) as link:
        link.send(wire.cancel_request(*client.key))
        until("the request has left", lambda: tap.swallowed == 1)
        if not is_late:
            assert link.is_quiet(0.3)
            tap.cut()
        assert not link.rest()
    pooler.says("closing because: " + ("cancel_wait_timeout" if is_late else "cancel request"))


def test_p10_a_connection_is_good_for_one_cancel_request(start, database, tap):
    pooler = start(port=tap.port)
    client = pooler.wire()
    client.do("SELECT 1")
    tap.refuse_new()
    client.send(query("SELECT pg_sleep(600)"))
    until("it runs", lambda: running(database) == 1)
    with Wire(pooler.port) as link:
        for _ in range(3):
            link.send(wire.cancel_request(*client.key))
        until("the request has left", lambda: tap.swallowed == 1)
        link.send(wire.cancel_request(*client.key) + b"anything")
        assert link.is_quiet(0.3)
        tap.is_deaf = False
        tap.cut()
        assert not link.rest()
    assert pooler.wire().value("SELECT 'alive'") == "alive"


def test_p10_keys_differ_and_tell_nothing(start):
    pooler = start()
    keys = {pooler.wire().key for _ in range(50)}
    assert len(keys) == 50
    assert len({secret for _, secret in keys}) == 50
