"""target_session_attrs: of several hosts those are used whose server has the role that is asked for, and a change of
roles is noticed."""

import time

import pytest

from harness import wire
from harness.crowd import Crowd
from harness.postgres import Postgres, Standby
from harness.tap import Tap
from harness.wait import seconds, until
from harness.wire import query

PRIMARY, STANDBY = "127.0.0.1", "127.0.0.2"
ROLE = "SELECT pg_is_in_recovery()"


class Pair:
    """A primary and its streaming standby, at two addresses and one port."""

    def __init__(self):
        self.primary = Postgres()
        hba = self.primary.data / "pg_hba.conf"
        hba.write_text("host replication postgres 127.0.0.1/32 trust\n" + hba.read_text())
        self.primary.start().make_roles()
        self.database = self.primary.make_database()
        self.standby = Standby(self.primary).start()

    def remove(self):
        self.standby.remove()
        self.primary.remove()


@pytest.fixture
def own_pair():
    """For tests that change roles."""
    pair = Pair()
    yield pair
    pair.remove()


@pytest.fixture(scope="module")
def pair():
    pair = Pair()
    yield pair
    pair.remove()


@pytest.fixture
def serve(new_pooler):
    def begin(pair, target, hosts=(PRIMARY, STANDBY), line=None, **options):
        database = {"host": ",".join(hosts), "port": pair.primary.port, "dbname": pair.database.name,
                    "target_session_attrs": target, **(line or {})}
        return new_pooler({"test": database}, {"default_pool_size": 6, **options}).start()

    return begin


def roles(pooler, count=6):
    """What several sessions at once find."""
    clients = [pooler.wire() for _ in range(count)]
    for client in clients:
        client.send(query("SELECT pg_is_in_recovery() FROM pg_sleep(0.1)"))
    found = {client.ready().texts[0][0] for client in clients}
    for client in clients:
        client.close()
    return found


def refusal(pooler):
    """What a client that logs in is told instead; None when it may."""
    client = pooler.bare_wire()
    client.send(wire.startup(user="app", database="test"))
    answer = client.up_to("EZ")
    client.close()
    return answer.errors[0] if answer.errors else None


@pytest.mark.parametrize("hosts", [(PRIMARY, STANDBY), (STANDBY, PRIMARY)], ids=["primary-first", "standby-first"])
@pytest.mark.parametrize("balance", ["round-robin", "disable"])
@pytest.mark.parametrize("target, found", [("any", None), ("primary", {"f"}), ("read-write", {"f"}), ("standby", {"t"}),
                                           ("read-only", {"t"}), ("prefer-standby", {"t"})])
def test_the_right_server_is_used_wherever_it_stands(serve, pair, target, found, hosts, balance):
    pooler = serve(pair, target, hosts, {"load_balance_hosts": balance})
    seen = roles(pooler)
    if found is None:
        found = {"t", "f"} if balance == "round-robin" else {"t" if hosts[0] == STANDBY else "f"}
    assert seen == found


@pytest.mark.parametrize("target, found", [("primary", {"f"}), ("standby", {"t"}), ("read-write", {"f"}),
                                           ("read-only", {"t"}), ("prefer-standby", {"t"})])
def test_a_server_that_does_not_report_its_role_is_asked(serve, pair, target, found):
    """PostgreSQL before 14: the reports are there, under names that mean nothing."""
    with Tap(pair.primary.port) as one, Tap(pair.primary.port, STANDBY, one.port, STANDBY) as two:
        for tap in (one, two):
            tap.rename_in_answers(b"in_hot_standby", b"in_not_standby")
            tap.rename_in_answers(b"default_transaction_read_only", b"default_transaction_reed_only")
        pooler = serve(pair, target, line={"port": one.port})
        assert roles(pooler) == found
        assert b"pg_is_in_recovery(), reset_val" in one.sent + two.sent


def test_the_role_of_a_host_is_remembered(serve, pair):
    pooler = serve(pair, "primary", (STANDBY, PRIMARY), server_login_retry=600)
    client = pooler.wire()
    for _ in range(10):
        assert client.value(ROLE) == "f"
        with pooler.admin() as console:
            console.run("RECONNECT")
    passed_over = "server is in hot standby mode (target_session_attrs=primary)"
    assert pooler.says(passed_over).count(passed_over) == 1


def test_where_no_host_fits_a_client_is_told(serve, pair):
    pooler = serve(pair, "primary", (STANDBY,), query_wait_timeout=60)
    error = refusal(pooler)
    assert error["S"] == "FATAL" and "target_session_attrs=primary" in error["M"], error
    assert "server is in hot standby mode" in error["M"]
    pooler.reload(databases={"test": {**pooler.databases["test"], "target_session_attrs": "read-only"}})
    assert pooler.wire().value(ROLE) == "t"


def test_a_session_that_waits_in_vain_is_told_why(serve, own_pair):
    """Not query_wait_timeout: what is wrong."""
    pooler = serve(own_pair, "standby", (STANDBY,), query_wait_timeout=60, server_login_retry=2)
    client = pooler.wire()
    assert client.value(ROLE) == "t"
    own_pair.standby.promote()
    assert client.value(ROLE) == "f", "which tells that it was promoted"
    client.send(query(ROLE))
    began = time.monotonic()
    answer = client.up_to("EZ")
    assert "target_session_attrs=standby: server is not in hot standby mode" in answer.errors[0]["M"]
    assert 1 < time.monotonic() - began < seconds(10)
    pooler.says("closing because: server is not in hot standby mode")


def test_a_standby_is_preferred_and_a_primary_will_do(serve, own_pair):
    pooler = serve(own_pair, "prefer-standby", server_login_retry=1)
    assert roles(pooler) == {"t"}
    own_pair.standby.stop("immediate")
    assert roles(pooler) == {"f"}
    own_pair.standby.start()

    def fresh():
        with pooler.admin() as console:
            console.run("RECONNECT")
        return roles(pooler) == {"t"}

    until("the standby is used again", fresh, 10, pause=0.2)


def test_a_standby_is_preferred_among_primaries_alone(serve, pair):
    pooler = serve(pair, "prefer-standby", (PRIMARY,))
    assert roles(pooler) == {"f"}


def test_failover_under_load(serve, own_pair):
    """The primary dies, the standby is promoted: sessions live on, and what is written after it is on the new one."""
    own_pair.database.execute("CREATE TABLE written (by int, turn int)", user="app")
    pooler = serve(own_pair, "read-write", server_login_retry=15, query_wait_timeout=60)
    everyone, state = Crowd(), {"on": True, "done": 0}

    def write(number):
        turn, client = 0, pooler.wire()
        while state["on"]:
            turn += 1
            answer = client.query(f"INSERT INTO written VALUES ({number}, {turn}) RETURNING turn")
            if answer.errors:  # lost with its server, outcome unknown: the session ends in that case alone
                assert answer.errors[0]["C"][:2] in ("08", "57"), answer.errors
                client = pooler.wire()
                continue
            state["done"] += 1

    def guarded(number):
        while state["on"]:
            try:
                write(number)
            except wire.Closed:
                pass

    for number in range(6):
        everyone.add(guarded, number)
    until("load", lambda: state["done"] > 100)
    own_pair.primary.stop("immediate")
    time.sleep(0.5)
    own_pair.standby.promote()
    promoted, before = time.monotonic(), state["done"]
    until("writes go to the new primary", lambda: state["done"] > before + 100, 10)
    assert time.monotonic() - promoted < seconds(5)
    state["on"] = False
    everyone.join(30)
    with own_pair.standby.connect(own_pair.database.name) as direct:
        assert direct.execute("SELECT count(*) FROM written").fetchone()[0] > 100


def test_who_waits_meanwhile_is_served_after_the_promotion(serve, own_pair):
    pooler = serve(own_pair, "primary", server_login_retry=15, query_wait_timeout=60)
    client = pooler.wire()
    assert client.value(ROLE) == "f"
    own_pair.primary.stop("fast")
    until("its server is gone", lambda: "server conn crashed" in pooler.log() or "terminating" in pooler.log())
    client.send(query(ROLE))
    with pooler.admin() as console:
        until("it waits", lambda: console.pool("test", "app")["cl_waiting"] == "1")
    own_pair.standby.promote()
    assert client.ready().texts == [("f",)]


def test_a_primary_that_has_become_read_only_is_left(new_pooler):
    """Roles change without a connection being lost: a write is refused, and the next one finds the other host."""
    one = Postgres().start().make_roles()
    two = Postgres(address=STANDBY, port=one.port).start().make_roles()
    try:
        name = one.make_database().name
        assert two.make_database().name == name
        for server in (one, two):
            with server.connect(name, "app") as direct:
                direct.execute("CREATE TABLE notes (id int)")
        pooler = new_pooler({"test": {"host": f"{PRIMARY},{STANDBY}", "port": one.port, "dbname": name,
                                      "target_session_attrs": "read-write", "load_balance_hosts": "disable"}},
                            {"default_pool_size": 3}).start()
        where = "SELECT inet_server_addr()"
        client = pooler.wire()
        assert client.value(where) == PRIMARY
        with one.connect() as admin:
            admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            admin.execute("SELECT pg_reload_conf()")
        until("a write is refused", lambda: [e["C"] for e in client.query("INSERT INTO notes VALUES (1)").errors]
              == ["25006"])
        assert not client.query("INSERT INTO notes VALUES (2)").errors
        assert client.value(where) == STANDBY
        pooler.says("closing because: session is read-only")
    finally:
        two.remove()
        one.remove()


def test_a_lost_connection_has_all_hosts_asked_again(serve, own_pair):
    """A standby that was passed over has been promoted meanwhile."""
    pooler = serve(own_pair, "primary", (STANDBY, PRIMARY), server_login_retry=600)
    where = "SELECT inet_server_addr() FROM pg_sleep(0.1)"

    def addresses():
        clients = [pooler.wire() for _ in range(6)]
        for client in clients:
            client.send(query(where))
        return {client.ready().texts[0][0] for client in clients}

    assert addresses() == {PRIMARY}
    own_pair.standby.promote()
    own_pair.database.terminate_backends()
    until("both are used", lambda: addresses() == {PRIMARY, STANDBY})


def test_who_wants_to_read_only_keeps_its_server(serve, pair):
    pooler = serve(pair, "primary", (PRIMARY,), default_pool_size=1)
    client = pooler.wire()
    backend = client.value("SELECT pg_backend_pid()")
    for setting in ("BEGIN READ ONLY", "SET default_transaction_read_only = on"):
        client.query(setting)
        assert client.query("CREATE TABLE never (id int)").errors[0]["C"] == "25006"
        client.query("ROLLBACK")
        client.query("RESET default_transaction_read_only")
        assert client.value("SELECT pg_backend_pid()") == backend


def test_a_value_that_is_none(pair, new_pooler):
    pooler = new_pooler({"test": {"host": PRIMARY, "target_session_attrs": "master"}})
    pooler.spawn()
    assert pooler.process.wait(seconds(10)) != 0
    log = pooler.log()
    assert all(word in log for word in ("weir.ini:", "target_session_attrs", "master", "prefer-standby")), log
    pooler.process = None


def test_replication_goes_to_the_primary_too(serve, pair):
    pooler = serve(pair, "primary", (STANDBY, PRIMARY), line={"user": "postgres"})
    client = pooler.bare_wire()
    client.send(wire.startup(user="postgres", database="test", replication="true"))
    assert not client.up_to("EZ").errors
    client.send(query("SHOW in_hot_standby"))
    assert client.ready().texts == [("off",)]
