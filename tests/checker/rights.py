"""Rights and policies that come and go, all of them through Weir.

A *guard* is one row of a table that is open or closed to the role `other`: by a right to the table or its schema, by being a
member of a role, or by a policy. One session at a time changes a guard, so that what a read may find is known exactly."""

from typing import NamedTuple

import forms
from history import DIRECT, DONE, UNKNOWN, Guarded, Rule, clock
from harness.wire import SYNC, once, query

COUNT = 30  # of each kind: one whose state is not known is not used any more
ALIVE = 3  # of each kind, at one time
REFUSED = b"42501"


class Kind(NamedTuple):
    name: str
    setup: str
    opens: str
    closes: str
    is_open: bool  # at first
    shows_nothing: bool = False  # closed is an answer without rows, and no error


ROW = "(id int, v text); INSERT INTO {table} VALUES (1, 'behind'); GRANT SELECT ON {table} TO other;"
KINDS = (
    Kind("table", "CREATE TABLE {table} " + ROW, "GRANT SELECT ON {table} TO other", "REVOKE SELECT ON {table} FROM other", True),
    Kind("schema", "CREATE SCHEMA room{n}; GRANT USAGE ON SCHEMA room{n} TO other; CREATE TABLE {table} " + ROW,
         "GRANT USAGE ON SCHEMA room{n} TO other", "REVOKE USAGE ON SCHEMA room{n} FROM other", True),
    Kind("member", "CREATE TABLE {table} " + ROW + "REVOKE SELECT ON {table} FROM other; GRANT SELECT ON {table} TO crew{n};",
         "GRANT crew{n} TO other", "REVOKE crew{n} FROM other", False),
    Kind("policy", "CREATE TABLE {table} " + ROW + "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;",
         "CREATE POLICY lets ON {table} TO other USING (id = 1)", "DROP POLICY lets ON {table}", False, True),
    Kind("role's policy", "CREATE TABLE {table} " + ROW + "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;"
         " CREATE POLICY lets ON {table} USING (false);",
         "ALTER POLICY lets ON {table} USING (current_user = 'other')", "ALTER POLICY lets ON {table} USING (current_user = 'app')",
         False, True),
)
SETUP_ROLES = "".join(f"CREATE ROLE crew{n}; GRANT crew{n} TO app WITH ADMIN OPTION;" for n in range(COUNT))


class Guard(NamedTuple):
    kind: int
    n: int

    @property
    def table(self):
        return f"room{self.n}.kept" if KINDS[self.kind].name == "schema" else f"tools.guard_{self.kind}_{self.n}"

    def fill(self, text):
        return text.format(table=self.table, n=self.n)


def setup():
    return "".join(Guard(kind, n).fill(KINDS[kind].setup) for kind in range(len(KINDS)) for n in range(COUNT))


class Guards:
    """Those in use."""

    def __init__(self):
        self.alive = [Guard(kind, n) for kind in range(len(KINDS)) for n in range(ALIVE)]
        self.next = [ALIVE] * len(KINDS)
        self.is_open = {}
        self.changing = set()

    def give_up(self, guard):
        self.alive.remove(guard)
        if self.next[guard.kind] < COUNT:
            self.alive.append(Guard(guard.kind, self.next[guard.kind]))
            self.next[guard.kind] += 1


def is_open(guards, guard):
    return guards.is_open.get(guard, KINDS[guard.kind].is_open)


def change(session):
    """Opens a guard, or closes it."""
    guards = session.shared.guards
    free = [guard for guard in guards.alive if guard not in guards.changing]
    if session.user != "app" or session.way == DIRECT or not free:
        return
    guard = session.random.choice(free)
    kind, opens = KINDS[guard.kind], not is_open(guards, guard)
    guards.changing.add(guard)
    sent, end, outcome = None, None, UNKNOWN
    try:
        yield from session.send(query("RESET ROLE"))
        sql = guard.fill(kind.opens if opens else kind.closes)
        payload = query(sql) if session.random.random() < 0.5 else once(sql) + SYNC
        sent = clock()
        answer = yield from session.send(payload, cut=session.random.random() < session.shared.cut_share)
        outcome, end = session.outcome(answer), clock()
    finally:
        guards.changing.discard(guard)
        if sent is not None:
            session.shared.records.append(Rule(sent, end if outcome == DONE else None, session.number, session.way,
                                               kind.name, outcome, guard, opens))
            if outcome == DONE:
                guards.is_open[guard] = opens
            elif outcome == UNKNOWN:
                guards.give_up(guard)


def read(session):
    """Looks behind guards as the role that they are about."""
    if session.user == "app":
        answer = yield from session.send(query("SET ROLE other"))
        if answer.errors:
            return
    for _ in range(session.random.choice((2, 3, 4))):
        if session.shared.guards.alive:
            yield from _look(session, session.random.choice(session.shared.guards.alive))
    if session.user == "app":
        yield from session.send(query("RESET ROLE"))


def _look(session, guard):
    kind, draw = KINDS[guard.kind], session.random.random()
    sql = f"SELECT v FROM {guard.table}"
    request = forms.Request(kind.name, query(sql) if draw < 0.4 else once(sql) + SYNC if draw < 0.7 else
                            once(f"{sql} WHERE id = $1", [1]) + SYNC)
    for _ in range(session.random.choice((1, 2, 3))):
        begin = clock()
        answer = yield from session.run(request)
        if answer.errors and answer.errors[0] != REFUSED:
            return
        found = [row[0] for row in answer.rows]
        if found not in ([], [b"behind"]) or not answer.errors and not found and not kind.shows_nothing:
            session.odd(f"{guard}: rows {found}, where there must be others")
        session.shared.records.append(Guarded(begin, clock(), session.number, session.way, kind.name, guard, bool(found)))


def defaults(session):
    """Changes what sessions of a role start with, which no answer may depend on here."""
    if session.user == "app":
        yield from session.send(query("RESET ROLE"))
        yield from session.send(query(session.random.choice((
            "ALTER ROLE app SET work_mem = '{}MB'", "ALTER ROLE app SET extra_float_digits = {}", "ALTER ROLE app RESET ALL"))
            .format(session.random.randint(1, 3))))
