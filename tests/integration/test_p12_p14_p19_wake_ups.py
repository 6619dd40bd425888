"""P09, P10, P12, P14, P19, P21: whoever has been stopped, for a slow peer, for want of a server or for settings, goes
on when the reason is gone; and what belongs to one client does not stay with the server that the next one gets."""

import threading
import time

import pytest

from harness import wire
from harness.wait import until
from harness.wire import COPY_DONE, SYNC, bind, copy_data, execute, parse, query

ROWS = "SELECT repeat('x', 1000) FROM generate_series(1, {})"


@pytest.mark.parametrize("workers", [1, 2])
def test_p12_a_server_read_by_a_slow_client_serves_the_next_one(start, workers):
    """The last of an answer fills the client's buffer: the server stops being read, and is released."""
    pooler = start(default_pool_size=1, workers=workers)
    for rows in range(80, 700, 40):
        slow = pooler.wire(receive_buffer=2048)
        slow.send(query(ROWS.format(rows)))
        time.sleep(0.1)
        with pooler.wire() as other:
            assert len(slow.ready()) == rows + 3
            assert other.value("SELECT 'after'") == "after"
        assert slow.value("SELECT 1") == "1"
        slow.close()


def stream(client, megabytes=4):
    """Copy data from a thread, since nobody reads the rest of it for a while."""
    piece = copy_data(b"1\n" * 100_000)
    sender = threading.Thread(target=lambda: client.send(*[piece] * (megabytes * 5)), daemon=True)
    sender.start()
    return sender


def test_p14_a_client_goes_on_after_its_copy_was_refused_in_full_flow(start, database):
    database.execute("CREATE TABLE numbers (n int)", user="app")
    pooler = start(default_pool_size=1, tcp_socket_buffer=32768)
    client, other = pooler.wire(), pooler.wire()
    client.send(query("COPY numbers FROM STDIN"))
    client.next_is("G")
    client.send(copy_data(b"not a number\n"))
    sender = stream(client)
    assert client.ready().errors[0]["C"] == "22P02"
    sender.join(30)
    assert not sender.is_alive(), "Weir has stopped reading the client"
    client.send(COPY_DONE)
    assert client.value("SELECT 'simple'") == "simple"

    client.send(parse("COPY numbers FROM STDIN"), bind(), execute(), wire.FLUSH)
    client.up_to("G")
    client.send(copy_data(b"not a number\n"))
    sender = stream(client)
    sender.join(30)
    assert not sender.is_alive()
    client.send(COPY_DONE, SYNC)
    answer = client.ready()
    assert answer.errors[0]["C"] == "22P02" and answer.statuses == "I"
    assert client.value("SELECT 'extended'") == "extended"
    assert other.value("SELECT 1") == "1"


def test_p14_the_end_of_a_message_behind_a_refused_copy_gives_the_server_back(start, database):
    database.execute("CREATE TABLE numbers (n int)", user="app")
    pooler = start(default_pool_size=1)
    client, other = pooler.wire(), pooler.wire()
    client.send(query("COPY numbers FROM STDIN"))
    client.next_is("G")
    message = copy_data(b"1\n" * 50_000)
    client.send(copy_data(b"not a number\n"), message[:40_000])
    assert client.ready().errors[0]["C"] == "22P02"
    client.send(message[40_000:])
    assert other.value("SELECT 'mine'") == "mine"


@pytest.mark.parametrize("workers", [1, 2])
def test_p19_transactions_of_many_settings_share_few_servers(start, workers):
    """The settings that go ahead of BEGIN must not cost a client the server that has them now."""
    pooler = start(default_pool_size=2, workers=workers, query_wait_timeout=20)
    done, problems, over = [0] * 8, [], time.monotonic() + 3

    def work(number):
        try:
            with pooler.wire(options=f"-c work_mem={64 + number}kB") as client:
                while time.monotonic() < over:
                    client.do("BEGIN")
                    assert client.value("SHOW work_mem") == f"{64 + number}kB"
                    client.do("COMMIT")
                    done[number] += 1
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(done))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert min(done) >= max(done) / 4, done


def test_p19_a_limit_shared_with_another_pool_is_noticed_when_it_frees(start):
    """max_db_connections is used up by one user's pool; another's client waits, and is served when a server is free."""
    pooler = start(default_pool_size=2, max_db_connections=1, auth_type="trust")
    busy = pooler.wire(user="app")
    busy.do("BEGIN")
    waiting = pooler.bare_wire()
    served = []

    def log_in_and_ask():
        waiting.login("other", "test")
        served.append(waiting.value("SELECT current_user"))

    asker = threading.Thread(target=log_in_and_ask, daemon=True)
    asker.start()
    time.sleep(0.5)
    assert not served
    busy.do("COMMIT")
    asker.join(5)
    assert served == ["other"]


@pytest.mark.parametrize("workers", [1, 2])
def test_p09_every_client_is_told_its_own_startup_settings(start, workers):
    """Also when the server it met had some of them already, and had nothing to report."""
    pooler = start(default_pool_size=1, workers=workers)
    settings = [{"DateStyle": "German", "TimeZone": "Asia/Tokyo"}, {"DateStyle": "German"},
                {"TimeZone": "Asia/Tokyo", "IntervalStyle": "iso_8601"}, {"client_encoding": "LATIN1"}, {}]
    for turn in range(2 * len(settings)):
        wanted = settings[turn % len(settings)]
        with pooler.wire(**wanted) as client:
            told = client.parameters
            assert told["DateStyle"].startswith("German" if "DateStyle" in wanted else "ISO")
            assert (told["TimeZone"] == "Asia/Tokyo") == ("TimeZone" in wanted)
            assert (told["IntervalStyle"] == "iso_8601") == ("IntervalStyle" in wanted)
            assert (told["client_encoding"] == "LATIN1") == ("client_encoding" in wanted)
            assert client.value("SHOW TimeZone") == told["TimeZone"]


def test_p10_a_cancel_does_not_reach_the_next_query_of_its_own_client(start, database):
    pooler = start(default_pool_size=1)
    client, watcher = pooler.wire(), database.connect()
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'" \
        f" AND datname = '{database.name}'"
    for _ in range(40):
        client.send(query("SELECT pg_sleep(5)"))
        until("it runs", lambda: watcher.execute(sleeping).fetchone() == (1,))
        with pooler.bare_wire() as messenger:
            messenger.send(wire.cancel_request(*client.key))
            assert client.ready().errors[0]["C"] == "57014"
            for turn in range(5):
                assert client.value(f"SELECT {turn}") == str(turn)
    watcher.close()


def test_p10_the_query_of_a_client_that_left_at_once_is_cancelled_all_the_same(start, postgres):
    pooler = start(default_pool_size=2, cancel_wait_timeout=30)
    for _ in range(10):
        with pooler.wire() as client:
            client.send(query("SELECT pg_sleep(25)"))
    began = time.monotonic()
    with pooler.wire() as client:
        until("a server is free again", lambda: client.value("SELECT 1") == "1", 15)
    assert time.monotonic() - began < 15


@pytest.mark.needs("cache")
def test_p21_a_client_served_by_the_cache_is_not_idle(cached):
    cache = cached()
    read = "SELECT v FROM items WHERE id = 1"
    with cache.wire() as client:
        cache.warm(lambda: client.value(read))
    with cache.pooler.admin() as console:
        console.run("SET client_idle_timeout = 1")
    with cache.wire() as client:
        over = time.monotonic() + 2.5
        while time.monotonic() < over:
            assert client.value(read) == "item 1"
            time.sleep(0.1)
        assert "idle" in client.rest().errors[0]["M"]
