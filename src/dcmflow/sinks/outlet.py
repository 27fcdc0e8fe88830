"""Where the embedding program takes instances out."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import anyio

from dcmflow.dicom.instance import Instance
from dcmflow.errors import Refused, StageError
from dcmflow.flow.context import Context
from dcmflow.flow.stage import Sink


class Outlet(Sink, frozen=True):
    """Gives instances to the program that runs the pipeline.

    `async with running.outlet(outlet) as instances: async for instance in instances: ...`. An instance is accepted when the
    next one is asked for. Leaving the block early refuses the one at hand and those that come until there is another reader;
    before the first reader, instances wait.
    """

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        actor = _Actor(context.stage)
        try:
            yield actor
        finally:
            actor.end()


class _Handed:
    """An instance on its way to a reader."""

    __slots__ = ("done", "instance", "outcome")

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.outcome: Literal["accepted", "refused", None] = None
        self.done = anyio.Event()

    def settle(self, outcome: Literal["accepted", "refused"]) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.done.set()


class _Actor:
    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: deque[_Handed] = deque()
        self._arrived = anyio.Event()
        self._reader: _Reader | None = None
        self._left = False
        self._ended = False

    async def write(self, instance: Instance) -> None:
        if self._left:
            raise self._nobody()
        handed = _Handed(instance)
        self._waiting.append(handed)
        self._arrived.set()
        try:
            await handed.done.wait()
        finally:
            if handed in self._waiting:  # cancelled before anybody saw it
                self._waiting.remove(handed)
        if handed.outcome == "refused":
            raise self._nobody()

    def _nobody(self) -> Refused:
        return Refused(f"nobody reads from outlet {self._name!r} any more", transient=True)

    def end(self) -> None:
        """No more will come."""
        self._ended = True
        self._arrived.set()

    @asynccontextmanager
    async def instances(self) -> AsyncIterator[_Reader]:
        """The instances as an iterator; one reader at a time. Raises StageError when there is one already."""
        if self._reader is not None:
            raise StageError(f"outlet {self._name!r} has a reader already", stage=self._name)
        self._reader = reader = _Reader(self)
        self._left = False
        try:
            yield reader
        finally:
            self._reader = None
            self._left = True
            for handed in (reader.at_hand, *self._waiting):
                if handed is not None:
                    handed.settle("refused")
            self._waiting.clear()

    async def next(self) -> _Handed | None:
        while not self._waiting:
            if self._ended:
                return None
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._waiting.popleft()


class _Reader:
    """Iterates over the instances of an outlet."""

    def __init__(self, actor: _Actor) -> None:
        self._actor = actor
        self.at_hand: _Handed | None = None

    def __aiter__(self) -> _Reader:
        return self

    async def __anext__(self) -> Instance:
        if self.at_hand is not None:
            self.at_hand.settle("accepted")
            self.at_hand = None
        handed = await self._actor.next()
        if handed is None:
            raise StopAsyncIteration
        self.at_hand = handed
        return handed.instance
