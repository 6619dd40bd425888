"""C21: the same with a Redis Cluster, whose slots move and whose masters change: what its nodes cannot answer now is a
miss, and nothing else."""

import signal

import pytest

from harness.redis_cluster import ClusterNode
from harness.wait import seconds, until
from test_c21_redis import DOCS, SMALL, original, read_all

pytestmark = pytest.mark.needs("cache")


@pytest.fixture
def clustered(cached, cluster):
    def begin(url=None, **options):
        return cached(DOCS, cache_redis=url or cluster.url, cache_memory=SMALL, cache_max_result="8kB",
                      **{"cache_redis_timeout": 0.5, **options})
    return begin


def lost(cache, client, expected=original):
    """How many of the answers, each of them right, neither memory nor Redis had."""
    before = [cache.counted(column) for column in ("misses", "redis_hits")]
    read_all(client, expected)
    after = [cache.counted(column) for column in ("misses", "redis_hits")]
    assert after[1] > before[1], "none came from Redis"
    return after[0] - before[0]


def fill(cache, expected=original):
    """Reads all until the Cluster has whatever memory has not. What is fetched before it is up would be in memory alone."""
    client = cache.wire()
    until("the Cluster is up", lambda: is_up(cache), 20)
    until("the answers are in the Cluster", lambda: lost_any(cache, client, expected) == 0, 20)
    return client


def lost_any(cache, client, expected=original):
    before = cache.counted("misses")
    read_all(client, expected)
    return cache.counted("misses") - before


def store(cache):
    return {row["name"]: row["value"] for row in cache.pooler.show("CACHE_STORE")}


def is_up(cache):
    seen = store(cache)
    return seen["redis"] == "up" and " down" not in seen["redis_nodes"]


def slots_with_keys(cluster, node):
    return sorted({cluster.slot_of(key) for key in node.keys()})


def test_c21_answers_come_from_all_shards(clustered, cluster):
    cache = clustered()
    client = fill(cache)
    assert all(len(node.keys()) > 40 for node in cluster.masters), [len(node.keys()) for node in cluster.masters]
    assert lost(cache, client) == 0
    seen = store(cache)
    assert seen["redis"] == "up" and seen["redis_errors"] == "0"
    for node, slots in zip(cluster.masters, (5461, 5461, 5462)):
        assert f"127.0.0.1:{node.port} up, {slots} slots" in seen["redis_nodes"]
    cache.wire().do("UPDATE docs SET d = 'new ' || id")
    for _ in range(2):
        read_all(client, lambda i: f"new {i}")


@pytest.mark.parametrize("to", ["another", "a new one"])
def test_c21_slots_that_move_while_they_are_read(clustered, cluster, to):
    source = cluster.masters[0]
    target = cluster.masters[1] if to == "another" else cluster.add()
    cache = clustered()
    client = fill(cache)
    slots = slots_with_keys(cluster, source)
    for number, slot in enumerate(slots):
        cluster.begin_move(slot, source, target)
        if number % 2 == 0:
            cluster.move_keys(slot, source, target)
    until("the new place is asked", lambda: lost(cache, client) == 0)  # ASK; one link more, where the node is a new one
    errors = int(store(cache)["redis_errors"])
    for slot in slots:
        cluster.move_keys(slot, source, target)
        cluster.end_move(slot, source, target)
        if slot == slots[len(slots) // 2]:
            assert lost(cache, client) == 0  # MOVED
    assert lost(cache, client) == 0
    until("the map is the new one", lambda: f":{source.port} up, {5461 - len(slots)} slots" in store(cache)["redis_nodes"])
    assert int(store(cache)["redis_errors"]) == errors
    assert "goes on without it" not in cache.pooler.log()
    cache.wire().do("UPDATE docs SET d = 'new ' || id")
    for _ in range(2):
        read_all(client, lambda i: f"new {i}")


def test_c21_a_master_dies_and_its_replica_takes_over(clustered, cluster):
    cache = clustered()
    client = fill(cache)
    victim, heir = cluster.masters[1], cluster.replica_of(cluster.masters[1])
    until("the replica has it all", lambda: len(heir.keys()) == len(victim.keys()))
    of_victim = len(victim.keys())
    victim.stop(signal.SIGKILL)
    assert read_all(client, original) < seconds(1.5)
    # Those of the others are hits meanwhile; memory holds some of the victim's.
    assert lost(cache, client) <= of_victim
    cache.wire().do("UPDATE docs SET d = 'changed' WHERE id = 7")
    until("the replica is the master", lambda: heir.role() == "master", 30)

    def current(i):
        return "changed" if i == 7 else original(i)
    until("all come from the Cluster again", lambda: lost(cache, client, current) == 0, 20)
    assert f":{heir.port} up, 5461 slots" in store(cache)["redis_nodes"]
    assert f":{victim.port}" not in store(cache)["redis_nodes"]
    victim.start()
    until("it is a replica now", lambda: victim.role() == "slave", 20)
    assert lost(cache, client, current) == 0


def test_c21_masters_that_change_places_at_once(clustered, cluster):
    """The old master lives on as a replica, which says MOVED."""
    cache = clustered()
    client = fill(cache)
    for master in cluster.masters:
        heir = cluster.replica_of(master)
        until("it agrees", lambda: b"+OK" in heir.command("CLUSTER", "FAILOVER"))
        until("the replica is the master", lambda: heir.role() == "master", 20)
        read_all(client, original)
        until("all come from the Cluster again", lambda: lost(cache, client) == 0, 20)
    assert "goes on without it" not in cache.pooler.log()


def test_c21_a_node_hangs(clustered, cluster):
    cache = clustered(cache_redis_timeout=0.1)
    client = fill(cache)
    victim, heir = cluster.masters[2], cluster.replica_of(cluster.masters[2])
    victim.send(signal.SIGSTOP)
    assert read_all(client, original) < seconds(1)
    cache.wire().do("UPDATE docs SET d = 'new ' || id")
    read_all(client, lambda i: f"new {i}")
    until("the replica is the master", lambda: heir.role() == "master", 30)
    victim.send(signal.SIGCONT)
    until("all come from the Cluster again", lambda: lost_any(cache, client, lambda i: f"new {i}") == 0, 20)


def test_c21_all_nodes_die_and_come_back(clustered, cluster):
    cache = clustered()
    client, writer = fill(cache), cache.wire()
    for turn in range(2):
        for node in cluster.nodes:
            node.stop(signal.SIGKILL)
        assert read_all(client, original if turn == 0 else lambda i: "turn 0") < seconds(1.5)
        assert store(cache)["redis"] == "bypassed"
        writer.do(f"UPDATE docs SET d = 'turn {turn}'")
        read_all(client, lambda i: f"turn {turn}")
        for node in cluster.nodes:
            node.start()
        until("it is used again", lambda: lost_any(cache, client, lambda i: f"turn {turn}") == 0, 30)
        assert store(cache)["redis"] == "up"


def test_c21_a_shard_that_nobody_takes_over(clustered, cluster):
    """Its keys are asked of PostgreSQL, all the time, and nothing else is slower or missing."""
    cluster.replica_of(cluster.masters[0]).stop(signal.SIGKILL)
    cache = clustered()
    client = fill(cache)
    dead = len(cluster.masters[0].keys())
    cluster.masters[0].stop(signal.SIGKILL)
    read_all(client, original)
    for _ in range(3):
        assert lost(cache, client) <= dead
        assert read_all(client, original) < seconds(0.5)
    seen = store(cache)
    assert seen["redis"] == "up" and f":{cluster.masters[0].port} down" in seen["redis_nodes"]


def test_c21_any_node_can_be_the_first_that_is_asked(clustered, cluster):
    """The first does not answer, the second is a replica, and there is a password."""
    for node in cluster.nodes:
        node.command("CONFIG", "SET", "masterauth", "secret")
        node.command("CONFIG", "SET", "requirepass", "secret")
    cache = clustered(f"redis+cluster://:secret@127.0.0.1:1,localhost:{cluster.replicas[0].port}")
    client = fill(cache)
    assert lost(cache, client) == 0
    assert store(cache)["redis_nodes"].count(" up, ") == 3


def test_c21_a_redis_that_is_no_cluster(clustered, redis):
    cache = clustered(f"redis+cluster://127.0.0.1:{redis.port}")
    cache.pooler.says("cluster support disabled; the cache goes on without it")
    read_all(cache.wire(), original)
    assert store(cache)["redis"] == "bypassed"


def test_c21_a_node_that_was_left_out(clustered, cluster):
    """Asked first, it knows of no slots: the next one is asked."""
    alone = ClusterNode().start()
    try:
        cache = clustered(f"redis+cluster://127.0.0.1:{alone.port},127.0.0.1:{cluster.masters[2].port}")
        assert lost(cache, fill(cache)) == 0
    finally:
        alone.remove()
