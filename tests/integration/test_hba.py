"""auth_type = hba: rules by connection, database, user and address, maps of names, and what a reload does to them."""

import getpass

import psycopg
import pytest

from harness import wire
from harness.console import Console
from harness.postgres import ROLES
from harness.system import give_to_account
from harness.wire import ServerError

ACCOUNT_RULE = "host pgbouncer all 127.0.0.1/32 trust\n"


@pytest.fixture
def ruled(new_pooler, database):
    """Starts a pooler with these rules and maps, behind the one that lets the harness in."""

    def begin(rules, maps=None, passwords=None, check=True, **options):
        target = {"host": "127.0.0.1", "port": database.postgres.port, "dbname": database.name}
        pooler = new_pooler({"test": target, "second": target}, {"auth_type": "hba", **options}, passwords=passwords)
        pooler.options["auth_hba_file"] = pooler.directory / "rules"
        pooler.options["unix_socket_dir"] = pooler.directory
        if maps is not None:
            pooler.options["auth_ident_file"] = pooler.directory / "maps"
        write(pooler, rules, maps)
        return pooler.start() if check else pooler

    return begin


def write(pooler, rules, maps=None):
    for name, text in (("rules", ACCOUNT_RULE + rules), ("maps", maps)):
        if text is not None:
            (pooler.directory / name).write_text(text)
            give_to_account(pooler.directory / name)


def enter(pooler, user="app", dbname="test", password=None, host="127.0.0.1"):
    with psycopg.connect(host=str(host), port=pooler.port, dbname=dbname, user=user, password=password,
                         connect_timeout=15) as connection:
        return connection.execute("SELECT current_user").fetchone()[0]


def refusal(pooler, **how):
    with pytest.raises(psycopg.OperationalError) as failure:
        enter(pooler, **how)
    return str(failure.value)



def test_the_first_rule_that_fits_decides(ruled):
    pooler = ruled("host test plain 127.0.0.1/32 password\n"
                   "host test,second md5 127.0.0.0 255.0.0.0 md5\n"
                   "hostnossl all scram 127.0.0.0/8 scram-sha-256\n"
                   "host second app all reject\n"
                   "hostssl all app all reject\n"
                   "host all app all trust\n"
                   "host sameuser all all trust\n")
    asked = {"plain": 3, "md5": 5, "scram": 10}
    for user, code in asked.items():
        client = pooler.bare_wire()
        client.send(wire.startup(user=user, database="test"))
        assert client.next_is("R").body[:4] == code.to_bytes(4, "big")
        assert enter(pooler, user, password=ROLES[user][0]) == user
        assert "authentication failed" in refusal(pooler, user=user, password="wrong")
    assert enter(pooler, "app") == "app"
    assert ('pg_hba.conf rejects connection for host "127.0.0.1", user "app", database "second", SSL off'
            in refusal(pooler, user="app", dbname="second"))
    assert ('no pg_hba.conf entry for host "127.0.0.1", user "other", database "test", SSL off'
            in refusal(pooler, user="other"))
    assert 'no pg_hba.conf entry for host "[local]", user "app"' in refusal(pooler, user="app", host=pooler.directory)


def test_refusals_carry_postgresqls_code(ruled):
    pooler = ruled("host all app all reject\nhost all plain all cert\nhost all md5 all peer\n")
    for user, phrase in (("app", "rejects connection"), ("other", "no pg_hba.conf entry"),
                         ("plain", "certificate authentication failed"), ("md5", "unix socket login rejected")):
        client = pooler.bare_wire()
        client.send(wire.startup(user=user, database="test"))
        fields = wire.fields_of(client.next_is("E").body)
        assert fields["C"] == "28000" and phrase in fields["M"]


def test_users_that_nobody_knows_are_not_trusted(ruled):
    pooler = ruled("host all all all trust\nlocal all all peer map=m\n", "m /.* all\n")
    assert '"trust" authentication failed' in refusal(pooler, user="nobody-of-that-name")
    assert "unix socket login rejected" in refusal(pooler, user="nobody-of-that-name", host=pooler.directory)


def test_peer_and_maps(ruled):
    me = getpass.getuser()
    pooler = ruled("local second all peer\nlocal all all peer map=here\n",
                   f"here {me} app\nhere /^(.).*$ other\nother {me} all\nhere /^{me[0]}(.*)$ x\\1\n",
                   passwords={me: "", "x" + me[1:]: ""})
    assert enter(pooler, "app", host=pooler.directory) == "app"
    assert enter(pooler, "other", host=pooler.directory) == "other"
    assert "unix socket login rejected" in refusal(pooler, user="scram", host=pooler.directory)
    pooler.says("ident map here does not have a match")
    assert "unix socket login rejected" in refusal(pooler, user="app", dbname="second", host=pooler.directory)
    # Who is called what the system calls him gets past Weir, and only then is PostgreSQL asked, which has no such role.
    assert "rejected" not in refusal(pooler, user=me, dbname="second", host=pooler.directory)
    assert "rejected" not in refusal(pooler, user="x" + me[1:], host=pooler.directory)


def test_names_in_a_file(ruled):
    pooler = ruled("host all @people all trust\n", check=False)
    (pooler.directory / "people").write_text("# readers\napp, other\n\n")
    pooler.start()
    assert enter(pooler, "app") == "app"
    assert enter(pooler, "other") == "other"
    assert "no pg_hba.conf entry" in refusal(pooler, user="plain")


def test_a_bad_line_costs_that_line_and_is_named(ruled):
    pooler = ruled("host all app all ident\nhost all +staff all trust\nhost all app samenet trust\n"
                   "local all app peer map=nowhere\nhost all other all trust\n")
    assert enter(pooler, "other") == "other"
    assert "no pg_hba.conf entry" in refusal(pooler, user="app")
    for line in (2, 3, 4, 5):
        pooler.says(f"{pooler.options['auth_hba_file']}:{line}: ")


@pytest.mark.parametrize("rules, problem", [
    ("host all all all ldap\n", "rules:2: method ldap is not built into Weir"),
    ("host all all all pam\n", "rules:2: method pam is not built into Weir"),
    (None, 'auth_hba_file "'),
])
def test_rules_that_cannot_be_used_stop_the_start_and_leave_a_running_process_alone(ruled, rules, problem):
    pooler = ruled("host all app all trust\n")
    if rules is None:
        (pooler.directory / "rules").unlink()
    else:
        write(pooler, rules)
    with pytest.raises(ServerError, match="RELOAD failed, see logs for additional details"):
        pooler.reload()
    pooler.says(problem)
    assert enter(pooler, "app") == "app", "the old rules are in force"
    stillborn = ruled("", check=False)
    if rules is None:
        (stillborn.directory / "rules").unlink()
    else:
        write(stillborn, rules)
    stillborn.spawn()
    assert stillborn.process.wait(15) != 0
    stillborn.says(problem)
    stillborn.process = None


def test_a_reload_takes_other_rules_and_other_maps(ruled):
    me = getpass.getuser()
    pooler = ruled("host all app all trust\nlocal all all peer map=here\n", f"here {me} app\n")
    write(pooler, "host all app all reject\nlocal all all peer map=here\n", f"here {me} other\n")
    pooler.reload()
    assert "rejects connection" in refusal(pooler, user="app")
    assert "unix socket login rejected" in refusal(pooler, user="app", host=pooler.directory)
    assert enter(pooler, "other", host=pooler.directory) == "other"
    pooler.reload({"auth_type": "trust"})
    assert enter(pooler, "app") == "app"
    with pooler.admin() as console:
        console.run("SET auth_type = 'hba'")
    assert "rejects connection" in refusal(pooler, user="app")


def test_hba_without_a_file_is_refused(ruled):
    pooler = ruled("", check=False)
    pooler.options["auth_hba_file"] = None
    pooler.spawn()
    assert pooler.process.wait(15) != 0
    pooler.says("auth_type = hba needs auth_hba_file")
    pooler.process = None


def test_the_console_by_rules(ruled):
    pooler = ruled("")
    write(pooler, "")
    (pooler.directory / "rules").write_text("host pgbouncer admin all md5\nhost pgbouncer stats all reject\n"
                                            "host all all all trust\n")
    pooler.reload()
    with Console(pooler.port, "admin", pooler.passwords["admin"]) as console:
        assert console.show("VERSION")
        console.run("RELOAD")
    with pytest.raises(ServerError, match="password authentication failed"):
        Console(pooler.port, "admin", "wrong")
    with pytest.raises(ServerError, match="rejects connection"):
        Console(pooler.port, "stats", pooler.passwords["stats"])
    with pytest.raises(ServerError, match="not allowed"):
        Console(pooler.port, "app", ROLES["app"][0])
