"""The pooler under test: a configuration, a process, a log, and the ways in."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request

import psycopg

from . import system
from .capability import WEIR_BIN, capabilities, forced_options, understood
from .certificates import Certificates
from .console import Console
from .ini import render, render_userlist
from .postgres import ROLES
from .wait import seconds, until
from .wire import Closed, Wire

DEFAULTS = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "auth_type": "trust",
    "pool_mode": "transaction",
    "default_pool_size": 2,
    "max_client_conn": 500,
    "admin_users": "admin",
    "stats_users": "stats",
    "server_login_retry": 1,
    "verbose": 0,
    "cache_check": 0,  # a hit is a hit
}

COMPLAINTS = re.compile(
    r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed|stack smashing")


class Pooler:
    """databases, users: name -> dict or text of settings. options: the keys of [pgbouncer]."""

    is_straight = False

    def __init__(self, databases, options=None, users=None, passwords=None, environment=None, binary=WEIR_BIN):
        self.directory = system.make_directory("weir-run-")
        self.ini = self.directory / "weir.ini"
        self.userlist = self.directory / "userlist.txt"
        self.log_path = self.directory / "log"
        self.port = system.free_port()
        self.databases = databases
        self.options = {**DEFAULTS, "listen_port": self.port, "auth_file": self.userlist, **(options or {}),
                        **forced_options()}
        self.http_port = None
        self.knows = lambda values: understood(values, binary)
        if "http" in capabilities(binary) and "http_port" not in self.options:
            self.http_port = self.options["http_port"] = system.free_port()
        self.users = users or {}
        self.peers = {}
        self.passwords = {"admin": "admin-secret", "stats": "stats-secret", "postgres": "",
                          **{name: password for name, (password, _) in ROLES.items()}, **(passwords or {})}
        self.environment = {**os.environ, **(environment or {})}
        self.source = binary
        self.binary = self.directory / "pooler"
        self.process = None
        self.opened = []
        self.prefix = []  # a command that starts the pooler, such as prlimit
        self.account = system.as_account()

    # configuration and process

    def write_config(self):
        self.options = {key: value for key, value in self.options.items() if value is not None}
        databases = {name: self.knows(values) for name, values in self.databases.items()}
        users = {name: self.knows(values) for name, values in self.users.items()}
        self.ini.write_text(render(databases, self.knows(self.options), users, self.peers))
        self.userlist.write_text(render_userlist(self.passwords))
        for path in (self.ini, self.userlist):
            system.give_to_account(path)

    def spawn(self, *arguments):
        """Starts the process without waiting for anything."""
        self.write_config()
        # A copy, since the build folder may lie where the account may not look.
        shutil.copy(self.source, self.binary)
        with open(self.log_path, "ab") as log:
            system.give_to_account(self.log_path)
            self.process = subprocess.Popen(
                [*self.prefix, self.binary, *arguments, self.ini], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment, cwd=self.directory, start_new_session=True, **self.account)
        return self

    def start(self):
        self.spawn()
        until("the pooler answers SHOW VERSION", self._answers, 15)
        return self

    def _answers(self):
        assert self.process.poll() is None, f"exit code {self.process.returncode}:\n{self.log()[-3000:]}"
        try:
            with self.admin() as console:
                return bool(console.run("SHOW VERSION"))
        except (OSError, Closed):
            return False

    def reload(self, options=None, databases=None, users=None, passwords=None):
        """Changes the files and has them read again by the console."""
        self.options.update(options or {})
        self.databases = databases if databases is not None else self.databases
        self.users = users if users is not None else self.users
        self.passwords.update(passwords or {})
        self.write_config()
        with self.admin() as console:
            console.run("RELOAD")

    def stop(self):
        """Ends the process cleanly, and says what was wrong with its life: complaints of a sanitizer, a
        crash, an exit code, or that it would not end."""
        if self.process is None:
            return
        for connection in self.opened:
            connection.close()
        crashed = self.process.poll() is not None
        code = self.process.returncode if crashed else self._end()
        self.process = None
        assert not crashed, f"the pooler ended by itself, exit code {code}"
        assert code == 0, f"the pooler ended with exit code {code}"

    def _end(self):
        for number, limit in ((signal.SIGINT, 5), (signal.SIGINT, 10)):
            self.process.send_signal(number)
            try:
                return self.process.wait(seconds(limit))
            except subprocess.TimeoutExpired:
                pass
        self.process.kill()
        self.process.wait(10)
        return "none: killed, since it did not end by itself"

    def complaints(self):
        return [line for line in self.log().splitlines() if COMPLAINTS.search(line)]

    def remove(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None
        for pid in system.processes_of(self.binary):
            os.kill(pid, signal.SIGKILL)  # daemons, which are nobody's children
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def says(self, words, times=1):
        """Waits until the log has these words, a text or a compiled pattern, so often; returns the log. What a client
        sees may come before the line about it, also when Weir is well."""
        def enough():
            log = self.log()
            return (len(words.findall(log)) if isinstance(words, re.Pattern) else log.count(words)) >= times and log
        return until(f"the log says {words!r}", enough)

    @property
    def pid(self):
        return self.process.pid

    # ways in

    def connect(self, dbname="test", user="app", autocommit=True, **more):
        """A psycopg connection through the pooler; closed when the pooler stops."""
        more.setdefault("connect_timeout", int(seconds(15)))
        connection = psycopg.connect(host="127.0.0.1", port=self.port, dbname=dbname, user=user,
                                     autocommit=autocommit, **more)
        self.opened.append(connection)
        return connection

    def wire(self, database="test", user="app", password=None, receive_buffer=None, **parameters):
        """A raw connection through the pooler, logged in."""
        client = self.bare_wire(receive_buffer=receive_buffer)
        client.login(user, database, password, **parameters)
        return client

    def bare_wire(self, receive_buffer=None):
        """A raw connection to the pooler on which nothing was sent."""
        client = Wire(self.port, receive_buffer=receive_buffer)
        self.opened.append(client)
        return client

    def admin(self, user="admin"):
        must_have_tls = self.options.get("client_tls_sslmode") in ("require", "verify-ca", "verify-full")
        context = Certificates.made.unsuspecting_context(user) if must_have_tls else None
        return Console(self.port, user, self.passwords[user], context=context)

    def show(self, what):
        with self.admin() as console:
            return console.show(what)

    def uri(self, dbname="test", user="app", scheme="postgresql"):
        return f"{scheme}://{user}@127.0.0.1:{self.port}/{dbname}"

    # what it tells of itself

    def http(self, path):
        """Status and text of a page of the HTTP interface."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=seconds(10)) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as reply:
            return reply.code, reply.read().decode()

    def stats(self):
        return json.loads(self.http("/stats")[1])

    def metric(self, name):
        """The sum of a metric over all its labels."""
        text = self.http("/metrics")[1]
        found = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)", text, re.M)
        assert found or f"# TYPE {name} " in text, f"no metric {name}"
        return sum(float(value) for value in found)

    def hits(self):
        return self.metric("weir_cache_hits_total")
