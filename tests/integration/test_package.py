"""What is installed: files and their modes, manual pages, the unit; and the Debian package in a fresh system, under its
systemd, from installation to purge. WEIR_DEB=FILE has a package tested that is there already."""

import os
import re
import shlex
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from harness import system
from harness.booted import Booted, can_boot
from harness.capability import ROOT, WEIR_BIN
from harness.fresh_root import FreshRoot
from harness.wait import seconds, until

pytestmark = pytest.mark.needs("cache", "plain")

BUILD = WEIR_BIN.parent
CONFFILES = ["/etc/logrotate.d/weir", "/etc/weir/userlist.txt", "/etc/weir/weir.ini"]


# ---- cmake --install ------------------------------------------------------------------------------------------------


class Tree:
    """What cmake --install makes of this build under a folder of the test's."""

    def __init__(self, folder):
        self.folder = folder
        cache = (BUILD / "CMakeCache.txt").read_text()
        self.prefix = re.search(r"^CMAKE_INSTALL_PREFIX:PATH=(.*)$", cache, re.M)[1]
        self.etc = "/etc" if self.prefix == "/usr" else f"{self.prefix}/etc"

    def install(self):
        done = subprocess.run(["cmake", "--install", str(BUILD)], env={**os.environ, "DESTDIR": str(self.folder)},
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def path(self, name):
        """bin/weir stands below the prefix, /weir/weir.ini below etc."""
        return self.folder / ((self.etc + name) if name.startswith("/") else f"{self.prefix}/{name}").lstrip("/")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    made = Tree(tmp_path_factory.mktemp("tree"))
    made.install()
    return made


def test_the_files_are_where_they_belong_and_secrets_are_not_for_all(tree):
    modes = {"bin/weir": 0o755, "bin/weirctl": 0o755, "share/man/man1/weir.1.gz": 0o644, "share/man/man1/weirctl.1.gz": 0o644,
             "share/man/man5/weir.ini.5.gz": 0o644,
             "share/doc/weir/README.md": 0o644, "share/doc/weir/docs/from-pgbouncer.md": 0o644,
             "share/doc/weir/config/weir.ini": 0o644, "lib/systemd/system/weir.service": 0o644,
             "lib/sysusers.d/weir.conf": 0o644, "/logrotate.d/weir": 0o644, "/weir": 0o750, "/weir/weir.ini": 0o640,
             "/weir/userlist.txt": 0o640}
    assert {name: tree.path(name).stat().st_mode & 0o7777 for name in modes} == modes


def test_another_installation_leaves_the_configuration_alone(tree):
    ini = tree.path("/weir/weir.ini")
    before = ini.read_text()
    ini.write_text("; mine\n")
    tree.path("bin/weir").unlink()
    tree.path("/weir").chmod(0o700)
    said = tree.install()
    assert ini.read_text() == "; mine\n" and f"Left as it is: {ini}" in said
    assert tree.path("bin/weir").exists() and tree.path("/weir").stat().st_mode & 0o777 == 0o700
    ini.write_text(before)
    tree.path("/weir").chmod(0o750)


def test_the_installed_sample_is_accepted_and_lets_nobody_in(tree, tmp_path):
    text = tree.path("/weir/weir.ini").read_text()
    assert f"\nauth_file = {tree.etc}/weir/userlist.txt\n" in text
    assert "\nunix_socket_dir = /run/weir\n" in text and "\nlogfile = /var/log/weir/weir.log\n" in text
    assert not re.search(r"^http_port", text, re.M)
    copy = tmp_path / "weir.ini"
    copy.write_text(text.replace(f"{tree.etc}/weir/", f"{tree.path('/weir')}/"))
    checked = subprocess.run([tree.path("bin/weir"), "--check", copy], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    users = tree.path("/weir/userlist.txt").read_text().splitlines()
    assert all(line.startswith(";") for line in users)


def manual(tree, name):
    shown = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", tree.path(f"share/man/{name}.gz")], capture_output=True,
                           text=True, env={**os.environ, "MANWIDTH": "2000", "MAN_KEEP_FORMATTING": "", "LANG": "C.UTF-8"})
    assert (shown.returncode, shown.stderr) == (0, "")
    return [re.sub(r" +", " ", line.strip().replace("\u2010", "-").replace("\u2019", "'")) for line in shown.stdout.splitlines()]


def test_the_manual_has_every_key_in_its_section_with_default_and_help(tree):
    lines = manual(tree, "man5/weir.ini.5")
    text = "\n".join(lines)
    parts = re.split(r"^\[(databases|users|peers|weir)\].*$", text, flags=re.M)
    section = {name: "".join(parts[i + 1] for i in range(1, len(parts), 2) if parts[i] == name) for name in parts[1::2]}
    rows = [line.split("\t") for line in
            subprocess.run([WEIR_BIN, "--help-options"], capture_output=True, text=True, check=True).stdout.splitlines()]
    assert len(rows) > 130
    for scope, key, _, default, *_, help_text in rows:
        # --help-options says "-" for what has no default.
        value = "" if default in ("", "-") else " " + default
        head = rf"{key} ={re.escape(value)}" if scope == "weir" else key
        wanted = rf"^{head}\s+{re.escape(help_text)}"
        assert re.search(wanted, section[scope], re.M), f"[{scope}] {key}: {wanted}"


def test_the_manual_has_every_option(tree):
    for name in ("weir", "weirctl"):
        text = "\n".join(manual(tree, f"man1/{name}.1"))
        said = subprocess.run([BUILD / name, "--help"], capture_output=True, text=True, check=True).stdout
        options = set(re.findall(r"--[a-z-]+", said))
        assert len(options) > 6 and {option for option in options if option not in text} == set()


def test_the_unit_is_good_and_tight(tree, tmp_path):
    unit = tmp_path / "weir.service"
    unit.write_text(tree.path("lib/systemd/system/weir.service").read_text().replace(
        f"ExecStart={tree.prefix}/", f"ExecStart={tree.folder}{tree.prefix}/"))
    checked = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit], capture_output=True, text=True)
    assert (checked.returncode, [line for line in checked.stderr.splitlines() if "weir" in line]) == (0, [])
    rated = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit],
                           capture_output=True, text=True)
    assert rated.returncode == 0, rated.stdout + rated.stderr


# ---- the package ----------------------------------------------------------------------------------------------------


def build_package():
    built = subprocess.run([ROOT / "scripts/build", "--deb"], capture_output=True, text=True, timeout=seconds(2400),
                           stdin=subprocess.DEVNULL)
    assert built.returncode == 0, built.stderr
    (package,) = (ROOT / "build/optimised").glob("weir_*.deb")
    return package


@pytest.fixture(scope="module")
def root():
    if not (system.IS_ROOT and shutil.which("debootstrap")):
        pytest.skip("machine: only root may change its root, and debootstrap must be installed")
    package = Path(os.environ.get("WEIR_DEB") or build_package())
    made = FreshRoot()
    try:
        shutil.copy(package, made.folder / "opt/weir.deb")
        made.before = set(made.run("find", "/etc", "/usr", "/var", "/run", "-xdev", "-iname", "*weir*").split())
        made.run("sh", "-c", "export DEBIAN_FRONTEND=noninteractive; apt-get -q update && "
                             "apt-get -q -y --no-install-recommends install /opt/weir.deb logrotate pgbouncer postgresql-client")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def booted(root, postgres):
    if not can_boot(root.folder):
        pytest.skip("machine: control groups cannot be mounted, and systemd does not start without")
    made = Booted(root, postgres.directory)
    yield made
    made.stop()


@contextmanager
def drop_in(booted, text):
    """What an administrator's `systemctl edit weir` leaves."""
    folder = booted.path("/etc/systemd/system/weir.service.d")
    folder.mkdir()
    (folder / "override.conf").write_text(text)
    booted.run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        shutil.rmtree(folder)
        booted.run("systemctl", "daemon-reload")


def long(test):
    return pytest.mark.full(pytest.mark.timeout(3600)(test))


@long
def test_the_package_is_installed_and_only_the_daemon_reads_its_secrets(root):
    owned = {line.split()[0]: line.split()[1] for line in
             root.run("dpkg-query", "-W", "-f", "${Conffiles}", "weir").splitlines() if line.strip()}
    assert sorted(owned) == CONFFILES and "newconffile" not in owned.values()
    stat = root.run("stat", "-c", "%n %U:%G %a", "/etc/weir", *CONFFILES, "/usr/bin/weir").splitlines()
    assert stat == ["/etc/weir root:weir 750", "/etc/logrotate.d/weir root:root 644", "/etc/weir/userlist.txt root:weir 640",
                    "/etc/weir/weir.ini root:weir 640", "/usr/bin/weir root:root 755"]
    account = root.run("getent", "passwd", "weir").strip().split(":")
    assert account[5:] == ["/nonexistent", "/usr/sbin/nologin"] and int(account[2]) < 1000
    assert "the configuration is good" in root.run("setpriv", "--reuid=weir", "--regid=weir", "--clear-groups", "weir", "--check",
                                                   "/etc/weir/weir.ini")
    refused = root.run("sh", "-c", "setpriv --reuid=nobody --regid=nogroup --clear-groups cat /etc/weir/userlist.txt || echo refused")
    assert "Permission denied" in refused and refused.endswith("refused\n")
    assert root.run("sh", "-c", "systemctl is-enabled weir || :").strip() == "disabled"
    assert "cannot" not in root.run("ldd", "/usr/bin/weir") and "not found" not in root.shown


def configure(booted, postgres):
    """What an administrator would do first: a user, and where the databases are."""
    ini = booted.path("/etc/weir/weir.ini")
    ini.write_text(ini.read_text().replace("\n* = host=127.0.0.1 port=5432\n", f"\n* = host=/given port={postgres.port}\n"))
    with open(booted.path("/etc/weir/userlist.txt"), "a") as users:
        users.write('"app" "secret"\n"admin" "secret"\n')


def connect(booted, user="app", dbname="postgres"):
    return psycopg.connect(host=str(booted.path("/run/weir")), port=6432, user=user, password="secret", dbname=dbname,
                           autocommit=True, connect_timeout=10)


def ask(booted):
    with connect(booted) as client:
        return client.execute("SELECT current_user").fetchone()[0]


@long
def test_it_serves_under_its_unit(booted, postgres):
    configure(booted, postgres)
    booted.run("systemctl", "start", "weir")
    assert booted.shows("weir", "StatusText") == "1 databases, 1 workers"
    assert ask(booted) == "app"
    status = booted.path(f"/proc/{booted.shows('weir', 'MainPID')}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    weir = booted.run("id", "-u", "weir").strip()
    assert fields["Uid"].split() == [weir] * 4
    assert {fields[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh")} == {"0" * 16}
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    mounts = booted.path(f"/proc/{booted.shows('weir', 'MainPID')}/mountinfo").read_text()
    options = {line.split()[4]: line.split()[5].split(",") for line in mounts.splitlines()}
    assert "ro" in options["/"] and "rw" in options["/run/weir"] and "rw" in options["/var/log/weir"]


@long
def test_the_daemons_own_account_has_the_console_as_the_manual_says(booted):
    manual_page = (ROOT / "docs/man/weir.1.in").read_text().replace("\\(aq", "'").replace("\\-", "-")
    (example,) = re.findall(r"^sudo -u weir (psql .*)$", manual_page, re.M)
    shown = booted.run("setpriv", "--reuid=weir", "--regid=weir", "--clear-groups", *shlex.split(example))
    assert "cl_waiting" in shown
    refused = booted.try_run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *shlex.split(example), "-w")
    assert refused.returncode != 0


@long
def test_a_reload_is_told_and_keeps_clients_and_a_bad_file_is_refused(booted):
    ini = booted.path("/etc/weir/weir.ini")
    before = ini.read_text()
    pid = booted.shows("weir", "MainPID")
    with connect(booted) as client:
        ini.write_text(before.replace("\n;default_pool_size = 20\n", "\ndefault_pool_size = 7\n"))
        booted.run("systemctl", "reload", "weir")
        with connect(booted, "admin", "weir") as console:
            until("the new value counts", lambda: pool_size(console) == "7")
        assert client.execute("SELECT 1").fetchone() == (1,)
        ini.write_text(before + "nonsense = 1\n")
        booted.run("systemctl", "reload", "weir")
        log = booted.path("/var/log/weir/weir.log")
        until("the log says so", lambda: "nonsense" in log.read_text())
        ini.write_text(before)
        booted.run("systemctl", "reload", "weir")
        assert client.execute("SELECT 1").fetchone() == (1,)
    until("it is ready again", lambda: booted.shows("weir", "ActiveState") == "active")
    assert booted.shows("weir", "MainPID") == pid


def pool_size(console):
    return {row[0]: row[1] for row in psycopg.ClientCursor(console).execute("SHOW CONFIG").fetchall()}["default_pool_size"]


@long
def test_the_log_is_rotated(booted):
    folder = booted.path("/var/log/weir")
    old = folder / "weir.log"
    inode = old.stat().st_ino
    booted.run("logrotate", "-f", "/etc/logrotate.d/weir")
    until("the log is opened anew", lambda: old.exists() and "configuration reloaded" in old.read_text())
    assert old.stat().st_ino != inode and (folder / "weir.log.1").stat().st_ino == inode
    assert oct(old.stat().st_mode & 0o777) == "0o640"
    assert ask(booted) == "app"
    until("the new file is written to", lambda: "app" in old.read_text())


@long
def test_one_that_hangs_is_replaced(booted):
    with drop_in(booted, "[Service]\nWatchdogSec=1\n"):
        booted.run("systemctl", "restart", "weir")
        pid = booted.shows("weir", "MainPID")
        first = booted.shows("weir", "WatchdogTimestampMonotonic")
        until("the watchdog is fed", lambda: booted.shows("weir", "WatchdogTimestampMonotonic") != first)
        assert booted.shows("weir", "MainPID") == pid
        booted.run("sh", "-c", f"kill -STOP {pid}")
        until("another is there", lambda: booted.shows("weir", "MainPID") not in ("0", pid) and
              booted.shows("weir", "ActiveState") == "active", 30)
        assert booted.shows("weir", "NRestarts") == "1"
        assert ask(booted) == "app"


@long
def test_it_asks_the_system_for_nothing_that_the_unit_forbids(booted):
    # As a rule a forbidden call fails; here it would be the end of the process.
    with drop_in(booted, "[Service]\nSystemCallErrorNumber=\n"):
        booted.run("systemctl", "restart", "weir")
        pid = booted.shows("weir", "MainPID")
        assert ask(booted) == "app"
        booted.run("systemctl", "reload", "weir")
        with connect(booted, "admin", "weir") as console:
            assert psycopg.ClientCursor(console).execute("SHOW POOLS").fetchall()
        assert ask(booted) == "app" and booted.shows("weir", "MainPID") == pid
        booted.run("systemctl", "stop", "weir")
        assert (booted.shows("weir", "Result"), booted.shows("weir", "NRestarts")) == ("success", "0")
    booted.run("systemctl", "start", "weir")


@long
def test_an_upgrade_keeps_the_configuration_and_starts_the_new_one(booted):
    pid = booted.shows("weir", "MainPID")
    ini = booted.path("/etc/weir/weir.ini")
    before = ini.read_text()
    booted.run("dpkg", "-i", "/opt/weir.deb")
    assert ini.read_text() == before
    assert booted.run("stat", "-c", "%U:%G %a", "/etc/weir/weir.ini").strip() == "root:weir 640"
    until("another is there", lambda: booted.shows("weir", "MainPID") not in ("0", pid) and
          booted.shows("weir", "ActiveState") == "active", 30)
    assert ask(booted) == "app"


@long
def test_ownership_that_the_administrator_has_set_is_kept(booted):
    booted.run("dpkg-statoverride", "--update", "--add", "weir", "root", "0400", "/etc/weir/userlist.txt")
    booted.run("dpkg", "-i", "/opt/weir.deb")
    assert booted.run("stat", "-c", "%U:%G %a", "/etc/weir/userlist.txt").strip() == "weir:root 400"
    booted.run("dpkg-statoverride", "--remove", "/etc/weir/userlist.txt")
    booted.run("dpkg", "-i", "/opt/weir.deb")
    assert booted.run("stat", "-c", "%U:%G %a", "/etc/weir/userlist.txt").strip() == "root:weir 640"


@long
def test_an_upgrade_ends_well_where_the_configuration_is_not_good(booted):
    ini = booted.path("/etc/weir/weir.ini")
    before = ini.read_text()
    ini.write_text(before + "nonsense = 1\n")
    said = booted.try_run("dpkg", "-i", "/opt/weir.deb")
    assert said.returncode == 0 and "weir is installed, but does not start" in said.stderr, said.stdout + said.stderr
    ini.write_text(before)
    booted.run("systemctl", "reset-failed", "weir")
    booted.run("systemctl", "restart", "weir")
    assert ask(booted) == "app"


@long
def test_a_socket_where_the_unit_has_no_room_for_it_is_told(booted):
    ini = booted.path("/etc/weir/weir.ini")
    before = ini.read_text()
    ini.write_text(before.replace("\nunix_socket_dir = /run/weir\n", "\nunix_socket_dir = /tmp\n"))
    assert booted.try_run("systemctl", "restart", "weir").returncode != 0
    assert "FATAL cannot start: cannot listen on /tmp/.s.PGSQL.6432" in booted.path("/var/log/weir/weir.log").read_text()
    ini.write_text(before)
    booted.run("systemctl", "reset-failed", "weir")
    booted.run("systemctl", "restart", "weir")
    assert ask(booted) == "app"


@long
def test_it_takes_over_the_file_of_debians_pgbouncer_as_the_documents_say(booted):
    text = (ROOT / "docs/from-pgbouncer.md").read_text()
    block = re.search(r"```ini\n( *\[Service\].*?)```", text, re.S)[1]
    booted.run("systemctl", "stop", "weir")
    with drop_in(booted, "\n".join(line.strip() for line in block.splitlines())):
        log = booted.path("/var/log/postgresql/pgbouncer.log")
        booted.run("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "weir", "--check", "/etc/pgbouncer/pgbouncer.ini")
        booted.run("systemctl", "start", "weir")
        assert booted.path("/run/postgresql/.s.PGSQL.6432").is_socket() and booted.path("/run/postgresql/pgbouncer.pid").exists()
        assert "Weir" in log.read_text()
        owner = booted.path(f"/proc/{booted.shows('weir', 'MainPID')}").stat().st_uid
        assert str(owner) == booted.run("id", "-u", "postgres").strip()
        booted.run("systemctl", "stop", "weir")
        assert not booted.path("/run/postgresql/.s.PGSQL.6432").exists() and not booted.path("/run/postgresql/pgbouncer.pid").exists()
        assert booted.run("stat", "-c", "%U", "/var/log/weir").strip() == "weir"


@long
def test_removed_it_leaves_the_configuration_and_purged_nothing_but_its_account(root, booted):
    booted.run("systemctl", "enable", "--now", "weir")
    booted.run("dpkg", "--remove", "weir")
    assert booted.shows("weir", "ActiveState") == "inactive"
    assert not booted.path("/usr/bin/weir").exists() and not booted.path("/run/weir").exists()
    assert booted.path("/etc/weir/weir.ini").exists() and booted.path("/var/log/weir/weir.log").exists()
    booted.run("dpkg", "--purge", "weir")
    left = set(booted.run("find", "/etc", "/usr", "/var", "/run", "-xdev", "-iname", "*weir*").split())
    assert left - root.before == set()
    assert booted.run("getent", "passwd", "weir").startswith("weir:")
