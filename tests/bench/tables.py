"""How the bench shows what it has found."""

import json
import statistics


def table(heads, rows):
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print(flush=True)


def curve(title, across, up, places, lines):
    """The same as a chart that Markdown viewers draw (mermaid): `lines` is {name: values at the places}."""
    if len(places) < 2:
        return
    top = max(value for values in lines.values() for value in values)
    print("```mermaid\nxychart-beta")
    print(f'    title "{title}"')
    print(f'    x-axis "{across}" [{", ".join(map(json.dumps, places))}]')
    print(f'    y-axis "{up}" 0 --> {top * 1.05:.4g}')
    for name, values in lines.items():
        print(f'    line "{name}" [{", ".join(f"{value:.4g}" for value in values)}]')
    print("```\n" + "; ".join(f"line {i}: {name}" for i, name in enumerate(lines, 1)) + ".\n", flush=True)


def middle(values, digits=2):
    return f"{statistics.median(values):.{digits}f}" if values else "-"


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})" if values else "-"
