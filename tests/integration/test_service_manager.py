"""What a service manager is told: ready, reloading, stopping, and that all workers are alive."""

import os
import re
import signal
import socket

import pytest

from harness import system
from harness.wait import seconds, until


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, directory):
        self.path = directory / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(seconds(15))
        os.chmod(self.path, 0o777)

    def next(self):
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())


@pytest.fixture
def manager():
    directory = system.make_directory("weir-notify-")
    made = Manager(directory)
    yield made
    made.socket.close()
    made.path.unlink()
    directory.rmdir()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_manager_is_told_of_start_reload_and_stop(start, manager, workers):
    pooler = start(environment={"NOTIFY_SOCKET": str(manager.path)}, workers=workers)
    assert manager.next()["READY"] == "1"
    pooler.process.send_signal(signal.SIGHUP)
    told = manager.next()
    assert told["RELOADING"] == "1" and re.fullmatch(r"\d+", told["MONOTONIC_USEC"])
    assert manager.next()["READY"] == "1"
    before = pooler.ini.read_text()
    pooler.ini.write_text(before + "nonsense = 1\n")
    pooler.process.send_signal(signal.SIGHUP)
    assert manager.next()["RELOADING"] == "1"
    assert manager.next()["READY"] == "1"
    pooler.ini.write_text(before)
    pooler.process.send_signal(signal.SIGINT)
    assert manager.next()["STOPPING"] == "1"
    assert pooler.process.wait(seconds(10)) == 0
    pooler.process = None


def test_the_watchdog_is_fed_while_all_workers_turn(start, manager):
    pooler = start(environment={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"}, workers=2)
    assert manager.next()["READY"] == "1"
    for _ in range(3):
        assert manager.next() == {"WATCHDOG": "1"}
    worker = max(int(task) for task in os.listdir(f"/proc/{pooler.pid}/task"))
    assert worker != pooler.pid
    until("it serves meanwhile", lambda: pooler.wire().value("SELECT 1") == "1")
