"""Draws what bench_wire.py measured as SVG: `python wire_plot.py RESULTS.json PICTURE.svg`.

A panel for each case, a bar for each contender, as long as its median rate; the thin line is from the lower to the
upper quartile.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from timing import quartiles

WIDTH, NAMES, BARS = 760, 150, 440
ROW, BAR, TITLE, GAP = 20, 13, 30, 10
COLOURS = {
    "dcmflow": "#0b7285",
    "storescp": "#868e96",
    "storescu": "#868e96",
    "dcmsend": "#868e96",
    "direct": "#868e96",
}
OTHER = "#ced4da"
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #212529 }
.title { font-weight: 600 }
.ours { font-weight: 600; fill: #0b7285 }
.small { font-size: 10px; fill: #868e96 }
.spread { stroke: #212529; stroke-width: 1 }
.paper { fill: #ffffff }
"""


def draw(content: dict[str, Any]) -> str:
    """The text of an SVG file.

    Args:
        content: what `bench_wire.py --json` writes.
    """
    parts: list[str] = []
    top = GAP
    for case in content["cases"]:
        rates = dict(_rates(case))
        if rates:
            parts += _panel(case, rates, top)
            top += TITLE + ROW * len(rates) + GAP
    for line in content["machine"]:
        top += 14
        parts.append(_text(GAP, top, " ".join(line.split()), "small"))
    size = f'width="{WIDTH}" height="{top + GAP}" viewBox="0 0 {WIDTH} {top + GAP}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="Rates over the wire">'
    paper = f'<rect class="paper" width="{WIDTH}" height="{top + GAP}"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", paper, *parts, "</svg>", ""])


def _rates(case: dict[str, Any]) -> Iterator[tuple[str, list[float]]]:
    for name, runs in case["runs"].items():
        good = [run for run in runs if isinstance(run, dict)]
        rates = [
            (run["bytes"] / 1e6 if case["unit"] == "MB" else run["instances"]) / run["seconds"]
            for run in good
        ]
        if rates:
            yield name, rates


def _panel(case: dict[str, Any], rates: dict[str, list[float]], top: int) -> Iterator[str]:
    yield _text(GAP, top + 18, f"{case['title']} ({case['unit']}/s)", "title")
    longest = max(quartiles(values)[2] for values in rates.values())
    for number, (name, values) in enumerate(rates.items()):
        y = top + TITLE + ROW * number
        low, middle, high = (value / longest * BARS for value in quartiles(values))
        colour = next((colour for begin, colour in COLOURS.items() if name.startswith(begin)), OTHER)
        label = "ours" if name.startswith("dcmflow") else ""
        yield _text(NAMES, y + 10, name, label, end=True)
        yield f'<rect x="{NAMES + GAP}" y="{y}" width="{middle:.1f}" height="{BAR}" fill="{colour}"/>'
        if len(values) > 1:
            x, half = NAMES + GAP, y + BAR / 2
            yield f'<line class="spread" x1="{x + low:.1f}" x2="{x + high:.1f}" y1="{half}" y2="{half}"/>'
        yield _text(
            NAMES + GAP + round(max(middle, high)) + 6, y + 10, f"{statistics.median(values):,.0f}", label
        )


def _text(x: int, y: int, text: str, css: str, *, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x}" y="{y}" class="{css}"{anchor}>{escape(text)}</text>'


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(draw(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8")
