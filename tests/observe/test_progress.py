"""How fast it goes, and how long it will take."""

from __future__ import annotations

import anyio
import pytest

from dcmflow import Pipeline, sinks, sources
from dcmflow.flow.statistics import PipelineStatistics, StageStatistics, Statistics
from dcmflow.observe.progress import Pace, Progress, progress_line


def _statistics(**pipeline: float) -> Statistics:
    figures = dict.fromkeys(PipelineStatistics.__struct_fields__, 0) | pipeline
    return Statistics(pipeline=PipelineStatistics(**figures))  # type: ignore[arg-type]


def test_rate() -> None:
    pace = Pace()
    assert (pace.rate, pace.bytes_rate, pace.remaining(10)) == (0, 0, None)
    pace.note(1.0, 0, 0)
    pace.note(3.0, 100, 5000)
    assert pace.rate == 50
    assert pace.bytes_rate == 2500
    assert pace.remaining(200) == 2.0
    assert pace.remaining(None) is None
    assert pace.remaining(50) == 0


def test_rate_is_that_of_the_last_ten_seconds() -> None:
    pace = Pace()
    for second in range(100):
        pace.note(float(second), 1000 if second < 50 else 1000 + second - 50, 0)
    assert pace.rate == 1
    assert len(pace._seen) <= 12


def test_a_standstill_has_no_end() -> None:
    pace = Pace()
    pace.note(0.0, 5, 5)
    pace.note(60.0, 5, 5)
    assert pace.rate == 0
    assert pace.remaining(10) is None


def test_line() -> None:
    pace = Pace()
    pace.note(0.0, 0, 0)
    pace.note(10.0, 120, 10 << 20)
    statistics = _statistics(emitted=130, unsettled=10, refused=3, accepted=117, bytes=10 << 20, seconds=10.0)
    assert (
        progress_line(statistics, pace, 240)
        == "120 of 240 settled, 3 refused, 12 instances/s, 1.0 MiB/s, 10 s, 10 s remaining"
    )
    assert progress_line(statistics, pace, None).startswith("120 settled, ")
    assert "remaining" not in progress_line(statistics, pace, None)


@pytest.mark.anyio
async def test_nothing_where_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    asked = 0

    def statistics() -> Statistics:
        nonlocal asked
        asked += 1
        return _statistics()

    progress = Progress(enabled=False)
    await progress.follow(statistics)
    progress.write("a line")
    assert asked == 0
    assert capsys.readouterr().err == "a line\n"


@pytest.mark.anyio
async def test_paints_what_the_statistics_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcmflow.observe.progress.FIRST_AFTER", 0.0)
    monkeypatch.setattr("dcmflow.observe.progress.EVERY", 0.0)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    snapshots = 0
    statistics = Statistics(
        pipeline=_statistics(emitted=7, accepted=7).pipeline,
        stages={
            "made": StageStatistics(
                kind="source",
                type="synthetic",
                received=0,
                sent=7,
                dropped=0,
                refused=0,
                retried=0,
                waiting=0,
                bytes=0,
                busy=0,
            )
        },
    )
    with anyio.CancelScope() as scope:

        def count() -> Statistics:
            nonlocal snapshots
            snapshots += 1
            if snapshots == 3:
                progress.write("a line above")
                scope.cancel()
            return statistics

        progress = Progress(enabled=True, total=9)
        await progress.follow(count)
    said = capsys.readouterr().err
    assert snapshots == 3
    assert "made   source synthetic" in said
    assert "7 of 9 settled" in said
    assert "a line above" in said


@pytest.mark.anyio
async def test_the_figures_of_a_run_are_figures() -> None:
    async with Pipeline(sources.Synthetic(instances=3) | sinks.Discard()).start() as running:
        await running.wait()
    assert progress_line(running.statistics(), Pace(), 3).startswith("3 of 3 settled, ")
