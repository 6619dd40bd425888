"""Ways to a cluster, and answers in a form that can be compared."""

import re
import struct

from harness.compare import comparable
from harness.wire import COPY_DONE, SYNC, Answer, Closed, Wire, copy_data, once, query

OF_SESSION = re.compile(r"pg_(?:toast_)?temp_\d+")
SETTINGS = {"TimeZone": "PST8PDT", "DateStyle": "Postgres, MDY", "extra_float_digits": "0"}
FIRST_OBJECT = 16384
NEVER = "the end of the connection"


def masked(messages):
    """Without the numbers of what was made in this cluster alone, of sessions, and without what comes at any time."""
    shown = []
    for kind, body in messages:
        if kind == "T":
            body = without_oids(body)
        elif kind == "t":
            body = [min(oid, FIRST_OBJECT) for oid in struct.unpack_from(f"!{struct.unpack_from('!H', body)[0]}I", body, 2)]
        elif isinstance(body, dict):
            body = {field: OF_SESSION.sub("pg_temp", text) for field, text in body.items()}
        if kind != "A":
            shown.append((kind, body))
    return shown


def without_oids(body):
    count, at, fields = struct.unpack_from("!h", body)[0], 2, []
    for _ in range(count):
        end = body.index(b"\0", at)
        table, column, kind, size, modifier, form = struct.unpack_from("!IhIhih", body, end + 1)
        fields.append((body[at:end], table > 0, column, min(kind, FIRST_OBJECT), size, modifier, form))
        at = end + 19
    return fields


class Side:
    """One way to a cluster."""

    def __init__(self, name, port, user="postgres"):
        self.name, self.port, self.user = name, port, user
        self.wire = None

    def connect(self, database):
        self.close()
        self.database = database
        self.wire = Wire(self.port, limit=60)
        self.wire.login(self.user, database, **SETTINGS)

    def close(self):
        if self.wire is not None:
            self.wire.quit()
            self.wire = None

    def run(self, statement, is_extended):
        """What comes back, in a form that can be compared."""
        answer = Answer()
        try:
            self.wire.send(once(statement.text) + SYNC if is_extended else query(statement.text))
            answer += self.wire.up_to("GZW")
            if answer[-1].kind == "G":
                self.wire.send(copy_data((statement.data or "").encode()), COPY_DONE)
                if is_extended:  # the first one was read by the COPY
                    self.wire.send(SYNC)
                answer += self.wire.up_to("Z")
        except Closed:
            self.wire.close()
            self.wire = None
            self.connect(self.database)
            return [(NEVER, None), *masked(comparable(answer))]
        return masked(comparable(answer))


def brief(messages, others):
    """The messages, without those in front that are the same in the other answer."""
    same = 0
    while same < min(len(messages), len(others)) and messages[same] == others[same]:
        same += 1
    return f"{same} alike, then " + " ".join(f"{kind}:{str(body)[:500]}" for kind, body in messages[same:])[:1000]


class Reasons:
    """Why statements are not answered from the cache, as SHOW TEMPLATES has it."""

    def __init__(self):
        self.templates = {}  # (database, text) -> (reason, calls)

    def look(self, rows):
        for row in rows:
            head = "" if row["cacheable"] == "yes" else row["reason"].split(":")[0].split(" (")[0]
            self.templates[row["database"], row["text"]] = head, int(row["calls"])

    def lines(self):
        table = {}
        for reason, calls in self.templates.values():
            count, asked = table.get(reason, (0, 0))
            table[reason] = count + 1, asked + calls
        total = sum(count for count, _ in table.values())
        return [f"  {count} of {total} statements, asked {asked} times: {reason or 'cached'}"
                for reason, (count, asked) in sorted(table.items(), key=lambda found: -found[1][0])]
