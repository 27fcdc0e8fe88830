"""What a plan wants of a folder: files, and who is to get them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from anyio import to_thread
from msgspec import Meta

from dcmflow.errors import DatasetError, NotDicom
from dcmflow.flow.context import Context, Emit
from dcmflow.flow.delivery import Receipt
from dcmflow.flow.stage import Source
from dcmflow.sources.reading import Item, read
from dcmflow.sync.spread import label_of


class Files(Source, frozen=True):
    """Reads files that were found before.

    Attributes:
        paths: pairs of a path and the numbers of the destinations.
        move: remove a file once every destination has accepted it.
    """

    paths: Annotated[Any, Meta(description="Pairs of path and destinations.")] = ()
    move: Annotated[bool, Meta(description="Remove what every destination has accepted.")] = False

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[_Actor]:
        yield _Actor(self, context)


class _Actor:
    def __init__(self, stage: Files, context: Context) -> None:
        self._paths: Iterable[tuple[str, tuple[int, ...]]] = stage.paths
        self._move = stage.move
        self._context = context

    async def run(self, emit: Emit) -> None:
        for path, to in self._paths:
            item = await to_thread.run_sync(read, path, os.path.basename(path), self._context.stage)
            await self._take(emit, item, to)
        await emit.idle()

    async def _take(self, emit: Emit, item: Item, to: tuple[int, ...]) -> None:
        if item.instance is None:
            error = item.error or NotDicom(f"{item.path} is not DICOM any more")
            if not isinstance(error, OSError | DatasetError):
                error = DatasetError(str(error))
            emit.refused(error, path=item.path, sop_instance_uid=item.sop_instance_uid, size=item.size)
            return
        receipt = await emit(item.instance.with_labels(**label_of(to)))
        if self._move:
            receipt.on_settled(lambda settled: self._remove(settled, item.path))

    def _remove(self, receipt: Receipt, path: str) -> None:
        if not receipt.complete:
            return
        try:
            os.unlink(path)
        except OSError as error:
            self._context.warn(
                f"it was moved, and its file cannot be removed: {error.strerror or error}", path
            )
