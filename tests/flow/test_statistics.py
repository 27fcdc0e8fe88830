"""Sums of what several runs of a pipeline have counted."""

from __future__ import annotations

from msgspec import structs

from dcmflow.flow.statistics import PipelineStatistics, StageStatistics, Statistics, total

STAGE = StageStatistics(
    kind="sink",
    type="discard",
    received=5,
    sent=3,
    dropped=1,
    refused=1,
    retried=2,
    waiting=4,
    bytes=100,
    busy=0.25,
)


def test_all_is_added_up_but_the_time() -> None:
    one = Statistics(
        pipeline=PipelineStatistics(
            emitted=9,
            accepted=3,
            dropped=2,
            refused=1,
            unsettled=3,
            not_dicom=1,
            bytes=7,
            resident=8,
            seconds=2.0,
        ),
        stages={"out": STAGE},
    )
    other = Statistics(
        pipeline=PipelineStatistics(emitted=1, unsettled=1, seconds=5.0), stages={"out": STAGE}
    )
    both = total([one, other])
    assert both.pipeline == PipelineStatistics(
        emitted=10,
        accepted=3,
        dropped=2,
        refused=1,
        unsettled=4,
        not_dicom=1,
        bytes=7,
        resident=8,
        seconds=5.0,
    )
    numbers = {
        name: 2 * value for name, value in structs.asdict(STAGE).items() if name not in ("kind", "type")
    }
    assert both.stages == {"out": structs.replace(STAGE, **numbers)}
    assert total([one]) == one


def test_of_none() -> None:
    assert total([]) == Statistics(pipeline=PipelineStatistics())
