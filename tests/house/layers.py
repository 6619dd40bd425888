"""The layer rule: a file includes headers of its own folder and of folders in lower rows, never sideways or
upward. weirctl stands beside all this and uses util alone."""

import re

from source import read, tracked

ROWS = [{"util"}, {"wire", "auth", "sql", "stats"}, {"config", "track"}, {"net"}, {"control"}, {"pool", "cache"},
        {"session"}, {"admin"}, {"app"}]
ROW_OF = {folder: row for row, folders in enumerate(ROWS) for folder in folders}
INCLUDE = re.compile(r'^\s*#\s*include\s+[<"](?:weir/)([^">]+)[">]', re.M)
LOCAL = re.compile(r'^\s*#\s*include\s+"(?!weir/)([^"]+)"', re.M)


def layer_of(path):
    """The folder of a source or public header; "" for main and app, which may use everything."""
    parts = path.parts
    inner = parts[1:] if parts[0] == "src" else parts[2:]
    return inner[0] if len(inner) > 1 else ""


def may_use(layer, used):
    if layer in ("", used):
        return True
    if layer == "ctl":
        return used == "util"
    return used in ROW_OF and ROW_OF[used] < ROW_OF[layer]


def problems():
    for path in tracked(".c", ".h"):
        if path.parts[0] not in ("src", "include"):
            continue
        layer = layer_of(path)
        if layer not in ROW_OF and layer not in ("", "ctl"):
            yield f"{path}: folder {layer} is in no row of the layers"
            continue
        for header in INCLUDE.findall(read(path)):
            used = header.split("/")[0] if "/" in header else ""
            if used == "" and layer not in ("", "app"):
                yield f"{path}: includes {header} of the process above it"
            elif used and not may_use(layer, used):
                yield f"{path}: {layer} may not include {header}"
        for header in LOCAL.findall(read(path)):
            if header.endswith(".c") or "/" in header:
                yield f"{path}: includes {header}"
