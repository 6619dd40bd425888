"""Runs all sessions in one thread: their sockets, what they wait for, and when they are held."""

import errno
import heapq
import select
import socket
import struct

from history import clock
from session import Boundary, Connect, Lost
from harness.wire import startup

STUCK_NS = 40_000_000_000


class Answer:
    """Of one request: rows of all its statements, codes of its errors, the last status. `parts`: one for each
    ReadyForQuery."""

    def __init__(self):
        self.rows, self.errors, self.status, self.parts = [], [], b"I", []


def columns(body):
    count, at, row = struct.unpack_from("!h", body)[0], 2, []
    for _ in range(count):
        size = struct.unpack_from("!i", body, at)[0]
        at += 4
        if size < 0:
            row.append(None)
        else:
            row.append(body[at:at + size])
            at += size
    return row


def error_code(body):
    for field in body.split(b"\0"):
        if field[:1] == b"C":
            return field[1:]
    return b"?"


class Link:
    """A session and its connection."""

    def __init__(self, driver, session):
        self.driver, self.session = driver, session
        self.life = session.life()
        self.socket = None
        self.wish = None
        self.since = 0
        self.held = False

    # what the session wants

    def go(self, send=None, error=None):
        """Lets the session run until it has to wait."""
        while True:
            wish = self.wish = self.life.throw(error) if error else self.life.send(send)
            send = error = None
            self.since = clock()
            if isinstance(wish, Boundary):
                self.held = self.driver.is_holding
                if self.held:
                    return
            elif isinstance(wish, Connect):
                self.connect()
                return
            elif self.begin(wish):
                return
            else:
                error = Lost()

    def begin(self, wish):
        """Sends; False if the connection is gone."""
        self.expect(wish.readies)
        self.until_copy = wish.until_copy
        try:
            if wish.payload:
                self.socket.sendall(wish.payload)
        except OSError:
            self.close()
            return False
        if wish.cut:
            self.driver.later(self.session.random.uniform(0, 0.004), self.cut, self.socket)
        return True

    def expect(self, readies):
        self.buffer, self.at, self.missing = b"", 0, readies
        self.answer, self.part = Answer(), Answer()

    def connect(self):
        self.close()
        port = self.driver.port_of(self.wish.way)
        link = socket.socket()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.settimeout(5)
        try:
            link.connect(("127.0.0.1", port))
            link.sendall(startup(user=self.wish.user, database=self.driver.database_of(self.wish.way), **self.wish.settings))
        except OSError:
            link.close()
            self.driver.later(0.05, self.retry)
            return
        self.socket = link
        self.expect(1)
        self.until_copy = False
        self.driver.watch(self)

    def retry(self):
        if isinstance(self.wish, Connect):
            self.connect()

    def cut(self, which):
        """The client goes away, with a reset or without."""
        if self.socket is not which:
            return
        if self.session.random.random() < 0.5:
            which.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
        self.go(error=Lost())

    def close(self):
        if self.socket is not None:
            self.driver.unwatch(self)
            self.socket.close()
            self.socket = None

    # what comes

    def readable(self):
        try:
            piece = self.socket.recv(65536)
        except OSError:
            piece = b""
        if not piece:
            self.lost()
            return
        self.buffer = self.buffer[self.at:] + piece if self.at < len(self.buffer) else piece
        self.at = 0
        if not self.parse():
            return
        if isinstance(self.wish, Connect):
            if self.answer.errors:
                self.lost()
            else:
                self.go()
        else:
            self.go(self.answer)

    def parse(self):
        """Takes the whole messages off the buffer; True when the answer is complete."""
        buffer, at, part = self.buffer, self.at, self.part
        while len(buffer) - at >= 5:
            length = int.from_bytes(buffer[at + 1:at + 5], "big")
            if len(buffer) - at < length + 1:
                break
            kind, body = buffer[at], buffer[at + 5:at + 1 + length]
            at += length + 1
            if kind == 68:  # DataRow
                part.rows.append(columns(body))
            elif kind == 69:  # ErrorResponse
                part.errors.append(error_code(body))
            elif kind == 90:  # ReadyForQuery
                part.status = body
                self.finish_part()
                part = self.part
                if self.missing == 0:
                    self.at = at
                    return True
            elif kind == 71 and self.until_copy:  # CopyInResponse
                self.at = at
                self.finish_part()
                return True
        self.at = at
        return False

    def finish_part(self):
        part, answer = self.part, self.answer
        answer.rows += part.rows
        answer.errors += part.errors
        answer.status = part.status
        answer.parts.append(part)
        self.part = Answer()
        self.missing -= 1

    def lost(self):
        self.close()
        if isinstance(self.wish, Connect):
            self.driver.later(0.02, self.retry)
        else:
            # An error in front of the end is as good as no answer, since nothing says what was done.
            self.held = False
            self.go(error=Lost())


class Driver:
    def __init__(self, sessions, port_of, database_of):
        self.port_of, self.database_of = port_of, database_of
        self.poll = select.epoll()
        self.links = {}
        self.timers = []
        self.number = 0
        self.is_holding = False
        self.all = [Link(self, session) for session in sessions]

    def watch(self, link):
        self.links[link.socket.fileno()] = link
        self.poll.register(link.socket, select.EPOLLIN)

    def unwatch(self, link):
        self.links.pop(link.socket.fileno(), None)
        try:
            self.poll.unregister(link.socket)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EBADF):
                raise

    def later(self, seconds, act, *arguments):
        self.number += 1
        heapq.heappush(self.timers, (clock() + int(seconds * 1e9), self.number, act, arguments))

    def start(self):
        for link in self.all:
            link.go()

    def turn(self):
        """Waits for what comes next and deals with it."""
        pause = 0.02
        if self.timers:
            pause = min(pause, max(0, (self.timers[0][0] - clock()) / 1e9))
        for fd, _ in self.poll.poll(pause):
            link = self.links.get(fd)
            if link is not None:
                link.readable()
        while self.timers and self.timers[0][0] <= clock():
            _, _, act, arguments = heapq.heappop(self.timers)
            act(*arguments)

    def hold(self):
        """Every session stops at its next boundary."""
        self.is_holding = True

    def is_held(self):
        # Who is only connecting has nothing under way either.
        return all(link.held or isinstance(link.wish, Connect) for link in self.all)

    def release(self):
        self.is_holding = False
        for link in self.all:
            if link.held:
                link.held = False
                link.go()

    def stuck(self):
        """The sessions that have waited for longer than anything should take."""
        return [link for link in self.all if not link.held and clock() - link.since > STUCK_NS]

    def close(self):
        for link in self.all:
            link.close()
            link.life.close()
        self.poll.close()
