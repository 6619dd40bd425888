"""A relay on the wire between the pooler and a server, where the tests make faults: it holds back what one
side says, cuts connections, swallows everything, or closes its door."""

import socket
import struct
import threading
import time

from .system import free_port


class Tap:
    def __init__(self, port, address="127.0.0.1", at=None, to="127.0.0.1"):
        """In front of the port of `to`; itself at `address`, on port `at` or any free one."""
        self.upstream = port
        self.address, self.to = address, to
        self.port = at or free_port()
        self.delay = 0  # seconds that whatever a server says is late
        self.connections = 0
        self.swallowed = 0  # taken and never answered
        self.sent = bytearray()  # all that went to the server, for looking at
        self.held = threading.Event()  # set once a request has set the trap
        self.delayed = threading.Event()  # set once a request has been kept back by delay_request
        self._late = None
        self._let_go = threading.Event()
        self._trap = None
        self._swap = None
        self._renamed = []
        self._lock = threading.Lock()
        self._links = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._answering = threading.Event()
        self._answering.set()
        self._listener = None
        self.is_deaf = False
        self.open()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()
        self.shut()
        self.cut()

    def open(self):
        """Accepts connections (again)."""
        self._listener = socket.create_server((self.address, self.port), backlog=128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self):
        """New connections are refused."""
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def cut(self, reset=True):
        """Ends every connection, both sides."""
        with self._lock:
            links, self._links = self._links, []
        for near, far, gate in links:
            for end in {near, far}:
                try:
                    if reset:
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                end.close()
            gate.set()  # only now: what was held back must not slip out

    def hold_answers(self):
        """What the server says no longer reaches the pooler."""
        self._answering.clear()

    def hold_requests(self):
        """What the pooler says no longer reaches the server."""
        self._flowing.clear()

    def hold_answer_to(self, fragment):
        """The next request that contains the fragment reaches the server, but its answer waits for release(); all
        other connections go on. tap.held says when it has happened."""
        self.held.clear()
        self._trap = fragment.encode()

    def delay_request(self, fragment):
        """The next request that contains the fragment waits for release(); all other connections go on."""
        self.delayed.clear()
        self._let_go.clear()
        self._late = fragment.encode()

    def misspell(self, right, wrong):
        """The next request that contains `right` reaches the server with `wrong`, of the same length, instead."""
        assert len(right) == len(wrong)
        self._swap = (right, wrong)

    def rename_in_answers(self, right, wrong):
        """Whatever the server says comes with `wrong`, of the same length, where it said `right`."""
        assert len(right) == len(wrong)
        self._renamed.append((right, wrong))

    def refuse_new(self):
        """New connections are taken and never answered; those there are go on."""
        self.is_deaf = True

    def release(self):
        self.is_deaf = False
        self._trap = self._late = None
        self._let_go.set()
        self._answering.set()
        self._flowing.set()
        with self._lock:
            for link in self._links:
                link[2].set()

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            if self.is_deaf:
                with self._lock:
                    self._links.append((near, near, threading.Event()))
                    self.swallowed += 1
                continue
            try:
                far = socket.create_connection((self.to, self.upstream), 10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            gate = threading.Event()
            gate.set()
            with self._lock:
                self._links.append((near, far, gate))
                self.connections += 1
            threading.Thread(target=self._copy, args=(near, far, [self._flowing], gate), daemon=True).start()
            threading.Thread(target=self._copy, args=(far, near, [self._answering, gate], None), daemon=True).start()

    def _misspelt(self, piece):
        swap = self._swap
        if not swap or swap[0] not in piece:
            return piece
        self._swap = None
        return piece.replace(*swap)

    def _look(self, piece, gate):
        self.sent += piece
        if self._trap and self._trap in piece:
            self._trap = None
            gate.clear()
            self.held.set()

    def _copy(self, source, target, gates, trap_gate):
        try:
            while True:
                piece = source.recv(1 << 16)
                for gate in gates:
                    gate.wait()
                if not piece:
                    target.shutdown(socket.SHUT_WR)
                    return
                if not trap_gate:
                    time.sleep(self.delay)
                    for right, wrong in self._renamed:
                        piece = piece.replace(right, wrong)
                else:
                    piece = self._misspelt(piece)
                    self._look(piece, trap_gate)
                    if self._late and self._late in piece:
                        self._late = None
                        self.delayed.set()
                        self._let_go.wait()
                target.sendall(piece)
        except (OSError, ValueError):
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
