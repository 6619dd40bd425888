"""Every key of the configuration has a test that observes what it does: tests/integration/keys.txt says which."""

import re

from source import ROOT, read

TABLE = "tests/integration/keys.txt"
ROWS = "src/config/option_rows.c"
SECTIONS = {"config_settings": "weir", "config_database": "databases", "config_user": "users", "config_peer": "peers"}
ROW = re.compile(r"#define SCOPE\s+(\w+)|\{(?:TEXT|BOOL|MODE|INT|BYTES|SECONDS|SECONDS_IN|ENUM|ROW)\((\w+),"
                 r".*?\b(WORKS|NO_EFFECT|LATER)\b", re.S)


def keys():
    """(section, key) -> status, of all rows of the option table."""
    found, section = {}, None
    text = read(ROOT / ROWS)
    for scope, key, status in ROW.findall(text[text.index("#define SCOPE config_settings"):]):
        if scope:
            section = SECTIONS[scope]
        else:
            found[section, key] = status
    return found


def problems():
    known, listed = keys(), {}
    harness = read(ROOT / "tests/integration/harness/pooler.py")  # what all tests have
    for number, line in enumerate(read(ROOT / TABLE).splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        section, key, path, test = line.split()
        if (section, key) not in known:
            yield f"{TABLE}:{number}: there is no key {key} in [{section}]"
        elif (section, key) in listed:
            yield f"{TABLE}:{number}: {key} of [{section}] stands there twice"
        listed[section, key] = path
        if not (ROOT / path).exists() or not re.search(rf"\b{test}\(", read(ROOT / path)):
            yield f"{TABLE}:{number}: {path} has no {test}"
        elif known.get((section, key)) == "WORKS" and not re.search(rf"\b{key}\b", read(ROOT / path) + harness):
            yield f"{TABLE}:{number}: {path} does not name {key}"
    for section, key in known:
        if (section, key) not in listed:
            yield f"{TABLE}: no test for {key} of [{section}]"
