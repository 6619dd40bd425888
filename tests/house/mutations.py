"""The rules of tests/mutations can be applied: every text they change is found once, the tests they name exist, and every
hazard of the cache that is met has a rule."""

import re
import sys
from pathlib import Path

from source import ROOT, read

sys.path.append(str(ROOT / "tests" / "mutations"))

from rules import BadRule, apply, read_rules  # noqa: E402

ROW = re.compile(r"^\| (C\d\d) \|.*\| (.*) \|$", re.M)


def file_of(expectation):
    if expectation.kind == "integration":
        return Path("tests/integration") / expectation.what
    layer, module = expectation.what.split("/")
    return Path("tests/unit") / layer / f"test_{module}.c"


def wrong_tests(rule):
    for expectation in rule.expectations:
        if expectation.kind == "checker":
            continue
        path = file_of(expectation)
        text = read(path) if (ROOT / path).exists() else ""
        for test in expectation.tests:
            if not re.search(rf"\b{test}\b", text):
                yield f"tests/mutations/rules.txt: [{rule.name}]: {path} has no {test}"


def problems():
    try:
        rules = read_rules()
    except BadRule as problem:
        yield f"tests/mutations/{problem}"
        return
    for rule in rules:
        try:
            apply(rule, lambda path: read(Path(path)))
        except (BadRule, OSError) as problem:
            yield f"tests/mutations/rules.txt: {problem}"
        yield from wrong_tests(rule)
    covered = {rule.hazard for rule in rules}
    for hazard, tests in ROW.findall(read(Path("docs/hazards.md"))):
        if hazard not in covered and not tests.startswith("not built"):
            yield f"tests/mutations/rules.txt: no rule for {hazard}"
