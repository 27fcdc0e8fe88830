"""Looks through a folder and brings its index up to date.

Files are read first, and what was found of some thousand is then written in one transaction: other processes
wait for milliseconds, and who is killed has lost no more than that. What the index knows is loaded folder by folder, as the walk
gets there; whatever is left of it when the walk leaves a folder is gone.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, final

from dcmflow.sources.globs import Globs
from dcmflow.sources.walk import Found, walk
from dcmflow.sync.index_changes import Changes
from dcmflow.sync.index_facts import SHARED, Facts, Kind, facts_of
from dcmflow.sync.index_schema import SIDE_FILES
from dcmflow.sync.index_writer import Met, Writer

Mode = Literal["trust", "check", "scrub"]
Progress = Callable[[int, int | None], None]

_STEP: Final = 64  # files between two calls of `progress`
_ROTTEN: Final = "its data set is not the one that was indexed, though size and time of the file are the same"
_KNOWN: Final = "SELECT name, size, mtime_ns, kind, id, reason FROM files WHERE folder = ?"
_WHOLE: Final = (
    "SELECT f.kind, coalesce(f.reason, ''), coalesce(f.syntax, ''), coalesce(f.SOPClassUID, ''),"
    f" coalesce(f.SOPInstanceUID, ''), f.InstanceNumber, f.digest, h.{', h.'.join(SHARED)}"
    " FROM files f LEFT JOIN headers h ON h.id = f.header WHERE f.id = ?"
)


class _Known(NamedTuple):
    """What the index has of a file."""

    size: int
    mtime_ns: int
    kind: int
    id: int
    reason: str | None


class _Level(NamedTuple):
    """A folder that the walk is in, and what is known of its files and was not met so far."""

    relative: str
    folder: bytes
    known: dict[bytes, _Known]


@final
class Scan:
    """One refresh.

    Args:
        db: the index of `root`, whose file is `path`.
        progress: gets the number of files that are done and how many there are, as far as anybody knows.
    """

    def __init__(
        self, db: sqlite3.Connection, root: str, path: str, mode: Mode, progress: Progress | None
    ) -> None:
        self.changes: Changes = Changes()
        self._db = db
        self._root = root
        self._mode = mode
        self._progress = progress
        self._writer = Writer(db)
        here = os.path.relpath(path, root).replace(os.sep, "/")
        self._ours = frozenset(here + end for end in SIDE_FILES)  # the walk knows only the usual name
        self._folders = {bytes(folder): id for id, folder in db.execute("SELECT id, path FROM folders")}
        self._unreadable: list[str] = []
        self._levels: list[_Level] = []

    def run(self) -> Changes:
        """Look at everything. Raises OSError where the folder itself cannot be looked into."""
        os.scandir(self._root).close()
        total = self._expected() if self._progress is not None else 0
        done = 0
        for found in walk(self._root, Globs()):
            if found.what == "file":
                if found.relative in self._ours:
                    continue
                self._file(found)
            elif found.error is not None:
                self._unreadable.append(found.relative)
                self._broken(found.relative, f"cannot be read: {found.error.strerror or found.error}")
            else:
                self.changes.not_dicom += 1
            done += 1
            if not done % _STEP and self._progress is not None:
                self._progress(done, max(done, total))
        while self._levels:
            self._leave()
        self._leave_folders()
        self._writer.finish()
        if self._progress is not None:
            self._progress(done, done)
        return self.changes

    def _expected(self) -> int:
        """How many files there are: as many as the last time, or counted."""
        (known,) = self._db.execute("SELECT count(*) FROM files").fetchone()
        return known or sum(1 for _ in walk(self._root, Globs()))

    def _broken(self, relative: str, reason: str) -> None:
        self.changes.broken.append((relative, reason))

    # -- one file

    def _file(self, found: Found) -> None:
        path, relative = found.path, found.relative
        cut = relative.rfind("/")
        folder = relative[:cut] if cut > 0 else ""
        level = self._levels[-1] if self._levels else None
        if level is None or level.relative != folder:
            level = self._enter(folder)
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return  # gone since the folder was listed
        except OSError as error:
            self._unreadable.append(relative)
            self._broken(relative, f"cannot be read: {error.strerror or error}")
            return
        name = os.fsencode(relative[cut + 1 :])
        known = level.known.pop(name, None)
        size, mtime_ns = status.st_size, status.st_mtime_ns
        same = known is not None and known[0] == size and known[1] == mtime_ns
        if same and self._mode == "trust":
            assert known is not None
            self._count(relative, known.kind, known.reason or "", known, same=True)
            return
        facts = facts_of(path, digest=self._mode == "scrub")
        self.changes.read += 1
        if same and known is not None:
            before = self._before(known)
            if facts.digest != before.digest and before.digest is not None and self._mode == "scrub":
                self.changes.rotten.append((relative, facts.reason or _ROTTEN))
                return
            same = before._replace(digest=None) == facts._replace(digest=None)
            if same and (facts.digest is None or facts.digest == before.digest):
                self._count(relative, facts.kind, facts.reason, known, same=True)
                return
        self._writer.put(Met(level.folder, name, size, mtime_ns, facts))
        self._count(relative, facts.kind, facts.reason, known, same=same)

    def _count(self, relative: str, kind: int, reason: str, known: _Known | None, *, same: bool) -> None:
        changes = self.changes
        was = known is not None and known.kind == Kind.INSTANCE
        if kind == Kind.INSTANCE:
            if same:
                changes.unchanged += 1
            elif was:
                changes.changed += 1
            else:
                changes.new += 1
            return
        changes.gone += was
        if kind == Kind.BROKEN:
            self._broken(relative, reason)
        else:
            changes.not_dicom += 1

    def _before(self, known: _Known) -> Facts:
        kind, reason, syntax, sop_class, sop_instance, number, digest, *shared = self._db.execute(
            _WHOLE, (known.id,)
        ).fetchone()
        values = tuple(shared) if kind == Kind.INSTANCE else ()
        return Facts(Kind(kind), reason, syntax, values, sop_class, sop_instance, number, digest)

    # -- folders

    def _enter(self, relative: str) -> _Level:
        """Come to a folder: those that it is not in are done."""
        while self._levels and not _holds(self._levels[-1].relative, relative):
            self._leave()
        if self._levels and self._levels[-1].relative == relative:
            return self._levels[-1]
        folder = os.fsencode(relative)
        id = self._folders.pop(folder, None)
        rows = self._db.execute(_KNOWN, (id,)) if id is not None else ()
        known = {name: _Known(*rest) for name, *rest in rows}
        self._levels.append(_Level(relative, folder, known))
        return self._levels[-1]

    def _leave(self) -> None:
        relative, _, known = self._levels.pop()
        self._take(relative, known)

    def _leave_folders(self) -> None:
        """What is known of folders in which there was nothing."""
        for folder, id in self._folders.items():
            known = {name: _Known(*rest) for name, *rest in self._db.execute(_KNOWN, (id,))}
            self._take(os.fsdecode(folder), known)

    def _take(self, relative: str, known: dict[bytes, _Known]) -> None:
        gone = []
        for name, file in known.items():
            path = f"{relative}/{os.fsdecode(name)}" if relative else os.fsdecode(name)
            if any(_holds(place, path) for place in self._unreadable):
                continue  # nobody knows
            self.changes.gone += file.kind == Kind.INSTANCE
            gone.append((file.id, file.size, file.mtime_ns))
        self._writer.take(gone)


def _holds(folder: str, path: str) -> bool:
    """Whether a path is the folder, or in it; "" is the folder of the index."""
    return not folder or path == folder or path.startswith(f"{folder}/")
