"""What is measured: PostgreSQL itself, the bare relay, pgbouncer and Weir, each with a port and a process."""

import shutil
import subprocess
from pathlib import Path

from harness import system
from harness.capability import WEIR_BIN
from harness.pooler import Pooler
from harness.wait import until

RELAY = Path(__file__).resolve().parents[2] / "build" / "relay"
ALL_MODES = ("simple", "extended", "prepared")


class Direct:
    name, pid, modes = "direct", None, ALL_MODES

    def __init__(self, postgres):
        self.port = postgres.port

    def stop(self):
        pass


class Relay:
    name, modes = "relay", ALL_MODES

    def __init__(self, postgres):
        self.port = system.free_port()
        self.process = subprocess.Popen([RELAY, str(self.port), str(postgres.port)])
        self.pid = self.process.pid

    def stop(self):
        self.process.kill()
        self.process.wait()


class Pooled:
    def __init__(self, name, postgres, binary, modes, options):
        self.name, self.modes = name, modes
        line = {"host": "127.0.0.1", "port": postgres.port, "dbname": "postgres", "control_user": "postgres"}
        self.pooler = Pooler({"postgres": line}, {"default_pool_size": 20, "max_client_conn": 1000, "log_stats": 0,
                                                  "log_connections": 0, "log_disconnections": 0, **options},
                             binary=binary)
        self.pooler.start()
        self.port, self.pid = self.pooler.port, self.pooler.pid

    @classmethod
    def weir(cls, postgres, **options):
        return cls("weir", postgres, WEIR_BIN, ALL_MODES, options)

    @classmethod
    def pgbouncer(cls, postgres):
        # Debian 12's has no prepared statements in transaction mode.
        return cls("pgbouncer", postgres, Path(shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"), ALL_MODES[:2], {})

    def stop(self):
        try:
            self.pooler.stop()
            until("it is gone", lambda: self.pooler.process is None)
        finally:
            self.pooler.remove()
