"""Keys of server connections: which is taken, what is asked of it, what it begins with; each by its effect."""

import time

import pytest

from harness.sockets import full_house
from harness.tap import Tap
from harness.wait import seconds, until
from harness.wire import Closed, ServerError, query, startup

PID = "SELECT pg_backend_pid()"
NOTED = "CREATE TABLE noted (what text); CREATE FUNCTION note(text) RETURNS int LANGUAGE sql AS 'INSERT INTO noted VALUES ($1) RETURNING 1'"


def noted(database):
    return [what for what, in database.execute("SELECT what FROM noted")]


@pytest.fixture
def noting(start, database):
    """Starts a pooler before a database with a function that notes its calls."""

    def begin(**more):
        database.execute(NOTED, user="app")
        return start(**more)

    return begin


def open_servers(pooler, count):
    """As many servers as said, all idle at the end."""
    clients = [pooler.wire() for _ in range(count)]
    for client in clients:
        client.do("BEGIN; SELECT 1")
    for client in clients:
        client.do("COMMIT")
        client.quit()


@pytest.mark.parametrize("in_turn", [0, 1])
def test_idle_servers_are_used_in_turn_or_the_last_first(start, in_turn):
    pooler = start(default_pool_size=3, server_round_robin=in_turn)
    open_servers(pooler, 3)
    client = pooler.wire()
    used = [client.value(PID) for _ in range(6)]
    if in_turn:
        assert len(set(used[:3])) == 3 and used[:3] == used[3:]
    else:
        assert len(set(used)) == 1


# What is sent to servers between clients


def uses(pooler):
    """Two clients, one after the other, on the only server; a setting the first one made, as the second sees it."""
    first = pooler.wire()
    first.do("SET work_mem = '1234kB'")
    pid = first.value(PID)
    first.quit()
    second = pooler.wire()
    assert second.value(PID) == pid
    seen = second.value("SHOW work_mem")
    second.quit()
    return seen


def test_a_server_is_reset_between_the_sessions_of_two_clients(start, database):
    pooler = start(pool_mode="session", default_pool_size=1)
    assert uses(pooler) == database.value("SHOW work_mem"), "DISCARD ALL"


def test_another_query_may_reset_a_server(noting, database):
    pooler = noting(pool_mode="session", default_pool_size=1, server_reset_query="SELECT note('reset')")
    assert uses(pooler) == "1234kB", "this one leaves settings as they are"
    until("after each of the two", lambda: noted(database) == ["reset"] * 2)
    with pooler.admin() as console:
        console.run("SET server_reset_query = ''")
    assert uses(pooler) == database.value("SHOW work_mem"), "where nothing is sent, what is known of settings counts"
    assert noted(database) == ["reset"] * 2, "an empty one is none"


@pytest.mark.parametrize("always", [0, 1])
def test_transactions_are_followed_by_it_where_told(noting, database, always):
    pooler = noting(default_pool_size=1, server_reset_query="SELECT note('reset')", server_reset_query_always=always)
    client = pooler.wire()
    for _ in range(3):
        client.do("SELECT 1")
    client.quit()
    pooler.wire().do("SELECT 1")
    if always:
        until("it was sent after each", lambda: len(noted(database)) >= 4)
    else:
        assert noted(database) == []


@pytest.mark.parametrize("delay, expected", [(0, 3), (30, 0)])
def test_an_idle_server_is_tested_before_use(noting, database, delay, expected):
    pooler = noting(default_pool_size=1, server_check_query="SELECT note('check')", server_check_delay=delay)
    client = pooler.wire()
    client.do("SELECT 1")  # the login has just shown that it lives
    before = len(noted(database))
    for _ in range(3):
        client.do("SELECT 1")
    assert len(noted(database)) - before == expected


def test_the_test_of_an_idle_server_may_be_left_out(noting, database):
    pooler = noting(default_pool_size=1, server_check_query="", server_check_delay=0)
    client = pooler.wire()
    assert len({client.value(PID) for _ in range(3)}) == 1
    assert noted(database) == []


def test_a_server_that_fails_the_test_is_replaced(noting, database):
    pooler = noting(default_pool_size=1, server_check_query="SELECT 1 / (SELECT count(*) FROM noted WHERE what = 'well')",
                    server_check_delay=0)
    database.execute("INSERT INTO noted VALUES ('well')")
    client = pooler.wire()
    pid = client.value(PID)
    assert client.value(PID) == pid
    database.execute("DELETE FROM noted")
    client.send(query(PID))
    until("the server was given up", lambda: database.execute(
        "SELECT 1 FROM pg_stat_activity WHERE pid = %s", (int(pid),)) == [])
    database.execute("INSERT INTO noted VALUES ('well')")
    assert client.ready().texts[0][0] != pid


# What a server begins with


def test_a_query_on_every_new_server(noting, database):
    pooler = noting(default_pool_size=2, database={"connect_query": "SELECT note('it''s new')"})
    open_servers(pooler, 2)
    pooler.wire().do("SELECT 1")
    assert noted(database) == ["it's new"] * 2


def test_a_query_on_every_new_server_that_fails(start):
    pooler = start(database={"connect_query": "SELECT 1 / 0"}, client_login_timeout=2)
    with pytest.raises((ServerError, Closed)):
        pooler.wire()
    pooler.says("division by zero")


@pytest.mark.parametrize("name, value", [
    ("client_encoding", "LATIN1"), ("datestyle", "German, DMY"), ("timezone", "Asia/Tokyo"), ("application_name", "shop")])
def test_settings_of_a_database(start, name, value):
    pooler = start(database={name: value})
    client = pooler.wire()
    assert client.value(f"SHOW {name}") == value
    assert next(v for n, v in client.parameters.items() if n.lower() == name) == value, "clients are told"


# Where a server is


@pytest.fixture
def two_hosts(start, database):
    """Two ways to one server, of which the first may be shut, and a pooler that has both."""
    upstream = database.postgres.port
    with Tap(upstream) as one, Tap(upstream, "127.0.0.2", one.port):
        yield one, lambda line=None, **options: start(databases={"test": {
            "host": "127.0.0.1,127.0.0.2", "port": one.port, "dbname": database.name, **(line or {})}}, **options)


@pytest.mark.parametrize("way", ["round-robin", "disable"])
def test_hosts_are_used_in_turn_or_the_first_that_works(two_hosts, way):
    _, begin = two_hosts
    pooler = begin({"load_balance_hosts": way}, default_pool_size=4)
    open_servers(pooler, 4)
    hosts = sorted(row["addr"] for row in pooler.show("SERVERS"))
    assert hosts == (["127.0.0.1"] * 2 + ["127.0.0.2"] * 2 if way == "round-robin" else ["127.0.0.1"] * 4)
    assert pooler.show("POOLS")[0]["load_balance_hosts"] == way


def test_a_host_that_is_away_is_passed_over(two_hosts):
    one, begin = two_hosts
    pooler = begin({"load_balance_hosts": "disable"}, default_pool_size=2)
    one.shut()
    open_servers(pooler, 2)
    assert {row["addr"] for row in pooler.show("SERVERS")} == {"127.0.0.2"}


def test_a_server_that_does_not_answer_is_given_up(start, database, tap):
    pooler = start(port=tap.port, server_connect_timeout=1, server_login_retry=0.1, query_wait_timeout=seconds(20))
    tap.refuse_new()
    client = pooler.bare_wire()
    began = time.monotonic()
    client.send(startup(user="app", database="test"))
    pooler.says("connect timeout")
    assert time.monotonic() - began >= 0.9
    tap.release()
    client.finish_login("app")
    assert client.value("SELECT 'served'") == "served"


def test_a_host_where_nobody_takes_the_connection_is_given_up(start, tap):
    pooler = start(port=tap.port, server_connect_timeout=1, server_login_retry=0.1, query_wait_timeout=seconds(20))
    tap.shut()
    client = pooler.bare_wire()
    with full_house(tap.port):
        client.send(startup(user="app", database="test"))
        pooler.says("connect failed")
        pooler.says("Connection timed out")
    tap.open()
    client.finish_login("app")


@pytest.mark.parametrize("retry, attempts, longer_than", [(0.1, 10, 0.6), (30, 6, 1.1)])
def test_how_soon_a_server_that_fails_is_tried_again(start, tap, retry, attempts, longer_than):
    """After 50 ms, then twice as long after each failure, up to this; ten attempts would take half a minute without it."""
    pooler = start(port=tap.port, server_login_retry=retry, query_wait_timeout=60)
    tap.shut()
    client = pooler.bare_wire()
    began = time.monotonic()
    client.send(startup(user="app", database="test"))
    pooler.says("server login failed: connect failed", attempts)
    assert time.monotonic() - began > longer_than
    tap.open()
    client.finish_login("app")
    assert client.value("SELECT 'served'") == "served"
