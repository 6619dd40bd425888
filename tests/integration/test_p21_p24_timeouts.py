"""P21, P24: timeouts fire once, in time, on the client they are meant for, whatever the wall clock does."""

import shutil
import subprocess
import time

import pytest

from harness.capability import is_sanitized
from harness.system import give_to_account, make_directory
from harness.wait import SLOW, seconds, until
from harness.wire import query

LATE = 1.0 * SLOW  # how late a timeout may be


def fires(client, after, phrase):
    """The connection ends with the phrase, not before `after` seconds and not much later. Said exactly once."""
    began = time.monotonic()
    answer = client.rest()
    took = time.monotonic() - began
    errors = [e["M"] for e in answer.errors]
    assert len(errors) == 1 and phrase in errors[0], errors
    assert after - 0.15 <= took <= after + LATE, f"after {took:.2f} s"


def test_p21_query_wait_timeout(start):
    pooler = start(default_pool_size=1, query_wait_timeout=1)
    holder, waiting = pooler.wire(), pooler.wire()
    holder.do("BEGIN; SELECT 1")
    waiting.send(query("SELECT 'waited'"))
    began = time.monotonic()
    error = waiting.up_to("EZ").errors[0]
    assert "query_wait_timeout" in error["M"]
    assert 0.85 <= time.monotonic() - began <= 1 + LATE
    time.sleep(0.5)
    assert holder.value("SELECT 'still mine'") == "still mine"
    holder.do("COMMIT")


def test_p21_idle_transaction_timeout(start, database):
    pooler = start(default_pool_size=2, idle_transaction_timeout=1)
    thinking, working = pooler.wire(), pooler.wire()
    thinking.do("BEGIN; CREATE TABLE never (i int)")
    working.do("BEGIN")
    thinking.send(b"")
    ends = time.monotonic() + 1
    while time.monotonic() < ends - 0.4:
        working.do("SELECT pg_sleep(0.1)")
    fires(thinking, max(0, ends - time.monotonic()), "idle transaction timeout")
    working.do("COMMIT")
    assert pooler.wire().query("SELECT * FROM never").errors, "the transaction was rolled back"
    idle = pooler.wire()
    idle.do("SELECT 1")
    time.sleep(1.5)
    assert idle.value("SELECT 'no transaction, no timeout'")


def test_p21_query_timeout(start, database):
    pooler = start(default_pool_size=2, query_timeout=1)
    slow, quick = pooler.wire(), pooler.wire()
    slow.send(query("SELECT pg_sleep(600)"))
    for _ in range(5):
        quick.do("SELECT pg_sleep(0.05)")
    fires(slow, 0.75, "query timeout")
    time.sleep(1.2)
    assert quick.value("SELECT 'quick queries go on'")


@pytest.mark.needs("hardened")
def test_p21_client_idle_timeout(start):
    pooler = start(client_idle_timeout=1)
    idle, busy = pooler.wire(), pooler.wire()
    idle.do("SELECT 1")
    for _ in range(3):
        busy.do("SELECT pg_sleep(0.1)")
    fires(idle, 0.7, "client_idle_timeout")
    assert busy.value("SELECT pg_sleep(1.5), 'working is not idling'") == ""


@pytest.mark.needs("hardened")
def test_p21_client_login_timeout(start):
    pooler = start(client_login_timeout=1, tcp_defer_accept=0)
    silent = pooler.bare_wire()
    logged_in = pooler.wire()
    began = time.monotonic()
    silent.rest()
    assert 0.85 <= time.monotonic() - began <= 1 + LATE
    assert logged_in.value("SELECT 'logged in long ago'")


@pytest.mark.parametrize("option", ["server_idle_timeout", "server_lifetime"])
def test_p21_servers_end_by_age(start, database, option):
    pooler = start(default_pool_size=2, **{option: 1})
    client = pooler.wire()
    first = client.value("SELECT pg_backend_pid()")
    until("the server is closed", lambda: database.connections() == 0, 5)
    assert client.value("SELECT pg_backend_pid()") != first


def test_p21_a_lifetime_that_ends_in_a_transaction_waits_for_it(start, database):
    pooler = start(default_pool_size=1, server_lifetime=1)
    client = pooler.wire()
    client.do("BEGIN")
    first = client.value("SELECT pg_backend_pid()")
    time.sleep(2)
    assert client.value("SELECT pg_backend_pid()") == first
    client.do("COMMIT")
    until("the server is closed", lambda: database.connections() == 0, 5)


@pytest.mark.needs("exact_errors")
def test_p21_transaction_timeout(start):
    pooler = start(default_pool_size=1, transaction_timeout=1)
    client = pooler.wire()
    client.do("BEGIN; SELECT 1")
    began = time.monotonic()
    while time.monotonic() - began < 0.6:
        client.do("SELECT pg_sleep(0.05)")
    fires(client, max(0, began + 1 - time.monotonic()), "transaction timeout")
    assert pooler.wire().value("SELECT 'free'") == "free"


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* Shifts the wall clock by the number of seconds that stands in the file CLOCK_SHIFT; time that only goes forward
   is left alone. */
static volatile long *shift;
__attribute__((constructor)) static void start(void)
{
    int file = open(getenv("CLOCK_SHIFT"), O_RDONLY);
    shift = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
}
int clock_gettime(clockid_t id, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (shift && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        now->tv_sec += *shift;
    return result;
}
int gettimeofday(struct timeval *now, void *zone)
{
    (void)zone;
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *where)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (where)
        *where = at.tv_sec;
    return at.tv_sec;
}
"""


@pytest.fixture
def shifted_clock():
    """A library that shifts the wall clock of the pooler, and the way to shift it."""
    folder = make_directory("weir-clock-")
    (folder / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", folder / "clock.so", folder / "clock.c", "-ldl"], check=True)
    shift = folder / "shift"
    shift.write_bytes(bytes(8))
    give_to_account(shift)
    yield {"LD_PRELOAD": str(folder / "clock.so"), "CLOCK_SHIFT": str(shift)}, \
        lambda by: overwrite(shift, int(by).to_bytes(8, "little", signed=True))
    shutil.rmtree(folder)


def overwrite(path, data):
    """Writes in place: a truncated file would fault whoever has it mapped."""
    with open(path, "r+b") as file:
        file.write(data)


@pytest.mark.needs("hardened")
@pytest.mark.parametrize("step", [-7200, 7200])
def test_p24_the_wall_clock_may_jump(start, shifted_clock, step):
    if is_sanitized():
        pytest.skip("machine: a sanitizer's runtime must come first, before the library that shifts the clock")
    environment, shift = shifted_clock
    pooler = start(environment=environment, default_pool_size=1, query_wait_timeout=2, server_idle_timeout=600,
                   client_idle_timeout=600, server_lifetime=3600)
    holder, waiting = pooler.wire(), pooler.wire()
    first = holder.value("SELECT pg_backend_pid()")
    holder.do("BEGIN; SELECT 1")
    waiting.send(query("SELECT 'waited'"))
    time.sleep(0.3)
    shift(step)
    began = time.monotonic()
    assert "query_wait_timeout" in waiting.up_to("EZ").errors[0]["M"]
    assert 1.2 <= time.monotonic() - began <= 2 + seconds(1)
    holder.do("COMMIT")
    time.sleep(0.5)
    assert holder.value("SELECT pg_backend_pid()") == first, "nothing was too old"
