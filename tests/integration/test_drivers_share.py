"""How much of what drivers read is in fact served from the cache: the same few reads in each, as the driver sends them, each by
itself and in the transactions that it opens. What is measured is printed; docs/configuration.md has it as a table. Those that
are compiled for long run with --full."""

import asyncio
import contextlib
import datetime
import json
import os
import subprocess
import sys
from decimal import Decimal

import asyncpg
import psycopg
import psycopg2
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from harness.caching import ITEMS
from harness.wait import seconds, until
from test_compiled_drivers import built
from test_drivers import DRIVERS, node_modules  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.needs("cache"), pytest.mark.timeout(600)]

SETUP = ITEMS + """
CREATE TABLE orders (id int PRIMARY KEY, item int REFERENCES items, placed timestamptz, price numeric(10,2), note varchar(40));
INSERT INTO orders SELECT i, 1 + i % 20, timestamptz '2024-01-01 00:00+00' + i * interval '1 day', i * 1.25, 'note ' || i % 7
    FROM generate_series(1, 60) i;
"""
DAY = datetime.datetime(2024, 1, 15, tzinfo=datetime.timezone.utc)
READS = {  # what -> (SQL with %s, the parameters of each asking)
    "a row by its key": ("SELECT v FROM items WHERE id = %s", [(1,), (2,), (3,)]),
    "rows of another": ("SELECT id, note, price FROM orders WHERE item = %s ORDER BY id", [(4,), (5,)]),
    "a page": ("SELECT id, v FROM items ORDER BY id LIMIT %s OFFSET %s", [(5, 0), (5, 5)]),
    "a join with sums": ("SELECT i.v, count(*), sum(o.price) FROM items i JOIN orders o ON o.item = i.id WHERE i.id < %s"
                         " GROUP BY i.v ORDER BY 1", [(4,), (8,)]),
    "keys of a list": ("SELECT id, v FROM items WHERE id = ANY(%s) ORDER BY id", [([1, 2, 3],), ([4],)]),
    "since a time": ("SELECT count(*) FROM orders WHERE placed > %s", [(DAY,), (DAY + datetime.timedelta(days=9),)]),
    "by a text": ("SELECT id FROM orders WHERE note = %s ORDER BY id", [("note 1",), ("note 2",)]),
    "by a price": ("SELECT id FROM orders WHERE price < %s ORDER BY id", [(Decimal("9.99"),), (Decimal("20.00"),)]),
}
ROUND = [(sql, parameters) for sql, many in READS.values() for parameters in many]
UNIT = 3  # reads in one transaction
TIMES = 6
COUNT = len(ROUND) * TIMES


def units():
    return [ROUND[start:start + UNIT] for start in range(0, len(ROUND), UNIT)]


def numbered(sql, named=False):
    """The same with $1 (or :p1) for %s."""
    parts = sql.split("%s")
    return parts[0] + "".join((f":p{n}" if named else f"${n}") + part for n, part in enumerate(parts[1:], 1))


@pytest.fixture
def pooler(start, database):
    database.execute(SETUP, user="app")
    made = start(default_pool_size=3, cache="exact", cache_writes="through_weir", database={"control_user": "control"})
    with made.wire():
        until("the cache is ready", lambda: {row["state"] for row in made.show("CACHE")} == {""}, 15)
    return made


def hold(pooler, name, work, least=0.97, count=COUNT):
    """Runs the reads until PostgreSQL has been asked about them; then the share of them that are hits must be as large as
    `least`."""
    def is_settled():
        work()
        return all(row["cacheable"] != "asking" for row in pooler.show("TEMPLATES"))
    until("PostgreSQL has been asked about everything", is_settled, 30)
    work()
    before = pooler.hits()
    work()
    share = (pooler.hits() - before) / count
    refused = sorted({f"{row['reason']} [{row['text'][:90]}]" for row in pooler.show("TEMPLATES") if row["cacheable"] == "no"
                      and ("items" in row["text"] or "orders" in row["text"])})
    print(f"| {name} | {share:.0%} | {'; '.join(refused) or 'nothing refused'} |")
    assert share >= least, f"{name}: {share:.0%} of the reads were hits; refused: {refused}"


@pytest.mark.parametrize("manner", ["autocommit", "transactions"])
@pytest.mark.parametrize("binding", ["server", "client", "server, never prepared"])
def test_psycopg3(pooler, binding, manner):
    with psycopg.connect(pooler.uri(), autocommit=manner == "autocommit",
                         cursor_factory=psycopg.ClientCursor if binding == "client" else psycopg.Cursor) as connection:
        if binding.endswith("prepared"):
            connection.prepare_threshold = None

        def work():
            for _ in range(TIMES):
                for unit in units():
                    for sql, parameters in unit:
                        assert connection.execute(sql, parameters).fetchall()
                    connection.commit()
        hold(pooler, f"psycopg 3, binds at the {binding}, {manner}", work)


@pytest.mark.parametrize("manner", ["autocommit", "transactions"])
def test_psycopg2(pooler, manner):
    connection = psycopg2.connect(pooler.uri())
    connection.autocommit = manner == "autocommit"

    def work():
        for _ in range(TIMES):
            for unit in units():
                with connection.cursor() as cursor:
                    for sql, parameters in unit:
                        cursor.execute(sql, parameters)
                        assert cursor.fetchall()
                connection.commit()
    hold(pooler, f"psycopg2, {manner}", work)
    connection.close()


@pytest.mark.parametrize("manner", ["autocommit", "transactions"])
def test_asyncpg(pooler, manner):
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(pooler.uri()))

    async def ask(unit):
        for sql, parameters in unit:
            assert await connection.fetch(numbered(sql), *parameters)

    async def work():
        for _ in range(TIMES):
            for unit in units():
                if manner == "autocommit":
                    await ask(unit)
                else:
                    async with connection.transaction():
                        await ask(unit)
    hold(pooler, f"asyncpg, {manner}", lambda: loop.run_until_complete(work()))
    loop.run_until_complete(connection.close())
    loop.close()


@pytest.mark.parametrize("manner", ["autocommit", "transactions"])
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_sqlalchemy(pooler, driver, manner):
    engine = sqlalchemy.create_engine(pooler.uri(scheme=f"postgresql+{driver}"),
                                      **({"isolation_level": "AUTOCOMMIT"} if manner == "autocommit" else {}))

    def work():
        for _ in range(TIMES):
            for unit in units():
                with engine.begin() as connection:
                    for sql, parameters in unit:
                        named = {f"p{n}": value for n, value in enumerate(parameters, 1)}
                        assert connection.execute(sqlalchemy.text(numbered(sql, True)), named).fetchall()
    hold(pooler, f"SQLAlchemy with {driver}, {manner}", work)
    engine.dispose()


@pytest.mark.parametrize("manner", ["autocommit", "transactions"])
def test_sqlalchemy_async(pooler, manner):
    loop = asyncio.new_event_loop()
    engine = create_async_engine(pooler.uri(scheme="postgresql+asyncpg"),
                                 **({"isolation_level": "AUTOCOMMIT"} if manner == "autocommit" else {}))

    async def work():
        for _ in range(TIMES):
            for unit in units():
                async with engine.begin() as connection:
                    for sql, parameters in unit:
                        named = {f"p{n}": value for n, value in enumerate(parameters, 1)}
                        assert (await connection.execute(sqlalchemy.text(numbered(sql, True)), named)).fetchall()
    hold(pooler, f"SQLAlchemy with asyncpg, {manner}", lambda: loop.run_until_complete(work()))
    loop.run_until_complete(engine.dispose())
    loop.close()


@contextlib.contextmanager
def program(pooler, *command, folder=None, url=None):
    """A program that does its reads for each line that it is sent; gives what sends one and returns what was said."""
    environment = {**os.environ, "WEIR_URL": url or pooler.uri(), "WEIR_HOST": "127.0.0.1", "WEIR_PORT": str(pooler.port), "WEIR_DATABASE": "test"}
    with subprocess.Popen([*map(str, command)], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        def tell(word):
            line = process.stdout.readline()
            assert line.startswith(word), line + process.stderr.read()[-3000:]
            return line.split()[1:]

        def work():
            process.stdin.write("\n")
            process.stdin.flush()
            return tell("done")
        try:
            tell("ready")
            yield work
        finally:
            process.stdin.close()
            process.wait(seconds(10))


@pytest.mark.parametrize("manner", ["autocommit", "transactions"])
@pytest.mark.parametrize("driver", ["pg", "postgres"])
def test_node(pooler, node_modules, tmp_path, driver, manner):  # noqa: F811
    def plain(value):
        return value.isoformat() if isinstance(value, datetime.datetime) else str(value) if isinstance(value, Decimal) else value
    file = tmp_path / "units.json"
    file.write_text(json.dumps([[[numbered(sql), [plain(value) for value in parameters]] for sql, parameters in unit]
                                for unit in units() * TIMES]))
    with program(pooler, "node", "share.js", driver, manner, file, folder=node_modules) as work:
        hold(pooler, f"{'node-postgres' if driver == 'pg' else 'postgres.js'}, {manner}", work)


@pytest.mark.parametrize("manner", ["autocommit", "transactions"])
def test_django(pooler, manner):
    with program(pooler, sys.executable, DRIVERS / "django_app.py", "share", manner) as work:
        count, = work()
        hold(pooler, f"Django, {manner}", work, count=int(count))


def lines(file, spell, time="time"):
    """Writes the reads as programs of compiled languages take them: units between empty lines, a line for each read."""
    def typed(value):
        if isinstance(value, datetime.datetime):
            return time, value.isoformat() if time == "time" else int(value.timestamp())
        if isinstance(value, list):
            return "ints", ",".join(map(str, value))
        return {int: "int", str: "text", Decimal: "price"}[type(value)], value
    file.write_text("\n\n".join("\n".join("\t".join(map(str, (spell(sql), *(part for value in parameters for part in typed(value)))))
                                        for sql, parameters in unit) for unit in units() * TIMES))
    return file


@pytest.mark.parametrize("manner", ["autocommit", "transactions"])
@pytest.mark.parametrize("way", ["cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol", "sql-pgx", "sql-pq"])
def test_go(pooler, tmp_path, way, manner):
    folder = built("go", "go", ["go", "build", "-o", "sharing", "./share"])
    url = pooler.uri() + ("?sslmode=disable" if way == "sql-pq" else "")
    with program(pooler, folder / "sharing", way, manner, lines(tmp_path / "units", numbered), url=url) as work:
        name = {"sql-pgx": "database/sql with pgx", "sql-pq": "database/sql with lib/pq"}.get(way, f"pgx, {way}")
        hold(pooler, f"{name}, {manner}", work)


@pytest.mark.full
@pytest.mark.parametrize("manner", ["autocommit", "transactions"])
@pytest.mark.parametrize("properties", [
    "", "prepareThreshold=0", "prepareThreshold=1", "prepareThreshold=-1", "binaryTransfer=false", "preferQueryMode=simple",
    "preferQueryMode=extendedForPrepared", "preferQueryMode=extendedCacheEverything", "fetchSize=50"])
def test_pgjdbc(pooler, tmp_path, properties, manner):
    folder = built("java", "mvn", ["mvn", "-q", "-B", "dependency:copy-dependencies"],
                   ["javac", "-cp", "lib/*", "-d", "classes", "Share.java"])
    file = lines(tmp_path / "units", lambda sql: sql.replace("%s", "?"))
    url = f"jdbc:postgresql://127.0.0.1:{pooler.port}/test?user=app"
    with program(pooler, "java", "-cp", f"{folder}/lib/*:{folder}/classes", "Share", properties, manner, file, url=url) as work:
        hold(pooler, f"pgjdbc {properties}, {manner}", work)


@pytest.mark.full
@pytest.mark.parametrize("manner", ["autocommit", "transactions"])
@pytest.mark.parametrize("way", ["query", "prepared", "typed", "simple"])
def test_tokio_postgres(pooler, tmp_path, way, manner):
    folder = built("rust", "cargo", ["cargo", "build", "--quiet"])
    file = lines(tmp_path / "units", numbered, "seconds")
    with program(pooler, folder / "target" / "debug" / "share", way, manner, file) as work:
        hold(pooler, f"tokio-postgres, {way}, {manner}", work)
