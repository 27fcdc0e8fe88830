"""What a plan wants of a node: a `retrieve` source that is told what, and who is to get it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.dicom.level import Level
from dcmflow.dicom.record import Record
from dcmflow.errors import ConfigError
from dcmflow.flow.context import Context
from dcmflow.flow.stage import SinkActor
from dcmflow.net.entity import Answer
from dcmflow.net.listener import Listener
from dcmflow.net.node import Local
from dcmflow.net.pool import Pool
from dcmflow.sources.retrieval import Retrieval
from dcmflow.sources.retrieve import Retrieve
from dcmflow.sync.spread import label_of


class Pull(Retrieve, frozen=True):
    """Retrieves studies, series and images that were found before.

    Attributes:
        records: what is retrieved; of any level from studies down.
        to: by unique key of a record, or of what it is part of, the numbers of the destinations.
    """

    records: Annotated[Any, Meta(description="Records.")] = ()
    to: Annotated[Any, Meta(description="Destinations by unique key.")] = None

    def actor(
        self,
        context: Context,
        pool: Pool,
        place: Local,
        listener: Listener | ConfigError | None,
        quarantine: SinkActor | None,
    ) -> Retrieval:
        return _Pulling(self, context, pool, place, listener, quarantine)


class _Pulling(Retrieval):
    def __init__(self, stage: Pull, *rest: Any) -> None:
        super().__init__(stage, *rest)
        self._records: Iterable[Record] = stage.records
        self._to: Mapping[str, tuple[int, ...]] = stage.to or {}

    async def work(self) -> None:
        for level in Level:
            records = [record for record in self._records if record.level is level]
            if records:
                await self.fetch(records)

    async def deliver(self, instance: Instance) -> Answer:
        return await super().deliver(instance.with_labels(**label_of(self._destinations(instance))))

    def _destinations(self, instance: Instance) -> tuple[int, ...]:
        found = self._to.get(instance.sop_instance_uid)
        for keyword in ("SeriesInstanceUID", "StudyInstanceUID"):
            if found is None:
                found = self._to.get(str(instance.header.get(keyword) or ""))
        return found or ()
