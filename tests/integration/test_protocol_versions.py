"""Versions of the protocol, its options, and the cancel keys of 3.2."""

import struct

import pytest

from harness import wire
from harness.fake_server import FakeServer
from harness.wait import until
from harness.wire import Wire, query

PROTOCOL_3_1, PROTOCOL_GREASE = wire.PROTOCOL_3_0 + 1, wire.PROTOCOL_3_0 + 9999


def running(database):
    return database.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = "
                          f"'{database.name}'")


def cancel(pooler, key):
    with Wire(pooler.port) as link:
        link.send(wire.cancel_request(*key))
        return link.rest()


def negotiated(answer):
    """What NegotiateProtocolVersion says: the version and the options that are not known. None: it did not come."""
    for seen in answer:
        if seen.kind == "v":
            version, count = struct.unpack_from("!II", seen.body)
            options = seen.body[8:].split(b"\0")[:-1]
            assert len(options) == count
            return version, [option.decode() for option in options]
    return None


@pytest.mark.parametrize("asked, told, key_bytes", [
    (wire.PROTOCOL_3_0, None, 8), (PROTOCOL_3_1, None, 8), (wire.PROTOCOL_3_2, None, 36),
    (PROTOCOL_GREASE, wire.PROTOCOL_3_2, 36)], ids=["3.0", "3.1", "3.2", "3.9999"])
@pytest.mark.parametrize("database_name, user", [("test", "app"), ("pgbouncer", "admin")])
def test_a_client_gets_the_version_it_asks_for(start, asked, told, key_bytes, database_name, user):
    client = start().bare_wire()
    answer = client.login(user, database_name, version=asked)
    assert negotiated(answer) == (told and (told, []))
    assert 4 + len(client.key[1]) == key_bytes
    assert client.query("SHOW VERSION" if user == "admin" else "SELECT 1").texts


@pytest.mark.parametrize("asked, told", [(wire.PROTOCOL_3_0, wire.PROTOCOL_3_0), (wire.PROTOCOL_3_2, wire.PROTOCOL_3_2),
                                         (PROTOCOL_GREASE, wire.PROTOCOL_3_2)])
def test_options_of_the_protocol_are_named_as_not_known(start, asked, told):
    names = [f"_pq_.option_{number}" for number in range(100)]
    client = start().bare_wire()
    answer = client.login("app", "test", version=asked, **dict.fromkeys(names, "on"))
    assert answer[0].kind == "v", "before anything else"
    assert negotiated(answer) == (told, names)
    assert client.value("SELECT 1") == "1"


def test_other_major_versions_are_refused(start):
    for version in (2 << 16, 4 << 16):
        client = start().bare_wire()
        client.send(wire.startup(version, user="app", database="test"))
        assert "3.0 to 3.2" in client.up_to("E").errors[0]["M"]


@pytest.mark.parametrize("workers", [1, 2])
def test_p10_a_long_key_cancels_its_own_query(start, database, workers):
    pooler = start(workers=workers)
    client = pooler.bare_wire()
    client.login("app", "test", version=wire.PROTOCOL_3_2)
    client.send(query("SELECT pg_sleep(600)"))
    until("it runs", lambda: running(database) == 1)
    assert not cancel(pooler, client.key)
    assert client.ready().errors[0]["C"] == "57014"
    assert client.value("SELECT 'alive'") == "alive"


def test_p10_a_key_that_is_not_whole_cancels_nothing(start, database):
    """Of a long key all bytes count, and a short one is no beginning of a long one."""
    pooler = start()
    new, old = pooler.bare_wire(), pooler.bare_wire()
    new.login("app", "test", version=wire.PROTOCOL_3_2)
    old.login("app", "test")
    for client in (new, old):
        client.send(query("SELECT pg_sleep(600)"))
    until("both run", lambda: running(database) == 2)
    pid, secret = new.key
    wrong = [(pid, secret[:4]), (pid, secret[:-1]), (pid, secret + b"\0"), (pid, secret[:-1] + bytes([secret[-1] ^ 1])),
             (pid, secret[:4] + bytes([secret[4] ^ 1]) + secret[5:]), (old.key[0], old.key[1] + secret[4:]),
             (old.key[0], old.key[1] + bytes(28))]
    for key in wrong:
        assert not cancel(pooler, key)
    assert new.is_quiet() and old.is_quiet()
    assert running(database) == 2
    for client in (new, old):
        cancel(pooler, client.key)
        assert client.ready().errors[0]["C"] == "57014"


def test_p10_keys_of_any_legal_length_are_read(start):
    pooler = start()
    for secret in (4, 5, 32, 33, 255, 256):
        assert not cancel(pooler, (1, bytes(secret))), secret
    for secret in (0, 3, 257):
        assert cancel(pooler, (1, bytes(secret))).errors[0]["C"] == "08P01", secret


@pytest.mark.parametrize("secret", [4, 32, 256])
def test_p10_a_server_may_give_a_key_of_any_length(new_pooler, secret):
    key = bytes(range(1, 5)) + bytes(number % 251 for number in range(secret))
    with FakeServer(key=key) as server:
        pooler = new_pooler({"test": {"host": "127.0.0.1", "port": server.port}}).start()
        client = pooler.wire()
        assert client.value("SELECT 1") == "fake"
        client.send(query("SELECT pg_sleep(600)"))
        until("it runs", lambda: pooler.admin().pool("test", "app")["cl_active"] == "1")
        cancel(pooler, client.key)
        assert client.ready().errors[0]["C"] == "57014"
        assert server.cancels == [key]
        assert set(server.versions) == {wire.PROTOCOL_3_0}


def test_a_server_key_that_is_too_long_ends_the_login(new_pooler):
    with FakeServer(key=bytes(4 + 257)) as server:
        pooler = new_pooler({"test": {"host": "127.0.0.1", "port": server.port}}).start()
        client = pooler.bare_wire()
        client.send(wire.startup(user="app", database="test"))
        pooler.says("unexpected message 'K' from server")
