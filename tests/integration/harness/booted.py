"""A FreshRoot with systemd as its first process, in name spaces of its own: no process, mount, address or name of the
machine is in its reach, and all of it ends with that one process."""

import os
import signal
import subprocess
from pathlib import Path

from harness.wait import seconds, until

# A control group of its own in the second hierarchy, wherever the machine has that, and the name spaces.
ENCLOSE = """
set -e
mount -t cgroup2 cgroup2 "$0/mnt"
mkdir "$0/mnt/$2"
echo $$ >"$0/mnt/$2/cgroup.procs"
umount "$0/mnt"
exec unshare --cgroup --pid --fork --kill-child --uts --ipc --net --mount sh -c "$3" "$0" "$1"
"""
# What a container's manager would set up: /dev with little in it, /sys to read, and the folder "$1" as /srv.
BOOT = """
set -e
cd "$0"
mount --bind . .
cd "$0"
mount --bind "$1" srv
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do
    touch "dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
pivot_root . mnt
umount -l /mnt
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=basic.target --log-target=console \
    --show-status=no
"""
CLEAN = """
mount -t cgroup2 cgroup2 "$0/mnt" && find "$0/mnt/$1" -depth -type d -exec rmdir {} +
"""


def _own_mounts(script, *arguments):
    return ["unshare", "--mount", "sh", "-c", script, *map(str, arguments)]


def can_boot(folder):
    """Whether this machine lets anyone mount the hierarchy of control groups that systemd wants."""
    return subprocess.run(_own_mounts('mount -t cgroup2 cgroup2 "$0/mnt"', folder), capture_output=True).returncode == 0


class Booted:
    def __init__(self, root, shared):
        """`shared` is a folder of the machine's that is /srv inside."""
        self.root = root
        self.group = root.folder.name
        self.outer = root.spawn(*_own_mounts(ENCLOSE, root.folder, shared, self.group, BOOT), inside=False)
        self.output = root.output
        self.pid = until("systemd is there", self._first, 30)
        until("systemd has started", lambda: self.try_run("systemctl", "is-system-running").stdout.strip() == "running", 60)

    def _first(self):
        assert self.outer.poll() is None, self.output.read_text()
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
        for child in children:
            if "/lib/systemd/systemd" in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
        return None

    def try_run(self, *command, limit=120):
        return subprocess.run(["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup",
                               "--", *command], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=seconds(limit), env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"})

    def run(self, *command, limit=120):
        ended = self.try_run(*command, limit=limit)
        journal = "" if ended.returncode == 0 else self.try_run("journalctl", "--no-pager", "-n", "50").stdout
        assert ended.returncode == 0, ended.stdout + ended.stderr + journal
        return ended.stdout

    def shows(self, unit, name):
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def path(self, inside):
        """Where a file of the inside is for those outside, what is mounted there included."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def stop(self):
        os.kill(self.pid, signal.SIGKILL)
        self.outer.wait(seconds(20))
        subprocess.run(_own_mounts(CLEAN, self.root.folder, self.group), check=True)
