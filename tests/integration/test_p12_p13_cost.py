"""P12, P13: memory stays bounded whatever passes through, and nothing that waits costs CPU."""

import socket
import threading
import time

import pytest

from harness import wire
from harness.system import cpu_seconds, resident_bytes
from harness.wait import until
from harness.wire import query

MB = 1 << 20


def growth(pooler, before, sanitized):
    """Memory grown since, in megabytes; sanitizers keep freed memory, so they are not asked."""
    return 0 if sanitized else (resident_bytes(pooler.pid) - before) / MB


class Peak:
    """The highest resident memory of a process while the block runs."""

    def __init__(self, pid):
        self.pid, self.bytes, self.on = pid, resident_bytes(pid), True
        self.before = self.bytes

    def __enter__(self):
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self):
        while self.on:
            self.bytes = max(self.bytes, resident_bytes(self.pid))
            time.sleep(0.01)

    def __exit__(self, *_):
        self.on = False
        self.thread.join()

    @property
    def growth(self):
        return (self.bytes - self.before) / MB


def skip_sanitized(sanitized):
    if sanitized:
        pytest.skip("machine: memory is measured on the plain build")


def drain(client):
    """Reads and forgets until a ReadyForQuery ends the stream; returns the bytes seen."""
    total, tail = 0, b""
    while not tail.endswith(b"Z\0\0\0\5I"):
        piece = client.socket.recv(1 << 20)
        assert piece, "closed"
        total += len(piece)
        tail = (tail + piece)[-6:]
    return total


def test_p12_a_row_of_100_megabytes_leaves_no_memory_behind(start, sanitized):
    pooler = start(default_pool_size=2)
    client = pooler.wire()
    client.do("SELECT 1")
    with Peak(pooler.pid) as peak:
        for _ in range(2):
            client.send(query("SELECT repeat('x', 100000000)"))
            assert drain(client) > 100_000_000
    assert sanitized or peak.growth < 16, f"{peak.growth:.1f} MB"


def test_p12_a_parameter_of_50_megabytes_leaves_no_memory_behind(start, sanitized):
    pooler = start(default_pool_size=2)
    client = pooler.wire()
    client.do("SELECT 1")
    with Peak(pooler.pid) as peak:
        assert client.extended("SELECT length($1)", [b"x" * 50_000_000], types=(25,)).texts == [("50000000",)]
    assert sanitized or peak.growth < 16, f"{peak.growth:.1f} MB"


def test_p12_slow_readers_hold_back_their_servers_not_memory(start, sanitized):
    pooler = start(default_pool_size=60)
    readers = [pooler.wire(receive_buffer=4096) for _ in range(60)]
    before = resident_bytes(pooler.pid)
    for reader in readers:
        reader.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 20000)"))
    time.sleep(2)
    assert growth(pooler, before, sanitized) < 60 * 0.5, "more than half a megabyte for each reader"
    readers[0].socket.settimeout(30)
    assert drain(readers[0]) > 20_000_000, "the reader that comes back gets everything"


def test_p12_a_slow_server_holds_back_its_clients_not_memory(start, tap, database, sanitized):
    database.execute("CREATE TABLE sink (t text)", user="app")
    pooler = start(port=tap.port, default_pool_size=4)
    client = pooler.wire()
    client.do("SELECT 1")
    before = resident_bytes(pooler.pid)
    tap.hold_requests()
    body = wire.query("COPY sink FROM STDIN") + wire.copy_data(b"y" * 100_000 + b"\n") * 600 + wire.COPY_DONE
    client.socket.settimeout(1.5)
    with pytest.raises(TimeoutError):
        client.send(body)
    assert growth(pooler, before, sanitized) < 8
    tap.release()
    client.reset()
    assert pooler.wire().value("SELECT count(*) FROM sink") == "0"


@pytest.mark.needs("hardened")
def test_p12_idle_clients_own_no_buffers(start, sanitized):
    skip_sanitized(sanitized)
    pooler = start(max_client_conn=3000, default_pool_size=5, log_connections=0, log_disconnections=0)
    for client in [pooler.wire() for _ in range(50)]:
        client.do("SELECT 1")
    before = resident_bytes(pooler.pid)
    clients = [pooler.wire() for _ in range(2000)]
    for client in clients[::10]:
        client.do("SELECT repeat('x', 200000)")
    each = (resident_bytes(pooler.pid) - before) / len(clients)
    assert each < 1024, f"{each:.0f} bytes for each idle client"


def cpu_while(pooler, span):
    """The share of a core the process uses over a span of seconds."""
    before = cpu_seconds(pooler.pid)
    time.sleep(span)
    return (cpu_seconds(pooler.pid) - before) / span


def test_p13_waiting_clients_cost_no_cpu(start):
    pooler = start(default_pool_size=1)
    holder = pooler.wire()
    holder.do("BEGIN; SELECT 1")
    waiting = [pooler.wire() for _ in range(50)]
    for client in waiting:
        client.send(query("SELECT 1"), query("SELECT 2"))
    assert cpu_while(pooler, 1.5) < 0.05
    holder.do("COMMIT")
    for client in waiting:
        assert client.ready(2).texts == [("1",), ("2",)]


def test_p13_a_half_closed_client_costs_no_cpu(start):
    pooler = start(default_pool_size=1)
    holder = pooler.wire()
    holder.do("BEGIN; SELECT 1")
    halves = [pooler.wire() for _ in range(10)]
    for client in halves[:5]:
        client.send(query("SELECT 1"))
    for client in halves:
        client.socket.shutdown(socket.SHUT_WR)
    assert cpu_while(pooler, 1) < 0.05
    holder.do("COMMIT")
    assert pooler.wire().value("SELECT 'served'") == "served"


def test_p13_a_half_closed_slow_reader_costs_no_cpu(start):
    pooler = start(default_pool_size=2)
    client = pooler.wire(receive_buffer=4096)
    client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"))
    client.socket.shutdown(socket.SHUT_WR)
    time.sleep(0.3)
    assert cpu_while(pooler, 1) < 0.05


def test_p13_the_descriptor_limit_costs_no_cpu_and_ends_when_clients_leave(new_pooler, database):
    pooler = new_pooler({"test": {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}},
                        {"max_client_conn": 400})
    pooler.prefix = ["prlimit", "--nofile=60:60"]
    pooler.start()
    served = pooler.wire()
    served.do("SELECT 1")
    clients = []
    for _ in range(80):
        client = pooler.bare_wire()
        client.send(wire.startup(user="app", database="test"))
        clients.append(client)
    time.sleep(0.5)
    assert cpu_while(pooler, 1.5) < 0.1, "accept fails in a loop"
    assert served.value("SELECT 'still served'") == "still served"
    for client in clients:
        client.close()
    until("new clients are served again", lambda: serves(pooler), 10)


def serves(pooler):
    try:
        return pooler.wire().value("SELECT 1") == "1"
    except (wire.Closed, wire.ServerError, OSError):
        return False


def test_p13_idle_costs_nothing(start):
    pooler = start()
    clients = [pooler.wire() for _ in range(100)]
    clients[0].do("SELECT 1")
    time.sleep(0.5)
    assert cpu_while(pooler, 2) < 0.02
