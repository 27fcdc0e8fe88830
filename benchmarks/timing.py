"""Times contenders in turn, in one run, and says how they compare.

A machine is not the same from one minute to the next, so every round runs each contender once, a different
one first each time, and contenders are compared round by round. What is printed is the median with its
quartiles.

A benchmark is a module `bench_NAME.py` with a `main(argv) -> int`:

    def main(argv: list[str]) -> int:
        options = arguments("What is measured.", argv)
        with Comparison("store", unit="instances", work=2000, options=options) as comparison:
            comparison.run({"dcmflow": send_with_dcmflow, "DCMTK": send_with_storescu})
        return 0

A contender is a function without arguments that does the work once and returns the seconds that count, so
that starting a peer is left out; `timed(function)` makes one of a function that is work from its first line
to its last. It raises `Skipped` where something it needs is not installed; that is printed too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

Contender = Callable[[], float]


class Skipped(Exception):
    """A contender cannot run here; the text says why."""


def arguments(description: str, argv: list[str]) -> argparse.Namespace:
    """The options that every benchmark has: quick, rounds, json."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a try: few rounds, figures of little weight")
    parser.add_argument("--rounds", type=int, help="times that each contender runs (7; 3 with --quick)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements to FILE")
    options = parser.parse_args(argv)
    options.rounds = options.rounds or (3 if options.quick else 7)
    return options


def timed(function: Callable[[], object]) -> Contender:
    """A contender that is work from its first line to its last."""

    def contender() -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return contender


class Comparison:
    """Tables of one benchmark, printed as they are ready and written as JSON at the end.

    Args:
        title: what is measured.
        unit: what is counted in a second, in the plural.
        work: how many of them one call of a contender does.
        options: from `arguments`.
    """

    def __init__(self, title: str, *, unit: str, work: float, options: argparse.Namespace) -> None:
        self.title, self.unit, self.work = title, unit, work
        self._rounds: int = options.rounds
        self._file: Path | None = options.json
        self._tables: list[dict[str, Any]] = []

    def __enter__(self) -> Comparison:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None and kind is None:
            content = {"title": self.title, "unit": self.unit, "tables": self._tables}
            self._file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def run(
        self,
        contenders: Mapping[str, Contender],
        *,
        case: str = "",
        work: float | None = None,
        warm_up: bool = True,
    ) -> dict[str, list[float]]:
        """Runs all contenders in turn and prints their table; the first that ran is the one to compare with.

        Args:
            contenders: by name.
            case: what is special about this table.
            work: where it differs from that of the whole comparison.
            warm_up: run each once before it counts.

        Returns:
            Per contender its rate in each round, in units per second.
        """
        work = self.work if work is None else work
        seconds, skipped = alternate(contenders, self._rounds, warm_up=warm_up)
        rates = {name: [work / taken for taken in values] for name, values in seconds.items()}
        print(f"\n{' · '.join(filter(None, (self.title, case)))} ({self._rounds} rounds)")
        print(table(rates, self.unit, skipped), flush=True)
        self._tables.append({"case": case, "work": work, "seconds": seconds, "skipped": skipped})
        return rates


def alternate(
    contenders: Mapping[str, Contender], rounds: int, *, warm_up: bool = True
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds per contender and round, and why others were skipped; each round begins with another one."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    skipped: dict[str, str] = {}
    for number in range(-1 if warm_up else 0, rounds):
        names = [name for name in contenders if name not in skipped]
        first = number % len(names) if names else 0
        for name in names[first:] + names[:first]:
            try:
                taken = contenders[name]()
            except Skipped as reason:
                skipped[name] = str(reason)
                continue
            if number >= 0:
                seconds[name].append(taken)
    return {name: values for name, values in seconds.items() if name not in skipped}, skipped


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def table(rates: Mapping[str, list[float]], unit: str, skipped: Mapping[str, str]) -> str:
    """Plain text: rates and ratios (each round against the same round of the first contender)."""
    rows = [["", f"{unit}/s", "quartiles", "ratio", "quartiles"]]
    reference = next(iter(rates.values()), [])
    for name, values in rates.items():
        low, middle, high = quartiles(values)
        ratio = quartiles([value / other for value, other in zip(values, reference, strict=True)])
        rows.append(
            [
                name,
                number(middle),
                f"{number(low)} - {number(high)}",
                f"{ratio[1]:.2f}",
                f"{ratio[0]:.2f} - {ratio[2]:.2f}",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(
        [*(f"  {line.rstrip()}" for line in lines), *(f"  {n}: skipped: {why}" for n, why in skipped.items())]
    )


def number(value: float) -> str:
    """Three digits, for a table."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
