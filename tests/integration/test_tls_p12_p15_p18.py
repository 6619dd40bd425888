"""P12, P15, P18 with TLS: memory of clients that rest, handshakes that lie or end, certificates that change."""

import socket
import ssl
import struct
import threading
import time

import psycopg
import pytest

from harness import wire
from harness.crowd import Crowd
from harness.system import descriptors, resident_bytes
from harness.wait import seconds, until
from harness.wire import SSL_REQUEST, Closed, Wire

pytestmark = pytest.mark.needs("exact_errors")

IDLE_BYTES = 20 * 1024


def test_p12_an_idle_client_with_tls_is_small(start, certificates, sanitized):
    count = 1000
    pooler = start(max_client_conn=2000, log_connections=0, log_disconnections=0, **certificates.client_side())
    context = certificates.context()

    def login():
        client = pooler.bare_wire().secure(context)
        client.login("app", "test")
        assert client.value("SELECT repeat('x', 100000)") == "x" * 100_000
        return client

    warm = [login() for _ in range(20)]
    before = resident_bytes(pooler.pid)
    idle = [login() for _ in range(count)]
    each = (resident_bytes(pooler.pid) - before) / count
    print(f"{each:.0f} bytes for each idle client with TLS")
    assert sanitized or each < IDLE_BYTES, f"{each:.0f} bytes"
    assert all(client.value("SELECT 1") == "1" for client in idle[::100] + warm)


def test_p12_a_slow_reader_with_tls_holds_the_server_back(start, certificates, sanitized):
    pooler = start(**certificates.client_side())
    client = pooler.bare_wire(receive_buffer=4096).secure(certificates.context())
    client.login("app", "test")
    client.do("SELECT 1")
    before = resident_bytes(pooler.pid)
    client.send(wire.query("SELECT repeat('x', 200000000)"))
    assert client.raw(5)[:1] == b"T"
    time.sleep(1)
    assert sanitized or resident_bytes(pooler.pid) - before < 8 << 20
    client.close()
    assert pooler.connect(**certificates.libpq()).execute("SELECT 1").fetchone()[0] == 1


def still_serves(pooler, certificates):
    return pooler.connect(**certificates.libpq()).execute("SELECT 'alive'").fetchone()[0] == "alive"


def ending(client):
    """What comes until the pooler ends the connection."""
    seen = b""
    try:
        while piece := client.socket.recv(4096):
            seen += piece
    except ConnectionResetError:
        pass
    return seen


@pytest.mark.parametrize("ahead", [b"\x16", wire.startup(user="app", database="test"), SSL_REQUEST, b"\0" * 5000])
def test_p15_bytes_ahead_of_the_handshake_are_refused(start, certificates, ahead):
    """Nobody has encrypted them: who sits in between could have put them there."""
    pooler = start(**certificates.client_side("allow"))
    client = pooler.bare_wire()
    client.send(SSL_REQUEST + ahead)
    seen = ending(client)
    assert seen[:1] == b"E" and b"received unencrypted data after SSL request" in seen
    assert still_serves(pooler, certificates)


def test_p15_an_ssl_request_twice(start, certificates):
    pooler = start()
    client = pooler.bare_wire()
    client.send(SSL_REQUEST)
    assert client.raw(1) == b"N"
    client.send(SSL_REQUEST)
    assert b"SSLRequest was answered already" in ending(client)
    pooler = start(**certificates.client_side())
    client = pooler.bare_wire()
    client.send(SSL_REQUEST)
    assert client.raw(1) == b"S"
    client.send(SSL_REQUEST)  # no record of TLS
    assert b"SSLRequest" not in ending(client)
    pooler.says("closing because: TLS: wrong version number")
    assert still_serves(pooler, certificates)


def conversation(pooler, certificates):
    """All that a client sends for a login by TLS, in the pieces in which it does, by way of a pipe in memory."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = certificates.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    client = pooler.bare_wire()
    client.send(SSL_REQUEST)
    assert client.raw(1) == b"S"
    return client, tls, incoming, outgoing


def shake(client, tls, incoming, outgoing, limit):
    """The handshake and a startup packet, cut off after `limit` bytes; returns how many there were."""
    sent = 0
    for step in (tls.do_handshake, lambda: tls.write(wire.startup(user="app", database="test"))):
        while True:
            try:
                step()
                is_done = True
            except ssl.SSLWantReadError:
                is_done = False
            piece = outgoing.read()
            client.send(piece[:limit - sent])
            sent += len(piece)
            if sent >= limit:
                return sent
            if is_done:
                break
            incoming.write(client.socket.recv(1 << 16))
    return sent


def test_p15_a_handshake_that_ends_at_every_byte(start, certificates):
    pooler = start(client_login_timeout=30, log_connections=0, log_disconnections=0, **certificates.client_side())
    total = shake(*conversation(pooler, certificates), limit=1 << 20)
    assert total > 500
    assert still_serves(pooler, certificates)
    before = descriptors(pooler.pid)
    for cut in range(total):
        client, *rest = conversation(pooler, certificates)
        shake(client, *rest, limit=cut)
        client.socket.shutdown(socket.SHUT_WR)
        ending(client)
        client.close()
        pooler.opened.remove(client)
    until("all are gone", lambda: descriptors(pooler.pid) <= before)
    assert still_serves(pooler, certificates)


def test_p15_a_handshake_that_stops_ends_by_the_login_timeout(start, certificates):
    pooler = start(client_login_timeout=1, **certificates.client_side())
    silent = []
    for cut in (0, 1, 5, 100):
        client, *rest = conversation(pooler, certificates)
        shake(client, *rest, limit=cut)
        silent.append(client)
    direct = pooler.bare_wire()
    direct.send(b"\x16")
    for client in [*silent, direct]:
        assert b"client_login_timeout" not in ending(client), "in the clear"
    pooler.says("closing because: client_login_timeout", 5)
    assert still_serves(pooler, certificates)


def test_p15_records_that_nobody_encrypted(start, certificates):
    pooler = start(**certificates.client_side())
    client = pooler.bare_wire().secure(certificates.context())
    client.login("app", "test")
    with socket.fromfd(client.socket.fileno(), socket.AF_INET, socket.SOCK_STREAM) as below:
        below.sendall(b"\x17\x03\x03" + struct.pack("!H", 100) + bytes(100))
    with pytest.raises((Closed, OSError)):
        client.next()
    pooler.says("closing because: TLS: ")
    assert still_serves(pooler, certificates)


@pytest.mark.parametrize("way", ["RELOAD", "SET"])
def test_p18_another_certificate_under_load_drops_nobody(start, certificates, way):
    """Running connections keep theirs; new ones see the new one, and no login fails in between."""
    pooler = start(default_pool_size=3, max_client_conn=500, log_connections=0, log_disconnections=0,
                   **certificates.client_side("require"))
    everyone, state = Crowd(), {"on": True}
    context = certificates.context()

    def login():
        client = Wire(pooler.port).secure(context)
        client.login("app", "test")
        return client

    def stay(number):
        with login() as client:
            turn = 0
            while state["on"]:
                turn += 1
                assert client.value(f"SELECT '{number}.{turn}'") == f"{number}.{turn}"
            return turn

    def come_and_go(number):
        turn = 0
        while state["on"]:
            turn += 1
            with login() as client:
                assert client.value("SELECT 1") == "1"
        return turn

    def shown():
        with login() as client:
            return client.socket.getpeercert()["serialNumber"]

    for number in range(4):
        everyone.add(stay, number)
    for number in range(3):
        everyone.add(come_and_go, number)
    serials = [shown()]
    for name in ("renewed", "server", "renewed"):
        files = {"client_tls_key_file": certificates.key(name), "client_tls_cert_file": certificates.crt(name)}
        if way == "RELOAD":
            pooler.reload(files)
        else:
            with pooler.admin() as console:
                for key, path in files.items():
                    console.run(f"SET {key} = '{path}'")
        serials.append(shown())
        time.sleep(0.3)
    state["on"] = False
    turns = everyone.join()
    assert all(turn > 3 for turn in turns)
    assert serials[0] == serials[2] != serials[1] == serials[3]


def test_p18_the_same_name_with_another_content(start, certificates, tmp_path):
    """A renewed certificate usually comes under the old name."""
    pooler = start(**certificates.client_side())
    crt, key = pooler.directory / "tls.crt", pooler.directory / "tls.key"

    def put(name):
        for source, target in ((certificates.crt(name), crt), (certificates.key(name), key)):
            target.write_bytes(source.read_bytes())
            target.chmod(0o644)

    def serial():
        client = pooler.bare_wire().secure(certificates.context())
        client.login("app", "test")
        return client.socket.getpeercert()["serialNumber"]

    put("server")
    pooler.reload({"client_tls_cert_file": crt, "client_tls_key_file": key})
    first = serial()
    put("renewed")
    assert serial() == first
    pooler.reload()
    assert serial() != first
    crt.write_text("not a certificate")
    with pooler.admin() as console, pytest.raises(wire.ServerError, match="RELOAD failed"):
        console.run("RELOAD")
    assert serial() != first
