"""What `dcmflow sync` says: the plan, what became of it, and the exit code."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dcmflow.cli import common
from dcmflow.cli.common import DONE, NOTHING_TRIED, SOME_FAILED, notice, options, print_json, say, warn
from dcmflow.cli.failure import printable
from dcmflow.errors import ConfigError
from dcmflow.observe.table import align

if TYPE_CHECKING:
    from dcmflow.sync.plan import Plan, Transfer
    from dcmflow.sync.report import Report, Result

_REASONS: Final = 5  # that are shown of a destination
_NAMED: Final = 3  # instances that are named with a reason


def shown(name: str) -> str:
    """A place for people: what lies in the working directory is named from there."""
    here = os.getcwd()
    if os.path.isabs(name) and os.path.commonpath([here, name]) == here and here != "/":
        return os.path.join(".", os.path.relpath(name, here))
    return name


def show_plan(plan: Plan, format: str) -> int:
    """Write a plan; returns the exit code."""
    tell_notes(plan)
    if format == "json":
        print(plan.to_json())
    else:
        for line in _plan_lines(plan):
            print(printable(line, lines=False))
    sys.stdout.flush()
    return lost_code(plan) if plan.lost else DONE


def lost_code(plan: Plan) -> int:
    """The exit code where sources could not be asked: whether there was any other."""
    return SOME_FAILED if plan.sources else NOTHING_TRIED


def tell_notes(plan: Plan) -> None:
    """What a person should know before anything moves."""
    for name, reason in plan.lost.items():
        text = f"{shown(name)} could not be asked, and what it has does not come: {reason}"
        notice("error", printable(text, lines=False))
    if not options().quiet:
        for note in plan.notes:
            warn(printable(note, lines=False))


def _plan_lines(plan: Plan) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("destination", "wanted", "present", "lacking")]
    for name, tally in plan.tallies.items():
        rows.append((shown(name), *map(_number, (tally.wanted, tally.present, tally.lacking))))
    yield from align(rows, text_columns=1)
    yield ""
    if not plan.transfers:
        yield "nothing to do"
        return
    several = len(plan.destinations) > 1
    head = ("level", "patient", "study or series", "images", "from", *(("to",) if several else ()))
    rows = [head, *(_row(transfer, several) for transfer in plan.transfers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if number == 3 else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _row(transfer: Transfer, several: bool) -> tuple[str, ...]:
    made = (
        transfer.level,
        transfer.path[0] or "(no ID)",
        transfer.path[-1],
        _number(transfer.count),
        shown(transfer.source),
    )
    return (*made, ", ".join(map(shown, transfer.to))) if several else made


def _number(count: int | None) -> str:
    return "?" if count is None else str(count)


def show_report(report: Report, plan: Plan, file: Path | None, format: str, *, interrupted: bool) -> int:
    """Write what became of it; returns the exit code of a sync that was not interrupted."""
    code = SOME_FAILED if report.failed or plan.lost else DONE
    plain = as_json(report, plan, interrupted=interrupted)
    if file is not None:
        try:
            text = json.dumps(plain, indent=2, ensure_ascii=False)
            file.write_bytes(text.encode("utf-8", "backslashreplace") + b"\n")  # as names of files can be
        except OSError as error:
            notice("error", f"the report cannot be written: {file}: {error.strerror or error}")
            code = SOME_FAILED
    try:
        if format == "json":
            print_json(plain)
        elif not options().quiet:
            rows = ((shown(name), *rest) for name, *rest in report.rows())
            for line in align(rows, text_columns=1):
                print(printable(line, lines=False))
        sys.stdout.flush()
    except BrokenPipeError:
        common.discard(sys.stdout)
    for name, result in report.destinations.items():
        _tell_failures(name, result, written=file is not None)
        if result.skipped:
            say(
                printable(
                    f"dcmflow: {result.skipped} for {shown(name)} were not tried: run it again", lines=False
                )
            )
    return code


def as_json(report: Report, plan: Plan, *, interrupted: bool) -> dict[str, Any]:
    """The report, with what it was about."""
    return {**report.plain(), "sources": list(plan.sources), "lost": plan.lost, "interrupted": interrupted}


def _tell_failures(name: str, result: Result, *, written: bool) -> None:
    by_reason: dict[str, list[str]] = {}
    for failure in result.failures:
        by_reason.setdefault(failure.reason, []).append(failure.uid)
    counts = Counter({reason: len(uids) for reason, uids in by_reason.items()})
    for reason, count in counts.most_common(_REASONS):
        uids = [uid for uid in by_reason[reason] if uid]
        named = ", ".join(uids[:_NAMED]) + (f" and {len(uids) - _NAMED} more" if len(uids) > _NAMED else "")
        what = f"{count} failed for {shown(name)}" if uids else f"failed for {shown(name)}"
        text = f"{what}: {reason}" + (f" ({named})" if named else "")
        notice("error", printable(text, lines=False))
    if len(counts) > _REASONS:
        where = "the report" if written else "--report FILE"
        notice("error", f"and {len(counts) - _REASONS} more reasons, see {where}")


def check_report(file: Path) -> None:
    """Raise ConfigError unless a report can be written to this file; nobody is called before that is known."""
    try:
        with file.open("ab"):
            pass
    except OSError as error:
        raise ConfigError(f"--report {file} cannot be written: {error.strerror or error}") from None
