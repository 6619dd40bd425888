"""Logging in: how clients prove who they are to the pooler, and the pooler to PostgreSQL."""

import psycopg
import pytest

from harness import wire
from harness.postgres import ROLES


@pytest.mark.parametrize("method", ["trust", "plain", "md5", "scram-sha-256"])
@pytest.mark.parametrize("user", ["app", "scram", "md5", "plain"])
def test_every_pair_of_client_and_server_authentication(start, method, user):
    pooler = start(auth_type=method)
    password = ROLES[user][0]
    with pooler.connect(user=user, password=password) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (user,)


@pytest.mark.parametrize("method", ["plain", "md5", "scram-sha-256"])
def test_wrong_password_is_refused_with_postgresqls_code(start, method):
    pooler = start(auth_type=method)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed|SASL authentication failed"):
        pooler.connect(user="scram", password="wrong")
    with pytest.raises(psycopg.OperationalError):
        pooler.connect(user="nobody-of-that-name", password="wrong")


def test_unknown_database_is_refused(start):
    pooler = start()
    with pytest.raises(psycopg.OperationalError, match="no such database|does not exist"):
        pooler.connect(dbname="nowhere")


def test_ssl_and_gss_requests_are_answered_no_and_the_login_goes_on(start):
    pooler = start()
    for request in (wire.GSSENC_REQUEST, wire.SSL_REQUEST):
        client = pooler.bare_wire()
        client.send(request)
        assert client.raw(1) == b"N"
        client.login("app", "test")
        assert client.value("SELECT 1") == "1"


@pytest.mark.needs("exact_errors")
def test_protocol_3_2_is_negotiated_down(start):
    client = start().bare_wire()
    client.send(wire.startup(wire.PROTOCOL_3_2, user="app", database="test", **{"_pq_.unknown": "x"}))
    seen = client.next()
    assert seen.kind == "v", "NegotiateProtocolVersion comes first"
    assert seen.body[:4] in (b"\0\x03\0\0", b"\0\0\0\0", b"\0\x03\0\x02", b"\0\0\0\x02")
    assert b"_pq_.unknown" in seen.body
    client.finish_login("app")
    assert client.value("SELECT 1") == "1"
