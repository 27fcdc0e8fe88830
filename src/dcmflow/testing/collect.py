"""A source that gives what it was made with, and a sink that keeps what it was given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from msgspec import Meta, field

from dcmflow.dicom.instance import Instance
from dcmflow.flow.context import Context, Emit
from dcmflow.flow.stage import Sink, Source


class Feed(Source, frozen=True, tag="testing-feed"):
    """Emits instances that it was made with, and ends."""

    instances: Annotated[Any, Meta(description="The instances.")] = ()

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Feed]:
        yield self

    async def run(self, emit: Emit) -> None:
        for instance in self.instances:
            await emit(instance)


class Collect(Sink, frozen=True, tag="testing-collect"):
    """Accepts instances and keeps them in `seen`."""

    seen: Annotated[Any, Meta(description="The list they are added to.")] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Collect]:
        yield self

    async def write(self, instance: Instance) -> None:
        self.seen.append(instance)
