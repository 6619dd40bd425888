"""The spellings: how a cell is read and how it is written, as messages of the protocol.

A form makes a Request, whose `cells` says where in the rows of its answer which cells are."""

import struct
from typing import NamedTuple

from cells import PLACES, ROWS
from harness.wire import COPY_DONE, SYNC, bind, copy_data, describe, execute, once, parse, query

INT4, TEXT = 23, 25


class Request(NamedTuple):
    """`cells`: for each row of the answer where number and token stand, [(cell, column, column)]; None if the cells are to be
    taken from the column `id` in front. `number`: does the one row of a write tell the number made."""
    form: str
    payload: bytes
    readies: int = 1
    cells: list = None
    is_binary: bool = False
    number: bool = False
    copy: bytes = None  # what follows once PostgreSQL asks for it
    name: str = None  # of the prepared statement that must be there; its text is `text`
    text: str = None
    table: tuple = None
    pins: bool = False  # keeps the server from then on, since nobody sees what the code has done to the session


def name_of(session, schema, table):
    """Without the schema where the session's search_path finds it, half of the time."""
    is_short = session.path == schema and session.random.random() < 0.6
    return table if is_short else f"{schema}.{table}"


# ---- reading

def _one_row(session, cell):
    place = PLACES[cell]
    table = session.random.choice(place.reads)
    return name_of(session, place.schema, table), place.id, [[(cell, 0, 1)]]


def read_simple(session, cell):
    name, number, cells = _one_row(session, cell)
    return Request("simple", query(f"SELECT n, v FROM {name} WHERE id = {number}"), cells=cells)


def read_extended(session, cell):
    name, number, cells = _one_row(session, cell)
    return Request("extended", once(f"SELECT n, v FROM {name} WHERE id = {number}") + SYNC, cells=cells)


def read_parameter(session, cell):
    name, number, cells = _one_row(session, cell)
    return Request("parameter", once(f"SELECT n, v FROM {name} WHERE id = $1", [number]) + SYNC, cells=cells)


def read_binary(session, cell):
    name, number, cells = _one_row(session, cell)
    sql = f"SELECT n, v FROM {name} WHERE id = $1"
    payload = (parse(sql, types=(INT4,)) + bind([struct.pack("!i", number)], formats=(1,), result_formats=(1,)) +
               execute() + SYNC)
    return Request("binary", payload, cells=cells, is_binary=True)


def read_prepared(session, cell):
    name, number, cells = _one_row(session, cell)
    sql = f"SELECT n, v FROM {name} WHERE id = $1"
    statement = f"r{session.names}:{name}"
    payload = bind([number], statement) + describe() + execute() + SYNC
    return Request("prepared", payload, cells=cells, name=statement, text=sql)


def read_with(session, cell):
    name, number, cells = _one_row(session, cell)
    return Request("with", query(f"WITH c AS (SELECT * FROM {name}) SELECT n, v FROM c WHERE id = {number}"), cells=cells)


def read_subquery(session, cell):
    name, number, cells = _one_row(session, cell)
    return Request("subquery", query(f"SELECT n, (SELECT v FROM {name} y WHERE y.id = x.id) FROM {name} x"
                                     f" WHERE x.id IN ({number})"), cells=cells)


def read_table(session, cell):
    place = PLACES[cell]
    table = session.random.choice(place.reads)
    name = name_of(session, place.schema, table)
    return Request("table", query(f"SELECT id, n, v FROM {name} ORDER BY id"), table=(place.schema, table))


def read_command(session, cell):
    place = PLACES[cell]
    table = session.random.choice(place.reads)
    return Request("command", once(f"TABLE {name_of(session, place.schema, table)}") + SYNC, table=(place.schema, table))


def read_join(session, cell):
    name, number, _ = _one_row(session, cell)
    other = session.random.randrange(len(PLACES))
    second, second_number, _ = _one_row(session, other)
    return Request("join", query(f"SELECT a.n, a.v, b.n, b.v FROM {name} a CROSS JOIN {second} b WHERE a.id = {number}"
                                 f" AND b.id = {second_number}"), cells=[[(cell, 0, 1), (other, 2, 3)]])


READS = [read_simple, read_parameter, read_prepared, read_extended, read_binary, read_table, read_with, read_command,
         read_subquery, read_join]
READ_WEIGHTS = [8, 6, 6, 4, 4, 4, 2, 2, 1, 1]


def decode(request, rows):
    """[(cell, number, token)] of an answer; None when it has not the shape that it must have."""
    if request.table is not None:
        shown = ROWS[request.table]
        if len(rows) != len(shown):
            return None
        return [(shown[int(row[0])], int(row[1]), row[2].decode()) for row in rows]
    if len(rows) != 1:
        return None
    row = rows[0]
    if request.is_binary:
        return [(cell, struct.unpack("!q", row[n])[0], row[v].decode()) for cell, n, v in request.cells[0]]
    return [(cell, int(row[n]), row[v].decode()) for cell, n, v in request.cells[0]]


# ---- writing

def _target(session, cell):
    place = PLACES[cell]
    return name_of(session, place.schema, session.random.choice(place.writes)), place.id


def _full_target(session, cell):
    place = PLACES[cell]
    return f"{place.schema}.{session.random.choice(place.writes)}", place.id


def write_simple(session, cell, token):
    name, number = _target(session, cell)
    return Request("UPDATE", query(f"UPDATE {name} SET n = n + 1, v = '{token}' WHERE id = {number} RETURNING n"), number=True)


def write_silent(session, cell, token):
    name, number = _target(session, cell)
    return Request("UPDATE without RETURNING", once(f"UPDATE {name} SET n = n + 1, v = '{token}' WHERE id = {number}") + SYNC)


def write_parameters(session, cell, token):
    name, number = _target(session, cell)
    sql = f"UPDATE {name} SET n = n + 1, v = $1 WHERE id = $2 RETURNING n"
    return Request("UPDATE with parameters", once(sql, [token, number]) + SYNC, number=True)


def write_binary(session, cell, token):
    name, number = _target(session, cell)
    sql = f"UPDATE {name} SET n = n + 1, v = $1 WHERE id = $2 RETURNING n"
    payload = (parse(sql, types=(TEXT, INT4)) + bind([token, struct.pack("!i", number)], formats=(0, 1), result_formats=(1,)) +
               execute() + SYNC)
    return Request("binary UPDATE", payload, number=True, is_binary=True)


def write_prepared(session, cell, token):
    name, number = _target(session, cell)
    statement = f"w{session.names}:{name}"
    sql = f"UPDATE {name} SET n = n + 1, v = $1 WHERE id = $2 RETURNING n"
    return Request("prepared UPDATE", bind([token, number], statement) + execute() + SYNC, number=True, name=statement,
                   text=sql)


def write_with(session, cell, token):
    name, number = _target(session, cell)
    sql = f"WITH w AS (UPDATE {name} SET n = n + 1, v = '{token}' WHERE id = {number} RETURNING n) SELECT n FROM w"
    return Request("WITH", query(sql) if session.random.random() < 0.5 else once(sql) + SYNC, number=True)


def write_merge(session, cell, token):
    name, number = _target(session, cell)
    return Request("MERGE", query(f"MERGE INTO {name} x USING (VALUES ({number})) s(i) ON x.id = s.i"
                                  f" WHEN MATCHED THEN UPDATE SET n = x.n + 1, v = '{token}'"))


def write_from(session, cell, token):
    name, number = _target(session, cell)
    return Request("UPDATE FROM", query(f"UPDATE {name} AS x SET n = x.n + 1, v = '{token}' FROM two.p2 y WHERE x.id = {number}"
                                        f" AND y.id = 1 RETURNING x.n"), number=True)


def write_string(session, cell, token):
    name, number = _target(session, cell)
    return Request("several statements",
                   query(f"SELECT 1; UPDATE {name} SET n = n + 1, v = '{token}' WHERE id = {number}; SELECT 2"))


def write_block(session, cell, token):
    name, number = _target(session, cell)
    return Request("a block in one string",
                   query(f"BEGIN; UPDATE {name} SET n = n + 1, v = '{token}' WHERE id = {number}; COMMIT"))


def write_explain(session, cell, token):
    name, number = _target(session, cell)
    return Request("EXPLAIN ANALYZE",
                   query(f"EXPLAIN ANALYZE UPDATE {name} SET n = n + 1, v = '{token}' WHERE id = {number}"))


def write_execute(session, cell, token):
    name, number = _target(session, cell)
    return Request("EXECUTE", query(f"PREPARE x AS UPDATE {name} SET n = n + 1, v = '{token}' WHERE id = {number}; EXECUTE x;"
                                    f" DEALLOCATE x"), pins=True)


def write_function(session, cell, token):
    name, number = _full_target(session, cell)
    which = session.random.choice(("bump", "calm"))
    sql = f"SELECT tools.{which}('{name}', {number}, '{token}')"
    if which == "calm":  # which may not be called so by its own rights, but PostgreSQL does not look
        return Request("STABLE function", once(sql) + SYNC, number=True)
    return Request("function", query(sql), number=True)


def write_do(session, cell, token):
    name, number = _full_target(session, cell)
    return Request("DO", query(f"DO $$ BEGIN UPDATE {name} SET n = n + 1, v = '{token}' WHERE id = {number}; END $$"), pins=True)


def write_call(session, cell, token):
    name, number = _full_target(session, cell)
    which = "call_bump" if session.random.random() < 0.5 or session.block else "call_commit"
    return Request("CALL", query(f"CALL tools.{which}('{name}', {number}, '{token}')"), pins=True)


def write_trigger(session, cell, token):
    name, number = _full_target(session, cell)
    return Request("trigger", query(f"INSERT INTO tools.requests VALUES ('{name}', {number}, '{token}')"))


def write_copy(session, cell, token):
    name, number = _full_target(session, cell)
    return Request("COPY and trigger", query("COPY tools.requests FROM STDIN"),
                   copy=copy_data(f"{name}\t{number}\t{token}\n".encode()) + COPY_DONE)


def write_upsert(session, cell, token):
    name, number = _target(session, cell)
    return Request("ON CONFLICT", query(f"INSERT INTO {name} AS x VALUES ({number}, 1, '{token}') ON CONFLICT (id) DO UPDATE"
                                        f" SET n = x.n + 1, v = EXCLUDED.v RETURNING n"), number=True)


def write_rule(session, cell, token):
    return Request("rule", query(f"INSERT INTO tools.ruled VALUES ({PLACES[cell].id}, '{token}')"))


def write_view(session, cell, token):
    return Request("view", query(f"UPDATE tools.window SET n = n + 1, v = '{token}' WHERE id = {PLACES[cell].id} RETURNING n"),
                   number=True)


WRITES = [write_simple, write_silent, write_parameters, write_binary, write_prepared, write_with, write_merge, write_from,
          write_string, write_block, write_explain]
# What Weir does not know the reach of; and what may change definitions too, so that nothing is cached until the catalog has
# been looked at.
UNKNOWN_WRITES = [write_trigger, write_copy]
CODE_WRITES = [write_function, write_function, write_do, write_call, write_execute]
NOT_IN_BLOCK = {write_block}


def write_form(session, cell):
    """A spelling that fits the cell and the session's state."""
    place = PLACES[cell]
    draw = session.random.random()
    if draw < session.shared.code_share:
        forms = CODE_WRITES
    elif draw < session.shared.unknown_share:
        forms = UNKNOWN_WRITES + [write_rule, write_view] * (place.schema == "one" and place.writes == ("p0",))
    else:
        forms = WRITES + [write_upsert] * (place.writes[0].startswith("p") and len(place.writes) == 1
                                           and place.writes[0] != "parents")
    while True:
        form = session.random.choice(forms)
        if not (session.block and form in NOT_IN_BLOCK):
            return form
