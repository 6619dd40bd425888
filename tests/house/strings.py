"""What must not stand in the repository: paths of somebody's workplace, hosts of package registries, unfinished
work, and lines too long to read."""

import re

from source import read, tracked

FORBIDDEN = [
    ("a path of a workplace", re.compile(r"(?<![\w.])/(?:work|root|home/\w+|Users/\w+)/[\w.-]")),
    ("a package registry", re.compile(r"https?://[^\s\"']*(?:registry|pypi|artifactory|nexus|npmjs|proxy)", re.I)),
    ("unfinished work", re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")),
]
BINARY = (".png", ".jpg", ".svg", ".ico", ".pem", ".crt", ".key")


def is_text(path):
    return "corpus" not in path.parts and path.suffix not in BINARY


def problems():
    for path in tracked():
        if not is_text(path):
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            for what, pattern in FORBIDDEN:
                if pattern.search(line):
                    yield f"{path}:{number}: {what}: {line.strip()[:100]}"
