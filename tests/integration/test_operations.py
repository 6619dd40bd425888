"""Running it: limits on clients, minimal pools, orderly ends, and what the log says of them."""

import re
import signal
import socket
import time

import pytest

from harness.wait import seconds, until
from harness.wire import Closed, ServerError, Wire, query, startup


def says(pooler, phrase, times=1):
    pooler.says(re.compile(phrase), times)


def refused(call, phrase):
    with pytest.raises((ServerError, AssertionError, Closed), match=phrase):
        call()


def test_limits_of_clients_hold_on_the_console_but_not_for_administrators(start):
    pooler = start(max_db_client_connections=1, max_user_client_connections=2)
    with pooler.admin("admin"), pooler.admin("admin"), pooler.admin("admin"):
        refused(lambda: pooler.admin("stats"), "max_db_client_connections")
    with pooler.admin() as console:
        console.run("SET max_db_client_connections = 0")
        with pooler.admin("stats"), pooler.admin("stats"):
            refused(lambda: pooler.admin("stats"), "max_user_client_connections")
            rows = {row["name"]: row["current_client_connections"] for row in console.show("USERS")}
            assert rows["stats"] == "2"
        until("they have been counted out",
              lambda: {r["name"]: r for r in console.show("USERS")}["stats"]["current_client_connections"] == "0")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_forced_user_has_its_minimum_without_any_client(start, database, workers):
    pooler = start(database={"user": "app", "min_pool_size": 3, "pool_size": 5}, workers=workers)

    def connections():
        return int(database.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'app'"))

    until("three connections", lambda: connections() == 3)
    database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND datname ="
                     " current_database()")
    until("they come back", lambda: connections() == 3)
    pooler.databases["test"]["min_pool_size"] = 4
    pooler.reload()
    until("one more after a reload", lambda: connections() == 4)


def test_without_lifetime_each_server_is_used_once(start):
    pooler = start(server_lifetime=0)
    client = pooler.wire()
    first = client.value("SELECT pg_backend_pid()")
    assert client.value("SELECT pg_backend_pid()") != first
    says(pooler, r"closing because: server lifetime over")


def test_a_database_of_the_fallback_is_told_of_once(start, database):
    pooler = start(databases={"*": {"host": "127.0.0.1", "port": database.postgres.port}})
    pooler.wire(database.name).do("SELECT 1")
    pooler.wire(database.name).do("SELECT 1")
    assert pooler.log().count(f"registered new auto-database: db={database.name}") == 1


def test_the_log_says_why_a_server_could_not_be_had(start, database):
    port = database.postgres.port
    pooler = start(databases={"nohost": {"host": "no-such-host.invalid", "port": port, "dbname": database.name},
                              "nodb": {"host": "127.0.0.1", "port": port, "dbname": "no_such_db"},
                              "noport": {"host": "127.0.0.1", "port": 1, "dbname": database.name}},
                   client_login_timeout=3)
    for name, phrase in (("nodb", 'server login failed: FATAL database "no_such_db" does not exist'),
                         ("nodb", r"closing because: login failed \(age=\d+s?\)"),
                         ("nohost", "closing because: server DNS lookup failed"),
                         ("noport", "closing because: connect failed")):
        client = pooler.bare_wire()
        client.send(startup(user="app", database=name))
        says(pooler, phrase)


def test_query_timeout_also_ends_who_waits_for_a_server(start):
    pooler = start(default_pool_size=1, query_timeout=1, query_wait_timeout=30)
    holder, waiting = pooler.wire(), pooler.wire()
    holder.do("BEGIN; SELECT 1")
    waiting.send(query("SELECT 1"))
    assert waiting.rest().errors[0]["M"] == "query_timeout"
    says(pooler, "pooler error: query_timeout")


def end_by(pooler, way):
    if way == "console":
        with pooler.admin() as console:
            console.run("SHUTDOWN WAIT_FOR_SERVERS")
    else:
        pooler.process.send_signal(signal.SIGINT)
    says(pooler, "shutting down")


@pytest.mark.parametrize("way", ["console", "signal"])
@pytest.mark.parametrize("workers", [1, 2])
def test_waiting_for_servers_gives_no_new_ones(start, way, workers):
    pooler = start(default_pool_size=1, workers=workers)
    holder, idle, waiting = pooler.wire(), pooler.wire(), pooler.wire()
    holder.do("BEGIN; SELECT 1")
    waiting.send(query("SELECT 'waits'"))
    with pooler.admin() as console:
        until("it waits", lambda: console.pool("test", "app").get("cl_waiting") == "1")
    end_by(pooler, way)
    refused_by = until("nobody is let in any more", lambda: cannot_connect(pooler))
    assert refused_by is ConnectionRefusedError
    assert holder.value("SELECT 'still here'") == "still here"
    idle.send(query("SELECT 'new'"))
    for client in (idle, waiting):
        assert client.rest().errors[0]["M"] == "server shutting down"
    holder.do("COMMIT")
    assert pooler.process.wait(seconds(5)) == 0
    pooler.process = None


def cannot_connect(pooler):
    try:
        pooler.bare_wire().close()
    except OSError as error:
        return type(error)


def test_nothing_resumes_a_shutdown(start):
    pooler = start()
    client = pooler.wire()
    client.do("SELECT 1")
    with pooler.admin() as console:
        console.run("SHUTDOWN WAIT_FOR_CLIENTS")
        with pytest.raises(ServerError, match="pooler is shutting down"):
            console.run("RESUME")
        assert client.value("SELECT 'served'") == "served"
    client.close()
    assert pooler.process.wait(seconds(5)) == 0
    pooler.process = None


def pools(pooler):
    return [(row["database"], row["user"]) for row in pooler.show("POOLS") if row["database"] != "pgbouncer"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pool_without_connections_is_forgotten_and_begins_anew(start, workers):
    pooler = start(pool_idle_timeout=0.5, server_idle_timeout=0.3, workers=workers)
    client = pooler.wire()
    client.do("SELECT 1")
    until("its server has gone", lambda: not pooler.show("SERVERS"))
    assert pools(pooler) == [("test", "app")], "a client is a connection too"
    client.close()
    until("it is forgotten", lambda: not pools(pooler))
    says(pooler, "test/app: cleaning up idle pool")
    pooler.wire().do("SELECT 1")
    assert pools(pooler) == [("test", "app")]
    assert pooler.show("STATS")[0]["total_query_count"] == "1"


@pytest.mark.parametrize("workers", [1, 2])
def test_databases_of_the_fallback_are_forgotten(start, database, workers):
    pooler = start(databases={"*": {"host": "127.0.0.1", "port": database.postgres.port},
                              "named": {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}},
                   autodb_idle_timeout=0.5, server_idle_timeout=0.3, workers=workers)

    def names():
        return {row["name"] for row in pooler.show("DATABASES")}

    with pooler.wire("named") as client:
        client.do("SELECT 1")
    clients = [pooler.wire(database.name) for _ in range(4)]
    for client in clients:
        client.do("SELECT 1")
    assert names() == {database.name, "named", "pgbouncer"}
    until("no server is left", lambda: not pooler.show("SERVERS"))
    time.sleep(0.7)
    assert database.name in names(), "there are clients"
    for client in clients:
        client.close()
    until("it is forgotten", lambda: names() == {"named", "pgbouncer"})
    until("its pool too", lambda: pools(pooler) == [("named", "app")])
    pooler.wire(database.name).do("SELECT 1")
    assert database.name in names()
    assert pooler.log().count(f"registered new auto-database: db={database.name}") == 2


def server_user(client):
    return client.value("SELECT session_user")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_database_that_moves_takes_its_clients_along(start, database, postgres, workers):
    other = postgres.make_database()
    try:
        pooler = start(workers=workers)
        client, holder = pooler.wire(), pooler.wire()
        holder.do("BEGIN; SELECT 1")
        pooler.databases["test"]["dbname"] = other.name
        pooler.reload()
        assert client.value("SELECT current_database()") == other.name
        assert holder.value("SELECT current_database()") == database.name, "a transaction ends where it began"
        holder.do("COMMIT")
        assert holder.value("SELECT current_database()") == other.name
        says(pooler, "closing because: database configuration changed")
        client.close()
        holder.close()
        pooler.stop()
    finally:
        other.drop()


@pytest.mark.parametrize("before, after", [({}, {"user": "other"}), ({"user": "other"}, {}), ({"user": "other"}, {"user": "app"})])
def test_another_forced_user_ends_who_runs_as_the_old_one(start, before, after):
    pooler = start(database={"min_pool_size": 1, **before})
    client = pooler.wire()
    assert server_user(client) == before.get("user", "app")
    line = {key: value for key, value in pooler.databases["test"].items() if key != "user"}
    pooler.reload(databases={"test": {**line, **after}})
    assert client.rest().errors[0]["M"] == "database configuration changed"
    assert server_user(pooler.wire()) == after.get("user", "app")
    until("nothing is left of the old one",
          lambda: {row["user"] for row in pooler.show("SERVERS")} == {after.get("user", "app")})


def test_a_database_that_is_removed_ends_its_clients_and_may_come_back(start):
    pooler = start(database={"user": "app", "min_pool_size": 2})
    client, holder = pooler.wire(), pooler.wire()
    client.do("SELECT 1")
    holder.do("BEGIN; SELECT 1")
    line = pooler.databases["test"]
    pooler.reload(databases={"elsewhere": line})
    for one in (client, holder):
        assert one.rest().errors[0]["M"] == "database removed"
    until("its servers are gone", lambda: {row["database"] for row in pooler.show("SERVERS")} <= {"elsewhere"})
    refused(pooler.wire, "no such database: test")
    pooler.reload(databases={"test": line})
    assert pooler.wire().value("SELECT 'back'") == "back"


def test_kill_disable_and_wait_close(start):
    pooler = start(default_pool_size=2)
    client, holder = pooler.wire(), pooler.wire()
    client.do("SELECT 1")
    with pooler.admin() as console:
        holder.do("BEGIN; SELECT 1")
        console.run("RECONNECT test")
        console.wire.send(query("WAIT_CLOSE test"))
        assert console.wire.is_quiet(0.3), "a server that is to be closed is in use"
        holder.do("COMMIT")
        assert "C" in console.wire.ready().kinds
        console.run("DISABLE test")
        refused(pooler.wire, 'database "test" is disabled')
        assert client.value("SELECT 'who is there stays'")
        console.run("ENABLE test")
        console.run("KILL test")
        for one in (client, holder):
            assert one.rest().errors[0]["M"] == "admin forced disconnect"
        assert {row["name"]: row["paused"] for row in console.show("DATABASES")}["test"] == "1"
        console.run("RESUME test")
    assert pooler.wire().value("SELECT 'on'") == "on"


def test_a_log_file_that_was_moved_is_begun_anew(start, new_pooler, database):
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}})
    logfile = pooler.directory / "rotated.log"
    pooler.options["logfile"] = logfile
    pooler.start()
    logfile.rename(logfile.with_suffix(".1"))
    pooler.wire().do("SELECT 1")
    assert not logfile.exists()
    with pooler.admin() as console:
        console.run("RELOAD")
    until("it is there again", lambda: logfile.exists() and "configuration reloaded" in logfile.read_text())


@pytest.mark.parametrize("key, phrase", [("log_connections", "login attempt: db=test"), ("log_connections", "new connection to server"),
                                         ("log_disconnections", "closing because: "), ("log_pooler_errors", "pooler error: ")])
@pytest.mark.parametrize("value", [0, 1])
def test_what_the_log_is_told(start, key, phrase, value):
    pooler = start(**{key: value}, server_idle_timeout=0.2, query_wait_timeout=0.2, default_pool_size=1)
    holder, waiting = pooler.wire(), pooler.wire()
    holder.do("BEGIN; SELECT 1")
    waiting.send(query("SELECT 1"))
    waiting.rest()
    holder.do("COMMIT")
    holder.close()
    until("all has ended", lambda: not pooler.show("SERVERS") and not [
        row for row in pooler.show("CLIENTS") if row["database"] == "test"])
    if value:
        pooler.says(phrase)
    assert (phrase in pooler.log()) == bool(value)


def test_the_summary_line_comes_every_period(start):
    pooler = start(stats_period=1)
    pooler.wire().do("SELECT 1")
    says(pooler, r"LOG stats: \d+ xacts/s, \d+ queries/s", times=2)
    with pooler.admin() as console:
        console.run("SET log_stats = 0")
    before = pooler.log().count("LOG stats:")
    time.sleep(2.2)
    assert pooler.log().count("LOG stats:") == before


def test_verbose_levels_add_detail(start):
    pooler = start()
    with pooler.admin() as console:
        for level, seen in ((0, False), (2, True)):
            console.run(f"SET verbose = {level}")
            before = len(pooler.log())
            pooler.wire().do("SELECT 1")
            if seen:
                pooler.says(" NOISE ")
            assert (" NOISE " in pooler.log()[before:]) == seen


@pytest.mark.parametrize("way", ["WAIT_FOR_SERVERS", "WAIT_FOR_CLIENTS"])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_console_can_be_reached_until_the_end(new_pooler, database, way, workers):
    """By the Unix socket, while the port is closed and nobody else gets in."""
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}},
                        {"workers": workers})
    pooler.options["unix_socket_dir"] = pooler.directory
    pooler.start()
    client = pooler.wire()
    client.do("BEGIN; SELECT 1")
    with pooler.admin() as console:
        console.run(f"SHUTDOWN {way}")
    until("the port is closed", lambda: not is_open(pooler.port))
    with pytest.raises(ServerError, match="pooler is shutting down"):
        Wire(pooler.port, host=str(pooler.directory)).login("app", "test")
    late = Wire(pooler.port, host=str(pooler.directory))
    late.login("admin", "pgbouncer")
    assert late.query("SHOW VERSION").texts
    late.quit()
    client.do("COMMIT")
    client.quit()
    assert pooler.process.wait(seconds(10)) == 0
    assert not (pooler.directory / f".s.PGSQL.{pooler.port}").exists()
    pooler.process = None


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_kill_spares_the_console(start, workers):
    pooler = start(workers=workers)
    clients = [pooler.wire() for _ in range(4)]
    with pooler.admin() as other, pooler.admin() as console:
        console.run("KILL")
        for client in clients:
            assert client.rest().errors[0]["M"] == "admin forced disconnect"
        assert other.show("VERSION")
        console.run("RESUME")
    assert pooler.wire().value("SELECT 'again'") == "again"


def test_what_clients_do(start):
    """Which is told as their state."""
    pooler = start(default_pool_size=1)
    resting, working, waiting = (pooler.wire(application_name=name) for name in ("resting", "working", "waiting"))
    working.do("BEGIN; SELECT 1")
    waiting.send(query("SELECT 1"))

    def states():
        return {row["application_name"]: row["state"] for row in pooler.show("CLIENTS") if row["database"] == "test"}

    until("all have their state", lambda: states() == {"resting": "idle", "working": "active", "waiting": "waiting"})
    working.do("COMMIT")
    waiting.ready()
    resting.do("SELECT 1")
    until("all rest", lambda: set(states().values()) == {"idle"})
