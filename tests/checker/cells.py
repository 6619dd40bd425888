"""The tables that are written and read, and which cells and groups their rows are.

Cells: plain tables of the same names in two schemas, a partitioned table, a table with an heir, and a pair where a foreign
key carries what is written to the one into the other. Groups: members of parents, by a foreign key that cascades, and a
bag that is emptied by TRUNCATE."""

from typing import NamedTuple

SCHEMAS = ("one", "two")
PLAIN = ("p0", "p1", "p2")
IDS = (1, 2)


class Place(NamedTuple):
    """A cell. `reads` and `writes`: the tables in which it is read and may be written."""
    schema: str
    id: int
    reads: tuple
    writes: tuple


PLACES = [Place(schema, number, (table,), (table,)) for table in PLAIN for schema in SCHEMAS for number in IDS]
PLACES += [Place("one", number, ("parted", f"leaf{number}"), ("parted", f"leaf{number}")) for number in IDS]
PLACES += [Place("one", number, ("base", "derived"), ("base", "derived")) for number in IDS]
PLACES += [Place("one", number, ("children", "parents"), ("parents",)) for number in IDS]

# (schema, table) -> the cells that are all its rows, by id
ROWS = {}
for cell, place in enumerate(PLACES):
    for table in place.reads:
        ROWS.setdefault((place.schema, table), {})[place.id] = cell

SETS = ("members", "bag")

SETUP = "\n".join(
    f"CREATE SCHEMA {schema};\n" + "\n".join(
        f"CREATE TABLE {schema}.{table} (id int PRIMARY KEY, n bigint, v text);"
        f" INSERT INTO {schema}.{table} SELECT i, 0, 'first' FROM generate_series(1, {len(IDS)}) i;" for table in PLAIN)
    for schema in SCHEMAS) + """
CREATE TABLE one.parted (id int PRIMARY KEY, n bigint, v text) PARTITION BY LIST (id);
CREATE TABLE one.leaf1 PARTITION OF one.parted FOR VALUES IN (1);
CREATE TABLE one.leaf2 PARTITION OF one.parted FOR VALUES IN (2);
INSERT INTO one.parted VALUES (1, 0, 'first'), (2, 0, 'first');
CREATE TABLE one.base (id int, n bigint, v text);
CREATE TABLE one.derived (PRIMARY KEY (id)) INHERITS (one.base);
INSERT INTO one.derived VALUES (1, 0, 'first'), (2, 0, 'first');
CREATE TABLE one.parents (id int PRIMARY KEY, n bigint, v text, UNIQUE (id, n, v));
CREATE TABLE one.children (id int PRIMARY KEY, n bigint, v text,
    FOREIGN KEY (id, n, v) REFERENCES one.parents (id, n, v) ON UPDATE CASCADE);
INSERT INTO one.parents VALUES (1, 0, 'first'), (2, 0, 'first');
INSERT INTO one.children SELECT * FROM one.parents;

CREATE SCHEMA tools;
CREATE FUNCTION tools.bump(place text, number int, token text) RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE made bigint;
    BEGIN
        EXECUTE format('UPDATE %s SET n = n + 1, v = $1 WHERE id = $2 RETURNING n', place) INTO made USING token, number;
        RETURN made;
    END $$;
CREATE FUNCTION tools.calm(place text, number int, token text) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
    BEGIN RETURN tools.bump(place, number, token); END $$;
CREATE PROCEDURE tools.call_bump(place text, number int, token text) LANGUAGE plpgsql AS $$
    BEGIN PERFORM tools.bump(place, number, token); END $$;
CREATE PROCEDURE tools.call_commit(place text, number int, token text) LANGUAGE plpgsql AS $$
    BEGIN PERFORM tools.bump(place, number, token); COMMIT; END $$;
CREATE TABLE tools.requests (place text, number int, token text);
CREATE FUNCTION tools.serve() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM tools.bump(NEW.place, NEW.number, NEW.token); RETURN NULL; END $$;
CREATE TRIGGER serve BEFORE INSERT ON tools.requests FOR EACH ROW EXECUTE FUNCTION tools.serve();
CREATE TABLE tools.ruled (number int, token text);
CREATE RULE serve AS ON INSERT TO tools.ruled DO INSTEAD
    UPDATE one.p0 SET n = n + 1, v = NEW.token WHERE id = NEW.number;
CREATE VIEW tools.window AS SELECT id, n, v FROM one.p0;

CREATE TABLE one.groups (id int PRIMARY KEY);
CREATE TABLE one.members (group_id int REFERENCES one.groups ON DELETE CASCADE, element bigint PRIMARY KEY);
CREATE TABLE one.bag (group_id int, element bigint PRIMARY KEY);
INSERT INTO one.groups SELECT generate_series(1, 100000);

GRANT ALL ON SCHEMA one, two, tools TO other;
GRANT ALL ON ALL TABLES IN SCHEMA one, two, tools TO other;
"""
