"""A throw-away PostgreSQL cluster: made by initdb in a temporary directory, on a free port and a socket
directory of its own, without durability, removed at the end."""

import glob
import os
import shutil
import signal
import subprocess

import psycopg

from . import versions
from .system import as_account, free_port, give_to_account, make_directory
from .wait import seconds, until

# name -> (password, password_encryption); the role's pg_hba method follows from its name.
ROLES = {
    "app": ("app-secret", "scram-sha-256"),
    "other": ("other-secret", "scram-sha-256"),
    "scram": ("scram-secret", "scram-sha-256"),
    "md5": ("md5-secret", "md5"),
    "plain": ("plain-secret", "scram-sha-256"),
    "control": ("control-secret", "scram-sha-256"),  # a superuser: what the pooler asks for itself
}

HBA = """\
local all all trust
local replication all trust
host all app,other,control,postgres 127.0.0.1/32 trust
host all md5 127.0.0.1/32 md5
host all plain 127.0.0.1/32 password
host all all 127.0.0.1/32 scram-sha-256
"""

SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "wal_level": "logical",
    "shared_buffers": "64MB",
    "shared_preload_libraries": "pg_stat_statements",
    "compute_query_id": "on",
    "log_line_prefix": "'%m [%p] %u@%d '",
    "log_min_messages": "warning",
    "unix_socket_permissions": "0777",
}


def program(name):
    """The path of a PostgreSQL program: from PATH, or of the newest version Debian has installed."""
    found = shutil.which(name)
    if found and name in ("psql", "pgbench"):
        return found
    for path in sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True):
        return path
    assert found, f"PostgreSQL's {name} is not installed"
    return found


class Postgres:
    """version: such as "18"; without it WEIR_POSTGRES, and without that the distribution's."""

    def __init__(self, version=None, address="127.0.0.1", port=None, **settings):
        self.version = version or versions.WANTED
        self.address = address
        self.directory = make_directory("weir-pg-")
        self.data = self.directory / "data"
        self.log_path = self.directory / "log"
        self.port = port or free_port()
        self.process = None
        self._made = 0
        self._initdb(settings)

    def program(self, name):
        """The path of initdb, postgres or pg_ctl of this cluster's version."""
        return versions.installation(self.version) / "bin" / name if self.version else program(name)

    def _initdb(self, settings):
        run = subprocess.run(
            [self.program("initdb"), "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
             "--locale=C.UTF-8", "--no-sync"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.directory, **as_account())
        assert run.returncode == 0, run.stdout
        (self.data / "pg_hba.conf").write_text(HBA)
        with open(self.data / "postgresql.conf", "a") as conf:
            for key, value in {**SETTINGS, **settings}.items():
                conf.write(f"{key} = {value}\n")
        self._set_place()

    def _set_place(self):
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(f"port = {self.port}\nlisten_addresses = '{self.address}'\n")
            conf.write(f"unix_socket_directories = '{self.directory}'\n")

    def start(self):
        assert self.process is None
        with open(self.log_path, "ab") as log:
            give_to_account(self.log_path)
            self.process = subprocess.Popen(
                [self.program("postgres"), "-D", self.data], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.directory, start_new_session=True, **as_account())
        until("PostgreSQL accepts connections", self._answers, 60)
        return self

    def _answers(self):
        assert self.process.poll() is None, self.log_path.read_text()[-2000:]
        try:
            with self.connect():
                return True
        except psycopg.OperationalError:
            return False

    def make_roles(self):
        with self.connect() as admin:
            admin.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            for name, (password, encryption) in ROLES.items():
                admin.execute(f"SET password_encryption = '{encryption}'")
                admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
            admin.execute("ALTER ROLE control SUPERUSER")
            admin.execute("CREATE DATABASE template_of_tests")
        with self.connect("template_of_tests") as admin:
            admin.execute("ALTER SCHEMA public OWNER TO app; GRANT ALL ON SCHEMA public TO PUBLIC")
        return self

    def stop(self, mode="fast"):
        """mode: smart, fast, immediate (as pg_ctl names them), or kill (SIGKILL to every process at once)."""
        if self.process is None:
            return
        if mode == "kill":
            # Stopped first, so that no process gets to see another one's death.
            self.suspend()
            backends = self._backends()
            for pid in [*backends, self.process.pid]:
                os.kill(pid, signal.SIGKILL)
            until("the backends are gone", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in backends))
        else:
            how = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
            self.process.send_signal(how)
        self.process.wait(seconds(60))
        self.process = None

    def remove(self):
        self.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)

    def suspend(self):
        """Every process of the cluster stops answering, without a connection being closed."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        self._each_backend(signal.SIGSTOP)

    def resume(self):
        self._each_backend(signal.SIGCONT)
        os.killpg(self.process.pid, signal.SIGCONT)

    def _backends(self):
        # A backend is a session leader of its own, hence not in the postmaster's group.
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return [int(pid) for pid in file.read().split()]

    def _each_backend(self, sig):
        for pid in self._backends():
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass

    def connect(self, dbname="postgres", user="postgres", autocommit=True, **more):
        """A connection straight to PostgreSQL, past the pooler, over the Unix socket."""
        return psycopg.connect(host=str(self.directory), port=self.port, dbname=dbname, user=user,
                               autocommit=autocommit, prepare_threshold=None, connect_timeout=10, **more)

    def make_database(self, owner="app"):
        self._made += 1
        name = f"t{self._made}"
        with self.connect() as admin:
            # Copying files is twenty times faster than writing them through the log.
            admin.execute(f"CREATE DATABASE {name} OWNER {owner} TEMPLATE template_of_tests STRATEGY file_copy")
        return Database(self, name)

    def server_connections(self, dbname):
        """How many client backends the database has, besides the one that asks."""
        with self.connect() as admin:
            return admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
                " AND pid <> pg_backend_pid()", (dbname,)).fetchone()[0]


def name_standbys(database, names):
    """Sets synchronous_standby_names of a cluster, or of a database's, and waits until everybody knows."""
    with database.connect() as admin:
        admin.execute("SET synchronous_commit = off")
        admin.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        admin.execute("SELECT pg_reload_conf()")
        until("it is in force", lambda: admin.execute("SHOW synchronous_standby_names").fetchone()[0] == names)


class Standby(Postgres):
    """A streaming standby of a running cluster, at another address of the loopback and the same port."""

    def __init__(self, primary, address="127.0.0.2"):
        self.primary = primary
        super().__init__(address=address, port=primary.port)

    def _initdb(self, settings):
        run = subprocess.run(
            [program("pg_basebackup"), "-D", self.data, "-h", self.primary.directory, "-p", str(self.primary.port),
             "-U", "postgres", "-R", "-X", "stream", "-c", "fast", "--no-sync"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.directory, **as_account())
        assert run.returncode == 0, run.stdout
        self._set_place()

    def promote(self):
        with self.connect() as admin:
            assert admin.execute("SELECT pg_promote(true, 60)").fetchone()[0]


class Database:
    """One database of a cluster, seen directly: what really happened, behind the pooler's back."""

    def __init__(self, postgres, name):
        self.postgres = postgres
        self.name = name

    def connect(self, user="postgres", **more):
        return self.postgres.connect(self.name, user, **more)

    def execute(self, statement, parameters=None, user="postgres"):
        """Runs a statement directly; returns the rows, or None where it gives none."""
        with self.connect(user) as direct:
            cursor = direct.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    def value(self, statement, parameters=None):
        return self.execute(statement, parameters)[0][0]

    def executions(self, fragment):
        """How often PostgreSQL has run a SELECT whose text contains the fragment, for anyone but the pooler itself.
        Literals do not stand in these texts, and statements that fail are not counted."""
        with self.postgres.connect() as admin:
            return int(admin.execute(
                "SELECT coalesce(sum(s.calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
                " WHERE d.datname = %s AND s.userid <> 'control'::regrole AND position(lower(%s) IN lower(s.query)) > 0"
                r" AND s.query ~* '^\s*(/\*.*\*/\s*)?(select|table|values|with|execute)'",
                (self.name, fragment)).fetchone()[0])

    def connections(self):
        return self.postgres.server_connections(self.name)

    def terminate_backends(self):
        """Ends every connection of a client, and waits until their processes are gone: until then a backend still
        takes what it is sent, and loses it."""
        with self.postgres.connect() as admin:
            gone = admin.execute(
                "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = %s"
                " AND backend_type = 'client backend'", (self.name,)).fetchall()
        assert all(ended for ended, in gone), "a backend did not end within 30 s"

    def drop(self):
        with self.postgres.connect() as admin:
            until("no replication slot of the database is in use", lambda: not self._slots(admin, "active"))
            for slot, in self._slots(admin, "NOT active"):
                admin.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
            admin.execute(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")

    def _slots(self, admin, condition):
        return admin.execute(f"SELECT slot_name FROM pg_replication_slots WHERE database = %s AND {condition}",
                             (self.name,)).fetchall()


def make_tls_postgres(certificates, version=None):
    """A PostgreSQL that speaks TLS. Roles: `app` may come either way, `scram` only by TLS, `cert` only with a
    certificate of that name, `bare` only without TLS."""
    server = Postgres(version, ssl="on", ssl_cert_file=f"'{certificates.crt('server')}'", log_connections="on",
                      ssl_key_file=f"'{certificates.key('server')}'", ssl_ca_file=f"'{certificates.crt('ca')}'")
    (server.data / "pg_hba.conf").write_text(
        "local all all trust\n"
        "hostnossl all bare 127.0.0.1/32 trust\nhostssl all bare 127.0.0.1/32 reject\n"
        "hostssl all cert 127.0.0.1/32 cert map=tests\n"
        "hostssl all scram 127.0.0.1/32 scram-sha-256\nhostnossl all scram,cert 127.0.0.1/32 reject\n"
        "host all all 127.0.0.1/32 trust\n")
    (server.data / "pg_ident.conf").write_text("tests app cert\n")
    server.start().make_roles()
    with server.connect() as admin:
        admin.execute("CREATE ROLE cert LOGIN")
        admin.execute("CREATE ROLE bare LOGIN")
    return server
