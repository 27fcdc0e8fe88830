"""Queries to an index, answered as a C-FIND (PS3.4 C.2.2.2, C.4.1) on files can be answered.

From the patient down: an entity must match the keys of its own level, and those above it theirs. SQL leaves out early
what cannot match by what tables know exactly, and `Matcher` decides. Keys that are no columns are looked up in one file: in that of
the image, or in the first one, in the order of paths, of a series, study or patient. Where files disagree about what they
belong to, that one is believed, too.

Here the files are at hand, so nothing stays unverified: an attribute without a value matches no key that restricts. A key of a
level below that of the query asks for entities with something below them that matches.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, final

from dcmflow.dicom import tags
from dcmflow.dicom.level import Level, level_of
from dcmflow.dicom.matching import Matcher, values_at
from dcmflow.dicom.query import Query, restricts
from dcmflow.dicom.record import Record
from dcmflow.errors import DatasetError
from dcmflow.sync.index_facts import COLUMNS, COMPUTED, empty, more_values, read_header, restored
from dcmflow.sync.index_sql import COUNT, MODALITIES, first_file, first_row, images, narrowed, rows

_ZONE: Final = "TimezoneOffsetFromUTC"


class _Image(NamedTuple):
    """An image, and the first file that has it."""

    uid: str
    values: dict[str, Any]
    path: str


class _Part:
    """The keys of one level.

    Attributes:
        level: which.
        keys: all of them.
        more: those that are in no table.
    """

    def __init__(self, query: Query, level: Level) -> None:
        self.level = level
        self.keys = [key for key in query.keys if level_of(key) is level]
        self.more = [key for key in self.keys if key not in COLUMNS[level] and key not in COMPUTED]
        wanted = {key: text for key, text in query.conditions.items() if key in self.keys}
        self._checks = [
            _matcher(level, {key: text for key, text in wanted.items() if key in COLUMNS[level]}),
            _matcher(level, {key: text for key, text in wanted.items() if key in COMPUTED}),
            _matcher(level, {key: wanted[key] for key in self.more if key in wanted}),
        ]

    def columns_match(self, values: Mapping[str, Any]) -> bool:
        return _matches(self._checks[0], self.level, values)

    def computed_match(self, values: Mapping[str, Any]) -> bool:
        return _matches(self._checks[1], self.level, values)

    def more_match(self, values: Mapping[str, Any]) -> bool:
        return _matches(self._checks[2], self.level, values)


def _matcher(level: Level, conditions: Mapping[str, str]) -> Matcher | None:
    return Matcher(Query(level, conditions)) if conditions else None


def _matches(matcher: Matcher | None, level: Level, values: Mapping[str, Any]) -> bool:
    if matcher is None:
        return True
    finding = matcher.examine(Record(level, values))
    if finding.mismatched:
        return False
    return all(_literally(key, matcher.query.keys[key], values) for key in finding.unverified)


def _literally(key: str, text: str, values: Mapping[str, Any]) -> bool:
    """Whether the value is the key itself: of a server that is an echo, of a file just a value with an asterisk in it."""
    return any(value == text for value in values_at(values, tags.parse(key)))


@final
class Finder:
    """One query.

    Args:
        db: a connection within a transaction.
        folder: of the index.
        notes: gets what is wrong with files that had to be looked into.
    """

    def __init__(self, db: sqlite3.Connection, folder: str, query: Query, notes: list[str]) -> None:
        self._db = db
        self._folder = folder
        self._query = query = Query(query.level, {key: _asked(text) for key, text in query.keys.items()})
        self._notes = notes
        self._parts = [_Part(query, level) for level in Level]
        self._where, self._arguments = narrowed(query)

    def records(self) -> Iterator[Record]:
        """One for each entity of the level that matches."""
        level = self._query.level
        lowest = Level(max([level, *map(level_of, self._query.conditions)]))
        given: tuple[str, ...] | None = None
        for path, values in self._entities(min(lowest, Level.SERIES)):
            if lowest is not Level.IMAGE:
                if path[: level + 1] != given:
                    given = path[: level + 1]
                    yield from self._record(given, values)
                continue
            if level is not Level.IMAGE and path[: level + 1] == given:
                continue
            for image in self._images(path):
                if level is not Level.IMAGE:
                    given = path[: level + 1]
                    yield from self._record(given, values)
                    break
                yield from self._record((*path, image.uid), [*values, image.values])

    def files(self) -> Iterator[tuple[str, Path]]:
        """The images of all that matches, and their files."""
        for path, _ in self._entities(Level.SERIES):
            for image in self._images(path):
                yield image.uid, Path(image.path)

    def _record(self, path: Sequence[str], values: Sequence[Mapping[str, Any]]) -> Iterator[Record]:
        """The record, unless there is no telling it from others."""
        level = self._query.level
        if path[level] or level is Level.PATIENT:
            merged: dict[str, Any] = {}
            for one in values[: level + 1]:
                merged.update(one)
            yield Record(level, merged)

    # -- patients, studies, series

    def _entities(self, lowest: Level) -> Iterator[tuple[tuple[str, ...], list[dict[str, Any]]]]:
        """Unique keys and values, from the patient down to this level, of what matches so far."""
        found: list[dict[str, Any] | None] = []  # None is last, where there is one
        before: tuple[str, ...] = ()  # what they are about
        for path in self._db.execute(*rows(lowest, self._where, self._arguments)):
            pairs = zip(path, before, strict=False)
            same = next((place for place, (one, other) in enumerate(pairs) if one != other), len(before))
            del found[same:]
            while len(found) <= lowest and None not in found:
                level = Level(len(found))
                found.append(self._entity(level, path[: level + 1]))
            before = path[: len(found)]
            if None not in found:
                yield path, [values for values in found if values is not None]

    def _entity(self, level: Level, path: tuple[str, ...]) -> dict[str, Any] | None:
        """The values of one entity; None where it does not match."""
        part = self._parts[level]
        row = self._first_row(level, path)
        if row is None:
            return None
        values = _values(level, row, part.keys)
        values[level.keyword] = path[-1]
        if not part.columns_match(values):
            return None
        values.update(self._computed(level, path))
        if not part.computed_match(values):
            return None
        if part.more:
            place = self._db.execute(*first_file(path)).fetchone()
            if place is None or not self._add_more(values, part, self._path(*place)):
                return None
        return values

    def _first_row(self, level: Level, path: tuple[str, ...]) -> Sequence[Any] | None:
        """What the files say of it, or the first of them where they disagree."""
        found: list[Sequence[Any]] = self._db.execute(*first_row(level, path)).fetchmany(2)
        if len(found) > 1:
            found = self._db.execute(*first_row(level, path, in_order=True)).fetchmany(1)
        return found[0] if found else None

    def _computed(self, level: Level, path: tuple[str, ...]) -> dict[str, Any]:
        keywords, statement = COUNT[level]
        values = dict(zip(keywords, self._db.execute(statement, path).fetchone(), strict=True))
        if level is Level.STUDY:
            found = [text for (text,) in self._db.execute(MODALITIES, path)]
            kinds = sorted({kind for text in found for kind in str(text).split("\\") if kind})
            values["ModalitiesInStudy"] = kinds[0] if len(kinds) == 1 else tuple(kinds) or ""
        return values

    # -- images

    def _images(self, path: tuple[str, ...]) -> Iterator[_Image]:
        """The images of a series that match, each once."""
        part = self._parts[Level.IMAGE]
        before = None
        for uid, *row, folder, name in self._db.execute(*images(path, self._query)):
            if uid == before:
                continue
            before = uid
            values = _values(Level.IMAGE, row, part.keys)
            if not part.columns_match(values):
                continue
            place = self._path(folder, name)
            if part.more and not self._add_more(values, part, place):
                continue
            yield _Image(uid, values, place)

    # -- files

    def _path(self, folder: bytes, name: bytes) -> str:
        return os.path.join(self._folder, os.fsdecode(folder), os.fsdecode(name))

    def _add_more(self, values: dict[str, Any], part: _Part, place: str) -> bool:
        """Add what is in no table, and tell whether it matches."""
        try:
            header = read_header(place)
            values.update(more_values(header, part.more))
            return part.more_match({**values, _ZONE: header.text(_ZONE)})
        except (DatasetError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._notes.append(f"{place} is not what the index has ({reason}) and was left out")
            return False


def _asked(text: str) -> str:
    """The value of a key, empty where it leaves nothing out."""
    return text if restricts(text) and any(part.strip() for part in text.split("\\")) else ""


def _values(level: Level, row: Sequence[Any], asked: Sequence[str]) -> dict[str, Any]:
    """The columns of a level, without what is not there and was not asked for."""
    values: dict[str, Any] = {}
    for keyword, value in zip(COLUMNS[level], row, strict=True):
        if value is not None:
            values[keyword] = restored(keyword, value)
        elif keyword in asked:
            values[keyword] = empty(keyword)
    return values
