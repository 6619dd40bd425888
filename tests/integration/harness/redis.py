"""A throw-away Redis on a free port, nothing on disk."""

import re
import shutil
import signal
import socket
import subprocess

from .system import as_account, free_port, give_to_account, make_directory
from .wait import seconds, until


class Redis:
    def __init__(self, *options):
        self.directory = make_directory("weir-redis-")
        self.port = free_port()
        self.options = options
        self.process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self):
        command = [shutil.which("redis-server"), "--bind", "127.0.0.1", "--port", str(self.port), "--save", "",
                   "--appendonly", "no", "--dir", str(self.directory), *self.options]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True, **as_account())
        until("Redis answers", self._answers, 20)
        return self

    def _answers(self):
        assert self.process.poll() is None, (self.directory / "log").read_text()[-2000:]
        try:
            return b"PONG" in self.command("PING") or b"NOAUTH" in self.command("PING")
        except OSError:
            return False

    def command(self, *words):
        """Sends one command on a connection of its own; returns the raw reply (short ones whole)."""
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        with socket.create_connection(("127.0.0.1", self.port), seconds(5)) as link:
            link.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
            return link.recv(1 << 20)

    def follow(self, master):
        self.command("REPLICAOF", "127.0.0.1", master.port)
        until("the replica is up to date", lambda: b"master_link_status:up" in self.command("INFO", "replication"), 20)

    def keys(self):
        """The names of all keys."""
        with socket.create_connection(("127.0.0.1", self.port), seconds(5)) as link:
            file = link.makefile("rb")
            link.sendall(b"*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n")
            count = int(file.readline()[1:])
            names = []
            for _ in range(count):
                size = int(file.readline()[1:])
                names.append(file.read(size + 2)[:-2])
            return names

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(seconds(20))
        self.process = None

    def role(self):
        return self.command("ROLE").split(b"\r\n")[2].decode()

    def remove(self):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)


class Sentinel(Redis):
    """Watches a master, and makes its replica the master soon after it has gone."""

    def __init__(self, master, name="weir"):
        super().__init__()
        self.master, self.name = master, name
        self.watched = master.port
        self.lines = []
        self.conf = self.directory / "sentinel.conf"

    def start(self):
        self.conf.write_text(f"port {self.port}\nbind 127.0.0.1\nsentinel monitor {self.name} 127.0.0.1 {self.watched} 1\n"
                             f"sentinel down-after-milliseconds {self.name} 500\nsentinel failover-timeout {self.name} 3000\n"
                             + "".join(line + "\n" for line in self.lines))
        give_to_account(self.conf)
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen([shutil.which("redis-server"), str(self.conf), "--sentinel"], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True, **as_account())
        until("the Sentinel answers", self._answers, 20)
        return self

    def replicas(self):
        return int(re.search(rb"slaves=(\d+)", self.command("INFO", "sentinel")).group(1))
