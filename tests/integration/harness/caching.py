"""How the tests see what the cache does, without asking it: PostgreSQL's own count of executions tells a hit from a
miss, and a direct connection tells what the true answer is."""

import time

from .compare import direct_wire
from .wait import seconds, until

OPTIONS = {"cache": "exact", "cache_writes": "through_weir", "cache_ttl": 3600, "default_pool_size": 4}

ITEMS = """
CREATE TABLE items (id int PRIMARY KEY, v text, n int NOT NULL DEFAULT 0);
INSERT INTO items SELECT i, 'item ' || i FROM generate_series(1, 20) i;
"""
READ = "SELECT v FROM items WHERE id = 1"


class Cache:
    """A pooler with its cache on, in front of one database."""

    def __init__(self, pooler, database):
        self.pooler = pooler
        self.database = database

    def wire(self, user="app", database="test", **parameters):
        return self.pooler.wire(database, user, **parameters)

    def executed(self, ask, fragment="items"):
        """(what ask() returned, how many SELECTs naming the fragment PostgreSQL ran for it)."""
        before = self.database.executions(fragment)
        answer = ask()
        return answer, self.database.executions(fragment) - before

    def warm(self, ask, fragment="items", limit=8):
        """Asks until the answer comes from the cache, and returns it; fails if it never does."""
        deadline = time.monotonic() + seconds(limit)
        while True:
            answer, count = self.executed(ask, fragment)
            if count == 0 or self.pooler.is_straight:
                return answer
            assert time.monotonic() < deadline, f"never answered from the cache: {answer}"
            time.sleep(0.02)

    def get_ready(self):
        """Waits until Weir says that nothing keeps it from caching: until then, nothing that a test reads is stored."""
        with self.wire():
            until("the cache is ready", lambda: {row["state"] for row in self.pooler.show("CACHE")} == {""}, 15)

    def hit(self, ask, fragment="items"):
        """The answer of ask(), which must have come from the cache."""
        answer, count = self.executed(ask, fragment)
        assert count == 0 or self.pooler.is_straight, "PostgreSQL was asked"
        return answer

    def never_cached(self, ask, fragment="items", times=6):
        """ask() reaches PostgreSQL every time, though it is given every occasion to be cached."""
        for turn in range(times):
            _, count = self.executed(ask, fragment)
            assert count >= 1, f"turn {turn} was answered without PostgreSQL"
            time.sleep(0.03)

    def counted(self, column):
        """The sum of a column of SHOW CACHE."""
        return sum(int(row[column]) for row in self.pooler.show("CACHE"))

    def direct(self, sql, user="app"):
        """The true rows, as text, from PostgreSQL itself."""
        with direct_wire(self.database, user) as client:
            return client.query(sql).texts

    def same(self, client, sql):
        """The rows through Weir, which must be what PostgreSQL answers now."""
        answer = client.query(sql)
        assert not answer.errors, answer.errors
        assert answer.texts == self.direct(sql), sql
        return answer.texts


def value(answer):
    """The first column of the first row of an answer that has no error."""
    assert not answer.errors, answer.errors
    return answer.texts[0][0] if answer.texts else None
