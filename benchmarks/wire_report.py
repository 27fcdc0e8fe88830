"""What the runs of a case say: a table, and the floors that dcmflow is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from timing import Skipped, number, quartiles
from wire_process import Failed
from wire_runs import Run

MEGA = 1e6
OURS = "dcmflow"


@dataclass(frozen=True)
class Floor:
    """What dcmflow must reach at least.

    Args:
        case: the name of a case, or the beginning of some.
        least: times the rate of `against`, or instances a second where there is nobody to compare with.
        against: another contender of the case.
    """

    case: str
    least: float
    against: str | None = None


FLOORS = (
    *(
        Floor(f"receive:{name}:1:{by}", 1.0, "storescp")
        for name in ("SMALL", "CT", "BIG")
        for by in ("storescu", "blast")
    ),
    Floor("receive:SMALL:1:shipped", 400),
    Floor("receive:SMALL:8", 1.0, "storescp --fork"),
    Floor("receive:SMALL:64", 1.5, "storescp --fork"),
    Floor("receive:SMALL:1:storescu", 6.0, "pynetdicom"),
    Floor("receive:SMALL:1:blast", 6.0, "pynetdicom"),
    Floor("receive:CT:1", 3.0, "pynetdicom"),
    Floor("send", 1.0, "storescu"),
    Floor("forward:CT:1:storescu", 0.7, "direct"),
    Floor("forward:CT:4:storescu", 0.9, "direct"),
)
MOST_ANON = {"BIG": 150e6}


@dataclass
class Result:
    """All rounds of one case: per contender its runs, an error in place of a run that failed."""

    name: str
    title: str
    runs: dict[str, list[Run | str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def set(self) -> str:
        return self.name.split(":")[1]

    @property
    def unit(self) -> str:
        """What a rate counts: instances, and MB where they are large."""
        return "MB" if self.set == "BIG" else "instances"

    def rate(self, run: Run) -> float:
        """Units a second."""
        return (run.bytes / MEGA if self.unit == "MB" else run.instances) / run.seconds

    def rates(self, name: str) -> list[float]:
        """Of the rounds that went well."""
        return [self.rate(run) for run in self.runs.get(name, ()) if isinstance(run, Run)]

    def ratios(self, name: str, against: str) -> list[float]:
        """Round by round, where both went well."""
        pairs = zip(self.runs.get(name, ()), self.runs.get(against, ()), strict=False)
        return [
            self.rate(run) / self.rate(other)
            for run, other in pairs
            if isinstance(run, Run) and isinstance(other, Run)
        ]

    def failures(self) -> list[str]:
        """One line for each contender that failed."""
        found = []
        for name, runs in self.runs.items():
            errors = [run for run in runs if isinstance(run, str)]
            if errors:
                found.append(f"{name}: {len(errors)} of {len(runs)} rounds failed: {errors[-1]}")
        return found

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        runs = {
            name: [run if isinstance(run, str) else asdict(run) for run in runs]
            for name, runs in self.runs.items()
        }
        floors = [asdict(verdict) for verdict in verdicts(self)]
        plain = {"name": self.name, "title": self.title, "unit": self.unit, "skipped": self.skipped}
        return {**plain, "runs": runs, "floors": floors}


def alternate(
    result: Result, contenders: Mapping[str, Callable[[], Run]], rounds: int, say: Callable[[str], None]
) -> None:
    """Runs all contenders in turn, each round begins with another one; a failed run is noted, others go on.

    A contender that fails twice is not tried again.
    """
    for turn in range(rounds):
        names = [name for name in contenders if name not in result.skipped]
        first = turn % len(names) if names else 0
        for name in names[first:] + names[:first]:
            runs = result.runs.setdefault(name, [])
            if sum(isinstance(run, str) for run in runs) >= 2:
                continue
            say(f"{result.name}: round {turn + 1} of {rounds}: {name}")
            try:
                runs.append(contenders[name]())
            except Failed as error:
                runs.append(str(error))
            except Skipped as reason:
                result.skipped[name] = str(reason)
                del result.runs[name]
    result.runs = {name: result.runs[name] for name in contenders if name in result.runs}


def table(result: Result) -> str:
    """Plain text: rates, ratios to the first contender, what an instance costs, memory."""
    rows = [["", f"{result.unit}/s", "quartiles", "ratio", "quartiles", "server", "client", "anon", "peak"]]
    reference = next(iter(result.runs), "")
    for name, runs in result.runs.items():
        good = [run for run in runs if isinstance(run, Run)]
        if not good:
            rows.append([name, "failed", *[""] * 7])
            continue
        ratios = result.ratios(name, reference)
        rows.append(
            [
                name,
                *_median_and_spread(result.rates(name), number),
                *(_median_and_spread(ratios, "{:.2f}".format) if ratios else ("", "")),
                *(_cost([run.server_cpu / run.instances for run in good])),
                *(_cost([run.client_cpu / run.instances for run in good])),
                f"{max(run.anon for run in good) / MEGA:.0f} MB",
                f"{max(run.peak for run in good) / MEGA:.0f} MB",
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
    notes = [f"{name}: skipped: {why}" for name, why in result.skipped.items()]
    notes += [*result.failures(), *map(str, verdicts(result))]
    return "\n".join([*(f"  {line.rstrip()}" for line in lines), *(f"  {note}" for note in notes)])


def _median_and_spread(values: list[float], text: Callable[[float], str]) -> tuple[str, str]:
    low, middle, high = quartiles(values)
    return text(middle), f"{text(low)} - {text(high)}"


def _cost(values: list[float]) -> list[str]:
    """Processor time of an instance."""
    return [f"{quartiles(values)[1] * 1000:.3g} ms"]


@dataclass(frozen=True)
class Verdict:
    """A floor, and what was reached (None: it could not be measured)."""

    subject: str
    what: str
    least: float
    reached: float | None
    met: bool

    def __str__(self) -> str:
        reached = "not measured" if self.reached is None else f"{self.reached:.3g}"
        return f"{'ok  ' if self.met else 'MISS'} {self.subject}: {self.what} {self.least:g}: {reached}"


def verdicts(result: Result) -> list[Verdict]:
    """One for each floor of the case and each contender of ours that was not skipped."""
    found = []
    for name in result.runs:
        if not name.startswith(OURS):
            continue
        for floor in FLOORS:
            if not matches(result.name, floor.case) or floor.against in result.skipped:
                continue
            values = result.ratios(name, floor.against) if floor.against else result.rates(name)
            reached = quartiles(values)[1] if values else None
            what = f"at least × {floor.against}" if floor.against else f"at least, {result.unit}/s"
            found.append(
                Verdict(name, what, floor.least, reached, reached is not None and reached >= floor.least)
            )
        most = MOST_ANON.get(result.set)
        good = [run.anon for run in result.runs[name] if isinstance(run, Run)]
        if most is not None:
            anon = max(good, default=None)
            met = anon is not None and anon < most
            what = "anonymous memory below, MB"
            found.append(Verdict(name, what, most / MEGA, None if anon is None else anon / MEGA, met))
    return found


def matches(case: str, wanted: str) -> bool:
    """Whether a case has this name, or its name begins so: `receive:SMALL` is all of its cases."""
    parts = wanted.split(":")
    return case.split(":")[: len(parts)] == parts
