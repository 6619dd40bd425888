"""A server that is no PostgreSQL: it lets everybody in, answers every query with one row, and can be made to do what a
PostgreSQL at hand does not."""

import struct
import threading
import time

from .accepting import Accepting
from .wire import message, text

CANCEL, SSL, GSS = 80877102, 80877103, 80877104


class FakeServer(Accepting):
    def __init__(self, key=b"\0\0\0\1abcd", login_delay=0, query_delay=0, refusal=None):
        """`key`: the body of BackendKeyData. `login_delay`, `query_delay`: seconds. `refusal`: SQLSTATE and message of an
        error in answer to every startup packet."""
        self.key, self.login_delay, self.query_delay, self.refusal = key, login_delay, query_delay, refusal
        self.cancels = []  # keys, as they came
        self.versions = []
        self.logins = 0
        self.at_once = 0  # the most logins that were under way at one time
        self._under_way = 0
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        super().__init__()

    def __exit__(self, *how):
        self._cancelled.set()
        super().__exit__(*how)

    def serve(self, link):
        try:
            self._talk(link, link.makefile("rb"))
        except (OSError, ValueError, struct.error):
            pass
        finally:
            link.close()

    def _talk(self, link, input):
        while True:
            length, code = struct.unpack("!II", input.read(8))
            body = input.read(length - 8)
            if code not in (SSL, GSS):
                break
            link.sendall(b"N")
        if code == CANCEL:
            self.cancels.append(body)
            self._cancelled.set()
            return
        self.versions.append(code)
        if not self._log_in(link):
            return
        while True:
            kind, length = struct.unpack("!cI", input.read(5))
            body = input.read(length - 4)
            if kind == b"X":
                return
            if kind == b"Q":
                self._answer(link, body[:-1].decode())

    def _log_in(self, link):
        with self._lock:
            self.logins += 1
            self._under_way += 1
            self.at_once = max(self.at_once, self._under_way)
        time.sleep(self.login_delay)
        with self._lock:
            self._under_way -= 1
        if self.refusal:
            state, words = self.refusal
            link.sendall(message(b"E", b"S" + text("FATAL") + b"V" + text("FATAL") + b"C" + text(state) + b"M"
                                 + text(words) + b"\0"))
            return False
        parameters = {"server_version": "15.0", "client_encoding": "UTF8", "standard_conforming_strings": "on",
                      "TimeZone": "UTC", "DateStyle": "ISO, MDY"}
        link.sendall(message(b"R", struct.pack("!I", 0))
                     + b"".join(message(b"S", text(name) + text(value)) for name, value in parameters.items())
                     + message(b"K", self.key) + message(b"Z", b"I"))
        return True

    def _answer(self, link, sql):
        if "pg_sleep" in sql:
            self._cancelled.wait()
            link.sendall(message(b"E", b"S" + text("ERROR") + b"V" + text("ERROR") + b"C" + text("57014") + b"M"
                                 + text("canceled") + b"\0") + message(b"Z", b"I"))
            return
        time.sleep(self.query_delay)
        column = text("a") + struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0)
        link.sendall(message(b"T", struct.pack("!h", 1) + column)
                     + message(b"D", struct.pack("!hi", 1, 4) + b"fake")
                     + message(b"C", text("SELECT 1")) + message(b"Z", b"I"))
