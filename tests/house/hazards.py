"""Every hazard that is promised to be met has a test with its number in its name."""

import re

from source import read, tracked

PROMISED = [f"p{n:02}" for n in (*range(1, 16), 17, 18, *range(20, 28))]
PROMISED += [f"c{n:02}" for n in (*range(1, 6), 7, 8, 10, 12, *range(14, 19), *range(20, 24), *range(26, 32))]
NAMED = re.compile(r"\btest_([pc]\d\d)_")


def problems():
    found = set()
    for path in tracked(".py", ".c"):
        if path.parts[0] == "tests":
            found.update(NAMED.findall(read(path)))
    for number in PROMISED:
        if number not in found:
            yield f"no test is named test_{number}_…"
