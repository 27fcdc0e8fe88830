"""A table of queries: a CSV file whose first row names keys; each further row is one query."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from dcmflow.dicom.level import Level
from dcmflow.dicom.query import Query, canonical
from dcmflow.errors import ConfigError

_SEPARATORS: Final = ",;\t"


class Row(NamedTuple):
    """One query of a table.

    Attributes:
        number: from 1, the header not counted.
        line: in the file, from 1.
        keys: the query, with what holds for every row.
        label: what the row itself says, for people.
    """

    number: int
    line: int
    query: Query
    label: str


def read_table(path: Path, keys: Mapping[str, str], level: Level | None, *, unlimited: bool) -> list[Row]:
    """The queries of a table.

    Args:
        path: UTF-8, with or without a byte order mark; comma, semicolon or tab between columns.
        keys: hold for every row.
        level: of all; None: see `Query.of`.
        unlimited: rows may ask for everything.

    Raises:
        ConfigError: it cannot be read, or cannot be right; with file and line.
        OSError: it cannot be opened.
    """
    try:
        return list(_rows(path, keys, level, unlimited=unlimited))
    except ConfigError as error:
        raise error.at(file=str(path)) from None


def _rows(path: Path, keys: Mapping[str, str], level: Level | None, *, unlimited: bool) -> Iterator[Row]:
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        raise ConfigError("it is empty: its first row names keys, such as PatientID,StudyDate")
    header = _header(*first, keys)
    number = 0
    for number, (line, cells) in enumerate(lines, 1):
        if len(cells) != len(header):
            raise ConfigError(
                f"the row has {_some(len(cells), 'value')}, the header {len(header)}", line=line
            )
        own = dict(zip(header, cells, strict=True))
        try:
            query = Query.of({**keys, **own}, level)
        except ConfigError as error:
            raise error.at(line=line) from None
        if query.unlimited and not unlimited:
            raise ConfigError(
                "the row asks for everything: fill in a value, or say that all is meant", line=line
            )
        label = " ".join(f"{key}={value}" for key, value in own.items() if value)
        yield Row(number, line, query, label or "everything")
    if not number:
        raise ConfigError("it has a header and no row: nothing is asked for")


def _header(line: int, cells: list[str], keys: Mapping[str, str]) -> list[str]:
    try:
        header = [canonical(cell) for cell in cells]
    except ConfigError as error:
        raise ConfigError(
            f"{error.problem}; the first row names keys, such as PatientID,StudyDate", line=line
        ) from None
    for position, key in enumerate(header):
        if key in header[:position]:
            raise ConfigError(f"there are two columns {key}", line=line)
        if key in keys:
            raise ConfigError(f"{key} is a column, and is given beside the table too: leave one", line=line)
    return header


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, each with its line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            start = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=_separator(start), strict=True)
            line = 1
            for cells in reader:
                if any(cell.strip() for cell in cells) or len(cells) > 1:
                    yield line, [cell.strip() for cell in cells]
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise ConfigError(f"it is no UTF-8 text ({error.reason}): save it as CSV UTF-8") from None
    except csv.Error as error:
        raise ConfigError(f"it is no CSV: {error}", line=reader.line_num) from None


def _separator(header: str) -> str:
    """What stands between columns: what the header has most of, outside of quotes."""
    outside = "".join(header.split('"')[::2])
    return max(_SEPARATORS, key=outside.count)


def _some(count: int, word: str) -> str:
    return f"{count} {word}{'s' if count != 1 else ''}"
