"""Files on a disk: a folder, one file, an archive, or what a DICOMDIR lists."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectSendStream
from msgspec import Meta, field

from dcmflow.errors import ConfigError
from dcmflow.flow.context import Context, Draining, Emit
from dcmflow.flow.paths import settle_path
from dcmflow.flow.stage import Source
from dcmflow.sources.aftermath import Aftermath
from dcmflow.sources.globs import Globs
from dcmflow.sources.places import Place, open_place
from dcmflow.sources.reading import Item
from dcmflow.sources.watching import NO_WATCHFILES

MOVE: Final = "move:"
COUNT: Final = 16  # files that are read in one go, in a thread, ahead of their turn
WEIGHT: Final = 8 * 1024 * 1024  # bytes after which one go ends


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
    ] = field(default_factory=list)
    exclude: Annotated[
        list[str], Meta(description="Leave out files and folders that match one of these patterns.")
    ] = field(default_factory=list)
    watch: Annotated[
        bool, Meta(description="Go on with files that come later, once they are complete; ends when drained.")
    ] = False
    after: Annotated[
        str,
        Meta(
            description="What becomes of a file that every sink has accepted: keep, delete, or move:FOLDER.",
        ),
    ] = "keep"

    def __post_init__(self) -> None:
        if self.after not in ("keep", "delete") and not self.target:
            raise ConfigError(f"{self.after!r} is none of keep, delete, move:FOLDER", key="after")
        settle_path(self, "path")
        for key, patterns in (("include", self.include), ("exclude", self.exclude)):
            try:
                Globs(patterns)
            except ValueError as error:
                raise ConfigError(str(error), key=key) from None

    def check(self, context: Context) -> None:
        if self.watch and find_spec("watchfiles") is None:
            raise ConfigError(NO_WATCHFILES, key="watch")

    @property
    def target(self) -> str:
        """Where files move to; empty when they do not."""
        return self.after.removeprefix(MOVE).strip() if self.after.startswith(MOVE) else ""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Reader]:
        path = context.path(self.path)
        target = context.path(self.target) if self.target else None
        place = await to_thread.run_sync(self._open_place, str(path), target, context)
        aftermath = Aftermath(target, context) if self.after != "keep" else None
        try:
            yield Reader(place, aftermath, target)
        finally:
            place.close()

    def _open_place(self, path: str, target: Path | None, context: Context) -> Place:
        if target is not None:
            _check_target(path, target)
        return open_place(
            path,
            Globs(self.include, self.exclude),
            context.stage,
            recursive=self.recursive,
            watch=self.watch,
            takes_away=self.after != "keep",
            skip=str(target) if target is not None else None,
        )


def _check_target(path: str, target: Path) -> None:
    """See that files can move there, as far as that can be told without making anything. Raises ConfigError."""
    there = target
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise ConfigError(f"files cannot move to {target}: {there} is a file", key="after")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"files cannot move to {target}: {there} cannot be written to", key="after")
    if os.path.isdir(path) and there == target and os.path.samefile(path, target):
        raise ConfigError("files cannot move to the folder they are read from", key="after")


class Reader:
    """Emits what a place holds; the actor of whatever reads files."""

    def __init__(self, place: Place, aftermath: Aftermath | None, target: Path | None) -> None:
        self._target = target
        self._place = place
        self._aftermath = aftermath
        self._reading = anyio.CancelScope()
        self._stopped = False

    async def run(self, emit: Emit) -> None:
        if (
            self._target is not None
        ):  # made before the folder is read, so that it can be told from what is read
            await to_thread.run_sync(partial(os.makedirs, self._target, exist_ok=True))
        async with anyio.create_task_group() as tasks:
            if self._aftermath is not None:
                tasks.start_soon(self._aftermath.run)
            await self._emit_all(emit)
            if self._aftermath is not None:
                await emit.finish()  # who holds something back gives it out now, so that it can settle
                await self._aftermath.finished()
            tasks.cancel_scope.cancel()

    async def drain(self) -> None:
        self._stop()

    def _stop(self) -> None:
        self._stopped = True
        self._place.stop()
        self._reading.cancel()

    async def _emit_all(self, emit: Emit) -> None:
        send, receive = anyio.create_memory_object_stream[list[Item]](1)
        async with anyio.create_task_group() as tasks, receive:
            tasks.start_soon(self._read_ahead, send)
            async for batch in receive:
                for item in batch:
                    if self._stopped:
                        return
                    try:
                        await self._pass_on(item, emit)
                    except Draining:
                        self._stop()

    async def _read_ahead(self, send: MemoryObjectSendStream[list[Item]]) -> None:
        with send, self._reading:
            try:
                while (batch := await to_thread.run_sync(self._place.take, COUNT, WEIGHT)) is not None:
                    await send.send(batch)
            finally:
                self._place.stop()

    async def _pass_on(self, item: Item, emit: Emit) -> None:
        """Emit or report one item. Raises Draining when the pipeline takes nothing more."""
        if item.instance is None:
            if item.error is not None:
                emit.refused(
                    item.error, path=item.path, sop_instance_uid=item.sop_instance_uid, size=item.size
                )
            else:
                emit.not_dicom(item.path)
            return
        receipt = await emit(item.instance)
        temporary = item.temporary
        if temporary is not None:
            receipt.on_settled(lambda _: self._place.drop(temporary))
        if self._aftermath is not None:
            self._aftermath.follow(receipt, item)
            await self._aftermath.room()
