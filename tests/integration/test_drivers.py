"""Drivers and frameworks as they come, in transaction mode, without an option of theirs being set."""

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys

import asyncpg
import psycopg
import psycopg2
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from harness.capability import ROOT
from harness.caching import ITEMS
from harness.crowd import crowd
from harness.wait import seconds, until

pytestmark = pytest.mark.needs("prepared")

DRIVERS = ROOT / "tests" / "drivers"


@pytest.fixture(params=["off", "exact"])
def pooler(request, start, database):
    """With the cache off and on: no driver may notice."""
    database.execute(ITEMS, user="app")
    return start(default_pool_size=3, cache=request.param, cache_writes="through_weir", database={"control_user": "control"})


def test_psycopg3(pooler):
    def work(number):
        with psycopg.connect(pooler.uri()) as connection:
            for turn in range(12):  # beyond prepare_threshold
                assert connection.execute("SELECT %s::int, v FROM items WHERE id = %s", (number, 1 + turn % 3)).fetchone() \
                    == (number, f"item {1 + turn % 3}")
                connection.commit()
            with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
                connection.execute("UPDATE items SET v = 'lost'")
                connection.execute("SELECT 1/0")
            with connection.pipeline(), connection.cursor() as cursor:
                for i in range(20):
                    cursor.execute("SELECT %s::int", (i,))
            with connection.cursor(name="server_side") as cursor:
                cursor.execute("SELECT generate_series(1, 500)")
                assert len(cursor.fetchall()) == 500
            with connection.cursor().copy("COPY (SELECT generate_series(1, 100)) TO STDOUT") as copy:
                assert len(list(copy.rows())) == 100
    crowd(6, work)


def test_psycopg2(pooler):
    def work(number):
        connection = psycopg2.connect(pooler.uri())
        with connection, connection.cursor() as cursor:
            for turn in range(10):
                cursor.execute("SELECT %s, v FROM items WHERE id = %s", (number, 1 + turn % 3))
                assert cursor.fetchone() == (number, f"item {1 + turn % 3}")
        with pytest.raises(psycopg2.errors.UndefinedTable), connection, connection.cursor() as cursor:
            cursor.execute("UPDATE items SET v = 'lost'")
            cursor.execute("SELECT * FROM nowhere")
        with connection, connection.cursor("server_side") as cursor:
            cursor.execute("SELECT generate_series(1, 5000)")
            assert sum(1 for _ in cursor) == 5000
        connection.close()
    crowd(6, work)


def test_asyncpg(pooler):
    async def work(number):
        connection = await asyncpg.connect(pooler.uri())
        for turn in range(10):
            row = await connection.fetchrow("SELECT $1::int, v FROM items WHERE id = $2", number, 1 + turn % 3)
            assert tuple(row) == (number, f"item {1 + turn % 3}")
        try:
            async with connection.transaction():
                await connection.execute("UPDATE items SET v = 'lost'")
                await connection.fetch("SELECT 1/0")
        except asyncpg.DivisionByZeroError:
            pass
        async with connection.transaction():
            assert [r[0] async for r in connection.cursor("SELECT generate_series(1, 200)")] == list(range(1, 201))
        statement = await connection.prepare("SELECT v FROM items WHERE id = ANY($1::int[]) ORDER BY id")
        assert len(await statement.fetch([1, 2, 3])) == 3
        await connection.executemany("SELECT $1::int", [(i,) for i in range(20)])
        assert await connection.copy_records_to_table("items", records=[(1000 + number, "copied", 0)]) == "COPY 1"
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.fetch("SELECT * FROM nowhere")
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()

    async def everyone():
        await asyncio.gather(*(work(n) for n in range(8)))
    asyncio.run(everyone())


def alchemy(pooler, driver="psycopg"):
    return sqlalchemy.create_engine(pooler.uri(scheme=f"postgresql+{driver}"))


READ = sqlalchemy.text("SELECT v FROM items WHERE id = :id")


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_sqlalchemy(pooler, driver):
    engine = alchemy(pooler, driver)
    items = sqlalchemy.Table("items", sqlalchemy.MetaData(), autoload_with=engine)
    assert [c.name for c in items.columns] == ["id", "v", "n"]
    with engine.begin() as connection:
        assert connection.execute(READ, {"id": 1}).scalar() == "item 1"
        connection.execute(items.update().where(items.c.id == 1).values(v="changed"))
        assert connection.execute(READ, {"id": 1}).scalar() == "changed"
    with pytest.raises(sqlalchemy.exc.IntegrityError), engine.begin() as connection:
        connection.execute(items.insert(), [{"id": 50, "v": "x", "n": 0}, {"id": 1, "v": "twice", "n": 0}])
    with engine.connect() as connection:
        assert connection.execute(READ, {"id": 50}).scalar() is None
        assert connection.execute(READ, {"id": 1}).scalar() == "changed"
    engine.dispose()


def test_sqlalchemy_async(pooler):
    async def work():
        engine = create_async_engine(pooler.uri(scheme="postgresql+asyncpg"))
        for turn in range(6):
            async with engine.begin() as connection:
                assert (await connection.execute(READ, {"id": 2})).scalar() in ("item 2", f"turn {turn - 1}")
                await connection.execute(sqlalchemy.text("UPDATE items SET v = :v WHERE id = 2"), {"v": f"turn {turn}"})
            async with engine.connect() as connection:
                assert (await connection.execute(READ, {"id": 2})).scalar() == f"turn {turn}"
        await engine.dispose()
    asyncio.run(work())


def django(pooler, *arguments):
    dbname = pooler.databases["test"]["dbname"] if pooler.is_straight else "test"
    return subprocess.run([sys.executable, DRIVERS / "django_app.py", *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "WEIR_HOST": "127.0.0.1", "WEIR_PORT": str(pooler.port), "WEIR_DATABASE": dbname},
                          timeout=seconds(60))


def test_django(pooler):
    run = django(pooler, "works")
    assert run.returncode == 0 and run.stdout.endswith("ok\n"), run.stdout + run.stderr[-3000:]


@pytest.fixture(scope="session")
def node_modules():
    """A copy of the node drivers' folder, with what it needs installed beside it."""
    folder = ROOT / "build" / "drivers-node"
    manifest = DRIVERS / "node" / "package.json"
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of the processes that share the tests
        if not (folder / "node_modules" / "postgres").exists() or (folder / "package.json").read_text() != manifest.read_text():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(DRIVERS / "node", folder)
            run = subprocess.run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"], cwd=folder,
                                 capture_output=True, text=True, timeout=300)
            assert run.returncode == 0, run.stdout + run.stderr
        for script in (DRIVERS / "node").glob("*.js"):
            shutil.copy(script, folder)
    return folder


@pytest.mark.parametrize("script", ["pg.js", "postgres.js"])
def test_node(pooler, node_modules, script):
    run = subprocess.run(["node", script], cwd=node_modules, capture_output=True, text=True, timeout=seconds(60),
                         env={**os.environ, "WEIR_URL": pooler.uri()})
    assert run.returncode == 0 and "not ok" not in run.stdout and "ok " in run.stdout, run.stdout + run.stderr


# Frameworks that open a transaction around everything must profit, too.

def assert_mostly_hits(pooler, database, repeat, times=100):
    """Runs the same read, and sees hits, and no server used for transactions of hits alone."""
    until("the read is cached", lambda: hits_of(pooler, lambda: repeat(5)) >= 5, 10)
    repeat(2)
    with pooler.admin() as console:
        before = assignments(console)
        executed = database.executions("from items") + database.executions('from "items"')
        assert hits_of(pooler, lambda: repeat(times)) >= times * 0.95
        assert database.executions("from items") + database.executions('from "items"') - executed <= times * 0.05
        assert assignments(console) - before <= times * 0.05, "servers were used for transactions of hits"


def hits_of(pooler, work):
    before = pooler.hits()
    work()
    return pooler.hits() - before


def assignments(console):
    return sum(int(row["total_server_assignment_count"]) for row in console.show("STATS") if row["database"] == "test")


@pytest.fixture
def exact(start, database):
    database.execute(ITEMS, user="app")
    return start(default_pool_size=3, cache="exact", cache_writes="through_weir", database={"control_user": "control"})


@pytest.mark.needs("cache")
def test_psycopg3_in_its_default_mode_hits(exact, database):
    with psycopg.connect(exact.uri()) as connection:
        def repeat(times):
            for _ in range(times):
                assert connection.execute("SELECT v FROM items WHERE id = %s", (1,)).fetchone() == ("item 1",)
                connection.commit()
        assert_mostly_hits(exact, database, repeat)


@pytest.mark.needs("cache")
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_sqlalchemy_hits(exact, database, driver):
    engine = alchemy(exact, driver)

    def repeat(times):
        for _ in range(times):
            with engine.begin() as connection:
                assert connection.execute(READ, {"id": 1}).scalar() == "item 1"
    assert_mostly_hits(exact, database, repeat)
    engine.dispose()


@pytest.mark.needs("cache")
def test_sqlalchemy_async_hits(exact, database):
    loop = asyncio.new_event_loop()
    engine = create_async_engine(exact.uri(scheme="postgresql+asyncpg"))

    async def work(times):
        for _ in range(times):
            async with engine.begin() as connection:
                assert (await connection.execute(READ, {"id": 1})).scalar() == "item 1"
    assert_mostly_hits(exact, database, lambda times: loop.run_until_complete(work(times)))
    loop.run_until_complete(engine.dispose())
    loop.close()


@pytest.mark.needs("cache")
def test_django_with_atomic_requests_hits(exact, database):
    def repeat(times):
        run = django(exact, "reads", times)
        assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    assert_mostly_hits(exact, database, repeat)
