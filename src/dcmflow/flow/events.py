"""What is worth a line in a log. Frozen values, given to observers as they happen.

An observer is a function of one event; it must not block and must not raise. What only needs counting is in
`running.statistics()`; an event exists when an operator would want a line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct, structs

from dcmflow.status import Status


class Event(Struct, frozen=True, kw_only=True):
    """Base of all events. `level` is that of the log line."""

    level = "info"

    def facts(self) -> dict[str, Any]:
        """What happened, by name, without what is empty."""
        return {
            key: str(value) if isinstance(value, Status) else value
            for key, value in structs.asdict(self).items()
            if value not in (None, "")
        }


class PipelineStarted(Event, frozen=True, kw_only=True):
    """All stages are open; instances start to move."""

    pipeline: str
    stages: int


class PipelineDraining(Event, frozen=True, kw_only=True):
    """Sources take on nothing more; what is admitted settles."""

    pipeline: str
    unsettled: int


class PipelineCancelled(Event, frozen=True, kw_only=True):
    """Ended before its instances had settled; these were refused."""

    level = "warning"

    pipeline: str
    refused: int


class PipelineFinished(Event, frozen=True, kw_only=True):
    """All stages are closed."""

    pipeline: str
    emitted: int
    accepted: int
    dropped: int
    refused: int
    not_dicom: int
    seconds: float


class StageOpened(Event, frozen=True, kw_only=True):
    """A stage has what it needs."""

    level = "debug"

    stage: str
    type: str


class StageFailed(Event, frozen=True, kw_only=True):
    """A stage could not open, or its actor died; the pipeline stops."""

    level = "error"

    stage: str
    reason: str


class InstanceRefused(Event, frozen=True, kw_only=True):
    """A stage did not accept an instance. `path` is where it came from, where that is known."""

    level = "warning"

    stage: str
    sop_instance_uid: str
    status: Status
    reason: str
    path: str | None = None
    required: bool = True


class InstanceSkipped(Event, frozen=True, kw_only=True):
    """An instance failed at a stage whose `on-error` is `skip`; it goes no further and is not refused."""

    level = "warning"

    stage: str
    sop_instance_uid: str
    status: Status
    reason: str
    path: str | None = None


class InstanceDiverted(Event, frozen=True, kw_only=True):
    """An instance failed at a stage whose `on-error` names a sink, and was handed to that sink."""

    level = "warning"

    stage: str
    sop_instance_uid: str
    status: Status
    reason: str
    to: str
    path: str | None = None


class VersionKept(Event, frozen=True, kw_only=True):
    """A sink has another version of this SOP Instance and keeps that one: accepted, but not stored."""

    level = "warning"

    stage: str
    sop_instance_uid: str
    reason: str
    path: str | None = None


class RetryScheduled(Event, frozen=True, kw_only=True):
    """A transient error; the same instance will be tried again."""

    stage: str
    sop_instance_uid: str
    reason: str
    attempts: int


class NotDicomFound(Event, frozen=True, kw_only=True):
    """A source came across something that is not DICOM, counted it and passed it over."""

    level = "debug"

    stage: str
    path: str


class AssociationRejected(Event, frozen=True, kw_only=True):
    """Somebody called and was rejected."""

    level = "warning"

    stage: str
    peer: str
    reason: str


class AssociationEnded(Event, frozen=True, kw_only=True):
    """An association ended otherwise than by release: aborted, timed out, connection lost."""

    level = "warning"

    stage: str
    peer: str
    reason: str


class AssociationIdle(Event, frozen=True, kw_only=True):
    """An association was not used for so long that it was ended."""

    stage: str
    peer: str
    reason: str


class AssociationFailed(Event, frozen=True, kw_only=True):
    """What came on an association made an error that nobody had thought of; other associations go on."""

    level = "error"

    stage: str
    peer: str
    reason: str


class Warned(Event, frozen=True, kw_only=True):
    """Something an operator should know and the pipeline can live with."""

    level = "warning"

    stage: str
    message: str
    path: str | None = None


Observer = Callable[[Event], None]
