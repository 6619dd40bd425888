"""P22: everybody logs in at once, while PostgreSQL has no room, or does not want anybody yet."""

import os
import subprocess

import pytest

from harness import wire
from harness.crowd import Crowd, crowd
from harness.postgres import ROLES, Postgres
from harness.system import as_account
from harness.wait import SLOW, until

CLIENTS = max(20, int(200 / SLOW))


def enter(pooler, _=None):
    with pooler.connect(user="scram", password=ROLES["scram"][0], connect_timeout=int(60 * SLOW)) as connection:
        return connection.execute("SELECT 1").fetchone()[0]


def start_before(new_pooler, server, dbname, **options):
    line = {"host": "127.0.0.1", "port": server.port, "dbname": dbname}
    return new_pooler({"test": line}, {"auth_type": "scram-sha-256", "max_client_conn": 1000, **options}).start()


@pytest.mark.parametrize("workers", [1, 2])
def test_p22_a_storm_with_scram(start, workers):
    pooler = start(auth_type="scram-sha-256", max_client_conn=1000, default_pool_size=5, workers=workers)
    assert crowd(CLIENTS, lambda _: enter(pooler)) == [1] * CLIENTS
    assert "authentication failed" not in pooler.log()


@pytest.mark.parametrize("workers", [1, 3])
def test_p22_a_storm_by_auth_query(start, database, workers):
    pooler = start(auth_type="scram-sha-256", max_client_conn=1000, default_pool_size=2, auth_user="control",
                   workers=workers)
    pooler.reload(passwords={"scram": ""})  # an empty secret in the file is no secret, and the file comes first
    with pytest.raises(Exception, match="authentication failed"):
        enter(pooler)
    del pooler.passwords["scram"]
    pooler.reload()
    assert crowd(CLIENTS, lambda _: enter(pooler)) == [1] * CLIENTS
    assert database.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'control'") <= 2


def test_p22_postgresql_has_too_many_connections(new_pooler):
    server = Postgres(max_connections="8", superuser_reserved_connections="4", max_wal_senders="0",
                      wal_level="minimal").start().make_roles()
    try:
        server.make_database()
        pooler = start_before(new_pooler, server, "t1", default_pool_size=20)
        assert crowd(CLIENTS, lambda _: enter(pooler)) == [1] * CLIENTS
    finally:
        server.remove()


@pytest.mark.full
def test_p22_ten_thousand_at_once_with_scram(start):
    """Each has sent the first word before any gets to say the second."""
    count = 10000
    pooler = start(auth_type="scram-sha-256", max_client_conn=count + 10, default_pool_size=5, listen_backlog=4096,
                   client_login_timeout=600)
    everyone = [pooler.bare_wire() for _ in range(count)]
    for client in everyone:
        client.send(wire.startup(user="scram", database="test"))
    for _ in range(2):
        for client in everyone:
            client._authenticate(client.next_is("R").body, "scram", ROLES["scram"][0])
    for client in everyone:
        client.finish_login("scram")
    assert everyone[0].value("SELECT 1") == everyone[-1].value("SELECT 1") == "1"


class Unready(Postgres):
    """A cluster that is started without waiting for its answers."""

    def _answers(self):
        return "entering standby mode" in self.log_path.read_text() or super()._answers()


def test_p22_postgresql_is_in_recovery(new_pooler):
    server = Unready(log_min_messages="log", hot_standby="off").start().make_roles()
    try:
        server.make_database()
        server.stop()
        (server.data / "standby.signal").touch()
        os.chown(server.data / "standby.signal", *owner_of(server.data))
        server.start()
        pooler = start_before(new_pooler, server, "t1", default_pool_size=5)
        everyone = Crowd()
        for _ in range(CLIENTS):
            everyone.add(enter, pooler)
        pooler.says("server login failed: FATAL the database system")
        until("all of them wait", lambda: sum(row["state"] == "login" for row in pooler.show("CLIENTS")) == CLIENTS, 60)
        subprocess.run([server.program("pg_ctl"), "-D", server.data, "promote"], check=True, stdout=subprocess.DEVNULL,
                       cwd=server.directory, **as_account())
        assert everyone.join(90) == [1] * CLIENTS
        assert pooler.log().count("server login failed") < 60, "it is not asked all the time"
    finally:
        server.remove()


def owner_of(path):
    status = os.stat(path)
    return status.st_uid, status.st_gid
