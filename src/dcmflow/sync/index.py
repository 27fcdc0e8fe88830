"""The index of a folder: what lies in it, so that it can be asked like a node.

An SQLite file in the folder, or elsewhere: for each file its size, its time and what is in it. A refresh reads what is new or
changed; queries read no file at all, but for keys that are no columns.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self, final

from dcmflow.catalog.catalog import Catalog
from dcmflow.catalog.notes import Provenance
from dcmflow.dicom.query import Query
from dcmflow.dicom.record import Record
from dcmflow.errors import ConfigError, DcmflowError
from dcmflow.sync.index_changes import Changes
from dcmflow.sync.index_facts import file_digest
from dcmflow.sync.index_query import Finder
from dcmflow.sync.index_scan import Mode, Progress, Scan
from dcmflow.sync.index_schema import NAME, Opened, connect, is_broken, open_database, remove, writing

_DUPLICATES: Final = (
    "SELECT f.SOPInstanceUID, d.path, f.name FROM files f JOIN folders d ON d.id = f.folder WHERE f.SOPInstanceUID IN"
    " (SELECT SOPInstanceUID FROM files WHERE SOPInstanceUID NOTNULL GROUP BY SOPInstanceUID HAVING count(*) > 1)"
    " ORDER BY f.SOPInstanceUID, d.path, f.name"
)
_BY_UID: Final = (
    "SELECT d.path, f.name FROM files f JOIN folders d ON d.id = f.folder WHERE f.SOPInstanceUID = ?"
    " ORDER BY d.path, f.name LIMIT 1"
)
_DIGEST: Final = (
    "SELECT f.id, f.size, f.mtime_ns, f.digest FROM files f JOIN folders d ON d.id = f.folder"
    " WHERE d.path = ? AND f.name = ?"
)


def index_path(folder: str | os.PathLike[str], path: str | os.PathLike[str] | None = None) -> str:
    """Where the index of a folder lies."""
    return os.path.abspath(os.path.join(os.fspath(folder), NAME) if path is None else os.fspath(path))


@final
class Index:
    """The index of a folder. Opened by `open`; not for several threads at the same time.

    Attributes:
        folder: which one.  path: the file of the index.
        notes: what happened to it, such as that it was broken and is made again.
    """

    def __init__(self, folder: str, path: str, opened: Opened) -> None:
        self.folder: str = folder
        self.path: str = path
        self.notes: list[str] = opened.notes
        self._db = opened.db
        self._frozen = opened.frozen

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        path: str | os.PathLike[str] | None = None,
        *,
        create: bool = True,
    ) -> Index:
        """Open the index of a folder; one that is broken or of another version is made again, and empty until refreshed.

        Args:
            path: its file; None: `.dcmflow-index.sqlite` in the folder.
            create: make one where there is none.

        Raises:
            ConfigError: there is no such folder or no index, the file cannot be written, or is something else.
        """
        root, file = os.path.abspath(os.fspath(folder)), index_path(folder, path)
        if not os.path.isdir(root):
            raise ConfigError(f"there is no folder {os.fspath(folder)}")
        if not create and not os.path.exists(file):
            raise ConfigError(
                f"{os.fspath(folder)} has no index; dcmflow index {os.fspath(folder)} makes one"
            )
        return cls(root, file, open_database(file, ours=path is None))

    def close(self) -> None:
        """Close the file. Iterators that are not at their end may go on."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def frozen(self) -> bool:
        """Whether it lies where nothing can be written: it can be asked, and refreshed as long as nothing changed."""
        return self._frozen

    def __repr__(self) -> str:
        return f"<Index of {self.folder}>"

    # -- what is in it

    def refresh(self, mode: Mode = "trust", progress: Progress | None = None) -> Changes:
        """Bring it up to date.

        Args:
            mode: `trust` reads files that are new or whose size or time changed; `check` reads the elements of all, which tells
                those that changed all the same; `scrub` reads every byte and compares digests, which tells bit rot.
            progress: is told now and then how many files are done and how many there are, as far as anybody knows.

        Raises:
            ConfigError: the index cannot be written.
            OSError: the folder cannot be looked into. What is wrong within is in the changes.
        """
        try:
            changes = Scan(self._db, self.folder, self.path, mode, progress).run()
        except sqlite3.Error as error:
            if not is_broken(error):
                raise self._failed("cannot be written", error) from error
            self._start_over()
            changes = Scan(self._db, self.folder, self.path, mode, progress).run()
        changes.notes += self.notes
        return changes

    def clear(self) -> None:
        """Forget everything; the next refresh reads all files. Raises ConfigError where that cannot be written."""
        try:
            with writing(self._db):
                for table in ("files", "headers", "folders"):
                    self._db.execute(f"DELETE FROM {table}")
        except sqlite3.Error as error:
            if not is_broken(error):
                raise self._failed("cannot be written", error) from error
            self._start_over()

    def find(self, query: Query) -> Iterator[Record]:
        """What matches, as a C-FIND would answer (PS3.4 C.2.2.2), see `dcmflow.sync.index_query`.

        The index is taken as it is, and as it was when the iterator began; other threads may refresh it meanwhile.

        Raises:
            DcmflowError: the index is broken.
        """
        with self._reader() as db:
            yield from Finder(db, self.folder, query, self.notes).records()

    def paths(self, what: Query | Iterable[str]) -> Iterator[tuple[str, Path]]:
        """SOP Instance UIDs and files: of the images that match the keys of a query, whatever its level, or of these UIDs.

        Of several files with one UID, the first in the order of paths.
        """
        with self._reader() as db:
            if isinstance(what, Query):
                yield from Finder(db, self.folder, what, self.notes).files()
                return
            for uid in what:
                found = db.execute(_BY_UID, (uid,)).fetchone()
                if found is not None:
                    yield uid, self._place(*found)

    def catalog(self, query: Query) -> Catalog:
        """What matches, as a catalog."""
        when = datetime.now().astimezone().isoformat(timespec="seconds")
        where = Provenance(self.folder, dict(query.keys), query.level, when)
        return Catalog(query.level, self.find(query), provenance=[where])

    def duplicates(self) -> Iterator[tuple[str, tuple[Path, ...]]]:
        """SOP Instance UIDs of which there are several files, and these."""
        with self._reader() as db:
            uid, paths = "", list[Path]()
            for next_uid, folder, name in db.execute(_DUPLICATES):
                if next_uid != uid and paths:
                    yield uid, tuple(paths)
                    paths.clear()
                uid = next_uid
                paths.append(self._place(folder, name))
            if paths:
                yield uid, tuple(paths)

    def digest(self, path: str | os.PathLike[str]) -> str:
        """SHA-256 of the encoded data set of a file, as hexadecimal digits; made when first asked for, then remembered.

        Raises:
            DatasetError, OSError: it is no DICOM file, or cannot be read.
        """
        whole = os.path.join(self.folder, os.fspath(path))
        folder, name = os.path.split(os.path.relpath(whole, self.folder))
        known = self._db.execute(_DIGEST, (os.fsencode(folder), os.fsencode(name))).fetchone()
        status = os.stat(whole)
        current = known is not None and known[1:3] == (status.st_size, status.st_mtime_ns)
        if current and known[3] is not None:
            return bytes(known[3]).hex()
        made = file_digest(whole)
        if current and not self._frozen:
            self._db.execute(
                "UPDATE files SET digest = ? WHERE id = ? AND size = ? AND mtime_ns = ?", (made, *known[:3])
            )
        return made.hex()

    # -- its file

    def _place(self, folder: bytes, name: bytes) -> Path:
        return Path(self.folder, os.fsdecode(folder), os.fsdecode(name))

    def _start_over(self) -> None:
        self._db.close()
        remove(self.path)
        self._db = open_database(self.path, ours=False).db
        self.notes.append("the index was broken and is made again")

    def _failed(self, what: str, error: sqlite3.Error) -> ConfigError:
        return ConfigError(f"the index {self.path} {what}: {error}; name another file with --index")

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees the index as it is now."""
        try:
            db = connect(self.path, frozen=self._frozen)
            try:
                db.execute("PRAGMA query_only = 1")
                db.execute("BEGIN")
                yield db
            finally:
                db.close()
        except sqlite3.Error as error:
            again = f"dcmflow index {self.folder} --rebuild makes it again"
            raise DcmflowError(f"the index {self.path} cannot be read: {error}; {again}") from error


def folder_records(
    folder: str | os.PathLike[str],
    query: Query,
    index: str | os.PathLike[str] | None = None,
    *,
    refresh: bool = True,
    progress: Progress | None = None,
    notes: list[str] | None = None,
    changes: list[Changes] | None = None,
) -> Iterator[Record]:
    """What in a folder matches a query: from its index where it has one, which is brought up to date before, else from a scan.

    Nothing is left behind in a folder without an index.

    Args:
        index: the file of the index; None: the one in the folder, if any.
        refresh: bring the index up to date; what cannot be written is then taken as it is.
        progress: as of `Index.refresh`.
        notes: gets what a person should know, in words.
        changes: gets what the refresh or scan found.

    Raises:
        ConfigError: there is no such folder, or no such index.
        OSError: it cannot be looked into.
    """
    told: list[str] = [] if notes is None else notes
    with ExitStack() as stack:
        indexed = index is not None or os.path.exists(index_path(folder))
        if not indexed:
            scratch = stack.enter_context(TemporaryDirectory(prefix="dcmflow-"))
            index = os.path.join(scratch, "scan.sqlite")
        opened = stack.enter_context(Index.open(folder, index, create=not indexed))
        made_again = opened.notes and not opened.frozen  # then it knows nothing
        if refresh or not indexed or made_again:
            try:
                found = opened.refresh(progress=progress)
            except ConfigError as error:
                if not indexed or made_again:
                    raise
                told.append(str(error))
            else:
                if changes is not None:
                    changes.append(found)
        yield from opened.find(query)
        told += opened.notes
