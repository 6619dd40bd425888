"""Server connections are opened side by side while somebody waits, and one by one at a server that refuses."""

import time

import pytest

from harness import wire
from harness.crowd import crowd
from harness.fake_server import FakeServer
from harness.wait import seconds, until
from harness.wire import query

AT_ONCE = 16  # logins under way of one pool in one worker


@pytest.fixture
def serve(new_pooler):
    def begin(server, **options):
        line = {"test": {"host": "127.0.0.1", "port": server.port}}
        return new_pooler(line, {"default_pool_size": 100, "query_wait_timeout": 60, **options}).start()

    return begin


def test_p22_those_who_wait_do_not_wait_for_one_login_after_another(serve):
    """Twelve logins of 200 ms take 2.4 s one after another."""
    with FakeServer(login_delay=0.2, query_delay=0.5) as server:
        pooler = serve(server)
        clients = [pooler.wire() for _ in range(12)]  # which has one server opened
        began = time.monotonic()
        for client in clients:
            client.send(query("SELECT 1"))
        for client in clients:
            assert client.ready().texts == [("fake",)]
        assert time.monotonic() - began < seconds(1.2)
        assert server.logins == 12


def test_p22_so_many_logins_at_once_and_no_more(serve):
    with FakeServer(login_delay=0.2, query_delay=0.6) as server:
        pooler = serve(server)
        clients = [pooler.wire() for _ in range(50)]
        for client in clients:
            client.send(query("SELECT 1"))
        for client in clients:
            assert client.ready().texts == [("fake",)]
        assert server.at_once == AT_ONCE
        assert server.logins > 2 * AT_ONCE


def test_p22_no_more_than_the_size_of_the_pool(serve):
    with FakeServer(login_delay=0.2, query_delay=0.1) as server:
        pooler = serve(server, default_pool_size=5)
        clients = [pooler.wire() for _ in range(30)]
        for client in clients:
            client.send(query("SELECT 1"))
        for client in clients:
            assert client.ready().texts == [("fake",)]
        assert server.at_once <= 5 and server.logins == 5


@pytest.mark.parametrize("workers", [1, 2])
def test_p22_a_server_that_refuses_is_tried_by_one_at_a_time(serve, workers):
    """After the first refusals: a crowd that waits is no storm of logins."""
    with FakeServer(query_delay=0.05) as server:
        pooler = serve(server, workers=workers, server_login_retry=1)
        clients = [pooler.wire() for _ in range(40)]
        assert clients[0].value("SELECT 1") == "fake"
        with pooler.admin() as console:
            server.refusal = ("53300", "sorry, too many clients already")
            console.run("RECONNECT")
            for client in clients:
                client.send(query("SELECT 1"))
            until("it was tried", lambda: server.logins > 1)
            time.sleep(seconds(0.3))  # the first burst is over
            before, server.at_once = server.logins, 0
            server.login_delay = 0.1
            time.sleep(3)
            assert 2 <= server.logins - before <= 8, "about one in every second"
            assert server.at_once <= workers
        server.refusal, server.login_delay = None, 0
        for client in clients:
            assert client.ready().texts == [("fake",)]


def test_p22_one_outage_is_one_failure(serve):
    """Many connections lost at once do not make the longest pause out of the first: it is not long before the server is
    tried again."""
    with FakeServer(query_delay=0.05) as server:
        pooler = serve(server, server_login_retry=15)
        clients = [pooler.wire() for _ in range(15)]
        server.login_delay = 0.2
        server.refusal = ("57P03", "the database system is starting up")
        with pooler.admin() as console:
            console.run("RECONNECT")
        for client in clients:
            client.send(query("SELECT 1"))
        pooler.says("starting up", 15)
        server.refusal, server.login_delay = None, 0
        began = time.monotonic()
        for client in clients:
            assert client.ready().texts == [("fake",)]
        assert time.monotonic() - began < seconds(3)


def test_p22_a_crowd_that_logs_in_has_one_server_opened(serve):
    """What a server reports at login is the same for all: nobody needs one of its own for that."""
    with FakeServer(login_delay=0.2) as server:
        pooler = serve(server)

        def log_in(_):
            client = pooler.bare_wire()
            client.send(wire.startup(user="app", database="test"))
            return client.ready().errors

        assert crowd(30, log_in) == [[]] * 30
        assert server.logins == 1


def test_p22_min_pool_size_may_be_more_than_is_opened_at_once(serve):
    with FakeServer(login_delay=0.05) as server:
        pooler = serve(server, min_pool_size=40)
        assert pooler.wire().value("SELECT 1") == "fake"
        until("all are there", lambda: pooler.admin().pool("test", "app")["sv_idle"] == "40")
        assert server.logins == 40
