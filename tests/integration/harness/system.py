"""Facts of the operating system: ports, privileges, processes, limits."""

import os
import pwd
import resource
import shutil
import signal
import socket
import tempfile
from pathlib import Path

IS_ROOT = os.geteuid() == 0
# PostgreSQL and the pooler refuse to run as root; its own account is there wherever PostgreSQL is.
ACCOUNT = "postgres" if IS_ROOT else pwd.getpwuid(os.geteuid()).pw_name


def as_account():
    """Arguments of subprocess.Popen that start a program as the unprivileged account."""
    if not IS_ROOT:
        return {}
    entry = pwd.getpwnam(ACCOUNT)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def give_to_account(path):
    if IS_ROOT:
        shutil.chown(path, ACCOUNT)
    return path


def make_directory(prefix):
    """A fresh directory under the system's temporary one, owned by the account."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    path.chmod(0o755)
    return give_to_account(path)


_claims = []


def free_port():
    """A port of the loopback that nothing listens on, never the same twice, in whatever process of tests: each is
    claimed by the name of a socket for as long as the process lives. Below the ephemeral range, so that no outgoing
    connection takes it between asking and use."""
    base = os.getpid() * 61
    for offset in range(12000):
        port = 20000 + (base + offset) % 12000
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                claim.bind(f"\0weir-tests-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                claim.close()
                continue
        _claims.append(claim)
        return port
    raise AssertionError("no free port between 20000 and 32000")


def raise_file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cpu_seconds(pid):
    """User and system time a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def family_cpu_seconds(pid):
    """The same for a process with all its children, those that have ended among them."""
    def of(one, *columns):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        return sum(int(fields[column]) for column in columns) / os.sysconf("SC_CLK_TCK")

    total = of(pid, 11, 12, 13, 14)
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            total += of(child, 11, 12)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended
    return total


def resident_bytes(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmRSS of {pid}")


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def processes_of(program):
    """The ids of all processes that run this very file."""
    found = []
    for link in Path("/proc").glob("[0-9]*/exe"):
        try:
            if os.readlink(link) == str(program):
                found.append(int(link.parent.name))
        except OSError:
            pass
    return found


def hear_interrupts():
    """For preexec_fn: whatever a script runs in the background is born deaf to SIGINT, and a shell cannot trap what was
    ignored when it began."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
