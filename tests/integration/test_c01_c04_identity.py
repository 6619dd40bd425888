"""C01-C04, C30, C31: an answer belongs to those alone who would have got the same: their search path, role, policies,
settings, server."""

import pytest

from harness.caching import READ, value
from harness.compare import direct_wire
from harness.wait import until

pytestmark = pytest.mark.needs("cache")

TENANTS = """
CREATE SCHEMA a; CREATE TABLE a.docs (id int, t text); INSERT INTO a.docs VALUES (1, 'of a');
CREATE SCHEMA b; CREATE TABLE b.docs (id int, t text); INSERT INTO b.docs VALUES (1, 'of b');
"""
DOCS = "SELECT t FROM docs WHERE id = 1"

WAYS = {
    "startup": lambda cache, path: cache.wire(search_path=path),
    "options": lambda cache, path: cache.wire(options=f"-c search_path={path}"),
    "set": lambda cache, path: after(cache, f"SET search_path = {path}"),
    "set to": lambda cache, path: after(cache, f"set SEARCH_PATH to '{path}'"),
    "set_config": lambda cache, path: after(cache, f"SELECT set_config('search_path', '{path}', false)"),
    "in a function": lambda cache, path: after(cache, f"SELECT go_to('{path}')"),
    "in a DO": lambda cache, path: after(cache, f"DO $$ BEGIN SET search_path = {path}; END $$"),
    "set schema": lambda cache, path: after(cache, f"SET SCHEMA '{path}'"),
}


def after(cache, statement):
    client = cache.wire()
    client.do(statement)
    return client


@pytest.mark.parametrize("protocol", ["query", "extended"])
@pytest.mark.parametrize("way", WAYS)
def test_c01_another_search_path_is_another_answer(cached, way, protocol):
    cache = cached(TENANTS + "CREATE FUNCTION go_to(text) RETURNS text LANGUAGE sql AS"
                   " $$ SELECT set_config('search_path', $1, false) $$")
    plain = cache.wire(search_path="a")
    assert cache.warm(lambda: value(getattr(plain, protocol)(DOCS)), "docs") == "of a"
    one, two = WAYS[way](cache, "a"), WAYS[way](cache, "b")
    for _ in range(4):
        assert value(getattr(one, protocol)(DOCS)) == "of a"
        assert value(getattr(two, protocol)(DOCS)) == "of b"
        assert value(getattr(plain, protocol)(DOCS)) == "of a"


def test_c01_a_table_that_appears_earlier_in_the_path(cached):
    cache = cached(TENANTS + "CREATE SCHEMA early")
    reader, writer = cache.wire(search_path="early,a"), cache.wire()
    assert cache.warm(lambda: value(reader.query(DOCS)), "docs") == "of a"
    writer.do("CREATE TABLE early.docs (id int, t text)")
    assert value(reader.query(DOCS)) is None
    writer.do("INSERT INTO early.docs VALUES (1, 'early')")
    assert value(reader.query(DOCS)) == "early"


def test_c01_set_local_lasts_for_its_transaction(cached):
    cache = cached(TENANTS)
    client = cache.wire(search_path="a")
    assert cache.warm(lambda: value(client.query(DOCS)), "docs") == "of a"
    for _ in range(3):
        client.do("BEGIN")
        client.do("SET LOCAL search_path = b")
        assert value(client.query(DOCS)) == "of b"
        client.do("ROLLBACK")
        assert value(client.query(DOCS)) == "of a"


def test_c01_the_default_path_of_a_role_and_of_a_database(cached, database):
    cache = cached(TENANTS + "GRANT ALL ON SCHEMA a, b TO other; GRANT ALL ON a.docs, b.docs TO other")
    database.execute(f"ALTER ROLE app IN DATABASE {database.name} SET search_path = a;"
                     f"ALTER ROLE other IN DATABASE {database.name} SET search_path = b")
    with cache.pooler.admin() as console:
        console.run("RECONNECT")  # servers there have begun with the old ones
    one, two = cache.wire("app"), cache.wire("other")
    for _ in range(8):
        assert value(one.query(DOCS)) == "of a"
        assert value(two.query(DOCS)) == "of b"


def test_c02_rights_are_those_of_the_asker(cached):
    cache = cached("CREATE TABLE secret (t text); INSERT INTO secret VALUES ('hidden')")
    owner, other = cache.wire("app"), cache.wire("other")
    assert cache.warm(lambda: value(owner.query("SELECT t FROM secret")), "secret") == "hidden"
    for send in (other.query, other.extended):
        assert [e["C"] for e in send("SELECT t FROM secret").errors] == ["42501"]


@pytest.mark.parametrize("revoke", ["REVOKE SELECT ON secret FROM other", "REVOKE ALL ON secret FROM other"])
def test_c02_a_right_revoked_through_weir_is_gone_at_once(cached, revoke):
    cache = cached("CREATE TABLE secret (t text); INSERT INTO secret VALUES ('hidden'); GRANT SELECT ON secret TO other")
    owner, other = cache.wire("app"), cache.wire("other")
    assert cache.warm(lambda: value(other.query("SELECT t FROM secret")), "secret") == "hidden"
    owner.do(revoke)
    assert [e["C"] for e in other.query("SELECT t FROM secret").errors] == ["42501"]


def test_c02_membership_changed_through_weir(cached):
    cache = cached("CREATE TABLE secret (t text); INSERT INTO secret VALUES ('hidden'); GRANT SELECT ON secret TO scram")
    superuser = cache.wire("postgres")
    superuser.do("GRANT scram TO other")
    try:
        other = cache.wire("other")
        assert cache.warm(lambda: value(other.query("SELECT t FROM secret")), "secret") == "hidden"
    finally:
        superuser.do("REVOKE scram FROM other")
    assert [e["C"] for e in other.query("SELECT t FROM secret").errors] == ["42501"]


def test_c02_set_role_is_another_identity(cached):
    cache = cached("CREATE TABLE secret (t text); INSERT INTO secret VALUES ('hidden')")
    client = cache.wire("postgres")
    assert cache.warm(lambda: value(client.query("SELECT t FROM secret")), "secret") == "hidden"
    client.do("SET ROLE other")
    assert [e["C"] for e in client.query("SELECT t FROM secret").errors] == ["42501"]
    client.do("RESET ROLE")
    assert value(client.query("SELECT t FROM secret")) == "hidden"


POLICY = """
CREATE TABLE guarded (tenant text, t text); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE guarded FORCE ROW LEVEL SECURITY; GRANT SELECT ON guarded TO other;
INSERT INTO guarded VALUES ('app', 'of app'), ('other', 'of other'), ('seven', 'of seven'), ('eight', 'of eight');
"""


@pytest.mark.parametrize("policy", ["tenant = current_user", "tenant = current_setting('app.tenant', true)"])
def test_c02_row_level_security(cached, policy):
    cache = cached()
    cache.database.execute(POLICY.replace("INSERT", f"CREATE POLICY p ON guarded USING ({policy}); INSERT"))
    cache.database.execute("ALTER TABLE guarded OWNER TO app")
    app, other = cache.wire("app"), cache.wire("other")
    app.do("SET app.tenant = 'seven'")
    other.do("SET app.tenant = 'eight'")
    expected = ("of app", "of other") if "user" in policy else ("of seven", "of eight")
    for _ in range(8):
        assert (value(app.query("SELECT t FROM guarded")), value(other.query("SELECT t FROM guarded"))) == expected
    if "user" not in policy:
        app.do("SET app.tenant = 'eight'")
        assert value(app.query("SELECT t FROM guarded")) == "of eight"


def test_c02_a_policy_that_reads_another_table(cached):
    """A write to that table changes what may be seen of this one, which no write to this one tells."""
    cache = cached("""CREATE TABLE permitted (id int); INSERT INTO permitted VALUES (1);
                      CREATE POLICY p ON items USING (id IN (SELECT id FROM permitted));
                      ALTER TABLE items ENABLE ROW LEVEL SECURITY; ALTER TABLE items FORCE ROW LEVEL SECURITY""")
    reader, writer = cache.wire(), cache.wire()
    for _ in range(6):
        assert value(reader.query(READ)) == "item 1"
    writer.do("DELETE FROM permitted")
    assert value(reader.query(READ)) is None


def test_c02_row_level_security_that_is_switched_on_later(cached):
    cache = cached()
    reader, owner = cache.wire("other"), cache.wire("app")
    owner.do("GRANT SELECT ON items TO other")
    assert cache.warm(lambda: value(reader.query(READ))) == "item 1"
    owner.do("ALTER TABLE items ENABLE ROW LEVEL SECURITY")
    assert value(reader.query(READ)) is None


FORMATS = """
CREATE TABLE shapes (at timestamptz, day date, span interval, raw bytea, f float8, x xml, word text);
INSERT INTO shapes VALUES ('2024-02-03 04:05:06+00', '2024-02-03', '1 day 2:03', '\\x0102ff', 0.1::float8 + 0.2,
                           '<a/>', 'naïve');
"""
SETTINGS = [
    ("TimeZone", "Asia/Tokyo", "SELECT at FROM shapes"), ("DateStyle", "German", "SELECT day, at FROM shapes"),
    ("IntervalStyle", "iso_8601", "SELECT span FROM shapes"), ("bytea_output", "escape", "SELECT raw FROM shapes"),
    ("extra_float_digits", "-5", "SELECT f FROM shapes"), ("client_encoding", "LATIN1", "SELECT word FROM shapes"),
    ("lc_monetary", "POSIX", "SELECT f::numeric::money FROM shapes"), ("xmlbinary", "hex", "SELECT xmlelement(name e, raw) FROM shapes"),
    ("default_text_search_config", "german", "SELECT to_tsvector('running dogs') FROM shapes"),
    ("app.unit", "mile", "SELECT current_setting('app.unit', true) FROM shapes"),
    ("quote_all_identifiers", "on", "SELECT quote_ident(word) FROM shapes"),
    ("search_path", "pg_catalog", "SELECT to_regclass('shapes') FROM public.shapes"),
    ("standard_conforming_strings", "off", "SELECT 'a\\\\b' FROM shapes"),
    ("statement_timeout", "1234", "SELECT current_setting('statement_timeout') FROM shapes"),
]


@pytest.mark.parametrize("protocol", ["query", "extended"])
@pytest.mark.parametrize("name, setting, sql", SETTINGS, ids=[s[0] for s in SETTINGS])
def test_c03_settings_are_part_of_the_identity(cached, name, setting, sql, protocol):
    cache = cached(FORMATS)
    plain, changed = cache.wire(), cache.wire()

    def ask(client):
        """The rows. A custom setting that a server connection has once known is '' after RESET, not NULL: PostgreSQL
        has no way back to a name that was never heard of, neither within a session of its own nor here."""
        rows = getattr(client, protocol)(sql).rows
        return [[cell or b"" for cell in row] for row in rows] if name.startswith("app.") else rows
    before = ask(plain)
    for _ in range(5):
        ask(plain)
    with direct_wire(cache.database) as direct:
        assert ask(direct) == before
        for client in (changed, direct):
            client.do(f"SET {name} = '{setting}'")
        want = ask(direct)
    for _ in range(4):
        assert ask(changed) == want
        assert ask(plain) == before
    changed.do(f"RESET {name}")
    assert ask(changed) == before


def test_c04_settings_changed_inside_a_function(cached):
    cache = cached(FORMATS + "CREATE FUNCTION travel(text) RETURNS void LANGUAGE plpgsql AS"
                   " $$ BEGIN PERFORM set_config('TimeZone', $1, false), set_config('bytea_output', 'escape', false); END $$;"
                   "CREATE FUNCTION stay() RETURNS text LANGUAGE sql SET TimeZone = 'Asia/Tokyo' AS $$ SELECT 'here' $$")
    sql = "SELECT at, raw FROM shapes"
    traveller, other = cache.wire(), cache.wire()
    home = cache.warm(lambda: other.query(sql).texts, "shapes")
    assert traveller.query(sql).texts == home
    traveller.do("SELECT travel('Asia/Tokyo')")
    away = traveller.query(sql).texts
    assert "+09" in away[0][0] and away[0][1] == "\\001\\002\\377"
    for _ in range(4):
        assert other.query(sql).texts == home
        assert traveller.query(sql).texts == away
    other.do("SELECT stay()")
    assert other.query(sql).texts == home


TENANT_POLICY = """
CREATE TABLE notes (tenant text, t text);
INSERT INTO notes VALUES ('one', 'of one'), ('two', 'of two'), ('', 'of nobody');
CREATE POLICY p ON notes USING (tenant = coalesce(current_setting('app.tenant', true), ''));
ALTER TABLE notes ENABLE ROW LEVEL SECURITY; ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE FUNCTION become(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('app.tenant', $1, false); END $$;
"""


@pytest.mark.parametrize("size", [1, 3])
def test_c30_a_tenant_set_inside_a_function_is_seen_and_does_not_leak(cached, size):
    cache = cached(TENANT_POLICY, default_pool_size=size)
    client = cache.wire()
    for _ in range(4):
        assert value(client.query("SELECT t FROM notes")) == "of nobody"
    for name in ("one", "two"):
        client.do(f"SELECT become('{name}')")
        for _ in range(3):
            assert value(client.query("SELECT t FROM notes")) == f"of {name}"
        if size > 1:
            assert value(cache.wire().query("SELECT t FROM notes")) == "of nobody"
    client.quit()
    until("nothing leaks to the next", lambda: value(cache.wire().query("SELECT t FROM notes")) == "of nobody", 3)
    for _ in range(5):
        assert value(cache.wire().query("SELECT t FROM notes")) == "of nobody"


def test_c31_servers_with_other_defaults_do_not_share(cached, database):
    """The database's default changes: what new servers say is not what old ones said."""
    cache = cached(FORMATS)
    client = cache.wire()
    before = cache.warm(lambda: value(client.query("SELECT at FROM shapes")), "shapes")
    database.execute(f"ALTER DATABASE {database.name} SET TimeZone = 'Asia/Tokyo'")
    with cache.pooler.admin() as console:
        console.run("RECONNECT")
    database.terminate_backends()
    fresh = until("a session under the new default", lambda: under(cache, "Asia/Tokyo"), 10)
    for _ in range(4):
        assert "+09" in value(fresh.query("SELECT at FROM shapes")) and "+09" not in before


def under(cache, zone):
    client = cache.wire()
    return client if client.value("SHOW TimeZone") == zone else None


def test_c31_aliases_with_other_users_do_not_share(start, database):
    database.execute("CREATE TABLE who (t text); INSERT INTO who VALUES ('x'); GRANT SELECT ON who TO PUBLIC;"
                     f"ALTER ROLE app IN DATABASE {database.name} SET DateStyle = 'German';"
                     f"ALTER ROLE other IN DATABASE {database.name} SET DateStyle = 'ISO';"
                     "ALTER TABLE who ADD day date DEFAULT '2024-02-03'")
    line = {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name, "control_user": "control"}
    pooler = start(databases={"one": {**line, "user": "app"}, "two": {**line, "user": "other"}},
                   cache="exact", cache_writes="through_weir")
    one, two = pooler.wire("one"), pooler.wire("two")
    for _ in range(6):
        assert one.value("SELECT day FROM who") == "03.02.2024"
        assert two.value("SELECT day FROM who") == "2024-02-03"


@pytest.mark.parametrize("ask", ["current_setting('app.tenant', true) IS NULL", "coalesce(current_setting('app.tenant', true), 'none')"])
def test_c03_a_custom_setting_that_was_reset_is_asked_of_the_server(cached, ask):
    """After RESET it is '' on the server that had it and NULL on a fresh one: no answer that depends on it is kept."""
    cache = cached(default_pool_size=2)
    sql = f"SELECT {ask} FROM items WHERE id = 1"
    with cache.wire() as setter:
        setter.do("SET app.tenant = 'seven'")
        setter.do("SELECT 1")
    with cache.wire() as client:
        cache.never_cached(lambda: value(client.query(sql)))
        cache.never_cached(lambda: value(client.extended(sql)))
