"""C41: the cache's own books stay bounded, whatever is asked."""

import pytest

from harness.system import resident_bytes
from harness.wire import query

pytestmark = pytest.mark.needs("cache")

AT_ONCE = 500


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["judged by names", "PostgreSQL is asked"])
def test_c41_nothing_grows_with_the_number_of_templates(cached, request, sanitized, kind):
    """Each statement is another template: another name for its column. What is remembered of them is full after the
    first so many; from there on nothing comes on top, however many there are."""
    is_long = request.config.getoption("--full")
    filled, in_all = (200_000, 1_000_000) if is_long else (30_000, 80_000)
    if sanitized:
        filled, in_all = 3_000, 6_000
    cache = cached("CREATE VIEW seen AS SELECT * FROM items;", cache_memory="4MB")
    relation = "items" if kind == "judged by names" else "seen"
    client = cache.wire()

    def ask(numbers):
        for first in numbers:
            client.send(b"".join(query(f"SELECT v AS name_{first + i} FROM {relation} WHERE id = 1") for i in range(AT_ONCE)))
            client.ready(AT_ONCE)

    ask(range(0, filled, AT_ONCE))
    before = resident_bytes(cache.pooler.pid)
    ask(range(filled, in_all, AT_ONCE))
    grown = resident_bytes(cache.pooler.pid) - before
    assert sanitized or grown < 2 << 20, f"{grown} bytes for {in_all - filled} templates"
    store = {row["name"]: row["value"] for row in cache.pooler.show("CACHE_STORE")}
    assert int(store["memory_used_bytes"]) <= 4 << 20
