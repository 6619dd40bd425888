"""Many clients at once, each a thread; the first failure of any is the failure of the test."""

import threading

from .wait import seconds


class Crowd:
    def __init__(self):
        self.threads = []
        self.failures = []
        self.results = []

    def add(self, work, *arguments):
        def run():
            try:
                self.results.append(work(*arguments))
            except BaseException as failure:  # noqa: B902 - carried to the test's own thread
                self.failures.append(failure)
        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()
        return thread

    def join(self, limit=60):
        """Waits for all; raises the first failure; returns what they returned."""
        for thread in self.threads:
            thread.join(seconds(limit))
            assert not thread.is_alive() or self.failures, f"a client is stuck after {seconds(limit):g} s"
        if self.failures:
            raise self.failures[0]
        return self.results


def crowd(count, work):
    """work(number) in `count` threads at once; returns their results, in no order."""
    everyone = Crowd()
    for number in range(count):
        everyone.add(work, number)
    return everyone.join()
