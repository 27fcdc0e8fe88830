"""Where the embedding program puts instances in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio
from anyio import BrokenResourceError, ClosedResourceError

from dcmflow.dicom.instance import Instance
from dcmflow.flow.context import Context, Draining, Emit
from dcmflow.flow.delivery import Receipt
from dcmflow.flow.stage import Source


class Inlet(Source, frozen=True):
    """Takes instances from the program that runs the pipeline: `receipt = await running.send(inlet, instance)`.

    It ends by `running.close(inlet)`, or when the pipeline drains.
    """

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        actor = _Actor(context)
        try:
            yield actor
        finally:
            actor.close()
            actor.end()


class _Actor:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._emit: Emit | None = None
        self._ready = anyio.Event()
        self._closed = anyio.Event()
        self._sending = 0
        self._idle = anyio.Event()

    async def run(self, emit: Emit) -> None:
        self._emit = emit
        self._ready.set()
        try:
            await self._closed.wait()
            while self._sending:
                self._idle = anyio.Event()
                await self._idle.wait()
        finally:
            self.close()  # cancelled: nothing leads on from here any more

    async def drain(self) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more will be sent."""
        self._closed.set()

    def end(self) -> None:
        """The stage is closed: who waits to send waits no longer."""
        self._ready.set()

    async def send(self, instance: Instance) -> Receipt:
        """Emit one instance; waits for room. Raises Draining when the inlet is closed."""
        if not self._ready.is_set():
            await self._ready.wait()
        if self._closed.is_set() or self._emit is None:
            raise self._over()
        if not instance.origin.stage:
            instance = instance.with_origin(stage=self._context.stage, received=datetime.now(UTC))
        self._sending += 1
        try:
            return await self._emit(instance)
        except (BrokenResourceError, ClosedResourceError):
            raise self._over() from None
        finally:
            self._sending -= 1
            if not self._sending:
                self._idle.set()

    def _over(self) -> Draining:
        return Draining(f"inlet {self._context.stage!r} is closed and takes on nothing more")
