"""Keeps the time of many connections with one task: a deadline is a number, and whoever is late is ended.

A cancel scope per read would cost more than the read. So a wait only notes until when it may take; a task looks every
now and then, and ends the connections that are late, which their readers see at once. It is late itself by a tick at most.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, final

import anyio
from anyio.abc import TaskGroup

from dcmflow.net.transport import Transport

TICK: Final = 0.25  # seconds


@final
class Watch:
    """`async with Watch() as watch: watch.add(transport)`."""

    def __init__(self) -> None:
        self._watched: set[Transport] = set()
        self._tasks: TaskGroup | None = None
        self._wanted = anyio.Event()

    async def __aenter__(self) -> Watch:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        if isinstance(error, Exception):  # is not to come out in a group
            await self._tasks.__aexit__(None, None, None)
            return False
        return await self._tasks.__aexit__(kind, error, trace)

    def add(self, transport: Transport) -> None:
        self._watched.add(transport)
        self._wanted.set()

    def remove(self, transport: Transport) -> None:
        self._watched.discard(transport)

    async def _run(self) -> None:
        while True:
            if not self._watched:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            await anyio.sleep(TICK)
            now = anyio.current_time()
            for transport in list(self._watched):
                if transport.deadline < now and not transport.expired:
                    transport.expire()
