"""A catalog as lines: one JSON object per leaf (NDJSON), or one row per leaf (CSV).

Each has the values of all levels, so it stands for itself. What was found of upper levels without a leaf has a line
as well. Values are written as in `dcmflow.catalog.document`; in CSV several are joined by a backslash, as DICOM does,
and sequences are JSON.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from dcmflow.catalog.document import decode, encode, from_plain, plain
from dcmflow.catalog.node import Node, text_of
from dcmflow.dicom.level import RETURNED, UNIQUE_KEYS, Level, level_of
from dcmflow.dicom.record import Record
from dcmflow.errors import ConfigError

if TYPE_CHECKING:
    from dcmflow.catalog.catalog import Catalog


def line(record: Record) -> str:
    """A record as one line of JSON."""
    return encode({keyword: plain(value) for keyword, value in record.values.items()}).decode()


def record_of(text: str) -> Record:
    """The record of such a line; it is of the lowest level that it has the unique key of.

    Raises:
        ConfigError: it is none.
    """
    found = decode(text)
    if not isinstance(found, dict):
        raise ConfigError(f"a record is an object with its elements, not {found!r:.40}")
    try:
        values = {key: from_plain(value) for key, value in found.items()}
    except ValueError as error:
        raise ConfigError(f"a value cannot be read: {error}") from None
    levels = [level for level in Level if text_of(values.get(level.keyword))]
    if not levels and Level.PATIENT.keyword not in values:
        raise ConfigError(f"a record has one of {', '.join(UNIQUE_KEYS)}; this one has none of them")
    return Record(max(levels, default=Level.PATIENT), values)


def ndjson(catalog: Catalog) -> Iterator[str]:
    """One line per leaf."""
    return (line(node.record()) for node in ends(catalog))


def from_ndjson(lines: Iterable[str], kind: type[Catalog]) -> Catalog:
    """The catalog of such lines; empty ones are passed over, and none at all are an empty catalog of studies.

    Raises:
        ConfigError: a line is no record; with its number.
    """
    catalog = kind(Level.PATIENT)
    empty = True
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            record = record_of(text)
        except ConfigError as error:
            raise ConfigError(error.problem, line=number, column=error.column) from None
        catalog.level = max(catalog.level, record.level)
        catalog.add(record)
        empty = False
    if empty:
        catalog.level = Level.STUDY
    return catalog


def csv_rows(catalog: Catalog, columns: Sequence[str] | None = None) -> Iterator[str]:
    """A header and one row per leaf, without line ends (a value may have some, in quotes)."""
    chosen = columns_of(catalog) if columns is None else columns
    yield _row(chosen)
    for node in ends(catalog):
        values = node.record().values
        yield _row([cell(values.get(column)) for column in chosen])


def columns_of(catalog: Catalog) -> list[str]:
    """All keywords there are: by level, those that are usually asked for first."""
    found = {keyword for node in catalog.walk() for keyword in node.values}
    usual = [keyword for level in RETURNED for keyword in level]
    places = {keyword: place for place, keyword in enumerate(usual)}
    return sorted(found, key=lambda keyword: (level_of(keyword), places.get(keyword, len(usual)), keyword))


def cell(value: Any) -> str:
    """A value in one cell."""
    if isinstance(value, tuple | list) and not any(isinstance(item, dict) for item in value):
        return "\\".join(map(cell, value))
    written = plain(value)
    return encode(written).decode() if isinstance(written, dict | list) else text_of(written)


def ends(catalog: Catalog) -> Iterator[Node]:
    """Leaves, and what has none below it, in tree order."""
    return (node for node in catalog.walk() if not node._children)


def _row(cells: Sequence[str]) -> str:
    written = StringIO()
    csv.writer(written, lineterminator="").writerow(cells)
    return written.getvalue()
