"""Random statements over given tables, typed all the way through. Pure: a random number generator and a schema in, SQL and
parameters out.

An expression has a type and is made of columns, literals, parameters, operators, functions and casts of that type. A query
is of one of several shapes. What it does is of no interest here: whoever runs it compares what comes back."""

import struct
from typing import NamedTuple

TYPES = {"int2": 21, "int4": 23, "int8": 20, "numeric": 1700, "float8": 701, "bool": 16, "text": 25, "varchar": 1043, "bpchar": 1042,
         "bytea": 17, "date": 1082, "time": 1083, "timestamp": 1114, "timestamptz": 1184, "interval": 1186, "uuid": 2950,
         "jsonb": 3802, "inet": 869, "int4[]": 1007, "text[]": 1009}
DAY = 86_400_000_000
WORDS = ("", "a", "Weir", "über", "it''s", "%x_", "long " * 9, "NULL", "42")

SETUP = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN small AS int4 CHECK (VALUE < 1000000);
CREATE TABLE numbers (id int4 PRIMARY KEY, a int2, b int8, c numeric, d float8, e bool);
CREATE TABLE words (id int4 PRIMARY KEY, t text, v varchar(40), c bpchar(6), x bytea, ref int4 REFERENCES numbers ON DELETE CASCADE);
CREATE TABLE times (id int4 PRIMARY KEY, d date, t time, ts timestamp, tz timestamptz, i interval);
CREATE TABLE things (id int4 PRIMARY KEY, u uuid, j jsonb, n inet, ia int4[], ta text[]);
CREATE TABLE moods (id int4 PRIMARY KEY, m mood, s small, t text);
CREATE TABLE parted (id int4, k int4, t text, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (10);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (10) TO (MAXVALUE);
CREATE TABLE heirs (more int8) INHERITS (numbers);
CREATE VIEW joined AS SELECT n.id, n.a, n.c, w.t, w.v FROM numbers n JOIN words w ON w.ref = n.id;
CREATE VIEW summed AS SELECT k AS id, count(*) AS b, max(t) AS t FROM parted GROUP BY k;
INSERT INTO numbers SELECT i, i % 7, i * 1000003, i / 3.0, sqrt(i), CASE i % 3 WHEN 0 THEN true WHEN 1 THEN false END
    FROM generate_series(1, 40) i;
INSERT INTO words SELECT i, repeat('w', i % 5) || i, 'v' || i % 4, 'c' || i % 3, decode(lpad(to_hex(i), 4, '0'), 'hex'),
    1 + i % 40 FROM generate_series(1, 40) i;
INSERT INTO times SELECT i, date '2020-02-27' + i, time '10:00' + i * interval '7 min', timestamp '1999-12-31 23:00' + i * interval '11 hours',
    timestamptz '2024-03-30 12:00+00' + i * interval '5 hours', i * interval '3 days 1 min' FROM generate_series(1, 30) i;
INSERT INTO things SELECT i, md5(i::text)::uuid, jsonb_build_object('a', i, 'b', jsonb_build_array(i % 3, null)), ('10.0.0.' || i)::inet,
    ARRAY[i, i % 3, NULL], ARRAY['x' || i % 4, 'y'] FROM generate_series(1, 30) i;
INSERT INTO moods SELECT i, (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood, i, 'm' || i % 2 FROM generate_series(1, 20) i;
INSERT INTO parted SELECT i, i % 20, 'p' || i % 6 FROM generate_series(1, 60) i;
INSERT INTO heirs SELECT i, i % 7, i, i, i, true, i FROM generate_series(1001, 1008) i;
"""


class Table(NamedTuple):
    name: str
    columns: tuple  # of (name, type)
    is_written: bool


# One type for each column; those of users stand in the list with what they are like.
TABLES = (
    Table("numbers", (("id", "int4"), ("a", "int2"), ("b", "int8"), ("c", "numeric"), ("d", "float8"), ("e", "bool")), True),
    Table("words", (("id", "int4"), ("t", "text"), ("v", "varchar"), ("c", "bpchar"), ("x", "bytea"), ("ref", "int4")), True),
    Table("times", (("id", "int4"), ("d", "date"), ("t", "time"), ("ts", "timestamp"), ("tz", "timestamptz"), ("i", "interval")),
          True),
    Table("things", (("id", "int4"), ("u", "uuid"), ("j", "jsonb"), ("n", "inet"), ("ia", "int4[]"), ("ta", "text[]")), True),
    Table("moods", (("id", "int4"), ("t", "text"), ("m", "mood"), ("s", "small")), True),
    Table("parted", (("id", "int4"), ("k", "int4"), ("t", "text")), True),
    Table("parted_low", (("id", "int4"), ("k", "int4"), ("t", "text")), False),
    Table("heirs", (("id", "int4"), ("a", "int2"), ("b", "int8"), ("c", "numeric"), ("more", "int8")), True),
    Table("joined", (("id", "int4"), ("a", "int2"), ("c", "numeric"), ("t", "text"), ("v", "varchar")), False),
    Table("summed", (("id", "int4"), ("b", "int8"), ("t", "text")), False),
)


class Statement(NamedTuple):
    """`types` and `values` of the parameters; columns: the types of what comes back."""
    text: str
    types: tuple = ()
    values: tuple = ()
    columns: tuple = ()


# ---- values

def literal_of(random, kind):
    """A value in its text form, to be quoted."""
    number = random.randint(-5, 60)
    return {
        "int2": lambda: str(number), "int4": lambda: str(number), "int8": lambda: str(number * 1000003),
        "numeric": lambda: f"{number}.{random.randint(0, 99):02d}", "float8": lambda: repr(number / 4), "small": lambda: str(number),
        "bool": lambda: random.choice(("t", "f")), "bytea": lambda: "\\x" + random.randbytes(random.randint(0, 3)).hex(),
        "date": lambda: f"2020-0{random.randint(1, 9)}-{random.randint(1, 28):02d}",
        "time": lambda: f"{random.randint(0, 23):02d}:{random.randint(0, 59):02d}:00",
        "timestamp": lambda: f"2000-01-{random.randint(1, 28):02d} {random.randint(0, 23):02d}:00:00",
        "timestamptz": lambda: f"2024-04-{random.randint(1, 28):02d} {random.randint(0, 23):02d}:00:00+02",
        "interval": lambda: f"{number} days {random.randint(0, 99)} minutes",
        "uuid": lambda: f"00000000-0000-0000-0000-0000000000{random.randint(16, 99)}",
        "jsonb": lambda: random.choice(('{"a": 1}', "[1, 2, null]", '"x"', "3", "null")), "inet": lambda: f"10.0.0.{random.randint(0, 40)}",
        "int4[]": lambda: random.choice(("{}", "{1,2}", "{NULL,3}")), "text[]": lambda: random.choice(("{}", '{"x1","y"}', "{NULL}")),
        "mood": lambda: random.choice(("sad", "ok", "happy")),
    }.get(kind, lambda: random.choice(WORDS).replace("''", "'"))()


def binary_of(kind, text):
    """The binary form of a literal, or None where this module does not know it."""
    if kind in ("text", "varchar", "bpchar"):
        return text.encode()
    if kind in ("int2", "int4", "int8"):
        return struct.pack({"int2": "!h", "int4": "!i", "int8": "!q"}[kind], int(text))
    if kind == "float8":
        return struct.pack("!d", float(text))
    if kind == "bool":
        return b"\1" if text == "t" else b"\0"
    if kind == "bytea":
        return bytes.fromhex(text[2:])
    if kind == "uuid":
        return bytes.fromhex(text.replace("-", ""))
    if kind == "jsonb":
        return b"\1" + text.encode()
    if kind == "time":
        hours, minutes, _ = text.split(":")
        return struct.pack("!q", (int(hours) * 60 + int(minutes)) * 60_000_000)
    if kind == "timestamp":
        day, hour = int(text[8:10]), int(text[11:13])
        return struct.pack("!q", (day - 1) * DAY + hour * 3_600_000_000)
    if kind == "interval":
        days, minutes = int(text.split()[0]), int(text.split()[2])
        return struct.pack("!qii", minutes * 60_000_000, days, 0)
    if kind == "int4[]":
        items = [None if item == "NULL" else int(item) for item in text.strip("{}").split(",") if item]
        made = struct.pack("!iii", 1 if items else 0, None in items, 23) + (struct.pack("!ii", len(items), 1) if items else b"")
        return made + b"".join(struct.pack("!i", -1) if i is None else struct.pack("!ii", 4, i) for i in items)
    return None


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


# ---- expressions: {type: patterns}, where {type} stands for an expression of that type

INTEGER = ("{int4} + 1", "{int4} % 7", "abs({int4})", "length({text})", "coalesce({int4}, 0)", "greatest({int4}, {int4})",
           "CASE WHEN {bool} THEN {int4} ELSE {int4} END", "({text} || '1')::int4", "nullif({int4}, 3)", "-{int4}",
           "extract(day FROM {date})::int4", "{date} - date '2020-01-01'", "cardinality({int4[]})", "position('w' IN {text})",
           "(SELECT max(id) FROM numbers)", "({int4[]})[1]", "{int4} / nullif({int4}, 0)", "({jsonb} ->> 'a')::int4")
PATTERNS = {
    "int4": INTEGER,
    "int2": ("{int2}::int2", "coalesce({int2}, 1::int2)", "({int4} % 9)::int2"),
    "int8": ("{int8} + {int4}", "{int4}::int8 * 3", "(SELECT count(*) FROM words)", "sign({int8})::int8", "{int8} & 255"),
    "numeric": ("{numeric} * 2", "round({numeric}, 2)", "{int4}::numeric / 3", "{numeric} + {int8}", "trunc({numeric})",
                "(SELECT sum(c) FROM numbers)", "{int8}::numeric"),
    "float8": ("{float8} + 0.5", "{numeric}::float8", "abs({float8})", "{int4}::float8 / 4", "floor({float8})"),
    "bool": ("{int4} > {int4}", "{text} LIKE '%1'", "{int4} IN (1, 2, {int4})", "{text} = {text}", "NOT {bool}", "{date} < {date}",
             "{timestamp} >= {timestamp}", "{jsonb} @> '{{\"a\": 1}}'", "{int4} = ANY({int4[]})", "{text} IS NULL", "({bool} OR {bool})",
             "({bool} AND {bool})", "{numeric} BETWEEN 1 AND {numeric}", "{uuid} <> {uuid}", "{bytea} <= {bytea}",
             "{inet} << inet '10.0.0.0/24'", "EXISTS (SELECT 1 FROM words z WHERE z.ref = {int4})",
             "{int4} IN (SELECT k FROM parted_low)", "{interval} > interval '1 day'", "{text[]} && {text[]}", "{bool} IS TRUE",
             "{text} ~ '^[a-w]'", "{float8} <> {float8}", "{time} < {time}", "{int4} IS DISTINCT FROM {int4}"),
    "text": ("{text} || {text}", "upper({text})", "left({text}, 3)", "{int4}::text", "substr({text}, 2)", "coalesce({text}, 'none')",
             "md5({text})", "replace({text}, 'w', 'ww')", "{varchar}::text", "concat_ws('-', {int4}, {text})", "({jsonb} ->> 'a')",
             "lower({varchar})", "lpad({text}, 8, '.')", "{bool}::text", "trim({bpchar})", "{numeric}::text",
             "array_to_string({text[]}, ',')", "encode({bytea}, 'hex')", "format('%s/%s', {int4}, {text})", "{uuid}::text"),
    "varchar": ("{text}::varchar(10)", "{varchar}"),
    "bpchar": ("{text}::bpchar(4)",),
    "bytea": ("{bytea} || {bytea}", "decode(md5({text}), 'hex')", "substring({bytea}, 1, 1)"),
    "date": ("{date} + 1", "{timestamp}::date", "coalesce({date}, date '2020-01-01')", "date_trunc('month', {timestamp})::date"),
    "time": ("{time} + interval '1 min'", "{timestamp}::time"),
    "timestamp": ("{timestamp} + {interval}", "{date}::timestamp", "date_trunc('hour', {timestamp})"),
    "timestamptz": ("{timestamptz} + interval '1 hour'", "{timestamp} AT TIME ZONE 'Europe/Berlin'"),
    "interval": ("{interval} * 2", "{timestamp} - {timestamp}", "{interval} + {interval}"),
    "uuid": ("md5({text})::uuid",),
    "jsonb": ("{jsonb} -> 'b'", "jsonb_build_object('k', {int4})", "to_jsonb({text})", "{jsonb} || '{{\"z\": 0}}'"),
    "inet": ("{inet}", "host({inet})::inet"),
    "int4[]": ("{int4[]} || {int4}", "ARRAY[{int4}, {int4}]", "array_remove({int4[]}, 1)"),
    "text[]": ("ARRAY[{text}]", "{text[]} || {text}", "string_to_array({text}, 'w')"),
}
AGGREGATES = (("count(*)", "int8"), ("sum({int4})", "int8"), ("max({text})", "text"), ("min({int4})", "int4"), ("avg({numeric})", "numeric"),
              ("count(DISTINCT {int4})", "int8"), ("bool_or({bool})", "bool"), ("string_agg({text}, ',' ORDER BY {text})", "text"),
              ("array_agg({int4} ORDER BY {int4})", "int4[]"), ("sum({int4}) FILTER (WHERE {bool})", "int8"), ("max({date})", "date"),
              ("stddev_pop({numeric})", "numeric"), ("bit_and({int4})", "int4"))
WINDOWS = (("row_number() OVER {w}", "int8"), ("rank() OVER {w}", "int8"), ("sum({int4}) OVER {w}", "int8"),
           ("lag({int4}) OVER {w}", "int4"), ("first_value({text}) OVER {w}", "text"), ("ntile(3) OVER {w}", "int4"),
           ("count(*) OVER {w}", "int8"))
OUTPUT = [kind for kind in TYPES if kind not in ("int2", "varchar", "bpchar")]


class Query:
    """One statement while it is made."""

    def __init__(self, random, has_parameters):
        self.random, self.has_parameters = random, has_parameters
        self.types, self.values = [], []
        self.names = 0

    def name(self):
        self.names += 1
        return f"q{self.names}"

    # expressions

    def value(self, kind):
        text = literal_of(self.random, kind)
        if self.has_parameters and kind in TYPES and len(self.types) < 6 and self.random.random() < 0.6:
            self.types.append(kind)
            self.values.append(None if self.random.random() < 0.08 else text)
            return f"${len(self.types)}::{kind}" if self.random.random() < 0.5 else f"(${len(self.types)})::{kind}"
        return "NULL::" + kind if self.random.random() < 0.04 else quoted(text) + "::" + kind

    def expression(self, kind, scope, depth=2):
        columns = [name for name, other in scope if other == kind]
        draw = self.random.random()
        if columns and (draw < 0.5 or depth == 0):
            return self.random.choice(columns)
        if depth == 0 or draw > 0.9 or kind not in PATTERNS:
            return self.value(kind)
        return self.fill(self.random.choice(PATTERNS[kind]), scope, depth - 1)

    def fill(self, pattern, scope, depth=1):
        made, rest = "", pattern
        while "{" in rest:
            start = rest.index("{")
            if rest[start + 1] == "{":
                made, rest = made + rest[:start + 1], rest[start + 2:]
                continue
            end = rest.index("}", start)
            made += rest[:start].replace("}}", "}") + "(" + self.expression(rest[start + 1:end], scope, depth) + ")"
            rest = rest[end + 1:]
        return made + rest.replace("}}", "}")

    # queries: each gives (text, types of its columns)

    def source(self):
        """FROM and what can be seen of it."""
        table = self.random.choice(TABLES)
        first = self.name()
        text, scope = f"{table.name} {first}", [(f"{first}.{name}", kind) for name, kind in table.columns]
        draw = self.random.random()
        if draw < 0.35:
            other, second = self.random.choice(TABLES), self.name()
            wider = scope + [(f"{second}.{name}", kind) for name, kind in other.columns]
            how = self.random.choice(("JOIN", "LEFT JOIN", "JOIN", "FULL JOIN"))
            text += f" {how} {other.name} {second} ON {first}.id = {second}.id"
            if how == "JOIN" and self.random.random() < 0.5:
                text += f" AND {self.expression('bool', wider, 1)}"
            scope = wider
        elif draw < 0.45:
            second = self.name()
            inner, columns = self.plain(1)
            text += f" CROSS JOIN ({inner}) {second}({second}c)"
            scope = scope + [(f"{second}c", columns[0])]
        elif draw < 0.52:
            second = self.name()
            text += f" CROSS JOIN LATERAL (SELECT x.t, x.id + {first}.id AS s FROM parted x WHERE x.k = {first}.id) {second}"
            scope = scope + [(f"{second}.t", "text"), (f"{second}.s", "int4")]
        elif draw < 0.57:
            second = self.name()
            text += f" JOIN generate_series(1, 4) {second} ON {second} = {first}.id"
            scope = scope + [(second, "int4")]
        elif draw < 0.62:
            second = self.name()
            text += f" JOIN (VALUES (1, 'one'), (2, {self.value('text')})) {second}(n, t) ON {second}.n = {first}.id"
            scope = scope + [(f"{second}.t", "text")]
        return text, scope

    def where(self, scope):
        return f" WHERE {self.expression('bool', scope)}" if self.random.random() < 0.75 else ""

    def tail(self, count):
        if self.random.random() < 0.75:
            order = ", ".join(f"{n + 1}" + self.random.choice(("", " DESC", " NULLS FIRST")) for n in range(count))
            text = f" ORDER BY {order}"
        else:
            text = ""
        if self.random.random() < 0.5:
            text += f" LIMIT {self.random.randint(0, 12)}" + self.random.choice(("", " OFFSET 2"))
        return text

    def kinds(self, count, scope):
        seen = [kind for _, kind in scope if kind in TYPES]
        return [self.random.choice(seen) if self.random.random() < 0.5 else self.random.choice(OUTPUT) for _ in range(count)]

    def plain(self, count=None, kinds=None):
        text, scope = self.source()
        kinds = kinds or self.kinds(count or self.random.randint(1, 4), scope)
        outputs = ", ".join(f"{self.expression(kind, scope)} AS o{n}" for n, kind in enumerate(kinds))
        distinct = "DISTINCT " if self.random.random() < 0.1 else ""
        return f"SELECT {distinct}{outputs} FROM {text}{self.where(scope)}", tuple(kinds)

    def own_columns(self):
        """Columns of a type of users as they are, and the whole row."""
        table = self.random.choice(TABLES)
        text = f"SELECT * FROM {table.name} WHERE id = {self.value('int4')}" if self.random.random() < 0.6 else f"TABLE {table.name}"
        return text, tuple(kind for _, kind in table.columns) if table.name not in ("moods", "heirs") else ()

    def grouped(self):
        text, scope = self.source()
        key = self.random.choice([name for name, kind in scope if kind not in ("jsonb",)] or ["1"])
        made = [self.random.choice(AGGREGATES) for _ in range(self.random.randint(1, 3))]
        outputs = ", ".join(self.fill(pattern, scope) for pattern, _ in made)
        group = self.random.choice((f"GROUP BY {key}", f"GROUP BY {key}", f"GROUP BY ROLLUP ({key})", f"GROUP BY GROUPING SETS (({key}), ())"))
        having = f" HAVING count(*) > {self.random.randint(0, 2)}" if self.random.random() < 0.4 else ""
        kind = dict(scope).get(key, "int4")
        return f"SELECT {key}, {outputs} FROM {text}{self.where(scope)} {group}{having}", (kind, *(k for _, k in made))

    def windowed(self):
        text, scope = self.source()
        own = scope[0][0]
        made = [self.random.choice(WINDOWS) for _ in range(self.random.randint(1, 2))]
        window = f"(PARTITION BY {self.expression('int4', scope, 1)} ORDER BY {own}" + self.random.choice(
            ("", " ROWS BETWEEN 1 PRECEDING AND CURRENT ROW", " RANGE UNBOUNDED PRECEDING")) + ")"
        outputs = ", ".join(self.fill(pattern.replace("{w}", "@"), scope).replace("@", window) for pattern, _ in made)
        return f"SELECT {own}, {outputs} FROM {text}{self.where(scope)}", ("int4", *(kind for _, kind in made))

    def with_query(self):
        inner, columns = self.plain(self.random.randint(1, 3))
        name = self.name()
        how = self.random.choice(("AS", "AS MATERIALIZED", "AS NOT MATERIALIZED"))
        if self.random.random() < 0.25:
            return (f"WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {self.random.randint(2, 9)})"
                    f" SELECT r.n, count(w.id) FROM r LEFT JOIN words w ON w.ref = r.n GROUP BY 1"), ("int4", "int8")
        return f"WITH {name} {how} ({inner}) SELECT a.* FROM {name} a" + self.random.choice(
            ("", f" WHERE EXISTS (SELECT 1 FROM {name})", " JOIN numbers n ON n.id = 1")), columns

    def set_query(self):
        kinds = [self.random.choice(("int4", "text", "int8", "date", "numeric", "bool")) for _ in range(self.random.randint(1, 3))]
        how = self.random.choice(("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL"))
        first, _ = self.plain(kinds=kinds)
        second, _ = self.plain(kinds=kinds)
        return f"({first}) {how} ({second})", tuple(kinds)

    def point(self):
        """What applications ask mostly."""
        table = self.random.choice(TABLES)
        names = self.random.sample(table.columns, min(len(table.columns), self.random.randint(1, 4)))
        own = [name for name, kind in names if kind in TYPES] or ["id"]
        kinds = tuple(dict(table.columns)[name] for name in own)
        return f"SELECT {', '.join(own)} FROM {table.name} WHERE id {self.random.choice(('=', '=', '<', '>'))} {self.value('int4')}", kinds


SHAPES = ((Query.point, 5), (Query.plain, 6), (Query.grouped, 3), (Query.windowed, 2), (Query.with_query, 2), (Query.set_query, 2),
          (Query.own_columns, 2))


def read(random, has_parameters):
    """A query."""
    query = Query(random, has_parameters)
    shape, = random.choices([shape for shape, _ in SHAPES], [weight for _, weight in SHAPES])
    text, columns = shape(query)
    if not text.startswith("TABLE") or random.random() < 0.5:
        text += query.tail(max(1, len(columns)))
    return Statement(text, tuple(query.types), tuple(query.values), columns)


def other_values(random, statement):
    """The same statement with other parameters."""
    values = tuple(None if random.random() < 0.08 else literal_of(random, kind) for kind in statement.types)
    return statement._replace(values=values)


def write(random):
    """A statement that changes a table."""
    table = random.choice([table for table in TABLES if table.is_written])
    draw, number = random.random(), random.randint(1, 45)
    if draw < 0.6:
        name, kind = random.choice(table.columns[1:])
        if table.name == "parted":
            name, kind = "t", "text"
        if name == "ref":
            kind, value = "int4", f"{random.randint(1, 40)}"
        else:
            value = quoted(literal_of(random, kind))
        text = f"UPDATE {table.name} SET {name} = {value}::{'text' if kind in ('varchar', 'bpchar') else kind} WHERE id = {number}"
    elif draw < 0.8:
        text = f"DELETE FROM {table.name} WHERE id = {number}"
    else:
        named = [(n, k) for n, k in table.columns if n not in ("ref",)]
        values = ", ".join(f"{number}" if n == "id" else quoted(literal_of(random, k)[:6] if k == "bpchar" else literal_of(random, k)[:40])
                           for n, k in named)
        text = f"INSERT INTO {table.name} ({', '.join(n for n, _ in named)}) VALUES ({values})"
        text += " ON CONFLICT DO NOTHING" if random.random() < 0.5 else ""
    return Statement(text)
