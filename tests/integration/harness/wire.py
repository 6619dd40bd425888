"""A raw client of the PostgreSQL protocol: builds messages byte by byte and shows every message that comes
back, which no driver does. Messages are made by functions (bytes) and sent in any combination."""

import hashlib
import socket
import struct
from collections import namedtuple

from .scram import ScramClient
from .wait import seconds

PROTOCOL_3_0 = 196608
PROTOCOL_3_2 = 196610
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSSENC_REQUEST = struct.pack("!ii", 8, 80877104)


class Closed(Exception):
    """The peer ended the connection."""


class ServerError(Exception):
    def __init__(self, fields):
        super().__init__(f"{fields.get('C')}: {fields.get('M')}")
        self.fields = fields
        self.code = fields.get("C")


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def text(value):
    return value.encode() + b"\0" if isinstance(value, str) else value + b"\0"


def startup(version=PROTOCOL_3_0, **parameters):
    body = struct.pack("!i", version)
    for name, value in parameters.items():
        body += text(name) + text(value)
    body += b"\0"
    return struct.pack("!i", len(body) + 4) + body


def cancel_request(pid, secret):
    """The packet that asks to cancel; pid and secret as BackendKeyData gave them (Wire.key)."""
    return struct.pack("!iiI", 12 + len(secret), 80877102, pid) + secret


def query(sql):
    return message(b"Q", text(sql))


def parse(sql, name="", types=()):
    return message(b"P", text(name) + text(sql) + struct.pack(f"!h{len(types)}I", len(types), *types))


def bind(values=(), statement="", portal="", formats=(), result_formats=()):
    body = text(portal) + text(statement) + struct.pack(f"!h{len(formats)}h", len(formats), *formats)
    body += struct.pack("!h", len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
        else:
            raw = value if isinstance(value, bytes) else str(value).encode()
            body += struct.pack("!i", len(raw)) + raw
    body += struct.pack(f"!h{len(result_formats)}h", len(result_formats), *result_formats)
    return message(b"B", body)


def describe(kind="P", name=""):
    return message(b"D", kind.encode() + text(name))


def execute(portal="", limit=0):
    return message(b"E", text(portal) + struct.pack("!i", limit))


def close(kind="S", name=""):
    return message(b"C", kind.encode() + text(name))


def function_call(oid, *arguments):
    body = struct.pack("!Ihhh", oid, 1, 1, len(arguments))
    for argument in arguments:
        body += struct.pack("!i", len(argument)) + argument
    return message(b"F", body + struct.pack("!h", 1))


def copy_data(data):
    return message(b"d", data)


def copy_fail(reason):
    return message(b"f", text(reason))


def once(sql, values=(), types=(), result_formats=()):
    """One unnamed statement through the extended protocol, without its Sync."""
    return (parse(sql, types=types) + bind(values, result_formats=result_formats) + describe() + execute())


SYNC = message(b"S")
FLUSH = message(b"H")
COPY_DONE = message(b"c")
TERMINATE = message(b"X")

Seen = namedtuple("Seen", "kind body")


def fields_of(body):
    """The fields of an ErrorResponse or NoticeResponse by their letter."""
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}


def row_of(body):
    """The columns of a DataRow as bytes, None for NULL."""
    count, at, row = struct.unpack_from("!h", body)[0], 2, []
    for _ in range(count):
        size = struct.unpack_from("!i", body, at)[0]
        at += 4
        row.append(None if size < 0 else body[at:at + size])
        at += max(size, 0)
    return row


class Answer(list):
    """Messages as they came, with short ways to look at them."""

    @property
    def kinds(self):
        return "".join(m.kind for m in self)

    @property
    def rows(self):
        return [row_of(m.body) for m in self if m.kind == "D"]

    @property
    def texts(self):
        """Rows with their columns decoded; the usual way to look at a result."""
        return [tuple(None if c is None else c.decode() for c in row) for row in self.rows]

    @property
    def tags(self):
        return [m.body[:-1].decode() for m in self if m.kind == "C"]

    @property
    def errors(self):
        return [fields_of(m.body) for m in self if m.kind == "E"]

    @property
    def statuses(self):
        return "".join(m.body.decode() for m in self if m.kind == "Z")

    @property
    def parameters(self):
        """ParameterStatus messages, as they came, by name."""
        pairs = (m.body.split(b"\0") for m in self if m.kind == "S")
        return {name.decode(): value.decode() for name, value, *_ in pairs}


class Wire:
    def __init__(self, port, host="127.0.0.1", limit=15, receive_buffer=None):
        is_unix = host.startswith("/")  # a directory, as for libpq
        self.socket = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(seconds(limit))
        self.socket.connect(f"{host}/.s.PGSQL.{port}" if is_unix else (host, port))
        if not is_unix:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = bytearray()
        self.parameters = {}
        self.key = None
        self.binding = ()  # of SCRAM: its header, the data, the mechanism to ask for

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the connection without a Terminate, as a process that dies does."""
        self.socket.close()

    def quit(self):
        self.send(TERMINATE)
        self.close()

    def secure(self, context, ask=True, host="localhost"):
        """Goes over to TLS, after the question for it unless told otherwise."""
        if ask:
            self.send(SSL_REQUEST)
            assert self.raw(1) == b"S"
        self.socket = context.wrap_socket(self.socket, server_hostname=host)
        return self

    def reset(self):
        """Ends the connection by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, *messages):
        self.socket.sendall(b"".join(messages))

    def _fill(self, size):
        while len(self.pending) < size:
            try:
                piece = self.socket.recv(1 << 16)
            except ConnectionResetError as error:
                raise Closed() from error
            if not piece:
                raise Closed()
            self.pending += piece

    def raw(self, size):
        self._fill(size)
        piece = bytes(self.pending[:size])
        del self.pending[:size]
        return piece

    def next(self):
        """The next message; Closed at the end of the connection."""
        kind, length = struct.unpack("!ci", self.raw(5))
        return Seen(kind.decode(), self.raw(length - 4))

    def next_is(self, kind):
        seen = self.next()
        assert seen.kind == kind, f"expected {kind}, got {seen}"
        return seen

    def ready(self, times=1):
        """Everything up to and with the given number of ReadyForQuery."""
        answer = Answer()
        while times:
            answer.append(self.next())
            if answer[-1].kind == "Z":
                times -= 1
        return answer

    def up_to(self, kinds):
        """Everything up to and with the first message of one of the kinds."""
        answer = Answer()
        while not answer or answer[-1].kind not in kinds:
            answer.append(self.next())
        return answer

    def rest(self):
        """Everything until the peer closes."""
        answer = Answer()
        while True:
            try:
                answer.append(self.next())
            except Closed:
                return answer

    def is_quiet(self, limit=0.2):
        """Nothing more comes: checked by waiting a moment."""
        if self.pending:
            return False
        self.socket.settimeout(limit)
        try:
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise Closed()
            self.pending += piece
            return False
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(seconds(15))

    def query(self, sql):
        self.send(query(sql))
        return self.ready()

    def extended(self, sql, values=(), types=(), result_formats=()):
        self.send(once(sql, values, types, result_formats), SYNC)
        return self.ready()

    def ask(self, *messages):
        """Sends messages and a Sync; returns everything up to ReadyForQuery."""
        self.send(*messages, SYNC)
        return self.ready()

    def value(self, sql):
        """The first column of the first row, as text; raises ServerError."""
        answer = self.query(sql)
        if answer.errors:
            raise ServerError(answer.errors[0])
        return answer.texts[0][0]

    def do(self, sql):
        """A statement that must succeed."""
        answer = self.query(sql)
        if answer.errors:
            raise ServerError(answer.errors[0])
        return answer

    def login(self, user, database, password=None, version=PROTOCOL_3_0, **parameters):
        """Startup and authentication (trust, password, md5, SCRAM) up to the first ReadyForQuery."""
        self.send(startup(version, user=user, database=database, **parameters))
        return self.finish_login(user, password)

    def finish_login(self, user, password=None):
        answer = Answer()
        while True:
            seen = self.next()
            answer.append(seen)
            if seen.kind == "E":
                raise ServerError(fields_of(seen.body))
            if seen.kind == "R":
                self._authenticate(seen.body, user, password)
            elif seen.kind == "S":
                self.parameters.update(Answer([seen]).parameters)
            elif seen.kind == "K":
                self.key = (struct.unpack_from("!I", seen.body)[0], seen.body[4:])
            elif seen.kind == "Z":
                return answer

    def _authenticate(self, body, user, password):
        method = struct.unpack_from("!i", body)[0]
        if method == 3:
            self.send(message(b"p", text(password)))
        elif method == 5:
            inner = hashlib.md5((password + user).encode()).hexdigest()
            self.send(message(b"p", text("md5" + hashlib.md5(inner.encode() + body[4:8]).hexdigest())))
        elif method == 10:
            self.mechanisms = [name.decode() for name in body[4:].split(b"\0") if name]
            self.scram = ScramClient(password, *self.binding)
            first = self.scram.first()
            self.send(message(b"p", text(self.scram.mechanism) + struct.pack("!i", len(first)) + first))
        elif method == 11:
            self.send(message(b"p", self.scram.final(body[4:])))
        elif method == 12:
            self.scram.verify(body[4:])
        else:
            assert method == 0, f"authentication method {method}"
