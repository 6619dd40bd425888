"""SHOW as exporters and dashboards read it: the columns of each command, in order, with their types, over the wire; and
what stands in them."""

import struct

import pytest

from harness.wire import SYNC, ServerError, once

TYPES = {"s": 25, "i": 23, "n": 1700, "8": 20}

SOCKET = ("type:s user:s database:s replication:s state:s addr:s port:i local_addr:s local_port:i connect_time:s"
          " request_time:s wait:i wait_us:i close_needed:i ptr:s link:s remote_pid:i tls:s application_name:s"
          " prepared_statements:i id:i")
COUNTED = ("server_assignment_count", "xact_count", "query_count", "received", "sent", "xact_time", "query_time", "wait_time",
           "client_parse_count", "server_parse_count", "bind_count", "client_login_count")
IN_BYTES = [{"received": "bytes_received", "sent": "bytes_sent"}.get(name, name) for name in COUNTED]

COLUMNS = {
    "ACTIVE_SOCKETS": SOCKET, "CLIENTS": SOCKET, "SERVERS": SOCKET, "SOCKETS": SOCKET,
    "CONFIG": "key:s value:s default:s changeable:s",
    "DATABASES": "name:s host:s port:i database:s force_user:s pool_size:i min_pool_size:i reserve_pool_size:i"
                 " server_lifetime:i pool_mode:s load_balance_hosts:s max_connections:i current_connections:i"
                 " max_client_connections:i current_client_connections:i paused:i disabled:i",
    "DNS_HOSTS": "hostname:s ttl:8 addrs:s",
    "DNS_ZONES": "zonename:s serial:8 count:i",
    "FDS": "fd:i task:s user:s database:s addr:s port:i cancel:8 link:i client_encoding:s std_strings:s datestyle:s"
           " timezone:s password:s",
    "LISTS": "list:s items:i",
    "MEM": "name:s size:i used:i free:i memtotal:i",
    "PEERS": "peer_id:i host:s port:i pool_size:i",
    "PEER_POOLS": "peer_id:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active_cancel:i sv_login:i",
    "POOLS": "database:s user:s cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i"
             " sv_active_cancel:i sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i"
             " pool_mode:s load_balance_hosts:s",
    "STATE": "key:s value:s",
    "STATS": " ".join(["database:s"] + [f"total_{name}:n" for name in COUNTED] + [
        f"avg_{ {'received': 'recv'}.get(name, name)}:n" for name in COUNTED]),
    "STATS_TOTALS": " ".join(["database:s"] + [f"{name}:n" for name in IN_BYTES]),
    "STATS_AVERAGES": " ".join(["database:s"] + [
        f"avg_{name}:n" if name.endswith(("parse_count", "bind_count", "login_count")) else f"{name}:n" for name in IN_BYTES]),
    "TOTALS": "name:s value:n",
    "USERS": "name:s pool_size:s reserve_pool_size:s pool_mode:s max_user_connections:i current_connections:i"
             " max_user_client_connections:i current_client_connections:i",
    "VERSION": "version:s",
    "default_pool_size": "default_pool_size:s",
}


def described(body):
    """[(name, type)] of a RowDescription."""
    at, found = 2, []
    for _ in range(struct.unpack_from("!h", body)[0]):
        end = body.index(b"\0", at)
        found.append((body[at:end].decode(), struct.unpack_from("!I", body, end + 7)[0]))
        at = end + 19
    return found


@pytest.fixture
def console(start):
    pooler = start()
    client = pooler.wire()
    client.do("SELECT 1")
    with pooler.admin() as console:
        console.pooler, console.client = pooler, client
        yield console


@pytest.mark.parametrize("what", COLUMNS)
def test_columns_and_types(console, what):
    wanted = [(name, TYPES[kind]) for name, kind in (column.split(":") for column in COLUMNS[what].split())]
    answer = console.run(f"SHOW {what}")
    assert described(next(m.body for m in answer if m.kind == "T")) == wanted
    assert all(len(row) == len(wanted) for row in answer.rows)


def test_help_is_a_notice(console):
    answer = console.run("SHOW HELP")
    assert "N" in answer.kinds and "D" not in answer.kinds


def test_lists_and_state_have_their_rows(console):
    assert [row["list"] for row in console.show("LISTS")] == (
        "databases users peers pools peer_pools free_clients used_clients login_clients free_servers used_servers dns_names"
        " dns_zones dns_queries dns_pending").split()
    assert {row["key"]: row["value"] for row in console.show("STATE")} == {
        "active": "yes", "paused": "no", "suspended": "no"}


def test_the_console_counts_its_own_clients_and_commands(console):
    before = console.show("STATS")[-1]
    rows = {row["name"]: row for row in console.show("DATABASES")}
    assert rows["pgbouncer"]["current_client_connections"] == "1"
    assert rows["test"]["current_client_connections"] == "1"
    assert {row["name"]: row["current_client_connections"] for row in console.show("USERS")}["admin"] == "1"
    after = console.show("STATS")[-1]
    assert (before["database"], int(after["total_query_count"]) - int(before["total_query_count"])) == ("pgbouncer", 3)


def test_clients_and_servers_are_numbered_together(console):
    ids = [int(row["id"]) for row in console.show("SOCKETS")]
    assert len(ids) == 3 and len(set(ids)) == 3


def test_a_login_alone_is_no_assignment(console):
    """Settings of a startup packet are run past a server; that is not the client's use of it."""
    console.pooler.wire(DateStyle="German").do("SELECT 1")
    assert console.show("STATS")[0]["total_server_assignment_count"] == "2"


def test_fds_are_for_administrators(console):
    with console.pooler.admin("stats") as stats, pytest.raises(ServerError, match="admin access needed"):
        stats.run("SHOW FDS")


@pytest.mark.parametrize("command, state, phrase", [
    ("KILL_CLIENT nobody", "08P01", "invalid client pointer supplied"), ("KILL_CLIENT 123456", "08P01", "client not found"),
    ("PAUSE nosuch", "08P01", "no such database: nosuch"), ("SET listen_port = 1", None, "listen_port"),
    ("SET nosuch = 1", "42704", "nosuch"), ("SET pool_mode = sometimes", None, "sometimes"), ("SHOW nosuch", "42704", "SHOW"),
    ("RESUME", "55000", "not paused"), ("KILL_CLIENT", "42601", "KILL_CLIENT")])
def test_what_is_wrong_is_said(console, command, state, phrase):
    with pytest.raises(ServerError, match=phrase) as refused:
        console.run(command)
    assert state in (None, refused.value.code)
    assert console.show("VERSION")


def test_config_says_what_can_be_changed(console):
    config = {row["key"]: row for row in console.show("CONFIG")}
    assert (config["default_pool_size"]["changeable"], config["listen_port"]["changeable"]) == ("yes", "no")
    console.run("SET default_pool_size = 7")
    assert console.run("SHOW default_pool_size").texts == [("7",)]
    assert {row["key"]: row for row in console.show("CONFIG")}["default_pool_size"]["default"] == "20"


def test_the_extended_protocol_is_refused_and_the_connection_goes_on(console):
    console.wire.send(once("SHOW VERSION"), SYNC)
    answer = console.wire.ready()
    assert (answer.kinds, answer.errors[0]["C"]) == ("EZ", "0A000")
    assert console.show("VERSION")


@pytest.mark.parametrize("sql", ["SET extra_float_digits = 3", "SET client_encoding TO 'UTF8'", "SELECT version()", "SELECT 1",
                                 "SHOW TRANSACTION ISOLATION LEVEL", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"])
def test_what_drivers_say_on_their_own_breaks_nothing(console, sql):
    assert "C" in console.run(sql).kinds
    assert console.show("VERSION")


def test_commands_are_read_in_any_case_and_may_end_with_a_semicolon(console):
    for command in ("show version;", "Show Version", "SHOW VERSION ;", "reload;", "pause;", "resume"):
        assert "C" in console.run(command).kinds
