"""A Debian 12 in which nothing is installed, and a fresh clone: the two commands of the README do all that is needed."""

import os
import re
import shutil
import signal

import psycopg
import pytest

from harness import system
from harness.capability import ROOT
from harness.fresh_root import FreshRoot
from harness.wait import seconds, until

pytestmark = [pytest.mark.full, pytest.mark.needs("cache", "plain"), pytest.mark.timeout(3600)]

HERE = "/weir"


@pytest.fixture(scope="module")
def root():
    if not (system.IS_ROOT and shutil.which("debootstrap")):
        pytest.skip("machine: only root may change its root, and debootstrap must be installed")
    made = FreshRoot()
    made.run("git", "clone", "-q", "--no-hardlinks", str(ROOT), str(made.folder) + HERE, inside=False)
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
