"""The checker (tests/checker) itself: that its judge finds what is wrong and passes what is not, and a short run of it in
each mode."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from harness.wait import SLOW, seconds

CHECKER = Path(__file__).resolve().parents[1] / "checker"
sys.path.append(str(CHECKER))

from history import (DIRECT, DONE, UNDONE, UNKNOWN, Add, Clear, Guarded, Oddity, Raise, Read, Remove, Rule,  # noqa: E402
                     Seen, SetRead, Write)
from judge import Judge  # noqa: E402
from place import MODES  # noqa: E402

pytestmark = pytest.mark.needs("cache")
MS = 1_000_000
GROUP = ("members", 1)


def write(sent, end, token, outcome=DONE, number=None, cell=1, way=0):
    return Write(sent * MS, end * MS if end else None, 1, way, "write", outcome, [Raise(cell, 1, token, number)])


def read(begin, end, number, token, cell=1, way=0, pending=0, own=None):
    return Read(begin * MS, end * MS, 2, way, "read", [Seen(cell, number, token, pending, own)])


def change(sent, end, *items, outcome=DONE, way=0):
    return Write(sent * MS, end * MS if end else None, 1, way, "change", outcome, list(items))


def look(begin, end, *elements, way=0, **own):
    return SetRead(begin * MS, end * MS, 2, way, "look", GROUP, frozenset(elements), **own)


def rule(sent, end, opens, outcome=DONE, guard=("table", 1)):
    return Rule(sent * MS, end * MS if end else None, 1, 0, "rule", outcome, guard, opens)


def found(begin, end, was_open, guard=("table", 1)):
    return Guarded(begin * MS, end * MS, 2, 0, "found", guard, was_open)


A, B = write(10, 20, "a"), write(30, 40, "b")
IN, OUT = change(10, 20, Add(GROUP, 5)), change(30, 40, Remove(GROUP, 5))
CLOSE, OPEN = rule(10, 20, False), rule(30, 40, True)
WRONG = {
    "an old number": [A, read(21, 22, 0, "first")],
    "an old number, though a newer one was told": [A, write(30, 40, "b", number=2), read(41, 42, 1, "a")],
    "older than what another has read": [A, write(30, None, "b", UNKNOWN), read(41, 42, 2, "b"), read(43, 44, 1, "a")],
    "a number that nobody wrote": [A, read(21, 22, 2, "b")],
    "a write that was undone": [A, write(30, 40, "b", UNDONE), read(41, 42, 2, "b")],
    "the token of a write that was undone": [A, write(30, 40, "b", UNDONE), B._replace(items=[Raise(1, 1, "c")]),
                                             read(41, 42, 2, "b")],
    "a write before it was sent": [A, B, read(21, 22, 2, "b")],
    "another token for the same number": [A, B, read(35, 41, 1, "a"), read(35, 42, 1, "first")],
    "own writes forgotten": [A, read(21, 22, 2, "a", pending=1, own="mine")],
    "old behind own writes": [A, B, read(41, 42, 2, "mine", pending=1, own="mine")],
    "two writes that were told one number": [write(10, 40, "a", number=1), write(20, 45, "b", number=1)],
    "a write that was told too high a number": [write(10, 20, "a", number=2)],
    "an element that is missing": [IN, look(21, 22)],
    "an element after it was taken out": [IN, OUT, look(41, 42, 5)],
    "an element from nowhere": [IN, look(21, 22, 5, 6)],
    "an element that comes back": [IN, OUT._replace(outcome=UNKNOWN, end=None), look(41, 42), look(43, 44, 5)],
    "an element of a group that was cleared": [IN, change(30, 40, Clear(GROUP, 30 * MS)), look(41, 42, 5)],
    "what was closed": [CLOSE, found(21, 22, True)],
    "what was never closed": [rule(10, 20, False, UNDONE), found(21, 22, False)],
    "what has been opened again": [CLOSE, OPEN, found(41, 42, False)],
    "what was open at first": [rule(30, 40, False), found(10, 20, False)],
    "what another right would let through": [CLOSE, rule(30, 40, True, guard=("table", 2)), found(41, 42, True)],
    "what a session has seen by itself": [Oddity(5, 1, 0, "odd")],
}
RIGHT = {
    "old or new while it is written": [A, read(11, 19, 0, "first"), read(12, 21, 1, "a")],
    "a write of unknown outcome, seen or not": [A, write(30, None, "b", UNKNOWN), read(41, 42, 1, "a"), read(43, 44, 2, "b")],
    "numbers in between": [A, B, read(25, 26, 1, "a"), read(41, 42, 2, "b")],
    "own writes on top": [A, read(21, 22, 2, "mine", pending=1, own="mine"), read(23, 24, 1, "a")],
    "other cells": [A, read(21, 22, 0, "first", cell=2)],
    "elements while they come and go": [IN, OUT, look(11, 15), look(12, 16, 5), look(31, 35, 5), look(32, 36), look(41, 42)],
    "open and closed while that changes": [CLOSE, found(11, 15, True), found(12, 21, False), found(19, 25, True)],
    "a change of unknown outcome": [CLOSE, rule(30, None, True, UNKNOWN), found(41, 42, True), found(43, 44, False)],
    "open or closed across two changes": [CLOSE, OPEN, found(15, 42, True), found(15, 43, False), found(41, 44, True)],
    "own elements": [IN, look(21, 22, 5, 6, own_added=frozenset([6])), look(23, 24, own_removed=frozenset([5]))],
    "put in while the group is cleared": [IN, change(30, 40, Clear(GROUP, 30 * MS)), change(31, 39, Add(GROUP, 6)),
                                          look(41, 42), look(43, 44)],
}
TTL = 500 * MS
RIGHT_IN_TTL = {
    "old for a while, if written elsewhere": [write(10, 20, "a", way=1), read(500, 501, 0, "first")],
    "and then new": [write(10, 20, "a", way=1), read(700, 701, 1, "a")],
    "an element not there yet": [change(10, 20, Add(GROUP, 5), way=1), look(500, 501)],
}
WRONG_IN_TTL = {
    "older than the limit": [write(10, 20, "a", way=1), read(700, 701, 0, "first")],
    "old, though written through the same": [write(10, 20, "a"), read(21, 22, 0, "first")],
    "older than at the last write through the same": [write(10, 20, "a", way=1), write(30, 40, "b"), read(41, 42, 1, "a")],
    "old past all": [write(10, 20, "a"), read(21, 22, 0, "first", way=DIRECT)],
    "an element that is long there": [change(10, 20, Add(GROUP, 5), way=1), look(700, 701)],
    "an element put in through the same": [change(10, 20, Add(GROUP, 5)), look(21, 22)],
}


def judged(history, ttl=None):
    records = list(history)
    random.Random(1).shuffle(records)
    return Judge(ttl).judge(records)


@pytest.mark.parametrize("name", WRONG)
def test_the_judge_finds(name):
    found = judged(WRONG[name])
    assert len(found) == 1, found
    assert 1 <= len(found[0].excerpt) <= 3 and str(found[0]).count("\n") == len(found[0].excerpt)


@pytest.mark.parametrize("name", RIGHT)
def test_the_judge_passes(name):
    assert judged(RIGHT[name]) == []


@pytest.mark.parametrize("name", WRONG_IN_TTL)
def test_the_judge_finds_in_ttl(name):
    assert len(judged(WRONG_IN_TTL[name], TTL)) == 1


@pytest.mark.parametrize("name", RIGHT_IN_TTL)
def test_the_judge_passes_in_ttl(name):
    assert judged(RIGHT_IN_TTL[name], TTL) == []


def test_the_judge_remembers_from_one_part_of_a_history_to_the_next():
    judge = Judge()
    assert judge.judge([A, IN]) == []
    assert len(judge.judge([read(21, 22, 0, "first"), look(21, 23)])) == 2


def test_after_a_crash_that_lost_commits_the_judge_starts_from_what_is_left():
    judge = Judge()
    assert judge.judge([A, B, IN]) == []
    judge.start_from({1: (1, "a")}, {GROUP: []})
    assert judge.judge([read(51, 52, 1, "a"), look(51, 53)]) == []
    assert len(judge.judge([read(61, 62, 2, "b"), look(61, 63, 5)])) == 2


def run(limit, *arguments):
    made = subprocess.run([sys.executable, CHECKER / "run.py", *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=limit)
    print(made.stdout)
    assert made.returncode == 0, made.stdout[-6000:]
    return made.stdout


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.timeout(240)
def test_no_answer_is_wrong(mode):
    is_shared = mode == "shared"  # after a fault nobody believes for some seconds
    run(seconds(120), "--mode", mode, "--operations", 60_000, "--seconds", 40 if is_shared else 12, "--pause",
        8 if is_shared else 1)


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.timeout(3600)
def test_no_answer_of_a_million_is_wrong(mode, sanitized):
    run(3500, "--mode", mode, *(["--operations", 100_000] if sanitized or SLOW > 1 else ["--full"]))
