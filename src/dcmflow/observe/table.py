"""A run as lines of text: the table of its stages, and the sum that closes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dcmflow.observe.figures import Figures, PipelineFigures, StageFigures
from dcmflow.units import format_duration, format_size

_HEAD = ("stage", "type", "in", "out", "dropped", "refused", "waiting", "size")
_TEXT_COLUMNS = 2


def stage_lines(figures: Figures, *, waiting: bool = False) -> list[str]:
    """One line per stage under a heading.

    Args:
        waiting: with what waits in the inboxes, which is of interest while it runs.
    """
    rows = [_HEAD, *(_row(name, stage) for name, stage in figures.stages.items())]
    if not waiting:
        rows = [(*row[:6], row[7]) for row in rows]
    return align(rows, text_columns=_TEXT_COLUMNS)


def _row(name: str, stage: StageFigures) -> tuple[str, ...]:
    is_source = stage.kind == "source"
    return (
        name,
        f"{stage.kind} {stage.type}",
        "" if is_source else str(stage.received),
        str(stage.sent),
        str(stage.dropped),
        str(stage.refused),
        "" if is_source else str(stage.waiting),
        format_size(stage.bytes),
    )


def sum_line(pipeline: PipelineFigures) -> str:
    """`emitted 12 = accepted 10 + dropped 0 + refused 2`, and what is unsettled where anything is."""
    text = (
        f"emitted {pipeline.emitted} = accepted {pipeline.accepted} + dropped {pipeline.dropped}"
        f" + refused {pipeline.refused}"
    )
    return f"{text} + unsettled {pipeline.unsettled}" if pipeline.unsettled else text


def pace_line(pipeline: PipelineFigures) -> str:
    """`not DICOM 3, 6.0 MiB in 0.31 s, 38 instances/s`."""
    parts = [f"not DICOM {pipeline.not_dicom}"] if pipeline.not_dicom else []
    parts.append(f"{format_size(pipeline.bytes)} in {format_duration(pipeline.seconds)}")
    if pipeline.seconds > 0:
        settled = pipeline.emitted - pipeline.unsettled
        parts.append(f"{format_rate(settled / pipeline.seconds)} instances/s")
    return ", ".join(parts)


def summary(name: str, figures: Figures) -> str:
    """The whole page at the end of a run."""
    lines = [name, *stage_lines(figures), sum_line(figures.pipeline), pace_line(figures.pipeline)]
    return "\n".join(lines)


def format_rate(per_second: float) -> str:
    return f"{per_second:.0f}" if per_second >= 10 else f"{per_second:.1f}"


def align(rows: Iterable[Sequence[str]], *, text_columns: int) -> list[str]:
    """Columns two blanks apart, the first ones to the left, those with numbers to the right."""
    rows = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number < text_columns else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
