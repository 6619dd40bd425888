"""PostgreSQL's own regression inputs, out of Debian's source package; fetched once, under build."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "build" / "regress"
REGRESS = "src/test/regress"
SOURCES = """\
Types: deb-src
URIs: {uri}
Suites: {suite}
Components: main
Signed-By: {key}
"""
URI = "http://deb.debian.org/debian"
KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"


class NotToBeHad(Exception):
    """The sources cannot be fetched here."""


def suite():
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=")[1].strip('"')
    raise NotToBeHad("this is no Debian")


def run(*command, **more):
    made = subprocess.run(command, capture_output=True, text=True, timeout=600, **more)
    if made.returncode != 0:
        raise NotToBeHad(f"{' '.join(map(str, command))}: {made.stderr[-500:]}")


def fetch(major):
    """A folder with parallel_schedule, sql and data of this major version."""
    if shutil.which("apt-get") is None or not Path(KEY).exists():
        raise NotToBeHad("no apt-get, or no key of Debian's")
    target = PLACE / str(major)
    PLACE.mkdir(parents=True, exist_ok=True)
    with open(PLACE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "stamp").exists():
            _download(major)
            _unpack(major, target)
            (target / "stamp").touch()
    return target


def _download(major):
    """With lists and a cache of its own: nothing of the system's is changed, and no right is needed."""
    for folder in ("parts", "lists/partial", "cache/archives/partial"):
        (PLACE / folder).mkdir(parents=True, exist_ok=True)
    (PLACE / "parts" / "source.sources").write_text(SOURCES.format(uri=URI, suite=suite(), key=KEY))
    options = ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={PLACE}/parts",
               "-o", f"Dir::State::lists={PLACE}/lists", "-o", f"Dir::Cache={PLACE}/cache", "-o", "APT::Sandbox::User=root"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", *options, "update", cwd=PLACE, env=environment)
    run("apt-get", *options, "source", "--download-only", f"postgresql-{major}", cwd=PLACE, env=environment)


def _unpack(major, target):
    archives = sorted(PLACE.glob(f"postgresql-{major}_*.orig.tar.*"))
    if not archives:
        raise NotToBeHad("the source package has no archive")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    run("tar", "-xf", archives[-1], "-C", target, "--wildcards", f"*/{REGRESS}/sql/*", f"*/{REGRESS}/data/*",
        f"*/{REGRESS}/parallel_schedule")
    inner = next(target.glob(f"*/{REGRESS}"))
    for name in ("sql", "data", "parallel_schedule"):
        (inner / name).rename(target / name)


def schedule(folder):
    """The names of the files in the order in which they may run one after another."""
    names = []
    for line in (folder / "parallel_schedule").read_text().splitlines():
        if line.startswith("test:"):
            names += line[5:].split()
    return names
