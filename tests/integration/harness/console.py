"""The pooler's console, spoken in the raw protocol: no driver's habits in between."""

import struct

from . import wire


class Console:
    def __init__(self, port, user="admin", password="", database="pgbouncer", context=None):
        self.wire = wire.Wire(port)
        if context:
            self.wire.secure(context)
        self.wire.login(user, database, password)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.wire.close()

    def run(self, command):
        """Runs a command; raises ServerError when it is refused."""
        return self.wire.do(command)

    def show(self, what):
        """The rows of SHOW what, each a dict of column name to text."""
        answer = self.run(f"SHOW {what}")
        names = next(columns_of(m.body) for m in answer if m.kind == "T")
        return [dict(zip(names, row)) for row in answer.texts]

    def columns(self, what):
        return next(columns_of(m.body) for m in self.run(f"SHOW {what}") if m.kind == "T")

    def pool(self, database, user):
        """The row of SHOW POOLS of one pool, or an empty dict."""
        return next((row for row in self.show("POOLS") if row["database"] == database and row["user"] == user), {})


def columns_of(body):
    """The column names of a RowDescription."""
    count, at, names = struct.unpack_from("!h", body)[0], 2, []
    for _ in range(count):
        end = body.index(b"\0", at)
        names.append(body[at:end].decode())
        at = end + 1 + 18
    return names
