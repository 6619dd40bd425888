"""Reads rules.txt: what each mutation changes and which tests must find it. Knows nothing of building."""

import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HEAD = re.compile(r"\[(C\d\d) (.+)\]$")
KINDS = ("unit", "integration", "checker")


class BadRule(Exception):
    """The file of rules is not well formed, or a text to be changed is not there."""


class Hunk(NamedTuple):
    path: str
    find: str
    replacement: str


class Expectation(NamedTuple):
    """kind: unit (what: LAYER/MODULE), integration (what: FILE.py) or checker (what: the mode); `tests` by name."""
    kind: str
    what: str
    tests: tuple


class Rule(NamedTuple):
    hazard: str
    text: str
    hunks: list
    expectations: list

    @property
    def name(self):
        return f"{self.hazard} {self.text}"


class Reader:
    def __init__(self, lines):
        self.rules = []
        self.path = None
        self.removed, self.added = [], []
        for number, line in enumerate([*lines, ""], 1):
            try:
                self.take(line.rstrip("\n"))
            except BadRule as problem:
                raise BadRule(f"rules.txt:{number}: {problem}") from None
        for rule in self.rules:
            if not rule.hunks or not rule.expectations:
                raise BadRule(f"rules.txt: [{rule.name}] changes nothing, or names no test")

    def take(self, line):
        if line == "" or line.startswith("#"):
            self.end_hunk()
        elif head := HEAD.match(line):
            self.end_hunk()
            self.path = None
            self.rules.append(Rule(head[1], head[2], [], []))
        elif not self.rules:
            raise BadRule("what belongs to a rule stands in front of the first one")
        elif line.startswith("file "):
            self.end_hunk()
            self.path = line.split()[1]
        elif line.startswith("fails "):
            kind, what, *tests = line.split()[1:]
            if kind not in KINDS or (kind == "checker") == bool(tests):
                raise BadRule(f"neither unit nor integration with tests, nor checker: {line}")
            self.rules[-1].expectations.append(Expectation(kind, what, tuple(tests)))
        elif line[0] in "-+ ":
            if line[0] in "- ":
                self.removed.append(line[1:])
            if line[0] in "+ ":
                self.added.append(line[1:])
        else:
            raise BadRule(f"not understood: {line}")

    def end_hunk(self):
        if not self.removed and not self.added:
            return
        if self.path is None or not self.removed:
            raise BadRule("a hunk without a file, or without lines to be found")
        find = "".join(line + "\n" for line in self.removed)
        self.rules[-1].hunks.append(Hunk(self.path, find, "".join(line + "\n" for line in self.added)))
        self.removed, self.added = [], []


def read_rules():
    return Reader((HERE / "rules.txt").read_text().splitlines()).rules


def apply(rule, read):
    """{path: mutated text}; `read` gives the text of a path. BadRule where a text is not there exactly once."""
    texts = {}
    for hunk in rule.hunks:
        text = texts.get(hunk.path)
        if text is None:
            text = read(hunk.path)
        # Whole lines only.
        count = ("\n" + text).count("\n" + hunk.find)
        if count != 1:
            raise BadRule(f"[{rule.name}] {hunk.path} has {count} times, not once:\n{hunk.find}")
        texts[hunk.path] = ("\n" + text).replace("\n" + hunk.find, "\n" + hunk.replacement)[1:]
        if texts[hunk.path] == text:
            raise BadRule(f"[{rule.name}] changes nothing in {hunk.path}")
    return texts
