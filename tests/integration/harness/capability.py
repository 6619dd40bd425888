"""What the pooler under test can do. The suite is for Weir, but it speaks PgBouncer's configuration and
console, so that the harness and every test of common ground can be proven on PgBouncer too:
WEIR_BIN=/usr/sbin/pgbouncer. Tests of more than that say so by @pytest.mark.needs(...)."""

import functools
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
WEIR_BIN = Path(os.environ.get("WEIR_BIN") or ROOT / "build" / "weir").resolve()
IS_STRAIGHT = os.environ.get("WEIR_BIN") == "straight"

ALL = {
    "profile",    # settings follow the session in transaction mode
    "startup",    # any startup parameter is honoured
    "pins",       # what cannot follow keeps the session on its server
    "prepared",   # protocol-level prepared statements across servers
    "cache",
    "http",
    "workers",
    "hardened",   # owed ReadyForQuery are counted, limits of messages are checked
    "check",      # --check FILE
    "exact_errors",
    "plain",      # no sanitizer: for what runs a build of its own, once
}


def capabilities(binary=WEIR_BIN):
    """WEIR_TEST_CAPABLE=profile,pins widens what another pooler is trusted with, to prove a test itself: PgBouncer in
    session mode with a server for everyone (WEIR_TEST_OPTIONS) keeps what only a session must keep."""
    if "pgbouncer" in binary.name:
        return set(filter(None, os.environ.get("WEIR_TEST_CAPABLE", "").split(",")))
    return ALL - {"plain"} if is_sanitized() else ALL


OWN_KEYS = ("cache", "control_", "defer_begin", "http_", "workers", "pin", "pool_adaptive")


def understood(values, binary=WEIR_BIN):
    """The settings without those that only Weir knows, where the pooler under test is another."""
    if "pgbouncer" not in binary.name or isinstance(values, str):
        return values
    return {key: value for key, value in values.items() if not key.startswith(OWN_KEYS)}


def forced_options():
    """WEIR_TEST_OPTIONS="pool_mode=session default_pool_size=50": options that override those of every test."""
    return dict(pair.split("=", 1) for pair in os.environ.get("WEIR_TEST_OPTIONS", "").split())


@functools.cache
def is_sanitized():
    """Whether the binary is a sanitizer build, by the runtime it links."""
    try:
        found = subprocess.run(["ldd", WEIR_BIN], capture_output=True, text=True).stdout
    except OSError:
        return False
    return any(name in found for name in ("libasan", "libtsan", "libubsan"))
