"""What is measured: PostgreSQL itself, the bare relay, pgbouncer, pgpool2 and Weir, each with a port and a process."""

import shutil
import signal
import subprocess
from pathlib import Path

from harness import system
from harness.capability import WEIR_BIN
from harness.pooler import Pooler
from harness.postgres import program
from harness.wait import until

RELAY = Path(__file__).resolve().parents[2] / "build" / "relay"
ALL_MODES = ("simple", "extended", "prepared")


class Direct:
    name, pid, modes = "direct", None, ALL_MODES

    def __init__(self, postgres):
        self.port = postgres.port
        self.family = postgres.process.pid

    def hits(self):
        return 0

    def stop(self):
        pass


class Pgpool:
    """Debian's pgpool2 with its own query cache in shared memory; a process for each client."""

    name, modes = "pgpool2", ALL_MODES

    def __init__(self, postgres, clients):
        self.port = system.free_port()
        self.directory = system.make_directory("weir-pgpool-")
        settings = {
            "backend_clustering_mode": "raw", "listen_addresses": "127.0.0.1", "port": self.port, "pcp_port": system.free_port(),
            "socket_dir": self.directory, "pcp_socket_dir": self.directory, "pid_file_name": self.directory / "pid",
            "logdir": self.directory, "backend_hostname0": "127.0.0.1", "backend_port0": postgres.port, "num_init_children": clients,
            "max_pool": 1, "load_balance_mode": "off", "sr_check_period": 0, "enable_pool_hba": "off",
            "memory_cache_enabled": "on", "memqcache_method": "shmem", "memqcache_oiddir": self.directory / "oids",
        }
        conf = self.directory / "pgpool.conf"
        conf.write_text("".join(f"{key} = '{value}'\n" for key, value in settings.items()))
        (self.directory / "oids").mkdir()
        for path in (conf, self.directory / "oids"):
            system.give_to_account(path)
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen([shutil.which("pgpool") or "/usr/sbin/pgpool", "-n", "-f", conf, "-F", "/dev/null"],
                                            stdout=log, stderr=log, cwd=self.directory, **system.as_account())
        self.family = self.process.pid
        until("pgpool2 accepts", self._accepts)

    def _accepts(self):
        assert self.process.poll() is None, (self.directory / "log").read_text()[-2000:]
        return subprocess.run([program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode == 0

    def hits(self):
        shown = subprocess.run([program("psql"), "-AtqX", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-c",
                                "SHOW pool_cache", "postgres"], capture_output=True, text=True, check=True).stdout
        return int(shown.split("|")[0])

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


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
        line = {"host": "127.0.0.1", "port": postgres.port, "dbname": "postgres", "control_user": "postgres", **options.pop("line", {})}
        self.pooler = Pooler({"postgres": line}, {"default_pool_size": 20, "max_client_conn": 1000, "log_stats": 0,
                                                  "log_connections": 0, "log_disconnections": 0, **options},
                             binary=binary)
        self.pooler.start()
        self.port, self.pid = self.pooler.port, self.pooler.pid
        self.family = self.pid
        self.counter = "weir_cache_redis_hits_total" if options.get("cache_redis") else "weir_cache_hits_total"

    @classmethod
    def weir(cls, postgres, name="weir", **options):
        """Options of the file; those of the database's line are in `line`."""
        return cls(name, postgres, WEIR_BIN, ALL_MODES, options)

    @classmethod
    def pgbouncer(cls, postgres, **options):
        # Debian 12's has no prepared statements in transaction mode.
        return cls("pgbouncer", postgres, Path(shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"), ALL_MODES[:2], options)

    def hits(self):
        return self.pooler.metric(self.counter)

    def clients(self):
        """How many there are, those of the console left out."""
        return sum(row["database"] != "pgbouncer" for row in self.pooler.show("CLIENTS"))

    def stop(self):
        try:
            self.pooler.stop()
            until("it is gone", lambda: self.pooler.process is None)
        finally:
            self.pooler.remove()
