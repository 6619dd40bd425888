"""Weir beside PgBouncer, on the same files: the same logins are refused with the same words, and the same
configurations are accepted."""

import subprocess
from pathlib import Path

import pytest

from harness import wire
from harness.capability import WEIR_BIN
from harness.postgres import ROLES
from harness.system import as_account, free_port, give_to_account, make_directory
from harness.wait import seconds, until

PGBOUNCER = Path("/usr/sbin/pgbouncer")

pytestmark = [pytest.mark.needs("check"),
              pytest.mark.skipif(not PGBOUNCER.exists(), reason="Debian's pgbouncer is not installed")]


# ---- logins ----

def refusal(pooler, user, password="wrong", dbname="test", packet=None):
    """Code and message with which a login is refused; None for one that is let in."""
    client = pooler.bare_wire()
    client.send(packet or wire.startup(user=user, database=dbname))
    while True:
        seen = client.next()
        if seen.kind == "E":
            fields = wire.fields_of(seen.body)
            return fields["C"], fields["M"]
        if seen.kind == "Z":
            return None
        if seen.kind == "R" and not isinstance(password, str):
            client.send(password)
        elif seen.kind == "R":
            client._authenticate(seen.body, user, password)


def sasl(mechanism):
    first = b"n,,n=,r=abcdefghijklmnop"
    return wire.message(b"p", wire.text(mechanism) + len(first).to_bytes(4, "big") + first)


# name: (auth_type, what to send, the code that PostgreSQL would give)
LOGINS = {
    "plain: wrong password": ("plain", {"user": "plain"}, "28P01"),
    "plain: nobody": ("plain", {"user": "nobody"}, "28P01"),
    "plain: wrong for an md5 hash": ("plain", {"user": "hash"}, "28P01"),
    "plain: wrong for a SCRAM secret": ("plain", {"user": "secret"}, "28P01"),
    "plain: a user without a password": ("plain", {"user": "postgres", "password": "x"}, "28P01"),
    "plain: empty password": ("plain", {"user": "plain", "password": ""}, "28P01"),
    "md5: wrong password": ("md5", {"user": "plain"}, "28P01"),
    "md5: nobody": ("md5", {"user": "nobody"}, "28P01"),
    "md5: wrong for an md5 hash": ("md5", {"user": "hash"}, "28P01"),
    "md5: wrong for a SCRAM secret": ("md5", {"user": "secret"}, "28P01"),
    "md5: an answer that is none": ("md5", {"user": "plain", "password": wire.message(b"p", b"md5x\0")}, "28P01"),
    "md5: no such database, wrong password": ("md5", {"user": "plain", "dbname": "nowhere"}, "28P01"),
    "scram: wrong password": ("scram-sha-256", {"user": "plain"}, "28P01"),
    "scram: nobody": ("scram-sha-256", {"user": "nobody"}, "28P01"),
    "scram: wrong for an md5 hash": ("scram-sha-256", {"user": "hash"}, "28P01"),
    "scram: right for an md5 hash": ("scram-sha-256", {"user": "hash", "password": "md5-secret"}, "28P01"),
    "scram: wrong for a SCRAM secret": ("scram-sha-256", {"user": "secret"}, "28P01"),
    "scram: another mechanism": ("scram-sha-256", {"user": "plain", "password": sasl("PLAIN")}, "08P01"),
    "trust: nobody": ("trust", {"user": "nobody"}, "28000"),
    "trust: nobody, forced user": ("trust", {"user": "nobody", "dbname": "forced"}, "28000"),
    "trust: no such database": ("trust", {"user": "plain", "dbname": "nowhere"}, "3D000"),
    "trust: nobody, no such database": ("trust", {"user": "nobody", "dbname": "nowhere"}, "28000"),
    "trust: console, no administrator": ("trust", {"user": "plain", "dbname": "pgbouncer"}, "08P01"),
    "md5: console, wrong password": ("md5", {"user": "admin", "dbname": "pgbouncer"}, "28P01"),
    "any: no forced user": ("any", {"user": "plain"}, "08P01"),
    "any: no such database": ("any", {"user": "plain", "dbname": "nowhere"}, "08P01"),
    "hba: reject": ("hba", {"user": "plain"}, "28000"),
    "hba: peer over TCP": ("hba", {"user": "hash"}, "28000"),
    "hba: certificate without TLS": ("hba", {"user": "secret"}, "28000"),
}

# Where Weir says more, or what a newer PgBouncer says.
OWN_WORDS = {
    "hba: reject": ("pg_hba.conf rejects connection", "login rejected"),
}


@pytest.fixture
def both(new_pooler, database):
    def begin(auth_type):
        pair = []
        for binary in (WEIR_BIN, PGBOUNCER):
            line = {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}
            pooler = new_pooler(
                {"test": line, "forced": {**line, "user": "app"}}, {"auth_type": auth_type}, None,
                {"plain": "plain-secret", "hash": secret_of(database, "md5"), "secret": secret_of(database, "scram")},
                None, binary)
            if auth_type == "hba":
                pooler.options["auth_hba_file"] = pooler.directory / "rules"
                pooler.options["auth_hba_file"].write_text(
                    "".join(f"host {rule.replace('FROM', '127.0.0.1/32')}\n" for rule in (
                        "pgbouncer admin FROM md5", "all plain FROM reject", "all hash FROM peer",
                        "all secret FROM cert")))
            pair.append(pooler.start())
        return pair

    return begin


def secret_of(database, role):
    return database.value("SELECT rolpassword FROM pg_authid WHERE rolname = %s", (role,))


@pytest.mark.parametrize("method", sorted({method for method, _, _ in LOGINS.values()}))
def test_bad_logins_get_the_same_words(both, method):
    ours, theirs = both(method)
    differences = []
    for name, (of, how, code) in LOGINS.items():
        if of != method:
            continue
        said, expected = refusal(ours, **how), refusal(theirs, **how)
        assert said and expected, f"{name}: {said} {expected}"
        own, other = OWN_WORDS.get(name, (expected[1], expected[1]))
        if said[0] != code or own not in said[1] or other not in expected[1]:
            differences.append(f"{name}: {said}, where PgBouncer says {expected}")
    assert not differences, "\n".join(differences)
    good = {"any": {"user": "whoever", "dbname": "forced"}, "hba": {"user": "admin", "password": "admin-secret",
                                                                     "dbname": "pgbouncer"}}
    how = good.get(method, {"user": "plain", "password": ROLES["plain"][0]})
    assert refusal(ours, **how) is None and refusal(theirs, **how) is None


# ---- configurations ----

DATABASES = "[databases]\nd = host=127.0.0.1 port=1\n"
KEYS = [  # lines of [pgbouncer]
    "auth_type = trust", "auth_type = any", "auth_type = plain", "auth_type = md5", "auth_type = scram-sha-256",
    "auth_type = TRUST", "auth_type = nonsense", "auth_type =", "auth_type = scram", "auth_type = password",
    "auth_user = control", "auth_query = SELECT $1, $2", "auth_query =", "auth_file =",
    "pool_mode = session", "pool_mode = transaction", "pool_mode = statement", "pool_mode = Transaction",
    "pool_mode = connection", "pool_mode = 1",
    "default_pool_size = 0", "default_pool_size = 5", "default_pool_size = five", "default_pool_size = -1",
    "default_pool_size = 5.5", "default_pool_size = ", "default_pool_size = 0x10",
    "max_client_conn = 10", "max_client_conn = 1000000", "min_pool_size = 3", "reserve_pool_size = 2",
    "query_timeout = 1.5", "query_timeout = 0", "query_timeout = soon", "query_timeout = 10s",
    "server_lifetime = 3600", "server_idle_timeout = 1e3", "client_login_timeout = 60",
    "log_connections = 0", "log_connections = 1", "log_connections = yes", "log_connections = maybe",
    "verbose = 2", "stats_period = 10", "listen_backlog = 10",
    "tcp_keepalive = 1", "tcp_defer_accept = 0", "unix_socket_mode = 0700", "unix_socket_mode = 0999",
    "admin_users = a, b", "stats_users =", "ignore_startup_parameters = extra_float_digits, options",
    "server_reset_query = DISCARD ALL", "server_reset_query =", "server_check_query = select 1",
    "server_reset_query_always = 1", "server_round_robin = 1", "application_name_add_host = 0",
    "no_such_key = 1", "Pool_Mode = session", "pool_mode session", "= 1", "; comment", "# comment",
    "syslog = 0", "job_name = x", "max_packet_size = 2147483647", "pkt_buf = 8192", "sbuf_loopcnt = 0",
    "dns_max_ttl = 5", "dns_zone_check_period = 1", "client_tls_sslmode = disable", "client_tls_sslmode = never",
    "server_tls_sslmode = disable", "autodb_idle_timeout = 3600", "suspend_timeout = 10", "%include /nonexistent/file",
]
LINES = [  # of [databases]
    "x =", "x = host=127.0.0.1", "x = host=127.0.0.1 port=5433 dbname=y", "x = port=abc", "x = port=0",
    "x = port=70000", "x = nonsense=1", "x = host", "x = dbname='it''s'", "x = dbname='open", "* = host=127.0.0.1",
    "pgbouncer = host=127.0.0.1", "x = user=u password='a b'", "x = password=p", "x = pool_size=3", "x = pool_size=three",
    "x = pool_mode=session", "x = pool_mode=never", "x = connect_query='select 1'", "x = max_db_connections=5",
    "x = auth_user=u", "x = client_encoding=utf8", "x = host=a,b", "x = reserve_pool=2", "x = min_pool_size=1",
    "x = timezone='Europe/Paris' datestyle=ISO", "x = application_name=me", "x = host = 127.0.0.1", "\"a b\" = host=x",
]
USERS = ["u = pool_mode=session", "u = pool_mode=never", "u = max_user_connections=5", "u = nonsense=1", "u ="]
CONFIGURATIONS = ([DATABASES + f"[pgbouncer]\nBASE\n{line}\n" for line in KEYS] +
                  [DATABASES + f"{line}\n[pgbouncer]\nBASE\n" for line in LINES] +
                  [DATABASES + f"[users]\n{line}\n[pgbouncer]\nBASE\n" for line in USERS] +
                  [DATABASES + "[pgbouncer]\nBASE\n[nonsense]\nx = 1\n", "x = 1\n" + DATABASES + "[pgbouncer]\nBASE\n",
                   DATABASES + "[pgbouncer\nBASE\n", "[pgbouncer]\nBASE\n"])

# Where Weir wants to be stricter, since what PgBouncer makes of it is not what was meant; or knows more.
WEIR_IS_STRICTER = {
    "default_pool_size = -1", "x = port=70000", "x = pool_size=three",  # PgBouncer takes them for something else
    "default_pool_size = 0x10", "server_idle_timeout = 1e3",            # ways to write a number
}
WEIR_KNOWS_MORE = {"query_timeout = 10s", "log_connections = yes", "Pool_Mode = session", '"a b" = host=x'}


def first_odd(text):
    """The line that a configuration is about."""
    return next((line for line in text.splitlines()
                 if line not in ("BASE", "[databases]", "[pgbouncer]", "[users]", "d = host=127.0.0.1 port=1")), "")


def written(directory, text):
    path = directory / "pooler.ini"
    base = {"listen_addr": "127.0.0.1", "listen_port": free_port(), "unix_socket_dir": "", "auth_type": "trust",
            "logfile": directory / "log"}
    # The last of two lines for one key counts.
    path.write_text(text.replace("BASE", "\n".join(f"{key} = {value}" for key, value in base.items())))
    give_to_account(path)
    return path


def pgbouncer_starts(directory, ini):
    log = directory / "log"
    process = subprocess.Popen([PGBOUNCER, ini], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, cwd=directory, **as_account())
    try:
        until("PgBouncer is up or gone", lambda: process.poll() is not None or (
            log.exists() and "process up" in log.read_text()))
        return process.poll() is None
    finally:
        process.kill()
        process.wait(10)


def weir_accepts(directory, ini):
    run = subprocess.run([WEIR_BIN, "--check", ini], capture_output=True, text=True, cwd=directory,
                         timeout=seconds(30))
    assert run.returncode in (0, 1), run.stderr
    if run.returncode:
        assert str(ini) in run.stderr + run.stdout or "nonexistent" in run.stderr, "the file is named"
    return run.returncode == 0


def test_the_same_configurations_are_accepted():
    assert len(CONFIGURATIONS) >= 60
    differences = []
    for text in CONFIGURATIONS:
        directory = make_directory("weir-beside-")
        ini = written(directory, text)
        ours, theirs = weir_accepts(directory, ini), pgbouncer_starts(directory, ini)
        line = first_odd(text)
        if line in WEIR_IS_STRICTER:
            is_fine = theirs and not ours
        elif line in WEIR_KNOWS_MORE:
            is_fine = ours and not theirs
        else:
            is_fine = ours == theirs
        if not is_fine:
            differences.append(f"{line!r}: Weir {'accepts' if ours else 'refuses'}, "
                               f"PgBouncer {'accepts' if theirs else 'refuses'}")
    assert not differences, "\n".join(differences)
