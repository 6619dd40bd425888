"""Keys that say how much: sizes of pools and of the reserve, limits, and which of three places wins where a key stands
in [pgbouncer], on a database and on a user."""

import time

import pytest

from harness.wait import seconds, until
from harness.wire import Closed, ServerError, query, startup

ONE = "SELECT 1"


def begin_on(pooler, count, **login):
    """As many clients as said, each with a transaction."""
    clients = [pooler.wire(**login) for _ in range(count)]
    for client in clients:
        client.send(query("BEGIN; SELECT 1"))
    return clients


def served(clients, limit=0.3):
    """How many of these clients have been answered, once it has been quiet for a moment."""
    return sum(not client.is_quiet(limit) for client in clients)


def pool(pooler, **which):
    return next(row for row in pooler.show("POOLS") if all(row[name] == value for name, value in which.items()))


# Which place wins. Each row: keys of [pgbouncer], of the database, of the user; servers that may be had.


@pytest.mark.parametrize("options, line, user, expected", [
    ({"default_pool_size": 2}, {}, {}, 2),
    ({"default_pool_size": 2}, {"pool_size": 3}, {}, 3),
    ({"default_pool_size": 2}, {"pool_size": 3}, {"pool_size": 1}, 1),
    ({"default_pool_size": 2}, {}, {"pool_size": 1}, 1),
    ({"default_pool_size": 3}, {"max_db_connections": 2}, {}, 2),
    ({"default_pool_size": 3, "max_db_connections": 2}, {}, {}, 2),
    ({"default_pool_size": 3, "max_db_connections": 1}, {"max_db_connections": 2}, {}, 2),
    ({"default_pool_size": 3, "max_user_connections": 1}, {}, {}, 1),
    ({"default_pool_size": 3, "max_user_connections": 1}, {}, {"max_user_connections": 2}, 2),
    ({"default_pool_size": 1, "reserve_pool_size": 1, "reserve_pool_timeout": 0.1}, {}, {}, 2),
    ({"default_pool_size": 1, "reserve_pool_timeout": 0.1}, {"reserve_pool_size": 2}, {}, 3),
    ({"default_pool_size": 1, "reserve_pool_timeout": 0.1}, {"reserve_pool": 2}, {}, 3),
    ({"default_pool_size": 1, "reserve_pool_timeout": 0.1}, {"reserve_pool_size": 2}, {"reserve_pool_size": 1}, 2),
])
def test_how_many_servers_a_pool_may_have(start, database, options, line, user, expected):
    pooler = start(database=line, users={"app": user} if user else None, **options)
    clients = begin_on(pooler, expected + 1)
    until("all that may be had are in use", lambda: int(pool(pooler, database="test")["sv_active"]) == expected)
    assert served(clients) == expected and database.connections() == expected
    waiting = next(client for client in clients if not client.pending)
    next(client for client in clients if client.pending).quit()
    assert waiting.ready().texts == [("1",)], "who leaves makes room"


def test_the_reserve_is_for_who_waits_too_long(start):
    pooler = start(default_pool_size=1, reserve_pool_size=1, reserve_pool_timeout=1)
    holder, waiting = pooler.wire(), pooler.wire()
    holder.do("BEGIN; SELECT 1")
    began = time.monotonic()
    waiting.send(query(ONE))
    waiting.ready()
    assert 0.9 <= time.monotonic() - began < seconds(3)
    pooler.says("taking connection from reserve_pool")


def test_no_reserve_without_a_timeout(start):
    pooler = start(default_pool_size=1, reserve_pool_size=1, reserve_pool_timeout=0)
    holder, waiting = pooler.wire(), pooler.wire()
    holder.do("BEGIN; SELECT 1")
    waiting.send(query(ONE))
    assert waiting.is_quiet(0.5)
    holder.do("COMMIT")
    waiting.ready()


@pytest.mark.parametrize("options, line, expected", [
    ({"min_pool_size": 2}, {}, 2), ({"min_pool_size": 2}, {"min_pool_size": 3}, 3), ({}, {"min_pool_size": 1}, 1)])
def test_servers_that_are_kept_open(start, database, options, line, expected):
    pooler = start(default_pool_size=4, database={"user": "app", **line}, **options)
    if not line.get("min_pool_size"):
        pooler.wire().do(ONE)
    until("the minimum is there", lambda: database.connections() == expected)


MODES = {"session": [True, True], "transaction": [False, True], "statement": [False, False]}


@pytest.mark.parametrize("options, line, user, expected", [
    ("session", None, None, "session"),
    ("transaction", None, None, "transaction"),
    ("statement", None, None, "statement"),
    ("session", "statement", None, "statement"),
    ("session", "statement", "transaction", "transaction"),
    ("transaction", None, "session", "session"),
])
def test_how_long_a_client_keeps_its_server(start, options, line, user, expected):
    pooler = start(pool_mode=options, database={"pool_mode": line} if line else None, default_pool_size=1,
                   users={"app": {"pool_mode": user}} if user else None)
    keeps_after_query, may_begin = MODES[expected]
    client, other = pooler.wire(), pooler.bare_wire()
    client.do(ONE)
    other.send(startup(user="app", database="test"))
    other.finish_login("app")
    other.send(query(ONE))
    assert other.is_quiet(0.3) == keeps_after_query
    if keeps_after_query:
        client.quit()
        other.ready()
        return
    answer = client.query("BEGIN") if may_begin else None
    if may_begin:
        assert answer.statuses == "T"
    else:
        client.send(query("BEGIN"))
        error = client.rest().errors[0]
        assert "transaction blocks not allowed in statement pooling mode" in error["M"] and error["C"] == "08P01"
    assert pool(pooler, database="test")["pool_mode"] == expected


@pytest.mark.parametrize("options, line, user", [
    ({"max_client_conn": 2}, {}, {}),
    ({"max_db_client_connections": 2}, {}, {}),
    ({"max_db_client_connections": 9}, {"max_db_client_connections": 2}, {}),
    ({"max_user_client_connections": 2}, {}, {}),
    ({"max_user_client_connections": 9}, {}, {"max_user_client_connections": 2}),
])
def test_how_many_clients_may_come(start, options, line, user):
    pooler = start(database=line, users={"app": user} if user else None, **options)
    kept = [pooler.wire() for _ in range(2)]
    limit = next(iter(user or line or options))
    with pytest.raises(ServerError, match=rf"\({limit}\)"):
        pooler.wire()
    kept.pop().quit()
    until("there is room again", lambda: may_log_in(pooler))
    assert kept[0].value("SELECT 'served'") == "served"


def may_log_in(pooler):
    try:
        pooler.wire().quit()
        return True
    except (ServerError, Closed):
        return False


# Times of single users and databases; what the global ones do has tests of its own.


@pytest.mark.parametrize("key, sends, phrase", [
    ("query_timeout", ["SELECT pg_sleep(20)"], "query timeout"),
    ("idle_transaction_timeout", ["BEGIN", ONE], "idle transaction timeout"),
    ("transaction_timeout", ["BEGIN", ONE, "SELECT pg_sleep(20)"], "transaction timeout"),
    ("client_idle_timeout", [ONE], "client_idle_timeout"),
])
def test_times_of_one_user(start, key, sends, phrase):
    pooler = start(users={"app": {key: 1}}, default_pool_size=4, **{key: 60})
    clients = {user: pooler.wire(user=user) for user in ("app", "other")}
    for client in clients.values():
        client.send(*(query(sql) for sql in sends))
    began = time.monotonic()
    error = clients["app"].rest().errors[0]
    assert phrase in error["M"]
    assert error["C"] == "08P01" or error["C"].startswith("57"), "drivers take both for an operational error, and connect anew"
    assert time.monotonic() - began < seconds(4)
    while not clients["other"].is_quiet(0.2):
        assert not any(seen.kind == "E" for seen in [clients["other"].next()]), "others have a minute"


@pytest.mark.parametrize("line, user", [({"query_wait_timeout": 1}, {}), ({}, {"query_wait_timeout": 1}),
                                        ({"query_wait_timeout": 50}, {"query_wait_timeout": 1})])
def test_how_long_a_client_waits_for_a_server(start, line, user):
    pooler = start(default_pool_size=1, query_wait_timeout=60, database=line, users={"app": user} if user else None)
    holder, waiting = pooler.wire(), pooler.wire()
    holder.do("BEGIN; SELECT 1")
    began = time.monotonic()
    waiting.send(query(ONE))
    assert "query_wait_timeout" in waiting.up_to("E").errors[0]["M"]
    assert 0.9 <= time.monotonic() - began < seconds(4)


def test_how_old_servers_of_a_database_may_be(start):
    pooler = start(database={"server_lifetime": 0}, server_lifetime=3600)
    client = pooler.wire()
    pid = "SELECT pg_backend_pid()"
    assert client.value(pid) != client.value(pid)


# Of the protocol


@pytest.mark.parametrize("limit, fits", [(100_000, True), (2_000, False)])
def test_messages_may_be_too_large(start, limit, fits):
    pooler = start(max_packet_size=limit)
    client = pooler.wire()
    client.send(query(f"SELECT length('{'x' * 5_000}')"))
    answer = client.up_to("EZ")
    if fits:
        assert answer.texts == [("5000",)]
    else:
        assert "packet is larger than max_packet_size" in answer.errors[0]["M"]
    assert pooler.wire().value("SELECT 'small'") == "small"


@pytest.mark.parametrize("ignored", ["", "extra_float_digits, work_mem"])
def test_startup_parameters_may_be_dropped(start, database, ignored):
    pooler = start(ignore_startup_parameters=ignored)
    client = pooler.wire(work_mem="1234kB", extra_float_digits="2")
    told = (client.value("SHOW work_mem"), client.value("SHOW extra_float_digits"))
    assert told == (("1234kB", "2") if not ignored else
                    (database.value("SHOW work_mem"), database.value("SHOW extra_float_digits")))


def test_parameters_of_the_list_follow_their_client(start):
    """As all do in Weir, listed or not."""
    pooler = start(default_pool_size=1, track_extra_parameters="IntervalStyle, search_path")
    one, two = pooler.wire(IntervalStyle="iso_8601"), pooler.wire(IntervalStyle="sql_standard")
    for _ in range(2):
        assert one.value("SELECT interval '1 day 2 hours'") == "P1DT2H"
        assert two.value("SELECT interval '1 day 2 hours'") == "1 2:00:00"
    two.do("SET IntervalStyle = 'postgres_verbose'")
    assert one.value("SHOW IntervalStyle") == "iso_8601"


@pytest.mark.parametrize("iterations", [4096, 5000])
def test_iterations_of_secrets_made_from_plain_passwords(start, iterations):
    pooler = start(auth_type="scram-sha-256", scram_iterations=iterations)
    assert pooler.wire(password="app-secret").scram.iterations == iterations
