"""A folder that is watched: what is in it, and then what comes.

Nothing says for certain that a file is complete. One is taken when it has been the same for `SETTLE` seconds and can be walked
to its end; one that is broken or empty gets `PATIENCE` seconds since its last change before that is what is said of it. Old
files that are there at the start are not waited for.

Everything here runs in one thread at a time and blocks; nothing blocks for longer than `TICK` and the reading of some files.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Iterator
from threading import Event
from typing import Final

from dcmflow.errors import ConfigError
from dcmflow.sources.globs import Globs
from dcmflow.sources.reading import Item, Signature, read, signature_of
from dcmflow.sources.walk import Found, is_ours, is_regular, walk

SETTLE: Final = 0.5
PATIENCE: Final = 10.0
TICK: Final = 200  # milliseconds
REMEMBERED: Final = 100_000  # files that are known to have been taken


NO_WATCHFILES = "watching a folder needs the package watchfiles: pip install 'dcmflow[watch]'"


class _Pending:
    """A file that may not be complete: its signature, since when it is the same, and when to look next."""

    __slots__ = ("due", "relative", "signature", "since")

    def __init__(self, relative: str, now: float) -> None:
        self.relative = relative
        self.signature: Signature | None = None
        self.since = now
        self.due = now


class Watcher:
    """Takes items from a folder for as long as it is watched.

    Args:
        root: the folder.
        stage: the name of the source.
        skip: a folder below it that is none of ours to read; where read files move to.

    Raises:
        ConfigError: `watchfiles` is not installed.
    """

    def __init__(self, root: str, globs: Globs, stage: str, *, recursive: bool, skip: str | None) -> None:
        try:
            import watchfiles
        except ImportError:
            raise ConfigError(NO_WATCHFILES, key="watch") from None
        self.stop: Event = Event()
        self._root, self._globs, self._stage, self._recursive = root, globs, stage, recursive
        self._skip = skip
        self._changes = watchfiles.watch(
            root,
            watch_filter=None,
            debounce=TICK,
            step=20,
            stop_event=self.stop,
            rust_timeout=TICK,
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=recursive,
        )
        self._existing: Iterator[Found] | None = None
        self._pending: dict[str, _Pending] = {}
        self._due: OrderedDict[str, _Pending] = OrderedDict()
        self._taken: OrderedDict[str, Signature] = OrderedDict()

    def close(self) -> None:
        self.stop.set()
        self._changes.close()

    def take(self, count: int, weight: int) -> list[Item] | None:
        """The next items, maybe none yet; None when it was told to stop."""
        if self._existing is None:
            if (
                not self._look()
            ):  # watches from here on, so that nothing comes unnoticed while the folder is walked
                return None
            self._existing = walk(self._root, self._globs, recursive=self._recursive, skip=self._skip)
        taken: list[Item] = []
        while len(taken) < count and weight > 0 and (found := next(self._existing, None)) is not None:
            item = self._first(found)
            if item is not None:
                taken.append(item)
                weight -= item.weight
        if taken:
            return taken
        if not self._due and not self._look():
            return None
        while self._due and len(taken) < count and weight > 0:
            path, pending = self._due.popitem(last=False)
            item = self._try(path, pending)
            if item is not None:
                taken.append(item)
                weight -= item.weight
        return taken

    def _first(self, found: Found) -> Item | None:
        """A file that was there already: taken at once when it is old, else looked at again."""
        if found.what != "file":
            return Item(found.path, found.relative, error=found.error)
        item = read(found.path, found.relative, self._stage, signed=True)
        age = time.time() - item.signature[1] / 1e9 if item.signature is not None else 0.0
        if age > (SETTLE if item.instance is not None else PATIENCE):
            self._remember(item)
            return item
        self._expect(found.path, found.relative)
        return None

    def _look(self) -> bool:
        """Wait a moment for changes and see which files are due. False when told to stop."""
        changes = next(self._changes, None)
        if changes is None:
            return False
        for change, path in changes:
            if change.name == "deleted":
                self._pending.pop(path, None)
                self._taken.pop(path, None)
            else:
                self._changed(path)
        now = time.monotonic()
        for path, pending in tuple(self._pending.items()):
            self._examine(path, pending, now)
        return True

    def _changed(self, path: str) -> None:
        relative = os.path.relpath(path, self._root).replace(os.sep, "/")
        if self._skip is not None and (path == self._skip or path.startswith(self._skip + os.sep)):
            return
        if os.path.isdir(path):
            if self._recursive and relative != "." and not self._excluded(relative):
                # what was in it before it was watched comes without a change of its own
                for found in walk(path, self._globs, prefix=f"{relative}/", skip=self._skip):
                    if found.what == "file":
                        self._expect(found.path, found.relative)
        elif (
            not is_ours(os.path.basename(path))
            and self._globs.wants(relative)
            and not self._globs.excludes_some_folder(relative)
            and is_regular(path)
        ):
            self._expect(path, relative)

    def _excluded(self, relative: str) -> bool:
        return self._globs.excludes(relative) or self._globs.excludes_some_folder(relative)

    def _expect(self, path: str, relative: str) -> None:
        if path not in self._pending:
            self._pending[path] = _Pending(relative, time.monotonic())

    def _examine(self, path: str, pending: _Pending, now: float) -> None:
        try:
            signature = signature_of(path)
        except OSError:  # it was there for a moment
            del self._pending[path]
            return
        if signature == self._taken.get(path):
            del self._pending[path]
        elif signature != pending.signature:
            pending.signature, pending.since, pending.due = signature, now, now + SETTLE
        elif now >= pending.due:
            self._due[path] = self._pending.pop(path)

    def _try(self, path: str, pending: _Pending) -> Item | None:
        item = read(path, pending.relative, self._stage, signed=True)
        if isinstance(item.error, FileNotFoundError):
            return None
        unchanged = item.signature == pending.signature
        now = time.monotonic()
        if item.instance is not None and unchanged:
            self._remember(item)
            return item
        if unchanged and now - pending.since >= PATIENCE:
            self._remember(item)
            return item
        pending.due = now + 2 * SETTLE if unchanged else now
        self._pending[path] = pending
        return None

    def _remember(self, item: Item) -> None:
        if item.signature is not None:
            self._taken[item.path] = item.signature
            self._taken.move_to_end(item.path)
            if len(self._taken) > REMEMBERED:
                self._taken.popitem(last=False)
