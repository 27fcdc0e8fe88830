"""A router for a plan: an instance goes to the destinations that its label names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Final

from msgspec import Meta

from dcmflow.dicom.instance import Instance
from dcmflow.flow.context import Context
from dcmflow.flow.stage import Router

LABEL: Final = "sync.to"
"""The label, with the numbers of destinations in it: `0 2`."""


def label_of(to: Iterable[int]) -> dict[str, str]:
    """The label for these destinations."""
    return {LABEL: " ".join(map(str, to))}


class Spread(Router, frozen=True):
    """Sends each instance to the destinations that its label names."""

    destinations: Annotated[tuple[int, ...], Meta(description="The numbers of those who lack something.")]

    def branches(self) -> frozenset[str] | None:
        return frozenset(map(str, self.destinations))

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        yield _Actor()


class _Actor:
    async def choose(self, instance: Instance) -> Iterable[str]:
        return instance.labels.get(LABEL, "").split()
