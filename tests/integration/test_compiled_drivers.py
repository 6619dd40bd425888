"""Drivers of compiled languages as they come, in transaction mode, on a pool of two servers: a program for each
(tests/drivers), which says `ok STEP` or `not ok STEP: why`. They log in by SCRAM, over TLS. The long ones run with --full."""

import fcntl
import os
import re
import shutil
import subprocess

import pytest

from harness.capability import ROOT
from harness.wait import seconds

pytestmark = [pytest.mark.needs("prepared"), pytest.mark.timeout(600)]

DRIVERS = ROOT / "tests" / "drivers"
OUT_OF_REACH = re.compile(r"dial tcp|no such host|i/o timeout|Could not resolve|Unknown host|Connection refused|Connection reset"
                          r"|toolchain not available|requires go >= |403 Forbidden")


@pytest.fixture(params=["off", "exact"])
def pooler(request, start, certificates):
    return start(default_pool_size=2, auth_type="scram-sha-256", cache=request.param, cache_writes="through_weir",
                 database={"control_user": "control"}, **certificates.client_side())


def built(language, tool, *commands):
    """The folder where a driver's program is built, from a copy of its sources; what it needs comes from the
    language's registry, in the versions its manifest pins. A second run builds only what has changed."""
    if shutil.which(tool) is None:
        pytest.skip(f"machine: no {tool}")
    source, folder = DRIVERS / language, ROOT / "build" / f"drivers-{language}"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of the processes that share the tests
        for path in source.rglob("*"):
            target = folder / path.relative_to(source)
            if path.is_file() and not (target.exists() and target.read_bytes() == path.read_bytes()):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
        for command in commands:
            run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds(500))
            if run.returncode != 0 and OUT_OF_REACH.search(run.stdout + run.stderr):
                pytest.skip(f"machine: the registry of {language} cannot be reached")
            assert run.returncode == 0, f"{command}:\n{run.stdout[-3000:]}{run.stderr[-3000:]}"
    return folder


def drive(pooler, command, url):
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds(80),
                             env={**os.environ, "WEIR_URL": url})
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"stuck after {late.timeout:g} s:\n{(late.stdout or b'').decode()}")
    print(run.stdout)  # with the time of each step
    assert run.returncode == 0 and "not ok" not in run.stdout and "ok " in run.stdout, run.stdout + run.stderr[-3000:]
    logged_in = [line for line in pooler.log().splitlines() if "login attempt" in line and "user=app" in line]
    assert logged_in and all("tls=TLSv1.3" in line for line in logged_in), "a client came without TLS"


def test_pgx(pooler):
    folder = built("go", "go", ["go", "build", "-o", "pgx", "."])
    drive(pooler, [folder / "pgx"], f"postgresql://app:app-secret@localhost:{pooler.port}/test?sslmode=require")


@pytest.mark.full
def test_pgjdbc(pooler):
    folder = built("java", "mvn", ["mvn", "-q", "-B", "dependency:copy-dependencies"],
                   ["javac", "-cp", "lib/*", "-d", "classes", "Driver.java"])
    drive(pooler, ["java", "-cp", f"{folder}/lib/*:{folder}/classes", "Driver"],
          f"jdbc:postgresql://localhost:{pooler.port}/test?user=app&password=app-secret&sslmode=require")


@pytest.mark.full
def test_tokio_postgres(pooler):
    folder = built("rust", "cargo", ["cargo", "build", "--quiet"])
    drive(pooler, [folder / "target" / "debug" / "driver"],
          f"postgresql://app:app-secret@localhost:{pooler.port}/test?sslmode=require")
