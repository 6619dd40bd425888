"""C21: several Weirs on one Redis Cluster. The ledger of a database is in one slot: when that moves, or its master dies, it is
another ledger, and what was believed by the old one is believed no more."""

import signal
import threading

import pytest

from harness.caching import ITEMS, value
from harness.wait import until
from test_c21_c25_shared import Group, pair, read, settled  # noqa: F401 (pair is a fixture)

pytestmark = pytest.mark.needs("cache")


@pytest.fixture
def group(new_pooler, database, cluster):
    database.execute(ITEMS, user="app")
    return Group(new_pooler, database, cluster)


def ledger_slot(cluster):
    """The ledger's slot, and the master that has it."""
    key = next(key for key in cluster.keys() if key.startswith(b"weir:g:") and not key.endswith(b":h"))
    slot = cluster.slot_of(key)
    return slot, cluster.owner(slot)


class Writers:
    """Writes through one Weir, over and over; whatever was written is read through the other, or what came after."""

    def __init__(self, first, second):
        self.first, self.second = first, second
        self.is_over = False
        self.turn = 0
        self.problems = []
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            with self.first.wire() as writer, self.second.wire() as reader, self.first.wire() as own:
                while not self.is_over:
                    self.turn += 1
                    writer.do(f"UPDATE items SET v = 'turn {self.turn}' WHERE id = 1")
                    for client in (reader, own, reader):
                        seen = read(client)
                        assert seen == f"turn {self.turn}", (seen, self.turn)
        except BaseException as problem:
            self.problems.append(problem)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()
        assert not self.problems, self.problems

    def goes_on(self, count=30):
        last = self.turn + count
        until("writes go on", lambda: self.turn >= last or self.problems, 30)


def test_c21_what_one_has_fetched_is_a_hit_for_the_other(pair, cluster):
    first, second = pair
    reads = [f"SELECT v FROM items WHERE id = {i}" for i in range(1, 21)]
    for number, sql in enumerate(reads):
        settled(first, f"item {number + 1}", sql)
    with second.wire() as client:
        for number, sql in enumerate(reads):
            assert second.hit(lambda: value(client.query(sql))) == f"item {number + 1}"
    assert second.counted("redis_hits") >= 20
    places = [sum(key.startswith(b"weir:v:") for key in node.keys()) for node in cluster.masters]
    assert all(places), places
    assert sum(any(key.startswith(b"weir:g:") for key in node.keys()) for node in cluster.masters) == 1
    with first.wire() as writer, second.wire() as reader:
        for turn in range(20):
            writer.do(f"UPDATE items SET v = 'turn {turn}' WHERE id = 1")
            assert read(reader) == f"turn {turn}"
    settled(second, "turn 19")


def test_c21_the_slot_of_the_ledger_moves_there_and_back(pair, cluster):
    first, second = pair
    settled(second, "item 1")
    slot, home = ledger_slot(cluster)
    away = next(node for node in cluster.masters if node is not home)
    with Writers(first, second) as writers:
        for source, target in ((home, away), (away, home)):
            cluster.begin_move(slot, source, target)
            writers.goes_on()
            cluster.move_keys(slot, source, target)
            writers.goes_on()
            cluster.end_move(slot, source, target)
            writers.goes_on()
    for cache in pair:
        settled(cache, f"turn {writers.turn}", limit=20)


def test_c21_what_was_stored_before_the_slot_moved_is_not_believed_when_it_is_back(pair, cluster):
    """The old ledger is there again, as it was, and so is the old answer: in between there was a write."""
    first, second = pair
    rows = range(2, 8)
    for i in rows:
        settled(second, f"item {i}", f"SELECT v FROM items WHERE id = {i}")
    slot, home = ledger_slot(cluster)
    away = next(node for node in cluster.masters if node is not home)
    cluster.move(slot, home, away)
    with first.wire() as writer:
        writer.do("UPDATE items SET v = 'in between'")
    for cache in pair:
        settled(cache, "in between", limit=20)
    cluster.move(slot, away, home)
    for cache in pair:
        settled(cache, "in between", limit=20)
    with second.wire() as reader, first.wire() as other:
        for i in rows:
            for client in (reader, other):
                assert value(client.query(f"SELECT v FROM items WHERE id = {i}")) == "in between"


@pytest.mark.parametrize("how", ["killed", "hangs", "changes places"])
def test_c21_the_master_of_the_ledger(pair, cluster, how):
    first, second = pair
    settled(second, "item 1")
    _, home = ledger_slot(cluster)
    heir = cluster.replica_of(home)
    with Writers(first, second) as writers:
        writers.goes_on()
        if how == "killed":
            home.stop(signal.SIGKILL)
        elif how == "hangs":
            home.send(signal.SIGSTOP)
        else:
            assert b"+OK" in heir.command("CLUSTER", "FAILOVER")
        writers.goes_on()
        until("the replica is the master", lambda: heir.role() == "master", 30)
        writers.goes_on()
        if how == "hangs":
            home.send(signal.SIGCONT)
            writers.goes_on()
    for cache in pair:
        settled(cache, f"turn {writers.turn}", limit=30)


def test_c21_another_master_dies(pair, cluster):
    """Nothing but the values that were there is missing: the ledger is believed as before."""
    first, second = pair
    settled(second, "item 1")
    _, home = ledger_slot(cluster)
    for cache in pair:
        assert "believed" in cache.pooler.log()
    next(node for node in cluster.masters if node is not home).stop(signal.SIGKILL)
    with Writers(first, second) as writers:
        writers.goes_on(100)
    for cache in pair:
        assert "not believed" not in cache.pooler.log()
    settled(second, f"turn {writers.turn}")


def test_c21_all_nodes_die_and_come_back(pair, cluster):
    first, second = pair
    settled(second, "item 1")
    with Writers(first, second) as writers:
        for node in cluster.nodes:
            node.stop(signal.SIGKILL)
        writers.goes_on()
        for node in cluster.nodes:
            node.start()
        writers.goes_on()
    for cache in pair:
        settled(cache, f"turn {writers.turn}", limit=40)
