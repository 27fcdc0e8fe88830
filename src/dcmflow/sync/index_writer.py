"""Puts what was found into the tables, some thousand files in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from hashlib import blake2b
from time import monotonic
from typing import Final, NamedTuple, final

from dcmflow.sync.index_facts import SHARED, Facts, Kind, Value
from dcmflow.sync.index_schema import writing

_BATCH: Final = 2000
_BATCH_SECONDS: Final = 2.0

_PUT: Final = (
    "INSERT INTO files (folder, name, size, mtime_ns, kind, reason, syntax, digest, header, SOPClassUID,"
    " SOPInstanceUID, InstanceNumber) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (folder, name) DO UPDATE"
    " SET size = excluded.size, mtime_ns = excluded.mtime_ns, kind = excluded.kind, reason = excluded.reason,"
    " syntax = excluded.syntax, digest = excluded.digest, header = excluded.header, SOPClassUID = excluded.SOPClassUID,"
    " SOPInstanceUID = excluded.SOPInstanceUID, InstanceNumber = excluded.InstanceNumber"
)
_PUT_HEADER: Final = (
    f"INSERT OR IGNORE INTO headers (key, {', '.join(SHARED)}) VALUES ({', '.join('?' * (len(SHARED) + 1))})"
)
_PUT_FOLDER: Final = "INSERT OR IGNORE INTO folders (path) VALUES (?)"
# where another process met it again meanwhile, it stays
_TAKE: Final = "DELETE FROM files WHERE id = ? AND size = ? AND mtime_ns = ?"


class Met(NamedTuple):
    """A file as it was found.

    Attributes:
        folder: its folder, relative to that of the index.  name: its own.
        size, mtime_ns: before it was read, so that what is written to it meanwhile shows the next time.
    """

    folder: bytes
    name: bytes
    size: int
    mtime_ns: int
    facts: Facts


@final
class Writer:
    """Collects changes. Nothing is written before there are enough of them, or `finish` is called."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._met: list[Met] = []
        self._gone: list[tuple[int, int, int]] = []
        self._since = monotonic()

    def put(self, met: Met) -> None:
        """A file that is new, or not what it was."""
        self._met.append(met)
        if len(self._met) >= _BATCH or monotonic() - self._since > _BATCH_SECONDS:
            self.flush()

    def take(self, gone: Iterable[tuple[int, int, int]]) -> None:
        """Files that are there no more: id, size and time."""
        self._gone += gone
        if len(self._gone) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        if self._met or self._gone:
            with writing(self._db):
                self._write()
            self._met.clear()
            self._gone.clear()
        self._since = monotonic()

    def finish(self) -> None:
        """Write the rest, and take away folders and headers that no file needs."""
        self.flush()
        if self._db.total_changes:
            self._db.execute(
                "DELETE FROM headers WHERE id NOT IN (SELECT header FROM files WHERE header NOTNULL)"
            )
            self._db.execute("DELETE FROM folders WHERE id NOT IN (SELECT folder FROM files)")
            self._db.execute("PRAGMA optimize")

    def _write(self) -> None:
        """In a transaction: ids that were looked up in it stay what they are."""
        db = self._db
        db.executemany(_TAKE, self._gone)
        folders: dict[bytes, int] = {}
        headers: dict[tuple[Value, ...], int] = {}
        rows: list[tuple[object, ...]] = []
        for folder, name, size, mtime_ns, facts in self._met:
            place = folders.get(folder)
            if place is None:
                place = folders[folder] = self._id("folders", "path", _PUT_FOLDER, (folder,))
            kind, reason, syntax, shared, sop_class, sop_instance, number, digest = facts
            if kind is not Kind.INSTANCE:
                rows.append((place, name, size, mtime_ns, kind, reason, *(None,) * 6))
                continue
            header = headers.get(shared)
            if header is None:
                header = headers[shared] = self._id("headers", "key", _PUT_HEADER, (_key(shared), *shared))
            rows.append(
                (
                    place,
                    name,
                    size,
                    mtime_ns,
                    kind,
                    None,
                    syntax,
                    digest,
                    header,
                    sop_class,
                    sop_instance,
                    number,
                )
            )
        db.executemany(_PUT, rows)

    def _id(self, table: str, key: str, statement: str, row: tuple[object, ...]) -> int:
        self._db.execute(statement, row)
        (found,) = self._db.execute(f"SELECT id FROM {table} WHERE {key} = ?", row[:1]).fetchone()
        return int(found)


def _key(shared: tuple[Value, ...]) -> bytes:
    """What tells the row from others; for UNIQUE no NULL is like another."""
    return blake2b(repr(shared).encode("utf-8"), digest_size=16).digest()
