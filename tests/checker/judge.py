"""Whether a history is one that a cache which is never wrong could have given. Pure: records in, violations out.

What was true is not known, but bounded, since all that is written only grows: a cell's number, and the life of an element
from absent (0) to present (1) to gone (2). The *floor* is what must have been true by then: what was acknowledged or has
been read. The *ceiling* is the most that can be true: everything that was sent and not certainly undone. An answer must
lie between the floor at a moment before it began and the ceiling when it came.

That moment is the beginning of the read itself, for `exact` and for reads past all Weirs. For `ttl` it is ttl earlier, but
not before the last write to the same cell through the same Weir was sent; and such writes themselves must be seen.

What is open or closed is changed by one session after another, so that its state is known but for the time that a change
takes: a read must find it as the last change that was acknowledged before it began has left it, or one that was sent since."""

from bisect import bisect_right
from collections import defaultdict
from typing import NamedTuple

from history import DIRECT, DONE, UNDONE, Add, Clear, Guarded, Oddity, Raise, Read, Remove, Rule, SetRead, Write, told

FIRST = "first"  # the token of every cell before anything was written
SLACK_NS = 100_000_000  # of ttl: the clock of an event loop may be a little behind


class Violation(NamedTuple):
    text: str
    excerpt: list

    def __str__(self):
        return "\n".join([self.text, *("    " + told(record) for record in self.excerpt)])


class Steps:
    """A value that grows, and what made it so, at any time."""

    def __init__(self, value=0):
        self.times, self.values, self.causes = [0], [value], [None]

    @property
    def value(self):
        return self.values[-1]

    def raise_to(self, value, when, cause):
        if value > self.values[-1]:
            self.times.append(when)
            self.values.append(value)
            self.causes.append(cause)

    def at(self, when):
        place = bisect_right(self.times, when) - 1
        return self.values[place], self.causes[place]


class Way:
    """What writes through one Weir have made certain."""

    def __init__(self):
        self.sent = Steps()  # when the last acknowledged one was sent
        self.floor = Steps()


class Cell:
    def __init__(self, number=0, token=FIRST):
        self.floor = Steps(number)
        self.ceiling = self.acknowledged = number
        self.tokens = {token: None}  # of writes that may have been committed
        self.names = {number: token}
        self.ways = defaultdict(Way)


class Element:
    def __init__(self, ceiling, floor=0):
        self.floor, self.ceiling = floor, ceiling
        self.born_at = self.gone_at = None
        self.born = self.gone = None  # the record that tells


class Group:
    def __init__(self):
        self.elements = {}
        self.open_clears = 0
        self.ways = defaultdict(Way)


class Judge:
    """ttl_ns: see above, None where reads are exact. `opens`: whether a guard is open at first."""

    def __init__(self, ttl_ns=None, opens=lambda guard: True):
        self.ttl_ns = ttl_ns
        self.rules = {}  # guard -> its rules, the oldest first
        self.opens = opens
        self.cells = defaultdict(Cell)
        self.groups = defaultdict(Group)
        self.at_sent = {}  # id of a write -> {cell: floor when it was sent}
        self.violations = []
        self.recent = defaultdict(list)

    def judge(self, records):
        """Judges what happened since the last call, at the end of which nothing was under way but writes of unknown
        outcome. Returns the violations found."""
        before = len(self.violations)
        events = []
        for record in records:
            if isinstance(record, (Write, Rule)):
                if record.outcome == UNDONE:
                    continue
                if isinstance(record, Rule):
                    events.append((record.sent, self._rule_sent, record))
                    continue
                events.append((record.sent, self._sent, record))
                if record.outcome == DONE:
                    events.append((record.end, self._done, record))
            else:
                act = {Read: self._read, SetRead: self._set_read, Guarded: self._guarded, Oddity: self._odd}[type(record)]
                events.append((record.end, act, record))
        events.sort(key=lambda event: event[0])
        for _, act, record in events:
            act(record)
        self.at_sent.clear()
        # Elements that have been gone for long are known by their absence.
        horizon = events[-1][0] - (self.ttl_ns or 0) - SLACK_NS if events else 0
        for group in self.groups.values():
            group.elements = {e: life for e, life in group.elements.items() if life.floor < 2 or life.gone_at > horizon}
        return self.violations[before:]

    def start_from(self, cells, groups):
        """After a crash that may have lost what was acknowledged: {cell: (number, token)} and {group: elements} are what is
        left, and all there is."""
        self.cells = defaultdict(Cell, {key: Cell(*left) for key, left in cells.items()})
        self.groups = defaultdict(Group)
        for key, elements in groups.items():
            for element in elements:
                life = self.groups[key].elements[element] = Element(1)
                self._born(life, 0, None)

    def _fail(self, text, *excerpt):
        found = sorted({id(r): r for r in excerpt if r is not None}.values(), key=lambda r: r.end or 0)
        self.violations.append(Violation(text, found))

    def _odd(self, record):
        self._fail(record.text, record)

    # writes

    def _sent(self, write):
        floors = {}
        for item in write.items:
            if isinstance(item, Raise):
                cell = self.cells[item.cell]
                cell.ceiling += item.count
                cell.tokens[item.token] = write
                floors[item.cell] = cell.floor.value
                continue
            group = self.groups[item.group]
            if isinstance(item, Add):
                group.elements[item.element] = Element(2 if group.open_clears else 1)
            elif isinstance(item, Remove):
                if item.element in group.elements:  # another may have cleared the group long before
                    group.elements[item.element].ceiling = 2
            else:
                group.open_clears += 1
                for life in group.elements.values():
                    life.ceiling = 2
        if floors:
            self.at_sent[id(write)] = floors

    def _done(self, write):
        for item in write.items:
            if isinstance(item, Raise):
                self._raised(write, item)
                continue
            group = self.groups[item.group]
            group.ways[write.way].sent.raise_to(write.sent, write.end, write)
            if isinstance(item, Clear):
                group.open_clears -= 1
                for life in group.elements.values():
                    if life.born_at is not None and life.born_at <= item.since:
                        self._gone(life, write.end, write)
            elif isinstance(item, Add):
                life = group.elements[item.element]
                if life.floor == 0:
                    self._born(life, write.end, write)
            elif item.element in group.elements:
                self._gone(group.elements[item.element], write.end, write)

    def _raised(self, write, item):
        cell = self.cells[item.cell]
        cell.acknowledged += item.count
        before = self.at_sent[id(write)][item.cell]
        floor = item.number if item.number is not None else before + item.count
        if item.number is not None:
            if not before + item.count <= item.number <= cell.ceiling:
                self._fail(f"cell {item.cell}: a write made {item.number}, though the number was at least {before} before"
                           f" it and can be {cell.ceiling} at most", cell.floor.causes[-1], write)
            self._name(cell, item.cell, item.number, item.token, write)
        cell.floor.raise_to(max(floor, cell.acknowledged), write.end, write)
        cell.ways[write.way].sent.raise_to(write.sent, write.end, write)
        cell.ways[write.way].floor.raise_to(floor, write.end, write)

    def _name(self, cell, number_of_cell, number, token, record):
        if cell.names.setdefault(number, token) != token:
            self._fail(f"cell {number_of_cell}: number {number} is both {cell.names[number]!r} and {token!r}",
                       cell.tokens.get(cell.names[number]), record)

    @staticmethod
    def _born(life, when, record):
        life.floor, life.born_at, life.born = 1, when, record

    @staticmethod
    def _gone(life, when, record):
        if life.floor < 2:
            life.floor, life.ceiling, life.gone_at, life.gone = 2, 2, when, record
            if life.born_at is None:
                life.born_at, life.born = when, record

    # what is open or closed

    def _rule_sent(self, rule):
        self.rules.setdefault(rule.guard, []).append(rule)

    def _guarded(self, read):
        # All rules that were sent before the read ended stand here by now.
        rules = self.rules.get(read.guard, [])
        known = None
        for place, rule in enumerate(rules):
            if rule.outcome == DONE and rule.end <= read.begin:
                known = place
        possible = {rule.opens for rule in rules[known or 0:]}
        if known is None:
            possible.add(self.opens(read.guard))
        if read.was_open not in possible:
            self._fail(f"{tuple(read.guard)} was found {'open' if read.was_open else 'closed'}, which it cannot have been",
                       rules[known] if known is not None else None, read)

    # reads

    def _from(self, read, ways):
        """The moment whose truth the read must at least show."""
        if self.ttl_ns is None or read.way == DIRECT:
            return read.begin
        return max(read.begin - self.ttl_ns - SLACK_NS, ways[read.way].sent.at(read.begin)[0])

    def _read(self, read):
        for seen in read.seen:
            cell = self.cells[seen.cell]
            number = seen.number - seen.pending
            own = cell.ways[read.way].floor.at(read.begin)
            floor, cause = max(cell.floor.at(self._from(read, cell.ways)), own, key=lambda found: found[0])
            if number < floor:
                self._fail(f"cell {seen.cell}: a read shows {number}, though {floor} was certain before it began",
                           cause, read)
            elif number > cell.ceiling:
                self._fail(f"cell {seen.cell}: a read shows {number}, though at most {cell.ceiling} can have been written",
                           *cell.floor.causes[-2:], read)
            elif seen.pending and seen.token != seen.own:
                self._fail(f"cell {seen.cell}: a transaction wrote {seen.own!r} and reads {seen.token!r}", read)
            elif not seen.pending and seen.token not in cell.tokens:
                self._fail(f"cell {seen.cell}: a read shows {seen.token!r}, which nobody has asked to be committed", read)
            else:
                if not seen.pending:
                    self._name(cell, seen.cell, number, seen.token, read)
                cell.floor.raise_to(number, read.end, read)

    def _set_read(self, read):
        group = self.groups[read.group]
        since = self._from(read, group.ways)
        shown = read.elements - read.own_added
        for element, life in group.elements.items():
            if element in shown or element in read.own_removed or life.floor == 0:
                continue
            is_due = life.born_at <= since or (life.born.way == read.way and life.born_at <= read.begin
                                               and isinstance(life.born, Write))
            if life.ceiling < 2 and is_due:
                self._fail(f"group {read.group}: element {element} is missing", life.born, read)
            elif life.floor == 1 and is_due:
                self._gone(life, read.end, read)
        for element in shown:
            life = group.elements.get(element)
            if life is None or element in read.own_removed:
                self._fail(f"group {read.group}: element {element} is shown, which was never put in, or is long gone", read)
            elif life.floor == 2:
                is_stale = life.gone_at <= since or (life.gone.way == read.way and life.gone_at <= read.begin
                                                     and isinstance(life.gone, Write))
                if is_stale:
                    self._fail(f"group {read.group}: element {element} is shown after it was taken out", life.gone, read)
            elif life.floor == 0:
                self._born(life, read.end, read)
