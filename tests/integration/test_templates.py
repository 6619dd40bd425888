"""SHOW TEMPLATES: what the cache thinks of each statement, why, and how it knows."""

import pytest

from harness.caching import READ, value
from harness.wait import until

pytestmark = pytest.mark.needs("cache")

SETUP = """
CREATE VIEW seen AS SELECT id, v FROM items WHERE n >= 0;
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE VIEW odd AS SELECT f(id) AS x FROM items;
CREATE TABLE guarded (tenant text); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON guarded USING (tenant = current_setting('app.tenant', true));
"""


def template(cache, beginning, **wanted):
    """The row of SHOW TEMPLATES whose text begins so, once its columns say what is wanted."""
    def found():
        rows = [row for row in cache.pooler.show("TEMPLATES") if row["text"].startswith(beginning)]
        assert len(rows) <= 1, rows
        return rows[0] if rows and all(rows[0][key] == text for key, text in wanted.items()) else None
    return until(f"{beginning!r} is shown with {wanted}", found)


def test_templates_say_what_may_be_cached_and_why(cached):
    cache = cached(SETUP)
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    for number in range(2, 6):
        client.query(f"SELECT v FROM items WHERE id = {number}")
    row = template(cache, "SELECT v FROM items", cacheable="yes")
    assert (row["text"], row["found"], row["relations"], row["reason"]) == ("SELECT v FROM items WHERE id = 0", "names", "public.items", "")
    assert int(row["misses"]) >= 5 and int(row["hits"]) >= 1 and int(row["calls"]) >= 6 and row["user"] == "app" and row["since"]
    assert row["database"] == cache.database.name

    cache.warm(lambda: client.query("SELECT v FROM seen WHERE id = 7"), "from seen")
    row = template(cache, "SELECT v FROM seen", cacheable="yes")
    assert row["found"] == "postgresql" and sorted(row["relations"].split(", ")) == ["public.items", "public.seen"]
    assert int(row["saved_us"]) > 0

    client.query("SELECT x FROM odd")
    row = template(cache, "SELECT x FROM odd", cacheable="no", found="postgresql")
    assert row["reason"].endswith("function f(integer)")
    client.query("SELECT * FROM guarded")
    assert "a setting that the session has not set" in template(cache, "SELECT * FROM guarded", cacheable="no")["reason"]
    client.do("SET app.tenant = 'x'")
    cache.warm(lambda: client.query("SELECT * FROM guarded"), "from guarded")
    assert template(cache, "SELECT * FROM guarded", cacheable="yes")["relations"] == "public.guarded"
    client.query("SELECT random() FROM items")
    assert template(cache, "SELECT random()", found="postgresql", cacheable="no")["reason"].endswith("function random()")
    client.query("SELECT now() FROM items")
    client.query("SELECT E'secret\\n', $$hidden$$ FROM seen")
    assert template(cache, "SELECT $1, $2 FROM seen")
    assert not any("secret" in row["text"] or "hidden" in row["text"] for row in cache.pooler.show("TEMPLATES"))


def test_templates_keep_their_counts_when_definitions_change(cached):
    cache = cached(SETUP)
    client = cache.wire()
    cache.warm(lambda: client.query("SELECT v FROM seen"), "from seen")
    before = template(cache, "SELECT v FROM seen", cacheable="yes")
    client.do("CREATE OR REPLACE VIEW seen AS SELECT id, random()::text AS v FROM items")
    until("the view is refused", lambda: client.query("SELECT v FROM seen") and template(cache, "SELECT v FROM seen")["reason"].endswith("random()"))
    after = template(cache, "SELECT v FROM seen")
    assert int(after["calls"]) > int(before["calls"]) and int(after["hits"]) >= int(before["hits"]) and after["since"] == before["since"]


def test_analyses_are_counted_and_shared(cached):
    """One for each template, whatever its literals and whoever asks."""
    cache = cached(SETUP, workers=2)
    clients = [cache.wire() for _ in range(4)]
    counts = lambda: {row["name"]: int(row["value"]) for row in cache.pooler.show("CACHE_STORE") if "analyses" in row["name"]}
    cache.warm(lambda: value(clients[0].query(READ)))
    before = counts()
    for number, client in enumerate(clients * 3):
        cache.warm(lambda: client.query(f"SELECT v FROM seen WHERE id = {number}"), "from seen")
    assert counts() == {"analyses": before["analyses"] + 1, "analyses_failed": before["analyses_failed"]}
    clients[0].query("SELECT nosuch FROM seen")
    until("the failure is counted", lambda: counts()["analyses_failed"] == before["analyses_failed"] + 1)
    assert f"weir_cache_analyses_total {counts()['analyses']}" in cache.pooler.http("/metrics")[1]


def test_templates_are_bounded(cached):
    cache = cached()
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    for number in range(700):
        client.query(f"SELECT v AS column_{number} FROM items WHERE id = 1")
    for _ in range(5):
        client.query("SELECT v AS often FROM items WHERE id = 1")
    rows = cache.pooler.show("TEMPLATES")
    assert len(rows) == 500 and rows[0]["text"].startswith("SELECT v AS often")


@pytest.mark.parametrize("role, reason", [("app", "PostgreSQL could not be asked"), ("other", "")])
def test_templates_of_roles_that_the_control_user_may_not_act_as(cached, role, reason):
    cache = cached(SETUP + "GRANT SELECT ON seen TO other", line={"control_user": "other"})
    client = cache.wire(role)
    ask = lambda: client.query("SELECT v FROM seen")
    if role == "other":
        cache.warm(ask, "from seen")
        return
    cache.warm(lambda: value(client.query(READ)))
    until("the reason is shown", lambda: ask() and reason in template(cache, "SELECT v FROM seen")["reason"])
    assert "permission denied to set role" in template(cache, "SELECT v FROM seen")["reason"]
    cache.never_cached(ask, "from seen")


def test_templates_of_roles_without_temporary_objects(cached, database):
    database.execute(f"REVOKE TEMP ON DATABASE {database.name} FROM PUBLIC")
    cache = cached(SETUP + "GRANT SELECT ON seen, items TO other")
    client = cache.wire("other")
    cache.warm(lambda: value(client.query("SELECT v FROM items WHERE id = 1")))
    until("the reason is shown", lambda: client.query("SELECT v FROM seen") and "no temporary view"
          in template(cache, "SELECT v FROM seen")["reason"])
    cache.never_cached(lambda: client.query("SELECT v FROM seen"), "from seen")


# --- EXPLAIN CACHE

def explain(cache, what):
    """The row of EXPLAIN CACHE, as a dict of column name to text; or its error."""
    with cache.pooler.admin() as console:
        answer = console.wire.query(f"EXPLAIN CACHE {what}")
    if answer.errors:
        return answer.errors[0]["M"]
    names = ("database", "user", "cacheable", "reason", "found", "relations")
    return dict(zip(names, answer.texts[0]))


def test_explain_says_exactly_why(cached):
    cache = cached(SETUP)
    client = cache.wire()
    cache.warm(lambda: value(client.query(READ)))
    assert explain(cache, "SELECT v FROM items WHERE id = 7") == {
        "database": "test", "user": "app", "cacheable": "yes", "reason": "", "found": "names", "relations": "public.items"}
    answer = explain(cache, "SELECT v FROM seen WHERE v = 'a' ORDER BY id;")  # PostgreSQL is asked, and waited for
    assert answer["cacheable"] == "yes" and answer["found"] == "postgresql"
    assert sorted(answer["relations"].split(", ")) == ["public.items", "public.seen"]
    for statement, reason in (("SELECT x FROM odd", "function f(integer)"), ("SELECT f(id) FROM items", "function f"),
                              ("SELECT random() FROM items", "function random()"), ("SELECT 1", "it reads no table"),
                              ("SELECT * FROM guarded", "a setting that the session has not set"),
                              ("SELECT CURRENT_DATE FROM items", "depends on the time"),
                              ("SELECT v FROM items WHERE v = 'today'", "depends on the time"),
                              ("'/* weir: cache=off */ SELECT v FROM items'", "a hint in the statement turns the cache off"),
                              ("SELECT v FROM nosuch", "a table that the catalog does not know"),
                              ("SELECT v, nosuch FROM seen", 'column "nosuch" does not exist'),
                              ("SELECT v FROM items FOR UPDATE", "it is not one plain SELECT"), ("SELECT 1 FROM pg_class", "a system catalog")):
        answer = explain(cache, statement)
        assert answer["cacheable"] == "no" and reason in answer["reason"], (statement, answer)


def test_explain_for_a_user_and_a_database(start, database):
    database.execute("CREATE TABLE items (id int, v text); GRANT SELECT ON items TO app, other")
    line = {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name, "control_user": "control"}
    pooler = start(databases={"one": line, "two": line}, cache="ttl", cache_ttl=60)
    apart = type("Apart", (), {"pooler": pooler})
    assert explain(apart, "SELECT v FROM items") == "say which database: EXPLAIN CACHE database SELECT ..."
    assert explain(apart, "three SELECT v FROM items") == "no such database: three"
    for user in ("app", "other"):
        pooler.wire("one", user).query("SELECT v FROM items")
    until("the catalog is known", lambda: explain(apart, "one other SELECT v FROM items")["cacheable"] == "yes")
    assert explain(apart, "one other 'SELECT v FROM items'")["user"] == "other"
    assert explain(apart, "one app SELECT current_user, v FROM items")["cacheable"] == "yes"
    assert explain(apart, "two app SELECT v FROM items").startswith("no such user has had a server")


def test_explain_where_nothing_is_cached(start):
    pooler = start()
    assert explain(type("Apart", (), {"pooler": pooler}), "SELECT 1") == "the cache is off"
