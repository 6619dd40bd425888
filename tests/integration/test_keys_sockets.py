"""Keys of sockets and of the system: each by what the kernel, the file system or syslog shows."""

import grp
import os
import re
import shutil
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from harness import sockets, system
from harness.wait import seconds, until

can_look = pytest.mark.skipif(not sockets.can_look(), reason="machine: no look at another process's sockets")

KEEPALIVE = {"tcp_keepidle": (77, socket.TCP_KEEPIDLE), "tcp_keepintvl": (11, socket.TCP_KEEPINTVL),
             "tcp_keepcnt": (5, socket.TCP_KEEPCNT), "tcp_user_timeout": (54321, socket.TCP_USER_TIMEOUT)}


def of_connections(pooler, database, level, name):
    """The option on the client's side and on the server's."""
    client = pooler.wire()
    client.do("SELECT 1")
    return [sockets.option(pooler.pid, level, name, to=port)
            for port in (client.socket.getsockname()[1], database.postgres.port)]


@can_look
@pytest.mark.parametrize("value", [0, 1])
def test_connections_are_kept_alive(start, database, value):
    pooler = start(tcp_keepalive=value)
    assert of_connections(pooler, database, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == [value, value]


@can_look
@pytest.mark.parametrize("key", KEEPALIVE)
def test_how_connections_are_kept_alive(start, database, key):
    value, name = KEEPALIVE[key]
    pooler = start(**{key: value})
    assert of_connections(pooler, database, socket.IPPROTO_TCP, name) == [value, value]
    with pooler.admin() as console:
        console.run(f"SET {key} = {value + 1}")
        console.run("RECONNECT")
    until("the servers are new", lambda: of_connections(pooler, database, socket.IPPROTO_TCP, name) == [value + 1] * 2)


@can_look
def test_buffers_of_the_kernel(start, database):
    pooler = start(tcp_socket_buffer=100000)
    for name in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        assert of_connections(pooler, database, socket.SOL_SOCKET, name) == [200000, 200000], "the kernel doubles it"


def test_small_buffers_of_the_kernel_do_not_stall_a_long_answer(start):
    """A buffer that one segment fills waits for the acknowledgement that the other side delays: 12 s for this answer."""
    pooler = start(tcp_socket_buffer=4096)
    client = pooler.wire()
    begun = time.monotonic()
    assert len(client.value("SELECT repeat('x', 20000000)")) == 20_000_000
    assert time.monotonic() - begun < seconds(4)


@can_look
@pytest.mark.parametrize("value", [0, 1])
def test_clients_that_say_nothing_are_not_accepted(start, value):
    pooler = start(tcp_defer_accept=value)
    deferred = sockets.option(pooler.pid, socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, listens_on=pooler.port)
    assert (deferred > 0) == bool(value)


@can_look
@pytest.mark.parametrize("value", [17, 128])
def test_how_many_may_wait_to_be_accepted(start, value):
    pooler = start(listen_backlog=value)
    assert sockets.option(pooler.pid, socket.IPPROTO_TCP, socket.TCP_INFO, listens_on=pooler.port) == value


def reaches(port, address):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as one:
        return one.connect_ex((address, port)) == 0


@pytest.mark.parametrize("addresses, reached, not_reached", [
    ("127.0.0.1", ["127.0.0.1"], ["127.0.0.2"]),
    ("127.0.0.1, 127.0.0.3", ["127.0.0.1", "127.0.0.3"], ["127.0.0.2"]),
    ("*", ["127.0.0.1", "127.0.0.2"], []),
    ("0.0.0.0", ["127.0.0.1", "127.0.0.3"], []),
])
def test_addresses_to_listen_on(start, addresses, reached, not_reached):
    pooler = start(listen_addr=addresses)
    assert all(reaches(pooler.port, address) for address in reached)
    assert not any(reaches(pooler.port, address) for address in not_reached)


def test_the_port_is_ours_alone_unless_it_may_be_shared(start, new_pooler, database):
    first = start(so_reuseport=1)
    second = new_pooler(first.databases, {"so_reuseport": 1, "listen_port": first.port})
    second.spawn()
    until("both listen", lambda: sum(line.split()[3] == "0A" and line.split()[1].endswith(f":{first.port:04X}")
                                     for line in open("/proc/net/tcp").readlines()[1:]) >= 2)
    alone = new_pooler(first.databases, {"so_reuseport": 0, "listen_port": first.port})
    alone.spawn()
    until("it has given up", lambda: alone.process.poll() is not None)
    assert alone.process.returncode != 0 and "Address already in use" in alone.log()
    alone.process = None


@pytest.mark.skipif(not system.IS_ROOT, reason="machine: only root gives a process another group")
def test_the_group_of_the_unix_socket(new_pooler, database):
    group = next(entry for entry in grp.getgrall() if entry.gr_name in ("users", "nogroup", "games"))
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}},
                        {"unix_socket_group": group.gr_name, "unix_socket_mode": "0760"})
    pooler.options["unix_socket_dir"] = pooler.directory
    pooler.account["extra_groups"] = [group.gr_gid]
    pooler.start()
    seen = os.stat(pooler.directory / f".s.PGSQL.{pooler.port}")
    assert (seen.st_gid, oct(seen.st_mode & 0o777)) == (group.gr_gid, "0o760")


def page(address, port, path="/stats", token=None):
    request = urllib.request.Request(f"http://{address}:{port}{path}")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status
    except urllib.error.HTTPError as reply:
        return reply.code


def test_where_the_pages_are_served(start):
    pooler = start(http_addr="127.0.0.2")
    assert page("127.0.0.2", pooler.http_port) == 200
    assert not reaches(pooler.http_port, "127.0.0.1")


def test_pages_for_who_has_the_token(start):
    directory = system.make_directory("weir-token-")
    try:
        path = directory / "token"
        path.write_text("open-sesame\n")
        path.chmod(0o600)
        system.give_to_account(path)
        pooler = start(http_token_file=path)
        assert page("127.0.0.1", pooler.http_port) == 401
        assert page("127.0.0.1", pooler.http_port, token="close-sesame") == 401
        assert page("127.0.0.1", pooler.http_port, token="open-sesame") == 200
        assert page("127.0.0.1", pooler.http_port, "/healthz") == 200, "who only asks whether it lives needs none"
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def syslog():
    """/dev/log, where nobody listens on it; what was written to it."""
    if not system.IS_ROOT or os.path.lexists("/dev/log"):
        pytest.skip("machine: /dev/log is another's")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("/dev/log")
        os.chmod("/dev/log", 0o666)
        listener.setblocking(False)
        seen = []

        def lines():
            try:
                while True:
                    seen.append(listener.recv(8192).decode(errors="replace"))
            except BlockingIOError:
                return seen

        yield lines
    os.unlink("/dev/log")


def test_syslog_is_told_by_name_and_facility(start, syslog):
    pooler = start(syslog=1, syslog_facility="local3", syslog_ident="weir-test")
    pooler.wire()
    until("the login is told", lambda: any("login attempt: db=test user=app" in line for line in syslog()))
    line = next(line for line in syslog() if "login attempt: db=test user=app" in line)
    found = re.match(rf"<(\d+)>.* weir-test\[{pooler.pid}\]: ", line)
    assert found, line
    assert divmod(int(found[1]), 8) == (19, 6), "local3, info"


def test_syslog_is_left_alone(start, syslog):
    pooler = start(syslog=0)
    pooler.wire()
    pooler.says("login attempt: db=test user=app")
    assert not syslog()
    with pooler.admin() as console:
        console.run("SET syslog = 1")
    pooler.wire()
    until("it is told now", lambda: any("login attempt: db=test user=app" in line for line in syslog()))


def test_listening_on_both_families(start):
    addresses = Path("/proc/net/if_inet6")
    if not addresses.exists() or f"{1:032x}" not in addresses.read_text():
        pytest.skip("machine: no IPv6 on the loopback")
    pooler = start(listen_addr="127.0.0.1,::1")
    assert reaches(pooler.port, "127.0.0.1") and reaches(pooler.port, "::1")
