"""Fixtures of the integration tests: one PostgreSQL for the session, a database and a pooler of its own for each
test. The pooler is WEIR_BIN, build/weir unless told otherwise."""

import shutil

import pytest

from harness import caching, system
from harness.capability import IS_STRAIGHT, WEIR_BIN, capabilities, is_sanitized
from harness.certificates import Certificates
from harness.pooler import Pooler
from harness.postgres import Postgres, make_tls_postgres
from harness.redis import Redis
from harness.redis_cluster import RedisCluster
from harness.straight import Straight
from harness.tap import Tap

POOLERS = pytest.StashKey[list]()


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the long tests too")


def pytest_configure():
    system.raise_file_limit()
    if not (IS_STRAIGHT or WEIR_BIN.exists()):
        pytest.exit(f"{WEIR_BIN} does not exist: build it first, or set WEIR_BIN", 2)


def pytest_collection_modifyitems(config, items):
    """Long tests and those beyond the pooler's abilities are not part of the run, rather than skipped."""
    can = capabilities()
    kept, dropped = [], []
    for item in items:
        needs = {name for mark in item.iter_markers("needs") for name in mark.args}
        is_long = item.get_closest_marker("full") is not None
        fits = needs <= can and (config.getoption("full") or not is_long)
        (kept if fits else dropped).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for pooler in item.stash.get(POOLERS, []):
            report.sections.append((f"log of the pooler on port {pooler.port}", pooler.log()[-6000:]))
    return report


@pytest.fixture(scope="session")
def postgres():
    server = Postgres().start().make_roles()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def certificates():
    made = Certificates()
    yield made
    shutil.rmtree(made.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def tls_postgres(certificates):
    """See make_tls_postgres."""
    server = make_tls_postgres(certificates)
    yield server
    server.remove()


@pytest.fixture
def own_postgres():
    """A PostgreSQL that the test may stop, kill and restart."""
    server = Postgres().start().make_roles()
    yield server
    server.remove()


@pytest.fixture
def database(postgres):
    made = postgres.make_database()
    yield made
    made.drop()


@pytest.fixture
def redis():
    server = Redis().start()
    yield server
    server.remove()


@pytest.fixture
def cluster():
    """A Redis Cluster."""
    made = RedisCluster()
    try:
        yield made.start()
    finally:
        made.remove()


@pytest.fixture
def new_pooler(request, postgres):
    """Makes a Pooler that is not started: new_pooler(databases, options, …), as its constructor takes."""
    poolers = request.node.stash.setdefault(POOLERS, [])

    def make(*arguments, **named):
        pooler = (Straight if IS_STRAIGHT else Pooler)(*arguments, **named)
        poolers.append(pooler)
        return pooler

    yield make
    problems = []
    for pooler in poolers:
        try:
            pooler.stop()
        except AssertionError as problem:
            problems.append(str(problem))
        problems += pooler.complaints()
    request.node.stash[POOLERS] = [Remains(pooler) for pooler in poolers]
    for pooler in poolers:
        pooler.remove()
    assert not problems, "\n".join(problems)


class Remains:
    """The log of a pooler whose files are gone."""

    def __init__(self, pooler):
        self.port = pooler.port
        self._log = pooler.log()

    def log(self):
        return self._log


@pytest.fixture
def start(new_pooler, postgres, request):
    """Starts a pooler in front of the test's database, under the name "test": start(pool_mode="session", …) with
    any keys of [pgbouncer]; `database` adds keys to the database's line, `port` is that of a tap."""

    def begin(database=None, port=None, databases=None, users=None, passwords=None, environment=None, **options):
        if databases is None:
            target = request.getfixturevalue("database")
            databases = {"test": {"host": "127.0.0.1", "port": port or target.postgres.port,
                                  "dbname": target.name, **(database or {})}}
        return new_pooler(databases, options, users, passwords, environment).start()

    return begin


@pytest.fixture
def cached(start, database):
    """Starts a pooler with its cache on: cached("SQL that makes more than the items", any options) gives a Cache. It is
    ready, since nothing is cached, and no test fails for what is, before the catalog is known; unless is_ready=False."""

    def begin(setup="", line=None, is_ready=True, **options):
        database.execute(caching.ITEMS + setup, user="app")
        pooler = start(database={"control_user": "control", **(line or {})}, **{**caching.OPTIONS, **options})
        cache = caching.Cache(pooler, database)
        if is_ready:
            cache.get_ready()
        return cache

    return begin


@pytest.fixture
def tap(postgres):
    """A relay in front of the session's PostgreSQL where faults can be made."""
    with Tap(postgres.port) as relay:
        yield relay


@pytest.fixture(scope="session")
def sanitized():
    return is_sanitized()
