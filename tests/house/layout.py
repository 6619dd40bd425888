"""clang-format decides the layout of C."""

import subprocess

from source import ROOT, tracked


def problems():
    paths = [str(p) for p in tracked(".c", ".h")]
    found = subprocess.run(["clang-format", "--dry-run", "--ferror-limit=1", *paths], cwd=ROOT,
                           capture_output=True, text=True)
    for line in found.stderr.splitlines():
        if "warning:" in line or "error:" in line:
            yield line
