"""C36: the cache's own books stay bounded, whatever is asked."""

import pytest

from harness.system import resident_bytes
from harness.wire import query

pytestmark = pytest.mark.needs("cache")

CLIENTS = 50


@pytest.mark.parametrize("kind", ["judged by names", "PostgreSQL is asked"])
@pytest.mark.full
@pytest.mark.timeout(1200)
def test_c36_nothing_grows_with_the_number_of_templates(cached, sanitized, kind):
    """Each statement is another template: another name for its column. What is remembered of them is full after the
    first so many; from there on nothing comes on top, however many there are. One at a time for each client, since the cache
    is not asked about what comes in a pipeline."""
    filled, in_all = (2_000, 4_000) if sanitized else (200_000, 1_000_000)
    cache = cached("CREATE VIEW seen AS SELECT * FROM items;", cache_memory="1MB")
    relation = "items" if kind == "judged by names" else "seen"
    clients = [cache.wire() for _ in range(CLIENTS)]

    def ask(numbers):
        for first in numbers:
            for number, client in enumerate(clients, first):
                client.send(query(f"SELECT v AS name_{number} FROM {relation} WHERE id = 1"))
            for client in clients:
                client.ready()

    ask(range(0, filled, CLIENTS))
    before = resident_bytes(cache.pooler.pid)
    ask(range(filled, in_all, CLIENTS))
    grown = resident_bytes(cache.pooler.pid) - before
    assert sanitized or grown < 3 << 20, f"{grown} bytes for {in_all - filled} templates"
    store = {row["name"]: int(row["value"]) for row in cache.pooler.show("CACHE_STORE") if row["name"].startswith(("mem", "ev"))}
    assert store["memory_used_bytes"] <= 1 << 20
    assert sanitized or kind != "judged by names" or store["memory_used_bytes"] > 900_000, "the store was filled"
