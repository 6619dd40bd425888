"""PostgreSQL versions that the distribution does not have, as binaries from npm: installed once, under build, in the
releases that tests/postgres/package.json pins."""

import fcntl
import json
import os
import platform
import re
import shutil
import stat
import subprocess

import pytest

from .capability import ROOT
from .system import make_directory
from .wait import seconds

MANIFEST = ROOT / "tests" / "postgres" / "package.json"
OUT_OF_REACH = re.compile(r"ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ECONNRESET|E403|E404")
WANTED = os.environ.get("WEIR_POSTGRES") or None  # the version of every test that names none

_copies = {}


def installation(version):
    """The folder with bin, lib and share of a version such as "18", where every account may read it. Skips the test
    where there is none for this machine."""
    if shutil.which("npm") is None or (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("machine: the other versions of PostgreSQL come from npm, for Linux on x86-64")
    name = f"postgres-{version}"
    release = json.loads(MANIFEST.read_text())["dependencies"][name]
    folder = ROOT / "build" / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of the processes that share the tests
        stamp = folder / "stamp"
        if not stamp.exists() or stamp.read_text() != release:
            _install(folder, name, release)
            stamp.write_text(release)
    return _readable(folder / "node_modules" / name / "native")


def _install(folder, name, release):
    (folder / "package.json").write_text('{"private": true}')
    _run(folder, "npm", "install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts",
         f"{name}@{release}")
    # A package cannot hold links, so it brings a script that makes them.
    _run(folder / "node_modules" / name, "node", "scripts/hydrate-symlinks.js")


def _run(folder, *command):
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds(300))
    if run.returncode != 0 and OUT_OF_REACH.search(run.stdout + run.stderr):
        pytest.skip("machine: npm's registry cannot be reached")
    assert run.returncode == 0, f"{command}:\n{run.stdout}{run.stderr}"


def _readable(folder):
    """The folder itself, or a copy of it where it lies under one that others may not enter."""
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.parents):
        return folder
    if folder not in _copies:
        _copies[folder] = make_directory("weir-postgres-") / "native"
        shutil.copytree(folder, _copies[folder], symlinks=True)
    return _copies[folder]
