"""A Debian 12 in which nothing is installed, and a fresh clone: the two commands of the README do all that is needed."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from harness import system
from harness.capability import ROOT
from harness.debian import bootstrap
from harness.wait import seconds, until

pytestmark = [pytest.mark.full, pytest.mark.needs("cache", "plain"), pytest.mark.timeout(3600)]

# Mounts of a name space of its own: they are gone when the last process in it is, however that ends.
ENTER = """
set -e
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
cd /
exec chroot "$0" "$@"
"""
HERE = "/weir"


class FreshRoot:
    def __init__(self):
        self.folder = system.make_directory("weir-root-")
        self.output = self.folder.with_suffix(".out")
        bootstrap(self.folder)
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", self.folder / "etc" / name)
        self.run("git", "clone", "-q", "--no-hardlinks", str(ROOT), str(self.folder) + HERE, inside=False)

    def spawn(self, *command, inside=True):
        prefix = ["unshare", "--mount", "sh", "-c", ENTER, self.folder] if inside else []
        environment = {"PATH": os.environ["PATH"], "HOME": "/root", "LANG": "C.UTF-8"}
        environment.update((name, value) for name, value in os.environ.items() if name.lower().endswith("_proxy"))
        with open(self.output, "wb") as output:
            return subprocess.Popen([*prefix, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                    start_new_session=True, env=environment, preexec_fn=system.hear_interrupts)

    def run(self, *command, inside=True, limit=1800):
        ended = self.spawn(*command, inside=inside).wait(seconds(limit))
        assert ended == 0, self.shown[-4000:]
        return self.shown

    @property
    def shown(self):
        return self.output.read_text(errors="replace")

    def processes(self):
        found = {}
        for link in Path("/proc").glob("[0-9]*/root"):
            try:
                if os.readlink(link) == str(self.folder):
                    found[int(link.parent.name)] = (link.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                pass
        return found

    def remove(self):
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        until("its processes are gone", lambda: not self.processes())
        shutil.rmtree(self.folder, ignore_errors=True)
        self.output.unlink()


@pytest.fixture(scope="module")
def root():
    if not (system.IS_ROOT and shutil.which("debootstrap")):
        pytest.skip("machine: only root may change its root, and debootstrap must be installed")
    made = FreshRoot()
    yield made
    made.remove()


def test_scripts_start_in_a_fresh_system(root):
    port, http_port = system.free_port(), system.free_port()
    started = root.spawn("sh", "-c", f"cd {HERE} && exec ./scripts/start --port {port} --http-port {http_port}")
    until("the screen", lambda: "from the cache" in root.shown or started.poll() is not None, 1800)
    assert started.poll() is None, root.shown[-4000:]
    assert len(re.findall(r"^    (?:direct|through the pool|from the cache) +[\d.]+ ms$", root.shown, re.M)) == 3, root.shown
    with psycopg.connect(host="127.0.0.1", port=port, dbname="demo", user="demo", password="demo", autocommit=True) as client:
        for _ in range(3):
            assert client.execute("SELECT count(*) FROM orders").fetchone() == (150000,)
    os.killpg(started.pid, signal.SIGINT)
    assert started.wait(seconds(30)) == 0, root.shown[-4000:]
    assert root.processes() == {}
    assert list((root.folder / "tmp").iterdir()) == []


def test_scripts_test_in_a_fresh_system(root):
    shown = root.run("sh", "-c", f"cd {HERE} && exec ./scripts/test --only unit --only house")
    assert re.search(r"^[1-9]\d* passed, 0 failed, 0 skipped$", shown, re.M), shown[-4000:]
    assert root.processes() == {}
