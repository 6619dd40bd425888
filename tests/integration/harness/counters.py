"""Numbers in a table that only grow: whoever reads one sees at least what was committed before it asked."""

import threading

from .caching import value
from .crowd import Crowd

COUNTERS = "CREATE TABLE counters (id int PRIMARY KEY, n int); INSERT INTO counters SELECT i, 0 FROM generate_series(0, 3) i;"


class Counters:
    def __init__(self):
        self.known = [0] * 4
        self.reads = 0
        self.is_on = True
        self._lock = threading.Lock()

    def committed(self, number):
        with self._lock:
            self.known[number] += 1

    def read(self, cache, number):
        """Reads one of them until it is over."""
        sql = f"SELECT n FROM counters WHERE id = {number % 4}"
        with cache.wire() as client:
            while self.is_on:
                with self._lock:
                    at_least = self.known[number % 4]
                for send in (client.query, client.extended):
                    seen = int(value(send(sql)))
                    assert seen >= at_least, f"read {seen} after {at_least} had been committed"
                    at_least = seen
                self.reads += 1

    def run(self, cache, write, readers, wait):
        """write(number) adds to a counter, and says so to committed(), until it is over: when wait() returns."""
        everyone = Crowd()
        for number in range(4):
            everyone.add(write, number)
        for number in range(readers):
            everyone.add(self.read, cache, number)
        wait()
        self.is_on = False
        everyone.join(30)
