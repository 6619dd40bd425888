"""The documents are true where a machine can tell: every path they name exists, every link leads somewhere, and the
table of hazards has a row for every number that tests carry, naming files that do have such a test, and keys that nothing
acts on are confessed in docs/configuration.md. Run alone, it also prints the sources that docs/internals.md does not
mention."""

import re
import sys
from pathlib import Path

from source import ROOT, read, tracked

FOLDERS = "config|docker|docs|include|scripts|src|tests"
PATH = re.compile(rf"(?<![\w./-])(?:\./)?((?:{FOLDERS})/[\w./-]*\w/?)")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
ROW = re.compile(r"^\| ([PC]\d\d) \|.*\| (.*) \|$", re.M)
TEST = re.compile(r"\b(test_\w+)\s*\(")
NUMBER = re.compile(r"(?<=_)[pc]\d\d(?=_)")


def documents():
    return [p for p in tracked(".md") if p.parts[0] == "docs" or len(p.parts) == 1]


def wrong_paths(path):
    text = read(path)
    for name in sorted(set(PATH.findall(text))):
        if not (ROOT / name).exists():
            yield f"{path}: there is no {name}"
    for target in sorted(set(LINK.findall(text))):
        if "://" not in target and not (ROOT / path.parent / target).exists():
            yield f"{path}: the link to {target} leads nowhere"


def numbers_of_tests():
    """Hazard number -> the test files with a test of that number in its name."""
    found = {}
    for path in tracked(".py", ".c"):
        if path.parts[0] != "tests":
            continue
        for name in TEST.findall(read(path)):
            for number in NUMBER.findall(name):
                found.setdefault(number.upper(), set()).add(str(path))
    return found


def wrong_hazards(path):
    tests = numbers_of_tests()
    rows = dict(ROW.findall(read(path)))
    for number in sorted(tests.keys() - rows.keys()):
        yield f"{path}: no row for {number}, which tests are named after"
    for number, cell in rows.items():
        for name in PATH.findall(cell):
            if "`test_" not in cell and name not in tests.get(number, ()):
                yield f"{path}: {number}: {name} has no test of that number"
        for test in re.findall(r"`(test_\w+)`", cell):
            if not any(test in read(ROOT / name) for name in PATH.findall(cell)):
                yield f"{path}: {number}: there is no {test}"


def silent_keys(path):
    """Keys of the process that the option table calls working, whose field nobody reads."""
    rows = re.findall(r"\{[A-Z_]+\((\w+),(?:(?!\{[A-Z_]+\().)*?\b(RELOAD|RESTART), WORKS\b",
                      read(Path("src/config/option_rows.c")).split("option_global_count")[0], re.S)
    code = "".join(read(p) for p in tracked(".c") if p.parts[0] == "src" and p.name != "option_rows.c")
    confessed = read(path)
    for key, _ in rows:
        is_read = re.search(rf"(?:->|\.){key}(?:_us|_bytes)?\b", code)
        if not is_read and f"`{key}`" not in confessed:
            yield f"{path}: nothing reads {key}, and no word about it"


def problems():
    for path in documents():
        yield from wrong_paths(path)
    yield from wrong_hazards(Path("docs/hazards.md"))
    yield from silent_keys(Path("docs/configuration.md"))


def unmentioned():
    tour = read(Path("docs/internals.md"))
    return [str(p) for p in tracked(".c") if p.parts[0] == "src" and str(p) not in tour]


if __name__ == "__main__":
    wrong = list(problems())
    print("\n".join(wrong) if wrong else "the documents are good")
    for name in unmentioned():
        print("not in the tour:", name)
    sys.exit(bool(wrong))
