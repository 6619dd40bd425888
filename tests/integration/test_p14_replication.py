"""P14: replication connections, physical and logical, and the programs that make them."""

import re
import signal
import subprocess
import threading

import psycopg
import pytest
from psycopg import sql

from harness import wire
from harness.postgres import program
from harness.system import as_account, give_to_account
from harness.wait import seconds, until
from harness.wire import Closed, query


@pytest.fixture
def cluster(own_postgres):
    """A PostgreSQL that lets `app` and `postgres` replicate over TCP."""
    hba = own_postgres.data / "pg_hba.conf"
    hba.write_text("host replication app,postgres 127.0.0.1/32 trust\n" + hba.read_text())
    with own_postgres.connect() as admin:
        admin.execute("ALTER ROLE app REPLICATION")
        admin.execute("SELECT pg_reload_conf()")
    return own_postgres


@pytest.fixture
def source(cluster):
    return cluster.make_database()


@pytest.fixture
def begin(new_pooler, source):
    def make(**options):
        line = {"host": "127.0.0.1", "port": source.postgres.port, "dbname": source.name}
        # "replication" is what PostgreSQL's own programs ask for when they are told no database.
        return new_pooler({"test": line, "replication": line}, options).start()

    return make


def logged(pooler, pattern, times=1):
    pooler.says(re.compile(pattern), times)


def walsenders(cluster):
    with cluster.connect() as admin:
        return admin.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'").fetchone()[0]


def run(pooler, name, *arguments):
    return [program(name), "-d", f"host=127.0.0.1 port={pooler.port} user=app dbname=test", *arguments]


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_p14_replication_both_kinds_get_a_walsender_of_their_own(begin, cluster, mode):
    pooler = begin(pool_mode=mode, default_pool_size=3)
    plain = pooler.wire()
    assert plain.value("SELECT 1") == "1"
    for kind, shown in (("database", "logical"), ("on", "physical"), ("true", "physical")):
        with pooler.wire(replication=kind, application_name="abc", options="-c work_mem=77kB") as client:
            assert client.query("IDENTIFY_SYSTEM").kinds == "TDCZ"
            assert client.value("SHOW application_name") == "abc"
            assert client.value("SHOW work_mem") == "77kB"
            assert walsenders(cluster) == 1
            rows = {row["replication"] for row in pooler.show("CLIENTS") if row["database"] == "test"}
            assert rows == {"none", shown}
            rows = [row for row in pooler.show("SERVERS") if row["replication"] == shown]
            assert len(rows) == 1 and rows[0]["link"]
            if shown == "physical":
                assert client.query("SELECT 1").errors[0]["C"] == "0A000"
            assert plain.value("SELECT 2") == "2"
        until("the walsender has ended with its client", lambda: walsenders(cluster) == 0)
    assert plain.value("SELECT 3") == "3"


def test_p14_replication_that_postgresql_refuses_is_told_why(begin, cluster, source):
    with cluster.connect() as admin:
        admin.execute("ALTER ROLE app NOREPLICATION")
    pooler = begin()
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError, match="server login failed: FATAL .*(replication role|start WAL sender)"):
            pooler.connect(replication="database")
    logged(pooler, r"S-\S+: test/app@\S+ closing because: login failed \(age")
    logged(pooler, r"C-\S+: test/app@\S+ closing because: login failed \(age")
    assert pooler.wire().value("SELECT 1") == "1"  # others are not made to wait for it


def test_p14_replication_counts_in_the_pool_and_idle_servers_make_room(begin, cluster, source):
    pooler = begin(pool_mode="transaction", default_pool_size=2, query_wait_timeout=1)
    first, second = pooler.wire(), pooler.wire()
    first.do("BEGIN")
    second.do("BEGIN")
    with pytest.raises(wire.ServerError, match="query_wait_timeout"):
        pooler.wire(replication="database")  # both are busy
    first.do("COMMIT")
    with pooler.wire(replication="database") as client:
        logged(pooler, "closing because: evicted")
        assert client.query("IDENTIFY_SYSTEM").kinds == "TDCZ"
        assert source.connections() == 1  # of the other kind
        second.do("COMMIT")
        assert first.value("SELECT 1") == "1"
    until("no walsender is left", lambda: walsenders(cluster) == 0)


def test_p14_replication_waits_while_postgresql_is_down(begin, cluster, source):
    pooler = begin(server_login_retry=0.2)
    cluster.stop()
    got = []
    thread = threading.Thread(target=lambda: got.append(pooler.wire(replication="database").query("IDENTIFY_SYSTEM").kinds))
    thread.start()
    logged(pooler, "closing because: connect failed")
    cluster.start()
    thread.join(seconds(30))
    assert got == ["TDCZ"]


def test_p14_replication_client_gone_before_its_server_is_there(begin, cluster, source):
    pooler = begin(default_pool_size=1)
    with pooler.wire() as plain:
        plain.do("SELECT 1")
    cluster.suspend()
    try:
        leaver = pooler.bare_wire()
        leaver.send(wire.startup(user="app", database="test", replication="database"))
        logged(pooler, "login attempt: db=test user=app", 2)
        leaver.reset()
        logged(pooler, "nobody waits for it any more")
    finally:
        cluster.resume()
    assert pooler.wire().value("SELECT 1") == "1"
    until("no walsender is left", lambda: walsenders(cluster) == 0)


def test_p14_replication_stream_of_logical_changes(begin, cluster, source):
    source.execute("CREATE TABLE followed (i int PRIMARY KEY, t text)", user="app")
    source.value("SELECT pg_create_logical_replication_slot('follow', 'test_decoding')::text")
    pooler = begin(pool_mode="transaction")
    follower = subprocess.Popen(run(pooler, "pg_recvlogical", "--slot=follow", "--file=-", "--no-loop", "--start"),
                                stdout=subprocess.PIPE, text=True)
    try:
        with pooler.connect() as writer:
            for i in range(3):
                writer.execute("INSERT INTO followed VALUES (%s, repeat('x', 100000))", (i,))
        for i in range(3):
            assert follower.stdout.readline().startswith("BEGIN ")
            line = follower.stdout.readline()
            assert line.startswith(f"table public.followed: INSERT: i[integer]:{i} t[text]:'xxx") and len(line) > 100_000
            assert follower.stdout.readline().startswith("COMMIT ")
    finally:
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=seconds(20))
    assert follower.returncode == 0
    until("the walsender has ended with its client", lambda: walsenders(cluster) == 0)
    assert "query in progress" not in pooler.log()


def test_p14_replication_subscription_through_the_pooler(begin, cluster, source):
    target = cluster.make_database()
    for database in (source, target):
        database.execute("CREATE TABLE followed (i int PRIMARY KEY)", user="app")
    source.execute("INSERT INTO followed VALUES (1)")
    source.execute("CREATE PUBLICATION everything FOR TABLE followed")
    source.value("SELECT pg_create_logical_replication_slot('subscribed', 'pgoutput')::text")
    pooler = begin(pool_mode="transaction")
    where = f"host=127.0.0.1 port={pooler.port} dbname=test user=app password=app-secret"
    with target.connect() as admin:
        admin.execute(sql.SQL("CREATE SUBSCRIPTION mine CONNECTION {} PUBLICATION everything"
                              " WITH (slot_name = subscribed, create_slot = false)").format(sql.Literal(where)))
    try:
        until("the first copy", lambda: target.value("SELECT count(*) FROM followed") == 1, 60)
        with pooler.connect() as writer:
            writer.execute("INSERT INTO followed VALUES (2)")
        until("the change", lambda: target.value("SELECT count(*) FROM followed") == 2, 60)
    finally:
        with target.connect() as admin:
            admin.execute("ALTER SUBSCRIPTION mine DISABLE")
            admin.execute("ALTER SUBSCRIPTION mine SET (slot_name = NONE)")
            admin.execute("DROP SUBSCRIPTION mine")


def test_p14_replication_base_backup_and_wal(begin, cluster, source, tmp_path):
    if cluster.version:
        pytest.skip("machine: pg_basebackup takes servers of its own version only, which the distribution does not have")
    pooler = begin()
    backup = cluster.directory / "backup"
    took = subprocess.run(run(pooler, "pg_basebackup", "--checkpoint=fast", "-X", "stream", "-D", backup),
                          capture_output=True, text=True, timeout=seconds(120), cwd=cluster.directory, **as_account())
    assert took.returncode == 0, took.stderr
    assert (backup / "PG_VERSION").read_text() == (cluster.data / "PG_VERSION").read_text()
    with cluster.connect() as admin:
        admin.execute("SELECT pg_create_physical_replication_slot('wal')")
    wal = cluster.directory / "wal"
    wal.mkdir()
    give_to_account(wal)
    receiver = subprocess.Popen(run(pooler, "pg_receivewal", "--slot=wal", "-D", wal), cwd=cluster.directory,
                                stderr=subprocess.PIPE, text=True, **as_account())
    try:
        with cluster.connect() as admin:
            admin.execute("CREATE TABLE filled AS SELECT generate_series(1, 1000)")
        until("a segment has come", lambda: any(wal.iterdir()), 60)
    finally:
        receiver.send_signal(signal.SIGINT)
        _, said = receiver.communicate(timeout=seconds(30))
    assert receiver.returncode == 0, said
    until("the walsenders have ended", lambda: walsenders(cluster) == 0)


def test_p14_replication_is_ended_by_cancel_and_by_the_server(begin, cluster, source):
    pooler = begin()
    client = pooler.wire(replication="database")
    for _ in range(5):
        client.send(query("SELECT pg_sleep(100)"))
        until("it sleeps", lambda: source.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == 1)
        with pooler.bare_wire() as other:
            other.send(wire.cancel_request(*client.key))
            other.rest()
        assert client.ready().errors[0]["C"] == "57014"
        assert client.value("SELECT 1") == "1"
        # While one request is on its way to a server, another for the same server is not sent.
        until("PostgreSQL has closed the request", lambda: all(row["sv_active_cancel"] == "0" for row in pooler.show("POOLS")))
    gone = pooler.wire(replication="database")
    with cluster.connect() as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender'")
    gone.up_to("E")
    with pytest.raises(Closed):
        gone.next()
