"""C37: a template whose answers are made old before anybody asks for them again is not cached for a while."""

import re

import pytest

from harness.caching import READ, value
from harness.wait import until

pytestmark = pytest.mark.needs("cache")

ROUND = 32  # events after which it is decided
OTHER = "SELECT v FROM other WHERE id = 1"
SETUP = "CREATE TABLE other (id int PRIMARY KEY, v text); INSERT INTO other VALUES (1, 'other');"


def shown(cache, text="SELECT v FROM items WHERE id = 0"):
    return next(row for row in cache.pooler.show("TEMPLATES") if row["text"] == text)


def explained(cache, sql):
    with cache.pooler.admin() as console:
        return console.run(f"EXPLAIN CACHE {sql}").texts[0]


@pytest.fixture
def churned(cached):
    """A template that has gone off: each of its reads came after a write."""
    cache = cached(SETUP)
    cache.reader, cache.writer = cache.wire(), cache.wire()
    cache.read = lambda: value(cache.reader.query(READ))
    for number in range(ROUND + 2):
        cache.writer.do(f"UPDATE items SET v = 'version {number}' WHERE id = 1")
        assert cache.read() == f"version {number}"
    return cache


def test_c37_a_table_written_before_every_read_is_not_cached(churned):
    row = shown(churned)
    assert row["cacheable"] == "no"
    assert row["reason"].startswith("it is not worth it while its tables are written so often: of 32 answers writes made 32 old")
    assert re.search("hits saved 0 us, keeping the others cost [1-9][0-9]* us", row["reason"])
    assert any("not worth it" in (text or "") for text in explained(churned, READ))
    fills = churned.counted("fills")
    for number in range(100):
        churned.writer.do(f"UPDATE items SET v = 'later {number}' WHERE id = 1")
        assert churned.read() == f"later {number}"
    assert churned.counted("fills") == fills, "and nothing is kept while writes go on"
    assert shown(churned)["cacheable"] == "no"


def test_c37_it_is_cached_again_when_the_writes_stop(churned):
    hits = churned.counted("hits")
    for _ in range(ROUND):
        churned.read()
    assert churned.counted("hits") > hits
    assert shown(churned)["cacheable"] == "yes" and shown(churned)["reason"] == ""
    assert churned.hit(churned.read) == f"version {ROUND + 1}"


def test_c37_it_comes_later_each_time_it_was_wrong(churned):
    """Quiet for just so many reads as bring it back, then written again: the next time that takes more of them."""
    needed = []
    for _ in range(3):
        fills, reads = churned.counted("fills"), 0
        while churned.counted("fills") == fills and reads < 1000:
            churned.read()
            reads += 1
        needed.append(reads)
        for number in range(ROUND + 2):
            churned.writer.do(f"UPDATE items SET v = 'again {number}' WHERE id = 1")
            churned.read()
        assert shown(churned)["cacheable"] == "no"
    assert needed[0] < needed[1] < needed[2] < 200


def test_c37_other_templates_do_not_suffer(churned):
    churned.warm(lambda: value(churned.reader.query(OTHER)), "from other")
    churned.hit(lambda: value(churned.reader.query(OTHER)), "from other")


@pytest.mark.parametrize("way", ["simple", "extended"])
def test_c37_good_hits_keep_it_on(cached, way):
    """A write for every ten reads, far more of them than make a round."""
    cache = cached(SETUP)
    reader, writer = cache.wire(), cache.wire()
    read = {"simple": lambda: value(reader.query(READ)),
            "extended": lambda: value(reader.extended("SELECT v FROM items WHERE id = $1", ["1"]))}[way]
    cache.warm(read)
    for number in range(6 * ROUND):
        if number % 10 == 0:
            writer.do(f"UPDATE items SET v = 'kept {number}' WHERE id = 1")
        assert read() == f"kept {number // 10 * 10}"
    hits = cache.counted("hits")
    assert hits > 5 * ROUND * 8 // 10
    until("it is shown", lambda: [row["cacheable"] for row in cache.pooler.show("TEMPLATES") if "items" in row["text"]] == ["yes"])


def test_c37_many_questions_never_asked_before_do_not_turn_it_off(cached):
    cache = cached("INSERT INTO items SELECT i, 'more' FROM generate_series(100, 600) i;")
    reader = cache.wire()
    for number in range(100, 600):
        reader.do(f"SELECT v FROM items WHERE id = {number}")
    assert shown(cache)["cacheable"] == "yes"
    assert cache.hit(lambda: value(reader.query("SELECT v FROM items WHERE id = 333"))) == "more"
