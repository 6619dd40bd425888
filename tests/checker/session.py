"""One client: what it does next is drawn from the seed; what comes of it is recorded.

A session is a generator. It yields what is to be sent and gets the answer, or has Lost thrown at it when the connection
ends; everything that waits is the driver's."""

import random
import struct
from typing import NamedTuple

import forms
import rights
import two_phase
from cells import PLACES, SETS
from history import (DIRECT, DONE, UNDONE, UNKNOWN, Add, Clear, Oddity, Raise, Read, Remove, Seen, SetRead, Write, clock)
from harness.wire import COPY_DONE, SYNC, copy_data, once, parse, query

# After these nobody can say whether what was asked for has been done.
UNCERTAIN = (b"08", b"57", b"58", b"XX")
GROUPS = 3
GROUP_MAX = 8
AROUND = "around"  # application_name of sessions past all Weirs
OF_OTHERS = (two_phase.act, rights.read, rights.change, rights.defaults)


class Lost(Exception):
    """The connection has ended."""


class Send(NamedTuple):
    payload: bytes
    readies: int = 1
    until_copy: bool = False
    cut: bool = False  # the client goes away without waiting for the answer


class Connect(NamedTuple):
    """Begins a connection, however often that takes."""
    way: int
    user: str
    settings: dict


class Boundary(NamedTuple):
    """Nothing is under way: here the session can be held."""


class Block:
    """A transaction: what it has done so far."""

    def __init__(self, keeps_snapshot, began):
        self.keeps_snapshot, self.began = keeps_snapshot, began
        self.path = None  # the session's, where SET LOCAL has set another
        self.raised = {}  # cell -> (count, token, number or None)
        self.added, self.removed = {}, {}  # group -> [element]
        self.cleared = {}  # group -> when that was sent
        self.first = {}  # cell -> what it showed first, where the snapshot is kept

    def copy(self):
        other = Block(self.keeps_snapshot, self.began)
        other.first, other.path = self.first, self.path
        other.raised, other.cleared = dict(self.raised), dict(self.cleared)
        other.added = {group: list(elements) for group, elements in self.added.items()}
        other.removed = {group: list(elements) for group, elements in self.removed.items()}
        return other

    def items(self):
        made = [Raise(cell, count, token, number) for cell, (count, token, number) in self.raised.items()]
        made += [Add(group, element) for group, elements in self.added.items() for element in elements]
        made += [Remove(group, element) for group, elements in self.removed.items() for element in elements]
        return made + [Clear(group, since) for group, since in self.cleared.items()]


class Session:
    """shared: what all sessions of a run know (Shared). way: through which Weir; DIRECT for none."""

    def __init__(self, shared, number, way, user="app"):
        self.shared, self.number, self.way, self.user = shared, number, way, user
        self.random = random.Random(f"{shared.seed}/{number}")
        self.path = "one"
        self.block = None
        self.prepared = set()
        self.names = 0  # goes into those of prepared statements
        self.is_pinned = False
        self.writes = 0
        self.alive = {}  # group -> elements of ours that are in it for certain
        self.operations = 0

    def life(self):
        while True:
            try:
                self.block, self.prepared, self.is_pinned = None, set(), False
                self.path = self.random.choice(("one", "two"))
                names = {"application_name": AROUND} if self.way == DIRECT else {}
                yield Connect(self.way, self.user, {"search_path": self.path, **names})
                while True:
                    yield from two_phase.finish(self)
                    yield Boundary()
                    if self.is_pinned and self.random.random() < 0.2:
                        break  # servers are few
                    yield from self._act()
            except Lost:
                pass

    def _act(self):
        calm = self.shared.calm
        # What these sessions write themselves ends what is old, too.
        often = 1 if self.way == DIRECT else max(calm, 0.08)
        acts = [(self.burst, 70), (self._write, 6 * often), (self._transaction, 5 * often), (self._set_read, 10),
                (self._set_write, 3 * often), (self._pipeline, 4 * often), (self._change_settings, 1),
                (self._definitions, 0.02 * calm), (two_phase.act, 0.3 * calm)]
        if self.shared.guards:
            acts += [(rights.read, 30), (rights.change, 1), (rights.defaults, 0.05)]
        act, = self.random.choices([act for act, _ in acts], [weight for _, weight in acts])
        yield from (act(self) if act in OF_OTHERS else act())

    # ---- sending

    def send(self, payload, readies=1, cut=False):
        """Sends and waits; an answer that leaves a block open that nobody wanted is followed by ROLLBACK."""
        answer = yield Send(payload, readies, cut=cut)
        self.operations += 1
        if not self.block and answer.status != b"I":
            yield Send(query("ROLLBACK"))
        return answer

    def run(self, request, cut=False):
        """Sends a request, with what must stand in front of it; a COPY in its two halves."""
        payload, readies = request.payload, request.readies
        self.is_pinned |= request.pins
        if request.name is not None and request.name not in self.prepared:
            payload = parse(request.text, request.name) + payload
        if request.copy is None:
            answer = yield from self.send(payload, readies, cut)
        else:
            answer = yield Send(payload, until_copy=True)
            if not answer.errors:
                answer = yield from self.send(request.copy, cut=cut)
            elif not self.block and answer.status != b"I":
                yield Send(query("ROLLBACK"))
        if request.name is not None and not answer.errors:
            self.prepared.add(request.name)
        elif request.name is not None:  # whether it is there now is not known
            self.names += 1
        return answer

    def token(self):
        self.writes += 1
        return f"{self.number}.{self.writes}"

    def pick_cell(self):
        # Some are asked for much more often than others.
        return min(self.random.randrange(len(PLACES)), self.random.randrange(len(PLACES)))

    def odd(self, text):
        self.shared.records.append(Oddity(clock(), self.number, self.way, text))

    # ---- reading

    def burst(self):
        cell = self.pick_cell()
        form, = self.random.choices(forms.READS, forms.READ_WEIGHTS)
        request = form(self, cell)
        for _ in range(self.random.choice((1, 1, 2, 3, 4))):
            answer = yield from self._read(request)
            if answer.errors:
                break

    def _read(self, request):
        begin = clock()
        if self.block and self.block.keeps_snapshot:
            begin = self.block.began
        answer = yield from self.run(request)
        if not answer.errors:
            self._record_read(request, answer, begin)
        elif answer.errors[0] not in (b"25P02", b"40P01", b"40001", b"55P03") and answer.errors[0][:2] not in UNCERTAIN:
            self.odd(f"{request.form}: error {answer.errors[0].decode()}")
        return answer

    def _record_read(self, request, answer, begin):
        shown = forms.decode(request, answer.rows)
        if shown is None:
            self.odd(f"{request.form}: rows {answer.rows[:4]}, where there must be others")
            return
        seen = []
        for cell, number, token in shown:
            count, own, _ = self.block.raised.get(cell, (0, None, None)) if self.block else (0, None, None)
            seen.append(Seen(cell, number, token, count, own))
            if self.block and self.block.keeps_snapshot and self.block.first.setdefault(cell, number - count) != number - count:
                self.odd(f"cell {cell} shows {number - count} in a transaction whose snapshot has"
                          f" {self.block.first[cell]}")
        self.shared.records.append(Read(begin, clock(), self.number, self.way, request.form, seen))

    # ---- writing

    def outcome(self, answer):
        if not answer.errors:
            return DONE
        if answer.errors[0][:2] in UNCERTAIN:
            return UNKNOWN
        if answer.errors[0][:2] not in (b"40", b"25", b"23", b"55"):
            self.odd(f"a write got the error {answer.errors[0].decode()}")
        return UNDONE

    def commit(self, form, run, items):
        """Runs what commits these items, and records how that ended. `run` is a generator that gives an answer; `items` may be
        a function of it."""
        sent, end, outcome, answer = clock(), None, UNKNOWN, None
        try:
            answer = yield from run
            outcome = self.outcome(answer)
            end = clock() if outcome != UNKNOWN else None
            return answer
        finally:
            made = items(answer if outcome == DONE else None) if callable(items) else items
            self.shared.records.append(Write(sent, end, self.number, self.way, form, outcome, made))
            if outcome == DONE:
                self._learn(made)
            elif outcome == UNKNOWN:
                self.shared.forget(made)

    def _learn(self, items):
        for item in items:
            if isinstance(item, Add):
                self.alive.setdefault(item.group, []).append(item.element)
            elif isinstance(item, Clear):
                self.alive.pop(item.group, None)

    @staticmethod
    def number_of(request, answer):
        if not request.number or answer is None or len(answer.rows) != 1:
            return None
        value = answer.rows[0][0]
        return struct.unpack("!q", value)[0] if request.is_binary else int(value)

    def _write(self):
        cell, token = self.pick_cell(), self.token()
        form = forms.write_form(self, cell)
        request = form(self, cell, token)
        is_cut = self.random.random() < self.shared.cut_share
        yield from self.commit(request.form, self.run(request, is_cut),
                                lambda answer: [Raise(cell, 1, token, self.number_of(request, answer))])

    def _pipeline(self):
        """Reads and writes of few cells, sent in one piece, each with its own Sync or as a query."""
        cells = [self.pick_cell() for _ in range(2)]
        parts = []  # (cell, token or None, request)
        for _ in range(self.random.randint(2, 5)):
            cell = self.random.choice(cells)
            if self.random.random() < 0.6:
                form = self.random.choice((forms.read_extended, forms.read_simple, forms.read_binary))
                parts.append((cell, None, form(self, cell)))
            else:
                token = self.token()
                form = self.random.choice((forms.write_parameters, forms.write_simple, forms.write_with))
                parts.append((cell, token, form(self, cell, token)))
        sent, end, answers = clock(), None, [None] * len(parts)
        try:
            answer = yield Send(b"".join(request.payload for _, _, request in parts), len(parts))
            self.operations += len(parts)
            end, answers = clock(), answer.parts
        finally:
            self._record_pipeline(parts, answers, sent, end)

    def _record_pipeline(self, parts, answers, sent, end):
        least = {}  # cell -> number of the last write in front
        for (cell, token, request), answer in zip(parts, answers):
            if token is None and answer is not None and not answer.errors:
                self._record_read(request._replace(form="in a pipeline"), answer, sent)
                shown = forms.decode(request, answer.rows)
                if shown and shown[0][1] < least.get(cell, 0):
                    self.odd(f"cell {cell}: a pipeline wrote {least[cell]} and then read {shown[0][1]}")
            elif token is not None:
                outcome = self.outcome(answer) if answer is not None else UNKNOWN
                number = self.number_of(request, answer) if outcome == DONE else None
                least[cell] = number or least.get(cell, 0)
                self.shared.records.append(Write(sent, end if outcome == DONE else None, self.number, self.way, "in a pipeline", outcome,
                                                 [Raise(cell, 1, token, number)]))

    # ---- sets

    def _pick_group(self):
        table = self.random.choice(SETS)
        return table, self.shared.groups[table][self.random.randrange(GROUPS)]

    def _set_read(self):
        table, number = self._pick_group()
        sql = f"SELECT element FROM {forms.name_of(self, 'one', table)} WHERE group_id = {number}"
        request = forms.Request("set", query(sql) if self.random.random() < 0.6 else once(sql) + SYNC)
        for _ in range(self.random.choice((1, 2, 3))):
            begin = clock()
            if self.block and self.block.keeps_snapshot:
                begin = self.block.began
            answer = yield from self.run(request)
            if answer.errors:
                return not self.block
            self._record_set((table, number), answer, begin)
        return True

    def _record_set(self, group, answer, begin):
        elements = frozenset(int(row[0]) for row in answer.rows)
        added, removed = frozenset(), frozenset()
        if self.block:
            if group in self.block.cleared:  # whose elements it took is not known
                return
            added = frozenset(self.block.added.get(group, ()))
            removed = frozenset(self.block.removed.get(group, ()))
            if not added <= elements:
                self.odd(f"group {group}: a transaction does not see {sorted(added - elements)}, which it has put in")
        self.shared.records.append(SetRead(begin, clock(), self.number, self.way, "set", group, elements, added, removed))

    def _element(self):
        self.writes += 1
        return self.writes * 1000 + self.number

    def _set_write(self):
        group = self._pick_group()
        table, number = group
        name = f"one.{table}"
        mine = self.alive.get(group, [])
        is_cut = self.random.random() < self.shared.cut_share
        draw = self.random.random()
        if len(mine) >= GROUP_MAX or draw < 0.03:
            yield from self._clear(table, number)
        elif mine and draw < 0.4:
            element = mine.pop(self.random.randrange(len(mine)))
            request = forms.Request("DELETE", query(f"DELETE FROM {name} WHERE element = {element}"))
            yield from self.commit(request.form, self.run(request, is_cut), [Remove(group, element)])
        elif draw < 0.55:
            elements = [self._element() for _ in range(2)]
            lines = "".join(f"{number}\t{element}\n" for element in elements).encode()
            request = forms.Request("COPY", query(f"COPY {name} FROM STDIN"), copy=copy_data(lines) + COPY_DONE)
            yield from self.commit(request.form, self.run(request, is_cut), [Add(group, e) for e in elements])
        else:
            element = self._element()
            sql = f"INSERT INTO {name} VALUES ({number}, {element})"
            request = forms.Request("INSERT", query(sql) if draw < 0.8 else once(sql) + SYNC)
            yield from self.commit(request.form, self.run(request, is_cut), [Add(group, element)])

    def _clear(self, table, number):
        """All elements of a group, or of a table, at once. That has its own way for each table."""
        since = clock()
        if table == "bag":
            groups = [(table, n) for n in range(1, self.shared.next_group)]
            run = self.run(forms.Request("TRUNCATE", query(self.random.choice(("TRUNCATE one.bag", "DELETE FROM one.bag")))))
        else:
            groups = [(table, number)]
            run = self.run(forms.Request("cascade", query(
                f"BEGIN; DELETE FROM one.groups WHERE id = {number}; INSERT INTO one.groups VALUES ({number}); COMMIT")))
        yield from self.commit("clear", run, [Clear(group, since) for group in groups])

    # ---- transactions

    def begin_block(self, begin="BEGIN", keeps_snapshot=False, is_simple=True):
        began = clock()
        answer = yield Send(query(begin) if is_simple else once(begin) + SYNC)
        if not answer.errors:
            self.block = Block(keeps_snapshot, began)
        return answer

    def _transaction(self):
        how = self.random.random()
        keeps = how < 0.3
        begin = "BEGIN" if how > 0.4 else "BEGIN ISOLATION LEVEL " + (
            self.random.choice(("REPEATABLE READ", "SERIALIZABLE")) if keeps else "READ COMMITTED")
        answer = yield from self.begin_block(begin, keeps, how < 0.7)
        if answer.errors:
            return
        saved = []
        try:
            is_good = True
            for _ in range(self.random.randint(1, 8 if keeps else 5)):
                is_good = yield from self._step(saved)
                if not is_good:
                    break
            yield from self._end(is_good)
        finally:
            self.block = None

    def _step(self, saved):
        """One statement of a transaction; False if the transaction has failed."""
        draw = self.random.random()
        if draw < 0.45:
            form, = self.random.choices(forms.READS, forms.READ_WEIGHTS)
            answer = yield from self._read(form(self, self.pick_cell()))
            return not answer.errors
        if draw < 0.55:
            is_good = yield from self._set_read()
            return is_good
        if draw < 0.63:
            self.shared.next_savepoint += 1
            saved.append((f"s{self.shared.next_savepoint}", self.block.copy()))
            answer = yield from self.send(query(f"SAVEPOINT {saved[-1][0]}"))
            return not answer.errors
        if draw < 0.70 and saved:
            name, block = saved[-1]
            answer = yield from self.send(query(f"ROLLBACK TO {name}"))
            self.block = block.copy()
            return not answer.errors
        if draw < 0.76:
            group = self._pick_group()
            element = self._element()
            answer = yield from self.send(query(f"INSERT INTO one.{group[0]} VALUES ({group[1]}, {element})"))
            if not answer.errors:
                self.block.added.setdefault(group, []).append(element)
            return not answer.errors
        if draw < 0.80:
            path = self.random.choice(("one", "two"))
            answer = yield from self.send(query(f"SET LOCAL search_path = {path}"))
            self.block.path = self.block.path or self.path
            # Until the end of this transaction names are written out, since a rollback may bring the other path back.
            self.path = None
            return not answer.errors
        cell, token = self.pick_cell(), self.token()
        request = forms.write_form(self, cell)(self, cell, token)
        answer = yield from self.run(request)
        if answer.errors:
            return False
        count = self.block.raised.get(cell, (0,))[0] + 1
        self.block.raised[cell] = count, token, self.number_of(request, answer)
        return True

    def _end(self, is_good):
        draw, block = self.random.random(), self.block
        if not is_good or draw < 0.2:
            yield from self.send(query("ROLLBACK"))
        elif draw < 0.2 + self.shared.cut_share:
            yield Send(b"", 1, cut=True)
        else:
            is_cut = self.random.random() < self.shared.cut_share
            payload = query("COMMIT") if draw < 0.7 else once("COMMIT") + SYNC
            if block.items():
                yield from self.commit("transaction", self.send(payload, cut=is_cut), block.items())
            else:
                yield from self.send(payload)
        self.path = self.path or block.path
        if self.path is None:  # rolled back to where no SET LOCAL had been
            raise Lost()

    # ---- settings and definitions

    def _change_settings(self):
        draw = self.random.random()
        if draw < 0.5:
            path = "two" if self.path == "one" else "one"
            answer = yield from self.send(query(f"SET search_path = {path}"))
            if not answer.errors:
                self.path = path
        elif draw < 0.75:
            yield from self.send(query(self.random.choice(("SET ROLE other", "RESET ROLE"))))
        else:
            yield from self.send(query(f"SET TimeZone = '{self.random.choice(('UTC', 'Europe/Berlin'))}'"))

    def _definitions(self):
        place = PLACES[self.pick_cell()]
        yield from self.send(query("RESET ROLE"))
        yield from self.send(query(f"ALTER TABLE {place.schema}.{place.writes[0]} ALTER v SET STATISTICS"
                                    f" {self.random.randint(1, 100)}"))


class Shared:
    """records: the history so far, in no order. prepared: [(name, items)] of transactions that anybody may end; doubtful: names
    of such that are to be rolled back, with the time since. guards: rights.Guards, or None."""

    def __init__(self, seed, cut_share=0.002, unknown_share=0.05, code_share=0.004, calm=1, guards=None):
        self.guards = guards
        self.prepared, self.doubtful = [], {}
        self.seed, self.cut_share, self.calm = seed, cut_share, calm
        self.unknown_share, self.code_share = unknown_share * calm, code_share * calm
        self.records = []
        self.next_savepoint = 0
        self.next_group = GROUPS + 1
        self.groups = {table: list(range(1, GROUPS + 1)) for table in SETS}

    def forget(self, items):
        """What is to become of these is unknown: a group that may still be emptied is not used any more."""
        for item in items:
            if isinstance(item, Clear):
                table, number = item.group
                if number in self.groups[table]:
                    self.groups[table][self.groups[table].index(number)] = self.next_group
                    self.next_group += 1


