"""The events of a run for a reader that takes its time."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import anyio

from dcmflow.flow.events import Event, Observer


class Observed(Protocol):
    """What can be observed, and ends."""

    observers: list[Observer]
    finished: anyio.Event


class EventStream:
    """Events of a run as an asynchronous iterator for one reader; ends with the run.

    Attributes:
        missed: events that were let go because the reader was too slow.
    """

    def __init__(self, run: Observed, remember: int) -> None:
        self._run = run
        self._events: deque[Event] = deque(maxlen=max(remember, 0))
        self._arrived = anyio.Event()
        self.missed: int = 0

    def _note(self, event: Event) -> None:
        self.missed += len(self._events) == self._events.maxlen
        self._events.append(event)
        self._arrived.set()

    async def __aenter__(self) -> EventStream:
        self._run.observers.append(self._note)
        return self

    async def __aexit__(self, *details: object) -> None:
        if self._note in self._run.observers:
            self._run.observers.remove(self._note)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._run.finished.is_set():
                raise StopAsyncIteration
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._events.popleft()
