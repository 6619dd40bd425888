"""TLS with servers: when it is asked for, what the server has to prove, what travels by it."""

import re
import socket
import ssl
import struct
import threading

import psycopg
import pytest

from harness import caching, wire
from harness.accepting import Accepting
from harness.crowd import crowd
from harness.postgres import ROLES
from harness.tap import Tap
from harness.wait import seconds, until
from harness.wire import Wire, ServerError, message, query, text

pytestmark = pytest.mark.needs("exact_errors")

ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture
def secured(start, tls_postgres, request):
    """Starts a pooler before a database of the PostgreSQL that speaks TLS."""
    made = []

    def begin(line=None, port=None, **options):
        database = tls_postgres.make_database()
        made.append(database)
        return start(databases={"test": {"host": "127.0.0.1", "port": port or tls_postgres.port,
                                         "dbname": database.name, **(line or {})}}, **options)

    yield begin
    request.addfinalizer(lambda: [database.drop() for database in made])


def is_encrypted(pooler, **login):
    return pooler.wire(**login).value(ENCRYPTED) == "t"


@pytest.mark.parametrize("mode, expected", [
    ("disable", False), ("allow", True), ("prefer", True), ("require", True), ("verify-ca", True), ("verify-full", True)])
def test_a_server_that_speaks_tls(secured, certificates, mode, expected):
    pooler = secured(server_tls_sslmode=mode, server_tls_ca_file=certificates.crt("ca"))
    assert is_encrypted(pooler) == expected
    row = pooler.show("SERVERS")[0]
    assert (re.fullmatch(r"TLSv1\.3/TLS_[A-Z0-9_]+", row["tls"]) is not None) == expected
    if expected:
        pooler.says("SSL established: TLSv1.3/TLS_")
    assert ("SSL established: TLSv1.3/TLS_" in pooler.log()) == expected


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"])
def test_a_server_that_does_not(start, certificates, mode):
    pooler = start(server_tls_sslmode=mode, server_tls_ca_file=certificates.crt("ca"), client_login_timeout=2)
    if mode in ("disable", "allow", "prefer"):
        assert pooler.wire().value("SELECT 1") == "1"
        assert pooler.show("SERVERS")[0]["tls"] == ""
        return
    with pytest.raises(ServerError, match="server_tls_sslmode requires|server down"):
        pooler.wire()
    pooler.says("server login failed: server does not support TLS, which server_tls_sslmode requires")


@pytest.mark.parametrize("options, expected", [
    ({"server_tls13_ciphers": "TLS_CHACHA20_POLY1305_SHA256"}, "TLSv1.3/TLS_CHACHA20_POLY1305_SHA256"),
    ({"server_tls13_ciphers": "TLS_AES_128_GCM_SHA256"}, "TLSv1.3/TLS_AES_128_GCM_SHA256"),
    ({"server_tls_protocols": "tlsv1.2", "server_tls_ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"},
     "TLSv1.2/ECDHE-ECDSA-AES128-GCM-SHA256"),
    ({"server_tls_protocols": "tlsv1.2", "server_tls_ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"},
     "TLSv1.2/ECDHE-ECDSA-AES256-GCM-SHA384"),
])
def test_what_is_offered_to_a_server(secured, options, expected):
    pooler = secured(server_tls_sslmode="require", **options)
    pooler.wire().do("SELECT 1")
    assert pooler.show("SERVERS")[0]["tls"] == expected


def test_tls_is_the_default_where_the_server_has_it(secured):
    assert is_encrypted(secured())


@pytest.mark.parametrize("mode, ca, host, words", [
    ("verify-ca", "other", "127.0.0.1", "certificate verify failed"),
    ("verify-full", "other", "127.0.0.1", "certificate verify failed"),
    ("verify-full", "ca", "127.0.0.2", None),
    ("verify-full", None, "127.0.0.1", "certificate verify failed"),
    ("verify-ca", "ca", "localhost", ""),
    ("verify-full", "ca", "localhost", ""),
    ("require", "other", "127.0.0.1", ""),
])
def test_what_the_server_has_to_prove(secured, certificates, mode, ca, host, words):
    pooler = secured(line={"host": host}, server_tls_sslmode=mode, client_login_timeout=3, query_wait_timeout=3,
                     server_tls_ca_file=certificates.crt(ca) if ca else None)
    if words == "":
        assert is_encrypted(pooler)
        return
    with pytest.raises(ServerError):
        pooler.wire()
    pooler.says(words or "server login failed")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_certificate_for_another_host(start, certificates, host):
    with FakeServer(certificates.server_context("elsewhere")) as server:
        pooler = start(databases={"test": {"host": host, "port": server.port}}, server_tls_sslmode="verify-full",
                       server_tls_ca_file=certificates.crt("ca"), client_login_timeout=2)
        with pytest.raises(ServerError):
            pooler.wire()
        mismatch = "IP address mismatch" if host == "127.0.0.1" else "hostname mismatch"
        pooler.says(f"certificate verify failed: {mismatch}")
        with pooler.admin() as console:
            console.run("SET server_tls_sslmode = 'verify-ca'")
        threading.Thread(target=pooler_login, args=(pooler,), daemon=True).start()
        assert server.next_login()["user"] == "app"


def pooler_login(pooler):
    try:
        pooler.wire()
    except (ServerError, OSError, wire.Closed):
        pass


def test_a_server_that_asks_for_a_certificate(secured, certificates):
    line = {"user": "cert"}
    shown = {"server_tls_cert_file": certificates.crt("app"), "server_tls_key_file": certificates.key("app")}
    pooler = secured(line=line, server_tls_sslmode="verify-full", server_tls_ca_file=certificates.crt("ca"), **shown)
    assert pooler.wire().value("SELECT session_user") == "cert"
    pooler = secured(line=line, server_tls_sslmode="verify-full", server_tls_ca_file=certificates.crt("ca"))
    with pytest.raises(ServerError, match="client certificate|cert"):
        pooler.wire()


def test_prefer_goes_on_in_tls_where_the_server_lets_nobody_in_by_it(secured):
    """As with every pooler of this configuration: TLS that was established is not given up for a refusal."""
    pooler = secured(passwords={"bare": ""})
    with pytest.raises(ServerError, match="pg_hba.conf rejects connection"):
        pooler.wire(user="bare")
    pooler = secured(passwords={"bare": ""}, server_tls_sslmode="disable")
    assert pooler.wire(user="bare").value("SELECT 1") == "1"


def test_no_tls_on_unix_sockets(secured, tls_postgres):
    pooler = secured(line={"host": str(tls_postgres.directory)}, server_tls_sslmode="require")
    assert not is_encrypted(pooler)


def test_scram_through_tls_and_pass_through(secured):
    """The server's side offers to bind to the channel; a client's own login proves the keys for it, too."""
    pooler = secured(auth_type="scram-sha-256", server_tls_sslmode="require")
    assert is_encrypted(pooler, user="scram", password=ROLES["scram"][0])


def test_pass_through_binds_to_the_channel(secured, tls_postgres, certificates):
    with tls_postgres.connect() as admin:
        secret = admin.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'scram'").fetchone()[0]
    pooler = secured(auth_type="scram-sha-256", server_tls_sslmode="require", passwords={"scram": secret},
                     **certificates.client_side())
    connection = pooler.connect(user="scram", password=ROLES["scram"][0], channel_binding="require",
                                **certificates.libpq())
    assert connection.execute(ENCRYPTED).fetchone()[0] is True


def test_another_tls_setting_replaces_the_servers_and_the_same_keeps_them(secured):
    pooler = secured(default_pool_size=1)
    client = pooler.wire()
    pid = client.value("SELECT pg_backend_pid()")
    pooler.reload()
    assert client.value("SELECT pg_backend_pid()") == pid
    with pooler.admin() as console:
        console.run("SET server_tls_sslmode = 'disable'")
    pooler.says("closing because: database configuration changed")
    assert client.value(ENCRYPTED) == "f"


def test_large_answers_through_tls_on_both_sides(secured, certificates):
    pooler = secured(**certificates.client_side())
    client = pooler.bare_wire().secure(certificates.context())
    client.login("app", "test")
    for size in (1, 16383, 16384, 16385, 65535, 65536, 65537, 5_000_000):
        assert client.value(f"SELECT repeat('x', {size})") == "x" * size
        assert client.extended("SELECT length($1)", [b"y" * size], types=(25,)).texts == [(str(size),)]


# cancel


def test_a_cancel_request_travels_as_its_server_does(secured, tls_postgres):
    """Seen on the wire: the key never stands there in the clear."""
    with Tap(tls_postgres.port) as tap:
        pooler = secured(port=tap.port, server_tls_sslmode="require")
        client = pooler.wire()
        client.do("SELECT 1")
        client.send(query("SELECT pg_sleep(30)"))
        until("the query runs", lambda: any(row["state"] == "active" for row in pooler.show("SERVERS")))
        before = tap.connections
        with Wire(pooler.port) as canceller:
            canceller.send(wire.cancel_request(*client.key))
        assert client.ready().errors[0]["C"] == "57014"
        assert tap.connections == before + 1
        assert tap.sent.count(wire.SSL_REQUEST) == 2
        assert struct.pack("!i", 80877102) not in tap.sent
        assert client.value("SELECT 1") == "1"


# a server that is not one


class FakeServer(Accepting):
    """Speaks TLS, and of PostgreSQL's protocol as much as a login asks; keeps what it was told."""

    def __init__(self, context, mechanisms=(), answer=b"S"):
        self.context, self.mechanisms, self.answer = context, mechanisms, answer
        self.logins, self.initial, self.problems = [], [], []
        self.raw = []
        super().__init__()

    def serve(self, near):
        near.settimeout(seconds(10))
        try:
            assert near.recv(8) == wire.SSL_REQUEST
            near.sendall(self.answer)
            if self.answer != b"S":
                self.raw.append(near.recv(4096))
                return
            secure = self.context.wrap_socket(near, server_side=True)
            length = struct.unpack("!i", secure.recv(4))[0]
            words = secure.recv(length - 4)[4:].split(b"\0")
            self.logins.append({key.decode(): value.decode() for key, value in zip(words[::2], words[1::2])})
            secure.sendall(message(b"R", struct.pack("!i", 10) + b"".join(map(text, self.mechanisms)) + b"\0"))
            secure.recv(1)
            length = struct.unpack("!i", secure.recv(4))[0]
            self.initial.append(secure.recv(length - 4))
        except (OSError, AssertionError, struct.error) as problem:
            self.problems.append(problem)
        finally:
            near.close()

    def next_login(self):
        return until("somebody logs in to the fake server", lambda: self.logins and self.logins[-1])

    def next_initial(self):
        return until("a SASLInitialResponse", lambda: self.initial and self.initial[-1])


@pytest.mark.parametrize("mechanisms, chosen, header", [
    (("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"), b"SCRAM-SHA-256-PLUS\0", b"p=tls-server-end-point,,n="),
    (("SCRAM-SHA-256-PLUS",), b"SCRAM-SHA-256-PLUS\0", b"p=tls-server-end-point,,n="),
    (("SCRAM-SHA-256",), b"SCRAM-SHA-256\0", b"y,,n="),
])
def test_what_weir_says_of_the_channel(start, certificates, mechanisms, chosen, header):
    with FakeServer(certificates.server_context(), mechanisms) as server:
        pooler = start(databases={"test": {"host": "127.0.0.1", "port": server.port, "password": "x", "user": "app"}},
                       client_login_timeout=2)
        pooler_login(pooler)
        said = server.next_initial()
        assert said.startswith(chosen) and said[len(chosen) + 4:].startswith(header)


@pytest.mark.parametrize("answer, words", [
    (b"S" + message(b"R", struct.pack("!i", 0)), "server sent bytes ahead of the TLS handshake"),
    (b"E" + b"SFATAL\0\0", "server does not understand the question for TLS"),
    (b"?", "server does not understand the question for TLS"),
])
@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_p15_bytes_ahead_of_the_servers_handshake_are_not_believed(start, certificates, answer, words, mode):
    with FakeServer(certificates.server_context(), answer=answer) as server:
        pooler = start(databases={"test": {"host": "127.0.0.1", "port": server.port}}, client_login_timeout=2,
                       server_tls_sslmode=mode)
        pooler_login(pooler)
        pooler.says(words)
        assert server.raw and not any(server.raw), "nothing was said to it in the clear"


# where it meets the rest


def test_two_workers_hand_servers_with_tls_over(secured, certificates):
    """One server for clients of both threads: it moves between them with its keys and counters."""
    pooler = secured(workers=2, default_pool_size=1, server_tls_sslmode="require", **certificates.client_side())

    def work(number):
        client = pooler.bare_wire().secure(certificates.context())
        client.login("app", "test")
        for turn in range(60):
            assert client.value(f"SELECT '{number}.{turn}'") == f"{number}.{turn}"
        return client.value("SELECT pg_backend_pid()")

    assert len(set(crowd(8, work))) == 1


def test_the_cache_and_its_watch_through_tls(secured, tls_postgres, certificates):
    """The control connections follow the same keys, and hits reach clients with TLS."""
    database = tls_postgres.make_database()
    database.execute(caching.ITEMS, user="app")
    pooler = secured(line={"dbname": database.name, "control_user": "control"}, server_tls_sslmode="verify-full",
                     server_tls_ca_file=certificates.crt("ca"), **caching.OPTIONS, **certificates.client_side())
    cache = caching.Cache(pooler, database)
    client = pooler.bare_wire().secure(certificates.context())
    client.login("app", "test")
    assert cache.warm(lambda: client.value(caching.READ)) == "item 1"
    assert cache.hit(lambda: client.value(caching.READ)) == "item 1"
    secure = database.value("SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                            " WHERE application_name = 'weir control' AND ssl")
    assert secure == 1
    pooler.stop()
    database.drop()
