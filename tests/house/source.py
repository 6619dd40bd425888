"""The tracked files of the project, for the house checks."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tracked(*suffixes):
    """Tracked files (or, outside a git clone, all but build folders) with one of the suffixes, as paths from the root."""
    listed = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]
        names = [n for n in names if not n.startswith((".git/", "build"))]
    return [Path(n) for n in sorted(names) if (not suffixes or n.endswith(suffixes)) and (ROOT / n).is_file()]


def read(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")
