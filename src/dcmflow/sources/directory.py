"""Files on a disk: a folder, one file, an archive, or what a DICOMDIR lists."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectSendStream
from msgspec import Meta

from dcmflow.errors import ConfigError, DcmflowError
from dcmflow.flow.context import Context, Draining, Emit
from dcmflow.flow.stage import Source
from dcmflow.sources.aftermath import Aftermath
from dcmflow.sources.globs import Globs
from dcmflow.sources.reading import Item, read_all, take
from dcmflow.sources.walk import walk

MOVE = "move:"


class Directory(Source, frozen=True):
    """Reads SOP Instances from files: a folder, one file, a .zip or .tar archive, or what a DICOMDIR lists.

    Files are known by their content, whatever they are called. What is not DICOM is counted and passed over; what is DICOM and
    broken is refused and named; the rest goes on.
    """

    path: Annotated[
        str, Meta(min_length=1, description="Folder, file, .zip, .tar (also compressed) or DICOMDIR.")
    ]
    recursive: Annotated[bool, Meta(description="Folders in folders too.")] = True
    include: Annotated[
        list[str],
        Meta(description="Read only files that match one of these patterns, e.g. '*.dcm', 'scans/**'."),
    ] = []
    exclude: Annotated[
        list[str], Meta(description="Leave out files and folders that match one of these patterns.")
    ] = []
    watch: Annotated[
        bool, Meta(description="Go on with files that come later, once they are complete; ends when drained.")
    ] = False
    after: Annotated[
        str,
        Meta(
            pattern="^(keep|delete|move:.+)$",
            description="What becomes of a file that every sink has accepted: keep, delete, or move:FOLDER.",
        ),
    ] = "keep"

    def __post_init__(self) -> None:
        if self.after not in ("keep", "delete") and not self.after.removeprefix(MOVE).strip():
            raise ConfigError(f"{self.after!r} is none of keep, delete, move:FOLDER", key="after")
        if not self.path:
            raise ConfigError("no path was given", key="path")
        for key, patterns in (("include", self.include), ("exclude", self.exclude)):
            try:
                Globs(patterns)
            except ValueError as error:
                raise ConfigError(str(error), key=key) from None

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        path = str(context.path(self.path))
        yield _Actor(self, context, path)


class _Actor:
    def __init__(self, stage: Directory, context: Context, path: str) -> None:
        if not os.path.exists(path):
            raise ConfigError(f"there is no folder or file {path}", key="path")
        self._stage = stage
        self._context = context
        self._path = path
        self._reading = anyio.CancelScope()
        self._stopped = False
        self._aftermath: Aftermath | None = None
        if stage.after != "keep":
            folder = stage.after.removeprefix(MOVE) if stage.after.startswith(MOVE) else None
            self._aftermath = Aftermath(context.path(folder) if folder else None, context)

    async def run(self, emit: Emit) -> None:
        async with anyio.create_task_group() as tasks:
            if self._aftermath is not None:
                tasks.start_soon(self._aftermath.run)
            await self._emit_all(emit)
            await emit.idle()
            if self._aftermath is not None:
                await self._aftermath.finished()
            tasks.cancel_scope.cancel()

    async def drain(self) -> None:
        self._stopped = True
        self._reading.cancel()

    async def _emit_all(self, emit: Emit) -> None:
        send, receive = anyio.create_memory_object_stream[list[Item]](1)
        async with anyio.create_task_group() as tasks, receive:
            tasks.start_soon(self._read_ahead, send)
            async for batch in receive:
                for item in batch:
                    if self._stopped or not await self._pass_on(item, emit):
                        self._reading.cancel()
                        return

    async def _read_ahead(self, send: MemoryObjectSendStream[list[Item]]) -> None:
        items = self._items()
        with send, self._reading:
            while batch := await to_thread.run_sync(take, items, 16, 8 << 20):
                await send.send(batch)

    def _items(self) -> Iterator[Item]:
        globs = Globs(self._stage.include, self._stage.exclude)
        found = walk(self._path, globs, recursive=self._stage.recursive)
        return read_all(found, self._context.stage, signed=self._aftermath is not None)

    async def _pass_on(self, item: Item, emit: Emit) -> bool:
        """Emit or report one item; False when the pipeline has begun to drain."""
        if item.instance is not None:
            try:
                receipt = await emit(item.instance)
            except Draining:
                return False
            if self._aftermath is not None:
                self._aftermath.follow(receipt, item)
                await self._aftermath.room()
        elif item.error is not None:
            emit.refused(item.error, path=item.path)
        else:
            emit.not_dicom(item.path)
        return True
