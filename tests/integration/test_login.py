"""Logging in: how clients prove who they are to the pooler, and the pooler to PostgreSQL."""

import psycopg
import psycopg.sql
import pytest

from harness import wire
from harness.postgres import ROLES


@pytest.mark.parametrize("method", ["trust", "plain", "md5", "scram-sha-256"])
@pytest.mark.parametrize("user", ["app", "scram", "md5", "plain"])
def test_every_pair_of_client_and_server_authentication(start, method, user):
    pooler = start(auth_type=method)
    password = ROLES[user][0]
    with pooler.connect(user=user, password=password) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (user,)


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_wrong_password_is_refused_with_postgresqls_code(start, method):
    pooler = start(auth_type=method)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed|SASL authentication failed"):
        pooler.connect(user="scram", password="wrong")
    with pytest.raises(psycopg.OperationalError):
        pooler.connect(user="nobody-of-that-name", password="wrong")


def test_unknown_database_is_refused(start):
    pooler = start()
    with pytest.raises(psycopg.OperationalError, match="no such database|does not exist"):
        pooler.connect(dbname="nowhere")


def test_ssl_and_gss_requests_are_answered_no_and_the_login_goes_on(start):
    pooler = start()
    for request in (wire.GSSENC_REQUEST, wire.SSL_REQUEST):
        client = pooler.bare_wire()
        client.send(request)
        assert client.raw(1) == b"N"
        client.login("app", "test")
        assert client.value("SELECT 1") == "1"


def test_any_lets_everybody_in_as_the_forced_user(start):
    pooler = start(auth_type="any", database={"user": "app"})
    with pooler.connect(user="whoever") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("app",)
    pooler.reload(databases={"test": {k: v for k, v in pooler.databases["test"].items() if k != "user"}})
    with pytest.raises(psycopg.OperationalError, match="bouncer config error"):
        pooler.connect(user="app")
    pooler.says("auth_type=any requires forced user")


def test_any_makes_nobody_an_administrator(start):
    pooler = start(auth_type="any")
    client = pooler.wire("pgbouncer", "whoever")
    assert client.query("SHOW VERSION").texts
    assert "admin" in client.query("PAUSE").errors[0]["M"]
    assert not pooler.wire("pgbouncer", "admin").query("RELOAD").errors


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_a_database_that_does_not_exist_is_told_to_known_users_alone(start, method):
    pooler = start(auth_type=method)
    with pytest.raises(psycopg.OperationalError, match="no such database: nowhere"):
        pooler.connect("nowhere", "scram", password=ROLES["scram"][0])
    for user in ("scram", "nobody-of-that-name"):
        with pytest.raises(psycopg.OperationalError, match="(password|SASL) authentication failed"):
            pooler.connect("nowhere", user, password="wrong")


def test_an_md5_hash_fails_under_scram_as_a_wrong_password_does(start, database):
    secret = database.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'md5'")
    pooler = start(auth_type="scram-sha-256", passwords={"md5": secret})
    for password in (ROLES["md5"][0], "wrong"):
        with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
            pooler.connect(user="md5", password=password)
    assert secret not in pooler.says("wrong password type")


def test_a_secret_that_cannot_log_in_to_the_server_is_named(start, database):
    secret = database.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram'")
    pooler = start(auth_type="trust", passwords={"scram": secret})
    with pytest.raises(psycopg.OperationalError, match="wrong password type: server asks for scram-sha-256"):
        pooler.connect(user="scram")


def test_keys_of_a_scram_login_serve_the_next_one_without(start, database):
    """Pass-through: who has proven a SCRAM secret logs in to the server with it, later too."""
    secret = database.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram'")
    pooler = start(auth_type="scram-sha-256", passwords={"scram": secret})
    with pooler.connect(user="scram", password=ROLES["scram"][0]) as connection:
        connection.execute("SELECT 1")
    pooler.reload({"auth_type": "trust"})
    database.terminate_backends()
    with pooler.connect(user="scram") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("scram",)


def test_a_database_may_be_the_console_of_a_pooler(start):
    pooler = start()
    pooler.reload(databases={**pooler.databases, "own": {"host": "127.0.0.1", "port": pooler.port,
                                                          "dbname": "pgbouncer"}})
    client = pooler.wire("own", "stats", client_encoding="UTF8", DateStyle="ISO")
    assert client.query("SHOW VERSION").texts == pooler.wire("pgbouncer", "stats").query("SHOW VERSION").texts


def test_who_told_a_client_finds_it_in_the_log(start):
    pooler = start()
    for number in range(20):
        with pytest.raises(psycopg.OperationalError, match="trust"):
            pooler.connect(user=f"nobody{number}")
        failed = 'closing because: "trust" authentication failed'
        assert pooler.says(failed, number + 1).count(failed) == number + 1


@pytest.mark.parametrize("password", [
    "I\u00adX\u00a0\u2168",         # what SASLprep maps
    "\U0001f600\u2168",             # not assigned in the Unicode of SASLprep: as it is
    "a\u0007\u2168",                # forbidden: as it is
    "\u0627\u2168a",                # both directions: as it is
    "e\u0301\ufb01", "\u00adx", "\u00ad", "p\u00e4ss w\u00f6rd", "\u3000x", "x\u200b\u2168", "\ue000\u2168",
])
def test_passwords_are_prepared_as_postgresql_and_its_clients_do(start, database, postgres, password):
    with postgres.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS prepared")
        admin.execute(psycopg.sql.SQL("CREATE ROLE prepared LOGIN PASSWORD {}").format(psycopg.sql.Literal(password)))
    pooler = start(auth_type="scram-sha-256", passwords={"prepared": password})
    with pooler.connect(user="prepared", password=password) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("prepared",)
    pooler.reload(passwords={"prepared": database.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'prepared'")})
    pooler.reload({"auth_type": "plain"})
    client = pooler.wire("pgbouncer", "admin", pooler.passwords["admin"])
    assert client.query("SHOW VERSION").texts
    pooler.reload({"stats_users": "prepared"})
    assert pooler.wire("pgbouncer", "prepared", password).query("SHOW VERSION").texts, "in the clear"
    pooler.stop()
    with postgres.connect() as admin:
        admin.execute("DROP ROLE prepared")


def test_names_of_any_length(start, database, postgres):
    """As long as PostgreSQL's own may be, and longer for a database that only Weir knows by it."""
    role, alias = "r" * 63, "d" * 500
    with postgres.connect() as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'long-secret'")
        admin.execute(f"GRANT app TO {role}")
    try:
        line = {"host": "127.0.0.1", "port": postgres.port, "dbname": database.name}
        pooler = start(databases={alias: line}, passwords={role: "long-secret"}, auth_type="scram-sha-256")
        with pooler.connect(alias, role, password="long-secret") as connection:
            assert connection.execute("SELECT current_user::text").fetchone() == (role,)
        assert any(row["database"] == alias and row["user"] == role for row in pooler.show("POOLS"))
    finally:
        with postgres.connect() as admin:
            admin.execute(f"DROP ROLE {role}")
