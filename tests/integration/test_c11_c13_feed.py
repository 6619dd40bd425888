"""C11, C13: writes that go around Weir are learnt of by decoding PostgreSQL's log. The writers here speak to PostgreSQL
directly; what Weir then answers is compared with the truth."""

import subprocess
import threading
import time

import pytest

from harness.caching import ITEMS, OPTIONS, READ, Cache, value
from harness.counters import COUNTERS, Counters
from harness.postgres import Database, Postgres, name_standbys
from harness.tap import Tap
from harness.wait import seconds, until

pytestmark = pytest.mark.needs("cache")

FED = {**OPTIONS, "cache_writes": "anywhere", "cache_feed": "on"}
LAG = 1.0  # cache_max_lag, unless a test says otherwise


@pytest.fixture
def fed(database, start):
    """Starts a pooler that learns of writes by the feed: fed("SQL", any options)."""

    def begin(setup="", line=None, **options):
        database.execute(ITEMS + setup, user="app")
        pooler = start(database={"control_user": "control", **(line or {})}, **{**FED, **options})
        return Cache(pooler, database)

    return begin


def state(cache):
    """Why nothing is cached at the moment; empty when it is."""
    return " ".join(row["state"] for row in cache.pooler.show("CACHE"))


def seen_in_time(ask, wanted, lag=LAG):
    """Asks until the answer is the one wanted; fails where an older one comes later than the lag allows."""
    end = time.monotonic() + seconds(lag)
    while True:
        began = time.monotonic()
        answer = ask()
        if answer == wanted:
            return
        assert began < end, f"{answer!r} after {lag} s, not {wanted!r}"


def test_c11_a_write_around_weir_is_seen(fed, database):
    cache = fed()
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    with database.connect("app") as direct:
        for turn in range(30):
            cache.warm(ask)
            direct.execute("UPDATE items SET v = %s WHERE id = 1", (f"turn {turn}",))
            seen_in_time(ask, f"turn {turn}")
    assert cache.warm(ask) == "turn 29"


def test_c11_other_tables_stay_cached(fed, database):
    cache = fed("CREATE TABLE others (id int PRIMARY KEY); INSERT INTO others VALUES (1);")
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    cache.warm(ask)
    before = cache.pooler.stats()
    for turn in range(5):
        database.execute("INSERT INTO others VALUES (%s)", (turn + 10,))
    time.sleep(seconds(0.3))  # nothing tells from outside that nothing will happen
    assert cache.hit(ask) == "item 1", before


FAMILY = """
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE);
CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE "Leaf 1" PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE audited (id int);
CREATE TABLE audit (n int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit VALUES (1); RETURN new; END';
CREATE TRIGGER note AFTER INSERT ON audited FOR EACH ROW EXECUTE FUNCTION note();
CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS 'INSERT INTO items VALUES (100, ''filled'')';
INSERT INTO parents VALUES (1);
INSERT INTO children VALUES (1, 1);
INSERT INTO parted VALUES (1, 'one');
CREATE TABLE swapped (id int);
"""

AROUND = {
    "INSERT": ("items", "INSERT INTO items VALUES (100, 'new')"),
    "UPDATE": ("items", "UPDATE items SET v = 'new' WHERE id = 3"),
    "DELETE": ("items", "DELETE FROM items WHERE id = 3"),
    "TRUNCATE": ("items", "TRUNCATE items"),
    "COPY": ("items", "COPY items FROM PROGRAM 'printf \"100\\tnew\\t0\\n\"'"),
    "a transaction": ("items", "BEGIN; SAVEPOINT a; INSERT INTO items VALUES (100, 'new'); RELEASE a; COMMIT"),
    "two phases": ("items", "BEGIN; INSERT INTO items VALUES (100, 'new'); PREPARE TRANSACTION 'feed'; COMMIT PREPARED 'feed'"),
    "a function": ("items", "SELECT fill()"),
    "a cascade": ("children", "DELETE FROM parents"),
    "a cascade of TRUNCATE": ("children", "TRUNCATE parents CASCADE"),
    "a partition": ("parted", "INSERT INTO \"Leaf 1\" VALUES (2, 'two')"),
    "the parent of a partition": ("\"Leaf 1\"", "INSERT INTO parted VALUES (2, 'two')"),
    "a trigger": ("audit", "INSERT INTO audited VALUES (1)"),
    "a column": ("items", "ALTER TABLE items ALTER n TYPE text USING 'n' || n"),
    "a name": ("items", "ALTER TABLE items RENAME TO gone; ALTER TABLE swapped RENAME TO items"),
    "a partition that leaves": ("parted", "ALTER TABLE parted DETACH PARTITION \"Leaf 1\""),
}


@pytest.mark.parametrize("what", AROUND)
def test_c11_every_way_to_write_is_seen(fed, database, what):
    table, write = AROUND[what]
    cache = fed(FAMILY)
    client = cache.wire()
    read = f"SELECT * FROM {table} ORDER BY 1"

    def ask():
        answer = client.query(read)
        assert not answer.errors
        return answer.texts

    before = cache.warm(ask, table.lower())
    with database.connect() as direct:
        for statement in write.split("; "):
            direct.execute(statement)
    truth = cache.direct(read)
    assert truth != before
    seen_in_time(ask, truth)
    assert cache.warm(ask, table.lower()) == truth


def test_c11_what_happens_while_the_catalog_is_loaded(fed, database):
    """Tables come, get other names and go, while rows are written."""
    cache = fed()
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    with database.connect("app") as direct:
        for turn in range(12):
            direct.execute(f"ALTER TABLE items RENAME TO items_{turn}")
            direct.execute(f"CREATE TABLE items AS SELECT id, 'turn {turn}' AS v, n FROM items_{turn}")
            direct.execute(f"UPDATE items_{turn} SET v = 'old'")
            direct.execute(f"UPDATE items SET v = v || '!'")
            seen_in_time(lambda: value(client.query(READ)), f"turn {turn}!", LAG + 1)  # the watch's own second


@pytest.mark.parametrize("way", ["", "CONCURRENTLY"])
def test_c11_refresh_around_weir(fed, database, way):
    """A REFRESH is a transaction without rows, or one whose rows are not told."""
    cache = fed("CREATE MATERIALIZED VIEW seen AS SELECT id, v FROM items WHERE id = 1; CREATE UNIQUE INDEX ON seen (id);")
    client = cache.wire()
    reads = {sql: lambda sql=sql: value(client.query(sql)) for sql in (READ, "SELECT v FROM seen")}
    for turn in range(3):
        for sql, ask in reads.items():
            cache.warm(ask, "seen" if "seen" in sql else "items")
        database.execute(f"UPDATE items SET v = 'turn {turn}' WHERE id = 1")
        seen_in_time(reads[READ], f"turn {turn}")
        database.execute(f"REFRESH MATERIALIZED VIEW {way} seen")
        for ask in reads.values():
            seen_in_time(ask, f"turn {turn}")


def test_c11_what_is_behind_a_view_is_written_around_weir(fed, database):
    cache = fed("CREATE VIEW seen AS SELECT id, v FROM items; CREATE VIEW few AS SELECT v FROM seen WHERE id < 3;")
    client = cache.wire()
    read = "SELECT * FROM few ORDER BY v"

    def ask():
        return client.query(read).texts

    for turn in range(5):
        cache.warm(ask, "few")
        database.execute(f"UPDATE items SET v = 'turn {turn}' WHERE id = 1")
        seen_in_time(ask, cache.direct(read))
    assert cache.warm(ask, "few") == [("item 2",), ("turn 4",)]


def test_c11_hits_are_not_checked_where_the_feed_may_be_behind(fed):
    """What PostgreSQL then answers may be newer than what the feed has told, and nothing would be wrong."""
    cache = fed(cache_check=1)
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    assert cache.hit(lambda: value(client.query(READ))) == "item 1"


def test_c11_transactions_without_rows_leave_answers_alone(fed, database):
    cache = fed()
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    cache.warm(ask)
    with database.connect() as direct:
        for _ in range(40):
            direct.execute("SELECT id FROM items FOR UPDATE")
            assert cache.hit(ask) == "item 1"
        direct.execute("ANALYZE items")
    until("it is looked at", lambda: state(cache) == "")
    assert cache.hit(ask) == "item 1"


# --- a commit that is not visible yet

class Held:
    """A commit that waits for a standby that is not there: it is in the log, and nobody sees it yet."""

    def __init__(self, database, statement, names="nobody"):
        self.database = database
        self.postgres = database.postgres
        self._name_standbys(names)
        self.direct = database.connect()
        self.pid = self.direct.execute("SELECT pg_backend_pid()").fetchone()[0]
        self.direct.execute("SET synchronous_commit = on")
        self.thread = threading.Thread(target=self.direct.execute, args=(statement,), daemon=True)
        self.thread.start()
        until("the commit waits for a standby", lambda: database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'", (self.pid,)) == 1)

    def _name_standbys(self, names):
        with self.postgres.connect() as admin:
            admin.execute("SET synchronous_commit = off")
            admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
            admin.execute("SELECT pg_reload_conf()")
            until("it is in force", lambda: admin.execute("SHOW synchronous_standby_names").fetchone()[0] == names)

    def release(self):
        self._name_standbys("")
        self.thread.join(seconds(10))
        assert not self.thread.is_alive()


@pytest.fixture
def own(own_postgres):
    return own_postgres.make_database()


def fed_before(new_pooler, database, **options):
    database.execute(ITEMS, user="app")
    line = {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name, "control_user": "control"}
    return Cache(new_pooler({"test": line}, {**FED, **options}).start(), database)


def test_c13_a_commit_that_is_decoded_and_not_visible(new_pooler, own):
    cache = fed_before(new_pooler, own)
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    assert cache.warm(ask) == "item 1"
    held = Held(own, "UPDATE items SET v = 'new' WHERE id = 1")
    until("the feed has told of it", lambda: cache.executed(ask)[1])
    for _ in range(10):
        answer, count = cache.executed(ask)
        assert answer == "item 1" and count == 1, "what is about to change was kept"
    held.release()
    for _ in range(5):
        assert ask() == "new"
    assert cache.warm(ask) == "new"


def test_c13_a_commit_that_is_held_while_the_feed_begins(new_pooler, own):
    """It is in the log before the slot is there, so the feed never tells of it."""
    own.execute(ITEMS, user="app")
    held = Held(own, "UPDATE items SET v = 'new' WHERE id = 1")
    line = {"host": "127.0.0.1", "port": own.postgres.port, "dbname": own.name, "control_user": "control"}
    cache = Cache(new_pooler({"test": line}, FED).start(), own)
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    cache.never_cached(ask)
    held.release()
    assert cache.warm(ask) == "new"


def test_c13_the_feed_is_lost_while_a_commit_is_held(new_pooler, own):
    cache = fed_before(new_pooler, own)
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    assert cache.warm(ask) == "item 1"
    held = Held(own, "UPDATE items SET v = 'new' WHERE id = 1")
    until("the feed has told of it", lambda: cache.executed(ask)[1])
    own.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    until("the new one waits", lambda: "waits for running transactions to end" in state(cache))
    for _ in range(10):
        answer, count = cache.executed(ask)
        assert answer == "item 1" and count == 1
    held.release()
    assert cache.warm(ask) == "new"


# --- gaps

def test_c11_the_connection_of_the_feed_is_lost(fed, database):
    cache = fed()
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    cache.warm(ask)
    for turn in range(4):
        ours = "pid IN (SELECT active_pid FROM pg_replication_slots WHERE database = current_database())" if turn % 2 \
            else "application_name = 'weir feed'"
        database.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND {ours}")
        database.execute("UPDATE items SET v = %s WHERE id = 1", (f"turn {turn}",))
        seen_in_time(ask, f"turn {turn}")
        assert cache.warm(ask) == f"turn {turn}"
    assert cache.pooler.log().count("feed: up") == 5


def test_c11_the_server_is_restarted(new_pooler, own):
    cache = fed_before(new_pooler, own)
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    own.postgres.stop("fast")
    own.postgres.start()
    own.execute("UPDATE items SET v = 'new' WHERE id = 1")
    client = until("the server is back", lambda: answering(cache))
    assert value(client.query(READ)) == "new"
    assert cache.warm(lambda: value(client.query(READ)), limit=30) == "new"


def answering(cache):
    client = cache.wire()
    return client if not client.query("SELECT 1").errors else None


def test_c34_a_crash_takes_back_what_was_read_around_weir(new_pooler, own):
    """synchronous_commit is off here: what a direct writer has committed and everybody has read is gone after it."""
    cache = fed_before(new_pooler, own)
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    own.postgres.stop("kill")
    own.postgres.start()
    client = until("the server is back", lambda: answering(cache))
    truth = cache.direct(READ)[0][0]
    assert cache.warm(lambda: value(client.query(READ)), limit=30) == truth


def test_c11_a_feed_that_is_behind_stops_hits(fed, tap, database):
    cache = fed(line={"port": tap.port})
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    cache.warm(ask)
    # The next question of the feed gets no answer; everything else goes on.
    tap.hold_answer_to("pg_current_wal_insert_lsn")
    assert tap.held.wait(seconds(10))
    until("nothing is believed any more", lambda: state(cache))
    cache.never_cached(ask)
    assert "feed" in state(cache)
    tap.release()
    cache.warm(ask)


def test_c11_a_stream_that_is_behind_stops_hits(fed, tap, database):
    tap.hold_answer_to("START_REPLICATION")
    cache = fed(line={"port": tap.port})
    client = cache.wire()
    assert tap.held.wait(seconds(10))
    cache.never_cached(lambda: value(client.query(READ)))
    tap.release()
    cache.warm(lambda: value(client.query(READ)))


def test_c11_an_open_transaction_does_not_hold_the_feed_up(fed, database):
    """What it has written is in the log and need not be on disk, where the stream ends."""
    cache = fed()
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    cache.warm(ask)
    with database.connect(autocommit=False) as direct:
        end = time.monotonic() + seconds(2.5)
        while time.monotonic() < end:
            direct.execute("UPDATE items SET n = n + 1 WHERE id = 20")
            assert cache.hit(ask) == "item 1"


@pytest.mark.parametrize("where", ["options", "line"])
def test_c11_how_far_the_feed_may_be_behind(fed, tap, where):
    cache = fed(**{"line": {"port": tap.port, **({"cache_max_lag": 60} if where == "line" else {})},
                   **({"cache_max_lag": 60} if where == "options" else {})})
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    cache.warm(ask)
    tap.hold_answer_to("pg_current_wal_insert_lsn")
    assert tap.held.wait(seconds(10))
    end = time.monotonic() + 2 * LAG
    while time.monotonic() < end:
        assert cache.hit(ask) == "item 1"
    tap.release()


def test_c11_a_feed_for_one_database(fed, database):
    """cache = ttl does without one; and a database can have what the others have not."""
    cache = fed(line={"cache_feed": "on"}, cache="ttl", cache_feed="off")
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    cache.warm(ask)
    database.execute("UPDATE items SET v = 'new' WHERE id = 1")
    seen_in_time(ask, "new")
    cache.pooler.reload(databases={name: {**line, "cache_feed": "off"} for name, line in cache.pooler.databases.items()})
    until("the feed has ended", lambda: not slots(database))
    cache.warm(ask)
    database.execute("UPDATE items SET v = 'newer' WHERE id = 1")
    time.sleep(seconds(LAG + 0.2))
    assert cache.hit(ask) == "new"


def slots(database):
    return dict(database.execute("SELECT slot_name, temporary FROM pg_replication_slots WHERE database = current_database()"))


def test_c11_the_name_of_the_slot(fed, database, new_pooler):
    cache = fed(line={"cache_feed_slot": "of_mine"})
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    assert slots(database) == {"of_mine": True}
    # Another process that would have the same one is told, and has no cache.
    line = dict(cache.pooler.databases["test"])
    other = Cache(new_pooler({"test": line}, {**FED, "cache": "ttl"}).start(), database)
    other.pooler.says('replication slot "of_mine" is in use by process')
    client = other.wire()
    other.never_cached(lambda: value(client.query(READ)))
    assert "cache_feed_slot" in state(other)
    other.pooler.reload(databases={"test": {**line, "cache_feed_slot": "of_another"}})
    other.warm(lambda: value(client.query(READ)))
    assert slots(database) == {"of_mine": True, "of_another": True}
    cache.pooler.stop()
    until("the slot has gone with the process", lambda: "of_mine" not in slots(database))
    assert list(slots(database)) == ["of_another"]


# --- commits that wait for Weir

@pytest.fixture
def synchronous(new_pooler, own):
    def begin(**options):
        cache = fed_before(new_pooler, own, **{"cache_feed": "synchronous", **options})
        cache.pooler.says("feed: up")
        cache.slot, = slots(own)
        name_standbys(own, f"FIRST 1 ({cache.slot})")
        return cache

    yield begin
    name_standbys(own, "")  # what still waits may go


def writer(database):
    direct = database.connect()
    direct.execute("SET synchronous_commit = on")
    return direct


def test_c11_no_read_is_stale_once_the_commit_has_returned(synchronous, own):
    cache = synchronous()
    clients = [cache.wire() for _ in range(3)]
    cache.warm(lambda: value(clients[0].query(READ)))
    before, stale = cache.pooler.hits(), []
    with writer(own) as direct:
        for turn in range(400):
            if turn % 2:
                direct.execute("UPDATE items SET v = %s WHERE id = 1", (f"turn {turn}",))
            else:
                direct.execute("WITH gone AS (DELETE FROM items WHERE id = 1) SELECT 1")
                direct.execute("INSERT INTO items VALUES (1, %s)", (f"turn {turn}",))
            # The last ones are mostly hits: the writer's next commit is to find a warm cache.
            for asked in range(12):
                answer = value(clients[asked % 3].query(READ))
                if answer != f"turn {turn}":
                    stale.append((turn, asked, answer))
    assert not stale
    assert cache.pooler.hits() - before > 400, "there was hardly a hit that could have been stale"


def test_c11_hits_are_checked_where_the_feed_is_waited_for(synchronous):
    cache = synchronous(cache_check=1)
    client = cache.wire()
    until("hits are checked", lambda: value(client.query(READ)) == "item 1" and [
        row for row in cache.pooler.show("CACHE_STORE") if row["name"] == "checks_right" and row["value"] != "0"])


def test_c11_history_of_many_readers_and_writers(synchronous, own, request):
    """Counters only grow. Whoever reads, through Weir, sees at least what was committed before, by Weir or around it."""
    span = 30 if request.config.getoption("--full") else 5
    own.execute(COUNTERS + "GRANT ALL ON counters TO app")
    cache = synchronous(workers=2, default_pool_size=6)
    cache.warm(lambda: value(cache.wire().query(READ)))
    hits, counters = cache.pooler.hits(), Counters()

    def write(number):
        with (writer(own) if number % 2 else cache.pooler.connect()) as client:
            client.execute("SET synchronous_commit = on")
            while counters.is_on:
                client.execute(f"UPDATE counters SET n = n + 1 WHERE id = {number}")
                counters.committed(number)
                time.sleep(0.02)  # for there to be hits

    counters.run(cache, write, 6, lambda: time.sleep(seconds(span)))
    assert counters.reads > 100 and cache.pooler.hits() > hits + 50 and min(counters.known) > 20


def test_c11_exact_waits_for_being_waited_for(synchronous, own):
    cache = synchronous()
    client = cache.wire()

    def ask():
        return value(client.query(READ))

    cache.warm(ask)
    for names in ("", f"ANY 1 ({cache.slot}, other)", "FIRST 1 (other)"):
        with own.connect() as direct:  # which does not wait
            name_standbys(own, names)
            until("it is noticed", lambda: "synchronous_standby_names" in state(cache))
            assert cache.slot in state(cache)
            direct.execute("UPDATE items SET v = %s WHERE id = 1", (names,))
        cache.never_cached(ask)
        name_standbys(own, f"FIRST 1 ({cache.slot}, other)")
        assert cache.warm(ask) == names
        assert state(cache) == ""


def test_c11_a_commit_that_waited_for_a_weir_that_was_away(synchronous, own):
    """The slot outlives its process: making a new one would wait for the very commit that waits for it."""
    cache = synchronous()
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    cache.pooler.stop()
    assert slots(own) == {cache.slot: False}
    with writer(own) as direct:
        thread = threading.Thread(target=direct.execute, args=("UPDATE items SET v = 'new' WHERE id = 1",), daemon=True)
        thread.start()
        until("the commit waits", lambda: own.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == 1)
        cache.pooler.start()
        thread.join(seconds(20))
        assert not thread.is_alive()
        client = cache.wire()
        assert value(client.query(READ)) == "new"
        assert cache.warm(lambda: value(client.query(READ))) == "new"


def test_c11_the_connection_is_lost_while_commits_wait(synchronous, own):
    cache = synchronous()
    clients = [cache.wire() for _ in range(2)]
    cache.warm(lambda: value(clients[0].query(READ)))
    stop = threading.Event()

    def kill():
        while not stop.wait(0.7):
            own.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    end, turn = time.monotonic() + seconds(6), 0
    with writer(own) as direct:
        while time.monotonic() < end:
            turn += 1
            direct.execute("UPDATE items SET v = %s WHERE id = 1", (f"turn {turn}",))
            for asked in range(6):
                assert value(clients[asked % 2].query(READ)) == f"turn {turn}"
    stop.set()
    killer.join()
    assert turn > 20
    cache.warm(lambda: value(clients[0].query(READ)))


def test_c11_ddl_alone_stops_hits_until_it_is_looked_at(synchronous, own):
    cache = synchronous()
    client = cache.wire()
    read = "SELECT count(*) FROM parted"

    def ask():
        return value(client.query(read))

    own.execute("CREATE TABLE parted (id int) PARTITION BY RANGE (id);"
                "CREATE TABLE leaf PARTITION OF parted FOR VALUES FROM (0) TO (100); GRANT ALL ON parted, leaf TO app;"
                "INSERT INTO leaf SELECT generate_series(1, 9)")
    with writer(own) as direct:
        for _ in range(10):
            assert cache.warm(ask, "parted") == "9"
            direct.execute("ALTER TABLE parted DETACH PARTITION leaf")
            assert ask() == "0"
            assert cache.warm(ask, "parted") == "0"
            direct.execute("ALTER TABLE parted ATTACH PARTITION leaf FOR VALUES FROM (0) TO (100)")
            assert ask() == "9"


# --- what is said of it

def test_c11_what_is_said_of_the_feed(fed, database):
    cache = fed()
    pooler = cache.pooler
    assert len(pooler.show("FEEDS")) == 1
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    row, = pooler.show("FEEDS")
    slot, = slots(database)
    assert (row["database"], row["host"], row["port"]) == (database.name, "127.0.0.1", str(database.postgres.port))
    assert (row["slot"], row["mode"], row["state"], row["gaps"]) == (slot, "on", "", "0")
    assert int(row["lag_us"]) < LAG * 1e6
    for turn in range(7):
        database.execute("UPDATE items SET n = %s", (turn,))
    until("they are counted", lambda: int(pooler.show("FEEDS")[0]["transactions"]) >= 7 + int(row["transactions"]))
    database.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database()")
    until("the gap is counted", lambda: pooler.show("FEEDS")[0]["gaps"] == "1")
    until("it is back", lambda: pooler.show("FEEDS")[0]["state"] == "")
    told, = pooler.stats()["feeds"]
    assert told["slot"] == slot and told["gaps"] == 1 and told["lag_us"] < LAG * 1e6 and told["state"] == ""
    assert pooler.metric("weir_feed_up") == 1 and pooler.metric("weir_feed_gaps_total") == 1
    assert pooler.metric("weir_feed_transactions_total") >= 7 and pooler.metric("weir_feed_lag_seconds") < LAG
    page = pooler.http("/metrics")[1]
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=seconds(20))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


MISSING = {
    "wal_level": ({"wal_level": "replica"}, "wal_level is replica: ALTER SYSTEM SET wal_level = logical"),
    "slots": ({"max_replication_slots": "0"}, "no replication slot is free: raise max_replication_slots (now 0)"),
    "senders": ({"max_wal_senders": "0"}, "no WAL sender is free: raise max_wal_senders (now 0)"),
}


@pytest.mark.parametrize("what", MISSING)
def test_c11_what_the_server_lacks_is_named(new_pooler, what):
    settings, words = MISSING[what]
    server = Postgres(**settings)
    try:
        cache = fed_before(new_pooler, server.start().make_roles().make_database())
        client = cache.wire()
        cache.pooler.says(words)
        until("SHOW CACHE says it too", lambda: words in state(cache))
        cache.never_cached(lambda: value(client.query(READ)))
        assert cache.pooler.log().count(words) == 1, "once is enough"
        cache.pooler.stop()
    finally:
        server.remove()


def test_c11_a_role_without_the_right_is_named(fed, database):
    database.execute("CREATE ROLE weak LOGIN PASSWORD 'weak'; GRANT CREATE ON DATABASE " + database.name + " TO weak")
    try:
        cache = fed(line={"control_user": "weak", "control_password": "weak"})
        client = cache.wire()
        cache.pooler.says('role "weak" may not replicate: ALTER ROLE "weak" REPLICATION')
        cache.never_cached(lambda: value(client.query(READ)))
        database.execute("ALTER ROLE weak REPLICATION")
        cache.warm(lambda: value(client.query(READ)), limit=20)
        cache.pooler.stop()
    finally:
        database.execute("DROP OWNED BY weak; DROP ROLE weak")


def test_c11_a_role_that_may_not_see_standbys_is_named(new_pooler, own):
    """Nothing but REPLICATION is needed for a feed; a synchronous one has to know that commits wait for it."""
    own.execute("CREATE ROLE weak LOGIN REPLICATION")
    own.execute("ALTER ROLE weak PASSWORD 'weak'")
    own.execute(ITEMS, user="app")
    line = {"host": "127.0.0.1", "port": own.postgres.port, "dbname": own.name, "control_user": "weak",
            "control_password": "weak", "cache_feed_slot": "weak"}
    cache = Cache(new_pooler({"test": line}, {**FED, "cache_feed": "synchronous"}).start(), own)
    cache.pooler.says('role "weak" may not see whether commits wait for it: GRANT pg_read_all_stats TO "weak"')
    own.execute("GRANT pg_read_all_stats TO weak")
    cache.pooler.says("feed: up")
    client = cache.wire()
    name_standbys(own, "FIRST 1 (weak)")
    cache.warm(lambda: value(client.query(READ)))
    name_standbys(own, "")


def test_c11_a_slot_that_belongs_to_something_else_is_left_alone(fed, database):
    database.execute("SELECT pg_create_physical_replication_slot('taken')")
    try:
        cache = fed(line={"cache_feed_slot": "taken"})
        client = cache.wire()
        cache.pooler.says('replication slot "taken" belongs to something else: set cache_feed_slot to another name')
        cache.never_cached(lambda: value(client.query(READ)))
        assert database.value("SELECT slot_type FROM pg_replication_slots WHERE slot_name = 'taken'") == "physical"
    finally:
        database.execute("SELECT pg_drop_replication_slot('taken')")


def test_c11_a_lasting_slot_that_was_left_is_dropped(fed, database):
    """One of a synchronous feed keeps the server's log for ever, when the feed is not synchronous any more."""
    database.execute("SELECT pg_create_logical_replication_slot('left_over', 'test_decoding')")
    cache = fed(line={"cache_feed_slot": "left_over"})
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    cache.pooler.says('dropped replication slot "left_over"')
    assert slots(database) == {"left_over": True}


def test_c11_a_slot_whose_log_is_gone_is_made_anew(new_pooler, own):
    cache = fed_before(new_pooler, own, cache_feed="synchronous")
    client = cache.wire()
    cache.pooler.says("feed: up")
    slot, = slots(own)
    cache.pooler.stop()
    with own.connect() as admin:
        admin.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        admin.execute("SELECT pg_reload_conf()")
        for _ in range(4):
            admin.execute("UPDATE items SET n = n + 1")
            admin.execute("SELECT pg_switch_wal()")
        admin.execute("CHECKPOINT")
        assert admin.execute("SELECT wal_status FROM pg_replication_slots").fetchone() == ("lost",)
    cache.pooler.start()
    cache.pooler.says("feed: up", 2)
    assert slots(own) == {slot: False}
    name_standbys(own, f"FIRST 1 ({slot})")
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    name_standbys(own, "")


def feed_check(cache):
    """FEED CHECK of the console: {what: (state, remedy)}."""
    with cache.pooler.admin() as console:
        rows = console.run("FEED CHECK").texts
    assert {database for database, *_ in rows} == {"test"}
    return {what: (state, remedy) for _, what, state, _, remedy, _ in rows}


def test_c11_feed_check_says_what_is_missing(new_pooler):
    """Also where there is no feed yet, which is when one wants to know."""
    server = Postgres(wal_level="replica", max_replication_slots="0").start().make_roles()
    try:
        database = server.make_database()
        database.execute("ALTER ROLE app NOREPLICATION")
        cache = fed_before(new_pooler, database, cache="ttl", cache_feed="off")
        assert cache.pooler.reload(databases={"test": {**cache.pooler.databases["test"], "control_user": "app"}}) is None
        until("all is looked at", lambda: "wal_level" in feed_check(cache))
        assert feed_check(cache) == {
            "server": ("ok", ""),
            "wal_level": ("missing", "ALTER SYSTEM SET wal_level = logical, and restart PostgreSQL"),
            "right to replicate": ("missing", 'ALTER ROLE "app" REPLICATION'),
            "WAL sender": ("ok", ""),
            "replication slot": ("missing", "raise max_replication_slots (now 0) and restart PostgreSQL")}
        server.stop("fast")
        until("it says that nobody answers", lambda: list(feed_check(cache)) == ["control connection"])
        cache.pooler.stop()
    finally:
        server.remove()


def test_c11_feed_check_of_one_that_works(new_pooler, own):
    cache = fed_before(new_pooler, own, cache_feed="synchronous")
    cache.pooler.says("feed: up")
    slot, = slots(own)
    found = feed_check(cache)
    remedy = f"once it is up: ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 ({slot})'; SELECT pg_reload_conf()"
    assert found.pop("synchronous standby") == ("missing", remedy)
    assert set(found.values()) == {("ok", "")} and len(found) == 6
    with own.connect() as admin:
        for statement in remedy.split(": ", 1)[1].split("; "):
            admin.execute(statement)
    until("nothing is missing any more", lambda: set(feed_check(cache).values()) == {("ok", "")})
    cache.warm(lambda: value(cache.wire().query(READ)))
    name_standbys(own, "")


def test_c19_the_feed_reaches_another_server(new_pooler, own_postgres, postgres):
    """A name may have got another address in between: its feed tells of writes to other rows than are read."""
    twins = []
    for server in (own_postgres, postgres):
        with server.connect() as admin:
            admin.execute("CREATE DATABASE twin OWNER app TEMPLATE template_of_tests")
        twins.append(Database(server, "twin"))
        twins[-1].execute(ITEMS, user="app")
    try:
        with Tap(own_postgres.port) as tap:
            line = {"host": "127.0.0.1", "port": tap.port, "dbname": "twin", "control_user": "control"}
            cache = Cache(new_pooler({"test": line}, FED).start(), twins[0])
            client = cache.wire()

            def ask():
                return value(client.query(READ))

            cache.warm(ask)
            tap.upstream = postgres.port
            twins[0].execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weir feed'"
                             " OR pid IN (SELECT active_pid FROM pg_replication_slots)")
            until("it is up, elsewhere", lambda: slots(twins[1]))
            until("it is noticed", lambda: "another server" in state(cache))
            cache.never_cached(ask)
            twins[0].execute("UPDATE items SET v = 'new' WHERE id = 1")
            assert ask() == "new"
            cache.pooler.stop()
    finally:
        twins[1].drop()
