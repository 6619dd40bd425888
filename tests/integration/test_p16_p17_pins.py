"""P16, P17: what lives in the server's session keeps the client on its server until it ends."""

import pytest

from harness.wait import until
from harness.wire import SYNC, once, query

pytestmark = pytest.mark.needs("pins")

LOCKS = {
    "plain": ("SELECT pg_advisory_lock(7)", "SELECT pg_advisory_unlock(7)"),
    "computed": ("SELECT pg_advisory_lock(('3' || '')::int + 4)", "SELECT pg_advisory_unlock(14 / 2)"),
    "schema-qualified": ("SELECT pg_catalog.pg_advisory_lock(7)", "SELECT pg_catalog.pg_advisory_unlock(7)"),
    "quoted": ('SELECT "pg_advisory_lock"(7)', 'SELECT "pg_advisory_unlock"(7)'),
    "try": ("SELECT pg_try_advisory_lock(7)", "SELECT pg_advisory_unlock(7)"),
    "in a subquery": ("SELECT * FROM (SELECT pg_advisory_lock(7)) q", "SELECT pg_advisory_unlock_all()"),
    "in a function": ("SELECT take_lock()", "SELECT pg_advisory_unlock(7)"),
    "in a DO": ("DO $$ BEGIN PERFORM pg_advisory_lock(7); END $$", "SELECT pg_advisory_unlock(7)"),
    "from a table": ("SELECT pg_advisory_lock(k) FROM lock_keys", "SELECT pg_advisory_unlock(k) FROM lock_keys"),
    "in a transaction": ("BEGIN; SELECT pg_advisory_lock(7); COMMIT", "SELECT pg_advisory_unlock(7)"),
}


@pytest.fixture
def locks(database):
    database.execute("CREATE FUNCTION take_lock() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(7)';"
                     "CREATE TABLE lock_keys AS SELECT 7::bigint AS k", user="app")
    return database


def can_lock(client):
    """Whether another session could get the lock; for no longer than a statement, so that it is not pinned itself."""
    return client.value("SELECT pg_try_advisory_xact_lock(7)") == "t"


@pytest.mark.parametrize("protocol", ["query", "extended"])
@pytest.mark.parametrize("name", LOCKS)
def test_p17_advisory_locks_stay_with_their_session(start, locks, name, protocol):
    take, give = LOCKS[name]
    if protocol == "extended" and ";" in take and "DO" not in take:
        protocol = "query"
    pooler = start(default_pool_size=2)
    owner, others = pooler.wire(), [pooler.wire() for _ in range(3)]
    assert not getattr(owner, protocol)(take).errors
    for _ in range(3):
        assert not any(can_lock(other) for other in others), "another session holds the same server"
        assert owner.value("SELECT 'busy elsewhere'")
    assert not getattr(owner, protocol)(give).errors
    assert all(can_lock(other) for other in others)


def test_p17_locked_twice_and_unlocked_once_is_still_locked(start, locks):
    pooler = start(default_pool_size=2)
    owner, other = pooler.wire(), pooler.wire()
    owner.do("SELECT pg_advisory_lock(7), pg_advisory_lock_shared(7)")
    owner.do("SELECT pg_advisory_lock(7)")
    owner.do("SELECT pg_advisory_unlock(7)")
    for _ in range(3):
        assert not can_lock(other)
    owner.do("SELECT pg_advisory_unlock(7)")
    assert not can_lock(other), "the shared lock is still there"
    owner.do("SELECT pg_advisory_unlock_shared(7)")
    assert can_lock(other)


@pytest.mark.parametrize("ending", ["quit", "close", "reset"])
def test_p17_locks_end_with_their_session(start, locks, ending):
    pooler = start(default_pool_size=2)
    for _ in range(3):
        owner, other = pooler.wire(), pooler.wire()
        owner.do("SELECT pg_advisory_lock(7)")
        assert not can_lock(other)
        getattr(owner, ending)()
        until("the lock is given back", lambda: can_lock(other), 5)


def test_p17_transaction_locks_pin_nothing(start, locks):
    pooler = start(default_pool_size=1)
    owner, other = pooler.wire(), pooler.wire()
    owner.do("BEGIN; SELECT pg_advisory_xact_lock(7); COMMIT")
    assert can_lock(other)


@pytest.mark.parametrize("make", [
    "CREATE TEMP TABLE mine AS SELECT 'temporary' AS t", "CREATE TEMPORARY TABLE mine (t) AS VALUES ('temporary')",
    "CREATE TABLE pg_temp.mine AS SELECT 'temporary' AS t", "SELECT 'temporary' AS t INTO TEMP mine",
    "DO $$ BEGIN CREATE TEMP TABLE mine AS SELECT 'temporary' AS t; END $$", "CREATE TEMP VIEW mine AS SELECT 'temporary' AS t",
    "SELECT make_temporary()", "BEGIN; CREATE TEMP TABLE mine AS SELECT 'temporary' AS t; COMMIT"])
def test_p17_temporary_tables_stay_with_their_session(start, database, make):
    database.execute("CREATE FUNCTION make_temporary() RETURNS void LANGUAGE sql AS"
                     " 'CREATE TEMP TABLE mine AS SELECT ''temporary''::text AS t'", user="app")
    pooler = start(default_pool_size=2)
    owner, others = pooler.wire(), [pooler.wire() for _ in range(3)]
    owner.do(make)
    for other in others:
        assert [e["C"] for e in other.query("SELECT t FROM mine").errors] == ["42P01"]
        assert owner.value("SELECT t FROM mine") == "temporary"
    owner.close()
    until("the server is clean again", lambda: pooler.admin().pool("test", "app")["sv_active"] == "0")
    for other in [pooler.wire() for _ in range(3)]:
        for _ in range(3):
            assert other.query("SELECT t FROM mine").errors


def test_p17_cursors_with_hold(start):
    pooler = start(default_pool_size=2)
    owner, other = pooler.wire(), pooler.wire()
    owner.do("BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 6); COMMIT")
    for expected in ("1", "2", "3"):
        assert other.query("FETCH 1 FROM held").errors
        assert owner.value("FETCH 1 FROM held") == expected
    owner.do("CLOSE held")


@pytest.mark.parametrize("protocol", ["query", "extended"])
def test_p17_sql_prepare_stays_with_its_session(start, protocol):
    pooler = start(default_pool_size=2)
    owner, other = pooler.wire(), pooler.wire()
    getattr(owner, protocol)("PREPARE mine AS SELECT $1::int + 1")
    getattr(other, protocol)("PREPARE mine AS SELECT $1::int + 100")
    for _ in range(3):
        assert other.value("EXECUTE mine(1)") == "101"
        assert owner.value("EXECUTE mine(1)") == "2"
    owner.do("DEALLOCATE mine")
    assert owner.query("EXECUTE mine(1)").errors[0]["C"] == "26000"
    assert other.value("EXECUTE mine(1)") == "101"


def test_p17_discard_all_ends_every_pin(start):
    pooler = start(default_pool_size=1)
    owner = pooler.wire()
    owner.do("CREATE TEMP TABLE mine (t text)")
    owner.do("SELECT pg_advisory_lock(7)")
    owner.do("PREPARE mine AS SELECT 1")
    other = pooler.wire()
    other.send(query("SELECT 'served'"))
    assert other.is_quiet(0.4), "the only server belongs to the pinned session"
    owner.do("DISCARD ALL")
    assert other.ready().texts == [("served",)]
    assert can_lock(other)
    assert owner.query("SELECT * FROM mine").errors


def test_p17_pins_are_counted_by_reason(start):
    pooler = start(default_pool_size=3)
    one, two = pooler.wire(), pooler.wire()
    one.do("CREATE TEMP TABLE mine (t text)")
    two.do("SELECT pg_advisory_lock(7)")
    shown = str(pooler.show("PINS")).lower()
    assert "temp" in shown and "advisory" in shown


def test_p16_notifications_arrive(start):
    pooler = start(default_pool_size=2)
    listener, speaker = pooler.wire(), pooler.wire()
    listener.do("LISTEN events")
    speaker.do("NOTIFY events, 'it''s \"quoted\"'")
    speaker.do("SELECT pg_notify('events', 'second')")
    speaker.do("BEGIN; NOTIFY events, 'never'; ROLLBACK")
    seen = [listener.next_is("A").body for _ in range(2)]
    assert b"events\0it's \"quoted\"\0" in seen[0] and b"events\0second\0" in seen[1]
    listener.do("UNLISTEN events")
    speaker.do("NOTIFY events, 'unheard'")
    assert listener.query("SELECT 1").kinds == "TDCZ"


@pytest.fixture
def serials(start, database):
    """Two servers, and a table whose rows take their number from a sequence."""
    database.execute("CREATE TABLE numbered (id serial, v int); CREATE TABLE plain (v int); CREATE SEQUENCE other", user="app")
    return start(default_pool_size=2)


PLAIN, NUMBERED = "INSERT INTO plain VALUES (1)", "INSERT INTO numbered (v) VALUES (1)"
ASK = {"lastval": "SELECT lastval()", "currval": "SELECT currval('numbered_id_seq')"}


def number_of(client, protocol, sql):
    """The value, or the SQLSTATE of the error."""
    answer = getattr(client, protocol)(sql)
    return answer.errors[0]["C"] if answer.errors else int(answer.texts[0][0])


def use_every_server(pooler, sql):
    """Two other clients, on the two servers at once, so that each has run the statement."""
    with pooler.wire() as one, pooler.wire() as two:
        for client in (one, two):
            client.do("BEGIN")
            client.do("SELECT 1")
        for client in (one, two):
            client.do(sql)
            client.do("COMMIT")


@pytest.mark.parametrize("protocol", ["query", "extended"])
@pytest.mark.parametrize("ask", ASK)
def test_p17_the_number_of_the_row_just_inserted(serials, ask, protocol):
    """Autocommit: an INSERT, then the question for the number it has taken."""
    client = serials.wire()
    getattr(client, protocol)(NUMBERED)
    assert number_of(client, protocol, ASK[ask]) == 1
    for number in (2, 3):
        getattr(client, protocol)(NUMBERED)
        assert number_of(client, protocol, ASK[ask]) == number


@pytest.mark.parametrize("protocol", ["query", "extended"])
@pytest.mark.parametrize("ask", ASK)
def test_p17_the_number_of_the_row_after_others_have_used_the_servers(serials, ask, protocol):
    use_every_server(serials, NUMBERED)
    client = serials.wire()
    getattr(client, protocol)(NUMBERED)
    assert number_of(client, protocol, ASK[ask]) == 3


@pytest.mark.parametrize("protocol", ["query", "extended"])
@pytest.mark.parametrize("before", ["", PLAIN, "BEGIN", "BEGIN;" + PLAIN, "SELECT nextval('other')"])
@pytest.mark.parametrize("ask", ASK)
def test_p17_nobody_sees_the_numbers_of_another_session(serials, ask, before, protocol):
    for _ in range(12):  # whatever Weir learns of these statements
        use_every_server(serials, NUMBERED)
        use_every_server(serials, PLAIN)
    client = serials.wire()
    for sql in filter(None, before.split(";")):
        assert not getattr(client, protocol)(sql).errors
    assert number_of(client, protocol, ASK[ask]) == (1 if ask == "lastval" and "other" in before else "55000")


def test_p17_a_number_of_ones_own_that_is_not_the_latest_is_not_shown(serials):
    with serials.wire() as client, serials.wire() as other:
        other.do("BEGIN")
        other.do("SELECT 1")
        client.do(NUMBERED)
        client.do("BEGIN")  # keeps the server it has been on busy ...
        client.do("SELECT 1")
        other.do("ROLLBACK")
        with serials.wire() as third:
            third.do("BEGIN")
            third.do("SELECT 1")
            client.do("ROLLBACK")
            third.do("ROLLBACK")
        seen = set()
        for _ in range(4):
            use_every_server(serials, "SELECT 1")
            client.do(NUMBERED)
        latest = serials_latest(client)
        seen.add(number_of(client, "query", "SELECT lastval()"))
        assert seen <= {latest, "55000"}


def serials_latest(client):
    return int(client.value("SELECT max(id) FROM numbered"))


def test_p17_asking_for_numbers_is_learned(serials):
    """Under load another client may have had the server in between: that is an error once, and never a wrong number."""
    clients = [serials.wire() for _ in range(2)]
    failures = 0
    for _ in range(4):
        for client in clients:
            client.do(NUMBERED)
        for turn, client in enumerate(clients):
            number = number_of(client, "query", "SELECT lastval()")
            latest = serials_latest(client)
            assert number in ("55000", latest - 1 + turn)
            failures += number == "55000"
    assert failures <= 2


@pytest.mark.parametrize("protocol", ["query", "extended"])
def test_p17_code_that_asks_for_numbers_sees_its_own(start, database, protocol):
    database.execute("CREATE TABLE numbered (id serial, v int); CREATE FUNCTION last_number() RETURNS bigint LANGUAGE plpgsql"
                     " AS 'BEGIN RETURN lastval(); END'", user="app")
    pooler = start(default_pool_size=1)
    with pooler.wire() as other:
        other.do(NUMBERED)
    client = pooler.wire()
    assert number_of(client, protocol, "SELECT last_number()") == "55000"
    getattr(client, protocol)(NUMBERED)
    assert number_of(client, protocol, "SELECT last_number()") == 2


def test_p17_a_pipeline_that_inserts_and_asks(serials):
    use_every_server(serials, NUMBERED)
    client = serials.wire()
    client.send(once(NUMBERED), once(ASK["lastval"]), SYNC, once(NUMBERED), SYNC, once(ASK["currval"]), SYNC)
    answer = client.ready(3)
    assert set(e["C"] for e in answer.errors) <= {"55000"}
    client.send(query(NUMBERED), query(ASK["lastval"]), query(NUMBERED), query(ASK["currval"]))
    answer = client.ready(4)
    first = serials_latest(client) - 1
    assert [int(row[0]) for row in answer.texts] == [first, first + 1]
