"""P25: BEGIN is held back until a statement needs a server, and nobody can tell by the answers."""

import time

import pytest

from harness import wire
from harness.compare import assert_same
from harness.wait import until
from harness.wire import SYNC, once, query

pytestmark = pytest.mark.needs("cache")

ISOLATION = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')," \
    " current_setting('transaction_deferrable')"

SCRIPTS = {
    "with options": ["BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", ISOLATION, "COMMIT", ISOLATION],
    "start transaction": ["START TRANSACTION ISOLATION LEVEL REPEATABLE READ", ISOLATION, "END"],
    "spellings": ["begin work", "SELECT 1", "commit work", "BEGIN TRANSACTION", "END TRANSACTION", "/* c */ BEGIN -- x", "ABORT"],
    "twice": ["BEGIN", "BEGIN", "SELECT 1", "BEGIN", "COMMIT"],
    "twice with options": ["BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE", ISOLATION, "COMMIT"],
    "commit without begin": ["COMMIT", "ROLLBACK", "END", "COMMIT AND CHAIN", "SELECT 1"],
    "empty transactions": ["BEGIN", "COMMIT", "BEGIN", "ROLLBACK", "SELECT 1"],
    "error first": ["BEGIN", "SELECT 1/0", "SELECT 2", "COMMIT", "SELECT 3"],
    "syntax error first": ["BEGIN", "SELEC", "SELECT 2", "ROLLBACK"],
    "savepoint first": ["BEGIN", "SAVEPOINT s", "SELECT 1/0", "ROLLBACK TO s", "SELECT 1", "RELEASE s", "COMMIT"],
    "rollback to nothing": ["BEGIN", "ROLLBACK TO nothing", "COMMIT"],
    "savepoint outside": ["SAVEPOINT s", "BEGIN", "COMMIT"],
    "two-phase": ["BEGIN", "PREPARE TRANSACTION 'p25'", "ROLLBACK PREPARED 'p25'"],
    "two-phase with work": ["BEGIN", "INSERT INTO work VALUES (1)", "PREPARE TRANSACTION 'p25'", "COMMIT PREPARED 'p25'",
                            "SELECT count(*) FROM work"],
    "set transaction": ["BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", ISOLATION, "COMMIT"],
    "set transaction too late": ["BEGIN", "SELECT 1", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "ROLLBACK"],
    "set local": ["BEGIN", "SET LOCAL work_mem = '9MB'", "SHOW work_mem", "COMMIT", "SHOW work_mem"],
    "chain": ["BEGIN ISOLATION LEVEL REPEATABLE READ", "COMMIT AND CHAIN", ISOLATION, "ROLLBACK AND CHAIN", ISOLATION, "COMMIT"],
    "multi-statement": ["BEGIN; SELECT 1; COMMIT", "BEGIN; SELECT 1", "SELECT 2; COMMIT; SELECT 3", "BEGIN", "SELECT 1; SELECT 2; COMMIT"],
    "not in a block": ["BEGIN", "VACUUM", "ROLLBACK", "VACUUM work"],
    "lock": ["BEGIN", "LOCK TABLE work", "COMMIT", "LOCK TABLE work"],
    "cursor": ["BEGIN", "DECLARE c CURSOR FOR SELECT generate_series(1, 3)", "FETCH 2 FROM c", "COMMIT", "FETCH c"],
    "read only": ["BEGIN READ ONLY", "INSERT INTO work VALUES (2)", "ROLLBACK"],
    "empty query": ["BEGIN", "", ";", "COMMIT"],
    "show": ["BEGIN", "SHOW search_path", "COMMIT"],
    "prepare and execute": ["BEGIN", "PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p", "COMMIT"],
    "discard": ["BEGIN", "DISCARD ALL", "ROLLBACK"],
    "notices": ["BEGIN", "DO $$ BEGIN RAISE NOTICE 'first'; END $$", "COMMIT"],
    "unknown option": ["BEGIN SOMEHOW", "BEGIN ISOLATION LEVEL CHAOS", "SELECT 1"],
    "standard form": ["START TRANSACTION READ WRITE, ISOLATION LEVEL READ COMMITTED", "INSERT INTO work VALUES (3)", "COMMIT"],
}

DEFERRING = {"default_pool_size": 1, "cache": "exact", "cache_writes": "through_weir", "defer_begin": "on",
             "database": {"control_user": "control"}}


@pytest.fixture
def deferring(start, database):
    database.execute("CREATE TABLE work (i int)", user="app")
    return start(**DEFERRING)


@pytest.fixture
def refusing(start, database, tap):
    """A pooler whose BEGIN the server can be made not to understand: it is misspelt on its way."""
    database.execute("CREATE TABLE work (i int)", user="app")
    pooler = start(port=tap.port, **DEFERRING)

    def refuse():
        tap.misspell(b"BEGIN\0", b"BEGIM\0")

    return pooler, refuse


@pytest.mark.parametrize("protocol", ["simple", "extended", "pipelined", "named"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_p25_answers_are_postgresqls(deferring, database, name, protocol):
    script = SCRIPTS[name]
    if protocol != "simple":
        script = [s for s in script if ";" not in s.replace("$$", "").replace("'first';", "").replace("; END", "")]
    script = [*script, "ROLLBACK"]
    if protocol == "pipelined":
        batches = [(b"".join(once(s) + SYNC for s in script), len(script))]
    elif protocol == "named":
        batches = [(wire.close("S", "n") + wire.parse(s, "n") + wire.bind(statement="n") + wire.describe()
                    + wire.execute() + SYNC, 1) for s in script]
    else:
        batches = [((query(s) if protocol == "simple" else once(s) + SYNC), 1) for s in script]
    with deferring.wire() as client:
        for _ in range(2):
            assert_same(database, client, batches, reset="TRUNCATE work")
    with deferring.wire() as other:
        answer = other.query("SELECT now() = statement_timestamp()")
        assert answer.texts == [("t",)] and answer.statuses == "I"


def test_p25_one_batch_of_a_whole_transaction(deferring, database):
    batch = once("BEGIN") + once("SELECT 1") + once("COMMIT") + SYNC
    failing = once("BEGIN") + once("SELECT 1/0") + once("COMMIT") + SYNC
    with deferring.wire() as client:
        assert_same(database, client, [(batch + batch, 2), (failing, 1), (query("ROLLBACK"), 1), (batch, 1)])


@pytest.mark.parametrize("script", [["BEGIN"], ["BEGIN", "COMMIT"]], ids=" ".join)
def test_p25_a_simple_begin_ends_the_unnamed_statement(deferring, database, script):
    unnamed = wire.bind([]) + wire.execute() + SYNC
    with deferring.wire() as client:
        assert_same(database, client, [(wire.parse("SELECT 1") + SYNC, 1), (unnamed, 1), *((query(s), 1) for s in script), (unnamed, 1),
                                       (query("ROLLBACK"), 1)])


def test_p25_a_client_that_only_began_holds_no_server(deferring):
    thinking = [deferring.wire() for _ in range(5)]
    for client in thinking:
        assert client.query("BEGIN").statuses == "T"
    assert deferring.wire().value("SELECT 'served'") == "served"
    assert deferring.admin().pool("test", "app")["sv_active"] == "0"
    for client in thinking:
        assert client.query("SELECT 1").statuses == "T"
        assert client.query("COMMIT").statuses == "I"


@pytest.mark.parametrize("ending", ["close", "reset", "quit"])
def test_p25_a_client_gone_after_begin_leaves_nothing(deferring, ending):
    for _ in range(5):
        leaver = deferring.wire()
        leaver.do("BEGIN")
        getattr(leaver, ending)()
        with deferring.wire() as client:
            answer = client.query("SELECT now() = statement_timestamp()")
            assert answer.texts == [("t",)] and answer.statuses == "I"
    until("the pool is idle", lambda: deferring.admin().pool("test", "app")["sv_active"] == "0")


def test_p25_a_held_back_begin_is_a_transaction(deferring, database):
    """What follows is atomic, and rolls back as one."""
    with deferring.wire() as client, deferring.wire() as other:
        client.do("BEGIN")
        client.do("INSERT INTO work VALUES (1)")
        client.do("INSERT INTO work VALUES (2)")
        assert database.value("SELECT count(*) FROM work") == 0
        client.do("ROLLBACK")
        assert other.value("SELECT count(*) FROM work") == "0"


def test_p25_idle_transaction_timeout_runs_from_begin(start, database):
    pooler = start(default_pool_size=1, cache="exact", cache_writes="through_weir", idle_transaction_timeout=1,
                   database={"control_user": "control"})
    client = pooler.wire()
    client.do("BEGIN")
    began = time.monotonic()
    answer = client.rest()
    assert 0.8 < time.monotonic() - began < 4
    assert "idle transaction timeout" in answer.errors[0]["M"]


INSERT = "INSERT INTO work VALUES (1)"
FIRST = {
    "simple": query(INSERT),
    "several": query(INSERT + "; " + INSERT),
    "extended": once(INSERT) + SYNC,
    "named": wire.parse(INSERT, "n") + wire.bind(statement="n") + wire.execute() + SYNC,
    "copy": query("COPY work FROM STDIN"),
    "unreadable": query(INSERT + " /*" + "x" * 70000 + "*/"),
    "function call": wire.function_call(2026),  # pg_backend_pid
}


@pytest.mark.parametrize("first", FIRST)
def test_p25_nothing_runs_outside_a_block_that_could_not_begin(refusing, database, first):
    pooler, refuse = refusing
    with pooler.wire() as client:
        for _ in range(2):
            client.do("SELECT 1")
            client.do("BEGIN")
            refuse()
            client.send(FIRST[first])
            answer = client.ready()
            assert [e["C"] for e in answer.errors] == ["42601"] and answer.statuses == "E"
            assert client.query(INSERT).errors[0]["C"] == "25P02"
            assert client.query("COMMIT").tags == ["ROLLBACK"]
            assert database.value("SELECT count(*) FROM work") == 0
    with pooler.wire() as client:
        client.do("BEGIN")
        client.send(FIRST[first])
        if first == "copy":
            client.up_to("G")
            client.send(wire.COPY_DONE)
        assert client.ready().errors == []
        client.do("ROLLBACK")
        assert database.value("SELECT count(*) FROM work") == 0
        client.send(FIRST["extended"])
        assert client.ready().errors == []
        assert database.value("SELECT count(*) FROM work") == 1


def test_p25_a_message_under_way_when_begin_is_refused_is_the_end(refusing, database):
    pooler, refuse = refusing
    message = query(INSERT + " /*" + "x" * 17_000_000 + "*/")
    with pooler.wire() as client:
        client.do("SELECT 1")
        client.do("BEGIN")
        refuse()
        client.send(message[:1_500_000])
        assert "BEGIN was refused" in client.rest().errors[-1]["M"]
    with pooler.wire() as client:
        client.do("BEGIN")
        client.send(message)
        assert client.ready().statuses == "T"
        client.do("ROLLBACK")
        assert database.value("SELECT count(*) FROM work") == 0


def test_p25_what_was_sent_behind_a_begin_that_failed_waits_for_its_answer(refusing, database):
    pooler, refuse = refusing
    insert = once(INSERT) + SYNC
    with pooler.wire() as client:
        client.do("SELECT 1")
        refuse()
        client.send(query("BEGIN"), insert, insert, query(INSERT), insert, query("COMMIT"), query("SELECT 2"))
        answer = client.ready(7)
        assert answer.statuses == "TEEEEII"
        assert [e["C"] for e in answer.errors] == ["42601", "25P02", "25P02", "25P02"]
        assert answer.tags == ["BEGIN", "ROLLBACK", "SELECT 1"]
        assert database.value("SELECT count(*) FROM work") == 0


def test_p25_answers_keep_their_order(deferring, database):
    """A BEGIN, or its end, that comes while something is still to be answered is not answered first."""
    with deferring.wire() as client:
        assert_same(database, client, [
            (query("SELECT 1") + query("BEGIN") + query("COMMIT") + query("SELECT 2"), 4),
            (query("BEGIN") + query("SELECT 1") + query("COMMIT") + query("BEGIN") + query("COMMIT"), 5),
            (once("SELECT 1") + query("BEGIN") + query("SELECT 2") + query("ROLLBACK"), 3),
            (query("SELECT 1/0") + query("BEGIN") + query("SELECT 2") + query("ROLLBACK"), 4)])


def test_p25_read_write_is_for_postgresql_to_allow(deferring):
    """A standby refuses it: it is not answered before PostgreSQL has been asked."""
    with deferring.wire() as client:
        client.do("BEGIN READ WRITE")
        assert deferring.admin().pool("test", "app")["sv_active"] == "1"
        client.do("COMMIT")


@pytest.mark.parametrize("protocol", ["simple", "extended", "long"])
def test_p25_a_block_that_failed_before_it_reached_a_server_stays_failed(deferring, database, protocol):
    """Cancelled while it waited for a server: an error in a block, whatever protocol the client goes on with."""
    with deferring.wire() as holder, deferring.wire() as client:
        holder.do("BEGIN")
        holder.do("SELECT 1")
        client.do("BEGIN")
        client.send(query(INSERT))
        until("it waits", lambda: deferring.admin().pool("test", "app")["cl_waiting"] == "1")
        with deferring.bare_wire() as canceller:
            canceller.send(wire.cancel_request(*client.key))
        answer = client.ready()
        assert [e["C"] for e in answer.errors] == ["57014"] and answer.statuses == "E"
        holder.do("ROLLBACK")
        client.send({"simple": query(INSERT), "extended": once(INSERT) + SYNC,
                     "long": query(INSERT + " /*" + "x" * 17_000_000 + "*/")}[protocol])
        answer = client.ready()
        assert [e["C"] for e in answer.errors] == ["25P02"] and answer.statuses == "E"
        client.send(once("COMMIT") + SYNC)
        assert client.ready().tags == ["ROLLBACK"]
        assert database.value("SELECT count(*) FROM work") == 0
        assert client.query("SELECT 1").statuses == "I"
