"""scripts/start: its screen, what it serves, that nothing of it stays; and the one line it gives where it cannot start."""

import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import psycopg
import pytest

from harness import system
from harness.capability import ROOT
from harness.console import Console
from harness.wait import seconds, until

pytestmark = [pytest.mark.needs("cache", "plain"), pytest.mark.timeout(400)]


class Start:
    """A run of scripts/start with a temporary directory of its own."""

    def __init__(self, *arguments, prefix=(), **environment):
        self.folder = system.make_directory("weir-start-")
        self.output = self.folder.with_suffix(".out")
        self.port, self.http_port = system.free_port(), system.free_port()
        ports = () if "--port" in arguments else ("--port", str(self.port), "--http-port", str(self.http_port))
        clean = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [*prefix, ROOT / "scripts" / "start", *ports, *arguments], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=system.hear_interrupts,
                env={**clean, "TMPDIR": str(self.folder), **environment})

    @property
    def shown(self):
        return self.output.read_text()

    def screen(self):
        until("the screen", lambda: "from the cache" in self.shown or self.process.poll() is not None, 300)
        assert self.process.poll() is None, self.shown
        return self.shown

    def end(self, how=signal.SIGINT):
        """As Ctrl-C at a terminal does: the signal goes to the whole group. Returns the exit code."""
        os.killpg(self.process.pid, how)
        return self.process.wait(seconds(30))

    def remains(self):
        """Processes and files that are still there."""
        found = [str(path) for path in self.folder.iterdir()]
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.folder) in words:
                found.append(words)
        for port in (self.port, self.http_port):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    found.append(f"port {port}")
        return found

    def remove(self):
        if self.process.poll() is None:
            self.end(signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.output.unlink()


@pytest.fixture
def starts():
    """Makes runs of scripts/start, which are ended at the end."""
    made = []

    def begin(*arguments, **named):
        made.append(Start(*arguments, **named))
        return made[-1]

    yield begin
    for run in made:
        run.remove()


def refused(run):
    """The one line of a start that could not be, without what came before: which steps were taken."""
    assert run.process.wait(seconds(300)) == 1, run.shown
    assert run.remains() == []
    lines = [line for line in run.shown.splitlines() if re.match(r"\w+: ", line)]
    assert len(lines) == 1, run.shown
    return lines[0]


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
def test_what_starts_can_be_used_and_leaves_nothing(starts, how):
    run = starts()
    shown = run.screen()
    assert len(re.findall(r"^    (?:direct|through the pool|from the cache) +[\d.]+ ms$", shown, re.M)) == 3, shown
    assert "cache = exact, in process and in Redis" in shown
    with psycopg.connect(host="127.0.0.1", port=run.port, dbname="demo", user="demo", password="demo", autocommit=True) as client:
        assert client.execute("SELECT count(*) FROM orders").fetchone() == (150000,)
        client.execute("UPDATE products SET price = 1 WHERE id = 7")
        assert client.execute("SELECT price FROM products WHERE id = 7").fetchone() == (1,)
    console = Console(run.port, "demo", "demo", "weir")
    assert any(row["database"] == "demo" for row in console.show("POOLS"))
    assert sum(int(row["hits"]) for row in console.show("CACHE")) > 0
    console.close()
    with urllib.request.urlopen(f"http://127.0.0.1:{run.http_port}/", timeout=seconds(10)) as page:
        assert page.status == 200
    assert run.end(how) == 0
    assert run.remains() == []


@pytest.mark.parametrize("arguments", [("--no-redis",), ()])
def test_a_database_of_ones_own_is_left_as_it_is(starts, database, arguments):
    database.execute("CREATE TABLE items AS SELECT i AS id FROM generate_series(1, 100) i", user="app")
    run = starts(*arguments, DATABASE_URL=f"postgresql://app@127.0.0.1:{database.postgres.port}/{database.name}")
    shown = run.screen()
    assert "cache = ttl, in process\n" in shown and "your database stays as it is" in shown
    with psycopg.connect(host="127.0.0.1", port=run.port, dbname=database.name, user="app", autocommit=True) as client:
        assert client.execute("SELECT count(*) FROM items").fetchone() == (100,)
    assert run.end() == 0
    assert run.remains() == []
    assert database.value("SELECT count(*) FROM items") == 100


def test_a_database_that_is_reached_by_tls(starts, tls_postgres, certificates):
    database = tls_postgres.make_database()
    run = starts("--no-redis", DATABASE_URL=f"postgresql://app@localhost:{tls_postgres.port}/{database.name}"
                 f"?sslmode=verify-full&sslrootcert={certificates.crt('ca')}")
    assert "cache = ttl, in process\n" in run.screen()
    with psycopg.connect(host="127.0.0.1", port=run.port, dbname=database.name, user="app", autocommit=True) as client:
        assert client.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
    assert run.end() == 0
    database.drop()


@pytest.mark.full
def test_without_redis(starts):
    run = starts("--no-redis")
    assert "cache = exact, in process\n" in run.screen()
    assert run.end() == 0
    assert run.remains() == []


def test_ctrl_c_before_it_has_started(starts):
    run = starts()
    until("it has begun", lambda: any(run.folder.glob("weir.*/pg/*")) or run.process.poll() is not None, 300)
    assert run.end() == 0
    assert run.remains() == []


def test_a_port_in_use(starts):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused(starts("--port", str(port)))
    assert said == f"start: port {port} is in use: stop what listens there, or choose another with --port N"


def test_a_database_that_cannot_be_reached(starts):
    said = refused(starts(DATABASE_URL="postgresql://app:secret@127.0.0.1:1/shop"))
    assert said.startswith("start: DATABASE_URL cannot be reached: ") and "Connection refused" in said
    assert said.endswith("is the server up, and are name and password right?") and "secret" not in said


def test_a_redis_that_cannot_be_reached(starts, database):
    said = refused(starts(DATABASE_URL=f"postgresql://app@127.0.0.1:{database.postgres.port}/{database.name}",
                          REDIS_URL="redis://127.0.0.1:1"))
    assert said.startswith("start: REDIS_URL cannot be reached: ") and said.endswith("or start with --no-redis")


def test_no_compiler(starts, tmp_path):
    """Every program of the machine but the compilers."""
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            link = tmp_path / program.name
            if not re.match(r"(c|g)cc$|cc$|clang", program.name) and not link.is_symlink():
                link.symlink_to(program)
    said = refused(starts(PATH=str(tmp_path)))
    assert said == "start: no C compiler: install gcc"


@pytest.mark.skipif(not system.IS_ROOT, reason="machine: only root may take the network away")
def test_a_missing_package_and_no_network(starts, tmp_path):
    """The package is taken out of apt's and dpkg's sight, with all others; the network is taken away."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "status").touch()
    (tmp_path / "apt.conf").write_text(f'Dir::State::Lists "{tmp_path}/lists"; Dir::State::status "{tmp_path}/status";'
                                       f' Dir::Cache "{tmp_path}";')
    query = tmp_path / "dpkg-query"
    query.write_text(f'#!/bin/sh\ncase "$*" in *uthash-dev*) exit 1 ;; esac\nexec {shutil.which("dpkg-query")} "$@"\n')
    query.chmod(0o755)
    run = starts(prefix=("unshare", "-n"), APT_CONFIG=str(tmp_path / "apt.conf"), PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert run.process.wait(seconds(120)) == 1
    assert "deps: apt-get update failed: no network, or no package source; missing: uthash-dev" in run.shown
    assert run.remains() == []
