"""What a plan wants of a node: a `retrieve` source that is told what, and who is to get it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Annotated, Any, ClassVar, Final

from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.level import Level
from dcmflow.dicom.record import Record
from dcmflow.net.entity import Answer
from dcmflow.sources.errand import Errand
from dcmflow.sources.retrieval import Retrieval
from dcmflow.sources.retrieve import Retrieve
from dcmflow.status import Status
from dcmflow.sync.spread import label_of

MEANT_FOR: Final[ContextVar[tuple[int, ...]]] = ContextVar("dcmflow.sync.meant_for", default=())
"""The numbers of the destinations of what is missing, while that is reported."""


class _Pulling(Retrieval):
    def __init__(self, stage: Pull, *rest: Any) -> None:
        super().__init__(stage, *rest)
        self._records: Iterable[Record] = stage.records
        self._to: Mapping[str, tuple[int, ...]] = stage.to or {}
        self._whose: dict[str, tuple[int, ...]] = {} if stage.whose is None else stage.whose

    async def work(self) -> None:
        for level in Level:
            records = [record for record in self._records if record.level is level]
            if records:
                await self.fetch(records)

    async def _settle(self, errand: Errand) -> bool:
        to = tuple(sorted({number for uid in errand.uids for number in self._to.get(uid, ())}))
        for uid in errand.arrivals.refused:
            self._whose.setdefault(uid, to)
        before = MEANT_FOR.set(to)
        try:
            return await super()._settle(errand)
        finally:
            MEANT_FOR.reset(before)

    async def deliver(self, instance: Instance) -> Answer:
        """Hand it on. The node is told Success whatever becomes of it, since nobody but our report counts that.

        Some end the whole operation at the first refusal, and then the other destinations would not get the rest.
        """
        uid, to = instance.sop_instance_uid, self._destinations(instance)
        answer = await super().deliver(instance.with_labels(**label_of(to)))
        if answer.status.accepted:
            return answer
        self._whose.setdefault(uid, to)
        return Answer(Status.SUCCESS)

    def _destinations(self, instance: Instance) -> tuple[int, ...]:
        found = self._to.get(instance.sop_instance_uid)
        for keyword in ("SeriesInstanceUID", "StudyInstanceUID"):
            if found is None:
                found = self._to.get(str(instance.header.get(keyword) or ""))
        return found or ()


class Pull(Retrieve, frozen=True):
    """Retrieves studies, series and images that were found before.

    Attributes:
        records: what is retrieved; of any level from studies down.
        to: by unique key of a record, or of what it is part of, the numbers of the destinations.
        whose: gets the same by SOP Instance UID, of what came and was not accepted.
    """

    runs: ClassVar[type[Retrieval]] = _Pulling

    records: Annotated[Any, Meta(description="Records.")] = ()
    to: Annotated[Any, Meta(description="Destinations by unique key.")] = None
    whose: Annotated[Any, Meta(description="Is told whose instances are refused.")] = None
