"""P11: names of hosts: looked up once for many connections, and given up when their addresses change."""

import shutil
import subprocess
import time

import pytest

from harness import system
from harness.tap import Tap
from harness.wait import seconds, until
from harness.wire import cancel_request, startup

# A process of its own namespace sees another hosts file; back in a user namespace without names it is nobody there.
IN_OTHER_HOSTS = ["unshare", "-r", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec unshare -U "$@"']


def can_unshare():
    try:
        tried = subprocess.run(["unshare", "-r", "-m", "unshare", "-U", "true"], timeout=10, capture_output=True,
                               **system.as_account())
    except OSError:
        return False
    return tried.returncode == 0


pytestmark = pytest.mark.skipif(not can_unshare(), reason="machine: no namespaces for everybody")


def elsewhere(port):
    """PostgreSQL once more, at 127.0.0.2."""
    return Tap(port, "127.0.0.2", port)


@pytest.fixture
def named(new_pooler, database):
    """named(hosts, workers=…): a pooler whose database stands at the name weir-db, and a function that changes the
    hosts file."""
    directory = system.make_directory("weir-hosts-")
    path = directory / "hosts"

    def write(*addresses):
        lines = [f"{address} weir-db\n" for address in addresses] + ["127.0.0.1 localhost\n"]
        path.write_text("".join(lines))
        system.give_to_account(path)

    def begin(*addresses, peers=None, **options):
        write(*addresses)
        pooler = new_pooler({"test": {"host": "weir-db", "port": database.postgres.port, "dbname": database.name}}, options)
        pooler.peers = peers or {}
        pooler.prefix = [*IN_OTHER_HOSTS, str(path)]
        return pooler.start(), write

    yield begin
    shutil.rmtree(directory)


def hosts(pooler):
    return {row["hostname"]: row["addrs"] for row in pooler.show("DNS_HOSTS")}


@pytest.mark.parametrize("workers", [1, 2])
def test_p11_an_address_that_changes_takes_its_connections_along(named, database, workers):
    pooler, write = named("127.0.0.1", dns_max_ttl=0.1, default_pool_size=4, workers=workers)
    with elsewhere(database.postgres.port) as moved:
        holder, client = pooler.wire(), pooler.wire()
        holder.do("BEGIN; SELECT 1")
        client.do("SELECT 1")
        assert hosts(pooler) == {"weir-db": "127.0.0.1"} and moved.connections == 0
        write("127.0.0.2")
        time.sleep(seconds(0.15))  # the old address is not believed any more
        others = [pooler.wire() for _ in range(3)]
        for other in others:  # more than there are connections
            other.do("BEGIN; SELECT 1")
        until("new ones go to the new address", lambda: moved.connections >= 1)
        assert hosts(pooler) == {"weir-db": "127.0.0.2"}
        for other in others:
            other.do("COMMIT")
        assert holder.value("SELECT 'a transaction goes on'")
        holder.do("COMMIT")
        until("none is left at the old one",
              lambda: {row["addr"] for row in pooler.show("SERVERS")} <= {"127.0.0.2"})
        pooler.says("closing because: address of the host changed")
        assert client.value("SELECT 'served'") == "served"


def test_p11_a_change_that_somebody_else_was_told_of(named, database):
    """By a cancel request for another process, at the same name."""
    pooler, write = named("127.0.0.1", peers={2: {"host": "weir-db", "port": 1}}, dns_max_ttl=0.1, peer_id=1)
    with elsewhere(database.postgres.port):
        client = pooler.wire()
        client.do("SELECT 1")
        write("127.0.0.2")
        time.sleep(seconds(0.15))  # the old address is not believed any more
        with pooler.bare_wire() as link:
            link.send(cancel_request(2 << 18, b"none"))
            link.rest()
        pooler.says("closing because: address of the host changed")
        assert client.value("SELECT 'served'") == "served"


def test_p11_a_name_is_looked_up_once_for_many(named):
    pooler, write = named("127.0.0.1", dns_max_ttl=60, default_pool_size=5)
    first = pooler.wire()
    first.do("BEGIN; SELECT 1")
    write("127.0.0.9")
    for _ in range(3):
        pooler.wire().do("BEGIN; SELECT 1")
    assert hosts(pooler) == {"weir-db": "127.0.0.1"}
    row = pooler.show("DNS_HOSTS")[0]
    assert 40 <= int(row["ttl"]) <= 60
    assert {row["list"]: row["items"] for row in pooler.show("LISTS")}["dns_names"] == "1"


def test_p11_a_name_that_is_none_may_become_one(named):
    pooler, write = named(dns_nxdomain_ttl=0.2, server_login_retry=0.2)
    client = pooler.bare_wire()
    client.send(startup(user="app", database="test"))
    pooler.says("server DNS lookup failed")
    assert hosts(pooler) == {"weir-db": ""}
    write("127.0.0.1")
    client.finish_login("app")
    assert client.value("SELECT 'found'") == "found"
