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


@pytest.fixture
def deferring(start, database):
    database.execute("CREATE TABLE work (i int)", user="app")
    return start(default_pool_size=1, cache="exact", cache_writes="through_weir", defer_begin="on",
                 database={"control_user": "control"})


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
