"""Files, folders and archives that were named on a command line, as one source."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

from anyio import to_thread
from msgspec import Meta, field

from dcmflow.cli.common import Usage
from dcmflow.cli.opening import existing
from dcmflow.errors import NotDicom
from dcmflow.flow.context import Context
from dcmflow.flow.stage import Source
from dcmflow.sources import archives, dicomdir, reading
from dcmflow.sources.directory import Reader
from dcmflow.sources.globs import Globs
from dcmflow.sources.places import Place, open_place
from dcmflow.sources.reading import Item

if TYPE_CHECKING:
    from dcmflow.config.settings import Settings


class Paths(Source, frozen=True):
    """Reads SOP Instances from several files, folders, archives and DICOMDIRs, one after the other.

    As `Directory` does, only that a file which was named itself and is not DICOM, or cannot be read, is refused.
    """

    paths: Annotated[list[str], Meta(description="Absolute paths.")]
    include: Annotated[list[str], Meta(description="Read only files that match one of these patterns.")] = (
        field(default_factory=list)
    )
    exclude: Annotated[list[str], Meta(description="Leave out what matches one of these patterns.")] = field(
        default_factory=list
    )

    def place(self, stage: str) -> Place:
        """Everything as one place. Raises ConfigError for what cannot be opened."""
        globs = Globs(self.include, self.exclude)
        return _Chain([_open(path, globs, stage) for path in self.paths])

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Reader]:
        place = await to_thread.run_sync(self.place, context.stage)
        try:
            yield Reader(place, None, None)
        finally:
            place.close()


def named_paths(
    texts: tuple[str, ...], settings: Settings, include: list[str] | None, exclude: list[str] | None
) -> Paths:
    """The source of what was named: paths, and directories of the settings by name. Raises Usage."""
    found = []
    for text in texts:
        if text in settings.dirs and not os.path.lexists(text):
            text = settings.dirs[text].path
        found.append(os.path.abspath(existing(os.path.expanduser(text))))
    try:
        Globs(include or (), exclude or ())
    except ValueError as error:
        raise Usage(f"--include, --exclude: {error}") from None
    return Paths(paths=found, include=include or [], exclude=exclude or [], name="source")


def _open(path: str, globs: Globs, stage: str) -> Place:
    try:
        alone = os.path.isfile(path) and archives.kind_of(path) is None and dicomdir.listing(path) is None
    except OSError:
        alone = True
    if alone:
        return _File(path, stage)
    return open_place(path, globs, stage, recursive=True, watch=False, takes_away=False, skip=None)


class _File:
    """One file that was named itself."""

    def __init__(self, path: str, stage: str) -> None:
        self._path = path
        self._stage = stage
        self._taken = False

    def take(self, count: int, weight: int) -> list[Item] | None:
        if self._taken:
            return None
        self._taken = True
        item = reading.read(self._path, os.path.basename(self._path), self._stage)
        if item.instance is None and item.error is None:
            item = item._replace(error=NotDicom(f"{self._path} is not DICOM"))
        return [item]

    def stop(self) -> None: ...

    def drop(self, temporary: str) -> None: ...

    def close(self) -> None: ...


class _Chain:
    """Several places, one after the other."""

    def __init__(self, places: list[Place]) -> None:
        self._places = places
        self._waiting: Iterator[Place] = iter(places)
        self._current: Place | None = next(self._waiting, None)
        self._homes: dict[str, Place] = {}  # of temporary files

    def take(self, count: int, weight: int) -> list[Item] | None:
        taken: list[Item] = []
        while self._current is not None and len(taken) < count and weight > 0:
            items = self._current.take(count - len(taken), weight)
            if items is None:
                self._current = next(self._waiting, None)
                continue
            for item in items:
                taken.append(item)
                weight -= item.weight
                if item.temporary is not None:
                    self._homes[item.temporary] = self._current
        return taken or None

    def stop(self) -> None:
        for place in self._places:
            place.stop()

    def drop(self, temporary: str) -> None:
        home = self._homes.pop(temporary, None)
        if home is not None:
            home.drop(temporary)

    def close(self) -> None:
        for place in self._places:
            place.close()
