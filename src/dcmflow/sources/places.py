"""The kinds of places that files are read from, behind one face."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Protocol

from dcmflow.errors import ConfigError
from dcmflow.sources import archives, dicomdir
from dcmflow.sources.globs import Globs
from dcmflow.sources.reading import Item, read_all, take
from dcmflow.sources.walk import Found, walk
from dcmflow.sources.watching import Watcher


class Place(Protocol):
    """Where items are taken from; all of it blocks and runs in threads, one call at a time."""

    def take(self, count: int, weight: int) -> list[Item] | None:
        """The next items, up to `count` and until they hold `weight` bytes; None at the end."""

    def stop(self) -> None:
        """A `take` that waits returns soon. May be called from another thread."""

    def drop(self, temporary: str) -> None:
        """The temporary file of an item is not needed any more."""

    def close(self) -> None: ...


class _Listed:
    """Items that are there when it begins: a folder, a file, an archive, a DICOMDIR."""

    def __init__(self, items: Iterator[Item], spill: archives.Spill | None = None) -> None:
        self._items = items
        self._spill = spill

    def take(self, count: int, weight: int) -> list[Item] | None:
        return take(self._items, count, weight) or None

    def stop(self) -> None:
        pass

    def drop(self, temporary: str) -> None:
        if self._spill is not None:
            self._spill.drop(temporary)

    def close(self) -> None:
        if hasattr(self._items, "close"):
            self._items.close()
        if self._spill is not None:
            self._spill.clear()


class _Watched:
    """A folder that is watched."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.take = watcher.take

    def stop(self) -> None:
        self._watcher.stop.set()

    def drop(self, temporary: str) -> None:
        pass

    def close(self) -> None:
        self._watcher.close()


def open_place(
    path: str,
    globs: Globs,
    stage: str,
    *,
    recursive: bool,
    watch: bool,
    takes_away: bool,
    skip: str | None,
) -> Place:
    """The place at a path.

    Args:
        takes_away: files will be deleted or moved afterwards.
        skip: a folder that is not read.

    Raises:
        ConfigError: nothing is there, it cannot be opened, or what is asked for cannot be had of it.
    """
    try:
        if os.path.isdir(path):
            os.scandir(path).close()
            if watch:
                return _Watched(Watcher(path, globs, stage, recursive=recursive, skip=skip))
            found = walk(path, globs, recursive=recursive, skip=skip)
            return _Listed(read_all(found, stage, signed=takes_away))
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ConfigError(f"{path} is neither a folder nor a regular file", key="path")
        with open(path, "rb"):
            pass
        kind = archives.kind_of(path)
    except FileNotFoundError:
        raise ConfigError(f"there is no folder or file {path}", key="path") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", key="path") from error
    if watch:
        raise ConfigError(f"only a folder can be watched, and {path} is a file", key="watch")
    file_ids = dicomdir.listing(path) if kind is None else None
    if kind is None and file_ids is None:
        alone = iter([Found(path, os.path.basename(path), "file")])
        return _Listed(read_all(alone, stage, signed=takes_away))
    if takes_away:
        what = "an archive" if kind is not None else "a DICOMDIR"
        raise ConfigError(f"{path} is {what}: what is in it can only be kept", key="after")
    if kind is None:
        assert file_ids is not None
        return _Listed(dicomdir.referenced(path, file_ids, globs, stage))
    archives.check(path, kind)
    spill = archives.Spill()
    return _Listed(archives.members(path, kind, globs, stage, spill), spill)
