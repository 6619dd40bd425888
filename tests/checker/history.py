"""What happened, as the judge gets to see it: one record for each read, and one for each write that was to commit.

All times are nanoseconds of one clock that never shows the same twice. `way` says which Weir an operation took; DIRECT is
past all of them. A cell is a row with a number that every write raises by one and a token that no two writes share. A
set is a group of elements, each of them put in once and taken out at most once."""

import time
from typing import NamedTuple

DIRECT = -1
DONE, UNDONE, UNKNOWN = "done", "undone", "unknown"

_last = 0


def clock():
    """Now; always later than what it said before."""
    global _last
    _last = max(_last + 1, time.monotonic_ns())
    return _last


class Seen(NamedTuple):
    """One cell in an answer. `pending`: how many writes of the reader's own, not committed yet, are in the number; then
    `own` is the token of the last of them."""
    cell: int
    number: int
    token: str
    pending: int = 0
    own: str = None


class Read(NamedTuple):
    """`begin` is when it was sent; in a transaction that keeps its snapshot, when that may have been taken at the
    earliest."""
    begin: int
    end: int
    session: int
    way: int
    form: str
    seen: list


class SetRead(NamedTuple):
    begin: int
    end: int
    session: int
    way: int
    form: str
    group: tuple
    elements: frozenset
    own_added: frozenset = frozenset()
    own_removed: frozenset = frozenset()


class Raise(NamedTuple):
    """`count` writes to a cell that commit together; `token` is the last one's, `number` what it was told, or None."""
    cell: int
    count: int
    token: str
    number: int = None


class Add(NamedTuple):
    group: tuple
    element: int


class Remove(NamedTuple):
    group: tuple
    element: int


class Clear(NamedTuple):
    """Takes out all that is in the group; `since` is when that was sent."""
    group: tuple
    since: int


class Write(NamedTuple):
    """`sent` is when what commits it was sent; `end` when its answer came, None if none came."""
    sent: int
    end: int
    session: int
    way: int
    form: str
    outcome: str
    items: list


class Rule(NamedTuple):
    """Something was opened to a role or closed to it, by one session after another."""
    sent: int
    end: int
    session: int
    way: int
    form: str
    outcome: str
    guard: tuple
    opens: bool


class Guarded(NamedTuple):
    """A read of what is open or closed, and which of them it found."""
    begin: int
    end: int
    session: int
    way: int
    form: str
    guard: tuple
    was_open: bool


class Oddity(NamedTuple):
    """Something that no history allows, as the session that saw it tells."""
    end: int
    session: int
    way: int
    text: str


def told(record):
    """A record as a line for people."""
    who = f"session {record.session}, " + ("direct" if record.way == DIRECT else f"Weir {record.way}")
    if isinstance(record, Oddity):
        return f"{record.end / 1e9:.6f} {who}: {record.text}"
    end = "no answer" if record.end is None else f"{record.end / 1e9:.6f}"
    began = record.sent if isinstance(record, (Write, Rule)) else record.begin
    if isinstance(record, Rule):
        what = f"{record.outcome}: {tuple(record.guard)} " + ("opened" if record.opens else "closed")
    elif isinstance(record, Guarded):
        what = f"found {tuple(record.guard)} " + ("open" if record.was_open else "closed")
    elif isinstance(record, Read):
        what = "read " + ", ".join(f"cell {s.cell} = {s.number} {s.token!r}" for s in record.seen)
    elif isinstance(record, SetRead):
        what = f"read group {record.group} = {sorted(record.elements)}"
    else:
        what = f"{record.outcome}: " + ", ".join(map(str, record.items))
    return f"{began / 1e9:.6f} .. {end} {who}: {what}   [{record.form}]"
