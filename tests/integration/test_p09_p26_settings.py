"""P09, P26: settings belong to the session that made them: they follow it to every server, reach nobody else, and
obey transactions as in PostgreSQL."""

import pytest

from harness.compare import direct_wire
from harness.wait import until
from harness.wire import SYNC, bind, execute, once, parse, query

pytestmark = pytest.mark.needs("profile")

WATCHED = ("SELECT current_user, session_user, current_setting('search_path'), current_setting('TimeZone'),"
           " current_setting('work_mem'), coalesce(current_setting('app.tenant', true), ''), current_setting('statement_timeout'),"
           " current_setting('DateStyle'), current_setting('application_name'),"
           " current_setting('default_transaction_read_only')")

SCRIPTS = {
    "set role": ["SET ROLE other", "RESET ROLE"],
    "set role none": ["SET ROLE other", "SET ROLE NONE"],
    "search_path": ["SET search_path TO a, b", "SET search_path = DEFAULT", "SET search_path = ''", "RESET search_path"],
    "set_config": ["SELECT set_config('search_path', 'x', false)", "SELECT set_config('app.tenant', 'seven', false)"],
    "set_config local": ["SELECT set_config('search_path', 'x', true)", "BEGIN",
                         "SELECT set_config('app.tenant', 'seven', true)", "COMMIT"],
    "as pg_dump does": ["SELECT pg_catalog.set_config('search_path', '', false)"],
    "computed": ["SELECT set_config('app.' || 'tenant', 'computed', false)"],
    "after an error": ["BEGIN", "SET search_path = before", "SELECT 1/0", "SET search_path = after", "COMMIT"],
    "rolled back": ["SET search_path = kept", "BEGIN", "SET search_path = lost", "RESET TimeZone", "ROLLBACK"],
    "reset rolled back": ["SET search_path = kept", "BEGIN", "RESET search_path", "ROLLBACK"],
    "reset all rolled back": ["SET search_path = kept; SET work_mem = '8MB'", "BEGIN", "RESET ALL", "ROLLBACK", "RESET ALL"],
    "savepoints": ["BEGIN", "SET search_path = one", "SAVEPOINT s", "SET search_path = two", "ROLLBACK TO s", "COMMIT"],
    "released savepoint": ["BEGIN", "SAVEPOINT s", "SET search_path = two", "RELEASE s", "COMMIT"],
    "set local": ["SET search_path = outer_path", "BEGIN", "SET LOCAL search_path = inner_path", "COMMIT"],
    "set local then set": ["BEGIN", "SET LOCAL work_mem = '9MB'", "SET work_mem = '10MB'", "COMMIT"],
    "set then set local": ["BEGIN", "SET work_mem = '10MB'", "SET LOCAL work_mem = '9MB'", "COMMIT"],
    "set local outside": ["SET LOCAL search_path = nowhere"],
    "discard all": ["SET search_path = a; SET ROLE other", "DISCARD ALL"],
    "time zone": ["SET TIME ZONE 'Asia/Tokyo'", "SET TIME ZONE LOCAL", "SET TIME ZONE 5", "SET TIME ZONE INTERVAL '-3' HOUR TO MINUTE"],
    "names": ["SET NAMES 'LATIN1'", "RESET client_encoding"],
    "custom": ["SET app.tenant = 'seven'", "SET app.tenant TO DEFAULT", "SET \"app\".\"tenant\" = '8'"],
    "multi-statement": ["SET search_path = a; SET work_mem = '9MB'; SELECT 1", "SET search_path = b; SELECT 1/0"],
    "session characteristics": ["SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                                "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"],
    "by a DO": ["DO $$ BEGIN PERFORM set_config('app.tenant', 'by do', false); END $$"],
    "by a function": ["SELECT choose_tenant('by function')", "SELECT choose_tenant('')"],
    "wrong value": ["SET work_mem = 'lots'", "SET no_such_setting = 1", "SET ROLE no_such_role"],
    "quotes": ["SET search_path = 'it''s', \"Mixed\"", "SET application_name = E'tab\\there'"],
}

# What Weir cannot see into, or cannot say again to another server, keeps the session where it is.
PINNING = {"computed", "time zone", "by a DO", "by a function"}

SUPER_SCRIPTS = {
    "session authorization": ["SET SESSION AUTHORIZATION other", "SET search_path = o", "RESET SESSION AUTHORIZATION"],
    "session authorization local": ["BEGIN", "SET LOCAL SESSION AUTHORIZATION other", "COMMIT"],
    "discard after authorization": ["SET SESSION AUTHORIZATION other", "DISCARD ALL"],
    "role on top": ["SET SESSION AUTHORIZATION other", "SET ROLE NONE", "RESET SESSION AUTHORIZATION"],
}


@pytest.fixture
def prepared(database):
    database.execute("GRANT other TO app; CREATE FUNCTION choose_tenant(text) RETURNS void LANGUAGE plpgsql AS"
                     " $$ BEGIN PERFORM set_config('app.tenant', $1, false); END $$; GRANT ALL ON SCHEMA public TO PUBLIC")
    yield database
    database.execute("REVOKE other FROM app")


def state(client):
    answer = client.query(WATCHED)
    return answer.texts[0] if not answer.errors else answer.errors[0]["C"]


def follow(pooler, database, user, script, send):
    """Runs the script directly and through the pooler, and after each step compares what the session sees, while a
    bystander must go on seeing what it always saw."""
    with direct_wire(database, user) as direct, pooler.wire(user=user) as client, pooler.wire(user=user) as bystander:
        untouched = state(bystander)
        for step in script:
            want, got = send(direct, step), send(client, step)
            assert got.statuses == want.statuses, step
            assert [e["C"] for e in got.errors] == [e["C"] for e in want.errors], step
            assert got.texts == want.texts
            assert state(bystander) == untouched, f"the bystander sees the effect of: {step}"
            assert state(client) == state(direct), f"after: {step}"
            assert state(bystander) == untouched, f"the bystander sees the effect of: {step}"
    with pooler.wire(user=user) as fresh:
        assert state(fresh) == untouched, "a new session sees settings of an old one"


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", SCRIPTS)
def test_p09_settings_follow_their_session_alone(start, prepared, name, size):
    script = SCRIPTS[name]
    if size == 1 and ("BEGIN" in script or name in PINNING):
        size = 2  # the bystander needs a server while the transaction, or the pinned session, has one
    pooler = start(default_pool_size=size)
    follow(pooler, prepared, "app", script, lambda client, sql: client.query(sql))


@pytest.mark.parametrize("name", [n for n, steps in SCRIPTS.items() if not any(";" in s and "$$" not in s for s in steps)])
def test_p09_settings_by_the_extended_protocol(start, prepared, name):
    pooler = start(default_pool_size=2)
    follow(pooler, prepared, "app", SCRIPTS[name], lambda client, sql: client.extended(sql))


@pytest.mark.parametrize("name", SUPER_SCRIPTS)
def test_p09_session_authorization(start, prepared, name):
    pooler = start(default_pool_size=2)
    follow(pooler, prepared, "postgres", SUPER_SCRIPTS[name], lambda client, sql: client.query(sql))


def test_p09_startup_parameters_of_any_name(start):
    pooler = start(default_pool_size=1)
    first = pooler.wire(search_path="one", work_mem="9MB", options="-c app.tenant=seven -c statement_timeout=12345")
    second = pooler.wire(search_path="two", DateStyle="German")
    for _ in range(3):
        assert first.query("SELECT current_setting('search_path'), current_setting('work_mem'),"
                           " current_setting('app.tenant'), current_setting('statement_timeout')").texts \
            == [("one", "9MB", "seven", "12345ms")]
        assert second.query("SELECT current_setting('search_path'), current_setting('work_mem'),"
                            " current_setting('app.tenant', true)").texts[0][:2] == ("two", "4MB")
    first.do("SET work_mem = '1MB'")
    first.do("RESET work_mem")
    assert first.value("SHOW work_mem") == "9MB", "RESET goes back to what the session started with"


def test_p09_a_batch_that_sets_and_fails_sets_nothing(start):
    pooler = start(default_pool_size=1)
    client = pooler.wire()
    before = client.value("SHOW search_path")
    client.send(once("SET search_path = lost"), once("SELECT 1/0"), SYNC)
    assert client.ready().errors
    assert client.value("SHOW search_path") == before
    client.send(once("SET search_path = kept"), once("SELECT 1"), SYNC)
    client.ready()
    assert client.value("SHOW search_path") == "kept"


def test_p09_parameter_status_is_reported_as_by_postgresql(start, prepared):
    pooler = start(default_pool_size=1)
    with direct_wire(prepared) as direct, pooler.wire() as client, pooler.wire() as other:
        for name in ("server_version", "client_encoding", "DateStyle", "TimeZone", "integer_datetimes", "is_superuser",
                     "session_authorization", "standard_conforming_strings", "IntervalStyle", "server_encoding"):
            assert client.parameters.get(name) == direct.parameters[name], name
        for statement in ("SET TimeZone = 'Asia/Tokyo'", "SET application_name = 'mine'", "RESET TimeZone"):
            want = direct.query(statement).parameters
            assert client.query(statement).parameters == want
            assert other.query("SELECT 1").parameters == {}


def test_p26_a_query_never_runs_under_settings_the_server_refuses(start, prepared):
    prepared.execute("CREATE TABLE who (name text); GRANT ALL ON who TO app, other")
    pooler = start(default_pool_size=1)
    client, bystander = pooler.wire(), pooler.wire()
    client.do("SET ROLE other")
    client.do("INSERT INTO who SELECT current_user")
    bystander.do("SELECT 1")  # the server now stands under the bystander's settings
    prepared.execute("REVOKE other FROM app")
    for send in (client.query, client.extended):
        answer = send("INSERT INTO who SELECT current_user")
        assert answer.errors, "the statement ran although its role could not be set"
        assert answer.errors[0]["C"] == "42501" or answer.errors[0]["C"].startswith(("42", "22", "57", "08"))
    assert prepared.execute("SELECT DISTINCT name FROM who") == [("other",)]
    assert bystander.value("SELECT current_user") == "app"
    client.close()
    until("the pool serves on", lambda: pooler.wire().value("SELECT current_user") == "app")


@pytest.mark.needs("pins")
def test_p26_the_setting_of_an_extension_that_a_new_server_lacks(start, prepared):
    """A setting that LOAD brought is gone on another server: the session keeps its server, or gets an error."""
    pooler = start(default_pool_size=2)
    client = pooler.wire(user="postgres")
    client.do("LOAD 'auto_explain'")
    client.do("SET auto_explain.log_min_duration = '77s'")
    others = [pooler.wire(user="postgres") for _ in range(3)]
    for other in others:
        other.do("SELECT 1")
        assert client.value("SHOW auto_explain.log_min_duration") == "77s"


RESETS = ["RESET TimeZone", "SET TimeZone TO DEFAULT", "SET TIME ZONE LOCAL", "RESET ALL", "DISCARD ALL", "RESET DateStyle",
          "SELECT set_config('TimeZone', NULL, false)"]


@pytest.mark.parametrize("protocol", ["query", "extended"])
@pytest.mark.parametrize("reset", RESETS)
def test_p09_a_reset_reports_what_the_startup_packet_said(start, database, reset, protocol):
    """RESET goes back to the value of the startup packet, and says so at once; what comes next runs under it."""
    packet = {"TimeZone": "Asia/Tokyo", "DateStyle": "german"}
    pooler = start(default_pool_size=1)
    with pooler.wire(**packet) as client, direct_wire(database, **packet) as direct:
        assert client.parameters["TimeZone"] == "Asia/Tokyo"
        for before in ("SET TimeZone = 'UTC'; SET DateStyle = 'sql'", "SELECT 1"):
            seen = []
            for connection in (direct, client):
                connection.query(before)
                answer = getattr(connection, protocol)(reset)
                now = {**dict.fromkeys(packet), **answer.parameters}
                seen.append((answer.kinds.replace("S", ""), answer.statuses, {k: now[k] for k in packet}))
            assert seen[1] == seen[0] or (before == "SELECT 1" and seen[1][:2] == seen[0][:2])
            assert client.query("SHOW TimeZone").texts == direct.query("SHOW TimeZone").texts
        with pooler.wire() as other:
            assert other.value("SHOW TimeZone") == database.value("SHOW TimeZone")


def test_p09_what_is_sent_behind_a_reset_runs_under_the_startup_value(start, database):
    packet = {"TimeZone": "Asia/Tokyo"}
    pooler = start(default_pool_size=1)
    show = "SHOW TimeZone"
    with pooler.wire(**packet) as client, direct_wire(database, **packet) as direct:
        for connection in (direct, client):
            connection.send(query("SET TimeZone = 'UTC'"), query("RESET TimeZone"), query(show),
                            once("SET TimeZone = 'UTC'"), SYNC, once("RESET TimeZone"), SYNC, once(show), SYNC,
                            query("BEGIN"), query("RESET TimeZone"), query(show), query("ROLLBACK"), query(show))
            assert connection.ready(11).texts == [("Asia/Tokyo",)] * 4


TENANT = "SELECT current_setting('app.tenant', true)"


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize("value", ["seven", "it's \\ \"quoted\" $1", "", None])
def test_p09_a_setting_whose_value_is_a_parameter(start, value, form):
    """As drivers set one; with a pool of one server, nobody else could be served if the session kept it."""
    pooler = start(default_pool_size=1)
    one, other = pooler.wire(), pooler.wire()

    def choose(tenant, scope="false"):
        answer = one.ask(parse(f"SELECT 1, set_config('app.tenant', $1, {scope})"),
                         bind([tenant], formats=(form,)), execute())
        assert not answer.errors, answer.errors

    choose(value)
    for _ in range(3):
        assert other.query(TENANT).texts in ([("",)], [(None,)])
        assert one.query(TENANT).texts in ([(value or "",)], [(value,)])
    one.do("BEGIN")
    choose("lost")
    choose("local", "true")
    assert one.query(TENANT).texts == [("local",)]
    one.do("ROLLBACK")
    assert other.query(TENANT).texts in ([("",)], [(None,)])
    assert one.query(TENANT).texts in ([(value or "",)], [(value,)])
    assert pooler.show("PINS") == []


@pytest.mark.parametrize("sql, values", [
    ("SELECT set_config('app.tenant', $1, false), set_config('app.other', $2, false)", ["a", "b"]),
    ("SELECT set_config($1, 'a', false), set_config('app.other', $2, false)", ["app.tenant", "b"]),
    ("SELECT set_config('app.tenant', $1 || 'b', false)", ["a"]),
    ("SELECT set_config('app.tenant', $1, false)", ["schön"]),
    ("SELECT set_config('app.tenant', $1, false) FROM generate_series(1, 2)", ["a"]),
])
def test_p09_settings_of_which_more_is_unknown_keep_the_server(start, sql, values):
    pooler = start()
    with pooler.wire() as client:
        assert not client.extended(sql, values).errors
        assert [row for row in pooler.show("PINS")], "it is not known to keep its server"


def test_p09_the_value_of_an_earlier_bind_is_not_taken_for_this_one(start):
    pooler = start(default_pool_size=1)
    one, other = pooler.wire(), pooler.wire()
    sql = "SELECT set_config('app.tenant', $1, false)"
    answer = one.ask(parse(sql, "s"), bind(["first"], "s", "p"), bind(["second"], "s"), execute("p"), execute())
    assert not answer.errors
    other.do("SELECT 1")
    assert one.query(TENANT).texts == [("second",)]
    assert not one.ask(bind(["third"], "s"), bind(["fourth"], "s", "p"), execute()).errors
    other.do("SELECT 1")
    assert one.query(TENANT).texts == [("third",)]
