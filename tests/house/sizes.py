"""Sizes against the aims. Files aim at 150-300 lines, above 500 they are named, above 800 they fail; headers aim
at 120; functions at 40, above 80 they fail. Run alone, it prints the whole table."""

import re

from source import read, tracked

FILE_NAMED, FILE_LIMIT, FUNCTION_AIM, FUNCTION_LIMIT, HEADER_AIM = 500, 800, 40, 80, 120


def functions(text):
    """(name, lines) of every function: in this layout its braces stand alone in the first column."""
    start, heading = None, []
    for number, line in enumerate(text.splitlines()):
        if line == "{":
            start = number
        elif line.rstrip(";") == "}" and start is not None:
            names = re.findall(r"(\w+)\(", " ".join(heading))
            if line == "}" and names:
                yield names[0], number - start + 1
            start, heading = None, []
        elif start is None:
            heading = [] if line.strip() == "" or line.startswith("#") else heading + [line]


def sources():
    return [p for p in tracked(".c", ".h") if p.parts[0] in ("src", "include", "tests")]


def problems():
    for path in sources():
        text = read(path)
        lines = text.count("\n")
        if lines > FILE_LIMIT:
            yield f"{path}: {lines} lines, at most {FILE_LIMIT}"
        for name, size in functions(text):
            if size > FUNCTION_LIMIT:
                yield f"{path}: {name} has {size} lines, at most {FUNCTION_LIMIT}"


def remark(path, lines, sizes):
    if lines > FILE_NAMED:
        return f"over {FILE_NAMED}"
    if path.suffix == ".h" and lines > HEADER_AIM:
        return f"header over {HEADER_AIM}"
    over = sum(size > FUNCTION_AIM for size in sizes)
    return f"{over} functions over {FUNCTION_AIM}" if over else ""


def table():
    total = 0
    print(f"{'lines':>6} {'functions':>9} {'longest':>7}  file")
    for path in sources():
        text = read(path)
        lines, sizes = text.count("\n"), [size for _, size in functions(text)]
        total += lines
        print(f"{lines:6} {len(sizes):9} {max(sizes, default=0):7}  {path}  {remark(path, lines, sizes)}".rstrip())
    print(f"{total:6} lines in all")


if __name__ == "__main__":
    table()
    for line in problems():
        print("FAIL", line)
