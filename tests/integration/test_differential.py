"""The same statements straight and through Weir with its cache on: PostgreSQL's regression inputs (tests/differential/run.py) and
random queries (tests/differential/generated.py). Here: how the inputs are cut into statements, some random queries, and with --full
many of these and all inputs."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.wait import SLOW, seconds

FOLDER = Path(__file__).resolve().parents[1] / "differential"
sys.path.append(str(FOLDER))

from split import split  # noqa: E402

pytestmark = pytest.mark.needs("cache")

PIECES = {
    "two": ("SELECT 1; SELECT 2;", ["SELECT 1;", "SELECT 2;"]),
    "quotes": ("SELECT ';', 'it''s;', E'\\';', \";\", $$;$$, $a$;$$;$a$; SELECT 2", ["SELECT ';', 'it''s;', E'\\';', \";\", $$;$$, $a$;$$;$a$;",
                                                                                  "SELECT 2"]),
    "comments": ("SELECT 1 -- ;\n; /* ; /* ; */ ; */ SELECT 2;", ["SELECT 1 -- ;\n;", "/* ; /* ; */ ; */ SELECT 2;"]),
    "rules": ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3;",
              ["CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);", "SELECT 3;"]),
    "bodies": ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 3;",
               ["CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;", "SELECT 3;"]),
    "a block": ("BEGIN; SELECT 1; END;", ["BEGIN;", "SELECT 1;", "END;"]),
    "commands": ("\\set x '4'\n\\d t\nSELECT :x, :'x', :\"x\", a::int \\gset\nSELECT 2\\;SELECT 3;",
                 ["SELECT 4, '4', \"4\", a::int", "SELECT 2;SELECT 3;"]),
}


@pytest.mark.parametrize("name", PIECES)
def test_scripts_are_cut_into_statements(name):
    text, wanted = PIECES[name]
    assert [statement.text for statement in split(text, {})] == wanted


def test_the_data_of_copy_goes_with_it():
    found = split("COPY t (a) FROM STDIN;\n1;\n2\n\\.\nSELECT 1;\nCOPY t TO STDOUT;", {})
    assert [(s.text, s.data) for s in found] == [("COPY t (a) FROM STDIN;", "1;\n2\n"), ("SELECT 1;", None), ("COPY t TO STDOUT;", None)]


@pytest.mark.full
@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.timeout(3600)
def test_the_answers_are_those_of_postgresql(protocol, sanitized):
    files = ["boolean", "int4", "select", "join"] if sanitized else []
    made = subprocess.run([sys.executable, FOLDER / "run.py", "--protocol", protocol, *files], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=3500)
    print(made.stdout)
    if made.returncode == 3:
        pytest.skip(made.stdout.strip().splitlines()[-1])
    assert made.returncode == 0, made.stdout[-6000:]


@pytest.mark.timeout(400)
def test_random_queries_have_the_answers_of_postgresql(sanitized):
    """And many of these come from the cache, or it fails."""
    count = 800 if sanitized else 3000
    made = subprocess.run([sys.executable, FOLDER / "generated.py", "--statements", str(count)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=seconds(300))
    print(made.stdout)
    assert made.returncode == 0, made.stdout[-6000:]


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_random_queries_have_the_answers_of_postgresql(sanitized):
    made = subprocess.run([sys.executable, FOLDER / "generated.py", *(["--statements", "10000"] if sanitized or SLOW > 1 else ["--full"])],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=3500)
    print(made.stdout)
    assert made.returncode == 0, made.stdout[-6000:]
