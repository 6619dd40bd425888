"""sslnegotiation = direct: the handshake with a server begins at once, with the protocol's name in it."""

import socket
import threading

import pytest

from harness import wire
from harness.accepting import Accepting
from harness.wait import seconds, until
from harness.wire import ServerError, query

HANDSHAKE = 0x16  # the first byte of a TLS record that begins one


class Front(Accepting):
    """What stands in front of a PostgreSQL and ends its clients' TLS: it understands nothing but a handshake."""

    def __init__(self, port, context):
        self.upstream, self.context = port, context
        self.first_bytes, self.protocols = [], []
        super().__init__()

    def serve(self, near):
        try:
            first = near.recv(1, socket.MSG_PEEK)
            self.first_bytes.append(first[0] if first else None)
            near.settimeout(10)
            near = self.context.wrap_socket(near, server_side=True)
            self.protocols.append(near.selected_alpn_protocol())
            near.settimeout(None)
            far = socket.create_connection(("127.0.0.1", self.upstream), 10)
            far.settimeout(None)
            self._ends += [near, far]
            threading.Thread(target=self._copy, args=(far, near), daemon=True).start()
            self._copy(near, far)
        except (OSError, ValueError):
            near.close()

    @staticmethod
    def _copy(source, target):
        try:
            while piece := source.recv(1 << 16):
                target.sendall(piece)
        except (OSError, ValueError):
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture
def front(database, certificates):
    context = certificates.server_context()
    context.set_alpn_protocols(["postgresql"])
    with Front(database.postgres.port, context) as made:
        yield made


@pytest.fixture
def serve(start, database, certificates):
    def begin(port, negotiation="direct", mode="verify-full", **options):
        line = {"host": "127.0.0.1", "port": port, "dbname": database.name, "sslnegotiation": negotiation}
        return start(databases={"test": line}, server_tls_sslmode=mode, server_tls_ca_file=certificates.crt("ca"),
                     client_login_timeout=3, **options)

    return begin


def test_the_handshake_comes_first(serve, front):
    pooler = serve(front.port)
    assert pooler.wire().value("SELECT 1") == "1"
    assert front.first_bytes == [HANDSHAKE] and front.protocols == ["postgresql"]
    assert pooler.show("SERVERS")[0]["tls"].startswith("TLSv1.3/")
    pooler.says("SSL established: TLSv1.3/")


def test_p10_a_cancel_request_goes_the_same_way(serve, front, database):
    pooler = serve(front.port)
    client = pooler.wire()
    client.send(query("SELECT pg_sleep(600)"))
    until("it runs", lambda: database.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND"
                                            f" datname = '{database.name}'") == 1)
    with pooler.bare_wire() as link:
        link.send(wire.cancel_request(*client.key))
        link.rest()
    assert client.ready().errors[0]["C"] == "57014"
    assert front.first_bytes == [HANDSHAKE] * 2 and front.protocols == ["postgresql"] * 2


def test_without_the_name_of_the_protocol_there_is_no_connection(serve, database, certificates):
    """Some other server's TLS, perhaps: it is told nothing."""
    with Front(database.postgres.port, certificates.server_context()) as nameless:
        pooler = serve(nameless.port)
        with pytest.raises(ServerError):
            pooler.wire()
        pooler.says("server login failed: server has not agreed to the protocol postgresql (ALPN), which"
                    " sslnegotiation=direct requires")


def test_a_server_that_wants_to_be_asked(serve, tls_postgres):
    """PostgreSQL before 17."""
    pooler = serve(tls_postgres.port)
    with pytest.raises(ServerError):
        pooler.wire()
    pooler.says("server login failed: login failed:")


def test_a_reload_takes_effect(serve, front, tls_postgres):
    pooler = serve(front.port)
    client = pooler.wire()
    assert client.value("SELECT 1") == "1"
    line = {**pooler.databases["test"], "port": tls_postgres.port, "dbname": "postgres", "sslnegotiation": "postgres"}
    pooler.reload(databases={"test": line})
    assert client.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"
    assert len(front.first_bytes) == 1


def test_a_reload_of_this_key_alone_opens_other_connections(serve, front):
    pooler = serve(front.port, query_wait_timeout=2)
    client = pooler.wire()
    assert client.value("SELECT 1") == "1"
    pooler.reload(databases={"test": {**pooler.databases["test"], "sslnegotiation": "postgres"}})
    client.send(query("SELECT 1"))
    until("the other way was tried", lambda: front.first_bytes[1:2] == [0], 5)


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_there_is_no_going_back_to_plain_text(new_pooler, mode):
    """As in libpq: who begins with the handshake has to insist on it."""
    pooler = new_pooler({"test": {"host": "127.0.0.1", "sslnegotiation": "direct"}}, {"server_tls_sslmode": mode})
    pooler.spawn()
    assert pooler.process.wait(seconds(10)) != 0
    log, pooler.process = pooler.log(), None
    assert all(words in log for words in ("weir.ini:", "sslnegotiation=direct", f"server_tls_sslmode = {mode}", "require")), log


def test_a_value_that_is_none(new_pooler):
    pooler = new_pooler({"test": {"host": "127.0.0.1", "sslnegotiation": "requiredirect"}})
    pooler.spawn()
    assert pooler.process.wait(seconds(10)) != 0
    log, pooler.process = pooler.log(), None
    assert all(words in log for words in ("weir.ini:", "sslnegotiation", "requiredirect", "postgres", "direct")), log
