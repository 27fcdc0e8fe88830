"""The tables of an index, and how its file is opened, made and made again.

A series has many images and they say the same of their patient, study and series: each distinct row of that is in `headers` once,
and a file points to it. Where images of one study disagree, it has several rows, and the first file in the order of
paths decides what is said of the study; so an edited or deleted file never leaves anything behind.

Files of the folder are named by bytes, since file systems know nothing of Unicode.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple
from urllib.parse import quote

from dcmflow.errors import ConfigError
from dcmflow.sync.index_facts import SHARED

NAME: Final = ".dcmflow-index.sqlite"
SIDE_FILES: Final = ("", "-wal", "-shm", "-journal")
VERSION: Final = 1
APPLICATION: Final = 0x64636D66
PATIENCE: Final = 30.0  # seconds that another process may hold the lock
_REMEDY: Final = "name another file with --index"
_TABLES: Final = ("folders", "headers", "files")
_SCHEMA: Final = f"""
CREATE TABLE folders (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);
CREATE TABLE headers (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, {", ".join(SHARED)});
CREATE TABLE files (
    id INTEGER PRIMARY KEY, folder INTEGER NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, kind INTEGER NOT NULL, reason TEXT, syntax TEXT, digest BLOB, header INTEGER,
    SOPClassUID, SOPInstanceUID, InstanceNumber, UNIQUE (folder, name)
);
CREATE INDEX headers_path ON headers (PatientID, StudyInstanceUID, SeriesInstanceUID);
CREATE INDEX headers_study ON headers (StudyInstanceUID);
CREATE INDEX headers_series ON headers (SeriesInstanceUID);
CREATE INDEX files_header ON files (header, SOPInstanceUID);
CREATE INDEX files_image ON files (SOPInstanceUID);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""


def connect(path: str, *, frozen: bool = False) -> sqlite3.Connection:
    """A connection that begins and ends its transactions itself, and waits for other processes.

    Args:
        frozen: nobody writes to the file, and nothing can be made beside it.
    """
    if frozen:
        path = f"file:{quote(os.fsencode(path))}?immutable=1"
    return sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False, uri=frozen)


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction: all that is done in it, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


class Opened(NamedTuple):
    """The database of an index.

    Attributes:
        db: a connection.
        notes: what happened, in words.
        frozen: see `connect`.
    """

    db: sqlite3.Connection
    notes: list[str]
    frozen: bool = False


def open_database(path: str, *, ours: bool) -> Opened:
    """The database of an index, made where there is none or none that can be used.

    Args:
        ours: a broken file of this name can be nothing else than an index.

    Raises:
        ConfigError: it cannot be opened or made, or is something else that is left alone.
    """
    try:
        return _prepared(path)
    except sqlite3.Error as error:
        if not is_broken(error):
            if opened := _frozen(path):
                return opened
            raise ConfigError(f"the index {path} cannot be opened: {error}; {_REMEDY}") from error
        if not ours and not _looks_like_one(path):
            raise ConfigError(f"{path} is no index and is left alone: {error}; {_REMEDY}") from error
    remove(path)
    try:
        return _prepared(path)._replace(notes=["the index was broken and is made again"])
    except sqlite3.Error as error:
        raise ConfigError(f"the index {path} cannot be made again: {error}; {_REMEDY}") from error


def _frozen(path: str) -> Opened | None:
    """An index where nothing can be written, such as on a medium that is read-only."""
    if not _looks_like_one(path) or os.access(os.path.dirname(path), os.W_OK):
        return None
    db = connect(path, frozen=True)
    try:
        if db.execute("PRAGMA user_version").fetchone() == (VERSION,):
            return Opened(db, ["the index cannot be written; it is taken as it is"], frozen=True)
    except sqlite3.Error:
        db.close()
        raise
    db.close()
    return None


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the file is damaged, as opposed to in use, full or not to be written."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "no such table" in str(error)


def remove(path: str) -> None:
    """Take away an index with what SQLite keeps beside it."""
    for end in SIDE_FILES:
        with suppress(FileNotFoundError):
            os.unlink(path + end)


def _prepared(path: str) -> Opened:
    db = connect(path)
    try:
        _leave_another_alone(db, path)
        _write_ahead(db)
        # as of SQLite's documentation: after a crash of the machine the last transactions may be missing, no more
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA temp_store = MEMORY")
        with writing(db):
            notes = _with_tables(db)
    except BaseException:
        db.close()
        raise
    return Opened(db, notes)


def _write_ahead(db: sqlite3.Connection) -> None:
    """Readers and a writer at once. SQLite does not wait while another process makes the same change."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _tables(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _leave_another_alone(db: sqlite3.Connection, path: str) -> None:
    # the tables first: another process may make them this moment, and they come with the number
    if _tables(db) and db.execute("PRAGMA application_id").fetchone() != (APPLICATION,):
        raise ConfigError(f"{path} is another database and is left alone; {_REMEDY}")


def _with_tables(db: sqlite3.Connection) -> list[str]:
    """Make the tables where they are not, or are those of another version."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    tables = _tables(db)
    notes = []
    if version != VERSION or not tables.issuperset(_TABLES):
        if tables:
            notes.append(f"the index was of version {version} and is made again in version {VERSION}")
        for table in tables:
            db.execute(f'DROP TABLE "{table.replace(chr(34), 2 * chr(34))}"')
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
    return notes


def _looks_like_one(path: str) -> bool:
    """Whether the file begins like an index of ours, whatever may be wrong with the rest of it."""
    try:
        with open(path, "rb") as file:
            head = file.read(100)
    except OSError:
        return False
    return head[:16] == b"SQLite format 3\0" and head[68:72] == APPLICATION.to_bytes(4, "big")
