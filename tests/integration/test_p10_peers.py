"""P10, P18: processes that share a port: cancel requests find their query, and one after another is replaced."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import psycopg
import pytest

from harness import system, wire
from harness.postgres import program
from harness.wait import seconds, until
from harness.wire import Closed, Wire, query


class Group:
    """Processes on one TCP port, each with a Unix socket directory and a peer_id of its own."""

    def __init__(self, new_pooler, database):
        self.new_pooler = new_pooler
        self.line = {"test": {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}}
        self.port = system.free_port()
        self.members = {}

    def add(self, number, **options):
        pooler = self.new_pooler(self.line, {"so_reuseport": 1, "peer_id": number, **options})
        pooler.port = pooler.options["listen_port"] = self.port
        pooler.options["unix_socket_dir"] = pooler.directory
        self.members[number] = pooler
        return pooler

    def start(self, own_too=False):
        for number, pooler in self.members.items():
            pooler.peers = {other: {"host": str(peer.directory), "port": self.port}
                            for other, peer in self.members.items() if own_too or other != number}
            self.begin(pooler)
        return self.members

    def begin(self, pooler):
        pooler.spawn()

        def answers():
            assert pooler.process.poll() is None, pooler.log()
            try:
                with to(pooler) as link:
                    link.login("app", "test", "app-secret")
                    return True
            except (OSError, Closed):
                return False

        until("it answers on its own socket", answers)


@pytest.fixture
def group(new_pooler, database):
    return Group(new_pooler, database)


def to(pooler):
    """A raw connection to this process and no other."""
    return Wire(pooler.port, host=str(pooler.directory))


def cancels_through(database, pooler, victim):
    victim.send(query("SELECT pg_sleep(60)"))
    until("it sleeps", lambda: database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()") == 1)
    with to(pooler) as link:
        link.send(wire.cancel_request(*victim.key))
        link.rest()
    return victim.ready().errors[0]["C"] == "57014"


@pytest.mark.parametrize("version", [wire.PROTOCOL_3_0, wire.PROTOCOL_3_2], ids=["3.0", "3.2"])
@pytest.mark.parametrize("own_too", [False, True])
def test_p10_a_cancel_request_finds_the_process_of_its_query(group, database, own_too, version):
    for number in (1, 2, 3):
        group.add(number, workers=2 if number == 2 else 1)
    members = group.start(own_too)
    for home in (1, 2, 3):
        with to(members[home]) as victim:
            victim.login("app", "test", version=version)
            for other in (1, 2, 3):
                assert cancels_through(database, members[other], victim)
            assert victim.value("SELECT 1") == "1"


def test_p10_many_cancel_requests_for_one_peer_wait_for_their_turn(group, database):
    for number in (1, 2):
        group.add(number, default_pool_size=1)
    members = group.start()
    with to(members[1]) as victim:
        victim.login("app", "test")
        links = [to(members[2]) for _ in range(50)]
        for link in links:
            link.send(wire.cancel_request(*victim.key))
        for link in links:
            assert not link.rest()
            link.close()
        assert cancels_through(database, members[2], victim)


def test_p10_a_connection_is_good_for_one_cancel_request(new_pooler, database, tap):
    """What else comes on it while the peer is told is of no one's interest."""
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}},
                        {"peer_id": 1})
    pooler.peers = {2: {"host": "127.0.0.1", "port": tap.port}}
    pooler.start()
    tap.refuse_new()
    with pooler.bare_wire() as link:
        link.send(wire.cancel_request(2 << 18, b"1234"))
        until("the request has left", lambda: tap.swallowed == 1)
        link.send(wire.cancel_request(2 << 18, b"1234"))
        assert link.is_quiet(0.3)
        assert tap.swallowed == 1
        tap.cut()
        assert not link.rest()
    assert pooler.wire().value("SELECT 'alive'") == "alive"


def test_p10_a_peer_gets_no_more_connections_than_it_may_have(group, new_pooler, database, tap):
    """pool_size of [peers]; the others wait."""
    group.add(2)
    stranger = group.start()[2]
    first = new_pooler(group.line, {"peer_id": 1})
    first.peers = {2: {"host": "127.0.0.1", "port": tap.port, "pool_size": 3}}
    first.start()
    tap.refuse_new()
    with to(stranger) as victim:
        victim.login("app", "test")
        links = [first.bare_wire() for _ in range(10)]
        for link in links:
            link.send(wire.cancel_request(*victim.key))
    until("three are on their way", lambda: tap.swallowed == 3)
    until("the others wait", lambda: int(first.show("PEER_POOLS")[0]["cl_waiting_cancel_req"]) == 7)
    assert tap.swallowed == 3


def test_p10_the_console_shows_peers(group):
    for number in (1, 2):
        group.add(number, default_pool_size=7)
    first = group.start()[1]
    second = str(group.members[2].directory)
    with psycopg.connect(host=str(first.directory), port=first.port, dbname="pgbouncer", user="admin", autocommit=True,
                         cursor_factory=psycopg.ClientCursor) as console:
        assert console.execute("SHOW PEERS").fetchall() == [(2, second, group.port, 7)]
        assert console.execute("SHOW PEER_POOLS").fetchall() == [(2, 0, 0, 0, 0)]
        lists = dict(console.execute("SHOW LISTS").fetchall())
        assert lists["peers"] == lists["peer_pools"] == 1


def test_p10_peers_that_are_not_there(group, database):
    first = group.add(1)
    first.peers = {2: {"host": "127.0.0.1", "port": system.free_port()}, 3: {"host": "no.such.host.invalid", "port": 1}}
    group.begin(first)
    for peer in (2, 3, 4):
        with to(first) as link:
            link.send(wire.cancel_request(peer << 18, b"1234"))
            assert not link.rest()
    first.says("WARNING cancel request for peer", 2)


def test_p10_requests_do_not_go_round_in_circles(group, database):
    """Three processes, each of which takes the next for peer 9."""
    for number in (1, 2, 3):
        group.add(number)
    for number, pooler in group.members.items():
        following = group.members[number % 3 + 1]
        pooler.peers = {9: {"host": str(following.directory), "port": group.port}}
        group.begin(pooler)
    with to(group.members[1]) as link:
        link.send(wire.cancel_request(9 << 18, b"1234"))
        assert not link.rest()
    until("all four have ended", lambda: sum(pooler.log().count("closing because: cancel request")
                                             for pooler in group.members.values()) >= 4)
    ends = [pooler.log().count("closing because: cancel request") for pooler in group.members.values()]
    assert sum(ends) == 4, ends  # the client's own, and three passed on


def test_p10_a_peer_needs_a_number_and_a_host(new_pooler, database):
    pooler = new_pooler({"test": {"host": "127.0.0.1"}}, {})
    pooler.peers = {"one": {"host": "/tmp"}, 2: {"port": 1}, 99999: {"host": "/tmp"}}
    pooler.write_config()
    shown = subprocess.run([pooler.source, "--check", pooler.ini], capture_output=True, text=True)
    assert shown.returncode != 0
    said = shown.stdout + shown.stderr
    assert said.count("named by their peer_id") == 2 and "peer 2 needs a host" in said, said


def test_p18_a_process_that_is_told_to_end_lets_its_clients_finish(group, database):
    first = group.add(1)
    group.begin(first)
    client = Wire(group.port)
    client.login("app", "test")
    first.process.send_signal(signal.SIGTERM)

    def is_refused():
        try:
            Wire(group.port).close()
            return False
        except ConnectionRefusedError:
            return True

    until("nobody listens", is_refused)
    assert client.value("SELECT 1") == "1"
    second = group.add(2)
    group.begin(second)
    with Wire(group.port) as other:
        other.login("app", "test")
        assert other.value("SELECT 2") == "2"
    assert client.value("SELECT 3") == "3"
    client.close()
    assert first.process.wait(seconds(10)) == 0
    first.process = None


@pytest.fixture
def migrating():
    """The kernel gives what waits at a socket that closes to another one of the port; without that, a connection that
    comes in the microseconds between the last look and the end is reset, whatever the process does."""
    setting = Path("/proc/sys/net/ipv4/tcp_migrate_req")
    try:
        before = setting.read_text()
        setting.write_text("1")
    except OSError:
        pytest.skip("machine: net.ipv4.tcp_migrate_req cannot be set")
    yield
    setting.write_text(before)


@pytest.mark.parametrize("is_secured", [False, True])
def test_p18_rolling_restarts_under_load_are_not_noticed(group, migrating, database, certificates, is_secured):
    """A connection for each transaction, with TLS and SCRAM too: no error."""
    secured = {"auth_type": "scram-sha-256", **certificates.client_side(client_tls_sslmode="require")} if is_secured else {}
    for number in (1, 2):
        group.add(number, default_pool_size=5, **secured)
    members = group.start()
    environment = {**os.environ, "PGPASSWORD": "app-secret", "PGSSLMODE": "require" if is_secured else "disable"}
    command = [program("pgbench"), "-n", "-C", "-c", "8", "-j", "2", "-t", "40" if is_secured else "500", "-h", "127.0.0.1",
               "-p", str(group.port), "-U", "app", "-f", "/dev/stdin", "test"]

    def new_load():
        load = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)
        load.stdin.write("SELECT 1;\n")
        load.stdin.close()
        return load

    def went_well(load):
        shown = load.stdout.read()
        assert load.wait(seconds(120)) == 0 and "number of failed transactions: 0" in shown, shown[-1500:]

    load = new_load()
    for restart in range(10):
        if load.poll() is not None:
            went_well(load)
            load = new_load()
        old = members[restart % 2 + 1]
        old.process.send_signal(signal.SIGTERM)
        assert old.process.wait(seconds(30)) == 0
        old.process = None
        group.begin(old)
    went_well(load)
