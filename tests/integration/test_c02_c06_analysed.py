"""C02, C05, C06, C08: what PostgreSQL is asked about: row security, settings, operators and casts, and names that more
than one thing has. Answers are those of PostgreSQL for the same user and settings, and come from the cache."""

import pytest

from harness.caching import READ, value
from harness.compare import direct_wire

pytestmark = pytest.mark.needs("cache")


def truth(cache, sql, user="app", settings=()):
    with direct_wire(cache.database, user) as client:
        for setting in settings:
            client.do(setting)
        return client.query(sql).texts


class Asker:
    """A session through Weir that knows what is true for it."""

    def __init__(self, cache, user="app", *settings):
        self.cache, self.user, self.settings = cache, user, list(settings)
        self.client = cache.wire(user)
        for setting in settings:
            self.client.do(setting)

    def set(self, setting):
        self.settings.append(setting)
        self.client.do(setting)

    def truth(self, sql):
        return truth(self.cache, sql, self.user, self.settings)

    def same(self, sql):
        answer = self.client.query(sql)
        assert not answer.errors, answer.errors
        assert answer.texts == self.truth(sql), sql
        return answer.texts

    def kept(self, sql, fragment):
        answer = self.cache.warm(lambda: self.client.query(sql), fragment)
        assert not answer.errors and answer.texts == self.truth(sql), sql
        return answer.texts

    def never(self, sql, fragment):
        self.same(sql)
        self.cache.never_cached(lambda: self.client.query(sql), fragment)


# --- row security

GUARDED = """
CREATE TABLE guarded (tenant text, t text); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE guarded FORCE ROW LEVEL SECURITY; GRANT ALL ON guarded TO other;
INSERT INTO guarded VALUES ('app', 'of app'), ('other', 'of other'), ('7', 'of seven'), ('8', 'of eight');
CREATE TABLE members (who text, tenant text); GRANT SELECT ON members TO other;
INSERT INTO members VALUES ('app', '7'), ('other', '8');
CREATE VIEW over_guarded AS SELECT t FROM guarded; GRANT SELECT ON over_guarded TO other;
"""
ALL = "SELECT t FROM guarded ORDER BY t"


def guarded(cached, policy):
    cache = cached()
    cache.database.execute(GUARDED + f"CREATE POLICY p ON guarded USING ({policy})")
    for table in ("guarded", "members", "over_guarded"):
        cache.database.execute(f"ALTER TABLE {table} OWNER TO app")
    return cache


def test_c02_policies_on_the_user(cached):
    cache = guarded(cached, "tenant = current_user")
    app, other = Asker(cache, "app"), Asker(cache, "other")
    for _ in range(3):
        assert app.kept(ALL, "from guarded") == [("of app",)]
        assert other.kept(ALL, "from guarded") == [("of other",)]
    assert other.kept("SELECT t FROM over_guarded", "from over_guarded") == [("of other",)]
    app.client.do("UPDATE guarded SET t = 'new'")
    assert app.same(ALL) == [("new",)] and other.same(ALL) == [("of other",)]
    superuser = Asker(cache, "postgres")
    assert len(superuser.kept(ALL, "from guarded")) == 4
    superuser.set("SET ROLE other")
    assert superuser.same(ALL) == [("of other",)]


@pytest.mark.parametrize("policy", ["tenant = current_setting('app.tenant')", "tenant = current_setting('App.Tenant', true)",
                                    "tenant::int = current_setting('app.tenant')::int"])
def test_c02_policies_on_a_setting(cached, policy):
    cache = guarded(cached, policy)
    cache.database.execute("DELETE FROM guarded WHERE tenant !~ '[0-9]'")
    seven, eight = Asker(cache, "app", "SET app.tenant = '7'"), Asker(cache, "app", "SET app.tenant = '8'")
    for _ in range(3):
        assert seven.kept(ALL, "from guarded") == [("of seven",)]
        assert eight.kept(ALL, "from guarded") == [("of eight",)]
    seven.set("SET app.tenant = '8'")
    assert seven.same(ALL) == [("of eight",)]
    seven.client.do("BEGIN")
    seven.client.do("SET LOCAL app.tenant = '7'")
    assert seven.client.query(ALL).texts == [("of seven",)]
    seven.client.do("COMMIT")
    assert seven.same(ALL) == [("of eight",)]
    cache.database.execute("ALTER ROLE other SET app.tenant = '7'")
    try:
        Asker(cache, "other").never(ALL, "from guarded")  # not said by the session itself
    finally:
        cache.database.execute("ALTER ROLE other RESET app.tenant")


def test_c02_policies_that_read_a_table(cached):
    cache = guarded(cached, "tenant IN (SELECT m.tenant FROM members m WHERE m.who = current_user)")
    app, other = Asker(cache, "app"), Asker(cache, "other")
    assert app.kept(ALL, "from guarded") == [("of seven",)] and other.kept(ALL, "from guarded") == [("of eight",)]
    app.client.do("INSERT INTO members VALUES ('other', '7')")
    assert other.same(ALL) == [("of eight",), ("of seven",)] and app.same(ALL) == [("of seven",)]
    app.kept(ALL, "from guarded")
    app.client.do("DELETE FROM members")
    assert app.same(ALL) == [] == other.same(ALL)


@pytest.mark.parametrize("policy", ["now() > '2020-01-01'", "tenant = current_date::text OR true", "random() >= 0",
                                    "pg_has_role(current_user, 'app', 'member')", "tenant = current_setting(t, true) OR true",
                                    "tenant = inet_client_addr()::text OR true", "EXISTS (SELECT FROM pg_roles)"])
def test_c02_policies_on_anything_else(cached, policy):
    cache = guarded(cached, policy)
    app = Asker(cache)
    cache.warm(lambda: value(app.client.query(READ)))
    app.never(ALL, "from guarded")


def test_c02_policies_made_changed_and_dropped(cached):
    cache = guarded(cached, "tenant = '7'")
    app = Asker(cache)
    assert app.kept(ALL, "from guarded") == [("of seven",)]
    for change, rows in (("ALTER POLICY p ON guarded USING (tenant = '8')", 1), ("CREATE POLICY q ON guarded USING (tenant = '7')", 2),
                         ("DROP POLICY p ON guarded", 1), ("ALTER TABLE guarded NO FORCE ROW LEVEL SECURITY", 4)):
        app.client.do(change)
        assert len(app.same(ALL)) == rows
        app.kept(ALL, "from guarded")


# --- operators, casts, settings

SHAPES = """
CREATE TABLE shapes (id int, day date, at timestamptz, local timestamp, span interval, f float8, raw bytea);
INSERT INTO shapes SELECT i, '2024-03-31'::date + i, '2024-03-30 22:00+00'::timestamptz + i * interval '1 day', '2024-03-30 12:00',
    i * interval '1 day 02:03', i / 7.0::float8, '\\x0102' FROM generate_series(0, 3) i;
CREATE VIEW compared AS SELECT id, day < at AS before, local < at AS earlier FROM shapes;
CREATE VIEW shown AS SELECT id, at::text AS at, span::text AS span, f::text AS f, raw::text AS raw, concat(at, '!') AS c FROM shapes;
CREATE VIEW moved AS SELECT id, at + interval '1 day' AS next, date_trunc('day', at) AS start, at::date AS day, extract(hour FROM at) AS h FROM shapes;
CREATE VIEW told AS SELECT id, to_char(at, 'DD HH24 TZ') AS t, jsonb_build_object('at', at) AS j, day::timestamptz AS d FROM shapes;
"""


@pytest.mark.parametrize("view", ["compared", "shown", "moved", "told"])
def test_c06_what_depends_on_settings_is_kept_for_each(cached, view):
    cache = cached(SHAPES)
    sql = f"SELECT * FROM {view} ORDER BY id"
    askers = [Asker(cache), Asker(cache, "app", "SET TimeZone = 'Asia/Tokyo'"), Asker(cache, "app", "SET TimeZone = 'America/New_York'"),
              Asker(cache, "app", "SET DateStyle = 'German'", "SET IntervalStyle = 'iso_8601'", "SET extra_float_digits = -5",
                    "SET bytea_output = 'escape'")]
    for _ in range(2):
        seen = [str(asker.kept(sql, view)) for asker in askers]
    assert len(set(seen)) > 1
    askers[0].client.do("UPDATE shapes SET at = at + interval '7 hours', f = f + 1, day = day + 1")
    assert [str(asker.same(sql)) for asker in askers] != seen


@pytest.mark.parametrize("expression", ["age(at)", "day::text::date", "at::text::timestamptz", "'{now}'::text::timestamptz[]",
                                        "day < now()", "at < localtimestamp", "to_tsvector(id::text)", "to_regclass('shapes')::text",
                                        "local::time::timetz", "pg_typeof(id)::text", "row_to_json(shapes)::text", "txid_current()",
                                        "current_schema", "current_setting('TimeZone')", "(SELECT max(x.a) FROM json_to_record('{}') AS x(a date))"])
def test_c06_what_depends_on_more_is_not_kept(cached, expression):
    """Behind a view, so that PostgreSQL is asked; the last setting is one that the session has not set."""
    cache = cached(SHAPES)
    cache.database.execute(f"CREATE VIEW more AS SELECT id, {expression} AS x FROM shapes; GRANT SELECT ON more TO app")
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    cache.never_cached(lambda: client.query("SELECT * FROM more"), "from more")


def test_c05_who_asks_is_known_by_the_key(cached):
    cache = cached("GRANT SELECT ON items TO other")
    app, other = Asker(cache, "app"), Asker(cache, "other")
    for sql in ("SELECT current_user FROM items LIMIT 1", "SELECT v FROM items WHERE session_user = 'app' LIMIT 1",
                "SELECT user::text || current_database() FROM items LIMIT 1"):
        fragment = sql.split(" FROM")[0].replace("'app'", "")
        assert app.kept(sql, fragment) != other.kept(sql, fragment)


def test_c05_the_setting_that_a_statement_asks_for_is_in_its_literals(cached):
    cache = cached()
    asker = Asker(cache, "app", "SET app.a = 'of a'", "SET app.b = 'of b'")
    for _ in range(4):
        for name in ("a", "b"):
            assert asker.same(f"SELECT current_setting('app.{name}') FROM items LIMIT 1") == [(f"of {name}",)]


# --- names

NAMES = """
CREATE SCHEMA one; CREATE SCHEMA two;
CREATE TABLE one.t (v text); INSERT INTO one.t VALUES ('one'); CREATE TABLE two.t (v text); INSERT INTO two.t VALUES ('two');
CREATE FUNCTION abs(text) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1000';
CREATE FUNCTION both_equal(text, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = int, FUNCTION = both_equal);
"""


def test_c05_a_name_that_a_user_took_for_other_types(cached):
    cache = cached(NAMES)
    asker = Asker(cache)
    assert asker.kept("SELECT abs(-id) FROM items WHERE id = 1", "abs(") == [("1",)]
    asker.never("SELECT abs(v) FROM items WHERE id = 1", "abs(v")
    asker.never("SELECT id FROM items WHERE v = 5 ORDER BY id", "v = ")
    asker.client.do("CREATE FUNCTION abs(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 7'")
    asker.same("SELECT abs(-id) FROM items WHERE id = 1")
    asker.set("SET search_path = public, pg_catalog")
    assert asker.same("SELECT abs(-id) FROM items WHERE id = 1") == [("7",)]
    asker.never("SELECT abs(-id) FROM items WHERE id = 1", "abs(")


def test_c05_a_function_called_like_a_column(cached):
    cache = cached("CREATE FUNCTION shown(items) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()::text';"
                   "CREATE TABLE shown_items (shown text); INSERT INTO shown_items VALUES ('column')")
    asker = Asker(cache)
    assert asker.kept("SELECT s.shown FROM shown_items s", "s.shown") == [("column",)]
    cache.never_cached(lambda: asker.client.query("SELECT i.shown FROM items i WHERE id = 1"), "i.shown")


def test_c01_a_table_of_two_schemas(cached):
    cache = cached(NAMES)
    asker = Asker(cache, "app", "SET search_path = one, two")
    swapped = Asker(cache, "app", "SET search_path = two, one")
    for _ in range(3):
        assert asker.kept("SELECT v FROM t", "from t") == [("one",)] and swapped.kept("SELECT v FROM t", "from t") == [("two",)]
    asker.client.do("UPDATE one.t SET v = 'uno'")
    assert asker.same("SELECT v FROM t") == [("uno",)] and swapped.same("SELECT v FROM t") == [("two",)]
    swapped.client.do("UPDATE t SET v = 'due'")
    assert swapped.same("SELECT v FROM t") == [("due",)]
    asker.client.do("DROP TABLE one.t")
    assert asker.same("SELECT v FROM t") == [("due",)]


def test_c01_a_schema_that_may_not_be_used(cached):
    cache = cached(NAMES)
    cache.database.execute("GRANT USAGE ON SCHEMA two TO other; GRANT SELECT ON two.t TO other")
    app, other = (Asker(cache, user, "SET search_path = one, two") for user in ("app", "other"))
    assert app.kept("SELECT v FROM t", "from t") == [("one",)] and other.kept("SELECT v FROM t", "from t") == [("two",)]
    cache.wire("app").do("GRANT USAGE ON SCHEMA one TO other; GRANT SELECT ON one.t TO other")
    assert other.same("SELECT v FROM t") == [("one",)]


# --- parameters

def test_c05_parameters_decide_between_overloads(cached):
    cache = cached("CREATE VIEW seen AS SELECT id, v FROM items")
    cache.database.execute("CREATE FUNCTION upper(int) RETURNS int LANGUAGE internal IMMUTABLE AS 'int4abs'")
    client = cache.wire()
    sql = "SELECT upper($1), v FROM seen WHERE id = $2"
    cache.warm(lambda: client.extended(sql, ["x", "1"], (25, 23)), "upper(")
    for _ in range(2):
        assert value(cache.hit(lambda: client.extended(sql, ["x", "1"], (25, 23)), "upper(")) == "X"
        cache.never_cached(lambda: client.extended(sql, ["-7", "1"], (23, 23)), "upper(")
        assert value(client.extended(sql, ["-7", "1"], (23, 23))) == "7"
        cache.warm(lambda: client.extended(sql, ["x", "1"], (25, 23)), "upper(")


def test_c16_parameters_of_every_kind(cached):
    cache = cached("CREATE VIEW seen AS SELECT id, v, n FROM items")
    client = cache.wire()
    for sql, values in (("SELECT v FROM seen WHERE id = $1", ["3"]), ("SELECT v FROM seen WHERE id = ANY ($1) ORDER BY id", ["{1,2}"]),
                        ("SELECT $1::text, $2 + n FROM seen WHERE id = 4 LIMIT $3", ["a b", "5", "1"]),
                        ("SELECT count(*) FROM seen WHERE v LIKE $1 AND n BETWEEN $2 AND $3;", ["item%", "0", "9"]),
                        ("SELECT coalesce($1, v) FROM seen WHERE id = 1 -- and no more", [None])):
        fragment = sql.split(" FROM")[0]
        answer = cache.warm(lambda: client.extended(sql, values), fragment)
        with direct_wire(cache.database, "app") as direct:
            assert not answer.errors and answer.texts == direct.extended(sql, values).texts
