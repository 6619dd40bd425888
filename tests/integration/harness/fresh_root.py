"""A Debian 12 in which nothing is installed, in a folder of its own, and programs run in it."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from harness import system
from harness.debian import bootstrap
from harness.wait import seconds, until

# Mounts of a name space of its own: they are gone when the last process in it is, however that ends.
ENTER = """
set -e
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
cd /
exec chroot "$0" "$@"
"""


class FreshRoot:
    """The folder, what runs in it, and the output of what was run last."""

    def __init__(self):
        self.folder = system.make_directory("weir-root-")
        os.chown(self.folder, 0, 0)  # it is a root directory, to whoever looks at it from inside
        self.output = self.folder.with_suffix(".out")
        bootstrap(self.folder)
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", self.folder / "etc" / name)

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
