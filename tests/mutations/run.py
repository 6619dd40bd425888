"""Takes the rules of the cache out, one at a time, and demands that tests fail.

    build/venv/bin/python tests/mutations/run.py [--only PATTERN] [--from PATTERN] [--trust] [--list]

Works in a copy of the source with a build folder of its own, build/mutations. --only takes the rules whose name the
pattern is found in (C12, say); --from begins at the first rule whose name its pattern is found in: a run says one line for each rule,
so that one which was cut off goes on from the rule after the last line. Ends with 1 if a test passed without its rule, and says which.
First all tests that are named must pass with all rules in place; --trust believes it."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time

from rules import ROOT, apply, read_rules

PLACE = ROOT / "build" / "mutations"
COPY, BUILD = PLACE / "source", PLACE / "build"
FOLDERS = ("src", "include", "tests", "scripts", "config", "docs", "CMakeLists.txt")
FAILED_IN_UNIT = re.compile(r"\[\s*FAILED\s*\] (test_\w+)")
LIMIT = 400  # seconds for one run of tests


def files_below(place):
    made = set()
    for name in FOLDERS:
        found = [place / name] if (place / name).is_file() else (place / name).rglob("*")
        made |= {path.relative_to(place) for path in found if path.is_file() and "__pycache__" not in path.parts}
    return made


def copy_source():
    """Makes the copy like the source; touches only what differs, so that only that is built again."""
    COPY.mkdir(parents=True, exist_ok=True)
    wanted = files_below(ROOT)
    for path in files_below(COPY) - wanted:
        (COPY / path).unlink()
    for path in wanted:
        source, target = ROOT / path, COPY / path
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def output_of(command, **more):
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)
    return made.returncode, made.stdout


def configure():
    code, text = output_of(["cmake", "-S", COPY, "-B", BUILD, "-G", "Ninja", "-DWEIR_LTO=OFF"])
    if code != 0:
        sys.exit(text)


def targets_of(expectations):
    made = {"weir"}
    for expectation in expectations:
        if expectation.kind == "unit":
            made.add("test_" + expectation.what.replace("/", "_"))
    return sorted(made)


def build(expectations):
    code, text = output_of(["cmake", "--build", BUILD, "--target", *targets_of(expectations)])
    return None if code == 0 else text


# ---- running: each gives {test: did it fail}, and what was printed

def run_unit(expectation):
    program = BUILD / "tests" / ("test_" + expectation.what.replace("/", "_"))
    try:
        code, text = output_of([program], cwd=BUILD, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {test: True for test in expectation.tests}, "no end"
    failed = set(FAILED_IN_UNIT.findall(text))
    # A program that died names nobody; nor is it known who else it would have failed.
    has_died = code != 0 and not failed
    return {test: has_died or test in failed for test in expectation.tests}, text


def run_integration(expectation):
    outcomes, texts = {}, []
    for test in expectation.tests:
        command = [sys.executable, "-m", "pytest", f"tests/integration/{expectation.what}", "-q", "-p", "no:cacheprovider", "-x",
                   "-k", test]
        code, text = output_of(command, cwd=COPY, env={**os.environ, "WEIR_BIN": str(BUILD / "weir")}, timeout=LIMIT)
        if code not in (0, 1):
            sys.exit(f"pytest ended with {code}:\n{text[-3000:]}")
        outcomes[test] = code == 1
        texts.append(text)
    return outcomes, "\n".join(texts)


def run_checker(expectation, seeds=3):
    name = f"checker {expectation.what}"
    for seed in range(1, seeds + 1):
        command = [sys.executable, "tests/checker/run.py", "--mode", expectation.what, "--operations", "50000", "--seconds", "30",
                   "--seed", str(seed)]
        began = time.monotonic()
        code, text = output_of(command, cwd=COPY, env={**os.environ, "WEIR_BIN": str(BUILD / "weir")}, timeout=LIMIT)
        if "WRONG:" in text:
            return {f"{name} ({time.monotonic() - began:.0f} s)": True}, text
        if code not in (0, 1):
            sys.exit(f"the checker ended with {code}:\n{text[-3000:]}")
    return {name: False}, text


RUNNERS = {"unit": run_unit, "integration": run_integration, "checker": run_checker}


def check_all_pass(rules):
    """With all rules in place no test may fail: else a failure says nothing."""
    wanted = {}
    for rule in rules:
        for expectation in rule.expectations:
            wanted.setdefault((expectation.kind, expectation.what), set()).update(expectation.tests)
    problem = build([e for rule in rules for e in rule.expectations])
    if problem:
        sys.exit(problem[-3000:])
    is_good = True
    for (kind, what), tests in sorted(wanted.items()):
        expectation = rules[0].expectations[0]._replace(kind=kind, what=what, tests=tuple(sorted(tests)))
        outcomes, text = RUNNERS[kind](expectation)
        failed = [test for test, has_failed in outcomes.items() if has_failed]
        print("not ok" if failed else "ok", f"with all rules: {kind} {what}", *failed, flush=True)
        if failed:
            print(text[-3000:])
            is_good = False
    return is_good


def check(rule):
    texts = apply(rule, lambda path: (COPY / path).read_text())
    before = {path: (COPY / path).read_text() for path in texts}
    began = time.monotonic()
    passed, found = [], []
    try:
        for path, text in texts.items():
            (COPY / path).write_text(text)
        problem = build(rule.expectations)
        if problem:
            print("not ok", rule.name, "does not build", problem[-2000:], flush=True)
            return False
        for expectation in rule.expectations:
            outcomes, _ = RUNNERS[expectation.kind](expectation)
            for test, has_failed in outcomes.items():
                (found if has_failed else passed).append(test)
    finally:
        for path, text in before.items():
            (COPY / path).write_text(text)
    print("not ok" if passed else "ok", rule.name, f"[{time.monotonic() - began:.0f} s]", "found by " + ", ".join(found or ["nobody"]),
          "NOT BY " + ", ".join(passed) if passed else "", flush=True)
    return not passed


def chosen(rules, only, first):
    at = next((n for n, rule in enumerate(rules) if re.search(first, rule.name)), len(rules))
    return [rule for rule in rules[at:] if re.search(only, rule.name)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rules in whose name this regular expression is found")
    parser.add_argument("--from", dest="first", default="", help="begin at the first rule in whose name this regular expression is found")
    parser.add_argument("--trust", action="store_true", help="do not run the tests with all rules in place first")
    parser.add_argument("--list", action="store_true", help="only say which rules there are")
    options = parser.parse_args()
    rules = chosen(read_rules(), options.only, options.first)
    if not rules:
        sys.exit("no rule has such a name")
    if options.list:
        print("\n".join(rule.name for rule in rules))
        return
    copy_source()
    configure()
    is_good = options.trust or check_all_pass(rules)
    wrong = [rule.name for rule in rules if not check(rule)]
    print(f"{len(rules) - len(wrong)} of {len(rules)} rules are held by their tests")
    sys.exit(bool(wrong) or not is_good)


if __name__ == "__main__":
    main()
