"""The page at the end of a run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dcmflow.flow.statistics import PipelineStatistics, StageStatistics, Statistics
from dcmflow.observe.table import align, pace_line, stage_lines, sum_line, summary


def _pipeline(**figures: float) -> PipelineStatistics:
    return PipelineStatistics(**(dict.fromkeys(PipelineStatistics.__struct_fields__, 0) | figures))  # type: ignore[arg-type]


def _stage(kind: str, type: str, **figures: float) -> StageStatistics:
    numbers = dict.fromkeys(StageStatistics.__struct_fields__[2:], 0) | figures
    return StageStatistics(kind=kind, type=type, **numbers)  # type: ignore[arg-type]


STATISTICS = Statistics(
    pipeline=_pipeline(emitted=12, accepted=9, dropped=1, refused=2, not_dicom=3, bytes=6 << 20, seconds=0.5),
    stages={
        "inbox": _stage("source", "directory", sent=12, bytes=6 << 20),
        "pacs": _stage("sink", "store", received=11, sent=9, refused=2, waiting=4, bytes=1 << 20),
    },
)


def test_summary() -> None:
    assert summary("radiology", STATISTICS).splitlines() == [
        "radiology",
        "stage  type              in  out  dropped  refused     size",
        "inbox  source directory       12        0        0  6.0 MiB",
        "pacs   sink store        11    9        0        2  1.0 MiB",
        "emitted 12 = accepted 9 + dropped 1 + refused 2",
        "not DICOM 3, 6.0 MiB in 0.50 s, 24 instances/s",
    ]


def test_what_waits_is_shown_while_it_runs() -> None:
    head, source, sink = stage_lines(STATISTICS, waiting=True)
    assert head.split() == ["stage", "type", "in", "out", "dropped", "refused", "waiting", "size"]
    assert source.split() == ["inbox", "source", "directory", "12", "0", "0", "6.0", "MiB"]
    assert sink.split()[-3:] == ["4", "1.0", "MiB"]


@given(st.tuples(*[st.integers(0, 10**9)] * 4))
def test_the_sum_closes(parts: tuple[int, int, int, int]) -> None:
    accepted, dropped, refused, unsettled = parts
    line = sum_line(
        _pipeline(
            emitted=sum(parts), accepted=accepted, dropped=dropped, refused=refused, unsettled=unsettled
        )
    )
    emitted, _, right = line.partition(" = ")
    assert int(emitted.split()[1]) == sum(int(part.split()[1]) for part in right.split(" + "))
    assert ("unsettled" in line) == bool(unsettled)


def test_no_time_no_rate() -> None:
    assert pace_line(_pipeline()) == "0 B in 0.00 s"


def test_align() -> None:
    assert align([("a", "1"), ("bbb", "22")], text_columns=1) == ["a     1", "bbb  22"]
