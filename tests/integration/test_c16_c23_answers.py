"""C16, C20, C22, C23: an answer from the cache is the answer asked for, byte for byte; many askers are one query; big
answers pass."""

import itertools
import time

import pytest

from harness import wire
from harness.caching import READ, value
from harness.compare import comparable, direct_wire
from harness.crowd import Crowd, crowd
from harness.system import resident_bytes
from harness.wire import SYNC, query

pytestmark = pytest.mark.needs("cache")

COLUMNS = "SELECT id, v, n FROM items WHERE id <= $1 ORDER BY id"


def shape(formats=(), result_formats=(), describe="P", types=(), values=("3",), limit=0, name="", sql=COLUMNS, portal=""):
    data = wire.parse(sql, name, types)
    if describe == "S":
        data += wire.describe("S", name)
    data += wire.bind(values, name, portal, formats, result_formats)
    if describe == "P":
        data += wire.describe("P", portal)
    if describe == "S, late":
        data += wire.describe("S", name)
    return data + wire.execute(portal, limit) + (wire.close("S", name) if name else b"") + SYNC


INT4 = b"\0\0\0\3"
SHAPES = {
    "text": shape(), "binary": shape(result_formats=(1,)), "by column": shape(result_formats=(1, 0, 1)),
    "other columns": shape(result_formats=(0, 1, 0)), "binary parameter": shape((1,), values=(INT4,)),
    "no describe": shape(describe=""), "statement described": shape(describe="S"), "typed": shape(types=(20,)),
    "statement described late": shape(describe="S, late"), "described, binary": shape(result_formats=(1,), describe="S"),
    "described late, binary": shape(result_formats=(1,), describe="S, late"), "named, described": shape(describe="S", name="named"),
    "typed int4": shape(types=(23,)), "limited": shape(limit=2), "limit above": shape(limit=100), "limit reached": shape(limit=3),
    "portal, limit above": shape(portal="c", limit=100), "portal, limited": shape(portal="c", limit=2), "portal": shape(portal="c"),
    "other portal described": wire.parse(COLUMNS) + wire.bind(["2"], portal="c") + wire.describe("P") + wire.execute("c") + SYNC,
    "other portal run": wire.parse(COLUMNS) + wire.bind(["2"], portal="c") + wire.describe("P", "c") + wire.execute() + SYNC,
    "named": shape(name="named"),
    "null": shape(values=(None,)), "null text": shape(sql="SELECT v FROM items WHERE v = $1 OR $1 IS NULL", values=(None,)),
    "empty text": shape(sql="SELECT v FROM items WHERE v = $1 OR $1 IS NULL", values=("",)),
    "no rows": shape(values=("0",)), "all binary, typed": shape((1,), (1,), types=(23,), values=(INT4,)),
    "simple": query("SELECT id, v, n FROM items WHERE id <= 3 ORDER BY id"),
    "described only": wire.parse(COLUMNS) + wire.describe("S") + SYNC,
    "bound twice": wire.parse(COLUMNS) + wire.bind(["1"]) + wire.execute() + wire.bind(["2"]) + wire.execute() + SYNC,
    "executed twice": wire.parse(COLUMNS) + wire.bind(["2"]) + wire.execute() + wire.execute() + SYNC,
    "flushed": wire.parse(COLUMNS) + wire.FLUSH + wire.bind(["2"]) + wire.execute() + wire.FLUSH + SYNC,
    "portal named": wire.parse(COLUMNS) + wire.bind(["2"], portal="p") + wire.describe("P", "p") + wire.execute("p") + wire.close("P", "p") + SYNC,
    "wrong count": shape(values=()), "wrong format count": shape((0, 1), values=("3",)),
    "wrong result formats": shape(result_formats=(1, 0)), "not a number": shape(values=("x",)),
    "trailing space": query("SELECT id, v, n FROM items WHERE id <= 3 ORDER BY id "), "comment": query("SELECT id /* c */ FROM items"),
    "alias": query("SELECT id AS x FROM items"), "case": query("select id as X from items"),
}


def test_c16_every_shape_of_the_same_question(cached):
    """Each shape after each other, several times over, so that each has the chance to be answered by another's entry."""
    cache = cached("INSERT INTO items VALUES (21, '')")
    with direct_wire(cache.database) as direct:
        expected = {}
        for name, data in SHAPES.items():
            direct.send(data)
            expected[name] = comparable(direct.ready())
    with cache.wire() as client:
        for _ in range(4):
            for name, data in SHAPES.items():
                client.send(data)
                assert comparable(client.ready()) == expected[name], name
        for name, data in reversed(SHAPES.items()):
            client.send(data)
            assert comparable(client.ready()) == expected[name], name
        names = list(SHAPES)
        client.send(*(SHAPES[n] for n in names))
        for name in names:
            assert comparable(client.ready()) == expected[name], f"{name}, pipelined"


@pytest.mark.parametrize("first, second", list(itertools.permutations(["text", "binary", "null text", "empty text", "no describe", "limited", "limit above"], 2)))
def test_c16_pairs_of_shapes(cached, first, second):
    cache = cached()
    with direct_wire(cache.database) as direct, cache.wire() as client:
        for name in (first, first, first, first, second, second, first):
            for one in (direct, client):
                one.send(SHAPES[name])
            assert comparable(client.ready()) == comparable(direct.ready()), name


def test_c16_drivers_share_entries_across_connections(cached):
    cache = cached()
    first, second = cache.wire(), cache.wire()
    cache.warm(lambda: first.extended(COLUMNS, ["5"]).texts)
    assert len(cache.hit(lambda: second.extended(COLUMNS, ["5"]).texts)) == 5
    assert len(cache.hit(lambda: second.ask(wire.parse(COLUMNS, "n"), wire.bind(["5"], "n"), wire.describe(), wire.execute()).texts)) == 5


@pytest.mark.parametrize("describe", ["S", "S, late"])
def test_c16_a_statement_that_is_described_where_it_runs(cached, describe):
    """So asks tokio-postgres' query_typed."""
    cache = cached()
    asked = shape(describe=describe)
    with cache.wire() as client, direct_wire(cache.database) as direct:
        def ask(one):
            one.send(asked)
            return comparable(one.ready())
        expected = ask(direct)
        assert cache.warm(lambda: ask(client)) == expected
        client.send(shape(describe=""))  # an answer without descriptions, which is another
        client.ready()
        assert cache.hit(lambda: ask(client)) == expected
        client.do("ALTER TABLE items ALTER n TYPE bigint")
        changed = ask(direct)
        assert ask(client) == changed != expected
        assert cache.warm(lambda: ask(client)) == changed


def test_c16_another_statement_is_described_than_the_one_that_runs(cached):
    cache = cached()
    asked = wire.bind(["2"], "one") + wire.describe("S", "two") + wire.execute() + SYNC
    prepared = wire.parse(COLUMNS, "one") + wire.parse("SELECT n FROM items WHERE id = $1 OR v = $2", "two") + SYNC
    with cache.wire() as client, direct_wire(cache.database) as direct:
        own = shape(describe="S, late", values=("2",))
        cache.warm(lambda: (client.send(own), client.ready()))
        for one in (client, direct):
            one.send(prepared)
            one.ready()
        for data in (asked, asked, own, query("UPDATE items SET v = 'new' WHERE id = 1"), asked, asked, own, own, asked):
            for one in (client, direct):
                one.send(data)
            assert comparable(client.ready()) == comparable(direct.ready())


def test_c20_thousands_of_neighbours_each_get_their_own(cached):
    cache = cached("CREATE TABLE many AS SELECT i AS id, 'row ' || i AS v FROM generate_series(1, 3000) i; CREATE INDEX ON many (id)",
                   cache_memory="64MB")
    with cache.wire() as client:
        for _ in range(3):
            for start in range(1, 3001, 500):
                ids = range(start, start + 500)
                client.send(*(wire.once("SELECT v FROM many WHERE id = $1", [i]) for i in ids), SYNC)
                assert client.ready().texts == [(f"row {i}",) for i in ids]
        for i in range(1, 3000, 7):
            assert value(client.query(f"SELECT v FROM many WHERE id = {i}")) == f"row {i}"


SLOW = "SELECT v FROM items /* slow */ WHERE id = 1"


def test_c22_a_herd_is_one_query(cached, tap):
    cache = cached(line={"port": tap.port}, default_pool_size=20)
    warm, writer = cache.wire(), cache.wire()
    cache.warm(lambda: value(warm.query(SLOW)))
    clients = [cache.wire() for _ in range(60)]
    for turn in range(3):
        writer.do(f"UPDATE items SET v = 'turn {turn}' WHERE id = 1")
        before = cache.database.executions("items")
        tap.hold_answer_to("slow")
        for client in clients:
            client.send(query(SLOW))
        assert tap.held.wait(10)
        time.sleep(0.3)  # all have asked
        tap.release()
        assert [value(c.ready()) for c in clients] == [f"turn {turn}"] * 60
        assert cache.database.executions("items") - before <= 2, "the herd reached PostgreSQL"
    assert cache.counted("joins") > 100


@pytest.mark.parametrize("fate", ["reset", "quit", "cancel"])
def test_c22_the_one_that_fetches_may_die(cached, tap, fate):
    cache = cached(line={"port": tap.port}, default_pool_size=4)
    warm, writer = cache.wire(), cache.wire()
    cache.warm(lambda: value(warm.query(SLOW)))
    writer.do("UPDATE items SET v = 'fresh' WHERE id = 1")
    fetcher, others = cache.wire(), [cache.wire() for _ in range(10)]
    tap.hold_answer_to("slow")
    fetcher.send(query(SLOW))
    assert tap.held.wait(10)
    for client in others:
        client.send(query(SLOW))
    if fate == "cancel":
        with wire.Wire(cache.pooler.port) as link:
            link.send(wire.cancel_request(*fetcher.key))
            link.rest()
    else:
        getattr(fetcher, fate)()
    tap.release()
    assert [value(client.ready()) for client in others] == ["fresh"] * 10


def test_c22_waiting_for_a_flight_can_be_cancelled(cached, tap):
    cache = cached(line={"port": tap.port}, default_pool_size=4)
    warm, writer = cache.wire(), cache.wire()
    cache.warm(lambda: value(warm.query(SLOW)))
    writer.do("UPDATE items SET v = 'fresh' WHERE id = 1")
    fetcher, other = cache.wire(), cache.wire()
    tap.hold_answer_to("slow")
    fetcher.send(query(SLOW))
    assert tap.held.wait(10)
    other.send(query(SLOW))
    with wire.Wire(cache.pooler.port) as link:
        link.send(wire.cancel_request(*other.key))
        link.rest()
    answer = other.ready()
    assert [e["C"] for e in answer.errors] == ["57014"] or answer.texts == [("fresh",)]
    tap.release()
    assert value(fetcher.ready()) == "fresh"
    assert value(other.query(SLOW)) == "fresh"


def test_c22_flights_under_saturation_do_not_lock_up(cached):
    cache = cached(default_pool_size=1)

    def work(number):
        with cache.wire() as client:
            for turn in range(30):
                if number % 5 == 0:
                    assert not client.query(f"UPDATE items SET n = n + 1 WHERE id = {turn % 3 + 1}").errors
                else:
                    assert value(client.query(f"SELECT v FROM items WHERE id = {turn % 3 + 1}")) == f"item {turn % 3 + 1}"

    crowd(25, work)


def test_c23_oversized_answers_pass_and_are_not_kept(cached, sanitized):
    cache = cached("CREATE TABLE big AS SELECT i, repeat('b', 1000) AS b FROM generate_series(1, 20000) i", cache_max_result="1MB",
                   cache_memory="8MB")
    client = cache.wire()
    client.do("SELECT count(*) FROM big")
    before = resident_bytes(cache.pooler.pid)
    for _ in range(4):
        answer, count = cache.executed(lambda: client.query("SELECT b FROM big"), "from big")
        assert count == 1 and len(answer.rows) == 20000
    assert sanitized or resident_bytes(cache.pooler.pid) - before < 16 << 20


def test_c23_a_herd_for_an_oversized_answer(cached):
    cache = cached("CREATE TABLE big AS SELECT i, repeat('b', 1000) AS b FROM generate_series(1, 5000) i", cache_max_result="1MB")
    everyone = Crowd()
    for _ in range(12):
        everyone.add(lambda: len(cache.wire().query("SELECT b FROM big").rows))
    assert everyone.join(60) == [5000] * 12


def test_c23_memory_of_the_cache_is_bounded(cached, sanitized):
    cache = cached("CREATE TABLE docs AS SELECT i AS id, repeat('d', 5000) AS d FROM generate_series(1, 4000) i; CREATE INDEX ON docs (id)",
                   cache_memory="4MB")
    client = cache.wire()
    client.do("SELECT d FROM docs WHERE id = 1")
    before = resident_bytes(cache.pooler.pid)
    for _ in range(2):
        for i in range(1, 4001):
            assert len(value(client.extended("SELECT d FROM docs WHERE id = $1", [i]))) == 5000
    assert sanitized or resident_bytes(cache.pooler.pid) - before < 12 << 20
    assert value(client.query(READ)) == "item 1"


# Drivers that are told a fetch size (pgjdbc) open a portal with a name and fetch so many rows of it.

def test_c16_a_portal_that_ends_below_its_row_limit(cached):
    """Where the limit is not reached there is nothing left to be fetched of it."""
    cache = cached()
    numbers = iter(range(1000))

    def ask(one, limit, describe="P"):
        one.send(shape(portal=f"c{next(numbers)}", limit=limit, describe=describe))
        return comparable(one.ready())
    with cache.wire() as client, direct_wire(cache.database) as direct:
        for manner in ("autocommit", "in a block"):
            if manner == "in a block":
                for one in (direct, client):
                    one.query("BEGIN")
            expected = ask(direct, 4)
            assert cache.warm(lambda: ask(client, 4)) == expected
            for limit in (0, 1, 2, 3, 5):
                expected = ask(direct, limit)
                for _ in range(4):
                    assert ask(client, limit) == expected, (manner, limit)
            assert cache.hit(lambda: ask(client, 4)) == ask(direct, 4)
            before = cache.pooler.hits()
            assert [ask(client, 3) for _ in range(4)] == [ask(direct, 3)] * 4 and cache.pooler.hits() == before
        for one in (direct, client):
            one.query("COMMIT")
        client.do("UPDATE items SET v = 'changed' WHERE id = 2")
        assert ask(client, 4) == ask(direct, 4)


def test_c16_the_portal_of_a_hit_is_closed_in_front_of_the_next_question(cached):
    """So does pgjdbc; none of it needs a server."""
    cache = cached()

    def unit(one):
        one.query("BEGIN")
        answers = []
        for n in range(4):
            one.send((wire.close("P", f"c{n - 1}") if n else b"") + shape(portal=f"c{n}", limit=50))
            answers.append(comparable(one.ready()))
        one.send(wire.close("P", "c3") + wire.close("P", "no such") + SYNC)
        answers.append(comparable(one.ready()))
        return [*answers, comparable(one.query("COMMIT"))]
    with cache.wire() as client, direct_wire(cache.database) as direct, cache.pooler.admin() as console:
        expected = unit(direct)
        assert cache.warm(lambda: unit(client)) == expected

        def assignments():
            return sum(int(row["total_server_assignment_count"]) for row in console.show("STATS") if row["database"] == "test")
        before, hits = assignments(), cache.pooler.hits()
        assert unit(client) == expected
        assert cache.pooler.hits() == hits + 4 and assignments() == before
        # An error keeps everything up to Sync from being answered, a Close as well.
        for one in (client, direct):
            one.send(wire.bind([], "nothing") + wire.close("P", "c") + SYNC + wire.close("P", "c") + SYNC)
        assert comparable(client.ready(2)) == comparable(direct.ready(2))


def test_c16_a_portal_whose_name_is_taken(cached):
    cache = cached()
    whole, part = shape(portal="c", limit=100), shape(portal="c", limit=2)
    with cache.wire() as client, direct_wire(cache.database) as direct:
        cache.warm(lambda: (client.send(whole), client.ready()))
        for one in (client, direct):
            one.query("BEGIN")
        for data in (part, whole, query("ROLLBACK"), query("BEGIN"), part, wire.execute("c") + SYNC, wire.close("P", "c") + SYNC, whole,
                     wire.close("P", "c") + SYNC, whole, query("COMMIT"), whole):
            for one in (client, direct):
                one.send(data)
            assert comparable(client.ready()) == comparable(direct.ready())


# A portal that was answered from the cache is at no server; an older one may be there.

OLDER = wire.parse("SELECT id + 100 FROM items ORDER BY id") + wire.bind([]) + wire.execute(limit=2) + SYNC
HITS = {"bound": wire.parse(COLUMNS) + wire.bind(["2"]) + wire.describe("P") + wire.execute() + SYNC, "simple": query(READ)}


@pytest.mark.parametrize("hit", HITS)
@pytest.mark.parametrize("then", ["execute", "execute, limited", "describe"])
@pytest.mark.parametrize("before", [b"", OLDER], ids=["none before", "one before"])
def test_c24_nobody_goes_on_with_a_portal_from_before_a_hit(cached, before, then, hit):
    cache = cached()
    sent = {"execute": wire.execute(), "execute, limited": wire.execute(limit=1), "describe": wire.describe("P")}[then] + SYNC

    def ask(one):
        one.send(HITS[hit])
        return one.ready()
    with cache.wire() as client, direct_wire(cache.database) as direct:
        cache.warm(lambda: ask(client))
        for one in (direct, client):
            one.query("BEGIN")
            if before:
                one.send(before)
                assert one.ready().texts == [("101",), ("102",)]
        assert comparable(cache.hit(lambda: ask(client))) == comparable(ask(direct))
        for one in (direct, client):
            one.send(sent)
        wanted, found = direct.ready(), client.ready()
        assert not found.rows and found.kinds == "EZ" and [e["C"] for e in found.errors] == ["34000"]
        if hit == "simple":  # PostgreSQL has none either
            assert [e["C"] for e in wanted.errors] == ["34000"]


def test_c24_a_portal_that_is_closed_or_bound_after_a_hit(cached):
    cache = cached()
    batches = [OLDER, HITS["bound"], wire.close("P", "") + SYNC, HITS["bound"], OLDER, wire.execute(limit=1) + SYNC, wire.describe("P") + SYNC,
               HITS["simple"], wire.parse(COLUMNS) + wire.bind(["1"]) + wire.FLUSH + wire.execute() + SYNC, HITS["bound"],
               wire.close("P", "") + wire.execute() + SYNC]
    with cache.wire() as client, direct_wire(cache.database) as direct:
        for warmed in HITS.values():
            cache.warm(lambda data=warmed: (client.send(data), client.ready()))
        for one in (client, direct):
            one.query("BEGIN")
        for data in batches:
            for one in (client, direct):
                one.send(data)
            assert comparable(client.ready()) == comparable(direct.ready())


def test_c24_a_simple_query_from_the_cache_ends_the_unnamed_statement(cached):
    cache = cached()
    with cache.wire() as client, direct_wire(cache.database) as direct:
        cache.warm(lambda: value(client.query(READ)))
        for one in (client, direct):
            one.send(wire.parse(COLUMNS) + SYNC)
            one.ready()
        assert cache.hit(lambda: value(client.query(READ))) == value(direct.query(READ))
        for one in (client, direct):
            one.send(wire.bind(["2"]) + wire.execute() + SYNC)
        assert comparable(client.ready()) == comparable(direct.ready())
