"""A FreshRoot with systemd as its first process, in name spaces of its own: no process, mount, address or name of the
machine is in its reach, and all of it ends with that one process."""

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
# What a container's manager would set up: /dev with little in it, and to be read only what is the machine's: /sys, the
# settings of the kernel, and the folder "$1" as /given.
BOOT = """
set -e
cd "$0"
mount --bind . .
cd "$0"
mkdir -p given
mount --bind "$1" given
mount -o remount,bind,ro given
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
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
mount -t cgroup2 cgroup2 "$0/mnt" || exit
[ ! -d "$0/mnt/$1" ] || find "$0/mnt/$1" -depth -type d -exec rmdir {} +
"""


def _own_mounts(script, *arguments):
    return ["unshare", "--mount", "sh", "-c", script, *map(str, arguments)]


def can_boot(folder):
    """Whether this machine lets anyone mount the hierarchy of control groups that systemd wants."""
    return subprocess.run(_own_mounts('mount -t cgroup2 cgroup2 "$0/mnt"', folder), capture_output=True).returncode == 0


class Booted:
    def __init__(self, root, shared):
        """`shared` is a folder of the machine's that is /given inside, to read and for its Unix sockets."""
        self.root = root
        self.group = root.folder.name
        self.outer = root.spawn(*_own_mounts(ENCLOSE, root.folder, shared, self.group, BOOT), inside=False)
        self.output = root.output
        try:
            self.pid = until("systemd is there", self._first, 30)
            until("systemd has started", self._is_up, 60)
        except BaseException:
            self.stop()
            raise

    def _first(self):
        assert self.outer.poll() is None, self.output.read_text()
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
        for child in children:
            if Path(f"/proc/{child}/cmdline").read_text().startswith("/lib/systemd/systemd\0"):
                return int(child)
        return None

    def _is_up(self):
        return self.try_run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

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
        self.outer.kill()  # and with it, by --kill-child, the first process, whose end is that of all others
        self.outer.wait(seconds(20))
        clean = _own_mounts(CLEAN, self.root.folder, self.group)
        until("its processes are gone", lambda: subprocess.run(clean, capture_output=True).returncode == 0, 30)
