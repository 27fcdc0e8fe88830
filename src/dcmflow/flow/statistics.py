"""Counters are plain integers kept by the actors; statistics are a snapshot of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from msgspec import Struct, field, structs

T = TypeVar("T", bound=Struct)


class Counters:
    """What one stage counts while it runs."""

    __slots__ = ("busy", "bytes", "dropped", "received", "refused", "retried", "sent")

    def __init__(self) -> None:
        self.received: int = 0
        self.sent: int = 0
        self.dropped: int = 0
        self.refused: int = 0
        self.retried: int = 0
        self.bytes: int = 0
        self.busy: float = 0.0


class StageStatistics(Struct, frozen=True, kw_only=True, rename={"received": "in", "sent": "out"}):
    """One stage.

    Attributes:
        received: instances it was given.  sent: handed on; at a sink: accepted.
        dropped: let fall, skipped ones included.  refused: failed here, diverted ones included.
        retried: attempts beyond the first.  waiting: instances in its inbox now.
        bytes: encoded bytes of what it was given (a source: gave).
        busy: seconds its workers spent on instances, summed over workers.
    """

    kind: str
    type: str
    received: int
    sent: int
    dropped: int
    refused: int
    retried: int
    waiting: int
    bytes: int
    busy: float


class PipelineStatistics(Struct, frozen=True, kw_only=True):
    """The whole pipeline: emitted == accepted + dropped + refused + unsettled.

    Attributes:
        resident: bytes held in memory for what is unsettled.  seconds: since all stages were open.
    """

    emitted: int = 0
    accepted: int = 0
    dropped: int = 0
    refused: int = 0
    unsettled: int = 0
    not_dicom: int = 0
    bytes: int = 0
    resident: int = 0
    seconds: float = 0.0


class Statistics(Struct, frozen=True, kw_only=True):
    """A snapshot of a run."""

    pipeline: PipelineStatistics
    stages: Mapping[str, StageStatistics] = field(default_factory=dict)


def total(several: Sequence[Statistics]) -> Statistics:
    """What runs of the same pipeline have counted together. Its seconds are those of the longest."""
    if not several:
        return Statistics(pipeline=PipelineStatistics())
    pipelines = [each.pipeline for each in several]
    return Statistics(
        pipeline=structs.replace(_sum(pipelines), seconds=max(each.seconds for each in pipelines)),
        stages={name: _sum([each.stages[name] for each in several]) for name in several[0].stages},
    )


def _sum(several: Sequence[T]) -> T:
    """Adds up what are numbers, and takes the rest from the first one."""
    first = several[0]
    numbers = [name for name, value in structs.asdict(first).items() if isinstance(value, (int, float))]
    return structs.replace(first, **{name: sum(getattr(each, name) for each in several) for name in numbers})
