"""P23: users whom auth_file does not know are looked up by a query, whatever that query does."""

import re

import psycopg
import pytest

from harness import wire
from harness.capability import ROOT
from harness.crowd import Crowd, crowd
from harness.postgres import ROLES
from harness.wait import seconds, until

SECRETS = """
    CREATE TABLE secrets (name text, secret text, until timestamptz);
    INSERT INTO secrets SELECT rolname, rolpassword FROM pg_authid WHERE rolname IN ('scram', 'md5');
    INSERT INTO secrets VALUES ('plain', 'plain-secret');
"""
QUERY = "SELECT name, secret FROM secrets WHERE name = $1"
NOT_IN_FILE = ("scram", "md5", "plain")


@pytest.fixture
def lookup(new_pooler, database):
    """Starts a pooler that knows none of NOT_IN_FILE; the database has their secrets in a table."""
    database.execute(SECRETS)

    def begin(line=None, postgres=None, dbname=None, more=None, **options):
        target = {"host": "127.0.0.1", "port": (postgres or database.postgres).port, "dbname": dbname or database.name}
        pooler = new_pooler({"test": {**target, **(line or {})}, **(more or {})},
                            {"auth_type": "md5", "auth_user": "control", "auth_query": QUERY, **options})
        for name in NOT_IN_FILE:
            del pooler.passwords[name]
        return pooler.start()

    return begin


def enter(pooler, user, password=None, dbname="test"):
    """Logs in, runs a query and leaves."""
    with pooler.connect(dbname, user, password=password or ROLES[user][0]) as connection:
        return connection.execute("SELECT current_user").fetchone()[0]


def refusal(pooler, user, password="wrong", dbname="test"):
    """The code and message with which a login is refused, and the kinds of all messages up to it."""
    client = pooler.bare_wire()
    client.send(wire.startup(user=user, database=dbname))
    kinds = ""
    while True:
        seen = client.next()
        kinds += seen.kind
        if seen.kind == "E":
            fields = wire.fields_of(seen.body)
            return fields["C"], fields["M"], kinds
        client._authenticate(seen.body, user, password)


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
@pytest.mark.parametrize("user", NOT_IN_FILE)
def test_p23_what_the_query_gives_serves_client_and_server(lookup, method, user):
    pooler = lookup(auth_type=method)
    fits = (method, user) not in {
        ("scram-sha-256", "md5"),  # a hash cannot answer
        ("plain", "scram"),        # proves the client, but yields no keys for the server
    }
    if fits:
        assert enter(pooler, user) == user
        assert enter(pooler, user) == user
    else:
        with pytest.raises(psycopg.OperationalError, match="authentication failed|wrong password type"):
            enter(pooler, user)
    with pytest.raises(psycopg.OperationalError, match="(password|SASL) authentication failed"):
        enter(pooler, user, "wrong")


def test_p23_the_default_query_reads_the_roles(lookup, postgres):
    pooler = lookup(auth_query=None)
    assert enter(pooler, "scram") == "scram"
    with postgres.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS late; CREATE ROLE late LOGIN PASSWORD 'late-secret' VALID UNTIL '1999-01-01'")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        enter(pooler, "late", "late-secret")
    with postgres.connect() as admin:
        admin.execute("ALTER ROLE late VALID UNTIL 'infinity'")
    assert enter(pooler, "late", "late-secret") == "late"
    with postgres.connect() as admin:
        admin.execute("DROP ROLE late")


def test_p23_the_function_of_the_manual_spares_the_superuser(lookup, database, postgres):
    manual = (ROOT / "docs" / "configuration.md").read_text()
    function = re.search(r"```sql\n(CREATE ROLE weir_auth.*?)```", manual, re.S)[1]
    query = re.search(r"^auth_query = (SELECT .*)$", manual, re.M)[1]
    database.execute(function)
    pooler = lookup(auth_user="weir_auth", auth_query=query)
    pooler.reload(passwords={"weir_auth": "one of its own"})
    assert enter(pooler, "scram") == "scram"
    assert refusal(pooler, "nobody")[1] == "no such user"
    with psycopg.connect(host="127.0.0.1", port=postgres.port, user="app", dbname=database.name) as direct:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            direct.execute("SELECT weir.lookup('scram')")
    pooler.stop()
    database.execute("DROP SCHEMA weir CASCADE; DROP ROLE weir_auth")


def test_p23_no_row(lookup):
    pooler = lookup()
    assert refusal(pooler, "nobody")[:2] == ("28000", "no such user")
    pooler.says("closing because: no such user (age")


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_p23_no_row_can_be_hidden(lookup, database, method):
    database.execute("DELETE FROM secrets WHERE name <> 'scram'; INSERT INTO secrets VALUES ('null', NULL)")
    pooler = lookup(auth_type=method, auth_query_unknown_user="hide")
    wrong = refusal(pooler, "scram")
    assert wrong[0] == "28P01"
    assert refusal(pooler, "nobody") == wrong
    assert refusal(pooler, "null") == wrong
    salts = [first_salt(pooler, "nobody") for _ in range(2)] if method != "plain" else [b"", b""]
    assert salts[0] == salts[1], "a salt that changes with every attempt gives the unknown user away"


def first_salt(pooler, user):
    client = pooler.bare_wire()
    client.send(wire.startup(user=user, database="test"))
    client._authenticate(client.next_is("R").body, user, "x")
    return client.next_is("R").body.split(b",")[1]


def test_p23_null_lets_nobody_in(lookup, database):
    database.execute("UPDATE secrets SET secret = NULL")
    pooler = lookup()
    assert refusal(pooler, "scram")[:2] == ("28P01", "password authentication failed")
    assert refusal(pooler, "scram", "")[0] == "28P01"


@pytest.mark.parametrize("query, problem", [
    ("SELECT name FROM secrets WHERE name = $1", "expected 2 columns from auth_query, not 1"),
    ("SELECT name, secret, 1 FROM secrets WHERE name = $1", "expected 2 columns from auth_query, not 3"),
    ("SELECT FROM secrets WHERE name = $1", "expected 2 columns from auth_query, not 0"),
    ("SELECT name, secret FROM secrets WHERE $1 <> ''", "expected at most one row from auth_query"),
    ("SELECT NULL::text, secret FROM secrets WHERE name = $1", "auth_query response contained null user name"),
    ("SELECT ''::text, secret FROM secrets WHERE name = $1", "auth_query response contained null user name"),
    ("SELECT repeat('n', 200), secret FROM secrets WHERE name = $1", "too long"),
    ("SELECT name, repeat('s', 66000) FROM secrets WHERE name = $1", "too long"),
    ("SELECT name, repeat('s', 3000000) FROM secrets WHERE name = $1", "too long"),
    ("SELECT name, secret FROM nowhere WHERE name = $1", 'relation "nowhere" does not exist'),
    ("SELECT name, (1 / (length(name) - length(name)))::text FROM secrets WHERE name = $1", "division by zero"),
    ("SELECT name, secret FROM secrets", "bind message supplies 1 parameters"),
    ("SELECT name, secret FROM secrets WHERE name = $1; SELECT 1", "cannot insert multiple commands"),
    ("SELECT name, secret FROM secrets WHERE id = $1::int", "does not exist"),
    ("COPY secrets FROM STDIN", "bind message supplies 1 parameters"),
    ("BEGIN", "bind message supplies 1 parameters"),
    ("SELECT name, pg_terminate_backend(pg_backend_pid())::text FROM secrets WHERE name = $1", "terminating connection"),
])
def test_p23_a_query_that_is_no_good_is_named_in_the_log(lookup, query, problem):
    pooler = lookup(line={"auth_query": query}, more={}, auth_dbname="test")
    for _ in range(2):
        assert refusal(pooler, "scram")[:2] == ("08P01", "bouncer config error")
    pooler.says(problem)
    assert ROLES["scram"][0] not in pooler.log() and "SCRAM-SHA-256$" not in pooler.log()
    assert enter(pooler, "app") == "app", "those in the file are not concerned"
    target = {key: value for key, value in pooler.databases["test"].items() if key != "auth_query"}
    pooler.reload(databases={"test": target})
    assert enter(pooler, "scram") == "scram"


def test_p23_a_slow_query_holds_up_nobody_else(lookup, database):
    pooler = lookup(default_pool_size=1)
    with database.connect(autocommit=False) as holder:
        holder.execute("LOCK TABLE secrets")
        waiting = Crowd()
        for _ in range(3):
            waiting.add(enter, pooler, "scram")
        until("the query waits", lambda: database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'control'") == 1)
        for _ in range(5):
            assert enter(pooler, "app") == "app"
        assert all(thread.is_alive() for thread in waiting.threads)
    assert waiting.join() == ["scram"] * 3


def test_p23_a_login_that_waits_too_long_or_leaves_gives_the_server_back(lookup, database):
    pooler = lookup(default_pool_size=1, client_login_timeout=1)
    with database.connect(autocommit=False) as holder:
        holder.execute("LOCK TABLE secrets")
        assert refusal(pooler, "scram")[1].startswith("client_login_timeout")
        leaving = pooler.bare_wire()
        leaving.send(wire.startup(user="scram", database="test"))
        until("the query waits", lambda: database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'control'") == 1)
        leaving.reset()
        until("it is cancelled", lambda: database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'control'") == 0)
    assert enter(pooler, "scram") == "scram"


def test_p23_the_password_prompt_has_the_same_time_limit(lookup):
    pooler = lookup(client_login_timeout=1)
    client = pooler.bare_wire()
    client.send(wire.startup(user="scram", database="test"))
    client.next_is("R")
    assert client.next_is("E").body.find(b"client_login_timeout\0") > 0


def test_p23_server_down(lookup, own_postgres):
    own_postgres.make_database()
    with own_postgres.connect("t1") as admin:
        admin.execute(SECRETS)
    pooler = lookup(postgres=own_postgres, dbname="t1", client_login_timeout=2)
    own_postgres.stop()
    assert refusal(pooler, "scram")[1] == "client_login_timeout (server down)"
    early = Crowd()
    pooler.reload({"client_login_timeout": 60})
    early.add(enter, pooler, "scram")
    until("it waits", lambda: sum(row["state"] == "login" for row in pooler.show("CLIENTS")) == 1)
    own_postgres.start()
    assert early.join() == ["scram"], "who has waited gets in when the server is back"


@pytest.mark.parametrize("auth_user, phrase", [
    ("ghost", "authentication failed for user|no usable secret"),
    ("other", "permission denied for table secrets"),
])
def test_p23_an_auth_user_who_does_not_exist_or_may_not_look(lookup, auth_user, phrase):
    pooler = lookup(auth_user=auth_user)
    with pytest.raises(psycopg.OperationalError) as failure:
        enter(pooler, "scram")
    assert "bouncer config error" in str(failure.value) or "ghost" in str(failure.value)
    pooler.says(re.compile(phrase))
    assert enter(pooler, "app") == "app"


def test_p23_a_password_changed_while_pooled(lookup, database, postgres):
    with postgres.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS moving; CREATE ROLE moving LOGIN PASSWORD 'first'")
    pooler = lookup(auth_query=None)
    assert enter(pooler, "moving", "first") == "moving"
    with postgres.connect() as admin:
        admin.execute("ALTER ROLE moving PASSWORD 'second'")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        enter(pooler, "moving", "first")
    assert enter(pooler, "moving", "second") == "moving", "over the server connection that is there"
    database.terminate_backends()
    assert enter(pooler, "moving", "second") == "moving", "over a new one, with the new secret"
    with postgres.connect() as admin:
        admin.execute("DROP ROLE moving")


def test_p23_a_thousand_logins_over_one_server_connection(lookup, database):
    pooler = lookup(default_pool_size=1, max_client_conn=200)
    each = 50 if seconds(1) == 1 else 5

    def many(_):
        return {enter(pooler, "scram") for _ in range(each)}

    assert crowd(20, many) == [{"scram"}] * 20
    assert database.value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'control'") == 1
    log = pooler.log()
    assert log.count("/control@127.0.0.1") < 4 * each, "the connection of auth_user is kept"


def test_p23_the_name_is_a_parameter_and_not_text(lookup, database):
    pooler = lookup()
    for name in ("'; DROP TABLE secrets; --", "x' OR name = 'scram", 'a"b', "$1", "\\'"):
        assert refusal(pooler, name)[1] == "no such user"
    assert database.value("SELECT count(*) FROM secrets") == 3


def test_p23_what_a_client_does_as_auth_user_does_not_reach_the_query(lookup, database):
    database.execute("CREATE SCHEMA forged; CREATE TABLE forged.secrets AS"
                     " SELECT name, 'forged'::text AS secret FROM secrets; GRANT ALL ON SCHEMA forged TO PUBLIC")
    pooler = lookup(default_pool_size=1, pool_mode="transaction")
    meddler = pooler.wire(user="control", password=ROLES["control"][0])
    meddler.do("SET search_path = forged")
    meddler.do("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        enter(pooler, "plain", "forged")
    assert enter(pooler, "plain") == "plain"
    assert meddler.value("SHOW search_path") == "forged"


def test_p23_database_and_global_settings(lookup, database, postgres):
    line = {"host": "127.0.0.1", "port": postgres.port}
    pooler = lookup(dbname="postgres", auth_user="ghost", auth_dbname="nowhere", more={
        "own": {**line, "dbname": "postgres", "auth_user": "control", "auth_dbname": "look"},
        "look": {**line, "dbname": database.name},
        "console": {**line, "dbname": "postgres", "auth_user": "control", "auth_dbname": "pgbouncer"}})
    assert enter(pooler, "scram", dbname="own") == "scram"
    assert refusal(pooler, "scram")[:2] == ("08P01", "bouncer config error")
    pooler.says('authentication database "nowhere" is not configured')
    assert refusal(pooler, "scram", dbname="console")[1] == "bouncer config error"
    pooler.says('cannot use the reserved "pgbouncer" database as an auth_dbname')
    with pooler.admin() as console:
        console.run("DISABLE look")
    assert refusal(pooler, "scram", dbname="own")[1] == 'authentication database "look" is disabled'


def test_p23_the_console_by_auth_query(lookup):
    pooler = lookup(auth_dbname="test", stats_users="stats, scram")
    client = pooler.wire("pgbouncer", "scram", ROLES["scram"][0])
    assert client.query("SHOW VERSION").texts
    assert "admin" in client.query("PAUSE").errors[0]["M"]
    assert refusal(pooler, "plain", ROLES["plain"][0], "pgbouncer")[1] == "not allowed"


def test_p23_databases_that_nobody_knows_are_not_asked_and_not_told(lookup):
    pooler = lookup()
    assert refusal(pooler, "scram", dbname="nowhere")[1] == "password authentication failed"
    assert refusal(pooler, "app", dbname="nowhere")[1] == "password authentication failed"
    assert refusal(pooler, "app", ROLES["app"][0], dbname="nowhere")[:2] == ("3D000", "no such database: nowhere")
