"""TLS with clients: who gets it, who must have it, who proves what by it."""

import hashlib
import re
import ssl
import threading

import psycopg
import pytest

from harness import wire
from harness.compare import assert_same
from harness.postgres import ROLES
from harness.wait import until
from harness.wire import SSL_REQUEST, Closed, ServerError, query

pytestmark = pytest.mark.needs("exact_errors")


def value(connection, sql="SELECT 1"):
    return connection.execute(sql).fetchone()[0]


# the pooler's mode, the client's: does it come to a session, and is that encrypted?
MODES = [
    ("disable", "disable", False), ("disable", "prefer", False), ("disable", "require", None),
    ("allow", "disable", False), ("allow", "prefer", True), ("allow", "verify-full", True),
    ("prefer", "disable", False), ("prefer", "require", True),
    ("require", "disable", None), ("require", "allow", True), ("require", "verify-full", True),
    ("verify-ca", "require", None), ("verify-full", "require", None),
]


@pytest.mark.parametrize("mine, theirs, expected", MODES)
def test_who_gets_tls(start, certificates, mine, theirs, expected):
    pooler = start(**certificates.verified(mine))
    arguments = certificates.libpq(sslmode=theirs)
    if expected is None:
        with pytest.raises(psycopg.OperationalError):
            pooler.connect(**arguments)
        return
    connection = pooler.connect(**arguments)
    assert value(connection) == 1
    assert connection.pgconn.ssl_in_use == expected
    row = next(row for row in pooler.show("CLIENTS") if row["database"] == "test")
    shown = row["tls"] if expected else "no"
    assert bool(row["tls"]) == expected
    assert shown == "no" or re.fullmatch(r"TLSv1\.3/TLS_[A-Z0-9_]+", shown)
    pooler.says(f"login attempt: db=test user=app tls={shown}\n")


def test_who_must_have_tls_is_told_so(start, certificates):
    pooler = start(unix_socket_dir="/tmp", **certificates.client_side("require"))
    client = pooler.bare_wire()
    with pytest.raises(ServerError, match="SSL required"):
        client.login("app", "test")
    pooler.says("pooler error: SSL required")
    client = pooler.bare_wire()
    client.send(SSL_REQUEST)
    assert client.raw(1) == b"S"


def test_nobody_needs_tls_on_the_unix_socket(start, certificates, tmp_path):
    pooler = start(unix_socket_dir="/tmp", **certificates.client_side("require"))
    with psycopg.connect(host="/tmp", port=pooler.port, dbname="test", user="app") as connection:
        assert value(connection) == 1
        assert not connection.pgconn.ssl_in_use


def test_everything_goes_through_tls_as_it_does_without(start, database, certificates):
    pooler = start(default_pool_size=1, **certificates.client_side("require"))
    client = pooler.bare_wire().secure(certificates.context())
    client.login("app", "test")
    assert_same(database, client, [
        (query("SELECT 1; SELECT repeat('x', 3000000)"), 1), (query("SELECT 1/0"), 1),
        (query("SELECT g, repeat(g::text, 100) FROM generate_series(1, 20000) g"), 1),
        (wire.once("SELECT length($1)", [b"y" * 3_000_000], types=(25,)) + wire.SYNC, 1),
        (b"".join(wire.once(f"SELECT {n}") + wire.SYNC for n in range(500)), 500)])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions(start, certificates, version):
    both = start(**certificates.client_side())
    client = both.bare_wire().secure(certificates.context(version=version))
    client.login("app", "test")
    assert client.value("SELECT 1") == "1"
    new = start(client_tls_protocols="tlsv1.3", **certificates.client_side())
    if version == ssl.TLSVersion.TLSv1_2:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            new.bare_wire().secure(certificates.context(version=version))
        new.says(re.compile(r"closing because: TLS: unsupported protocol"))
    else:
        new.bare_wire().secure(certificates.context(version=version)).login("app", "test")


def test_ciphers(start, certificates):
    pooler = start(client_tls13_ciphers="TLS_CHACHA20_POLY1305_SHA256", client_tls_ciphers="ECDHE-ECDSA-AES128-GCM-SHA256",
                   client_tls_ecdhcurve="prime256v1", **certificates.client_side())
    new = pooler.bare_wire().secure(certificates.context())
    assert new.socket.cipher()[0] == "TLS_CHACHA20_POLY1305_SHA256"
    old = pooler.bare_wire().secure(certificates.context(version=ssl.TLSVersion.TLSv1_2))
    assert old.socket.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"


# a handshake without the question for it


def test_tls_from_the_first_byte_on(start, certificates):
    pooler = start(**certificates.client_side())
    assert value(pooler.connect(sslnegotiation="direct", **certificates.libpq())) == 1
    client = pooler.bare_wire().secure(certificates.context(alpn="postgresql"), ask=False)
    client.login("app", "test")
    assert client.value("SELECT 1") == "1"


def test_tls_from_the_first_byte_on_needs_the_name_of_the_protocol(start, certificates):
    pooler = start(**certificates.client_side())
    client = pooler.bare_wire().secure(certificates.context(), ask=False)
    with pytest.raises(ServerError, match="ALPN"):
        client.login("app", "test")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        pooler.bare_wire().secure(certificates.context(alpn="http/1.1"), ask=False)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        pooler.bare_wire().secure(certificates.context(alpn="http/1.1"))


def test_a_question_for_tls_inside_tls_is_refused(start, certificates):
    pooler = start(**certificates.client_side())
    for ask, alpn in ((True, None), (False, "postgresql")):
        client = pooler.bare_wire().secure(certificates.context(alpn=alpn), ask=ask)
        client.send(SSL_REQUEST)
        assert "SSLRequest was answered already" in client.next_is("E").body.decode(errors="replace")


# certificates of clients


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_only_a_certificate_of_the_authority_lets_in(start, certificates, mode):
    pooler = start(**certificates.verified(mode))
    assert value(pooler.connect(**certificates.libpq("app"))) == 1
    assert value(pooler.connect(user="other", **certificates.libpq("app"))) == 1
    for name, words in (("stranger", "certificate verify failed"), (None, "did not return a certificate")):
        with pytest.raises(psycopg.OperationalError):
            pooler.connect(**certificates.libpq(name))
        pooler.says(words)


def test_below_verify_a_bad_certificate_does_not_matter(start, certificates):
    pooler = start(**certificates.verified("require"))
    assert value(pooler.connect(**certificates.libpq("stranger"))) == 1


def test_the_certificate_says_who_it_is(start, certificates):
    pooler = start(auth_type="cert", **certificates.verified("verify-full"))
    assert value(pooler.connect(**certificates.libpq("app")), "SELECT session_user") == "app"
    for user in ("other", "nobody"):
        with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
            pooler.connect(user=user, **certificates.libpq("app"))
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        pooler.connect(**certificates.libpq("other-role"))


# channel binding



def test_scram_binds_to_the_channel(start, certificates):
    pooler = start(auth_type="scram-sha-256", **certificates.client_side())
    for binding in ("require", "prefer", "disable"):
        connection = pooler.connect(password=ROLES["app"][0], channel_binding=binding, **certificates.libpq())
        assert value(connection) == 1
    plain = start(auth_type="scram-sha-256")
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        plain.connect(password=ROLES["app"][0], channel_binding="require", sslmode="disable")


PLUS = "SCRAM-SHA-256-PLUS"
BOUND = b"p=tls-server-end-point,,"


@pytest.mark.parametrize("header, data, mechanism, words", [
    (BOUND, None, PLUS, None),
    (b"n,,", b"", "SCRAM-SHA-256", None),
    (b"y,,", b"", "SCRAM-SHA-256", "not offered"),
    (BOUND, b"x" * 32, PLUS, "does not match"),
    (b"n,,", b"", PLUS, "without channel binding"),
    (BOUND, None, "SCRAM-SHA-256", "without channel binding"),
    (b"p=tls-unique,,", None, PLUS, "unsupported channel-binding type"),
])
def test_what_a_client_says_of_the_channel_is_checked(start, certificates, header, data, mechanism, words):
    pooler = start(auth_type="scram-sha-256", **certificates.client_side())
    client = pooler.bare_wire().secure(certificates.context())
    seen = hashlib.sha256(client.socket.getpeercert(binary_form=True)).digest()
    client.binding = (header, seen if data is None else data, mechanism)
    if words:
        with pytest.raises(ServerError, match=words):
            client.login("app", "test", ROLES["app"][0])
    else:
        client.login("app", "test", ROLES["app"][0])
    assert client.mechanisms == [PLUS, "SCRAM-SHA-256"]


def test_without_tls_there_is_nothing_to_bind_to(start, certificates):
    pooler = start(auth_type="scram-sha-256", **certificates.client_side("allow"))
    client = pooler.bare_wire()
    client.binding = (b"y,,", b"", "SCRAM-SHA-256")
    client.login("app", "test", ROLES["app"][0])
    assert client.mechanisms == ["SCRAM-SHA-256"]
    client = pooler.bare_wire()
    client.binding = (BOUND, b"x" * 32, PLUS)
    with pytest.raises(ServerError, match="invalid SASL authentication mechanism"):
        client.login("app", "test", ROLES["app"][0])


# cancel


def test_cancel_requests_come_by_tls_too(start, certificates):
    pooler = start(**certificates.client_side())
    connection = pooler.connect(**certificates.libpq())
    failures = []

    def work():
        try:
            connection.execute("SELECT pg_sleep(30)")
        except psycopg.errors.QueryCanceled as failure:
            failures.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    until("the query runs", lambda: any(row["state"] == "active" for row in pooler.show("SERVERS")))
    connection.cancel_safe(timeout=10)
    thread.join(20)
    assert len(failures) == 1
    assert value(connection) == 1


# configuration



@pytest.mark.parametrize("changes, words", [
    ({"client_tls_cert_file": "/nowhere/at.all"}, 'client_tls_cert_file = "/nowhere/at.all": not a certificate in PEM'),
    ({"client_tls_key_file": "/nowhere/at.all"}, 'client_tls_key_file = "/nowhere/at.all": not a private key'),
    ({"client_tls_ca_file": "/nowhere/at.all"}, 'client_tls_ca_file = "/nowhere/at.all": no certificates in PEM'),
    ({"client_tls_key_file": "app.key"}, "the key does not belong to the certificate"),
    ({"client_tls_key_file": None}, "set both"),
    ({"client_tls_protocols": "tlsv9"}, 'client_tls_protocols = "tlsv9": "tlsv9" is no version'),
    ({"client_tls_ciphers": "NONE-SUCH"}, 'client_tls_ciphers = "NONE-SUCH": no cipher'),
    ({"client_tls_sslmode": "verify-full"}, 'client_tls_ca_file = "": the authorities'),
    ({"auth_type": "cert"}, "auth_type = cert needs client_tls_sslmode = verify-full"),
    ({"server_tls_sslmode": "verify-full", "server_tls_ca_file": "/nowhere/at.all"}, 'server_tls_ca_file = "/nowhere'),
    ({"server_tls_key_file": "app.key"}, "set both"),
])
def test_what_cannot_work_is_refused_at_the_start_and_by_a_reload(start, new_pooler, certificates, changes, words):
    changes = {key: certificates.path(text) if str(text).endswith("app.key") else text for key, text in changes.items()}
    good = certificates.client_side()
    wrong = new_pooler({"test": "host=127.0.0.1"}, {**good, **changes})
    wrong.spawn()
    assert wrong.process.wait(20) != 0
    wrong.process = None
    wrong.says(words)
    named = next(iter(changes))
    assert named == "auth_type" or re.search(r"weir\.ini(:\d+)?: (client|server)_tls", wrong.log())

    pooler = start(**good)
    pooler.options.update(changes)
    pooler.write_config()
    with pooler.admin() as console, pytest.raises(ServerError, match="RELOAD failed, see logs"):
        console.run("RELOAD")
    pooler.says(words)
    assert value(pooler.connect(**certificates.libpq())) == 1


def test_two_halves_of_a_change_by_set(start, certificates):
    """Neither half fits the other one's old value: what is in use stays until both are there."""
    pooler = start(**certificates.client_side())
    with pooler.admin() as console:
        console.run(f"SET client_tls_key_file = '{certificates.key('foreign')}'")
        assert value(pooler.connect(**certificates.libpq())) == 1
        pooler.says("the one in use stays until both fit")
        console.run(f"SET client_tls_cert_file = '{certificates.crt('foreign')}'")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        pooler.connect(**certificates.libpq())
    assert value(pooler.connect(sslmode="require", sslcert="/nowhere")) == 1
    with pooler.admin() as console, pytest.raises(ServerError, match="client_tls_cert_file"):
        console.run("SET client_tls_cert_file = '/nowhere/at.all'")


def test_tls_comes_and_goes_with_set(start, certificates):
    pooler = start()
    with pooler.admin() as console:
        with pytest.raises(ServerError, match="set both"):
            console.run("SET client_tls_sslmode = 'require'")
        console.run(f"SET client_tls_key_file = '{certificates.key('server')}'")
        console.run(f"SET client_tls_cert_file = '{certificates.crt('server')}'")
        console.run("SET client_tls_sslmode = 'allow'")
        encrypted = pooler.connect(**certificates.libpq())
        console.run("SET client_tls_sslmode = 'disable'")
    with pytest.raises(psycopg.OperationalError, match="does not support SSL"):
        pooler.connect(**certificates.libpq())
    assert value(encrypted) == 1
