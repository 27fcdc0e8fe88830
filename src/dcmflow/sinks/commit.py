"""Group commit: what several workers want on the disk goes there together, in one thread hop.

A worker hands over its placement and waits. A few committers take whatever has gathered: all files are written, then all
names are given, then each folder is made durable once. While one committer waits for the disk, what arrives gathers for the
next, so the slower the disk is the larger the groups become, without a timer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio import to_thread

from dcmflow.sinks import writing
from dcmflow.sinks.placing import Placement

LARGE = 8 * 1024 * 1024  # an instance of this size goes alone, so that small ones need not wait for it


class _Waiting:
    __slots__ = ("done", "placement", "taken")

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.done = anyio.Event()
        self.taken = False


class Committer:
    """Takes placements from many tasks and performs them in groups.

    Args:
        group: how many go together at most.
    """

    def __init__(self, group: int) -> None:
        self._group = group
        self._pending: deque[_Waiting] = deque()
        self._arrived = anyio.Event()

    @asynccontextmanager
    async def running(self, committers: int) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            for _ in range(committers):
                tasks.start_soon(self._run)
            yield
            tasks.cancel_scope.cancel()

    async def commit(self, placement: Placement) -> None:
        """Returns when the placement is done, with or without error. Cancelled, it is done as a whole or not at all."""
        if placement.instance.payload.size > LARGE:
            await to_thread.run_sync(perform, [placement])
            return
        waiting = _Waiting(placement)
        self._pending.append(waiting)
        self._arrived.set()
        try:
            await waiting.done.wait()
        except BaseException:
            if not waiting.taken:
                self._pending.remove(waiting)
            raise

    async def _run(self) -> None:
        while True:
            while not self._pending:
                self._arrived = anyio.Event()
                await self._arrived.wait()
            group = [self._pending.popleft() for _ in range(min(self._group, len(self._pending)))]
            for waiting in group:
                waiting.taken = True
            await to_thread.run_sync(perform, [waiting.placement for waiting in group])
            for waiting in group:
                waiting.done.set()
            del group, waiting  # or they would stay while the next ones are awaited


def perform(placements: list[Placement]) -> None:
    """Write all, name all, make the names durable. Runs in a thread."""
    try:
        for placement in placements:
            placement.write()
        for placement in placements:
            placement.place()
        for folder in {folder for placement in placements for folder in placement.folders}:
            try:
                writing.fsync_folders([folder])
            except OSError as error:
                for placement in placements:
                    if folder in placement.folders:
                        placement.error = placement.error or writing.refusal(error, placement.target)
    finally:
        for placement in placements:
            placement.discard()
