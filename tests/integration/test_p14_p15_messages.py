"""P14, P15: COPY, function calls and large objects pass as they are; lengths that lie harm nobody."""

import struct
import time

import pytest

from harness import wire
from harness.compare import assert_same
from harness.system import resident_bytes
from harness.wait import seconds
from harness.wire import SYNC, Closed, message, once, query

LARGE_OBJECTS = [
    (query("BEGIN"), 1), (query("SELECT lo_create(4242)"), 1), (query("SELECT lo_open(4242, 131072)"), 1),
    (wire.function_call(955, struct.pack("!i", 0), b"large object") + query("SELECT lo_close(0)"), 2),
    (query("SELECT lo_get(4242)"), 1), (query("SELECT lo_unlink(4242); COMMIT"), 1)]


def test_p14_function_calls_and_large_objects(start, database):
    with start(default_pool_size=1).wire() as client:
        assert_same(database, client, LARGE_OBJECTS)


def test_p14_copy_in_and_out_of_many_rows(start, database):
    database.execute("CREATE TABLE copied (i int, t text)", user="app")
    pooler = start(default_pool_size=1)
    with pooler.connect() as connection:
        with connection.cursor().copy("COPY copied FROM STDIN") as copy:
            for i in range(50_000):
                copy.write_row((i, "t" * (i % 100)))
        with connection.cursor().copy("COPY copied TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 50_000
    assert database.value("SELECT count(*) FROM copied") == 50_000


def test_p14_a_copy_the_client_gives_up(start, database):
    database.execute("CREATE TABLE copied (i int)", user="app")
    pooler = start(default_pool_size=1)
    for _ in range(3):
        client = pooler.wire()
        client.send(query("COPY copied FROM STDIN"))
        client.next_is("G")
        client.send(wire.copy_data(b"1\n"))
        client.reset()
        assert pooler.wire().value("SELECT count(*) FROM copied") == "0"


def rest_or_reset(client):
    """Waits until the pooler ends the connection; whatever it said before."""
    try:
        return client.rest()
    except OSError:
        return None


def send_or_reset(client, data):
    try:
        client.send(data)
    except OSError:
        pass


PACKET = wire.startup(user="app", database="test")
BAD_STARTUPS = {
    "length zero": struct.pack("!i", 0) + PACKET[4:],
    "length below its own size": struct.pack("!i", 3) + PACKET[4:],
    "no room for the version": struct.pack("!i", 7) + PACKET[4:7],
    "negative": struct.pack("!i", -1) + PACKET[4:],
    "2 GiB": struct.pack("!I", 0x7FFFFFFF) + PACKET[4:],
    "most negative": struct.pack("!I", 0x80000000) + PACKET[4:],
    "unknown version": struct.pack("!ii", 8, 0x00020000),
    "no terminator": struct.pack("!ii", 8 + 8, 196608) + b"user\0app",
    "odd number of strings": struct.pack("!ii", 8 + 6, 196608) + b"user\0\0",
    "no user": struct.pack("!ii", 8 + 15, 196608) + b"database\0test\0\0",
    "a tls client hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "a web browser": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "cancel too short": struct.pack("!iih", 10, 80877102, 0),
    "cancel of 64 KiB": struct.pack("!ii", 65536, 80877102) + bytes(65528),
    "64 KiB of parameters": struct.pack("!ii", 65_600, 196608) + b"x" * 65_592,
}


@pytest.mark.parametrize("name", BAD_STARTUPS)
def test_p15_startup_packets_that_lie(start, name):
    pooler = start(client_login_timeout=2)
    before = resident_bytes(pooler.pid)
    for _ in range(5):
        client = pooler.bare_wire()
        send_or_reset(client, BAD_STARTUPS[name])
        began = time.monotonic()
        rest_or_reset(client)
        assert time.monotonic() - began < seconds(6)
    assert resident_bytes(pooler.pid) - before < 8 << 20
    assert pooler.wire().value("SELECT 'alive'") == "alive"


@pytest.mark.parametrize("length", [0, 1, 3, -1, -0x80000000, 0x7FFFFFFF])
@pytest.mark.parametrize("kind", [b"Q", b"P", b"B", b"S", b"X", b"d", b"!"])
@pytest.mark.needs("hardened")
def test_p15_message_lengths_that_lie(start, kind, length):
    pooler = start(default_pool_size=1)
    before = resident_bytes(pooler.pid)
    client = pooler.wire()
    client.do("SELECT 1")
    send_or_reset(client, kind + struct.pack("!i", length) + b"rest of a message\0")
    if length == 0x7FFFFFFF:
        client.close()  # the message is merely unfinished
    else:
        rest_or_reset(client)
    assert pooler.wire().query("SELECT 'alive'").texts == [("alive",)]
    assert resident_bytes(pooler.pid) - before < 8 << 20


@pytest.mark.needs("hardened")
def test_p15_message_contents_that_lie(start):
    """Inner lengths and counts that reach beyond the message, strings without their end."""
    pooler = start(default_pool_size=1)
    bad = [
        message(b"B", b"\0\0" + struct.pack("!hhi", 0, 1, 1000)),
        message(b"B", b"\0\0" + struct.pack("!h", 30000)),
        message(b"B", b"\0\0" + struct.pack("!hh", 0, -1)),
        message(b"P", b"name without an end"),
        message(b"P", b"\0SELECT 1\0" + struct.pack("!h", 30000)),
        message(b"P", b"\0SELECT 1\0" + struct.pack("!h", -5)),
        message(b"D", b""), message(b"D", b"Z\0"), message(b"C", b"S"), message(b"C", b"x\0"),
        message(b"E", b"\0"), message(b"E", b"portal"), message(b"Q", b"SELECT 1"), message(b"Q", b""),
        message(b"F", b"\0"), message(b"f", b"x"), message(b"p", b"x\0"),
    ]
    for data in bad:
        with pooler.wire() as client:
            client.do("SELECT 1")
            send_or_reset(client, data + SYNC + once("SELECT 'own'") + SYNC)
            client.socket.settimeout(0.3)
            try:
                client.ready(2)
            except (Closed, OSError):
                pass
        with pooler.wire() as other:
            answer = other.query("SELECT 'fine'")
            assert answer.texts == [("fine",)] and answer.statuses == "I", data


def test_p15_truncated_at_every_byte(start):
    pooler = start(default_pool_size=1, log_connections=0, log_disconnections=0)
    for size in range(len(PACKET)):
        with pooler.bare_wire() as client:
            client.send(PACKET[:size])
    stream = once("SELECT $1::text", ["value"]) + SYNC
    for size in range(0, len(stream), 3):
        with pooler.wire() as client:
            client.send(stream[:size])
    with pooler.wire() as client:
        assert client.value("SELECT 'alive'") == "alive"


@pytest.mark.needs("hardened")
def test_p15_startup_in_crumbs(start):
    client = start().bare_wire()
    for byte in wire.SSL_REQUEST:
        client.send(bytes([byte]))
    assert client.raw(1) == b"N"
    for byte in PACKET:
        client.send(bytes([byte]))
    client.finish_login("app")
    assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("size", [100, 65_000, 65_536, 200_000, 0x7FFFFFF0])
@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_p15_passwords_of_any_size(start, method, size):
    pooler = start(auth_type=method, client_login_timeout=3)
    client = pooler.bare_wire()
    client.send(wire.startup(user="scram", database="test"))
    client.next_is("R")
    body = b"x" * min(size, 200_000) + b"\0"
    send_or_reset(client, b"p" + struct.pack("!i", size + 5) + body)
    rest_or_reset(client)
    assert pooler.wire(user="scram", password="scram-secret").value("SELECT 'alive'") == "alive"


def test_p15_ssl_requests_without_end(start):
    pooler = start(client_login_timeout=3)
    client = pooler.bare_wire()
    client.send(wire.SSL_REQUEST)
    assert client.raw(1) == b"N"
    send_or_reset(client, wire.SSL_REQUEST)
    try:
        if client.raw(1) in (b"N", b"E"):
            send_or_reset(client, wire.SSL_REQUEST * 1000)
    except (Closed, OSError):
        pass
    client.close()
    ahead = pooler.bare_wire()
    send_or_reset(ahead, wire.SSL_REQUEST + PACKET)  # bytes ahead of the answer to the request
    rest = b""
    try:
        rest = ahead.raw(1)
    except (Closed, OSError):
        pass
    assert rest in (b"", b"N", b"E")
    ahead.close()
    assert pooler.wire().value("SELECT 'alive'") == "alive"
