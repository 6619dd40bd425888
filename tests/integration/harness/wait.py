"""Waiting with a limit. Every wait of the tests goes through here, so that none can hang and that
slow builds (sanitizers) can stretch them all at once by WEIR_TEST_SLOW."""

import os
import time

SLOW = float(os.environ.get("WEIR_TEST_SLOW", "1"))


def seconds(limit):
    """A limit in seconds, stretched for slow builds."""
    return limit * SLOW


def until(what, condition, limit=10.0, pause=0.02):
    """Calls condition() until it returns something true, and returns that; fails naming `what`."""
    deadline = time.monotonic() + seconds(limit)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds(limit):g} s: {what}")
        time.sleep(pause)
